"""The envelope of every GenAuth response, and what each statusCode in it means for a deletion.

The body decides, unless there is no envelope in it: an HTTP 200 alone is no success.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import orjson

from bulkdel.core.decision import Decision, NextStep, Response
from bulkdel.core.outcome import Detail

API_CODE = "apiCode"
"""The code of a business error, which only this API has. The log keeps it as `detail`."""

API_CODE_MAX = 9_999_999
"""A longer number is no code. It may be an id, such as a phone number."""

_LOST = Decision(NextStep.RETRY, maybe_applied=True)
_HALT = Decision(NextStep.HALT)

STATUS_CODES: Mapping[int, Decision] = {
    **dict.fromkeys((400, 409, 413, 422, 499, 603), Decision(NextStep.SPLIT)),
    **dict.fromkeys((500, 502, 503, 504, 601, 602), _LOST),
    401: Decision(NextStep.SIGN_IN, untouched=True),
    402: _HALT._replace(reason="the plan of this pool does not include this call"),
    403: Decision(NextStep.FORBIDDEN, reason="the key has no permission for this call"),
    404: Decision(NextStep.LOOK_UP),
    429: Decision(NextStep.THROTTLED, untouched=True),
    501: _HALT._replace(reason="the server does not support this call"),
}
"""GenAuth's list of status codes. Any other code is treated like a lost response."""

USER_NOT_FOUND = 2004

API_CODES: Mapping[int, str] = {
    **dict.fromkeys(range(1300, 1307), "access-key signature problem"),
    USER_NOT_FOUND: "user not found",
    2020: "not signed in",
    2224: "user pool does not exist",
    4021: "billing",
}
"""Codes worth naming in a message. Source: GenAuth's error-code page."""

CODE_WORDS: Mapping[str, Mapping[int, str]] = {
    "code": {
        400: "invalid argument",
        403: "no permission",
        404: "not found",
        409: "conflict with another record",
        413: "request too large",
        422: "invalid operation: a rule of the server forbids it",
        499: "refused without a reason",
        603: "refused by the pool's own pipeline code",
    },
    API_CODE: API_CODES,
}
"""What the codes of a refusal mean, for a report. Source: GenAuth's list of status codes."""

_REDIRECTS = range(300, 400)
_OK, _TOO_MANY_REQUESTS, _FAILURE, _SERVER_FAILURE = 200, 429, 400, 500
_DECIDED_BY_HTTP = {401, 413, 429, 501}
"""HTTP statuses that mean the same without an envelope."""


def read_envelope(response: Response, *, exact: bool = False) -> Decision:
    """Decide on a response. With statusCode 200 it is SETTLED, and `data` is left to the call.

    exact: numbers of any length and lone surrogates in `data` are kept as they came, for a copy.
    """
    # orjson turns an integer of more than 64 bits into a float, and refuses a lone surrogate, which JavaScript leaves
    # where it cuts an emoji in two.
    try:
        body = json.loads(response.body.decode(), parse_constant=_no_number) if exact else orjson.loads(response.body)
    except (ValueError, RecursionError):
        body = None
    envelope: dict[str, Any] = body if isinstance(body, dict) else {}
    status_code = envelope.get("statusCode")
    if type(status_code) is not int:
        return _without_envelope(response)
    message, request_id, api_code = envelope.get("message"), envelope.get("requestId"), envelope.get("apiCode")
    if type(api_code) is not int or abs(api_code) > API_CODE_MAX:
        api_code = None
    detail = Detail(
        status_code,
        message if isinstance(message, str) else None,
        request_id if isinstance(request_id, str) else None,
        () if api_code is None else ((API_CODE, api_code),),
    )
    if response.status == _TOO_MANY_REQUESTS:  # of a gateway: it outweighs the body
        return STATUS_CODES[429]._replace(detail=detail)
    if response.status in _REDIRECTS:
        return _redirected(response)
    if status_code == _OK:
        if response.status >= _FAILURE:
            return _LOST._replace(detail=detail, reason=f"HTTP {response.status} around statusCode 200")
        return Decision(NextStep.SETTLED, detail=detail, data=envelope.get("data"))
    decision = STATUS_CODES.get(status_code, _LOST)
    named = decision.reason or API_CODES.get(api_code or 0) or "the server answered"
    # With any statusCode, an HTTP 5xx may come from a server that failed half-way.
    maybe_applied = decision.maybe_applied or response.status >= _SERVER_FAILURE
    return decision._replace(detail=detail, reason=f"{named} ({detail})", maybe_applied=maybe_applied)


