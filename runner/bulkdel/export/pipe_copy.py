"""The copy of a pipe in a file: the run sends the same bytes as its plan. Owns the file; does not know its content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shlex
from collections.abc import Callable
from pathlib import Path

from bulkdel.durable import sync_directory, write_all
from bulkdel.errors import FileFailed
from bulkdel.export.refusal import ExportRefused, refusal
from bulkdel.format import printable
from bulkdel.place.log_file import make_folder
from bulkdel.place.spool import open_part
from bulkdel.regular_file import open_regular
from bulkdel.run_place import LOG

_BLOCK = 1 << 20

WAIT_MS = 200
"""How long the copying waits for the pipe before it calls `on_progress` again."""


Copied = Callable[[int], None]
"""Called with the number of bytes copied so far."""


def spool(fd: int, path: str, to: Path, on_progress: Copied | None = None) -> int:
    """Copy all of `fd` to the file `to` (mode 0600) and return a descriptor to read it. Leaves `fd` open.

    The copy is made under another name (`.NAME.part`) and gets the name `to` when it is complete and durable. An
    existing file is the export of an earlier run, which may need it to resume, so it is never overwritten.

    Raises FileFailed when the copy cannot be written. Raises NotAcceptable when `to` exists with other bytes, or when
    another process is copying to it.
    """
    part = part_of(to)
    try:
        made = open_copy(to)
    except BlockingIOError:
        raise busy(path, to) from None
    except OSError as error:
        raise _failed(to, path, error) from error
    try:
        digest = _copy(fd, made, path, to, on_progress)
        _put(part, to, path, digest)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        os.close(made)
        raise
    return made


def open_copy(to: Path, *, empty: bool = True) -> int:
    """Open the unfinished copy, locked, in the place of its run; see `open_part`."""
    make_folder(to.parent)
    return open_part(part_of(to), empty=empty)


def busy(path: str, to: Path) -> ExportRefused:
    """Make the refusal: another process is copying."""
    return refusal(path, f"another process is copying to {to}", "Wait for it to end, or stop it.")


def part_of(to: Path) -> Path:
    """The unfinished copy that gets the name `to`."""
    return to.with_name(f".{to.name}.part")


def _copy(source: int, target: int, path: str, to: Path, on_progress: Copied | None) -> bytes:
    """Copy everything, make it durable, return its SHA-256."""
    digest, size = hashlib.sha256(), 0
    pipe = select.poll()
    pipe.register(source, select.POLLIN)
    while True:
        try:
            while not pipe.poll(WAIT_MS):
                if on_progress:  # it may raise, to stop the copying
                    on_progress(size)
            data = os.read(source, _BLOCK)
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


def _put(part: Path, to: Path, path: str, digest: bytes) -> None:
    """Give the copy its name, unless an equal copy has it already."""
    try:
        if to.exists():
            with open_regular(to) as earlier:
                same = hashlib.file_digest(earlier, "sha256").digest() == digest
            if not same:
                raise _other(path, to)
            part.unlink()
            return
        part.replace(to)
        sync_directory(to)
    except OSError as error:
        raise _failed(to, path, error) from error


def _other(path: str, to: Path) -> ExportRefused:
    """Make the refusal, with the ways out: `to` holds another export."""
    log = to.with_name(LOG)
    if os.path.lexists(log):
        todo = f"To go on with that run, name {to} as the export; for a new run, name another place (--run)."
        return refusal(path, f"not what {to} holds, the copy of an earlier run's export", todo)
    todo = (
        f"No run has begun with that copy: there is no {log}. To use the copy, name {to} as the export; to use what "
        f"comes through the pipe now, remove the copy and start the pipe again:\n  rm -- {shlex.quote(printable(to))}"
    )
    return refusal(path, f"not what {to} holds, the copy of an export that was only planned, or refused", todo)


def _failed(to: Path, path: str, error: OSError) -> FileFailed:
    what = "standard input" if path == "-" else path
    return FileFailed(
        f"{to}: {error.strerror}. {what} is a pipe and is copied there first; nothing was sent and no part is kept. "
        f"Make room in {to.absolute().parent}, or name another place (--run), and start the pipe again."
    )
