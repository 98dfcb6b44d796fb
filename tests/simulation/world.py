"""One simulated run: its sessions, what happens between them, how they crash, and the judgement at the end."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import orjson

from bulkdel.settings import VerifySettings
from bulkdel.verify.session import VerifyResult
from bulkdel_jobs.delete_users import DeleteUsers
from tests.simulation.clock import EPOCH, WorldClock
from tests.simulation.drawing import Drawn, draw
from tests.simulation.ids import account_key
from tests.simulation.network import Network
from tests.simulation.program import HOST, Machine, simulated
from tests.simulation.promises import OURS, Promises
from tests.simulation.run_play import FAIR_SESSION, FAIR_SESSIONS, RunPlay
from tests.simulation.server import Server
from tests.simulation.sessions import Session
from tests.simulation.stage import Stage
from tests.simulation.trace import Trace

OLD_S = 90 * 86_400.0
YOUNG_S = 3_600.0
BROUGHT_BACK = 0.3
"""The share of the deleted accounts that are back before a verification, in every other run."""

T = TypeVar("T")


class DeletionWorld:
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
        self._promises = Promises(drawn, self._server, self.trace, lambda: clock.now, folder)
        self._stage = Stage(seed, clock, self.trace, self._network, self._promises)
        self._rng = self._stage.rng
        self._guards: Mapping[str, Any] = {}  # those of this session
        disk = self._stage.disk
        self._copies = folder / (drawn.backup or "copies")
        self._findings = folder / "findings"
        self._run = folder / "run"
        self._log = disk.file(self._run / "log.jsonl", self._promises.log_is_safe)
        disk.file(self._copies, self._promises.copies_are_safe)
        disk.file(self._findings, self._promises.findings_are_safe)
        self._play = RunPlay(
            self._stage,
            self.trace,
            self._promises,
            DeleteUsers,
            folder / "export",
            self._run,
            drawn.options,
            self._before,
            self._more_settings,
        )
        self._create_accounts()
        write_ids(folder / "export", drawn.rows)
        write_ids(folder / "kept", drawn.excluded)

    @property
    def said(self) -> list[str]:
        """How each session ended."""
        return self._stage.said

    def play(self) -> list[str]:
        """Play the run, judge it, and verify it. Returns what is wrong."""
        self._play.play(self.drawn.sessions)
        self._network.land()
        if not self._promises.wrong:
            self._promises.judge(self._log.path)
        if not self._promises.wrong and self.drawn.verification is not None and self._promises.claims():
            self._play_verification(self.drawn.verification)
        return self._promises.wrong

    def _play_verification(self, session: Session) -> None:
        """Bring some accounts back, play a session with faults, then fair ones, and judge the findings."""
        self._pass_time_before(session)
        share = self._rng.choice([0.0, BROUGHT_BACK])
        for account in self._server.every():
            if self._server.alive(account.key) is None and self._rng.random() < share:
                account.deleted_at = None
                self.trace.note(f"the account of {account.key} is back")
        for each in (session, *([FAIR_SESSION] * FAIR_SESSIONS)):
            rate, timeout_s = self.drawn.options["rate"], self.drawn.options["timeout"]
            result = self._stage.play(each, self._verify, rate=rate, timeout_s=timeout_s)
            done = each is FAIR_SESSION and result is not None and not result.ending.why
            if self._promises.wrong or done:
                break
        if not self._promises.wrong:
            self._promises.judge_findings(self._findings)

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

    def _before(self, number: int, session: Session) -> None:
        """What happens before a session of the run."""
        self._guards = self.drawn.guards if number >= self.drawn.guarded_from else {}
        self._promises.guard(guarded=bool(self._guards))
        self._pass_time_before(session)

    def _more_settings(self) -> Mapping[str, Any]:
        backup = self._copies if self.drawn.backup else None
        return {
            "exclude": [self._folder / "kept"] if self.drawn.excluded else None,
            "backup_to": backup,
            **self._guards,
        }

    def _pass_time_before(self, session: Session) -> None:
        """What was under way arrives; time passes; accounts are created again, and deleted by another program."""
        began, server, rng = self._clock.true, self._server, self._rng
        self._stage.pass_time(session)
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

    # --- the verification ---

    async def _verify(self, machine: Machine) -> VerifyResult:
        """Verify the run. No deletion may leave."""
        drawn = self._stage.session
        self._stage.process.drain_at(float("-inf"))
        names = ("rate", "concurrency", "patience", "timeout")
        settings = VerifySettings(host=HOST, **{name: self.drawn.options[name] for name in names})
        with ExitStack() as stack:
            session = machine.verification(
                simulated(DeleteUsers, machine.its), settings, self._run, self._findings, stack
            )
            if drawn.end == "drain":
                machine.loop.call_later(drawn.at / 10, session.drain, signal.SIGTERM)
            return await session.run()


def write_ids(path: Path, ids: Iterable[str]) -> None:
    """Write a file of ids."""
    path.write_bytes(b"".join(orjson.dumps({"id": id_}) + b"\n" for id_ in ids))


def remove(folder: Path) -> None:
    """Remove the files of a run."""
    shutil.rmtree(folder)
