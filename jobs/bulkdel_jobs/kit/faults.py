"""The fault catalogue: what can come in place of a good answer, and what a right job decides then.

Each row is one fault. A job that decides otherwise loses track of ids, or repeats what cannot succeed. The decisions
are those of `bulkdel.core.decision`. The functions at the end play the catalogue against every method that reads a
response.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Any, NamedTuple, TypeGuard

from bulkdel.core.decision import Decision, NextStep, Request, Verdict, decision_per_id
from bulkdel_jobs.kit.lab import Good, Lab, Read, Seen, shown
from bulkdel_jobs.kit.wire import reply

AFTER_S = 7
"""What the faults with Retry-After ask for, seconds."""

NOW = 1_700_000_000
"""The `Date` of the fault whose Retry-After is a date."""

PAGE = b"<!DOCTYPE html><html><body><h1>Something is in the way</h1></body></html>"
"""What a proxy, a firewall or a load balancer answers in the place of the API."""


Play = Callable[[Good | None], bytes | None]
"""The bytes of a fault, for the good answer if it is known. None: the fault needs a good answer with more in it."""


class ApiFault(NamedTuple):
    """One row of the catalogue.

    name: as the check is called. play: makes the bytes; see `Play`.
    right: the next steps that are right. maybe_applied: whether the decision on an action must say so.
    after_s: the pause that it must carry. advice: what to do about another decision.
    no_response: there is no response to read then. The engine decides, except for a sign-in, which sends by itself.
    """

    name: str
    play: Play
    right: frozenset[NextStep]
    advice: str
    maybe_applied: bool = False
    after_s: float | None = None
    no_response: bool = False

    @property
    def reading_advice(self) -> str:
        """What to do about another decision on a reading request."""
        return ABSENT_MEANS if self.name == "404" else self.advice.partition(" with maybe_applied")[0]


ABSENT_MEANS = "A look-up may read a 404 as: no such account. It must not find one"


def _page(status: int, *headers: tuple[str, str]) -> Play:
    return lambda _: reply(status, PAGE, ("content-type", "text/html"), *headers)


def _json(text: bytes) -> Play:
    return lambda good: reply(good.response.status if good is not None and good.response.body else 200, text)


def _empty(good: Good | None) -> bytes | None:
    if good is not None and good.response.status == 200 and not good.response.body:  # noqa: PLR2004
        return None
    return reply(200)


def _cut(good: Good | None) -> bytes | None:
    """Half of the good answer, whole by its length: a proxy with a full disk does it."""
    if good is None or len(good.response.body) < 2:  # noqa: PLR2004 - nothing to cut
        return None
    return reply(good.response.status, good.response.body[: len(good.response.body) // 2])


def _short(good: Good | None) -> bytes:
    return reply(200 if good is None else good.response.status, b"{", missing=10)


def _lost(_: Good | None) -> bytes:
    return b""


def _unknown_id(good: Good | None) -> bytes | None:
    return _renamed(good, good.stranger) if _names_ids(good) else None


def _doubled_id(good: Good | None) -> bytes | None:
    return _renamed(good, good.ids[0]) if _names_ids(good) else None


def _missing_id(good: Good | None) -> bytes | None:
    if not _names_ids(good):
        return None
    try:
        answer = json.loads(good.response.body)
    except ValueError:
        return None
    return reply(good.response.status, json.dumps(_without(answer, good.ids[-1])).encode())


def _names_ids(good: Good | None) -> TypeGuard[Good]:
    """Whether the good answer names each of several ids. Where a request has one id, its answer need not name it."""
    return good is not None and len(good.ids) > 1 and all(id_.encode() in good.response.body for id_ in good.ids)


def _renamed(good: Good, other: str) -> bytes:
    return reply(good.response.status, good.response.body.replace(good.ids[-1].encode(), other.encode()))


def _without(value: Any, id_: str) -> Any:
    """The value without the innermost member or item that is about `id_`."""
    if isinstance(value, dict):
        return {name: _without(each, id_) for name, each in value.items() if id_ not in (name, each)}
    if isinstance(value, list):
        inner = [each for each in value if each != id_ and not (isinstance(each, dict) and id_ in each.values())]
        return [_without(each, id_) for each in inner]
    return value


_LOST = frozenset({NextStep.RETRY, NextStep.LOOK_UP})
_STRANGE = _LOST | {NextStep.HALT}
_HALT = frozenset({NextStep.HALT})
_THROTTLED = frozenset({NextStep.THROTTLED})
_SIGN_IN = frozenset({NextStep.SIGN_IN, NextStep.FORBIDDEN, NextStep.HALT})
_FORBIDDEN = frozenset({NextStep.FORBIDDEN, NextStep.HALT, NextStep.SPLIT, NextStep.RETRY})
_ABSENT = frozenset({NextStep.LOOK_UP, NextStep.SPLIT, NextStep.HALT})

PAUSE = "Return THROTTLED for every 429: all requests pause, and no attempt is used up"
MAYBE = "Return RETRY with maybe_applied=True: a server that fails may have done it"
NO_SUCCESS = "This is no success of the API, and it may have had effect: RETRY with maybe_applied=True"
REDIRECT = "Return HALT: no redirect is followed, and the same request will meet it again"
WHOLE = "Return PER_ID with every id that the answer names, as it names it: the engine compares them with the request"

CATALOGUE: tuple[ApiFault, ...] = (
    ApiFault("401", _page(401), _SIGN_IN, "Return SIGN_IN, or FORBIDDEN for a key that cannot be renewed"),
    ApiFault("403", _page(403), _FORBIDDEN, "Return FORBIDDEN: the run halts unless something has succeeded before"),
    ApiFault("404", _page(404), _ABSENT, "Return LOOK_UP, or HALT where a 404 only means a wrong path"),
    ApiFault("429", _page(429), _THROTTLED, PAUSE),
    ApiFault("429-seconds", _page(429, ("retry-after", str(AFTER_S))), _THROTTLED, PAUSE, after_s=AFTER_S),
    ApiFault(
        "429-date",
        _page(429, ("retry-after", formatdate(NOW + AFTER_S, usegmt=True)), ("date", formatdate(NOW, usegmt=True))),
        _THROTTLED,
        PAUSE,
        after_s=AFTER_S,
    ),
    *(ApiFault(f"{status}-page", _page(status), _LOST, MAYBE, maybe_applied=True) for status in (500, 502, 503, 504)),
    *(
        ApiFault(f"{status}", _page(status, ("location", "https://elsewhere.example/")), _HALT, REDIRECT)
        for status in (301, 302, 307, 308)
    ),
    ApiFault("empty-200", _empty, _STRANGE, NO_SUCCESS, maybe_applied=True),
    ApiFault("page-200", _page(200), _STRANGE, NO_SUCCESS, maybe_applied=True),
    ApiFault("cut-body", _cut, _STRANGE, NO_SUCCESS, maybe_applied=True),
    ApiFault("other-json", _json(b'{"unexpected": true}'), _STRANGE, NO_SUCCESS, maybe_applied=True),
    ApiFault("null", _json(b"null"), _STRANGE, NO_SUCCESS, maybe_applied=True),
    ApiFault("number", _json(b"42"), _STRANGE, NO_SUCCESS, maybe_applied=True),
    ApiFault("short-body", _short, _LOST, NO_SUCCESS, no_response=True),
    ApiFault("lost-answer", _lost, _LOST, NO_SUCCESS, no_response=True),
    ApiFault("unknown-id", _unknown_id, _LOST, WHOLE, maybe_applied=True),
    ApiFault("doubled-id", _doubled_id, _LOST, WHOLE, maybe_applied=True),
    ApiFault("missing-id", _missing_id, frozenset({NextStep.PER_ID}), WHOLE),
)

RESPONSES = tuple(fault for fault in CATALOGUE if not fault.no_response)
"""Those that a job reads."""


async def action_fault(lab: Lab, fault: ApiFault) -> Seen:
    """Answer an action with a fault."""
    action, good = lab.target.action(lab.id_type), lab.good
    ids = good.ids if good is not None else lab.made_up[:1]
    request = action.calls(lab.records(*ids))[0]
    decision = await _decided(lab, fault, good, request, action.read, ids=ids)
    if decision is None:
        return Seen(None, "no good answer is known" if good is None else "a good answer names no id, or is empty")
    if decision.next_step is NextStep.PER_ID:
        decision = as_whole(decision_per_id(ids, decision), missing=ids[-1])
    return Seen(_right(fault, decision), shown(decision))


async def read_fault(lab: Lab, fault: ApiFault, good: Good | None, request: Request, read: Read) -> Seen | None:
    """Answer a reading request with a fault. It must find nothing, and must not take one for an empty answer."""
    decision = await _decided(lab, fault, good, request, read)
    if decision is None:
        return None
    absent = fault.name == "404" and decision.next_step is NextStep.SETTLED and not decision.data
    ok = absent or (decision.next_step in fault.right and _pauses(fault, decision))
    return Seen(ok, shown(decision))


def as_whole(decision: Decision, *, missing: str) -> Decision:
    """Read a complete answer per id: one that confirms nothing is lost, one that confirms `missing` is a success."""
    if decision.next_step is not NextStep.PER_ID:
        return decision
    verdicts = {answer.id: answer.verdict for answer in decision.data}
    if set(verdicts.values()) <= {Verdict.MAYBE_APPLIED}:
        return Decision(NextStep.RETRY, decision.detail, maybe_applied=True, reason="every id is maybe applied")
    if verdicts[missing] is not Verdict.MAYBE_APPLIED:
        return Decision(NextStep.SETTLED, reason=f"per id, and for the last one: {verdicts[missing].value}")
    return decision


async def _decided(
    lab: Lab, fault: ApiFault, good: Good | None, request: Request, read: Read, *, ids: Sequence[str] = ()
) -> Decision | None:
    """The decision on a request that meets a fault; None when the fault cannot be played."""
    answer = fault.play(good)
    if answer is None:
        return None
    lab.server.answer = lambda _: answer
    return (await lab.exchange(lab.to_faults, request, read, ids))[1]


def _right(fault: ApiFault, decision: Decision) -> bool:
    if decision.next_step not in fault.right or not _pauses(fault, decision):
        return False
    if not fault.maybe_applied:
        return True
    return not decision.untouched and (decision.maybe_applied or decision.next_step is NextStep.HALT)


def _pauses(fault: ApiFault, decision: Decision) -> bool:
    return fault.after_s is None or decision.after_s == fault.after_s
