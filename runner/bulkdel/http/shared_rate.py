"""The rate of a process that shares it with others: a share that the keeper grants, for a few seconds at a time.

Owns the worker's side of the protocol of `core.rate_shares`: when to ask, what to ask for, and that nothing is sent
without a share. The keeper's side is `fleet.rate_keeper`. `SharedRate` takes the place of `AdaptiveRate` in a client.

Over a Unix socket, one JSON object a line. The worker sends `{"group":…}` once, then asks (`core.rate_shares.Ask`), and
`{"end":true}` when it will send nothing more. The keeper sends shares (`core.rate_shares.Share`), as an answer or
because one has changed. A rate of 0 is unlimited. `wants` is null when the share limits the worker.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import orjson

from bulkdel.core.adaptive_rate import Slowed
from bulkdel.core.rate_shares import LASTS_S, Ask
from bulkdel.core.rate_use import SPARE_LEAST, Use
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.tasks import beside
from bulkdel.times import since_boot

ADDRESS = "_BULKDEL_RATE_KEEPER"
"""The environment variable by which a parent tells its child process where the keeper is (`KeeperAddress.text`). It is
no option: a process that is given one sends nothing without the keeper."""

RENEW_S = LASTS_S / 3
"""Seconds after which a share is asked for again."""

LOOK_S = 0.1
"""Seconds between two looks at whether the share limits this process now, so that it can use more."""

WINDOW_REQUESTS, WINDOW_MIN_S, WINDOW_MAX_S = 10, 1.0, 3.0
"""What this process uses is measured over the time of so many requests, within these bounds."""

CONNECT_AGAIN_S = 0.25
"""Seconds before the keeper is connected to again."""


class KeeperAddress(NamedTuple):
    """The keeper, and the group of a process. path: of the keeper's Unix socket. group: its processes share a rate."""

    path: str
    group: str

    @property
    def text(self) -> str:
        """For the environment of a child process."""
        return orjson.dumps([*self]).decode()

    @classmethod
    def of(cls, text: str) -> KeeperAddress:
        """Read `text`."""
        return cls(*orjson.loads(text))


