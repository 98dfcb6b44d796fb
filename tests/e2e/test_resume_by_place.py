"""`bulkdel resume RUN`: a run goes on by its place alone; what comes from the place, from this machine, and never."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bulkdel.store_path import store_path
from tests.harness import (
    KEYS,
    POOL,
    Case,
    Ran,
    bulkdel,
    case,
    entries,
    finish,
    start,
    user_ids,
    wait_until,
    write_objects,
)
from tests.mutants import mutant
from tests.recorded import changed_log
from tests.syntax import swap

IDS = user_ids(60)
KEPT = IDS[:3]


def begun(it: Case, *more: object, **kwargs: Any) -> None:
    ran = it.run("--limit", 20, *more, **kwargs)
    assert ran.code == 0, ran.err


def resumed(it: Case, place: Path | str, *more: object, host: bool = True, **kwargs: Any) -> Ran:
    where = ("--host", it.served.url) if host else ()
    return bulkdel("resume", place, *more, *where, **kwargs)


def elsewhere(folder: Path) -> dict[str, str]:
    """The environment of another machine: it has the credentials, and no key of the user."""
    return {**KEYS, "XDG_STATE_HOME": str(folder / "state")}


def started(log: Path) -> dict[str, object]:
    """The facts of the last start in a log."""
    return [entry for entry in entries(log) if entry.get("event") == "start"][-1]


@mutant(
    "a resume has the pace of a new run",
    "line_to_resume",
    swap("found.line.without(*left_out)", 'found.line.without(*left_out, "--rate")'),
)
@mutant(
    "what weakens a check is inherited",
    "line_to_resume",
    swap("found.line.without(*left_out)", "found.line.without(*(left_out - NEVER))"),
)
def test_a_run_goes_on_by_its_place(tmp_path: Path) -> None:
    """Typed in another folder, with paths that lead from the first one."""
    folder = tmp_path / "first"
    folder.mkdir()
    with case(folder, IDS, users=IDS, options=("--rate", 200)) as it:
        keep = write_objects(folder / "keep.jsonl", KEPT)
        it.ids = 57
        words = [it.export.name if word == it.export else word for word in it.args]
        options = ("--exclude", keep.name, "--allow-absent", "--in-doubt", "resend", "--note", "CHG-7", "--limit", 20)
        ran = bulkdel(*words, *options, cwd=folder)
        assert ran.code == 0, ran.err
        ran = resumed(
            it, "first/export.jsonl.runs/delete-users", "--note", "CHG-8", "--confirm", 57, "--pool", POOL, cwd=tmp_path
        )
        assert ran.code == 0, ran.err
        assert it.effects(IDS) == [0] * 3 + [1] * 57
        options_of = started(it.log)["options"]
        assert isinstance(options_of, dict)
        names = ("rate", "note", "allow_absent", "in_doubt", "limit")
        assert [options_of[name] for name in names] == [200.0, "CHG-8", False, "look-up", None]


def test_a_run_goes_on_on_another_machine(tmp_path: Path) -> None:
    """It has the place, and neither the export nor the exclude file. It is confirmed anew."""
    folder, env = tmp_path / "first", elsewhere(tmp_path)
    folder.mkdir()
    with case(folder, IDS) as it:
        keep = write_objects(folder / "keep.jsonl", KEPT)
        it.ids = 57
        begun(it, "--exclude", keep)
        place = tmp_path / "night"
        shutil.copytree(it.place, place)
        shutil.rmtree(folder)
        refused = resumed(it, place, env=env)
        assert (refused.code, "not confirmed" in refused.err) == (2, True), refused.err
        assert it.effects(IDS) == [0] * 3 + [1] * 20 + [0] * 37
        ran = resumed(it, place, "--confirm", 57, "--pool", POOL, env=env)
        assert ran.code == 0, ran.err
        assert it.effects(IDS) == [0] * 3 + [1] * 57


@mutant(
    "a resume does not tell what the last session had of its machine",
    "_check_lacking",
    swap("_is_set_here(name, arguments)", "name in had"),
)
@mutant(
    "what a variable has set is forgotten",
    "of_the_last_machine",
    swap("yield from line.variables", "yield from ()"),
)
def test_what_this_machine_lacks_is_named(tmp_path: Path) -> None:
    """A config, a secret, a variable of a table: each is given, set here, or said to be meant so."""
    config = tmp_path / "c.toml"
    config.write_text("[genauth]\nlang = 'de-DE'\n")
    hook = f"cp {config} {tmp_path}/told"
    with case(tmp_path, IDS) as it:
        begun(it, "--config", config, "--on-event", hook, env={**KEYS, "BULKDEL_GENAUTH__BRAND": "genauth"})
        (tmp_path / "told").unlink()
        refused = resumed(it, it.place)
        assert refused.code == 2
        assert "the last session had --config, --on-event, BULKDEL_GENAUTH__BRAND, and" in refused.err, refused.err
        assert "--without config --without on-event --without BULKDEL_GENAUTH__BRAND" in refused.err
        without = ("--confirm", 60, "--pool", POOL, "--without", "on-event", "--without", "BULKDEL_GENAUTH__BRAND")
        refused = resumed(it, it.place, *without)
        assert (refused.code, "had --config, and" in refused.err) == (2, True), refused.err
        assert sum(it.effects(IDS)) == 20
        ran = resumed(it, it.place, *without, env={**KEYS, "BULKDEL_CONFIG": str(config)})
        assert ran.code == 0, ran.err
        assert it.effects(IDS) == [1] * 60
        assert not (tmp_path / "told").exists()


@mutant(
    "a resume takes the host of a log",
    "_check_host",
    swap('"--host" in typed.options', '"--host" not in typed.options'),
)
def test_no_key_goes_to_a_host_that_only_the_place_names(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        begun(it)
        requests = it.served.ledger.deleted
        refused = resumed(it, it.place, host=False)
        assert (refused.code, f"bulkdel resume {it.place} --host ADDRESS" in refused.err) == (2, True), refused.err
        assert it.served.ledger.deleted == requests


def config_with(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@mutant(
    "the guards of a run end with its machine",
    "_opened",
    swap("with_logged(arguments.config, log)", "arguments.config"),
)
def test_the_guards_of_the_run_and_of_this_machine_both_hold(tmp_path: Path) -> None:
    """[protect] of the last session stays in force on a machine without it, and is joined with another one."""
    with case(tmp_path, IDS) as it:
        host = it.served.url
        config = config_with(tmp_path, "c.toml", f'[protect]\nhosts = ["{host}"]\nrate_max = 7\n')
        name = host.partition("://")[2]
        begun(it, "--config", config, "--confirm-host", name)
        place = tmp_path / "night"
        shutil.copytree(it.place, place)
        env = elsewhere(tmp_path)
        confirmed = ("--without", "config", "--confirm", 60, "--pool", POOL)
        refused = resumed(it, place, *confirmed, env=env)
        assert (refused.code, "--confirm-host" in refused.err) == (2, True), refused.err
        other = config_with(tmp_path, "other.toml", f'[protect]\npools = ["{POOL}"]\n')
        refused = resumed(it, place, *confirmed[2:], "--config", other, "--confirm-host", name, env=env)
        assert (refused.code, "the config protects it" in refused.err) == (3, True), refused.err
        assert sum(it.effects(IDS)) == 20
        slow = ("--confirm-host", name, "--rate", 5, "--chunk-size", 1, "--host", host)
        process = start("resume", place, *confirmed, *slow, env=env)
        wait_until(lambda: bulkdel("ctl", place, "status", env=env).code == 0)
        refused = bulkdel("ctl", place, "rate", "8", env=env)
        assert (refused.code, "rate_max of the config allows 7" in refused.err) == (2, True), refused.err
        assert bulkdel("ctl", place, "stop", env=env).code == 0
        assert finish(process).code == 6
        assert started(place / "log.jsonl")["protect"] == {"hosts": [host], "rate_max": 7}


def test_a_forged_place_sends_and_calls_nothing(tmp_path: Path) -> None:
    """Its log names another host, a command and an address. The rows are confirmed by the user, with their number."""
    called, made = tmp_path / "called", tmp_path / "made"
    made.mkdir()
    with case(tmp_path, IDS) as it, case(made, IDS) as other:
        begun(it)

        def forged(entry: dict[str, Any]) -> dict[str, Any]:
            text = json.dumps(entry).replace(it.served.url, other.served.url)
            more = f'"--on-event", "touch {called}", "--slow-while", "{other.served.url}/slow", "--confirm"'
            changed: dict[str, Any] = json.loads(text.replace('"--confirm"', more))
            return changed

        it.log.write_bytes(changed_log(it.log.read_bytes(), forged))
        env, before = elsewhere(tmp_path), other.served.ledger.requests
        for more in ((), ("--confirm", 60, "--pool", POOL)):
            refused = resumed(it, it.place, *more, env=env)
            assert refused.code in {2, 3}, refused.err
            refused = resumed(it, it.place, *more, env=env, host=False)
            assert (refused.code, "Your key would go there" in refused.err) == (2, True), refused.err
        assert (called.exists(), other.served.ledger.requests) == (False, before)
        assert sum(it.effects(IDS)) == 20


@mutant(
    "a resume reads a file that only a log names",
    "line_to_resume",
    swap("_folders_of(found, progress) if mac_holds(progress.start, own_key) else []", "_folders_of(found, progress)"),
    case="path",
)
@pytest.mark.parametrize("word", ["", "ADDRESS"], ids=["path", "address"])
def test_no_file_elsewhere_is_read_that_only_the_log_names(tmp_path: Path, word: str) -> None:
    """Its export is looked for in the home of the run. Read, it would be another one. word: in place of its path."""
    with case(tmp_path, IDS) as it:
        begun(it)
        (tmp_path / "other").mkdir()
        lure = write_objects(tmp_path / "other" / it.export.name, user_ids(3, seed=7))
        it.export.unlink()

        def forged(entry: dict[str, Any]) -> dict[str, Any]:
            changed: dict[str, Any] = json.loads(json.dumps(entry).replace(f'"{it.export}"', f'"{lure}"'))
            if word and "to_go_on" in changed:
                changed["to_go_on"][3] = word
            return changed

        it.log.write_bytes(changed_log(it.log.read_bytes(), forged))
        refused = resumed(it, it.place, env=elsewhere(tmp_path))
        assert (refused.code, "not confirmed" in refused.err, str(lure) in refused.err) == (2, True, False), refused.err
        assert sum(it.effects(IDS)) == 20


def test_a_run_that_was_handed_over_is_not_resumed_here(tmp_path: Path) -> None:
    """The unpacked one is."""
    with case(tmp_path, IDS) as it:
        begun(it)
        packed = bulkdel("pack", it.place, "--out", tmp_path / "run.tar.gz")
        assert packed.code == 0, packed.err
        refused = resumed(it, it.place)
        assert (refused.code, "was handed over" in refused.err) == (3, True), refused.err
        unpacked = bulkdel("unpack", tmp_path / "run.tar.gz", "--to", tmp_path / "here")
        assert unpacked.code == 0, unpacked.err
        ran = resumed(it, tmp_path / "here/run", "--confirm", 60, "--pool", POOL, env=elsewhere(tmp_path))
        assert ran.code == 0, ran.err
        assert it.effects(IDS) == [1] * 60


@mutant(
    "the rows that were confirmed need the export as it was",
    "ExportReading._known",
    swap("gone |= self.arguments.settings.as_confirmed", "gone = bool(gone)"),
)
def test_an_export_that_was_corrected_since(tmp_path: Path) -> None:
    """Its ids are not sent without a word: the rows that were confirmed are, when that is said."""
    with case(tmp_path, IDS) as it:
        begun(it)
        write_objects(it.export, IDS[:30])
        refused = resumed(it, it.place)
        assert (refused.code, "--as-confirmed" in refused.err, "another place (--run)" in refused.err) == (
            3,
            True,
            True,
        )
        assert sum(it.effects(IDS)) == 20
        ran = resumed(it, it.place, "--as-confirmed", "--confirm", 60, "--pool", POOL)
        assert ran.code == 0, ran.err
        assert it.effects(IDS) == [1] * 60


def test_a_run_in_a_store_and_a_piped_one_go_on(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/night"
    with case(tmp_path, IDS) as it:
        words = [str(word) if word != it.export else "-" for word in it.args]
        ran = bulkdel(*words, "--run", url, "--limit", 20, input=it.export.read_bytes(), cwd=tmp_path)
        assert ran.code == 0, ran.err
        there = tmp_path / "there"
        there.mkdir()
        ran = resumed(it, url, "--take-over", "--confirm", 60, "--pool", POOL, cwd=there)
        assert ran.code == 0, ran.err
        assert it.effects(IDS) == [1] * 60
        assert store_path(url).directory.is_dir()


def test_a_restore_goes_on_by_its_place_and_not_by_that_of_its_run(tmp_path: Path) -> None:
    """Its command has named the run by a relative path, and leads to another run in the folder where it goes on."""
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    with case(first, IDS) as it:
        ran = it.run("--backup")
        assert ran.code == 0, ran.err
        shutil.copytree(first, second, dirs_exist_ok=True)
        place = it.place.relative_to(first)
        where = ("--passwords", "none", "--host", it.served.url, "--pool", POOL, "--confirm", 60, "--limit", 20)
        ran = bulkdel("restore", place, *where, cwd=first)
        assert ran.code == 0, ran.err
        refused = resumed(it, it.place)
        assert (refused.code, "restore of this run has begun" in refused.err) == (3, True), refused.err
        moved = first.rename(tmp_path / "c")
        told = bulkdel("status", moved / place / "restore-1", cwd=second).out
        assert f"bulkdel restore {moved / place} " in told, "not of another run"
        moved.rename(first)
        ran = resumed(it, f"../a/{place}/restore-1", "--confirm", 60, "--pool", POOL, cwd=second)
        assert ran.code == 0, ran.err
        assert len((it.place / "restore-1/new-ids.jsonl").read_text().splitlines()) == 60
        assert not (second / place / "restore-1").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--run", "x"), 2, "the run is the first word"),
        (("more",), 2, "only options of `run`"),
        (("--rat", "5"), 2, "--rat"),
        (("-x",), 2, "only options of `run`"),
        (("--without", "nothing"), 2, "--without nothing: the last session had none"),
    ],
)
def test_words_that_are_no_options_of_a_run(tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    with case(tmp_path, IDS) as it:
        begun(it)
        refused = resumed(it, it.place, *words)
        assert (refused.code, said in refused.err) == (code, True), refused.err
        assert sum(it.effects(IDS)) == 20


@mutant(
    "the options of a stop that another person has changed are taken",
    "words_of",
    swap("not mac_holds(stop, own_key)", "stop is None"),
)
def test_a_stop_that_was_changed_is_not_taken(tmp_path: Path) -> None:
    """The start has a MAC of this user, and holds: then its words count."""
    with case(tmp_path, IDS) as it:
        begun(it, "--max-refused", "3")

        def forged(entry: dict[str, Any]) -> dict[str, Any]:
            if entry.get("event") != "stop":
                return entry
            words = [word if word != "3" else "100%" for word in entry["to_go_on"]]
            return {**entry, "to_go_on": words}

        it.log.write_bytes(changed_log(it.log.read_bytes(), forged))
        ran = resumed(it, it.place, "--confirm", 60, "--pool", POOL)
        assert ran.code == 0, ran.err
        options = started(it.log)["options"]
        assert isinstance(options, dict)
        assert options["max_refused"] == "3"


@mutant("a guard that is typed is added to the earlier one", "_with", swap('{"--exclude", "--spare"}', "typed.options"))
def test_a_guard_that_is_typed_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        begun(it, "--only-status", "Activated,Suspended", "--spare", "active-since=2026-01-01")
        confirmed = ("--confirm", 60, "--pool", POOL)
        ran = resumed(it, it.place, "--only-status", "Suspended", "--spare", "active-since=2025-01-01", *confirmed)
        assert ran.code == 0, ran.err
        assert sum(it.effects(IDS)) == 20
        guards = started(it.log)["guards"]
        assert isinstance(guards, dict)
        assert "Activated" not in json.dumps(guards)


@mutant(
    "a backup that is typed comes beside the earlier one",
    "_with",
    swap('INSTEAD_OF.get(option, "")', '""'),
)
def test_a_backup_that_is_typed_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        begun(it, "--backup")
        other = tmp_path / "other.jsonl"
        ran = resumed(it, it.place, "--backup-to", other, "--confirm", 60, "--pool", POOL)
        assert (ran.code, it.effects(IDS)) == (0, [1] * 60), ran
        assert len(other.read_text().splitlines()) == 40


@mutant(
    "a resume takes the export for an exclude file of its name",
    "_FilesNow.exclude_file",
    swap("self._is_known", "self._is_there"),
)
def test_an_exclude_file_is_looked_for_by_its_bytes_where_the_place_has_moved(tmp_path: Path) -> None:
    """Beside the place is the export, which has its name; then the file itself, moved there under another name."""
    first, moved = tmp_path / "exports", tmp_path / "may"
    for folder in (first, tmp_path / "keep"):
        folder.mkdir()
    with case(first, IDS, users=IDS) as it:
        keep = write_objects(tmp_path / "keep" / it.export.name, KEPT)
        it.ids = 57
        words = ["exports/export.jsonl" if word == it.export else word for word in it.args]
        ran = bulkdel(*words, "--exclude", keep.relative_to(tmp_path), "--limit", 20, cwd=tmp_path)
        assert ran.code == 0, ran.err
        first.rename(moved)
        keep.unlink()
        ran = resumed(it, moved / "export.jsonl.runs/delete-users", "--confirm", 57, "--pool", POOL)
        assert (ran.code, it.effects(IDS)) == (0, [0] * 3 + [1] * 57), ran


@mutant(
    "an older copy of an exclude file is taken for the one that was typed",
    "_FilesNow.exclude_file",
    swap(
        "next(typed, None) or next(filter(self._is_known, paths), None)",
        "next(filter(self._is_known, paths), None) or next(typed, None)",
    ),
)
def test_ids_that_were_added_to_an_exclude_file_are_not_sent(tmp_path: Path) -> None:
    """An older copy of the list lies beside the place: before it moves, and then there."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with case(first, IDS, users=IDS) as it:
        keep = write_objects(tmp_path / "keep.jsonl", KEPT)
        it.ids = 57
        words = ["first/export.jsonl" if word == it.export else word for word in it.args]
        ran = bulkdel(*words, "--exclude", "keep.jsonl", "--limit", 20, cwd=tmp_path)
        assert ran.code == 0, ran.err
        for folder in (first, second):
            shutil.copy(keep, folder)
        write_objects(keep, [*KEPT, *IDS[-10:]])
        resumed(it, it.place, "--confirm", 57, "--pool", POOL)
        it.place.rename(second / "place")
        resumed(it, second / "place", "--confirm", 57, "--pool", POOL)
        assert it.effects(IDS[-10:]) == [0] * 10


