"""The command as another user of the system, on a machine with another name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.harness import Ran, assert_permitted, environment
from tests.waits import WAIT_MAX_S

OTHER_USER = ("--user", "--map-user=65532", "--map-group=65532")
"""In a namespace of its own: the process is user 65532, and the files of the test stay its own."""


def elsewhere(folder: Path, *words: object, env: dict[str, str] | None = None) -> Ran:
    """Run the command there. env: as in `bulkdel` of the harness."""
    program = shutil.which("unshare")
    assert program is not None, "install util-linux: the command is run as another user on another machine"
    assert_permitted(program, "--uts", *OTHER_USER)
    script = f'hostname colleague && exec {program} {" ".join(OTHER_USER)} "$@"'
    done = subprocess.run(
        [program, "--uts", "sh", "-c", script, "sh", sys.executable, "-m", "bulkdel", *map(str, words)],
        cwd=folder,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=WAIT_MAX_S,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())
