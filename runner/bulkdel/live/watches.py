"""What changes a run without a person: the pause file, the schedule, and a URL that must stay fast."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bulkdel.core.log_entries import Changed, ChangedBy
from bulkdel.core.pace import By, Wish
from bulkdel.core.schedule import Schedule
from bulkdel.errors import BulkdelError
from bulkdel.library import Run
from bulkdel.output import say
from bulkdel.times import scheduled

LOOK_S = 0.25
"""Between two looks at the pause file: a pause holds within a second."""

SLOW_S = 1.0
"""A response of which the end takes longer than this is slow. It is not waited for any longer."""

ASK_EVERY_S = 5.0
"""Between two requests to the URL."""


class PauseFile:
    """The file of --pause-file: while it exists, the run is paused."""

    def __init__(self, run: Run, path: Path) -> None:
        self._run = run
        self._path = path
        self._there = False

    def look(self) -> None:
        """Pause or resume the run if the file has come or gone. A folder that cannot be read changes nothing."""
        try:
            self._path.lstat()
            there = True
        except (FileNotFoundError, NotADirectoryError):
            there = False
        except OSError:
            return
        if there == self._there:
            return
        self._there = there
        _wish(self._run, Wish(Changed.PAUSED, there, By(ChangedBy.PAUSE_FILE)))

    async def watch(self) -> None:
        """Look again and again until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)


class RateSchedule:
    """The schedule of --schedule."""

    def __init__(self, run: Run, schedule: Schedule, wall: Callable[[], float]) -> None:
        self._run = run
        self._schedule = schedule
        self._wall = wall
        self._rate: float | None = None

    def look(self) -> None:
        """Change the limit if another one holds by now."""
        rate = scheduled(self._schedule, datetime.fromtimestamp(self._wall(), UTC))
        if rate != self._rate:
            self._rate = rate
            _wish(self._run, Wish(Changed.SCHEDULE, rate, By(ChangedBy.SCHEDULE)))

    async def watch(self) -> None:
        """Look at the clock every second until cancelled: it may be set, and a laptop may sleep."""
        while True:
            self.look()
            await asyncio.sleep(1.0)


async def watch_url(run: Run, is_fast: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Halve the rate of the run each time that the URL of --slow-while is slow or fails."""
    while True:
        began = time.monotonic()
        if not await is_fast():
            _wish(run, Wish(Changed.SLOWED, None, By(ChangedBy.SLOW_WHILE)))
        await asyncio.sleep(max(0.0, ASK_EVERY_S - (time.monotonic() - began)))


def _wish(run: Run, wish: Wish) -> None:
    """Change the run. A refusal is printed: no person waits for an answer."""
    try:
        run.apply(wish)
    except BulkdelError as error:
        say(f"{wish.by.source.value}: {error}")
