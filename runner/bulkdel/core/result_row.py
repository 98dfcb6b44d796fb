"""One row's result as text, JSON Lines or CSV.

Owns the members, their order, and the mark that keeps a spreadsheet from running a cell. Knows nothing of files or the
export.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from bulkdel.core.log_entries import Outcome

ID, ID_HASH = "id", "idHash"
"""`run` finds a member `id` without an option, so refused rows can be fed back. It does not know the name `idHash`."""

BEFORE = ("position", "line", ID, "outcome", "reason")
AFTER = ("at", "attempts")
"""The columns of every report. Between them stand those of the job (`OutcomeWords.columns`)."""

MARK = "'"
"""Put before a cell that a spreadsheet might run as a formula. Also before a cell that begins with it, so that removing
one gives the text back."""

_MARKED = (*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", MARK)
"""Beginnings of a formula, the full-width = + - @ among them, which some spreadsheets run as well; and the mark."""

_QUOTED = re.compile(r'[",;\t\r\n]')
_PLAIN = re.compile(r"[\w.:][\w.:@+/= -]*", re.ASCII)
"""A cell that needs neither mark nor quotes."""

IN_DOUBT = "in doubt"

PROTECTED = "protected"
"""The reason of an excluded row that no guard spared, as in the summary."""


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
    members = {"request_id": outcome.request_id, **exception}
    members |= {f"detail.{name}": value for name, value in exception.get("detail", {}).items()}
    known = {
        "reason": exception.get("reason", outcome.reason),
        **{column: members.get(member) for column, member in columns.items()},
        "at": outcome.at,
        "attempts": outcome.attempts,
    }
    return {name: value for name, value in known.items() if value is not None}


def json_line(record: Mapping[str, Any]) -> bytes:
    """One object a line. A member that is not known is left out."""
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def csv_line(record: Mapping[str, Any], columns: Sequence[str]) -> bytes:
    """One row a record. The cell of a column that is not known is empty. Text is marked, numbers are numbers."""
    values = (record.get(name) for name in columns)
    cells = ("" if value is None else cell(value) if isinstance(value, str) else str(value) for value in values)
    return f"{','.join(cells)}\n".encode()
