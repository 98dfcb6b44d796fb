"""The rate limiter: a token bucket for the rate, a pause after a 429, and a hold. Every request passes here.

Where several processes share one rate, the limiter also ends with the share of this process (`shared_rate`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from aiolimiter import AsyncLimiter

from bulkdel.times import since_boot

BURST_SHARE = 0.01  # room in the bucket beyond one request, as a share of the rate: what a late wake-up may catch up

CHANGE_S = 0.25
"""A changed rate holds after so many seconds at the latest, also while a request waits in the bucket of a low rate."""


class RateLimiter:
    """Lets requests through, one by one, at most `rate` a second; 0 is unlimited.

    In any window W at most rate * W + 1 + 2 * BURST_SHARE * rate pass, the first second included.
    A pass is for sending now. A request that cannot leave (its token went stale, say) drops its pass and takes another
    one later: passes that are saved up would leave in one burst.

    taken: requests let through so far.
    """

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        share_clock: Callable[[], float] = since_boot,
    ) -> None:
        """Begin with a rate. share_clock: for the end of a share; it has to count the time of a sleeping machine."""
        self._clock = clock
        self._share_clock = share_clock
        self._share_until = float("inf")
        self._renewed = asyncio.Event()
        self._limited_since: float | None = None  # since when a request waits for the bucket or a share
        self._limited_before_s = 0.0  # how long those have waited that are through
        self._open_at = float("-inf")  # when the latest pause ends
        self._held_at: float | None = None  # when the hold began; None without a hold
        self._held_before_s = 0.0  # how long the holds lasted that have ended
        self._released = asyncio.Event()
        self._bucket: AsyncLimiter | None = None  # None: unlimited, or not made yet
        self._bucket_rate = 0.0
        self._changes = 0
        # One waiter at a time: aiolimiter wakes a crowd one by one, each late by a loop turn, and falls below the rate.
        self._turn = asyncio.Lock()
        self.taken = 0
        self.set_rate(rate)

    @property
    def rate(self) -> float:
        """Requests a second; 0 is unlimited."""
        return self._rate

    @property
    def paused_s(self) -> float:
        """Seconds until the pause ends; 0 without a pause."""
        return max(0.0, self._open_at - self._clock())

    @property
    def held_s(self) -> float:
        """Seconds that this limiter was held so far, in all."""
        return self._held_before_s + (0.0 if self._held_at is None else self._clock() - self._held_at)

    @property
    def limited_s(self) -> float:
        """Seconds in which a request waited for its place in the bucket, or for a share, so far and in all."""
        return self._limited_before_s + (0.0 if self._limited_since is None else self._clock() - self._limited_since)

    @property
    def limits(self) -> bool:
        """Whether a request waits for its place in the bucket, or for a share."""
        return self._limited_since is not None

    @property
    def without_share(self) -> bool:
        """Whether nothing may be sent because the share of this process has ended."""
        return self._share_clock() >= self._share_until

    def let_until(self, at: float) -> None:
        """Let requests through until `at`, by `share_clock`, unless this is called again: a share lasts so long."""
        self._share_until = at
        self._renewed.set()
        self._renewed.clear()

    def pause(self, seconds: float) -> None:
        """Let nothing through for so long: a 429 arrived. An earlier pause that ends later stays in force."""
        self._open_at = max(self._open_at, self._clock() + seconds)

    def hold(self) -> None:
        """Let nothing through until `release`."""
        if self._held_at is None:
            self._held_at = self._clock()
            self._released.clear()

    def release(self) -> None:
        """End the hold."""
        self._held_before_s, self._held_at = self.held_s, None
        self._released.set()

    def set_rate(self, rate: float) -> None:
        """Go on at another rate. A request that waits in the bucket still leaves at the old one."""
        if rate < 0:
            raise ValueError(f"not a rate: {rate}")
        self._rate = rate

    def change_rate(self, rate: float) -> None:
        """Go on at another rate, which also holds for a request that waits in the bucket.

        For the changes that a person makes: were it called every second, a rate below one would let nothing through.
        """
        self.set_rate(rate)
        self._changes += 1

    async def acquire(self) -> None:
        """Wait until one request may leave. May be cancelled at any moment; a cancelled call has taken nothing."""
        async with self._turn:
            while True:
                while self._held_at is not None:
                    await self._released.wait()
                while (paused_s := self._open_at - self._clock()) > 0:  # noqa: ASYNC110 - another 429 may move the end
                    await asyncio.sleep(paused_s)
                if self._rate and self._bucket is None:
                    await self._change_bucket()
                self._limited_since = self._clock()
                try:
                    while self.without_share:
                        await self._renewed.wait()
                    passed = self._bucket is None or await self._pass_bucket(self._bucket)
                finally:
                    self._limited_before_s, self._limited_since = self.limited_s, None
                if self._rate != self._bucket_rate:  # a changed rate holds from here on: no request waits in the bucket
                    await self._change_bucket()
                # A pause or a hold may have begun meanwhile, or the share has ended. The place in the bucket is then
                # wasted, which only lowers the rate; kept until it ends, it would be a request beyond the rate.
                if passed and self._open_at <= self._clock() and self._held_at is None and not self.without_share:
                    break
            self.taken += 1

    async def _pass_bucket(self, bucket: AsyncLimiter) -> bool:
        """Wait for a place in the bucket. False when the rate was changed before there was one."""
        if self._rate * CHANGE_S >= 1:  # the wait is short
            await bucket.acquire()
            return True
        changes = self._changes
        while self._changes == changes:
            with suppress(TimeoutError):
                await asyncio.wait_for(bucket.acquire(), CHANGE_S)
                return True
        return False

    async def _change_bucket(self) -> None:
        """Make the bucket for the present rate: aiolimiter 1.3.0 ignores a changed `max_rate`.

        It begins full, so neither the start nor a change lets a burst through. At the full rate the old bucket is full
        too right after a request has left, so a change costs nothing.
        """
        self._bucket, self._bucket_rate = None, self._rate
        if self._rate:
            size = 1 + BURST_SHARE * self._rate
            self._bucket = AsyncLimiter(size, size / self._rate)
            await self._bucket.acquire(size)  # an empty bucket has the room, so this does not wait
