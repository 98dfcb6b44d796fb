"""The circuit breaker: while most requests fail, one request an interval asks whether the server is back. Pure.

Source: Nygard, "Release It!"; the numbers are our choice.
"""

from __future__ import annotations

from collections import deque

# Half of the last 20 requests failing for a transient reason opens it.
BREAKER_WINDOW = 20
BREAKER_SHARE = 0.5
PROBE_S = 5.0


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
