"""The preflight of a run whose export is not there any more: over its input, which another person may have written."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from bulkdel.core.excluded_rows import ExcludedRows
from bulkdel.core.id_type import IdSet
from bulkdel.core.input_rows import Rows
from bulkdel.core.record import Record
from bulkdel.core.skipped_rows import PositionSet, SkippedRows
from bulkdel.errors import NotAcceptable
from bulkdel.export.duplicates import DuplicateFinder
from bulkdel.export.rows import ReadOptions


def preflight_of_input(
    rows_of_run: Iterable[Rows],
    options: ReadOptions,
    where: Path,
    *,
    count: int,
    protected: IdSet,
    rng: random.Random,
    sample_size: int,
    temporary: Path,
) -> tuple[SkippedRows, tuple[Record, ...]]:
    """Check every row as the preflight of an export does. Returns the rows that are never sent, and the sample.

    where: of the log, for messages. count: how many rows there are. The other arguments are those of `preflight`.

    Raises NotAcceptable for an id that no export can have given, FileFailed when there is no room for the search.
    """
    excluded, invalid, duplicates, done = ExcludedRows(protected, PositionSet()), PositionSet(), PositionSet(), 0
    check = options.id_check()
    with DuplicateFinder(temporary, options.id_type.key, lambda: max(done, 1) / count) as finder:
        for rows in rows_of_run:
            positions, ids = rows.usable
            if check.check_all([*ids]) != [*ids]:
                raise NotAcceptable(
                    f"{where}: its rows {rows.at:,} to {rows.stop - 1:,} hold an id that no export can have given. "
                    "Nothing was sent. Name the export of the run, or ask for the files that the run has written."
                )
            invalid.add(rows.why)
            finder.add(*excluded.take(positions, ids))
            done = rows.stop
        excluded.kept()
        firsts = sorted(finder.find(duplicates))
    skipped = SkippedRows.of(excluded=excluded.positions, duplicate=duplicates, invalid=invalid)
    return skipped, tuple(sorted(rng.sample(firsts, min(sample_size, len(firsts)))))
