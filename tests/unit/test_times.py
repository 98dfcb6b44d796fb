"""Durations and times of day, as the user types them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.errors import UsageError
from bulkdel.times import date_of, next_day, seconds_of, until_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("30s", 30.0),
        (" 15m ", 900.0),
        ("15min", 900.0),
        ("2h", 7200.0),
        ("0.5h", 1800.0),
        ("1.5 m", 90.0),
        ("250ms", 0.25),
        ("1d", 86_400.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-1", "+1", "1w", "1h30m", "1,5", "1e3", "inf", "nan", ".5", "1.", "1 0", "1M", "\u0663m"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        seconds_of(text)


@given(st.floats(0, 1e6).map(lambda value: f"{value:.3f}"), st.sampled_from(("", "s", "m", "h", "ms")))
def test_every_plain_number_is_a_duration(number: str, unit: str) -> None:
    factor = {"": 1, "s": 1, "m": 60, "h": 3600, "ms": 0.001}[unit]
    assert seconds_of(number + unit) == pytest.approx(float(number) * factor)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("31.08.2026", "2026-08-31, if that day is meant"),
        ("31. 8. 26", "2026-08-31, if that day is meant"),
        ("08.09.2026", "2026-09-08, if that day is meant"),
        ("08/09/2026", "2026-08-09 or 2026-09-08, whichever is meant"),
        ("9-9-2026", "2026-09-09, if that day is meant"),
        ("13/09/2026", "2026-09-13, if that day is meant"),
        ("2026-8-3", "2026-08-03, if that day is meant"),
        ("2026/08/31", "2026-08-31, if that day is meant"),
        ("32.08.2026", "2026-01-31 (midnight UTC), or 2026-01-31T06:00+02:00, or an age such as 90d"),
        ("yesterday", "2026-01-31 (midnight UTC), or 2026-01-31T06:00+02:00, or an age such as 90d"),
        ("31.08-2026", "2026-01-31 (midnight UTC), or 2026-01-31T06:00+02:00, or an age such as 90d"),
    ],
)
def test_a_date_in_another_form_is_answered_with_what_it_may_mean(text: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        date_of("--spare active-since", text)
    assert str(refused.value) == f"--spare active-since {text!r}: write {told}"


# ── --not-after ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "now", "meant"),
    [
        ("06:00", "2026-11-25T22:00+01:00", "2026-11-26T06:00:00+01:00"),
        ("06:00", "2026-11-25T05:59:59+01:00", "2026-11-25T06:00:00+01:00"),
        ("06:00", "2026-11-25T06:00:00+01:00", "2026-11-26T06:00:00+01:00"),
        ("06:00:30", "2026-11-25T06:00:00+01:00", "2026-11-25T06:00:30+01:00"),
        ("06:00Z", "2026-11-25T06:30:00+01:00", "2026-11-25T06:00:00+00:00"),
        ("06:00+02:00", "2026-11-25T06:30:00+01:00", "2026-11-26T06:00:00+02:00"),
        ("2026-11-26T06:00", "2026-11-25T06:00+01:00", "2026-11-26T06:00:00+01:00"),
        ("2026-11-26 06:00Z", "2026-11-25T06:00+01:00", "2026-11-26T06:00:00+00:00"),
        ("2020-01-01T06:00", "2026-11-25T06:00+01:00", "2020-01-01T06:00:00+01:00"),
        # the night in which the clocks are set back, before and after the hour that comes twice
        ("06:00", "2026-10-24T22:00+02:00", "2026-10-25T06:00:00+01:00"),
        ("03:30", "2026-10-25T02:30+02:00", "2026-10-25T03:30:00+01:00"),
        ("02:30", "2026-10-25T02:45+01:00", "2026-10-26T02:30:00+01:00"),
        ("02:30+01:00", "2026-10-25T02:45+02:00", "2026-10-25T02:30:00+01:00"),
        # the night in which they are set forward
        ("03:30", "2026-03-29T01:30+01:00", "2026-03-29T03:30:00+02:00"),
    ],
)
def test_not_after(text: str, now: str, meant: str) -> None:
    assert until_of(text, datetime.fromisoformat(now)).isoformat() == meant


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "now", "readings"),
    [
        ("02:30", "2026-10-24T22:00+02:00", ("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00")),
        ("02:30", "2026-10-25T02:45+02:00", ("2026-10-25T02:30:00+01:00", "2026-10-26T02:30:00+01:00")),
        ("2026-10-25T02:30", "2026-10-20T06:00+02:00", ("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00")),
        # there is no 02:30 in this night
        ("02:30", "2026-03-28T22:00+01:00", ("2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00")),
        ("2026-03-29T02:30", "2026-03-20T06:00+01:00", ("2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00")),
    ],
)
def test_not_after_that_the_change_of_clocks_makes_ambiguous(text: str, now: str, readings: tuple[str, str]) -> None:
    """Both readings are named as they can be typed, and typed they mean what they say."""
    with pytest.raises(UsageError) as caught:
        until_of(text, datetime.fromisoformat(now))
    assert " or ".join(readings) in str(caught.value)
    for reading in readings:
        assert until_of(reading, datetime.fromisoformat(now)) == datetime.fromisoformat(reading)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((text, "write 06:00") for text in ("", "tomorrow", "25:00", "06:60", "6", "06:00+99:00", "2026-02-30")),
        ("\u0660\u0666:\u0660\u0660", "write 06:00"),
        ("18:75", "'18:75': is no time of day; write 06:00"),
        ("02.12.2026 6:00", "write 2026-12-02T06:00, if that day is meant"),
        ("02.12.2026", "write 2026-12-02T06:00, if that day is meant"),
        ("08/09/2026 18:00", "write 2026-08-09T18:00 or 2026-09-08T18:00, whichever is meant"),
        ("9999-12-31T23:59", "more than a year ahead"),
        ("9999-12-31T23:59-23:00", "more than a year ahead"),
        ("2027-12-01T00:00Z", "more than a year ahead"),
    ],
)
def test_not_after_that_is_none(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        until_of(text, datetime(2026, 11, 25, tzinfo=UTC))


@pytest.mark.parametrize("text", ["0001-01-01T00:00", "0001-01-01T00:00+23:00", "2026-11-25T00:00Z"])
def test_not_after_far_back(text: str) -> None:
    """No overflow: a time in the past, or no time at all."""
    now = datetime(2026, 11, 25, tzinfo=UTC)
    with suppress(UsageError):
        assert until_of(text, now) <= now


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "stopped", "means"),
    [
        ("06:00", "2026-03-27T06:00:00+01:00", "2026-03-28T06:00:00+01:00"),
        ("06:00", "2026-03-28T06:00:00+01:00", "2026-03-29T06:00:00+02:00"),  # the clocks change in between
        ("06:00", "2026-10-24T06:00:00+02:00", "2026-10-25T06:00:00+01:00"),
        ("06:00", "2026-03-27T06:00:00+00:00", "2026-03-28T06:00:00+01:00"),  # on a machine in another zone
        ("06:00Z", "2026-03-28T06:00:00+00:00", "2026-03-29T06:00:00+00:00"),
        ("06:01", "2026-03-28T06:00:00+01:00", None),
        ("2027-01-01T06:00", "2026-03-28T06:00:00+01:00", None),
        (None, "2026-03-28T06:00:00+01:00", None),
    ],
)
def test_a_time_of_day_that_has_just_stopped_a_run(text: str | None, stopped: str, means: str | None) -> None:
    """It is the time that a clock on the wall shows."""
    before = datetime.fromisoformat(stopped)
    found = next_day(text, stopped, before + timedelta(hours=5))
    assert (found and found.isoformat()) == means
    assert next_day(text, None, before + timedelta(hours=5)) is None
    assert next_day(text, stopped, before + timedelta(hours=7)) is None
    assert next_day(text, stopped, before - timedelta(hours=7)) is None, "something else has stopped it before"
