"""Shards: one export cut into parts that are sent by a process each. Pure.

Owns where the cuts are, which shard has a row, and how --limit is divided. A shard has consecutive rows, and a log of
its own with the positions of the whole export. So every count of the run is the sum of those of its shards, and a row
has one log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bulkdel.core.log_entries import Header, Shard
from bulkdel.core.outcome import SKIPS
from bulkdel.core.skipped_rows import PositionSet, SkippedRows

LOCAL, RAY = "local", "ray"
"""Engines: where the processes of shards run."""

ROWS_MIN = 50
"""Rows of a shard, at least."""

_SHARDS = re.compile(rf"([1-9][0-9]{{0,4}}|[1-9][0-9]?,[0-9]{{3}})(?:@({LOCAL}|{RAY}))?")


def shards_of(text: str) -> tuple[int, str]:
    """Read `8` or `8@ray`: the number of shards, and the engine. Raises ValueError."""
    if (found := _SHARDS.fullmatch(text.strip())) is None:
        raise ValueError(text)
    return int(found[1].replace(",", "")), found[2] or LOCAL


def names_engine(option: str, values: Sequence[str]) -> bool:
    """Whether the value names an engine. Only the user of this machine may name one."""
    return option == "--shards" and any("@" in value for value in values)


def without_engine(options: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The values of options, with the number of shards alone."""
    return {
        option: [value.partition("@")[0] for value in values] if names_engine(option, values) else values
        for option, values in options.items()
    }


def cuts_of(rows: int, shards: int) -> tuple[int, ...]:
    """The first row of the second shard, of the third, and so on: equal parts, of ROWS_MIN rows at least."""
    shards = min(shards, rows // ROWS_MIN)
    return tuple(rows * number // shards for number in range(1, shards))


def shard_numbers(header: Header) -> range:
    """The numbers of the shards of a run; none for a run in one process. header: of the run, which has the cuts."""
    return range(1, len(header.shards) + 2) if header.shards else range(0)


def spans_of(header: Header) -> list[tuple[int, int]]:
    """The rows of each shard as half-open ranges, in order. header: of the run."""
    firsts = [0, *header.shards]
    return list(zip(firsts, [*firsts[1:], header.counts["rows"]], strict=True))


def shard_header(header: Header, skipped: SkippedRows, number: int) -> tuple[Header, SkippedRows]:
    """The header of a shard's log and its skipped rows. header, skipped: of the run. number: from 1."""
    first, end = spans_of(header)[number - 1]
    own = SkippedRows()
    for reason, rows in skipped.by_reason.items():
        own.add(reason, PositionSet(rows.ranges(first, end)))
    counts = {"rows": end - first, "ids": end - first - own.rows.size}
    counts |= {str(reason): own.by_reason[reason].size for reason in SKIPS}
    part = replace(
        header,
        counts=counts,
        skipped_sha256=None,  # its own log has a file of its own
        shards=(),
        shard=Shard(number, first),
    )
    return part, own


class LimitPortions:
    """How many ids each shard may settle. left: ids that no shard has; None without a limit."""

    def __init__(self, limit: int | None) -> None:
        self.left = limit

    def take(self, remaining: int) -> int | None:
        """A portion for a shard with so many ids remaining: 0 when nothing is left, None without a limit."""
        if self.left is None:
            return None
        portion = min(self.left, remaining)
        self.left -= portion
        return portion

    def give_back(self, ids: int) -> None:
        """A shard has left so many ids of its portion. Another shard may settle them."""
        if self.left is not None:
            self.left += ids
