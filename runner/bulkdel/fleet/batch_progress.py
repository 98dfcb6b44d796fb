"""The progress of a batch: the state of each run as its process reports it, and a reporter that shows all on stderr."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bulkdel.core.batch import PlannedRun
from bulkdel.core.batch_status import RunStatus
from bulkdel.fleet.run_log import NOT_STARTED, RUNNING
from bulkdel.format import shown, span
from bulkdel.output import LogFormat, SafeStream, shape_on, stderr_log
from bulkdel.tasks import beside

FRAME_S = 0.5
"""Seconds between two frames of the table on a terminal."""

TABLE_S = 2.0
"""Seconds between two progress reports of the process of a run, at most, while the table is shown."""

SHOWN = 20
"""The most runs in one progress line."""


@dataclass(slots=True)
class RunProgress:
    """How far one run is. place: where it is. phase: waiting, planning, running, or how it has ended.

    settled, rows: as in its last progress. per_s: ids a second. left_s: seconds to its end. note: why it waits, or what
    it does. live: the latest status of its process, if it was asked. summary: of the ended run.
    """

    name: str
    place: Path
    phase: str = "waiting"
    settled: int = 0
    rows: int = 0
    per_s: float = 0.0
    left_s: float | None = None
    note: str = ""
    live: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)

    def begin(self, phase: str) -> None:
        """Note that its process begins. phase: planning or running."""
        self.phase = phase

    def take_plan(self, planned: PlannedRun) -> None:
        """Take in the plan."""
        self.phase, self.rows = "waiting", int(planned.values.get("rows", 0))

    def take(self, event: Mapping[str, Any]) -> None:
        """Take in an event of its process."""
        if event.get("event") == "progress":
            self.settled, self.rows = event["settled"], event["rows"]
            self.per_s, self.left_s = event["per_s"], event["left_s"]
            self.note = event.get("waiting") or event.get("doing") or ""
        elif event.get("event") == "run.draining":
            self.note = "draining"

    def take_status(self, status: Mapping[str, Any]) -> None:
        """Take in the status of its process."""
        self.live = status

    @property
    def status(self) -> RunStatus:
        """For the page."""
        return RunStatus(self.name, self.phase, self.phase == RUNNING, self.rows, self.live, self.summary)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Take in its end."""
        self.phase, self.summary = str(summary.get("status", NOT_STARTED)), summary
        self.per_s, self.left_s, self.note = 0.0, None, ""
        if "rows" in summary:
            self.rows = summary["rows"]
            self.settled = summary["rows"] - summary["remaining"]

    @property
    def line(self) -> str:
        """For people."""
        share = f"{100 * self.settled / self.rows:5.1f} %" if self.rows else "      -"
        left = f", {span(self.left_s)} left" if self.left_s is not None and not self.note else ""
        return f"{self.settled:>13,} of {self.rows:>13,} {share}  " + (self.note or f"{self.per_s:,.0f} ids/s{left}")


class BatchReporter:
    """Shows the progress while it is `running`: a table on a terminal, lines elsewhere.

    child_every_s: seconds between two progress reports of the process of a run.
    """

    def __init__(self, runs: Sequence[RunProgress], *, log_format: LogFormat | None, interval_s: float) -> None:
        self._runs = runs
        self._log = stderr_log()
        self._shape = shape_on(self._log, log_format)
        self._interval_s = interval_s
        self.child_every_s = min(interval_s, TABLE_S) if self._shape == "redrawn" else interval_s

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Show it until the block ends."""
        async with beside(self._redraw() if self._shape == "redrawn" else self._write_lines()):
            yield

    async def _write_lines(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            values = progress_values(self._runs)
            if self._shape == "text":
                for line in (f"{time.strftime('%H:%M:%S')} {_head(values)}", *self._lines()):
                    self._log.write(f"{shown(line)}\n")
            else:
                self._log.put("info", "batch.progress", **values)

    async def _redraw(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it, and it takes its time to load
        from rich.live import Live  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        file: SafeStream = self._log
        console = Console(file=file, force_terminal=True)  # type: ignore[arg-type]  # a TextIOBase is a file
        with Live(console=console, auto_refresh=False, transient=True) as table:
            while True:
                lines = [_head(progress_values(self._runs)), *self._lines()[: max(1, console.height - 3)]]
                text = Text("\n".join(map(shown, lines)), overflow="ellipsis", no_wrap=True)
                table.update(text, refresh=True)
                await asyncio.sleep(FRAME_S)

    def _lines(self) -> list[str]:
        running = [run for run in self._runs if run.phase == RUNNING]
        width = max((len(run.name) for run in running), default=0)
        return [f"  {run.name:<{width}} {run.line}" for run in running]


def progress_values(runs: Sequence[RunProgress]) -> dict[str, Any]:
    """The progress of a batch as values: totals, and the runs under way."""
    running = [run for run in runs if run.phase == RUNNING]
    return {
        "runs": len(runs),
        "phases": dict(Counter(run.phase for run in runs)),
        "settled": sum(run.settled for run in runs),
        "rows": sum(run.rows for run in runs),
        "per_s": round(sum(run.per_s for run in running)),
        "running": [
            {
                "name": run.name,
                "settled": run.settled,
                "rows": run.rows,
                "per_s": run.per_s,
                "waiting": run.note or None,
            }
            for run in running[:SHOWN]
        ],
    }


def _head(values: Mapping[str, Any]) -> str:
    phases = ", ".join(f"{count:,} {phase}" for phase, count in values["phases"].items())
    return f"{values['settled']:,} of {values['rows']:,} rows, {values['per_s']:,} ids/s; runs: {phases}"
