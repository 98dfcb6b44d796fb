"""RowSet against a plain set of integers, and the small functions beside it by value."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bulkdel.core.ranges import positions_in, ranges_of, size_of
from bulkdel.core.skipped_rows import RowSet
from tests.examples import examples

SPANS = st.tuples(st.integers(0, 60), st.integers(1, 12)).map(lambda span: (span[0], span[0] + span[1]))


class AgainstASet(RuleBasedStateMachine):
    """Every operation answers what a set of integers would."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges = RowSet()
        self.model: set[int] = set()

    @rule(span=SPANS)
    def add(self, span: tuple[int, int]) -> None:
        new = set(range(*span)) - self.model
        assert self.ranges.add(*span) == len(new)
        self.model |= new

    @rule(span=SPANS)
    def remove(self, span: tuple[int, int]) -> None:
        gone = set(range(*span)) & self.model
        assert self.ranges.remove(*span) == len(gone)
        self.model -= gone

    @rule(span=SPANS)
    def ask(self, span: tuple[int, int]) -> None:
        asked = set(range(*span))
        assert self.ranges.overlap(*span) == ranges_of(sorted(asked & self.model))
        assert self.ranges.missing(*span) == ranges_of(sorted(asked - self.model))

    @invariant()
    def is_the_set(self) -> None:
        assert self.ranges.ranges == ranges_of(sorted(self.model))
        assert len(self.ranges) == self.ranges.size == len(self.model)
        assert all((position in self.ranges) == (position in self.model) for position in range(-1, 75))


AgainstASet.TestCase.settings = settings(deadline=None, max_examples=examples(60), stateful_step_count=40)
TestAgainstASet = AgainstASet.TestCase


@settings(deadline=None)
@given(st.sets(st.integers(0, 200)))
def test_ranges_of_covers_exactly_and_with_as_few_as_possible(positions: set[int]) -> None:
    ranges = ranges_of(sorted(positions))
    assert list(positions_in(ranges)) == sorted(positions)
    assert size_of(ranges) == len(positions)
    assert all(stop < start for (_, stop), (start, _) in pairwise(ranges))
    assert RowSet(ranges=ranges).ranges == ranges


@pytest.mark.parametrize("positions", [[3, 2], [3, 3], [1, 2, 2], [0, 0]])
def test_positions_that_do_not_ascend_are_an_error(positions: list[int]) -> None:
    with pytest.raises(ValueError, match="must ascend"):
        ranges_of(positions)


@pytest.mark.parametrize(("start", "stop"), [(3, 3), (4, 3), (-1, 2)])
def test_what_is_no_range_is_refused(start: int, stop: int) -> None:
    ranges = RowSet(ranges=((0, 10),))
    for change in (ranges.add, ranges.remove):
        with pytest.raises(ValueError, match="not a range"):
            change(start, stop)
    assert ranges.ranges == ((0, 10),)


def test_only_integers_are_in_a_set_of_positions() -> None:
    assert 0 in RowSet(ranges=((0, 1),))
    assert "0" not in RowSet(ranges=((0, 1),))


def test_memory_is_that_of_the_gaps() -> None:
    ranges = RowSet()
    for start in range(0, 1_000_000, 50):
        ranges.add(start, start + 50)
    assert ranges.ranges == ((0, 1_000_000),)
