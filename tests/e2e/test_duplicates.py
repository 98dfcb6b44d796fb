"""Duplicates through the real command: each id is deleted once, at any distance; every row has the right outcome."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bulkdel.checkpoint.reader import read_log
from bulkdel.core.log_entries import Session, Skipped
from bulkdel.core.ranges import ranges_of
from bulkdel.input.skipped import packed
from bulkdel.place.opening import log_at
from tests import recorded, second_reader
from tests.examples import one_in
from tests.harness import DELETIONS, Case, bulkdel, case, entries, kill, names_in, start, user_ids, write_objects
from tests.mutants import mutant
from tests.syntax import swap

IDS = user_ids(1_000, seed=10)
FAR = 150_000
"""Rows between two that repeat an id: more than any memory of the last ones would have held."""


def filler(count: int) -> Iterator[str]:
    """Ids that no user has."""
    return (f"{number:024x}" for number in range(count))


def effects(it: Case, ids: list[str]) -> dict[int, int]:
    """How many ids were deleted how many times, by the server's own count."""
    found: dict[int, int] = {}
    for id_ in ids:
        found[it.served.ledger.effects(id_)] = found.get(it.served.ledger.effects(id_), 0) + 1
    return found


def outcomes(it: Case) -> list[str]:
    told = bulkdel("results", it.log, env={})
    assert told.code == 0, told.err
    return [json.loads(line)["outcome"] for line in told.out.splitlines()]


@mutant(
    "a pass sends the duplicates of the log",
    "chunks_of",
    swap("progress.skipped.rows.between(first, last)", "progress.skipped.rows.between(first, first)"),
)
def test_a_duplicate_is_sent_once(tmp_path: Path) -> None:
    """In an export that fits the memory, in rows that are sent at once."""
    with case(tmp_path, [*IDS[:100], *IDS[20:60]]) as it:
        ran = it.run()
        assert (ran.code, ran.counts()) == (0, {"deleted": 100, "duplicate": 40}), ran
        assert it.served.ledger.sent_times() == {1: 100}


@mutant(
    "the list of those still there holds duplicates",
    "_rows_there",
    swap("position not in skipped", "position not in skipped or position"),
)
def test_verify_asks_once_for_an_id_and_lists_it_once(tmp_path: Path) -> None:
    """Each row is followed by one that repeats it or another one; some users are still there."""
    ids, rng = IDS[:300], random.Random(4)
    rows = [id_ for at, first in enumerate(ids) for id_ in (first, rng.choice(ids[: at + 1]))]
    liars = frozenset(ids[100:110])
    with case(tmp_path, rows, users=[*ids, *IDS[900:]], liars=liars) as it:
        ran = it.run()
        assert ran.summary["duplicate"] == 300, ran
        done = bulkdel("verify", it.log, "--host", it.served.url, "--rate", 0, "--json")
        assert (done.code, done.summary["gone"], done.summary["still_there"]) == (1, 290, 10), done
        listed = it.log.with_name("still-there.jsonl").read_text().splitlines()
        assert [json.loads(line)["id"] for line in listed] == ids[100:110]


