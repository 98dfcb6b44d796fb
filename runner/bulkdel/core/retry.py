"""The retry policy: attempts, backoff, the circuit breaker, Retry-After, and limits. Pure: clock and chance come in.

`core.chunk_state` decides what follows from a response, so whether a chunk is sent again: `ChunkState.replied`.

Sources: AWS, "Exponential backoff and jitter"; Nygard, "Release It!" (the breaker); the numbers are our choice.
"""

from __future__ import annotations

import re
from collections import deque
from datetime import UTC
from email.utils import parsedate_to_datetime
from fractions import Fraction

ATTEMPTS_MAX = 4  # attempts without a usable response per part of a chunk; then its ids are looked up

# Full jitter: a random share of `first * 2**n`, capped.
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 20.0

# The circuit breaker: half of the last 20 requests failing for a transient reason opens it. While it is open, one
# request an interval asks whether the server is back.
BREAKER_WINDOW = 20
BREAKER_SHARE = 0.5
PROBE_S = 5.0

# An id that may be given to another account is not sent again this long after its first request: as long as two clocks
# may differ (`account_match.SKEW_S`). It stays in doubt, and the next run looks it up before it is sent.
RETRY_MAX_S = 300.0

RETRY_AFTER_MAX_S = 1e9  # 30 years: longer than any patience, and still a date that can be printed
UNDATED_MAX_S = 60.0  # longest pause for a Retry-After date without a Date header: only our own clock can measure it

SAMPLE_SIZE = 200  # ids looked up before the first id is sent
SAMPLE_SHARE_MIN = 0.5  # the share of them that has to exist

# An id that the API refuses as unknown although a look-up finds it is looked up again: look-ups may lag.
LOOKS_AGAIN_MAX = 3
LOOK_AGAIN_FIRST_S = 1.0  # before the first further look-up; it doubles each time, so 7 s in all
RENEWALS_MAX = 3  # times that a look-up is repeated because it was too old when its request could leave
LAG_VAIN_MAX = 20  # after so many chunks in a row for which this changed nothing, a session waits no more
INTENT_AGE_MAX_S = 30.0  # a request that leaves later has another intent, which says so
LAG_MAX_S = 600.0  # longest lag of a look-up behind a deletion that is allowed for

SETTLED_MIN = 1_000  # ids that a session settles before the share of refused ones means anything

ALL_REFUSED_MIN = 10  # so many ids in a row, each refused with one code: the cause is not the ids

# Absent by the answer alone, where the API has no look-ups: a wrong path gets the same 404.
ABSENT_FIRST = 20  # so many absent ids, and none that is done, halt the run
ABSENT_SHARE_AFTER = 200  # settled ids, after which more than half of them absent halt the run


_NUMBER_OR_SHARE = re.compile(r"([0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)|([0-9]+(?:\.[0-9]+)?)%")


def number_or_share(text: str) -> int | Fraction:
    """Read `100` or `1,000` as a number, `1%` or `0.5%` as a share from 0 to 1. Raises ValueError."""
    found = _NUMBER_OR_SHARE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    if found[1] is not None:
        return int(found[1].replace(",", ""))
    share = Fraction(found[2]) / 100
    if share > 1:
        raise ValueError(text)
    return share


def too_many_refused(most: int | Fraction, refused: int, settled: int) -> bool:
    """Whether a session must halt (--max-refused). most: a number of ids, or a share of what it settled."""
    if isinstance(most, int):
        return refused > most
    return settled >= SETTLED_MIN and refused > most * settled


def refused_words(most: int | Fraction, refused: int, settled: int, *, may_exclude: bool = True) -> str:
    """Why a session halts for --max-refused, and what to do. may_exclude: whether the command has --exclude.

    The other arguments: as of `too_many_refused`.
    """
    limit = f"{most:,}" if isinstance(most, int) else f"{float(most * 100):g} %"
    leave_out = "leave these ids out (--exclude), or " if may_exclude else ""
    return (
        f"of the {settled:,} ids that this session has done, {refused:,} were refused, and --max-refused allows "
        f"{limit}. Look at the reasons first; then {leave_out}allow more (--max-refused)"
    )


def backoff_s(attempt: int, chance: float) -> float:
    """Seconds to wait before attempt number `attempt` + 1. `chance` is uniform in [0, 1)."""
    return chance * min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (attempt - 1))


def look_again_s(again: int) -> float:
    """Seconds to wait before further look-up number `again` (from 1); 0 for the first look-up of all."""
    return LOOK_AGAIN_FIRST_S * 2.0 ** (again - 1) if again else 0.0


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


def sample_suffices(asked: int, found: int) -> bool:
    """Whether enough of the sampled ids exist. Fewer than half mean a wrong pool, id type or column."""
    return found >= asked * SAMPLE_SHARE_MIN


class CircuitBreaker:
    """Closed: every request passes. Open: one probe an interval passes, until one is answered."""

    def __init__(self) -> None:
        self._failures: deque[bool] = deque(maxlen=BREAKER_WINDOW)
        self._probe_at: float | None = None

    @property
    def open(self) -> bool:
        """Whether requests are held back."""
        return self._probe_at is not None

    def wait_s(self, now: float) -> float:
        """Seconds until the next request may pass; 0 when one may pass now."""
        return 0.0 if self._probe_at is None else max(0.0, self._probe_at - now)

    def take(self, now: float) -> bool:
        """Whether one request may pass. While the breaker is open, that request is the probe of this interval."""
        if self.wait_s(now) > 0:
            return False
        if self._probe_at is not None:
            self._probe_at = now + PROBE_S
        return True

    def record(self, now: float, *, failed: bool) -> None:
        """Record whether a request failed. A request that was answered closes an open breaker: the server is back."""
        if not failed and self._probe_at is not None:
            self._probe_at = None
            self._failures.clear()
        self._failures.append(failed)
        if failed and self._probe_at is None and sum(self._failures) >= BREAKER_WINDOW * BREAKER_SHARE:
            self._probe_at = now + PROBE_S
