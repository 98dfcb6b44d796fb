"""Reading in a process of its own: what is deleted, and what becomes of either process when the other one is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bulkdel.engine.reader_process import IDS_MIN
from tests.harness import COMMAND, bulkdel, case, environment, finish, strace, user_ids

IDS = user_ids(IDS_MIN + 2_010, seed=77)
MANY = user_ids(120_000, seed=78)
"""More than fit the pipe: the reader is there until it is no longer wanted."""

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or len(os.sched_getaffinity(0)) < 2,
    reason="reads in the process that sends: not Linux, or one processor",
)


def reader_of(pid: int) -> int | None:
    """The process that was forked off, once it is there."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return None
    return int(children[0]) if children else None


def wait_for_reader(pid: int) -> int:
    for _ in range(1_000):
        if (found := reader_of(pid)) is not None:
            return found
        time.sleep(0.01)
    raise AssertionError("no process reads ahead")


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_skipped_rows_come_through(tmp_path: Path) -> None:
    """Duplicates, bad and excluded rows are told by the one process and written down by the other."""
    keep = tmp_path / "keep.jsonl"
    keep.write_text("".join(f'"{id_}"\n' for id_ in IDS[:10]))
    with case(tmp_path, [*IDS, *IDS[100:110]], users=IDS, options=("--rate", 0, "--concurrency", 64)) as it:
        with it.export.open("a") as file:
            file.write('{"id": "no such thing"}\n')
        options = ("--on-invalid", "skip", "--exclude", keep)
        it.ids = len(IDS) - 10
        ran = it.run(*options)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(IDS) - 10, "excluded": 10, "duplicate": 10, "invalid": 1}
        assert {id_ for id_ in IDS if not it.served.ledger.effects(id_)} == set(IDS[:10])
    assert bulkdel("status", it.log, "--audit").code == 0


def test_a_reader_that_is_killed_halts_the_run(tmp_path: Path) -> None:
    # Ids so long that what a write to the pipe holds ends in the middle of a chunk.
    ids = [f"{number:06}{'x' * 140}" for number in range(20_000)]
    options = ("--rate", 0, "--concurrency", 4, "--id-type", "username")
    with case(tmp_path, ids, id_type="username", latency_s=0.05, options=options) as it:
        process = it.start()
        reader = wait_for_reader(process.pid)
        while not it.served.ledger.effects(ids[0], "username"):
            time.sleep(0.01)
        os.kill(reader, signal.SIGKILL)
        ran = finish(process)
        assert ran.code == 4, ran.err
        assert "the process that reads the export has ended" in ran.err
        assert bulkdel("status", it.log, "--json").summary["in_doubt"] == 0
        it.options = ["--rate", 0, "--concurrency", 64, "--id-type", "username"]
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(ids)}
        assert {it.served.ledger.effects(id_, "username") for id_ in ids} == {1}


@pytest.mark.parametrize("signals", [[signal.SIGKILL], [signal.SIGINT, signal.SIGINT]])
def test_a_run_that_ends_at_once_leaves_neither_a_reader_nor_a_lock(tmp_path: Path, signals: list[int]) -> None:
    with case(tmp_path, MANY, latency_s=0.05, options=("--rate", 0, "--concurrency", 4)) as it:
        process = it.start()
        reader = wait_for_reader(process.pid)
        while not it.served.ledger.effects(MANY[0]):
            time.sleep(0.01)
        for signum in signals:
            process.send_signal(signum)
            time.sleep(0.01)
        finish(process)
        it.options = ["--rate", 0, "--concurrency", 64]
        ran = it.run()  # at once: a lock that the reader held would refuse it
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": len(MANY)}
        assert not is_there(reader)


@pytest.mark.parametrize("halted", [False, True])
def test_a_reader_that_hangs_does_not_hold_up_the_end(tmp_path: Path, *, halted: bool) -> None:
    """By a signal, or by itself."""
    at = datetime.now(UTC) + timedelta(seconds=6)
    until = ("--not-after", f"{at:%Y-%m-%dT%H:%M:%S}+00:00") if halted else ()
    with case(tmp_path, MANY, options=("--rate", 0, "--concurrency", 64, *until)) as it:
        process = it.start()
        reader = wait_for_reader(process.pid)
        while not it.served.ledger.effects(MANY[0]):
            time.sleep(0.01)
        os.kill(reader, signal.SIGSTOP)
        time.sleep(2.0)  # what the pipe holds is sent, and the run waits for more
        if not halted:
            process.send_signal(signal.SIGTERM)
        ran = finish(process, timeout=20)
        assert ran.code == (6 if halted else 143), ran.err
        assert bulkdel("status", it.log, "--json").summary["in_doubt"] == 0


def test_a_signal_to_both_drains(tmp_path: Path) -> None:
    """What a terminal does on Ctrl-C: both get it. The reader goes on until the other one ends it."""
    with case(tmp_path, IDS, latency_s=0.05, options=("--rate", 0, "--concurrency", 4)) as it:
        process = it.start(start_new_session=True)
        reader = wait_for_reader(process.pid)
        while not it.served.ledger.effects(IDS[0]):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        ran = finish(process)
        assert ran.code == 130, ran.err
        assert bulkdel("status", it.log, "--json").summary["in_doubt"] == 0
        assert not is_there(reader)


def test_an_export_that_changes_halts_the_run(tmp_path: Path) -> None:
    """What the other process finds is raised here, with its exit code and its words."""
    ids = user_ids(200_000)  # more than fit the pipe: the end is not read yet
    with case(tmp_path, ids, latency_s=0.002, options=("--rate", 0, "--concurrency", 16)) as it:
        process = it.start()
        while not it.served.ledger.effects(ids[0]):
            time.sleep(0.01)
        with it.export.open("r+b") as file:
            file.seek(-40, os.SEEK_END)
            file.write(b"x")
        ran = finish(process)
        assert ran.code == 4, ran.err
        assert "changed under the run" in ran.err


def test_without_another_process_this_one_reads(tmp_path: Path) -> None:
    """A limit on processes. fork is `clone` for the kernel, while threads are `clone3`."""
    with case(tmp_path, IDS, options=("--rate", 0, "--concurrency", 64)) as it:
        trace = tmp_path / "trace"
        words = strace("-o", trace, "-e", "trace=clone", "-e", "inject=clone:error=EAGAIN")
        done = subprocess.run(
            [*words, *COMMAND, *map(str, it.args)], env=environment(), capture_output=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert "EAGAIN" in trace.read_text()
        assert {it.served.ledger.effects(id_) for id_ in IDS} == {1}
