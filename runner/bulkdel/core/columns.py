"""Scores the columns of a table against the id types of a job: which of them may hold the ids. Knows no file.

The scores are advice. A person decides, because a column of the wrong kind would name the wrong accounts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bulkdel.core.id_parser import IdCheck
from bulkdel.core.id_type import IdType

COLUMNS_MAX = 200
"""Columns that are scored, so that memory stays small for a row of a million commas."""

ALIKE = 0.9
"""A column with nine tenths of the best column's fits is named beside it."""

_NUMBERS = ("1234", "12345678", "123456789012")
"""If a type takes these, then any column of numbers fits it, and only a heading makes that likely."""

_NAME_MIN = 4
"""Letters of a type's name that make it known in a heading."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a column fits an id type.

    column: the CSV heading, or the path of the JSON member. number: of the CSV column, from 1; None for JSON.
    rows: how many of the sampled rows fit. headed: whether the column has a heading, and not an id, in the first row.
    likely: whether its heading or its shape speaks for the type. A column of numbers may be anything.
    """

    column: str
    number: int | None
    id_type: str
    rows: int
    headed: bool
    likely: bool


@dataclass(slots=True)
class ColumnScores:
    """Counts, row by row, which cells fit which type. Holds no cell, except those of the first row.

    id_types: those of the job. trim: spaces around an id do not count. headings: whether the first row may have them.
    rows: how many were counted, the first one included.
    """

    id_types: Mapping[str, IdType]
    trim: bool = False
    headings: bool = True
    rows: int = 0
    _first: dict[str | int, str] = field(default_factory=dict)
    _fits: Counter[tuple[str | int, str]] = field(default_factory=Counter)
    _first_fits: set[tuple[str | int, str]] = field(default_factory=set)
    _checks: dict[str, IdCheck] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._checks = {name: IdCheck(each, {}, trim=self.trim) for name, each in self.id_types.items()}

    def add(self, cells: Iterable[tuple[str | int, str]]) -> None:
        """Count one row. cells: of each column its key, the path of the member or the number from 1, and the text."""
        self.rows += 1
        for key, text in cells:
            if key not in self._first:
                if len(self._first) >= COLUMNS_MAX or (self.headings and self.rows > 1):
                    continue
                self._first[key] = text
            for name, check in self._checks.items():
                if isinstance(check.check(text), str):
                    self._fits[key, name] += 1
                    if self.rows == 1:
                        self._first_fits.add((key, name))

    def fits(self) -> list[Fit]:
        """Every column and type that more than half of the rows fit, the best first."""
        found = [fit for key in self._first for name in self.id_types if (fit := self._fit(key, name)) is not None]
        return sorted(found, key=lambda fit: (not fit.likely, -fit.rows))

    def _fit(self, key: str | int, name: str) -> Fit | None:
        id_type, counted = self.id_types[name], self._fits[key, name]
        is_csv = isinstance(key, int)
        heading = self._first[key] if is_csv else str(key)
        # Any text is a free-text id, so only a heading can tell that there is one in the first row.
        named = _names(heading, name)
        headed = is_csv and self.headings and (named if id_type.shape is None else (key, name) not in self._first_fits)
        if headed and id_type.shape is None:
            counted -= 1  # the heading
        data_rows = self.rows - headed
        if counted * 2 <= data_rows or (id_type.shape is None and not named):
            return None
        likely = named or not any(isinstance(self._checks[name].check(each), str) for each in _NUMBERS)
        return Fit(heading, key if isinstance(key, int) else None, name, counted, headed, likely)


def candidates(fits: Iterable[Fit]) -> list[Fit]:
    """The columns that may hold the ids: those that fit about equally well, the best first.

    Columns of numbers count only where no other column fits.
    """
    fits = list(fits)
    some = [fit for fit in fits if fit.likely] or fits
    best = max((fit.rows for fit in some), default=0)
    return [fit for fit in some if fit.rows >= best * ALIKE]


def _names(heading: str, id_type: str) -> bool:
    """Whether a heading names an id type: `E-Mail`, `Phone number`, `User ID`."""
    wanted, letters = ("".join(filter(str.isalnum, text)).casefold() for text in (id_type, heading))
    return len(wanted) >= _NAME_MIN and wanted in letters
