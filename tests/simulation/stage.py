"""The machine of the program: plays one session of it after the other, each to its own end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from bulkdel.errors import BulkdelError, FileFailed, Halted
from bulkdel.library import Summary
from tests.simulation.clock import EPOCH, WorldClock
from tests.simulation.disk import SimulatedDisk
from tests.simulation.loop import SimulatedLoop
from tests.simulation.network import Connection, Network
from tests.simulation.program import Machine
from tests.simulation.run_promises import RunPromises
from tests.simulation.sessions import Session
from tests.simulation.trace import Trace

T = TypeVar("T")


class Stage:
    """One machine and its way to the server.

    said: how each session ended. rng: draws for the world. session, process: the latest session, and what watches it.
    """

    def __init__(self, seed: int, clock: WorldClock, trace: Trace, network: Network, promises: RunPromises) -> None:
        self._clock = clock
        self._trace = trace
        self._network = network
        self._promises = promises
        self._chance = Random(f"program {seed}").random
        self._set_by_s = 0.0
        self._task: asyncio.Task[Any] | None = None
        self.session = Session()
        self.process = promises.begin(self.session, 0.0)
        self._crashed = False
        self.rng = Random(f"world {seed}")
        self.disk = SimulatedDisk(Random(f"disk {seed}"), self._at_the_disk, promises.note_wrong)
        self.said: list[str] = []

    def wall(self) -> float:
        """The clock of the machine, epoch seconds."""
        return EPOCH + self._clock.now + self._set_by_s

    @property
    def now(self) -> float:
        """Seconds since the world began."""
        return self._clock.now

    def pass_time(self, session: Session) -> None:
        """Before a session what is under way arrives, time passes, and the clock of the machine may be set."""
        self._network.land()
        self._clock.wait(session.gap_s)
        self._set_by_s += session.clock_s

    @property
    def set_by_s(self) -> float:
        """How far the clock of the machine was set."""
        return self._set_by_s

    def play(
        self, session: Session, program: Callable[[Machine], Coroutine[Any, Any, T]], *, rate: float, timeout_s: float
    ) -> T | None:
        """Let the program run on the machine. Returns its result; None when it did not come to its end.

        rate, timeout_s: --rate and --timeout.
        """
        self._trace.note(f"=== {session}")
        self.session, self._crashed = session, False
        self._network.begin(session.weather, session.roads)
        self.disk.begin()
        self.process = self._promises.begin(session, rate)
        loop = SimulatedLoop(self._clock.now, self._at_turn)
        machine = Machine(loop, self.wall, self._chance, self.rng, lambda: self._connect(timeout_s), self.disk.calls)
        result: T | None = None
        said: str = session.end
        try:
            result = self._clock.run(loop, self._noting_its_task(program(machine)))
            said = _words(result)
        except asyncio.CancelledError:
            if not self._crashed:
                raise
        except BulkdelError as error:
            said = f"{type(error).__name__}: {error}"
            meant = isinstance(error, Halted) or (isinstance(error, FileFailed) and self.disk.failed)
            if not (meant or self._crashed):
                self._promises.note_wrong(said)
        self.said.append(said)
        self._trace.note(f"=== {said}")
        if self._crashed and session.end.startswith("power"):
            self.disk.lose_power()
        return None if self._crashed else result

    async def _noting_its_task(self, program: Coroutine[Any, Any, T]) -> T:
        """Run a program whose task a crash can cancel."""
        self._task = asyncio.current_task()
        return await program

    def _connect(self, timeout_s: float) -> Connection:
        self.process.connect()
        return Connection(self._network, self.process, wall=self.wall, timeout_s=timeout_s)

    # --- the end of a session ---

    def _at_turn(self, turn: int) -> None:
        if self.session.end in ("kill", "power") and turn == self.session.at:
            self._crash()

    def _at_the_disk(self, count: int, name: str) -> None:
        if count < self.session.at:
            return
        if self.session.end in ("kill at the disk", "power at the disk") and count == self.session.at:
            self._crash()
        elif self.session.end == "no space" and name.startswith("write"):
            raise OSError(28, "No space left on device")
        elif self.session.end == "bad sync" and name == "sync":
            raise OSError(5, "Input/output error")

    def _crash(self) -> None:
        self._trace.note(f"** {self.session.end}")
        self._crashed = True
        self.disk.switch_off()
        self._network.cut_off()
        self.process.switch_off()
        if self._task is not None:
            self._task.cancel()


def _words(result: Any) -> str:
    """How a session ended."""
    if isinstance(result, Summary):
        return f"{result.status}: {result.why}"
    return f"verified: {result.ending.why}"
