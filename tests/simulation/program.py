"""The program under test: the real run and the real verification, on a machine whose parts are simulated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

from bulkdel.core.log_entries import stamp
from bulkdel.durable import DISK, Disk
from bulkdel.export.reopen import Reopened
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.shared_rate import ADDRESS, KeeperAddress
from bulkdel.http.transport import Transport
from bulkdel.job import Job, Target, TargetOptions
from bulkdel.library import Run
from bulkdel.parameters import parameters_of
from bulkdel.place.lease import Terms
from bulkdel.safety.run_plan import RunArguments
from bulkdel.settings import Settings, VerifySettings
from bulkdel.verify.session import VerifySession, open_findings_log
from bulkdel.world import World
from bulkdel_jobs.genauth.access_key import Credentials, brand_named
from bulkdel_jobs.genauth.genauth_job import GenAuth, GenAuthJob
from bulkdel_jobs.genauth.signing_in import KeySignIn
from bulkdel_jobs.parts.tokens import TokenAuth
from tests.simulation.loop import SimulatedLoop, SimulatedThread, at_once
from tests.simulation.network import Connection

HOST = "http://127.0.0.1:1"
KEY = bytes(32)
THREAD_MAX_S = 0.02
"""How long a job of a thread waits for its turn, at most."""


@dataclass(frozen=True)
class Machine:
    """What one session of the program runs on.

    wall: its clock. chance: draws for the program. rng: draws for the world. connect: opens a way to the server.
    disk: with the files of the run.
    keeper: of the rate that the program shares with others; None when it has the rate for itself.
    """

    loop: SimulatedLoop
    wall: Callable[[], float]
    chance: Callable[[], float]
    rng: Random
    connect: Callable[[], Connection]
    disk: Disk = DISK
    keeper: KeeperAddress | None = None

    def run(
        self,
        job: Job,
        export: Path,
        settings: Settings,
        world: World,
        parameters: Mapping[str, Any] = MappingProxyType({}),
    ) -> Run:
        """Make a run of a job at the simulated server."""
        environ = {} if self.keeper is None else {ADDRESS: self.keeper.text}
        arguments = RunArguments(job, str(export), settings, {}, environ, parameters=parameters_of(job, parameters))
        return Run(arguments, world=world)

    def verification(
        self, job: Job, settings: VerifySettings, run: Path, findings: Path, stack: ExitStack
    ) -> VerifySession:
        """Open a session of the verification of that run, as `bulkdel verify` does. `stack` closes it."""
        checked = Reopened.open(run, None, stack)
        index = checked.log_index
        pinned = {"run_id": index.progress.header.run_id, "log_sha256": index.sha256, "sample": settings.sample}
        terms = Terms(settings.patience, world=self.world())
        skipped, at = index.progress.skipped.rows, stamp(self.wall())
        log, _ = open_findings_log(findings, pinned, skipped, terms, at=at, again=False, key=KEY)
        stack.callback(log.close)
        return VerifySession(checked, log, job.target(TargetOptions(HOST, {}, {})), settings)

    @property
    def its(self) -> tuple[Callable[[], float], Callable[[], float]]:
        """The clock and the chance, for a job."""
        return self.wall, self.chance

    def world(self, pid: int | None = None) -> World:
        """Everything that the program does not compute itself. pid: drawn by default."""
        drawn = self.rng.randrange(2, 1 << 22) if pid is None else pid
        return World(
            wall=self.wall,
            steady=self.loop.time,
            boot=self.loop.time,
            chance=self.chance,
            random_bytes=self.rng.randbytes,
            pid=lambda: drawn,
            disk=self.disk,
            open_transport=lambda *_, **__: nullcontext(self.connect()),
            in_thread=at_once,
            threads=lambda *_: SimulatedThread(self.loop, lambda: self.rng.random() * THREAD_MAX_S),
        )


async def begin(run: Run) -> None:
    """Plan, confirm and start a run."""
    plan = await run.plan()
    if plan.ids and not plan.complete:
        await run.confirm(ids=plan.ids, pool=plan.pool)
    run.start()


@dataclass(frozen=True)
class SimulatedGenAuth(GenAuth):
    """GenAuth with the clock and the chance of the simulation. its: both of them."""

    its: tuple[Callable[[], float], Callable[[], float]] = field(kw_only=True)

    def auth(
        self,
        transport: Transport,
        rate_limiter: RateLimiter,
        *,
        pool: str | None,
        patience_s: float,
        clock: Callable[[], float],
    ) -> TokenAuth:
        assert self.credentials is not None
        wall, chance = self.its
        sign_in = KeySignIn(
            send=transport.send,
            rate_limiter=rate_limiter,
            credentials=self.credentials,
            brand=self.brand,
            patience_s=patience_s,
            clock=clock,
            now=wall,
            chance=chance,
        )
        return TokenAuth(sign_in=sign_in, pool=pool, clock=clock)


def simulated(job: type[GenAuthJob], its: tuple[Callable[[], float], Callable[[], float]]) -> GenAuthJob:
    """The job at the simulated server. its: the clock and the chance."""

    class Simulated(job):  # type: ignore[valid-type,misc]  # its base is a variable
        def target(self, options: TargetOptions) -> Target:
            keys, calls = Credentials("k" * 24, "s" * 32), self.calls(options.parameters)
            return SimulatedGenAuth(HOST, HOST, brand_named("genauth"), keys, calls, its=its)

    made: GenAuthJob = Simulated()
    return made
