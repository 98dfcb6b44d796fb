"""The head of the cluster: each request to it has a time limit, and nothing waits for it once it has failed.

Ray waits for a head that is away for as long as `cluster.RECONNECT_S`. This module does not import Ray, so it is
tested without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from bulkdel.engine.threads import in_thread

T = TypeVar("T")

HEAD_SILENT_S = 15.0
"""A head that does not answer for so long has failed. Ray ends this process after `cluster.RECONNECT_S`, wherever it is
and with exit code 1, so the run has to end before."""

LOOK_S = 1.0
"""Seconds between two questions to the head."""


class Head:
    """Watches whether the head answers, from the first time on that it matters."""

    def __init__(self, answers: Callable[[float], Awaitable[bool]]) -> None:
        """answers: asks the head, and returns whether it has answered within so many seconds."""
        self._answers = answers
        self._failing: asyncio.Task[str] | None = None

    async def failed(self) -> str:
        """Wait until it has not answered for HEAD_SILENT_S, and say so."""
        if self._failing is None:
            self._failing = asyncio.create_task(self._watch())
        return await asyncio.shield(self._failing)

    async def unless_failed(self, step: Coroutine[Any, Any, T]) -> T:
        """The result of a step. Raises OSError, and cancels the step, when the head fails before."""
        doing, failing = asyncio.create_task(step), asyncio.create_task(self.failed())
        try:
            await asyncio.wait({doing, failing}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise OSError(None, failing.result())
            return doing.result()
        finally:
            doing.cancel()
            failing.cancel()
            await asyncio.gather(doing, failing, return_exceptions=True)

    async def _watch(self) -> str:
        clock = asyncio.get_running_loop().time
        answered = clock()
        while clock() < answered + HEAD_SILENT_S:
            await asyncio.sleep(LOOK_S)
            if await self._answers(LOOK_S):
                answered = clock()
        return f"the head of the Ray cluster has not answered for {HEAD_SILENT_S:.0f} s"


async def in_time(call: Callable[[], T], seconds: float) -> T:
    """The result of a call that blocks. Raises what it raises, and TimeoutError after so many seconds.

    A call that never returns does not hold up the event loop or the end of the process.
    """
    async with asyncio.timeout(seconds):
        return await in_thread(call, lambda: None, stop_s=0)
