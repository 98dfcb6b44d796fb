"""Tasks beside a session, such as a watch, and waits that end early. A session must not go on without its watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from bulkdel.engine.workers import Stop, drain_on_failure


@asynccontextmanager
async def watching(begin_drain: Callable[[Stop], object], *steps: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run the steps until the block ends. A step that raises begins the drain.

    An unexpected error, which is no BulkdelError, is raised when the block has ended.
    """
    tasks = [asyncio.create_task(drain_on_failure(begin_drain, step)) for step in steps]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for step in steps:
            step.close()  # else Python warns of a coroutine that was never awaited
    for task in tasks:
        if not task.cancelled() and (failure := task.exception()) is not None:
            raise failure


async def ended_before(stop: Coroutine[Any, Any, object], step: Coroutine[Any, Any, object]) -> bool:
    """Wait until `step` or `stop` has ended, and cancel the other one. Returns whether `step` has ended.

    Raises the error of `step`.
    """
    stepping = asyncio.create_task(step)
    tasks = [asyncio.create_task(stop), stepping]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    if stepping.cancelled():
        return False
    stepping.result()
    return True
