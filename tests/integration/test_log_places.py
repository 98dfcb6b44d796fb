"""One suite for every place of a log: a file, a directory as a store, S3, an S3 that lies, and memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulkdel.checkpoint.annotation import annotate
from bulkdel.checkpoint.audit import audit
from bulkdel.checkpoint.reader import RUN as RUN_LOG
from bulkdel.checkpoint.reader import begins_as, header_of, is_fresh, read_log, reading
from bulkdel.checkpoint.takeover import holder, is_locked, locked
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.log_entries import Session
from bulkdel.core.run_state import RunState
from bulkdel.core.shards import shard_header
from bulkdel.errors import NotAcceptable
from bulkdel.input.skipped import packed
from bulkdel.place.lease import Terms
from bulkdel.place.log_file import LogFile
from bulkdel.place.log_objects import LogObjects
from bulkdel.place.log_place import INPUT, LogPlace, PinnedFile
from bulkdel.place.opening import log_at
from bulkdel.store_path import store_path
from bulkdel.world import World
from tests import recorded
from tests.memory_log import LogInMemory
from tests.mutants import mutant
from tests.objectserver import Lie, object_server
from tests.syntax import drop

TERMS = Terms(patience_s=20.0, world=World(lease_s=0.3))
LIES = dict.fromkeys(Lie, 0.05)
LEFT_OUT = recorded.skipped(duplicate=[(1, 3)], excluded=[(5, 6)])
SKIPPED = packed(LEFT_OUT, 20)
SKIPPED_ROWS = PinnedFile("skipped", str(recorded.header(20, LEFT_OUT).skipped_sha256))


@pytest.fixture(params=["file", "memory", "directory", "s3", "s3 that lies"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LogPlace]:
    match request.param:
        case "file":
            yield log_at(tmp_path / "log.jsonl")
        case "memory":
            yield LogInMemory(Path("memory/ids"))
        case "directory":
            yield log_at(store_path(f"file://{tmp_path}/store"), TERMS)
        case _:
            with object_server(seed=27) as served:
                for name, value in served.environ.items():
                    monkeypatch.setenv(name, value)
                served.switch(shares=LIES if "lies" in request.param else {})
                yield log_at(store_path("s3://bucket/run"), TERMS)


def made(place: LogPlace) -> Checkpoint:
    return Checkpoint.create(place, recorded.header(20, LEFT_OUT), LEFT_OUT)


async def session(place: LogPlace, *rows: int, pid: int = 1) -> RunState:
    """A whole session that settles these rows."""
    log = Checkpoint.resume(place)
    await recorded.append(log, Session("start", recorded.AT, "", {"pid": pid}))
    for row in rows:
        await recorded.append(log, recorded.deleted(row, row + 1))
    await recorded.append(log, Session("stop", recorded.AT, "", {"why": "done"}))
    await log.aclose()
    assert log.failure is None, log.failure
    return log.progress


def test_nothing_is_there_at_first(place: LogPlace) -> None:
    assert is_fresh(place)
    assert place.shard_log() is None
    with pytest.raises(NotAcceptable):
        read_log(place)
    with pytest.raises(NotAcceptable):
        Checkpoint.resume(place)
    assert is_fresh(place), "to look leaves nothing"


async def test_what_is_written_is_read_and_gone_on_with(place: LogPlace) -> None:
    made(place).close()
    assert not is_fresh(place)
    assert header_of(place) == recorded.header(20, LEFT_OUT)
    await session(place, 0, 3)
    written = await session(place, 4, 6, 7)
    read = read_log(place)
    assert (read.progress.counts["done"], read.progress.sessions) == (5, 2)
    assert read.progress.skipped == LEFT_OUT == written.skipped
    assert (read.damaged_tail, audit(place).fault) == (0, None)
    assert begins_as(place, (1, _sha256_of_lines(place, 1)))
    assert not begins_as(place, (2, _sha256_of_lines(place, 1)))


def _sha256_of_lines(place: LogPlace, count: int) -> str:
    with reading(place, RUN_LOG) as reader:
        for _ in reader.commits():
            if reader.seq == count:
                break
        return reader.sha.hexdigest()


async def test_a_log_that_is_there_is_not_made_again(place: LogPlace) -> None:
    made(place).close()
    await session(place, 0)
    before = read_log(place).sha256
    with pytest.raises(NotAcceptable, match=r"a log exists already|the log of another run"):
        Checkpoint.create(place, recorded.header(20))
    assert read_log(place).sha256 == before


async def test_of_two_processes_one_writes(place: LogPlace) -> None:
    """The second one is refused when it opens the log, or at its first line. No line of it is in the log."""
    made(place).close()
    first = Checkpoint.resume(place)
    second = None
    try:
        second = Checkpoint.resume(place)
    except NotAcceptable as error:
        assert "is under way" in str(error)  # noqa: PT017 - a store refuses later
    await recorded.append(first, Session("start", recorded.AT, "", {"pid": 1}))
    if second is not None:
        second.enqueue(Session("start", recorded.AT, "", {"pid": 2}))
        with pytest.raises(NotAcceptable, match=r"pid 1.* has begun before this one"):
            await second.begun()
        second.close()
    await recorded.append(first, recorded.deleted(0, 1))
    await first.aclose()
    assert first.failure is None
    assert [start.facts["pid"] for start in _starts(place)] == [1]


def _starts(place: LogPlace) -> list[Session]:
    with reading(place, RUN_LOG) as reader:
        return [
            entry for _, line in reader.folding() for entry in line
            if isinstance(entry, Session) and entry.event == "start"
        ]  # fmt: skip


async def test_whether_a_process_writes_it(place: LogPlace) -> None:
    made(place).close()
    assert not is_locked(place)
    log = Checkpoint.resume(place)
    await recorded.append(log, Session("start", recorded.AT, "", {"pid": 7}))
    seq, *_ = _read(place)
    assert place.watch(seq + 1) is None, "in a store nothing has written it; a lock tells at once"
    if place.is_held() is not None:
        assert (is_locked(place), holder(place, log.progress)) == (True, 7)
        with pytest.raises(NotAcceptable, match=r"another run \(pid 7\) is under way"), locked(place):
            raise AssertionError("it is not locked")
    await recorded.append(log, Session("stop", recorded.AT, "", {"why": "done"}))
    await log.aclose()
    assert not is_locked(place)
    with locked(place):
        assert read_log(place).progress.sessions == 1


@mutant(
    "a commit to a store does not renew the lease",
    "WritableObjects.append",
    drop("self.lease.renew(began)"),
    case="directory",
)
async def test_the_lease_is_valid_while_the_log_is_written(place: LogPlace) -> None:
    made(place).close()
    log = Checkpoint.resume(place)
    await recorded.append(log, Session("start", recorded.AT, "", {"pid": 1}))
    assert log.lease.valid
    assert log.lease.predecessor_s == 0.0
    assert (log.lease.length_s is None) is (place.is_held() is not None)
    assert log.lease.length_s is not None or not log.lease.renewal_due
    await log.aclose()


async def test_the_logs_of_shards_lie_beside_it(place: LogPlace) -> None:
    made(place).close()
    shard = place.shard(2)
    assert is_fresh(shard)
    made(place.shard(1)).close()
    made(shard).close()
    assert place.shard_log() is not None
    await session(shard, 0)
    assert (read_log(shard).progress.settled.size, read_log(place).progress.settled.size) == (1, 0)


def test_a_creation_that_was_killed_is_completed(place: LogPlace) -> None:
    """The skipped rows are there, and no header."""
    place.writable(new=True, another=True).close()
    place.keep(SKIPPED_ROWS, SKIPPED)
    assert is_fresh(place)
    with pytest.raises(NotAcceptable):
        read_log(place)
    made(place).close()
    assert read_log(place).progress.skipped == LEFT_OUT


def test_skipped_rows_are_found_by_their_sha256(place: LogPlace) -> None:
    made(place).close()
    file = place.open(SKIPPED_ROWS)
    assert file is not None
    assert (file.read_at(0, 1_000), file.size) == (SKIPPED, len(SKIPPED))
    file.close()
    # In a folder the name is fixed: the SHA-256 is compared afterwards.
    other = place.open(PinnedFile("skipped", "0" * 64))
    assert other is None or isinstance(place, LogFile)
    if other is not None:
        other.close()


def test_a_spool_gets_its_name_and_any_part_of_it_is_read(place: LogPlace) -> None:
    data, rows = bytes(range(251)) * 50_000, PinnedFile(INPUT, "a" * 64)  # more than two objects of a store
    spool = place.spool()
    place.writable(new=True, another=True).close()
    for at in range(0, len(data), 1 << 20):
        spool.write(data[at : at + (1 << 20)])
    place.keep(rows, spool)
    assert spool.read_at(100, 5) == data[100:105], "it is still open"
    spool.close()
    for start, size in ((0, 10), (4_194_300, 10), (8_388_608, 100), (len(data) - 5, 5), (0, len(data))):
        file = place.open(rows, start, start + size)
        assert file is not None
        assert file.read_at(start, size) == data[start : start + size]
        file.close()


def test_a_spool_that_gets_no_name_leaves_nothing(place: LogPlace, tmp_path: Path) -> None:
    spool = place.spool()
    spool.write(b"personal")
    spool.close()
    assert is_fresh(place)
    made(place).close()
    assert place.open(PinnedFile(INPUT, "a" * 64)) is None
    assert not [*tmp_path.rglob("*.part")]


def test_another_file_in_the_place_of_the_skipped_rows(place: LogPlace) -> None:
    """A file is replaced, and nothing else is in a store. Then there is no log, and the message says why."""
    place.writable(new=True, another=True).close()
    place.keep(SKIPPED_ROWS, b"other")
    if isinstance(place, LogObjects):
        with pytest.raises(
            NotAcceptable, match=f"skipped/{SKIPPED_ROWS.sha256}/000000000001: an object is there with other"
        ):
            made(place)
        assert is_fresh(place)
    else:
        made(place).close()
        assert read_log(place).progress.skipped == LEFT_OUT


async def test_the_log_of_a_shard_that_contradicts_its_skipped_rows_is_named(place: LogPlace) -> None:
    run = replace(recorded.header(20, LEFT_OUT), shards=(10,))
    log, (part, own) = Checkpoint.create(place, run, LEFT_OUT), shard_header(run, LEFT_OUT, 1)
    await recorded.append(log, Session("start", recorded.AT, "", {"pid": 1}))
    await log.aclose()
    forged = replace(part, counts={**part.counts, "ids": part.counts["ids"] + 2, "duplicate": 0})
    line = recorded.encode_line(1, [forged])
    lines: Any = place.shard(1).writable(new=True, another=True)
    lines.append(1, line)
    lines.close()
    Checkpoint.create(place.shard(2), *shard_header(run, LEFT_OUT, 2)).close()
    assert own.rows.size == 3
    with pytest.raises(NotAcceptable) as failed:
        read_log(place)
    assert str(place.shard(1).where) in str(failed.value)


async def test_its_end_moves(place: LogPlace) -> None:
    assert not place.end()
    made(place).close()
    before = place.end()
    assert before == place.end() != 0
    annotate(place, "undo", {"state": "begun"}, recorded.AT)
    assert place.end() != before
    assert read_log(place).progress.annotations


def test_a_line_that_is_damaged_refuses_the_log(place: LogPlace) -> None:
    made(place).close()
    lines: Any = place.writable(new=False, another=False)
    seq, size, last = _read(place)
    lines.settle(seq, size, last)
    good = recorded.encode_line(seq + 1, [Session("start", recorded.AT, "", {"pid": 1})])
    lines.append(seq + 1, good.replace(b'"pid":1', b'"pid":2'))
    lines.append(seq + 2, recorded.encode_line(seq + 2, [recorded.deleted(0, 1)]))
    lines.close()
    for read in (read_log, Checkpoint.resume):
        with pytest.raises(NotAcceptable, match=f"line {seq + 1}.*{place.kept_as}"):
            read(place)


def _read(place: LogPlace) -> tuple[int, int, bytes]:
    with reading(place, RUN_LOG) as reader:
        reader.replay()
        return reader.seq, reader.size, reader.last
