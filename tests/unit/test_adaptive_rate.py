"""The adaptive rate, as tables on a clock of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.adaptive_rate import (
    FAILURE_WINDOW,
    FLOOR_SHARE,
    HALVE_EVERY_S,
    UNMEASURED,
    AdaptiveRate,
    Slowed,
)
from tests.mutants import mutant
from tests.syntax import drop, swap


@mutant(
    "a 429 that is not learned from",
    "AdaptiveRate.throttled",
    drop("self._halve(now, Slowed.THROTTLED)"),
)
def test_a_429_halves_at_most_once_a_second() -> None:
    adaptive_rate = AdaptiveRate(100.0)
    adaptive_rate.throttled(10.0)
    assert adaptive_rate.rate(10.0) == 50.0
    adaptive_rate.throttled(10.0 + HALVE_EVERY_S / 2)
    assert adaptive_rate.rate(10.5) == 50.0
    adaptive_rate.throttled(11.5)
    assert adaptive_rate.rate(11.5) == pytest.approx(25.5)


def test_it_climbs_a_hundredth_of_the_ceiling_a_second() -> None:
    adaptive_rate = AdaptiveRate(200.0)
    adaptive_rate.throttled(0.0)
    assert [adaptive_rate.rate(float(t)) for t in (0, 1, 2, 10, 49, 50, 99)] == [100, 102, 104, 120, 198, 200, 200]
    assert adaptive_rate.rate(0.99) == 100, "in steps, because each change is a new bucket"


@pytest.mark.parametrize(("ceiling", "floor"), [(160.0, 10.0), (1000.0, 62.5), (8.0, 1.0), (0.5, 0.5)])
def test_it_has_a_floor(ceiling: float, floor: float) -> None:
    adaptive_rate = AdaptiveRate(ceiling)
    for second in range(30):
        adaptive_rate.throttled(float(second))
    assert floor <= adaptive_rate.rate(29.0) <= floor + 0.05 * ceiling


def test_more_than_a_tenth_failing_halves_and_clears_the_window() -> None:
    adaptive_rate = AdaptiveRate(100.0)
    for i in range(FAILURE_WINDOW * 3):
        adaptive_rate.record(5.0, failed=i % 10 == 0)
        assert adaptive_rate.rate(5.0) == 100.0
    adaptive_rate.record(6.0, failed=True)  # one comes, one leaves the window
    assert adaptive_rate.rate(6.0) == 100.0
    adaptive_rate.record(6.0, failed=True)
    assert adaptive_rate.rate(6.0) == 50.0
    for _ in range(10):
        adaptive_rate.record(8.0, failed=True)
    assert adaptive_rate.rate(8.0) == 52.0, "the window began anew"
    adaptive_rate.record(8.0, failed=True)
    assert adaptive_rate.rate(8.0) == 26.0


def sending(adaptive_rate: AdaptiveRate, rate: int, begin: float, seconds: float) -> float:
    """Send `rate` requests a second for some seconds; returns the time after them."""
    for i in range(round(rate * seconds)):
        adaptive_rate.sent(begin + i / rate)
    return begin + seconds


def test_an_unlimited_run_goes_on_at_half_of_its_last_whole_second() -> None:
    adaptive_rate = AdaptiveRate(0.0)
    now = sending(adaptive_rate, 400, 3.4, 2.7)  # the last 0.7 s of it are no whole second
    assert adaptive_rate.rate(now) == 0.0
    assert adaptive_rate.slowed(now) is None
    adaptive_rate.throttled(now)
    assert adaptive_rate.rate(now) == 200.0
    assert adaptive_rate.slowed(now) is Slowed.THROTTLED


@mutant(
    "an unlimited run takes part of a second for its rate",
    "AdaptiveRate._halve",
    swap("self._measured or before or UNMEASURED", "self._count"),
)
@pytest.mark.parametrize("sent", [0, 1, 40])
def test_before_its_first_whole_second_an_unlimited_run_is_taken_to_have_had_fifty(sent: int) -> None:
    adaptive_rate = AdaptiveRate(0.0)
    sending(adaptive_rate, 1_000, 8.9, sent / 1_000)
    adaptive_rate.throttled(9.0)
    assert adaptive_rate.rate(9.0) == UNMEASURED / 2


def test_a_quiet_time_does_not_count_as_a_slow_one() -> None:
    """A pause, an open breaker, a slow disk: the last whole second with requests says what the run can do."""
    adaptive_rate = AdaptiveRate(0.0)
    sending(adaptive_rate, 100, 1.0, 2.5)
    adaptive_rate.sent(9.0)
    adaptive_rate.throttled(9.1)
    assert adaptive_rate.rate(9.1) == 50.0


def test_an_unlimited_run_finds_its_way_up_without_a_ceiling() -> None:
    """1 % of the measured rate a second for 10 s after the 429, then 10 % of the present one, until it is unlimited."""
    adaptive_rate = AdaptiveRate(0.0)
    adaptive_rate.throttled(sending(adaptive_rate, 400, 0.0, 1.25))
    at = [round(adaptive_rate.rate(1.25 + t)) for t in (0, 1, 5, 10, 11, 15, 16, 20, 24, 25)]
    assert at == [200, 204, 220, 240, 264, 387, 425, 622, 911, 1003]
    assert adaptive_rate.rate(1.25 + 73) > 95_000
    assert adaptive_rate.rate(1.25 + 74) == 0.0
    assert adaptive_rate.slowed(1.25 + 74) is None
    assert adaptive_rate.rate(1e9) == 0.0, "and no overflow after years"


def test_one_429_at_the_first_deletion_costs_seconds() -> None:
    """The rate does not stay low for good."""
    adaptive_rate, now, sent = AdaptiveRate(0.0), 0.0, 1
    adaptive_rate.sent(now)
    adaptive_rate.throttled(now)
    due = {50: 0.0, 1_000: 0.0, 20_000: 0.0}
    while sent < 20_000:
        now += 1 / adaptive_rate.rate(now)
        adaptive_rate.sent(now)
        sent += 1
        due = {count: now if count == sent else at for count, at in due.items()}
    assert due[50] < 2.1
    assert due[1_000] < 24
    assert due[20_000] < 56


def test_failures_alone_do_not_hold_growth_back() -> None:
    adaptive_rate = AdaptiveRate(0.0)
    now = sending(adaptive_rate, 100, 0.0, 1.25)
    for _ in range(11):
        adaptive_rate.record(now, failed=True)
    assert adaptive_rate.slowed(now) is Slowed.FAILURES
    assert [round(adaptive_rate.rate(now + t)) for t in (0, 1, 2, 10)] == [50, 55, 61, 130]


def test_a_rate_that_grew_beyond_what_is_sent_is_halved_from_what_is_sent() -> None:
    adaptive_rate = AdaptiveRate(0.0)
    adaptive_rate.throttled(0.0)
    now = sending(adaptive_rate, 300, 60.0, 1.25)
    assert adaptive_rate.rate(now) > 2_000
    adaptive_rate.throttled(now)
    assert adaptive_rate.rate(now) == 150.0


def test_429_after_429_ends_at_a_sixteenth_of_the_measured_rate() -> None:
    adaptive_rate = AdaptiveRate(0.0)
    now = sending(adaptive_rate, 800, 0.0, 1.25)
    for _ in range(10):
        adaptive_rate.throttled(now)
        now += HALVE_EVERY_S
    assert adaptive_rate.rate(now - HALVE_EVERY_S) == 50.0


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["sent", "sent", "ok", "fail", "429"])), max_size=300))
def test_an_unlimited_run_never_falls_below_one_a_second_and_always_comes_back(events: list[tuple[float, str]]) -> None:
    adaptive_rate, now = AdaptiveRate(0.0), 0.0
    for gap, event in events:
        now += gap
        if event == "429":
            adaptive_rate.throttled(now)
        elif event == "sent":
            adaptive_rate.sent(now)
        else:
            adaptive_rate.record(now, failed=event == "fail")
        assert adaptive_rate.rate(now) == 0.0 or adaptive_rate.rate(now) >= 1.0
    assert adaptive_rate.rate(now + 180) == 0.0, "three quiet minutes, whatever was before"


@given(st.floats(1, 2000), st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["ok", "fail", "429"])), max_size=300))
def test_the_rate_never_leaves_its_bounds(ceiling: float, events: list[tuple[float, str]]) -> None:
    adaptive_rate, now = AdaptiveRate(ceiling), 0.0
    for gap, event in events:
        now += gap
        if event == "429":
            adaptive_rate.throttled(now)
        else:
            adaptive_rate.record(now, failed=event == "fail")
        assert min(ceiling, max(1.0, ceiling * FLOOR_SHARE)) <= adaptive_rate.rate(now) <= ceiling


def test_another_ceiling_counts_from_now_on_and_is_halved_in_its_turn() -> None:
    adaptive_rate = AdaptiveRate(100.0)
    adaptive_rate.set_ceiling(20.0, 15.0)
    assert adaptive_rate.rate(15.0) == 20.0
    assert adaptive_rate.slowed(15.0) is None
    adaptive_rate.throttled(20.0)
    assert adaptive_rate.rate(20.0) == 10.0
    assert adaptive_rate.rate(25.0) == 11.0, "1 % of the new ceiling a second"


@mutant(
    "another ceiling undoes a slow-down",
    "AdaptiveRate.set_ceiling",
    swap("min(rate, ceiling or rate)", "ceiling or rate"),
)
@pytest.mark.parametrize(
    ("before", "after", "then", "in_10_s"),
    [
        (100.0, 200.0, 50.0, 70.0),  # climbs by 1 % of the new ceiling a second
        (100.0, 60.0, 50.0, 56.0),
        (100.0, 20.0, 20.0, 20.0),  # the ceiling is lower than the lowered rate
        (100.0, 0.0, 50.0, 55.0),  # 1 % of what it was, and faster once all is calm
        (0.0, 100.0, 25.0, 35.0),  # halved without a ceiling, to half of the assumed rate
    ],
)
def test_another_ceiling_does_not_undo_what_trouble_has_lowered(
    before: float, after: float, then: float, in_10_s: float
) -> None:
    adaptive_rate = AdaptiveRate(before)
    adaptive_rate.throttled(10.0)
    adaptive_rate.set_ceiling(after, 10.0)
    assert adaptive_rate.rate(10.0) == then
    assert adaptive_rate.rate(20.0) == pytest.approx(in_10_s)
    assert adaptive_rate.slowed(10.0) is (None if then == after else Slowed.THROTTLED)


def test_something_else_that_is_slow_halves_the_rate_down_to_the_floor() -> None:
    adaptive_rate = AdaptiveRate(16.0)
    for at in range(10, 16):
        adaptive_rate.slow(float(at))
    assert adaptive_rate.slowed(15.0) is Slowed.SLOW_WHILE
    assert adaptive_rate.rate(15.0) == 1.0
    assert adaptive_rate.rate(200.0) == 16.0, "it climbs back"
    unlimited = AdaptiveRate(0.0)
    unlimited.slow(10.0)
    assert unlimited.rate(10.0) == UNMEASURED / 2
