"""The supervisor of child processes: the shards of a run, or the runs of a batch. Owns when each is placed and killed.

Every child is this program, placed by an engine. It tells its events as lines of JSON, each an object: over its
channel, or on its stderr when it has none. All children drain by one signal. A `Child` knows what is placed, what an
event means, and which end of a process is the last one.
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from bulkdel.errors import Halted
from bulkdel.fleet.placing import KILL_AFTER_S, Engine, Exited, Placed, Said, Stream, Work, object_in
from bulkdel.format import span
from bulkdel.output import say
from bulkdel.tasks import ended_before
from bulkdel.times import since_boot

IN_VAIN_MAX = 5
"""A child is given up after its processes have ended so often without settling a row. Losses with a machine do not
count."""

SILENT_LOOK_S = 1.0

BEGINS_IN_S = 60.0
"""For so long a process that was placed may tell no event, also with a shorter patience."""


@dataclass(frozen=True, slots=True)
class Restarts:
    """How a child is placed again whose process has ended early. Ends count since it has settled a row.

    after_s: seconds before it is placed again, times the number of ends. losses_max: given up after it was lost with
    its machine so often. patience_s: given up when it was lost, and has settled no row for so long; a process is killed
    when it tells no event for so long. With a patience, a child tells events from its beginning on.
    """

    after_s: float
    losses_max: float = math.inf
    patience_s: float = math.inf

    def why_none(self, lost: int, in_vain: int, unsettled_s: float) -> str | None:
        """Why a child is not placed again, in words; None when it is.

        lost: how often it was lost with its machine, which is no fault of the process. in_vain: how often it has ended
        early otherwise. unsettled_s: seconds without a settled row.
        """
        if in_vain == IN_VAIN_MAX:
            return f"has ended {in_vain} times without having settled a row"
        words = f"was lost {lost} times with the machine that it ran on"
        if lost >= self.losses_max:
            return words
        if lost and unsettled_s >= self.patience_s:
            return f"{words}, and has settled no row for {span(unsettled_s)} (--patience)"
        return None


class Child(Protocol):
    """One child, as its owner knows it. name: for messages."""

    name: str

    @property
    def settled(self) -> int:
        """Its rows that are settled, as far as is known."""
        ...

    async def work(self) -> Work | None:
        """What to place now. Waits until it may be placed. None: nothing more."""
        ...

    def begin(self, placed: Placed) -> None:
        """Note that it is placed."""
        ...

    def take(self, event: Mapping[str, Any]) -> None:
        """Take in an event."""
        ...

    def keep(self, line: bytes) -> None:
        """Keep a line of its stderr, or a part of a long one."""
        ...

    async def ended(self, exited: Exited) -> bool:
        """Note how a process of it has ended. Returns whether that is its last one, because its work is over.

        Raises BulkdelError when it cannot go on.
        """
        ...


class ChildEnd(NamedTuple):
    """How the last process of a child has ended.

    late_s: it was killed so many seconds after the signal, because it had not ended; 0 when it was not.
    """

    exited: Exited
    late_s: float = 0.0


class Supervisor:
    """The children that are under way."""

    def __init__(self, engine: Engine, restarts: Restarts) -> None:
        """engine: places them."""
        self._engine = engine
        self._restarts = restarts
        self._placed = set[Placed]()
        self._draining = asyncio.Event()
        self._signal, self._drain_s = int(signal.SIGTERM), 0.0

    async def run(self, child: Child) -> ChildEnd:
        """Run a child until its work is over, or the drain has ended it. Cancelled, it kills the child.

        Raises Halted when the child is given up or cannot be started, and what `Engine.place` and `Child.ended` raise.
        """
        end, lost, in_vain, progressed_at = None, 0, 0, since_boot()
        while (work := await child.work()) is not None:
            settled = child.settled
            end = await self._run_once(child, work)
            if end is None or await child.ended(end.exited) or self._draining.is_set():
                break
            if child.settled > settled:
                lost, in_vain, progressed_at = 0, 0, since_boot()
            elif end.exited.code is None:
                lost += 1
            else:
                in_vain += 1
            if (why := self._restarts.why_none(lost, in_vain, since_boot() - progressed_at)) is not None:
                raise Halted(f"{child.name} {why}")
            wait = asyncio.sleep(self._restarts.after_s * (lost + in_vain))
            if not await ended_before(self._draining.wait(), wait):
                break
        return end or ChildEnd(Exited(-self._signal))  # not placed: as if the signal had ended it

    def drain(self, signum: int, drain_s: float) -> bool:
        """Drain every child by a signal. Returns whether one was placed. A child that is being placed is killed.

        drain_s: how long requests may take to finish. A child that has not ended `KILL_AFTER_S` later is killed. From
        now on no child is placed again. Only the first call has an effect: a second signal would end a child at once.
        """
        if not self._draining.is_set():
            self._signal, self._drain_s = signum, drain_s
            self._draining.set()
        return bool(self._placed)

    async def _run_once(self, child: Child, work: Work) -> ChildEnd | None:
        """Run one process of a child to its end. Returns None when the drain begins before it is placed."""
        placed = list[Placed]()

        async def place() -> None:
            placed.append(await self._engine.place(work))

        try:
            try:
                if not await ended_before(self._draining.wait(), place()):
                    return None
            except OSError as error:  # no machine, memory, process or file descriptor is left
                raise Halted(f"{child.name} cannot be started: {error.strerror or error}") from error
            self._placed.update(placed)
            child.begin(placed[0])
            return await self._hear(child, placed[0], Stream.STDERR if work.order is None else Stream.CHANNEL)
        finally:
            self._placed.difference_update(placed)
            for each in placed:
                await each.kill()  # it has ended, or the run or batch ends early

    async def _hear(self, child: Child, placed: Placed, events: Stream) -> ChildEnd:
        """Hand on the output of a process until it has ended. events: the stream with its events."""
        clock = asyncio.get_running_loop().time  # it leaves out the time in which this process was stopped
        hearing, end = _Hearing(clock()), Exited(None)
        watches = [
            asyncio.create_task(self._drain_in_time(placed, hearing)),
            asyncio.create_task(self._kill_silent(child, placed, hearing)),
        ]
        try:
            async for said in placed.poll():
                match said:
                    case Exited():
                        end = said
                    case Said(stream, line):
                        if stream is Stream.STDERR:
                            child.keep(line)
                        if stream is events and (event := object_in(line)):
                            hearing.latest, hearing.begun = clock(), True
                            child.take(event)
        finally:
            for watch in watches:
                watch.cancel()
        was_killed = end.code is None or end.code < 0
        return ChildEnd(end, hearing.late_s if was_killed else 0.0)

    async def _drain_in_time(self, placed: Placed, hearing: _Hearing) -> None:
        """Drain a process when the drain begins. Kill it if it does not end in time, such as one that is frozen."""
        await self._draining.wait()
        placed.signal(self._signal)
        await asyncio.sleep(self._drain_s + KILL_AFTER_S)
        hearing.late_s = self._drain_s + KILL_AFTER_S
        await placed.kill()

    async def _kill_silent(self, child: Child, placed: Placed, hearing: _Hearing) -> None:
        """Kill a process that has told no event for `patience_s`, such as one that is frozen. It is placed again."""
        clock = asyncio.get_running_loop().time
        while (silent_s := clock() - hearing.latest) <= self._silent_max_s(hearing):  # noqa: ASYNC110
            await asyncio.sleep(SILENT_LOOK_S)  # no event announces silence
        say(f"Nothing was heard of {child.name} for {span(silent_s)}. It is killed.", "child.silent")
        await placed.kill()

    def _silent_max_s(self, hearing: _Hearing) -> float:
        patience_s = self._restarts.patience_s
        return patience_s if hearing.begun else max(patience_s, BEGINS_IN_S)


@dataclass(slots=True)
class _Hearing:
    """What is known of one process while it is heard.

    latest: when it was placed or has told an event, by the clock of the event loop. begun: whether it has told one.
    late_s: as in `ChildEnd`.
    """

    latest: float
    begun: bool = False
    late_s: float = 0.0
