"""The numbers of the failure policy and the small decisions around them. Clock and chance come in as arguments."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from fractions import Fraction

ATTEMPTS_MAX = 4
"""Lost replies per piece of a chunk before its ids are looked up (design)."""

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 20.0
"""Full jitter: a random share of `first * 2**n`, capped (AWS: "Exponential backoff and jitter")."""

RETRY_MAX_S = 300.0
"""An id that may be given to somebody else is not sent again this long after its first request: as long as two clocks
may differ (`presence.SKEW_S`). It stays in doubt, and is looked up before it is sent."""

RETRY_AFTER_MAX_S = 1e9
"""30 years: longer than any patience, and still a date that can be said to the user."""

UNDATED_MAX_S = 60.0
"""Longest pause for a Retry-After date in an answer without a Date header: only our own clock can measure it then."""

SAMPLE_SIZE = 200
SAMPLE_SHARE_MIN = 0.5
"""Ids looked up before the first deletion, and the share of them that has to exist (design)."""

LOOKS_AGAIN_MAX = 3
"""Further look-ups of ids that the API refuses as unknown although a look-up finds them: look-ups may lag."""

LOOK_AGAIN_FIRST_S = 1.0
"""Wait before the first of them; it doubles each time, so 7 s in all."""

LAG_VAIN_MAX = 20
"""After so many chunks in a row for which these waits changed nothing, a session waits no more: it is not a lag."""

LAG_MAX_S = 600.0
"""Longest lag of a look-up behind a deletion that is reckoned with."""

ALL_REFUSED_MIN = 10
"""A chunk of this many ids, each refused with one code, says it is not the ids (design)."""


_NUMBER_OR_SHARE = re.compile(r"([0-9]+)|([0-9]+(?:\.[0-9]+)?)%")


def number_or_share(text: str) -> int | Fraction:
    """Read `100` as a number, `1%` or `0.5%` as a share from 0 to 1. Raises ValueError."""
    found = _NUMBER_OR_SHARE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    if found[1] is not None:
        return int(found[1])
    share = Fraction(found[2]) / 100
    if share > 1:
        raise ValueError(text)
    return share


def backoff_s(attempt: int, chance: float) -> float:
    """How long to wait before attempt number `attempt` + 1, seconds. `chance` is uniform in [0, 1)."""
    return chance * min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (attempt - 1))


def look_again_s(again: int) -> float:
    """How long to wait before further look-up number `again` (from 1), seconds; 0 for the first look-up of all."""
    return LOOK_AGAIN_FIRST_S * 2.0 ** (again - 1) if again else 0.0


def retry_after_s(header: str | None, date: str | None, now: float) -> float | None:
    """Read a Retry-After header in either form (RFC 9110: seconds, or a date), as seconds.

    A date is measured against `date`, the Date header of the same answer: our clock may differ from the server's. `now`
    (epoch, seconds) stands in only where the answer has no usable Date.

    None when the header names no time, or a date that has passed: the caller's default pause applies.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_MAX_S)
    if (until := http_date_s(text)) is None:
        return None
    answered = None if date is None else http_date_s(date.strip())
    wait_s = min(until - now, UNDATED_MAX_S) if answered is None else min(until - answered, RETRY_AFTER_MAX_S)
    return wait_s if wait_s > 0 else None


def http_date_s(text: str) -> float | None:
    """Read an HTTP date, as epoch seconds; None when it is not one."""
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for numbers that no date has
        return None
    return at.replace(tzinfo=at.tzinfo or UTC).timestamp()


def sample_suffices(asked: int, found: int) -> bool:
    """Whether enough of the sampled ids exist: fewer than half says wrong pool, id type or column."""
    return found >= asked * SAMPLE_SHARE_MIN
