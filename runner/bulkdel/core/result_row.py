"""One row's result as text, JSON Lines or CSV.

Owns the members, their order, and what keeps a spreadsheet from running a cell; knows nothing of the log or the export.
Many consecutive rows end alike, so what they share is worded once (`tail`), and only position, line and id row by row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from bulkdel.core.log_entries import Outcome
from bulkdel.core.outcome import COUNTED

OUTCOMES = (*COUNTED, "remaining")
"""The eight words."""

DETAILS = ("reason", "statusCode", "apiCode", "message", "requestId", "at", "attempts")
"""What is only there when it is known; always behind the outcome, in this order."""

ID, ID_HASH = "id", "idHash"
"""`run` finds an `id` by itself, so what was refused can be fed back; `idHash` is a name that it does not know."""

COLUMNS = ("position", "line", ID, "outcome", *DETAILS)
"""The first row of a CSV report. By these very names the reader of exports knows that its ids are marked."""

MARK = "'"
"""Before a cell that a spreadsheet might run. Also before one that begins with it, so that taking one off is exact."""

_MARKED = (*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", MARK)
"""Beginnings of a formula, the full-width = + - @ among them, which some spreadsheets run as well; and the mark."""

_QUOTED = re.compile(r'[",;\t\r\n]')
_PLAIN = re.compile(r"[\w.:][\w.:@+/= -]*", re.ASCII)
"""What needs neither mark nor quotes; nearly every cell is told by this one look at it."""

IN_DOUBT = "in doubt"


def marked(text: str) -> str:
    """Return `text` as a cell that no spreadsheet runs."""
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


def details(outcome: Outcome | None, exception: Mapping[str, Any], *, in_doubt: bool = False) -> dict[str, Any]:
    """Return what is known besides the outcome. exception: what the entry says of this one row, if anything."""
    if outcome is None:
        return {"reason": IN_DOUBT} if in_doubt else {}
    known = {
        "reason": outcome.reason,
        "requestId": outcome.request_id,
        "at": outcome.at,
        "attempts": outcome.attempts,
        **exception,
    }
    return {name: known[name] for name in DETAILS if known.get(name) is not None}


class Form(Protocol):
    """A way to write records. head: before the first of them."""

    @property
    def head(self) -> str: ...  # noqa: D102 - said above

    def tail(self, outcome: str, known: Mapping[str, Any]) -> str:
        """Word everything behind the id. known: of DETAILS, in their order."""
        ...

    def rows(self, start: int, lines: Sequence[int], ids: Iterable[str | None], tail: str) -> list[str]:
        """Word consecutive rows that share their tail, the first at position `start`. An id of None: none usable."""
        ...


@dataclass(frozen=True, slots=True)
class JsonLines:
    """One object a line. Members of DETAILS that are not known are left out, the others are always there."""

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
    """A header and one row a record, empty cells for what is not known. Text is marked, numbers are numbers."""

    id_name: str = ID

    @property
    def head(self) -> str:
        """Name the columns."""
        return ",".join(self.id_name if name == ID else name for name in COLUMNS) + "\n"

    def tail(self, outcome: str, known: Mapping[str, Any]) -> str:
        """Word everything behind the id."""
        values = (known.get(name, "") for name in DETAILS)
        cells = (cell(value) if isinstance(value, str) else str(value) for value in values)
        return f",{outcome},{','.join(cells)}\n"

    def rows(self, start: int, lines: Sequence[int], ids: Iterable[str | None], tail: str) -> list[str]:
        """Word consecutive rows."""
        return [
            f"{position},{line},{cell(id_) if id_ is not None else ''}{tail}"
            for position, (line, id_) in enumerate(zip(lines, ids, strict=True), start)
        ]
