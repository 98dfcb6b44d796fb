"""`bulkdel verify` without files and requests: which rows are looked up, what a finding means, and the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from bulkdel.core.account_match import Instant, Presence, Sampled, presence
from bulkdel.core.log_entries import FINDINGS, Entry, Finding, Found, Session, Unreadable, VerifyHeader
from bulkdel.core.mac import found_mac_holds, found_with_mac
from bulkdel.core.ranges import size_of
from bulkdel.core.run_state import RunState
from bulkdel.core.skipped_rows import PositionSet, RowSet
from bulkdel.core.summary import Ending

CLAIMED = ("done", "already", "absent")
"""Outcomes that mean that the id is in the job's target state, or has no account. Only these rows are looked up."""


class GoneRow(NamedTuple):
    """One row that the log calls gone: in the target state, or without an account.

    at: the time of its outcome. recreated: the run saw a newer account with the id.
    """

    position: int
    id: str
    at: Instant
    recreated: bool


def picks(total: int, count: int, chance: Callable[[], float]) -> Iterator[int]:
    """Draw `count` of the numbers below `total`, ascending: one from each of `count` equal parts.

    chance: uniform in [0, 1); the same chances draw the same numbers. Of fewer than `count` numbers, all are drawn.
    """
    count = min(count, total)
    for part in range(count):
        low, high = part * total // count, (part + 1) * total // count
        yield low + int(chance() * (high - low))


def judged(
    row: GoneRow,
    created_at: float | None,
    sampled: Sampled,
    now: Instant,
    *,
    reusable: bool,
    trusted: bool = True,
    reached: bool | None = False,
    created: bool = False,
) -> Finding | None:
    """The finding for a row after a look-up has found its id; None when it cannot be decided.

    reached: whether the account is in the target state (`job.Account`); for a deletion no account is. created: whether
        every account that is there is in it, because the run was to create it.
    created_at: of the account, epoch seconds. An account with an id that is never reused is the one that was meant. A
    reusable id is compared as a run compares rows in doubt. A run records a re-created account after its creation, so
    then only `createdAt` values are compared.
    trusted: False when a clock is known to be wrong.
    """
    if created or reached:
        return "gone"
    if reached is None:
        return None
    if not reusable:
        return "there"
    at = row.at._replace(ahead_s=None) if row.recreated else row.at
    found = presence(created_at, at, sampled, now, trusted=trusted)
    if row.recreated and found is Presence.UNDATED:
        return "recreated"
    named: dict[Presence, Finding | None] = {
        Presence.NEW: "recreated",
        Presence.OLD: "there",
        Presence.UNDATED: None,
    }
    return named[found]


class Findings:
    """The state that the log of a verification describes. Memory grows with its gaps.

    rows: by finding. known: all of them together. start, stop: the latest session entries. under_way: the latest
    session; None when it has stopped. proven: whether each finding has its MAC by the key.
    """

    def __init__(self, header: VerifyHeader, skipped: PositionSet, key: bytes | None = None) -> None:
        """skipped: rows of the export. They are never looked up, and leave no gaps. key: of this user."""
        self.header = header
        self.rows = {finding: RowSet(skipped) for finding in FINDINGS}
        self.known = RowSet(skipped)
        self.start: Session | None = None
        self.stop: Session | None = None
        self.under_way: Session | None = None
        self.proven = True
        self._skipped, self._key = skipped, key

    def with_mac(self, found: Found) -> Found:
        """The finding as it is written to this log; without a key it has no MAC."""
        return found_with_mac(found, self.header, self._key)

    def apply(self, entry: Entry) -> None:
        """Fold in one entry. Raises Unreadable when it contradicts an earlier entry."""
        match entry:
            case Found(_, finding, ranges):
                self.proven = self.proven and found_mac_holds(entry, self.header, self._key)
                spans = self._skipped.joined(ranges)
                if sum(self.known.add(*span) for span in spans) != size_of(ranges):
                    raise Unreadable(f"rows {ranges[0][0]}-{ranges[-1][1] - 1} are found twice")
                for span in spans:
                    self.rows[finding].add(*span)
            case Session(event="start"):
                self.start, self.stop, self.under_way = entry, None, entry
            case Session():
                self.stop, self.under_way = entry, None
            case _:
                raise Unreadable("an entry that no verification writes")


@dataclass(frozen=True, slots=True)
class Counts:
    """The result in numbers, named as in the summary.

    gone includes recreated. could_not_tell: not looked up yet, or without a response that proves anything.
    in_doubt: rows that were sent without a response and have no outcome yet.
    checked: rows that are looked up, of those that the run calls gone (claimed).
    """

    gone: int
    still_there: int
    could_not_tell: int
    in_doubt: int
    recreated: int
    checked: int
    claimed: int
    not_claimed: int
    rows: int

    @classmethod
    def of(cls, progress: RunState, findings: Findings, sample: int | None) -> Counts:
        """Count. sample: how many are looked up at most; None for all."""
        claimed = sum(progress.counts[kind] for kind in CLAIMED)
        checked = claimed if sample is None else min(sample, claimed)
        gone, recreated, there = (findings.rows[finding].size for finding in FINDINGS)
        return cls(
            gone=gone + recreated,
            still_there=there,
            could_not_tell=checked - gone - recreated - there,
            in_doubt=progress.in_doubt.size,
            recreated=recreated,
            checked=checked,
            claimed=claimed,
            not_claimed=progress.rows - claimed,
            rows=progress.rows,
        )

    def complete(self, ending: Ending) -> bool:
        """Whether each row to look up has its finding, no row is in doubt, and nothing cast doubt on the findings."""
        return not (self.could_not_tell or self.in_doubt or ending.halted or ending.file_failed)
