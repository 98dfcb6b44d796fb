"""The command line: `bulkdel`. This file is what runs first, so it imports nothing that takes its time."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Sequence

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code. A Ctrl-C before anything has begun ends it without a traceback."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # by default it ends a program; `run` and `verify` tell the progress
    _forbid_core_dumps()
    _fill_streams()
    try:
        from bulkdel.cli.app import run_app  # noqa: PLC0415 - half a second in which a signal may come

        code = run_app(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return INTERRUPTED
    _ignore_signals()
    return code


def _ignore_signals() -> None:
    """Keep the exit code from here on: everything is told, and the interpreter takes some time to end.

    It takes our handlers away before that. By default a signal would then end the process, with another exit code.
    """
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)


def _forbid_core_dumps() -> None:
    """Keep key, token and ids, all of which are in this memory, out of a core file if the interpreter should crash.

    A limit of 0 is enough: no file is written, and systemd-coredump and its kin, to which the kernel would pipe one all
    the same, keep to it. Linux's PR_SET_DUMPABLE would go further, but it is not in the standard library, and it takes
    /proc and the debuggers away from whoever wants to know what a run is waiting for.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _fill_streams() -> None:
    """Open /dev/null for each of the three standard streams that is closed.

    Else the next file that is opened, the checkpoint perhaps, gets its number, and what is printed goes into it.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - stderr
        pass
    os.close(fd)


__all__ = ["main"]
