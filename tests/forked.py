"""Runs the command in a process that is forked from one that has loaded the program already.

Most of what a short command costs is the loading of Python modules: half a second of a processor, thousands of times
in `make test`. The fork server of `multiprocessing` loads them once for each worker of pytest. A forked command is a
process of its own, with its own arguments, environment, folder and streams; only `exec` and the imports are spared.

Not used where the start itself matters: another command, settings of the interpreter, limits, a session of its own.
"""

from __future__ import annotations

import os
import posix
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from multiprocessing import connection, get_context, reduction
from multiprocessing.context import ForkServerContext
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import IO, Any, NoReturn, Self

LOADED = (
    *("tests.forked", "bulkdel.cli.app", "bulkdel.commands.run", "bulkdel.commands.verify"),
    *("bulkdel.commands.status", "bulkdel.commands.results", "bulkdel.commands.report", "bulkdel.commands.restore"),
    *("bulkdel.commands.forget", "bulkdel.commands.pack", "bulkdel.commands.unpack", "bulkdel.commands.batch"),
    *("bulkdel.commands.several", "encodings.idna", "structlog", "tests.warm"),
)
OFF = "TESTS_EXEC"
"""In the environment: each command is started by `exec`. The program refuses a BULKDEL_… that it does not know."""

READ_AT_THE_START = ("PYTHON", "COVERAGE", "LD_", "LC_", "LANG", "MALLOC")
"""Beginnings of the names that Python and the system read when a program starts."""

FOLDERS = "PYTHONPATH"
"""The exception: a forked process puts its new folders first in sys.path."""

PIPED = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
STREAMS = tuple(PIPED)

_TURN = Lock()
"""Held while a process starts or an exit code is read: `multiprocessing` reads each code once, in any thread."""


def usable(env: Mapping[str, str], popen: Mapping[str, Any]) -> bool:
    """Whether a forked process would do the same as one that is started by `exec` with these arguments of Popen."""
    known = popen.keys() <= {*STREAMS, "cwd", "umask"} and popen["stderr"] != subprocess.STDOUT
    keeps = set(_folders(env)) >= set(_folders(os.environ))
    return known and OFF not in os.environ and keeps and _of_start(env) == _of_start(os.environ)


class Forked:
    """A running command, with the part of `subprocess.Popen` that the tests use."""

    stdin: IO[bytes] | None = None
    stdout: IO[bytes] | None = None
    stderr: IO[bytes] | None = None

    def __init__(self, words: Sequence[str], env: Mapping[str, str], popen: Mapping[str, Any]) -> None:
        theirs = [self._stream(name, popen[name]) for name in STREAMS]
        place = popen.get("cwd") or Path.cwd(), popen.get("umask", -1)
        arguments = (list(words), dict(env), *place, [_Fd(fd) for fd in theirs])
        self._process = context().Process(target=_command, args=arguments)
        with _TURN:
            self._process.start()
        for fd in theirs:
            os.close(fd)
        self.args = ["bulkdel", *words]
        pid = self._process.pid
        assert pid is not None
        self.pid = pid

    def _stream(self, name: str, given: Any) -> int:
        """The command's end of a stream; ours becomes an attribute if it is a pipe."""
        if given == subprocess.DEVNULL:
            return os.open(os.devnull, os.O_RDWR)
        if given != subprocess.PIPE:
            return os.dup(given if isinstance(given, int) else given.fileno())
        reading, writing = os.pipe()
        ours, theirs, mode = (writing, reading, "wb") if name == "stdin" else (reading, writing, "rb")
        setattr(self, name, os.fdopen(ours, mode))
        return theirs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        with _TURN:
            return self._process.exitcode

    def poll(self) -> int | None:
        """As `returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises TimeoutExpired."""
        connection.wait([self._process.sentinel], timeout)
        code = self.returncode
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def send_signal(self, signum: int) -> None:
        """Send a signal, if it still runs. The fork server may have seen its end a moment before this process."""
        with suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, signum)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def communicate(self, given: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Write `given`, read all that it writes and wait for its end: stdout, stderr.

        Raises TimeoutExpired; then it still runs.
        """
        threads = ThreadPoolExecutor(3)
        threads.submit(self._write, given or b"")
        out, err = (threads.submit(stream.read if stream else bytes) for stream in (self.stdout, self.stderr))
        try:
            self.wait(timeout)
            return out.result(), err.result()
        finally:
            threads.shutdown(wait=False)
            if out.done() and err.done():
                for stream in filter(None, (self.stdout, self.stderr)):
                    stream.close()

    def _write(self, given: bytes) -> None:
        if self.stdin is not None:
            with suppress(BrokenPipeError), self.stdin:
                self.stdin.write(given)


class _Fd:
    """A file descriptor on its way to the forked process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.fd),)


def _received(duplicate: Any) -> _Fd:
    return _Fd(duplicate.detach())


@cache
def context() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    return context


def _of_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(READ_AT_THE_START) and name != FOLDERS}


def _folders(env: Mapping[str, str]) -> list[str]:
    return [folder for folder in env.get(FOLDERS, "").split(os.pathsep) if folder]


def _save_own_coverage() -> None:
    """Where coverage is measured, save that of this process at its end.

    By default it also saves what its parent had measured before the fork, which is the same for every command, large,
    and half of the time that a short command takes.
    """
    coverage = sys.modules.get("coverage")
    if coverage is None or (current := coverage.Coverage.current()) is None:
        return

    def save_and_exit(status: int) -> NoReturn:
        current.save()
        posix._exit(status)  # noqa: SLF001 - `os._exit` is replaced

    os._exit = save_and_exit


def _command(words: list[str], env: dict[str, str], cwd: Path, umask: int, streams: list[_Fd]) -> None:
    """Become the command, in the forked process."""
    from bulkdel.cli.main import main

    _save_own_coverage()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    if umask >= 0:
        os.umask(umask)
    for fd, opened in enumerate(streams):
        os.dup2(opened.fd, fd)
        os.close(opened.fd)
    # As the interpreter opens them.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False, buffering=1 if os.isatty(1) else -1)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1, errors="backslashreplace")  # noqa: SIM115
    sys.path[:0] = [folder for folder in _folders(env) if folder not in sys.path]
    sys.argv = ["bulkdel", *words]
    sys.exit(main())
