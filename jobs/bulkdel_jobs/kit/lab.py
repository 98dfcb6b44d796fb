"""What a check is, where a job is checked, and what was found: one line a check, with ok, WRONG or skipped.

Owns every request: it has the target, the sign-in, the look-alike and the server of faults. Requests go through the
real transport, and each response through the same function as in a run (`core.redaction.decision_on`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from traceback import walk_tb
from typing import Any, NamedTuple

from bulkdel.core.decision import Decision, NextStep, NoResponse, Request, Response
from bulkdel.core.id_type import IdType
from bulkdel.core.record import Record, Records
from bulkdel.core.redaction import IdRedactor, decision_on
from bulkdel.errors import BulkdelError
from bulkdel.http.page_reader import PAGES_MAX
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import HttpTransport
from bulkdel.job import Account, Auth, HasStates, Job, LookUps, Paged, Target
from bulkdel_jobs.kit.wire import FaultServer

SEEN_MAX = 90
"""Characters of what a check saw that its line shows when nothing is wrong."""


class Finding(NamedTuple):
    """The result of one check.

    name: `group/check`. ok: None when the check could not be made. seen: what happened. advice: what to do about it.
    """

    name: str
    ok: bool | None
    seen: str
    advice: str = ""

    @property
    def line(self) -> str:
        """For people."""
        word = {True: "ok", False: "WRONG", None: "skipped"}[self.ok]
        seen = self.seen if len(self.seen) <= SEEN_MAX or not self.ok else f"{self.seen[:SEEN_MAX]}…"
        return f"{word:<8}{self.name:<24} {seen}" + (f". {self.advice}." if self.advice and not self.ok else "")


class Seen(NamedTuple):
    """What one check has seen.

    ok: None when the check could not be made; `text` says why. advice: in the place of the check's own.
    leak: whether a message that a person reads quotes a secret.
    """

    ok: bool | None
    text: str
    advice: str | None = None
    leak: bool = False


MESSAGE = "-message"
"""The end of the name of a finding about a leak. There is none where nothing leaks."""

QUOTED = "Never put a header, a body or a text of the server into a message as it is"


@dataclass(slots=True)
class JobFindings:
    """All findings of one check of a job, in the order of the checks.

    package: the top-level package of the job. The place of an exception is the innermost line in it.
    """

    package: str = ""
    found: list[Finding] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        """How many checks found something wrong."""
        return sum(finding.ok is False for finding in self.found)

    def add(self, name: str, seen: Seen, advice: str = "") -> bool:
        """Note the result of a check; return whether it is all right. advice: of the check."""
        advice = advice if seen.advice is None else seen.advice
        self.found.append(Finding(name, seen.ok, seen.text, "" if seen.ok is None else advice))
        if seen.leak:
            self.found.append(Finding(f"{name}{MESSAGE}", ok=False, seen="a message quotes a secret", advice=QUOTED))
        return bool(seen.ok)

    @contextmanager
    def watch(self, name: str, advice: str = "") -> Iterator[None]:
        """Make an exception of the job a finding of this check. Its text is left out, as in a run: it may be secret."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever the job raises is what the check has found
            seen = f"{raised(error, self.package)}: a run halts here"
            self.add(name, Seen(ok=False, text=seen), advice or "Raise no exception")


def raised(error: BaseException, package: str = "") -> str:
    """The type of an exception and its innermost line in `package`. The text only of those written for people."""
    if isinstance(error, BulkdelError):
        return f"{type(error).__name__}: {error}"
    frames = [(frame.f_globals.get("__name__", ""), frame.f_code, line) for frame, line in walk_tb(error.__traceback__)]
    own = [frame for frame in frames if frame[0].partition(".")[0] == package] or frames
    _, code, line = own[-1]
    return f"raised {type(error).__qualname__} at {Path(code.co_filename).name}, line {line}"


SOME = 3
"""Ids of the first action: enough for an answer with an id missing."""

PATIENCE_S = 0.0
"""How long a sign-in may wait for a server that fails, in a check."""

END_S = 10.0
"""A sign-in that has not ended after this time does not end."""

Read = Callable[[Response], Decision]


class Good(NamedTuple):
    """The answer of the look-alike to a request. ids: those in the request. stranger: an id that is not."""

    response: Response
    ids: Sequence[str]
    stranger: str


