"""How many bad rows are too many, and counting them by reason."""

from __future__ import annotations

from fractions import Fraction

import pytest

from bulkdel.core.bad_rows import BadRow, BadRows, MaxInvalid, Unusable, Why, looks_like, with_article


@pytest.mark.parametrize(
    ("rows", "allowed"), [(1, 10), (100, 10), (1_000, 10), (1_099, 10), (1_100, 11), (1_199, 11), (10_000_000, 100_000)]
)
def test_one_in_a_hundred_and_never_fewer_than_ten(rows: int, allowed: int) -> None:
    assert MaxInvalid(10, Fraction(1, 100)).allowed(rows) == allowed


@pytest.mark.parametrize(
    ("text", "rows", "allowed"),
    [
        ("0", 5_000, 0),
        ("3", 5_000, 3),
        ("007", 5_000, 7),
        ("0%", 5_000, 0),
        ("1%", 100, 1),
        ("1%", 99, 0),
        ("0.5%", 1_000, 5),
        ("0.1%", 10_000_000_000_001, 10_000_000_000),
        ("100%", 7, 7),
        ("33.3%", 1_000, 333),
    ],
)
def test_a_number_or_a_share_holds_exactly(text: str, rows: int, allowed: int) -> None:
    assert MaxInvalid.parse(text).allowed(rows) == allowed


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "-1",
        "+1",
        "1.5",
        "1.%",
        ".5%",
        "101%",
        "100.1%",
        "%",
        "1%%",
        "1 %",
        "\u0663",
        "\u0663%",
        "1e3",
        "nan%",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        MaxInvalid.parse(text)


def bad(line: int, why: Why, *alike: str, detail: str = "") -> BadRow:
    return BadRow(line, f"row {line}", Unusable(why, detail, alike))


def test_bad_rows_are_counted_by_reason_and_the_first_of_each_is_kept() -> None:
    rows = BadRows()
    rows.add([bad(2, Why.NOT_JSON, detail="a"), bad(3, Why.SHAPE, "email"), bad(4, Why.SHAPE)])
    rows.add([bad(5, Why.SHAPE, "email"), bad(6, Why.NOT_JSON, detail="b"), bad(7, Why.SHAPE, "email")])
    groups = rows.groups()
    assert [(group.count, group.first.line) for group in groups] == [(3, 3), (2, 2), (1, 4)]
    assert looks_like(groups) == ("email",)
    assert looks_like(groups[1:]) == ()
    assert BadRows().groups() == ()


def test_a_reason_in_words() -> None:
    assert Unusable(Why.EMPTY_ID).words == "an empty id"
    assert Unusable(Why.CONTROL, "U+0007").words == "the control character U+0007 in the id"
    assert Unusable(Why.SHAPE, "a user_id (hex)", ("email", "phone")).words == (
        "not a user_id (hex); looks like email or phone"
    )


@pytest.mark.parametrize("alike", [(), ("email",), ("email", "phone")])
@pytest.mark.parametrize("detail", ["", "U+0007", "a|b, c"])
@pytest.mark.parametrize("why", Why)
def test_a_reason_is_read_back_from_its_code(why: Why, detail: str, alike: tuple[str, ...]) -> None:
    unusable = Unusable(why, detail, alike)
    assert Unusable.of(unusable.code) == unusable


@pytest.mark.parametrize("code", ["", "EMPTY_ID", "EMPTY_ID|", "BORED||", "empty an id||"])
def test_what_is_no_code_of_a_reason_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match=r"is no reason for which a row is bad|not enough values"):
        Unusable.of(code)


def test_a_reason_is_one_code() -> None:
    """Two reasons with the same words would be one member of the enum, and be counted as one."""
    assert len(Why.__members__) == len(list(Why))


@pytest.mark.parametrize(
    ("noun", "words"),
    [("email", "an email"), ("user_id", "a user_id"), ("identity", "an identity"), ("username", "a username")],
)
def test_the_article(noun: str, words: str) -> None:
    assert with_article(noun) == words
