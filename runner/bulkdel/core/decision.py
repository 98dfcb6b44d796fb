"""A request, what came back, and what that means. Owns the vocabulary between a job and the engine.

A job turns records into a `Request` and a `Response` into a `Decision`; the engine knows no status code, only verdicts.
NamedTuples, not frozen dataclasses, like everything that is made anew for every chunk: those take three times as long.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

from bulkdel.core.outcome import NOTHING_SAID, Detail


class Request(NamedTuple):
    """One HTTP request, without host and credentials.

    path: begins with `/`. query: pairs, a key may repeat. body: encoded JSON, or None.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


class Response(NamedTuple):
    """A whole answer. body: decompressed, capped. retry_after, date: these headers as they stood; None without one."""

    status: int
    body: bytes
    retry_after: str | None = None
    date: str | None = None


class Setup(enum.Enum):
    """What is set up wrongly, so that repeating the request cannot help. The value is what to do about it."""

    AUTHORITY = "this machine does not know who signed it: give that authority's certificate with --ca-file FILE"
    HOST_NAME = "--host must be a name that the certificate is for"
    DATES = "have the server's certificate renewed, or set this machine's clock"
    PROXY = "check --proxy: its address and port, the user and password in it, and whether it may connect to --host"
    DESCRIPTORS = "raise the limit of open files (ulimit -n), or give a lower --concurrency"


class NoResponse(NamedTuple):
    """No whole answer.

    sent: False only when the request provably never left: nothing of it was written. setup: what has to be set up
    otherwise before any request can succeed; None for a fault that may pass.
    """

    reason: str
    sent: bool
    setup: Setup | None = None


class NextStep(enum.Enum):
    """What a verdict asks for."""

    SETTLED = "settled"
    RETRY = "retry"  # as if the reply had been lost: again, later
    LOOK_UP = "look up"  # ask which of the ids exist
    SPLIT = "split"  # something in this chunk is refused: isolate it
    FORBIDDEN = "forbidden"  # halt if nothing has succeeded yet, else isolate
    HALT = "halt"  # going on can only do harm
    THROTTLED = "throttled"  # everyone pauses; no failure, no attempt
    SIGN_IN = "sign in"  # the token was not accepted


class Decision(NamedTuple):
    """The meaning of one reply.

    tainting: the request may have had effect although it was not confirmed.
    untouched: the request provably had none (429, 401, never sent).
    after_s: the server's own wish for a pause, seconds; None when it said nothing.
    free: it uses up no attempt: it failed while the breaker was open, or while this process was stopped.
    reason: why, in words for the user, for RETRY and HALT.
    data: what a reading call returned, for SETTLED.
    """

    next_step: NextStep
    detail: Detail = NOTHING_SAID
    tainting: bool = False
    untouched: bool = False
    after_s: float | None = None
    free: bool = False
    reason: str = ""
    data: Any = None


def lost(response: NoResponse) -> Decision:
    """A lost reply: again, unless the setup is at fault. Tainting unless the request never left."""
    if response.setup is not None:
        return Decision(NextStep.HALT, untouched=not response.sent, reason=f"{response.reason}; {response.setup.value}")
    return Decision(NextStep.RETRY, tainting=response.sent, untouched=not response.sent, reason=response.reason)