def test_at_both_ends_of_a_long_export(tmp_path: Path) -> None:
    """The rows between repeat the first ones, which costs the least."""
    with case(tmp_path, IDS) as it:
        text = it.export.read_text()
        padding = "".join(f'{{"id":"{id_}"}}\n' for id_ in IDS[:10]) * (FAR // 10)
        it.export.write_text(text + padding + text)
        ran = it.run()
        assert (ran.code, ran.counts()) == (0, {"deleted": 1_000, "duplicate": FAR + 1_000}), ran
        assert it.served.ledger.sent_times() == {1: 1_000}
        assert it.served.pool.deleted == 1_000
        assert bulkdel("status", it.log, "--audit").code == 0
        planned = bulkdel("plan", "delete-users", it.export, "--host", it.served.url)
        assert f"{FAR + 2_000:,} ({FAR + 1_000:,} duplicate)" in planned.out
        assert "0 ids that remain of 1,000" in planned.out
        assert "sent again" not in planned.out
    assert names_in(tmp_path) == ["export.jsonl", "export.jsonl.runs"]
    assert names_in(it.place) == ["log.jsonl"]


@mutant(
    "duplicates are found within a run of rows only",
    "DuplicateFinder._search",
    swap("first_of(key, position) != position", "positions[0] <= first_of(key, position) != position"),
)
def test_distinct_rows_in_between(tmp_path: Path) -> None:
    """Repeated 150,000 different ids later: more than is ever in memory, so the temporary file finds it."""
    between = list(filler(FAR))
    with case(tmp_path, IDS[:100]) as it:
        it.export.write_text("".join(f'{{"id":"{id_}"}}\n' for id_ in [*IDS[:100], *between, *IDS[:100]]))
        it.ids = FAR + 100
        ran = it.run("--limit", 100, "--allow-absent")
        assert ran.code == 0, ran
        assert ran.counts() == {"deleted": 100, "duplicate": 100, "remaining": FAR}
        assert it.served.ledger.sent_times() == {1: 100}
        skipped = read_log(log_at(it.log)).progress.skipped
        assert skipped == recorded.skipped(duplicate=[(FAR + 100, FAR + 200)])


def test_emails_that_differ_in_case_are_one_account(tmp_path: Path) -> None:
    emails = [f"user{number}@example.com" for number in range(500)]
    rows = [*emails, *(email.upper() for email in emails[:200]), *(email.title() for email in emails[100:150])]
    with case(tmp_path, rows, users=emails, id_type="email", options=("--rate", 0, "--id-type", "email")) as it:
        it.ids = 500
        ran = it.run()
        assert (ran.code, ran.counts()) == (0, {"deleted": 500, "duplicate": 250}), ran
        assert it.served.ledger.sent_times() == {1: 500}
        assert it.served.pool.deleted == 500


@pytest.mark.soak
def test_killed_and_resumed_with_duplicates_everywhere(tmp_path: Path) -> None:
    """30 % of the rows repeat one before them. Killed twice; the counts and every row agree with the server."""
    rng = random.Random(3)
    rows: list[str] = []
    for id_ in user_ids(4_000, seed=11):
        rows.append(id_)
        while rng.random() < 0.3:
            rows.append(rng.choice(rows))
    ids = list(dict.fromkeys(rows))
    slow: dict[str, Any] = {"latency_after_s": 0.3, "fault_paths": DELETIONS}
    with case(tmp_path, rows, users=[*ids, *IDS[:50]], **slow) as it:
        for so_many in (500, 2_000):
            process = it.start()
            it.wait_until_deleted(so_many)
            kill(process)
            status = bulkdel("status", it.log, "--json").summary
            assert status["duplicate"] == len(rows) - len(ids)
            halfway = outcomes(it)
            assert halfway.count("duplicate") == len(rows) - len(ids)
            assert halfway.count("deleted") == status["deleted"]
        it.switch(latency_after_s=0.0)
        ran = it.run()
        assert (ran.code, ran.counts()) == (0, {"deleted": len(ids), "duplicate": len(rows) - len(ids)}), ran
        assert effects(it, ids) == {1: len(ids)}
        seen: set[str] = set()
        for id_, outcome in zip(rows, outcomes(it), strict=True):
            assert outcome == ("duplicate" if id_ in seen else "deleted")
            seen.add(id_)
        checked = bulkdel("verify", it.log, "--host", it.served.url, "--rate", 0, "--json")
        assert (checked.code, checked.summary["gone"], checked.summary["still_there"]) == (0, len(ids), 0), checked
        assert bulkdel("status", it.log, "--audit").code == 0


def test_exclude_files_added_later_name_ids_that_are_repeated(tmp_path: Path) -> None:
    """A duplicate stays one; the first row of an id that is kept now is excluded, at the start of the session."""
    rows = [*IDS[:200], *IDS[:100]]
    keep = write_objects(tmp_path / "keep.jsonl", [*IDS[:10], *IDS[90:120]])
    with case(tmp_path, rows) as it:
        assert it.run("--limit", 50, "--chunk-size", 50).code == 0
        deleted = [id_ for id_ in rows[:200] if it.served.ledger.effects(id_)]
        it.ids = 200 - 40
        ran = it.run("--exclude", keep)
        assert ran.code == 0, ran
        spared = ({*IDS[:10]} - {*deleted}) | {*IDS[90:120]}
        assert ran.counts() == {"deleted": 200 - len(spared), "excluded": len(spared), "duplicate": 100}
        assert effects(it, IDS[:200]) == {0: len(spared), 1: 200 - len(spared)}
        assert outcomes(it)[200:] == ["duplicate"] * 100
        listed = Skipped("excluded", ranges_of(position for position in range(200) if rows[position] in spared))
        written = list(recorded.read_entries(it.log))
        (second,) = [at for at, each in enumerate(written) if each == listed]
        before = written[second - 1]
        assert isinstance(before, Session)
        assert (before.event, before.at) == ("start", [each.at for each in written if isinstance(each, Session)][2])


# ── the file beside the log ──────────────────────────────────────────────────────────────────────────────────────────


@mutant(
    "a file of skipped rows that was changed is believed",
    "skipped_bytes",
    swap("hashlib.sha256(data).hexdigest() != sha256", "not data"),
    case="changed",
)
@pytest.mark.parametrize("what", one_in(2, ["changed", "missing", "huge"]))
def test_a_log_is_read_with_its_skipped_rows_only(what: str, tmp_path: Path) -> None:
    """The log has their SHA-256. With them again the run goes on."""
    with case(tmp_path, [*IDS[:100], *IDS[:10]]) as it:
        assert it.run("--limit", 50).code == 0
        file = it.log.with_name("skipped.zst")
        assert file.stat().st_mode & 0o777 == 0o600
        data, requests = file.read_bytes(), it.served.ledger.requests
        file.unlink()
        if what == "changed":  # as many rows, but others
            file.write_bytes(packed(recorded.skipped(duplicate=[(90, 100)]), 110))
        if what == "huge":  # without bytes on the disk; it would not fit into memory
            with file.open("wb") as sparse:
                sparse.truncate(1 << 40)
        for words in (("status", it.log), ("verify", it.log), tuple(it.args)):
            ran = bulkdel(*words)
            assert (ran.code, f"{file}: the rows that are never sent are " in ran.err) == (3, True), ran
            assert ("are missing. Put them back" in ran.err) is (what == "missing")
        assert it.served.ledger.requests == requests
        file.write_bytes(data)
        assert it.run().counts() == {"deleted": 100, "duplicate": 10}
        assert effects(it, IDS[:100]) == {1: 100}


def test_the_skipped_rows_are_no_line_of_the_log(tmp_path: Path) -> None:
    """25,000 ranges, in a file beside it. It is the same after a resume."""
    rows = [id_ for other in filler(25_000) for id_ in ("f" * 24, other)]
    with case(tmp_path, rows, users=["f" * 24]) as it:
        ran = it.run("--limit", 1, "--chunk-size", 1, "--allow-absent")
        assert (ran.code, ran.summary["duplicate"]) == (0, 24_999), ran
        assert it.served.ledger.sent_times() == {1: 1}
        assert [entry["type"] for entry in entries(it.log)][:2] == ["header", "session"]
        file = it.log.with_name("skipped.zst")
        found = second_reader.read_skipped(file.read_bytes())
        assert found == {"excluded": set(), "duplicate": {*range(2, 50_000, 2)}, "invalid": set()}
        assert file.stat().st_size < 10_000


# ── the temporary file ────────────────────────────────────────────────────────────────────────────────────────────────


def long_export(path: Path, count: int = 80_000) -> Path:
    path.write_text("".join(f'{{"id":"{id_}"}}\n' for id_ in filler(count)))
    return path


@pytest.mark.parametrize("command", one_in(2, ["run", "plan"]))
def test_a_full_disk_is_told_and_nothing_is_sent(command: str, tmp_path: Path) -> None:
    """Exit 5, the folder, how much it takes, and what to do; nothing is left behind."""
    with case(tmp_path, []) as it:
        long_export(it.export)
        words = it.args if command == "run" else ["plan", "delete-users", it.export, "--host", it.served.url]
        ran = bulkdel(*words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)))
        assert ran.code == 5, ran
        told = rf"{tmp_path}: the rows of this export, and finding its duplicates, take about [4-6] MB in this folder"
        assert re.search(told, ran.err), ran
        assert "Nothing was sent." in ran.err
        assert "--run PLACE" in ran.err
        assert "Traceback" not in ran.err
        assert it.served.ledger.requests == 0
    assert [path.name for path in tmp_path.iterdir()] == ["export.jsonl"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_the_file_lies_beside_the_place_of_the_run_without_a_name(tmp_path: Path) -> None:
    """0600, in the folder of that place and nowhere else; a kill leaves nothing."""
    folder = tmp_path / "kept"
    folder.mkdir()
    export = tmp_path / "export.jsonl"
    os.mkfifo(export)
    rows = "".join(f'{{"id":"{id_}"}}\n' for id_ in filler(400_000)).encode()
    args: tuple[Any, ...] = ("plan", "delete-users", export, "--run", folder / "run", "--sandbox")
    process = start(*args)
    with export.open("wb") as pipe:
        pipe.write(rows)
    found: os.stat_result | None = None
    while found is None:
        assert process.poll() is None, process.communicate()
        found = unnamed(process, folder)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (found.st_mode & 0o777, found.st_nlink) == (0o600, 0)
    left = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*"))]
    assert left == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.jsonl", "kept"]


def unnamed(process: subprocess.Popen[bytes], folder: Path) -> os.stat_result | None:
    """The file without a name that a process has open in a folder."""
    for fd in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            if str(fd.readlink()).startswith(str(folder)) and (found := fd.stat()).st_nlink == 0:
                return found
        except FileNotFoundError:
            continue
    return None


def test_plan_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """It says what it takes and how to name another folder; a short export takes no file, so it is planned."""
    if shutil.which("unshare") is None and os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder = tmp_path / "read-only"
    folder.mkdir()
    long, short = long_export(folder / "long.jsonl"), write_objects(folder / "short.jsonl", [*IDS[:10], *IDS[:2]])
    folder.chmod(0o555)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("root may write everywhere")
        assert "12 (2 duplicate)" in bulkdel("plan", "delete-users", short, "--sandbox", env={}).out
        refused = bulkdel("plan", "delete-users", long, "--sandbox", env={})
        assert (refused.code, "Permission denied" in refused.err) == (5, True), refused
        assert "--run PLACE" in refused.err
        elsewhere = ("--run", tmp_path / "run")
        assert bulkdel("plan", "delete-users", long, "--sandbox", *elsewhere, env={}).code == 0
    finally:
        folder.chmod(0o755)
