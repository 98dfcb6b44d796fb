"""Steps that run at the same time, and end together: beside a block, all at once, or until another one has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from bulkdel.engine.drain import Stop, drain_on_failure

T = TypeVar("T")


async def end_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel the tasks, and wait until each of them has ended, also what it does when it is cancelled."""
    for task in tasks:
        if not task.cancelling():  # a second cancellation would cut its end short
            task.cancel()
    if tasks:
        await asyncio.wait(tasks)


@asynccontextmanager
async def watching(begin: Callable[[Stop], object], *steps: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run the steps until the block ends. A step that raises begins the drain.

    An unexpected error, which is no BulkdelError, is raised when the block has ended.
    """
    tasks = [asyncio.create_task(drain_on_failure(begin, step)) for step in steps]
    try:
        yield
    finally:
        await end_all(tasks)
        for step in steps:
            step.close()  # else Python warns of a coroutine that was never awaited
    for task in tasks:
        if not task.cancelled() and (failure := task.exception()) is not None:
            raise failure


async def all_of(steps: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run steps at once, and return their results. When one fails, or this is cancelled, the others are cancelled.

    On return each of them has ended, also what it does when it is cancelled. Raises the error of the first that fails.
    """
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await end_all(tasks)


async def ended_before(stop: Coroutine[Any, Any, object], step: Coroutine[Any, Any, object]) -> bool:
    """Wait until `step` or `stop` has ended, and cancel the other one. Returns whether `step` has ended.

    Raises the error of `step`.
    """
    stepping = asyncio.create_task(step)
    tasks = [asyncio.create_task(stop), stepping]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_all(tasks)
    if stepping.cancelled():
        return False
    stepping.result()
    return True
