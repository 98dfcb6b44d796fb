"""The row filter: which rows are sent and which never are, the same in both passes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.bad_rows import BadRow, Unusable, Why
from bulkdel.core.id_type import IdSet, IdType
from bulkdel.core.record import Batch, Record
from bulkdel.core.row_filter import RowFilter
from bulkdel.core.skipped_rows import PositionSet

BAD = BadRow(1, "?", Unusable(Why.EMPTY_ID))
MAIL = IdType("email", key=str.lower)
ROWS = st.lists(st.sampled_from(["a", "A", "b", "c", "d"]) | st.just(BAD), max_size=40)


def naive(rows: list[str | BadRow], start: int, protected: frozenset[str]) -> dict[str, list[int]]:
    """Row by row, with every id remembered for good."""
    ends: dict[str, list[int]] = {"excluded": [], "duplicate": [], "invalid": [], "sent": []}
    seen: set[str] = set()
    for position, row in enumerate(rows, start):
        if isinstance(row, BadRow):
            ends["invalid"].append(position)
        elif row.lower() in protected:
            ends["excluded"].append(position)
        elif row.lower() in seen:
            ends["duplicate"].append(position)
        else:
            seen.add(row.lower())
            ends["sent"].append(position)
    return ends


@settings(deadline=None)
@given(ROWS, st.integers(0, 1000), st.frozensets(st.sampled_from("abcd"), max_size=2), st.lists(st.integers(0, 40)))
def test_the_filter_is_the_naive_one_however_the_rows_are_batched(
    rows: list[str | BadRow], start: int, protected: frozenset[str], cuts: list[int]
) -> None:
    expected = naive(rows, start, protected)
    row_filter = RowFilter(MAIL, IdSet(MAIL, protected), PositionSet((at, at + 1) for at in expected["duplicate"]))
    ends: dict[str, list[int]] = {"excluded": [], "duplicate": [], "invalid": [], "sent": []}
    for begin, end in pairwise([0, *sorted(cut for cut in cuts if cut <= len(rows)), len(rows)]):
        batch = Batch(start + begin, rows[begin:end])
        records = row_filter.records(batch)
        assert records == [Record(record.position, str(rows[record.position - start])) for record in records]
        ends["sent"] += [record.position for record in records]
        for position, reason in sorted(row_filter.skips(batch).items()):
            ends[reason].append(position)
    assert ends == expected


def test_a_duplicate_stays_one_when_its_id_is_excluded_later() -> None:
    """A resume with more exclude files: the log says of the row already that it is a duplicate."""
    row_filter = RowFilter(MAIL, IdSet(MAIL, ["a@x"]), PositionSet([(1, 2)]))
    batch = Batch(0, ["A@x", "a@X", "b@x"])
    assert row_filter.records(batch) == [Record(2, "b@x")]
    assert row_filter.skips(batch) == {0: "excluded", 1: "duplicate"}
