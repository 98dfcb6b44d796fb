"""Everything that can steer a run while it sends, opened and closed together: socket, file, schedule, URL.

The URL of --slow-while is asked in a session of its own, without a key, a cookie or a redirect.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from bulkdel.core.log_entries import Changed, ChangedBy
from bulkdel.core.pace import By, Wish
from bulkdel.core.schedule import Schedule
from bulkdel.errors import BulkdelError, trace_of
from bulkdel.library import Run
from bulkdel.live.control_socket import serving_socket
from bulkdel.live.socket_path import of_run
from bulkdel.live.status import LiveStatus
from bulkdel.live.steering import Steering
from bulkdel.output import say
from bulkdel.safety.run_plan import RunPlan
from bulkdel.tasks import end_all
from bulkdel.times import schedule_at, scheduled
from bulkdel.tls import trust

LOOK_S = 0.25
"""Between two looks at the pause file: a pause holds within a second."""

CLOCK_LOOK_S = 1.0
"""Between two looks at the clock, for the schedule: it may be set, and a laptop may sleep."""

SLOW_S = 1.0
"""A response of which the end takes longer than this is slow. It is not waited for any longer."""

ASK_EVERY_S = 5.0
"""Between two requests to the URL."""

HTTP_OK = 200

BODY_MAX = 1 << 20
"""Bytes of the response that are read. The rest of a longer one does not count."""


@contextlib.asynccontextmanager
async def steerable(run: Run, plan: RunPlan, status: LiveStatus, steering: Steering) -> AsyncIterator[None]:
    """Let the run be steered until the block ends. Enter it before the sending begins.

    Pause file and schedule hold from the first request on. The socket comes once the run has its log.
    """
    settings = plan.arguments.settings
    watches: list[Coroutine[Any, Any, None]] = []
    if settings.pause_file is not None:
        pause_file = PauseFile(run, settings.pause_file)
        pause_file.look()
        watches.append(_again(pause_file.look, LOOK_S))
    if settings.schedule is not None:
        now = datetime.fromtimestamp(time.time(), UTC)
        schedule = _RateSchedule(run, schedule_at(settings.schedule, now), time.time)
        schedule.look()
        watches.append(_again(schedule.look, CLOCK_LOOK_S))
    steering_it = asyncio.create_task(_steer(run, plan, status, steering))
    tasks = [steering_it, *map(asyncio.create_task, (status.tick(), *watches))]
    try:
        yield
    finally:
        await end_all(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:  # the run did not need it
                text = f"bulkdel: a source of changes failed; the run was not touched.\n{trace_of(error)}"
                say(text, "bug", level="error")


async def _steer(run: Run, plan: RunPlan, status: LiveStatus, steering: Steering) -> None:
    """Serve the socket and ask the URL, once the run has the lock of its log, until cancelled."""
    await run.begun()
    run_id, settings, environ = run.run_id, plan.arguments.settings, plan.arguments.environ
    assert run_id is not None, "the log is there"
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(serving_socket(of_run(plan.run), run_id, steering, status.to_json, environ))
        if settings.slow_while is not None:
            is_fast = await stack.enter_async_context(asking(settings.slow_while, settings.ca_file))
            await _watch_url(run, is_fast)
        await asyncio.Event().wait()


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


class _RateSchedule:
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


async def _again(look: Callable[[], None], seconds: float) -> None:
    """Look again and again until cancelled."""
    while True:
        look()
        await asyncio.sleep(seconds)


async def _watch_url(run: Run, is_fast: Callable[[], Coroutine[Any, Any, bool]]) -> None:
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


@contextlib.asynccontextmanager
async def asking(url: str, ca_file: Path | None) -> AsyncIterator[Callable[[], Coroutine[Any, Any, bool]]]:
    """Open the session. Gives a function that asks once and returns whether the answer was 200, within SLOW_S."""
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=SLOW_S),
        connector=aiohttp.TCPConnector(ssl=trust(ca_file), limit=1, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        headers={"user-agent": "bulkdel"},
    ) as session:

        async def is_fast() -> bool:
            try:
                async with session.get(url, allow_redirects=False) as response:
                    if response.status != HTTP_OK:
                        return False
                    read = 0  # the end of the body counts too: a page is fast when a person can see it
                    async for part in response.content.iter_any():
                        if (read := read + len(part)) > BODY_MAX:
                            break
                    return True
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                return False

        yield is_fast
