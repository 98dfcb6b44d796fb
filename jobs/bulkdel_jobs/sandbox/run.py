"""Ways to run the sandbox: in this event loop, or on a thread of its own. Owns start and stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web

from bulkdel_jobs.sandbox.admin import routes
from bulkdel_jobs.sandbox.server import Sandbox
from bulkdel_jobs.sandbox.user_pool import Pool
from bulkdel_jobs.sandbox_switches import Switches

HOST = "127.0.0.1"
"""The sandbox listens on no other address: its admin endpoints need no sign-in."""

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
) -> AsyncIterator[Sandbox]:
    """Serve `pool` on 127.0.0.1 while the context lasts.

    port: 0 for any free one. keys: key id → secret; None for the built-in key. seed: of the faults by chance.
    OSError when the port is taken.
    """
    sandbox = Sandbox(pool, switches or Switches(), keys=keys, seed=seed)
    app = web.Application(client_max_size=_BODY_MAX)
    app.add_routes(routes(sandbox))
    app.router.add_route("*", "/{path:.*}", sandbox.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        sandbox.url = f"http://{HOST}:{runner.addresses[0][1]}"
        yield sandbox
    finally:
        await runner.cleanup()


@contextmanager
def serve_in_thread(pool: Pool, switches: Switches | None = None, *, port: int = 0, seed: int = 0) -> Iterator[Sandbox]:
    """Do what `serve` does on a thread with its own event loop, for callers that block."""
    ready: Future[tuple[Sandbox, Callable[[], object]]] = Future()

    async def run() -> None:
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with serve(pool, switches, port=port, seed=seed) as sandbox:
                ready.set_result((sandbox, lambda: loop.call_soon_threadsafe(stopped.set)))
                await stopped.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)  # raised again in the thread that asked for the server

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="sandbox", daemon=True)
    thread.start()
    try:
        sandbox, stop = ready.result()
        try:
            yield sandbox
        finally:
            stop()
    finally:
        thread.join()
