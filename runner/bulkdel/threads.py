"""Blocking steps in threads, so that the event loop and a signal never wait for a disk or a pipe."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

STOP_S = 1.0
"""How long a cancelled step may take to notice. A thread that waits for a pipe longer than that is left behind."""


class InThread(Protocol):
    """How a blocking step is run: `in_thread`, or what a simulation passes in its place."""

    async def __call__(self, step: Callable[[], T], stop: Callable[[], None]) -> T:
        """Run it; see `in_thread`."""
        ...


async def in_thread(step: Callable[[], T], stop: Callable[[], None], *, stop_s: float = STOP_S) -> T:
    """Run `step` in a thread of its own. When this is cancelled, `stop` is called, which should end the step soon.

    The thread is a daemon: the program can end even if the step never returns.

    stop_s: how long to wait for the end of a step that was stopped.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def land(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
            done.exception()  # else asyncio prints it, where the step was left behind
        else:
            done.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

    def work() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = step()
        except BaseException as error:  # noqa: BLE001 - any failure: the coroutine that waits raises it
            failure = error
        with suppress(RuntimeError):  # the loop is closed: the step was left behind
            loop.call_soon_threadsafe(land, result, failure)

    threading.Thread(target=work, daemon=True, name="blocking step").start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        stop()
        await asyncio.wait({done}, timeout=stop_s)
        raise


class NamesInDaemons(asyncio.SelectorEventLoop):
    """An event loop that looks host names up in daemon threads.

    asyncio has a few threads for all look-ups, and the end of the program waits for them; a name server may be silent
    for minutes.
    """

    async def getaddrinfo(self, *args: Any, **more: Any) -> Any:
        """Look up a host name, as the base class does."""
        return await in_thread(partial(socket.getaddrinfo, *args, **more), lambda: None, stop_s=0)
