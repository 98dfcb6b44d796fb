"""What a message says to a tired person: what is wrong, where, and what to do. Each through the real command."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.examples import one_in
from tests.harness import (
    COMMAND,
    POOL,
    bulkdel,
    case,
    environment,
    finish,
    kill,
    start,
    user_ids,
    write_objects,
)
from tests.mutants import mutant
from tests.places import log_of
from tests.syntax import negate, swap

IDS = user_ids(60, seed=25)
RECORDS_WANTED = "Write one JSON object a line, each a whole record, as --backup keeps them."


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with an export, exclude files and a run that is complete."""
    write_objects(tmp_path / "users.jsonl", IDS)
    (tmp_path / "vips.csv").write_text(f"Name,E-Mail\nx,{IDS[0]}\n")
    (tmp_path / "vips.xlsx").write_bytes(b"PK")
    (tmp_path / "ids.txt").write_text("".join(f"{each}\n" for each in IDS))
    (tmp_path / "blank.csv").write_text('id\n"   "\n' + "".join(f"{each}\n" for each in IDS))
    return tmp_path


TEXTS: dict[str, tuple[Any, ...]] = {
    "an exclude file with a wrong type": (
        ["plan", "delete-users", "users.jsonl", "--exclude", "vips.csv:E-Mail:mail"],
        2,
        "--exclude vips.csv:E-Mail:mail: 'mail' is no id type; they are ",
        "Did you mean email?",
    ),
    "an exclude workbook with a wrong type": (
        ["plan", "delete-users", "users.jsonl", "--exclude", "vips.xlsx:E-Mail:mail"],
        2,
        "--exclude vips.xlsx:E-Mail:mail: 'mail' is no id type; they are ",
        "Did you mean email?",
    ),
    "an id type": (["plan", "delete-users", "users.jsonl", "--id-type", "userid"], 2, "Did you mean user_id?"),
    "a job": (["plan", "delete-user", "users.jsonl"], 2, "no job 'delete-user'. Did you mean delete-users? Jobs: "),
    "a file": (
        ["plan", "delete-users", "user.jsonl"],
        3,
        "user.jsonl: No such file or directory.",
        "mean users.jsonl?",
    ),
    "no file like it": (["plan", "delete-users", "zzz"], 3, "Check the name and its permissions.\n"),
    "arguments the wrong way round": (
        ["run", "users.jsonl", "delete-users"],
        2,
        "'users.jsonl' is a file, and not a job. Write the job first, then the export.",
    ),
    "ids for a job of records": (
        ["plan", "restore-users", "ids.txt", "--passwords", "none"],
        3,
        RECORDS_WANTED,
        "`bulkdel restore RUN --plan` makes such a file",
    ),
    "only spaces": (["plan", "delete-users", "blank.csv"], 3, "line 2: '\"   \"': an empty id. Nothing was sent"),
    "a folder": (["status", "."], 3, ".: is a folder without a run"),
}


@mutant(
    "an exclude file with a wrong type is said to be missing",
    "_check_type",
    negate("os.path.lexists(path)"),
    case="an exclude file with a wrong type",
)
@mutant(
    "a list of ids for a job of records is asked for ids",
    "_resolve_jsonl",
    swap(
        '(NO_RECORD, RECORDS) if options.whole else (why.words, "Write one id or one object a line.")',
        '(why.words, "Write one id or one object a line.")',
    ),
    case="ids for a job of records",
)
@mutant(
    "an id of spaces is said to have spaces around it",
    "IdCheck.check",
    swap("not bare", "not id_"),
    case="only spaces",
)
@pytest.mark.parametrize("name", TEXTS)
def test_a_refusal_says_what_is_wrong_and_what_to_do(name: str, place: Path) -> None:
    words, code, *said = TEXTS[name]
    ran = bulkdel(*words, cwd=place, env={})
    assert ran.code == code, ran
    for each in said:
        assert each in ran.err, ran.err
    assert "takes them off" not in ran.err


