"""`bulkdel demo` as a process: it ends well only because the counts agree, and says so when they do not."""

from __future__ import annotations

import json
import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.demo import DUPLICATE, HEAD, POISONOUS, UNKNOWN, compare, make_up
from bulkdel_jobs.sandbox import Pool
from tests.harness import COUNTS, bulkdel, finish, is_alive, names_in, processes_of, start, wait_until
from tests.mutants import mutant
from tests.pages import README, sessions
from tests.places import log_of
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

USERS = 5_000


def test_the_whole_story(tmp_path: Path) -> None:
    """A small demo. The second half of its run takes a second, so that a busy machine interrupts it in time."""
    words = ("demo", "--dir", tmp_path / "new", "--users", USERS, "--rate", 40)
    ran = bulkdel(*words, env={"BULKDEL_CONCURRENCY": "0"}, timeout=6 * WAIT_MAX_S)  # it starts six commands
    assert ran.code == 0, ran.out + ran.err
    assert ran.out.rstrip().endswith("The counts agree exactly: every row of the export is accounted for.")
    assert re.findall(r"^\[exit code (\d+)\]$", ran.out, re.MULTILINE) == ["0", "130", "0", "1", "0", "1"]
    assert [line.split()[1:3] for line in ran.out.splitlines() if line.startswith("$ bulkdel")] == [
        ["bulkdel", "plan"],
        ["bulkdel", "run"],
        ["bulkdel", "status"],
        ["bulkdel", "run"],
        ["bulkdel", "results"],
        ["bulkdel", "run"],
    ]
    summary: dict[str, Any] = json.loads(next(line for line in ran.out.splitlines() if line.startswith('{"deleted"')))
    assert summary["resumed"]
    assert summary["refused"] == POISONOUS
    assert summary["duplicate"] == DUPLICATE
    assert (summary["deleted"], summary["absent"]) == (USERS - POISONOUS, UNKNOWN)
    assert summary["rows"] == sum(summary[name] for name in COUNTS) == USERS + UNKNOWN + DUPLICATE
    assert names_in(tmp_path / "new") == ["users.jsonl", "users.jsonl.runs"]


def test_the_recipe_of_the_readme(tmp_path: Path) -> None:
    """The same commands in the same order, and at the end the restored users are looked up too."""
    ran = bulkdel("demo", "--full", "--dir", tmp_path, timeout=6 * WAIT_MAX_S)
    assert ran.code == 0, ran.out + ran.err
    assert re.findall(r"^\[exit code (\d+)\]$", ran.out, re.MULTILINE) == ["3", *["0"] * 7]
    typed = [command for command, _ in sessions(README)][1:]
    shown = re.findall(r"^\$ (bulkdel .*)$", ran.out, re.MULTILINE)
    assert [words.split()[1] for words in shown] == [words.split()[1] for words in [*typed, "bulkdel verify"]]
    last = typed[-1].partition(" --only ")[2].split(" --only ")
    assert [*re.findall(r"--only (\S+)", shown[-2])] == [*map(str.strip, last)]
    assert "Of the 1,040 VIPs and users of the last 90 days it still has 1,040." in ran.out
    assert names_in(tmp_path) == ["crm.csv", "crm.csv.runs", "report.html", "vips.xlsx"]


def test_a_difference_is_shown() -> None:
    """One deletion more in the sandbox than in the summary, and a refusal that the results do not name."""
    rows = [f"{n:024x}" for n in range(10)]
    right = {**dict.fromkeys(COUNTS, 0), "deleted": 9, "refused": 1, "rows": 10}
    pool = Pool.from_ids(rows)
    for number in range(9):
        pool.delete(number)
    assert compare(right, {rows[9]}, rows, pool)[1]
    for summary, named, differing in ((right, {rows[0]}, 1), ({**right, "deleted": 8, "absent": 1}, {rows[9]}, 2)):
        lines, agree = compare(summary, named, rows, pool)
        assert not agree
        assert sum("differs" in line for line in lines) == differing


def test_the_export() -> None:
    users, poisonous, rows = make_up(1_000, random.Random(1))
    assert len(set(users)) == 1_000
    assert len(rows) - len(set(rows)) == DUPLICATE
    assert len(set(rows) - set(users)) == len(set(rows[:HEAD]) - set(users)) == UNKNOWN
    assert len(set(poisonous) & set(users) - set(rows[:HEAD])) == POISONOUS


@pytest.mark.soak
def test_too_fast_to_be_interrupted_is_no_success(tmp_path: Path) -> None:
    """Nothing is claimed that was not shown."""
    ran = bulkdel("demo", "--dir", tmp_path, "--users", 1_000, "--rate", 10_000)
    if ran.code:  # on a slow machine even this is interrupted in time
        assert ran.code == 1
        assert "expected exit code 130" in ran.err


def test_refuses_a_folder_in_use(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    ran = bulkdel("demo", "--dir", tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert "is not an empty directory" in ran.err
    ran = bulkdel("demo", "--dir", tmp_path / "mine")
    assert (ran.code, ran.out) == (2, "")
    assert bulkdel("demo", "--users", 10).code == 2
    ran = bulkdel("demo", "--full", "--rate", 10)
    assert (ran.code, "leave out --users and --rate" in ran.err) == (2, True)


@pytest.mark.soak
def test_ctrl_c_stops_the_demo(tmp_path: Path) -> None:
    process = start("demo", "--dir", tmp_path, "--rate", 5, start_new_session=True)
    deadline = time.monotonic() + WAIT_MAX_S
    while not log_of(tmp_path / "users.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    ran = finish(process)
    assert ran.code == 130
    assert f"What it wrote is in {tmp_path}" in ran.out


@mutant(
    "what a killed demo has started goes on",
    "step",
    swap("{**from_here(kept), **KEYS, **for_child()}", "{**from_here(kept), **KEYS} if for_child() else kept"),
)
def test_what_a_killed_demo_has_started_ends_with_it(tmp_path: Path) -> None:
    """Killed while it plans. A run would drain first: for half a minute, because its sandbox is gone."""
    process = start("demo", "--dir", tmp_path, "--users", 1_000, "--rate", 1)
    wait_until(lambda: processes_of(process.pid) != [], process)
    (child,) = processes_of(process.pid)
    process.kill()
    wait_until(lambda: not is_alive(child))
    process.communicate()
