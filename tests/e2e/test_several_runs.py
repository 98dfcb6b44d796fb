"""`status`, `ctl`, `results`, `verify` and `report` of several runs: each named, or by their export, or by a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness import Case, bulkdel, case, finish, user_ids, wait_until
from tests.mutants import mutant
from tests.syntax import swap

IDS = user_ids(40)


@contextmanager
def two_runs(folder: Path, *more: object) -> Iterator[tuple[Case, Path, Path]]:
    """The users of one export are disabled, and half of them deleted: the case, and both places."""
    with case(folder, IDS) as it:
        words = ["disable-users" if word == "delete-users" else word for word in it.args]
        disabled = bulkdel(*words)
        assert disabled.code == 0, disabled.err
        deleted = it.run("--limit", 20, *more)
        assert deleted.code == 0, deleted.err
        yield it, Path(f"{it.export}.runs", "disable-users"), it.place


@mutant(
    "an export with two runs shows one of them",
    "find_runs",
    swap("run.as_posix() if in_store(run) else os.path.realpath(run)", '"one"'),
)
@mutant("of two runs the rows are not added up", "totals_of", swap('"settled": state.settled', '"settled": 0'))
@pytest.mark.parametrize("how", ["export", "folder", "places", "twice"])
def test_the_states_of_several_runs_are_one_table(tmp_path: Path, how: str) -> None:
    with two_runs(tmp_path) as (it, disabled, deleted):
        named = {
            "export": [it.export],
            "folder": [tmp_path],
            "places": [disabled, deleted / "log.jsonl"],
            "twice": [deleted, it.export, deleted.parent / "." / deleted.name],
        }[how]
        shown = bulkdel("status", *named)
        assert (shown.code, str(disabled) in shown.out, str(deleted) in shown.out) == (0, True, True), shown
        assert re.search(r"60 of 80 rows; runs: (1 complete, 1 incomplete|1 incomplete, 1 complete)\n", shown.out)
        as_json = bulkdel("status", *named, "--json").summary
        found = {run["name"]: (run["status"], run["settled"]) for run in as_json["runs"]}
        assert found == {str(disabled): ("complete", 40), str(deleted): ("incomplete", 20)}
        assert as_json["totals"]["settled"] == 60


def test_the_results_of_several_runs_are_files_of_a_folder(tmp_path: Path) -> None:
    with two_runs(tmp_path) as (it, _, _):
        refused = bulkdel("results", it.export)
        assert (refused.code, "Name a folder (--out)" in refused.err) == (2, True), refused
        written = bulkdel("results", it.export, "--only", "done", "--out", tmp_path / "out")
        assert written.code == 0, written.err
        files = {path.name: len(path.read_text().splitlines()) for path in (tmp_path / "out").iterdir()}
        assert files == {"export-delete-users.jsonl": 20, "export-disable-users.jsonl": 40}


@mutant("the second of two runs is not verified", "verify", swap("codes[-1] > SIGNALLED", "codes[-1] < SIGNALLED"))
def test_several_runs_are_verified_and_one_that_fails_hides_no_other(tmp_path: Path) -> None:
    with two_runs(tmp_path) as (it, disabled, deleted):
        where = ("--host", it.served.url, "--rate", 0, "--json")
        verified = bulkdel("verify", disabled, deleted, *where)
        gone = [json.loads(line)["gone"] for line in verified.out.splitlines()]
        assert (gone, verified.code) == ([40, 20], 0), verified
        refused = bulkdel("verify", it.export, *where, "--state", tmp_path / "state.jsonl")
        assert (refused.code, "--state" in refused.err) == (2, True), refused
        (disabled / "log.jsonl").write_bytes(b"x")
        again = bulkdel("verify", disabled, deleted, *where, "--again")
        gone = [json.loads(line)["gone"] for line in again.out.splitlines()]
        assert (gone, again.code, str(disabled) in again.err) == ([20], 3, True), again


def test_a_command_reaches_each_run_that_is_under_way(tmp_path: Path) -> None:
    with two_runs(tmp_path, "--allow-absent") as (it, _, deleted):
        none = bulkdel("ctl", it.export, "pause")
        assert (none.code, "none of these runs is under way" in none.err) == (3, True), none
        process = it.start("--rate", 2, "--chunk-size", 1)
        wait_until(lambda: bulkdel("ctl", deleted, "status").code == 0)
        paused = bulkdel("ctl", it.export, "pause")
        assert (paused.code, str(deleted) in paused.out) == (0, True), paused
        watched = bulkdel("status", it.export)
        assert "running" in watched.out, watched
        assert bulkdel("ctl", tmp_path, "stop").code == 0
        finish(process)


@mutant(
    "a log that is broken is passed over",
    "answers_of",
    swap('return {**refused, "text": str(error)}', "return None"),
)
def test_a_broken_log_hides_no_run(tmp_path: Path) -> None:
    """Its run is shown as unreadable, exit code 3, and the others are asked."""
    with two_runs(tmp_path, "--allow-absent") as (it, disabled, deleted):
        (disabled / "log.jsonl").write_bytes(b"x")
        shown = bulkdel("status", it.export)
        told = [f"{disabled}  unreadable" in shown.out, "20 of 40 rows" in shown.out]
        assert (shown.code, told) == (3, [True, True]), shown
        process = it.start("--rate", 2, "--chunk-size", 1)
        wait_until(lambda: bulkdel("ctl", deleted, "status").code == 0)
        paused = bulkdel("ctl", it.export, "pause")
        told = [
            f"{disabled}  refused: " in paused.out,
            f"{deleted}   refused: " in paused.out,
            str(deleted) in paused.out,
        ]
        assert (paused.code, told) == (2, [True, False, True]), paused
        assert bulkdel("ctl", deleted, "stop").code == 0
        finish(process)


def test_one_report_of_the_runs_of_an_export(tmp_path: Path) -> None:
    with two_runs(tmp_path) as (it, _, _):
        made = bulkdel("report", it.export, "--out", tmp_path / "r.json")
        assert made.code == 0, made.err
        jobs = {run["job"] for run in json.loads((tmp_path / "r.json").read_text())["runs"]}
        assert jobs == {"disable-users", "delete-users"}


def test_an_audit_is_of_one_run(tmp_path: Path) -> None:
    with two_runs(tmp_path) as (it, disabled, _):
        refused = bulkdel("status", it.export, "--audit")
        assert (refused.code, "one run at a time" in refused.err) == (2, True), refused
        assert bulkdel("status", disabled, "--audit").code == 0
