"""The schedule of the rate: `Mon-Fri 08:00-18:00=10, else=50`. Owns its grammar and its arithmetic. Pure.

Times are local: minutes of a day without a zone. The zone and its changes of the clocks are the caller's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bulkdel.core.pace import RATE_MAX, RATE_MIN, may_be_set

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MIN = 24 * 60

EXAMPLE = "'Mon-Fri 08:00-18:00=10, else=50'"

_PART = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?\s+)?(?P<begin>\d\d?:\d\d)-(?P<end>\d\d?:\d\d)\s*=\s*(?P<rate>\S+)"
)
_ELSE = re.compile(r"else\s*=\s*(?P<rate>\S+)")


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a schedule.

    days: on which it begins; Monday is 0. begin, end: minutes of the day; it may end on the next day. rate: requests a
    second.
    """

    days: frozenset[int]
    begin: int
    end: int
    rate: float

    def holds(self, day: int, minute: int) -> bool:
        """Whether this minute of this day of the week is in the window."""
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        return (day in self.days and minute >= self.begin) or ((day - 1) % 7 in self.days and minute < self.end)


@dataclass(frozen=True, slots=True)
class Schedule:
    """text: as it was typed. windows: the first that holds decides. other: the rate outside; None without a limit."""

    text: str
    windows: tuple[Window, ...]
    other: float | None

    def rate_at(self, day: int, minute: int) -> float | None:
        """The limit in this minute of the day of the week (Monday is 0), requests a second; None without a limit."""
        return next((window.rate for window in self.windows if window.holds(day, minute)), self.other)

    @property
    def changes(self) -> tuple[tuple[int, int], ...]:
        """Every minute of a week at which a window begins or ends, as day and minute, ascending."""
        found = set()
        for window in self.windows:
            for day in window.days:
                found.add((day, window.begin))
                ends = day if window.begin < window.end else (day + 1) % 7
                found.add((ends, window.end) if window.end < DAY_MIN else ((ends + 1) % 7, 0))
        return tuple(sorted(found))


def schedule_of(text: str) -> Schedule:
    """Read a schedule. Raises ValueError that says which part is wrong."""
    windows, other, ended = [], None, False
    for part in text.split(","):
        words = part.strip().casefold()
        if ended:
            raise ValueError(f"{part.strip()!r} follows `else`, which is the last part")
        if found := _ELSE.fullmatch(words):
            other, ended = _rate(found["rate"]), True
        elif found := _PART.fullmatch(words):
            windows.append(_window(found, part.strip()))
        else:
            raise ValueError(f"{part.strip()!r} is not a part of a schedule. Write {EXAMPLE}")
    if not windows:
        raise ValueError(f"it has no time of day. Write {EXAMPLE}, or --rate")
    return Schedule(text.strip(), tuple(windows), other)


def _window(found: re.Match[str], part: str) -> Window:
    begin, end = _minute(found["begin"]), _minute(found["end"])
    if begin in {end, DAY_MIN}:
        raise ValueError(f"{part!r}: begins when it ends. Write 00:00-24:00 for a whole day")
    return Window(_days(found["first"], found["last"]), begin, end, _rate(found["rate"]))


def _days(first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset(range(7))
    for day in (first, last or first):
        if day not in DAYS:
            raise ValueError(f"{day!r} is no day. The days are Mon, Tue, Wed, Thu, Fri, Sat and Sun")
    begin, end = DAYS.index(first), DAYS.index(last or first)
    return frozenset((begin + after) % 7 for after in range((end - begin) % 7 + 1))


def _minute(text: str) -> int:
    hour, minute = map(int, text.split(":"))
    if hour > 24 or minute > 59 or (hour == 24 and minute):  # noqa: PLR2004 - a clock
        raise ValueError(f"{text!r} is no time of day")
    return hour * 60 + minute


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of requests a second") from None
    if rate == 0 or not may_be_set(rate):
        raise ValueError(f"a rate of {text} cannot be scheduled: write a number from {RATE_MIN:g} to {RATE_MAX:,.0f}")
    return rate
