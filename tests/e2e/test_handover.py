"""A run is handed over: packed, unpacked by another user on another machine, and goes on there, and only there."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard

from bulkdel.commands.unpack import check
from bulkdel.core.handover import MANIFEST, PACKED_LOG, PLACE
from bulkdel.core.plan_file import sealed, text_of
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.handover.reading import unpack
from tests.e2e.test_texts_of_others import FAKE, harmless
from tests.elsewhere import elsewhere
from tests.harness import (
    KEYS,
    POOL,
    Ran,
    bulkdel,
    case,
    check_second_reader,
    environment,
    finish,
    sandbox,
    start,
    user_ids,
    wait_until,
    write_objects,
)
from tests.inputs import input_file
from tests.mutants import mutant
from tests.places import log_of
from tests.recorded import changed_log
from tests.syntax import swap
from tests.unit.test_plan_file import VALUES
from tests.waits import WAIT_MAX_S

IDS = user_ids(300)
VIPS = IDS[:30]
OTHERS = user_ids(5, seed=1)
"""Users that stay: a look-up that finds one proves that the others are gone."""


def command_in(text: str) -> list[str]:
    """The words of the command after `To go on`."""
    return shlex.split(text.split("To go on:\n  ")[1].splitlines()[0])


def handed_over(log: Path, to: Path) -> list[str]:
    """Pack the run with this log, unpack it, move its first folder away; the words of the command that goes on."""
    archive = to.with_suffix(".tar.zst")
    packed = bulkdel("pack", log, "--out", archive)
    assert packed.code == 0, packed.err
    unpacked = bulkdel("unpack", archive, "--to", to)
    assert unpacked.code == 0, unpacked.err
    return command_in(unpacked.err)


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def files_in(packed: Ran) -> set[tuple[str, str]]:
    """The files of an archive that was packed: what each is called there, and what it is."""
    lines = re.findall(r"(?m)^  (.+?), (.+), [0-9,]+ bytes$", packed.out)
    return {(name, what) for name, what in lines}


def content_of(archive: Path) -> bytes:
    """Everything in an archive, as another implementation reads it."""
    with archive.open("rb") as file:
        return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()


@pytest.mark.soak
def test_a_run_goes_on_as_another_user_on_another_machine_and_only_there(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    exclude = write_objects(first / "vips.jsonl", VIPS)
    config = first / "c.toml"
    config.write_text('[run]\nspare = ["created-after=2025-01-01"]\n\n[protect]\npools = ["another"]\n')
    options = ("--rate", 0, "--exclude", exclude, "--backup-to", first / "b.jsonl.zst", "--config", config)
    with case(first, IDS, users=[*IDS, *OTHERS], options=options) as one:
        one.ids -= len(VIPS)
        stopped = one.run("--limit", 100, cwd=first)
        assert stopped.code == 0, stopped.err
        log = one.log.read_bytes()
        packed = bulkdel("pack", one.export, "--out", "run.tar.zst", cwd=first, env={})
        assert packed.code == 0, packed.err
        assert (first / "run.tar.zst").stat().st_mode & 0o777 == 0o600
        assert hashlib.sha256((first / "run.tar.zst").read_bytes()).hexdigest() in packed.out
        assert one.log.read_bytes().startswith(log)
        # The first machine: the log says where the run goes on, and the run is not resumed from it.
        for refused in (one.run(cwd=first), bulkdel("pack", one.export, "--out", "two.tar.gz", cwd=first)):
            assert refused.code == 3
            assert f"goes on where {first / 'run.tar.zst'} was unpacked" in refused.err
        assert "handover   packed on " in (status := bulkdel("status", one.export, env={}).out)
        assert "To go on" not in status

        shutil.copy(first / "run.tar.zst", second)
        shutil.move(first, tmp_path / "gone")  # what the second machine has is in the archive
        unpacked = elsewhere(second, "unpack", "run.tar.zst", env={})
        assert unpacked.code == 0, unpacked.err
        folder = second / "run"
        assert (folder / PACKED_LOG).read_bytes() == log
        for path in (folder, *folder.rglob("*")):
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
        assert "set GENAUTH_ACCESS_KEY_ID" in unpacked.err
        words = command_in(unpacked.err)
        assert words[:3] == ["bulkdel", "resume", "run/run"]
        assert not {"--confirm", "--pool", "--limit"} & set(words)
        assert 'pools = ["another"]' in (folder / "c.toml").read_text().replace('"pools"', "pools")
        told = elsewhere(second, "status", "run/run", env={}).out
        assert "To go on:\n  bulkdel resume run/run\n" in told

        before = one.served.pool.deleted
        asked = elsewhere(second, *words[1:])
        assert asked.code == 2
        assert "and you are 65532 on colleague" in asked.err
        assert f"--confirm {one.ids} --pool {POOL}" in asked.err
        assert one.served.pool.deleted == before == 100
        ran = elsewhere(second, *words[1:], "--limit", 100, "--confirm", one.ids, "--pool", POOL)
        assert ran.code == 0, ran.err
        check_second_reader(folder / PACKED_LOG, ran.summary)
        # Once: `--limit` is the same, so nothing else asks either.
        ran = elsewhere(second, *words[1:], "--limit", 100)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 270, "excluded": 30}
        assert one.effects(IDS[30:]) == [1] * 270
        assert one.effects(VIPS) == [0] * 30
        verified = elsewhere(second, "verify", "run/run", "--host", one.served.url, "--rate", 0, "--json")
        assert verified.code == 0, verified.err
        assert verified.found() == (270, 0, 0)
        report = elsewhere(second, "report", "run/run", "--out", "report.json")
        assert report.code == 0, report.err
        restored = elsewhere(
            second, "restore", "run/run", "--host", one.served.url, "--plan", "--passwords", "none", "--json"
        )
        assert restored.code == 0, restored.err
        assert json.loads(restored.out)["rows"] == 270, "the backup has moved, and has every record"


@mutant(
    "the first machine goes on with a run that was handed over",
    "check_not_handed_over",
    swap(
        "log is not None and (packed := log.handed_over) is not None",
        "log is not None and log.complete and (packed := log.handed_over) is not None",
    ),
)
@pytest.mark.traced
def test_a_piped_run_with_its_log_in_a_store_becomes_a_run_in_files(tmp_path: Path) -> None:
    store, piped = f"file://{tmp_path}/store", b"".join(b'"%s"\n' % id_.encode() for id_ in IDS)
    with sandbox(IDS) as served:
        given = ("--host", served.url, "--rate", 0, "--run", store, "--confirm", 300, "--pool", POOL, "--limit", 100)
        ran = bulkdel("run", "delete-users", "-", *given, cwd=tmp_path, input=piped)
        assert ran.code == 0, ran.err
        packed = bulkdel("pack", store, "--out", "run.tar.gz", cwd=tmp_path)
        assert packed.code == 0, packed.err
        refused = bulkdel("run", "delete-users", "-", *given, "--as-confirmed", cwd=tmp_path, input=b"")
        assert refused.code == 3
        assert "goes on where" in refused.err
        unpacked = bulkdel("unpack", "run.tar.gz", "--to", "new", cwd=tmp_path, env={})
        assert unpacked.code == 0, unpacked.err
        words = command_in(unpacked.err)
        assert words == ["bulkdel", "resume", "new/run", "--host", served.url]
        ran = bulkdel(*words[1:], "--json", "--confirm", 300, "--pool", POOL, cwd=tmp_path, input=b"")
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 300}
        assert [served.ledger.effects(id_, "user_id") for id_ in IDS] == [1] * 300


@mutant(
    "the config file is packed with the keys that name a secret",
    "without_files",
    swap("key.upper()", "key"),
)
@mutant(
    "the query of slow-while is in the archive",
    "SIGNED",
    swap("one.signed", 'one.signed and name == "exclude"'),
)
@mutant(
    "unpack does not say what the first machine had",
    "_print_end",
    swap("name not in {*line.options, *line.variables}", "name in {*line.options, *line.variables}"),
)
@mutant(
    "a variable of a secret is in the command that unpack prints",
    "_variables_of",
    swap("name.endswith(OF_A_FILE)", "name.endswith(BETWEEN)"),
)
@pytest.mark.traced
def test_no_secret_is_packed(tmp_path: Path) -> None:
    secrets = {
        "BULKDEL_NOTIFY": "http://127.0.0.1:9/SECRET1",
        "GENAUTH_ACCESS_KEY_ID": KEYS["GENAUTH_ACCESS_KEY_ID"],
        "GENAUTH_ACCESS_KEY_SECRET": KEYS["GENAUTH_ACCESS_KEY_SECRET"],
        "BULKDEL_GENAUTH__CREDENTIALS_FILE": str(tmp_path / "SECRET5"),
        "BULKDEL_PROTECT__POOLS": "another",
        "BULKDEL_LISTEN__CONTROL": str(tmp_path / "SECRET4"),
    }
    key, token = tmp_path / "SECRET2", tmp_path / "SECRET4"
    for path in (key, token, tmp_path / "SECRET5"):
        path.write_text("SECRETVALUE" * 3)
        path.chmod(0o600)
    config = tmp_path / "c.toml"
    with case(tmp_path, IDS) as one:
        # The sandbox also takes the requests that a proxy gets.
        proxy = one.served.url.replace("http://", "http://user:SECRET3@")
        config.write_text(f'[run]\nproxy = "{proxy}"\n[genauth]\nlang = "de"\ncredentials_file = "{key}"\n')
        more = ("--listen", f"unix:{tmp_path}/s")
        hooks = ("--slow-while", f"{one.served.url}/sandbox/switches?token=SECRET6", "--on-event", "true SECRET7")
        ran = one.run("--limit", 50, "--config", config, *more, *hooks, env=secrets)
        assert ran.code == 0, ran.err
        packed = bulkdel("pack", one.log, "--out", tmp_path / "run.tar.zst", env=secrets)
        assert packed.code == 0, packed.err
        told = [each for ran in (ran, packed, bulkdel("status", one.log, "--audit")) for each in (ran.out, ran.err)]
        written_down = "".join(told).encode() + one.log.read_bytes()
    content = content_of(tmp_path / "run.tar.zst")
    values = [value.encode() for value in KEYS.values()]
    for secret in (b"SECRET1", b"SECRET3", b"SECRET6", b"SECRET7", b"SECRETVALUE", *values):
        assert secret not in content, secret
        assert secret not in written_down, secret
    assert b"de" in content
    unpacked = bulkdel("unpack", tmp_path / "run.tar.zst", "--to", tmp_path / "new", env={})
    assert unpacked.code == 0, unpacked.err
    assert "credentials_file" not in (tmp_path / "new" / "c.toml").read_text()
    variable = "BULKDEL_GENAUTH__CREDENTIALS_FILE"
    assert f"{config}, [genauth] credentials_file: it names a file with a secret\n" in packed.out
    left_out = unpacked.err.split("The first machine had ")[1].split(". Add each")[0]
    of_machine = {"--listen", "--on-event", "--proxy", "--notify", "--slow-while", variable}
    assert set(left_out.split(", ")) == {*of_machine, "BULKDEL_LISTEN__CONTROL", "BULKDEL_PROTECT__POOLS"}
    line = " ".join(command_in(unpacked.err))
    assert "SECRET" not in line
    assert "hidden" not in line


def test_a_run_that_is_under_way_is_not_packed(tmp_path: Path) -> None:
    out = tmp_path / "run.tar.zst"
    with case(tmp_path, IDS, options=("--rate", 4, "--chunk-size", 10, "--concurrency", 1)) as one:
        process = one.start()
        one.wait_until_deleted(10)
        refused = bulkdel("pack", one.export, "--out", out)
        assert refused.code == 3
        assert f"a run (pid {process.pid}) is under way" in refused.err
        assert f"bulkdel ctl {one.place} stop" in refused.err
        stopped = bulkdel("ctl", one.export, "stop")
        assert stopped.code == 0, stopped.err
        assert finish(process).code == 6
        assert not out.exists()
        assert bulkdel("pack", one.export, "--out", out).code == 0


@pytest.mark.traced
def test_what_is_missing_is_named_with_the_option_that_says_where_it_is(tmp_path: Path) -> None:
    last = IDS[-30:]
    exclude, out = write_objects(tmp_path / "vips.jsonl", last), tmp_path / "run.tar.zst"
    with case(tmp_path, IDS) as one:
        assert one.run("--limit", 25).code == 0
        one.options += ["--exclude", exclude]  # added later, so the place does not have its ids
        one.ids -= len(last)
        assert one.run("--limit", 25).code == 0
        log = one.log.read_bytes()
        now, copy = tmp_path / "moved", tmp_path / "copy"
        now.mkdir()
        exclude.rename(now / "keep.jsonl")
        one.export.rename(now / "export.jsonl")
        write_objects(exclude, last[1:])
        missing = bulkdel("pack", one.log, "--out", out)
        assert missing.code == 3
        assert f"Nothing was packed.\n  {exclude}, an exclude file: " in missing.err, "no export is needed"
        assert missing.err.endswith("Name each where it is now: --moved FILE\n")
        other = bulkdel("pack", one.log, "--out", out, "--moved", exclude)
        assert other.code == 3
        given = ("--moved", now / "keep.jsonl", "--moved", now / "export.jsonl")
        superfluous = bulkdel("pack", one.log, "--out", out, *given, "--moved", exclude)
        assert superfluous.code == 3
        assert f"--moved {exclude}: is no file of this run that is missing" in superfluous.err
        assert (out.exists(), one.log.read_bytes()) == (False, log)
        packed = bulkdel("pack", one.log, "--out", out, *given)
        assert packed.code == 0, packed.err
        assert "not in it: " not in packed.out
        assert (one.export.name, "the export") in files_in(packed)
        without = tmp_path / "without.tar.zst"
        packed = bulkdel("pack", one.log, "--out", without, *given[:2], "--again")
        assert packed.code == 0, packed.err
        left_out = f"{one.export}, the export, is left out: it is not there"
        assert f"  not in it: {left_out}\n" in packed.out
        assert "the export" not in {what for _, what in files_in(packed)}
        unpacked = bulkdel("unpack", without, "--to", copy)
        assert unpacked.code == 0, unpacked
        words = command_in(unpacked.err)
        ran = bulkdel(*words[1:], "--confirm", one.ids, "--pool", POOL)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 270, "excluded": 30}
        assert one.effects(last) == [0] * 30


@mutant(
    "a file of another folder that a log names is packed and removed",
    "is_within",
    swap(
        "Path(os.path.realpath(path)).is_relative_to(os.path.realpath(home_of(run)))",
        "path.exists() or Path(os.path.realpath(path)).is_relative_to(os.path.realpath(home_of(run)))",
    ),
)
def test_what_a_log_names_in_another_folder_is_neither_packed_nor_removed(tmp_path: Path) -> None:
    """Another person may have written the log. The user names each file, and then it is packed."""
    other, folder, out = tmp_path / "other", tmp_path / "run", tmp_path / "run.tar.zst"
    for path in (other, folder):
        path.mkdir()
    place = folder / "place"
    write_objects(other / "vips.jsonl", VIPS)
    (other / "c.toml").write_text("[protect]\nrate_max = 5000\n")
    options = ("--exclude", other / "vips.jsonl", "--backup-to", other / "b.jsonl", "--config", other / "c.toml")
    with case(other, IDS, options=("--rate", 0, "--run", place, *options)) as one:
        one.ids -= len(VIPS)
        assert one.run("--limit", 50).code == 0
        refused = bulkdel("pack", place, "--out", out)
        assert (refused.code, out.exists()) == (3, False)
        for name in ("b.jsonl", "c.toml"):
            (line,) = (line for line in refused.err.splitlines() if line.startswith(f"  {other / name}, "))
            assert "is in another folder than the run" in line
        forgot = bulkdel("forget", place, "--abandon")
        assert f"left    {other / 'b.jsonl'}, the backup of the records: it is in another folder" in forgot.out
        assert (other / "b.jsonl").exists()
        moved = [word for name in ("b", "export") for word in ("--moved", other / f"{name}.jsonl")]
        config = ("--config", other / "c.toml")
        packed = bulkdel("pack", place, "--out", tmp_path / "without.tar.zst", *moved[:-2], *config)
        assert packed.code == 0, packed.err
        assert f"  not in it: {one.export}, the export, is left out: it is in another folder than the run" in packed.out
        assert one.export.read_bytes() not in content_of(tmp_path / "without.tar.zst")
        packed = bulkdel("pack", place, "--out", out, *moved, *config, "--again")
        assert packed.code == 0, packed.err
        assert one.export.read_bytes() in content_of(out)
        unpacked = bulkdel("unpack", out, "--to", tmp_path / "new")
        ran = bulkdel(*command_in(unpacked.err)[1:], "--confirm", one.ids, "--pool", POOL)
        assert (ran.code, one.effects(VIPS)) == (0, [0] * 30), ran.err


@mutant(
    "a link beside a log leads a file of the reader into the archive",
    "is_within",
    swap("path", "path.parent"),
)
def test_a_link_or_a_pipe_in_the_place_of_the_config_is_not_packed(tmp_path: Path) -> None:
    """Another person may have written the log and the folder. The config of the reader stays where it is."""
    folder, out = tmp_path / "run", tmp_path / "run.tar.zst"
    folder.mkdir()
    config, own = folder / "c.toml", tmp_path / "own.toml"
    for path in (config, own):
        path.write_text("[protect]\nrate_max = 5000\n")
    with case(folder, IDS[:2], options=("--rate", 0, "--config", config)) as one:
        assert one.run("--limit", 1, "--chunk-size", 1).code == 0
    config.unlink()
    config.symlink_to(own)
    refused = bulkdel("pack", one.log, "--out", out)
    assert (refused.code, f"{config}, the config file: is in another folder" in refused.err) == (3, True), refused
    config.unlink()
    os.mkfifo(config)
    refused = bulkdel("pack", one.log, "--out", out)
    assert (refused.code, f"{config}, the config file: is not a regular file" in refused.err) == (3, True), refused
    assert not out.exists()


@mutant(
    "a link in the place of a file of the run is packed",
    "_Found.add_written",
    swap("self._add_moved(run, file, file.why_foreign)", "self._add(file.path, file.what)"),
)
@pytest.mark.traced
def test_a_link_is_not_followed_into_the_archive(tmp_path: Path) -> None:
    secret, backup = tmp_path / "secret", tmp_path / "b.jsonl"
    secret.write_text("SECRET")
    with case(tmp_path, IDS, options=("--rate", 0, "--backup-to", backup)) as one:
        assert one.run("--limit", 50).code == 0
        (one.place / "still-there.jsonl").symlink_to(secret)
        packed = bulkdel("pack", one.log, "--out", tmp_path / "run.tar.zst")
        assert packed.code == 0, packed.err
        assert "is left out: it is a symbolic link" in packed.out
        assert b"SECRET" not in content_of(tmp_path / "run.tar.zst")
        # What is needed to go on is no link either: its bytes could be others when it is read again.
        backup.rename(tmp_path / "elsewhere")
        backup.symlink_to(tmp_path / "elsewhere")
        refused = bulkdel("pack", one.log, "--again", "--out", tmp_path / "2.tar.zst")
        assert refused.code == 3
        assert f"{backup}, the backup of the records: it is a symbolic link" in refused.err
        backup.unlink()
        (tmp_path / "elsewhere").rename(backup)
        rows = input_file(one.log)
        rows.rename(tmp_path / "elsewhere")
        rows.symlink_to(secret)
        refused = bulkdel("pack", one.log, "--again", "--out", tmp_path / "2.tar.zst")
        assert (refused.code, str(rows) in refused.err) == (3, True), refused
        assert not (tmp_path / "2.tar.zst").exists()


@pytest.mark.parametrize("name", ["manifest.json", "..."])
def test_the_skipped_rows_of_a_run_with_another_name_in_the_archive(name: str, tmp_path: Path) -> None:
    """The archive has a file `manifest.json` of its own, and no name that begins with a dot."""
    with case(tmp_path, [*IDS, *IDS[:5]]) as one:
        place, archive = tmp_path / name, tmp_path / "run.tar.zst"
        assert bulkdel(*one.args, "--run", place, "--limit", 50).code == 0
        assert bulkdel("pack", place, "--out", archive).code == 0
        unpacked = bulkdel("unpack", archive, "--to", tmp_path / "new")
        assert unpacked.code == 0, unpacked.err
        (skipped,) = (tmp_path / "new").rglob("skipped*.zst")
        assert skipped == tmp_path / "new" / PLACE / "skipped.zst"
        assert bulkdel("status", skipped.parent).code == 0


@pytest.mark.traced
def test_files_that_were_copied_by_hand_go_on_in_their_folder(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    exclude = write_objects(first / "vips.jsonl", VIPS)
    with case(first, IDS, options=("--rate", 0, "--exclude", exclude)) as one:
        one.ids -= len(VIPS)
        assert one.run("--limit", 50).code == 0
        assert f"To go on, in {Path.cwd()}:\n" in bulkdel("status", one.log).out, "the folder of its last session"
        copied = second / one.place.relative_to(first)
        copied.mkdir(parents=True)
        shutil.copy(one.log, copied)
        skipped = one.place / "skipped.zst"
        refused = bulkdel("status", copied)
        assert f"{copied / skipped.name}: the rows that are never sent are missing" in refused.err
        shutil.copy(skipped, copied)
        told = bulkdel("status", copied).out
        words = shlex.split(told.split("To go on:\n  ")[1].splitlines()[0])
        assert words == ["bulkdel", "resume", str(copied)]
        shutil.copy(exclude, second)
        confirmed = ("--confirm", one.ids, "--pool", POOL)
        twice = bulkdel(*words[1:], *confirmed, "--host", one.served.url, cwd=second)
        assert (twice.code, "is a copy of the run in" in twice.err) == (3, True), twice
        away = first.rename(tmp_path / "away") / one.place.relative_to(first)
        for name, what in (("input.index.jsonl", "the index of the rows"), ("input.jsonl.zst", "the rows of the run")):
            without = bulkdel(*words[1:], *confirmed, "--host", one.served.url, cwd=second)
            assert (without.code, one.served.pool.deleted) == (3, 50), without
            assert f"{name}: is missing. It holds {what}." in without.err, without
            shutil.copy(away / name, copied)
        foreign = bulkdel(*words[1:], *confirmed, cwd=second)
        assert (foreign.code, one.served.pool.deleted) == (2, 50), foreign.err
        ran = bulkdel(*words[1:], *confirmed, "--host", one.served.url, cwd=second)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 270, "excluded": 30}


@pytest.mark.soak
def test_a_full_disk_leaves_no_archive_and_no_folder_and_the_run_where_it_was(tmp_path: Path) -> None:

    ids = user_ids(4_000)
    with case(tmp_path, ids) as one:
        assert one.run("--limit", 50).code == 0
        log = one.log.read_bytes()
        names = set(bytes_in(tmp_path))

        def limited(*words: object) -> subprocess.CompletedProcess[bytes]:
            line = (
                f'ulimit -f 40; PYTHONDONTWRITEBYTECODE=1 exec {sys.executable} -m bulkdel "$@"'  # blocks of 512 bytes
            )
            given = ["sh", "-c", line, "sh", *map(str, words)]
            return subprocess.run(given, capture_output=True, env=environment({}), check=False, timeout=WAIT_MAX_S)

        full = limited("pack", one.log, "--out", tmp_path / "run.tar.zst")
        assert full.returncode == 5, full.stderr
        assert b"File too large. Nothing was packed." in full.stderr
        assert (set(bytes_in(tmp_path)), one.log.read_bytes()) == (names, log)
        assert bulkdel("pack", one.log, "--out", tmp_path / "run.tar.zst").code == 0
        names = {path.name for path in tmp_path.iterdir()}
        full = limited("unpack", tmp_path / "run.tar.zst", "--to", tmp_path / "new")
        assert full.returncode == 5, full.stderr
        assert {path.name for path in tmp_path.iterdir()} == names


@mutant(
    "the archive has the log with the note that it was handed over",
    "_log_blocks",
    swap("100", "9"),
)
def test_a_lost_archive_is_packed_again_and_one_that_comes_back_is_unpacked(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as one:
        assert one.run("--limit", 50).code == 0
        log = one.log.read_bytes()
        assert bulkdel("pack", one.log, "--again", "--out", tmp_path / "1.tar.zst").code == 2
        for number, again in enumerate(((), ("--again",), ("--again",))):
            packed = bulkdel("pack", one.log, *again, "--out", tmp_path / f"{number}.tar.zst")
            assert packed.code == 0, packed.err
        assert bulkdel("pack", one.log, "--again", "--out", tmp_path / "1.tar.zst").code == 3
        unpacked = bulkdel("unpack", tmp_path / "2.tar.zst", "--to", tmp_path / "back")
        assert unpacked.code == 0, unpacked.err
        assert (tmp_path / "back" / PACKED_LOG).read_bytes() == log
        ran = bulkdel(*command_in(unpacked.err)[1:], "--confirm", one.ids, "--pool", POOL)
        assert ran.counts() == {"deleted": 300}
        assert bulkdel("status", "--audit", one.log).code == 0


@pytest.mark.traced
def test_the_first_machine_forgets_what_it_has_handed_over(tmp_path: Path) -> None:
    with case(tmp_path, IDS, options=("--rate", 0, "--backup-to", tmp_path / "b.jsonl")) as one:
        assert one.run("--limit", 50).code == 0
        needed = bulkdel("forget", one.log, "--confirm", 2)
        assert needed.code == 3, "the run goes on here"
        rows = input_file(one.log)
        backup = f"{tmp_path / 'b.jsonl'} (the backup of the records)"
        assert f" needs {rows} (the rows of the run), {backup}. " in needed.err
        packed = bulkdel("pack", one.log, "--out", tmp_path / "run.tar.zst")
        words = shlex.split(packed.err.splitlines()[-1])
        assert words == ["bulkdel", "forget", str(one.place)]
        forgot = bulkdel(*words[1:], "--confirm", 2)
        assert forgot.code == 0, forgot.err
        assert ((tmp_path / "b.jsonl").exists(), rows.exists()) == (False, False)
        refused = bulkdel("pack", one.log, "--again", "--out", tmp_path / "2.tar.zst")
        assert refused.code == 3
        assert "the rows of the run: were removed by `bulkdel forget`. Nothing was packed" in refused.err
        unpacked = bulkdel("unpack", tmp_path / "run.tar.zst", "--to", tmp_path / "new")
        ran = bulkdel(*command_in(unpacked.err)[1:], "--confirm", one.ids, "--pool", POOL)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 300}


@pytest.mark.soak
def test_a_run_in_shards_and_its_restore_are_handed_over(tmp_path: Path) -> None:
    """Each shard has a log and a backup of its own; the restore has logs, exports and a map."""
    ids = user_ids(1_200, seed=2)
    with case(tmp_path, ids, users=ids, options=("--rate", 0, "--backup-to", tmp_path / "b.jsonl")) as one:
        pad = "x" * 1_000  # so that the export can be cut
        one.export.write_text("".join(json.dumps({"id": id_, "pad": pad}) + "\n" for id_ in ids))
        stopped = one.run("--shards", 2, "--limit", 300)
        assert stopped.code == 0, stopped.err
        one.options = []
        words = handed_over(one.log, tmp_path / "second")
        ran = bulkdel(*words[1:], "--confirm", one.ids, "--pool", POOL)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 1_200}
        log = tmp_path / "second" / PACKED_LOG
        restore = (
            "restore",
            log,
            "--host",
            one.served.url,
            "--passwords",
            "none",
            "--rate",
            0,
            "--confirm",
            1_200,
            "--pool",
            POOL,
        )
        begun = bulkdel(*restore, "--limit", 50)
        assert begun.code == 0, begun.err
        words = handed_over(log, tmp_path / "third")
        assert words[:3] == ["bulkdel", "restore", f"{tmp_path / 'third' / PLACE}"]
        refused = bulkdel(*restore)
        assert refused.code == 3
        assert "goes on where" in refused.err
        restored = bulkdel(*words[1:], "--confirm", 1_200, "--pool", POOL, "--json")
        assert restored.code == 0, restored.err
        assert len(one.served.pool.user_ids()) == 1_200


@mutant(
    "a plan confirms a run that another person has begun",
    "_confirm",
    swap("plan.begun_by_me_or_new", "plan.person is not None"),
)
def test_a_run_by_an_approved_plan_goes_on_by_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    write_objects(first / "users.jsonl", IDS)
    write_objects(first / "vips.jsonl", VIPS)
    with sandbox(IDS) as served:
        given = ("--host", served.url, "--rate", 0, "--exclude", "vips.jsonl", "--out", "plan.json")
        assert bulkdel("plan", "delete-users", "users.jsonl", *given, cwd=first).code == 0
        process = start("run", "--plan", "plan.json", "--host", served.url, "--rate", 4, "--chunk-size", 10, cwd=first)
        wait_until(lambda: served.pool.deleted >= 10, process)
        assert bulkdel("ctl", "users.jsonl", "stop", cwd=first).code == 0
        assert finish(process).code == 6
        words = handed_over(log_of(first / "users.jsonl"), second)
        shutil.rmtree(first)
        assert words[:3] == ["bulkdel", "resume", str(second / PLACE)]
        assert words[words.index("--plan") + 1] == str(second / "plan.json")
        words += ["--rate", "0"]
        deleted = served.pool.deleted
        asked = elsewhere(tmp_path, *words[1:], "--json")
        assert (asked.code, served.pool.deleted) == (2, deleted), asked.err
        assert "and you are 65532 on colleague" in asked.err
        confirming = shlex.split(asked.err.split("To confirm")[1].split("\n  ")[1].splitlines()[0])
        assert confirming[-4:] == ["--confirm", "270", "--pool", POOL]
        ran = elsewhere(tmp_path, *confirming[1:])
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 270, "excluded": 30}
        assert [served.ledger.effects(id_, "user_id") for id_ in VIPS] == [0] * 30


@pytest.mark.traced
def test_a_complete_run_is_packed_with_its_verification_and_its_log_stays_as_it_is(tmp_path: Path) -> None:
    with case(tmp_path, IDS, users=[*IDS, *OTHERS]) as one:
        assert one.run().code == 0
        assert bulkdel("verify", one.export, "--host", one.served.url, "--rate", 0).code == 0
        log = one.log.read_bytes()
        packed = bulkdel("pack", one.export, "--out", tmp_path / "run.tar.zst")
        assert packed.code == 0, packed.err
        assert one.log.read_bytes() == log
        unpacked = bulkdel("unpack", tmp_path / "run.tar.zst", "--to", tmp_path / "new")
        assert "Nothing remains to be sent" in unpacked.err
        one.export.unlink()
        again = bulkdel("verify", tmp_path / "new" / PLACE, "--host", one.served.url, "--rate", 0, "--json")
        assert again.code == 0, again.err
        assert again.summary["requests"] == 0, "its findings came along"


# ── hostile archives ──────────────────────────────────────────────────────────────────────────────────────────────────


Member = tuple[tarfile.TarInfo, bytes]
Members = list[Member]


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info, data


def written(members: Iterable[Member], end: bytes = bytes(1024)) -> bytes:
    out = b""
    for info, data in members:
        out += info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)
    return out + end


def with_manifest(members: Members, change: Callable[[dict[str, Any]], None]) -> Members:
    found = json.loads(members[0][1])
    change(found)
    return [member(MANIFEST, json.dumps(found).encode()), *members[1:]]


def number_of(members: Members, name: str = "export.jsonl") -> int:
    """Where a file is, by default the export. In the manifest, which does not name itself, it has a number less."""
    return next(number for number, (info, _) in enumerate(members) if info.name == name)


def for_export(members: Members, *others: Member) -> Members:
    """Others in the place of the export."""
    at = number_of(members)
    return [*members[:at], *others, *members[at + 1 :]]


def export_of(members: Members) -> bytes:
    return members[number_of(members)][1]


def with_export(members: Members, **facts: object) -> Members:
    """Other facts of the export, in the manifest alone."""
    return with_manifest(members, lambda found: found["files"][number_of(members) - 1].update(facts))


def renamed(members: Members, name: str) -> Members:
    """Another name of the export, in the manifest and in the archive."""
    return for_export(with_export(members, name=name), member(name, export_of(members)))


def with_config(members: Members, text: bytes) -> Members:
    """A config file, in the manifest and in the archive."""
    file = {"name": "c.toml", "what": "", "size": len(text), "sha256": hashlib.sha256(text).hexdigest()}

    def change(found: dict[str, Any]) -> None:
        found["files"].append(file)
        found["options"]["--config"] = ["c.toml"]

    return [*with_manifest(members, change), member("c.toml", text)]


def with_option(members: Members, option: str, *values: str) -> Members:
    """An option of the command that goes on."""
    return with_manifest(members, lambda found: found["options"].update({option: list(values)}))


def with_plan(members: Members, options: dict[str, list[str]], host: str | None = None) -> Members:
    """An approved plan with these options, in the manifest and in the archive. host: by default that of the run."""
    command = {"names": ["delete-users", "export.jsonl"], "options": options}
    host = host or host_of(members)
    text = text_of(sealed({**VALUES, "command": command, "host": host})).encode()
    file = {"name": "plan.json", "what": "", "size": len(text), "sha256": hashlib.sha256(text).hexdigest()}

    def change(found: dict[str, Any]) -> None:
        found["files"].append(file)
        found["options"]["--plan"] = ["plan.json"]

    return [*with_manifest(members, change), member("plan.json", text)]


def host_of(members: Members) -> str:
    """The host of the run, as the header of its log has it."""
    header = json.loads(members[number_of(members, PACKED_LOG)][1].splitlines()[0])["entries"][0]
    host: str = header["pinned"]["host"]
    return host


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def link_of_export(kind: bytes, to: str = "/etc/passwd") -> Member:
    """A link with the name of the export."""
    return member("export.jsonl", b"", kind, to)


Hostile = Callable[[Members], bytes]

HOSTILE: dict[str, Hostile] = {
    "a path": lambda members: written(renamed(members, "../outside")),
    "an absolute name": lambda members: written(renamed(members, "/tmp/outside")),
    "a name with a path in the archive alone": lambda members: written(
        for_export(members, member("../outside", export_of(members)))
    ),
    "a symbolic link": lambda members: written(for_export(members, link_of_export(tarfile.SYMTYPE))),
    "a symbolic link of the right size": lambda members: written(
        for_export(members, member("export.jsonl", export_of(members), tarfile.SYMTYPE, "/etc/passwd"))
    ),
    "a hard link": lambda members: written(for_export(members, link_of_export(tarfile.LNKTYPE))),
    "a link before the file": lambda members: written(
        for_export(members, link_of_export(tarfile.SYMTYPE, "../outside"), members[number_of(members)])
    ),
    "a device": lambda members: written(for_export(members, member("export.jsonl", b"", tarfile.CHRTYPE))),
    "a pipe": lambda members: written(for_export(members, member("export.jsonl", b"", tarfile.FIFOTYPE))),
    "a folder": lambda members: written(
        for_export(members, member("export.jsonl", b"", tarfile.DIRTYPE), members[number_of(members)])
    ),
    "a long name": lambda members: written(
        for_export(members, member("x", b"../outside\0", tarfile.GNUTYPE_LONGNAME), members[number_of(members)])
    ),
    "other headers": lambda members: written(
        for_export(members, member("x", b"30 path=../outside\n", tarfile.XHDTYPE), members[number_of(members)])
    ),
    "a name twice": lambda members: written(
        with_manifest(
            [*members, members[number_of(members)]],
            lambda found: found["files"].append(found["files"][number_of(members) - 1]),
        )
    ),
    "a folder of the place in capitals": lambda members: written(
        with_manifest(
            [*members, member("run/restore-1/x", b""), member("run/Restore-1/y", b"")],
            lambda found: found["files"].extend(
                {"name": name, "what": "x", "size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
                for name in ("run/restore-1/x", "run/Restore-1/y")
            ),
        )
    ),
    "the log in capitals": lambda members: written(renamed(members, "run/LOG.JSONL")),
    "the place in capitals": lambda members: written(renamed(members, "RUN/export.jsonl")),
    "a file with the name of the place": lambda members: written(renamed(members, "Run")),
    "a path in the place": lambda members: written(renamed(members, "run/../outside")),
    "a folder of its own": lambda members: written(renamed(members, "other/export.jsonl")),
    "a folder too deep": lambda members: written(renamed(members, "run/a/b/c/export.jsonl")),
    "more files": lambda members: written([*members, member("more", b"x")]),
    "more bytes": lambda members: written(members) + b"x",
    "fewer files": lambda members: written(members[:-1]),
    "no end": lambda members: written(members, b""),
    "a changed byte of a file": lambda members: flipped(written(members), written(members).index(IDS[7].encode())),
    "a changed size": lambda members: written(with_export(members, size=1 << 20)),
    "a size that no archive holds": lambda members: written(with_export(members, size=1 << 50)),
    "another format": lambda members: written(with_manifest(members, lambda found: found.update(format=2))),
    "no manifest": lambda members: written(members[1:]),
    "a large manifest": lambda members: written([member(MANIFEST, b" " * (9 << 20)), *members[1:]]),
    "zeros without end": lambda members: written(members) + bytes(4 << 20),
    "a log that is none": lambda members: written(with_log(members, export_of(members))),
    "no log": lambda members: written(with_log_named(members, "run/other.jsonl")),
    "a host that looks like another": lambda members: written(with_host(members, "https://api.genauth.\u0430i")),
    "a config with a command": lambda members: written(with_config(members, b"[run]\non_event = 'true'\n")),
    "a config with a secret": lambda members: written(with_config(members, b"[genauth]\ncredentials_file = '/x'\n")),
    "a config with a table of another job": lambda members: written(with_config(members, b"[http]\nhost = 'x'\n")),
    "a config with a host": lambda members: written(with_config(members, b"[genauth]\nhost = 'https://x.example'\n")),
    "a config with a list of files": lambda members: written(
        with_config(members, b"[genauth]\nmore = [{token_file = '/x'}]\n")
    ),
    "a config that is no TOML": lambda members: written(with_config(members, b"[")),
    "an exclude list at an address": lambda members: written(with_option(members, "--exclude", "https://x.example/y")),
    "a file of another folder": lambda members: written(with_option(members, "--plan", "/etc/passwd")),
    "another run": lambda members: written(with_option(members, "--run", "export.jsonl")),
    "an option of the machine": lambda members: written(with_option(members, "--ca-file", "export.jsonl")),
    "a flag": lambda members: written(with_option(members, "--allow-absent")),
    "options that are none": lambda members: written(with_manifest(members, lambda found: found.update(options=[]))),
    "a plan of another host": lambda members: written(with_plan(members, {"--rate": ["5"]}, host="https://x.example")),
    "a plan with a command": lambda members: written(with_plan(members, {"--on-event": ["true"]})),
    "rubbish": lambda _: b"\0" * 512 + os.urandom(512),
    "nothing": lambda _: b"",
}


@pytest.fixture(scope="module")
def packed_run(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """The members of an archive."""
    folder = tmp_path_factory.mktemp("packed")
    with case(folder, IDS) as one:
        assert one.run("--limit", 50).code == 0
        assert bulkdel("pack", one.export, "--out", folder / "run.tar.gz").code == 0
    with tarfile.open(folder / "run.tar.gz") as archive:  # also that any tar can read it
        return [(info, archive.extractfile(info).read()) for info in archive]  # type: ignore[union-attr]


def unpacked(archive: Path) -> Any:
    """Unpack to the folder `new` beside it, with the checks of the command."""
    return unpack(archive, archive.parent / "new", check, lambda _size: None)


def test_an_archive_that_another_tar_has_written_is_the_same(packed_run: Members, tmp_path: Path) -> None:
    archive = tmp_path / "run.tar.zst"
    archive.write_bytes(zstandard.compress(written(packed_run)))
    assert unpacked(archive).manifest.machine == socket.gethostname()
    assert set(bytes_in(tmp_path / "new")) == {info.name for info, _ in packed_run}


def test_a_plan_with_the_options_of_its_list_is_accepted(packed_run: Members, tmp_path: Path) -> None:
    archive = tmp_path / "run.tar.zst"
    archive.write_bytes(zstandard.compress(written(with_plan(packed_run, {"--rate": ["5"]}))))
    assert unpacked(archive).manifest.machine == socket.gethostname()


@mutant(
    "unpack does not say that the own config does not count",
    "_print_end",
    swap('line.options.get("--config", ()) if own else ()', 'line.options.get("--config", ()) if not own else ()'),
)
def test_unpack_says_that_the_own_config_does_not_count(packed_run: Members, tmp_path: Path) -> None:
    """Only where there is one, and where the archive has one too."""
    archive, own = tmp_path / "run.tar.zst", tmp_path / "own.toml"
    own.write_text("[protect]\nrate_max = 5\n")
    packed = with_config(packed_run, b"[genauth]\nbrand = 'authing'\n")
    cases = ((packed, own, True), (packed, None, False), (packed_run, own, False))
    for number, (members, config, told) in enumerate(cases):
        archive.write_bytes(zstandard.compress(written(members)))
        new = tmp_path / f"new{number}"
        done = bulkdel("unpack", archive, "--to", new, env={"BULKDEL_CONFIG": str(config)} if config else {})
        place = f"{new / 'c.toml'} in the place of your {own}"
        sentence = f"The command reads {place}: your [run] and [protect] do not count there."
        assert (done.code, sentence in done.err) == (0, told), done


@mutant(
    "unpack reads a file that only the log of the archive names",
    "_here",
    swap("folder / packed", 'folder / str(value.get("path"))'),
)
def test_a_file_of_the_job_is_read_from_the_archive_alone(tmp_path: Path) -> None:
    """The log names the file of the first machine. It is gone, a pipe lies there, or the log names none."""
    first, ids = tmp_path / "first", IDS[:20]
    first.mkdir()
    export, backup, archive = write_objects(first / "users.jsonl", ids), first / "b.jsonl", tmp_path / "run.tar.gz"
    backup.write_text("".join(json.dumps({"userId": each, "status": "Activated"}) + "\n" for each in ids))
    with sandbox(ids) as served:
        for number in range(len(ids)):
            served.pool.change(number, {"status": "Suspended"}, "2024-01-01T00:00:00.000Z")
        options = ("--host", served.url, "--rate", 0, "--from-backup", backup, "--chunk-size", 10, "--limit", 10)
        ran = bulkdel("run", "enable-users", export, *options, "--confirm", 20, "--pool", POOL)
        assert ran.code == 0, ran
        assert bulkdel("pack", export, "--out", archive).code == 0
        told = f"The command sends these credentials to {served.url}: {', '.join(KEYS)}\n"
        backup.unlink()
        done = bulkdel("unpack", archive, "--to", tmp_path / "gone")
        assert (done.code, told in done.err) == (0, True), done
        os.mkfifo(backup)
        done = bulkdel("unpack", archive, "--to", tmp_path / "new")
        assert (done.code, told in done.err) == (0, True), done
        ran = bulkdel(*command_in(done.err)[1:], "--confirm", 20, "--pool", POOL, cwd=tmp_path)
        assert ran.code == 0, ran
        assert {served.pool.user(number)["status"] for number in range(len(ids))} == {"Activated"}
        verified = bulkdel("verify", tmp_path / "new" / PLACE, "--host", served.url, "--rate", 0)
        assert verified.code == 0, verified
    with tarfile.open(archive) as file:
        members = [(info, file.extractfile(info).read()) for info in file]  # type: ignore[union-attr]
    archive.write_bytes(gzip.compress(written(with_parameters(members, {"from_backup": {}, "status": None}))))
    done = bulkdel("unpack", archive, "--to", tmp_path / "forged")
    assert (done.code, "header entry lacks or garbles a member: " in done.err) == (3, True), done
    assert not (tmp_path / "forged").exists()


def with_parameters(members: Members, parameters: Mapping[str, Any]) -> Members:
    """Other parameters in the header of the log."""
    return with_header(members, lambda header: header.update(parameters=dict(parameters)))


def with_host(members: Members, host: str) -> Members:
    """Another host, in the log."""
    return with_header(members, lambda header: header["pinned"].update(host=host))


def with_header(members: Members, change_header: Callable[[dict[str, Any]], None]) -> Members:
    """A log with another header, whose checksums are made anew."""
    data = members[number_of(members, PACKED_LOG)][1]
    return with_log(members, changed_log(data, lambda entry: _with(entry, change_header)))


def with_log(members: Members, data: bytes) -> Members:
    """Other bytes of the log, in the manifest and in the archive."""
    at = number_of(members, PACKED_LOG)

    def change(found: dict[str, Any]) -> None:
        found["files"][at - 1].update(size=len(data), sha256=hashlib.sha256(data).hexdigest())

    return [*with_manifest(members, change)[:at], member(PACKED_LOG, data), *members[at + 1 :]]


def with_log_named(members: Members, name: str) -> Members:
    """Another name of the log, in the manifest and in the archive."""
    at = number_of(members, PACKED_LOG)
    there = with_manifest(members, lambda found: found["files"][at - 1].update(name=name))
    return [*there[:at], member(name, members[at][1]), *members[at + 1 :]]


def _with(entry: dict[str, Any], change_header: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    if entry["type"] == "header":
        change_header(entry)
    return entry


@mutant(
    "unpack does not say that only the archive names the host",
    "_credentials",
    swap("[] if own else [only_there]", "[only_there] if own else []"),
)
def test_unpack_says_that_only_the_archive_names_the_host(packed_run: Members, tmp_path: Path) -> None:
    archive, host = tmp_path / "run.tar.zst", host_of(packed_run)
    for number, (named, told) in enumerate(((host, True), ("https://api.genauth.ai", False))):
        archive.write_bytes(zstandard.compress(written(with_host(packed_run, named))))
        done = bulkdel("unpack", archive, "--to", tmp_path / f"new{number}", env={})
        assert (done.code, f"{named} is not the host of delete-users." in done.err) == (0, told), done


@mutant(
    "a key in a packed config makes a line of its own",
    "GenAuthJob.target",
    swap(
        'f"config, [genauth] {shown(name)}: knows {knows}, each a string"',
        'f"config, [genauth] {name}: knows {knows}, each a string"',
    ),
    case="genauth",
)
@pytest.mark.parametrize("table", ["genauth", "protect"])
def test_a_key_in_the_config_of_an_archive_makes_no_line(packed_run: Members, tmp_path: Path, table: str) -> None:
    """Neither where it is unpacked, nor where its command is typed."""
    archive, new = tmp_path / "run.tar.zst", tmp_path / "new"
    config = f"[{table}]\n{json.dumps(f'{FAKE}{chr(10)}{FAKE}')} = 'x'\n".encode()
    archive.write_bytes(zstandard.compress(written(with_config(packed_run, config))))
    done = bulkdel("unpack", archive, "--to", new, env=KEYS)
    assert (done.code, (new / "c.toml").exists()) == (0, True), done
    ran = bulkdel("plan", "delete-users", "export.jsonl", "--config", "c.toml", cwd=new, env=KEYS)
    assert (ran.code, harmless(ran.err)) == (2, True), ran
    assert harmless(done.err, ran.err), (done, ran)


def test_a_config_without_options_and_secrets_is_accepted(packed_run: Members, tmp_path: Path) -> None:
    archive = tmp_path / "run.tar.zst"
    archive.write_bytes(zstandard.compress(written(with_config(packed_run, b"[genauth]\nbrand = 'authing'\n"))))
    assert unpacked(archive).manifest.options == {"--config": ("c.toml",)}


@mutant(
    "the host of an archive looks like another",
    "check_host",
    swap("host.isascii()", "host.isprintable()"),
)
@mutant(
    "a config of an archive has a host",
    "check_config",
    swap("HOST in table", "HOST in name"),
)
@mutant(
    "an archive with a changed byte is unpacked",
    "_Stream.file",
    swap("digest.hexdigest() != packed.sha256", "len(digest.hexdigest()) != len(packed.sha256)"),
)
@mutant(
    "a link in an archive is taken for a file",
    "_Stream._header",
    swap("info.type != tarfile.REGTYPE or info.size < 0", "info.size < 0"),
)
@mutant(
    "an archive holds more than its manifest says",
    "_Stream.end",
    swap("any(block) or zeros > PADDING_MAX", "zeros > PADDING_MAX"),
)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(packed_run: Members, tmp_path: Path, name: str) -> None:
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    archive = home / "run.tar.zst"
    archive.write_bytes(zstandard.compress(HOSTILE[name](packed_run)))
    with pytest.raises(NotAcceptable) as refused:
        unpacked(archive)
    assert "\x1b" not in str(refused.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink()] == [archive]
    assert [path.name for path in home.iterdir()] == [archive.name]


@pytest.mark.parametrize(
    "name",
    [
        *("a path", "a symbolic link", "a changed byte of a file", "a config with a command", "a config with a host"),
        *("a plan with a command", "another run", "a flag", "a host that looks like another"),
    ],
)
def test_the_command_refuses_a_hostile_archive(packed_run: Members, tmp_path: Path, name: str) -> None:
    archive = tmp_path / "run.tar.zst"
    archive.write_bytes(zstandard.compress(HOSTILE[name](packed_run)))
    ran = bulkdel("unpack", archive, "--to", tmp_path / "new", env={})
    assert (ran.code, "To go on" in ran.out + ran.err, list(tmp_path.iterdir())) == (3, False, [archive]), ran


@mutant(
    "unpack removes a folder that looks like a part",
    "_remove_parts",
    swap("(left / MANIFEST).exists() or not any(left.iterdir())", "left.exists()"),
)
def test_unpack_removes_only_what_a_killed_unpack_has_left(packed_run: Members, tmp_path: Path) -> None:
    """A folder with another name, and one with other files, belong to a person."""
    mine, similar = tmp_path / ".run.my-own-notes.part", tmp_path / ".run.abcd1234.part"
    left, empty = tmp_path / ".run.a_b_c_d_.part", tmp_path / ".run.x1y2z3w4.part"
    for folder in (mine, similar, left, empty):
        folder.mkdir()
    for file in (mine / "notes.txt", similar / "notes.txt", left / MANIFEST):
        file.write_text("kept")
    archive = tmp_path / "run.tar.gz"
    archive.write_bytes(b"junk")
    assert bulkdel("unpack", archive, "--to", tmp_path / "run", env={}).code == 3
    assert all(folder.exists() for folder in (mine, similar, left, empty)), "it is removed once an archive is accepted"
    archive.write_bytes(gzipped(packed_run))
    ran = bulkdel("unpack", archive, "--to", tmp_path / "run", env={})
    assert (ran.code, left.exists(), empty.exists()) == (0, False, False), ran
    assert [(folder / "notes.txt").exists() for folder in (mine, similar)] == [True, True]


@pytest.mark.parametrize("at", [10, 2_000, -40, -6])
def test_an_archive_with_a_changed_byte_is_refused(packed_run: Members, tmp_path: Path, at: int) -> None:
    for name, packed in (("run.tar.zst", zstandard.compress(written(packed_run))), ("run.tar.gz", gzipped(packed_run))):
        folder = tmp_path / name
        folder.mkdir()
        archive = folder / name
        archive.write_bytes(flipped(packed, at % len(packed)))
        with pytest.raises(NotAcceptable):
            unpacked(archive)
        assert [path.name for path in folder.iterdir()] == [name]


def gzipped(members: Members) -> bytes:
    return gzip.compress(written(members))


def test_a_bomb_is_refused_after_few_bytes(packed_run: Members, tmp_path: Path) -> None:
    """64 MiB of zeros in place of the export, and no manifest that says so."""
    archive = tmp_path / "run.tar.zst"
    archive.write_bytes(zstandard.compress(written(packed_run[: number_of(packed_run)], b"") + bytes(256 << 20)))
    assert archive.stat().st_size < 100_000
    with pytest.raises(NotAcceptable):
        unpacked(archive)
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_a_folder_with_the_name_of_the_runs_of_an_export_is_refused(packed_run: Members, tmp_path: Path) -> None:
    """What lies beside such a folder would count as a file of the run."""
    archive = tmp_path / "users.runs.tar.gz"
    archive.write_bytes(gzipped(packed_run))
    for more in ((), ("--to", tmp_path / "new.runs")):
        refused = bulkdel("unpack", archive, *more, cwd=tmp_path)
        assert (refused.code, "Name another: --to FOLDER" in refused.err) == (2, True), refused
    assert list(tmp_path.iterdir()) == [archive]


def test_what_a_killed_command_has_left_goes(packed_run: Members, tmp_path: Path) -> None:
    archive = tmp_path / "run.tar.zst"
    archive.write_bytes(zstandard.compress(written(packed_run)))
    killed, living = tmp_path / ".new.abcd1234.part", tmp_path / ".new.efgh5678.part"
    for folder in (killed, living):
        folder.mkdir()
        for name in (MANIFEST, "users.csv"):
            (folder / name).write_text("personal")
    fd = os.open(living, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    unpacked(archive)
    os.close(fd)
    assert (killed.exists(), living.exists()) == (False, True)


def test_a_folder_that_is_there_is_never_touched(packed_run: Members, tmp_path: Path) -> None:
    archive, there = tmp_path / "run.tar.zst", tmp_path / "new"
    archive.write_bytes(zstandard.compress(written(packed_run)))
    elsewhere_ = tmp_path / "elsewhere"
    elsewhere_.mkdir()
    there.symlink_to(elsewhere_)
    with pytest.raises(NotAcceptable, match="is there already"):
        unpacked(archive)
    assert list(elsewhere_.iterdir()) == []
    there.unlink()
    there.parent.chmod(0o700)
    with pytest.raises(FileFailed, match="--to FOLDER"):
        unpack(archive, tmp_path / "no" / "new", lambda *_: None, lambda _: None)
