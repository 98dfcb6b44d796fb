"""The cells of a spreadsheet or of a table as texts of a CSV file, and back to the reason why one is no id.

A number is an id when it is certain digit for digit. A cell that is no id is written with a mark that no id may hold:
so its row is a bad row with a reason.
"""

from __future__ import annotations

from typing import Any

from bulkdel.core.bad_rows import Unusable, Why

NOT_TEXT = "\x1a"
"""Begins a cell that is no text. It is a control character, which no id may have."""

EXACT = 2**53
"""From here on a spreadsheet rounds integers."""

_REASONS = {
    "empty": Why.EMPTY_ID,
    "number": Why.CELL_NUMBER,
    "date": Why.CELL_DATE,
    "truth": Why.BOOLEAN,
    "lines": Why.NEWLINE,
    "binary": Why.CELL_BINARY,
}

OUTCOME = f"{NOT_TEXT}outcome"
"""The heading of the outcome, when the results of a run are a table: its ids have no mark against formulas."""

EMPTY_CELL = f"{NOT_TEXT}empty"
"""An empty id in a row that has other cells."""


def is_blank(value: Any) -> bool:
    """Whether a cell is empty, or has only spaces."""
    return value is None or (isinstance(value, str) and not value.strip())


def cell_of(value: Any) -> str:
    """Return the text of a cell. A line feed in a text stays out, because one row is one line."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"{NOT_TEXT}lines {heading_of(value)}" if "\n" in value or "\r" in value else value
    if isinstance(value, bool):
        return f"{NOT_TEXT}truth {value}"
    if isinstance(value, bytes):
        return f"{NOT_TEXT}binary"
    return _number(value) or f"{NOT_TEXT}date {value}"


def _number(value: Any) -> str | None:
    """Return an integer digit for digit, and the mark for another number; None for what is no number."""
    if (ratio := getattr(value, "as_integer_ratio", None)) is None:
        return None
    inexact = f"{NOT_TEXT}number {value}"
    if isinstance(value, float) and not abs(value) < EXACT:  # also what is no number at all
        return inexact
    numerator, denominator = ratio()
    return str(numerator) if denominator == 1 else inexact


def heading_of(value: Any) -> str:
    """Return the text of a heading; people break long ones into lines."""
    if value == "outcome":
        return OUTCOME
    return " ".join(str(value).split()) if isinstance(value, str) else cell_of(value)


def why_not(text: str) -> Unusable | None:
    """Return why a cell is no id; None for any other text."""
    if not text.startswith(NOT_TEXT):
        return None
    why = _REASONS.get(text.removeprefix(NOT_TEXT).partition(" ")[0])
    return None if why is None else Unusable(why)
