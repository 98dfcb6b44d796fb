"""Whether a request is sent again, and after how many seconds. Pure: clock and chance come in.

`core.chunk_state` decides what follows from a response: which ids are sent again is one of its answers.
`http.client` sends a request again after a 429 or a 401.

Source: AWS, "Exponential backoff and jitter"; the numbers are our choice.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

ATTEMPTS_MAX = 4  # attempts without a usable response per part of a chunk; then its ids are looked up

# Full jitter: a random share of `first * 2**n`, capped.
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 20.0

# An id that may be given to another account is not sent again this long after its first request: as long as two clocks
# may differ (`account_match.SKEW_S`). It stays in doubt, and the next run looks it up before it is sent.
RETRY_MAX_S = 300.0

RETRY_AFTER_MAX_S = 1e9  # 30 years: longer than any patience, and still a date that can be printed
UNDATED_MAX_S = 60.0  # longest pause for a Retry-After date without a Date header: only our own clock can measure it


def sends_again(attempts: int) -> bool:
    """Whether a request is sent again after so many attempts in a row without a usable response."""
    return attempts < ATTEMPTS_MAX


def backoff_s(attempt: int, chance: float) -> float:
    """Seconds to wait before attempt number `attempt` + 1. `chance` is uniform in [0, 1)."""
    return chance * min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (attempt - 1))


def retry_after_s(header: str, date: str | None, now: float) -> float | None:
    """Read a Retry-After header in either form (RFC 9110: seconds, or a date), as seconds.

    A date is measured against `date`, the Date header of the same response, because our clock may differ from the
    server's. `now` (epoch, seconds) is used only if the response has no usable Date.

    None when the header names no time, or a date that has passed: then the caller's default pause applies.
    """
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
    except (ValueError, OverflowError):  # OverflowError: numbers that no date has
        return None
    return at.replace(tzinfo=at.tzinfo or UTC).timestamp()
