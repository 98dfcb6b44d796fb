"""GenAuth's answer to everything: the envelope, and what each statusCode means for a deletion.

"An HTTP 200 cannot be taken for success": the body decides, unless there is no envelope in it. One table, one place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from bulkdel.core.decision import Act, Reply, Verdict
from bulkdel.core.outcome import Detail

USER_NOT_FOUND = 2004

_RETRY = Verdict(Act.RETRY, tainting=True)
_SPLIT = Verdict(Act.SPLIT)
_HALT = Verdict(Act.HALT)

STATUS_CODES: Mapping[int, Verdict] = {
    400: _SPLIT,
    401: Verdict(Act.SIGN_IN, untouched=True),
    402: _HALT._replace(reason="the plan of this pool does not include this call"),
    403: Verdict(Act.FORBIDDEN, reason="the key has no permission for this call"),
    404: Verdict(Act.LOOK_UP),
    409: _SPLIT,
    413: _SPLIT,
    422: _SPLIT,
    429: Verdict(Act.THROTTLED, untouched=True),
    499: _SPLIT,
    500: _RETRY,
    501: _HALT._replace(reason="the server does not support this call"),
    502: _RETRY,
    503: _RETRY,
    504: _RETRY,
    601: _RETRY,
    602: _RETRY,
    603: _SPLIT,
}
"""genauth-api.md. A code that is not in the table is like a lost reply."""

API_CODES: Mapping[int, str] = {
    **dict.fromkeys(range(1300, 1307), "access-key signature problem"),
    USER_NOT_FOUND: "user not found",
    2020: "not signed in",
    2224: "user pool does not exist",
    4021: "billing",
}
"""Codes worth naming in a message. Source: GenAuth's error-code page."""

_LOST = Verdict(Act.RETRY, tainting=True)


def read_envelope(reply: Reply, *, exact: bool = False) -> Verdict:
    """Say what an answer means, up to statusCode 200, where `data` is handed on for the call to judge.

    exact: numbers of any length and halves of characters are in `data` as they came, for a copy.
    """
    envelope = _envelope(reply.body, exact=exact)
    status_code = envelope.get("statusCode")
    if type(status_code) is not int:
        return _without_envelope(reply)
    detail = Detail(
        status_code,
        _integer(envelope.get("apiCode")),
        _text(envelope.get("message")),
        _text(envelope.get("requestId")),
    )
    if reply.status == 429:  # noqa: PLR2004 - a gateway's word outweighs the body it wraps
        return STATUS_CODES[429]._replace(detail=detail)
    if 300 <= reply.status < 400:  # noqa: PLR2004
        return _redirected(reply)
    if status_code == 200:  # noqa: PLR2004
        if reply.status >= 400:  # noqa: PLR2004 - a failure that claims success: believe neither
            return _LOST._replace(detail=detail, reason=f"HTTP {reply.status} around statusCode 200")
        return Verdict(Act.SETTLED, detail=detail, data=envelope.get("data"))
    verdict = STATUS_CODES.get(status_code, _LOST)
    named = API_CODES.get(detail.api_code or 0)
    said = f"{verdict.reason or named or 'the server answered'} ({detail})"
    # An unknown code may come from a server that failed half-way: any 5xx taints, and so does what we cannot read.
    return verdict._replace(detail=detail, reason=said, tainting=verdict.tainting or reply.status >= 500)  # noqa: PLR2004


def read_success(reply: Reply) -> Verdict:
    """The same for calls that answer `{"data": {"success": true}}`.

    `success` with another value is an answer, and the ids are looked up. Without `success` it is no answer: like a lost
    reply, because the request may have had effect, and asking again does no harm.
    """
    verdict = read_envelope(reply)
    if verdict.act is not Act.SETTLED:
        return verdict
    if not isinstance(verdict.data, dict) or "success" not in verdict.data:
        return _LOST._replace(detail=verdict.detail, reason="statusCode 200, but the answer has no data.success")
    if verdict.data["success"] is True:
        return verdict
    return verdict._replace(act=Act.LOOK_UP, tainting=True, reason="statusCode 200, but data.success is not true")


def read_list(reply: Reply) -> Verdict:
    """The same for calls that answer a list of records, which are as they came."""
    verdict = read_envelope(reply, exact=True)
    if verdict.act is Act.SETTLED and not (
        isinstance(verdict.data, list) and all(isinstance(item, dict) for item in verdict.data)
    ):
        return _LOST._replace(detail=verdict.detail, reason="the answer holds no list of records")
    return verdict


def _envelope(body: bytes, *, exact: bool) -> dict[str, Any]:
    # orjson takes half the time, but makes a float of an integer of more than 64 bits, and knows no half a character,
    # which JavaScript leaves behind where it cuts an emoji in two.
    try:
        data = json.loads(body.decode(), parse_constant=_no_number) if exact else orjson.loads(body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _without_envelope(reply: Reply) -> Verdict:
    """No envelope: only now does the HTTP status speak, and never for success."""
    status = reply.status
    detail = Detail(status_code=status if status >= 400 else None)  # noqa: PLR2004
    if 300 <= status < 400:  # noqa: PLR2004
        return _redirected(reply)
    if status == 404:  # noqa: PLR2004
        return _HALT._replace(detail=detail, reason="HTTP 404 without an envelope: wrong host or path")
    if status in (401, 413, 429):
        return STATUS_CODES[status]._replace(detail=detail, reason=f"HTTP {status}")
    if status == 501:  # noqa: PLR2004
        return STATUS_CODES[501]._replace(detail=detail)
    return _LOST._replace(detail=detail, reason=f"HTTP {status} without an envelope")


def _redirected(reply: Reply) -> Verdict:
    return _HALT._replace(reason=f"HTTP {reply.status}: the server redirects; give the final address as --host")


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None


def _text(value: Any) -> str | None:
    """Whole: whoever asked cuts it short, but first takes out what must not be told (`bulkdel.core.redaction`)."""
    return value if isinstance(value, str) else None
