"""The log read back: every truncation, lost sector and flipped bit is cut, ignored or refused, and never believed."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from bulkdel.checkpoint.reader import RUN, ZEROS_MAX, is_fresh, read_log
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.log_entries import LINE_START, Entry, Intent, Outcome, Released, Session, frame
from bulkdel.core.summary import counts_of
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.place.log_place import LINE_MAX, LogPlace
from bulkdel.place.opening import log_at
from tests import recorded, second_reader
from tests.examples import lengths
from tests.mutants import mutant
from tests.recorded import AT, NONCE, append, deleted, encode_line, settled_by, state
from tests.syntax import swap

if TYPE_CHECKING:
    from collections.abc import Callable

COMMITS = recorded.commits()
LINES = recorded.lines_of(COMMITS)
WHOLE = b"".join(LINES)
ENDS = [sum(map(len, LINES[:count])) for count in range(len(LINES) + 1)]
STATES = {count: state(settled_by(count, COMMITS)) for count in range(1, len(LINES) + 1)}


def relabelled(lines: list[bytes], nonce: str) -> list[bytes]:
    """The same lines as another session would have written them."""
    commits = [json.loads(line) for line in lines]
    return [frame(each["seq"], [orjson.dumps(entry) for entry in each["entries"]], nonce) for each in commits]


def sha_of(lines: list[bytes]) -> str:
    return hashlib.sha256(b"".join(lines)).hexdigest()


TWO_SESSIONS = [*LINES, encode_line(len(LINES) + 1, [Session("start", AT, sha_of(LINES))], "f" * 16)]
CORRUPT = "is not the last thing that was written"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def test_the_recorded_log_is_one_the_promises_speak_of(path: Path) -> None:
    assert len(LINES) >= 40
    assert WHOLE.startswith(RUN.beginning)
    path.write_bytes(WHOLE)
    log = read_log(log_at(path))
    assert (state(log.progress), log.damaged_tail) == (STATES[len(LINES)], 0)
    assert [entry for entry in recorded.read_entries(path) if not isinstance(entry, Session)] == [
        entry for commit in COMMITS for entry in commit if not isinstance(entry, Session)
    ]


def test_the_second_reader_agrees_on_every_line_and_on_a_torn_tail(path: Path) -> None:
    for count in range(1, len(LINES)):
        for tail in (b"", LINES[count][:30]):
            path.write_bytes(WHOLE[: ENDS[count]] + tail)
            first, second = read_log(log_at(path)), second_reader.read(path)
            assert second.counts() == counts_of(first.progress)
            assert (second.in_doubt, second.torn) == (first.progress.in_doubt.size, len(tail))
            assert second.sha256 == first.sha256


# --- every way to lose bytes ------------------------------------------------------------------------------------------


@pytest.mark.untraced
def test_every_truncation_is_read_as_the_whole_lines_before_it(path: Path) -> None:
    for length in lengths(len(WHOLE), ENDS):
        path.write_bytes(WHOLE[:length])
        count = sum(end <= length for end in ENDS) - 1
        if count == 0:
            assert is_fresh(log_at(path))
            continue
        log = read_log(log_at(path))
        assert state(log.progress) == STATES[count]
        assert log.damaged_tail == length - ENDS[count]


@pytest.mark.parametrize("count", [1, 2, len(LINES) - 1])
def test_every_truncation_of_a_line_is_saved_and_cut_off_by_a_resume(path: Path, count: int) -> None:
    saved = path.with_name(f"{path.name}.torn-{count + 1}")
    for length in range(ENDS[count], ENDS[count + 1]):
        path.write_bytes(WHOLE[:length])
        checkpoint = Checkpoint.resume(log_at(path))
        checkpoint.close()
        assert path.read_bytes() == WHOLE[: ENDS[count]]
        assert state(checkpoint.progress) == STATES[count]
        torn = WHOLE[ENDS[count] : length]
        assert checkpoint.recovered == (saved if torn else None)
        assert saved.exists() is bool(torn)
        if torn:
            assert saved.read_bytes() == torn
            assert saved.stat().st_mode & 0o777 == 0o600
            saved.unlink()


@pytest.mark.untraced
@pytest.mark.parametrize("every", [31, pytest.param(1, marks=pytest.mark.soak)])
def test_every_flipped_bit_is_refused_or_ignored_and_never_believed(every: int, path: Path) -> None:
    """Every so many bits, one is flipped at a time: with 31, which is prime, in turn each bit of a byte."""
    path.write_bytes(WHOLE)
    last = len(LINES) - 1
    with path.open("r+b", buffering=0) as file:
        fd = file.fileno()
        for place in range(0, 8 * len(WHOLE), every):
            at, bit = divmod(place, 8)
            os.pwrite(fd, bytes([WHOLE[at] ^ 1 << bit]), at)
            if at < ENDS[last]:  # the newline before the last line belongs to the one before it
                with pytest.raises(NotAcceptable):
                    read_log(log_at(path))
            else:
                log = read_log(log_at(path))
                assert state(log.progress) == STATES[last]
                assert log.damaged_tail == len(LINES[last])
            os.pwrite(fd, WHOLE[at : at + 1], at)
    assert path.read_bytes() == WHOLE


def test_every_set_of_lost_sectors_of_the_last_commit_is_cut(path: Path) -> None:
    sector = 512
    kept, lines = 7, LINES[:7]
    entries = [Intent(AT, ((row, row + 1),)) for row in range(100, 140)]
    tail = encode_line(kept + 1, entries)
    start = ENDS[kept]
    edges = [start, *range((start // sector + 1) * sector, start + len(tail), sector), start + len(tail)]
    assert len(edges) > 5
    for lost in product([True, False], repeat=len(edges) - 1):
        data = bytearray(b"".join(lines) + tail)
        for gone, (begin, end) in zip(lost, pairwise(edges), strict=True):
            if gone:
                data[begin:end] = bytes(end - begin)
        path.write_bytes(data)
        log = read_log(log_at(path))
        if any(lost):
            assert state(log.progress) == STATES[kept]
            assert log.damaged_tail == len(tail)
        else:
            assert log.progress.in_doubt.size > settled_by(kept, COMMITS).in_doubt.size
            assert log.damaged_tail == 0


def damaged(lines: list[bytes], at: int) -> list[bytes]:
    line = bytearray(lines[at])
    line[len(line) // 2] ^= 1
    return [*lines[:at], bytes(line), *lines[at + 1 :]]


@mutant(
    "a line of another session is believed",
    "Reader._check",
    swap("nonce in self._nonces or not begins", "nonce in self._nonces and not begins"),
    case="a line of another session",
)
@pytest.mark.parametrize(
    ("data", "where"),
    [
        pytest.param(b"".join(damaged(LINES, 0)), "line 1 (byte 0)", id="the header"),
        pytest.param(b"x" + WHOLE[1:], "line 1 (byte 0)", id="the first byte"),
        pytest.param(b"".join(LINES[1:]), "line 1 (byte 0)", id="the header is gone"),
        pytest.param(b"".join(damaged(LINES, 20)), f"line 21 (byte {ENDS[20]})", id="in the middle"),
        pytest.param(b"".join(damaged(LINES, 42)), f"line 43 (byte {ENDS[42]})", id="the last but one"),
        pytest.param(b"".join(LINES[:20] + LINES[21:]), f"line 21 (byte {ENDS[20]})", id="a line is gone"),
        pytest.param(b"".join(LINES[:20] + LINES[19:]), f"line 21 (byte {ENDS[20]})", id="a line is there twice"),
        pytest.param(WHOLE + LINES[5], f"line 45 (byte {len(WHOLE)})", id="an old line at the end"),
        pytest.param(
            WHOLE + encode_line(45, [Released(((0, 1),))], "f" * 16),
            f"line 45 (byte {len(WHOLE)})",
            id="a line of another session",
        ),
        pytest.param(
            b"".join([*LINES[:20], *relabelled(LINES[20:30], "f" * 16), *LINES[30:]]),
            f"line 21 (byte {ENDS[20]})",
            id="lines of two sessions mixed",
        ),
        pytest.param(
            b"".join([*TWO_SESSIONS, encode_line(len(TWO_SESSIONS) + 1, [Session("start", AT, sha_of(TWO_SESSIONS))])]),
            f"line {len(TWO_SESSIONS) + 1} (byte {sum(map(len, TWO_SESSIONS))})",
            id="an earlier session's nonce",
        ),
        pytest.param(WHOLE[: ENDS[9] - 1] + WHOLE[ENDS[9] : ENDS[10]], f"line 9 (byte {ENDS[8]})", id="no newline"),
        pytest.param(
            WHOLE[: ENDS[9] - 5] + WHOLE[ENDS[9] : ENDS[10] - 5], f"line 9 (byte {ENDS[8]})", id="two torn lines in one"
        ),
        pytest.param(WHOLE[: ENDS[9] - 5] + b"\n\n" + LINES[9], f"line 9 (byte {ENDS[8]})", id="whole after torn"),
        pytest.param(WHOLE + b"{" + b"x" * LINE_MAX, f"line 45 (byte {len(WHOLE)})", id="a tail too long for a commit"),
        pytest.param(RUN.beginning + b"x" * LINE_MAX, "line 1 (byte 0)", id="a header too long for a commit"),
    ],
)
def test_corruption_is_refused_with_its_place_and_nothing_is_changed(path: Path, data: bytes, where: str) -> None:
    path.write_bytes(data)
    for read in (
        read_log,
        lambda log: list(recorded.read_entries(log.log)),
        Checkpoint.resume,
        is_fresh_unless_header(data),
    ):
        with pytest.raises(NotAcceptable) as refused:
            read(log_at(path))
        message = str(refused.value)
        assert message.startswith(f"{path}: {where} is damaged")
        assert CORRUPT in message
        assert "--run" in message
    with pytest.raises(second_reader.Refused):
        second_reader.read(path)
    assert path.read_bytes() == data
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def is_fresh_unless_header(data: bytes) -> Callable[[LogPlace], object]:
    """`is_fresh` looks at the first line only; where that is sound, the log is simply not fresh."""
    return read_log if data.startswith(LINES[0]) else is_fresh


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (frame(8, [b'{"type":"vow","ranges":[]}'], NONCE), "unknown entry"),
        (
            frame(8, [b'{"type":"outcome","at":"2026-03-01T12Z","attempts":1,"kind":"kept","ranges":[]}'], NONCE),
            "unknown outcome 'kept'",
        ),
        (encode_line(8, [deleted(0, 20)]), "rows 0-19 are settled twice"),
        (encode_line(8, [deleted(399, 401)]), "not in the export"),
        (encode_line(8, [recorded.header()]), "a second header"),
        (encode_line(8, [Session("stop", AT, "0" * 64)]), "the session that stops here found other bytes before it"),
    ],
)
def test_a_sound_line_that_cannot_be_believed_is_refused(path: Path, line: bytes, words: str) -> None:
    data = b"".join(LINES[:7]) + line
    path.write_bytes(data)
    for read in (read_log, Checkpoint.resume):
        with pytest.raises(NotAcceptable, match=rf"line 8 \(byte {ENDS[7]}\): .*{words}"):
            read(log_at(path))
    assert path.read_bytes() == data


def test_a_log_of_a_newer_format_is_refused(path: Path) -> None:
    path.write_bytes(frame(1, [b'{"type":"header","format":4}'], NONCE))
    for read in (read_log, Checkpoint.resume, is_fresh):
        with pytest.raises(NotAcceptable, match=r"log format 4 .*use the newer bulkdel"):
            read(log_at(path))


@pytest.mark.parametrize("number", [1, 2])
def test_a_log_of_an_unreleased_format_is_refused_by_name(number: int, path: Path) -> None:
    path.write_bytes(frame(1, [b'{"type":"header","format":%d}' % number], NONCE))
    for read in (read_log, Checkpoint.resume, is_fresh):
        with pytest.raises(NotAcceptable, match=rf"log format {number}: written by an unreleased bulkdel\. Finish"):
            read(log_at(path))


def test_a_log_without_a_header_is_refused(path: Path) -> None:
    for line in (encode_line(1, [deleted(0, 1)]), encode_line(1, [])):
        path.write_bytes(line)
        with pytest.raises(NotAcceptable, match="is not the log of a run"):
            Checkpoint.resume(log_at(path))


# --- what is no log ---------------------------------------------------------------------------------------------------

STRANGERS = {
    "an export": b'"64c36ad1e3e0"\n"64c36ad1e3e1"\n',
    "an export of one line": b'{"id":"64c36ad1e3e0"}',
    "a table": b"id,name\r\n1,a\r\n",
    "another log": b'{"seq":1,"entries":[{"type":"deposit"}]}\n',
    "another log's start": b'{"seq":2',
    "bytes": bytes(range(256)) * 20,
    "zeros": bytes(ZEROS_MAX + 1),
    "a newline": b"\n",
    "a long line": b"x" * (LINE_MAX + 10),
}


@mutant(
    "a file of zeros is the log of a run",
    "Reader._judge_first",
    swap("len(tail) <= ZEROS_MAX and not any(tail)", "not any(tail)"),
    case="zeros",
)
@pytest.mark.parametrize("name", STRANGERS)
def test_a_strangers_file_is_refused_and_left_alone(path: Path, name: str) -> None:
    path.write_bytes(STRANGERS[name])
    for use in (read_log, is_fresh, Checkpoint.resume, lambda log: Checkpoint.create(log, recorded.header())):
        with pytest.raises(NotAcceptable, match=r"is not the log of a run of bulkdel.*--run"):
            use(log_at(path))
    assert path.read_bytes() == STRANGERS[name]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("length", [1, 700, ZEROS_MAX])
def test_a_log_whose_first_line_was_lost_with_the_power_is_created_again(path: Path, length: int) -> None:
    """Its length is on the disk, and its bytes are not: so it was never durable, and nothing was sent under it."""
    path.write_bytes(bytes(length))
    for read in (read_log, Checkpoint.resume):
        with pytest.raises(NotAcceptable, match="nothing was sent"):
            read(log_at(path))
    assert is_fresh(log_at(path))
    Checkpoint.create(log_at(path), recorded.header()).close()
    assert not is_fresh(log_at(path))
    assert path.with_name(f"{path.name}.torn-1").read_bytes() == bytes(length)


def link(path: Path) -> None:
    path.with_name("real").write_bytes(WHOLE)
    path.symlink_to(path.with_name("real"))


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (link, "is a symbolic link"),
        (dangling, "is a symbolic link"),
        (Path.mkdir, "Is a directory|not a regular file"),
        (os.mkfifo, "not a regular file"),
    ],
)
def test_what_is_no_regular_file_is_refused(path: Path, make: Callable[[Path], None], words: str) -> None:
    make(path)
    for use in (read_log, is_fresh, Checkpoint.resume, lambda log: Checkpoint.create(log, recorded.header())):
        with pytest.raises(NotAcceptable, match=words):
            use(log_at(path))
    assert not path.with_name("nothing").exists()


def test_a_device_is_refused() -> None:
    for use in (read_log, is_fresh, Checkpoint.resume, lambda log: Checkpoint.create(log, recorded.header())):
        with pytest.raises(NotAcceptable, match="not a regular file"):
            use(log_at(Path("/dev/full")))


def test_a_missing_log_is_refused_where_one_is_needed(path: Path) -> None:
    for use in (read_log, Checkpoint.resume):
        with pytest.raises(NotAcceptable, match="cannot be opened: No such file or directory"):
            use(log_at(path))
    assert not path.exists()


def test_a_log_one_may_not_read_is_refused_and_one_may_not_write_is_only_read(path: Path) -> None:
    path.write_bytes(WHOLE)
    code = """
