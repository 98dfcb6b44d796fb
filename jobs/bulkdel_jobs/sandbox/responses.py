"""Answers of the API: the envelope and its messages. Owns what an answer looks like, not when it is due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson

BATCH_MAX = 50
"""Ids in one request, and users on one page (genauth-api.md)."""

USER_NOT_FOUND = 2004
NOT_SIGNED_IN = 2020
NO_SUCH_POOL = 2224
BAD_SIGNATURE = 1300
"""The first of the codes 1300-1306 for access-key problems; which of them says what is not documented."""

_MESSAGES: Mapping[int, tuple[str, str]] = {
    200: ("操作成功", "Operation successful"),
    401: ("登录信息已过期或无效", "Not signed in, or the token has expired"),
    403: ("权限不足", "Permission denied"),
    404: ("用户不存在", "User not found"),
    409: ("用户已存在", "User already exists"),
    429: ("请求过于频繁", "Too many requests"),
    500: ("服务器内部错误", "Internal server error"),
    501: ("不支持的操作", "Operation not supported"),
}
"""Per statusCode: Chinese, which is the default, and English."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer.

    statusCode in the body decides; `http` is the HTTP status, 200 unless a gateway is played.
    """

    body: bytes
    status: int
    http: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def wants_english(headers: Mapping[str, str]) -> bool:
    """Whether the lang header, under either brand's prefix, asks for English."""
    lang = headers.get("x-genauth-lang") or headers.get("x-authing-lang") or ""
    return lang.lower().startswith("en")


def enveloped(envelope: Mapping[str, Any], *, http: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Turn an envelope into bytes, with a fresh requestId."""
    body = orjson.dumps({**envelope, "requestId": str(uuid4())})
    return Answer(body, envelope["statusCode"], http, headers=headers or {})


def success(data: Any, *, english: bool) -> Answer:
    """Answer with statusCode 200. The requestId is there on success too, as in the vendor's sample."""
    return enveloped({"statusCode": 200, "message": _MESSAGES[200][english], "data": data})


def failure(
    status: int,
    api_code: int | None = None,
    *,
    english: bool,
    message: str | None = None,
    http: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Answer with another statusCode; the HTTP status stays 200 unless given."""
    chinese_and_english = _MESSAGES.get(status, (f"错误 {status}", f"Error {status}"))
    envelope: dict[str, Any] = {"statusCode": status, "message": message or chinese_and_english[english]}
    if api_code is not None:
        envelope["apiCode"] = api_code
    return enveloped(envelope, http=http, headers=headers)


def malformed(name: str, *, english: bool) -> Answer:
    """Answer 400 in the API's form for every malformed parameter. The English wording is not documented."""
    message = f"Parameter {name} is malformed" if english else f"参数 {name} 格式错误"
    return failure(400, english=english, message=message)
