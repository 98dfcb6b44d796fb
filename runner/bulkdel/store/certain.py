"""Creating an object until its effect is certain, and reading one until there is an answer.

A creation is repeated with the same bytes and hedged: a second attempt begins while a slow one is under way.

An answer may be lost after the object was created. The next attempt is then told that the object exists. Some stores
answer "exists" also when two attempts meet (409). So after "exists" the object is read. If it has our bytes, the
creation has succeeded. If there is no object, it is tried again. If it has other bytes, another writer has created it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import suppress
from statistics import median
from typing import TypeVar

from bulkdel.store.objects import Objects, open_objects
from bulkdel.store_path import StorePath
from bulkdel.world import WORLD, World

HEDGE_S, HEDGE_LEAST_S, HEDGE_MOST_S = 0.1, 0.05, 1.0
"""A second attempt begins when the first has no answer for so long: at first, at least, and at most."""

HEDGE_TIMES = 2
"""A second attempt begins when the first takes this many times the usual time. A few very late attempts do not change
the usual time."""

HEDGED_AT_ONCE = 4
"""Attempts that are under way at the same time."""

HEDGED_BYTES = 256 << 10
"""A larger object gets no second attempt: it would only take bandwidth from the first."""

THREADS = 16
"""Very late attempts occupy some of these threads, also after a later attempt has succeeded."""

RECENT = 100
"""Attempts whose times decide when the next one is hedged."""

PAUSE_S, PAUSE_MAX_S = 0.05, 1.0
"""After a failed attempt. It doubles each time. It is far below the lease, which lapses meanwhile."""

LOOK_S = 1.0
"""How often an attempt without an answer is compared with the patience."""

NO_ANSWER = "no answer from the store"

STEP_S = 10.0
"""Seconds that count at most between two looks at a patience."""

LIST_TRIES = 3
"""How often a list is asked for. A log can be read without one: the credentials may not list, or the store cannot."""

READ_S = 10.0
"""The patience of a command that only reads. That of a run is --patience."""

T = TypeVar("T")


class Taken(Exception):
    """Another writer has created the object. found: its bytes."""

    def __init__(self, name: str, found: bytes) -> None:
        super().__init__(name)
        self.found = found


class Patience:
    """How long a request is repeated: seconds in which this process ran.

    The clock goes on while the machine sleeps or the process is stopped. No request was made then, so a longer step of
    the clock counts as STEP_S.
    """

    def __init__(self, patience_s: float, clock: Callable[[], float]) -> None:
        self._left_s = patience_s
        self._clock = clock
        self._looked_at = clock()

    @property
    def over(self) -> bool:
        """Whether it has ended. Look once after each attempt."""
        now = self._clock()
        self._left_s -= min(now - self._looked_at, STEP_S)
        self._looked_at = now
        return self._left_s < 0


class Retrying:
    """A store whose requests are repeated until there is an answer, or for the patience.

    `get` is for any number of threads, `create` for one at a time. objects: the store; it makes each request once.
    hedged, close: see `create`.
    """

    def __init__(self, objects: Objects, patience_s: float, world: World = WORLD) -> None:
        """patience_s: a request that fails for so long is given up."""
        self.objects = objects
        self._patience_s = patience_s
        self._world = world
        self._clock = world.boot
        self._threads: Executor | None = None
        self._took: deque[float] = deque(maxlen=RECENT)
        self._closed = False

    @classmethod
    def at(cls, path: StorePath, patience_s: float = READ_S, world: World = WORLD) -> Retrying:
        """The store at this URL. Creates nothing."""
        return cls((world.open_store or open_objects)(path), patience_s, world)

    def get(self, name: str) -> bytes | None:
        """Read an object; None when there is none, which is an answer.

        Raises OSError after the patience, and PermissionError at once: a repetition would fail too.
        """
        patience, pause_s = Patience(self._patience_s, self._clock), PAUSE_S
        while True:
            try:
                return self.objects.get(name)
            except PermissionError:
                raise
            except OSError:
                if self._closed or patience.over:
                    raise
            self._world.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)

    def first_listed(self, after: str, wanted: Callable[[str], object]) -> str | None:
        """The first wanted name behind this one in a list. Raises OSError when there is no list: see LIST_TRIES."""
        for _ in range(LIST_TRIES - 1):
            with suppress(OSError):
                return next(filter(wanted, self.objects.listed(after)), None)
            self._world.sleep(PAUSE_S)
        return next(filter(wanted, self.objects.listed(after)), None)

    def create(self, name: str, data: bytes) -> None:
        """Create the object. Raises Taken, and OSError after the patience. After OSError it may exist or not."""
        if self._threads is None:
            self._threads = self._world.threads(THREADS, "store")
        patience, pause_s, failure = Patience(self._patience_s, self._clock), PAUSE_S, OSError(None, NO_ANSWER)
        due, under_way = self._clock(), set[Future[float | Taken]]()
        hedged = self.objects.hedged and len(data) <= HEDGED_BYTES
        while True:
            now = self._clock()
            if now >= due and len(under_way) < HEDGED_AT_ONCE:
                under_way.add(self._threads.submit(self._attempt, name, data))
                due = now + self._hedge_s if hedged else float("inf")
            if not under_way:
                self._world.sleep(min(due - now, LOOK_S))
            ended, under_way = wait(under_way, min(max(0.0, due - now), LOOK_S), FIRST_COMPLETED)
            for attempt in ended:
                try:
                    ended_so = attempt.result()
                except OSError as error:
                    failure, due = error, self._clock() + pause_s
                    pause_s = min(pause_s * 2, PAUSE_MAX_S)
                    continue
                if isinstance(ended_so, Taken):
                    raise ended_so
                self._took.append(ended_so)
                return
            if patience.over:  # checked last: an attempt may have ended while the machine slept
                raise failure

    def close(self) -> None:
        """Repeat no more, and end the threads. An attempt under way may still create the object, with the same bytes.

        Attempts that wait for a thread are not begun: at its end a program waits for its threads.
        """
        self._closed = True
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _attempt(self, name: str, data: bytes) -> float | Taken:
        """Try once. Returns how long it took, or that it is taken. Raises OSError while neither is known."""
        began = self._clock()
        if not self.objects.create(name, data) and (found := self.objects.get(name)) != data:
            if found is None:
                raise OSError(None, f"{name} is said to exist, and cannot be read")
            return Taken(name, found)
        return self._clock() - began

    @property
    def _hedge_s(self) -> float:
        """How long an attempt may take before another one begins."""
        if len(self._took) < RECENT:
            return HEDGE_S
        return min(max(HEDGE_LEAST_S, median(self._took) * HEDGE_TIMES), HEDGE_MOST_S)
