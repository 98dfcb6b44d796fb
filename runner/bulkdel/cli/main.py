"""The program `bulkdel`: process set-up around one command. Runs first, so it imports nothing that is slow to load."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from _imp import lock_held
from collections.abc import Sequence
from types import FrameType

from bulkdel.imports import is_importing
from bulkdel.parent import end_with_parent

INTERRUPTED = 130

GARBAGE_MIN = 10_000
"""Objects that are made before Python looks for cycles among them; its default is 700.

A run makes a hundred objects a chunk and hardly a cycle. With the default, the search takes a seventh of its time.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code. An early Ctrl-C ends it without a traceback."""
    if lock_held():
        # Ctrl-C came before this line, and the interpreter swallowed it in a clean-up that had taken the lock of all
        # imports. Nothing gives the lock back, so the first thread that loads a module would wait for ever.
        os._exit(INTERRUPTED)
    as_usual = signal.getsignal(signal.SIGINT)
    if as_usual is signal.default_int_handler:
        # An exception during an import may come out as another one, and the exit code would be 1. During the
        # import of orjson it ends the interpreter with SIGSEGV: its native code does not expect an import to fail.
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    # `run` and `verify` print progress at this signal. By default it ends a process.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # A process inherits which signals are blocked, and Ray blocks SIGINT: a run on its node would not drain.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    _heed_signals_as_first_process()
    gc.set_threshold(GARBAGE_MIN)
    # Every library for TLS would write the keys of its sessions there, into a file that others may read.
    os.environ.pop("SSLKEYLOGFILE", None)
    _forbid_core_dumps()
    _fill_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    end_with_parent(drains=words[:1] == ["run"])
    try:
        from bulkdel.cli.app import run_app  # it takes its time, so a signal may come

        signal.signal(signal.SIGINT, _interrupt if as_usual is signal.default_int_handler else as_usual)
        code = run_app(words)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (MemoryError, ImportError) as error:
        from bulkdel.errors import BulkdelError, of_the_machine

        os.write(2, f"bulkdel: {of_the_machine(error)}\n".encode())
        return BulkdelError.exit_code
    _ignore_signals()
    return code


def _interrupt(_: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; where a command loads a module, end the process."""
    if is_importing(frame):
        os._exit(INTERRUPTED)
    raise KeyboardInterrupt


def _heed_signals_as_first_process() -> None:
    """End at SIGTERM and SIGHUP before a command has its own handlers, also as the entry point of a container.

    Process 1 of a namespace gets no signal without a handler, so a container would not stop until it is killed.
    """
    if os.getpid() == 1:
        for signum in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, lambda signum, _: os._exit(128 + signum))


def _ignore_signals() -> None:
    """Ignore signals while the interpreter ends: the output is complete, and the exit code is decided.

    The interpreter removes our handlers first, and a signal would then end the process with another exit code.
    """
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)


def _forbid_core_dumps() -> None:
    """Keep the key, the token and the ids in this memory out of a core file if the interpreter crashes.

    With a limit of 0 no file is written, and collectors such as systemd-coredump respect it. Linux's PR_SET_DUMPABLE
    would do more, but it is not in the standard library, and it would also block /proc and debuggers, which show what
    a run is waiting for.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _fill_streams() -> None:
    """Open /dev/null for each of the three standard streams that is closed.

    Otherwise the next file to be opened, perhaps the checkpoint, gets its number, and output is written into it.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - stderr
        pass
    os.close(fd)
