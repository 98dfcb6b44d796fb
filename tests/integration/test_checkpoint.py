"""The checkpoint being written: durable before told, grouped, in order, locked, and latched after the first failure."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import hashlib
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson
import pytest

from bulkdel.checkpoint.reader import is_fresh, read_log
from bulkdel.checkpoint.takeover import holder, is_locked
from bulkdel.checkpoint.writer import (
    COMMIT_BYTES,
    ENTRY_EXTRA,
    ENTRY_MAX,
    Checkpoint,
)
from bulkdel.core.log_entries import Intent, Outcome, Session, Skipped, to_json
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.place.log_file import TRY_PAUSE_S
from bulkdel.place.log_place import LINE_MAX
from bulkdel.place.opening import log_at
from tests import recorded
from tests.examples import one_in
from tests.harness import assert_permitted, descriptors_of, strace
from tests.mutants import mutant
from tests.recorded import AT, append, deleted
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]


def lines_in(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def child(*argv: str, env: Mapping[str, str] | None = None, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, sys.executable, "-m", "tests.checkpoint_child", *argv],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def out(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


HELD_S = 8.0
"""How long to wait at most for what takes no time."""


class Disk:
    """Stands in front of fdatasync: counts, holds it back while `open` is not set, and can break it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.real = os.fdatasync
        self.calls = 0
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None
        monkeypatch.setattr(os, "fdatasync", self)

    def __call__(self, fd: int) -> None:
        self.calls += 1
        self.entered.set()
        assert self.open.wait(HELD_S)
        if self.error:
            raise self.error
        self.real(fd)

    def hold(self) -> None:
        self.entered.clear()
        self.open.clear()

    async def until_busy(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, HELD_S)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ids.checkpoint.jsonl"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


# --- creating ---------------------------------------------------------------------------------------------------------


def test_a_new_log_holds_its_header_durably_and_is_its_owners_alone(path: Path, disk: Disk) -> None:
    old = os.umask(0)
    try:
        checkpoint = Checkpoint.create(log_at(path), recorded.header())
    finally:
        os.umask(old)
    assert disk.calls == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    log = read_log(log_at(path))
    assert (log.progress.header, log.damaged_tail) == (recorded.header(), 0)
    assert log.sha256 == checkpoint.sha256
    assert (checkpoint.path, checkpoint.failure, checkpoint.recovered) == (path, None, None)
    checkpoint.close()


def test_the_log_is_opened_so_that_it_cannot_be_misdirected_or_leaked(path: Path) -> None:
    Checkpoint.create(log_at(path), recorded.header()).close()
    created, resumed = (
        Checkpoint.create(log_at(path.with_name("new")), recorded.header()),
        Checkpoint.resume(log_at(path)),
    )
    for checkpoint in (created, resumed):
        (fd,) = descriptors_of(checkpoint.path)
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        checkpoint.close()


def test_creating_syncs_the_directory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    Checkpoint.create(log_at(path), recorded.header()).close()
    assert synced == [str(path.parent)]
    Checkpoint.resume(log_at(path)).close()  # the run before may have been killed in between
    assert synced == [str(path.parent)] * 2


def test_an_existing_log_is_not_created_again(path: Path) -> None:
    assert is_fresh(log_at(path))
    Checkpoint.create(log_at(path), recorded.header()).close()
    before = path.read_bytes()
    assert not is_fresh(log_at(path))
    with pytest.raises(NotAcceptable, match="a log exists already"):
        Checkpoint.create(log_at(path), recorded.header())
    assert path.read_bytes() == before


@pytest.mark.parametrize("length", [0, 1, 20, 37, 38, 100, -1])
def test_the_remains_of_a_run_killed_while_creating_are_created_over(path: Path, length: int) -> None:
    line = recorded.lines_of(recorded.commits()[:1])[0]
    remains = line[:length] if length >= 0 else line[:-1]
    path.write_bytes(remains)
    assert is_fresh(log_at(path))
    for read in (read_log, lambda log: list(recorded.read_entries(log.log)), Checkpoint.resume):
        with pytest.raises(NotAcceptable, match="nothing was sent under it"):
            read(log_at(path))
    assert path.read_bytes() == remains
    checkpoint = Checkpoint.create(log_at(path), recorded.header())
    checkpoint.close()
    assert read_log(log_at(path)).progress.header == recorded.header()
    saved = path.with_name(path.name + ".torn-1")
    assert saved.exists() is bool(remains)
    assert checkpoint.recovered == (saved if remains else None)
    assert not remains or saved.read_bytes() == remains


