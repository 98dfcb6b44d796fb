"""A file on this machine that gets its name later, or never. Every method may raise OSError."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bulkdel.durable import read_at, sync, write_all


class Spool:
    """An open file. `close` removes it unless it has got its name.

    part: its name before that; None for a file without a name.
    """

    def __init__(self, fd: int, part: Path | None = None, base: int = 0) -> None:
        """base: the offset that its first byte has for `read_at`."""
        self._fd = fd
        self._part = part
        self._base = base

    @classmethod
    def unnamed(cls, folder: Path, base: int = 0) -> Spool:
        """A file without a name: in `folder`, or in the folder of temporary files if `folder` cannot be written."""
        return cls(unnamed_file(folder), base=base)

    @classmethod
    def part(cls, part: Path) -> Spool:
        """A file with this name, locked. Raises BlockingIOError while a living process has it."""
        return cls(open_part(part), part)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        write_all(self._fd, data)

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return os.fstat(self._fd).st_size

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on; fewer only at the end."""
        return read_at(self._fd, size, offset - self._base)

    def blocks(self, size: int) -> Iterator[bytes]:
        """All its bytes in blocks of this size; the last one may be shorter. Not of a file with a base."""
        return (self.read_at(offset, size) for offset in range(0, self.size, size))

    def put(self, to: Path) -> None:
        """Give a `part` its name, and replace a file of this name. Durable once the folder is synced.

        Raises OSError as well when another file has taken the place of the part.
        """
        assert self._part is not None, "it has a name"
        sync(self._fd)
        if not _is_at(os.fstat(self._fd), self._part):
            raise OSError(errno.ESTALE, f"{self._part} was removed or replaced")
        self._part.replace(to)
        self._part = None

    def close(self) -> None:
        """Close it. A second call does nothing."""
        fd, self._fd = self._fd, -1
        if self._part is not None:
            with contextlib.suppress(OSError):
                self._part.unlink()
            self._part = None
        if fd >= 0:
            os.close(fd)


def unnamed_file(folder: Path) -> int:
    """Open a file without a name: in `folder`, or in the folder of temporary files if `folder` cannot be written."""
    where = folder if os.access(folder, os.W_OK) else None
    with tempfile.TemporaryFile(dir=where, prefix=".bulkdel-", suffix=".part", buffering=0) as file:
        return os.dup(file.fileno())


def open_part(part: Path) -> int:
    """Open an unfinished file, locked, and remove what a killed process has left in it.

    Raises BlockingIOError when a living process writes it, and OSError.
    """
    while True:
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            found = _own_file(fd, part)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(found, part):
                os.fchmod(fd, 0o600)
                os.ftruncate(fd, 0)
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the process that had the lock has just finished this file or removed it


def _own_file(fd: int, part: Path) -> os.stat_result:
    """Return the status of the file. Raises PermissionError unless it is a regular file of this user alone."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
        raise PermissionError(errno.EPERM, f"{part} is not a file of your own; remove it")
    return found


def _is_at(found: os.stat_result, path: Path) -> bool:
    try:
        return os.path.samestat(found, path.lstat())
    except FileNotFoundError:
        return False
