"""The child processes of a batch: each is this program with the command line of one run. Owns their start and end.

A child writes its events to stderr as JSON lines. They are kept in its log, and read here for the progress.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from bulkdel.core.batch import exit_code_of
from bulkdel.core.summary import EXIT_REMAINING
from bulkdel.engine.parent import PARENT

PROGRAM = (sys.executable, "-m", "bulkdel")

READ_BYTES = 1 << 16
LINE_MAX = 1 << 20
"""Bytes of a line of stderr that is read. A longer one is only kept in the log of the child."""

RESULT_MAX = 16 << 20
"""Bytes of stdout that are read: a plan or a summary."""

Seen = Callable[[Mapping[str, Any]], None]
"""Takes each event of a child: an object with `event`."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child has ended.

    exit: its exit code. result: the JSON object that it has printed; empty without one. error: its last error, in
    words without a text of a row.
    """

    exit: int
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


class Children:
    """The child processes that are under way. They begin in the folder `base`."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._processes = set[asyncio.subprocess.Process]()

    async def run(self, words: Sequence[str], environ: Mapping[str, str], log: Path, seen: Seen) -> Ended:
        """Run one child to its end. words: its command line without the program. log: gets its stderr.

        Cancelled, it kills the child.
        """
        try:
            # A process group of its own: Ctrl-C on the terminal reaches this process only, which passes it on.
            process = await asyncio.create_subprocess_exec(
                *(*PROGRAM, *words),
                cwd=self._base,
                env={**environ, PARENT: str(os.getpid())},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                process_group=0,
            )
        except OSError as error:  # no memory, process or file descriptor is left
            return Ended(EXIT_REMAINING, error=f"its process cannot be started: {error.strerror}")
        self._processes.add(process)
        assert process.stdout is not None, "it is a pipe"
        assert process.stderr is not None, "it is a pipe"
        errors: list[str] = []

        def read(event: Mapping[str, Any]) -> None:
            if event.get("level") == "error":
                errors[:] = [str(event.get("text", ""))]
            seen(event)

        try:
            out, _ = await asyncio.gather(_result(process.stdout), _keep(process.stderr, log, read))
            returncode = await process.wait()
        finally:
            self._processes.discard(process)
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
        return Ended(exit_code_of(returncode), out, "".join(errors))

    def send_signal(self, signum: int) -> bool:
        """Send a signal to every child. Returns whether there was one."""
        found = False
        for process in self._processes:
            if process.returncode is None:
                found = True
                with suppress(ProcessLookupError):
                    process.send_signal(signum)
        return found

    def leave(self) -> None:
        """End every child at once: for a second signal, in whose handler no clean-up may wait."""
        for process in self._processes:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)


async def _result(stream: asyncio.StreamReader) -> Mapping[str, Any]:
    """The JSON object in the last line of stdout; empty without one."""
    out = bytearray()
    while part := await stream.read(READ_BYTES):
        if len(out) < RESULT_MAX:
            out += part
    *_, last = bytes(out).splitlines() or [b""]
    with suppress(orjson.JSONDecodeError):
        found = orjson.loads(last)
        if isinstance(found, dict):
            return found
    return {}


async def _keep(stream: asyncio.StreamReader, log: Path, seen: Seen) -> None:
    """Append stderr to the log, and read its lines. A log that cannot be written does not end a run."""
    fd, rest = _open(log), b""
    try:
        while part := await stream.read(READ_BYTES):
            if fd is not None:
                with suppress(OSError):
                    os.write(fd, part)
            *lines, rest = (rest + part).split(b"\n")
            rest = rest if len(rest) < LINE_MAX else b""
            for line in lines:
                with suppress(orjson.JSONDecodeError):
                    event = orjson.loads(line)
                    if isinstance(event, dict):
                        seen(event)
    finally:
        if fd is not None:
            os.close(fd)


def _open(log: Path) -> int | None:
    try:
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
