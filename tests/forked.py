"""Runs the command in a process that is forked from one that has loaded the program already.

Most of what a short command costs is the loading of Python modules: half a second of a processor, thousands of times
in `make test`. The fork server of `multiprocessing` loads them once for each worker of pytest. A forked command is a
process of its own, with its own arguments, environment, folder and streams; only `exec` and the imports are spared.

Not used where the start itself matters: another command, settings of the interpreter, coverage, streams of the
caller's, a session of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from multiprocessing import get_context, reduction
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LOADED = (
    *("tests.forked", "bulkdel.cli.app", "bulkdel.commands.run", "bulkdel.commands.verify"),
    *("bulkdel_jobs.delete_users", "structlog"),
)
OFF = "BULKDEL_TESTS_EXEC"
"""In the environment: every command is started by `exec`."""

READ_AT_THE_START = ("PYTHON", "COVERAGE", "LD_", "MALLOC")
"""Beginnings of the names that Python and the system read when a program starts."""

PIPED = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def usable(env: Mapping[str, str], popen: Mapping[str, Any]) -> bool:
    """Whether a forked process would do the same as one that is started by `exec` with these arguments of Popen."""
    alone = {name: value for name, value in popen.items() if name != "cwd"} == PIPED
    return alone and OFF not in os.environ and _of_start(env) == _of_start(os.environ)


class Forked:
    """A running command, with the part of `subprocess.Popen` that the tests use."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str], cwd: Path | None = None) -> None:
        out, its_out = os.pipe()
        err, its_err = os.pipe()
        arguments = (list(words), dict(env), cwd or Path.cwd(), _Fd(its_out), _Fd(its_err))
        self._process = _context().Process(target=_command, args=arguments)
        self._process.start()
        os.close(its_out)
        os.close(its_err)
        self.args = ["bulkdel", *words]
        self.stdout, self.stderr = os.fdopen(out, "rb"), os.fdopen(err, "rb")
        pid = self._process.pid
        assert pid is not None
        self.pid = pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises TimeoutExpired."""
        self._process.join(timeout)
        code = self._process.exitcode
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

    def communicate(self, _input: None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Read all that it writes and wait for its end: stdout, stderr. Raises TimeoutExpired; then it still runs.

        It reads /dev/null, so there is no input.
        """
        threads = ThreadPoolExecutor(2)
        out, err = (threads.submit(stream.read) for stream in (self.stdout, self.stderr))
        try:
            self.wait(timeout)
            return out.result(), err.result()
        finally:
            threads.shutdown(wait=False)
            if out.done() and err.done():
                self.stdout.close()
                self.stderr.close()


class _Fd:
    """A file descriptor on its way to the forked process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.fd),)


def _received(duplicate: Any) -> _Fd:
    return _Fd(duplicate.detach())


@cache
def _context() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    return context


def _of_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(READ_AT_THE_START)}


def _command(words: list[str], env: dict[str, str], cwd: Path, out: _Fd, err: _Fd) -> None:
    """Become the command, in the forked process."""
    from bulkdel.cli.main import main

    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    null = os.open(os.devnull, os.O_RDONLY)
    for fd, opened in ((0, null), (1, out.fd), (2, err.fd)):
        os.dup2(opened, fd)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - multiprocessing has closed the one that was there
    sys.argv = ["bulkdel", *words]
    sys.exit(main())
