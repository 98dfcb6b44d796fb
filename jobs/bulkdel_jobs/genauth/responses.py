"""GenAuth's answer to everything: the envelope, and what each statusCode means for a deletion.

"An HTTP 200 cannot be taken for success": the body decides, unless there is no envelope in it. One table, one place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from bulkdel.core.decision import Decision, NextStep, Response
from bulkdel.core.outcome import Detail

USER_NOT_FOUND = 2004

API_CODE = "apiCode"
"""The code of a business error: what only this API returns. The log keeps it as `detail`."""

_RETRY = Decision(NextStep.RETRY, tainting=True)
_SPLIT = Decision(NextStep.SPLIT)
_HALT = Decision(NextStep.HALT)

STATUS_CODES: Mapping[int, Decision] = {
    400: _SPLIT,
    401: Decision(NextStep.SIGN_IN, untouched=True),
    402: _HALT._replace(reason="the plan of this pool does not include this call"),
    403: Decision(NextStep.FORBIDDEN, reason="the key has no permission for this call"),
    404: Decision(NextStep.LOOK_UP),
    409: _SPLIT,
    413: _SPLIT,
    422: _SPLIT,
    429: Decision(NextStep.THROTTLED, untouched=True),
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

_LOST = Decision(NextStep.RETRY, tainting=True)


def read_envelope(response: Response, *, exact: bool = False) -> Decision:
    """Say what an answer means, up to statusCode 200, where `data` is handed on for the call to judge.

    exact: numbers of any length and halves of characters are in `data` as they came, for a copy.
    """
    envelope = _envelope(response.body, exact=exact)
    status_code = envelope.get("statusCode")
    if type(status_code) is not int:
        return _without_envelope(response)
    api_code = _integer(envelope.get("apiCode"))
    detail = Detail(
        status_code,
        _text(envelope.get("message")),
        _text(envelope.get("requestId")),
        () if api_code is None else ((API_CODE, api_code),),
    )
    if response.status == 429:  # noqa: PLR2004 - a gateway's word outweighs the body it wraps
        return STATUS_CODES[429]._replace(detail=detail)
    if 300 <= response.status < 400:  # noqa: PLR2004
        return _redirected(response)
    if status_code == 200:  # noqa: PLR2004
        if response.status >= 400:  # noqa: PLR2004 - a failure that claims success: believe neither
            return _LOST._replace(detail=detail, reason=f"HTTP {response.status} around statusCode 200")
        return Decision(NextStep.SETTLED, detail=detail, data=envelope.get("data"))
    decision = STATUS_CODES.get(status_code, _LOST)
    named = API_CODES.get(api_code or 0)
    said = f"{decision.reason or named or 'the server answered'} ({detail})"
    # An unknown code may come from a server that failed half-way: any 5xx taints, and so does what we cannot read.
    return decision._replace(detail=detail, reason=said, tainting=decision.tainting or response.status >= 500)  # noqa: PLR2004


def read_success(response: Response) -> Decision:
    """The same for calls that answer `{"data": {"success": true}}`.

    `success` with another value is an answer, and the ids are looked up. Without `success` it is no answer: like a lost
    reply, because the request may have had effect, and asking again does no harm.
    """
    decision = read_envelope(response)
    if decision.next_step is not NextStep.SETTLED:
        return decision
    if not isinstance(decision.data, dict) or "success" not in decision.data:
        return _LOST._replace(detail=decision.detail, reason="statusCode 200, but the answer has no data.success")
    if decision.data["success"] is True:
        return decision
    return decision._replace(
        next_step=NextStep.LOOK_UP, tainting=True, reason="statusCode 200, but data.success is not true"
    )


def read_list(response: Response) -> Decision:
    """The same for calls that answer a list of records, which are as they came."""
    decision = read_envelope(response, exact=True)
    if decision.next_step is NextStep.SETTLED and not (
        isinstance(decision.data, list) and all(isinstance(item, dict) for item in decision.data)
    ):
        return _LOST._replace(detail=decision.detail, reason="the answer holds no list of records")
    return decision


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


def _without_envelope(response: Response) -> Decision:
    """No envelope: only now does the HTTP status speak, and never for success."""
    status = response.status
    detail = Detail(code=status if status >= 400 else None)  # noqa: PLR2004
    if 300 <= status < 400:  # noqa: PLR2004
        return _redirected(response)
    if status == 404:  # noqa: PLR2004
        return _HALT._replace(detail=detail, reason="HTTP 404 without an envelope: wrong host or path")
    if status in (401, 413, 429):
        return STATUS_CODES[status]._replace(detail=detail, reason=f"HTTP {status}")
    if status == 501:  # noqa: PLR2004
        return STATUS_CODES[501]._replace(detail=detail)
    return _LOST._replace(detail=detail, reason=f"HTTP {status} without an envelope")


def _redirected(response: Response) -> Decision:
    return _HALT._replace(reason=f"HTTP {response.status}: the server redirects; give the final address as --host")


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None


def _text(value: Any) -> str | None:
    """Whole: whoever asked cuts it short, but first takes out what must not be told (`bulkdel.core.redaction`)."""
    return value if isinstance(value, str) else None
