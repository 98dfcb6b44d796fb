"""A run that was stopped at nine tenths, made up, and how soon the real command goes on with it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.bench import commands, exports
from tests.bench.stub import POOL
from tests.madeup import make_part
from tests.places import log_of


def first_s(url: str, folder: Path, count: int) -> float:
    """Seconds from the start of the command to its first new deletion, the export in the page cache."""
    made = exports.write(folder, "objects", count)
    log = log_of(made.path)
    make_part(log, made.path, count, done=count // 10 * 9, sha256=made.sha256, size=made.size, host=url, pool=POOL)
    try:
        return commands.ours(url, made, "--rate", 0, "--concurrency", 64, place=log.parent, new=False).first_s
    finally:
        made.path.unlink()
        shutil.rmtree(log.parent)
