"""Durations, dates and times of day, as the user types them."""

from __future__ import annotations

import re
import time as clocks
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta

from bulkdel.core.schedule import Schedule, schedule_of
from bulkdel.errors import UsageError

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|min|h|d)?")
_UNITS_S = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY = re.compile(r"(\d{4}|\d{1,2})\s*([./-])\s*(\d{1,2})\s*\2\s*(\d{4}|\d{1,2})", re.ASCII)
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?\s*(Z|[+-][0-9]{2}:?[0-9]{2})?")

NEXT_DAY_S = 6 * 3600.0
"""For so long after a stop at --not-after, the same time of day is not taken for that of the next day. The command was
probably repeated by mistake. A time of the next day has to be given with its date."""

YEAR_DAYS = 366
"""So many days ahead the times of a schedule are checked against changes of the clocks."""


def since_boot() -> float:
    """Seconds of a clock that only grows, and that also counts the time in which the machine sleeps.

    What another process may rely on, such as a lease to send or a share of the rate, ends by this clock.
    `time.monotonic` stands still while a laptop or a virtual machine sleeps. CLOCK_MONOTONIC of macOS does not.
    """
    clock = getattr(clocks, "CLOCK_BOOTTIME", clocks.CLOCK_MONOTONIC)
    return clocks.clock_gettime(clock)


