"""`bulkdel verify` without files and requests: which rows are looked up, what a finding means, the lines of its state.

Owns this arithmetic and the format of the state. Pure: knows no file, no clock and no request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import orjson

from bulkdel.core.account_match import Instant, Presence, Sampled, presence
from bulkdel.core.id_set import IdSet
from bulkdel.core.id_type import IdType
from bulkdel.core.log_entries import Damaged, Unreadable, frame, sound
from bulkdel.core.ranges import Ranges, RangeSet, size_of
from bulkdel.core.record import Batch
from bulkdel.core.run_state import Progress
from bulkdel.core.skipped_rows import PositionSet, RowSet
from bulkdel.core.summary import EXIT_COMPLETE, EXIT_FILE, EXIT_REFUSED, EXIT_REMAINING, EXIT_SIGNAL, Ending, Status

CLAIMED = ("done", "absent")
"""Outcomes that say: the id is gone. Only these rows are looked up."""

FORMAT = 1
FIRST_LINE = b'{"seq":1,"entries":[{"type":"verify",'
"""The beginning of a state file."""

Finding = Literal["gone", "recreated", "there"]
"""recreated: gone, and a newer account has the id. there: still there. A row without a finding is looked up again."""

FINDINGS: tuple[Finding, ...] = ("gone", "recreated", "there")


class Stretch(NamedTuple):
    """Consecutive rows that one outcome calls gone. at: its time. replaced: it saw a newer account with the id."""

    start: int
    stop: int
    at: Instant
    replaced: bool


class Claim(NamedTuple):
    """One row that the log calls gone."""

    position: int
    id: str
    at: Instant
    replaced: bool


def picks(total: int, count: int, chance: Callable[[], float]) -> Iterator[int]:
    """Draw `count` of the numbers below `total`, ascending: one from each of `count` equal parts.

    chance: uniform in [0, 1); the same chances draw the same numbers. Without `count` numbers, all are drawn.
    """
    count = min(count, total)
    for part in range(count):
        low, high = part * total // count, (part + 1) * total // count
        yield low + int(chance() * (high - low))


def claims_of(
    rows: Iterable[tuple[Batch, Sequence[Stretch]]], known: RangeSet, drawn: Iterator[int] | None
) -> Iterator[Claim]:
    """The claimed rows in order, without those that are `known`.

    drawn: which of all claimed rows to take, ascending numbers from 0; None for all.
    """
    passed, pick = 0, next(drawn, None) if drawn is not None else None
    for batch, stretches in rows:
        for start, stop, at, replaced in stretches:
            wanted: list[tuple[int, int]] = [(start, stop)] if drawn is None else []
            while drawn is not None and pick is not None and pick < passed + stop - start:
                wanted.append((start + pick - passed, start + pick - passed + 1))
                pick = next(drawn, None)
            passed += stop - start
            for begin, end in wanted:
                for first, last in known.missing(begin, end):
                    for position in range(first, last):
                        id_ = batch.rows[position - batch.start]
                        assert isinstance(id_, str), "a bad row is never deleted"
                        yield Claim(position, id_, at, replaced)


def chunks_apart(claims: Iterable[Claim], size: int, id_type: IdType) -> Iterator[tuple[Claim, ...]]:
    """Cut into chunks of at most `size`. Two ids that may be the same account are never in one chunk."""
    chunk: list[Claim] = []
    met = IdSet(id_type)
    for claim in claims:
        if len(chunk) == size or met.meets(claim.id):
            yield tuple(chunk)
            chunk, met = [], IdSet(id_type)
        chunk.append(claim)
        met.update([claim.id])
    if chunk:
        yield tuple(chunk)


def judged(
    claim: Claim, created_at: float | None, sampled: Sampled, now: Instant, *, reusable: bool, trusted: bool = True
) -> Finding | None:
    """The finding for a claim whose id a look-up has found; None when it cannot be decided.

    created_at: of the account, epoch seconds. An account with an id that is never reused is the one that was meant. A
    reusable id is compared as a run compares rows in doubt. A run records a re-created account after its creation, so
    then only `createdAt` values are compared.
    trusted: False when a clock is known to be wrong.
    """
    if not reusable:
        return "there"
    at = claim.at._replace(ahead_s=None) if claim.replaced else claim.at
    found = presence(created_at, at, sampled, now, trusted=trusted)
    if claim.replaced and found is Presence.UNDATED:
        return "recreated"
    named: dict[Presence, Finding | None] = {
        Presence.NEW: "recreated",
        Presence.OLD: "there",
        Presence.UNDATED: None,
    }
    return named[found]


@dataclass(slots=True)
class Books:
    """The findings so far. Memory grows with the gaps. known: all three together.

    duplicates: of the export; they are never looked up, and leave no gaps.
    """

    duplicates: PositionSet = field(default_factory=PositionSet)
    gone: RowSet = field(init=False)
    recreated: RowSet = field(init=False)
    there: RowSet = field(init=False)
    known: RowSet = field(init=False)

    def __post_init__(self) -> None:
        self.gone, self.recreated, self.there, self.known = (RowSet(self.duplicates) for _ in range(4))

    def apply(self, found: Mapping[Finding, Ranges]) -> None:
        """Fold one line in. Raises Unreadable when it contradicts an earlier one."""
        for name in FINDINGS:
            ranges = found.get(name, ())
            spans = self.duplicates.joined(ranges)
            if sum(self.known.add(start, stop) for start, stop in spans) != size_of(ranges):
                raise Unreadable(f"rows {ranges[0][0]}-{ranges[-1][1] - 1} are found twice")
            for start, stop in spans:
                getattr(self, name).add(start, stop)


def encode_first(tool: str, at: str, pinned: Mapping[str, Any]) -> bytes:
    """The first line of a state. pinned: what must be the same on a resume."""
    return frame(
        1, [orjson.dumps({"type": "verify", "format": FORMAT, "tool": tool, "at": at, "pinned": dict(pinned)})]
    )


def encode_found(seq: int, at: str, found: Mapping[Finding, Ranges]) -> bytes:
    """A further line: rows by finding, without ids."""
    told = {name: [list(pair) for pair in ranges] for name, ranges in found.items() if ranges}
    return frame(seq, [orjson.dumps({"type": "found", "at": at, **told})])


def decode(line: bytes, seq: int) -> dict[str, Any]:
    """The entry of line number `seq`, newline included. Raises Damaged, or Unreadable for another version's."""
    if not sound(line):
        raise Damaged("its checksum does not match")
    try:
        told = orjson.loads(line)
        (entry,) = told["entries"]
        kind, expected = entry["type"], "verify" if seq == 1 else "found"
        if told["seq"] != seq:
            raise Damaged(f"it is line {told['seq']} where {seq} was due")
        if kind != expected or (seq == 1 and entry["format"] != FORMAT):
            raise Unreadable(f"{kind!r} is not what this version writes as line {seq}")
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"no line of a verification, although the checksum matches: {error!r}") from error
    return dict(entry)