def read_success(response: Response) -> Decision:
    """Decide on the response of a call that answers `{"data": {"success": true}}`.

    Another value of `success` is an answer, and the ids are looked up. Without `success` the response is treated like
    a lost one: the request may have had effect, and sending it again does no harm.
    """
    decision = read_envelope(response)
    if decision.next_step is not NextStep.SETTLED:
        return decision
    if not isinstance(decision.data, dict) or "success" not in decision.data:
        return unreadable(decision, "statusCode 200, but the response has no data.success")
    if decision.data["success"] is True:
        return decision
    return decision._replace(
        next_step=NextStep.LOOK_UP, maybe_applied=True, reason="statusCode 200, but data.success is not true"
    )


def read_list(response: Response) -> Decision:
    """Decide on the response of a call that answers a list of records. They are kept exactly as they came."""
    decision = read_envelope(response, exact=True)
    if decision.next_step is NextStep.SETTLED and not (
        isinstance(decision.data, list) and all(isinstance(item, dict) for item in decision.data)
    ):
        return unreadable(decision, "the response holds no list of records")
    return decision


def read_one(response: Response) -> Decision:
    """Decide on the response of a call that answers one record: SETTLED with `data` = the list of it.

    The list is empty where the API answers statusCode 404. The record is kept exactly as it came.
    """
    decision = read_envelope(response, exact=True)
    if decision.next_step is NextStep.LOOK_UP and not decision.maybe_applied:
        return decision._replace(next_step=NextStep.SETTLED, data=[])
    if decision.next_step is NextStep.SETTLED and not isinstance(decision.data, dict):
        return unreadable(decision, "the response holds no record")
    return decision._replace(data=[decision.data])


def read_listed(response: Response) -> Decision:
    """Decide on the response of a call that answers one page of records: SETTLED with `data` = the list of them.

    They are kept as they came: a name with a lone surrogate must not make the page unreadable. An empty page is one
    only with the totalCount 0: with any other, or without one, it hides records.
    """
    decision = read_envelope(response, exact=True)
    if decision.next_step is not NextStep.SETTLED:
        return decision
    listed = decision.data.get("list") if isinstance(decision.data, dict) else None
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        return unreadable(decision, "the response holds no page of records")
    if not listed and not _is_number(decision.data.get("totalCount"), 0):
        return unreadable(decision, "the response lists no record, and its totalCount is not 0")
    return decision._replace(data=listed)


def read_listed_codes(response: Response) -> Decision:
    """As `read_listed`, with the code of each record that a request can name as `data`.

    A page with a record that has no code is no answer.
    """
    decision = read_listed(response)
    if decision.next_step is not NextStep.SETTLED:
        return decision
    codes = [record.get("code") for record in decision.data]
    if not all(isinstance(code, str) for code in codes):
        return unreadable(decision, "the response lists a record without a code")
    return decision._replace(data=list(filter(can_be_named, codes)))


def unreadable(decision: Decision, reason: str) -> Decision:
    """What a success without what was asked for means: no answer, like a lost response."""
    return _LOST._replace(detail=decision.detail, reason=reason)


def is_complete(response: Response, listed: Sequence[object]) -> bool:
    """Whether a page that `read_listed` has read is the whole list, by its totalCount."""
    return _is_number(read_envelope(response, exact=True).data.get("totalCount"), len(listed))


def _is_number(value: object, number: int) -> bool:
    """Whether it is this integer; neither a truth value nor a fraction is one."""
    return type(value) is int and value == number


def can_be_named(text: object) -> TypeGuard[str]:
    """Whether a request can name an id or a code: text without a lone surrogate, which UTF-8 does not have."""
    try:
        return isinstance(text, str) and len(text.encode()) > 0
    except UnicodeEncodeError:
        return False


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _without_envelope(response: Response) -> Decision:
    """Decide by the HTTP status, which never means success."""
    status = response.status
    if status in _REDIRECTS:
        return _redirected(response)
    detail = Detail(code=status if status >= _FAILURE else None)
    if status == 404:  # noqa: PLR2004
        return _HALT._replace(detail=detail, reason="HTTP 404 without an envelope: wrong host or path")
    if status in _DECIDED_BY_HTTP:
        decision = STATUS_CODES[status]
        return decision._replace(detail=detail, reason=decision.reason or f"HTTP {status}")
    return _LOST._replace(detail=detail, reason=f"HTTP {status} without an envelope")


def _redirected(response: Response) -> Decision:
    return _HALT._replace(reason=f"HTTP {response.status}: the server redirects; give the final address as --host")
