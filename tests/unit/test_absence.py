"""When a missing id proves that the account does not exist."""

from __future__ import annotations

import pytest

from bulkdel.core.absence import IN_PATH, IN_QUERY, marks_in_path, marks_in_query, may_be_split, perhaps_split


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
    assert perhaps_split(asked, found) == frozenset(expected)


@pytest.mark.parametrize(("id_", "expected"), [("a,b", True), (",", True), ("ab", False), ("a;b", False)])
def test_which_ids_may_be_split(id_: str, expected: bool) -> None:
    assert may_be_split(id_) is expected


@pytest.mark.parametrize(
    ("id_", "expected"),
    [
        ("az09-_~", []),
        ("Az09B", ["a capital letter"]),
        ("!$&'()*,=:@", [*"!$&'()*,=:@"]),
        ("a.b", ["."]),
        ("team/a", ["/"]),
        ("a+b;c%d|e f", [" ", "%", "+", ";", "|"]),
        ("%41%zz", ["%", "an encoded character"]),
        ("éж", ["é", "ж"]),
        ("日本+🍣", ["+", "CJK of 3 bytes", "🍣"]),
        ("𠮷한국", ["CJK of 4 bytes", "HANGUL of 3 bytes"]),
        ("佐々木タロー", ["CJK of 3 bytes", "KATAKANA of 3 bytes"]),
        ("\udc80", ["\udc80"]),
    ],
)
def test_which_characters_may_be_misread_in_a_path(id_: str, expected: list[str]) -> None:
    assert marks_in_path(id_) == {*expected}


@pytest.mark.parametrize(
    ("id_", "expected"),
    [
        ("a.b/c?d@e:f,g!h*i'j(k)l$m~n-o_p", []),
        ("a;d e|f&g=h#i", [";", " ", "|", "&", "=", "#"]),
        ("100%", ["%"]),
        ("+8613800000004", ["+"]),
        ("%2b", ["an encoded character"]),
        ("é", ["é"]),
        ("É", ["É"]),
        ("Alice", ["a capital letter"]),
    ],
)
def test_which_characters_may_be_misread_in_a_query(id_: str, expected: list[str]) -> None:
    assert marks_in_query(id_) == {*expected}


def test_the_way_out_names_the_id_type() -> None:
    assert "a user whose username has the special characters of the ids of these rows" in IN_QUERY.control(
        "username", "user"
    )
    assert "Their ids have a comma" in IN_QUERY.text
    assert "Their ids have a capital letter, a dot" in IN_PATH.text