def test_a_log_that_cannot_be_created_is_a_failure_of_a_file(path: Path, disk: Disk) -> None:
    with pytest.raises(FileFailed, match="cannot be created: No such file or directory"):
        Checkpoint.create(log_at(path / "nowhere" / "log"), recorded.header())
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileFailed, match=r"ids\.checkpoint\.jsonl: .*No space left on device.*Make room.*same command"):
        Checkpoint.create(log_at(path), recorded.header())
    assert not is_locked(log_at(path))


def test_a_header_no_reader_would_accept_is_not_written(path: Path) -> None:
    with pytest.raises(ValueError, match="an entry of"):
        Checkpoint.create(log_at(path), replace(recorded.header(), export_path="x" * ENTRY_MAX))
    assert not path.exists()


# --- appending --------------------------------------------------------------------------------------------------------


@mutant(
    "no fsync",
    "sync",
    swap("os.fdatasync(fd)", "pass"),
)
async def test_nothing_is_told_or_counted_before_it_is_durable(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())

    disk.hold()
    before = checkpoint.sha256
    future = asyncio.ensure_future(append(checkpoint, deleted(0, 50)))
    await disk.until_busy()
    for _ in range(100):  # the loop turns freely meanwhile
        await asyncio.sleep(0)
    assert lines_in(path)[1:] != []  # it is written
    assert not future.done()
    assert checkpoint.progress.settled.size == 0
    assert checkpoint.sha256 == before
    disk.open.set()
    await future
    assert checkpoint.progress.counts["done"] == 50
    assert checkpoint.sha256 == read_log(log_at(path)).sha256 != before
    checkpoint.close()


async def test_what_gathers_during_a_sync_shares_the_next_line(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())

    disk.hold()
    checkpoint.enqueue(deleted(0, 1))
    await disk.until_busy()
    for row in range(1, 500):
        checkpoint.enqueue(deleted(row, row + 1))
    disk.open.set()
    await checkpoint.flush()
    checkpoint.close()
    assert disk.calls == len(lines_in(path)) == 3
    assert read_log(log_at(path)).progress.settled.ranges == ((0, 500),)


async def test_what_one_turn_of_the_loop_appends_shares_a_line(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())

    async def one(row: int) -> None:
        await append(checkpoint, Intent(AT, ((row, row + 1),)))

    await asyncio.gather(*map(one, range(16)))
    checkpoint.close()
    assert disk.calls == len(lines_in(path)) == 2


async def test_waiters_go_on_and_entries_stand_in_the_order_of_appending(path: Path) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())
    told: list[int] = []

    async def one(row: int) -> None:
        await append(checkpoint, deleted(row, row + 1))
        told.append(row)

    tasks = []
    for row in range(200):
        tasks.append(asyncio.ensure_future(one(row)))
        if row % 7 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    checkpoint.close()
    assert told == list(range(200))
    assert [entry for entry in recorded.read_entries(path) if isinstance(entry, Outcome)] == [
        deleted(row, row + 1) for row in range(200)
    ]


async def test_an_entry_is_written_without_a_waiter_and_when_the_wait_is_cancelled(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())

    disk.hold()
    checkpoint.enqueue(deleted(0, 1))
    waiting = asyncio.ensure_future(append(checkpoint, deleted(1, 2)))
    other = asyncio.ensure_future(append(checkpoint, deleted(3, 4)))
    await disk.until_busy()
    queued = asyncio.ensure_future(append(checkpoint, deleted(2, 3)))
    await asyncio.sleep(0)
    waiting.cancel()
    queued.cancel()
    disk.open.set()
    await other  # it shares its batch with a wait that was cancelled
    await checkpoint.flush()
    assert checkpoint.progress.settled.ranges == ((0, 4),)
    checkpoint.close()
    assert read_log(log_at(path)).progress.settled.ranges == ((0, 4),)


@mutant(
    "an entry without a waiter is forgotten",
    "CommitQueue._wake",
    swap("self._write_batches()", "asyncio.sleep(0)"),
)
async def test_an_entry_without_a_waiter_is_written_by_itself(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())

    async def written(count: int) -> None:
        until = time.monotonic() + HELD_S
        while checkpoint.progress.counts["done"] < count:  # no wait tells when it is written: that is the point
            assert time.monotonic() < until
            await asyncio.sleep(0.001)

    checkpoint.enqueue(deleted(0, 1))
    await written(1)
    checkpoint.enqueue(deleted(1, 2))
    checkpoint.enqueue(deleted(2, 3))
    await written(3)
    assert disk.calls == len(lines_in(path)) == 3
    checkpoint.close()
    assert read_log(log_at(path)).progress.settled.ranges == ((0, 3),)


