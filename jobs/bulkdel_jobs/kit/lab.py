"""Where a job is checked: its target, its sign-in, its look-alike, and the server of faults. Owns every request.

Requests to the look-alike and requests to the server of faults go through the real transport, and each response through
the same function as in a run (`core.redaction.decision_on`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bulkdel.core.decision import Decision, NextStep, NoResponse, Request, Response
from bulkdel.core.id_type import IdType
from bulkdel.core.record import Record, Records
from bulkdel.core.redaction import IdRedactor, decision_on
from bulkdel.errors import BulkdelError
from bulkdel.http.pages import PAGES_MAX
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import HttpTransport
from bulkdel.job import Account, Auth, Job, LookUps, Target
from bulkdel_jobs.kit.findings import JobFindings
from bulkdel_jobs.kit.wire import FaultServer

PATIENCE_S = 0.0
"""How long a sign-in may wait for a server that fails, in a check."""

END_S = 10.0
"""A sign-in that has not ended after this time does not end."""

Read = Callable[[Response], Decision]


@dataclass(slots=True)
class Lab:
    """Everything that the checks of one job share.

    made_up: ids of no account, for requests that reach no API. stranger: one more, which the API does not hold.
    to_faults: the way to `server`, which answers with faults. It is sent no credentials, but for a sign-in.
    api: the way to the look-alike, or to the host that the user named; None without one.
    auth: signed in at `api`; None when that did not work. secrets: what its headers carry.
    """

    job: Job
    target: Target
    id_type: IdType
    made_up: list[str]
    stranger: str
    server: FaultServer
    to_faults: HttpTransport
    findings: JobFindings
    api: HttpTransport | None = None
    auth: Auth | None = None
    secrets: set[str] = field(default_factory=set, repr=False)

    @property
    def look_ups(self) -> LookUps | None:
        """The look-ups of the job, made anew."""
        return self.target.look_ups(self.id_type)

    def make_auth(self, transport: HttpTransport) -> Auth:
        """Make a sign-in that sends its requests through `transport`."""
        return self.target.auth(transport, RateLimiter(0), pool=None, patience_s=PATIENCE_S, clock=time.monotonic)

    def records(self, *ids: str) -> Records:
        """Make a chunk."""
        return Records.of(Record(at, id_) for at, id_ in enumerate(ids))

    async def headers(self, request: Request) -> Mapping[str, str]:
        """Sign a request as a run does."""
        assert self.auth is not None
        await asyncio.wait_for(self.auth.ensure(), END_S)
        signed = self.auth.sign(request)
        assert signed is not None, "no headers after ensure()"
        return signed[0]

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
        assert look_ups is not None
        accounts: dict[str, Account] = {}
        for group, request in look_ups.calls(ids):
            accounts |= look_ups.match(group, await self.read(request, look_ups.read))[0]
        for id_, account in accounts.items():
            if account.reached is None and (requests := look_ups.state_calls(account)):
                states = [await self.read(request, look_ups.read_state) for request in requests]
                accounts[id_] = replace(account, reached=all(states))
        return accounts

    async def read(self, request: Request, read: Read) -> Any:
        """Send a reading request to the API and return what it read, in all pages of a list. Raises NotRead."""
        assert self.api is not None
        look_ups, items = self.look_ups, list[Any]()
        for _ in range(PAGES_MAX):
            response, decision = await self.exchange(self.api, request, read)
            if decision.next_step is not NextStep.SETTLED:
                raise NotRead(shown(decision))
            if not isinstance(decision.data, list) or not isinstance(response, Response) or look_ups is None:
                return decision.data
            items += decision.data
            if (following := look_ups.next_page(request, response, len(items))) is None:
                return items
            request = following
        raise NotRead(f"a list has not ended after {PAGES_MAX} pages")


class NotRead(BulkdelError):
    """A reading request to the API was not settled. Its text is the decision."""


def shown(decision: Decision) -> str:
    """A decision in a few words."""
    applied = ", maybe applied" if decision.maybe_applied else ""
    reason = decision.reason or (str(decision.detail) if decision.detail.code or decision.detail.message else "")
    return f"{decision.next_step.value}{applied}" + (f" ({reason})" if reason else "")
