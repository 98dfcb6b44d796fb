"""The program under test: the real run and the real verification, on a machine whose parts are simulated."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from bulkdel.checkpoint.file import How
from bulkdel.checkpoint.licence import Terms
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.log_entries import Header, Saved, stamp
from bulkdel.core.skipped_rows import SkippedRows
from bulkdel.engine.backup import Backup
from bulkdel.engine.surroundings import Surroundings
from bulkdel.export.reopen import Reopened
from bulkdel.http.client import Client, connect
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import Transport
from bulkdel.job import Target, TargetOptions
from bulkdel.library import Run
from bulkdel.safety.run_plan import RunArguments
from bulkdel.settings import CommonSettings, Settings, VerifySettings
from bulkdel.verify.session import VerifySession, open_findings_log
from bulkdel_jobs.delete_users import CALLS, DeleteUsers
from bulkdel_jobs.genauth.auth import SignIn, Tokens
from bulkdel_jobs.genauth.credentials import Credentials, brand_named
from bulkdel_jobs.genauth.target import GenAuth
from tests.simulation.disk import SimulatedFile
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
    log, copies, findings: its files: the log, the backup, the log of the verification.
    """

    loop: SimulatedLoop
    wall: Callable[[], float]
    chance: Callable[[], float]
    rng: Random
    log: SimulatedFile
    copies: SimulatedFile
    findings: SimulatedFile
    connect: Callable[[], Connection]

    def run(self, export: Path, settings: Settings) -> Run:
        """Make a run of the job `delete-users` at the simulated server."""
        arguments = RunArguments(self._job(), str(export), settings, {}, {})
        return Run(arguments, surroundings=self._surroundings())

    def verification(self, settings: VerifySettings, stack: ExitStack) -> VerifySession:
        """Open a session of the verification of that run, as `bulkdel verify` does. `stack` closes it."""
        checked = Reopened.open(self.log.path, None, stack)
        index = checked.log_index
        pinned = {"run_id": index.progress.header.run_id, "log_sha256": index.sha256, "sample": settings.sample}
        how, at = self._how(self.findings), stamp(self.wall())
        log, _ = open_findings_log(
            self.findings.path, pinned, index.progress.skipped.rows, at=at, again=False, key=KEY, how=how
        )
        stack.callback(log.close)
        target = self._job().target(TargetOptions(HOST, {}, {}))
        return VerifySession(checked, log, target, settings, self._surroundings())

    def _job(self) -> SimulatedJob:
        return SimulatedJob(self.wall, self.chance)

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            wall=self.wall,
            steady=self.loop.time,
            chance=self.chance,
            pid=self.rng.randrange(2, 1 << 22),
            in_thread=at_once,
            connect=self._connect,
            create_log=self._create_log,
            resume_log=self._resume_log,
            open_backup=self._open_backup,
        )

    def _create_log(self, path: Path, header: Header, skipped: SkippedRows, _: Terms) -> Checkpoint:
        header = replace(header, run_id=str(uuid.UUID(int=self.rng.getrandbits(128))))
        return Checkpoint.create(path, header, skipped, self._how(self.log))

    def _resume_log(self, path: Path, _: Terms) -> Checkpoint:
        return Checkpoint.resume(path, self._how(self.log))

    def _open_backup(self, path: Path, durable: Saved | None) -> Backup:
        return Backup.open(path, durable, disk=self.copies.calls, thread=self._thread())

    def _thread(self) -> SimulatedThread:
        return SimulatedThread(self.loop, lambda: self.rng.random() * THREAD_MAX_S)

    def _how(self, file: SimulatedFile) -> How:
        return How(file.calls, self._thread(), f"{self.rng.getrandbits(64):016x}")

    @asynccontextmanager
    async def _connect(
        self,
        target: Target,
        settings: CommonSettings,
        *,
        pool: str | None,
        may_send: Callable[[], bool] = lambda: True,
    ) -> AsyncIterator[Client]:
        network, wall, steady = self.connect(), self.wall, self.loop.time
        async with connect(target, settings, pool=pool, transport=network, wall=wall, steady=steady) as client:
            yield client


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
    ) -> Tokens:
        assert self.credentials is not None
        wall, chance = self.its
        sign_in = SignIn(
            send=transport.send,
            rate_limiter=rate_limiter,
            credentials=self.credentials,
            brand=self.brand,
            patience_s=patience_s,
            clock=clock,
            now=wall,
            chance=chance,
        )
        return Tokens(sign_in=sign_in, brand=self.brand, pool=pool, secrets=(self.credentials.secret,), clock=clock)


class SimulatedJob(DeleteUsers):
    """delete-users at the simulated server."""

    def __init__(self, wall: Callable[[], float], chance: Callable[[], float]) -> None:
        self._its = (wall, chance)

    def target(self, options: TargetOptions) -> Target:
        keys = Credentials("k" * 24, "s" * 32)
        return SimulatedGenAuth(HOST, HOST, brand_named("genauth"), keys, CALLS, its=self._its)
