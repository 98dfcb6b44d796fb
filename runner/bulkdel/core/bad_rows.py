"""The bad rows of an export, counted by reason, and how many of them are too many. Memory does not grow with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Self

from bulkdel.core.bad_row_reason import Why
from bulkdel.core.retry import number_or_share
from bulkdel.core.row_filter import BadRow

MAX_SHARE = Fraction(1, 100)
MAX_FEW = 10
"""Without --max-invalid: 1 % of the rows may be bad, and 10 rows in any case (design)."""


@dataclass(frozen=True, slots=True)
class MaxInvalid:
    """--max-invalid: how many rows may be bad when bad rows are skipped.

    few: this many in any case. share: of all rows.
    """

    few: int = MAX_FEW
    share: Fraction = MAX_SHARE

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `100`, `1%` or `0.5%`; the number then holds exactly. Raises ValueError."""
        most = number_or_share(text)
        return cls(most, Fraction(0)) if isinstance(most, int) else cls(0, most)

    def allowed(self, rows: int) -> int:
        """How many of `rows` rows may be bad."""
        return max(self.few, int(rows * self.share))


MAX_INVALID = MaxInvalid()
"""Without --max-invalid."""


@dataclass(frozen=True, slots=True)
class BadGroup:
    """Bad rows with one reason. first: the first of them; its reason speaks for all."""

    count: int
    first: BadRow


@dataclass(slots=True)
class BadRows:
    """Counts bad rows by reason, and by the id types that they look like. Keeps the first row of each."""

    _counts: Counter[tuple[Why, tuple[str, ...]]] = field(default_factory=Counter)
    _first: dict[tuple[Why, tuple[str, ...]], BadRow] = field(default_factory=dict)

    def add(self, rows: Iterable[BadRow]) -> None:
        """Count `rows`."""
        for row in rows:
            key = (row.why.why, row.why.looks_like)
            self._counts[key] += 1
            self._first.setdefault(key, row)

    def groups(self) -> tuple[BadGroup, ...]:
        """The most frequent reason first; of equals the one that came first."""
        return tuple(BadGroup(count, self._first[key]) for key, count in self._counts.most_common())


def looks_like(groups: Sequence[BadGroup]) -> tuple[str, ...]:
    """The id types that the largest group of bad rows with a known look has; empty when no row looks like any type."""
    alike = [group for group in groups if group.first.why.looks_like]
    return max(alike, key=lambda group: group.count).first.why.looks_like if alike else ()
