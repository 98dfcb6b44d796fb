"""The last sign-ins of the accounts of a sample, counted by their age. Pure.

The log, the plan and a report have the counts. They name no account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

DAY_S = 86_400.0


class Age(NamedTuple):
    """An age of a last sign-in. name: in the log and in JSON. days: from so many on. words, short: for people."""

    name: str
    days: float
    words: str
    short: str


AGES = (
    Age("over_2_years", 730, "over 2 years", "over 2y"),
    Age("1_to_2_years", 365, "1 to 2 years", "1-2y"),
    Age("180_to_365_days", 180, "180 to 365 days", "180-365d"),
    Age("90_to_180_days", 90, "90 to 180 days", "90-180d"),
    Age("30_to_90_days", 30, "30 to 90 days", "30-90d"),
    Age("under_30_days", 0, "under 30 days", "under 30d"),
)
"""The ages, the oldest first."""

NEVER_SIGNED_IN, UNKNOWN = "never", "unknown"
"""The names of the accounts that never signed in, and of those whose record does not say."""

BARS = "▁▂▃▄▅▆▇█"


def sign_ins_by_age(times: Iterable[float | None], now: float) -> dict[str, int]:
    """Count last sign-ins by age. times, now: epoch seconds. Empty when no record has a time.

    None: the record does not say. 1970 or before: the account never signed in.
    """
    counts = dict.fromkeys((NEVER_SIGNED_IN, *(age.name for age in AGES), UNKNOWN), 0)
    for at in times:
        if at is None:
            counts[UNKNOWN] += 1
        elif at <= 0:
            counts[NEVER_SIGNED_IN] += 1
        else:
            days = max(0.0, (now - at) / DAY_S)
            counts[next(age.name for age in AGES if days >= age.days)] += 1
    return counts if sum(counts.values()) > counts[UNKNOWN] else {}


def place_of(days: float) -> float:
    """Where an age lies on an axis that has one unit for each of `AGES`, the oldest first."""
    upper = 2 * AGES[0].days
    for number, age in enumerate(AGES):
        if days >= age.days:
            return number + max(0.0, (upper - days) / (upper - age.days))
        upper = age.days
    return float(len(AGES))


def sign_in_words(counts: Mapping[str, int], *, bars: bool) -> str:
    """The counts as one short line; those of 0 are left out.

    bars: with a character as high as each count, where there is more than one.
    """
    ages = [(NEVER_SIGNED_IN, NEVER_SIGNED_IN), *((age.name, age.short) for age in AGES), (UNKNOWN, UNKNOWN)]
    some = [(counts[name], words) for name, words in ages if counts.get(name)]
    top = max((count for count, _ in some), default=1)
    drawn = [f" {BARS[(len(BARS) - 1) * count // top]}" if bars and len(some) > 1 else "" for count, _ in some]
    return ", ".join(f"{count:,} {words}{bar}" for (count, words), bar in zip(some, drawn, strict=True))
