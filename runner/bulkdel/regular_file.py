"""Opens files that another person may have put there: only regular ones, never a pipe or a device."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

READ_BYTES = 1 << 20


def open_regular(path: Path | str) -> io.BufferedReader:
    """Open a regular file to read: see `regular_fd`."""
    return os.fdopen(regular_fd(path), "rb")


def regular_fd(path: Path | str) -> int:
    """Open a regular file to read. No link in its place is followed, and no pipe is waited for. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "is not a regular file")
    return fd


def blocks_of(fd: int, start: int = 0, stop: int = sys.maxsize) -> Iterator[bytes]:
    """The bytes of an open file from `start` up to `stop`, in blocks. Raises OSError."""
    while block := os.pread(fd, min(READ_BYTES, stop - start), start):
        yield block
        start += len(block)
