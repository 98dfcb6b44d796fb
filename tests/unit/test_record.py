"""Records, chunks and how they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.ranges import positions_in
from bulkdel.core.record import Chunk, Record, halves, ids_of, positions_of


def records(*positions: int) -> list[Record]:
    return [Record(position, f"id{position}") for position in positions]


def test_a_chunk_is_never_empty() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Chunk(())


def test_a_chunk_names_its_positions() -> None:
    assert Chunk(tuple(records(3, 4, 9))).ranges == positions_of(records(3, 4, 9)) == ((3, 5), (9, 10))


@settings(deadline=None)
@given(st.sets(st.integers(0, 100), min_size=1))
def test_a_chunk_of_ids_is_one_of_records(positions: set[int]) -> None:
    source = records(*sorted(positions))
    chunk = Chunk.of([record.id for record in source], positions_of(source))
    assert chunk == Chunk(source)
    assert hash(chunk) == hash(Chunk(source))
    assert chunk != source
    assert repr(chunk) == repr(Chunk(source))
    assert ([*chunk], len(chunk), chunk[0], [*chunk[1:]]) == (source, len(source), source[0], source[1:])
    assert (ids_of(chunk), positions_of(chunk)) == (ids_of(source), positions_of(source))


def test_a_chunk_has_as_many_ids_as_positions() -> None:
    """Else it would settle rows whose ids were not in the request."""
    with pytest.raises(ValueError, match="1 ids at 2 positions"):
        Chunk.of(["a"], ((0, 2),))
    packed = Chunk.of(b'["a"]', ((0, 2),))
    with pytest.raises(ValueError, match="1 ids at 2 positions"):
        _ = packed.ids
    assert Chunk.of(b'["a","b"]', ((0, 2),)) == Chunk([Record(0, "a"), Record(1, "b")])


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
