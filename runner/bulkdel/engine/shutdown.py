"""Signals, and the event loop of a command.

The first signal does what the phase of the command asks for; the second ends the program at once. SIGUSR1 prints one
line about what is being done, and the program goes on.

`signal.signal` and not the loop's own handlers: they also work while the loop is busy or there is none yet.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

from bulkdel.errors import BulkdelError, trace_of
from bulkdel.output import note, say

T = TypeVar("T")

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BulkdelError):
    """A signal came where nothing was under way that would have to be drained."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}; nothing was under way")
        self.signal = signum
        self.exit_code = 128 + signum


Doing = Callable[[], str | None]
"""Says in words what is being done. None: it is told in another way, or there is nothing to tell."""

OnFirst = Callable[[int], None]
"""What the first signal does; it gets the number."""


def interrupt(signum: int) -> None:
    """Stop by an exception: for phases in which nothing was sent."""
    raise Interrupted(signum)


def ignore(signum: int) -> None:
    """Go on: for the end of a command, when nothing is left to stop."""


@dataclass(frozen=True, slots=True)
class _Phase:
    doing: Doing
    on_first: OnFirst


class Signals:
    """Installs the handlers for as long as it is entered. received: the number of the first signal that stops."""

    def __init__(self) -> None:
        self._phases = [_Phase(lambda: None, interrupt)]
        self._before: dict[int, object] = {}
        self.received: int | None = None

    def __enter__(self) -> Self:
        for signum in STOPPING:
            if signum == signal.SIGHUP and signal.getsignal(signum) is signal.SIG_IGN:
                continue  # under nohup the terminal may go
            self._before[signum] = signal.signal(signum, self._handle)
        signal.signal(signal.SIGUSR1, self._tell)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # the default would end the program
        if self.received is not None:
            return  # the program is on its way out; a second signal must still find its handler
        for signum, handler in self._before.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]  # what signal.signal returned

    @contextmanager
    def phase(self, doing: Doing | None = None, on_first: OnFirst | None = None) -> Iterator[None]:
        """Say what is being done in this block, and what the first signal does. What is left out stays as it was."""
        now = self._phases[-1]
        self._phases.append(_Phase(doing or now.doing, on_first or now.on_first))
        try:
            yield
        finally:
            self._phases.pop()

    def _tell(self, _signum: int, _frame: FrameType | None) -> None:
        if (text := self._phases[-1].doing()) is not None:
            note(f"bulkdel: {text}")

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            # As safe as a SIGKILL: what is not durable was never counted. No clean-up may delay it.
            os._exit(128 + signum)
        self.received = signum
        self._phases[-1].on_first(signum)


def run_loop(
    main: Coroutine[Any, Any, T],
    signals: Signals,
    doing: Doing | None = None,
    drain: Callable[[int], bool] | None = None,
) -> T:
    """Run a coroutine. The first signal cancels it and is raised as Interrupted.

    doing: what is being done. drain: what the first signal does instead; it returns whether it did it.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.set_exception_handler(_report)
        task = loop.create_task(main)

        def stop(signum: int) -> None:
            if drain is None or not drain(signum):
                task.cancel()

        with signals.phase(doing, lambda signum: _soon(loop, stop, signum)):
            try:
                return loop.run_until_complete(task)
            except asyncio.CancelledError:
                if signals.received is None:
                    raise
                raise Interrupted(signals.received) from None


def _soon(loop: asyncio.AbstractEventLoop, stop: OnFirst, signum: int) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(stop, signum)


def _report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell of a failure that nothing waited for. asyncio's own way prints the texts of exceptions, ids and all."""
    error = context.get("exception")
    say(f"bulkdel: {context['message']}" + (f"\n{trace_of(error)}" if isinstance(error, BaseException) else ""))
