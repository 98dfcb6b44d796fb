"""An event loop in virtual time that is the same every time: no socket, no thread, no clock of the machine."""

from __future__ import annotations

import asyncio
import concurrent.futures
import selectors
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

TURN_S = 1e-7
"""What one turn of the loop takes. Without it aiolimiter, short of 1e-17 of a request, would ask for now forever."""

TURNS_MAX = 200_000
"""More than any session takes; a broken program may go round for ever."""


class _Selector(selectors.SelectSelector):
    """Waits for nothing: the time jumps to the next timer.

    A session that does not end breaks a promise, so that is an AssertionError. Here no busy machine can be the reason.
    """

    def __init__(self, now: float, on_turn: Callable[[int], None]) -> None:
        super().__init__()
        self._on_turn = on_turn
        self.now = now
        self.turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("nothing is left that could ever happen")
        self.now += TURN_S + max(0.0, timeout)
        self.turns += 1
        if self.turns > TURNS_MAX:
            raise AssertionError("the session does not end")
        self._on_turn(self.turns)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """The loop of one session. on_turn: called at the beginning of every turn with its number."""

    def __init__(self, now: float, on_turn: Callable[[int], None]) -> None:
        self._own = _Selector(now, on_turn)
        super().__init__(self._own)

    def time(self) -> float:
        return self._own.now

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    async def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> T:  # type: ignore[override]
        """Run it at once, in this thread."""
        await asyncio.sleep(0)
        return func(*args)


class SimulatedThread(concurrent.futures.Executor):
    """One thread, whose jobs are done after a drawn delay, in this thread; at once when their result is waited for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, delay_s: Callable[[], float]) -> None:
        self._loop = loop
        self._delay_s = delay_s

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        job = _Job(lambda: fn(*args, **kwargs))
        self._loop.call_later(self._delay_s(), job.run)
        return job

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing is left to end."""


class _Job(concurrent.futures.Future[T]):
    def __init__(self, step: Callable[[], T]) -> None:
        super().__init__()
        self._step = step

    def run(self) -> None:
        if self.done():
            return
        try:
            result = self._step()
        except Exception as error:  # noqa: BLE001 - whatever it is, the one that waits raises it
            self.set_exception(error)
        else:
            self.set_result(result)

    def result(self, timeout: float | None = None) -> T:
        self.run()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.run()
        return super().exception(timeout)


async def at_once(step: Callable[[], T], stop: Callable[[], None]) -> T:
    """Run a blocking step at once: in the place of `bulkdel.threads.in_thread`."""
    await asyncio.sleep(0)
    return step()
