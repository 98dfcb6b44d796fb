"""Opens the way to the server: transport, rate limiter, sign-in and client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from bulkdel.core.adaptive_rate import AdaptiveRate
from bulkdel.http.client import Client, Rate, Uptime
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.shared_rate import ADDRESS, KeeperAddress, sharing
from bulkdel.http.transport import HttpTransport, Transport, TransportOptions
from bulkdel.job import Target, job_faults
from bulkdel.world import WORLD, World

if TYPE_CHECKING:
    from bulkdel.settings import CommonSettings


@contextlib.asynccontextmanager
async def connect(
    target: Target,
    settings: CommonSettings,
    *,
    pool: str | None,
    may_send: Callable[[], bool] = lambda: True,
    world: World = WORLD,
    keeper: KeeperAddress | None = None,
) -> AsyncIterator[Client]:
    """Open the way to the server: transport, rate limiter, sign-in and client, closed together.

    pool: the one that every token must carry; None when it is not known yet.
    may_send: whether this process has the lease; see `Client`.
    keeper: of the rate that this process shares with others; None when it shares no rate.

    Raises UsageError for a host, proxy or CA file that cannot be used.
    """
    async with contextlib.AsyncExitStack() as stack:
        rate_limiter = RateLimiter(settings.rate, clock=world.steady, share_clock=world.boot)
        rate: Rate = AdaptiveRate(settings.rate)
        if keeper is not None:  # entered first: the share is given back when nothing can be sent any more
            rate = await stack.enter_async_context(sharing(keeper, rate_limiter, settings.rate, world.boot))
        options = TransportOptions(target.host, settings.ca_file, settings.proxy, settings.timeout)

        def may_write() -> bool:
            # A process that was frozen may have lost its share since the limiter let the request through.
            return may_send() and not rate_limiter.without_share

        opened: AbstractAsyncContextManager[Transport] = (world.open_transport or HttpTransport)(
            options, may_send=may_write
        )
        transport = await stack.enter_async_context(opened)
        uptime = Uptime(world.steady)
        auth = target.auth(transport, rate_limiter, pool=pool, patience_s=settings.patience, clock=uptime)
        client = Client(
            transport,
            rate_limiter,
            auth,
            target.pause_s,
            settings.patience,
            rate,
            now=world.wall,
            clock=uptime,
            may_send=may_send,
        )
        stack.callback(asyncio.create_task(uptime.tick()).cancel)
        stack.enter_context(job_faults())
        yield client


def keeper_in(environ: Mapping[str, str]) -> KeeperAddress | None:
    """The keeper that the parent of this process has named in its environment; None without one."""
    text = environ.get(ADDRESS)
    return None if text is None else KeeperAddress.of(text)
