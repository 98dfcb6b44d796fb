"""The histogram of the latency, and its shares."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.latency import BOUNDS_S, Latency, quantile

BOUNDS = (0.1, 0.2, 0.4)


@pytest.mark.parametrize(
    ("counts", "share", "seconds"),
    [
        ([0, 0, 0, 0], 0.5, None),
        ([10, 0, 0, 0], 0.5, 0.05),
        ([0, 10, 0, 0], 0.5, 0.15),
        ([5, 5, 0, 0], 0.5, 0.1),
        ([0, 0, 4, 0], 1.0, 0.4),
        ([1, 0, 0, 9], 0.5, 0.4),
        ([0, 0, 0, 3], 0.95, 0.4),
    ],
)
def test_values(counts: list[int], share: float, seconds: float | None) -> None:
    assert quantile(BOUNDS, counts, share) == (None if seconds is None else pytest.approx(seconds))


@given(st.lists(st.floats(0.001, 0.39), min_size=1), st.floats(0.01, 1))
def test_it_is_in_the_bucket_of_the_exact_one(times: list[float], share: float) -> None:
    counts = [sum(low < each <= high for each in times) for low, high in zip((0, *BOUNDS), BOUNDS, strict=False)]
    found = quantile(BOUNDS, [*counts, 0], share)
    exact = sorted(times)[math.ceil(share * len(times)) - 1]
    low, high = next((low, high) for low, high in zip((0, *BOUNDS), BOUNDS, strict=False) if low < exact <= high)
    assert found is not None
    assert low <= found <= high * (1 + 1e-9)


def test_the_time_of_every_response_is_counted_once() -> None:
    latency = Latency()
    for seconds in (0.0, 0.01, 0.011, 60.0, 61.0):
        latency.record(seconds)
    assert len(latency.counts) == len(BOUNDS_S) + 1
    assert (latency.counts[0], latency.counts[1], latency.counts[-2], latency.counts[-1]) == (2, 1, 1, 1)
    assert sum(latency.counts) == 5
    assert latency.sum_s == pytest.approx(121.021)
