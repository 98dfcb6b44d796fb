"""The last sign-ins of a sample by age: counts, the place of a date among them, and one line of words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.sign_ins import AGES, DAY_S, place_of, sign_in_words, sign_ins_by_age

NOW = 1_767_225_600.0


def days_ago(*days: float) -> list[float | None]:
    return [NOW - DAY_S * each for each in days]


def test_each_time_is_counted_once() -> None:
    """The last day of an age belongs to the older one. A time in the future is that of a clock that is ahead."""
    times = [*days_ago(1000, 730, 729.9, 365, 180, 90, 30, 29.9, 0, -5), 0.0, -1.0, None]
    assert sign_ins_by_age(times, NOW) == {
        "never": 2,
        "over_2_years": 2,
        "1_to_2_years": 2,
        "180_to_365_days": 1,
        "90_to_180_days": 1,
        "30_to_90_days": 1,
        "under_30_days": 3,
        "unknown": 1,
    }


def test_without_any_time_there_is_no_count() -> None:
    assert sign_ins_by_age([], NOW) == sign_ins_by_age([None, None], NOW) == {}


@pytest.mark.parametrize(
    ("days", "place"),
    [(10_000, 0.0), (1_460, 0.0), (1_095, 0.5), (730, 1.0), (365, 2.0), (135, 3.5), (15, 5.5), (0, 6.0), (-3, 6.0)],
)
def test_the_place_of_a_date(days: float, place: float) -> None:
    assert place_of(days) == pytest.approx(place)


@given(st.floats(0, 2_000), st.floats(0, 2_000))
def test_an_older_date_is_further_left_and_within_the_column_of_its_age(one: float, other: float) -> None:
    older, newer = max(one, other), min(one, other)
    assert place_of(older) <= place_of(newer)
    (name,) = [name for name, count in sign_ins_by_age(days_ago(one), 0.0 + NOW).items() if count]
    column = [age.name for age in AGES].index(name)
    assert column - 1e-6 <= place_of(one) <= column + 1 + 1e-6


def test_the_counts_as_a_line() -> None:
    counts = {"never": 1, "over_2_years": 1_200, "under_30_days": 600, "90_to_180_days": 0, "unknown": 3, "x": 9}
    assert sign_in_words(counts, bars=False) == "1 never, 1,200 over 2y, 600 under 30d, 3 unknown"
    assert sign_in_words(counts, bars=True) == "1 never ▁, 1,200 over 2y █, 600 under 30d ▄, 3 unknown ▁"
    assert sign_in_words({"never": 7}, bars=True) == "7 never"
    assert sign_in_words({}, bars=True) == ""
