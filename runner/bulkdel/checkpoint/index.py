"""What a log says of each row: an index by position over a log whose entries stand in the order of their answers.

Owns the way from a position to its entry. Memory is that of the log's ranges, 24 bytes each (a chunk of 50 ids is one,
also with duplicates in it), not of its length: the entry itself is read again where it stands when its rows come by.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from bulkdel.checkpoint.reader import Reader, open_log
from bulkdel.core.duplicates import Duplicates
from bulkdel.core.log_entries import Outcome, Skipped, from_json
from bulkdel.core.ranges import Ranges
from bulkdel.core.run_state import Progress

BYTES_KEPT = 1 << 18
"""Of lines kept decoded, at least one. Chunks that were under way together were answered close together, so their
entries stand close together in the log; only what a later pass or session settled is farther away, and read again."""

NEAR = 256
"""Ranges from the end among which a new one is put in its place: more than there are chunks under way at once."""


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of consecutive rows.

    kind: `deleted`, `absent`, `refused`, `unknown`, `excluded`, `duplicate`, `invalid` or `remaining`.
    outcome: the entry that says so, for the first four. in_doubt: remaining, and sent without an answer.
    """

    start: int
    stop: int
    kind: str
    outcome: Outcome | None = None
    in_doubt: bool = False


class LogIndex:
    """The index of one log, as it is when this is made; also while a run writes it. Use as a context manager.

    progress: the whole log folded. sha256, damaged_tail: as `Log` has them.
    """

    def __init__(self, path: Path) -> None:
        """Read the log once. Raises NotAcceptable as `read_log` does."""
        self._path = path
        self._starts, self._sizes = array("q"), array("I")
        self._lines, self._within = array("q"), array("I")  # byte of the line, number of the entry in it
        self._late = False
        self._kept: OrderedDict[int, tuple[list[Any], int]] = OrderedDict()
        self._kept_bytes = 0
        self._fd = open_log(path)
        try:
            reader = Reader(self._fd, path)
            self.progress = self._index(reader)
            self.sha256 = reader.sha.hexdigest()
            self.damaged_tail = reader.damaged_tail
        except BaseException:
            os.close(self._fd)
            raise
        if self._late:
            order = sorted(range(len(self._starts)), key=self._starts.__getitem__)
            for column in (self._starts, self._sizes, self._lines, self._within):
                column[:] = array(column.typecode, map(column.__getitem__, order))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._fd)

    def between(self, start: int, stop: int) -> list[RowResult]:
        """The fates that cover the rows `[start, stop)`, in order."""
        duplicates = self.progress.duplicates
        log_index = self._without_duplicates(start, stop)
        if not duplicates.count(start, stop):
            return log_index
        return [part for row_result in log_index for part in _parts(row_result, duplicates)]

    def _without_duplicates(self, start: int, stop: int) -> list[RowResult]:
        """The fates as the index has them: those of the rows beside a duplicate stand for it too."""
        log_index: list[RowResult] = []
        i = max(0, bisect_right(self._starts, start) - 1)
        here = start
        while here < stop:
            while i < len(self._starts) and self._starts[i] + self._sizes[i] <= here:
                i += 1
            begin = self._starts[i] if i < len(self._starts) else stop
            if begin <= here:
                end = min(stop, begin + self._sizes[i])
                log_index.append(self._fate(here, end, i))
            else:
                end = min(stop, begin)
                log_index += self._remaining(here, end)
            here = end
        return log_index

    def _index(self, reader: Reader) -> Progress:
        progress: Progress | None = None
        for progress, entries in reader.folding():
            for within, entry in enumerate(entries):
                if isinstance(entry, Outcome | Skipped) and not _is_list(entry):
                    # `size` is the end of the lines before this one while it is being looked at.
                    self._note(progress.duplicates.joined(entry.ranges), reader.size, within)
        assert progress is not None, "commits() lets no empty log through"
        return progress

    def _note(self, ranges: Ranges, line: int, within: int) -> None:
        # Answers that overtook each other are put in order as they come. Only when something lies farther back (what a
        # later pass or session settled) is all of it sorted at the end, which for a moment costs the index again.
        for start, stop in ranges:
            near = max(0, len(self._starts) - NEAR)
            at = bisect_right(self._starts, start, near)
            self._late = self._late or (at == near > 0 and self._starts[near - 1] > start)
            self._starts.insert(at, start)
            self._sizes.insert(at, stop - start)
            self._lines.insert(at, line)
            self._within.insert(at, within)

    def _fate(self, start: int, stop: int, i: int) -> RowResult:
        entry = from_json(self._entries_at(self._lines[i])[self._within[i]])
        if isinstance(entry, Skipped):
            return RowResult(start, stop, entry.reason)
        assert isinstance(entry, Outcome)
        return RowResult(start, stop, entry.kind, entry)

    def _remaining(self, start: int, stop: int) -> Iterator[RowResult]:
        doubts, here = self.progress.in_doubt, start
        for begin, end in doubts.overlap(start, stop):
            if begin > here:
                yield RowResult(here, begin, "remaining")
            yield RowResult(begin, end, "remaining", in_doubt=True)
            here = end
        if here < stop:
            yield RowResult(here, stop, "remaining")

    def _entries_at(self, offset: int) -> list[Any]:
        if (kept := self._kept.get(offset)) is not None:
            self._kept.move_to_end(offset)
            return kept[0]
        # Whole and sound: `_index` has checked it, and nobody changes a line of a log.
        with open(self._fd, "rb", closefd=False) as file:
            file.seek(offset)
            line = file.readline()
        entries: list[Any] = orjson.loads(line)["entries"]
        self._kept[offset] = entries, len(line)
        self._kept_bytes += len(line)
        while self._kept_bytes > BYTES_KEPT and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1][1]
        return entries


def _is_list(entry: Outcome | Skipped) -> bool:
    """Whether it is a part of the list of duplicates, which `Progress` keeps in less memory."""
    return isinstance(entry, Skipped) and entry.reason == "duplicate"


def _parts(row_result: RowResult, duplicates: Duplicates) -> Iterator[RowResult]:
    """Cut the duplicates out of a fate."""
    here = row_result.start
    for start, stop in duplicates.ranges(row_result.start, row_result.stop):
        if start > here:
            yield RowResult(here, start, row_result.kind, row_result.outcome, row_result.in_doubt)
        yield RowResult(start, stop, "duplicate")
        here = stop
    if here < row_result.stop:
        yield RowResult(here, row_result.stop, row_result.kind, row_result.outcome, row_result.in_doubt)