async def test_what_is_lost_is_known_whether_or_not_anything_waits_for_it(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())

    failing = asyncio.ensure_future(checkpoint.watch_failure())
    disk.hold()
    disk.error = OSError(errno.EIO, "broken")
    checkpoint.enqueue(deleted(0, 1))
    await disk.until_busy()
    checkpoint.enqueue(deleted(1, 2))
    disk.open.set()
    with pytest.raises(FileFailed):
        await append(checkpoint, deleted(2, 3))
    with pytest.raises(FileFailed) as failed:
        await asyncio.wait_for(failing, HELD_S)
    assert failed.value is checkpoint.failure
    assert [entry for entry, *_ in checkpoint.lost] == [deleted(0, 1), deleted(1, 2), deleted(2, 3)]
    checkpoint.enqueue(deleted(3, 4))
    assert checkpoint.lost[3:] == [(deleted(3, 4), orjson.dumps(to_json(deleted(3, 4))), None)]
    checkpoint.close()
    assert disk.calls == 2
    assert checkpoint.progress.counts["done"] == 0


async def test_flush_alone_writes_nothing(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())
    await checkpoint.flush()
    checkpoint.close()
    assert disk.calls == len(lines_in(path)) == 1


async def test_a_session_gets_the_hash_of_everything_before_its_line(path: Path) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())

    await append(checkpoint, deleted(0, 1))
    await append(checkpoint, deleted(1, 2), Session("start", AT, "", {"pid": 1}), deleted(2, 3))
    checkpoint.close()
    before = hashlib.sha256(b"".join(lines_in(path)[:2])).hexdigest()
    assert (
        checkpoint.progress.start == Session("start", AT, before, {"pid": 1}) == read_log(log_at(path)).progress.start
    )


def sized(row: int, size: int) -> Outcome:
    """An entry of exactly `size` bytes."""

    def entry(pad: int) -> Outcome:
        return Outcome(AT, 1, "unknown", ((row, row + 1),), exceptions=({"position": row, "id": "x" * pad},))

    return entry(size - len(orjson.dumps(to_json(entry(0)))))


async def test_a_line_is_closed_when_it_is_full(path: Path) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())

    checkpoint.enqueue(*(sized(row, 400_000) for row in range(7)))
    await checkpoint.flush()
    checkpoint.close()
    assert [line.count(b"outcome") for line in lines_in(path)] == [0, 3, 3, 1]
    assert read_log(log_at(path)).progress.settled.ranges == ((0, 7),)


async def test_the_longest_line_a_writer_writes_is_one_a_reader_reads(path: Path) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())

    checkpoint.enqueue(sized(0, COMMIT_BYTES - 2), sized(1, ENTRY_MAX - ENTRY_EXTRA))
    await checkpoint.flush()
    with pytest.raises(ValueError, match="an entry of"):
        checkpoint.enqueue(sized(2, ENTRY_MAX - ENTRY_EXTRA + 1))
    checkpoint.close()
    assert LINE_MAX - 256 < max(map(len, lines_in(path))) <= LINE_MAX
    assert read_log(log_at(path)).progress.settled.ranges == ((0, 2),)


def test_the_longest_entry_there_can_be_fits() -> None:
    high = 10**9
    worst = Skipped("invalid", tuple((high + 2 * i, high + 2 * i + 1) for i in range(2**18)))
    assert len(orjson.dumps(to_json(worst))) + ENTRY_EXTRA <= ENTRY_MAX


# --- closing ----------------------------------------------------------------------------------------------------------


def test_closing_writes_what_waits_even_after_the_loop_is_gone(
    path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())

    async def main() -> None:
        disk.hold()
        checkpoint.enqueue(deleted(0, 1))
        await disk.until_busy()
        checkpoint.enqueue(deleted(1, 2))

    asyncio.run(main())
    disk.open.set()
    checkpoint.close()
    assert checkpoint.progress.settled.ranges == ((0, 2),) == read_log(log_at(path)).progress.settled.ranges
    checkpoint.close()
    asyncio.run(checkpoint.aclose())
    assert caplog.records == []  # without an event loop the thread cannot hand the commit back, and logs nothing