def seconds_of(text: str) -> float:
    """Read a duration: `30`, `30s`, `500ms`, `15m`, `15min`, `2h`, `1d`. Raises ValueError.

    The durations of cyclopts have no plain number, no `ms` and no `min`, and their `M` is a month.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a duration. Write 30, 30s, 15m, 2h or 1d.")
    return float(found[1]) * _UNITS_S[found[2]]


def date_of(option: str, text: str) -> datetime:
    """Read a date (its midnight in UTC), or a date with a time and a zone.

    Raises UsageError naming the option, which takes an age too.
    """
    stripped = text.strip()
    with suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(f"{stripped}T00:00Z" if _DATE.fullmatch(stripped) else stripped)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    if readings := _readings_of_day(stripped):
        raise UsageError(f"{option} {text!r}: {_one_of(readings)}")
    ways = "write 2026-01-31 (midnight UTC), or 2026-01-31T06:00+02:00, or an age such as 90d"
    raise UsageError(f"{option} {text!r}: {ways}")


def _readings_of_day(text: str) -> list[date]:
    """The days that a date in another form may mean: 31.08.2026 is one day, 08/09/2026 may be two."""
    if (found := _DAY.fullmatch(text)) is None:
        return []
    first, separator, second, third = int(found[1]), found[2], int(found[3]), int(found[4])
    orders = [(first, second, third)] if len(found[1]) > 2 else [(third, second, first), (third, first, second)]  # noqa: PLR2004 - a year
    days = list[date]()
    for order in orders[:1] if separator == "." else orders:
        with suppress(ValueError):
            days.append(date(order[0] + (2000 if order[0] < 100 else 0), *order[1:]))  # noqa: PLR2004 - two digits
    return sorted({*days})


def _one_of(days: list[date], clock: str = "") -> str:
    """How a day is written that was typed in another form. clock: what follows it."""
    which = "if that day is meant" if len(days) == 1 else "whichever is meant"
    return f"write {' or '.join(f'{day}{clock}' for day in days)}, {which}"


def _how_to_write(text: str) -> str:
    """How a time is written that could not be read."""
    day, _, clock = text.partition(" ")
    if (days := _readings_of_day(day)) and (not clock or _CLOCK.fullmatch(clock)):
        return _one_of(days, f"T{clock.zfill(len('06:00')) if clock else '06:00'}")
    wrong = "is no time of day; " if _CLOCK.fullmatch(text) else ""
    return f"{wrong}write 06:00, 06:00Z, 06:00+02:00 or 2026-01-31T06:00+02:00"


def is_time_of_day(text: str) -> bool:
    """Whether --not-after names a time that comes again every day."""
    return _CLOCK.fullmatch(text.strip()) is not None


def until_of(text: str, now: datetime, option: str = "--not-after") -> datetime:
    """Read --not-after, or another `option` like it: a time of day, or a date with a time, perhaps in the past.

    A time of day is its next occurrence after `now`. A time without a zone is in the time zone of this machine. Raises
    UsageError for text that is no time, for a time that a change of the clocks makes ambiguous, and for a date more
    than a year ahead.
    """
    clock = _CLOCK.fullmatch(text.strip())
    try:
        readings = _readings_of_date(text.strip(), now) if clock is None else _readings_of_clock(clock, now)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {text!r}: {_how_to_write(text.strip())}") from None
    if len(readings) > 1:
        either = " or ".join(at.isoformat(timespec="seconds") for at in readings)
        raise UsageError(f"{option} {text!r}: the clocks change about then. Write which time is meant: {either}")
    if not readings:
        raise UsageError(f"{option} {text!r}: more than a year ahead. Correct the date, or leave {option} out")
    return readings[0]


def next_day(text: str | None, stopped: str | None, now: datetime) -> datetime | None:
    """What a time of day means now, where it has just stopped a run: that time of the next day. Else None.

    stopped: when it stopped that run, ISO 8601; None when it did not. What the clock on the wall shows is compared: the
    offset of the zone may have changed since. Raises UsageError for a text that is no time.
    """
    if text is None or stopped is None or not is_time_of_day(text):
        return None
    before, until = datetime.fromisoformat(stopped), until_of(text, now)
    if until <= before or (now - before).total_seconds() > NEXT_DAY_S or before.time() != until.time():
        return None
    return until


def schedule_at(text: str, now: datetime) -> Schedule:
    """Read --schedule. Its times are in the time zone of this machine.

    Raises UsageError for text that is no schedule, and for a time that the clocks skip or repeat within a year.
    """
    try:
        schedule = schedule_of(text)
    except ValueError as error:
        raise UsageError(f"--schedule {text!r}: {error}") from None
    changes, today = set(schedule.changes), now.astimezone().date()
    for on in (today + timedelta(days=n) for n in range(YEAR_DAYS)):
        for minute in sorted(minute for day, minute in changes if day == on.weekday()):
            at = datetime.combine(on, time(minute // 60, minute % 60))
            if len(_readings_of_local(at)) > 1:
                raise UsageError(
                    f"--schedule {text!r}: the clocks change on {on} about {at:%H:%M} ({zone_of(now)}), so that "
                    "time is skipped or comes twice. Write another time"
                )
    return schedule


def scheduled(schedule: Schedule, now: datetime) -> float | None:
    """The limit of a schedule at this time, requests a second; None without a limit."""
    local = now.astimezone()
    return schedule.rate_at(local.weekday(), local.hour * 60 + local.minute)


def schedule_words(text: str, now: datetime) -> str:
    """A schedule for people: with its zone, and the limit that it sets now."""
    rate = scheduled(schedule_of(text), now)
    limit = "no limit" if rate is None else f"at most {rate:g} requests/s"
    return f"{text} (times in {zone_of(now)}; now {limit})"


def zone_of(now: datetime) -> str:
    """The time zone of this machine, with its offset at this time."""
    local = now.astimezone()
    return f"{local:%Z}, {local:%z}"


def _readings_of_date(text: str, now: datetime) -> list[datetime]:
    """Return the times that a date may mean; none for a date that is more than a year ahead."""
    at = datetime.fromisoformat(text)
    if at.year > now.year + 1:  # the last year of the calendar cannot be converted to another zone
        return []
    readings = [at] if at.tzinfo else _readings_of_local(at)
    return [] if readings[0] > now + timedelta(days=366) else readings


def _readings_of_clock(clock: re.Match[str], now: datetime) -> list[datetime]:
    """Return the times that a time of day may mean, the next one first."""
    of_day = time(int(clock[1]), int(clock[2]), int(clock[3] or 0))
    if clock[4]:
        zone = datetime.fromisoformat(f"2000-01-01T00:00{clock[4]}").tzinfo
        at = datetime.combine(now.astimezone(zone).date(), of_day, zone)
        return [at + timedelta(days=at <= now)]
    today = now.astimezone().date()
    days = [_readings_of_local(datetime.combine(today + timedelta(days=n), of_day)) for n in (0, 1)]
    ahead = [[at for at in day if at > now] for day in days]
    first = 0 if ahead[0] else 1
    return ahead[first] if len(days[first]) == 1 else (ahead[first] + ahead[1])[:2]


def _readings_of_local(naive: datetime) -> list[datetime]:
    """Return the times that a local time may be: two where the clocks are set back over it, or skip it."""
    both = [naive.replace(fold=fold).astimezone() for fold in (0, 1)]
    return sorted(set(both))
