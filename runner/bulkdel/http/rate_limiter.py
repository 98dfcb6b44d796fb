"""The rate limiter: a token bucket for the rate, a pause after a 429, and a hold. Every request passes here.

Where several processes share one rate, the limiter also ends with the share of this process (`shared_rate`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiolimiter import AsyncLimiter

from bulkdel.core.rate_use import Use
from bulkdel.times import since_boot

BURST_SHARE = 0.01  # room in the bucket beyond one request, as a share of the rate: what a late wake-up may catch up


class RateLimiter:
    """Lets requests through, one by one, at most `rate` a second; 0 is unlimited.

    In any window W at most rate * W + 1 + 2 * BURST_SHARE * rate pass, the first second included.
    A pass is for sending now. A request that cannot leave (its token went stale, say) drops its pass and takes another
    one later: passes that are saved up would leave in one burst.

    taken: requests let through so far. throttled: how many 429 this process got.
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
        self._waiting = self._on_wire = 0  # requests
        self._limits = False  # whether the first of those that wait does so for the bucket or for a share
        self._counted_at = clock()
        self._waited_s = self._on_wire_s = 0.0
        self._open_at = float("-inf")  # when the latest pause ends
        self._held_at: float | None = None  # when the hold began; None without a hold
        self._held_before_s = 0.0  # how long the holds lasted that have ended
        self._released = asyncio.Event()
        self._bucket: AsyncLimiter | None = None  # None: unlimited, or not made yet
        self._bucket_rate = 0.0  # at which the next request earns its place
        self._passing: asyncio.Task[None] | None = None  # of the request that waits in the bucket
        self._changed = False  # whether the bucket has an earlier rate, and must not be waited in any more
        # The part of a place in the bucket that the next request has earned, and until when this is counted.
        self._earned, self._earned_until = 0.0, clock()
        # One waiter at a time: aiolimiter wakes a crowd one by one, each late by a loop turn, and falls below the rate.
        self._turn = asyncio.Lock()
        self.taken = self.throttled = 0
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
    def use(self) -> Use:
        """What the requests did so far."""
        self._count()
        return Use(self.taken, self._waited_s, self._on_wire_s)

    @property
    def limits(self) -> bool:
        """Whether a request waits for its place in the bucket, or for a share."""
        return self._limits

    @property
    def without_share(self) -> bool:
        """Whether nothing may be sent because the share of this process has ended."""
        return self._share_clock() >= self._share_until

    @contextmanager
    def on_wire(self) -> Iterator[None]:
        """Count a request that was let through as being on the wire, until the block ends."""
        self._count(on_wire=1)
        try:
            yield
        finally:
            self._count(on_wire=-1)

    def let_until(self, at: float) -> None:
        """Let requests through until `at`, by `share_clock`, unless this is called again: a share lasts so long."""
        self._share_until = at
        self._renewed.set()
        self._renewed.clear()

    def pause(self, seconds: float) -> None:
        """Let nothing through for so long: a 429 arrived. An earlier pause that ends later stays in force."""
        self.throttled += 1
        self.join_pause(seconds)

    def join_pause(self, seconds: float) -> None:
        """Let nothing through for so long: a 429 arrived at another process that shares the rate."""
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
        """Go on at another rate at once, also for a request that waits in the bucket. It keeps what it has earned."""
        if rate == self._rate == self._bucket_rate:
            return
        self._earn()
        self.set_rate(rate)
        self._bucket_rate, self._changed = rate, True
        if self._passing is not None:
            self._passing.cancel()

    async def acquire(self) -> None:
        """Wait until one request may leave. May be cancelled at any moment; a cancelled call has taken nothing."""
        self._count(waiting=1)
        try:
            async with self._turn:
                await self._acquire()
        finally:
            self._count(waiting=-1)
        self.taken += 1

    async def _acquire(self) -> None:
        while True:
            while self._held_at is not None:
                await self._released.wait()
            while (paused_s := self._open_at - self._clock()) > 0:  # noqa: ASYNC110 - another 429 may move the end
                await asyncio.sleep(paused_s)
            self._count()
            self._limits = True
            try:
                while self.without_share:
                    await self._renewed.wait()
                if self._changed or (self._rate and self._bucket is None):
                    await self._change_bucket()
                passed = self._bucket is None or await self._pass_bucket(self._bucket)
            finally:
                self._count()
                self._limits = False
            if self._rate != self._bucket_rate:  # a changed rate holds from here on: no request waits in the bucket
                await self._change_bucket()
            # A pause or a hold may have begun meanwhile, or the share has ended. The place in the bucket is then
            # wasted, which only lowers the rate; kept until it ends, it would be a request beyond the rate.
            if passed and self._open_at <= self._clock() and self._held_at is None and not self.without_share:
                return

    def _count(self, *, waiting: int = 0, on_wire: int = 0) -> None:
        """Add up the time until now. waiting, on_wire: how many requests more there are from now on."""
        now = self._clock()
        passed_s, self._counted_at = now - self._counted_at, now
        self._waited_s += passed_s * self._waiting * self._limits
        self._on_wire_s += passed_s * self._on_wire
        self._waiting += waiting
        self._on_wire += on_wire

    async def _pass_bucket(self, bucket: AsyncLimiter) -> bool:
        """Wait for a place in the bucket. False when the rate was changed before there was one."""
        self._passing = passing = asyncio.create_task(bucket.acquire())
        try:
            await asyncio.wait({passing})
        finally:
            passing.cancel()
            self._passing = None
        if passing.cancelled():
            return False
        passing.result()
        self._earned, self._earned_until = 0.0, self._clock()
        return True

    def _earn(self) -> None:
        """Count what the next request has earned until now, also while nothing may leave: at most one place."""
        now = self._clock()
        self._earned = min(1.0, self._earned + (now - self._earned_until) * self._bucket_rate)
        self._earned_until = now

    async def _change_bucket(self) -> None:
        """Make the bucket for the present rate: aiolimiter 1.3.0 ignores a changed `max_rate`.

        It begins full but for what the next request has earned: neither the start nor a change lets a burst through.
        At the full rate the old bucket is full too right after a request has left, so a change costs nothing.
        """
        self._earn()
        self._bucket, self._bucket_rate, self._changed = None, self._rate, False
        if not self._rate:
            self._earned = 0.0
        else:
            size = 1 + BURST_SHARE * self._rate
            self._bucket = AsyncLimiter(size, size / self._rate)
            await self._bucket.acquire(size - self._earned)  # an empty bucket has the room, so this does not wait
