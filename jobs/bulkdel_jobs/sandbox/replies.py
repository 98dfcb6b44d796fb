"""What the sandbox answers: the API's envelope, its messages, and how a request is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson

USER_NOT_FOUND = 2004

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
"""By statusCode: Chinese, which is the default, and English."""

_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr>nginx</body></html>"


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer, before it is put into bytes.

    status_code: of the envelope, 200 for success. http: the HTTP status, 200 unless a gateway answers.
    data: only of a success. message: in Chinese and in English; None for the usual one of the status code.
    page: the title of a web page that comes in place of an envelope; empty for an empty body.
    """

    status_code: int
    data: Any = None
    api_code: int | None = None
    message: tuple[str, str] | None = None
    http: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    page: str | None = None

    def body(self, *, english: bool, malformed: bool = False) -> bytes:
        """Put it into bytes, with a fresh requestId. malformed: with a statusCode that is no number."""
        if self.page is not None:
            return _PAGE.format(self.page).encode() if self.page else b""
        code = self.status_code
        messages = self.message or _MESSAGES.get(code, (f"错误 {code}", f"Error {code}"))
        envelope = {
            "statusCode": "ok" if malformed else code,
            "message": messages[english],
            "requestId": str(uuid4()),
            "apiCode": self.api_code,
            "data": self.data,
        }
        shown = {name: value for name, value in envelope.items() if value is not None}
        return as_json(shown)


def as_json(value: Any) -> bytes:
    """Write JSON as JavaScript does: a lone surrogate as an escape, numbers of any length."""
    try:
        return orjson.dumps(value)
    except TypeError:  # orjson refuses both
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return _LONE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


_LONE = re.compile(r"[\ud800-\udfff]")


class Rejected(Exception):
    """An endpoint refuses a request. answer: what it says."""

    def __init__(self, answer: Reply) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


def invalid(message: str) -> Rejected:
    """Refuse with 400 in words that the API has in one language only."""
    return Rejected(Reply(400, message=(message, message)))


def malformed(name: str) -> Rejected:
    """Refuse with 400 in the API's form for a malformed parameter. The English wording is not documented."""
    return Rejected(Reply(400, message=(f"参数 {name} 格式错误", f"Parameter {name} is malformed")))


def no_such_department(id_: str) -> Rejected:
    """Refuse a department that does not exist, in the words that the vendor's tests expect."""
    return Rejected(Reply(404, message=(f"存在不合法的 departmentId: {id_}", f"Department does not exist: {id_}")))


NO_SUCH_SOURCE = Reply(404, message=("身份源不存在", "Identity source does not exist"))
"""How the API refuses an identity source that does not exist is not documented."""

NO_SUCH_USER = Reply(404, api_code=USER_NOT_FOUND)
"""The statusCode is what the vendor's tests expect; the apiCode is of its documentation."""
