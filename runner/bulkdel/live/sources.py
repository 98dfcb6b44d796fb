"""Everything that can steer a run while it sends, opened and closed together: socket, file, schedule, URL."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime
from typing import Any

from bulkdel.errors import trace_of
from bulkdel.library import Run
from bulkdel.live.control_socket import serving_socket
from bulkdel.live.socket_path import of_run
from bulkdel.live.status import LiveStatus
from bulkdel.live.steering import Steering
from bulkdel.live.watches import PauseFile, RateSchedule, watch_url
from bulkdel.output import say
from bulkdel.safety.run_plan import RunPlan
from bulkdel.times import schedule_at


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
        watches.append(pause_file.watch())
    if settings.schedule is not None:
        now = datetime.fromtimestamp(time.time(), UTC)
        schedule = RateSchedule(run, schedule_at("--schedule", settings.schedule, now), time.time)
        schedule.look()
        watches.append(schedule.watch())
    steering_it = asyncio.create_task(_steer(run, plan, status, steering))
    tasks = [steering_it, *map(asyncio.create_task, (status.tick(), *watches))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
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
            from bulkdel.live.slow_url import asking  # noqa: PLC0415 - only this option needs it

            is_fast = await stack.enter_async_context(asking(settings.slow_while, settings.ca_file))
            await watch_url(run, is_fast)
        await asyncio.Event().wait()
