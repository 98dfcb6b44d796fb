"""The policy's numbers and decisions, by value."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.halt_limits import SAMPLE_SIZE, number_or_share, refused_words, sample_suffices, too_many_refused
from bulkdel.core.look_up_lag import LOOKS_AGAIN_MAX, look_again_s
from bulkdel.core.retry import BACKOFF_MAX_S, RETRY_AFTER_MAX_S, UNDATED_MAX_S, backoff_s, retry_after_s

NOON = "Sun, 01 Mar 2026 12:00:00 GMT"
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(("attempt", "longest_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 20.0), (60, 20.0)])
def test_backoff_doubles_up_to_its_cap(attempt: int, longest_s: float) -> None:
    assert backoff_s(attempt, 0.0) == 0.0
    assert backoff_s(attempt, 0.5) == longest_s / 2
    assert backoff_s(attempt, 1.0) == longest_s <= BACKOFF_MAX_S


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("9" * 400, RETRY_AFTER_MAX_S),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_MAX_S),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 12:00:30", 30.0),  # no zone: UTC
        ("Sun, 01 Mar 2026 13:00:30 +0100", 30.0),
        ("Sun, 01 Mar 2026 11:59:00 GMT", None),  # past: the caller's default
        ("Sun, 01 Mar 2026 12:00:00 GMT", None),  # now, as far as a date in seconds tells
        ("", None),
        ("-3", None),
        ("1.5", None),
        ("soon", None),
        ("\u0663", None),  # an Arabic three is a digit to str.isdigit
        ("Sun, 99999999999999999999 Mar 2026 12:00:30 GMT", None),
        ("Sun, 01 Mar 99999999999999999999 12:00:30 GMT", None),
        ("Sun, 01 Mar 2026 12:00:30 +9999999999999999999999", None),
    ],
)
def test_retry_after_in_both_forms(header: str, seconds: float | None) -> None:
    """The answer's own Date is noon, whatever our clock says."""
    for ours in (NOW, NOW - 3600, NOW + 45, 0.0):
        assert retry_after_s(header, NOON, ours) == seconds


@pytest.mark.parametrize("date", [None, "", "noon", "Sun, 01 Mar 2026 12:00:99999 GMT"])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        ("120", 120.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 13:00:30 GMT", UNDATED_MAX_S),  # our clock may be an hour behind
        ("Sun, 01 Mar 2026 11:59:00 GMT", None),
    ],
)
def test_without_a_usable_date_our_clock_measures_with_a_bound(
    header: str, seconds: float | None, date: str | None
) -> None:
    assert retry_after_s(header, date, NOW) == seconds


@settings(deadline=None)
@given(st.text() | st.from_regex(r"\w{3}, \d+ (Jan|Dec) \d+ \d+:\d+:\d+ ([+-]\d+|GMT)", fullmatch=True))
def test_no_header_breaks_the_reading(header: str) -> None:
    for date in (None, NOON, header):
        seconds = retry_after_s(header, date, NOW)
        assert seconds is None or seconds >= 0


@settings(deadline=None)
@given(st.datetimes(datetime(2026, 3, 1, 12, 0, 1), datetime(2057, 1, 1)))  # noqa: DTZ001
def test_a_date_is_the_seconds_until_it(at: datetime) -> None:
    at = at.replace(tzinfo=UTC, microsecond=0)
    assert retry_after_s(format_datetime(at, usegmt=True), NOON, 0.0) == at.timestamp() - NOW


@pytest.mark.parametrize(
    ("asked", "found", "suffices"),
    [(200, 200, True), (200, 100, True), (200, 99, False), (3, 1, False), (3, 2, True), (1, 0, False), (0, 0, True)],
)
def test_half_the_sample_has_to_exist(asked: int, found: int, suffices: bool) -> None:
    assert asked <= SAMPLE_SIZE
    assert sample_suffices(asked, found) is suffices


def test_repeated_look_ups_wait_longer_each_time() -> None:
    assert [look_again_s(again) for again in range(LOOKS_AGAIN_MAX + 1)] == [0, 1, 2, 4]


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
def test_refused_limit(text: str, refused: int, settled: int, exceeded: bool) -> None:
    assert too_many_refused(number_or_share(text), refused, settled) is exceeded


@pytest.mark.parametrize("text", ["", "x", "-1", "-1%", "101%", "1.5", "%", "nan%"])
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(ValueError):
        number_or_share(text)


@pytest.mark.parametrize(("most", "limit"), [(1_000, "allows 1,000."), (Fraction(1, 40), "allows 2.5 %.")])
def test_the_words_of_max_refused_name_the_limit(most: int | Fraction, limit: str) -> None:
    assert limit in refused_words(most, 1_001, 2_000, may_exclude=True)


def test_a_command_without_exclude_is_not_told_to_exclude() -> None:
    assert "--exclude" in refused_words(10, 11, 20, may_exclude=True)
    assert "--exclude" not in refused_words(10, 11, 20, may_exclude=False)
