"""The breaker, the adaptive rate and the guard on refusals, as tables on a clock of their own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.health import (
    BREAKER_WINDOW,
    FLOOR_SHARE,
    HALVE_S,
    PROBE_S,
    RATE_WINDOW,
    Breaker,
    Pace,
    RefusedMax,
)


def failing(breaker: Breaker, times: int, now: float = 0.0) -> Breaker:
    for _ in range(times):
        breaker.record(now, failed=True)
    return breaker


def test_half_of_the_last_twenty_opens_it() -> None:
    breaker = Breaker()
    for _ in range(BREAKER_WINDOW):
        breaker.record(0.0, failed=False)
    assert not failing(breaker, 9).open
    assert breaker.take(0.0)
    assert failing(breaker, 1).open
    assert not breaker.take(0.0)


def test_alternating_failures_open_it_and_rarer_ones_do_not() -> None:
    breaker = Breaker()
    for i in range(200):
        breaker.record(0.0, failed=i % 3 == 0)
        assert not breaker.open
    opened = 0
    for i in range(20):
        breaker.record(0.0, failed=i % 2 == 1)
        opened += breaker.open
    assert opened


def test_one_probe_an_interval_while_it_is_open() -> None:
    breaker = failing(Breaker(), 10)
    passed = [t / 10 for t in range(301) if breaker.take(t / 10)]
    assert passed == [PROBE_S * n for n in range(1, 7)]
    assert breaker.wait_s(30.0) == PROBE_S


def test_a_probe_that_fails_keeps_it_open_and_one_that_is_answered_closes_it() -> None:
    breaker = failing(Breaker(), 10)
    assert breaker.take(PROBE_S)
    breaker.record(PROBE_S + 1, failed=True)
    assert not breaker.take(PROBE_S + 1)
    assert breaker.take(2 * PROBE_S)
    breaker.record(2 * PROBE_S + 1, failed=False)
    assert not breaker.open
    assert all(breaker.take(2 * PROBE_S + 1) for _ in range(100))
    assert not failing(breaker, 9).open, "the window began anew"


def test_a_429_halves_at_most_once_a_second() -> None:
    pace = Pace(100.0)
    pace.throttled(10.0)
    assert pace.rate(10.0) == 50.0
    pace.throttled(10.0 + HALVE_S / 2)
    assert pace.rate(10.5) == 50.0
    pace.throttled(11.5)
    assert pace.rate(11.5) == pytest.approx(25.5)


def test_it_climbs_a_hundredth_of_the_ceiling_a_second() -> None:
    pace = Pace(200.0)
    pace.throttled(0.0)
    assert [pace.rate(float(t)) for t in (0, 1, 2, 10, 49, 50, 99)] == [100, 102, 104, 120, 198, 200, 200]
    assert pace.rate(0.99) == 100, "in steps, because each change is a new bucket"


@pytest.mark.parametrize(("ceiling", "floor"), [(160.0, 10.0), (1000.0, 62.5), (8.0, 1.0), (0.5, 0.5)])
def test_it_has_a_floor(ceiling: float, floor: float) -> None:
    pace = Pace(ceiling)
    for second in range(30):
        pace.throttled(float(second))
    assert floor <= pace.rate(29.0) <= floor + 0.05 * ceiling


def test_more_than_a_tenth_failing_halves_and_clears_the_window() -> None:
    pace = Pace(100.0)
    for i in range(RATE_WINDOW * 3):
        pace.record(5.0, failed=i % 10 == 0)
        assert pace.rate(5.0) == 100.0
    pace.record(6.0, failed=True)  # one comes, one leaves the window
    assert pace.rate(6.0) == 100.0
    pace.record(6.0, failed=True)
    assert pace.rate(6.0) == 50.0
    for _ in range(10):
        pace.record(8.0, failed=True)
    assert pace.rate(8.0) == 52.0, "the window began anew"
    pace.record(8.0, failed=True)
    assert pace.rate(8.0) == 26.0


@pytest.mark.parametrize("second", [3, 100])
def test_an_unlimited_run_takes_the_measured_rate_as_its_ceiling(second: int) -> None:
    pace = Pace(0.0)
    assert pace.rate(0.0) == 0.0
    for i in range(400):
        pace.sent(second + i / 400)
    pace.sent(second + 1.0)
    pace.throttled(second + 1.0)
    assert pace.rate(second + 1.0) == 200.0
    assert pace.rate(second + 51.0) == 400.0
    assert pace.rate(second + 500.0) == 400.0


def test_an_unlimited_run_that_is_throttled_at_its_first_request() -> None:
    pace = Pace(0.0)
    pace.throttled(0.0)
    assert pace.rate(0.0) == 1.0


def test_a_quiet_second_is_forgotten() -> None:
    pace = Pace(0.0)
    for _ in range(100):
        pace.sent(1.0)
    pace.sent(7.0)
    pace.throttled(7.0)
    assert pace.rate(7.0) == 1.0


@given(st.floats(1, 2000), st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["ok", "fail", "429"])), max_size=300))
def test_the_rate_never_leaves_its_bounds(ceiling: float, events: list[tuple[float, str]]) -> None:
    pace, now = Pace(ceiling), 0.0
    for gap, event in events:
        now += gap
        if event == "429":
            pace.throttled(now)
        else:
            pace.record(now, failed=event == "fail")
        assert min(ceiling, max(1.0, ceiling * FLOOR_SHARE)) <= pace.rate(now) <= ceiling


@pytest.mark.parametrize(
    ("text", "refused", "settled", "exceeded"),
    [
        ("1%", 10, 1_000, False),
        ("1%", 11, 1_000, True),
        ("1%", 500, 999, False),
        ("0%", 1, 1_000, True),
        ("100%", 1_000, 1_000, False),
        ("2.5%", 26, 1_000, True),
        ("5", 5, 10, False),
        ("5", 6, 10, True),
        ("0", 1, 1, True),
    ],
)
def test_refused_max(text: str, refused: int, settled: int, exceeded: bool) -> None:
    assert RefusedMax.parse(text).exceeded(refused, settled) is exceeded


@pytest.mark.parametrize("text", ["", "x", "-1", "-1%", "101%", "1.5", "%", "nan%"])
def test_refused_max_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        RefusedMax.parse(text)