async def test_closing_inside_the_loop_writes_what_waits_and_tells(path: Path, disk: Disk) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())

    disk.hold()
    waiting = [asyncio.ensure_future(append(checkpoint, deleted(0, 1)))]
    await disk.until_busy()
    waiting.append(asyncio.ensure_future(append(checkpoint, deleted(1, 2))))
    await asyncio.sleep(0)
    disk.open.set()
    checkpoint.close()
    with pytest.raises(RuntimeError, match="enqueue after close"):
        checkpoint.enqueue(deleted(2, 3))
    await asyncio.gather(*waiting)  # meanwhile the commit is handed back, too late, and is not counted again
    assert checkpoint.failure is None
    assert checkpoint.progress.counts["done"] == 2
    assert read_log(log_at(path)).progress.settled.ranges == ((0, 2),)


async def test_aclose_flushes_and_lets_the_lock_go(path: Path) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())

    checkpoint.enqueue(deleted(0, 1))
    await checkpoint.aclose()
    assert not is_locked(log_at(path))
    again = Checkpoint.resume(log_at(path))
    assert again.progress.settled.ranges == ((0, 1),)
    again.close()


def test_closing_twice_closes_no_other_file(path: Path) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())
    checkpoint.close()
    with path.open("rb") as file:  # takes the number that has become free
        checkpoint.close()
        assert file.read(1) == b"{"


# --- failing ----------------------------------------------------------------------------------------------------------


@mutant(
    "latch dropped",
    "CommitQueue.add",
    swap("self.failure is not None", "self.failure is not None and size < 0"),
)
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError("no memory")])
async def test_the_first_failure_is_the_last_thing_tried(path: Path, disk: Disk, error: Exception) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())
    complaints: list[Any] = []

    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    disk.error = error
    disk.hold()
    first = asyncio.ensure_future(append(checkpoint, deleted(0, 1)))
    await asyncio.sleep(0)
    checkpoint.enqueue(deleted(1, 2))  # without a waiter
    await disk.until_busy()
    queued = [asyncio.ensure_future(append(checkpoint, deleted(row, row + 1))) for row in (2, 3)]
    await asyncio.sleep(0)
    queued[1].cancel()
    disk.open.set()
    with pytest.raises(FileFailed) as failed:
        await first
    with pytest.raises(FileFailed) as second:
        await queued[0]
    assert checkpoint.failure is failed.value is second.value
    assert failed.value.__cause__ is error
    disk.error = None  # the disk is well again; it must not matter
    with pytest.raises(FileFailed) as later:
        await append(checkpoint, deleted(3, 4))
    assert later.value is failed.value
    with pytest.raises(FileFailed):
        await checkpoint.flush()
    await checkpoint.aclose()
    gc.collect()
    assert complaints == []
    assert disk.calls == 2  # the header's, and the one that failed
    assert len(lines_in(path)) == 2
    assert checkpoint.progress.settled.size == 0
    message = str(checkpoint.failure)
    assert str(path) in message
    assert str(getattr(error, "strerror", None) or error) in message
    assert "run the same command again" in message
    again = Checkpoint.resume(
        log_at(path)
    )  # written, although its sync failed: the next run may believe what it makes durable
    assert again.progress.settled.ranges == ((0, 2),)
    again.close()


async def test_an_entry_that_contradicts_the_log_latches(path: Path) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header())

    await append(checkpoint, deleted(0, 2))
    with pytest.raises(FileFailed, match="rows 1-2 are settled twice"):
        await append(checkpoint, deleted(1, 3))
    with pytest.raises(FileFailed, match="rows 1-2 are settled twice"):
        await append(checkpoint, deleted(5, 6))
    checkpoint.close()
    with pytest.raises(NotAcceptable, match=r"line 3 \(byte \d+\): rows 1-2 are settled twice"):
        Checkpoint.resume(log_at(path))


async def test_a_write_that_takes_less_than_it_was_given_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    real_at = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real_at(fd, data[:7], at))
    checkpoint = Checkpoint.create(log_at(path), recorded.header())

    await append(checkpoint, deleted(0, 50))
    checkpoint.close()
    whole = path.read_bytes()
    Checkpoint.resume(log_at(path)).close()
    assert path.read_bytes() == whole
    assert read_log(log_at(path)).progress.settled.ranges == ((0, 50),)


