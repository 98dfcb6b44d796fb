"""Plays a run of one job: the sessions that were drawn, then fair ones until all is settled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bulkdel.errors import UsageError
from bulkdel.library import Run, Summary
from bulkdel.settings import Settings
from bulkdel_jobs.genauth.genauth_job import GenAuthJob
from tests.simulation.clock import EPOCH
from tests.simulation.program import HOST, Machine, begin, simulated
from tests.simulation.run_promises import RunPromises
from tests.simulation.sessions import Session, Steer
from tests.simulation.stage import Stage
from tests.simulation.trace import Trace

FAIR_SESSION, FAIR_SESSIONS = Session(), 5
"""Sessions at the end in which nothing goes wrong. They have to settle everything."""


@dataclass(frozen=True)
class RunPlay:
    """One run, and what it is played on.

    options: of the run. parameters: of the job. before: what happens before a session, called with its number, from 0;
    None where only time passes.
    more: more settings of the next session.
    """

    stage: Stage
    trace: Trace
    promises: RunPromises
    job: type[GenAuthJob]
    export: Path
    run: Path
    options: Mapping[str, Any]
    before: Callable[[int, Session], None] | None = None
    more: Callable[[], Mapping[str, Any]] = dict
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def play(self, sessions: Sequence[Session]) -> None:
        """Play every session, then fair ones. What is wrong is in the promises."""
        promises = self.promises
        for number, session in enumerate((*sessions, *([FAIR_SESSION] * FAIR_SESSIONS))):
            if self.before is None:
                self.stage.pass_time(session)
            else:
                self.before(number, session)
            rate, timeout_s = self.options["rate"], self.options["timeout"]
            summary = self.stage.play(session, self._send, rate=rate, timeout_s=timeout_s)
            if summary is not None:
                self.trace.note(f"=== {dict(summary.counts)}")
                promises.check_summary(summary)
            complete = summary is not None and summary.status == "complete"
            if promises.wrong or complete or (session is FAIR_SESSION and promises.settled()):
                break
        if not promises.wrong and not promises.settled():
            promises.note_wrong(f"not settled in {FAIR_SESSIONS} sessions in which nothing goes wrong")

    async def _send(self, machine: Machine) -> Summary:
        """Run: plan, confirm, send."""
        session, job = self.stage.session, simulated(self.job, machine.its)
        async with machine.run(job, self.export, self._settings(), machine.world(), self.parameters) as run:
            await begin(run)
            if session.end == "drain":
                machine.loop.call_later(session.at / 10, self._drain, run.drain)
            for change in session.changes:
                machine.loop.call_later(change.after_s, self._change, run, change)
            return await run.finished()

    def _settings(self) -> Settings:
        session, not_after = self.stage.session, None
        if session.end == "not after":
            at = int(self.stage.wall() + session.at / 10) + 1
            not_after = datetime.fromtimestamp(at, UTC).strftime("%H:%M:%SZ")
            self.stage.process.drain_at(at - EPOCH - self.stage.set_by_s)
        settings = Settings(
            run=self.run,
            host=HOST,
            allow_absent=True,
            max_refused="100%",
            limit=session.at if session.end == "limit" else None,
            not_after=not_after,
            **self.options,
        )
        return replace(settings, **self.more())

    def _drain(self, drain: Callable[[], None]) -> None:
        self.trace.note("the caller drains the run")
        self.stage.process.drain_at(self.stage.now)
        drain()

    def _change(self, run: Run, change: Steer) -> None:
        self.trace.note(f"a person changes the run: {change}")
        with suppress(UsageError):  # it has ended
            match change.what:
                case "pause":
                    run.pause()
                    self.stage.process.pause(paused=True)
                case "resume":
                    self.stage.process.pause(paused=False)
                    run.resume()
                case "rate":
                    run.set_rate(change.value)
                    self.stage.process.change_rate(change.value)
                case "concurrency":
                    run.set_concurrency(int(change.value))
