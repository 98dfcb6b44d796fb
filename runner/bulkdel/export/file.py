"""The export as bytes: opening it, reading it, recognising it again. Does not know the meaning of the bytes.

A pipe is read once, into a file without a name: advice and the recognition of a format read more than once.
"""

from __future__ import annotations

import hashlib
import os
import select
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bulkdel.core.address import address_of
from bulkdel.durable import read_at, write_all
from bulkdel.errors import FileFailed, NotAcceptable, UsageError
from bulkdel.export.refusal import refusal
from bulkdel.format import did_you_mean
from bulkdel.place.spool import unnamed_file

BLOCK = 1 << 20
"""Bytes read at a time."""

WAIT_MS = 200
"""How long the copying waits for a pipe before it calls `on_progress` again."""

Progress = Callable[[int, int], None]
"""Called with bytes read and bytes in all."""

Copied = Callable[[int], None]
"""Called with the number of bytes copied so far. It may raise, to stop the copying."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Which bytes an export has. sha256: as stored (compressed), in hex, as `sha256sum` prints it. size: bytes."""

    sha256: str
    size: int


class Export:
    """An open export. Use as a context manager.

    path: as the user gave it, without what may be a secret. copied: whether it is a copy without a name, of a pipe or
    of an object that lies elsewhere. size: bytes when it was opened.
    """

    __slots__ = ("_fd", "block_size", "copied", "path", "size")

    def __init__(self, fd: int, path: str, *, copied: bool = False, block_size: int = BLOCK) -> None:
        self._fd = fd
        self.path = path
        self.copied = copied
        self.block_size = block_size
        self.size = os.fstat(fd).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def descriptor(self) -> int:
        """The open descriptor, for a process that reads the same file."""
        return self._fd

    @property
    def state(self) -> tuple[int, ...]:
        """Values of the file system that change with its bytes: device, inode, size, times in ns. None of a copy."""
        if self.copied:
            return ()
        found = os.fstat(self._fd)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def is_file(self, path: Path) -> bool:
        """Whether `path` is this very file."""
        try:
            return os.path.samestat(os.fstat(self._fd), path.stat())
        except FileNotFoundError:
            return False

    def read_at(self, offset: int, length: int) -> bytes:
        """Read up to `length` bytes; fewer only at the end of the file. Raises OSError."""
        return read_at(self._fd, length, offset)


