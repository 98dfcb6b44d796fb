"""Records, chunks and how they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.core.ranges import positions_in
from runner.core.records import Chunk, Record, chunks_of, halves, positions_of


def records(*positions: int) -> list[Record]:
    return [Record(position, f"id{position}") for position in positions]


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(1, 60))
def test_chunks_hold_every_record_once_and_in_order(count: int, size: int) -> None:
    source = records(*range(count))
    chunks = list(chunks_of(iter(source), size))
    assert [record for chunk in chunks for record in chunk.records] == source
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(1 <= len(chunk) <= size for chunk in chunks)


def test_a_chunk_is_never_empty() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Chunk(())


def test_a_chunk_names_its_positions() -> None:
    assert Chunk(tuple(records(3, 4, 9))).ranges == positions_of(records(3, 4, 9)) == ((3, 5), (9, 10))


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
