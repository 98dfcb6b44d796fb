"""The reporter: shows events and progress on stderr.

It shows a bar on a terminal, JSON lines elsewhere, or the format of --log-format. It writes in a thread of its own: a
terminal that hangs, or a pipe without a reader, never holds up the engine. Output that cannot be written is dropped,
and the run continues.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from bulkdel.core.log_entries import Change, Changed, ChangedBy
from bulkdel.engine.snapshot import LEVELS, LIMITS, QUEUE_MAX, Event, Level, Snapshot, Speed, limited_by
from bulkdel.format import shown, span
from bulkdel.log_words import with_origin
from bulkdel.output import LogFormat, shape_on, stderr_log

INTERVAL_S = 5.0
"""Seconds between two progress lines, where there is no bar."""

FRAME_S = 0.25
"""Seconds between two frames of the bar."""

BAR_WIDTH, NARROW_BAR, NARROW = 24, 10, 100
"""Columns of the bar without its text, on a terminal of NARROW columns or more, and on one with fewer."""

BESIDE_BAR = 6
"""Columns beside the bar and its text: the percentage, and the spaces."""

BETWEEN = " · "

NO_NAMES: Mapping[str, str] = MappingProxyType({})


class Reporter:
    """Writes events and progress in a thread while it is `running`.

    level: of the events and lines that it writes. names: what people call the counts that have another name for them.
    log_format: None for a bar on a terminal, and for JSON lines elsewhere.
    """

    def __init__(
        self,
        look: Callable[[], Snapshot | None],
        *,
        level: Level,
        names: Mapping[str, str] = NO_NAMES,
        interval_s: float = INTERVAL_S,
        log_format: LogFormat | None = None,
    ) -> None:
        self._look = look
        self._names = names
        self._levels = LEVELS[LEVELS.index(level) :]
        self._interval_s = interval_s
        self._events: deque[Event] = deque()
        self._dropped = 0
        self._done = threading.Event()
        self._asked = threading.Event()
        self._log = stderr_log()
        shape = shape_on(self._log, log_format)
        self._has_bar = shape == "redrawn" and level != "debug"
        self._has_text = shape == "text"
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._speed = Speed()

    def event(self, event: Event) -> None:
        """Write an event, if the level asks for it."""
        if event.level not in self._levels:
            return
        if len(self._events) >= QUEUE_MAX:
            self._dropped += 1
        else:
            self._events.append(event)

    def ask(self) -> bool:
        """Write the progress now, at any level and interval. Returns False when the thread does not run."""
        self._asked.set()
        return self._thread.is_alive()

    @contextlib.contextmanager
    def running(self) -> Iterator[Reporter]:
        """Write until the block ends; then write the rest, for at most a second."""
        with contextlib.suppress(OSError, ImportError):  # no file descriptor is left: then nothing is written
            # Imported before the run: later it would slow the sending down, or find no file descriptor.
            if self._has_bar:
                import rich.console  # noqa: PLC0415 - only a terminal needs it, and it takes its time to load
                import rich.progress  # noqa: F401, PLC0415
            elif not self._has_text:
                import structlog  # noqa: F401, PLC0415
        self._thread.start()
        try:
            yield self
        finally:
            self._done.set()
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        with contextlib.suppress(Exception):  # a failure of the output does not stop the run
            if self._has_bar:
                self._bar()
            else:
                self._lines()

    def _waiting(self) -> Iterator[Event]:
        while self._events:
            yield self._events.popleft()
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            yield Event("warning", "events.dropped", {"dropped": dropped})

    def _lines(self) -> None:
        due = time.monotonic() + self._interval_s
        running = True
        while running:
            running = not self._done.wait(FRAME_S)
            for event in self._waiting():
                if self._has_text:
                    self._log.write(f"{shown(f'{_now()} {sentence(event)}')}\n")
                else:
                    self._log.put(event.level, event.name, **event.fields)
            if (moment := self._look()) is None:
                continue
            per_s, left_s, requests_s = self._speed.take(moment)
            on_time = "info" in self._levels and time.monotonic() >= due
            if running and (on_time or self._asked.is_set()):
                self._asked.clear()
                due = time.monotonic() + self._interval_s  # one line after a stop of the process, not one an interval
                if self._has_text:
                    text = progress_text(moment, per_s, left_s, requests_s, self._names)
                    self._log.write(f"{shown(f'{_now()} {text}')}\n")
                else:
                    self._log.put("info", "progress", **progress_values(moment, per_s, left_s, requests_s))

    def _bar(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it, and it takes its time to load
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415

        console = Console(file=self._log, force_terminal=True)  # type: ignore[arg-type]  # a TextIOBase is a file
        bar_width = BAR_WIDTH if console.width >= NARROW else NARROW_BAR
        bar = BarColumn(bar_width=bar_width, finished_style="green")
        columns = (bar, TaskProgressColumn(), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
            task = progress.add_task("starting", total=None)
            running = True
            while running:
                running = not self._done.wait(FRAME_S)
                for event in self._waiting():
                    console.print(shown(sentence(event)), markup=False, highlight=False)
                if (moment := self._look()) is not None:
                    speeds = self._speed.take(moment)
                    if self._asked.is_set():
                        self._asked.clear()
                        text = progress_text(moment, *speeds, self._names)
                        console.print(shown(text), markup=False, highlight=False)
                    text = bar_text(moment, *speeds, self._names, width=console.width - bar_width - BESIDE_BAR)
                    bar.complete_style = "yellow" if moment.waiting else "blue"  # as the live page
                    progress.update(task, total=moment.rows, completed=moment.settled, description=shown(text))
                progress.refresh()


def _now() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")


def _clock(at: datetime) -> str:
    """The time of day on this machine, with its date when it is more than a day away."""
    far = at - datetime.now(UTC) > timedelta(days=1)
    return f"{at.astimezone():%Y-%m-%d %H:%M}" if far else f"{at.astimezone():%H:%M}"


def progress_values(moment: Snapshot, per_s: float, left_s: float | None, requests_s: float) -> dict[str, Any]:
    """The fields of a progress line as JSON."""
    return {
        "settled": moment.settled,
        "rows": moment.rows,
        **{name: count for name, count in moment.counts.items() if count},
        "requests": moment.requests,
        "per_s": round(per_s),
        "left_s": None if left_s is None else round(left_s),
        "waiting": moment.waiting,
        "limited_by": limited_by(moment, requests_s),
        **({"doing": moment.doing} if moment.doing else {}),
    }


def progress_text(
    moment: Snapshot, per_s: float, left_s: float | None, requests_s: float, names: Mapping[str, str] = NO_NAMES
) -> str:
    """A progress line as text."""
    share = f" ({moment.settled * 100 // moment.rows}%)" if moment.rows else ""
    begin = f"{moment.settled:,} of {moment.rows:,} rows{share}"
    return BETWEEN.join([begin, bar_text(moment, per_s, left_s, requests_s, names)])


def bar_text(
    moment: Snapshot,
    per_s: float,
    left_s: float | None,
    requests_s: float,
    names: Mapping[str, str] = NO_NAMES,
    *,
    width: int | None = None,
) -> str:
    """The text beside the bar, the most important part first; what does not fit into `width` columns is left out.

    Why it waits, the time left, the speed, when it stops, what limits it; the counts, the largest first; the requests.
    """
    counts = sorted(((count, names.get(key, key)) for key, count in moment.counts.items() if count), reverse=True)
    limit = limited_by(moment, requests_s)
    moves = not (moment.waiting or moment.doing)
    parts = [
        f"waiting: {moment.waiting}" if moment.waiting else "",
        moment.doing or "",
        f"{span(left_s)} left" if moves and left_s is not None else "",
        f"{per_s:,.0f} ids/s" if moves else "",
        f"stops at {_clock(moment.until)}" if moment.until is not None else "",
        f"limit {moment.limit:,}" if moment.limit is not None else "",
        f"limited by {LIMITS[limit]}" if moves and limit else "",
        *(f"{count:,} {name}" for count, name in counts),
        "" if counts or moment.doing else "no row has an outcome yet",
        "" if moment.waiting else f"{moment.requests:,} requests",
    ]
    return fitted([part for part in parts if part], width)


def fitted(parts: Sequence[str], width: int | None) -> str:
    """The first parts that fit into `width` columns; of the first part, as much as fits."""
    first, *others = parts
    if width is None:
        return BETWEEN.join(parts)
    text = first if len(first) <= width else f"{first[: max(0, width - 1)]}…"
    for part in others:
        if len(text) + len(BETWEEN) + len(part) > width:
            break
        text += BETWEEN + part
    return text


def sentence(event: Event) -> str:
    """An event for people."""
    fields = event.fields
    match event.name:
        case "run.draining":
            by = f"{fields['signal']}: the run stops" if "signal" in fields else "The run stops"
            return f"{by}; {fields.get('why', '')}".rstrip("; ")
        case "run.changed":
            what, source = Changed(fields["what"]), ChangedBy(fields["source"])
            return with_origin(Change("", what, fields.get("value"), source, fields.get("user")))
        case "notify.failed":
            return str(fields.get("why", ""))
        case "events.dropped":
            return f"{fields['dropped']:,} events were left out, because stderr was too slow"
        case _:
            return f"{event.name}: " + ", ".join(f"{key} {value}" for key, value in fields.items())
