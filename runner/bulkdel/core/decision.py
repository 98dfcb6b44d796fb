"""A request, its response, and the decision that follows. Owns the vocabulary between a job and the engine.

A job turns records into a `Request` and a `Response` into a `Decision`. The engine knows no status code.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from bulkdel.core.outcome import NOTHING_SAID, Detail

SERVER_FAILS = 500
"""From this HTTP status on the server has failed."""


class Request(NamedTuple):
    """One HTTP request, without host and credentials.

    path: begins with `/`, percent-encoded. query: pairs as they are meant, not encoded; a key may repeat.
    body: encoded, or None. headers: such as its content type, which is JSON by default.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """Without what may hold ids or a secret."""
        return f"{type(self).__name__}({self.method})"


class Response(NamedTuple):
    """A whole response.

    body: inflated, and not longer than the transport allows.
    retry_after, date, link: these headers as they were sent; None without one. Several links are joined by commas.
    """

    status: int
    body: bytes
    retry_after: str | None = None
    date: str | None = None
    link: str | None = None


class Setup(enum.Enum):
    """A wrong setting, with which every repetition fails. The value says how to correct it."""

    AUTHORITY = "its authority is not known to this machine: give that authority's certificate with --ca-file FILE"
    HOST_NAME = "--host must be a name that the certificate is for"
    DATES = "have the server's certificate renewed, or set this machine's clock"
    PROXY = "check --proxy: its address and port, the user and password in it, and whether it may connect to --host"
    DESCRIPTORS = "raise the limit of open files (ulimit -n), or give a lower --concurrency"


class NoResponse(NamedTuple):
    """No whole response came.

    sent: whether a part of the request may have left this machine.
    setup: the setting that has to be corrected before any request can succeed; None for a fault that may pass.
    withheld: this process had no lease. It says nothing about the server.
    """

    reason: str
    sent: bool
    setup: Setup | None = None
    withheld: bool = False


class NextStep(enum.Enum):
    """What a decision asks for."""

    SETTLED = "settled"
    RETRY = "retry"  # no usable response: again, later
    LOOK_UP = "look up"  # ask which of the ids exist
    SPLIT = "split"  # an id of this chunk is refused: find it
    PER_ID = "per id"  # `data` holds an IdAnswer for each id
    FORBIDDEN = "forbidden"  # halt if nothing has succeeded yet, else as SPLIT
    HALT = "halt"  # going on can only do harm
    THROTTLED = "throttled"  # all requests pause; this is no failure and uses up no attempt
    SIGN_IN = "sign in"  # the credentials were not accepted


class Decision(NamedTuple):
    """What follows from one response, or from its absence.

    maybe_applied: the request may have been applied although that was not confirmed.
    untouched: the request was certainly not applied (429, 401, never sent).
    after_s: the pause that the server asked for, seconds; None when it asked for none.
    free: the attempt is not counted: it failed while the breaker was open, or while this process was stopped.
    reason: why, in words for the user, for RETRY and HALT; for PER_ID, when some ids were not settled.
    data: for SETTLED, what a reading call returned; for PER_ID, a list of IdAnswer.
    """

    next_step: NextStep
    detail: Detail = NOTHING_SAID
    maybe_applied: bool = False
    untouched: bool = False
    after_s: float | None = None
    free: bool = False
    reason: str = ""
    data: Any = None

    @property
    def accepted(self) -> bool:
        """Whether the API has accepted the request, at least for one id. Then the key has the permission."""
        if self.next_step is NextStep.PER_ID:
            return any(answer.verdict in {Verdict.SETTLED, Verdict.ALREADY} for answer in self.data)
        return self.next_step is NextStep.SETTLED


def is_outage(fault: str, decision: Decision) -> bool:
    """Whether a request has failed because the server does not work. A working server may refuse, too.

    fault: of the response, as `fault_of` says. An API may say a status such as 503 in its body.
    """
    code = decision.detail.code
    return bool(fault) or (isinstance(code, int) and code >= SERVER_FAILS)


class Verdict(enum.Enum):
    """What an answer says of one id."""

    SETTLED = "settled"
    ALREADY = "already"  # it was in the target state before
    ABSENT = "absent"  # there is no such id
    REFUSED = "refused"
    AGAIN = "again"  # nothing was done with it; it may be sent again
    MAYBE_APPLIED = "maybe applied"


class IdAnswer(NamedTuple):
    """The part of an answer that is about one id, spelled as in the request."""

    id: str
    verdict: Verdict
    detail: Detail = NOTHING_SAID


MISMATCH = "the answer names an id that was not in the request, or the same id twice"


def decision_per_id(ids: Collection[str], decision: Decision) -> Decision:
    """Check a decision PER_ID on a request for `ids`, and add the ids that the answer does not name: maybe applied.

    An answer that names another id, or one id twice, does not belong to this request. It counts as lost.
    """
    answers: Sequence[IdAnswer] = decision.data
    named = {answer.id for answer in answers}
    if len(named) < len(answers) or not named.issubset(ids):
        return Decision(NextStep.RETRY, decision.detail, maybe_applied=True, reason=MISMATCH)
    missing = [IdAnswer(id_, Verdict.MAYBE_APPLIED, decision.detail) for id_ in ids if id_ not in named]
    again = sum(answer.verdict in {Verdict.AGAIN, Verdict.MAYBE_APPLIED} for answer in (*answers, *missing))
    reason = f"an answer did not settle {again:,} of its ids" if again else ""
    return decision._replace(data=[*answers, *missing], reason=reason)


def fault_of(response: Response | NoResponse) -> str:
    """Why the server does not seem to work; empty after a response of a working server, or if nothing was asked."""
    if isinstance(response, NoResponse):
        return "" if response.withheld else response.reason
    return f"HTTP {response.status}" if response.status >= SERVER_FAILS else ""


def decision_on_no_response(missing: NoResponse) -> Decision:
    """Retry, or halt when the setup is at fault."""
    if missing.setup is not None:
        return Decision(NextStep.HALT, untouched=not missing.sent, reason=f"{missing.reason}; {missing.setup.value}")
    return Decision(NextStep.RETRY, maybe_applied=missing.sent, untouched=not missing.sent, reason=missing.reason)
