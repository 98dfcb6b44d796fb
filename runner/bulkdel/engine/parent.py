"""A run that another process of this program has started ends with that process, however it ends.

Otherwise it would hold the lock of its log, without a parent that could stop it or that divides its rate.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

PARENT = "_BULKDEL_PARENT"
"""The environment variable by which a parent tells its child process its pid. It is no option."""

LOOK_S = 1.0
"""Seconds between two looks at whether the parent is there."""


@asynccontextmanager
async def draining_with_parent(environ: Mapping[str, str], drain: Callable[[], object]) -> AsyncIterator[None]:
    """Call `drain` when the parent that this environment names has ended. Without one, do nothing."""
    if (pid := environ.get(PARENT)) is None:
        yield
        return
    watching = asyncio.create_task(_watch(int(pid), drain))
    try:
        yield
    finally:
        watching.cancel()


async def _watch(pid: int, drain: Callable[[], object]) -> None:
    while os.getppid() == pid:  # noqa: ASYNC110 - nothing tells a process that its parent has ended
        await asyncio.sleep(LOOK_S)
    drain()
