"""Steps that run at the same time, and end together: beside a block, all at once, or until another one has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


async def end_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel the tasks, and wait until each of them has ended, also what it does when it is cancelled."""
    for task in tasks:
        if not task.cancelling():  # a second cancellation would cut its end short
            task.cancel()
    if tasks:
        await asyncio.wait(tasks)


@asynccontextmanager
async def beside(step: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a step until the block ends. Its error does not end the block: asyncio reports it, unless it is looked at."""
    task = asyncio.create_task(step)
    try:
        yield task
    finally:
        await end_all([task])


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


async def begin_accepted() -> None:
    """Let a connection begin that has just been accepted: a server that stops before that would lose it, not end it."""
    for _ in range(3):  # turns of the event loop
        await asyncio.sleep(0)