@dataclass(slots=True)
class Lab:
    """Everything that the checks of one job share, and what they have learnt so far.

    made_up: ids of no account, for requests that reach no API. stranger: one more, which the API does not hold.
    to_faults: the way to `server`, which answers with faults. It is sent no credentials, but for a sign-in.
    api: the way to the look-alike, or to the host that the user named; None without one.
    existing: ids that the API holds and that the action may be carried out for. whole: whether they fill a chunk.
    auth: signed in at `api`; None when that did not work. secrets: what its headers carry.
    known: ids that the API holds, for look-ups. stateless: an account whose record does not have its state.
    good: the good answer to an action. readings: the reading requests that were made, by name, with their good answers.
    """

    job: Job
    target: Target
    id_type: IdType
    made_up: list[str]
    stranger: str
    server: FaultServer
    to_faults: HttpTransport
    existing: list[str]
    whole: bool
    api: HttpTransport | None = None
    auth: Auth | None = None
    secrets: set[str] = field(default_factory=set, repr=False)
    known: Sequence[str] = field(init=False)
    stateless: Account | None = None
    good: Good | None = None
    readings: dict[str, tuple[Request | None, Read, Good | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known = self.existing

    @property
    def look_ups(self) -> LookUps:
        """The look-ups of the job, made anew."""
        return self.target.look_ups(self.id_type)

    @property
    def to_api(self) -> HttpTransport:
        """The way to the API, where there is one."""
        assert self.api is not None
        return self.api

    @property
    def some(self) -> list[str]:
        """The ids of the first action."""
        return self.existing[: min(SOME, self.job.chunk_max)]

    def make_auth(self, transport: HttpTransport) -> Auth:
        """Make a sign-in that sends its requests through `transport`."""
        return self.target.auth(transport, RateLimiter(0), pool=None, patience_s=PATIENCE_S, clock=time.monotonic)

    def records(self, *ids: str) -> Records:
        """Make a chunk."""
        return Records.of(Record(at, id_) for at, id_ in enumerate(ids))

    async def headers(self, request: Request) -> Mapping[str, str]:
        """Sign a request as a run does."""
        assert self.auth is not None
        return (await signed(self.auth, request))[0]

    async def exchange(
        self, transport: HttpTransport, request: Request, read: Read, ids: Sequence[str] = ()
    ) -> tuple[Response | NoResponse, Decision]:
        """Send one request and decide on its response, redacted as in a run."""
        response = await transport.send(request, await self.headers(request) if transport is self.api else {})
        redact = IdRedactor(ids)
        hide: Callable[[str], str] = str if self.auth is None else self.auth.hide
        return response, decision_on(response, read, lambda text: redact(hide(text)), time.time())

    async def find(self, ids: Sequence[str]) -> dict[str, Account]:
        """Look ids up, and ask for the states that their records do not have. Raises NotRead."""
        look_ups = self.look_ups
        accounts: dict[str, Account] = {}
        for group, request in look_ups.calls(ids):
            accounts |= look_ups.match(group, await self.read(request, look_ups.read))[0]
        for id_, account in accounts.items():
            if account.reached is not None or not isinstance(look_ups, HasStates):
                continue
            if requests := look_ups.state_calls(account):
                read = partial(look_ups.read_state, account=account)
                states = [await self.read(request, read) for request in requests]
                accounts[id_] = replace(account, reached=all(states))
        return accounts

    async def read(self, request: Request, read: Read) -> Any:
        """Send a reading request to the API and return what it read, in all pages of a list. Raises NotRead."""
        look_ups, items = self.look_ups, list[Any]()
        for _ in range(PAGES_MAX):
            response, decision = await self.exchange(self.to_api, request, read)
            if decision.next_step is not NextStep.SETTLED:
                raise NotRead(shown(decision))
            if not isinstance(decision.data, list) or not isinstance(response, Response):
                return decision.data
            items += decision.data
            following = look_ups.next_page(request, response, len(items)) if isinstance(look_ups, Paged) else None
            if following is None:
                return items
            request = following
        raise NotRead(f"a list has not ended after {PAGES_MAX} pages")


class Check(NamedTuple):
    """One row of the table of checks.

    name: `group/check`. play: says what it has seen; None where there is nothing to check.
    needs: what there must be for it. advice: what to do when it is wrong; raises: when the job raises an exception.
    says_why: whether a finding says what is missing. Otherwise there is none then.
    """

    name: str
    play: Callable[[Lab], Awaitable[Seen | None]]
    needs: Sequence[str]
    advice: str
    raises: str = ""
    says_why: bool = False


async def signed(auth: Auth, request: Request) -> tuple[Mapping[str, str], int]:
    """Headers of fresh credentials for a request, and their generation."""
    await asyncio.wait_for(auth.ensure(), END_S)
    headers = auth.sign(request)
    assert headers is not None, "no headers after ensure()"
    return headers


class NotRead(BulkdelError):
    """A reading request to the API was not settled. Its text is the decision."""


def shown(decision: Decision) -> str:
    """A decision in a few words."""
    applied = ", maybe applied" if decision.maybe_applied else ""
    reason = decision.reason or (str(decision.detail) if decision.detail.code or decision.detail.message else "")
    return f"{decision.next_step.value}{applied}" + (f" ({reason})" if reason else "")
