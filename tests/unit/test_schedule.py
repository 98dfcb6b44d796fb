"""The schedule of the rate: what it reads, and which limit holds when."""

from __future__ import annotations

import pytest

from bulkdel.core.schedule import DAY_MIN, schedule_of

OFFICE = "Mon-Fri 08:00-18:00=10, else=50"


@pytest.mark.parametrize(
    ("text", "day", "at", "rate"),
    [
        (OFFICE, 0, "08:00", 10.0),
        (OFFICE, 0, "07:59", 50.0),
        (OFFICE, 4, "17:59", 10.0),
        (OFFICE, 4, "18:00", 50.0),
        (OFFICE, 5, "12:00", 50.0),
        ("fri-mon 8:00-9:00=1.5", 5, "8:30", 1.5),
        ("fri-mon 8:00-9:00=1.5", 6, "8:30", 1.5),
        ("fri-mon 8:00-9:00=1.5", 1, "8:30", None),
        ("22:00-06:00=5,else=1", 3, "23:00", 5.0),
        ("22:00-06:00=5,else=1", 3, "05:59", 5.0),
        ("22:00-06:00=5,else=1", 3, "06:00", 1.0),
        ("Sun 22:00-06:00=5", 0, "05:00", 5.0),
        ("Sun 22:00-06:00=5", 6, "05:00", None),
        ("Sun 00:00-24:00=5", 6, "23:59", 5.0),
        ("10:00-11:00=1, 09:00-12:00=2", 2, "10:30", 1.0),  # the first that holds
        ("10:00-11:00=1, 09:00-12:00=2", 2, "11:30", 2.0),
    ],
)
def test_the_limit_of_a_minute(text: str, day: int, at: str, rate: float | None) -> None:
    hour, minute = map(int, at.split(":"))
    assert schedule_of(text).rate_at(day, hour * 60 + minute) == rate


@pytest.mark.parametrize("text", [OFFICE, "Fri-Mon 22:00-06:00=1", "00:00-24:00=3", "Sun 12:00-24:00=2, else=9"])
def test_the_limit_changes_only_at_its_changes(text: str) -> None:
    schedule = schedule_of(text)
    week = [(day, minute) for day in range(7) for minute in range(DAY_MIN)]
    rates = [schedule.rate_at(*at) for at in week]
    changed = {at for at, rate, before in zip(week, rates, [rates[-1], *rates], strict=False) if rate != before}
    assert changed <= set(schedule.changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no part|not a part"),
        ("else=5", "no time of day"),
        ("Mon-Fri 08:00-18:00", "not a part"),
        ("Mo-Fr 08-18=10", "not a part"),
        ("Mox 08:00-18:00=10", "'mox' is no day"),
        ("Mon-Fry 08:00-18:00=10", "'fry' is no day"),
        ("08:00-25:00=10", "'25:00' is no time"),
        ("08:60-09:00=10", "'8:60'|'08:60' is no time"),
        ("08:00-24:01=10", "'24:01' is no time"),
        ("08:00-08:00=10", "begins when it ends"),
        ("24:00-08:00=10", "begins when it ends"),
        ("08:00-09:00=0", "cannot be scheduled"),
        ("08:00-09:00=1e-320", "cannot be scheduled"),
        ("08:00-09:00=nan", "cannot be scheduled"),
        ("08:00-09:00=-1", "cannot be scheduled"),
        ("08:00-09:00=fast", "not a number"),
        ("08:00-09:00=5, else=1, else=2", "follows `else`"),
        ("else=1, 08:00-09:00=5", "follows `else`"),
    ],
)
def test_what_is_no_schedule_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        schedule_of(text)
