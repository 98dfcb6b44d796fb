"""How the server is doing, and what follows: the breaker, the adaptive rate, the guard on refusals. The clock comes in.

All times are seconds of one monotonic clock. Sources: Nygard's circuit breaker; AIMD as in TCP; the SRE book on
overload ("retries amplify"); the numbers are design.md's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

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


class Pace:
    """The adaptive rate: halved by trouble, climbing back to the ceiling.

    ceiling: requests a second as configured; 0 is unlimited until the first trouble, whose measured rate is the ceiling
    from then on.
    """

    def __init__(self, ceiling: float) -> None:
        self._ceiling = ceiling
        self._base = ceiling
        self._base_at = 0.0
        self._halved_at = float("-inf")
        self._failures: deque[bool] = deque(maxlen=RATE_WINDOW)
        self._second = 0
        self._counts = (0, 0)  # requests of the last whole second, and of this one

    def rate(self, now: float) -> float:
        """Requests a second from now on. Changes in steps of a second: each change is a new bucket for the limiter."""
        if self._base >= self._ceiling:
            return self._ceiling
        climbed = int(now - self._base_at) * CLIMB_SHARE * self._ceiling
        return min(self._ceiling, self._base + climbed)

    def sent(self, now: float) -> None:
        """Count a request, for the ceiling of an unlimited run."""
        second = int(now)
        if second != self._second:
            self._counts = (self._counts[1] if second == self._second + 1 else 0, 0)
            self._second = second
        self._counts = (self._counts[0], self._counts[1] + 1)

    def throttled(self, now: float) -> None:
        """A 429 came."""
        self._halve(now)

    def record(self, now: float, *, failed: bool) -> None:
        """Take note of an answer (or of none)."""
        self._failures.append(failed)
        if failed and sum(self._failures) > RATE_WINDOW * RATE_SHARE:
            self._halve(now)

    def _halve(self, now: float) -> None:
        if now - self._halved_at < HALVE_S:
            return
        if not self._ceiling:
            self._ceiling = self._base = float(max(*self._counts, 1))
        floor = min(self._ceiling, max(self._ceiling * FLOOR_SHARE, FLOOR_MIN))
        self._base = max(floor, self.rate(now) / 2)
        self._base_at = self._halved_at = now
        self._failures.clear()


@dataclass(frozen=True, slots=True)
class RefusedMax:
    """--max-refused: a number of ids, or a share of what the session settled."""

    ids: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> RefusedMax:
        """Read `100` or `1%`. Raises ValueError."""
        bare = text.strip()
        if bare.endswith("%"):
            share = float(bare[:-1]) / 100
            if not 0 <= share <= 1:
                raise ValueError(text)
            return cls(share=share)
        if not (bare.isascii() and bare.isdigit()):
            raise ValueError(text)
        return cls(ids=int(bare))

    def exceeded(self, refused: int, settled: int) -> bool:
        """Whether so many refused of so many settled must halt the run."""
        if settled < REFUSED_AFTER and self.ids is None:
            return False
        return refused > (self.ids if self.ids is not None else (self.share or 0.0) * settled)
