"""The progress of a run: a bar on a terminal, JSON lines elsewhere.

One thread does all the writing, so that a terminal that hangs or a pipe without a reader never holds up the engine.
Output that cannot be written is dropped, and the run continues. No id and no token gets here.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bulkdel.core.adaptive_rate import Slowed
from bulkdel.engine.events import Event
from bulkdel.format import span
from bulkdel.output import SafeStream

INTERVAL_S = 5.0
"""Between two JSON progress lines."""

FRAME_S = 0.25
"""Between two frames of the bar."""

LIMITED_SHARE = 0.9
"""Share of the rate. Below it, something else is the limit. Not 98 %, because a progress line measures a short time."""

CONCURRENCY = "concurrency"
LIMITS = {CONCURRENCY: "concurrency", Slowed.THROTTLED: "an earlier 429", Slowed.FAILURES: "earlier failures"}
"""The limits below the rate: the value in progress lines, and its words in the bar."""

QUEUE_MAX = 10_000
"""Events that wait for a slow stderr. Later ones are dropped and counted."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The figures of a run at one moment.

    rate: requests a second that are allowed now; 0 for no limit.
    waiting: why no request is sent, in words; None while requests are sent.
    busy: whether every worker waits for a response, so that more workers would send more.
    slowed: why the rate is below the configured one.
    """

    settled: int
    rows: int
    counts: dict[str, int]
    requests: int
    rate: float
    waiting: str | None
    busy: bool = False
    slowed: Slowed | None = None


class Reporter:
    """Writes events and progress in one thread, while it is entered. debug: whether it writes events of chunks."""

    def __init__(self, look: Callable[[], Snapshot | None], *, level: str, interval_s: float = INTERVAL_S) -> None:
        self._look = look
        self.debug = level == "debug"
        self._info = level != "warning"
        self._interval_s = interval_s
        self._events: queue.Queue[Event] = queue.Queue(QUEUE_MAX)
        self._dropped = 0
        self._done = threading.Event()
        self._asked = threading.Event()
        self._out = SafeStream(sys.stderr)
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._speed = Speed()
        self._requests = Speed()

    def event(self, event: Event) -> None:
        """Write an event, if the level asks for it."""
        if (event.level == "debug" and not self.debug) or (event.level == "info" and not self._info):
            return
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self._dropped += 1

    def ask(self) -> bool:
        """Write the progress now, at any level and interval. Returns False when the thread does not run."""
        self._asked.set()
        return self._thread.is_alive()

    @contextlib.contextmanager
    def telling(self) -> Iterator[Reporter]:
        """Write until the block ends; then write the rest, for at most a second."""
        self.load()
        self._thread.start()
        try:
            yield self
        finally:
            self._done.set()
            self._thread.join(timeout=1.0)

    def load(self) -> None:
        """Import the thread's modules now: later it would slow the sending down, or find no file descriptor."""
        with contextlib.suppress(OSError, ImportError):  # no file descriptor is left: then nothing is written
            if self._has_bar():
                import rich.console  # noqa: PLC0415 - only a terminal needs it, and it takes its time to load
                import rich.progress  # noqa: F401, PLC0415
            else:
                _ = self._log

    def _run(self) -> None:
        with contextlib.suppress(Exception):  # a failure of the output does not stop the run
            if self._has_bar():
                self._bar()
            else:
                self._lines()

    def _has_bar(self) -> bool:
        return self._out.isatty() and os.environ.get("TERM") != "dumb" and not self.debug

    @cached_property
    def _log(self) -> Any:
        import structlog  # noqa: PLC0415 - takes its time to load, and a bar does without

        return structlog.wrap_logger(
            structlog.PrintLogger(self._out),  # type: ignore[arg-type]  # it asks for no more than a text stream
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
        )

    def _lines(self) -> None:
        begun = False
        due = time.monotonic() + self._interval_s
        while not self._done.wait(FRAME_S):
            if not begun and (moment := self._look()) is not None:
                begun = True  # the first line's speeds are measured from here
                self._speed.take(moment.settled, moment.rows)
                self._requests.take(moment.requests, moment.requests)
            self._drain()
            if self._asked.is_set():
                self._progress(asked=True)
            if time.monotonic() >= due:
                due = time.monotonic() + self._interval_s  # one line after a stop of the process, not one an interval
                self._progress()
        self._drain()

    def _drain(self) -> None:
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                break
            getattr(self._log, event.level)(event.name, **event.fields)
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._log.warning("events.dropped", dropped=dropped)

    def _progress(self, *, asked: bool = False) -> None:
        self._asked.clear()
        moment = self._look()
        if moment is None or not (self._info or asked):
            return
        per_s, left_s = self._speed.take(moment.settled, moment.rows)
        limited = limited_by(moment, self._requests.take(moment.requests, moment.requests)[0])
        self._log.info(
            "progress",
            settled=moment.settled,
            rows=moment.rows,
            **{name: count for name, count in moment.counts.items() if count},
            requests=moment.requests,
            per_s=round(per_s),
            left_s=None if left_s is None else round(left_s),
            waiting=moment.waiting,
            limited_by=limited,
        )

    def _bar(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it, and it takes its time to load
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415

        console = Console(file=self._out, force_terminal=True)  # type: ignore[arg-type]  # a TextIOBase is a file
        columns = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
            task = progress.add_task("starting", total=None)
            while not self._done.wait(FRAME_S):
                for line in self._spoken():
                    console.print(line, markup=False, highlight=False)
                if (moment := self._look()) is not None:
                    per_s, left_s = self._speed.take(moment.settled, moment.rows)
                    limited = limited_by(moment, self._requests.take(moment.requests, moment.requests)[0])
                    text = bar_text(moment, per_s, left_s, limited)
                    if self._asked.is_set():
                        self._asked.clear()
                        console.print(f"{moment.settled:,} of {moment.rows:,} rows: {text}", highlight=False)
                    progress.update(task, total=moment.rows, completed=moment.settled, description=text)
                progress.refresh()
        for line in self._spoken():
            console.print(line, markup=False, highlight=False)

    def _spoken(self) -> Iterator[str]:
        """The events as lines beside the bar."""
        while not self._events.empty():
            event = self._events.get_nowait()
            yield f"{event.name}: " + ", ".join(f"{key} {value}" for key, value in event.fields.items())


def limited_by(moment: Snapshot, requests_s: float) -> str | None:
    """The limit that keeps a run below the configured rate: a value of LIMITS, or None."""
    if moment.waiting:
        return None
    if moment.busy and 0 < requests_s < LIMITED_SHARE * moment.rate:
        return CONCURRENCY  # more workers would send more
    return moment.slowed


def bar_text(moment: Snapshot, per_s: float, left_s: float | None, limited: str | None = None) -> str:
    """The text of the bar: counts, speed, time left; while waiting, the reason."""
    counts = ", ".join(f"{count:,} {name}" for name, count in moment.counts.items() if count) or "nothing settled yet"
    if moment.waiting:
        return f"{counts} · waiting: {moment.waiting}"
    left = f" · {span(left_s)} left" if left_s is not None else ""
    by = f" · limited by {LIMITS[limited]}" if limited else ""
    return f"{counts} · {per_s:,.0f} ids/s · {moment.requests:,} requests{left}{by}"


class Speed:
    """Ids a second over about the last 30 s, from measurements at irregular times."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looks: list[tuple[float, int]] = []

    def take(self, settled: int, rows: int) -> tuple[float, float | None]:
        """Add a measurement. Returns (ids a second, seconds left; None without movement)."""
        now = self._clock()
        self._looks = [(at, n) for at, n in self._looks if now - at <= 30] + [(now, settled)]  # noqa: PLR2004
        first_at, first = self._looks[0]
        per_s = (settled - first) / (now - first_at) if now > first_at else 0.0
        return per_s, (rows - settled) / per_s if per_s > 0 else None