import json, os, sys
from pathlib import Path
from bulkdel.checkpoint.reader import is_fresh, read_log
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.errors import BulkdelError
from bulkdel.place.log_file import LogFile
log, locked = Path(sys.argv[1]), Path(sys.argv[1]).parent
answers = []
def ask(mode, directory, *uses):
    os.chmod(log, mode)
    os.chmod(locked, directory)
    os.seteuid(65534)
    for use in uses:
        try:
            answers.append(use(LogFile(log.parent)) and "fine")
        except BulkdelError as error:
            answers.append(f"{error.exit_code} {error}")
    os.seteuid(0)
    os.chmod(locked, 0o755)
ask(0o600, 0o755, read_log, is_fresh, Checkpoint.resume)
ask(0o644, 0o755, read_log, Checkpoint.resume)
ask(0o644, 0o600, read_log, is_fresh)
print(json.dumps(answers))
"""
    if os.getuid():  # not root: only root can give rights away; take them from oneself instead
        code = code.replace("os.seteuid(65534)", "pass").replace("os.seteuid(0)", "pass")
        code = code.replace("ask(0o600", "ask(0o000").replace("0o644", "0o444")
        where = path
    else:
        where = Path("/tmp") / f"bulkdel-test-{os.getpid()}" / path.name
        where.parent.mkdir()
        where.write_bytes(WHOLE)
    ran = subprocess.run(
        [sys.executable, "-c", code, str(where)],
        cwd=Path(__file__).parents[2],
        check=True,
        stdout=subprocess.PIPE,
    )
    if where != path:
        where.unlink()
        where.parent.rmdir()
    denied = f"3 {where}: cannot be opened: Permission denied"
    assert json.loads(ran.stdout) == [denied, denied, denied, "fine", denied, denied, "fine"]


# --- recovery ---------------------------------------------------------------------------------------------------------


@mutant(
    "torn tail kept",
    "WritableFile.settle",
    swap("self.length(size)", "self.length(size) * (not last)"),
)
async def test_a_resumed_log_goes_on_as_if_nothing_had_been_torn(path: Path) -> None:
    path.write_bytes(WHOLE[: ENDS[7] + 30])
    checkpoint = Checkpoint.resume(log_at(path))
    assert path.read_bytes() == WHOLE[: ENDS[7]]
    await append(checkpoint, Session("start", AT, "", {"pid": 1}))
    await append(checkpoint, *COMMITS[7])
    checkpoint.close()
    assert path.read_bytes().startswith(WHOLE[: ENDS[7]])
    assert state(read_log(log_at(path)).progress) == state(checkpoint.progress) == STATES[8]
    assert read_log(log_at(path)).sha256 == checkpoint.sha256


def test_an_earlier_torn_tail_is_never_overwritten(path: Path) -> None:
    for number, torn in enumerate([b'{"seq":8,"a', b'{"seq":8,"b', b'{"seq":8,"c'], 1):
        path.write_bytes(WHOLE[: ENDS[7]] + torn)
        checkpoint = Checkpoint.resume(log_at(path))
        checkpoint.close()
        assert checkpoint.recovered is not None
        assert checkpoint.recovered.name == f"{path.name}.torn-8" + (f"-{number}" if number > 1 else "")
        assert checkpoint.recovered.read_bytes() == torn


def test_the_torn_tail_is_safe_on_disk_before_it_is_cut_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(WHOLE[:-1])
    done: list[str] = []
    real_fsync, real_truncate, real_fdatasync = os.fsync, os.ftruncate, os.fdatasync

    def fsync(fd: int) -> None:
        done.append(f"fsync {Path(f'/proc/self/fd/{fd}').readlink().name}")
        real_fsync(fd)

    def ftruncate(fd: int, length: int) -> None:
        done.append(f"cut at {length}")
        real_truncate(fd, length)

    def fdatasync(fd: int) -> None:
        done.append(f"fdatasync {Path(f'/proc/self/fd/{fd}').readlink().name}")
        real_fdatasync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "ftruncate", ftruncate)
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    Checkpoint.resume(log_at(path)).close()
    assert done[0].startswith(f"fdatasync .{path.name}.torn-{len(LINES)}.")
    assert done[1:] == [
        f"fsync {path.parent.name}",
        f"cut at {ENDS[-2]}",
        f"fsync {path.name}",
        f"fdatasync {path.name}",
        f"fsync {path.parent.name}",
    ]


@pytest.mark.parametrize("name", ["fsync", "ftruncate", "fdatasync", "pwrite"])
def test_a_repair_that_fails_is_a_failure_of_a_file_and_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path.write_bytes(WHOLE[:-1])

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, name, fail)
        with pytest.raises(FileFailed, match=r"Input/output error.*Nothing was sent.*same command"):
            Checkpoint.resume(log_at(path))
    checkpoint = Checkpoint.resume(log_at(path))  # the lock was let go
    checkpoint.close()
    assert state(checkpoint.progress) == STATES[len(LINES) - 1]
    assert WHOLE[:-1] in {path.read_bytes() + saved.read_bytes() for saved in path.parent.glob("*.torn-*")}


def test_a_resume_writes_the_last_line_again_before_it_syncs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run before may have died of a failed sync; then the system may hold the line for clean, in memory only."""
    path.write_bytes(WHOLE)
    done: list[object] = []
    real = os.pwrite

    def pwrite(fd: int, data: bytes, at: int) -> int:
        done.append((bytes(data), at))
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    real_fdatasync = os.fdatasync

    def fdatasync(fd: int) -> None:
        done.append("sync")
        real_fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    Checkpoint.resume(log_at(path)).close()
    assert done == [(LINES[-1], ENDS[-2]), "sync"]
    assert path.read_bytes() == WHOLE


