"""Records, chunks and how they are cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.ranges import positions_in
from bulkdel.core.record import Chunk, Record, halves, positions_of


def records(*positions: int) -> list[Record]:
    return [Record(position, f"id{position}") for position in positions]


def test_a_chunk_names_its_ids_and_positions() -> None:
    chunk = Chunk(tuple(records(3, 4, 9)))
    assert chunk.ids == ["id3", "id4", "id9"]
    assert positions_of(chunk.records) == ((3, 5), (9, 10))


@settings(deadline=None)
@given(st.sets(st.integers(0, 100)))
def test_positions_of_covers_the_records(positions: set[int]) -> None:
    assert set(positions_in(positions_of(records(*sorted(positions))))) == positions


def test_halving_fifty_isolates_one_in_six_steps() -> None:
    sizes, piece = [], records(*range(50))
    while len(piece) > 1:
        first, second = halves(piece)
        assert [*first, *second] == piece
        assert 0 <= len(first) - len(second) <= 1
        piece = list(first)
        sizes.append(len(piece))
    assert sizes == [25, 13, 7, 4, 2, 1]
