"""Bytes that have to stay: writing all of them, and waiting until the disk has them. Everything raises OSError."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from pathlib import Path


def write_all(fd: int, data: bytes) -> None:
    """Write `data`, however many calls it takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write `data` over what stands at `offset`."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, offset)
        rest, offset = rest[written:], offset + written


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


def check_place(fd: int, path: Path, size: int) -> None:
    """Raise OSError unless the file is still the one at its path, `size` bytes of it: that is what the next run finds.

    A file that was removed, moved or replaced takes every further line all the same.
    """
    try:
        there = path.stat(follow_symlinks=False)
    except OSError as error:
        raise OSError(error.errno, f"it is no longer there ({error.strerror})") from error
    if not os.path.samestat(there, os.fstat(fd)):
        raise OSError(errno.ESTALE, "another file is there now, and it is no longer the one that this run writes")
    if there.st_size != size:
        raise OSError(errno.ESTALE, f"it holds {there.st_size} bytes, not the {size} that were written")