# --- reading while it grows, and in flat memory -----------------------------------------------------------------------


def test_a_reader_sees_the_log_as_it_was_when_it_began(path: Path) -> None:
    path.write_bytes(WHOLE[: ENDS[7] + 30])
    entries = recorded.read_entries(path)
    first = next(entries)
    with path.open("ab") as file:
        file.write(WHOLE[ENDS[7] + 30 :])
    assert [first, *entries] == [
        *COMMITS[0],
        *list(recorded.read_entries(path))[1 : sum(map(len, COMMITS[:7]))],
    ]


async def test_a_reader_that_a_recovery_overtakes_stops_where_the_recovery_did(path: Path) -> None:
    path.write_bytes(WHOLE[: ENDS[7]] + b'{"seq":8,"torn' + b"x" * 600)  # room for whole lines in its place
    entries = recorded.read_entries(path)
    found = [next(entries)]  # a buffer of old bytes is read
    checkpoint = Checkpoint.resume(log_at(path))

    await append(checkpoint, Session("start", AT, "", {"pid": 1}))
    for commit in COMMITS[7:]:
        await append(checkpoint, *commit)
    checkpoint.close()
    found += entries
    assert len(found) == sum(map(len, COMMITS[:7]))
    assert state(read_log(log_at(path)).progress) == STATES[len(LINES)]


