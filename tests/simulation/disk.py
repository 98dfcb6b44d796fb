"""The disk under the log: what was not synced may be lost at a crash, and a call may fail.

The file is a real one, so that the program opens, locks and reads it as ever. Here is kept which of its bytes are safe.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import orjson

from bulkdel.durable import Disk, write_all, write_at

SENT, SETTLED, RELEASED = "sent", "settled", "released"


class DurableLog:
    """What the safe bytes of the log say, read without the program.

    rows: state of each row that has been sent or settled. counts: rows by kind of outcome.
    """

    def __init__(self) -> None:
        self._read = 0
        self.rows: dict[int, str] = {}
        self.kinds: dict[int, str] = {}

    def follow(self, data: bytes) -> None:
        """Read what has become safe since."""
        while (end := data.find(b"\n", self._read) + 1) > 0:
            for entry in orjson.loads(data[self._read : end])["entries"]:
                self._apply(entry)
            self._read = end

    def _apply(self, entry: dict[str, object]) -> None:
        ranges = entry.get("ranges")
        if not isinstance(ranges, list):
            return
        state = {"intent": SENT, "released": RELEASED}.get(str(entry["type"]), SETTLED)
        for start, stop in ranges:
            for position in range(start, stop):
                self.rows[position] = state
                if state == SETTLED:
                    self.kinds[position] = str(entry.get("kind") or entry.get("reason"))


class SimulatedDisk:
    """One disk for all sessions of a run. `calls` are the calls of the program.

    before: called before each call with its number in this session; it may crash the machine, or raise OSError.
    wrong: called with what must not happen.
    log: what the bytes say that survive a loss of power. gone: whether the machine is off: no call has an effect.
    """

    def __init__(
        self, path: Path, rng: Random, before: Callable[[int, str], None], wrong: Callable[[str], None]
    ) -> None:
        self._path = path
        self._rng = rng
        self._before = before
        self._wrong = wrong
        self._named = False
        self._safe = b""
        self._unwritten: list[tuple[int, int]] = []
        self.count = 0
        self.failed = False
        self.gone = False
        self.log = DurableLog()
        self.calls = Disk(self._write, self._write_at, self._truncate, self._sync, self._sync_directory)

    def begin(self) -> None:
        """A new session."""
        self.count, self.failed, self.gone = 0, False, False

    def lose_power(self) -> None:
        """Keep what was safe, and of the rest what the disk happened to have written."""
        if not self._path.exists():
            return
        if not self._named and self._rng.random() < 0.5:
            self._path.unlink()
            self._safe, self._unwritten, self.log = b"", [], DurableLog()
            return
        now = self._path.read_bytes()
        if now.startswith(self._safe):
            rest = now[len(self._safe) :]
            torn = rest[: int(self._rng.choice([0.0, 1.0, self._rng.random()]) * len(rest))]
            # The new length was written, and not the bytes. (A file of zeros alone is refused, as somebody's own.)
            if torn and self._safe and self._rng.random() < 0.2:
                torn = bytes(len(torn))
            now = self._safe + torn
        elif self._rng.random() < 0.5:  # a truncation that was not synced
            now = self._safe
        for start, stop in self._unwritten:
            now = now[:start] + bytes(max(0, min(stop, len(now)) - start)) + now[stop:]
        self._unwritten = []
        self._path.write_bytes(now)
        self._safe = now
        self._read_again()

    def _read_again(self) -> None:
        self.log = DurableLog()
        self._read_on()

    def _read_on(self) -> None:
        self.log.follow(self._safe[: min((start for start, _ in self._unwritten), default=len(self._safe))])

    def _call(self, name: str) -> None:
        if self.gone:
            raise OSError(5, "the machine is off")
        if self.failed:
            self._wrong(f"the log: {name} after a call that failed")
        self.count += 1
        try:
            self._before(self.count, name)
        except OSError:
            self.failed = True
            raise
        if self.gone:
            raise OSError(5, "the machine is off")

    def _write(self, fd: int, data: bytes) -> None:
        try:
            self._call("write")
        except OSError:
            if not self.gone:
                write_all(fd, data[: self._rng.randrange(len(data))])
            raise
        write_all(fd, data)

    def _write_at(self, fd: int, data: bytes, offset: int) -> None:
        self._call("write_at")
        write_at(fd, data, offset)
        self._unwritten = [(a, b) for a, b in self._unwritten if not offset <= a <= b <= offset + len(data)]

    def _truncate(self, fd: int, size: int) -> None:
        self._call("truncate")
        os.ftruncate(fd, size)
        self._unwritten = [(a, min(b, size)) for a, b in self._unwritten if a < size]
        self._sync(fd)

    def _sync(self, fd: int) -> None:
        size = os.fstat(fd).st_size
        try:
            self._call("sync")
        except OSError:
            if not self.gone and size > len(self._safe):
                # The system calls these bytes written from now on, and no later sync writes them.
                self._unwritten.append((len(self._safe), size))
            raise
        now = os.pread(fd, size, 0)
        whole = now.startswith(self._safe)
        self._safe = now
        if whole:
            self._read_on()
        else:
            self._read_again()

    def _sync_directory(self, path: Path) -> None:
        self._call("sync_directory")
        self._named = True
