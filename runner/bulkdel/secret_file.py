"""A file with a secret, as a person keeps it or a container mounts it. Reading it never waits for a pipe, and ends."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

from bulkdel.errors import UsageError

IN_FILE = "_FILE"
"""After the name of a secret's variable: the variable that names a file with the secret, as containers mount it."""

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
    """The text of the file. Raises OSError, also for a file that is too long or no text."""
    with open_secret(path) as file:
        found = file.read(SECRET_MAX + 1)
    if len(found) > SECRET_MAX:
        raise OSError(errno.EFBIG, f"is longer than {SECRET_MAX:,} bytes")
    try:
        return found.decode()
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "not text") from None


def text_named(variable: str, path: str, what: str, *, given: bool) -> str:
    """The text of the file at `path`, which NAME_FILE names in the place of a variable. what: is in it.

    The system that mounts such a file decides on its mode. Raises UsageError when the variable is given, too, and for a
    file that cannot be read or is empty; no message quotes it.
    """
    source = f"{variable}{IN_FILE}"
    if given:
        raise UsageError(f"the environment sets {variable} and {source}: leave one of them out")
    try:
        text = read_secret(Path(path))
    except OSError as error:
        raise UsageError(f"{source}: {path}: {error.strerror}. Name a file with the {what}") from error
    if not text.strip():
        raise UsageError(f"{source}: {path}: is empty. Name a file with the {what}")
    return text
