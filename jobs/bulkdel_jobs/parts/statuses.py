"""The table from HTTP status to decision. Its defaults are right for any API.

A success is only what the table names. A web page is never one: it comes from a proxy or a sign-in page before the API.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bulkdel.core.decision import Decision, NextStep, Response
from bulkdel.core.outcome import Detail

MEANINGS: Mapping[str, Decision] = {
    "settled": Decision(NextStep.SETTLED),
    "absent": Decision(NextStep.LOOK_UP),
    "refused": Decision(NextStep.SPLIT),
    "forbidden": Decision(NextStep.FORBIDDEN),
    "throttled": Decision(NextStep.THROTTLED, untouched=True),
    "again": Decision(NextStep.RETRY, maybe_applied=True),
    "sign-in": Decision(NextStep.SIGN_IN, untouched=True),
    "halt": Decision(NextStep.HALT, maybe_applied=True),
}
"""What a status may mean.

settled: all ids of the request. absent: an id of the request does not exist. refused: an id of it is refused.
forbidden: the key may not do this. throttled: nothing was done, and all requests pause. again: maybe done; the request
is repeated. sign-in: the credentials were not accepted. halt: going on can only do harm.
"""

DEFAULTS: Mapping[int | str, str] = {
    401: "sign-in",
    403: "forbidden",
    404: "absent",
    408: "again",
    410: "absent",
    429: "throttled",
    "4xx": "refused",
    "5xx": "again",
}
"""Any other status halts: one of 2xx that the table does not name, and every 3xx."""

_RANGE = re.compile(r"[1-5]xx")

_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*"
    rb"<(?:!doctype\s+html|html|head|body|title|meta|link|base|script|style|noscript)\b",
    re.IGNORECASE | re.DOTALL,
)
"""The beginning of a web page: comments, and then one of the elements that may come first."""

_MESSAGES = ("message", "detail", "error_description", "errorSummary", "errorMessage", "error")
"""Members in which APIs say why. `detail` is of SCIM and RFC 9457, `error_description` of OAuth2."""

_SUCCESS = range(200, 300)
_REDIRECTS = range(300, 400)


@dataclass(frozen=True, slots=True)
class Statuses:
    """What each HTTP status means. named: by status, or by a range such as "5xx"; a status counts before its range."""

    named: Mapping[int | str, str] = field(default_factory=lambda: dict(DEFAULTS))

    @classmethod
    def of(cls, meanings: Mapping[str, Iterable[int | str]]) -> Self:
        """Make the table of these statuses by meaning, and of the defaults for all others. Raises ValueError."""
        named: dict[int | str, str] = {}
        for meaning, statuses in meanings.items():
            if meaning not in MEANINGS:
                raise ValueError(f"{meaning!r} is no meaning of a status; those are {', '.join(MEANINGS)}")
            for status in statuses:
                if not _is_status(status):
                    raise ValueError(f"{status!r} is no HTTP status (100 to 599) and no range such as '5xx'")
                if named.setdefault(status, meaning) != meaning:
                    raise ValueError(f"{status} cannot be both {named[status]} and {meaning}")
                if meaning == "settled" and status != "2xx" and status not in _SUCCESS:
                    raise ValueError(f"{status} cannot be settled: only a 2xx is a success")
        return cls({**DEFAULTS, **named})

    def decide(self, response: Response) -> Decision:
        """Decide by the status. A success is SETTLED, without `data`."""
        status = response.status
        meaning = self.named.get(status) or self.named.get(f"{status // 100}xx")
        if meaning == "settled":
            if _PAGE.match(response.body):
                return _again(status, "with a web page")
            return MEANINGS["settled"]
        detail = Detail(status, message_of(response.body))
        if meaning is None:
            why = "the server redirects; give the final address" if status in _REDIRECTS else "the job does not name it"
            return MEANINGS["halt"]._replace(detail=detail, reason=f"HTTP {status}: {why}")
        return MEANINGS[meaning]._replace(detail=detail, reason=f"HTTP {status}: {meaning} ({detail})")

    def decide_json(self, response: Response) -> Decision:
        """Decide on a response whose body is read: SETTLED has the parsed body as `data`.

        A success without a JSON body is no success: the request may have been applied.
        """
        decision = self.decide(response)
        if decision.next_step is not NextStep.SETTLED:
            return decision
        try:
            return decision._replace(data=json.loads(response.body))
        except (ValueError, RecursionError):
            return _again(response.status, "without a JSON body")


def with_data(decision: Decision, change: Callable[[Any], Any]) -> Decision:
    """The decision with other `data`, made from its own; one that is not SETTLED has none and stays as it is."""
    return decision._replace(data=change(decision.data)) if decision.next_step is NextStep.SETTLED else decision


def message_of(body: bytes) -> str | None:
    """What the server says in a JSON body, in one of the usual members; None when it says nothing there."""
    if not body.lstrip().startswith(b"{"):
        return None
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    for name in _MESSAGES:
        said = value.get(name)
        said = said.get("message") if isinstance(said, dict) else said
        if isinstance(said, str) and said:
            return said
    return None


def _again(status: int, why: str) -> Decision:
    return MEANINGS["again"]._replace(detail=Detail(status), reason=f"HTTP {status} {why}")


def _is_status(status: Any) -> bool:
    if isinstance(status, str):
        return _RANGE.fullmatch(status) is not None
    return type(status) is int and 100 <= status <= 599  # noqa: PLR2004
