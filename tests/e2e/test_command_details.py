"""Small promises of the command line: what is printed where, what is refused and how, which file is meant."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.harness import (
    KEYS,
    POOL,
    bulkdel,
    case,
    finish,
    kill,
    names_in,
    sandbox,
    start,
    told_after,
    user_ids,
    write_objects,
)
from tests.mutants import mutant
from tests.places import log_of
from tests.syntax import swap

IDS = user_ids(60, seed=11)


# ── exclude lists ────────────────────────────────────────────────────────────────────────────────────────────────────


@mutant(
    "the exclude list of the config dropped",
    "with_all_kept",
    swap(
        '[*(settings.exclude or ()), *listed, *_texts(table, "exclude", \'["keep.jsonl"]\')]',
        "[*(settings.exclude or ()), *listed]",
    ),
)
def test_exclude_lists_add_up(tmp_path: Path) -> None:
    """Of the command line, the environment and the config: none of their ids is deleted, each file counts once."""
    keep = [write_objects(tmp_path / f"keep{n}.jsonl", IDS[n * 10 : n * 10 + 5]) for n in range(4)]
    config = tmp_path / "bulkdel.toml"
    config.write_text(f"[run]\nexclude = {[str(keep[2]), f'{tmp_path}/./keep0.jsonl']}\n")
    env = {**KEYS, "BULKDEL_EXCLUDE": f"{keep[1]}:{keep[3]}"}
    with case(tmp_path, IDS, options=("--rate", 0, "--config", config, "--exclude", keep[0])) as it:
        it.ids = 40
        ran = it.run("--limit", 20, env=env)
        assert ran.code == 0, ran.err
        for file in keep:
            assert ran.err.count(f"5 ids to keep in {file}") == 1
        ran = it.run(env=env)
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 40, "excluded": 20}
        kept = {id_ for id_ in IDS if it.served.pool.find_alive("user_id", id_) is not None}
        assert kept == {id_ for n in range(4) for id_ in IDS[n * 10 : n * 10 + 5]}


def test_an_exclude_list_that_is_none(tmp_path: Path) -> None:
    """Also when the command line names another file."""
    export, keep = write_objects(tmp_path / "e.jsonl", IDS), write_objects(tmp_path / "keep.jsonl", IDS[:5])
    (tmp_path / "c.toml").write_text("[run]\nexclude = [5]\n")
    ran = bulkdel("plan", "delete-users", export, "--config", tmp_path / "c.toml", "--exclude", keep, env={})
    assert ran.code == 2, ran.err


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--exclude", ""), "--exclude is empty"),
        (("--max-refused", "\u0663%"), "write a number of ids, or a share of them like 1%"),
    ],
)
def test_what_is_refused_says_what_to_write(options: tuple[str, str], said: str, tmp_path: Path) -> None:
    export = write_objects(tmp_path / "e.jsonl", IDS)
    ran = bulkdel("plan", "delete-users", export, *options, env={})
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_what_kubernetes_sets_is_ignored(tmp_path: Path) -> None:
    """By `plan`, which refuses any other unknown variable, and by `sandbox`, which has an option --port."""
    export = write_objects(tmp_path / "e.jsonl", IDS)
    service = {
        "BULKDEL_PORT": "tcp://10.0.0.1:80",
        "BULKDEL_PORT_80_TCP": "tcp://10.0.0.1:80",
        "BULKDEL_PORT_80_TCP_ADDR": "10.0.0.1",
        "BULKDEL_SERVICE_HOST": "10.0.0.1",
        "BULKDEL_SERVICE_PORT": "80",
        "BULKDEL_SERVICE_PORT_HTTP": "80",
    }
    assert bulkdel("plan", "delete-users", export, env=service).code == 0
    ran = bulkdel("plan", "delete-users", export, env={**service, "BULKDEL_PORTS": "1"})
    assert (ran.code, "BULKDEL_PORTS" in ran.err) == (2, True)
    process = start("sandbox", "--users", 1, env=service)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["url"].startswith("http://")
    process.terminate()
    assert finish(process).code == 0


def test_a_protected_pool_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'[protect]\npools = [" {POOL.upper()}"]\n')
    with case(tmp_path, IDS) as it:
        ran = it.run("--config", tmp_path / "c.toml")
        assert ran.code == 3, ran.err
        assert it.served.ledger.deleted == 0


# ── what is printed ──────────────────────────────────────────────────────────────────────────────────────────────────


@mutant(
    "an option that is gone is only called unknown",
    "_check_gone",
    swap("option_of(old) in typed", "old in typed"),
)
def test_an_old_name_of_an_option_is_refused_with_the_new_one(tmp_path: Path) -> None:
    """On the command line, in the environment, and in the config."""
    export, config = write_objects(tmp_path / "e.jsonl", IDS), tmp_path / "c.toml"
    config.write_text("[run]\ntimeout_s = 5\n")
    run: Sequence[object] = ("run", "delete-users", export, "--sandbox")
    for words, env, said in (
        (("--drain-s", 5), {}, "--drain-s is gone. In its place: --drain"),
        (("--drain-s=5",), {}, "--drain-s is gone. In its place: --drain"),
        ((), {"BULKDEL_DRAIN_S": "5"}, "BULKDEL_DRAIN_S, which is gone. In its place: --drain"),
        (("--config", config), {}, "[run] timeout_s is gone. In its place: --timeout"),
        (("--on-invalid", "skip"), {}, "--on-invalid is gone. In its place: --skip-invalid N, or N%"),
        (("--max-delete", 5), {}, "--max-delete is gone. In its place: max_ids in the table [protect]"),
        ((), {"BULKDEL_MAX_DELETE": "5"}, "BULKDEL_MAX_DELETE, which is gone. In its place: max_ids"),
    ):
        ran = bulkdel(*run, *words, env=env)
        assert ran.code == 2, ran
        assert said in ran.err


@mutant(
    "a value of --backup is an unused token",
    "_is_value_of_backup",
    swap("unused or named", "named and not unused"),
)
@mutant(
    "a value of --backup in the config is only no bool",
    "_is_value_of_backup",
    swap("unused or named", "unused"),
)
def test_a_value_of_backup_is_refused_with_the_option_that_takes_one(tmp_path: Path) -> None:
    """It took one in earlier versions. Other errors are said as they are."""
    export, config = write_objects(tmp_path / "e.jsonl", IDS), tmp_path / "c.toml"
    config.write_text('[run]\nbackup = "b.zst"\n')
    job, to = ("delete-users", export), "--backup: takes no value, because the copies lie in the place of the run. "
    for words, env, said in (
        ((*job, "--backup", "b.zst"), {}, to),
        (("--backup", "b.zst", *job), {}, to),
        ((*job, "--backup=b.zst"), {}, to),
        ((*job, "--config", config), {}, to),
        (job, {"BULKDEL_BACKUP": "b.zst"}, to),
        (("--backup", *job, "more"), {}, "'more' is one word too many"),
        ((*job, "--backup", "--rate", "x"), {}, "Invalid value for --rate"),
    ):
        ran = bulkdel("run", *words, env=env)
        assert (ran.code, said in ran.err, "--backup-to" in ran.err) == (2, True, said is to), ran
    assert json.loads(bulkdel("run", *job, "--backup", "b", "--log-format", "json").err)["exit_code"] == 2


@mutant(
    "an option that is given twice is refused",
    "make_app",
    swap("Parameter(allow_repeating=True)", "Parameter()"),
)
def test_of_an_option_that_is_given_twice_the_last_one_counts(tmp_path: Path) -> None:
    """A list has all of them."""
    export = write_objects(tmp_path / "e.jsonl", IDS)
    keep = [write_objects(tmp_path / f"{at}.jsonl", [IDS[at]]) for at in range(2)]
    excluded = [word for file in keep for word in ("--exclude", file)]
    options = ("--sandbox", "--rate", 5, "--rate=9", "--trim", "--trim", *excluded, "--json")
    plan = bulkdel("plan", "delete-users", export, *options).summary
    assert (plan["rate"], plan["trim"]) == (9, True)
    assert [file["path"] for file in plan["exclude"]] == list(map(str, keep))


def test_the_plan_as_json(tmp_path: Path) -> None:
    """Its numbers are those of the run, its command runs as it stands, and no id of the export is in it."""
    keep = write_objects(tmp_path / "keep.jsonl", IDS[:5])
    export = write_objects(tmp_path / "e.jsonl", [*IDS, IDS[7], "oops"])
    with sandbox(IDS) as served:
        options = ("--host", served.url, "--rate", 0, "--exclude", keep, "--skip-invalid", "10")
        ran = bulkdel("plan", "delete-users", export, *options, "--json")
        assert ran.code == 0, ran.err
        assert not [id_ for id_ in (*IDS, "oops") if id_ in ran.out]
        plan = json.loads(ran.out)
        numbers = {name: plan[name] for name in ("rows", "ids", "excluded", "duplicate", "invalid", "requests")}
        assert numbers == {"rows": 62, "ids": 55, "excluded": 5, "duplicate": 1, "invalid": 1, "requests": 2}
        assert (plan["pool"], plan["host"], plan["trouble"]) == (POOL, served.url, [])
        assert (plan["sample"]["asked"], plan["sample"]["found"]) == (55, 55)
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (keep, export)]
        (excluded,) = plan["exclude"]
        file = {"path": str(keep), "ids": 5, "sha256": digests[0], "column": None, "id_type": "user_id"}
        assert {name: excluded[name] for name in file} == file
        assert plan["sha256"] == digests[1]
        assert [note["rows"] for note in plan["notes"]] == [1, 1]
        assert plan["command"][0] == "bulkdel"
        done = bulkdel(*plan["command"][1:])
        assert done.code == 0, done.err
        assert served.ledger.deleted == 55
        again = json.loads(bulkdel("plan", "delete-users", export, *options, "--json").out)
        assert (again["trouble"], again["command"]) == (["run_exists"], None)


def test_the_run_of_an_export(tmp_path: Path) -> None:
    """Commands that take a run take the export too, and say which one they read: not that of the sandbox."""
    with case(tmp_path, IDS) as it:
        practised = bulkdel("run", "delete-users", it.export, "--sandbox", "--rate", 0, "--limit", 5, env={})
        assert practised.code == 0, practised.err
        ran = bulkdel("status", it.export, "--json")
        assert f"The run of {it.export} is {log_of(it.export, sandbox=True).parent}." in ran.err
        assert ran.summary["deleted"] == 5
        assert it.run().code == 0
        it.served.pool.add_ids(user_ids(1, seed=12))
        for words in (["status"], ["status", "--audit"], ["results"], ["verify", "--host", it.served.url]):
            ran = bulkdel(*words, it.export)
            assert ran.code == 0, ran.err
            assert f"The run of {it.export} is {it.place} (there is also " in ran.err
        assert bulkdel("status", tmp_path / "nothing").code == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_result_that_cannot_be_printed(tmp_path: Path) -> None:
    """Exit 5 and a message; a reader that has gone is no failure."""
    with case(tmp_path, IDS) as it:
        assert it.run().code == 0
        it.served.pool.add_ids(user_ids(1, seed=12))
        plan = ("plan", "delete-users", it.export, "--host", it.served.url)
        reading = (
            ("status", it.log),
            ("status", "--audit", it.log),
            ("results", it.log),
            ("verify", it.log, "--host", it.served.url),
        )
        commands: list[tuple[object, ...]] = [*reading, plan, ("jobs",), ("--version",)]
        for words in commands:
            with Path("/dev/full").open("w") as full:
                ran = bulkdel(*words, stdout=full)
            assert ran.code == 5, (words, ran.err)
            assert "stdout: No space left on device" in ran.err
            assert "Traceback" not in ran.err


def test_the_ending_of_a_report(tmp_path: Path) -> None:
    """One that promises another format is refused, unless the format is said."""
    with case(tmp_path, IDS) as it:
        assert it.run("--limit", 5).code == 0
        for name in ("r.xls", "r.html", "r.CSV", "r.txt"):
            more = ("--format", "csv") if name == "r.txt" else ()
            ran = bulkdel("results", it.log, "--out", tmp_path / name, *more)
            refused = name in {"r.xls", "r.html"}
            assert ran.code == (2 if refused else 0), ran.err
            assert (tmp_path / name).exists() is not refused
            if refused:
                assert ".jsonl or .csv" in ran.err
            else:
                assert (tmp_path / name).read_text().startswith("position,")


# ── a pipe ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_kill_while_a_pipe_is_read_leaves_nothing(tmp_path: Path) -> None:
    """Nothing with ids in it stays behind, and the next rows are those of the run."""
    data = b"".join(json.dumps({"id": id_}).encode() + b"\n" for id_ in IDS)
    with sandbox(IDS) as served:
        confirmed, place = ("--confirm", len(IDS), "--pool", POOL), tmp_path / "run"
        args = ("run", "delete-users", "-", "--host", served.url, "--run", place, *confirmed)
        first = start(*args, stdin=subprocess.PIPE)
        assert first.stdin is not None
        first.stdin.write(data[:200] * 1_000)  # more than a pipe holds: the command reads it, and has its handlers
        first.stdin.flush()
        assert "bytes so far" in told_after(first, "copying the export from a pipe")
        kill(first)  # while its pipe is open
        assert list(tmp_path.iterdir()) == []
        again = bulkdel(*args, input=data)
        assert again.code == 0, again.err
        assert served.ledger.sent_times() == {1: len(IDS)}
        assert names_in(place) == ["log.jsonl"]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such names")
def test_a_folder_that_cannot_be_named(tmp_path: Path) -> None:
    """Neither its name in the log nor the command that goes on could be typed."""
    folder = tmp_path / "b\udcfcro"
    folder.mkdir()
    write_objects(folder / "e.jsonl", IDS)
    ran = bulkdel("run", "delete-users", "e.jsonl", "--sandbox", env={}, cwd=folder)
    assert ran.code == 2, ran.err
    assert "is not UTF-8" in ran.err
    assert os.listdir(folder) == ["e.jsonl"]  # noqa: PTH208 - names as they are
