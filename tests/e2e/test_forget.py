"""`bulkdel forget`: what holds personal data goes, what it did not name and confirm stays, and the log says so."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bulkdel.checkpoint.annotation import annotate
from bulkdel.checkpoint.audit import audit
from bulkdel.checkpoint.reader import read_log
from bulkdel.commands import forget as command
from bulkdel.core.log_entries import stamp
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.place.opening import log_at
from bulkdel_jobs.genauth.groups_and_roles import GROUPS_PATH
from bulkdel_jobs.sandbox import Pool, Switches, serve_in_thread
from bulkdel_jobs.sandbox.users import ids_of
from tests import second_reader
from tests.full_users import full_users
from tests.harness import (
    DELETIONS,
    POOL,
    Ran,
    bulkdel,
    case,
    entries,
    finish,
    kill,
    start,
    user_ids,
    wait_until,
    write_objects,
)
from tests.inputs import input_file
from tests.mutants import mutant
from tests.places import log_of
from tests.recorded import rewrite
from tests.syntax import negate, swap
from tests.waits import WAIT_MAX_S

IDS = user_ids(60)
ROOT = Path(__file__).parents[2]
BAD = b'{"id":"no id"}\n'
PIPED = b"".join(b'{"id":"%s"}\n' % id_.encode() for id_ in IDS) + BAD


def run_of(folder: Path, *options: object, name: str = "x", piped: bytes = PIPED, backup: str = "backup.gz") -> Path:
    """The log of a run on the sandbox, whose export came through a pipe, with bad rows and a backup."""
    folder.mkdir(exist_ok=True)
    log = folder / name / LOG
    more = ("--skip-invalid", "10", "--backup-to", folder / backup, "--rate", 0, "--json")
    ran = bulkdel("run", "delete-users", "-", "--run", log.parent, "--sandbox", *more, *options, input=piped)
    assert ran.code == 0, ran.err
    return log


def forget(log: Path, *options: object, env: dict[str, str] | None = None) -> Ran:
    return bulkdel("forget", log, *options, env=env or {})


LOG, ROWS = "log.jsonl", "input.jsonl.zst"
STAY = {LOG, "input.index.jsonl", "skipped.zst"}
"""The files that stay: the log, the index of its rows, and its skipped rows, without which the log is not read."""


def home(log: Path) -> Path:
    """The folder with the place of a run."""
    folder = log.parent.parent
    return folder.parent if folder.name.endswith(".runs") else folder


def names_of(log: Path) -> set[str]:
    """The names of all files in the place of a run, and beside it, without those that stay with the log."""
    where = {path: path.parent for path in home(log).rglob("*") if not path.is_dir()}
    own = {path: path.relative_to(log.parent if path.is_relative_to(log.parent) else home(log)) for path in where}
    return {str(name) for path, name in own.items() if path.name not in STAY - {LOG}}


def beside(log: Path) -> set[str]:
    """The same; the log and the index of its rows have to be there."""
    assert read_log(log_at(log))
    assert log.with_name("input.index.jsonl").exists()
    return names_of(log)


def to_remove(log: Path) -> list[Path]:
    """Every file in the home of a run but the log and the files that stay with it."""
    return [path for path in home(log).rglob("*") if path.is_file() and path.name not in STAY]


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def noted(log: Path) -> list[tuple[str | None, int | None]]:
    """The state of each annotation, and how many files were removed."""
    return [(entry.get("state"), entry.get("removed")) for entry in entries(log) if entry["type"] == "annotation"]


FILES = {ROWS, "backup.gz", "invalid", "invalid.reasons.csv"}


def test_it_removes_what_it_listed_and_leaves_a_log_that_can_be_used(tmp_path: Path) -> None:
    log = run_of(tmp_path)
    (log.parent / "still-there.jsonl").write_text('{"id":"x"}\n')
    (log.parent / "still-there-2.jsonl").write_text('{"id":"y"}\n')
    (log.parent / "log.jsonl.torn-9").write_text('{"seq":9')
    (log.parent / ".input.part").write_text("{")
    (log.parent / "verify.jsonl").write_text("findings")
    (log.parent / "still-there-mine.jsonl").write_text("mine")
    before, status = bytes_in(tmp_path), json.loads(bulkdel("status", "--json", log, env={}).out)
    asked = forget(log)
    assert asked.code == 2
    assert asked.err == (
        "bulkdel: not confirmed: --confirm is missing. Nothing was removed. To confirm:\n"
        f"  bulkdel forget {log.parent} --confirm 8\n"
    )
    assert bytes_in(tmp_path) == before
    rows = input_file(log)
    for path, what in (
        (rows, "the rows of the run"),
        (log.with_name("log.jsonl.torn-9"), "a torn line of the log"),
    ):
        assert f"  remove  {path}, {what}, {path.stat().st_size:,} bytes\n" in asked.out
    wrong = forget(log, "--confirm", 7)
    assert wrong.code == 2
    assert "--confirm 7 was given, but there are 8 files" in wrong.err
    assert bytes_in(tmp_path) == before

    ran = forget(log, "--confirm", 8)
    assert ran.code == 0, ran.err
    assert beside(log) == {LOG, "verify.jsonl", "still-there-mine.jsonl"}
    assert log.read_bytes().startswith(before[f"x/{LOG}"])
    begun, ended = [entry for entry in entries(log) if entry["type"] == "annotation"]
    assert {Path(file["path"]).name: file["sha256"] for file in begun["files"]} == {
        Path(name).name: hashlib.sha256(data).hexdigest()
        for name, data in before.items()
        if Path(name).name not in STAY | {"verify.jsonl", "still-there-mine.jsonl"}
    }
    assert rows.name in {Path(file["path"]).name for file in begun["files"]}
    assert begun["confirmed"] == {"files": 8, "how": "options"}
    assert (ended["removed"], ended["bytes"]) == (8, sum(file["bytes"] for file in begun["files"]))

    after = json.loads(bulkdel("status", "--json", log, env={}).out)
    second = second_reader.read(log)
    assert second.sha256 == after["log_sha256"]
    assert second.counts().items() <= after.items()
    assert (second.in_doubt, second.spared) == (after["in_doubt"], after["spared"])
    changed = ("log_sha256", "annotations")
    assert {name: after[name] for name in after if name not in changed} == {
        name: status[name] for name in status if name not in changed
    }
    assert "  forget     files removed on " in bulkdel("status", log, env={}).out
    assert bulkdel("status", "--audit", log, env={}).code == 0
    results = bulkdel("results", log, env={})
    assert results.code == 3
    assert "the rows of this run were removed by `bulkdel forget`" in results.err
    (tmp_path / "export.jsonl").write_bytes(PIPED)
    results = bulkdel("results", log, "--export", tmp_path / "export.jsonl", env={})
    assert len(results.out.splitlines()) == len(IDS) + 1
    again = forget(log)
    assert (again.code, again.err) == (0, "There is nothing to remove.\n")
    assert "missing" not in again.out


@mutant(
    "forget removes a backup that the run did not write",
    "_look",
    swap(
        '"" if fits else "holds other bytes than those that the run wrote"',
        '"" if fits or found.st_size else "holds other bytes than those that the run wrote"',
    ),
)
def test_links_and_other_bytes_are_left_and_named(tmp_path: Path) -> None:
    log = run_of(tmp_path)
    backup, reasons, bad = tmp_path / "backup.gz", log.with_name("invalid.reasons.csv"), log.with_name("invalid")
    rows, target, target_of_rows = input_file(log), tmp_path / "elsewhere", tmp_path / "rows elsewhere"
    for moved, to in ((backup, target), (rows, target_of_rows)):
        moved.rename(to)
        moved.symlink_to(to)
    os.link(reasons, tmp_path / "another name")
    bad.write_text("corrected by hand")
    os.mkfifo(log.with_name("still-there.jsonl"))
    before = beside(log)
    ran = forget(log, "--confirm", 1)
    assert ran.code == 1
    for path, why in (
        (backup, "is a symbolic link"),
        (rows, "is a symbolic link"),
        (reasons, "has 1 more name (hard links)"),
        (bad, "holds other bytes than those that the run wrote"),
        (log.with_name("still-there.jsonl"), "is not a regular file"),
    ):
        assert f"  left    {path}, " in ran.out
        assert f": it {why}\n" in ran.out
    assert before == beside(log)
    backup.unlink()
    backup.write_bytes(b"X" + target.read_bytes()[1:])
    reasons.unlink()
    reasons.write_bytes(b"other")
    ran = forget(log)
    assert ran.code == 1
    assert ran.out.count(": it holds other bytes than those that the run wrote\n") == 3
    assert f"  left    {bad}, the bad rows that were left out: it holds other bytes" in ran.out
    backup.write_bytes(target.read_bytes() + b"torn")  # a write that never became durable
    assert f"  remove  {backup}, " in forget(log).out


@mutant(
    "forget removes whatever has the name of the rows of a run",
    "_why_not_its_rows",
    swap('why and f"is not shown to have the rows of this run ({why})"', "why[:0]"),
)
@pytest.mark.parametrize("what", ["other bytes", "no index"])
def test_rows_that_are_not_shown_to_be_those_of_the_run_are_left(what: str, tmp_path: Path) -> None:
    with case(tmp_path, IDS[:100]) as it:
        assert it.run().code == 0
        rows = input_file(it.log)
        if what == "no index":
            it.log.with_name("input.index.jsonl").unlink()
        else:
            rows.write_bytes(b"notes".ljust(rows.stat().st_size))
        ran = forget(it.log)
        assert f"  left    {rows}, " in ran.out, ran
        assert "is not shown to have the rows of this run" in ran.out


@pytest.mark.parametrize("before", ["the prompt", "the header"])
def test_rows_of_a_run_that_did_not_begin_are_named(before: str, tmp_path: Path) -> None:
    """A kill has left them."""
    with case(tmp_path, IDS[:100]) as it:
        it.place.mkdir(parents=True)
        rows = it.place / (".input.part" if before == "the prompt" else ROWS)
        rows.write_bytes(b"rows")
        if before == "the header":
            it.log.touch()
        for named in (it.place, it.export):
            ran, mend = forget(named), "If the log was moved away" if before == "the prompt" else "To give that run up"
            assert (ran.code, f"rows of its export are in {rows}. {mend}" in ran.err) == (3, True), ran
        assert it.run().code == 0
        assert "rows of its export" not in forget(it.log).err


@mutant(
    "forget removes whatever has the name of a file that was confirmed",
    "_unlink",
    swap("identity_of(file.path.lstat()) == file.identity", "identity_of(file.path.lstat())"),
)
@pytest.mark.traced
def test_a_file_that_changes_while_it_asks_is_left(tmp_path: Path) -> None:
    """Confirmed is the file that was listed, and no other that has its name by then."""
    log = run_of(tmp_path)
    backup = tmp_path / "backup.gz"
    other = tmp_path / "other"
    other.write_bytes(backup.read_bytes())
    ours, theirs = pty.openpty()
    process = start("forget", log, stdin=theirs, env={})
    os.close(theirs)
    assert process.stderr is not None
    assert process.stderr.readline() == b"Type the number of files (4) to remove them, anything else to stop:\n"
    other.replace(backup)
    os.write(ours, b"4\n")
    ran = finish(process)
    os.close(ours)
    assert ran.code == 1, ran.err
    assert beside(log) == {LOG, "backup.gz"}
    assert f"{backup}, the backup of the records, was not there before, or has changed, and is not removed." in ran.err
    assert f"  bulkdel forget {log.parent} --confirm 1\n" in ran.err


@pytest.mark.parametrize("typed", [b"6\n", b"\n", b""])
def test_anything_else_typed_removes_nothing(typed: bytes, tmp_path: Path) -> None:
    log = run_of(tmp_path)
    before = bytes_in(tmp_path)
    ours, theirs = pty.openpty()
    process = start("forget", log, stdin=theirs, env={})
    os.close(theirs)
    assert process.stderr is not None
    assert select.select([process.stderr], [], [], 30)[0]
    os.write(ours, typed or b"\x04")
    ran = finish(process)
    with suppress(OSError):
        os.close(ours)
    assert ran.code == 2
    assert f"bulkdel forget {log.parent} --confirm 4" in ran.err
    assert bytes_in(tmp_path) == before


@mutant(
    "forget does not miss the rows of a run",
    "_named_rows",
    swap(
        "NamedFile(rows, ROWS, why_left=_why_not_its_rows(place, progress), wanted=wanted, expected=True)",
        "NamedFile(rows, ROWS, why_left=_why_not_its_rows(place, progress), wanted=wanted)",
    ),
)
@mutant(
    "forget removes the rows that a run has not sent yet",
    "_named",
    swap(
        "_named_rows(run, progress, wanted=resumable or restoring)",
        "_named_rows(run, progress, wanted=restoring)",
    ),
)
def test_the_rows_of_a_run_are_needed_while_it_goes_on_and_named_when_they_are_missing(tmp_path: Path) -> None:
    """They are all that a run of a plain file without a backup writes of persons."""
    with case(tmp_path, IDS) as it:
        assert it.run("--limit", 20, "--chunk-size", 10).code == 0
        rows, kept = input_file(it.log), tmp_path / "kept"
        ran = forget(it.log, "--confirm", 1)
        assert ran.code == 3
        assert f" needs {rows} (the rows of the run). Nothing was removed." in ran.err
        rows.rename(kept)
        ran = forget(it.log)
        assert (ran.code, ran.err) == (1, "There is nothing to remove.\n")
        assert f"  missing {rows}, the rows of the run: if it has moved" in ran.out
        kept.rename(rows)
        assert it.run().code == 0
        assert forget(it.log, "--confirm", 1).code == 0
        assert beside(it.log) == {it.export.name, LOG}
        again = forget(it.log)
        assert (again.code, "missing" in again.out) == (0, False), again


@mutant(
    "forget removes what a run with rows left needs",
    "_refuse_wanted",
    negate("not abandon"),
)
def test_what_a_run_with_rows_left_needs_stays_unless_it_is_given_up(tmp_path: Path) -> None:
    log = run_of(tmp_path, "--limit", 10, "--chunk-size", 5)
    before = bytes_in(tmp_path)
    rows = input_file(log)
    ran = forget(log, "--confirm", 4)
    assert ran.code == 3
    backup = f"{tmp_path / 'backup.gz'} (the backup of the records)"
    assert f" needs {rows} (the rows of the run), {backup}. " in ran.err
    assert f"  bulkdel status {log.parent}\n" in ran.err
    assert f"  bulkdel forget {log.parent} --abandon\n" in ran.err
    assert bytes_in(tmp_path) == before
    assert forget(log, "--abandon").err.endswith(f"  bulkdel forget {log.parent} --abandon --confirm 4\n")
    assert forget(log, "--abandon", "--confirm", 4).code == 0
    assert beside(log) == {LOG}
    assert json.loads(bulkdel("status", "--json", log, env={}).out)["remaining"] == 50
    again = ("run", "delete-users", "-", "--run", log.parent, "--sandbox", "--skip-invalid", "10", "--rate", 0)
    refused = bulkdel(*again, "--backup-to", tmp_path / "another", input=PIPED)
    assert (refused.code, "`bulkdel forget` has removed the rows of this run" in refused.err) == (3, True), refused
    assert json.loads(bulkdel("status", "--json", log, env={}).out)["remaining"] == 50
    rows.write_bytes(before[f"x/{ROWS}"])
    run_of(tmp_path, backup="another")  # with a copy of its rows and another backup it goes on
    assert json.loads(bulkdel("status", "--json", log, env={}).out)["remaining"] == 0
    assert audit(log_at(log)).fault is None


def test_a_run_under_way_and_a_verification_are_not_disturbed(tmp_path: Path) -> None:
    with case(tmp_path, IDS, users=[*IDS, *user_ids(9, seed=1)], latency_after_s=30.0, fault_paths=DELETIONS) as it:
        process = it.start("--backup-to", tmp_path / "backup")
        it.wait_until_deleted(1)
        ran = forget(it.log)
        assert ran.code == 3
        assert f"a run (pid {process.pid}) is under way" in ran.err
        process.kill()
        finish(process)
        it.switch(latency_after_s=0.0)
        assert it.run("--backup-to", tmp_path / "backup").code == 0
        state = it.log.with_name("verify.jsonl")
        with state.open("wb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            ran = forget(it.log)
            assert ran.code == 3
            assert "a verification is under way" in ran.err
        ran = forget(it.export, "--confirm", 2)
        assert ran.code == 0, ran.err
        assert f"  left    {it.export}, your own export\n" in ran.out
        assert beside(it.log) == {it.export.name, LOG, "verify.jsonl"}
        verify = ("verify", it.log, "--host", it.served.url, "--rate", 0, "--state", tmp_path / "findings", "--json")
        refused = bulkdel(*verify)
        assert (refused.code, "removed by `bulkdel forget`" in refused.err) == (3, True), refused
        assert bulkdel(*verify, "--export", it.export).found() == (len(IDS), 0, 0)


@mutant(
    "a run whose rows were removed says how to read them",
    "_next_steps",
    swap("not is_forgotten(log_place(plan.run), ended.progress)", "True"),
)
def test_the_commands_that_a_complete_run_prints_read_nothing_that_was_removed(tmp_path: Path) -> None:
    with case(tmp_path, IDS, options=("--rate", 0, "--backup")) as it:
        assert it.run().code == 0
        assert forget(it.log, "--confirm", 2).code == 0
        again = bulkdel("run", "delete-users", it.export, "--host", it.served.url, "--backup")
        assert again.code == 0, again
        assert [line.split()[1] for line in again.err.splitlines() if line.startswith("  bulkdel ")] == ["report"]
        assert bulkdel("report", it.log.parent).code == 0


def test_of_two_runs_in_a_folder_one_is_forgotten(tmp_path: Path) -> None:
    kept = run_of(tmp_path, name="x.restore", piped=PIPED[: -len(BAD)], backup="x.restore.backup.gz")
    before = bytes_in(tmp_path)
    log = run_of(tmp_path)
    assert forget(log, "--confirm", 4).code == 0
    after = bytes_in(tmp_path)
    left = {f"x/{name}" for name in STAY}
    assert left <= after.keys()
    assert {name: data for name, data in after.items() if name not in left} == before
    assert f"x.restore/{kept.name}" in after


@mutant(
    "forget removes files before the log says so",
    "_remove",
    swap('log.add("forget", now, stamp(WORLD.wall()))', 'stack.callback(log.add, "forget", now, stamp(WORLD.wall()))'),
)
def test_killed_at_every_effect_the_same_command_finishes(tmp_path: Path) -> None:
    """No file is gone before the log says so; and at the end nothing is left, and all is in the log."""
    whole = tmp_path / "whole"
    run_of(whole)
    (whole / "backup.gz").unlink()  # the log has its path in `whole`
    played = subprocess.run(
        [sys.executable, "-m", "tests.forget_child", whole, "3"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=WAIT_MAX_S,
    )
    effects = int(played.stdout.split()[-1])
    assert effects > 10
    seen = set[frozenset[str]]()
    for number in range(1, effects + 1):
        killed, ended = (tmp_path / f"{name}-{number:02}" / "x" / LOG for name in ("killed", "whole"))
        seen.add(left := frozenset(beside(killed)))
        notes = noted(killed)
        assert notes or left == {LOG, *FILES} - {"backup.gz"}, "a file is gone, and the log does not say so"
        assert beside(ended) == {LOG}
        assert noted(ended)[-1] == ("ended", 3)
        for each in (killed, ended):
            assert audit(log_at(each)).fault is None
    assert len(seen) == 4  # killed before the first file, and after each
    one = next(path for path in tmp_path.glob("killed-*/x/log.jsonl") if noted(path) == [("begun", None)])
    assert f"  to end it: bulkdel forget {one.parent}\n" in bulkdel("status", one, env={}).out


def test_a_torn_line_that_is_cut_off_meanwhile_is_named(tmp_path: Path) -> None:
    """It was not confirmed, because it was not a file yet."""
    log = run_of(tmp_path)
    with log.open("ab") as file:
        file.write(b'{"seq":')
    ran = forget(log, "--confirm", 4)
    assert ran.code == 1
    (torn,) = log.parent.glob("*.torn-*")
    assert f"{torn}, a torn line of the log, was not there before" in ran.err
    assert forget(log, "--confirm", 1).code == 0
    assert beside(log) == {LOG}


@mutant(
    "forget removes the rows of the run that is being restored",
    "_named",
    swap(
        "_named_rows(run, progress, wanted=resumable or restoring)",
        "_named_rows(run, progress, wanted=resumable)",
    ),
)
@mutant(
    "forget removes the map while memberships are to be put back",
    "_named_written",
    swap(
        'NamedFile(folder / NEW_IDS, "the old and the new ids of a restore", wanted=restoring)',
        'NamedFile(folder / NEW_IDS, "the old and the new ids of a restore", wanted=not restoring)',
    ),
)
def test_the_files_of_a_restore_go_too_once_it_is_complete(tmp_path: Path) -> None:
    """Its exports, its map, in the log of each what was removed of it; and what cannot be done any more says why."""
    pool = full_users(20)
    ids = [ids_of(pool.user(number), "user_id")[0] for number in range(20)]
    export = write_objects(tmp_path / "export.jsonl", ids)
    log, where = log_of(export), ("--rate", 0, "--confirm", 20, "--pool", POOL)
    restored = log.parent / "restore-1"
    with serve_in_thread(pool, Switches(assignment_targets=True)) as served:
        backup = ("--backup-to", tmp_path / "backup.zst", "--backup-memberships")
        assert bulkdel("run", "delete-users", export, "--host", served.url, *where, *backup).code == 0
        restore = ("restore", log, "--host", served.url, "--passwords", "none", *where)
        assert bulkdel(*restore, "--limit", 5, "--chunk-size", 5).code == 0
        ran = forget(log)
        assert ran.code == 3
        needs = (
            f"{input_file(log)} (the rows of the run)",
            f"{tmp_path / 'backup.zst'} (the backup of the records)",
            f"{tmp_path / 'backup.memberships.jsonl.zst'} (the backup of the memberships)",
            f"{restored / 'new-ids.jsonl'} (the old and the new ids of a restore)",
        )
        own, made = input_file(restored / LOG), f"{restored / 'records.jsonl'} (the records of a restore)"
        for needed in (*needs, f"{own} (the rows of the run)", made):
            assert needed in ran.err
        assert bulkdel(*restore).code == 0
        ended, lines = log.read_bytes(), log.read_bytes().splitlines(keepends=True)
        memberships, away = restored / "memberships", tmp_path.parent / "memberships"
        memberships.rename(away)
        log.write_bytes(b"".join(lines[:-1]))  # as a kill leaves it before the first membership is read
        ran = forget(log, "--confirm", 4)
        assert ran.code == 3
        assert f"rows or memberships remain, and a run of them needs {', '.join(needs)}, " in ran.err
        assert f"{made}. Nothing was removed." in ran.err
        log.write_bytes(ended)
        away.rename(memberships)
        places = ("", "restore-1/", "restore-1/memberships/")
        logs, rows = ({f"{place}{name}" for place in places} for name in (LOG, ROWS))
        personal = {
            *("restore-1/records.jsonl", "restore-1/new-ids.jsonl", "restore-1/keep.jsonl"),
            "restore-1/memberships/memberships.jsonl",
        }
        others = {"export.jsonl", "backup.zst", "backup.memberships.jsonl.zst"}
        assert beside(log) == logs | rows | personal | others
        ran = forget(log, "--confirm", 9)
        assert ran.code == 0, ran.err
        stays = "the log; it has 20 new ids of restored accounts, the names of user and machine"
        assert f"  stays   {restored / LOG}, {stays}" in ran.out
        assert beside(log) == logs | {"export.jsonl"}
        for place, count in zip(places, (5, 2, 2), strict=True):
            assert noted(log.parent / place / LOG)[-2:] == [("begun", None), ("ended", count)]
        told = bulkdel("status", log, env={}).out
        assert told.count("restored (restore-1) on ") == 1
        ran = bulkdel("results", restored, env={})
        assert "the rows of this run were removed by `bulkdel forget`" in ran.err
        ran = bulkdel(*restore)
        assert ran.code == 3
        assert f"its backup {tmp_path / 'backup.zst'} was removed by `bulkdel forget`" in ran.err


@mutant(
    "forget leaves a copy of the memberships that a kill has ended",
    "_named",
    swap(r'rf"\.{re.escape(each.name)}\.\w+\.part"', r'rf"{re.escape(each.name)}\.\w+\.part"'),
)
@pytest.mark.traced
def test_a_copy_of_the_memberships_that_a_kill_has_ended(tmp_path: Path) -> None:
    """Half-written, it goes. Whole and not in the log yet, it may be of another run. Both lie beside the backup."""
    kept = tmp_path / "kept"
    kept.mkdir()
    with case(tmp_path, IDS, latency_s=0.2, fault_paths=frozenset({GROUPS_PATH})) as it:
        process = it.start("--backup-to", kept / "users.jsonl.gz", "--backup-memberships")
        wait_until(lambda: it.served.ledger.by_path[GROUPS_PATH] > 1, process)  # the first is for the plan
        kill(process)
        whole = kept / "users.jsonl.memberships.jsonl.gz"
        part = kept / f".{whole.name}.a1b2c3d4.part"
        others = {".users.jsonl.gz.a1b2c3d4.part", f"{part.name}s", "mine.part"}
        for path in (whole, part, *(kept / name for name in others)):
            path.write_bytes(b"ids")
        asked = forget(it.log, "--abandon")
        assert f"  remove  {part}, what a killed command has left half-written, 3 bytes\n" in asked.out
        assert f"  left    {whole}, a backup of memberships: it is not in the log, " in asked.out
        assert forget(it.log, "--abandon", "--confirm", 3).code == 1
        assert {path.name for path in kept.iterdir()} == {*others, whole.name}
        kept.rename(tmp_path / "moved")
        assert forget(it.log).code == 0


@mutant(
    "forget removes what a forged log calls the copy of its memberships",
    "_named",
    swap("NamedFile(to, UNKNOWN_COPY, why_left=UNKNOWN)", "NamedFile(to, UNKNOWN_COPY)"),
    case="key.env",
)
@mutant(
    "forget removes what a forged log calls a backup of one byte",
    "digest_of",
    swap("is_of_records(file.fileno(), known)", "Saved().plus(blocks_of(file.fileno(), stop=known.size)) == known"),
    case="keep.jsonl",
)
@pytest.mark.parametrize("taken", ["key.env", "keep.jsonl", "other.memberships.jsonl"])
def test_what_a_forged_log_calls_its_own_is_neither_packed_nor_removed(taken: str, tmp_path: Path) -> None:
    """It says that another file of its folder is the copy of the memberships, or a backup of one byte."""
    file, part = tmp_path / taken, tmp_path / f".{taken}.copy.part"
    file.write_text(secret := '{"kind":"group","code":"a","userId":"x"}\n')
    if not taken.endswith(".memberships.jsonl"):  # else it would be the part of such a copy
        part.write_text("of another run")
    with case(tmp_path, IDS) as it:
        backup = tmp_path / "backup.jsonl"
        assert it.run("--backup-to", backup, "--limit", 20, "--chunk-size", 10).code == 0
        log, before = it.log.read_bytes(), {path.name for path in tmp_path.rglob("*")}
        rows = input_file(it.log)
        data = rows.read_bytes()
        unlisted = f"{file}, a backup of memberships, is left out: it is not in the log"
        other = f"{file}, the backup of the records: it holds other bytes"
        for facts, forged, count, left_by_pack in (
            ({"memberships": str(file)}, None, 2, unlisted),
            ({"backup": str(file)}, [1, zlib.crc32(b"{")], 1, other),
        ):
            it.log.write_bytes(log)
            rows.write_bytes(data)
            rewrite(it.log, partial(_forged, facts, forged))
            out = tmp_path / "run.tar.gz"
            packed = bulkdel("pack", it.log, "--out", out)
            assert left_by_pack in packed.out + packed.err, packed
            if out.exists():
                with tarfile.open(out) as archive:
                    assert backup.name in archive.getnames()
                    assert taken not in archive.getnames()
                out.unlink()
            removed = forget(it.log, "--abandon", "--confirm", count)
            assert file.read_text() == secret, removed
            assert f"  left    {file}, " in removed.out
            assert (removed.code, rows.exists()) == (1, False), removed
        assert before - {path.name for path in tmp_path.rglob("*")} == {backup.name, rows.name}


@mutant(
    "a private file whose first line a forged log knows is packed and removed",
    "digest_of",
    swap("is_of_records(file.fileno(), known)", "file.tell() >= known.size"),
    case="id_ed25519",
)
@pytest.mark.parametrize(
    ("taken", "text"),
    [
        ("id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n"),
        ("key.json", '{\n"secret": "canary"}\n'),
        ("keep.csv", "id\nperson\n"),
        ("blank.txt", "\nsecret\n"),
        ("torn.txt", '{"id": "1"}\nsecret'),
    ],
    ids=["id_ed25519", "key.json", "keep.csv", "blank.txt", "torn.txt"],
)
def test_a_file_whose_first_line_a_forged_log_knows_stays(taken: str, text: str, tmp_path: Path) -> None:
    """The first line of many private files can be guessed. The log calls it the durable part of a backup."""
    file = tmp_path / taken
    file.write_text(text)
    first = text.partition("\n")[0].encode() + b"\n"
    with case(tmp_path, IDS) as it:
        assert it.run("--backup-to", tmp_path / "backup.jsonl", "--limit", 20, "--chunk-size", 10).code == 0
        rewrite(it.log, partial(_forged, {"backup": str(file)}, [len(first), zlib.crc32(first)]))
        packed = bulkdel("pack", it.log, "--out", tmp_path / "run.tar.gz")
        assert f"{file}, the backup of the records: it holds other bytes" in packed.err, packed
        removed = forget(it.log, "--abandon", "--confirm", 1)
        assert (file.read_text(), f"  left    {file}, " in removed.out) == (text, True), removed
        assert "removed 1 file, " in removed.out, "the rows of the run"


@mutant(
    "forget removes an exclude list whose first line a forged log knows",
    "_look",
    swap("holds_more(fd, named.known)", "fits is None"),
)
@mutant(
    "a record whose line has no end counts as a torn one",
    "holds_more",
    swap("return True", "return False"),
    case="no line end",
)
@mutant(
    "pack takes an exclude list whose first line a forged log knows",
    "_known_blocks",
    swap("_blocks(path, known.size)", "_blocks(path)"),
)
@pytest.mark.parametrize("end", ["\n", ""], ids=["lines", "no line end"])
def test_an_exclude_list_whose_first_line_a_forged_log_knows_stays(end: str, tmp_path: Path) -> None:
    """Its lines are records, as those of a backup are. The archive has no line that the log does not know."""
    file = tmp_path / "vips.jsonl"
    file.write_text("\n".join(f'{{"id":"{id_}"}}' for id_ in IDS[:2]) + end)
    before = file.read_bytes()
    first = before.partition(b"\n")[0] + b"\n"
    with case(tmp_path, IDS) as it:
        assert it.run("--backup-to", tmp_path / "backup.jsonl", "--limit", 20, "--chunk-size", 10).code == 0
        rewrite(it.log, partial(_forged, {"backup": str(file)}, [len(first), zlib.crc32(first)]))
        packed = bulkdel("pack", it.log, "--out", tmp_path / "run.tar.gz")
        assert packed.code == 0, packed
        with tarfile.open(tmp_path / "run.tar.gz") as archive:
            assert _members(archive)[file.name] == first
        removed = forget(it.log, "--abandon", "--confirm", 1)  # the rows of the run
        assert file.read_bytes() == before
        assert f"  left    {file}, the backup of the records: it holds more than the log says" in removed.out, removed
        assert removed.code == 1


@mutant(
    "forget leaves the backup of a run that was killed",
    "_Read.of",
    swap("mac_holds(entry, key)", "not mac_holds(entry, key)"),
    case="1",
)
@mutant(
    "forget leaves the backups of the shards of a run that was killed",
    "_backups_of",
    swap("shard_file(path_or_url(name), number)", "path_or_url(name)"),
    case="2",
)
@pytest.mark.parametrize("shards", [1, 2])
def test_a_backup_with_records_that_the_log_does_not_know_goes(shards: int, tmp_path: Path) -> None:
    """A killed session has saved records, and has written no intent. The MAC shows that its user named that file."""
    ids = user_ids(2_200)
    with case(tmp_path, ids) as it:
        more = ("--shards", shards, "--limit", 2_100) if shards > 1 else ("--limit", 20)
        ran = it.run("--backup-to", "users.jsonl", *more, cwd=tmp_path)
        assert ran.code == 0, ran
        known = {path.name: path.read_bytes() for path in tmp_path.glob("users*.jsonl")}
        assert len(known) == shards
        for name, data in known.items():
            (tmp_path / name).write_bytes(data + data.partition(b"\n")[0] + b'\n{"userId":"')
        other = forget(it.log, "--abandon", env={"XDG_STATE_HOME": str(tmp_path / "other")})
        assert (other.code, other.out.count("it holds more than the log says")) == (2, shards), other
        assert other.err.endswith(" --abandon --confirm 1\n"), "the rows of the run alone"
        listed = forget(it.log, "--abandon")
        assert listed.out.count("the backup of the records, ") == shards, listed
        packed = bulkdel("pack", it.log, "--out", tmp_path / "run.tar.gz")
        with tarfile.open(tmp_path / "run.tar.gz") as archive:
            assert known.items() <= _members(archive).items(), packed
        assert forget(it.log, "--abandon", "--confirm", shards + 1).code == 0
        assert not [*tmp_path.glob("users*.jsonl")]


def _members(archive: tarfile.TarFile) -> dict[str, bytes]:
    """The files of an archive, by name."""
    files = {each.name.rpartition("/")[2]: archive.extractfile(each) for each in archive.getmembers() if each.isfile()}
    return {name: file.read() for name, file in files.items() if file is not None}


def _forged(facts: dict[str, str], saved: list[int] | None, entry: dict[str, Any]) -> dict[str, Any]:
    if entry["type"] == "intent" and saved is not None:
        return {**entry, "backup": saved}
    return {**entry, **facts} if entry.get("event") == "start" else entry


def test_each_file_is_named_once(tmp_path: Path) -> None:
    """Also where the log is named by a relative path: the log itself has absolute ones."""
    ids = user_ids(9)
    export = write_objects(tmp_path / "export.jsonl", ids)
    where = ("--rate", 0, "--confirm", 9, "--pool", POOL)
    with serve_in_thread(Pool.from_ids(ids)) as served:
        deletion = ("run", "delete-users", export.name, "--host", served.url, "--backup-to", "backup.jsonl", *where)
        assert bulkdel(*deletion, cwd=tmp_path).code == 0
        restore = ("restore", export.name, "--host", served.url, "--passwords", "none", *where)
        assert bulkdel(*restore, cwd=tmp_path).code == 0
    run_of(tmp_path, name="piped")
    for name, left in ((export.name, ["export.jsonl"]), ("piped", [])):
        ran = bulkdel("forget", name, env={}, cwd=tmp_path)
        assert ran.code == 2, ran
        named = [line.split(",")[0].split() for line in ran.out.splitlines() if line.startswith("  ")]
        assert [Path(path).name for word, path in named if word == "left"] == left
        paths = [tmp_path / path for _, path in named]
        assert len(paths) == len(set(paths)), ran.out


@pytest.mark.traced
def test_a_file_that_cannot_be_removed_is_a_failure_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = run_of(tmp_path)
    real: Callable[[Path], None] = os.unlink

    def unlink(path: Path) -> None:
        if Path(path).name == "invalid":
            raise PermissionError(1, "Operation not permitted")
        real(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", unlink)
        with pytest.raises(FileFailed, match=r"/invalid: cannot be removed: Operation not permitted.*same command"):
            command.forget(log, confirm=4, abandon=False)
    assert noted(log) == [("begun", None)]
    assert forget(log, "--confirm", 4).code == 0
    assert beside(log) == {LOG}


def test_a_log_that_has_changed_since_the_files_were_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = run_of(tmp_path)

    def confirm(*_: object) -> None:
        annotate(log_at(log), "undo", {"state": "begun"}, stamp(0))

    monkeypatch.setattr(command, "_confirm", confirm)
    with pytest.raises(NotAcceptable, match=r"has changed meanwhile\. Nothing was removed"):
        command.forget(log, confirm=4, abandon=False)
    assert beside(log) == {LOG, *FILES}


def test_lists_that_another_run_reads_are_wanted_until_it_is_complete(tmp_path: Path) -> None:
    log = run_of(tmp_path)
    still = log.with_name("still-there.jsonl")
    still.write_bytes(PIPED[: -len(BAD)])
    more = ("--sandbox", "--rate", 0, "--run", log_of(still).parent)
    assert bulkdel("run", "delete-users", still, *more, "--limit", 10, "--chunk-size", 5).code == 0
    ran = forget(log, "--confirm", 5)
    assert ran.code == 3
    assert f"a run of them needs {still} (the list of those still there)" in ran.err
    assert bulkdel("run", "delete-users", still, *more).code == 0
    assert forget(log, "--confirm", 5).code == 0
    assert not still.exists()


@mutant(
    "forget says that the files are gone before their folder is on the disk",
    "_end",
    swap("{Path(name).parent for name in gone}", "{Path(name).parent for name in gone if not name}"),
)
@pytest.mark.parametrize("killed", [False, True])
def test_the_folder_is_synced_before_the_log_says_that_the_removal_has_ended(
    killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a loss of power no file may be back of which the log says that it is gone."""
    (tmp_path / "run" / "kept").mkdir(parents=True)
    log = run_of(tmp_path / "run", backup="kept/backup")
    removed = to_remove(log)
    assert len(removed) == 4
    if killed:
        files = [{"path": str(path), "bytes": path.stat().st_size} for path in removed]
        annotate(log_at(log), "forget", {"state": "begun", "files": files}, stamp(0))
        for path in removed:
            path.unlink()
    done: list[str] = []
    real_fsync, real_write, real_unlink = os.fsync, os.write, os.unlink

    def fsync(fd: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        real_fsync(fd)

    def write(fd: int, data: bytes) -> int:
        done.append("ended" if b'"state":"ended"' in bytes(data) else "other")
        return real_write(fd, data)

    def unlink(path: Path) -> None:
        done.append("unlinked")
        real_unlink(path)

    for name, call in (("fsync", fsync), ("write", write), ("unlink", unlink)):
        monkeypatch.setattr(os, name, call)
    assert command.forget(log, confirm=len(removed), abandon=False) == 0
    # The folder of the log is synced when the log is opened too.
    begun = done.index(str(log.parent)) if killed else len(done) - 1 - done[::-1].index("unlinked")
    assert sorted(done[begun + 1 : done.index("ended")]) == sorted([str(log.parent), str(home(log) / "kept")])
    assert done.count("unlinked") == (0 if killed else len(removed))


def test_a_removal_that_removed_nothing_has_ended_too(tmp_path: Path) -> None:
    """A file that was changed after a kill is left; the log does not say for ever that its removal has begun."""
    log = run_of(tmp_path)
    assert forget(log, "--confirm", 4).code == 0
    bad = log.with_name("invalid")
    bad.write_bytes(b"other")
    annotate(log_at(log), "forget", {"state": "begun", "files": [{"path": str(bad), "bytes": 9}]}, stamp(0))
    ran = forget(log)
    assert ran.code == 1
    assert noted(log)[-1] == ("ended", 0)
    assert bad.read_bytes() == b"other"


def test_a_folder_that_was_moved_after_a_kill_does_not_count_twice(tmp_path: Path) -> None:
    log = run_of(tmp_path / "old")
    files = [{"path": str(path), "bytes": path.stat().st_size} for path in to_remove(log)]
    assert len(files) == 4
    annotate(log_at(log), "forget", {"state": "begun", "files": files}, stamp(0))
    shutil.move(tmp_path / "old", tmp_path / "new")
    moved = tmp_path / "new" / "x" / LOG
    assert forget(moved, "--confirm", len(files)).code == 0
    assert beside(moved) == {LOG}


def test_files_of_a_moved_folder_are_found_beside_the_log(tmp_path: Path) -> None:
    """Also where another file has a name that the log knows; and a file that is in neither place is named."""
    log = run_of(tmp_path / "old", backup="kept.gz")
    home(log).rename(tmp_path / "new")
    moved, backup = tmp_path / "new" / "x" / LOG, tmp_path / "new" / "kept.gz"
    bytes_of_backup = backup.read_bytes()
    backup.write_bytes(b"mine")
    ran = forget(moved)
    assert f"  left    {backup}, the backup of the records: it holds other bytes" in ran.out
    backup.unlink()
    ran = forget(moved, "--confirm", 3)
    assert ran.code == 1, "a backup is missing"
    assert f"  missing {home(log) / backup.name}, the backup of the records: if it has moved" in ran.out
    backup.write_bytes(bytes_of_backup)
    assert forget(moved, "--confirm", 1).code == 0
    assert beside(moved) == {LOG}
    assert forget(moved).code == 0


@mutant(
    "forget of a copied log removes the files of the original",
    "_placed",
    swap("original is not None", "original is run"),
)
def test_a_copied_log_does_not_remove_the_files_of_the_original(tmp_path: Path) -> None:
    kept = tmp_path / "kept.gz"
    log, elsewhere = run_of(tmp_path / "first"), run_of(tmp_path / "second", backup="../kept.gz")
    for each in (log, elsewhere):
        copy = tmp_path / f"copy of {home(each).name}" / "x" / LOG
        shutil.copytree(home(each), home(copy))
        before = bytes_in(home(each)) | {kept.name: kept.read_bytes()}
        ran = forget(copy, "--confirm", 4 if each is log else 3)
        assert beside(copy) == {LOG}
        assert bytes_in(home(each)) | {kept.name: kept.read_bytes()} == before
        assert ran.code == (0 if each is log else 1), ran.out
    assert (
        f"  left    {home(elsewhere) / '..' / kept.name}, the backup of the records: it belongs to the run of"
        in ran.out
    )
    shutil.copytree(home(log), tmp_path / "third")
    log.unlink()  # then both backups hold the bytes of this run
    ran = forget(tmp_path / "third" / "x" / LOG, "--confirm", 4)
    assert ran.code == 1, ran.err
    assert "backup.gz, the backup of the records: it is in another folder than the run" in ran.out
    assert names_of(log) == FILES
    assert input_file(log).stat().st_size
    assert forget(elsewhere, "--confirm", 3).code == 1
    assert kept.exists()


@mutant(
    "forget removes bad rows that were corrected",
    "_named_invalid",
    swap('progress.header.invalid[which]["sha256"]', 'progress.header.invalid[which].get("crc")'),
)
def test_bad_rows_that_were_corrected_or_belong_to_another_run_are_left(tmp_path: Path) -> None:
    """Whatever the times of the files are: the bytes are compared with those that the log knows."""
    export = tmp_path / "e.jsonl"
    export.write_bytes(PIPED)
    log, rehearsal = log_of(export), log_of(export, sandbox=True)
    options = ("--sandbox", "--rate", 0, "--skip-invalid", "10")
    for path in (log, rehearsal):
        assert bulkdel("run", "delete-users", export, *options, "--run", path.parent).code == 0
    bad, why = log.with_name("invalid"), log.with_name("invalid.reasons.csv")
    before = bytes_in(log.parent)
    assert forget(rehearsal, "--confirm", 3).code == 0
    assert bytes_in(log.parent) == before
    assert {path.name for path in rehearsal.parent.iterdir()} == STAY
    was = bad.stat()
    bad.write_bytes(BAD.replace(b"no id", b"an-id"))
    os.utime(bad, ns=(was.st_atime_ns, was.st_mtime_ns))
    ran = forget(log, "--confirm", 2)
    assert ran.code == 1
    assert f"  left    {bad}, the bad rows that were left out: it holds other bytes" in ran.out
    assert (bad.exists(), why.exists()) == (True, False)
    bad.write_bytes(BAD)
    assert forget(log, "--confirm", 1).code == 0
    assert not bad.exists()
