"""Starts a command from a small process, and says what it took.

A process begins with the peak memory of the one that started it: ru_maxrss is kept over exec, and until then both share
one memory. pytest has more of it than any command, and a test that holds a sandbox has more still.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

LAUNCH = """
import json, os, sys, time
began = time.perf_counter()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(pid, 0)
took = time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss
with open(sys.argv[1], "w") as report:
    json.dump(took, report)
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Took(NamedTuple):
    """What one command took."""

    wall_s: float
    cpu_s: float
    peak_kib: int


def launched(words: Sequence[str], report: Path) -> list[str]:
    """The command line that runs `words`, whose first is an absolute path, and writes what it took to `report`."""
    return [sys.executable, "-S", "-E", "-c", LAUNCH, str(report), *words]


def took(report: Path) -> Took:
    """Read the report of a command that has ended."""
    wall_s, cpu_s, peak = json.loads(report.read_text())
    return Took(wall_s, cpu_s, peak // 1024 if sys.platform == "darwin" else peak)
