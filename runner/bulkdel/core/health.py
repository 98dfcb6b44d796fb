"""How the server is doing, and what follows: the breaker, the adaptive rate, the guard on refusals. The clock comes in.

All times are seconds of one monotonic clock. Sources: Nygard's circuit breaker; AIMD as in TCP; the SRE book on
overload ("retries amplify"); the numbers are design.md's.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass

from bulkdel.core.retry import number_or_share

BREAKER_WINDOW = 20
BREAKER_SHARE = 0.5
"""Half of the last 20 requests failing for a transient reason opens the breaker."""

PROBE_S = 5.0
"""While it is open, one request an interval asks whether the server is back."""

RATE_WINDOW = 100
RATE_SHARE = 0.1
"""More than a tenth of the last 100 requests failing halves the rate, as a 429 does."""

HALVE_S = 1.0
"""At most one halving a second: the answers to one burst are one message."""

CLIMB_SHARE = 0.01
FLOOR_SHARE = 1 / 16
FLOOR_MIN = 1.0
"""It climbs back by 1 % of the ceiling a second; never below 1/16 of the ceiling, nor below one a second."""

UNMEASURED = 50.0
"""Requests a second that an unlimited run is taken to have had before its first whole second: the default of --rate."""

CALM_S = 10.0
GROWTH = 1.1
UNLIMITED_FROM = 100_000.0
"""Without a ceiling the rate grows by 10 % a second from 10 s after the last 429 on. From 100,000 a second on, the
highest --rate there is, it is unlimited again."""

REFUSED_AFTER = 1_000
"""Ids that a session settles before the share of refused ones means anything."""


class Breaker:
    """Closed: everything passes. Open: one probe an interval, until one is answered."""

    def __init__(self) -> None:
        self._failures: deque[bool] = deque(maxlen=BREAKER_WINDOW)
        self._probe_at: float | None = None

    @property
    def open(self) -> bool:
        """Whether requests are held back."""
        return self._probe_at is not None

    def wait_s(self, now: float) -> float:
        """How long to wait at least before asking again whether one may pass; 0 when it may."""
        return 0.0 if self._probe_at is None else max(0.0, self._probe_at - now)

    def take(self, now: float) -> bool:
        """Let one request pass, or not. While open, whoever is let through is the probe of this interval."""
        if self.wait_s(now) > 0:
            return False
        if self._probe_at is not None:
            self._probe_at = now + PROBE_S
        return True

    def record(self, now: float, *, failed: bool) -> None:
        """Take note of an answer (or of none). Any answer closes an open breaker: the server is back."""
        if not failed and self._probe_at is not None:
            self._probe_at = None
            self._failures.clear()
        self._failures.append(failed)
        if failed and self._probe_at is None and sum(self._failures) >= BREAKER_WINDOW * BREAKER_SHARE:
            self._probe_at = now + PROBE_S


class Slowed(enum.StrEnum):
    """Why the rate is below the configured one."""

    THROTTLED = "earlier_429"
    FAILURES = "earlier_failures"


class AdaptiveRate:
    """The adaptive rate: halved by a 429 or by failures, then climbing back (AIMD).

    ceiling: requests a second as configured. 0 is unlimited: then the first trouble sets the rate to half of that of
    the last whole second, and the way up has no end.
    """

    def __init__(self, ceiling: float) -> None:
        self._ceiling = ceiling
        self._step = CLIMB_SHARE * ceiling
        self._floor = min(ceiling, max(FLOOR_SHARE * ceiling, FLOOR_MIN))
        self._base = ceiling
        self._base_at = 0.0
        self._halved_at = float("-inf")
        self._throttled_at = float("-inf")
        self._slowed = Slowed.THROTTLED
        self._failures: deque[bool] = deque(maxlen=RATE_WINDOW)
        self._second_at: float | None = None  # when the second that is being counted began; None after trouble
        self._count = 0
        self._measured: int | None = None  # requests of the last whole second since the last trouble

    def rate(self, now: float) -> float:
        """Requests a second from now on; 0 is unlimited. Changes in steps of a second: each is a new bucket."""
        whole_s = int(now - self._base_at)
        if self._ceiling:
            return min(self._ceiling, self._base + whole_s * self._step)
        if not self._base:
            return 0.0
        steady_s = int(min(whole_s, max(0.0, self._throttled_at + CALM_S - self._base_at)))
        growing_s = min(whole_s - steady_s, 500)  # far beyond any limit, and no overflow after days
        grown = (self._base + steady_s * self._step) * GROWTH**growing_s
        return grown if grown < UNLIMITED_FROM else 0.0

    def slowed(self, now: float) -> Slowed | None:
        """Why the rate is below the configured one; None when it is not."""
        return None if self.rate(now) == self._ceiling else self._slowed

    def sent(self, now: float) -> None:
        """Count a request, for the measured rate of an unlimited run."""
        if self._second_at is None or now - self._second_at >= 2:  # noqa: PLR2004 - a whole second without a request
            self._second_at, self._count = now, 0
        elif now - self._second_at >= 1:
            self._measured = self._count
            self._second_at, self._count = self._second_at + 1, 0
        self._count += 1

    def throttled(self, now: float) -> None:
        """A 429 came."""
        self._halve(now, Slowed.THROTTLED)
        self._throttled_at = now

    def record(self, now: float, *, failed: bool) -> None:
        """Take note of an answer (or of none)."""
        self._failures.append(failed)
        if failed and sum(self._failures) > RATE_WINDOW * RATE_SHARE:
            self._halve(now, Slowed.FAILURES)

    def _halve(self, now: float, why: Slowed) -> None:
        if now - self._halved_at < HALVE_S:
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
        self._second_at = self._measured = None  # what is left of this second is not a whole one


@dataclass(frozen=True, slots=True)
class RefusedMax:
    """--max-refused: a number of ids, or a share of what the session settled."""

    ids: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> RefusedMax:
        """Read `100` or `1%`. Raises ValueError."""
        most = number_or_share(text.strip())
        return cls(ids=most) if isinstance(most, int) else cls(share=float(most))

    def exceeded(self, refused: int, settled: int) -> bool:
        """Whether so many refused of so many settled must halt the run."""
        if settled < REFUSED_AFTER and self.ids is None:
            return False
        return refused > (self.ids if self.ids is not None else (self.share or 0.0) * settled)
