"""One API at one address with one set of credentials: `bulkdel.job.Target`. Its pool is the address.

An API without pools has one set of accounts at its address. So host and base path are what the user confirms as --pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from bulkdel.core.id_type import IdType
from bulkdel.errors import Halted, UsageError
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import Transport
from bulkdel.job import Action, Auth, Job, LookUps, NoLookUps, Target
from bulkdel_jobs.parts.tokens import PAUSE_S


def pool_of(host: str, base: str = "") -> str:
    """The pool of an API without pools: `api.example.com/v1`. host: base URL; base: a path below it."""
    return f"{host.partition('://')[2]}{base}"


class MakeAuth(Protocol):
    """Makes the credentials for one session."""

    def __call__(
        self, transport: Transport, rate_limiter: RateLimiter, *, patience_s: float, clock: Callable[[], float]
    ) -> Auth:
        """See `bulkdel.job.Target.auth`."""
        ...


def always(auth: Auth) -> MakeAuth:
    """The same credentials for every session."""
    return lambda *_, **__: auth


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiTarget:
    """`bulkdel.job.Target`. See there for host, pinned_host, key, key_hint and pause_s.

    make_auth: None without credentials. job_action: what is done to the ids. job_look_ups: how they are found.
    """

    host: str
    pinned_host: str
    key: str | None
    key_hint: str
    make_auth: MakeAuth | None
    job_action: Action
    job_look_ups: LookUps = NoLookUps()  # noqa: RUF009 - it holds nothing
    pause_s: float = PAUSE_S

    def auth(
        self,
        transport: Transport,
        rate_limiter: RateLimiter,
        *,
        pool: str | None,  # noqa: ARG002 - the address is the pool, and it is compared already
        patience_s: float,
        clock: Callable[[], float],
    ) -> Auth:
        """See `bulkdel.job.Target`."""
        if self.make_auth is None:
            raise Halted("not signed in: no credentials")
        return self.make_auth(transport, rate_limiter, patience_s=patience_s, clock=clock)

    def look_ups(self, id_type: IdType, *, full: bool = False) -> LookUps:  # noqa: ARG002 - one kind
        """See `bulkdel.job.Target`."""
        return self.job_look_ups

    def action(self, id_type: IdType) -> Action:  # noqa: ARG002 - the ids are sent as they are
        """See `bulkdel.job.Target`."""
        return self.job_action


class WithoutSandbox(Job):
    """A job of an API that has no look-alike here."""

    def sandbox(
        self,
        ids: Iterable[str],  # noqa: ARG002
        id_type: IdType,  # noqa: ARG002
        parameters: Any,  # noqa: ARG002
    ) -> AbstractContextManager[Target]:
        """See `bulkdel.job.Job`. Raises UsageError."""
        begin = "begin with `plan`, then with `run --limit 1`, or name a test system with --host"
        raise UsageError(f"{self.name} has no sandbox: {begin}")
