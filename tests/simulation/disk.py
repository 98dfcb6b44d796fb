"""The disk: what was not synced may be lost when the power fails, and a call may fail.

The files are real ones, so that the program opens, locks and reads them as always. What is kept here is which of their
bytes are safe: they survive a loss of power.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

from bulkdel.durable import Disk, write_all, write_at


class SimulatedDisk:
    """The disk of the machine.

    before: called before each call with its number in this session; it may crash the machine, or raise OSError.
    """

    def __init__(self, rng: Random, before: Callable[[int, str], None], wrong: Callable[[str], None]) -> None:
        self.rng = rng
        self.wrong = wrong
        self._before = before
        self._files: list[SimulatedFile] = []
        self._count = 0
        self._gone = False

    @property
    def failed(self) -> bool:
        """Whether a call has failed in this session."""
        return any(file.failed for file in self._files)

    def file(self, path: Path, on_safe: Callable[[bytes, bool], None]) -> SimulatedFile:
        """Keep a file. on_safe: see `SimulatedFile`."""
        file = SimulatedFile(self, path, on_safe)
        self._files.append(file)
        return file

    def begin(self) -> None:
        """Begin a session."""
        self._count, self._gone = 0, False
        for file in self._files:
            file.failed = False

    @property
    def gone(self) -> bool:
        """Whether the machine is off: then no call has an effect."""
        return self._gone

    def switch_off(self) -> None:
        """The machine is off."""
        self._gone = True

    def lose_power(self) -> None:
        """Keep what was safe, and of the rest what the disk happened to have written."""
        for file in self._files:
            file.lose_power()

    def call(self, name: str) -> None:
        """Let a call of the program fail, or crash the machine."""
        if not self._gone:
            self._count += 1
            self._before(self._count, name)
        if self._gone:
            raise OSError(5, "the machine is off")


class SimulatedFile:
    """One file of the disk.

    on_safe: called with all safe bytes, and whether others than the last ones have changed, when more are safe.
    calls: what the program calls. failed: whether one of them has failed in this session.
    """

    def __init__(self, disk: SimulatedDisk, path: Path, on_safe: Callable[[bytes, bool], None]) -> None:
        self._disk = disk
        self._rng = disk.rng
        self._on_safe = on_safe
        self._named = False  # whether its name survives
        self._safe = b""
        self._unwritten: list[tuple[int, int]] = []  # parts of `_safe` that a failed sync has left unwritten
        self.path = path
        self.failed = False
        self.calls = Disk(self._write, self._write_at, self._truncate, self._sync, self._sync_directory)

    def lose_power(self) -> None:
        """Keep what was safe, and of the rest what the disk happened to have written."""
        if not self.path.exists():
            return
        if not self._named and self._rng.random() < 0.5:
            self.path.unlink()
            self._safe, self._unwritten = b"", []
            self._on_safe(b"", True)
            return
        now = self.path.read_bytes()
        if now.startswith(self._safe):
            now = self._safe + self._torn(now[len(self._safe) :])
        elif self._rng.random() < 0.5:  # a truncation that was not synced
            now = self._safe
        for start, stop in self._unwritten:
            now = now[:start] + bytes(max(0, min(stop, len(now)) - start)) + now[stop:]
        self._unwritten = []
        self.path.write_bytes(now)
        self._safe = now
        self._on_safe(now, True)

    def _torn(self, rest: bytes) -> bytes:
        """What is left of bytes that were not synced: none, all, the first ones, or zeros in their place."""
        draw, share, zeros = self._rng.random(), self._rng.random(), self._rng.random() < 0.2
        if draw < 1 / 3 or not rest:
            return b""
        kept = rest if draw < 2 / 3 else rest[: 1 + int(share * (len(rest) - 1))]
        return bytes(len(kept)) if zeros else kept  # zeros: the new length was written, and not the bytes

    def _call(self, name: str) -> None:
        if self.failed and not self._disk.gone:
            self._disk.wrong(f"{self.path.name}: {name} after a call that failed")
        try:
            self._disk.call(name)
        except OSError:
            self.failed = not self._disk.gone
            raise

    def _write(self, fd: int, data: bytes) -> None:
        try:
            self._call("write")
        except OSError:
            if not self._disk.gone:
                write_all(fd, data[: int(self._rng.random() * len(data))])
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
            if not self._disk.gone and size > len(self._safe):
                # The system counts these bytes as written from now on, and no later sync writes them.
                self._unwritten.append((len(self._safe), size))
            raise
        before, self._safe = self._safe, os.pread(fd, size, 0)
        written = min((start for start, _ in self._unwritten), default=size)
        self._on_safe(self._safe[:written], not self._safe.startswith(before))

    def _sync_directory(self, path: Path) -> None:
        self._call("sync_directory")
        self._named = True
