"""A long run that never was: its export and its log, as the engine would have left them, for what reads them."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Iterator
from pathlib import Path

from bulkdel.core.log_entries import Entry, Header, Intent, Outcome, Session
from tests.inputs import rows_of, write_input
from tests.places import log_of
from tests.recorded import RUN_ID, encode_line

AT = "2026-01-01T00:00:00.000Z"
CHUNK, IN_FLIGHT = 50, 16
ROWS_AT_ONCE = 10_000

NAMES = {"done": "deleted", "absent": "absent"}


def write_export(path: Path, count: int) -> tuple[str, int]:
    """`count` user ids as JSON Lines; returns SHA-256 and size."""
    sha, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for first in range(0, count, ROWS_AT_ONCE):
            text = "".join(f'{{"id":"{id_}"}}\n' for id_ in _ids(first, count)).encode()
            file.write(text)
            sha.update(text)
            size += len(text)
    return sha.hexdigest(), size


def _ids(first: int, count: int) -> list[str]:
    return [f"{i:024x}" for i in range(first, min(first + ROWS_AT_ONCE, count))]


def commits(count: int, rng: random.Random) -> Iterator[list[Entry]]:
    """Intents in order, outcomes as a server answers: IN_FLIGHT chunks under way, any of them the next to end."""
    flying: list[tuple[int, int]] = []
    for start in range(0, count, CHUNK):
        flying.append((start, min(start + CHUNK, count)))
        line: list[Entry] = [Intent(AT, (flying[-1],))]
        if len(flying) == IN_FLIGHT:
            line.append(_outcome(flying.pop(rng.randrange(IN_FLIGHT)), rng))
        yield line
    while flying:
        yield [_outcome(flying.pop(rng.randrange(len(flying))), rng)]


def _outcome(chunk: tuple[int, int], rng: random.Random) -> Outcome:
    return Outcome(AT, 1, "done", (chunk,), str(uuid.UUID(int=rng.getrandbits(128))))


def make_run(export: Path, count: int) -> Path:
    """Write export and log of a complete run of `count` ids; returns the log."""
    sha256, size = write_export(export, count)
    log = log_of(export)
    make_part(log, export, count, done=count, sha256=sha256, size=size, host="sandbox", pool="p")
    return log


def make_part(log: Path, export: Path, count: int, *, done: int, sha256: str, size: int, host: str, pool: str) -> None:
    """Write the log of a run over an export that is there, which was stopped when its first `done` ids were settled.

    Its rows are those of `write_export`.
    """
    source = {
        "format": "jsonl",
        "compression": "none",
        "delimiter": None,
        "header": False,
        "id_field": "id",
        "id_column": None,
        "sep_line": False,
        "trim": False,
        "skip_invalid": False,
        "id_pattern": None,
    }
    pinned = {
        "job": "delete-users",
        "host": host,
        "pool": pool,
        "id_type": "user_id",
        "source": source,
        "sha256": sha256,
        "bytes": size,
    }
    counts = {"rows": count, "ids": count, "excluded": 0, "duplicate": 0, "invalid": 0}
    confirmed = {"ids": count, "pool": pool, "how": "x"}
    log.parent.mkdir(parents=True, exist_ok=True)
    pins = write_input(log, (rows_of(_ids(first, count), first) for first in range(0, count, ROWS_AT_ONCE)))
    header = Header("bulkdel 0", RUN_ID, AT, pinned, str(export), {}, counts, None, confirmed, NAMES, input=pins)
    sha, seq = hashlib.sha256(), 0
    with log.open("wb") as file:

        def put(entries: list[Entry]) -> None:
            nonlocal seq
            seq += 1
            line = encode_line(seq, entries)
            sha.update(line)
            file.write(line)

        put([header])
        put([Session("start", AT, sha.hexdigest(), {"user": "u", "machine": "m"})])
        for entries in commits(done, random.Random(count)):
            put(entries)
        status = "complete" if done == count else "interrupted"
        put([Session("stop", AT, sha.hexdigest(), {"why": "done", "status": status, "exit": 0})])
