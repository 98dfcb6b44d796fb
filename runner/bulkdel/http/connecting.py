"""Opens the way to the server: transport, rate limiter, sign-in and client."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Protocol

from bulkdel.core.adaptive_rate import AdaptiveRate
from bulkdel.http.client import Client, Rate, Uptime
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.shared_rate import ADDRESS, KeeperAddress, sharing
from bulkdel.http.transport import HttpTransport, Transport, TransportOptions
from bulkdel.job import Target, job_faults
from bulkdel.times import since_boot

if TYPE_CHECKING:
    from bulkdel.settings import CommonSettings


class Connect(Protocol):
    """How the way to the server is opened: `connect`, or what a simulation passes in its place."""

    def __call__(
        self,
        target: Target,
        settings: CommonSettings,
        *,
        pool: str | None,
        may_send: Callable[[], bool] = lambda: True,
    ) -> AbstractAsyncContextManager[Client]:
        """Open it; see `connect`."""
        ...


@contextlib.asynccontextmanager
async def connect(
    target: Target,
    settings: CommonSettings,
    *,
    pool: str | None,
    may_send: Callable[[], bool] = lambda: True,
    transport: Transport | None = None,
    wall: Callable[[], float] = time.time,
    steady: Callable[[], float] = time.monotonic,
    boot: Callable[[], float] = since_boot,
    keeper: KeeperAddress | None = None,
) -> AsyncIterator[Client]:
    """Open the way to the server: transport, rate limiter, sign-in and client, closed together.

    pool: the one that every token must carry; None when it is not known yet.
    may_send: whether this process has the lease; see `Client`.
    transport: in the place of the network. wall, steady: the clocks, as in `Surroundings`. boot: the clock of a share.
    keeper: of the rate that this process shares with others; None when it shares no rate.

    Raises UsageError for a host, proxy or CA file that cannot be used.
    """
    async with contextlib.AsyncExitStack() as stack:
        rate_limiter = RateLimiter(settings.rate, clock=steady, share_clock=boot)
        rate: Rate = AdaptiveRate(settings.rate)
        if keeper is not None:  # entered first: the share is given back when nothing can be sent any more
            rate = await stack.enter_async_context(sharing(keeper, rate_limiter, settings.rate, boot))
        if transport is None:
            options = TransportOptions(target.host, settings.ca_file, settings.proxy, settings.timeout)

            def may_write() -> bool:
                # A process that was frozen may have lost its share since the limiter let the request through.
                return may_send() and not rate_limiter.without_share

            transport = await stack.enter_async_context(HttpTransport(options, may_send=may_write))
        uptime = Uptime(steady)
        auth = target.auth(transport, rate_limiter, pool=pool, patience_s=settings.patience, clock=uptime)
        client = Client(
            transport,
            rate_limiter,
            auth,
            target.pause_s,
            settings.patience,
            rate,
            now=wall,
            clock=uptime,
            may_send=may_send,
        )
        stack.callback(asyncio.create_task(uptime.tick()).cancel)
        stack.enter_context(job_faults())
        yield client


def connect_in(environ: Mapping[str, str]) -> Connect:
    """`connect` for a process with this environment: with the keeper that its parent has named."""
    text = environ.get(ADDRESS)
    return connect if text is None else partial(connect, keeper=KeeperAddress.of(text))