@dataclass(frozen=True, slots=True)
class Copying:
    """The copying of what is read, to a file in `folder` without a name.

    what: is copied, as the words before "copied there first". nothing: what has not happened. again: the next step.
    """

    folder: Path
    what: str
    nothing: str = "nothing was sent"
    again: str = "run the same command again"

    @contextmanager
    def new_file(self) -> Iterator[int]:
        """Yield the descriptor of the file, which stays open unless the block fails. Raises FileFailed."""
        with self.writing():
            fd = unnamed_file(self.folder)
        try:
            yield fd
        except BaseException:
            os.close(fd)
            raise

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Raise FileFailed when the block cannot write the file."""
        try:
            yield
        except OSError as error:
            raise self.failed(error.strerror or str(error)) from error

    def failed(self, reason: str) -> FileFailed:
        """Make the error of a copy that cannot be written."""
        return FileFailed(
            f"{self.folder}: {reason}. {self.what} copied there first; {self.nothing}. Make room there, or name "
            f"another place (--run), and {self.again}."
        )


def open_export(
    path: str, *, folder: Path | None = None, block_size: int = BLOCK, on_progress: Copied = lambda _: None
) -> Export:
    """Open an export.

    `-` (standard input) and named pipes are copied first, to a file without a name in `folder`. block_size: for tests.
    on_progress: called while a pipe is copied.

    Raises NotAcceptable for a path that is no readable file, UsageError for a pipe without `folder`, FileFailed when
    the copy cannot be written.
    """
    if (address := address_of(path)) is not None:
        raise refusal(address.shown, "not on this machine", "Copy it, and name the copy.")
    try:
        if path != "-":  # before opening: opening a device or a pipe has effects
            _check_kind(path, os.stat(path).st_mode, folder)  # noqa: PTH116 - a path as the user gave it
        fd = os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_open(path, error) from error
    kind = os.fstat(fd).st_mode
    if path != "-" and stat.S_ISREG(kind):
        return Export(fd, path, block_size=block_size)
    try:
        _check_kind(path, kind, folder)
        assert folder is not None, "it was checked"
        return Export(_copy_of_pipe(fd, path, folder, on_progress), path, copied=True, block_size=block_size)
    finally:
        os.close(fd)


def _check_kind(path: str, kind: int, folder: Path | None) -> None:
    """Refuse a path that is neither a file nor a pipe, and a pipe that cannot be copied. kind: its mode."""
    if stat.S_ISDIR(kind):
        raise refusal(path, "a directory", "Name one file.")
    if stat.S_ISCHR(kind):
        raise refusal(path, "a terminal or another device", "Name a file.")
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind) or (path == "-" and stat.S_ISSOCK(kind))):
        raise refusal(path, "a device or a socket", "Name a file.")
    if folder is None and (path == "-" or not stat.S_ISREG(kind)):
        raise UsageError(f"{path}: is a pipe, which can be read only once. Name a file.")


def _copy_of_pipe(fd: int, path: str, folder: Path, on_progress: Copied) -> int:
    """Copy all of a pipe to a file without a name, and return its descriptor. Leaves `fd` open."""
    size, what = 0, "standard input" if path == "-" else path
    nothing = "nothing was sent and nothing is kept"
    copying = Copying(folder, f"{what} is a pipe and is", nothing, again="start the pipe again")
    with copying.new_file() as made:
        for data in _blocks_of_pipe(fd, path):
            with copying.writing():
                write_all(made, data)
            size += len(data)
            on_progress(size)
    return made


def _blocks_of_pipe(fd: int, path: str) -> Iterator[bytes]:
    """Yield what comes, and an empty block where nothing has come for a while."""
    pipe = select.poll()
    pipe.register(fd, select.POLLIN)
    while True:
        try:
            data = os.read(fd, BLOCK) if pipe.poll(WAIT_MS) else None
        except OSError as error:
            raise refusal(path, error.strerror or str(error), "Start the pipe again.") from error
        if data == b"":
            return
        yield data or b""


def _cannot_open(path: str, error: OSError) -> NotAcceptable:
    if isinstance(error, FileNotFoundError) and os.path.islink(path):  # noqa: PTH114 - a path as the user gave it
        return refusal(path, f"a link to {os.readlink(path)}, which does not exist", "Correct the link.")  # noqa: PTH115
    alike = ""
    if isinstance(error, FileNotFoundError):
        with suppress(OSError):
            alike = did_you_mean(os.path.basename(path), os.listdir(os.path.dirname(path) or "."))  # noqa: PTH119, PTH120, PTH208
    return refusal(path, error.strerror or str(error), f"Check the name and its permissions.{alike}")


class Hashing:
    """Reads `export` once, from its first to its last byte, and takes its fingerprint on the way."""

    def __init__(self, export: Export, on_progress: Progress | None = None) -> None:
        self.export = export
        self._on_progress = on_progress
        self._digest = hashlib.sha256()
        self._done = 0

    @property
    def share(self) -> float:
        """How much of the export has been read, 0 to 1: the blocks before the present one, or the first block."""
        return self._done / self.export.size

    def __iter__(self) -> Iterator[bytes]:
        """Yield the blocks. Raises NotAcceptable for a file that is being written to, or that cannot be read."""
        export = self.export
        for offset in range(0, export.size, export.block_size):
            wanted = min(export.block_size, export.size - offset)
            block = self._read(offset, wanted)
            if len(block) < wanted:
                raise self._unsteady("shorter")
            self._digest.update(block)
            self._done = offset or wanted
            yield block
            if self._on_progress:
                self._on_progress(offset + wanted, export.size)
        if self._read(export.size, 1):
            raise self._unsteady("longer")

    def head(self, length: int) -> bytes:
        """Return the first bytes. They are read again by the iteration."""
        return self._read(0, length)

    def _read(self, offset: int, length: int) -> bytes:
        try:
            return self.export.read_at(offset, length)
        except OSError as error:
            todo = "Copy the export to a sound disk."
            raise refusal(self.export.path, error.strerror or str(error), todo, byte=offset) from error

    def _unsteady(self, how: str) -> NotAcceptable:
        return refusal(self.export.path, f"got {how} while it was read", "Wait until it is written, then start again.")

    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint, once all bytes have been read."""
        return Fingerprint(self._digest.hexdigest(), self.export.size)


def fingerprint(export: Export, on_progress: Progress | None = None) -> Fingerprint:
    """Hash an export without parsing it, to compare it with the one of an earlier run."""
    reading = Hashing(export, on_progress)
    for _ in reading:
        pass
    return reading.fingerprint()
