"""A temporary sqlite3 database, to sort and find data that is too large for the memory.

sqlite3 keeps it in a file of its own that disappears with the connection, so memory stays flat.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from bulkdel.errors import FileFailed
from bulkdel.format import shown


@contextmanager
def temporary_database(schema: str, cannot: str, *, any_thread: bool = False) -> Iterator[sqlite3.Connection]:
    """Open a database with these tables. It is gone when it is closed, and it is not durable.

    cannot: what cannot be done without room, for the message. any_thread: whether other threads use it too, one at a
    time. Raises FileFailed when there is no room for the database, here or in the body of the `with` statement.
    """
    try:
        with closing(sqlite3.connect("", check_same_thread=not any_thread)) as rows:  # no name: a temporary file
            rows.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {schema}")
            yield rows
    except sqlite3.Error as error:
        folder = os.environ.get("SQLITE_TMPDIR") or os.environ.get("TMPDIR") or "/var/tmp"  # noqa: S108 - sqlite3's own order
        raise FileFailed(
            f"{cannot}: {shown(error)}. Make room in {folder}, or name another folder in SQLITE_TMPDIR; then run the "
            "same command again."
        ) from error
