"""Where a run is: its place, its home, and the place that a command was given."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import pytest

from bulkdel.checkpoint.reader import is_fresh
from bulkdel.checkpoint.writer import LogWriter
from bulkdel.core.log_entries import VerifyHeader
from bulkdel.core.skipped_rows import PositionSet
from bulkdel.durable import DISK
from bulkdel.errors import NotAcceptable
from bulkdel.place.finding import find_run, run_of
from bulkdel.place.log_file import make_folder, missing_folders, remove_empty
from bulkdel.place.opening import log_at, log_place
from bulkdel.run_place import default_place, home_of, is_within, is_written_by, own_file, short_name, undone_by
from bulkdel.store_path import path_or_url, store_path
from bulkdel.verify.findings import findings_log
from tests.mutants import mutant
from tests.recorded import AT
from tests.syntax import swap


def run_in(place: Path) -> Path:
    """A place with a log."""
    place.mkdir(parents=True)
    (place / "log.jsonl").write_bytes(b"")
    return place


@pytest.mark.parametrize(
    ("export", "sandbox", "expected"),
    [
        ("users.csv", False, "users.csv.runs/kick-users"),
        ("users.csv", True, "users.csv.runs/kick-users.sandbox"),
        ("/data/a b.jsonl.gz", False, "/data/a b.jsonl.gz.runs/kick-users"),
        ("s3://bucket/deep/users.csv", False, "users.csv.runs/kick-users"),
    ],
)
def test_the_place_without_run(export: str, sandbox: bool, expected: str) -> None:
    assert default_place("kick-users", export, sandbox=sandbox) == Path(expected)


def test_a_short_name_tells_the_runs_of_an_export_apart() -> None:
    assert short_name(Path("a/users.jsonl.gz.runs/kick-users.sandbox")) == "users-kick-users.sandbox"
    assert short_name(Path("a/night")) == short_name(store_path("s3://b/a/night")) == "night"


@mutant(
    "the files of a run in a store are looked for in a folder of its name",
    "own_file",
    swap("local_place(run) / name", "run / name"),
)
def test_the_files_of_a_run_in_a_store_are_in_the_current_folder() -> None:
    assert own_file(store_path("s3://bucket/deep/night"), "invalid") == Path("night-6b0648/invalid")
    assert own_file(Path("a/night"), "invalid") == Path("a/night/invalid")


@mutant(
    "the home of any folder with the name of a restore is that of the folder around it",
    "undone_by",
    swap("os.path.lexists(restore.parent / LOG)", "restore.name"),
)
def test_the_home_of_a_run_and_of_its_restore(tmp_path: Path) -> None:
    run = run_in(tmp_path / "users.csv.runs" / "delete-users")
    restore, memberships = run / "restore-1", run / "restore-1" / "memberships"
    assert [home_of(place) for place in (run, restore, memberships)] == [tmp_path] * 3
    assert [undone_by(place) for place in (run, restore, memberships)] == [None, run, run]
    assert home_of(tmp_path / "named") == tmp_path
    assert home_of(store_path("s3://bucket/run")) == Path()
    assert undone_by(store_path("s3://bucket/restore-1")) is None
    other = run_in(tmp_path / "deep" / "restore-1")  # it lies in no place of a run
    assert (home_of(other), undone_by(other)) == (tmp_path / "deep", None)


def test_the_home_of_the_folder_in_which_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_in(tmp_path / "users.csv.runs" / "delete-users")
    (run / "restore-1").mkdir()
    monkeypatch.chdir(run)
    assert home_of(Path()) == tmp_path
    monkeypatch.chdir(run / "restore-1")
    assert home_of(Path("..")) == tmp_path
    assert find_run(Path("..")) == run, "a name that can be printed"


@mutant(
    "a file is within the home of a run by a link that leads out of it",
    "is_within",
    swap("Path(os.path.realpath(path))", "path.absolute()"),
)
def test_what_is_within_the_home_of_a_run(tmp_path: Path) -> None:
    run = run_in(tmp_path / "a" / "users.csv.runs" / "delete-users")
    (tmp_path / "a" / "link").symlink_to(tmp_path)
    (tmp_path / "keep").write_text("")
    assert is_within(tmp_path / "a" / "keep", run)
    assert not is_within(tmp_path / "keep", run)
    assert not is_within(tmp_path / "a" / "link" / "keep", run)
    assert not is_within(tmp_path / "a" / ".." / "keep", run)


@mutant(
    "of the runs of an export the practice is found",
    "_without_sandbox",
    swap("not run.name.endswith(OF_SANDBOX)", "run.name"),
)
def test_what_a_command_was_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export = tmp_path / "users.csv"
    real, practice = (tmp_path / "users.csv.runs" / name for name in ("delete-users", "delete-users.sandbox"))
    with pytest.raises(NotAcceptable, match=r"there is no such run. If it is the name of an export"):
        find_run(export)
    export.write_text("id\n")
    with pytest.raises(
        NotAcceptable, match=r"no run of this export has begun: none is in .*runs. It is not the place of a run"
    ):
        find_run(export)
    assert run_of(export) is None
    run_in(practice)
    assert find_run(export) == find_run(practice) == find_run(practice / "log.jsonl") == practice
    run_in(real)
    assert run_of(export) == real
    assert find_run(export) == find_run(tmp_path / "users.csv.runs") == real
    assert f"The run of {export} is {real} (there is also {practice})." in capsys.readouterr().err
    other = run_in(tmp_path / "users.csv.runs" / "kick-users")
    with pytest.raises(NotAcceptable, match=rf"has several runs. Name one of them: {real}, {other}$"):
        find_run(export)
    assert run_of(export) is None
    with pytest.raises(NotAcceptable, match=rf"has several runs. Name one of them: {real}, {other}$"):
        find_run(tmp_path)  # the folder of the export
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotAcceptable, match=r"is a folder without a run$"):
        find_run(tmp_path / "empty")
    assert find_run(store_path("s3://bucket/run")) == store_path("s3://bucket/run")


@pytest.mark.parametrize("beside", ["folder", "runs of a name", "runs in the folder"])
@mutant(
    "a run in a folder is taken before that of an export in it",
    "_runs_near",
    swap(
        "[run for folder in folders for run in runs_in(folder)]",
        "next((runs for folder in folders if (runs := runs_in(folder))), [])",
    ),
    case="folder",
)
def test_none_of_several_runs_is_preferred(tmp_path: Path, beside: str) -> None:
    near = {
        "folder": tmp_path / "night" / "named",
        "runs of a name": tmp_path / "night.runs" / "delete-users",
        "runs in the folder": tmp_path / "night" / "users.csv.runs" / "delete-users",
    }
    other = run_in(near.pop(beside))
    assert find_run(tmp_path / "night") == run_of(tmp_path / "night") == other
    for place in near.values():
        run_in(place)
    with pytest.raises(NotAcceptable, match=r"has several runs. Name one of them") as refused:
        find_run(tmp_path / "night")
    assert all(str(place) in str(refused.value) for place in (other, *near.values()))
    assert run_of(tmp_path / "night") is None


@mutant(
    "a restore is taken for the run that it undoes",
    "runs_in",
    swap("number_of_restore(path.name) is None", "path.name"),
)
def test_a_restore_is_not_taken_for_its_run_whose_log_was_moved_away(tmp_path: Path) -> None:
    run = tmp_path / "users.csv.runs" / "delete-users"
    run_in(run / "restore-1")
    with pytest.raises(NotAcceptable, match="is a folder without a run"):
        find_run(run)
    assert find_run(run / "restore-1") == run / "restore-1"
    of_store = run_in(tmp_path / "work" / own_file(store_path("s3://bucket/night"), "restore-1"))
    with pytest.raises(NotAcceptable, match="is a folder without a run"):
        find_run(of_store.parent)


@mutant(
    "a place whose log was moved away begins anew",
    "is_fresh",
    swap("_refuse_without_log(place)", "refuse_without_run(place)"),
    case="input.jsonl.zst",
)
@pytest.mark.parametrize("name", ["input.jsonl.zst", "input.index.jsonl", "skipped.zst", "skipped.2.zst"])
def test_what_a_run_writes_after_its_log_is_refused_without_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"rows")
    there = rf"log\.jsonl: is missing, and what a run writes after it is there \({re.escape(name)}\).*--run"
    with pytest.raises(NotAcceptable, match=there):
        is_fresh(log_place(tmp_path))
    (tmp_path / "log.jsonl").write_bytes(b"")  # as a process leaves it that was killed before the header
    assert is_fresh(log_place(tmp_path))


@mutant(
    "the name of a new place is not durable",
    "make_folder",
    swap("disk.sync_directory(folder)", "disk.sync_directory(folder / folder.name)"),
)
def test_folders_are_made_durably_and_removed_when_they_are_empty(tmp_path: Path) -> None:
    run, synced = tmp_path / "users.csv.runs" / "delete-users", list[Path]()
    made = missing_folders(run)
    assert made == [run.parent, run]
    make_folder(run, DISK.__class__(sync_directory=synced.append))
    assert synced == made
    assert [folder.stat().st_mode & 0o777 for folder in made] == [0o700, 0o700]
    assert missing_folders(run) == []
    make_folder(run)
    (run / "x").write_text("")
    remove_empty(made)
    assert run.is_dir()
    (run / "x").unlink()
    remove_empty(made)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - the names


@mutant(
    "a verification cannot begin beside the logs of shards",
    "LogFile.shard_log",
    swap("self.name != LOG", "self.name == LOG and not self.name"),
)
def test_the_log_of_a_run_is_missed_beside_those_of_its_shards_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "log.2.jsonl").write_bytes(b"")
    with pytest.raises(NotAcceptable, match=r"log\.jsonl: is missing or empty, and the logs of its shards are there"):
        is_fresh(log_place(tmp_path))
    assert run_of(tmp_path) == tmp_path, "so that its refusal can be told"
    kind = findings_log(lambda _: PositionSet())
    place = log_at(tmp_path / "verify.jsonl")
    pinned = {"run_id": "r", "log_sha256": "0" * 64, "host": "h", "pool": "p", "sample": None}
    found: list[bool] = []
    with suppress(NotAcceptable):
        found.append(is_fresh(place, kind))
        LogWriter.create(place, VerifyHeader("bulkdel 0", AT, pinned), kind=kind).close()
        found.append(is_fresh(place, kind))
    assert found == [True, False]


def test_the_folder_above_the_place_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_folder(tmp_path / "away" / "night")


def test_a_url_keeps_its_slashes() -> None:
    assert str(path_or_url("file:///shared/run")) == "file:///shared/run"
    assert path_or_url("night") == Path("night")


@pytest.mark.parametrize("name", ["input.index.jsonl", ".input.part", "skipped.2.zst", "Input.jsonl.zst", "restore-1"])
@mutant("names are compared with their case", "is_written_by", swap("name.casefold()", "name"))
def test_a_file_of_the_user_has_no_name_that_its_run_writes(tmp_path: Path, name: str) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "night" / name)
    assert is_written_by(tmp_path / "night", tmp_path / "night" / name)
    assert is_written_by(tmp_path / "night", link)
    for other in (tmp_path / name, tmp_path / "night" / "users.jsonl", tmp_path / "night" / "mine"):
        assert not is_written_by(tmp_path / "night", other)
    in_store = store_path("s3://bucket/night")
    assert is_written_by(in_store, own_file(in_store, name))
    assert not is_written_by(in_store, own_file(store_path("s3://other/night"), name))
