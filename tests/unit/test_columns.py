"""Which column may hold the ids: tables of what is scored and what is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bulkdel.core.columns import COLUMNS_MAX, ColumnScores, Fit, candidates
from bulkdel.core.exclude_name import ExcludeKey, ExcludeName, names_in
from bulkdel.safety.exclude import ExcludeFile
from bulkdel_jobs.genauth.id_types import ID_TYPES
from tests.mutants import mutant
from tests.syntax import negate, swap

UID = "5f7b1c2d3e4f5a6b7c8d9e0f"


def scored(*rows: list[str], trim: bool = False) -> list[Fit]:
    scores = ColumnScores(ID_TYPES, trim)
    for row in rows:
        scores.add(enumerate(row, 1))
    return scores.fits()


def named(fits: list[Fit]) -> list[tuple[str, str, int]]:
    return [(fit.column, fit.id_type, fit.rows) for fit in candidates(fits)]


@mutant(
    "any column of numbers is taken for a phone",
    "ColumnScores._fit",
    negate("named or not any(isinstance(self._checks[name].check(each), str) for each in _NUMBERS)"),
    case="rows0-expected0",
)
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # A heading and a shape. A column of numbers fits phone, and does not count beside it.
        ([["Nr", "E-Mail"], ["1001", "a@x.de"], ["1002", "b@x.de"], ["1003", ""]], [("E-Mail", "email", 2)]),
        # Two columns that fit equally well are both named, also the one that fits a little less.
        ([["uid", "mail"], *[[UID, "a@x.de"]] * 9, [UID, ""]], [("uid", "user_id", 10), ("mail", "email", 9)]),
        # Nine tenths is the limit.
        ([["uid", "mail"], *[[UID, "a@x.de"]] * 8, *[[UID, ""]] * 2], [("uid", "user_id", 10)]),
        # Numbers alone: nothing else fits.
        ([["Nr"], ["1001"], ["1002"]], [("Nr", "phone", 2)]),
        # A heading that says phone makes them as likely as anything else.
        ([["Phone number", "mail"], ["1001", "a@x.de"]], [("Phone number", "phone", 1), ("mail", "email", 1)]),
        # Any text is a username, so only the heading tells.
        ([["User name", "x"], ["zoe", "1"], ["max", "2"]], [("User name", "username", 2)]),
        ([["name", "x"], ["zoe", "y"], ["max", "z"]], []),
        # Half of the rows are not enough.
        ([["mail"], ["a@x.de"], ["-"]], []),
    ],
)
def test_the_columns_that_are_named(rows: list[list[str]], expected: list[tuple[str, str, int]]) -> None:
    assert named(scored(*rows)) == expected


def test_a_first_row_that_is_an_id_is_no_heading() -> None:
    (fit,) = candidates(scored(["x", "a@x.de"], ["y", "b@x.de"]))
    assert (fit.headed, fit.number, fit.rows) == (False, 2, 2)
    (fit,) = candidates(scored(["x", "mail"], ["y", "b@x.de"]))
    assert (fit.headed, fit.number, fit.rows) == (True, 2, 1)


def test_spaces_count_only_without_trim() -> None:
    rows = ["mail"], [" a@x.de"], ["b@x.de "]
    assert candidates(scored(*rows)) == []
    assert named(scored(*rows, trim=True)) == [("mail", "email", 2)]


def test_members_of_objects_have_no_heading() -> None:
    scores = ColumnScores(ID_TYPES, headings=False)
    scores.add([("user.mail", "a@x.de"), ("n", "1")])
    scores.add([("late", UID), ("user.mail", "b@x.de")])
    (fit,) = candidates(scores.fits())
    assert fit == Fit("user.mail", None, "email", 2, headed=False, likely=True)


def test_memory_is_bounded_by_the_number_of_columns() -> None:
    scores = ColumnScores(ID_TYPES, headings=False)
    scores.add((f"m{i}", UID) for i in range(10 * COLUMNS_MAX))
    assert len(scores.fits()) == COLUMNS_MAX


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vips.csv", [("vips.csv", None, None)]),
        ("vips.csv:Mail", [("vips.csv:Mail", None, None), ("vips.csv", "Mail", None)]),
        (
            "a:b:email",
            [("a:b:email", None, None), ("a:b", "email", None), ("a", "b", "email")],
        ),
        ("a:b:other", [("a:b:other", None, None), ("a:b", "other", None)]),
        (":x", [(":x", None, None)]),
        ("x:", [("x:", None, None)]),
        ("a::email", [("a::email", None, None), ("a:", "email", None)]),
    ],
)
def test_the_ways_to_read_the_name_of_an_exclude_file(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert names_in(text, ID_TYPES) == [ExcludeName(*way) for way in expected]
    assert str(ExcludeName("a", "b", "email")) == "a:b:email"


def test_the_key_of_an_exclude_file_is_read_back() -> None:
    for key in (ExcludeKey("ab"), ExcludeKey("ab", "E-Mail = x", "Sheet 1", "email"), ExcludeKey("ab", sheet="ü")):
        assert ExcludeKey.read(str(key)) == key
    assert str(ExcludeKey("ab")) == "ab"
    assert str(ExcludeKey("ab", "E-Mail", None, "email")) == "ab column=E-Mail id_type=email"


@mutant(
    "a resume takes another column of an exclude file",
    "ExcludeFile.key",
    swap("self.column", "None"),
)
def test_an_exclude_file_is_another_one_with_another_column_sheet_or_type() -> None:
    file = ExcludeFile("vips.csv", "ab", 300, "email", "Mail")
    others = [
        replace(file, sha256="cd"),
        replace(file, column="Other"),
        replace(file, sheet="VIPs"),
        replace(file, looked_up=True),
    ]
    assert len({file.key, *(each.key for each in others)}) == 5
    assert replace(file, path="moved.csv", ids=299).key == file.key
