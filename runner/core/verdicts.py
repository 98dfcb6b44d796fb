"""A request, what came back, and what that means. Owns the vocabulary between a job and the engine.

A job turns records into a `Call` and a `Reply` into a `Verdict`; the engine knows no status code, only verdicts.
NamedTuples, not frozen dataclasses, like everything that is made anew for every chunk: those take three times as long.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

from runner.core.outcomes import NOTHING_SAID, Detail


class Call(NamedTuple):
    """One HTTP request, without host and credentials.

    path: begins with `/`. query: pairs, a key may repeat. body: encoded JSON, or None.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


class Reply(NamedTuple):
    """A whole answer. body: decompressed, capped. retry_after, date: these headers as they stood; None without one."""

    status: int
    body: bytes
    retry_after: str | None = None
    date: str | None = None


class Lost(NamedTuple):
    """No whole answer. sent: False only when the request provably never left: nothing of it was written."""

    reason: str
    sent: bool


class Act(enum.Enum):
    """What a verdict asks for."""

    SETTLED = "settled"
    RETRY = "retry"  # as if the reply had been lost: again, later
    LOOK_UP = "look up"  # ask which of the ids exist
    SPLIT = "split"  # something in this chunk is refused: isolate it
    FORBIDDEN = "forbidden"  # halt if nothing has succeeded yet, else isolate
    HALT = "halt"  # going on can only do harm
    THROTTLED = "throttled"  # everyone pauses; no failure, no attempt
    SIGN_IN = "sign in"  # the token was not accepted


class Verdict(NamedTuple):
    """The meaning of one reply.

    tainting: the request may have had effect although it was not confirmed.
    untouched: the request provably had none (429, 401, never sent).
    after_s: the server's own wish for a pause, seconds; None when it said nothing.
    free: it uses up no attempt, because it failed while the breaker held everything back.
    reason: why, in words for the user, for RETRY and HALT.
    data: what a reading call returned, for SETTLED.
    """

    act: Act
    detail: Detail = NOTHING_SAID
    tainting: bool = False
    untouched: bool = False
    after_s: float | None = None
    free: bool = False
    reason: str = ""
    data: Any = None


def lost(reply: Lost) -> Verdict:
    """A lost reply: again. Tainting unless the request never left."""
    return Verdict(Act.RETRY, tainting=reply.sent, untouched=not reply.sent, reason=reply.reason)
