"""One simulated run: its sessions, what happens between them, how they crash, and the judgement at the end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import orjson

from bulkdel.errors import BulkdelError, FileFailed, Halted, UsageError
from bulkdel.library import Run, Summary
from bulkdel.settings import Settings, VerifySettings
from bulkdel.verify.session import VerifyResult
from tests.simulation.disk import SimulatedDisk
from tests.simulation.drawing import EPOCH, Drawn, Session, Steer, draw
from tests.simulation.ids import account_key
from tests.simulation.loop import SimulatedLoop
from tests.simulation.network import Connection, Network
from tests.simulation.program import HOST, Machine
from tests.simulation.promises import OURS, Promises
from tests.simulation.server import Server
from tests.simulation.trace import Trace

OLD_S = 90 * 86_400.0
YOUNG_S = 3_600.0
FAIR_SESSION, FAIR_SESSIONS = Session(), 4
"""Sessions at the end in which nothing goes wrong. They have to settle everything."""

BROUGHT_BACK = 0.3
"""The share of the deleted accounts that are back before a verification, in every other run."""

T = TypeVar("T")


class World:
    """One run from its first session to its judgement.

    said: how each session ended. trace: what happened; the same seed gives the same lines.
    """

    def __init__(self, seed: int, folder: Path, drawn: Drawn | None = None) -> None:
        self.drawn = drawn = drawn or draw(seed)
        self.said: list[str] = []
        self.trace = Trace(lambda: self.now)
        self._folder = folder
        self._chance = Random(f"program {seed}").random
        self._rng = Random(f"world {seed}")
        self._now = 0.0
        self._clock_s = 0.0  # how far the clock of the program's machine was set
        self._loop: SimulatedLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._session = Session()
        self._crashed = False
        self._guarded = False  # whether this session has the guards
        self._server = Server(
            drawn.id_type, drawn.customs, Random(f"server {seed}"), lambda: EPOCH + self.now, self.trace.note
        )
        self._network = Network(self._server, Random(f"network {seed}"))
        self._promises = Promises(drawn, self._server, self.trace, lambda: self.now)
        self._disk = SimulatedDisk(Random(f"disk {seed}"), self._at_the_disk, self._promises.note_wrong)
        self._log = self._disk.file(folder / "log", self._promises.log_is_safe)
        self._copies = self._disk.file(folder / (drawn.backup or "copies"), self._promises.copies_are_safe)
        self._findings = self._disk.file(folder / "findings", self._promises.findings_are_safe)
        self._create_accounts()
        self._write("export", drawn.rows)
        self._write("kept", drawn.excluded)

    @property
    def now(self) -> float:
        """Seconds since the world began."""
        return self._now if self._loop is None else self._loop.time()

    def wall(self) -> float:
        """The clock of the program's machine."""
        return EPOCH + self.now + self._clock_s

    def play(self) -> list[str]:
        """Play the run, judge it, and verify it. Returns what is wrong."""
        self._play_run()
        if not self._promises.wrong:
            self._promises.judge(self._log.path)
        if not self._promises.wrong and self.drawn.verification is not None and self._promises.claims():
            self._play_verification(self.drawn.verification)
        return self._promises.wrong

    def _play_run(self) -> None:
        """Play every session, then fair ones until all is settled."""
        for number, session in enumerate((*self.drawn.sessions, *([FAIR_SESSION] * FAIR_SESSIONS))):
            self._guarded = number >= self.drawn.guarded_from
            self._promises.guarded = self._guarded and bool(self.drawn.guards)
            self._pass_time_before(session)
            summary = self._play(session, self._send)
            if summary is not None:
                self.trace.note(f"=== {dict(summary.counts)}")
                self._promises.check_summary(summary)
            complete = summary is not None and summary.status == "complete"
            if self._promises.wrong or complete or (session is FAIR_SESSION and self._promises.settled()):
                break
        self._network.land()
        if not self._promises.wrong and not self._promises.settled():
            self._promises.note_wrong(f"not settled in {FAIR_SESSIONS} sessions in which nothing goes wrong")

    def _play_verification(self, session: Session) -> None:
        """Bring some accounts back, play a session with faults, then fair ones, and judge the findings."""
        self._pass_time_before(session)
        share = self._rng.choice([0.0, BROUGHT_BACK])
        for account in self._server.every():
            if self._server.alive(account.key) is None and self._rng.random() < share:
                account.deleted_at = None
                self.trace.note(f"the account of {account.key} is back")
        for each in (session, *([FAIR_SESSION] * FAIR_SESSIONS)):
            result = self._play(each, self._verify)
            done = each is FAIR_SESSION and result is not None and not result.ending.why
            if self._promises.wrong or done:
                break
        if not self._promises.wrong:
            self._promises.judge_findings(self._findings.path)

    # --- before the first session, and between two ---

    def _create_accounts(self) -> None:
        drawn, server = self.drawn, self._server
        ids = [*drawn.there, *drawn.strangers]
        self._rng.shuffle(ids)
        for id_ in ids:
            most_s = YOUNG_S if id_ in drawn.young else OLD_S
            at = EPOCH - (most_s != YOUNG_S) * OLD_S - self._rng.random() * most_s
            server.create(id_, at, [EPOCH + each for each in drawn.sign_ins.get(id_, ())])
        owner = server.alive(drawn.owner) if drawn.owner else None
        server.owner = owner.user_id if owner else None

    def _write(self, name: str, ids: Iterable[str]) -> None:
        (self._folder / name).write_bytes(b"".join(orjson.dumps({"id": id_}) + b"\n" for id_ in ids))

    def _pass_time_before(self, session: Session) -> None:
        """What was under way arrives; time passes; accounts are created again, and deleted by another program."""
        self._network.land()
        began, server, rng = EPOCH + self._now, self._server, self._rng
        self._now += session.gap_s
        self._clock_s += session.clock_s
        again, ahead = self._promises.again, self._promises.keys_ahead()
        for account in [one for one in server.every() if one.deleted_by in OURS and one.key not in again | ahead]:
            if self.drawn.reusable and rng.random() < session.again and server.alive(account.key) is None:
                at = rng.uniform(max(began, account.deleted_at or 0.0), EPOCH + self._now)
                server.create(account.key, at)
                again.add(account.key)
                self.trace.note(f"the account of {account.key} is created again, {EPOCH + self._now - at:.0f} s ago")
        owner = {self.drawn.owner} if self.drawn.owner else set[str]()
        keys = sorted({account_key(self.drawn.id_type, id_) for id_ in self.drawn.rows} - again - owner)
        for key in rng.sample(keys, min(len(keys), session.others)):
            if (alive := server.alive(key)) is not None:
                server.delete(alive, "others")
                self.trace.note(f"another program deletes the account of {key}")

    # --- one session ---

    def _play(self, session: Session, program: Callable[[Machine], Coroutine[Any, Any, T]]) -> T | None:
        """Let the program run on the machine. Returns its result; None when it did not come to its end."""
        self.trace.note(f"=== {session}")
        self._session, self._crashed = session, False
        self._network.roads, self._network.cut = session.roads, False
        self._server.begin(session.weather)
        self._disk.begin()
        self._promises.begin(session)
        self._loop = SimulatedLoop(self._now, self._at_turn)
        asyncio.set_event_loop(None)
        files = (self._log, self._copies, self._findings)
        machine = Machine(self._loop, self.wall, self._chance, self._rng, *files, self._connect)
        result: T | None = None
        said: str = session.end
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # type: ignore[arg-type,return-value]
                result = runner.run(self._noting_its_task(program(machine)))
            said = _words(result)
        except asyncio.CancelledError:
            if not self._crashed:
                raise
        except BulkdelError as error:
            said = f"{type(error).__name__}: {error}"
            meant = isinstance(error, Halted) or (isinstance(error, FileFailed) and self._disk.failed)
            if not meant:
                self._promises.note_wrong(said)
        finally:
            self._now, self._loop = self.now, None
        self.said.append(said)
        self.trace.note(f"=== {said}")
        if self._crashed and session.end.startswith("power"):
            self._disk.lose_power()
        return None if self._crashed else result

    async def _noting_its_task(self, program: Coroutine[Any, Any, T]) -> T:
        """Run a program whose task a crash can cancel."""
        self._task = asyncio.current_task()
        return await program

    async def _send(self, machine: Machine) -> Summary:
        """Run: plan, confirm, send."""
        async with machine.run(self._folder / "export", self._settings()) as run:
            plan = await run.plan()
            if plan.ids and not plan.complete:
                await run.confirm(ids=plan.ids, pool=plan.pool)
            run.start()
            if self._session.end == "drain":
                machine.loop.call_later(self._session.at / 10, self._drain, run.drain)
            for change in self._session.changes:
                machine.loop.call_later(change.after_s, self._change, run, change)
            return await run.finished()

    async def _verify(self, machine: Machine) -> VerifyResult:
        """Verify the run. No deletion may leave."""
        self._promises.no_deletion_from = float("-inf")
        names = ("rate", "concurrency", "patience", "timeout_s")
        settings = VerifySettings(host=HOST, **{name: self.drawn.options[name] for name in names})
        with ExitStack() as stack:
            session = machine.verification(settings, stack)
            if self._session.end == "drain":
                machine.loop.call_later(self._session.at / 10, session.drain, signal.SIGTERM)
            return await session.run()

    def _settings(self) -> Settings:
        drawn, session = self.drawn, self._session
        not_after = None
        if session.end == "not after":
            at = int(self.wall() + session.at / 10) + 1
            not_after = datetime.fromtimestamp(at, UTC).strftime("%H:%M:%SZ")
            self._promises.no_deletion_from = at - EPOCH - self._clock_s
        return Settings(
            checkpoint=self._log.path,
            host=HOST,
            allow_absent=True,
            max_refused="100%",
            exclude=[self._folder / "kept"] if drawn.excluded else None,
            backup=self._copies.path if drawn.backup else None,
            limit=session.at if session.end == "limit" else None,
            not_after=not_after,
            **drawn.options,
            **(drawn.guards if self._guarded else {}),
        )

    def _connect(self) -> Connection:
        self._promises.connect()
        timeout_s = self.drawn.options["timeout_s"]
        return Connection(self._network, self._promises, wall=self.wall, timeout_s=timeout_s)

    def _drain(self, drain: Any) -> None:
        self.trace.note("the caller drains the run")
        self._promises.no_deletion_from = self.now
        drain()

    def _change(self, run: Run, change: Steer) -> None:
        self.trace.note(f"a person changes the run: {change}")
        with suppress(UsageError):  # it has ended
            match change.what:
                case "pause":
                    run.pause()
                    self._promises.paused = True
                case "resume":
                    self._promises.paused = False
                    run.resume()
                case "rate":
                    run.set_rate(change.value)
                    self._promises.change_rate(change.value)
                case "concurrency":
                    run.set_concurrency(int(change.value))

    # --- its end ---

    def _at_turn(self, turn: int) -> None:
        if self._session.end in ("kill", "power") and turn == self._session.at:
            self._crash()

    def _at_the_disk(self, count: int, name: str) -> None:
        if count < self._session.at:
            return
        if self._session.end in ("kill at the disk", "power at the disk") and count == self._session.at:
            self._crash()
        elif self._session.end == "no space" and name.startswith("write"):
            raise OSError(28, "No space left on device")
        elif self._session.end == "bad sync" and name == "sync":
            raise OSError(5, "Input/output error")

    def _crash(self) -> None:
        self.trace.note(f"** {self._session.end}")
        self._crashed = self._disk.gone = self._network.cut = self._promises.quiet = True
        if self._task is not None:
            self._task.cancel()


def _words(result: Any) -> str:
    """How a session ended."""
    if isinstance(result, Summary):
        return f"{result.status}: {result.why}"
    return f"verified: {result.ending.why}"


def remove(folder: Path) -> None:
    """Remove the files of a run."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