@mutant(
    "an export with several runs does not name them",
    "find_run",
    swap("len(runs) > 1", "not runs"),
)
@mutant(
    "the word done is no outcome of a deletion",
    "kinds_of",
    swap("wanted - set(names.values()) - names.keys()", "wanted - set(names.values())"),
)
def test_an_export_with_several_runs_names_them_and_done_is_an_outcome(place: Path) -> None:
    """So does the folder with the runs."""
    runs = [log_of(place / "users.jsonl", job, sandbox=True).parent for job in ("delete-users", "disable-users")]
    for run in runs:
        job = run.name.removesuffix(".sandbox")
        assert bulkdel("run", job, "users.jsonl", "--sandbox", "--rate", 0, cwd=place, env={}).code == 0
    for path in (place / "users.jsonl", runs[0].parent):
        packed = bulkdel("pack", path, "--out", place / "run.tar.gz")
        named = f"{path}: has several runs. Name one of them: {', '.join(map(str, runs))}\n" in packed.err
        assert (packed.code, named) == (3, True), packed
    for word in ("done", "deleted"):
        results = bulkdel("results", runs[0], "--only", word)
        assert (results.code, len(results.out.splitlines())) == (0, 60), results


@mutant(
    "until is called by the name of an option",
    "check_change",
    swap('until_of(cast("str", value), now, "until")', 'until_of(cast("str", value), now)'),
)
def test_until_is_named_where_it_was_typed(tmp_path: Path) -> None:
    with case(tmp_path, IDS, options=("--rate", 5, "--chunk-size", 1)) as it:
        process = it.start()
        it.wait_until_deleted(1)
        refused = bulkdel("ctl", it.log, "until", "25:00")
        assert (refused.code, "until '25:00': is no time of day; write 06:00" in refused.err) == (2, True), refused
        kill(process)


@mutant(
    "a plan does not try the folders of the run",
    "check_folder",
    swap("tempfile.TemporaryFile(dir=folder)", "tempfile.TemporaryFile()"),
)
def test_a_plan_tries_what_the_run_writes_and_leaves_nothing(place: Path) -> None:
    """A folder that is missing, and one that takes no file: the run would end with the same codes."""
    (place / "bad.jsonl").write_text((place / "users.jsonl").read_text() + '{"id":"x"}\n')
    before = sorted(path.name for path in place.iterdir())
    for options, code, said in (
        (["users.jsonl", "--backup-to", "none/b.jsonl"], 2, "--backup-to none/b.jsonl: the folder "),
        (
            ["users.jsonl", "--backup-to", "/proc/b.jsonl"],
            5,
            "--backup-to /proc/b.jsonl: the folder /proc takes no file: ",
        ),
        (["users.jsonl", "--run", "/proc/log"], 5, "--run /proc/log: the folder /proc takes no file: "),
        (["users.jsonl", "--run", "file:///proc/x/y"], 2, "--run file:///proc/x/y: the folder "),
        (["users.jsonl", "--backup-to", "b.jsonl"], 0, ""),
        (["bad.jsonl", "--skip-invalid", "10"], 0, ""),
    ):
        ran = bulkdel("plan", "delete-users", *options, cwd=place, env={})
        assert (ran.code, said in ran.err) == (code, True), ran
        assert sorted(path.name for path in place.iterdir()) == before


