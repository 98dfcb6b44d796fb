"""Opens what a session needs to talk to the server: transport, rate limiter, sign-in and client, closed together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from bulkdel.auth import Auth
from bulkdel.core.health import Pace
from bulkdel.http.client import Api
from bulkdel.http.rate_limiter import Throttle
from bulkdel.http.transport import Wire, WireOptions
from bulkdel.job import Target
from bulkdel.job_faults import job_faults
from bulkdel.settings import Settings, seconds_of
from bulkdel.uptime import uptime


@contextlib.asynccontextmanager
async def reach(target: Target, settings: Settings, *, pool: str | None) -> AsyncIterator[tuple[Api, Auth]]:
    """Open the way to the server. pool: the one that every token must carry, where it is known."""
    options = WireOptions(host=target.host, ca_file=settings.ca_file, proxy=settings.proxy, total_s=settings.timeout_s)
    async with Wire(options) as wire:
        throttle = Throttle(settings.rate)
        patience_s = seconds_of(settings.patience)
        auth = target.auth(wire, throttle, pool=pool, patience_s=patience_s)
        ticking = asyncio.create_task(uptime.tick())
        try:
            with job_faults(auth.hide):
                yield Api(wire, throttle, auth, target.pause_s, patience_s, Pace(settings.rate), clock=uptime), auth
        finally:
            ticking.cancel()
