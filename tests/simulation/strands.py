"""Blocking steps in virtual time: each has a thread of its own, and it and the event loop take turns."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from tests.simulation.loop import SimulatedLoop

T = TypeVar("T")

LEAST_S = 1e-6
"""A sleep takes this long at least. A loop that looks again and again would stand still otherwise."""

LOOK_S = 0.01
"""How often a strand looks whether another one has ended."""

PROCESS: contextvars.ContextVar[int] = contextvars.ContextVar("process")
"""The number of the simulated process to which the code that runs belongs."""

_here = threading.local()


GONE = "the process is gone"


class Killed(BaseException):
    """The process is gone."""


class Strand(Generic[T]):
    """One blocking step of a process. future: its result."""

    def __init__(self, loop: asyncio.AbstractEventLoop, step: Callable[[], T]) -> None:
        self._loop = loop
        self._step = step
        self._context = contextvars.copy_context()
        self._turn, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._killed = False
        self.process = PROCESS.get()
        self.future: concurrent.futures.Future[T] = _Result()
        threading.Thread(target=self._context.run, args=(self._run,), daemon=True).start()

    def go_on(self) -> None:
        """Let it run until it sleeps or ends. Called by the event loop."""
        if not self.future.done() and not self._killed:
            self._take_turn()

    def kill(self) -> None:
        """End it where it is."""
        if not self.future.done() and not self._killed:
            self._killed = True
            self._take_turn()

    def sleep(self, seconds: float) -> None:
        """Let the event loop run for so long. Called by the step."""
        self._check_alive()
        self._loop.call_later(max(LEAST_S, seconds), self.go_on)
        self._back.release()
        self._turn.acquire()
        self._check_alive()

    def _check_alive(self) -> None:
        if self._killed:
            raise Killed

    def _take_turn(self) -> None:
        self._turn.release()
        self._back.acquire()

    def _run(self) -> None:
        _here.strand = self
        self._turn.acquire()
        try:
            self._check_alive()
            self.future.set_result(self._step())
        except Killed:
            self.future.set_exception(OSError(5, GONE))
        except BaseException as error:  # noqa: BLE001 - as an executor does
            self.future.set_exception(error)
        finally:
            self._back.release()


class _Result(concurrent.futures.Future[T]):
    """The result of a strand. Another strand may wait for it."""

    def result(self, timeout: float | None = None) -> T:
        while not self.done():
            sleep(LOOK_S)
        return super().result(timeout)


def sleep(seconds: float) -> None:
    """Wait in a strand. The event loop must not wait."""
    strand: Strand[Any] | None = getattr(_here, "strand", None)
    assert strand is not None, "the event loop waits for a store"
    strand.sleep(seconds)


class StrandLoop(SimulatedLoop):
    """A simulated loop whose blocking steps are strands."""

    def __init__(self, now: float) -> None:
        super().__init__(now, lambda _: None)
        self._strands: list[Strand[Any]] = []
        self._killed: set[int] = set()

    def strand(self, step: Callable[[], T]) -> Strand[T]:
        """Make a strand of the process that calls. One of a process that was killed fails at once."""
        strand = Strand(self, step)
        if strand.process in self._killed:
            strand.kill()
        self._strands = [each for each in self._strands if not each.future.done()] + [strand]
        return strand

    async def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> T:
        """Run it in a strand."""
        strand = self.strand(lambda: func(*args))
        self.call_soon(strand.go_on)
        return await asyncio.wrap_future(strand.future)

    def kill(self, process: int) -> None:
        """End the strands of a process, and each that it would begin."""
        self._killed.add(process)
        for strand in self._strands:
            if strand.process == process:
                strand.kill()

    @contextmanager
    def ending_strands(self) -> Iterator[None]:
        """End all strands when the block ends."""
        try:
            yield
        finally:
            for strand in self._strands:
                strand.kill()


class StrandThread(concurrent.futures.Executor):
    """One thread: its jobs are strands, one after the other, each begun after a drawn delay."""

    def __init__(self, loop: StrandLoop, delay_s: Callable[[], float]) -> None:
        self._loop = loop
        self._delay_s = delay_s
        self._waiting: deque[Strand[Any]] = deque()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        strand = self._loop.strand(lambda: fn(*args, **kwargs))
        if strand.future.done():
            return strand.future
        strand.future.add_done_callback(lambda _: self._begin_next())
        self._waiting.append(strand)
        if len(self._waiting) == 1:
            self._loop.call_later(self._delay_s(), strand.go_on)
        return strand.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing is left to end."""

    def _begin_next(self) -> None:
        self._waiting.popleft()
        if self._waiting:
            self._loop.call_later(self._delay_s(), self._waiting[0].go_on)


class Inline(concurrent.futures.Executor):
    """Runs each job at once, in the thread that submits it."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        done: concurrent.futures.Future[T] = concurrent.futures.Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as an executor does
            done.set_exception(error)
        return done


async def in_strand(step: Callable[[], T], stop: Callable[[], None]) -> T:
    """Run a blocking step: in the place of `bulkdel.threads.in_thread`."""
    del stop
    return await asyncio.to_thread(step)
