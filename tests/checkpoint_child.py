"""A process that writes a checkpoint, for the tests to kill, starve and trace: `python -m tests.checkpoint_child`.

Each but `annotate` opens the log and begins a session.

hold: say so, close the log when stdin ends. Exits 3 with the message when it may not.
write: one outcome per row from where the log ends, each told on stdout when it is durable, to the last row or to death.
annotate: annotate copies of the log `torn` in a folder; each copy in a process that is killed at another call.
fill: the same with padded entries until writing fails; then try more, and tell the story as one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.annotation import annotate
from bulkdel.checkpoint.reader import is_fresh
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.log_entries import Outcome, Session
from bulkdel.durable import Disk, sync, sync_directory, truncate, write_all, write_at
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.place.log_file import LogFile
from bulkdel.place.opening import log_at
from bulkdel.world import World
from tests import recorded

ROWS = 100_000


def tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def opened(path: Path) -> Checkpoint:
    return (
        Checkpoint.create(log_at(path), recorded.header(ROWS))
        if is_fresh(log_at(path))
        else Checkpoint.resume(log_at(path))
    )


def hold(checkpoint: Checkpoint) -> None:
    tell(f"held {os.getpid()}")
    sys.stdin.read()


async def write(checkpoint: Checkpoint, stop: int) -> None:
    for row in range(checkpoint.progress.settled.size, stop):
        await recorded.append(checkpoint, recorded.deleted(row, row + 1))
        tell(f"durable {row}")


async def fill(checkpoint: Checkpoint) -> None:
    durable = checkpoint.progress.settled.size
    pad = ({"position": 0, "id": "x" * 900},)
    try:
        while True:
            await recorded.append(
                checkpoint, Outcome(recorded.AT, 1, "unknown", ((durable, durable + 1),), exceptions=pad)
            )
            durable += 1
            tell(f"durable {durable}")
    except FileFailed as error:
        first = error
    tell("failed")
    later = (recorded.append(checkpoint, recorded.deleted(durable, durable + 1)) for _ in range(3))
    same = [error is first for error in await asyncio.gather(*later, return_exceptions=True)]
    await checkpoint.aclose()
    tell(json.dumps({"durable": durable, "message": str(first), "same": same}))


ANNOTATION_CALLS = 6
"""Calls that change a log with a torn tail: cut the tail, write the last line again, sync it and its folder; write the
annotation, sync it."""


def annotate_and_die(torn: Path, call: int, *, halfway: bool) -> None:
    """Annotate a copy of `torn` in a process that is killed at the given call, before it or half-way through it."""
    path = torn.with_name(f"log-{call}-{halfway:d}.jsonl")
    shutil.copy(torn, path)
    if (pid := os.fork()) > 0:
        _, status = os.waitpid(pid, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        return
    calls = 0

    def dying(real: Callable[..., None]) -> Callable[..., None]:
        def done(*arguments: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == call:
                if halfway:
                    halves = (each[: len(each) // 2] if isinstance(each, bytes) else each for each in arguments)
                    real(*halves)
                os.kill(os.getpid(), signal.SIGKILL)
            real(*arguments)

        return done

    disk = Disk(dying(write_all), dying(write_at), dying(truncate), dying(sync), dying(sync_directory))
    annotate(LogFile(path.parent, path.name, world=World(disk=disk)), "undo", {"state": "begun"}, recorded.AT)
    os._exit(1)  # it was not killed


def main(mode: str, path: Path, stop: int = ROWS) -> None:
    try:
        checkpoint = opened(path)
    except (NotAcceptable, FileFailed) as error:
        tell(str(error))
        sys.exit(error.exit_code)
    asyncio.run(recorded.append(checkpoint, Session("start", recorded.AT, "", {"pid": os.getpid()})))
    if mode == "hold":
        hold(checkpoint)
    else:
        asyncio.run(write(checkpoint, stop) if mode == "write" else fill(checkpoint))
    checkpoint.close()


if __name__ == "__main__":
    if sys.argv[1] == "annotate":
        for number in range(1, ANNOTATION_CALLS + 1):
            for half in (False, True):
                annotate_and_die(Path(sys.argv[2]) / "torn", number, halfway=half)
        sys.exit()
    if os.environ.get("MUTANT") == "no fdatasync":
        os.fdatasync = lambda fd: None
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