@mutant(
    "a name is cut at its colon",
    "_FilesNow.file",
    swap("os.path.lexists", "self._is_there"),
)
def test_an_export_in_a_folder_with_a_colon_that_was_renamed_is_compared(tmp_path: Path) -> None:
    first = tmp_path / "exports:may"
    first.mkdir()
    with case(first, IDS) as it:
        begun(it)
        renamed = first.rename(tmp_path / "exports")
        write_objects(renamed / it.export.name, IDS[:30])
        refused = resumed(it, renamed / it.place.relative_to(first), "--confirm", 60, "--pool", POOL)
        assert (refused.code, "--as-confirmed" in refused.err, sum(it.effects(IDS))) == (3, True, 20), refused


def test_an_exclude_file_that_stays_where_it_was_typed_is_found(tmp_path: Path) -> None:
    """It was added later, so the place does not have its ids; and only the place moves."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with case(first, IDS, users=IDS) as it:
        begun(it)
        write_objects(first / "more.jsonl", IDS[-5:])
        it.ids = 55
        confirmed = ("--confirm", 55, "--pool", POOL)
        ran = resumed(it, it.place, "--exclude", "more.jsonl", "--limit", 20, *confirmed, cwd=first)
        assert ran.code == 0, ran.err
        it.place.rename(second / "place")
        refused = resumed(it, second / "place", env=elsewhere(tmp_path))
        assert (refused.code, "more.jsonl: is not given now" in refused.err) == (3, True), refused
        ran = resumed(it, second / "place", *confirmed)
        assert (ran.code, it.effects(IDS)) == (0, [1] * 55 + [0] * 5), ran


@mutant(
    "a copy goes on beside its original",
    "check_no_copy",
    swap("log is None or log.complete or not opened.log_trusted", "log is None or not log.complete"),
)
def test_a_copy_does_not_go_on_while_the_first_one_is_there(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        begun(it)
        copy = tmp_path / "copy"
        shutil.copytree(it.place, copy)
        refused = resumed(it, copy, "--confirm", 60, "--pool", POOL)
        assert (refused.code, f"is a copy of the run in {it.place}" in refused.err) == (3, True), refused.err
        assert sum(it.effects(IDS)) == 20
        it.place.rename(tmp_path / "away")
        ran = resumed(it, copy, "--confirm", 60, "--pool", POOL)
        assert ran.code == 0, ran.err
        assert it.effects(IDS) == [1] * 60


def test_the_config_of_an_archive_is_not_taken(tmp_path: Path) -> None:
    """Another person has packed it. The one of this machine may have guards."""
    config = config_with(tmp_path, "c.toml", "[protect]\nrate_max = 9\n")
    with case(tmp_path, IDS) as it:
        begun(it, "--config", config)
        assert bulkdel("pack", it.place, "--out", tmp_path / "run.tar.gz").code == 0
        assert bulkdel("unpack", tmp_path / "run.tar.gz", "--to", tmp_path / "here").code == 0
        place, confirmed = tmp_path / "here/run", ("--confirm", 60, "--pool", POOL)
        env = elsewhere(tmp_path)
        refused = resumed(it, place, *confirmed, env=env)
        assert (refused.code, "the last session had --config" in refused.err) == (2, True), refused.err
        own = config_with(tmp_path, "own.toml", f'[protect]\npools = ["{POOL}"]\n')
        refused = resumed(it, place, *confirmed, env={**env, "BULKDEL_CONFIG": str(own)})
        assert (refused.code, "the config protects it" in refused.err) == (3, True), refused.err
        assert sum(it.effects(IDS)) == 20
