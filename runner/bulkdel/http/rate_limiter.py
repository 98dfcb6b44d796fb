"""The pace of all requests together: the limiter and the gate. Knows nothing of what is sent, or why it was refused.

The limiter holds the rate, the gate holds everybody back after a 429. Every request passes here: retries, look-ups and
sign-ins too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import ceil

from aiolimiter import AsyncLimiter

BURST_SHARE = 0.01
"""Room in the bucket beyond one request, as a share of the rate: what a late wake-up of 10 ms may catch up (design)."""

SPARE_STEPS = 10
"""Halvings when asking a bucket how much room it has: exact to a thousandth of its size."""


class RateLimiter:
    """Lets requests through, one by one, at most `rate` a second; 0 is unlimited.

    In any window W at most rate * W + 1 + BURST_SHARE * rate pass, the first second included.
    A pass is for sending now. Whoever cannot (the token went stale, say) drops it and takes another one later: passes
    that are saved up would leave in one burst.
    """

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate = rate
        self._open_at = float("-inf")
        self._bucket: AsyncLimiter | None = None
        self._bucket_rate = 0.0
        # One waiter at a time: aiolimiter wakes a crowd one by one, each late by a loop turn, and falls below the rate.
        self._turn = asyncio.Lock()
        self._queued = 0
        self.taken = 0
        """Requests let through so far."""
        self.set_rate(rate)

    @property
    def rate(self) -> float:
        """Requests a second; 0 is unlimited."""
        return self._rate

    @property
    def paused_s(self) -> float:
        """How long the gate stays closed from now on, seconds; 0 when it is open."""
        return max(0.0, self._open_at - self._clock())

    @property
    def waiting(self) -> str | None:
        """Why nothing goes out, for the progress bar; None while the gate is open."""
        return "throttled" if self.paused_s > 0 else None

    @property
    def slack_s(self) -> float:
        """About how long whoever comes now will have to wait, seconds; 0 without a limit."""
        return self._queued / self._rate if self._rate else 0.0

    def pause(self, seconds: float) -> None:
        """Close the gate for everybody: a 429 arrived. It never opens earlier than an older 429 wanted."""
        self._open_at = max(self._open_at, self._clock() + seconds)

    def set_rate(self, rate: float) -> None:
        """Go on at another rate. A request that waits already still leaves at the old one."""
        if rate < 0:
            raise ValueError(f"not a rate: {rate}")
        self._rate = rate

    async def acquire(self) -> None:
        """Wait until one request may leave. May be cancelled at any moment; a cancelled one has taken nothing."""
        if not self._rate and self.paused_s <= 0:
            self.taken += 1
            return
        self._queued += 1
        try:
            await self._acquire()
        finally:
            self._queued -= 1

    async def _acquire(self) -> None:
        async with self._turn:
            while True:
                if (left := self.paused_s) > 0:
                    await asyncio.sleep(left)
                    continue  # another 429 may have moved the end
                if (bucket := await self._current()) is None:
                    break
                while not bucket.has_capacity():  # noqa: ASYNC110 - it tells nobody
                    # One sleep until there is room; aiolimiter by itself wakes up several times on the way. Rounded up
                    # to a whole millisecond: the room in the bucket makes up for a late wake-up.
                    await asyncio.sleep(ceil(1000 * (1 - _spare(bucket)) / self._bucket_rate) / 1000)
                await bucket.acquire()
                # The gate may have closed meanwhile. What the bucket gave is then wasted, which only lowers the rate;
                # kept until the gate opens, it would be a request beyond the rate.
                if self.paused_s <= 0:
                    break
            self.taken += 1

    async def _current(self) -> AsyncLimiter | None:
        """The bucket for the present rate; None when unlimited. Made here because it belongs to the running loop.

        aiolimiter 1.3.0 ignores a changed `max_rate`, so another rate is another bucket. It starts with the room that
        the old one had left, and the first one full: no burst, neither at the start nor at a change, and nothing
        lost by changing (a full bucket at every change would cost up to a request each, 2 % at 50 a second).
        """
        if self._rate == self._bucket_rate:
            return self._bucket
        old, rate = self._bucket, self._rate
        self._bucket, self._bucket_rate = None, rate
        if rate:
            size = 1 + BURST_SHARE * rate
            self._bucket = AsyncLimiter(size, size / rate)
            # An empty bucket always has the room, so this never waits and cannot be cancelled half-way.
            await self._bucket.acquire(size - min(size, _spare(old)))
        return self._bucket


def _spare(bucket: AsyncLimiter | None) -> float:
    """How much room `bucket` has, at least; none when there is none."""
    low, high = 0.0, bucket.max_rate if bucket is not None else 0.0
    if bucket is None or bucket.has_capacity(high):
        return high
    for _ in range(SPARE_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if bucket.has_capacity(middle) else (low, middle)
    return low
