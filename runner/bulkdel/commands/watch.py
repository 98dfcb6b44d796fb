"""`bulkdel status --watch`: the status again and again until the run ends, on any terminal."""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bulkdel.checkpoint.reader import read_log
from bulkdel.checkpoint.takeover import holder
from bulkdel.commands.results import UNREAD
from bulkdel.commands.status import print_status
from bulkdel.core.summary import count_lines
from bulkdel.format import lines_shown
from bulkdel.live.ask import live_status
from bulkdel.live.status_lines import status_lines
from bulkdel.output import Stdout, result
from bulkdel.place.opening import log_place

EVERY_S = 1.0
"""Between two looks on a terminal that can redraw its lines."""

PRINTED_EVERY_S = 5.0
"""Between two looks elsewhere: each adds its lines."""

SHARE_MAX = 0.2
"""Share of the time that may go into reading a long log, when the run cannot be asked."""


def watch(run: Path, environ: Mapping[str, str]) -> int:
    """Show the status of a run until it ends, then how it ended. run: its place.

    Returns the exit code: 141 when the reader of stdout has left (`| head`).
    """
    redraws = Stdout().isatty() and environ.get("TERM") != "dumb"
    if redraws:
        _redraw(run, environ)
    else:
        _each(run, environ, PRINTED_EVERY_S, lambda text: result(text + "\n"))
    if reader_left():
        return UNREAD
    return print_status(run, json=False, environ=environ)


def _redraw(run: Path, environ: Mapping[str, str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it, and it takes its time to load
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    with Live(console=Console(file=sys.stdout), auto_refresh=False, transient=True) as shown:
        _each(run, environ, EVERY_S, lambda text: shown.update(Text(lines_shown(text)), refresh=True))


def _each(run: Path, environ: Mapping[str, str], every_s: float, show: Callable[[str], None]) -> None:
    """Show the status at intervals until no run is under way, or nothing reads it any more."""
    while not reader_left():
        began = time.monotonic()
        if (text := _text(run, environ)) is None:
            return
        show(text)
        time.sleep(max(every_s, (time.monotonic() - began) / SHARE_MAX))


def reader_left() -> bool:
    """Whether stdout is a pipe that no process reads."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        stdout = select.poll()
        stdout.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in stdout.poll(0))
    return False


def _text(run: Path, environ: Mapping[str, str]) -> str | None:
    """The status of the run now: from the run, or else from its log. None when none is under way."""
    if (status := live_status(run, environ)) is not None:
        return "\n".join(status_lines(run, status))
    progress = read_log(log_place(run)).progress
    if (pid := holder(log_place(run), progress)) is None:
        return None
    note = "  it does not answer, so this is from its log alone"
    return "\n".join([f"{run}: running (pid {pid})", *count_lines(progress), note])