def found_of(entry: Mapping[str, Any]) -> dict[Finding, Ranges]:
    """Read what `encode_found` wrote. Raises Unreadable."""
    try:
        found = {name: tuple((int(start), int(stop)) for start, stop in entry.get(name, ())) for name in FINDINGS}
    except (TypeError, ValueError) as error:
        raise Unreadable(f"garbled ranges: {error!r}") from error
    if any(not 0 <= start < stop for ranges in found.values() for start, stop in ranges):
        raise Unreadable("garbled ranges: they are not half-open")
    return found


@dataclass(frozen=True, slots=True)
class Tally:
    """The result in numbers.

    claimed: rows that the run calls gone. checked: those of them that are looked up.
    gone includes recreated. gone + there + could_not_tell = checked.
    in_doubt: rows that were sent without a response and have no outcome yet.
    """

    rows: int
    claimed: int
    checked: int
    gone: int
    recreated: int
    there: int
    in_doubt: int = 0

    @classmethod
    def of(cls, progress: Progress, books: Books, sample: int | None) -> Tally:
        """Count. sample: how many are looked up at most; None for all."""
        claimed = sum(progress.counts[kind] for kind in CLAIMED)
        checked = claimed if sample is None else min(sample, claimed)
        gone = books.gone.size + books.recreated.size
        found = (gone, books.recreated.size, books.there.size)
        return cls(progress.rows, claimed, checked, *found, progress.in_doubt.size)

    @property
    def could_not_tell(self) -> int:
        """Not looked up yet, or without a response that proves anything."""
        return self.checked - self.gone - self.there


def status_of(tally: Tally, ending: Ending) -> Status:
    """complete: every row to look up was found gone or there, and no row is in doubt."""
    if ending.signal is not None and tally.could_not_tell:
        return "interrupted"
    if ending.halted or ending.file_failed:
        return "halted"
    return "incomplete" if tally.could_not_tell or tally.in_doubt else "complete"


def exit_code(tally: Tally, ending: Ending) -> int:
    """0 only if all are gone. Where several apply: 5 before a signal before 4 before 1, as for a run."""
    if ending.file_failed:
        return EXIT_FILE
    if ending.signal is not None and tally.could_not_tell:
        return EXIT_SIGNAL + ending.signal
    if ending.halted or tally.could_not_tell or tally.in_doubt:
        return EXIT_REMAINING
    return EXIT_REFUSED if tally.there else EXIT_COMPLETE