@pytest.mark.untraced
async def test_a_log_is_read_while_a_run_writes_it(path: Path) -> None:
    checkpoint = Checkpoint.create(log_at(path), recorded.header(3000))

    seen = 0
    for row in range(3000):
        checkpoint.enqueue(deleted(row, row + 1))
        if row % 50 == 0:
            log = await asyncio.to_thread(read_log, log_at(path))
            assert log.progress.settled.size >= seen
            assert log.progress.settled.ranges in {(), ((0, log.progress.settled.size),)}
            seen = log.progress.settled.size
    checkpoint.close()


def peak_of(use: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        use()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.untraced
def test_memory_does_not_grow_with_the_log(path: Path) -> None:
    peaks = []
    for lines in (500, 10_000):
        log: list[list[Entry]] = [[recorded.header(lines * 50)]]
        log += [[deleted(at * 50, at * 50 + 50)] for at in range(lines)]
        path.write_bytes(b"".join(recorded.lines_of(log)))
        peaks.append(peak_of(lambda: read_log(log_at(path))))
    assert peaks[1] - peaks[0] < 1 << 20


def test_memory_does_not_grow_with_a_hostile_line(path: Path) -> None:
    for start in (b"", RUN.beginning, WHOLE, WHOLE + LINE_START):
        path.write_bytes(start)
        os.truncate(path, 2 << 30)  # sparse

        def refuse() -> None:
            with pytest.raises(NotAcceptable):
                read_log(log_at(path))

        assert peak_of(refuse) < 8 * LINE_MAX


def test_an_outcome_keeps_what_the_server_said(path: Path) -> None:
    path.write_bytes(WHOLE)
    (refused,) = [
        entry for entry in recorded.read_entries(path) if isinstance(entry, Outcome) and entry.kind == "refused"
    ]
    assert refused.exceptions == ({"position": 390, "id": "x", "code": 403},)