def assert_latched(process: subprocess.Popen[str], path: Path, words: str) -> None:
    told = out(process).read().splitlines()
    assert process.wait(60) == 0
    story = json.loads(told[-1])
    assert words in story["message"]
    assert story["same"] == [True] * 3
    assert story["durable"] == told.index("failed") > 0
    log, size = read_log(log_at(path)), path.stat().st_size
    assert log.progress.settled.size in {story["durable"], story["durable"] + 1}
    again = Checkpoint.resume(log_at(path))
    assert again.progress.settled.size == log.progress.settled.size
    assert path.stat().st_size == size - log.damaged_tail
    again.close()


@pytest.mark.parametrize("blocks", [4, 9, 40])
def test_a_file_size_limit_latches_and_the_log_resumes(path: Path, blocks: int) -> None:
    limited = ("bash", "-c", f'ulimit -f {blocks} && PYTHONDONTWRITEBYTECODE=1 exec "$@"', "bash")
    with child("fill", str(path), before=limited) as process:
        assert_latched(process, path, "File too large")
    assert list(path.parent.glob("*.torn-*")) != []  # the limit cut a line in two


def test_a_full_disk_latches_and_the_log_resumes(path: Path) -> None:
    full = path.parent / "full"
    full.mkdir()
    (path.parent / "copy").mkdir()
    inside = full / path.name
    script = (
        f"mount -t tmpfs -o size=64k none {shlex.quote(str(full))} && "
        f'"$@"; status=$?; cp {shlex.quote(str(inside))} {shlex.quote(str(path))}; exit $status'
    )
    unshare = shutil.which("unshare")
    assert unshare, "install util-linux: this test fills a small tmpfs in a mount namespace of its own"
    alone = (unshare, "--map-root-user", "--mount")
    assert_permitted(*alone)
    with child("fill", str(inside), before=(*alone, "sh", "-c", script, "sh")) as process:
        assert_latched(process, path, "No space left on device")


# --- the order of system calls ----------------------------------------------------------------------------------------


def told_too_early(trace: str) -> list[str]:
    """Outcomes that were told while bytes of the log were not synced, or that were told without any sync."""
    early: list[str] = []
    dirty, synced = False, 0
    for line in trace.splitlines():
        if re.search(r'write\(\d+, "\{\\"seq', line):
            dirty = True
        elif re.search(r"fdatasync(\(\d+\)| resumed>\)) += 0", line):
            dirty, synced = False, synced + 1
        elif "durable" in line and (dirty or not synced):
            early.append(line)
    assert "durable" in trace
    return early


@pytest.mark.parametrize(("mutant", "caught"), [("", False), ("no fdatasync", True)])
def test_the_trace_shows_every_sync_before_its_telling(path: Path, mutant: str, caught: bool) -> None:
    trace = path.parent / "trace"
    before = strace("-qq", "-e", "signal=none", "-o", trace, "-e", "trace=write,fdatasync")
    with child("write", str(path), "40", env={"MUTANT": mutant}, before=before) as process:
        assert len(out(process).read().splitlines()) == 40
        assert process.wait(60) == 0
    assert bool(told_too_early(trace.read_text())) is caught


@pytest.mark.parametrize(
    ("call", "error", "words"),
    one_in(
        3,
        [
            ("fdatasync", "EIO", "Input/output error"),
            ("fdatasync", "ENOSPC", "No space left on device"),
            ("write", "EIO", "Input/output error"),
            ("write", "EDQUOT", "Disk quota exceeded"),
        ],
    ),
)
def test_after_an_injected_error_the_log_is_not_touched_again(path: Path, call: str, error: str, words: str) -> None:
    trace = path.parent / "trace"
    # Only calls on the log count: -P. The child is at its tenth commit, the header included.
    before = strace(
        *("-qq", "-e", "signal=none", "-o", trace, "-P", path, "-e", "trace=write,fdatasync"),
        *("-e", f"inject={call}:error={error}:when=10"),
    )
    with child("fill", str(path), before=before) as process:
        assert_latched(process, path, words)
    calls = re.findall(r"(write|fdatasync)(?:\(| resumed>).* = (-?\d+)", trace.read_text())
    assert [result for _, result in calls].index("-1") == len(calls) - 1
    assert calls[-1][0] == call


# --- one run at a time ------------------------------------------------------------------------------------------------


@contextmanager
def held(path: Path) -> Iterator[int]:
    with child("hold", str(path)) as process:
        word, pid = out(process).readline().split()
        assert word == "held"
        try:
            yield int(pid)
        finally:
            process.communicate(timeout=WAIT_MAX_S)


