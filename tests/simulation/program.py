"""The program under test: the real run and the real verification, on a machine whose parts are simulated."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

from bulkdel.checkpoint.open_log import Files as FilesBeside
from bulkdel.checkpoint.writer import Checkpoint, HowWritten
from bulkdel.core.log_entries import Header, Saved, stamp
from bulkdel.core.skipped_rows import SkippedRows
from bulkdel.engine.backup import Backup
from bulkdel.engine.surroundings import Surroundings
from bulkdel.export.reopen import Reopened
from bulkdel.http.client import Client
from bulkdel.http.connecting import connect
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.shared_rate import KeeperAddress
from bulkdel.http.transport import Transport
from bulkdel.job import Job, Target, TargetOptions
from bulkdel.library import Run
from bulkdel.parameters import parameters_of
from bulkdel.place.lease import Terms
from bulkdel.place.log_file import LogFile
from bulkdel.place.log_place import LogPlace
from bulkdel.place.opening import log_at
from bulkdel.safety.run_plan import RunArguments
from bulkdel.settings import CommonSettings, Settings, VerifySettings
from bulkdel.verify.session import VerifySession, open_findings_log
from bulkdel_jobs.genauth.access_key import Credentials, brand_named
from bulkdel_jobs.genauth.genauth_job import GenAuth, GenAuthJob
from bulkdel_jobs.genauth.signing_in import KeySignIn
from bulkdel_jobs.parts.tokens import TokenAuth
from tests.simulation.disk import SimulatedFile
from tests.simulation.loop import SimulatedLoop, SimulatedThread, at_once
from tests.simulation.network import Connection

HOST = "http://127.0.0.1:1"
KEY = bytes(32)
THREAD_MAX_S = 0.02
"""How long a job of a thread waits for its turn, at most."""


@dataclass(frozen=True)
class Files:
    """The files of a run and of its verification: the log, the backup, the log of the verification."""

    log: SimulatedFile
    copies: SimulatedFile | None = None
    findings: SimulatedFile | None = None


@dataclass(frozen=True)
class Machine:
    """What one session of the program runs on.

    wall: its clock. chance: draws for the program. rng: draws for the world. connect: opens a way to the server.
    keeper: of the rate that the program shares with others; None when it has the rate for itself.
    """

    loop: SimulatedLoop
    wall: Callable[[], float]
    chance: Callable[[], float]
    rng: Random
    connect: Callable[[], Connection]
    keeper: KeeperAddress | None = None

    def run(
        self,
        job: Job,
        export: Path,
        settings: Settings,
        surroundings: Surroundings,
        parameters: Mapping[str, Any] = MappingProxyType({}),
    ) -> Run:
        """Make a run of a job at the simulated server."""
        arguments = RunArguments(job, str(export), settings, {}, {}, parameters=parameters_of(job, parameters))
        return Run(arguments, surroundings=surroundings)

    def verification(self, job: Job, settings: VerifySettings, files: Files, stack: ExitStack) -> VerifySession:
        """Open a session of the verification of that run, as `bulkdel verify` does. `stack` closes it."""
        checked = Reopened.open(files.log.path.parent, None, stack)
        index = checked.log_index
        pinned = {"run_id": index.progress.header.run_id, "log_sha256": index.sha256, "sample": settings.sample}
        assert files.findings is not None
        place_of = partial(_on_disk, files.findings)
        log, _ = open_findings_log(
            files.findings.path,
            pinned,
            index.progress.skipped.rows,
            at=stamp(self.wall()),
            again=False,
            key=KEY,
            how=self._how(),
            place_of=place_of,
        )
        stack.callback(log.close)
        target = job.target(TargetOptions(HOST, {}, {}))
        return VerifySession(checked, log, target, settings, self.surroundings(files))

    @property
    def its(self) -> tuple[Callable[[], float], Callable[[], float]]:
        """The clock and the chance, for a job."""
        return self.wall, self.chance

    def surroundings(self, files: Files) -> Surroundings:
        """Everything that the engine does not compute itself. files: of the run."""
        return Surroundings(
            wall=self.wall,
            steady=self.loop.time,
            chance=self.chance,
            pid=self.rng.randrange(2, 1 << 22),
            in_thread=at_once,
            connect=self.connected,
            create_log=partial(self._create_log, files.log),
            resume_log=partial(self._resume_log, files.log),
            open_backup=partial(self._open_backup, files.copies),
        )

    def named(self, header: Header) -> Header:
        """The header of a new log, with a run id that was drawn."""
        return replace(header, run_id=str(uuid.UUID(int=self.rng.getrandbits(128))))

    def _create_log(
        self, file: SimulatedFile, place: LogPlace, header: Header, skipped: SkippedRows, files: FilesBeside
    ) -> Checkpoint:
        return Checkpoint.create(_on(place, file), self.named(header), skipped, files, how=self._how())

    def _resume_log(self, file: SimulatedFile, place: LogPlace) -> Checkpoint:
        return Checkpoint.resume(_on(place, file), self._how())

    def _open_backup(self, file: SimulatedFile | None, path: Path, durable: Saved | None, _: Terms) -> Backup:
        assert file is not None
        return Backup.open(path, durable, disk=file.calls, thread=self._thread())

    def _thread(self) -> SimulatedThread:
        return SimulatedThread(self.loop, lambda: self.rng.random() * THREAD_MAX_S)

    def _how(self) -> HowWritten:
        return HowWritten(self._thread(), f"{self.rng.getrandbits(64):016x}")

    @asynccontextmanager
    async def connected(
        self,
        target: Target,
        settings: CommonSettings,
        *,
        pool: str | None,
        may_send: Callable[[], bool] = lambda: True,
    ) -> AsyncIterator[Client]:
        """Open the way to the server: `bulkdel.http.client.Connect`."""
        steady = self.loop.time
        async with connect(
            target,
            settings,
            pool=pool,
            may_send=may_send,
            transport=self.connect(),
            wall=self.wall,
            steady=steady,
            boot=steady,
            keeper=self.keeper,
        ) as client:
            yield client


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


def _on(place: LogPlace, file: SimulatedFile) -> LogPlace:
    """The same log on the simulated disk."""
    assert isinstance(place, LogFile)
    return replace(place, disk=file.calls)


def _on_disk(file: SimulatedFile, path: Path) -> LogPlace:
    return _on(log_at(path), file)
