"""The command line: `bulkdel`. This file is what runs first, so it imports nothing that takes its time."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code. A Ctrl-C before anything has begun ends it without a traceback."""
    _fill_streams()
    try:
        from runner.cli.app import run_app  # noqa: PLC0415 - half a second in which a signal may come

        return run_app(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return INTERRUPTED


def _fill_streams() -> None:
    """Open /dev/null for each of the three standard streams that is closed.

    Else the next file that is opened, the checkpoint perhaps, gets its number, and what is printed goes into it.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - stderr
        pass
    os.close(fd)


__all__ = ["main"]
