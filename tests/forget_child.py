"""`bulkdel forget` killed at every effect, for the tests: `python -m tests.forget_child FOLDER COUNT`.

The folder holds the place of a run, `x`. For each effect, a copy of the folder is made, and a forked process runs
the command there until it is killed at that effect. Then the folder is copied to `killed-…`, and the same command runs
again. Effects: writes and syncs of the log, removals, syncs of folders. Prints how many effects the whole command has.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import bulkdel.cli.app
import bulkdel.commands.forget  # so that no fork has to load it
from bulkdel.cli.main import main

assert bulkdel.cli.app
CALLS = ("write", "pwrite", "fdatasync", "fsync", "unlink")


def play(folder: Path, files: str, last: int) -> bool:
    """Run the command until effect number `last`. Returns whether it was killed there; 0: it runs to its end."""
    if (pid := os.fork()) > 0:
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    numbers = count(1)

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def done(*arguments: Any, **options: Any) -> Any:
            if next(numbers) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return done

    for name in CALLS:
        setattr(os, name, dying(getattr(os, name)))
    os.chdir(folder)
    os._exit(main(["forget", "x", "--confirm", files]))


if __name__ == "__main__":
    whole = Path(sys.argv[1])
    for number in count(1):
        copy = whole.with_name(f"{whole.name}-{number:02}")
        shutil.copytree(whole, copy)
        if not play(copy, sys.argv[2], number):
            break
        shutil.copytree(copy, copy.with_name(f"killed-{number:02}"))
        play(copy, sys.argv[2], 0)
    os.write(1, b"%d\n" % (number - 1))
