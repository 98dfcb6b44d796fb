"""Takeovers: several processes of one run whose log is in a store, on machines that lose the store, or are lost."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from bulkdel.core.decision import Request
from bulkdel.core.look_up_lag import LAG_MAX_S
from bulkdel.errors import BulkdelError, FileFailed, Halted, NotAcceptable
from bulkdel.library import Summary
from bulkdel.place.log_place import PinnedFile
from bulkdel.place.opening import log_at
from bulkdel.settings import Settings
from bulkdel.store_path import store_path
from bulkdel_jobs.delete_users import DeleteUsers
from tests.simulation.api import FAIR
from tests.simulation.clock import EPOCH, WorldClock
from tests.simulation.drawing import Drawn, draw
from tests.simulation.network import CLEAR, Connection, Network, Roads
from tests.simulation.program import HOST, Machine, begin, simulated
from tests.simulation.promises import Promises
from tests.simulation.safe import RELEASED, SENT, STARTED
from tests.simulation.server import Server
from tests.simulation.sessions import Session, drawn_session
from tests.simulation.store import CLEAR_WAY, FarStore, SharedStore, Way
from tests.simulation.strands import PROCESS, Inline, StrandLoop, StrandThread, in_strand, sleep
from tests.simulation.trace import Trace
from tests.simulation.world import OLD_S, write_ids

FAIR_GAP_S = LAG_MAX_S + 60.0
FAIR_PROCESSES = 4
"""Processes at the end for which nothing goes wrong. No look-up of them lags. They have to settle everything."""

LEAST_ROWS = 8
"""Fewer are sent before the next process begins."""

NEVER: Mapping[str, Any] = {"blind_s": float("inf"), "token_s": 7200.0, "announced_s": 7200}
"""What the server does not do here: a token of one second would never be used at one request a second."""

LOSSY = Roads(lost=0.3, lost_after=0.3, delay_s=1.0)
"""A process retries, and a retry may come after it has lost the log."""

EXPECTED = (Halted, FileFailed, NotAcceptable)
"""How a process may end that loses the log, or cannot have it."""


@dataclass(frozen=True)
class Process:
    """One process, on a machine of its own.

    begins_s: after the begin of the world. killed_s: so long after its begin; None for one that lives.
    take_over: --take-over. roads, way: to the API and to the store.
    """

    begins_s: float
    killed_s: float | None = None
    take_over: bool = False
    roads: Roads = CLEAR
    way: Way = CLEAR_WAY


@dataclass(frozen=True)
class Takeovers:
    """What is drawn. deletion: the run. The weather of its session lasts until these processes have ended."""

    deletion: Drawn
    processes: Sequence[Process]


def draw_takeovers(seed: int) -> Takeovers:
    """Draw a run of up to four processes."""
    rng = Random(f"takeovers {seed}")
    deletion = next(drawn for _ in count() if len((drawn := draw(rng.randrange(10**9))).rows) >= LEAST_ROWS)
    options = dict(deletion.options) | {"rate": rng.choice([0.4, 1.0, 5.0]), "look_first": False}
    options |= {
        "chunk_size": rng.randrange(1, 5),
        "concurrency": rng.randrange(1, 13),
        "patience": rng.choice([30.0, 900.0]),
    }
    weather = replace(drawn_session(rng).weather, **NEVER) if rng.random() < 0.5 else FAIR
    deletion = replace(
        deletion,
        options=options,
        backup=None,
        guards={},
        verification=None,
        customs=replace(deletion.customs, ahead_s=0.0, created_ahead_s=0.0),
        sessions=[Session(end="kill", weather=weather)],
    )
    begins_s, processes = 0.0, list[Process]()
    for _ in range(rng.choice([2, 2, 3, 4])):
        processes.append(_process(rng, begins_s))
        begins_s += rng.choice([rng.uniform(0.0, 3.0), rng.uniform(3.0, 40.0)])
    return Takeovers(deletion, processes)


def _process(rng: Random, begins_s: float) -> Process:
    def share(most: float) -> float:
        return rng.random() * most if rng.random() < 0.4 else 0.0

    away = begins_s + rng.uniform(0.0, 40.0)
    way = Way(
        lost=share(0.15),
        cut=share(0.15),
        late=share(0.1),
        conflict=share(0.1),
        twice=share(0.1),
        delay_s=rng.choice([0.01, 0.1, 0.5]),
        away=(away, away + rng.choice([4.0, 15.0, 60.0, 1e6])) if rng.random() < 0.6 else (0.0, 0.0),
    )
    return Process(
        begins_s,
        killed_s=rng.uniform(0.0, 40.0) if rng.random() < 0.3 else None,
        take_over=rng.random() < 0.3,
        roads=rng.choice([CLEAR, drawn_session(rng).roads, LOSSY]),
        way=way,
    )


class TakeoverPromises(Promises):
    """Watches all processes of the run: no row leaves once a later session has looked it up and decided on it by that.

    A look-up that is no more than a control of other ids does not count.
    """

    def __init__(self, drawn: Drawn, server: Server, trace: Trace, now: Callable[[], float], folder: Path) -> None:
        super().__init__(drawn, server, trace, now, folder)
        self._looked_up: dict[tuple[int, int], float] = {}  # by row and session, when that has looked it up last
        self._sent: dict[int, tuple[float, int]] = {}  # by row, when it was sent last, and by which session
        self._decided_by: dict[int, int] = {}  # by row, the latest session that has sent or settled it

    def check(self, request: Request, pid: int) -> None:
        """See `RunPromises`."""
        super().check(request, pid)
        number = self.log.pids.index(pid) if pid in self.log.pids else -1
        self._looked_up.update({(asked, number): self._now() for asked in self.asked_rows(request)})
        for row in self.changed_rows(request) or ():
            if isinstance(row, int):
                if (later := self._decided_by.get(row, -1)) > number:
                    self.note_wrong(f"row {row}: session {number} sends it, after session {later} has decided on it")
                self._decides(row, number)
                self._sent[row] = self._now(), number

    def entry_is_safe(self, state: str, rows: Sequence[int]) -> None:
        """See `RunPromises`."""
        number = len(self.log.pids) - 1
        for row in rows if state not in {SENT, RELEASED, STARTED} else ():
            self._decides(row, number)

    def _decides(self, row: int, number: int) -> None:
        """A session sends or settles a row, by the latest look-up that it has made of it."""
        self._decided_by[row] = max(number, self._decided_by.get(row, -1))
        sent_at, sender = self._sent.get(row, (0.0, number))
        if sender < number and (looked_up_at := self._looked_up.get((row, number), sent_at)) < sent_at:
            said = f"session {number} has looked it up at {looked_up_at:.3f} s, and decides by that"
            self.note_wrong(f"row {row}: session {sender} sent it at {sent_at:.3f} s; {said}")


class TakeoverWorld:
    """One run from its first process to its judgement. said: how each process ended. The rest: see `DeletionWorld`."""

    def __init__(self, seed: int, folder: Path, drawn: Takeovers | None = None) -> None:
        self.drawn = drawn or draw_takeovers(seed)
        deletion = self.drawn.deletion
        self.said: list[str] = []
        self._seed = seed
        self._folder = folder
        self._clock = clock = WorldClock()
        self.trace = Trace(lambda: clock.now)
        self._rng = Random(f"world {seed}")
        self._chance = Random(f"program {seed}").random
        rng = Random(f"server {seed}")
        self._server = Server(deletion.id_type, deletion.customs, rng, lambda: clock.true, self.trace.note)
        self._killed: set[int] = set()
        self._switch_off: dict[int, Callable[[], None]] = {}
        self._promises = TakeoverPromises(deletion, self._server, self.trace, lambda: clock.now, folder)
        self._store = SharedStore(folder / "store", lambda lines: self._promises.log_is_safe(lines, again=False))
        for id_ in (*deletion.there, *deletion.strangers):
            self._server.create(id_, EPOCH - OLD_S - self._rng.random() * OLD_S)
        owner = self._server.alive(deletion.owner) if deletion.owner else None
        self._server.owner = owner.user_id if owner else None
        write_ids(folder / "export", deletion.rows)
        write_ids(folder / "kept", deletion.excluded)

    def play(self) -> list[str]:
        """Play all processes, and judge the run. Returns what is wrong."""
        loop = StrandLoop(self._clock.now)
        self._clock.run(loop, self._play(loop))
        if not self._promises.wrong:
            log = self._folder / "joined"
            log.write_bytes(self._store.lines)
            for part in (self._folder / "store").glob("*/*/000000000001"):
                log_at(log).at(PinnedFile(part.parent.parent.name, part.parent.name)).write_bytes(part.read_bytes())
            self._promises.judge(log)
        return self._promises.wrong

    async def _play(self, loop: StrandLoop) -> None:
        with loop.ending_strands():
            await self._play_all(loop)

    async def _play_all(self, loop: StrandLoop) -> None:
        self._server.begin(self.drawn.deletion.sessions[0].weather)
        async with asyncio.TaskGroup() as group:
            for number, process in enumerate(self.drawn.processes):
                context = contextvars.copy_context()
                context.run(PROCESS.set, number)
                group.create_task(self._one(loop, process, number), context=context)
        self._server.begin(FAIR)
        for number in range(FAIR_PROCESSES):
            PROCESS.set(100 + number)
            summary = await self._one(loop, Process(self._clock.now + FAIR_GAP_S), 100 + number)
            if summary is not None:
                self._promises.check_summary(summary)
            if self._promises.wrong or (summary is not None and summary.status == "complete"):
                return
            if self._promises.settled():
                return
        self._promises.note_wrong(f"not settled by {FAIR_PROCESSES} processes for which nothing goes wrong")

    async def _one(self, loop: StrandLoop, process: Process, number: int) -> Summary | None:
        """Play one process. Returns its summary; None when it did not come to its end."""
        await asyncio.sleep(process.begins_s - self._clock.now)
        self.trace.note(f"=== process {number}: {process}")
        task = asyncio.create_task(self._run(loop, process, number))
        if process.killed_s is not None:
            loop.call_later(process.killed_s, self._kill, loop, task, number)
        await asyncio.wait({task})
        said, summary = "killed", None
        error = None if task.cancelled() else task.exception()  # of a killed process it says nothing
        if number not in self._killed:
            if error is None:
                summary = task.result()
                said = f"{summary.status}: {summary.why}"
            else:
                said = f"{type(error).__name__}: {error}"
                if not isinstance(error, BulkdelError):
                    raise error
                if not isinstance(error, EXPECTED):
                    self._promises.note_wrong(said)
        self.said.append(said)
        self.trace.note(f"=== process {number}: {said}")
        return summary

    def _kill(self, loop: StrandLoop, task: asyncio.Task[Summary], number: int) -> None:
        if not task.done():
            self.trace.note(f"** process {number} is killed")
            self._killed.add(number)
            self._switch_off[number]()
            loop.kill(number)
            task.cancel()

    async def _run(self, loop: StrandLoop, process: Process, number: int) -> Summary:
        """Run: plan, confirm, send."""
        network = Network(self._server, Random(f"network {self._seed} {number}"))
        network.begin(self._server.weather, process.roads)
        options, pid = self.drawn.deletion.options, 1000 + number
        watch = self._promises.begin(Session(), options["rate"], pid)
        far = FarStore(self._store, process.way, loop, Random(f"store {self._seed} {number}"))

        def connected() -> Connection:
            watch.connect()
            return Connection(network, watch, wall=self._wall, timeout_s=options["timeout"])

        def switch_off() -> None:
            watch.switch_off()
            network.cut_off()

        self._switch_off[number] = switch_off
        machine = Machine(loop, self._wall, self._chance, self._rng, connected)

        def threads(_: int, name: str) -> Executor:
            return Inline() if name == "store" else StrandThread(loop, lambda: self._rng.random() * 0.02)

        world = replace(machine.world(pid), sleep=sleep, open_store=lambda _: far, in_thread=in_strand, threads=threads)
        job = simulated(DeleteUsers, machine.its)
        async with machine.run(job, self._folder / "export", self._settings(process), world) as run:
            await begin(run)
            return await run.finished()

    def _settings(self, process: Process) -> Settings:
        deletion = self.drawn.deletion
        return Settings(
            run=store_path(f"file://{self._folder / 'store'}"),
            take_over=process.take_over,
            host=HOST,
            allow_absent=True,
            max_refused="100%",
            exclude=[self._folder / "kept"] if deletion.excluded else None,
            **deletion.options,
        )

    def _wall(self) -> float:
        return self._clock.true
