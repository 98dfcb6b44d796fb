"""The export is read once: what happens to it afterwards changes nothing, and no damaged row of the input is sent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkdel.core.handover import PLACE
from bulkdel.core.input_index import Frame, Index
from bulkdel.place.opening import log_place
from bulkdel.zstd import zstd
from tests.examples import one_in
from tests.harness import (
    COMMAND,
    DELETIONS,
    KEYS,
    POOL,
    Case,
    bulkdel,
    case,
    environment,
    finish,
    names_in,
    strace,
    user_ids,
    write_objects,
)
from tests.inputs import input_file, rows_of, write_input
from tests.mutants import mutant
from tests.syntax import drop, swap
from tests.waits import WAIT_MAX_S

IDS = user_ids(3_000, seed=27)
OTHERS = user_ids(3_000, seed=28)
IN_PLACE = {"input.index.jsonl", "input.jsonl.zst", "log.jsonl"}
"""What a plain run leaves in its place."""


def overwritten(export: Path) -> None:
    """Other accounts, all of which exist, in a file of the same length."""
    export.write_bytes(write_objects(export.with_name("others"), OTHERS).read_bytes())


def cut_off(export: Path) -> None:
    os.truncate(export, 100)


def removed(export: Path) -> None:
    export.unlink()


CHANGES = pytest.mark.parametrize("change", [overwritten, cut_off, removed])


@mutant(
    "the rows are read from the export when they are sent",
    "SendingSession.run",
    swap(
        "plan.export.rows.rows",
        'lambda begin: (__import__("bulkdel.core.input_rows", fromlist=["Rows"]).Rows(at, [line.split(chr(34))[3]], '
        '[1]) for at, line in enumerate(__import__("pathlib").Path(plan.export.path).open()) if at >= begin)',
    ),
    case="overwritten",
)
@CHANGES
def test_an_export_that_changes_after_it_was_read_changes_nothing(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    """During the run. All that reads the run afterwards has the rows that were confirmed."""
    users = [*IDS, *OTHERS]
    with case(tmp_path, IDS, users=users, latency_after_s=0.5, fault_paths=DELETIONS) as it:
        process = it.start("--chunk-size", 10, "--backup-to", tmp_path / "users.jsonl")
        it.wait_until_deleted(50)
        change(it.export)
        it.switch(latency_after_s=0.0)
        ran = finish(process)
        assert (ran.code, ran.counts()) == (0, {"deleted": len(IDS)}), ran
        assert {it.served.ledger.effects(id_) for id_ in OTHERS} == {0}
        results = bulkdel("results", it.log, env={}).out.splitlines()
        assert [json.loads(line)["id"] for line in results] == IDS
        verified = bulkdel("verify", it.log, "--host", it.served.url, "--rate", 0, "--json")
        assert verified.found() == (len(IDS), 0, 0), verified
        _check_restored(it)


def _check_restored(it: Case) -> None:
    where = ("--host", it.served.url, "--passwords", "none", "--rate", 0)
    planned = bulkdel("restore", it.log, *where, "--plan")
    assert f"{len(IDS):,} rows" in planned.out, planned
    packed = bulkdel("pack", it.log, "--out", it.log.parent / "run.tar.gz")
    assert (packed.code, f"{it.export}, the export, is left out: it " in packed.out) == (0, True), packed
    moved = it.log.parent / "moved"
    assert bulkdel("unpack", it.log.parent / "run.tar.gz", "--to", moved).code == 0
    again = bulkdel("results", moved / PLACE, env={})
    assert [json.loads(line)["id"] for line in again.out.splitlines()] == IDS


@CHANGES
def test_a_resume_sends_what_was_confirmed_or_nothing(change: Callable[[Path], None], tmp_path: Path) -> None:
    """An export that has other bytes is refused. One that is not there any more is not needed."""
    with case(tmp_path, IDS, users=[*IDS, *OTHERS]) as it:
        assert it.run("--limit", 1_000).code == 0
        before, kept = it.served.ledger.requests, it.export.read_bytes()
        change(it.export)
        ran = it.run()
        if change is not removed:
            assert (ran.code, "SHA-256 of the export: the log has" in ran.err) == (3, True), ran
            assert it.served.ledger.requests == before
            it.export.write_bytes(kept)
            ran = it.run()
        assert (ran.code, ran.counts()) == (0, {"deleted": len(IDS)}), ran
        assert it.served.ledger.sent_times() == {1: len(IDS)}
        assert {it.served.ledger.effects(id_) for id_ in OTHERS} == {0}


@mutant(
    "a file with the time of its last change is taken for unchanged",
    "Export.state",
    swap("found.st_ctime_ns", "0"),
)
def test_an_export_that_was_overwritten_and_has_its_old_time_is_refused(tmp_path: Path) -> None:
    """An export that no file system shows as changed is not read; this one is."""
    with case(tmp_path, IDS[:200]) as it:
        assert it.run("--limit", 50).code == 0
        before, data = it.export.stat(), it.export.read_bytes()
        with it.export.open("r+b") as file:
            file.write(write_objects(tmp_path / "others", OTHERS[:200]).read_bytes())
        os.utime(it.export, ns=(before.st_atime_ns, before.st_mtime_ns))
        ran = it.run()
        assert (ran.code, "SHA-256 of the export: the log has" in ran.err) == (3, True), ran
        it.export.write_bytes(data)
        assert it.run().code == 0


def test_a_resume_on_another_machine_needs_no_export(tmp_path: Path) -> None:
    """Its folder was copied without the export. What was excluded, repeated or bad stays so."""
    rows = [*IDS[:500], *IDS[:100], "", *IDS[500:]]
    keep = write_objects(tmp_path / "keep.jsonl", IDS[490:500])
    options = ("--exclude", keep, "--skip-invalid", 1)
    here = tmp_path / "here"
    here.mkdir()
    with case(here, rows, options=("--rate", 0, *options), users=[*IDS, *OTHERS[:1]]) as it:
        it.ids = len(IDS) - 10
        assert it.run("--limit", 700).code == 0
        there = tmp_path / "there"
        shutil.copytree(it.export.parent, there)
        shutil.rmtree(it.export.parent)
        words = [str(word).replace(str(it.export.parent), str(there)) for word in it.args]
        (there / it.export.name).unlink()
        ran = bulkdel(*words)
        wanted = {"deleted": len(IDS) - 10, "excluded": 10, "duplicate": 100, "invalid": 1}
        assert (ran.code, ran.counts()) == (0, wanted), ran
        assert it.served.ledger.sent_times() == {1: len(IDS) - 10}


ELSEWHERE = {**KEYS, "XDG_STATE_HOME": "/proc/no state of this user"}
"""Of a user who has begun none of the runs."""


def test_the_rows_of_another_user_are_shown_before_they_are_confirmed(tmp_path: Path) -> None:
    """Their export is not there, so nothing can be compared."""
    with case(tmp_path, IDS[:200]) as it:
        assert it.run("--limit", 50).code == 0
        it.export.unlink()
        mine = bulkdel("plan", *it.args[1:3], "--host", it.served.url)
        assert "is not there: the rows are sent that" in mine.out, mine
        assert "No session of it was begun by this user" not in mine.out
        theirs = bulkdel("plan", *it.args[1:3], "--host", it.served.url, env=ELSEWHERE)
        assert "No session of it was begun by this user on this machine, so it may say anything" in theirs.out, theirs
        assert any(f"such as {id_}, " in theirs.out for id_ in IDS[:200]), theirs.out


@mutant(
    "a plan approves what only the log of another person says",
    "ExportReading._read_once_more",
    swap("self.options.whole or approved is not None", "self.options.whole"),
)
def test_a_plan_approves_no_rows_that_cannot_be_compared_with_it(tmp_path: Path) -> None:
    """It pins the bytes of the export, and the log of another user may claim to be of the same."""
    with case(tmp_path, IDS[:200]) as it:
        plan = tmp_path / "plan.json"
        where = (*it.args[1:3], "--host", it.served.url, "--rate", 0)
        assert bulkdel("plan", *where, "--out", plan).code == 0
        assert it.run("--limit", 50).code == 0
        kept = it.export.read_bytes()
        it.export.unlink()
        ran = bulkdel("run", *where, "--plan", plan, env=ELSEWHERE)
        assert (ran.code, "so nothing shows that its rows are those of the plan" in ran.err) == (3, True), ran
        assert it.served.ledger.sent_times() == {1: 50}
        it.export.write_bytes(kept)
        typed = ("--confirm", 200, "--pool", POOL)
        assert bulkdel("run", *where, "--plan", plan, *typed, env=ELSEWHERE).code == 0
        assert it.served.ledger.sent_times() == {1: 200}


@mutant(
    "standard input is taken for an export that is gone",
    "ExportReading._known",
    swap('export != "-"', "bool(export)"),
)
def test_standard_input_is_read_on_a_resume_too(tmp_path: Path) -> None:
    """Other rows in it are refused, also for a complete run."""
    with case(tmp_path, IDS[:200], users=[*IDS, *OTHERS]) as it:
        right = it.export.read_bytes()
        it.export.unlink()
        wrong = write_objects(tmp_path / "others", OTHERS[:200]).read_bytes()
        args = [*it.args[:2], "-", *it.args[3:]]
        assert bulkdel(*args, "--run", it.place, "--limit", 50, input=right).code == 0
        for data in (wrong, b""):
            ran = bulkdel(*args, "--run", it.place, input=data)
            assert ran.code == 3, ran
        assert it.served.ledger.sent_times() == {1: 50}
        assert bulkdel(*args, "--run", it.place, input=right).code == 0
        assert bulkdel(*args, "--run", it.place, input=wrong).code == 3
        assert it.served.ledger.sent_times() == {1: 200}


@mutant(
    "a name that is too long is refused after the confirmation",
    "_check_place",
    swap('(restore_place(run, 100) / PUTTING_BACK / ("." * LONGEST_NAME)).lstat()', "run.lstat()"),
    case="path",
)
@pytest.mark.parametrize("what", ["name", "path"])
def test_a_place_whose_files_would_have_too_long_a_name_is_refused_first(what: str, tmp_path: Path) -> None:
    """It has a name that no folder has, or a path with no room for the names of its files."""
    place = tmp_path / ("L" * 256)
    if what == "path":
        place = tmp_path
        while (room := 4_060 - len(os.fsencode(place))) > 1:
            place /= "L" * min(200, room - 1)
        place.parent.mkdir(parents=True)
    there = [*tmp_path.rglob("*")]
    with case(tmp_path, IDS[:100]) as it:
        before = it.served.ledger.requests
        ran = bulkdel(*it.args, "--run", place)
        assert (ran.code, "the name is too long" in ran.err) == (2, True), ran
        assert it.served.ledger.requests == before
        assert {*tmp_path.rglob("*")} == {*there, it.export}


@mutant(
    "a damaged frame is sent",
    "Input._content",
    drop(
        'if hashlib.sha256(content).hexdigest() != frame.sha256:\n            raise ValueError("its SHA-256 differs")'
    ),
)
def test_a_damaged_frame_halts_before_its_rows_are_sent(tmp_path: Path) -> None:
    """A frame in the middle is that of another input, sound in itself. What stands before it is sent."""
    ids = user_ids(100_000, seed=29)
    other = user_ids(1, seed=30)[0]
    with case(tmp_path, ids, users=[*ids[:60_000], other]) as it:
        assert it.run("--limit", 50).code == 0
        file, index = input_file(it.log), it.place / "input.index.jsonl"
        frames = Index.decode(index.read_bytes()).frames
        assert len(frames) > 2
        _replace_row(file, frames[1], ids[frames[1].at], other)
        ran = bulkdel(*it.args, "--concurrency", 8)
        assert (ran.code, ran.summary["status"]) == (4, "halted"), ran
        assert f"rows {frames[1].at:,} to" in ran.err
        assert it.served.ledger.sent(other) == 0
        assert not any(it.served.ledger.sent(id_) for id_ in ids[frames[1].at :])
        assert ran.summary["deleted"] == it.served.pool.deleted <= frames[1].at


def _replace_row(file: Path, frame: Frame, row: str, by: str) -> None:
    """Put another id into a frame. It has the same length after compression or less, and the index is not changed."""
    data = file.read_bytes()
    content = zstd.decompress(data[frame.byte : frame.byte + frame.size])
    changed = zstd.compress(content.replace(row.encode(), by.encode(), 1), 1)
    spare = frame.size - len(changed)
    if spare < 0:
        changed = zstd.compress(content.replace(row.encode(), by.encode(), 1), 9)
        spare = frame.size - len(changed)
    assert spare in range(8) or spare >= 8, "a skippable frame fills the rest"
    if spare:
        changed += (0x184D2A50).to_bytes(4, "little") + (spare - 8).to_bytes(4, "little") + bytes(spare - 8)
    file.write_bytes(data[: frame.byte] + changed + data[frame.byte + frame.size :])


@pytest.mark.parametrize("what", ["input.jsonl.zst", "input.index.jsonl"])
def test_without_its_rows_a_run_does_not_go_on(what: str, tmp_path: Path) -> None:
    with case(tmp_path, IDS[:200]) as it:
        assert it.run("--limit", 50).code == 0
        before = it.served.ledger.requests
        lost = it.place / what
        data = lost.read_bytes()
        lost.unlink()
        ran = it.run()
        assert (ran.code, str(lost) in ran.err, "is missing. It holds" in ran.err) == (3, True, True), ran
        lost.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        ran = bulkdel(*it.args)
        assert ran.code == (4 if what == "input.jsonl.zst" else 3), ran
        assert it.served.ledger.sent_times() == {1: 50}
        assert it.served.ledger.requests >= before
        lost.write_bytes(data)
        assert it.run().code == 0


@mutant(
    "two terminals begin one run",
    "Spool.part",
    swap("open_part(part)", "os.open(part, os.O_RDWR | os.O_CREAT, 0o600)"),
)
def test_one_of_two_terminals_reads_an_export_for_a_run(tmp_path: Path) -> None:
    """The other one waits for a confirmation, and has what it has read."""
    with case(tmp_path, IDS[:300]) as it:
        first = log_place(it.place).spool()
        first.write(b"rows")
        ran = it.run()
        assert (ran.code, "another process reads an export for this run" in ran.err) == (3, True), ran
        assert first.read_at(0, 9) == b"rows"
        assert bulkdel("plan", "delete-users", it.export, "--host", it.served.url).code == 0
        first.close()
        assert it.run().code == 0
        assert names_in(tmp_path) == [it.export.name, it.place.parent.name]
        assert {path.name for path in it.place.iterdir()} == IN_PLACE


def test_a_plan_and_a_declined_run_leave_nothing(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:300]) as it:
        assert bulkdel("plan", *it.args[1:2], it.export, "--host", it.served.url, "--rate", 0).code == 0
        assert bulkdel("plan", "delete-users", it.export, "--sandbox").code == 0
        assert it.run("--confirm", 299).code == 2
        assert [*tmp_path.iterdir()] == [it.export]


@mutant(
    "a full disk while the rows are written is a bug of the program",
    "NewInput.add",
    swap("raise self._failed(error) from error", "raise ValueError(self._where) from error"),
    crashes=True,
)
def test_a_full_disk_while_the_rows_are_written(tmp_path: Path) -> None:
    """Exit 5, nothing is sent, and nothing is left."""
    with case(tmp_path, user_ids(60_000, seed=31)) as it:
        before = it.served.ledger.requests
        limit = "ulimit -f 200; trap '' XFSZ; exec \"$@\""
        done = subprocess.run(
            ["bash", "-c", limit, "bash", *COMMAND, *map(str, it.args)],
            env=environment(),
            capture_output=True,
            timeout=WAIT_MAX_S,
            check=False,
        )
        assert done.returncode == 5, done
        assert b"the rows of the export cannot be written: File too large. Nothing was sent" in done.stderr
        assert it.served.ledger.requests == before
        assert [*tmp_path.iterdir()] == [it.export]


# ── killed at every step between the first byte of the input and the header ───────────────────────────────────────────

IN_A_FOLDER = [
    *[("part", call, 1) for call in ("openat", "flock", "ftruncate", "write", "fdatasync", "rename")],
    ("index", "link", 1),
    *[("folder", "fsync", count) for count in (1, 2, 3)],
    *[("log", call, 1) for call in ("openat", "flock", "write", "fdatasync")],
    *[(folder, "mkdir", 1) for folder in ("folder", "folder of the folder")],
    *[(folder, "fsync", 1) for folder in ("folder of the folder", "home")],
]
IN_A_STORE = [
    *[(name, "link", 1) for name in ("input", "index", "line")],
    *[(f"folder of the {name}", call, 1) for name in ("input", "index", "line") for call in ("mkdir", "fsync")],
]


@mutant(
    "what a killed process has left of a file of the run stays",
    "LogFile.keep",
    drop("remove_parts(path)"),
    case="index-link-1",
)
@pytest.mark.parametrize(("which", "call", "count"), one_in(4, IN_A_FOLDER))
def test_killed_at_every_step_before_the_header(which: str, call: str, count: int, tmp_path: Path) -> None:
    """The next run begins anew, and leaves nothing of the one that was killed."""
    folder = tmp_path / "here"
    folder.mkdir()
    with case(folder, IDS[:120]) as it:
        paths = {
            "part": it.place / ".input.part",
            "index": it.place / "input.index.jsonl",
            "folder": it.place,
            "folder of the folder": it.place.parent,
            "home": folder,
            "log": it.log,
        }
        _killed(it, paths[which], call, count)
        _goes_on(it, it.log)
        assert names_in(folder) == [it.export.name, it.place.parent.name]
        assert names_in(it.place.parent) == [it.place.name]
        assert {path.name for path in it.place.iterdir()} == IN_PLACE


@mutant(
    "a header names rows that were not kept",
    "OpenLog.create",
    swap("place.keep(pinned, data)", "place.at(pinned) if data else None"),
    case="input-link-1",
)
@pytest.mark.parametrize(("which", "call", "count"), one_in(5, IN_A_STORE))
def test_killed_at_every_step_before_the_header_in_a_store(which: str, call: str, count: int, tmp_path: Path) -> None:
    """Nothing is replaced there, and what is there already is the same."""
    folder, store = tmp_path / "here", tmp_path / "store"
    folder.mkdir()
    store.mkdir()
    with case(folder, IDS[:120], options=("--rate", 0, "--run", f"file://{store}")) as it:
        index = write_input(tmp_path / "other", [rows_of(IDS[:120])]).index
        objects = {name: store / name / index / "000000000001" for name in ("input", "index")}
        objects["line"] = store / "log" / "000000000001"
        paths = {**objects, **{f"folder of the {name}": path.parent for name, path in objects.items()}}
        _killed(it, paths[which], call, count)
        _goes_on(it, f"file://{store}", cwd=folder)
        assert names_in(folder) == [it.export.name]


def test_rows_of_a_run_that_did_not_begin_are_named_by_forget_and_replaced(tmp_path: Path) -> None:
    """It was killed as it wrote the header, and the next one has a corrected export."""
    folder = tmp_path / "here"
    folder.mkdir()
    with case(folder, IDS[:120]) as it:
        _killed(it, it.log, "write", 1)
        left = input_file(it.log)
        rows = left.read_bytes()
        refused = bulkdel("forget", it.log)
        named = f"No run has begun, and rows of its export are in {left}. " in refused.err
        assert (refused.code, named, left.read_bytes()) == (3, True, rows), refused
        write_objects(it.export, IDS[:110])
        it.ids = 110
        ran = it.run()
        assert (ran.code, ran.counts()) == (0, {"deleted": 110}), ran
        assert left.read_bytes() != rows
        listed = bulkdel("forget", it.log)
        assert f"remove  {left}, the rows of the run" in listed.out, listed
        assert bulkdel("forget", it.log, "--confirm", 1).code == 0
        assert not [path for path in folder.rglob("*") if "input" in path.name and path.suffix != ".jsonl"]


def _killed(it: Case, path: Path, call: str, count: int) -> None:
    """Run the command until it makes this call on a file of the run for the n-th time in a thread."""
    done = subprocess.run(
        [
            *strace("-qq", "-o", "/dev/null", "-P", path, "-e", "signal=none", "-e", f"trace={call}"),
            *("-e", f"inject={call}:signal=KILL:when={count}", *COMMAND, *map(str, it.args)),
        ],
        env=environment(),
        cwd=it.export.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=WAIT_MAX_S,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done
    assert it.served.ledger.sent_times() == {}


def _goes_on(it: Case, log: object, cwd: Path | None = None) -> None:
    ran = it.run(cwd=cwd)
    assert (ran.code, ran.counts()) == (0, {"deleted": it.ids}), ran
    assert it.served.ledger.sent_times() == {1: it.ids}
    results = bulkdel("results", log, env={}, cwd=it.export.parent).out.splitlines()
    assert [json.loads(line)["id"] for line in results] == IDS[: it.ids]
    assert not [path for path in it.export.parent.rglob("*") if path.name.endswith(".part")]
