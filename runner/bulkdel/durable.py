"""Durable writes: bytes are on the disk on return, and a new file gets its name only when it is complete.

`place.log_file` writes the log by them. Every function may raise OSError.
"""

from __future__ import annotations

import errno
import fcntl
import filecmp
import glob
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


def write_all(fd: int, data: bytes) -> None:
    """Write `data`, however many calls it takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write `data` over the bytes at `offset`, also in a file that is open for appending."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_APPEND)  # with it Linux ignores the offset and appends
    try:
        rest = memoryview(data)
        while rest:
            written = os.pwrite(fd, rest, offset)
            rest, offset = rest[written:], offset + written
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def read_at(fd: int, size: int, offset: int) -> bytes:
    """Read up to `size` bytes from `offset` on; fewer only at the end of the file."""
    data = os.pread(fd, size, offset)
    while data and len(data) < size:  # a network file system may return less than was asked for
        more = os.pread(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def truncate(fd: int, size: int) -> None:
    """Cut a file at `size`, durably."""
    os.ftruncate(fd, size)
    os.fsync(fd)


def sync(fd: int) -> None:
    """Wait until the disk, not just its driver or its cache, has the file's bytes."""
    if sys.platform == "darwin":  # pragma: no cover — fsync alone does not flush the drive's cache there
        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in {errno.ENOTSUP, errno.EINVAL}:
                raise
            os.fsync(fd)  # a file system without F_FULLFSYNC (network shares): the most there is
    else:
        os.fdatasync(fd)


def sync_directory(path: Path) -> None:
    """Make the name of a new file durable."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Disk:
    """The calls that change the log and make it durable. A simulation passes its own.

    write, write_at: change a file. truncate: cut it, durably. sync: wait until the disk has its bytes.
    sync_directory: wait until the disk has its name.
    """

    write: Callable[[int, bytes], None] = write_all
    write_at: Callable[[int, bytes, int], None] = write_at
    truncate: Callable[[int, int], None] = truncate
    sync: Callable[[int], None] = sync
    sync_directory: Callable[[Path], None] = sync_directory


DISK = Disk()


def same_bytes(new: Path, old: Path) -> bool:
    """Whether both files hold the same bytes."""
    return old.is_file() and filecmp.cmp(new, old, shallow=False)


def replace_any(_new: Path, _old: Path) -> bool:
    """For `atomic_file`: whatever is there is replaced."""
    return True


@contextmanager
def atomic_file(to: Path, may_replace: Callable[[Path, Path], bool] = same_bytes) -> Iterator[BinaryIO]:
    """Open a new file, mode 0600, that gets the name `to` when all of it is on disk. A failure leaves nothing behind.

    A file that is there already is replaced only if `may_replace(new, old)`; otherwise FileExistsError is raised.
    """
    fd, name = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.", suffix=".part")  # 0600, O_EXCL
    part = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            sync(file.fileno())
        if os.path.lexists(to) and may_replace(part, to):
            part.replace(to)
        else:
            _give_name(part, to)
        sync_directory(to)
    finally:
        part.unlink(missing_ok=True)


def remove_parts(to: Path) -> None:
    """Remove what killed processes have left of `atomic_file(to)`. No other process may write that file meanwhile."""
    for part in to.parent.glob(f".{glob.escape(to.name)}.*.part"):
        part.unlink(missing_ok=True)


def _give_name(part: Path, to: Path) -> None:
    try:
        os.link(part, to)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: take the name first, then put the file in its place
        os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        part.replace(to)


def check_place(fd: int, path: Path, size: int) -> None:
    """Raise OSError unless the file is still at its path and has `size` bytes. The next run opens that path.

    A file that was removed, moved or replaced still takes every write through its descriptor.
    """
    try:
        there = path.stat(follow_symlinks=False)
    except OSError as error:
        raise OSError(error.errno, f"it is no longer there ({error.strerror})") from error
    if not os.path.samestat(there, os.fstat(fd)):
        raise OSError(errno.ESTALE, "another file is there now, and it is no longer the one that this run writes")
    if there.st_size != size:
        raise OSError(errno.ESTALE, f"it holds {there.st_size} bytes, not the {size} that were written")
