"""One row's result as text, JSON Lines or CSV.

Owns the members, their order, and what keeps a spreadsheet from running a cell; knows nothing of files or the export.
Many consecutive rows end alike, so what they share is worded once (`tail`), and only position, line and id row by row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from bulkdel.core.log_entries import Outcome

ID, ID_HASH = "id", "idHash"
"""`run` finds an `id` by itself, so what was refused can be fed back; `idHash` is a name that it does not know."""

BEFORE = ("position", "line", ID, "outcome", "reason")
AFTER = ("at", "attempts")
"""The columns of every report. Between them stand those of the job (`OutcomeWords.columns`)."""

MARK = "'"
"""Before a cell that a spreadsheet might run. Also before one that begins with it, so that taking one off is exact."""

_MARKED = (*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", MARK)
"""Beginnings of a formula, the full-width = + - @ among them, which some spreadsheets run as well; and the mark."""

_QUOTED = re.compile(r'[",;\t\r\n]')
_PLAIN = re.compile(r"[\w.:][\w.:@+/= -]*", re.ASCII)
"""A cell that needs neither mark nor quotes."""

IN_DOUBT = "in doubt"


def marked(text: str) -> str:
    """Return `text` as a cell that a spreadsheet does not run as a formula."""
    return MARK + text if text.startswith(_MARKED) else text


def unmarked(text: str) -> str:
    """Inverse of `marked`."""
    return text.removeprefix(MARK)


def cell(text: str) -> str:
    """Quote a cell for CSV, where it has to be; with a comma, a semicolon or a tab as the reader's delimiter."""
    if _PLAIN.fullmatch(text):
        return text
    text = marked(text)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def is_report(columns: Sequence[str]) -> bool:
    """Whether a CSV file with these columns is a report, so that its ids are marked."""
    return tuple(columns[: len(BEFORE)]) == BEFORE and tuple(columns[-len(AFTER) :]) == AFTER


def details(
    outcome: Outcome | None, exception: Mapping[str, Any], columns: Mapping[str, str], *, in_doubt: bool = False
) -> dict[str, Any]:
    """The known details besides the outcome, by column.

    exception: the details of this row in the entry, if any. columns: the job's (`OutcomeWords.columns`).
    """
    if outcome is None:
        return {"reason": IN_DOUBT} if in_doubt else {}
    said = {"request_id": outcome.request_id, **exception}
    said |= {f"detail.{name}": value for name, value in exception.get("detail", {}).items()}
    known = {
        "reason": exception.get("reason", outcome.reason),
        **{column: said.get(member) for column, member in columns.items()},
        "at": outcome.at,
        "attempts": outcome.attempts,
    }
    return {name: value for name, value in known.items() if value is not None}


class Form(Protocol):
    """A way to write records."""

    @property
    def head(self) -> str:
        """The text before the first record."""
        ...

    def tail(self, outcome: str, known: Mapping[str, Any]) -> str:
        """Word everything behind the id. known: by column, in their order."""
        ...

    def rows(self, start: int, lines: Sequence[int], ids: Iterable[str | None], tail: str) -> list[str]:
        """Word consecutive rows that share their tail, the first at position `start`. An id of None: none usable."""
        ...


@dataclass(frozen=True, slots=True)
class JsonLines:
    """One object a line. Position, line, id and outcome are always there, the rest when it is known."""

    id_name: str = ID
    head: str = ""

    def tail(self, outcome: str, known: Mapping[str, Any]) -> str:
        """Word everything behind the id."""
        return "," + orjson.dumps({"outcome": outcome, **known}).decode()[1:] + "\n"

    def rows(self, start: int, lines: Sequence[int], ids: Iterable[str | None], tail: str) -> list[str]:
        """Word consecutive rows."""
        between = f',"{self.id_name}":'
        return [
            f'{{"position":{position},"line":{line}{between}{id_.decode()}{tail}'
            for position, (line, id_) in enumerate(zip(lines, map(orjson.dumps, ids), strict=True), start)
        ]


@dataclass(frozen=True, slots=True)
class Csv:
    """A header and one row a record, empty cells for what is not known. Text is marked, numbers are numbers.

    details: the columns behind the outcome.
    """

    details: Sequence[str]
    id_name: str = ID

    @property
    def head(self) -> str:
        """Name the columns."""
        return f"position,line,{self.id_name},outcome,{','.join(self.details)}\n"

    def tail(self, outcome: str, known: Mapping[str, Any]) -> str:
        """Word everything behind the id."""
        values = (known.get(name, "") for name in self.details)
        cells = (cell(value) if isinstance(value, str) else str(value) for value in values)
        return f",{outcome},{','.join(cells)}\n"

    def rows(self, start: int, lines: Sequence[int], ids: Iterable[str | None], tail: str) -> list[str]:
        """Word consecutive rows."""
        return [
            f"{position},{line},{cell(id_) if id_ is not None else ''}{tail}"
            for position, (line, id_) in enumerate(zip(lines, ids, strict=True), start)
        ]
