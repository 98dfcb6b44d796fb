"""Ways to run the sandbox: in this event loop, on a thread of its own, until cancelled. Owns start and stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web

from bulkdel_jobs.sandbox.admin import routes
from bulkdel_jobs.sandbox.faults import Switches
from bulkdel_jobs.sandbox.server import Sandbox
from bulkdel_jobs.sandbox.user_pool import Pool

HOST = "127.0.0.1"
"""The sandbox has no business on any other address: its control endpoints are open."""

_BODY_MAX = 64 * 1024 * 1024
"""Bytes of a request: POST /sandbox/users may bring a million ids."""
_SHUTDOWN_S = 0.05
"""How long requests under way may take when the server stops; those with a long latency are cut off."""


@asynccontextmanager
async def serve(
    pool: Pool,
    switches: Switches | None = None,
    *,
    port: int = 0,
    keys: Mapping[str, str] | None = None,
    seed: int = 0,
    count_sent: bool = True,
) -> AsyncIterator[Sandbox]:
    """Serve `pool` on 127.0.0.1 while the context lasts.

    port: 0 for any free one. keys: key id → secret; None for the built-in key. seed: of the faults by chance.
    OSError when the port is taken.
    """
    sandbox = Sandbox(pool, switches or Switches(), keys=keys, seed=seed, count_sent=count_sent)
    app = web.Application(client_max_size=_BODY_MAX)
    app.add_routes(routes(sandbox))
    app.router.add_route("*", "/{path:.*}", sandbox.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port)
        await site.start()
        sandbox.url = f"http://{HOST}:{runner.addresses[0][1]}"
        yield sandbox
    finally:
        await runner.cleanup()


@contextmanager
def serve_in_thread(
    pool: Pool,
    switches: Switches | None = None,
    *,
    port: int = 0,
    keys: Mapping[str, str] | None = None,
    seed: int = 0,
    count_sent: bool = True,
) -> Iterator[Sandbox]:
    """Do what `serve` does on a thread with its own event loop, for callers that block."""
    ready = threading.Event()
    stop: list[Callable[[], object]] = []
    served: list[Sandbox] = []
    failed: list[BaseException] = []

    async def run() -> None:
        async with serve(pool, switches, port=port, keys=keys, seed=seed, count_sent=count_sent) as sandbox:
            loop, stopped = asyncio.get_running_loop(), asyncio.Event()
            stop.append(lambda: loop.call_soon_threadsafe(stopped.set))
            served.append(sandbox)
            ready.set()
            await stopped.wait()

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked for the server
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="sandbox", daemon=True)
    thread.start()
    ready.wait()
    try:
        if served:
            yield served[0]
    finally:
        for set_ in stop:
            set_()
        thread.join()
    if failed:
        raise failed[0]


async def run_server(
    pool: Pool,
    switches: Switches | None = None,
    *,
    ready: Callable[[Sandbox], object],
    port: int = 0,
    keys: Mapping[str, str] | None = None,
    seed: int = 0,
    count_sent: bool = True,
) -> None:
    """Serve until cancelled; call `ready` once, when the server listens."""
    async with serve(pool, switches, port=port, keys=keys, seed=seed, count_sent=count_sent) as sandbox:
        ready(sandbox)
        await asyncio.Event().wait()
