"""A file with a secret, as a person keeps it or a container mounts it. Reading it never waits for a pipe, and ends."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

SECRET_MAX = 1 << 16
"""Bytes of such a file, at most."""


def open_secret(path: Path) -> BinaryIO:
    """Open the file. Raises OSError.

    A named pipe without a writer is empty. One with a writer, such as `<(pass show key)` of a shell, can be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # without O_NONBLOCK it would wait for a writer
    os.set_blocking(fd, True)
    return os.fdopen(fd, "rb")


def read_secret(path: Path) -> str:
    """The text of the file. Raises OSError, also for a file that is too long, and UnicodeDecodeError."""
    with open_secret(path) as file:
        found = file.read(SECRET_MAX + 1)
    if len(found) > SECRET_MAX:
        raise OSError(errno.EFBIG, f"is longer than {SECRET_MAX:,} bytes")
    return found.decode()