@mutant(
    "a resume asks for the number of the whole export",
    "_confirm",
    swap("str(plan.remaining)", "str(plan.ids)"),
)
@mutant(
    "the plan of a resume shows the number of the whole export",
    "size_of_the_work",
    swap(
        "f\"{up_to}{counted(plan.remaining, 'id')}{all_ids} in {counted(requests, 'request')}{first} {pace}{lasts}\"",
        "f\"{up_to}{counted(plan.ids, 'id')}{all_ids} in {counted(requests, 'request')}{first} {pace}{lasts}\"",
    ),
)
def test_a_resume_shows_and_asks_for_what_remains(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        assert it.run("--limit", 10, "--chunk-size", 5).code == 0
        words = ["delete-users", it.export, "--host", it.served.url, "--rate", 0]
        plan = bulkdel("plan", *words)
        assert "to delete  50 ids that remain of 60, in 1 request" in plan.out, plan.out
        planned = bulkdel("plan", *words, "--json", "--out", tmp_path / "p.json")
        assert planned.summary["remaining"] == 50
        approved, _, found = bulkdel("show", tmp_path / "p.json").out.partition("## What the plan showed")
        assert ("# delete-users: 60 ids in pool" in approved, "50 remaining" in found) == (True, True)
        unasked = bulkdel("run", *words)
        assert unasked.code == 2
        assert "(50 ids remain; --confirm takes the number of the whole run, 60)" in unasked.err
        other = bulkdel("run", *words, "--confirm", 50, "--pool", POOL)
        assert (other.code, f"--confirm 60 --pool {POOL}" in other.err.splitlines()[-1]) == (2, True), other
        ours, theirs = pty.openpty()
        process = start("run", *words, "--json", stdin=theirs)
        os.close(theirs)
        os.write(ours, b"50\n")
        ran = finish(process)
        os.close(ours)
        assert "to delete  50 ids that remain of 60, " in ran.err
        assert (ran.code, ran.counts()) == (0, {"deleted": 60}), ran


@mutant(
    "the job of the environment is ignored beside a plan",
    "check_job",
    swap("environ.get(JOB, plan.names[0])", "environ.get(JOB.lower(), plan.names[0])"),
)
def test_a_job_of_the_environment_that_is_not_that_of_the_plan_is_refused(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        words = ["--host", it.served.url, "--rate", 0]
        assert bulkdel("plan", "delete-users", it.export, *words, "--out", tmp_path / "p.json").code == 0
        env = {"BULKDEL_JOB": "kick-users"}
        ran = bulkdel("run", "--plan", tmp_path / "p.json", *words, env={**environment(), **env})
        assert (ran.code, it.served.pool.deleted) == (2, 0), ran
        assert "its job is delete-users, and BULKDEL_JOB is kick-users" in ran.err


@mutant(
    "the same values of an option in another order are another run",
    "_compared",
    swap("sorted(set(parameter))", "list(parameter)"),
)
def test_apps_in_another_order_are_the_same_run(tmp_path: Path) -> None:
    apps = ["--app", "5f0c9d2e7b1a4c0012340001", "--app", "5f0c9d2e7b1a4c0012340002"]
    with case(tmp_path, IDS, options=("--rate", 0)) as it:
        words = [
            "kick-users",
            it.export,
            "--host",
            it.served.url,
            "--confirm",
            60,
            "--pool",
            POOL,
            "--rate",
            0,
            "--json",
        ]
        assert bulkdel("run", *words, *apps, "--limit", 10).code == 0
        again = bulkdel("run", *words, *apps[2:], *apps[:2])
        assert again.code == 0, again
        other = bulkdel("run", *words, *apps[:2])
        assert (other.code, "--app: the log has " in other.err) == (3, True), other


@pytest.mark.parametrize("megabytes", one_in(3, [30, 45, 62]))
def test_a_start_without_enough_memory_is_no_bug(megabytes: int, place: Path) -> None:
    """Where it fails is chance: in the interpreter, in an import, in the program. It is called a bug nowhere."""
    command = [
        "sh",
        "-c",
        f'ulimit -v {megabytes * 1024} && exec "$@"',
        "sh",
        *COMMAND,
        "plan",
        "delete-users",
        "users.jsonl",
    ]
    done = subprocess.run(command, cwd=place, env=environment({}), capture_output=True, text=True, check=False)
    assert "bug in this program" not in done.stderr, done.stderr
    if "more memory" in done.stderr:
        assert done.returncode == 4


@pytest.mark.soak
def test_a_run_leaves_the_folder_of_no_keeper_behind(tmp_path: Path) -> None:
    """A keeper that was killed leaves its folder; the next run removes it."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    ids = user_ids(2_400)
    with case(tmp_path, ids, options=("--rate", 30, "--shards", 2)) as it:
        env = {**environment(), "TMPDIR": str(temporary)}
        process = subprocess.Popen(
            [*COMMAND, *map(str, it.args)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        it.wait_until_deleted(1)
        kill(process)
        (left,) = temporary.glob("bulkdel-????????")
        os.utime(left, (1, 1))
        it.options[1] = 0
        done = subprocess.run([*COMMAND, *map(str, it.args)], env=env, capture_output=True, check=False)
        assert (done.returncode, it.served.pool.deleted) == (0, 2_400), done.stderr
        assert list(temporary.iterdir()) == []
