"""The child processes of a batch: each is this program with the command line of one run. Owns how each has ended.

A child writes its events to stderr as JSON lines. They are kept in its log, and read here for the progress.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from bulkdel.core.batch import exit_code_of
from bulkdel.core.summary import EXIT_REMAINING
from bulkdel.errors import BulkdelError
from bulkdel.fleet.placing import KILL_AFTER_S, Engine, Exited, Placed, Said, Work
from bulkdel.format import span

LOST_MAX = 5
"""A child is not placed again after it was lost with its machine so often without settling a further row."""

AGAIN_S = 1.0
"""Seconds before a lost child is placed again, times how often it was lost."""

APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Flags to open the file for the output of a process. Another person may have put a pipe or a link there."""

SIGNALS = {each.value: each.name for each in signal.Signals}
"""The names of the signals, by their numbers."""

Seen = Callable[[Mapping[str, Any]], None]
"""Takes each event of a child: an object with `event`."""


@dataclass(frozen=True, slots=True)
class ChildEnded:
    """How a child has ended.

    exit: its exit code. result: the JSON object that it has printed; empty without one. error: its last error, in
    words that quote no row.
    """

    exit: int
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


class Children:
    """The child processes that are under way."""

    def __init__(self, engine: Engine) -> None:
        """engine: places them."""
        self._engine = engine
        self._placed = set[Placed]()
        self._signal: int | None = None  # the signal that was sent to every child
        self._signalled = asyncio.Event()
        self._drain_s = 0.0

    async def run(self, work: Work, log: Path, seen: Seen, again: Work | None = None) -> ChildEnded:
        """Run one child to its end. log: gets its stderr. again: the work to place when it was lost with its machine.

        Cancelled, it kills the child.
        """
        lost = settled = 0
        errors: list[str] = []

        def read(event: Mapping[str, Any]) -> None:
            nonlocal lost, settled
            if event.get("level") == "error":
                errors[:] = [str(event.get("text", ""))]
            if event.get("event") == "progress" and event["settled"] > settled:
                lost, settled = 0, event["settled"]
            seen(event)

        while True:
            late = asyncio.Event()
            try:
                placed = await self._engine.place(work)
            except OSError as error:  # no machine, memory, process or file descriptor is left
                return ChildEnded(EXIT_REMAINING, error=f"its process cannot be started: {error.strerror}")
            except BulkdelError as error:  # it stops no other run
                return ChildEnded(error.exit_code, error=str(error))
            exited = await self._to_its_end(placed, log, read, late)
            if late.is_set() and (exited.code is None or exited.code < 0):
                slow = f"its process did not end within {span(self._kill_after_s)} of the signal, and was killed"
                return ChildEnded(EXIT_REMAINING, _object(exited.result), slow)
            if exited.code is not None:
                return ChildEnded(exit_code_of(exited.code), _object(exited.result), _why(exited.code, "".join(errors)))
            lost += 1
            if again is None or lost == LOST_MAX or await self._signalled_within(AGAIN_S * lost):
                return ChildEnded(EXIT_REMAINING, error="its process was lost with the machine that it ran on")
            work = again

    async def _to_its_end(self, placed: Placed, log: Path, seen: Seen, late: asyncio.Event) -> Exited:
        self._placed.add(placed)
        killing = asyncio.create_task(self._kill_late(placed, late))
        try:
            if self._signal is not None:  # it came while the child was placed
                placed.signal(self._signal)
            return await _keep(placed, log, seen)
        finally:
            killing.cancel()
            self._placed.discard(placed)
            await placed.kill()  # it has ended, or this batch ends early

    async def _signalled_within(self, seconds: float) -> bool:
        """Wait so long for the signal to every child. Returns whether it was sent."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._signalled.wait()
        return self._signal is not None

    @property
    def _kill_after_s(self) -> float:
        return self._drain_s + KILL_AFTER_S

    async def _kill_late(self, placed: Placed, late: asyncio.Event) -> None:
        """Kill a child that does not drain in time, such as one that is frozen. late: set before it is killed."""
        await self._signalled.wait()
        await asyncio.sleep(self._kill_after_s)
        late.set()
        await placed.kill()

    def drain(self, signum: int, drain_s: float) -> bool:
        """Drain every child by a signal, also one that is being placed. Returns whether there was one.

        drain_s: how long requests may take to finish. A child that has not ended `KILL_AFTER_S` later is killed. From
        now on no child is placed again. Only the first call has an effect: a second signal would end a child at once.
        """
        if self._signal is None:
            self._signal, self._drain_s = signum, drain_s
            self._signalled.set()
            for placed in self._placed:
                placed.signal(signum)
        return bool(self._placed)


def _why(code: int, error: str) -> str:
    """Why a process has ended: the signal that has ended it, or its last error."""
    return error if code >= 0 else f"its process was ended by {SIGNALS.get(-code, f'signal {-code}')}"


def _object(line: bytes) -> Mapping[str, Any]:
    """The JSON object in a line; empty without one."""
    with suppress(orjson.JSONDecodeError):
        found = orjson.loads(line)
        if isinstance(found, dict):
            return found
    return {}


async def _keep(placed: Placed, log: Path, seen: Seen) -> Exited:
    """Append its output to the log, and read its events. A run goes on when the log cannot be written."""
    fd, exited = _open(log), Exited(None)
    try:
        async for said in placed.poll():
            match said:
                case Exited():
                    exited = said
                case Said(_, line):
                    if fd is not None:
                        with suppress(OSError):
                            os.write(fd, line)
                    if event := _object(line):
                        seen(event)
    finally:
        if fd is not None:
            with suppress(OSError):
                os.close(fd)
    return exited


def _open(log: Path) -> int | None:
    """Open the file for the output of a process; None if it cannot be written, or is no regular file of one name."""
    try:
        fd = os.open(log, APPEND, 0o600)
    except OSError:
        return None
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        return fd
    os.close(fd)
    return None
