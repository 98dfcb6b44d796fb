"""Folding the log into progress: what is settled, what is in doubt, the counts. Knows no file and no clock.

The running engine folds the very entries it has made durable, and a resume folds the same entries read back: there is
one arithmetic, so a count can never be ahead of the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.core.entries import Entry, Header, Intent, Outcome, Released, Saved, Session, Skipped, Unreadable
from runner.core.outcomes import COUNTED
from runner.core.ranges import Ranges, RangeSet
from runner.core.rows import Mark, mark_before, marks_of


@dataclass(slots=True)
class Progress:
    """The state that a log describes. Memory is that of its gaps, not of its length.

    settled: positions with an outcome or skipped. in_doubt: positions with an intent and nothing after it.
    start, stop: the latest session entry of each kind; stop is None while a session runs (or after a crash).
    sessions: how many have started. confirmed_at: when the run was confirmed last.
    asked: rows, ids, excluded, duplicate, invalid of the export as it was confirmed last (exclude files may be added).
    marks: where that export can be read on from.
    excluded: every exclude file so far, as in the header.
    backup: where the last session kept its backup, and what of it is known to be durable; None when it kept none.
    """

    header: Header
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    settled: RangeSet = field(default_factory=RangeSet)
    in_doubt: RangeSet = field(default_factory=RangeSet)
    start: Session | None = None
    stop: Session | None = None
    sessions: int = 0
    confirmed_at: str = ""
    asked: Mapping[str, int] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    backup: tuple[str, Saved] | None = None
    _intended: dict[tuple[int, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.confirmed_at = self.header.at
        self.asked = self.header.counts
        self.marks = self.header.marks
        self.excluded = self.header.excluded

    @property
    def rows(self) -> int:
        """Rows of the export."""
        return self.header.counts["rows"]

    @property
    def remaining(self) -> int:
        """Rows without an outcome. With the seven counts it adds up to `rows`."""
        return self.rows - self.settled.size

    @property
    def begin(self) -> Mark | None:
        """Where to begin to read for the rows that have no outcome yet; None for the first row."""
        todo = self.settled.missing(0, self.rows) if self.rows else ()
        return mark_before(self.marks, todo[0][0] if todo else self.rows)

    @property
    def complete(self) -> bool:
        """Whether every row has its outcome."""
        return self.remaining == 0

    def apply(self, entry: Entry) -> None:
        """Fold in one entry. Raises Unreadable when it contradicts what came before."""
        match entry:
            case Intent():
                for start, stop in entry.ranges:
                    self._intend(entry.at, start, stop)
                if entry.backup is not None and self.backup is not None:
                    self.backup = self.backup[0], max(self.backup[1], entry.backup)
            case Outcome():
                for start, stop in entry.ranges:
                    self._settle(start, stop, entry.kind)
            case Skipped():
                for start, stop in entry.ranges:
                    self._settle(start, stop, entry.reason)
            case Released():
                for start, stop in entry.ranges:
                    self._forget(start, stop)
            case Session(event="start"):
                self._start(entry)
            case Session():
                self.stop = entry
            case _:  # a header, which is read before there is a Progress
                raise Unreadable("a second header")

    @property
    def intents(self) -> list[tuple[str, int, int]]:
        """For what is in doubt, when it was first intended, by range."""
        return [(at, start, stop) for (start, stop), at in self._intended.items()]

    def doubts(self) -> list[tuple[str, Ranges]]:
        """What is in doubt, per time of first intent, ascending by position."""
        return [(at, ((start, stop),)) for start, stop, at in sorted((b, e, at) for at, b, e in self.intents)]

    def _start(self, entry: Session) -> None:
        self.start, self.stop, self.sessions = entry, None, self.sessions + 1
        facts = entry.facts
        if facts.get("confirmed"):
            self.confirmed_at = entry.at
        self.asked = facts.get("asked") or self.asked
        self.marks = marks_of(facts["marks"]) if "marks" in facts else self.marks
        self.excluded = dict(facts.get("excluded") or self.excluded)
        if (path := facts.get("backup")) is None:
            self.backup = None
        elif self.backup is None or self.backup[0] != path:
            self.backup = path, Saved()

    def _intend(self, at: str, start: int, stop: int) -> None:
        if self.settled.meets(start, stop):
            raise Unreadable(f"rows {start}-{stop - 1} are sent after they were settled")
        if stop > self.header.counts["rows"]:
            raise Unreadable(f"row {stop - 1} is sent, but the export has {self.rows} rows")
        # Only what is not in doubt already: the earliest intent is the one that may have had effect first.
        for part in self.in_doubt.missing(start, stop):
            self._intended[part] = at
        self.in_doubt.add(start, stop)

    def _settle(self, start: int, stop: int, kind: str) -> None:
        if stop > self.header.counts["rows"] or self.settled.add(start, stop) != stop - start:
            raise Unreadable(f"rows {start}-{stop - 1} are settled twice, or are not in the export")
        self.counts[kind] += stop - start
        self._forget(start, stop)

    def _forget(self, start: int, stop: int) -> None:
        if not self.in_doubt.remove(start, stop) or self._intended.pop((start, stop), None) is not None:
            return  # a chunk mostly ends whole
        kept: dict[tuple[int, int], str] = {}
        for (begin, end), at in self._intended.items():
            if begin < min(start, end):
                kept[begin, min(start, end)] = at
            if end > max(stop, begin):
                kept[max(stop, begin), end] = at
        self._intended = kept


def fold(entries: list[Entry]) -> Progress:
    """Start from the first entry, which must be the header."""
    if not entries or not isinstance(entries[0], Header):
        raise Unreadable("the log does not begin with a header")
    progress = Progress(entries[0])
    for entry in entries[1:]:
        progress.apply(entry)
    return progress
