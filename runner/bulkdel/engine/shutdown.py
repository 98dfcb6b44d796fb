"""Signals. The first one that stops does what the phase of the run asks for; the second ends the program at once.

SIGUSR1 prints one line about what is being done, and the program goes on.

`signal.signal` and not the loop's own handlers: they also work while the loop is busy or there is none yet.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from bulkdel.errors import BulkdelError
from bulkdel.output import note

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BulkdelError):
    """A signal came where nothing was under way that would have to be drained."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}; nothing was under way")
        self.signal = signum
        self.exit_code = 128 + signum


Doing = Callable[[], str | None]
"""Says in words what is being done. None: it is told in another way, or there is nothing to tell."""


class Signals:
    """Installs the handlers for as long as it is entered.

    on_first: what the first signal does; set by each phase, raises Interrupted by default. received: its number.
    """

    def __init__(self) -> None:
        self._doing: Doing = lambda: None
        self.received: int | None = None
        self.on_first: Callable[[int], None] = self.interrupt
        self._before: dict[int, object] = {}

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
    def doing(self, what: Doing) -> Iterator[None]:
        """Say what is being done in this block. Blocks may lie inside each other."""
        before, self._doing = self._doing, what
        try:
            yield
        finally:
            self._doing = before

    def _tell(self, _signum: int, _frame: FrameType | None) -> None:
        if (text := self._doing()) is not None:
            note(f"bulkdel: {text}")

    def ignore(self, signum: int) -> None:
        """Go on: for the last words of a session, when nothing is left to stop."""

    def interrupt(self, signum: int) -> None:
        """Stop by exception: for phases in which nothing was sent."""
        raise Interrupted(signum)

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            # As safe as a SIGKILL: what is not durable was never counted. No clean-up may delay it.
            os._exit(128 + signum)
        self.received = signum
        self.on_first(signum)
