"""Copying a pipe to a file, because an export is read twice. Owns that file; knows nothing of what is in it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from runner.disk import write_all
from runner.errors import FileFailed
from runner.source.refusals import refusal

_PIECE = 1 << 20


Copied = Callable[[int], None]
"""Called with the bytes that were copied so far."""


def spool(fd: int, path: str, to: Path, on_progress: Copied | None = None) -> int:
    """Copy all of `fd` to the file `to` (mode 0600) and return a descriptor to read it. Leaves `fd` open.

    The copy is made under another name and takes the name `to` when it is complete and durable. A file that is there
    already is the export of an earlier run: if it holds the same bytes it stays, else it is not overwritten, because
    that run may need it to go on.

    Raises FileFailed when the copy cannot be written, NotAcceptable when `to` holds something else.
    """
    try:
        made, name = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.", suffix=".part")  # 0600, O_EXCL
    except OSError as error:
        raise _failed(to, path, error) from error
    try:
        digest = _copy(fd, made, path, to, on_progress)
        _put(name, to, path, digest)
    except BaseException:
        os.close(made)
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    return made


def _copy(source: int, target: int, path: str, to: Path, on_progress: Copied | None) -> bytes:
    """Copy everything, make it durable, return its SHA-256."""
    digest, size = hashlib.sha256(), 0
    while True:
        try:
            data = os.read(source, _PIECE)
        except OSError as error:
            raise refusal(path, error.strerror or str(error), "Start the pipe again.") from error
        try:
            if not data:
                os.fsync(target)
                return digest.digest()
            digest.update(data)
            write_all(target, data)
            size += len(data)
            if on_progress:
                on_progress(size)
        except OSError as error:
            raise _failed(to, path, error) from error


def _put(name: str, to: Path, path: str, digest: bytes) -> None:
    """Give the copy its name, unless an earlier one has it."""
    try:
        if to.exists():
            with to.open("rb") as earlier:
                same = hashlib.file_digest(earlier, "sha256").digest() == digest
            if not same:
                todo = f"Name {to} as the export to go on with that run, or another checkpoint to start anew."
                raise refusal(path, f"not what {to} holds, the copy of an earlier run's export", todo)
            Path(name).unlink()
            return
        Path(name).replace(to)
        directory = os.open(to.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise _failed(to, path, error) from error


def _failed(to: Path, path: str, error: OSError) -> FileFailed:
    what = "standard input" if path == "-" else path
    return FileFailed(
        f"{to}: {error.strerror}. {what} is a pipe and is copied there first; nothing was sent and no part is kept. "
        f"Make room in {to.absolute().parent}, or name another --checkpoint, and start the pipe again."
    )
