"""The current step of a command that takes long before its first request, such as the reading of an export."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from bulkdel.engine.signals import Signals, run_loop
from bulkdel.format import amount, shown
from bulkdel.output import say, shape_on, stderr_log
from bulkdel.safety.export_reading import ReadingProgress
from bulkdel.settings import CommonSettings
from bulkdel.tasks import beside
from bulkdel.threads import in_thread

T = TypeVar("T")

FRAME_S = 0.5
"""How often the line on a terminal is written anew."""

CLEAR = "\r\x1b[K"


def run_step(step: Callable[[], T], progress: ReadingProgress, settings: CommonSettings, signals: Signals) -> T:
    """Run a blocking step in a thread, and show how far it is. The first signal ends it, and is raised as Interrupted.

    progress: where the step notes how far it is.
    """
    return run_shown(in_thread(step, progress.stop), lambda: progress.text, settings, signals)


def run_shown(main: Coroutine[Any, Any, T], doing: Callable[[], str], settings: CommonSettings, signals: Signals) -> T:
    """Run a coroutine, and show what it does. The first signal ends it, and is raised as Interrupted."""

    async def shown() -> T:
        async with showing(doing, settings):
            return await main

    return run_loop(shown(), signals, doing)


class ByteCount:
    """Counts the bytes of a step, and notes in its progress what it does. of: all bytes, where they are known."""

    def __init__(self, progress: ReadingProgress, doing: str, of: int | None = None) -> None:
        self._progress = progress
        self._doing = doing
        self._of = "" if of is None else f" of {amount(of)}"
        self._done = 0

    def add(self, size: int) -> None:
        """Count so many more bytes. Raises Drained."""
        self._done += size
        self._progress.note(f"{self._doing}: {amount(self._done)}{self._of}")


@asynccontextmanager
async def showing(doing: Callable[[], str], settings: CommonSettings) -> AsyncIterator[None]:
    """Show the step while the block runs: on a terminal in one line that goes, elsewhere a line at each interval."""
    if settings.log_level == "warning":
        yield
        return
    redrawn = shape_on(stderr_log(), settings.log_format) == "redrawn"
    async with beside(_rewritten(doing) if redrawn else _repeated(doing, settings.progress_every)):
        yield


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
