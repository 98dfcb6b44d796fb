"""A temporary sqlite3 database, to sort and find data that is too large for the memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from bulkdel.checkpoint.index import sqlite_folder
from bulkdel.errors import FileFailed
from bulkdel.format import shown


@contextmanager
def temporary_database(schema: str, content: str) -> Iterator[sqlite3.Connection]:
    """Open a database with these tables. It is gone when it is closed, and it is not durable.

    content: what it holds, for the message. Raises FileFailed when there is no room for the database, here or in the
    body of the `with` statement.
    """
    try:
        with closing(sqlite3.connect("")) as rows:  # no name: a temporary file
            rows.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {schema}")
            yield rows
    except sqlite3.Error as error:
        raise FileFailed(
            f"{content} cannot be sorted: {shown(error)}. Make room in {sqlite_folder()}, or name another folder in "
            "SQLITE_TMPDIR; then run the same command again."
        ) from error
