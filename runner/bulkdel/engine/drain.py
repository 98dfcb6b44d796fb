"""How a session drains: why it stops early, and what begins the drain.

In a drain no new chunk begins, no action is sent and nothing is repeated. Requests on the wire may finish. One kind of
request may still leave: the look-up that decides what a response meant (`chunk_steps.DECIDING`). A signal, the caller,
a failure, or the time of --not-after begins it. `engine.workers` ends the waits of its workers then.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bulkdel.engine.snapshot import Event
from bulkdel.errors import BulkdelError


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a session stops before its end.

    signal: its number, if a signal stopped it. error: the failure that stopped it. planned: --not-after has come, or a
    change asks for the stop. drained: the caller drained the run.
    """

    why: str
    signal: int | None = None
    error: BulkdelError | None = None
    planned: bool = False
    drained: bool = False


class Drain:
    """Draining: no new chunk and no retry; requests on the wire may finish.

    stop: the reason; None before the drain begins. begun: set when it begins.
    """

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.stop: Stop | None = None

    def begin(self, stop: Stop) -> None:
        """Begin to drain. The first reason stays, except that any other reason replaces a planned stop."""
        if self.stop is None or (self.stop.planned and not stop.planned):
            self.stop = stop
        self.begun.set()


def begin_drain(drain: Drain, signum: int | None, on_event: Callable[[Event], None]) -> None:
    """Begin the drain of a session, and say so. signum: the signal that asks for it; None when the caller does."""
    why = "requests on the wire may finish"
    if signum is None:
        stop = Stop("the caller drained the run", drained=True)
        on_event(Event("warning", "run.draining", {"why": why}))
    else:
        stop = Stop(signal.Signals(signum).name, signal=signum)
        on_event(
            Event("warning", "run.draining", {"signal": stop.why, "why": f"{why}; a second signal leaves at once"})
        )
    drain.begin(stop)


async def drain_on_failure(begin: Callable[[Stop], object], step: Awaitable[Any]) -> None:
    """Begin the drain when `step` raises. An unexpected error, which is no BulkdelError, is raised again."""
    try:
        await step
    except asyncio.CancelledError:
        raise
    except BulkdelError as error:
        begin(Stop(str(error), error=error))
    except BaseException as error:
        begin(Stop(f"unexpected: {type(error).__name__}"))  # the others drain, then it is raised
        raise


async def watch_time(until: Callable[[], tuple[float, str] | None], wall: Callable[[], float], drain: Drain) -> None:
    """Drain at --not-after. until: epoch seconds and words; None without one. It may change.

    Reads the wall clock every second: it may be set, and a laptop may sleep.
    """
    while (at := until()) is None or (left_s := at[0] - wall()) > 0:  # noqa: ASYNC110 - no event announces it
        await asyncio.sleep(1.0 if at is None else min(left_s, 1.0))
    drain.begin(Stop(f"it is {at[1]} (--not-after)", planned=True))
