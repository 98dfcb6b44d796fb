"""Where a resume begins to read: by value, and what the log says of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bulkdel.core.log_entries import Unreadable, from_json, to_json
from bulkdel.core.record import ResumePoint, resume_points_of
from bulkdel.core.run_state import Progress
from tests import recorded
from tests.recorded import fold

MARKS = tuple(ResumePoint(row, row + 1, row * 35) for row in (5, 11, 17, 23))


@pytest.mark.parametrize(
    ("row", "begin"), [(0, None), (4, None), (5, MARKS[0]), (16, MARKS[1]), (17, MARKS[2]), (99, MARKS[3])]
)
def test_reading_begins_at_the_last_mark_before_the_row(row: int, begin: ResumePoint | None) -> None:
    progress = fold([replace(recorded.header(100), resume_points=MARKS), *([recorded.deleted(0, row)] if row else [])])
    assert progress.begin == begin


@pytest.mark.parametrize("value", [[[1, 2]], [[1, 2, 3.0]], [[1, 2, True]], [[-1, 1, 0]], [[5, 6, 7], [5, 7, 8]], [1]])
def test_what_no_preflight_wrote_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        resume_points_of(value)
    header = {**to_json(recorded.header(rows=30)), "marks": value}
    with pytest.raises(Unreadable, match="garbles"):
        from_json(header)


def test_the_header_says_where_a_resume_begins_to_read() -> None:
    header = replace(recorded.header(rows=30), resume_points=MARKS)
    assert from_json(to_json(header)) == header
    progress = Progress(header)
    assert [progress.begin] == [None]
    progress.settled.add(0, 20)
    assert progress.begin == MARKS[2]
    progress.settled.add(20, 30)
    assert progress.begin == MARKS[3]
    assert Progress(recorded.header(rows=0)).begin is None
