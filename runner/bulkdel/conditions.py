"""The conditions of `--spare`, such as `active-since=2026-01-31` or `active-since=90d`: which accounts are kept.

An age becomes an instant once, before the plan is made. The plan, its digest, the log and every printed command have
the instant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from bulkdel.core.guards import TIMED, Guard, Guards, condition
from bulkdel.errors import UsageError
from bulkdel.times import date_of

_AGE = re.compile(r"\s*([1-9]\d{0,4})d\s*")
"""At most five digits: one of six could begin before the year 1."""


def conditions_of(texts: Iterable[str]) -> dict[Guard, str]:
    """The value of each guard, as it is typed. Raises UsageError for a text that is no condition."""
    found = dict[Guard, str]()
    for text in texts:
        name, equals, value = text.partition("=")
        guard = next((each for each in TIMED if each.key == name.strip()), None)
        if guard is None or not equals:
            ways = " or ".join(f"{each.key}=DATE" for each in TIMED)
            raise UsageError(f"--spare {text!r}: write {ways}, with a date such as 2026-01-31, or an age such as 90d")
        if guard in found:
            raise UsageError(f"{guard.option}: is given twice. Give it once")
        found[guard] = value
    return found


def joined(sources: Iterable[Iterable[str]]) -> list[str]:
    """The conditions of several places, such as the command line and the config. For each guard the first place counts.

    One guard must not replace another one. Raises UsageError for a text that is no condition.
    """
    found = dict[Guard, str]()
    for texts in sources:
        found = {**conditions_of(texts), **found}
    return [f"{guard.key}={value}" for guard, value in found.items()]


def has_age(texts: Iterable[str]) -> bool:
    """Whether a condition has an age. Raises UsageError for a text that is no condition."""
    return any(_AGE.fullmatch(value) for value in conditions_of(texts).values())


def time_of(guard: Guard, value: str, now: datetime) -> datetime:
    """The instant of a condition. An age is the midnight in UTC that many days before `now`. Raises UsageError."""
    if (age := _AGE.fullmatch(value)) is None:
        return date_of(guard.option, value)
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=int(age[1]))


def with_instants(texts: Iterable[str], now: datetime, before: Guards) -> list[str]:
    """The conditions with an instant in the place of each age.

    before: the guards that the log has. A resume is later than the run, so an age would spare fewer accounts then: it
    means the instant that the log has, unless its own spares more.
    """
    found = list[str]()
    for guard, value in conditions_of(texts).items():
        if _AGE.fullmatch(value) is None:
            found.append(f"{guard.key}={value}")
            continue
        at, logged = time_of(guard, value, now).timestamp(), getattr(before, guard.name)
        found.append(condition(guard, at if logged is None else min(at, logged)))
    return found
