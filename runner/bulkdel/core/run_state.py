"""Folding the log into progress: what is settled, what is in doubt, the counts. Knows no file and no clock.

The running engine folds the very entries it has made durable, and a resume folds the same entries read back: there is
one arithmetic, so a count can never be ahead of the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bulkdel.core.account_match import Doubt, Instant
from bulkdel.core.guards import Guards
from bulkdel.core.log_entries import (
    Annotation,
    Change,
    Changed,
    Entry,
    Header,
    Intent,
    MembershipsSaved,
    Outcome,
    Released,
    Saved,
    Session,
    Skipped,
    Throttled,
    Unreadable,
)
from bulkdel.core.outcome import COUNTED, KINDS, SKIPS
from bulkdel.core.ranges import Ranges, size_of
from bulkdel.core.skipped_rows import PositionSet, RowSet, SkippedRows


@dataclass(slots=True)
class RunState:
    """The state that a log describes. Memory grows with its gaps, not with its length.

    Raises Unreadable when `skipped` are not as many rows as the header counts.

    skipped: rows that are never sent: those of the preflight, which a file beside the log has, and those that a session
    has excluded.
    rows: of the export. remaining: those without an outcome; with the counts they add up to `rows`.
    settled: rows with an outcome. in_doubt: rows with an intent and nothing after it. Neither counts skipped rows.
    start, stop: the latest session entry of each kind; stop is None while a session runs (or after a crash).
    under_way: the latest session unless something shows that it is over: its stop, or an annotation after it.
    changes: the latest change of each kind in the latest session.
    annotations: what was done about the run outside of its sessions, in order.
    sessions: how many have started. confirmed_at: when the run was confirmed last, as its beginning or the start of a
    session says: a change holds for its session. confirmed_ahead_s: how far the server's clock was ahead of ours then;
    None when it is not known. confirmed_host: the protected host that was confirmed by name then; None without one.
    asked: rows, ids, excluded, duplicate, invalid of the export as it was confirmed last (exclude files may be added).
    excluded: every exclude file so far, as in the header. guards: those of the latest session.
    note: the latest `run --note`; empty when there is none.
    backup: the path of the last session's backup, and its durable part; None without a backup.
    backups: the same of every backup so far, in the order in which they were begun.
    shards_left: how the latest session that has stopped left the logs of the shards: lines and SHA-256, by number.
    memberships_to: the path of the copy of the memberships, as the last session that keeps one named it; None without.
    copies: those that are complete and durable. Until an id is sent each session makes one, and the last one counts.
    settled_at: when the latest outcome was written; None without one.
    reasons: how many rows have an outcome for a reason, by outcome and reason.
    """

    header: Header
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    skipped: SkippedRows = field(default_factory=SkippedRows)
    rows: int = field(init=False)
    remaining: int = field(init=False)
    settled: RowSet = field(init=False)
    in_doubt: RowSet = field(init=False)
    start: Session | None = None
    stop: Session | None = None
    under_way: Session | None = None
    changes: Mapping[Changed, Change] = field(default_factory=dict)
    annotations: tuple[Annotation, ...] = ()
    sessions: int = 0
    shards_left: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    confirmed_at: str = ""
    confirmed_ahead_s: int | None = None
    confirmed_host: str | None = None
    asked: Mapping[str, int] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)
    guards: Guards = field(init=False)
    note: str = ""
    backup: tuple[str, Saved] | None = None
    backups: tuple[tuple[str, Saved], ...] = ()
    memberships_to: str | None = None
    copies: tuple[MembershipsSaved, ...] = ()
    settled_at: Instant | None = None
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    _intended: dict[tuple[int, int], Doubt] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = self.remaining = self.header.counts["rows"]
        self.confirmed_at = self.header.at
        self.confirmed_ahead_s = self.header.confirmed.get("ahead_s")
        self.confirmed_host = self.header.confirmed.get("host")
        self.asked = self.header.counts
        self.excluded = self.header.excluded
        self.guards = self.header.guards
        self.settled, self.in_doubt = RowSet(self.skipped.rows), RowSet(self.skipped.rows)
        self.counts |= {reason: rows.size for reason, rows in self.skipped.by_reason.items()}
        self.remaining -= self.skipped.rows.size
        first, stop = self.skipped.rows.bounds
        here = not stop or (self.first <= first and stop <= self.end)
        if not here or any(self.counts[reason] != self.header.counts[reason] for reason in SKIPS):
            raise Unreadable("the rows that are never sent are not those that the header counts")

    @property
    def first(self) -> int:
        """The position of the first row: 0, but in the log of a shard."""
        return self.header.first

    @property
    def end(self) -> int:
        """The position after the last row."""
        return self.header.end

    @property
    def begin(self) -> int:
        """The first row without an outcome; `end` where there is none."""
        todo = self.settled.missing(self.first, self.end) if self.rows else ()
        return todo[0][0] if todo else self.end

    @property
    def sent(self) -> bool:
        """Whether a row is settled or in doubt: a request may have had effect."""
        return self.in_doubt.size > 0 or self.outcomes > 0

    @property
    def outcomes(self) -> int:
        """How many rows have an outcome; rows that are skipped have none."""
        return sum(self.counts[kind] for kind in KINDS)

    @property
    def spared(self) -> dict[str, int]:
        """How many of the excluded rows each guard, or the sign-in, has excluded, by the word of the log."""
        return {reason: rows for (kind, reason), rows in sorted(self.reasons.items()) if kind == "excluded"}

    @property
    def plan(self) -> Mapping[str, Any] | None:
        """What the latest confirmation by a plan file says of that plan; None without one."""
        start = self.start.facts.get("confirmed") if self.start is not None else None
        for confirmed in (start or {}, self.header.confirmed):
            if isinstance(plan := confirmed.get("plan"), dict):
                return plan
        return None

    @property
    def memberships(self) -> MembershipsSaved | None:
        """The latest copy of the memberships; None without one."""
        return self.copies[-1] if self.copies else None

    @property
    def complete(self) -> bool:
        """Whether every row has its outcome."""
        return self.remaining == 0

    @property
    def restores(self) -> dict[int, Annotation]:
        """What was noted last of each restore of this run, by its number."""
        return {entry.facts.get("number", 1): entry for entry in self.annotations if entry.event == "undo"}

    @property
    def back(self) -> dict[int, int]:
        """How many accounts each restore has brought back, by its number; only those that have brought back some."""
        counts = {number: noted.facts.get("restored", 0) for number, noted in self.restores.items()}
        return {number: count for number, count in counts.items() if count}

    @property
    def undo(self) -> Annotation | None:
        """What was noted last of a restore of all rows; None when none has begun. Then the run is not resumed."""
        return next((entry for entry in reversed(self.restores.values()) if not entry.facts.get("only")), None)

    @property
    def handed_over(self) -> Annotation | None:
        """The latest hand-over of this run; None without one. Then the run is not resumed from this log."""
        return next((entry for entry in reversed(self.annotations) if entry.event == "handover"), None)

    @property
    def forgotten(self) -> dict[str, str]:
        """When the removal of each file of this run has begun, by its name: its folder may have been moved since."""
        removals = (entry for entry in self.annotations if entry.event == "forget")
        return {
            file["path"].rpartition("/")[2]: entry.at for entry in removals for file in entry.facts.get("files", ())
        }

    def apply(self, entry: Entry) -> None:
        """Fold in one entry. Raises Unreadable when it contradicts an earlier entry."""
        match entry:
            case Intent():
                self._intend(entry)
            case Outcome():
                self._settle(entry)
            case Skipped():
                self._skip(entry)
            case Released():
                for start, stop in self.skipped.rows.joined(entry.ranges):
                    self._forget(start, stop)
            case MembershipsSaved():
                self._keep_memberships(entry)
            case Session(event="start"):
                self._begin_session(entry)
            case Session():
                self.stop, self.under_way = entry, None
                self.shards_left = entry.facts.get("shards", {})
            case Change() | Throttled():
                self._change(entry)
            case Annotation():
                self.annotations, self.under_way = (*self.annotations, entry), None
            case _:  # the header is read before there is a RunState
                raise Unreadable("a second header, or an entry that no run writes")

    def take(self, entry: Entry, shard: RunState) -> bool:
        """Fold in an entry of the log of a shard: here what a session says about rows, and in `shard` all the rest.

        Returns whether it was about rows. Raises Unreadable as `apply`, and for rows of another shard.
        """
        if not isinstance(entry, Intent | Outcome | Released | Skipped) or not shard.sessions:
            shard.apply(entry)  # its sessions
            return False
        if not shard._holds(entry.ranges):
            raise Unreadable(f"{_words(entry.ranges)} are in this log, but {shard._has}")
        if isinstance(entry, Intent):
            shard._save(entry.backup)
            entry = entry._replace(backup=None)
        self.apply(entry)
        return True

    def join(self, shard: RunState) -> None:
        """Take in the backups of a shard, whose entries are taken in already."""
        self.backups = (*self.backups, *shard.backups)

    def untouched(self, rows: PositionSet) -> PositionSet:
        """Those of `rows` that are neither settled, nor in doubt, nor skipped."""
        found = PositionSet()
        for start, stop in rows.ranges():
            for begin, end in self.settled.missing(start, stop):
                for first, last in self.in_doubt.missing(begin, end):
                    found.add(position for position in range(first, last) if position not in self.skipped.rows)
        return found

    def doubts(self) -> list[tuple[int, int, Doubt]]:
        """The rows in doubt as half-open ranges, ascending, each with the times of its intents."""
        return sorted((start, stop, doubt) for (start, stop), doubt in self._intended.items())

    def _begin_session(self, entry: Session) -> None:
        """Take in what a session says when it starts."""
        facts = entry.facts
        self.start, self.stop, self.under_way, self.sessions = entry, None, entry, self.sessions + 1
        self.changes = {}
        if confirmed := facts.get("confirmed"):
            self.confirmed_at, self.confirmed_ahead_s = entry.at, confirmed.get("ahead_s")
            self.confirmed_host = confirmed.get("host")
        self.asked = facts.get("asked") or self.asked
        if self.asked.get("rows") != self.rows:
            raise Unreadable(f"a session was asked for {self.asked.get('rows')} rows, and the run has {self.rows}")
        self.excluded = dict(facts.get("excluded") or self.excluded)
        self.guards = _guards(facts) or self.guards
        self.note = facts.get("note") or self.note
        self.memberships_to = facts.get("memberships") or self.memberships_to
        path, known = facts.get("backup"), self.backup
        if path is not None and known is not None and facts.get("backup_was") == known[0]:
            known = path, known[1]
            self.backups = (*self.backups[:-1], known)
        self.backup = known if known is None or known[0] == path else None
        if path is not None and self.backup is None:
            self.backup = path, Saved()
            self.backups = (*self.backups, self.backup)

    def _change(self, entry: Change | Throttled) -> None:
        if self.under_way is None:
            raise Unreadable("a change, or responses 429, while no session was under way")
        if isinstance(entry, Throttled):
            return
        self.changes = {**self.changes, entry.what: entry}

    def _keep_memberships(self, entry: MembershipsSaved) -> None:
        if self.sent:
            raise Unreadable("the copy of the memberships is not older than the first intent")
        self.copies = (*self.copies, entry)

    def _settle(self, entry: Outcome) -> None:
        spans, rows = self.skipped.rows.joined(entry.ranges), size_of(entry.ranges)
        beyond = bool(spans) and not self._holds(entry.ranges)
        if beyond or sum(self.settled.add(start, stop) for start, stop in spans) != rows:
            words = _words(entry.ranges)
            raise Unreadable(f"{words} are settled twice, are skipped, or are not in the export")
        self.counts[entry.kind] += rows
        self.remaining -= rows
        if self.settled_at is None or entry.at > self.settled_at.at:  # the logs of shards come one after the other
            self.settled_at = Instant(entry.at, entry.ahead_s)
        self._note_reasons(entry, rows)
        for start, stop in spans:
            self._forget(start, stop)

    def _note_reasons(self, entry: Outcome, rows: int) -> None:
        """Count the reasons: a row may have its own, and the others have that of the entry."""
        own = [str(each["reason"]) for each in entry.exceptions if "reason" in each]
        self.reasons.update((entry.kind, reason) for reason in own)
        if entry.reason is not None:
            self.reasons[entry.kind, entry.reason] += rows - len(own)

    def _intend(self, entry: Intent) -> None:
        at, ranges = Instant(entry.at, entry.ahead_s), entry.ranges
        if not self._holds(ranges):
            raise Unreadable(f"{_words(ranges)} are sent, but {self._has}")
        spans = self.skipped.rows.joined(ranges)
        if sum(map(self.skipped.rows.others, spans)) != size_of(ranges):
            raise Unreadable(f"{_words(ranges)} are sent, but a skipped row is among them")
        for start, stop in spans:
            if self.settled.overlap(start, stop):
                raise Unreadable(f"{_words(ranges)} are sent after they were settled")
            if self.in_doubt.overlap(start, stop):
                self._renew(start, stop, at)
            for part in self.in_doubt.missing(start, stop):
                self._intended[part] = Doubt(at, at)
            self.in_doubt.add(start, stop)
        self._save(entry.backup)

    def _renew(self, start: int, stop: int, at: Instant) -> None:
        """Take in a later intent for rows in doubt. It counts for all rows that were in one range with them."""
        exact = [(start, stop)] if (start, stop) in self._intended else []
        for span in exact or [span for span in self._intended if span[0] < stop and start < span[1]]:
            self._intended[span] = self._intended[span]._replace(latest=at)

    def _save(self, saved: Saved | None) -> None:
        """Note what is durable of the backup."""
        if saved is not None and self.backup is not None:
            self.backup = self.backup[0], max(self.backup[1], saved)
            self.backups = (*self.backups[:-1], self.backup)

    def _skip(self, entry: Skipped) -> None:
        """Take rows that a session has excluded."""
        where = _words(entry.ranges)
        if entry.reason != "excluded" or not self.sessions:
            raise Unreadable(f"{where} are {entry.reason}, and no session says that")
        if not self._holds(entry.ranges):
            raise Unreadable(f"{where} are {entry.reason}, but {self._has}")
        rows = PositionSet(entry.ranges)  # only now: each row takes time and memory
        if any(self.settled.overlap(start, stop) for start, stop in entry.ranges):
            raise Unreadable(f"{where} are settled twice")
        for start, stop in entry.ranges if self.in_doubt.size else ():
            self._forget(start, stop)
        try:
            self.skipped.add(entry.reason, rows)
        except ValueError as error:
            raise Unreadable(f"{where} are settled twice") from error
        self.counts[entry.reason] += rows.size
        if entry.why is not None:
            self.reasons["excluded", entry.why.value] += rows.size
        self.remaining -= rows.size

    def _holds(self, ranges: Ranges) -> bool:
        """Whether these are rows of this log."""
        return not ranges or (self.first <= ranges[0][0] and ranges[-1][1] <= self.end)

    @property
    def _has(self) -> str:
        if self.header.shard is None:
            return f"the export has {self.rows} rows"
        return f"shard {self.header.shard.number} has the rows {self.first}-{self.end - 1}"

    def _forget(self, start: int, stop: int) -> None:
        if not self.in_doubt.remove(start, stop) or self._intended.pop((start, stop), None) is not None:
            return  # nearly always all rows of an intent end together
        start, stop = self.skipped.rows.first_before(start), self.skipped.rows.first_after(stop)
        kept: dict[tuple[int, int], Doubt] = {}
        for (begin, end), doubt in self._intended.items():
            if begin < min(start, end):
                kept[begin, min(start, end)] = doubt
            if end > max(stop, begin):
                kept[max(stop, begin), end] = doubt
        self._intended = kept


def _guards(facts: Mapping[str, Any]) -> Guards:
    """The guards of a session. Raises Unreadable."""
    try:
        return Guards.from_json(facts.get("guards") or {})
    except (TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"the guards of a session cannot be read: {error!r}") from error


def _words(ranges: Ranges) -> str:
    return f"rows {ranges[0][0]}-{ranges[-1][1] - 1}" if ranges else "no rows"
