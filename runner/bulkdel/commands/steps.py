"""The current step of a command that takes long before its first request, such as the reading of an export."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bulkdel.format import shown
from bulkdel.output import say, stderr_log
from bulkdel.settings import CommonSettings

FRAME_S = 0.5
"""How often the line on a terminal is written anew."""

CLEAR = "\r\x1b[K"


@asynccontextmanager
async def showing(doing: Callable[[], str], settings: CommonSettings) -> AsyncIterator[None]:
    """Show the step while the block runs: on a terminal in one line that goes, elsewhere a line at each interval."""
    if settings.log_level == "warning":
        yield
        return
    is_terminal = stderr_log().isatty() and os.environ.get("TERM") != "dumb" and settings.log_format is None
    task = asyncio.create_task(_rewritten(doing) if is_terminal else _repeated(doing, settings.progress_every))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _repeated(doing: Callable[[], str], interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        say(doing(), "reading")


async def _rewritten(doing: Callable[[], str]) -> None:
    out, before = stderr_log(), ""
    try:
        while True:
            await asyncio.sleep(FRAME_S)
            before = shown(doing())[: shutil.get_terminal_size().columns - 1]
            out.write(f"{CLEAR}{before}")
    finally:
        if before:
            out.write(CLEAR)
