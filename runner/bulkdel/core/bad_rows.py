"""Bad rows, which have no usable id: their reasons, their number, and the limit. `core.id_parser` finds the reasons.

The program acts on the codes (`Why`). The words are for people and may change. Memory does not grow with the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Self

from bulkdel.core.halt_limits import number_or_share


class Why(Enum):
    """The reasons. Each value is the reason in words; `{}` stands for the detail of one row.

    COLUMNS: the row has more or fewer columns than the first row. INEXACT: the number may have been rounded.
    RESULT: the row is a result of an earlier run, which is not sent again.
    """

    EMPTY_ID = "an empty id"
    EMPTY_LINE = "an empty line"
    NEWLINE = "a newline in the id"
    CONTROL = "the control character {} in the id"
    INVISIBLE = "the invisible character {} in the id"
    SPACES = "spaces around the id (--trim takes them off)"
    SHAPE = "not {}"
    SPREADSHEET = "not {}; looks like a spreadsheet rewrote it"
    NOT_UTF8 = "not UTF-8: {}"
    NOT_JSON = "not JSON: {}"
    TOO_DEEP = "nested too deep"
    COLUMNS = "{}"
    NO_MEMBER = "no member {}"
    MEMBER_TWICE = "the member {} stands there twice"
    NO_BARE_ID = "an object, where the first row is a bare id"
    BOOLEAN = "a boolean is no id"
    NULL = "null is no id"
    OBJECT = "an object is no id"
    LIST = "a list is no id"
    MINUS_ZERO = "the number -0 is no id"
    INEXACT = "a number with a fraction, an exponent or more than 64 bits is no exact id; write it as a string"
    CELL_NUMBER = "a number with a fraction, or of 2^53 and more, is no exact id; format the cell as text"
    CELL_DATE = "a date or a time is no id; format the cell as text"
    CELL_BINARY = "bytes are no id"
    RESULT = "a row of an earlier run's results, with outcome {}"


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why one row or value gives no id.

    detail: what fills the `{}` of the reason's words.
    looks_like: names of the id types whose shape the value has.
    """

    why: Why
    detail: str = ""
    looks_like: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The reason in words."""
        words = self.why.value.format(self.detail)
        return f"{words}; looks like {' or '.join(self.looks_like)}" if self.looks_like else words

    @property
    def code(self) -> str:
        """The reason for programs: `NAME|TYPE,TYPE|DETAIL`. It does not change when the words do."""
        return "|".join((self.why.name, ",".join(self.looks_like), self.detail))

    @classmethod
    def of(cls, code: str) -> Self:
        """Inverse of `code`. Raises ValueError for any other text."""
        name, types, detail = code.split("|", 2)
        if (why := Why.__members__.get(name)) is None:
            raise ValueError(f"{name} is no reason for which a row is bad")
        return cls(why, detail, tuple(filter(None, types.split(","))))


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row without a usable id.

    line: 1-based line of the (decompressed) export where the row starts.
    text: of the row, shortened; shown to the user and never logged.
    why: the reason.
    """

    line: int
    text: str
    why: Unusable


@dataclass(frozen=True, slots=True)
class MaxInvalid:
    """--skip-invalid: how many rows may be bad when bad rows are skipped.

    few: this many in any case. share: of all rows.
    """

    few: int
    share: Fraction

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `100`, `1%` or `0.5%`; the number then holds exactly. Raises ValueError."""
        most = number_or_share(text)
        return cls(most, Fraction(0)) if isinstance(most, int) else cls(0, most)

    def allowed(self, rows: int) -> int:
        """How many of `rows` rows may be bad."""
        return max(self.few, int(rows * self.share))


@dataclass(frozen=True, slots=True)
class BadGroup:
    """Bad rows with one reason. first: the first of them; its reason is shown for all."""

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
        """The most frequent reason first; among equals the one that came first."""
        return tuple(BadGroup(count, self._first[key]) for key, count in self._counts.most_common())


def looks_like(groups: Sequence[BadGroup]) -> tuple[str, ...]:
    """The id types that bad rows look like, of the largest such group; empty when no row looks like any type."""
    alike = [group for group in groups if group.first.why.looks_like]
    return max(alike, key=lambda group: group.count).first.why.looks_like if alike else ()


def with_article(noun: str) -> str:
    """`a user_id`, `an email`. The u of `user` and `username` is spoken like a consonant."""
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"
