"""`--watch`: shows what was found again and again, on any terminal."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from bulkdel.output import Stdout, result, shape_on

EVERY_S = 1.0
"""Between two looks on a terminal that can redraw its lines."""

PRINTED_EVERY_S = 5.0
"""Between two looks elsewhere: each adds its lines."""

SHARE_MAX = 0.2
"""Share of the time that may go into the looks: a long log takes its time when no process can be asked."""

CLEAR = "\x1b[H\x1b[2J"
"""Empties a terminal. It is written apart from the texts, in which everything that steers a terminal is escaped."""


def watch(look: Callable[[], str | None]) -> bool:
    """Show what `look` finds, at intervals, until it finds nothing. Returns False when nothing reads it any more."""
    redrawn = shape_on(Stdout()) == "redrawn"
    while not reader_left():
        began, text = time.monotonic(), look()
        if redrawn:
            Stdout().write(CLEAR)
        if text is None:
            return True
        result(text if redrawn else f"{text}\n")
        time.sleep(max(EVERY_S if redrawn else PRINTED_EVERY_S, (time.monotonic() - began) / SHARE_MAX))
    return False


def reader_left() -> bool:
    """Whether stdout is a pipe that no process reads."""
    with suppress(OSError, ValueError, AttributeError):
        stdout = select.poll()
        stdout.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in stdout.poll(0))
    return False
