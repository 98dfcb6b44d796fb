"""The circuit breaker, as a table on a clock of its own."""

from __future__ import annotations

from bulkdel.core.circuit_breaker import BREAKER_WINDOW, PROBE_S, CircuitBreaker
from tests.mutants import mutant
from tests.syntax import swap


def failing(breaker: CircuitBreaker, times: int, now: float = 0.0) -> CircuitBreaker:
    for _ in range(times):
        breaker.record(now, failed=True)
    return breaker


def test_half_of_the_last_twenty_opens_it() -> None:
    breaker = CircuitBreaker()
    for _ in range(BREAKER_WINDOW):
        breaker.record(0.0, failed=False)
    assert not failing(breaker, 9).open
    assert breaker.take(0.0)
    assert failing(breaker, 1).open
    assert not breaker.take(0.0)


def test_alternating_failures_open_it_and_rarer_ones_do_not() -> None:
    breaker = CircuitBreaker()
    for i in range(200):
        breaker.record(0.0, failed=i % 3 == 0)
        assert not breaker.open
    opened = 0
    for i in range(20):
        breaker.record(0.0, failed=i % 2 == 1)
        opened += breaker.open
    assert opened


@mutant(
    "every request is a probe",
    "CircuitBreaker.take",
    swap("now + PROBE_S", "now"),
)
def test_one_probe_an_interval_while_it_is_open() -> None:
    breaker = failing(CircuitBreaker(), 10)
    passed = [t / 10 for t in range(301) if breaker.take(t / 10)]
    assert passed == [PROBE_S * n for n in range(1, 7)]
    assert breaker.wait_s(30.0) == PROBE_S


def test_a_probe_that_fails_keeps_it_open_and_one_that_is_answered_closes_it() -> None:
    breaker = failing(CircuitBreaker(), 10)
    assert breaker.take(PROBE_S)
    breaker.record(PROBE_S + 1, failed=True)
    assert not breaker.take(PROBE_S + 1)
    assert breaker.take(2 * PROBE_S)
    breaker.record(2 * PROBE_S + 1, failed=False)
    assert not breaker.open
    assert all(breaker.take(2 * PROBE_S + 1) for _ in range(100))
    assert not failing(breaker, 9).open, "the window began anew"
