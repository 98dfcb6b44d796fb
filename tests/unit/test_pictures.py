"""The geometry of a report's pictures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.outcome import COUNTED, REMAINING
from bulkdel.report.facts import OutcomeFacts, Reason, SampleFacts
from bulkdel.report.pictures import ALWAYS, FUNNEL, WIDTH_MIN, Part, funnel, shares, sign_ins


def outcome(kind: str, count: int, *reasons: int) -> OutcomeFacts:
    return OutcomeFacts(kind, kind, count, "", tuple(Reason(f"r{n}", each) for n, each in enumerate(reasons)))


def test_every_outcome_has_its_place_in_the_funnel() -> None:
    assert set(FUNNEL) == {*COUNTED, REMAINING}


def test_rows_leave_at_the_right_and_what_was_done_begins_at_the_left() -> None:
    outcomes = [outcome("done", 50), outcome("excluded", 30, 20, 10), outcome("invalid", 20), outcome("absent", 0)]
    steps = {each.outcome.kind: each for each in funnel(outcomes)}
    assert list(steps) == ["invalid", "excluded", "done"], "outcomes without a row are left out"
    assert steps["invalid"].bar == (Part("left", 0, 80), Part("invalid", 80, 20))
    assert steps["excluded"].bar == (Part("left", 0, 50), Part("excluded", 50, 30))
    assert [part for _, part in steps["excluded"].reasons] == [Part("excluded", 60, 20), Part("excluded", 50, 10)]
    assert steps["done"].bar == (Part("left", 0, 0), Part("done", 0, 50))


def test_some_outcomes_are_shown_without_a_row() -> None:
    steps = list(funnel([outcome(kind, 0) for kind in FUNNEL]))
    assert {each.outcome.kind for each in steps} == ALWAYS
    assert {part.width for each in steps for part in each.bar} == {0}


COUNTS = st.lists(st.integers(0, 10**8), min_size=1, max_size=9)


@given(COUNTS)
def test_no_part_is_invisible_or_outside_of_its_bar(counts: list[int]) -> None:
    """One refused row among a hundred million is seen too."""
    kinds = dict(zip(FUNNEL, counts, strict=False))
    parts = [part for step in funnel([outcome(*each) for each in kinds.items()]) for part in step.bar]
    for part in [*parts, *shares(kinds)]:
        assert part.x >= 0
        assert part.x + part.width <= 100.01
        assert part.width == 0 or part.width >= WIDTH_MIN
    if any(counts):
        assert sum(part.width for part in shares(kinds)) >= 99.99


def sample(counts: dict[str, int], days: float | None = None) -> SampleFacts:
    return SampleFacts(9, 9, (), counts, "", days)


def test_no_column_without_a_time() -> None:
    assert sign_ins(sample({})) is None
    assert sign_ins(sample({"unknown": 9})) is None


def test_the_columns_of_the_last_sign_ins() -> None:
    counts = {"never": 2, "over_2_years": 8, "under_30_days": 4, "unknown": 9, "of a newer version": 50}
    found = sign_ins(sample(counts))
    assert found is not None
    assert found.line is None
    assert [each.words for each in found.columns][::6] == ["never", "under 30 days"]
    assert [(each.count, each.height, each.spared) for each in found.columns] == [
        *((2, 25, 0), (8, 100, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0), (4, 50, 0)),
    ]


@pytest.mark.parametrize(
    ("days", "line", "spared"),
    [
        (10_000, 1, [0, 1, 1, 1, 1, 1, 1]),  # an account that never signed in is not spared
        (730, 2, [0, 0, 1, 1, 1, 1, 1]),
        (60, 5.5, [0, 0, 0, 0, 0, 0.5, 1]),
        (-1, 7, [0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_the_date_of_the_guard_is_a_line(days: float, line: float, spared: list[float]) -> None:
    found = sign_ins(sample({"never": 1, "over_2_years": 1}, days))
    assert found is not None
    assert found.line == pytest.approx(100 * line / 7, abs=0.01)
    assert [each.spared for each in found.columns] == spared
