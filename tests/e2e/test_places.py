"""Files of others in the place of a run, two runs in one place, and what a moved or a linked place may do."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.harness import POOL, bulkdel, case, user_ids
from tests.mutants import mutant
from tests.syntax import negate, swap

IDS = user_ids(20)


@pytest.mark.parametrize("option", ["export", "--exclude", "--backup-to"])
@mutant(
    "a file of the user in the place is replaced",
    "check_names",
    swap("address_of(str(path)) is None", "address_of(str(path)) is not None"),
)
def test_a_file_of_the_user_is_not_replaced(tmp_path: Path, option: str) -> None:
    with case(tmp_path, IDS) as it:
        own = it.place / "input.index.jsonl"
        own.parent.mkdir(parents=True)
        words = [str(word) for word in it.args]
        if option == "export":
            words = [str(own) if word == str(it.export) else word for word in words] + ["--run", str(it.place)]
        else:
            words += [option, str(own)]
        text = it.export.read_bytes() if option != "--backup-to" else b""
        if text:
            own.write_bytes(text)
        refused = bulkdel(*words)
        assert (refused.code, "has the name of a file that this run writes" in refused.err) == (2, True), refused.err
        assert not text or own.read_bytes() == text
        assert it.effects(IDS) == [0] * 20


@pytest.mark.parametrize("name", ["skipped.zst", "input.index.jsonl", "skipped.1.zst"])
@mutant(
    "a file of another person is replaced by a first run",
    "_refuse_without_log",
    swap("not place.number and (beside := place.beside())", "place.number and (beside := place.beside())"),
    case="skipped.zst",
)
def test_a_first_run_replaces_no_file_that_has_the_name_of_one_of_its_own(tmp_path: Path, name: str) -> None:
    with case(tmp_path, [*IDS, IDS[0]]) as it:
        it.place.mkdir(parents=True)
        (own := it.place / name).write_bytes(b"mine")
        for refused in (it.run(), it.run("--shards", 2), bulkdel("plan", *it.args[1:5])):
            assert (refused.code, f"is there ({name})" in refused.err) == (3, True), refused.err
        assert (own.read_bytes(), it.effects(IDS)) == (b"mine", [0] * 20)
        assert [*it.place.iterdir()] == [own]
        own.unlink()
        it.place.joinpath("log.jsonl").touch()  # as a process leaves them that was killed before the header
        own.write_bytes(b"half of a first run")
        ran = it.run("--confirm", 20)
        assert (ran.code, it.effects(IDS)) == (0, [1] * 20), ran


@pytest.mark.parametrize("which", ["place", "folder of the places"])
@mutant("a link to no folder is a place", "_check_place", negate("folder.is_symlink()"), case="place")
def test_a_place_that_is_a_link_to_no_folder_is_refused_first(tmp_path: Path, which: str) -> None:
    with case(tmp_path, IDS) as it:
        link = it.place if which == "place" else it.place.parent
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(tmp_path / "mounted")
        refused = it.run()
        said = f"--run {it.place}: {link} is a link to a folder that is not there" in refused.err
        assert (refused.code, said, it.effects(IDS)) == (2, True, [0] * 20), refused.err
        (tmp_path / "mounted").mkdir()
        assert (it.run().code, it.effects(IDS)) == (0, [1] * 20)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (0o750, "others can read its names, because the folder has mode 750"),
        (0o775, "others can replace its files"),
    ],
)
@mutant("a folder that others can read is taken without a word", "say_open_folder", swap("0o044", "0o004"))
@mutant("a folder that others can change is taken as one that they can read", "say_open_folder", swap("0o022", "0o002"))
def test_a_folder_that_is_open_to_others_is_named_once_and_keeps_its_mode(tmp_path: Path, mode: int, said: str) -> None:
    (place := tmp_path / "night").mkdir()
    with case(tmp_path, IDS) as it:
        place.chmod(0o700)
        assert "others can" not in bulkdel("plan", *it.args[1:5], "--run", place).err
        place.chmod(mode)
        for told in (True, False):
            ran = it.run("--run", place, "--limit", 5)
            assert (ran.code, f"--run {place}: {said}" in ran.err) == (0, told), ran.err
        assert place.stat().st_mode & 0o777 == mode
        assert {file.stat().st_mode & 0o777 for file in place.iterdir()} == {0o600}
        assert sum(it.effects(IDS)) == 10


@pytest.mark.parametrize("first", ["folder", "store"])
@mutant(
    "a folder and a store may be one place",
    "_is_of_other_kind",
    swap("os.path.lexists(other) and not os.path.lexists(own)", "other == own"),
)
def test_a_run_in_a_folder_and_one_in_a_store_refuse_each_other(tmp_path: Path, first: str) -> None:
    places = {"folder": str(tmp_path / "night"), "store": f"file://{tmp_path}/night"}
    with case(tmp_path, IDS) as it:
        begun = bulkdel(*it.args, "--run", places.pop(first), "--limit", 5)
        assert begun.code == 0, begun.err
        (other,) = places.values()
        refused = bulkdel(*it.args, "--run", other, "--limit", 5)
        assert (refused.code, "Go on with" in refused.err) == (2, True), refused.err
        assert sum(it.effects(IDS)) == 5


@mutant("a place with a log is one without", "_naming_rows", swap("not os.path.lexists(place / LOG)", "place"))
def test_forget_of_several_runs_does_not_say_to_remove_their_rows(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        for name in ("one", "two"):
            ran = bulkdel(*it.args, "--run", Path(f"{it.export}.runs", name), "--limit", 5, "--allow-absent")
            assert ran.code == 0, ran.err
        refused = bulkdel("forget", it.export)
        assert (refused.code, "has several runs" in refused.err) == (3, True), refused.err
        assert "remove" not in refused.err
        for name in ("one", "two"):
            Path(f"{it.export}.runs", name, "log.jsonl").rename(tmp_path / name)
        refused = bulkdel("forget", it.export)
        assert (refused.code, "If the log was moved away, put it back" in refused.err) == (3, True), refused.err


@mutant(
    "a place by a relative name has no backup in it",
    "_Found._name_in_place",
    swap("_absolute(local_place(self._run.place))", "local_place(self._run.place)"),
)
def test_a_packed_backup_stays_in_the_place(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        ran = it.run("--backup", "--limit", 5)
        assert ran.code == 0, ran.err
        packed = bulkdel("pack", it.place.relative_to(tmp_path), "--out", "run.tar.gz", cwd=tmp_path)
        assert packed.code == 0, packed.err
    with tarfile.open(tmp_path / "run.tar.gz") as archive:
        assert "run/backup.jsonl.zst" in archive.getnames()


@mutant("a restore follows a link", "make_place", swap("folder.is_symlink()", "folder.is_file()"))
def test_a_restore_does_not_follow_a_link_out_of_the_place(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with case(tmp_path, IDS) as it:
        ran = it.run("--backup")
        assert ran.code == 0, ran.err
        (it.place / "restore-1").symlink_to(outside)
        where = ("--passwords", "none", "--host", it.served.url, "--pool", POOL, "--confirm", 20)
        refused = bulkdel("restore", it.place, *where)
        assert (refused.code, "is a link" in refused.err) == (3, True), refused.err
        assert [*outside.iterdir()] == []


@mutant(
    "the log has the path of a backup in the place",
    "logged_name",
    swap("path.name if in_place else path.absolute()", "path.absolute() if in_place else path"),
)
@mutant("a backup in the place is looked for beside it", "logged_file", swap("run / path", "run.parent / path"))
def test_a_copied_place_has_its_own_backup(tmp_path: Path) -> None:
    """Its restore and its `forget` leave the backup of the first one."""
    with case(tmp_path, IDS) as it:
        ran = it.run("--backup")
        assert ran.code == 0, ran.err
        copy = tmp_path / "copy"
        shutil.copytree(it.place, copy)
        own, first = copy / "backup.jsonl.zst", it.place / "backup.jsonl.zst"
        kept = first.read_bytes()
        first.write_bytes(b"")
        planned = bulkdel("restore", copy, "--passwords", "none", "--host", it.served.url, "--plan", cwd=tmp_path)
        assert (planned.code, "20 rows of" in planned.out) == (0, True), planned.err
        first.write_bytes(kept)
        shown = bulkdel("forget", copy)
        forgotten = bulkdel("forget", copy, "--confirm", re.findall(r"--confirm (\d+)", shown.err)[0])
        assert (own.exists(), first.exists()) == (False, True), forgotten


@mutant("a backup in the store of the run has to be typed", "_own_backups", swap("path.parent != run", "path != run"))
def test_a_backup_in_the_store_of_the_run_is_not_typed(tmp_path: Path) -> None:
    """A restore finds it: the store was typed. The printed command does not have it either."""
    with case(tmp_path, IDS) as it:
        url = f"file://{tmp_path}/night"
        ran = bulkdel(*it.args, "--run", url, "--backup", cwd=tmp_path)
        assert (ran.code, "--from-backup" in ran.err) == (0, False), ran.err
        where = ("--passwords", "none", "--host", it.served.url, "--plan")
        planned = bulkdel("restore", url, *where, cwd=tmp_path)
        assert (planned.code, "20 rows of" in planned.out) == (0, True), planned.err


@pytest.mark.parametrize("name", ["records.jsonl", "new-ids.jsonl", "memberships/memberships.jsonl"])
@mutant(
    "a restore replaces records that are not from its backup",
    "write_derived",
    swap("atomic_file(to, is_earlier)", "atomic_file(to, lambda new, old: is_earlier(new, old) or old.is_file())"),
    case="records.jsonl",
)
@mutant(
    "a restore replaces a map that no restore has written",
    "_check_which",
    swap("(folder / NEW_IDS, folder / KEEP, folder / PUTTING_BACK / PUT_BACK)", "(folder / PUTTING_BACK / PUT_BACK,)"),
    case="new-ids.jsonl",
)
@mutant(
    "a restore replaces memberships that no restore has written",
    "_check_which",
    swap("(folder / NEW_IDS, folder / KEEP, folder / PUTTING_BACK / PUT_BACK)", "(folder / NEW_IDS,)"),
    case="memberships/memberships.jsonl",
)
def test_a_first_restore_replaces_no_file_that_it_did_not_write(tmp_path: Path, name: str) -> None:
    with case(tmp_path, IDS) as it:
        ran = it.run("--backup")
        assert ran.code == 0, ran.err
        line = ("restore", it.place, "--passwords", "none", "--host", it.served.url, "--pool", POOL, "--confirm", 20)
        planned = bulkdel(*line, "--plan")
        assert planned.code == 0, planned.err
        own, text = it.place / "restore-1" / name, f'{{"userId":"{IDS[0]}"}}\n{{"userId":"{"a" * 24}"}}\n'.encode()
        own.parent.mkdir(exist_ok=True)
        own.write_bytes(text)
        refused = bulkdel(*line)
        named = f"{own}: is there" in refused.err and "Move it away" in refused.err
        assert (refused.code, named, own.read_bytes()) == (3, True, text), refused.err
        assert (len(it.served.pool), it.served.pool.users_ever) == (0, 20)
        own.unlink()
        restored = bulkdel(*line)
        assert (restored.code, len(it.served.pool)) == (0, 20), restored.err


@pytest.mark.parametrize("where", ["folder", "store"])
@mutant("forget leaves the records of a restore", "forget", negate("is_of_restore(runs[0].progress)"))
def test_a_restore_is_forgotten_with_its_run(tmp_path: Path, where: str) -> None:
    """Its records are not called an export of the user."""
    with case(tmp_path, IDS) as it:
        run = str(it.place) if where == "folder" else f"file://{tmp_path}/night"
        ran = it.run("--run", run, "--backup-to", tmp_path / "backup.jsonl", cwd=tmp_path)
        assert ran.code == 0, ran.err
        line = ("restore", run, "--passwords", "none", "--host", it.served.url, "--pool", POOL, "--confirm", 20)
        restored = bulkdel(*line, cwd=tmp_path)
        assert restored.code == 0, restored.err
        (records,) = tmp_path.rglob("records.jsonl")
        refused = bulkdel("forget", records.parent, "--confirm", 1, cwd=tmp_path)
        said = f"\n  bulkdel forget {run}\n" if where == "folder" else "with those of its run by `bulkdel forget RUN`"
        assert (refused.code, said in refused.err, records.exists()) == (3, True, True), refused
        asked = bulkdel("forget", run, cwd=tmp_path)
        assert (
            f"remove  {records if where == 'folder' else records.relative_to(tmp_path)}, the records of a restore"
            in asked.out
        )
        (count,) = re.findall(r"--confirm (\d+)", asked.err)
        forgotten = bulkdel("forget", run, "--confirm", count, cwd=tmp_path)
        assert not records.exists(), forgotten


@mutant(
    "a real run lies where practice is looked for",
    "_check_place",
    swap("run.name.endswith(OF_SANDBOX) and not sandbox", "not run.name and not sandbox"),
)
def test_a_real_run_has_no_place_of_practice(tmp_path: Path) -> None:
    with case(tmp_path, IDS[:20]) as it:
        for place in (tmp_path / "night.sandbox", f"file://{tmp_path}/night.sandbox"):
            ran = bulkdel(*it.args, "--run", place)
            assert (ran.code, "for a run with --sandbox. Name another place" in ran.err) == (2, True), ran
        assert it.served.ledger.requests == 0
        practised = bulkdel("run", "delete-users", it.export, "--sandbox", "--run", tmp_path / "night.sandbox")
        assert practised.code == 0, practised


@mutant(
    "a backup in a store that has moved is not that of its run",
    "logged_name",
    swap("path.absolute().parent == run.absolute()", "not in_store(run) and path.absolute().parent == run.absolute()"),
)
def test_a_store_that_has_moved_goes_on_with_its_backup(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with case(tmp_path, IDS) as it:
        ran = it.run("--run", f"file://{first}", "--backup", "--limit", 5)
        assert ran.code == 0, ran
        first.rename(second)
        where = ("--host", it.served.url, "--confirm", 20, "--pool", POOL)
        ran = bulkdel("resume", f"file://{second}", *where)
        assert (ran.code, it.effects(IDS)) == (0, [1] * 20), ran
        words = ("restore", f"file://{second}", "--passwords", "none", "--plan", "--json", *where[:2])
        planned = bulkdel(*words, cwd=tmp_path)
        assert (planned.code, json.loads(planned.out)["rows"]) == (0, 20), planned
