"""The set of duplicates and the sets of rows around it, held against plain sets of positions; the list in the log."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.log_entries import Entry, Header, Intent, Session, Skipped, Unreadable, from_json, to_json
from bulkdel.core.ranges import positions_in, ranges_of
from bulkdel.core.run_state import RunState
from bulkdel.core.skipped_rows import (
    PAGE_ROWS,
    RANGES_MAX,
    PositionSet,
    RowSet,
    SkippedRows,
)
from bulkdel.place.log_place import LINE_MAX
from tests import recorded
from tests.mutants import mutant
from tests.recorded import AT, deleted, encode_line, fold
from tests.syntax import swap

EDGE = PAGE_ROWS  # where a page ends
NEAR = st.integers(EDGE - 40, EDGE + 40) | st.integers(0, 30)
SETS = st.sets(NEAR, max_size=60)


def made(positions: set[int]) -> PositionSet:
    return PositionSet((position, position + 1) for position in sorted(positions))


@settings(deadline=None)
@given(SETS, NEAR, NEAR)
def test_like_a_plain_set(positions: set[int], one: int, other: int) -> None:
    found, (start, stop) = made(positions), sorted((one, other))
    inside = sorted(position for position in positions if start <= position < stop)
    assert (len(found), found.size) == (len(positions), len(positions))
    assert list(found.between(start, stop)) == inside
    assert found.count(start, stop) == len(inside)
    assert tuple(found.ranges(start, stop)) == ranges_of(inside)
    assert tuple(found.ranges()) == ranges_of(sorted(positions))
    assert (one in found) == (one in positions)
    assert "x" not in found
    after, before = found.first_after(one), found.first_before(one)
    assert after not in positions
    assert all(position in positions for position in range(one, after))
    assert before - 1 not in positions
    assert all(position in positions for position in range(before, one))
    again = made(positions)
    again.add(positions)
    assert again == found, "a position that is in already is not counted again"
    assert (found == made(positions | {99})) == (99 in positions)


def test_a_long_run_is_stepped_over_by_bytes_on_both_sides() -> None:
    found = PositionSet([(3, 100_003)])
    assert (found.first_after(5), found.first_before(90_001)) == (100_003, 3)
    assert (PositionSet().first_after(7), PositionSet().first_before(7), PositionSet([(0, 9)]).first_before(9)) == (
        7,
        7,
        0,
    )


def test_a_run_that_ends_with_a_byte_has_its_end_there() -> None:
    """From any position in it: the rows are looked at eight at a time."""
    found = PositionSet([(8, 16)])
    assert [found.first_after(position) for position in range(8, 17)] == [16] * 9
    assert [found.first_before(position) for position in range(8, 17)] == [8] * 9


def test_a_hole_behind_a_full_byte_is_found() -> None:
    assert PositionSet([(0, 8), (9, 64)]).first_after(1) == 8


def test_two_ranges_are_joined_across_the_row_between_them() -> None:
    assert PositionSet([(2, 3)]).joined(((0, 2), (3, 5))) == ((0, 5),)


@settings(deadline=None)
@given(SETS, SETS)
def test_ranges_are_joined_only_across_duplicates(positions: set[int], rows: set[int]) -> None:
    rows -= positions
    joined = made(positions).joined(ranges_of(sorted(rows)))
    covered = set(positions_in(joined))
    assert covered - positions == rows
    gaps = [range(stop, start) for (_, stop), (start, _) in pairwise(joined)]
    assert all(any(position not in positions for position in gap) for gap in gaps)


@settings(deadline=None)
@given(SETS, st.lists(st.tuples(st.booleans(), NEAR, st.integers(1, 9)), max_size=20))
def test_a_row_set_counts_rows_and_covers_the_duplicates_beside_them(
    positions: set[int], steps: list[tuple[bool, int, int]]
) -> None:
    found, rows = RowSet(made(positions)), set[int]()
    for adding, start, length in steps:
        some = set(range(start, start + length)) - positions
        if not some:
            continue
        begin, end = min(some), max(some) + 1
        change = found.add if adding else found.remove
        assert change(begin, end) == len(some - rows if adding else some & rows)
        rows = rows | some if adding else rows - some
        assert found.size == len(rows)
        assert set(positions_in(found.ranges)) - positions == rows


def test_thirty_percent_at_random_leave_one_range() -> None:
    """In the order in which answers come, a few chunks under way at once."""
    total = 3_000
    repeated = {row for row in range(1, total) if row * 2_654_435_761 % 1000 < 300}
    left_out = recorded.skipped(duplicate=[(row, row + 1) for row in sorted(repeated)])
    progress = fold([recorded.header(total, left_out)], left_out)
    rows = [row for row in range(total) if row not in repeated]
    chunks = [ranges_of(rows[first : first + 50]) for first in range(0, len(rows), 50)]
    most = 0
    for group in range(0, len(chunks), 4):
        for ranges in chunks[group : group + 4]:
            progress.apply(Intent(AT, ranges))
        for ranges in reversed(chunks[group : group + 4]):
            progress.apply(deleted(0, 1)._replace(ranges=ranges))
            most = max(most, len(progress.settled.ranges))
    assert most <= 2
    assert progress.settled.ranges == ((0, total),)
    assert (progress.in_doubt.ranges, progress.doubts()) == ((), [])
    assert progress.complete
    assert progress.counts["done"] + progress.counts["duplicate"] == total


# ── the list in the log ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.untraced
def test_entries_hold_so_many_ranges_and_fit_a_line() -> None:
    far = 10**12
    left_out = recorded.skipped(duplicate=((far + 2 * row, far + 2 * row + 1) for row in range(RANGES_MAX + 1)))
    first, second = left_out.by_reason["duplicate"].parts()
    assert (len(first), len(second)) == (RANGES_MAX, 1)
    assert len(encode_line(2, [Skipped("excluded", first)])) < LINE_MAX / 10
    assert list(PositionSet().parts()) == []


@settings(deadline=None)
@given(SETS, SETS, SETS, NEAR, NEAR)
def test_every_row_has_its_reason(one: set[int], other: set[int], third: set[int], start: int, stop: int) -> None:
    by_reason = {"excluded": one, "duplicate": other - one, "invalid": third - one - other}
    left_out = SkippedRows()
    left_out.add("excluded", made(by_reason["excluded"]))
    left_out.add("duplicate", made(by_reason["duplicate"]))
    left_out.add("invalid", made(by_reason["invalid"]))
    assert left_out.rows == made(one | other | third)
    assert left_out.rows.size == sum(rows.size for rows in left_out.by_reason.values())
    found = [(row, reason) for begin, end, reason in left_out.between(start, stop) for row in range(begin, end)]
    wanted = [(row, reason) for reason, rows in by_reason.items() for row in rows if start <= row < stop]
    assert found == sorted(wanted)


def test_a_row_is_skipped_for_one_reason() -> None:
    left_out = recorded.skipped(excluded=[(1, 4)])
    with pytest.raises(ValueError, match="skipped twice: invalid"):
        left_out.add("invalid", made({3, 4}))
    left_out.add("excluded", made({9}))
    assert left_out.by_reason["excluded"] == made({1, 2, 3, 9})


def test_the_rows_of_a_reason_are_not_copied() -> None:
    """Of 10,000,000 rows a set takes 1.25 MB."""
    left_out, rows = SkippedRows(), made({1, 5})
    left_out.add("duplicate", rows)
    assert left_out.by_reason["duplicate"] is rows
    assert RunState(recorded.header(20, left_out), skipped=left_out).skipped is left_out


def test_the_header_keeps_the_digest() -> None:
    header = recorded.header(20, recorded.skipped(duplicate=[(5, 7)]))
    assert from_json(to_json(header)) == header


def test_a_header_without_the_digest_has_no_skipped_rows() -> None:
    without = to_json(recorded.header(20, recorded.skipped(duplicate=[(5, 7)])))
    del without["skipped_sha256"]
    header = from_json(without)
    assert isinstance(header, Header)
    with pytest.raises(Unreadable, match="the rows that are never sent are not those that the header counts"):
        RunState(header)


LIST = recorded.skipped(duplicate=[(5, 7), (9, 10)], invalid=[(8, 9)])
START = Session("start", AT, "", {})


@given(SETS)
def test_the_bounds_of_a_set(positions: set[int]) -> None:
    assert made(positions).bounds == ((min(positions), max(positions) + 1) if positions else (0, 0))


def test_a_forged_header_with_very_many_rows_is_folded_at_once() -> None:
    header = replace(recorded.header(20, LIST), counts={**recorded.header(20, LIST).counts, "rows": 1 << 62})
    assert RunState(header, skipped=recorded.skipped(duplicate=[(5, 7), (9, 10)], invalid=[(8, 9)])).rows == 1 << 62


def test_a_log_begins_with_its_skipped_rows() -> None:
    progress = fold([recorded.header(20, LIST)], LIST)
    assert (progress.counts["duplicate"], progress.remaining, progress.settled.ranges) == (3, 16, ())
    assert progress.skipped.by_reason == LIST.by_reason


@mutant(
    "a file of skipped rows need not have as many as the header counts",
    "RunState.__post_init__",
    swap("self.counts[reason] != self.header.counts[reason]", "self.counts[reason] < 0"),
)
@mutant(
    "skipped rows behind the last row are taken",
    "RunState.__post_init__",
    swap("not here", "False"),
    case="more2",
)
@pytest.mark.parametrize("more", [{"duplicate": [(5, 8)]}, {"excluded": [(5, 7)]}, {"duplicate": [(19, 21)]}, {}])
def test_as_many_rows_are_skipped_as_the_header_counts(more: dict[str, list[tuple[int, int]]]) -> None:
    with pytest.raises(Unreadable, match="are not those that the header counts"):
        RunState(recorded.header(20, recorded.skipped(duplicate=[(5, 7)])), skipped=recorded.skipped(**more))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([Skipped("excluded", ((12, 13),))], "rows 12-12 are excluded, and no session says that"),
        ([START, Skipped("duplicate", ((12, 13),))], "rows 12-12 are duplicate, and no session says that"),
        ([START, Skipped("excluded", ((6, 7),))], "rows 6-6 are settled twice"),
        ([START, Skipped("excluded", ((19, 22),))], "rows 19-21 are excluded, but the export has 20 rows"),
        ([Intent(AT, ((4, 8),))], "rows 4-7 are sent, but a skipped row is among them"),
        ([Intent(AT, ((18, 21),))], "rows 18-20 are sent, but the export has 20 rows"),
        ([deleted(5, 6)], "rows 5-5 are settled twice, are skipped"),
        ([deleted(4, 8)], "rows 4-7 are settled twice, are skipped"),
        ([deleted(4, 5), deleted(4, 5)._replace(ranges=((4, 5), (7, 8)))], "rows 4-7 are settled twice"),
    ],
)
def test_an_entry_that_contradicts_the_skipped_rows_is_refused(entries: list[Entry], words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        fold([recorded.header(20, LIST), *entries], LIST)


def test_a_row_in_doubt_that_is_excluded_since_is_in_doubt_no_longer() -> None:
    progress = fold([recorded.header(20), START, Intent(AT, ((0, 10),)), Skipped("excluded", ((4, 6),))])
    assert (progress.in_doubt.ranges, progress.in_doubt.size) == (((0, 4), (6, 10)), 8)
    assert [(start, stop) for start, stop, _ in progress.doubts()] == [(0, 4), (6, 10)]
    progress.apply(deleted(0, 4)._replace(ranges=((0, 4), (6, 10))))
    assert (progress.in_doubt.size, progress.doubts(), progress.settled.ranges) == (0, [], ((0, 10),))
    assert (progress.counts["done"], progress.counts["excluded"], progress.remaining) == (8, 2, 10)
