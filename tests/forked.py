"""Runs the command in a process that is forked from one that has loaded the program already.

Most of what a short command costs is the loading of Python modules: half a second of a processor, thousands of times
in `make test`. The fork server of `multiprocessing` loads them once for each worker of pytest. A forked command is a
process of its own, with its own arguments, environment, folder and streams; only `exec` and the imports are spared.

Not used where the start itself matters: another command, settings of the interpreter, coverage.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

LOADED = (
    *("tests.forked", "bulkdel.cli.app", "bulkdel.commands.run", "bulkdel.commands.verify"),
    *("bulkdel_jobs.delete_users", "structlog"),
)
OFF = "BULKDEL_TESTS_EXEC"
"""In the environment: every command is started by `exec`."""

READ_AT_THE_START = ("PYTHON", "COVERAGE", "LD_", "MALLOC")
"""Beginnings of the names that Python and the system read when a program starts."""


def usable(env: Mapping[str, str], popen: Mapping[str, Any]) -> bool:
    """Whether a forked process would do the same as one that is started by `exec`."""
    alone = popen == {"stdin": subprocess.DEVNULL}
    return alone and OFF not in os.environ and "coverage" not in sys.modules and _of_start(env) == _of_start(os.environ)


def run(words: Sequence[str], env: Mapping[str, str], cwd: Path | None, timeout_s: float) -> tuple[int, bytes, bytes]:
    """Run `bulkdel` with `words` to its end: exit code (negative for a signal), stdout, stderr."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "stdout", Path(folder) / "stderr"
        process = _context().Process(target=_command, args=(list(words), dict(env), cwd or Path.cwd(), out, err))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(words), timeout_s, out.read_bytes(), err.read_bytes())
        return process.exitcode, out.read_bytes(), err.read_bytes()


@cache
def _context() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    return context


def _of_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(READ_AT_THE_START)}


def _command(words: list[str], env: dict[str, str], cwd: Path, out: Path, err: Path) -> None:
    """Become the command, in the forked process."""
    from bulkdel.cli.main import main

    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for fd, path, flags in (
        (0, Path(os.devnull), os.O_RDONLY),
        (1, out, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, err, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, fd)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - multiprocessing has closed the one that was there
    sys.argv = ["bulkdel", *words]
    sys.exit(main())
