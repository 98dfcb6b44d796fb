"""The sending of notices, in a thread with an event loop of its own.

The run puts a notice into a queue and never waits, so no server, service or command can hold it up or fail it. Each
place has a queue of its own. The thread outlives the loops of the run, because a restore has two of them, and a run may
be refused before it has any.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence

from bulkdel.core.retry import backoff_s
from bulkdel.engine.signals import Signals
from bulkdel.engine.snapshot import Snapshot
from bulkdel.notify.message import Notice, Outage, What
from bulkdel.notify.senders import Attempted, Sender
from bulkdel.threads import NamesInDaemons

QUEUE_MAX = 100
"""Notices that wait for one place. Later ones are dropped and counted."""

ATTEMPTS_MAX = 3

AFTER_MAX_S = 30.0
"""The longest wait between two attempts, also when a server asks for more."""

OUTAGE_S = 300.0
"""An outage is long after this time without a useful response."""

LOOK_S = 1.0
"""Between two looks at the figures of the run."""

WAIT_S = 0.25
"""How long a signal may go unnoticed at the end of a command."""

STOP_S = 10.0
"""How long the thread may take to end once its work is cancelled."""

Warn = Callable[[str], None]
"""Writes one line about a notice that could not be told."""


async def deliver(sender: Sender, notice: Notice) -> Attempted:
    """Tell one place, with up to ATTEMPTS_MAX attempts. Returns the last answer."""
    attempt = 1
    while True:
        answer = await sender.send(notice)
        if answer.told or not answer.again or attempt == ATTEMPTS_MAX:
            return answer
        after_s = max(answer.after_s or 0.0, backoff_s(attempt, random.random()))  # noqa: S311 - jitter
        await asyncio.sleep(min(after_s, AFTER_MAX_S))
        attempt += 1


class Notifier:
    """Tells every place what `post` is given, while it is `running`. Without a place it does nothing.

    warn: called in the thread, with a line about a notice that a place was not told.
    """

    def __init__(self, senders: Sequence[Sender], warn: Warn) -> None:
        self._senders = senders
        self._warn = warn
        self._queues: list[asyncio.Queue[Notice | None]] = [asyncio.Queue() for _ in senders]
        self._dropped = 0
        self._over = threading.Event()
        self._loop = NamesInDaemons() if senders else None
        self._work: list[asyncio.Task[None]] = []

    def post(self, notice: Notice) -> None:
        """Put a notice into the queue of each place. Never waits."""
        self._call(self._put, notice)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send until the block ends, then the rest for at most `Sender.leave_s`. A signal ends this wait."""
        if self._loop is None:
            yield
            return
        pairs = zip(self._senders, self._queues, strict=True)
        self._work = [self._loop.create_task(self._serve(sender, queue)) for sender, queue in pairs]
        thread = threading.Thread(target=self._run, args=(self._loop,), name="notifier", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._call(self._end)
            with Signals() as signals, signals.phase(lambda: "sending notifications", lambda _: self._over.set()):
                while not self._over.wait(WAIT_S):
                    pass  # a signal that came just before a wait is handled after it
            self._call(self._cancel)
            thread.join(STOP_S)

    @contextlib.contextmanager
    def watching(
        self,
        look: Callable[[], Snapshot | None],
        notice_of: Callable[[What, Snapshot], Notice],
        warn: Warn,
        *,
        outage_s: float,
        look_s: float,
    ) -> Iterator[None]:
        """Look at the figures of a run every `look_s` until the block ends, and tell of outages of `outage_s`.

        look: called in the thread. notice_of: makes the notice. warn: takes the warnings meanwhile.
        """
        if self._loop is None:
            yield
            return
        before, self._warn = self._warn, warn
        watch = asyncio.run_coroutine_threadsafe(self._watch(look, notice_of, Outage(outage_s), look_s), self._loop)
        try:
            yield
        finally:
            watch.cancel()
            self._warn = before

    def _call(self, step: Callable[..., None], *args: object) -> None:
        """Do a step in the thread, unless it has ended."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(step, *args)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.set_exception_handler(lambda _loop, _context: None)  # asyncio would print texts that may name an address
        try:
            loop.run_until_complete(self._serve_all())
        finally:
            self._over.set()
            loop.close()

    async def _serve_all(self) -> None:
        await asyncio.wait(self._work)
        if self._dropped:
            self._warn(f"{self._dropped} notifications were dropped, because {QUEUE_MAX} were waiting")

    async def _serve(self, sender: Sender, queue: asyncio.Queue[Notice | None]) -> None:
        while (notice := await queue.get()) is not None:
            try:
                answer = await deliver(sender, notice)
            except asyncio.CancelledError:
                waiting = [queue.get_nowait() for _ in range(queue.qsize())]
                events = ", ".join(each.what for each in (notice, *waiting) if each is not None)
                self._warn(f"{sender.name}: was not told of {events}, because it took too long")
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
                answer = Attempted(told=False, text=type(error).__name__)
            if not answer.told:
                self._warn(f"{sender.name}: was not told of {notice.what}: {answer.text}")

    async def _watch(
        self,
        look: Callable[[], Snapshot | None],
        notice_of: Callable[[What, Snapshot], Notice],
        outage: Outage,
        look_s: float,
    ) -> None:
        while True:
            moment = None
            with contextlib.suppress(Exception):  # the run goes on meanwhile, and the next look finds it at rest
                moment = look()
            if moment is not None and (what := outage.take(moment.silent_s)) is not None:
                self._put(notice_of(what, moment))
            await asyncio.sleep(look_s)

    def _put(self, notice: Notice) -> None:
        for queue in self._queues:
            if queue.qsize() < QUEUE_MAX:
                queue.put_nowait(notice)
            else:
                self._dropped += 1

    def _end(self) -> None:
        """End each queue after its waiting notices, and cancel a notice that takes longer than its place may."""
        loop = asyncio.get_running_loop()
        for sender, queue, work in zip(self._senders, self._queues, self._work, strict=True):
            queue.put_nowait(None)
            loop.call_later(sender.leave_s, work.cancel)

    def _cancel(self) -> None:
        for work in self._work:
            work.cancel()