class SharedRate:
    """Requests a second that this process may send: its share, and never more than its own limit.

    A 429 and failures are reported to the keeper, which lowers the rate of all. See `AdaptiveRate` for the methods.
    """

    def __init__(self, rate_limiter: RateLimiter, own: float, clock: Callable[[], float] = since_boot) -> None:
        """Take the limiter, which lets nothing through until there is a share. own: the limit of --rate."""
        self._rate_limiter = rate_limiter
        self._own = own
        self._clock = clock
        self._share = math.inf
        self._serial = 0
        self._slowed: Slowed | None = None
        self._number = 0
        self._asked_at: dict[int, float] = {}
        self._wants = math.inf
        self._window_began, self._used_before = clock(), Use()
        self._sent = self._answered = self._failed = 0
        self._throttled_told = 0  # of the 429 that this process got
        self._slow = False
        self._news = asyncio.Event()
        rate_limiter.let_until(-math.inf)

    def rate(self, _: float) -> float:
        """Requests a second from now on; 0 is unlimited."""
        rate = min(self._share, self._own or math.inf)
        return 0.0 if math.isinf(rate) else rate

    def slowed(self, _: float) -> Slowed | None:
        """Why the rate of the group is below the configured one; None when it is not."""
        return self._slowed

    def set_ceiling(self, ceiling: float, _: float) -> None:
        """Send no more than this from now on; 0 is no limit of its own."""
        self._own = ceiling
        self._wants = math.inf
        self._news.set()

    def sent(self, _: float) -> None:
        """Count a request."""
        self._sent += 1

    def record(self, _: float, *, failed: bool) -> None:
        """Count a response, or its lack."""
        self._answered += 1
        self._failed += failed

    def throttled(self, _: float) -> None:
        """Report a 429 at once. The caller pauses the limiter, which is what is reported: also after a sign-in."""
        self._news.set()

    def slow(self, _: float) -> None:
        """Report that --slow-while asks to slow down, and halve the share until the keeper has answered."""
        self._slow = True
        self._share /= 2
        self._slowed = Slowed.SLOW_WHILE
        self._news.set()

    async def keep(self, address: KeeperAddress) -> None:
        """Ask for shares until cancelled; then give the share back. Connects again when the connection is lost.

        A share lasts longer than its connection. A message may be lost with the connection; a lost 429 comes again.
        """
        while True:
            with suppress(OSError, EOFError):
                reader, writer = await asyncio.open_unix_connection(address.path)
                self._serial = 0  # the shares of another keeper have other numbers
                try:
                    writer.write(_line({"group": address.group}))
                    await _first_end(self._take_all(reader), self._ask_again(writer))
                except asyncio.CancelledError:
                    writer.write(_line({"end": True}))
                    raise
                finally:
                    writer.close()
                    with suppress(OSError):
                        await writer.wait_closed()
            await asyncio.sleep(CONNECT_AGAIN_S)

    async def _take_all(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            share = orjson.loads(line)
            before, self._serial = self._share, share["serial"]
            self._share, self._slowed = share["rate"] or math.inf, share["slowed"] and Slowed(share["slowed"])
            limiter = self._rate_limiter
            limiter.change_rate(self.rate(0.0))
            if self._share < before:
                self._news.set()  # only after this is said, another process gets what this one has lost
            limiter.join_pause(share["pause_s"])
            limiter.let_until(self._asked_at[share["asked"]] + LASTS_S)
            self._asked_at = {number: at for number, at in self._asked_at.items() if number >= share["asked"]}
        raise EOFError

    async def _ask_again(self, writer: asyncio.StreamWriter) -> None:
        """Ask every RENEW_S, when there is something to say, and as soon as the share limits this process."""
        while True:
            self._news.clear()
            began = self._asked_at[self._number] = self._ask(writer)
            await writer.drain()
            while not self._news.is_set() and self._clock() < began + RENEW_S:
                with suppress(TimeoutError):  # Python 3.11's wait_for would lose a cancellation that comes with it
                    async with asyncio.timeout(LOOK_S):
                        await self._news.wait()
                limited = math.isfinite(self._wants) and math.isinf(self._measured())
                if limited or self._rate_limiter.throttled > self._throttled_told:
                    break

    def _ask(self, writer: asyncio.StreamWriter) -> float:
        """Send an ask. Returns when it was begun."""
        at = self._clock()
        self._number += 1
        limiter, wants = self._rate_limiter, min(self._measured(), self._own or math.inf)
        throttled_s = limiter.paused_s if limiter.throttled > self._throttled_told else None
        ask = Ask(
            self._number, self._serial, wants, self._sent, self._answered, self._failed, throttled_s, slow=self._slow
        )
        self._sent = self._answered = self._failed = 0
        self._throttled_told, self._slow = limiter.throttled, False
        writer.write(_line({**ask._asdict(), "wants": None if math.isinf(wants) else wants}))
        return at

    def _measured(self) -> float:
        """Requests a second that this process can use; infinite when its share limits it."""
        limiter, now, rate = self._rate_limiter, self._clock(), self.rate(0.0)
        use, window_s = limiter.use, now - self._window_began
        if limiter.limits and not self._wants > SPARE_LEAST:  # it has used nothing, and wants to send now
            self._wants = math.inf
        ended = window_s >= max(WINDOW_MIN_S, min(WINDOW_MAX_S, rate and WINDOW_REQUESTS / rate))
        if ended and not limiter.paused_s:
            self._wants = use.since(self._used_before).wanted(window_s)
        if ended or limiter.paused_s:
            self._window_began, self._used_before = now, use
        return self._wants


@asynccontextmanager
async def sharing(
    address: KeeperAddress, rate_limiter: RateLimiter, own: float, clock: Callable[[], float] = since_boot
) -> AsyncIterator[SharedRate]:
    """Share the rate of a group until the block ends. Then nothing more may be sent: the share is given back."""
    shared = SharedRate(rate_limiter, own, clock)
    async with beside(shared.keep(address)):
        yield shared


async def _first_end(*steps: Coroutine[None, None, None]) -> None:
    """Run the steps until the first of them ends, and raise its error."""
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


def _line(values: object) -> bytes:
    return orjson.dumps(values) + b"\n"
