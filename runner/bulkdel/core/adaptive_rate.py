"""The adaptive rate: halved by a 429 or by failures, then climbing back (AIMD). Pure; the clock comes in.

All times are seconds of one monotonic clock. Sources: AIMD as in TCP; the SRE book on overload ("retries amplify"); the
numbers are our choice.
"""

from __future__ import annotations

import enum
from collections import deque

FAILURE_WINDOW = 100
FAILURE_SHARE_MAX = 0.1  # more than a tenth of the last 100 requests failing halves the rate, as a 429 does

HALVE_EVERY_S = 1.0  # at most one halving a second: the responses to one burst are one signal

CLIMB_SHARE = 0.01  # of the ceiling, each second
FLOOR_SHARE = 1 / 16  # of the ceiling
FLOOR_MIN = 1.0  # requests a second

# Without a ceiling. UNMEASURED: the assumed rate of a run before its first whole second (the default of --rate). CALM_S
# after the last 429, or the last halving by --slow-while, the rate grows by GROWTH a second. At UNLIMITED_FROM, the
# highest --rate, it is unlimited again.
UNMEASURED = 50.0
CALM_S = 10.0
GROWTH = 1.1
UNLIMITED_FROM = 100_000.0
GROWING_MAX_S = 500  # seconds of growth that are counted: far beyond UNLIMITED_FROM, and its power does not overflow


class Slowed(enum.StrEnum):
    """Why the rate is below the configured one."""

    THROTTLED = "earlier_429"
    FAILURES = "earlier_failures"
    SLOW_WHILE = "slow-while"  # what --slow-while asks was slow, or failed


class AdaptiveRate:
    """Requests a second that may be sent now.

    ceiling: requests a second as configured. 0 is unlimited: then the first trouble sets the rate to half of that of
    the last whole second, and it rises again without a ceiling.
    """

    def __init__(self, ceiling: float) -> None:
        self._begin(ceiling, ceiling, 0.0)
        self._halved_at = float("-inf")
        self._throttled_at = float("-inf")  # the last 429, or the last halving by --slow-while
        self._slowed = Slowed.THROTTLED
        self._failures: deque[bool] = deque(maxlen=FAILURE_WINDOW)
        self._second_at: float | None = None  # when the second that is being counted began; None after trouble
        self._count = 0
        self._measured: int | None = None  # requests of the last whole second since the last trouble

    def set_ceiling(self, ceiling: float, now: float) -> None:
        """Go on with this ceiling; 0 is unlimited. A rate that trouble has lowered climbs on from where it is."""
        if self.slowed(now) is None:
            self._begin(ceiling, ceiling, now)
            return
        rate = self.rate(now)
        self._begin(ceiling, min(rate, ceiling or rate), now)
        if not ceiling:
            self._step, self._floor = CLIMB_SHARE * rate, FLOOR_MIN

    def _begin(self, ceiling: float, base: float, now: float) -> None:
        """Climb from `base` to the ceiling from now on."""
        self._ceiling, self._base = ceiling, base
        self._base_at = now
        self._step = CLIMB_SHARE * ceiling
        self._floor = min(ceiling, max(FLOOR_SHARE * ceiling, FLOOR_MIN))

    def rate(self, now: float) -> float:
        """Requests a second from now on; 0 is unlimited. Changes in steps of a second: each step is a new bucket."""
        whole_s = int(now - self._base_at)
        if self._ceiling:
            return min(self._ceiling, self._base + whole_s * self._step)
        if not self._base:
            return 0.0
        steady_s = int(min(whole_s, max(0.0, self._throttled_at + CALM_S - self._base_at)))
        growing_s = min(whole_s - steady_s, GROWING_MAX_S)
        grown = (self._base + steady_s * self._step) * GROWTH**growing_s
        return grown if grown < UNLIMITED_FROM else 0.0

    def slowed(self, now: float) -> Slowed | None:
        """Why the rate is below the configured one; None when it is not."""
        return None if self.rate(now) == self._ceiling else self._slowed

    def sent(self, now: float) -> None:
        """Count a request, to measure the rate of an unlimited run."""
        if self._second_at is None or now - self._second_at >= 2:  # noqa: PLR2004 - a whole second without a request
            self._second_at, self._count = now, 0
        elif now - self._second_at >= 1:
            self._measured = self._count
            self._second_at, self._count = self._second_at + 1, 0
        self._count += 1

    def throttled(self, now: float) -> None:
        """Record a 429."""
        self._halve(now, Slowed.THROTTLED)
        self._throttled_at = now

    def slow(self, now: float) -> None:
        """Halve the rate: what --slow-while asks was slow, or failed."""
        self._halve(now, Slowed.SLOW_WHILE)
        self._throttled_at = now

    def record(self, now: float, *, failed: bool) -> None:
        """Record whether a request failed. A 429 is no failure: see `throttled`."""
        self._failures.append(failed)
        if failed and sum(self._failures) > FAILURE_WINDOW * FAILURE_SHARE_MAX:
            self._halve(now, Slowed.FAILURES)

    def _halve(self, now: float, why: Slowed) -> None:
        if now - self._halved_at < HALVE_EVERY_S:
            return
        before = self.rate(now)
        if not self._ceiling:
            # The rate may have grown beyond what is sent: half of it would then slow nothing down.
            measured = self._measured or before or UNMEASURED
            before = min(before or measured, measured)
            self._step = CLIMB_SHARE * before
            self._floor = max(FLOOR_MIN, self._floor, FLOOR_SHARE * before)
        self._base = max(self._floor, before / 2)
        self._base_at = self._halved_at = now
        self._slowed = why
        self._failures.clear()
        self._second_at = self._measured = None  # the rest of this second is not a whole one
