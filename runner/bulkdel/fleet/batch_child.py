"""The child processes of a batch: each is this program with the command line of one run. Owns how each has ended.

A child writes its events to stderr as JSON lines. They are kept in its log, and read here for the progress.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bulkdel.core.batch import exit_code_of
from bulkdel.core.summary import EXIT_REMAINING
from bulkdel.errors import BulkdelError
from bulkdel.fleet.placing import Exited, Placed, Work, object_in
from bulkdel.fleet.supervisor import Restarts, Supervisor
from bulkdel.format import span

RESTARTS = Restarts(after_s=1.0, losses_max=5)
"""For the children of a batch."""

APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Flags to open the file for the output of a process. Another person may have put a pipe or a link there."""

SIGNALS = {each.value: each.name for each in signal.Signals}
"""The names of the signals, by their numbers."""

Seen = Callable[[Mapping[str, Any]], None]
"""Takes each event of a child: an object with `event`."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run of the batch has ended: what its last process has left.

    exit: its exit code. result: the JSON object that it has printed; empty without one. error: its last error, in
    words that quote no row.
    """

    exit: int
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


async def run_child(supervisor: Supervisor, work: Work, log: Path, seen: Seen, again: Work | None = None) -> RunEnd:
    """Run one child to its end. log: gets its stderr. again: the work to place when it was lost with its machine.

    Cancelled, it kills the child.
    """
    child = _RunOfBatch(work, again, fd := _open(log), seen)
    try:
        end = await supervisor.run(child)
    except BulkdelError as error:  # it stops no other run
        return RunEnd(error.exit_code, error=str(error))
    finally:
        if fd is not None:
            with suppress(OSError):
                os.close(fd)
    code, result = end.exited.code, object_in(end.exited.result)
    if end.late_s:
        slow = f"{child.name} did not end within {span(end.late_s)} of the signal, and was killed"
        return RunEnd(EXIT_REMAINING, result, slow)
    if code is None:
        return RunEnd(EXIT_REMAINING, error=f"{child.name} was lost with the machine that it ran on")
    by_signal = f"{child.name} was ended by {SIGNALS.get(-code, f'signal {-code}')}"
    return RunEnd(exit_code_of(code), result, child.error if code >= 0 else by_signal)


class _RunOfBatch:
    """A child of a batch. See `supervisor.Child`.

    log: the descriptor of its log; None when that cannot be written. error: why it has stopped, or its last error.
    """

    name = "its process"

    def __init__(self, work: Work, again: Work | None, log: int | None, seen: Seen) -> None:
        self._next: Work | None = work
        self._again = again
        self._log = log
        self._seen = seen
        self.settled = 0
        self.error = ""

    async def work(self) -> Work | None:
        """The first work, and later the work to place again."""
        found, self._next = self._next, self._again
        return found

    def begin(self, placed: Placed) -> None:
        """Have no effect: it has no channel."""

    def take(self, event: Mapping[str, Any]) -> None:
        """Take in an event."""
        if event.get("level") == "error":
            self.error = str(event.get("text", ""))
        if event.get("event") == "stopped":
            self.error = str(event.get("why", ""))
        if event.get("event") == "progress":
            self.settled = max(self.settled, event["settled"])
        self._seen(event)

    def keep(self, line: bytes) -> None:
        """Append a line to its log. The run goes on when that cannot be written."""
        if self._log is not None:
            with suppress(OSError):
                os.write(self._log, line)

    async def ended(self, exited: Exited) -> bool:
        """Only a process that was lost with its machine may be placed again."""
        return exited.code is not None or self._again is None


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
