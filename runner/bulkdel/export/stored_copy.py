"""The copy of a pipe beside a log in a store: the pipe is read once, and another machine may have to go on.

The copy is in the current folder, as a file. It is put into the store before the log begins, and fetched where a run
goes on without the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from bulkdel.durable import atomic_file
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.place.lease import Terms
from bulkdel.store.certain import Retrying, Taken
from bulkdel.store.parts import PART_BYTES, parts_of, put_parts
from bulkdel.store_path import StorePath

FOLDER = "input"
"""Below the store of the log."""


def put_copy(copy: Path, log: StorePath, terms: Terms) -> None:
    """Put the copy into the store. Raises FileFailed when it cannot be written, NotAcceptable when another is there."""
    try:
        with copy.open("rb") as file:
            _put(iter(partial(file.read, PART_BYTES), b""), Retrying.at(log / FOLDER, terms.patience_s, terms.means))
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


def put_blocks(blocks: Iterable[bytes], folder: StorePath, patience_s: float) -> None:
    """Put the plain bytes of an export into the store, for processes on other machines. blocks: of the same length.

    What is there already is compared. Raises FileFailed when it cannot be written, NotAcceptable when it differs.
    """
    try:
        _put(_joined(blocks), Retrying.at(folder, patience_s))
    except Taken as error:
        raise NotAcceptable(
            f"{folder}: holds the copy of another export. Nothing was sent. Give --store another URL."
        ) from error
    except OSError as error:
        raise FileFailed(
            f"{folder}: the copy of the export cannot be written: {error.strerror or error}. Nothing was sent. Check "
            "the store, then run the same command again."
        ) from error


def _joined(blocks: Iterable[bytes]) -> Iterator[bytes]:
    part = bytearray()
    for block in blocks:
        part += block
        if len(part) >= PART_BYTES:
            yield bytes(part)
            part.clear()
    if part:
        yield bytes(part)


def _put(parts: Iterable[bytes], store: Retrying) -> None:
    with closing(store):
        put_parts(store, parts)


def fetch_copy(copy: Path, log: StorePath) -> None:
    """Fetch the copy from the store, if there is one. Raises FileFailed."""
    try:
        parts = parts_of(Retrying.at(log / FOLDER))
        if (first := next(parts, None)) is None:
            return
        with atomic_file(copy) as file:
            file.write(first)
            file.writelines(parts)
    except OSError as error:
        raise FileFailed(
            f"{copy}: the copy of the pipe cannot be fetched from {log}: {error.strerror or error}"
        ) from error
