"""The list of the rows that are not in the target state, an export for `run`. Owns its writing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import orjson

from bulkdel.core.ranges import positions_in
from bulkdel.core.skipped_rows import RowSet
from bulkdel.durable import atomic_file
from bulkdel.errors import FileFailed
from bulkdel.export.reopen import Reopened
from bulkdel.regular_file import open_regular


def write_list(reopened: Reopened, there: RowSet, to: Path) -> Path:
    """Write the rows `there`, one object a line, mode 0600: their ids, or the whole records of a job that takes some.

    Returns the path. Raises FileFailed.

    The file appears under its name only when it is complete. An existing list is replaced only by one that has all of
    its rows. Any other list may be in use, or corrected by hand, so the new one gets a number.
    """
    names = (to if i == 1 else to.with_name(f"{to.stem}-{i}{to.suffix}") for i in count(1))
    while True:
        name = next(names)
        try:
            with atomic_file(name, may_replace=_has_all_of) as file:
                file.writelines(row + b"\n" for row in _rows(reopened, there))
        except FileExistsError:
            continue
        except OSError as error:
            raise FileFailed(f"{to}: {error.strerror}. The list of those still there could not be written.") from error
        return name


def _rows(reopened: Reopened, there: RowSet) -> Iterator[bytes]:
    skipped = reopened.log_index.progress.skipped.rows  # `there` also covers the skipped rows beside its rows
    for rows in reopened.source.rows():
        for position in positions_in(there.overlap(rows.at, rows.stop)):
            if position not in skipped:
                row = position - rows.at
                yield rows.records[row].encode() if rows.records else orjson.dumps({"id": rows.ids[row]})


def _has_all_of(new: Path, old: Path) -> bool:
    """Whether every line of `old` is in `new`, in the same order."""
    with new.open("rb") as lines, open_regular(old) as wanted:
        return all(any(line == want for line in lines) for want in wanted)
