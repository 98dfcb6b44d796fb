"""An index from positions to outcomes over a log, in a temporary sqlite3 database.

The entries of a log stand in the order of their responses; a report goes through the rows in the order of the export.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Self

import orjson

from bulkdel.checkpoint.reader import RUN, reading
from bulkdel.core.log_entries import Entry, Outcome, Skipped, from_json, to_json
from bulkdel.core.outcome import REMAINING
from bulkdel.core.skipped_rows import PositionSet, SkippedRows
from bulkdel.place.log_place import LogPlace
from bulkdel.temporary_database import temporary_database

IN_DOUBT = "in doubt"

SCHEMA = """
CREATE TABLE spans (start INTEGER PRIMARY KEY, stop INTEGER NOT NULL, kind TEXT NOT NULL, outcome BLOB);
CREATE TABLE spared (start INTEGER PRIMARY KEY, stop INTEGER NOT NULL, why TEXT NOT NULL);
"""
INSERT = "INSERT INTO spans VALUES (?, ?, ?, ?)"
SELECT = """
SELECT * FROM spans WHERE start >= (SELECT coalesce(max(start), 0) FROM spans WHERE start <= ?1)
AND start < ?2 AND stop > ?1 ORDER BY start
"""
INSERT_SPARED = "INSERT INTO spared VALUES (?, ?, ?)"
SELECT_SPARED = SELECT.replace("spans", "spared")

Span = tuple[int, int, str, bytes | None]


@dataclass(frozen=True, slots=True)
class RowResult:
    """The result of consecutive rows.

    kind: a word of `core.outcome`, or `remaining`. outcome: its entry, if it is one of KINDS.
    in_doubt: remaining, and sent without a response. why: of excluded rows, the guard that spared them.
    """

    start: int
    stop: int
    kind: str
    outcome: Outcome | None = None
    in_doubt: bool = False
    why: str | None = None


class LogIndex:
    """The index of one log, as it is when this is made; also while a run writes it. `of` makes it.

    progress: the whole log folded. sha256: as `Log` has it.
    """

    def __init__(self, rows: sqlite3.Connection, place: LogPlace) -> None:
        self._rows = rows
        with reading(place, RUN) as reader:
            for self.progress, entries in reader.folding():
                rows.executemany(INSERT, _spans(entries, self.progress.skipped.rows))
                rows.executemany(INSERT_SPARED, _spared(entries))
        rows.executemany(INSERT, ((*span, IN_DOUBT, None) for span in self.progress.in_doubt.ranges))
        self.sha256 = reader.sha256

    @classmethod
    @contextmanager
    def of(cls, place: LogPlace) -> Iterator[Self]:
        """Read the log once. Raises NotAcceptable as `read_log` does, and FileFailed when there is no room."""
        with temporary_database(SCHEMA, f"{place.where}: its index cannot be written", any_thread=True) as rows:
            yield cls(rows, place)

    def between(self, start: int, stop: int) -> list[RowResult]:
        """The results of the rows `[start, stop)`, in order, without a gap."""
        skipped = self.progress.skipped
        results = self._without_skipped(start, stop)
        if not skipped.rows.count(start, stop):
            return list(results)
        parts = [part for result in results for part in _parts(result, skipped)]
        if not self.progress.spared:
            return parts
        with closing(self._rows.execute(SELECT_SPARED, (start, stop))) as found:
            return list(_with_whys(parts, found.fetchall()))

    def _without_skipped(self, start: int, stop: int) -> Iterator[RowResult]:
        """The same, but a result also covers the skipped rows beside its rows."""
        here = start
        with closing(self._rows.execute(SELECT, (start, stop))) as found:
            for begin, end, kind, outcome in found:
                if begin > here:
                    yield RowResult(here, begin, REMAINING)
                here, begun = min(stop, end), max(start, begin)
                if kind == IN_DOUBT:
                    yield RowResult(begun, here, REMAINING, in_doubt=True)
                else:
                    yield RowResult(begun, here, kind, _outcome(outcome))
        if here < stop:
            yield RowResult(here, stop, REMAINING)


def _spans(entries: list[Entry], skipped: PositionSet) -> Iterator[Span]:
    """The rows that these entries settle, each span with its own part of the outcome."""
    for entry in entries:
        if isinstance(entry, Outcome):  # `RunState` keeps the skipped rows
            for start, stop in skipped.joined(entry.ranges):
                own = tuple(each for each in entry.exceptions if start <= each["position"] < stop)
                part = entry._replace(ranges=((start, stop),), exceptions=own)
                yield start, stop, entry.kind, orjson.dumps(to_json(part))


def _spared(entries: list[Entry]) -> Iterator[tuple[int, int, str]]:
    """The rows that the guards have spared in these entries, with the guard."""
    for entry in entries:
        if isinstance(entry, Skipped) and entry.why is not None:
            yield from ((start, stop, entry.why.value) for start, stop in entry.ranges)


def _outcome(data: bytes | None) -> Outcome | None:
    outcome = None if data is None else from_json(orjson.loads(data))
    assert outcome is None or isinstance(outcome, Outcome)
    return outcome


def _parts(result: RowResult, skipped: SkippedRows) -> Iterator[RowResult]:
    """Cut the skipped rows out of a result."""
    here = result.start
    for start, stop, reason in skipped.between(result.start, result.stop):
        if start > here:
            yield RowResult(here, start, result.kind, result.outcome, result.in_doubt)
        yield RowResult(start, stop, reason)
        here = stop
    if here < result.stop:
        yield RowResult(here, result.stop, result.kind, result.outcome, result.in_doubt)


def _with_whys(results: list[RowResult], spared: list[tuple[int, int, str]]) -> Iterator[RowResult]:
    """Cut the results of excluded rows where the guard that spared them changes. Both lists ascend."""
    ahead = deque(spared)
    for result in results:
        here = result.start
        while result.kind == "excluded" and ahead and ahead[0][0] < result.stop:
            start, stop, why = ahead[0]
            if start > here:
                yield replace(result, start=here, stop=start)
                here = start
            if here < stop:
                here, begun = min(stop, result.stop), here
                yield replace(result, start=begun, stop=here, why=why)
            if stop > result.stop:  # the next result begins in it
                break
            ahead.popleft()
        if here < result.stop:
            yield replace(result, start=here)
