"""Signals, and the event loop of a command.

The phase of the command defines the effect of the first signal; the second ends the program at once. SIGUSR1 prints one
line about the current step, and the program continues.

`signal.signal` and not the loop's own handlers: they also work while the loop is busy or there is none yet.

SIGUSR1 may come thousands of times a second. A handler that is Python code is interrupted by the next signal, down to a
RecursionError, and a lock that it takes may be held by the code that it interrupts. So the handler of SIGUSR1 is the
`put` of a `queue.SimpleQueue`, which is C code and reentrant, and a thread prints.

The clock of the event loop stands still while the process is stopped (Ctrl-Z, SIGSTOP). A response that came meanwhile
lies in its socket. After the stop the system call that waits for sockets may return without one, and every time-out
that has passed would end its request first: an answered chunk would be sent again.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

from bulkdel.errors import BulkdelError, trace_of
from bulkdel.http.client import TICK_S, Uptime
from bulkdel.imports import is_importing
from bulkdel.output import note, say
from bulkdel.threads import NamesInDaemons

T = TypeVar("T")

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BulkdelError):
    """A signal came while there was nothing to drain."""

    def __init__(self, signum: int) -> None:
        name = signal.Signals(signum).name
        super().__init__(f"interrupted by {name}; nothing was under way. Run the same command again")
        self.signal = signum
        self.exit_code = 128 + signum


Doing = Callable[[], str | None]
"""Returns the current step in words; None when progress shows it already."""

OnFirst = Callable[[int], None]
"""The reaction to the first signal; takes its number."""


def interrupt(signum: int) -> None:
    """Stop by an exception: for phases in which nothing was sent."""
    raise Interrupted(signum)


def ignore(signum: int) -> None:
    """Do nothing: for the end of a command."""


class Signals:
    """Installs the handlers while it is entered. received: the number of the first signal that stops the command.

    The current step is looked up and printed in a thread: a `Doing` may be called at any moment.
    leave: called before the second signal ends the program.
    """

    def __init__(self, leave: Callable[[], None] | None = None) -> None:
        self._leave = leave
        self._doing: Doing = lambda: None
        self._on_first: OnFirst = interrupt
        self._before: dict[int, object] = {}
        self._asked: SimpleQueue[int] = SimpleQueue()  # the SIGUSR1 that have come; 0 ends the thread
        self.received: int | None = None

    def __enter__(self) -> Self:
        for signum in STOPPING:
            if signum == signal.SIGHUP and signal.getsignal(signum) is signal.SIG_IGN:
                continue  # under nohup the terminal may close
            self._before[signum] = signal.signal(signum, self._handle)
        threading.Thread(target=self._print_steps, name="steps", daemon=True).start()
        signal.signal(signal.SIGUSR1, self._asked.put)  # type: ignore[arg-type]  # put ignores its second argument
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # the default would end the program
        self._asked.put(0)
        if self.received is not None:
            return  # the program is on its way out; a second signal must still find its handler
        for signum, handler in self._before.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]  # the value that signal.signal returned

    @contextmanager
    def phase(self, doing: Doing | None = None, on_first: OnFirst | None = None) -> Iterator[None]:
        """Set the current step of this block and the reaction to the first signal. An omitted one stays as it was."""
        before = self._doing, self._on_first
        self._doing, self._on_first = doing or self._doing, on_first or self._on_first
        try:
            yield
        finally:
            self._doing, self._on_first = before

    def _print_steps(self) -> None:
        while self._asked.get():
            if (text := self._doing()) is not None:
                note(text)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None or (self._on_first is interrupt and is_importing(frame)):
            # As safe as a SIGKILL: only durable outcomes were counted. No clean-up may delay it.
            if self._leave is not None:
                self._leave()
            os._exit(128 + signum)
        self.received = signum
        self._on_first(signum)


def run_loop(
    main: Coroutine[Any, Any, T],
    signals: Signals,
    doing: Doing | None = None,
    drain: Callable[[int], bool] | None = None,
) -> T:
    """Run a coroutine. The first signal cancels it and is raised as Interrupted.

    doing: the current step. drain: called at the first signal instead; if it returns False, the coroutine is cancelled.
    """
    runner = asyncio.Runner(loop_factory=SteadyLoop)
    loop = runner.get_loop()
    loop.set_exception_handler(_report)
    task = loop.create_task(main)

    def stop(signum: int) -> None:
        if drain is None or not drain(signum):
            task.cancel()

    def on_first(signum: int) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop, signum)

    # Also while the runner closes: the work is done then, and a signal does not change its result.
    with signals.phase(doing, on_first), _waking(loop), runner:
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            if signals.received is None:
                raise
            raise Interrupted(signals.received) from None


@contextmanager
def _waking(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Wake the loop at every signal. The system may give one to another thread; then the loop would sleep on."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0)
        theirs.settimeout(0)
        loop.add_reader(ours, ours.recv, 4_096)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)


def _report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report a failure that was not awaited. asyncio would print the text of the exception, which may hold ids."""
    error = context.get("exception")
    trace = f"\n{trace_of(error)}" if isinstance(error, BaseException) else ""
    say(f"bulkdel: {context['message']}{trace}", "bug", level="error")


class SteadyLoop(NamesInDaemons):
    """asyncio's own loop, with a clock that leaves out the time in which the process was stopped."""

    def __init__(self) -> None:
        self._uptime = Uptime()
        super().__init__(_Ticking())

    def time(self) -> float:
        """Read the clock of the loop. It is read in each turn, so at least every TICK_S."""
        return self._uptime()


class _Ticking(selectors.DefaultSelector):
    """Waits no longer than a tick, so that a longer gap means a stop."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(TICK_S if timeout is None else min(timeout, TICK_S))
