"""When a missing id proves that the account does not exist."""

from __future__ import annotations

import pytest

from bulkdel.core.absence import COMMAS, IN_PATH, marks_in_path, may_be_split, unproven


@pytest.mark.parametrize(
    ("asked", "found", "expected"),
    [
        ([], [], []),
        (["a"], [], []),
        (["a", "b"], ["a"], []),
        (["a,b"], [], ["a,b"]),
        (["a,b"], ["a,b"], []),
        (["a,b", "c"], [], ["a,b"]),
        (["a,b", "c"], ["c"], ["a,b"]),  # that `c` was found says nothing of commas
        (["a,b", "c,d"], ["c,d"], []),  # found in the same answer: this server does not split
        (["a,b", "c,d", ","], [], ["a,b", "c,d", ","]),
    ],
)
def test_what_is_not_proven_by_an_answer(asked: list[str], found: list[str], expected: list[str]) -> None:
    assert unproven(asked, found) == frozenset(expected)


@pytest.mark.parametrize(("id_", "expected"), [("a,b", True), (",", True), ("ab", False), ("a;b", False)])
def test_which_ids_may_be_split(id_: str, expected: bool) -> None:
    assert may_be_split(id_) is expected


@pytest.mark.parametrize(
    ("id_", "expected"),
    [
        ("Az09-._~", []),
        ("!$&'()*,=:@", []),
        ("team/a", ["/"]),
        ("a+b;c%d|e f", [" ", "%", "+", ";", "|"]),
        ("é", ["a character that is not ASCII"]),
        ("日本+", ["+", "a character that is not ASCII"]),
    ],
)
def test_which_characters_may_be_misread_in_a_path(id_: str, expected: list[str]) -> None:
    assert sorted(marks_in_path(id_)) == expected


def test_the_way_out_names_the_id_type() -> None:
    assert "a user whose username has a comma" in COMMAS.control("username", "user")
    assert "a member whose path_id has a character such as / or +" in IN_PATH.control("path_id", "member")
