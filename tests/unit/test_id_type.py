"""The shape check, with types as a job would list them."""

from __future__ import annotations

import re

import pytest

from bulkdel.core.id_type import IdType, misshapen, rewritten_by_spreadsheet

HEX = IdType("user_id", re.compile(r"[0-9a-f]{24}"), "24 lower-case hex digits")
MAIL = IdType("email", re.compile(r"[^@\s]+@[^@\s]+"), "one @", reusable=True, key=str.lower)
LIKE_MAIL = IdType("login", re.compile(r"[^\s]+@[^\s]+"), "a login")
FREE = IdType("external_id")
TYPES = {type_.name: type_ for type_ in (HEX, MAIL, LIKE_MAIL, FREE)}


@pytest.mark.parametrize("text", ["7.3928E+23", "73928e05", "1E3", "-1,5e-7", "+2.0E9"])
def test_scientific_notation_is_a_spreadsheets_work(text: str) -> None:
    assert rewritten_by_spreadsheet(text)


@pytest.mark.parametrize("text", ["", "e", "1e", "73928", "1e5x", "0x1e5", "64c36ad1e3e0"])
def test_other_text_is_not(text: str) -> None:
    # 64c36ad1e3e0 holds `1e3`, but is not a number as a whole
    assert not rewritten_by_spreadsheet(text)


@pytest.mark.parametrize(
    ("id_", "type_", "reason"),
    [
        ("a" * 24, HEX, None),
        ("anything at all", FREE, None),
        ("7.3928E+23", HEX, "not a user_id (24 lower-case hex digits); looks like a spreadsheet rewrote it"),
        ("a@b.c", HEX, "not a user_id (24 lower-case hex digits); looks like email or login"),
        ("a" * 24, MAIL, "not an email (one @); looks like user_id"),
        ("abc", HEX, "not a user_id (24 lower-case hex digits)"),
        ("a" * 24 + "\n", HEX, "not a user_id (24 lower-case hex digits)"),
    ],
)
def test_why_an_id_cannot_be_of_its_type(id_: str, type_: IdType, reason: str | None) -> None:
    found = misshapen(id_, type_, TYPES)
    assert (found and found.words) == reason


def test_the_key_folds_what_the_api_compares() -> None:
    assert MAIL.key("A@B.c") == MAIL.key("a@b.C")
    assert HEX.key("Aa") == "Aa"
