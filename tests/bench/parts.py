"""What each part of a run costs by itself: CPU of one process, per chunk of 50 ids, the other parts switched off.

    python -m tests.bench.parts URL EXPORT-FOLDER

Prints JSON: {part: microseconds}. The parts overlap as their names say: `send` is inside `ask`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.chunker import chunks_of
from bulkdel.core.id_type import IdSet
from bulkdel.core.input_rows import Rows
from bulkdel.core.log_entries import Header, Intent, Outcome, stamp
from bulkdel.core.record import Chunk, Records
from bulkdel.core.redaction import IdRedactor
from bulkdel.core.run_state import RunState
from bulkdel.export.file import Export, open_export
from bulkdel.export.preflight import preflight
from bulkdel.export.rows import ReadOptions
from bulkdel.http.client import WorkerStatus
from bulkdel.http.connecting import connect
from bulkdel.input.run_input import NewInput
from bulkdel.job import TargetOptions, load_job
from bulkdel.place.opening import log_at
from bulkdel.place.spool import Spool
from bulkdel.settings import Settings
from tests.bench import exports
from tests.bench.bare import CHUNK, spent
from tests.bench.commands import ENVIRON
from tests.bench.stub import POOL
from tests.inputs import NO_INPUT, rows_of
from tests.recorded import RUN_ID

ROWS = 200_000
CHUNKS = ROWS // CHUNK
CONCURRENCY = 64
BEST_OF = 3
JOB = load_job("delete-users")
ID_TYPE = JOB.id_types[JOB.id_type_default]
OPTIONS = ReadOptions(id_type=ID_TYPE, id_types=JOB.id_types)


def words(url: str, folder: Path) -> list[str]:
    """The command that runs this."""
    return [sys.executable, "-m", "tests.bench.parts", url, str(folder)]


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of this process, all its threads, for one call of `work`; the best of a few."""
    found = []
    for _ in range(BEST_OF):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return min(found)


def drain(some: Iterator[object]) -> None:
    for _ in some:
        pass


def reading(folder: Path) -> dict[str, float]:
    """The export alone, format by format, and the feed on rows that are read already."""
    found: dict[str, float] = {}
    for name in exports.FORMATS:
        with open_export(str(exports.write(folder, name, ROWS).path)) as export:
            found[f"preflight {name}"] = cpu_s(partial(_check, export, folder))
            with closing(Spool.unnamed(folder)) as spool:
                rows = _into_input(export, spool, folder).rows
                found[f"read {name}"] = cpu_s(lambda: drain(rows.rows()))  # noqa: B023 - called before the next turn
                if name == "objects":
                    found |= _feeding(list(rows.rows()))
    return found


def _check(export: Export, folder: Path) -> None:
    with closing(Spool.unnamed(folder)) as spool:
        _into_input(export, spool, folder)


def _into_input(export: Export, spool: Spool, folder: Path) -> NewInput:
    """The input of an export, written as the preflight of a run does it."""
    new = NewInput(spool, str(folder))
    preflight(export, OPTIONS, rng=random.Random(0), to=lambda parsed: new.add(parsed.for_input()))
    new.finish()
    return new


def _feeding(batches: list[Rows]) -> dict[str, float]:
    nothing = IdSet()
    return {
        "feed": cpu_s(lambda: drain(chunks_of(batches, _progress(ROWS), CHUNK, nothing))),
    }


def _header(rows: int) -> Header:
    counts = {"rows": rows, "ids": rows, "excluded": 0, "duplicate": 0, "invalid": 0}
    return Header("bench", RUN_ID, stamp(time.time()), {}, "", {}, counts, None, {}, input=NO_INPUT)


def _progress(rows: int) -> RunState:
    return RunState(_header(rows))


async def _spread(each: Callable[[int], Awaitable[object]]) -> None:
    """Call `each` CHUNKS times, CONCURRENCY at a time."""
    numbers = iter(range(CHUNKS))

    async def one_after_the_other() -> None:
        for number in numbers:
            await each(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENCY):
            group.create_task(one_after_the_other())


def logging(path: Path) -> None:
    """Intents that are waited for and outcomes that are not, as the engine writes them."""
    path.unlink(missing_ok=True)
    asyncio.run(_log(Checkpoint.create(log_at(path), _header(ROWS))))


async def _log(checkpoint: Checkpoint) -> None:

    async def write(number: int) -> None:
        ranges = ((number * CHUNK, number * CHUNK + CHUNK),)
        checkpoint.enqueue(Intent(stamp(time.time()), ranges))
        await checkpoint.flush()
        checkpoint.enqueue(Outcome(stamp(time.time()), 1, "done", ranges, "r"))

    await _spread(write)
    await checkpoint.aclose()


async def _transport(url: str, *, whole: bool) -> None:
    """Requests by the run's own client. whole: by `Client.ask`, with admission and decision."""
    target = JOB.target(TargetOptions(url, {}, ENVIRON))
    action = target.action(ID_TYPE)
    chunk = Chunk(Records(tuple(range(CHUNK)), tuple(f"{i:024x}" for i in range(CHUNK))))
    (call,), ids = action.calls(chunk.records), chunk.records.ids
    async with connect(target, Settings(rate=0), pool=POOL) as client:
        await client.auth.ensure()
        headers, _ = client.auth.sign(call) or ({}, 0)

        async def ask(_: int) -> None:
            if whole:
                await client.ask(call, action.read, WorkerStatus(), IdRedactor(ids))
            else:
                await client.transport.send(call, headers)

        await _spread(ask)


def sending(url: str, folder: Path) -> dict[str, float]:
    """What is done for one request, part by part."""
    action = JOB.target(TargetOptions(url, {}, ENVIRON)).action(ID_TYPE)
    chunks = list(_chunks(ROWS))
    return {
        "bare loop": cpu_s(lambda: asyncio.run(spent(url, CHUNKS, CONCURRENCY, 0))),
        "send": cpu_s(lambda: asyncio.run(_transport(url, whole=False))),
        "ask": cpu_s(lambda: asyncio.run(_transport(url, whole=True))),
        "body": cpu_s(lambda: [action.calls(chunk.records) for chunk in chunks]),
        "ranges": cpu_s(lambda: [chunk.records.ranges for chunk in chunks]),
        "log": cpu_s(lambda: logging(folder / "parts.log")),
    }


def _chunks(rows: int) -> Iterator[Chunk]:
    yield from chunks_of([rows_of(list(exports.ids(rows)))], _progress(rows), CHUNK, IdSet())


def main() -> None:
    url, folder = sys.argv[1], Path(sys.argv[2])
    found = {**reading(folder), **sending(url, folder)}
    print(json.dumps({name: seconds * 1e6 / CHUNKS for name, seconds in found.items()}))


if __name__ == "__main__":
    main()
