"""Records, chunks and how they are cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.ranges import positions_in
from bulkdel.core.record import Record, Records


def records(*positions: int) -> Records:
    return Records(positions, tuple(f"id{position}" for position in positions))


def test_records_are_a_sequence() -> None:
    three = [Record(3, "a", b'{"name": 1}'), Record(4, "b"), Record(9, "c")]
    for some in (three, three[1:], []):
        columns = Records.of(some)
        assert list(columns) == some
        assert [columns[at] for at in range(len(columns))] == some
        assert list(columns[1:]) == some[1:]
        assert Records.of(columns) == columns
        assert (columns.positions, columns.ids) == (tuple(r.position for r in some), tuple(r.id for r in some))
    assert Records.of(three).ranges == ((3, 5), (9, 10))


@settings(deadline=None)
@given(st.sets(st.integers(0, 100)))
def test_the_ranges_cover_the_records(positions: set[int]) -> None:
    assert set(positions_in(records(*sorted(positions)).ranges)) == positions


def test_halving_fifty_isolates_one_in_six_steps() -> None:
    sizes, piece = [], records(*range(50))
    while len(piece) > 1:
        first, second = piece.halves
        assert [*first, *second] == list(piece)
        assert 0 <= len(first) - len(second) <= 1
        piece = first
        sizes.append(len(piece))
    assert sizes == [25, 13, 7, 4, 2, 1]
