"""The copy of a pipe beside a log in a store: the pipe is read once, and another machine may have to go on.

The copy is in the current folder, as a file. It is put into the store before the log begins, and fetched where a run
goes on without the file.
"""

from __future__ import annotations

from pathlib import Path

from bulkdel.durable import atomic_file
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.store.certain import Creator, Taken
from bulkdel.store.means import MEANS, Means
from bulkdel.store.parts import part_name, parts_of
from bulkdel.store_path import StorePath

FOLDER = "input"
"""Below the store of the log."""

PART_BYTES = 4 << 20
"""Bytes of one object."""


def put_copy(copy: Path, log: StorePath, patience_s: float, means: Means = MEANS) -> None:
    """Put the copy into the store. Raises FileFailed when it cannot be written, NotAcceptable when another is there."""
    creator = Creator(means.open(log / FOLDER), patience_s, means)
    try:
        with copy.open("rb") as file:
            number = 0
            while part := file.read(PART_BYTES):
                number += 1
                creator.create(part_name(number), part)
    except Taken as error:
        raise NotAcceptable(
            f"{log}: holds the copy of another pipe. Nothing was sent. Give --store another URL, then start the pipe "
            "again."
        ) from error
    except OSError as error:
        raise FileFailed(
            f"{log}: the copy of the pipe cannot be written: {error.strerror or error}. Nothing was sent. Check the "
            f"store, then name {copy} as the export."
        ) from error
    finally:
        creator.close()


def fetch_copy(copy: Path, log: StorePath, means: Means = MEANS) -> None:
    """Fetch the copy from the store, if there is one. Raises FileFailed."""
    try:
        parts = parts_of(log / FOLDER, means)
        if (first := next(parts, None)) is None:
            return
        with atomic_file(copy) as file:
            file.write(first)
            file.writelines(parts)
    except OSError as error:
        raise FileFailed(
            f"{copy}: the copy of the pipe cannot be fetched from {log}: {error.strerror or error}"
        ) from error
