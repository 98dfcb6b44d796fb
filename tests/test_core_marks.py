"""Where a resume begins to read: by value, and what the log says of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runner.core.entries import Session, Unreadable, from_json, to_json
from runner.core.progress import Progress
from runner.core.rows import SPANS, Mark, mark_before, marks_of
from tests import recorded

MARKS = tuple(Mark(row, row + 1, row * 35) for row in (5, 11, 17, 23))


@pytest.mark.parametrize(
    ("row", "begin"), [(0, None), (16, None), (17, MARKS[0]), (22, MARKS[0]), (23, MARKS[1]), (99, MARKS[1])]
)
def test_two_spans_are_read_again(row: int, begin: Mark | None) -> None:
    assert SPANS == 2
    assert mark_before(MARKS, row) == begin


@pytest.mark.parametrize("value", [[[1, 2]], [[1, 2, 3.0]], [[1, 2, True]], [[-1, 1, 0]], [[5, 6, 7], [5, 7, 8]], [1]])
def test_what_no_preflight_wrote_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        marks_of(value)
    header = {**to_json(recorded.header(rows=30)), "marks": value}
    session = {"type": "session", "event": "start", "at": "x", "log_sha256": "", "marks": value}
    for entry in (header, session):
        with pytest.raises(Unreadable, match="garbles"):
            from_json(entry)


def test_marks_of_the_header_hold_until_the_export_is_read_again() -> None:
    header = replace(recorded.header(rows=30), marks=MARKS)
    assert from_json(to_json(header)) == header
    progress = Progress(header)
    assert [progress.begin] == [None]
    progress.settled.add(0, 20)
    assert progress.begin == MARKS[0]
    progress.apply(Session("start", "x", "", {"asked": {}}))
    assert progress.begin == MARKS[0]
    progress.apply(Session("start", "x", "", {"marks": [list(mark) for mark in MARKS[1:]]}))
    assert [progress.begin] == [None]
    progress.settled.add(20, 30)
    assert progress.begin == MARKS[1]
    assert Progress(recorded.header(rows=0)).begin is None