@mutant(
    "lock dropped",
    "_lock",
    swap("fcntl.LOCK_EX", "fcntl.LOCK_SH"),
)
@pytest.mark.parametrize("is_new", [True, False])
def test_a_second_run_is_refused_and_names_the_process_that_has_the_log(path: Path, is_new: bool) -> None:
    if not is_new:
        Checkpoint.create(log_at(path), recorded.header()).close()
    with held(path) as pid:
        assert holder(log_at(path), read_log(log_at(path)).progress) == pid
        before = path.read_bytes()
        with pytest.raises(NotAcceptable, match=rf"another run \(pid {pid}\) is under way"):
            Checkpoint.resume(log_at(path))
        with pytest.raises(NotAcceptable, match=rf"pid {pid}"):
            Checkpoint.create(log_at(path), recorded.header())
        with child("hold", str(path)) as second:
            assert f"pid {pid}" in out(second).read()
            assert second.wait(60) == 3
        assert path.read_bytes() == before
        assert read_log(log_at(path)).progress.settled.size == 0
    assert not is_locked(log_at(path))
    Checkpoint.resume(log_at(path)).close()


def test_of_many_that_start_at_once_one_gets_the_log(path: Path) -> None:
    runs = [child("hold", str(path)) for _ in range(4)]
    told = [out(run).readline() for run in runs]
    for run in runs:
        run.communicate(timeout=WAIT_MAX_S)
    assert sorted(run.returncode for run in runs) == [0, 3, 3, 3]
    assert sum(line.startswith("held") for line in told) == 1
    assert len(lines_in(path)) == 2  # the header, and the start of one session


def test_a_killed_run_leaves_no_lock(path: Path) -> None:
    with child("hold", str(path)) as process:
        assert out(process).readline().startswith("held")
        process.kill()
    Checkpoint.resume(log_at(path)).close()


async def test_the_log_says_which_run_has_it(path: Path) -> None:
    """The latest session's pid, while its process has the lock."""

    def pid() -> int | None:
        return holder(log_at(path), read_log(log_at(path)).progress)

    checkpoint = Checkpoint.create(log_at(path), recorded.header())
    assert pid() is None  # no session has begun
    with pytest.raises(NotAcceptable, match="another run is under way"):
        Checkpoint.resume(log_at(path))

    async def session(event: Any, facts: dict[str, Any]) -> None:
        await append(checkpoint, Session(event, AT, "", facts))

    await session("start", {"pid": 4321})
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"seq":3,"entries":[{"type":"session"')  # half a commit disturbs nothing
    assert pid() == 4321
    with pytest.raises(NotAcceptable, match="pid 4321"):
        Checkpoint.resume(log_at(path))
    os.truncate(path, size)
    checkpoint.close()
    assert pid() is None  # no process has the lock
    checkpoint = Checkpoint.resume(log_at(path))
    await session("start", {"pid": "?"})
    assert pid() is None
    await session("stop", {})
    assert pid() is None
    assert is_locked(log_at(path))
    checkpoint.close()
    assert not is_locked(log_at(path))


def test_a_readers_glance_does_not_stop_a_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checkpoint.create(log_at(path), recorded.header()).close()
    pauses: list[float] = []
    with path.open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            fcntl.flock(reader, fcntl.LOCK_UN)

        monkeypatch.setattr(time, "sleep", pause)
        Checkpoint.resume(log_at(path)).close()
    assert pauses == [TRY_PAUSE_S]


def test_a_file_system_without_locks_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checkpoint.create(log_at(path), recorded.header()).close()

    def flock(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(NotAcceptable, match=r"cannot be locked \(No locks available\)"):
        Checkpoint.resume(log_at(path))


# --- being killed -----------------------------------------------------------------------------------------------------


def test_what_a_killed_run_was_told_is_durable_stays(path: Path) -> None:
    told = 0
    for lines in (1, 2, 5, 17, 40, 3, 90, 1):
        with child("write", str(path)) as process:
            for _ in range(lines):
                word, row = out(process).readline().split()
                assert (word, int(row)) == ("durable", told)  # it goes on exactly where the log ended
                told += 1
            process.kill()
            told += len(out(process).read().splitlines())
        settled = read_log(log_at(path)).progress.settled.ranges
        assert settled in {((0, told),), ((0, told + 1),)}  # one more may have become durable, untold
        told = settled[0][1]
