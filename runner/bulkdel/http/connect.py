"""Opens what a session needs to talk to the server: transport, rate limiter, sign-in and client, closed together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from bulkdel.auth import Auth
from bulkdel.core.adaptive_rate import AdaptiveRate
from bulkdel.http.client import Client
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import HttpTransport, Transport, TransportOptions
from bulkdel.job import Target
from bulkdel.job_faults import job_faults
from bulkdel.settings import CommonSettings
from bulkdel.uptime import Uptime


class Connect(Protocol):
    """How the way to the server is opened: `connect`, or what a simulation passes in its place."""

    def __call__(
        self, target: Target, settings: CommonSettings, *, pool: str | None
    ) -> AbstractAsyncContextManager[tuple[Client, Auth]]:
        """Open it; see `connect`."""
        ...


@contextlib.asynccontextmanager
async def connect(target: Target, settings: CommonSettings, *, pool: str | None) -> AsyncIterator[tuple[Client, Auth]]:
    """Open the way to the server. pool: the one that every token must carry; None when it is not known yet."""
    options = TransportOptions(
        host=target.host, ca_file=settings.ca_file, proxy=settings.proxy, total_s=settings.timeout_s
    )
    async with HttpTransport(options) as transport, wired(transport, target, settings, pool=pool) as parts:
        yield parts


@contextlib.asynccontextmanager
async def wired(
    transport: Transport,
    target: Target,
    settings: CommonSettings,
    *,
    pool: str | None,
    wall: Callable[[], float] = time.time,
    steady: Callable[[], float] = time.monotonic,
) -> AsyncIterator[tuple[Client, Auth]]:
    """Put rate limiter, sign-in and client before a transport. wall, steady: the clocks, as in `Surroundings`."""
    rate_limiter = RateLimiter(settings.rate, clock=steady)
    uptime = Uptime(steady)
    auth = target.auth(transport, rate_limiter, pool=pool, patience_s=settings.patience, clock=uptime)
    client = Client(
        transport,
        rate_limiter,
        auth,
        target.pause_s,
        settings.patience,
        AdaptiveRate(settings.rate),
        now=wall,
        clock=uptime,
    )
    ticking = asyncio.create_task(uptime.tick())
    try:
        with job_faults(auth.hide):
            yield client, auth
    finally:
        ticking.cancel()
