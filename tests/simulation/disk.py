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
    calls: what the program calls.
    """

    def __init__(self, rng: Random, before: Callable[[int, str], None], wrong: Callable[[str], None]) -> None:
        self.rng = rng
        self.wrong = wrong
        self._before = before
        self._files: list[SimulatedFile] = []
        self._count = 0
        self._gone = False
        self.calls = Disk(
            write=lambda fd, data: self._of(fd).write(fd, data),
            write_at=lambda fd, data, offset: self._of(fd).write_at(fd, data, offset),
            truncate=lambda fd, size: self._of(fd).truncate(fd, size),
            sync=lambda fd: self._of(fd).sync(fd),
            sync_directory=self._sync_directory,
        )

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

    def _of(self, fd: int) -> SimulatedFile:
        """The file behind this descriptor."""
        return next(file for file in self._files if file.is_open_as(fd))

    def _sync_directory(self, path: Path) -> None:
        """Make the names in the folder of a file durable."""
        called = next((file for file in self._files if file.path == path), self._files[0])
        called.begin("sync_directory")
        for file in self._files:
            file.named = file.named or file.path.parent == path.parent

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
    failed: whether a call has failed in this session. named: whether its name survives.
    """

    def __init__(self, disk: SimulatedDisk, path: Path, on_safe: Callable[[bytes, bool], None]) -> None:
        self._disk = disk
        self._rng = disk.rng
        self._on_safe = on_safe
        self.named = False
        self._safe = b""
        self._unwritten: list[tuple[int, int]] = []  # parts of `_safe` that a failed sync has left unwritten
        self.path = path
        self.failed = False

    def is_open_as(self, fd: int) -> bool:
        """Whether this descriptor is of the file."""
        return self.path.exists() and os.path.samestat(os.fstat(fd), self.path.stat())

    def lose_power(self) -> None:
        """Keep what was safe, and of the rest what the disk happened to have written."""
        if not self.path.exists():
            return
        if not self.named and self._rng.random() < 0.5:
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

    def begin(self, name: str) -> None:
        """Begin a call; it may fail."""
        if self.failed and not self._disk.gone:
            self._disk.wrong(f"{self.path.name}: {name} after a call that failed")
        try:
            self._disk.call(name)
        except OSError:
            self.failed = not self._disk.gone
            raise

    def write(self, fd: int, data: bytes) -> None:
        """Write at the end."""
        try:
            self.begin("write")
        except OSError:
            if not self._disk.gone:
                write_all(fd, data[: int(self._rng.random() * len(data))])
            raise
        write_all(fd, data)

    def write_at(self, fd: int, data: bytes, offset: int) -> None:
        """Write over what is there."""
        self.begin("write_at")
        write_at(fd, data, offset)
        self._unwritten = [(a, b) for a, b in self._unwritten if not offset <= a <= b <= offset + len(data)]

    def truncate(self, fd: int, size: int) -> None:
        """Cut, durably."""
        self.begin("truncate")
        os.ftruncate(fd, size)
        self._unwritten = [(a, min(b, size)) for a, b in self._unwritten if a < size]
        self.sync(fd)

    def sync(self, fd: int) -> None:
        """Make the bytes safe."""
        size = os.fstat(fd).st_size
        try:
            self.begin("sync")
        except OSError:
            if not self._disk.gone and size > len(self._safe):
                # The system counts these bytes as written from now on, and no later sync writes them.
                self._unwritten.append((len(self._safe), size))
            raise
        before, self._safe = self._safe, os.pread(fd, size, 0)
        written = min((start for start, _ in self._unwritten), default=size)
        self._on_safe(self._safe[:written], not self._safe.startswith(before))
