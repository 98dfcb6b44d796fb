"""One simulated run: its sessions, what happens between them, how they crash, and the judgement at the end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine, Iterable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import orjson

from bulkdel.errors import UsageError
from bulkdel.library import Run, Summary
from bulkdel.settings import Settings, VerifySettings
from bulkdel.verify.session import VerifyResult
from bulkdel_jobs.delete_users import DeleteUsers
from tests.simulation.clock import EPOCH, WorldClock
from tests.simulation.drawing import Drawn, draw
from tests.simulation.ids import account_key
from tests.simulation.network import Network
from tests.simulation.program import HOST, Files, Machine, simulated
from tests.simulation.promises import OURS, Promises
from tests.simulation.server import Server
from tests.simulation.sessions import Session, Steer
from tests.simulation.stage import Stage
from tests.simulation.trace import Trace

OLD_S = 90 * 86_400.0
YOUNG_S = 3_600.0
FAIR_SESSION, FAIR_SESSIONS = Session(), 4
"""Sessions at the end in which nothing goes wrong. They have to settle everything."""

BROUGHT_BACK = 0.3
"""The share of the deleted accounts that are back before a verification, in every other run."""

T = TypeVar("T")


class World:
    """One run from its first session to its judgement. trace: what happened; the same seed gives the same lines."""

    def __init__(self, seed: int, folder: Path, drawn: Drawn | None = None) -> None:
        self.drawn = drawn = drawn or draw(seed)
        self._folder = folder
        self._clock = clock = WorldClock()
        self.trace = Trace(lambda: clock.now)
        self._server = Server(
            drawn.id_type, drawn.customs, Random(f"server {seed}"), lambda: clock.true, self.trace.note
        )
        self._network = Network(self._server, Random(f"network {seed}"))
        self._promises = Promises(drawn, self._server, self.trace, lambda: clock.now)
        self._stage = Stage(seed, clock, self.trace, self._network, self._promises)
        self._rng = self._stage.rng
        self._guarded = False  # whether this session has the guards
        disk = self._stage.disk
        self._files = Files(
            disk.file(folder / "log", self._promises.log_is_safe),
            disk.file(folder / (drawn.backup or "copies"), self._promises.copies_are_safe),
            disk.file(folder / "findings", self._promises.findings_are_safe),
        )
        self._create_accounts()
        self._write("export", drawn.rows)
        self._write("kept", drawn.excluded)

    @property
    def said(self) -> list[str]:
        """How each session ended."""
        return self._stage.said

    def play(self) -> list[str]:
        """Play the run, judge it, and verify it. Returns what is wrong."""
        self._play_run()
        if not self._promises.wrong:
            self._promises.judge(self._files.log.path)
        if not self._promises.wrong and self.drawn.verification is not None and self._promises.claims():
            self._play_verification(self.drawn.verification)
        return self._promises.wrong

    def _play_run(self) -> None:
        """Play every session, then fair ones until all is settled."""
        for number, session in enumerate((*self.drawn.sessions, *([FAIR_SESSION] * FAIR_SESSIONS))):
            self._guarded = number >= self.drawn.guarded_from
            self._promises.guard(guarded=self._guarded and bool(self.drawn.guards))
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
            self._promises.judge_findings(self._files.findings.path)

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
        began, server, rng = self._clock.true, self._server, self._rng
        self._clock.wait(session.gap_s)
        self._stage.set_clock(session.clock_s)
        again, ahead = self._promises.again, self._promises.keys_ahead()
        for account in [one for one in server.every() if one.deleted_by in OURS and one.key not in again | ahead]:
            if self.drawn.reusable and rng.random() < session.again and server.alive(account.key) is None:
                at = rng.uniform(max(began, account.deleted_at or 0.0), self._clock.true)
                server.create(account.key, at)
                again.add(account.key)
                self.trace.note(f"the account of {account.key} is created again, {self._clock.true - at:.0f} s ago")
        owner = {self.drawn.owner} if self.drawn.owner else set[str]()
        keys = sorted({account_key(self.drawn.id_type, id_) for id_ in self.drawn.rows} - again - owner)
        for key in rng.sample(keys, min(len(keys), session.others)):
            if (alive := server.alive(key)) is not None:
                server.delete(alive, "others")
                self.trace.note(f"another program deletes the account of {key}")

    # --- one session ---

    def _play(self, session: Session, program: Callable[[Machine], Coroutine[Any, Any, T]]) -> T | None:
        options = self.drawn.options
        return self._stage.play(session, program, rate=options["rate"], timeout_s=options["timeout_s"])

    async def _send(self, machine: Machine) -> Summary:
        """Run: plan, confirm, send."""
        session = self._stage.session
        job = simulated(DeleteUsers, machine.its)
        async with machine.run(job, self._folder / "export", self._settings(), self._files) as run:
            plan = await run.plan()
            if plan.ids and not plan.complete:
                await run.confirm(ids=plan.ids, pool=plan.pool)
            run.start()
            if session.end == "drain":
                machine.loop.call_later(session.at / 10, self._drain, run.drain)
            for change in session.changes:
                machine.loop.call_later(change.after_s, self._change, run, change)
            return await run.finished()

    async def _verify(self, machine: Machine) -> VerifyResult:
        """Verify the run. No deletion may leave."""
        drawn = self._stage.session
        self._stage.process.drain_at(float("-inf"))
        names = ("rate", "concurrency", "patience", "timeout_s")
        settings = VerifySettings(host=HOST, **{name: self.drawn.options[name] for name in names})
        with ExitStack() as stack:
            session = machine.verification(simulated(DeleteUsers, machine.its), settings, self._files, stack)
            if drawn.end == "drain":
                machine.loop.call_later(drawn.at / 10, session.drain, signal.SIGTERM)
            return await session.run()

    def _settings(self) -> Settings:
        drawn, session = self.drawn, self._stage.session
        not_after = None
        if session.end == "not after":
            at = int(self._stage.wall() + session.at / 10) + 1
            not_after = datetime.fromtimestamp(at, UTC).strftime("%H:%M:%SZ")
            self._stage.process.drain_at(at - EPOCH - self._stage.set_by_s)
        return Settings(
            checkpoint=self._files.log.path,
            host=HOST,
            allow_absent=True,
            max_refused="100%",
            exclude=[self._folder / "kept"] if drawn.excluded else None,
            backup=self._files.copies.path if drawn.backup else None,
            limit=session.at if session.end == "limit" else None,
            not_after=not_after,
            **drawn.options,
            **(drawn.guards if self._guarded else {}),
        )

    def _drain(self, drain: Any) -> None:
        self.trace.note("the caller drains the run")
        self._stage.process.drain_at(self._clock.now)
        drain()

    def _change(self, run: Run, change: Steer) -> None:
        self.trace.note(f"a person changes the run: {change}")
        with suppress(UsageError):  # it has ended
            match change.what:
                case "pause":
                    run.pause()
                    self._stage.process.pause(paused=True)
                case "resume":
                    self._stage.process.pause(paused=False)
                    run.resume()
                case "rate":
                    run.set_rate(change.value)
                    self._stage.process.change_rate(change.value)
                case "concurrency":
                    run.set_concurrency(int(change.value))


def remove(folder: Path) -> None:
    """Remove the files of a run."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
