"""A process that writes a checkpoint, for the tests to kill, starve and trace: `python -m tests.checkpoint_child`.

Each opens the log and begins a session.

hold: say so, close the log when stdin ends. Exits 3 with the message when it may not.
write: one outcome per row from where the log ends, each told on stdout when it is durable, to the last row or to death.
fill: the same with padded entries until writing fails; then try more, and tell the story as one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from bulkdel.checkpoint.reader import is_fresh
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.log_entries import Outcome, Session
from bulkdel.errors import FileFailed, NotAcceptable
from tests import recorded

ROWS = 100_000


def tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def opened(path: Path) -> Checkpoint:
    return Checkpoint.create(path, recorded.header(ROWS)) if is_fresh(path) else Checkpoint.resume(path)


def hold(checkpoint: Checkpoint) -> None:
    tell(f"held {os.getpid()}")
    sys.stdin.read()


async def write(checkpoint: Checkpoint, stop: int) -> None:
    for row in range(checkpoint.progress.settled.size, stop):
        await recorded.append(checkpoint, recorded.deleted(row, row + 1))
        tell(f"durable {row}")


async def fill(checkpoint: Checkpoint) -> None:
    durable = checkpoint.progress.settled.size
    pad = ({"id": "x" * 900},)
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
    if os.environ.get("MUTANT") == "no fdatasync":
        os.fdatasync = lambda fd: None
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
