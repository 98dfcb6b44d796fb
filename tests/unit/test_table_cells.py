"""Cells of spreadsheets and tables: which are ids, digit for digit, and why the others are none."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from bulkdel.core.bad_rows import Unusable, Why
from bulkdel.core.id_parser import IdCheck, shortened
from bulkdel.core.id_type import PLAIN
from bulkdel.core.table_cells import EMPTY_CELL, NOT_TEXT, OUTCOME, cell_of, heading_of, is_blank
from tests.mutants import mutant
from tests.syntax import swap

CHECK = IdCheck(PLAIN, {})


@mutant(
    "a number that a spreadsheet has rounded is an id",
    "_number",
    swap("EXACT", 'float("inf")'),
    case="9007199254740992.0-Why.CELL_NUMBER",
)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0049 170", "0049 170"),
        ("'1", "'1"),
        (1234567890, "1234567890"),
        (2**64, str(2**64)),
        (1002.0, "1002"),
        (-7.0, "-7"),
        (float(2**53 - 1), "9007199254740991"),
        (Decimal(12345678901234567890), "12345678901234567890"),
        (float(2**53), Why.CELL_NUMBER),
        (1.5, Why.CELL_NUMBER),
        (float("nan"), Why.CELL_NUMBER),
        (float("inf"), Why.CELL_NUMBER),
        (Decimal("1.5"), Why.CELL_NUMBER),
        (True, Why.BOOLEAN),
        (dt.date(2024, 1, 31), Why.CELL_DATE),
        (dt.datetime(2024, 1, 31, 1, 2, tzinfo=dt.UTC), Why.CELL_DATE),
        (dt.time(1, 2), Why.CELL_DATE),
        (b"\x00", Why.CELL_BINARY),
        ("a\nb", Why.NEWLINE),
        ("a\rb", Why.NEWLINE),
        (EMPTY_CELL, Why.EMPTY_ID),
        (f"{NOT_TEXT}odd", Why.CONTROL),
        (None, Why.EMPTY_ID),
        ("", Why.EMPTY_ID),
    ],
)
def test_a_cell_as_an_id(value: Any, expected: str | Why) -> None:
    found = CHECK.check(cell_of(value))
    assert (found.why if isinstance(found, Unusable) else found) == expected
    assert "\n" not in cell_of(value)


def test_the_mark_is_not_shown() -> None:
    assert shortened(cell_of(1.5)) == "number 1.5"


def test_headings_and_blanks() -> None:
    assert heading_of("E-Mail\nof the\r\nuser") == "E-Mail of the user"
    assert heading_of(2024.0) == "2024"
    assert heading_of("outcome") == OUTCOME
    assert [is_blank(value) for value in (None, "", "  ", 0, "x", False)] == [True, True, True, False, False, False]
