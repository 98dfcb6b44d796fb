"""A plan that another user approves: written, shown, run and resumed by the real commands. The sandbox counts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import shlex
import signal
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from bulkdel.command_line import TO_TYPE
from bulkdel.core.plan_file import LINES, SHA256, VALID_S, sealed, text_of
from bulkdel.errors import NotConfirmed
from bulkdel.format import amount
from bulkdel.job import load_job
from bulkdel.library import Run
from bulkdel.safety.plan_from_file import PlanFile
from bulkdel.safety.run_plan import RunArguments
from bulkdel.settings import RunSettings
from bulkdel.world import World
from bulkdel_jobs.sandbox import Sandbox
from tests.e2e.test_texts_of_others import HOSTILE, harmless
from tests.examples import one_in
from tests.harness import (
    KEYS,
    POOL,
    Ran,
    bulkdel,
    entries,
    finish,
    sandbox,
    start,
    user_ids,
    wait_until,
    with_time_enough,
    write_objects,
)
from tests.mutants import mutant
from tests.places import log_of
from tests.syntax import swap

IDS = user_ids(600)
KEPT, GONE = IDS[:20], IDS[20:]


class Desk:
    """A folder with an export, an exclude file and a plan of them, for users that are in this folder."""

    def __init__(self, folder: Path, served: Sandbox) -> None:
        self.folder = folder
        self.served = served
        write_objects(folder / "users.jsonl", IDS)
        (folder / "keep.txt").write_text("".join(f"{each}\n" for each in KEPT))

    def __call__(self, *words: object, env: Mapping[str, str] | None = None) -> Ran:
        here = {**KEYS, "BULKDEL_HOST": self.served.url}
        return bulkdel(*words, cwd=self.folder, env={**here, **(env or {})})

    def plan(self, *options: object, out: str = "plan.json", env: Mapping[str, str] | None = None) -> Ran:
        words = ("plan", "delete-users", "users.jsonl", "--host", self.served.url, "--exclude", "keep.txt", "--rate", 0)
        return self(*words, "--out", out, *options, env=env)

    @property
    def file(self) -> Path:
        return self.folder / "plan.json"

    @property
    def log(self) -> Path:
        return log_of(self.folder / "users.jsonl")

    def refused(self, ran: Ran, *said: str) -> None:
        """The run was refused with these lines: exit 2, nothing deleted, no log."""
        assert ran.code == 2, (ran.out, ran.err)
        for line in said:
            assert line in ran.err
        assert "Traceback" not in ran.err
        assert self.served.pool.deleted == 0
        assert not self.log.exists()


@contextmanager
def desk(folder: Path, **switches: Any) -> Iterator[Desk]:
    with sandbox(IDS, **switches) as served:
        yield Desk(folder, served)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A plan that no test changes, and that no run may begin by."""
    with desk(tmp_path_factory.mktemp("planned")) as it:
        ran = it.plan("--limit", 500, env={"BULKDEL_MAX_REFUSED": "3"})
        assert ran.code == 0, ran.err
        yield it


@mutant(
    "a plan file has the ids that are shown as examples",
    "_sample",
    swap('"statuses": plan.server.statuses', '"statuses": {str(plan.server.found): 1}'),
)
def test_from_the_plan_to_the_report(tmp_path: Path) -> None:
    """Each step prints the next command. Only the export's ids are deleted, and both users are in the log."""
    with desk(tmp_path) as it:
        ran = it.plan("--as", "anna")
        assert ran.code == 0, ran.err
        assert stat.S_IMODE(it.file.stat().st_mode) == 0o600
        text = it.file.read_text()
        assert not [each for each in IDS if each in text]
        commands = [line.strip() for line in ran.out.splitlines() if line.startswith("  bulkdel ")]
        by_plan = f"bulkdel run --plan plan.json --host {it.served.url}"
        assert commands == ["bulkdel show plan.json", by_plan]
        shown = it("show", "plan.json")
        assert shown.code == 0, shown.err
        for part in (
            f"# delete-users: 580 ids in pool {POOL}\n",
            "580 ids of 600 rows (left out: 20 excluded)",
            "as anna (claimed)",
            "20 ids in `keep.txt`, SHA-256 ",
            "200 of 200 looked up exist",
            f"\n    {by_plan}\n",
            "- it sets:",
            "`--rate 0`, `--exclude keep.txt`\n",
        ):
            assert part in shown.out, part
        ran = bulkdel(*shlex.split(by_plan)[1:], "--as", "ben", "--rate", "5000", "--json", cwd=tmp_path)
        assert (ran.code, ran.counts()) == (0, {"deleted": 580, "excluded": 20}), ran.err
        assert ("Type the number" in ran.err, "Confirmed by plan.json, so nothing is asked." in ran.err) == (
            False,
            True,
        )
        assert it.served.pool.deleted == 580
        header, start = (
            next(each for each in entries(it.log) if each["type"] == kind) for kind in ("header", "session")
        )
        for confirmed in (header["confirmed"], start["confirmed"]):
            assert (confirmed["ids"], confirmed["pool"], confirmed["how"]) == (580, POOL, "plan")
            assert confirmed["plan"]["sha256"] == json.loads(text)[SHA256]
            assert confirmed["plan"]["planned_by"]["as"] == "anna"
        assert start["as"] == "ben"
        status = it("status", "users.jsonl").out
        assert "as anna (claimed), at " in status
        assert "as ben (claimed)" in status
        audit = it("status", "users.jsonl", "--audit").out
        assert f"sha256 {json.loads(text)[SHA256]}" in audit
        assert it("report", it.log, "--out", "report.json").code == 0
        told = json.loads((tmp_path / "report.json").read_text())["runs"][0]["confirmed"]
        assert told.startswith(f"580 ids in pool {POOL}, by a plan that was made by ")
        assert "anna (claimed)" in told


@mutant(
    "the age of a plan counts although the run has begun by it",
    "is_recorded",
    swap("plan.sha256", "plan.path"),
)
def test_the_same_command_resumes_long_after(tmp_path: Path) -> None:
    """A stopped run prints the command that goes on. The age of the plan counts until the log has begun by it."""
    with desk(tmp_path, latency_s=0.05) as it:
        assert it.plan("--concurrency", 1).code == 0
        process = start("run", "--plan", "plan.json", "--host", it.served.url, cwd=tmp_path)
        wait_until(lambda: it.served.pool.deleted > 0, process)
        process.send_signal(signal.SIGTERM)
        ran = finish(process)
        assert ran.code == 143, ran.err
        assert f"To go on:\n  bulkdel run --plan plan.json --host {it.served.url}\n" in ran.err
        assert 0 < it.served.pool.deleted < 580
        it.log.parent.rename(tmp_path / "run")
        assert "was valid until" in later(it)
        (tmp_path / "run").rename(it.log.parent)
        assert later(it) == "580 ids"
        words = shlex.split(ran.err.partition("To go on:\n  ")[2].splitlines()[0])
        again = it(*words[1:], "--json")
        assert (again.code, again.counts()) == (0, {"deleted": 580, "excluded": 20}), again.err
        assert it.served.pool.deleted == 580


def later(it: Desk) -> str:
    """Make the plan of the run a day and an hour after it was planned: the ids that it confirms, or the refusal."""

    async def plan() -> str:
        job = load_job("delete-users")
        settings = RunSettings(plan=it.file, host=it.served.url, exclude=[it.folder / "keep.txt"], rate=0)
        approved = PlanFile.read(it.file)
        arguments = RunArguments(job, str(it.folder / "users.jsonl"), settings, {}, KEYS, approved=approved)
        later = World(wall=lambda: time.time() + VALID_S + 3600)
        async with Run(arguments, world=later) as run:
            return f"{(await run.plan()).ids} ids"

    try:
        return asyncio.run(plan())
    except NotConfirmed as error:
        return str(error)


def rewritten(path: Path, **changes: Any) -> None:
    """Change members of a plan, with the seal of the changed ones."""
    values = json.loads(path.read_text())
    kept = {name: value for name, value in values.items() if name not in {LINES, SHA256}}
    path.write_text(text_of(sealed({**kept, **changes})))


@mutant(
    "an option of the environment is added to a plan",
    "_options",
    swap("MEANS | COMPARED | MAY_DIFFER", 'MEANS | COMPARED | MAY_DIFFER | {"trim"}'),
)
@pytest.mark.traced
@pytest.mark.parametrize(
    ("words", "env", "said"),
    one_in(
        2,
        [
            (["--limit", "600"], {}, "--limit: the plan has 500, now 600"),
            (["--allow-absent"], {}, "--allow-absent: the plan has none, now yes"),
            ([], {"BULKDEL_HOST": "http://127.0.0.1:9"}, "host: the plan has "),
            ([], {"BULKDEL_LIMIT": "600"}, "--limit: the plan has 500, now 600"),
            (["--only-status", "Suspended"], {}, "--only-status: the plan has none, now Suspended"),
            ([], {"BULKDEL_TRIM": "true"}, "--trim: the plan has none, now yes"),
            (["--backup-to", "copies.jsonl"], {}, "backup: the plan has none, now yes"),
            (["--exclude", "fewer.txt"], {}, "exclude keep.txt: the plan has it with SHA-256 "),
            (["--exclude", "fewer.txt"], {}, "exclude fewer.txt: the plan does not have it"),
            ([], {"BULKDEL_EXCLUDE": "fewer.txt"}, "exclude fewer.txt: the plan does not have it"),
            (["--config", "more.toml"], {}, "exclude fewer.txt: the plan does not have it"),
            (["--config", "protected.toml"], {}, "confirm_host: the plan has none, now 127.0.0.1"),
            (
                ["delete-users", "other.jsonl"],
                {},
                "export other.jsonl: is not the planned users.jsonl; ",
            ),
            (["other.jsonl"], {}, "export other.jsonl: is not the planned users.jsonl; "),
            (["kick-users", "users.jsonl"], {}, "job: the plan has delete-users, now kick-users"),
            (["bad.jsonl"], {}, "export bad.jsonl: is not the planned users.jsonl; "),
            (["--id-type", "email"], {}, "id_type: the plan has user_id, now email"),
            (["--confirm", "579", "--pool", POOL], {}, "--confirm 579"),
            (["--pool", "another"], {}, "--pool another"),
        ],
    ),
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_each_difference_is_refused(planned: Desk, words: list[str], env: dict[str, str], said: str) -> None:
    """Wherever it comes from: exit 2, its line, and the command that makes another plan. Nothing is deleted."""
    it, folder = planned, planned.folder
    (folder / "fewer.txt").write_text("".join(f"{each}\n" for each in KEPT[1:]))
    write_objects(folder / "other.jsonl", [*IDS[:-1], "0" * 21])
    (folder / "bad.jsonl").write_text("x" * 21_000)
    (folder / "more.toml").write_text('[run]\nexclude = ["fewer.txt"]\n')
    (folder / "protected.toml").write_text('[protect]\nhosts = ["127.0.0.1"]\n')
    ran = it("run", "--plan", "plan.json", *words, env=env)
    it.refused(ran, said)
    assert "bulkdel plan " in ran.err or "--confirm" in said or "--pool" in said


@mutant(
    "a session may settle more ids than the plan has",
    "_with_planned_limit",
    swap("limit > planned", "limit < 0"),
)
def test_a_smaller_step_than_the_planned_one_is_no_difference(tmp_path: Path) -> None:
    """Then the same command without it goes on as planned, and is confirmed by the plan."""
    with desk(tmp_path) as it:
        assert it.plan("--limit", 200).code == 0
        it.refused(it("run", "--plan", "plan.json", "--limit", 201), "--limit: the plan has 200, now 201")
        for limit, deleted, code in ((("--limit", 50), 50, 0), ((), 250, 0), (("--limit", 200), 450, 0)):
            ran = it("run", "--plan", "plan.json", *limit, "--rate", 0)
            assert (ran.code, it.served.pool.deleted) == (code, deleted), ran
        starts = [each for each in entries(it.log) if each["type"] == "session" and each["event"] == "start"]
        assert [start["limit"] for start in starts] == [50, 200, 200]
        assert [start["confirmed"]["how"] for start in starts] == ["plan"] * 3


@mutant(
    "a wrong number beside a plan prints a command that the plan confirms",
    "_how_to_confirm",
    swap("plan.arguments.approved is not None and plan.begun_by_me_or_new", "plan.ids < 0"),
)
def test_a_wrong_number_or_pool_beside_a_plan_prints_no_command(planned: Desk) -> None:
    """A limit that is no number, in a plan with its seal, is a difference."""
    for words in (("--confirm", 17, "--pool", POOL), ("--confirm", 580, "--pool", "another")):
        ran = planned("run", "--plan", "plan.json", *words)
        planned.refused(ran, "not confirmed: ", "The plan confirms by itself")
        assert "\n  bulkdel " not in ran.err, ran
    forged = planned.folder / "forged.json"
    forged.write_text(planned.file.read_text())
    rewritten(forged, options={**json.loads(forged.read_text())["options"], "limit": "x"})
    planned.refused(planned("run", "--plan", forged), "--limit: the plan has x, now 500")


@mutant(
    "an export that has changed is not named beside its plan",
    "check_export",
    swap(
        'f"export {arguments.export}: {what}; the planned one has SHA-256 {planned} ({size:,} bytes)"',
        'f"sha256: {what}; the planned one has SHA-256 {planned} ({size:,} bytes)"',
    ),
)
def test_another_export_of_the_same_size_and_rows_that_changed(planned: Desk) -> None:
    """All differences are named at once, and what is allowed to differ is not among them."""
    folder = planned.folder
    write_objects(folder / "twisted.jsonl", [*IDS[:-1], "f" * 24])
    ran = planned("run", "--plan", "plan.json", "twisted.jsonl", "--allow-absent", "--rate", 7, "--note", "CHG-1")
    planned.refused(
        ran, "export twisted.jsonl: is not the planned users.jsonl; ", "--allow-absent: the plan has none, now yes"
    )
    differences, _, commands = ran.err.partition("To run what was planned:\n")
    assert "rate" not in differences
    assert commands.splitlines()[0] == f"  bulkdel run --plan plan.json --host {planned.served.url}"


@mutant(
    "the SHA-256 of a file that only a plan names is shown",
    "check_export",
    swap(
        'f"export {arguments.export}: {what}; the planned one has SHA-256 {planned} ({size:,} bytes)"',
        'f"export {arguments.export}: was changed since. Its SHA-256 was {planned} {read.sha256}"',
    ),
)
def test_nothing_is_shown_of_a_file_that_only_a_plan_names(planned: Desk) -> None:
    """A plan may name any file. A hash of a short text tells the text, and a size tells much of it too."""
    folder, forged, text = planned.folder, planned.folder / "forged.json", b"hunter2, as a password"
    (folder / "pw.txt").write_bytes(text)
    forged.write_text(planned.file.read_text())
    command = json.loads(forged.read_text())["command"]
    for names, options in (
        (["delete-users", "pw.txt"], {}),
        (command["names"], {"--exclude": ["pw.txt"]}),
        (["enable-users", "users.jsonl"], {"--from-backup": ["pw.txt"]}),
    ):
        rewritten(forged, job=names[0], command={"names": names, "options": {**command["options"], **options}})
        ran = planned("run", "--plan", forged)
        planned.refused(ran, "the plan")
        assert hashlib.sha256(text).hexdigest() not in ran.out + ran.err, ran
        assert f"{len(text)} bytes" not in ran.out + ran.err, ran


@mutant(
    "a plan with an edited number is accepted",
    "values_of",
    swap("found != seal", 'found != seal and not values["numbers"]'),
)
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"ids": 580', '"ids": 58', "numbers.ids: 58 is not what was written"),
        ('"limit": 500', '"limit": 5000', "options.limit: 5,000 is not what was written"),
        ('"numbers": {', '"numbers": {\n    "ids": 5,', "ids: is there twice"),
        ('"job": "delete-users"', '"job": "\\ud800"', "job: \ufffd is not what was written"),
    ],
)
def test_an_edited_file_is_refused_before_anything_is_read(planned: Desk, old: str, new: str, said: str) -> None:
    """`run` and `show` name the line. No request is made."""
    edited, before = planned.folder / "edited.json", planned.served.ledger.requests
    text = planned.file.read_text()
    assert text.count(old) == 1
    edited.write_text(text.replace(old, new))
    planned.refused(planned("run", "--plan", edited), said)
    assert planned("show", edited).code == 2
    assert planned.served.ledger.requests == before


@mutant(
    "a number of a plan is not compared with the plan made anew",
    "APART",
    swap('{"exclude", "not_after", "sample", "digest"}', '{"exclude", "not_after", "sample", "digest", "numbers"}'),
)
def test_a_forged_number_is_compared_all_the_same(planned: Desk) -> None:
    """A seal can be made again. Then the plan that is made anew decides."""
    forged = planned.folder / "forged.json"
    forged.write_text(planned.file.read_text())
    rewritten(forged, numbers={**json.loads(forged.read_text())["numbers"], "rows": 700, "ids": 680})
    planned.refused(
        planned("run", "--plan", forged), "rows: the plan has 700, now 600", "ids: the plan has 680, now 580"
    )
    forged.write_text(planned.file.read_text())
    rewritten(forged, pool="another")
    planned.refused(planned("run", "--plan", forged), "pool: the plan has another, now ")


def test_no_text_of_a_plan_makes_a_line_of_its_own(planned: Desk) -> None:
    """Its summary, its pool and its key are the words of the one who wrote it."""
    forged = planned.folder / "forged.json"
    forged.write_text(planned.file.read_text())
    rewritten(forged, summary=HOSTILE, pool=HOSTILE, key=HOSTILE)
    for ran in (planned("show", forged), planned("run", "--plan", forged)):
        assert harmless(ran.out, ran.err), ran
    assert planned.served.pool.deleted == 0


@mutant("a plan says in its own words what it does", "shown_lines", swap("job.summary", 'values["summary"]'))
def test_a_plan_that_says_what_is_not_so(planned: Desk) -> None:
    """`show` leads with what a run compares, and with what the job says of itself. A new run is compared in full."""
    forged = planned.folder / "forged.json"
    forged.write_text(planned.file.read_text())
    lie = "look up users; changes nothing"
    rewritten(
        forged, summary=lie, shown=[["job", lie], ["going on", "579 rows have an outcome, 1 remaining"]], sample=None
    )
    shown = planned("show", forged).out
    approved, _, found = shown.partition("## What the plan showed\n\n")
    assert found.startswith("Only to be read: they are texts of this file, and no run compares them.\n")
    assert (lie in approved, "remaining" in approved) == (False, False), shown
    assert approved.startswith(f"# delete-users: 580 ids in pool {POOL}\n")
    assert "what:       delete users of a GenAuth" in approved
    assert "how many:   580 ids of 600 rows" in approved
    assert "1 remaining" in found
    planned.refused(planned("run", "--plan", forged), "sample: the plan has none, now 200 of 200 ids")


@mutant(
    "a word of a plan steers the terminal",
    "PlanFile.read",
    swap("any(map(steers, plan.words))", "any(map(steers, plan.names))"),
)
@pytest.mark.parametrize("option", ["--in-doubt", "--format", "--skip-invalid", "--id-pattern", "--rate"])
def test_no_word_of_a_plan_steers_the_terminal(planned: Desk, option: str) -> None:
    """Each value is quoted in a refusal, some of them in one of the library that parses the command."""
    forged = planned.folder / "forged.json"
    forged.write_text(planned.file.read_text())
    command = json.loads(forged.read_text())["command"]
    rewritten(forged, command={**command, "options": {**command["options"], option: [HOSTILE]}})
    for words in (("run", "--plan", forged), ("show", forged)):
        ran = planned(*words)
        planned.refused(ran, "not one line of printable characters")
        assert "evil" not in ran.out + ran.err
    forged.write_text(planned.file.read_text())
    rewritten(forged, command={**command, "names": ["delete-users", HOSTILE]})
    planned.refused(planned("run", "--plan", forged), "not one line of printable characters")


@mutant(
    "a plan sets an option of the machine",
    "FROM_PLAN",
    swap("_set_by(File.PLAN)", "_set_by(File.PLAN) | OF_THE_MACHINE"),
)
def test_a_plan_sets_no_option_of_the_machine(planned: Desk) -> None:
    """A plan with a command, made with its seal, is refused by `run` and by `show`, and the command is not run."""
    forged, proof = planned.folder / "forged.json", planned.folder / "proof"
    forged.write_text(planned.file.read_text())
    command = json.loads(forged.read_text())["command"]
    rewritten(forged, command={**command, "options": {**command["options"], "--on-event": [f"touch {proof}"]}})
    planned.refused(planned("run", "--plan", forged), "sets --on-event. No plan may")
    shown = planned("show", forged)
    assert (shown.code, "sets --on-event. No plan may" in shown.err) == (2, True), shown.out
    assert not proof.exists()


@mutant(
    "a run sends the key to the host that only a plan names",
    "check_planned_host",
    swap("arguments.settings.host is not None", "arguments.settings.host is None"),
)
def test_no_key_goes_to_a_host_that_only_a_plan_names(planned: Desk) -> None:
    """The other server counts no request. The refusal names the host; its command goes nowhere until it is typed."""
    forged = planned.folder / "forged.json"
    forged.write_text(planned.file.read_text())
    with sandbox(IDS) as other:
        rewritten(forged, host=other.url)
        ran = bulkdel("run", "--plan", forged, cwd=planned.folder)
        planned.refused(ran, f"names the host {other.url}, ", f"\n  bulkdel run --plan {forged} --host {TO_TYPE}\n")
        pasted = bulkdel(*shlex.split(ran.err.splitlines()[-1])[1:], cwd=planned.folder)
        planned.refused(pasted, TO_TYPE)
        assert other.ledger.requests == 0


@mutant(
    "an exclude file that the plan does not have is read",
    "check_files",
    swap('{"path": printable(path), "sha256": sha256}', 'approved.values["exclude"][0]'),
)
def test_a_file_is_read_only_if_the_plan_has_it(planned: Desk) -> None:
    """An exclude file with other bytes is not parsed, so that nothing of it is shown; nor is a pipe opened."""
    (planned.folder / "secret.txt").write_text("a secret\n")
    ran = planned("run", "--plan", "plan.json", "--exclude", "secret.txt")
    planned.refused(ran, "exclude secret.txt: the plan does not have it")
    assert "a secret" not in ran.err
    os.mkfifo(planned.folder / "pipe")
    planned.refused(planned("run", "--plan", "plan.json", "--exclude", "pipe"), "pipe: is not a regular file")
    planned.refused(planned("run", "--plan", "plan.json", "delete-users", "pipe"), "pipe: is not a regular file")


@mutant(
    "a plan of the day before yesterday begins a run",
    "age_fault",
    swap("VALID_S", "1e4 * VALID_S"),
)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"planned_at": "2026-01-01T00:00:00.000Z"}, "was valid until 2026-01-02T00:00:00.000Z"),
        ({"planned_at": "2099-01-01T00:00:00.000Z"}, "one of the clocks is wrong"),
        ({"not_after": "2026-01-01T00:00:00+00:00"}, "has passed"),
    ],
)
def test_too_old(planned: Desk, changes: dict[str, str], said: str) -> None:
    """The refusal has the command that makes another plan, and `show` says so too."""
    old = planned.folder / "old.json"
    old.write_text(planned.file.read_text())
    rewritten(old, **changes)
    ran = planned("run", "--plan", old)
    planned.refused(ran, said, "--out ")
    assert f"- valid:      no longer: {said}"[:22] in planned("show", old).out


@mutant(
    "a plan goes on after many of its accounts were deleted",
    "sample_difference",
    swap("SAMPLE_SHIFT", "3 * SAMPLE_SHIFT"),
)
def test_the_sample_has_changed_since(tmp_path: Path) -> None:
    """Half of the accounts are gone: the sample check would go on, the plan does not."""
    with desk(tmp_path) as it:
        assert it.plan().code == 0
        some = write_objects(tmp_path / "some.jsonl", GONE[:240])
        ran = bulkdel("run", "delete-users", some, "--host", it.served.url, "--confirm", 240, "--pool", POOL)
        assert ran.code == 0, ran.err
        ran = it("run", "--plan", "plan.json")
        assert (ran.code, it.served.pool.deleted) == (2, 240), ran.err
        assert "sample: of the ids that were looked up, the plan found 200 of 200, now 1" in ran.err


@mutant(
    "the sample of a plan does not count where all of its users are gone",
    "sample_difference",
    swap("abs(before - after) <= SAMPLE_SHIFT", "after == 0 or abs(before - after) <= SAMPLE_SHIFT"),
)
def test_a_plan_runs_once_more_in_another_place(tmp_path: Path) -> None:
    """Within its 24 hours it begins a run of its own. The sample refuses it as long as its users are gone."""
    with desk(tmp_path) as it:
        assert it.plan().code == 0
        gone, again = ("run", "--plan", "plan.json"), ("run", "--plan", "plan.json", "--run", "again")
        assert it(*gone).code == 0
        refused = it(*again)
        assert (refused.code, it.served.pool.deleted, (tmp_path / "again").exists()) == (2, 580, False), refused
        it.served.pool.add_ids(IDS)
        ran = it(*again)
        assert (ran.code, it.served.ledger.deleted) == (0, 2 * 580), ran
        assert {it.served.ledger.effects(id_) for id_ in IDS} == {0, 2}


@mutant(
    "a complete run takes any plan of its export",
    "_check_complete",
    swap("how is None", "how is not None"),
)
def test_a_complete_run_says_by_which_plan_it_was_run(tmp_path: Path) -> None:
    """Its own plan: as ever. Another plan of the same: one line. A plan of something else is refused."""
    with desk(tmp_path) as it:
        assert (it.plan().code, it.plan(out="same.json").code) == (0, 0)
        (tmp_path / "more.txt").write_text("".join(f"{each}\n" for each in IDS[:30]))
        (tmp_path / "other.txt").write_text("".join(f"{each}\n" for each in IDS[20:40]))
        changes = (
            ("more", ["--exclude", "more.txt"], "ids: the plan has 570, now 580"),
            ("other", ["--exclude", "other.txt"], "exclude other.txt: the run did not have it"),
            (
                "guard",
                ["--spare", "active-since=2000-01-01"],
                "--spare: the plan has active-since=2000-01-01, now none",
            ),
        )
        for name, options, _ in changes:
            assert it.plan(*options, out=f"{name}.json").code == 0
        assert it("run", "--plan", "plan.json").code == 0
        own = it("run", "--plan", "plan.json")
        assert (own.code, "It was run" in own.err) == (0, False), own
        same = it("run", "--plan", "same.json")
        assert (same.code, "complete already; nothing was sent. It was run by another plan, of 2" in same.err) == (
            0,
            True,
        )
        for name, _, said in changes:
            refused = it("run", "--plan", f"{name}.json")
            assert (refused.code, said in refused.err) == (2, True), refused
            assert "complete. It was run by another plan, of 2" in refused.err
        assert it.served.ledger.deleted == 580


FORGED: Mapping[str, Mapping[str, Any]] = {
    "exclude file": {"exclude": [{"sha256": "x"}]},
    "infinite rate": {"options": {"rate": math.inf}},
    "no lines": {"shown": 5},
}
"""Members that no plan has. The seal holds: the digest takes a number that is infinite for null."""


@mutant(
    "an exclude file of a plan may lack members",
    "_check_members",
    swap("[_EXCLUDE_FILE]", "list"),
    crashes=True,
)
@mutant(
    "a number of a plan is infinite",
    "_finite",
    swap("isfinite(number)", "number or isfinite(number)"),
)
def test_a_forged_plan_is_refused_and_nothing_crashes(tmp_path: Path) -> None:
    """Each is shown, and is run against the run of the good plan, which is complete."""
    with desk(tmp_path) as it:
        assert it.plan().code == 0
        assert it("run", "--plan", "plan.json").code == 0
        good, requests = json.loads(it.file.read_text()), it.served.ledger.requests
        values = {name: value for name, value in good.items() if name not in {LINES, SHA256}}
        texts = {name: text_of(sealed({**values, **forged})) for name, forged in FORGED.items()}
        texts["deep"] = json.dumps({**good, "table": {}}).replace('"table": {}', f'"table": {"[" * 900}{"]" * 900}')
        for name, text in texts.items():
            it.file.write_text(text.replace("Infinity", "1e999"))
            for words in (("show", "plan.json"), ("run", "--plan", "plan.json")):
                ran = it(*words)
                assert (ran.code, "this is a bug" in ran.err) == (2, False), (name, ran)
                assert any(each in ran.err for each in ("its member ", "is no number", "nested too deeply")), (
                    name,
                    ran,
                )
        assert (it.served.ledger.requests, it.served.pool.deleted) == (requests, 580)


@mutant(
    "the user who planned may run",
    "is_same_user",
    swap(
        '(planner["user"], planner["machine"]) == (runner["user"], runner["machine"])',
        '(planner["user"], planner["as"]) == (runner["machine"], runner["as"])',
    ),
)
@mutant(
    "the name of --as is compared by its case",
    "is_same_user",
    swap("str(one).strip().casefold() == str(other).strip().casefold()", "str(one).strip() == str(other).strip()"),
)
@mutant(
    "a run without a plan is let through where another user is required",
    "check_other_user",
    swap(
        'approved is None and arguments.command == "run"',
        'approved is None and arguments.command == "plan" and arguments.claimed',
    ),
)
def test_another_user_is_required(tmp_path: Path) -> None:
    """A run needs a plan, and the user who made it may neither run nor resume. The name of --as is compared in CI."""
    with desk(tmp_path, latency_s=0.05) as it:
        (tmp_path / "bulkdel.toml").write_text("[protect]\nrequire_other_user = true\n")
        config = ("--config", "bulkdel.toml")
        own = ("run", "delete-users", "users.jsonl", "--host", it.served.url, "--confirm", 600, "--pool", POOL)
        ran = it(*own, *config)
        it.refused(ran, "a run needs a plan that another user has made (--plan)", "--out plan.json")
        it.refused(it(*own, env={"BULKDEL_PROTECT__REQUIRE_OTHER_USER": "true"}), "a run needs a plan")
        ran = it("plan", "delete-users", "users.jsonl", "--host", it.served.url, *config)
        assert "To have this plan approved by another user:\n" in ran.out
        assert it.plan(*config, "--as", "Anna", "--concurrency", 1).code == 0
        run = ("run", "--plan", "plan.json", "--host", it.served.url)
        # The same user of the system, and no name. The environment makes no other user.
        it.refused(it(*run, *config, env={"LOGNAME": "ben", "USER": "ben"}), "and you are ")
        it.refused(it(*run, *config, "--as", "anna"), "as Anna (claimed), and you are", "as anna (claimed)")
        it.refused(it(*run, env={"BULKDEL_AS": "anna"}), "as anna (claimed)")  # the plan has the setting
        process = start(*run, *config, "--as", "ben", cwd=tmp_path)
        wait_until(lambda: it.served.pool.deleted > 0, process)
        process.send_signal(signal.SIGTERM)
        ran = finish(process)
        going = f"bulkdel run --plan plan.json --config bulkdel.toml --host {it.served.url} --as ben"
        assert f"To go on:\n  {going}\n" in ran.err
        deleted = it.served.pool.deleted
        ran = it(*run, *config, "--as", "ANNA")
        assert (ran.code, it.served.pool.deleted) == (2, deleted), ran.err
        # Without the plan and the config, the log says that another user is required.
        ran = it(*own, "--exclude", "keep.txt")
        assert (ran.code, it.served.pool.deleted) == (2, deleted), ran.err
        assert "Resume it with that plan: run --plan FILE" in ran.err
        ran = it(*run, *config, "--as", "ben", "--json")
        assert (ran.code, ran.counts()) == (0, {"deleted": 580, "excluded": 20}), ran.err


@mutant(
    "a plan file has the options that may hold a secret",
    "_options",
    swap("MEANS | COMPARED | MAY_DIFFER", "MEANS | COMPARED"),
)
def test_no_secret_is_in_a_plan(tmp_path: Path) -> None:
    """Neither the key, nor the URL of a notification, nor the query of an address."""
    with desk(tmp_path) as it:
        env = {"BULKDEL_NOTIFY": f"{it.served.url}/hook-private"}
        ran = it.plan("--slow-while", f"{it.served.url}/health?private", env=env)
        assert ran.code == 0, ran.err
        text = it.file.read_text()
        assert "private" not in text
        assert not [value for value in KEYS.values() if value in text]


def test_a_pipe_and_files_that_lie_elsewhere(tmp_path: Path) -> None:
    """The plan of a pipe is about its copy. On another machine every file may have another place."""
    with desk(tmp_path) as it:
        export = (tmp_path / "users.jsonl").read_bytes()
        words = (
            "plan",
            "delete-users",
            "-",
            "--host",
            it.served.url,
            "--run",
            "night",
            "--out",
            "plan.json",
        )
        ran = bulkdel(*words, "--exclude", "keep.txt", "--backup-to", "old.jsonl", cwd=tmp_path, input=export)
        assert ran.code == 0, ran.err
        there = tmp_path / "there"
        there.mkdir()
        (there / "users").write_bytes(export)
        for name, new in (("plan.json", "plan.json"), ("keep.txt", "vips")):
            (tmp_path / name).rename(there / new)
        assert f"run --plan plan.json --host {it.served.url} --run night --backup-to old.jsonl\n" in ran.out
        ran = bulkdel("run", "--plan", "plan.json", "--host", it.served.url, "delete-users", "users", cwd=there)
        it.refused(ran, "backup: the plan has yes, now none")
        where = ("--run", "night", "--backup-to", "new.jsonl", "--host", it.served.url)
        moved = ("delete-users", "users", "--exclude", "vips", *where, "--rate", 0, "--json")
        ran = bulkdel("run", "--plan", "plan.json", *moved, cwd=there)
        assert (ran.code, ran.counts()) == (0, {"deleted": 580, "excluded": 20}), ran.err
        assert len((there / "new.jsonl").read_bytes().splitlines()) == 580
        assert (there / "night" / "log.jsonl").exists()


@pytest.mark.traced
def test_a_workbook_and_an_exclude_file_of_another_id_type(tmp_path: Path) -> None:
    """The rows are converted anew in another folder, and the accounts of the addresses are looked up anew."""
    mails = [f"u{i}@example.com" for i in range(60)]
    with sandbox(mails, "email") as served:
        book = xlsxwriter.Workbook(str(tmp_path / "users.xlsx"))
        sheet = book.add_worksheet("Leavers")
        for at, row in enumerate([("n", "id"), *enumerate(served.pool.user_ids("user_id"))]):
            sheet.write_row(at, 0, row)
        book.close()
        (tmp_path / "keep.csv").write_text("".join(f"{mail}\n" for mail in ["Mail", *mails[:7]]))
        options = ("--id-field", "2", "--exclude", "keep.csv:Mail:email", "--out", "plan.json")
        ran = bulkdel("plan", "delete-users", "users.xlsx", "--host", served.url, *options, cwd=tmp_path)
        assert ran.code == 0, ran.err
        assert json.loads((tmp_path / "plan.json").read_text())["numbers"]["ids"] == 53
        assert "@example" not in (tmp_path / "plan.json").read_text()
        shown = bulkdel("show", "plan.json", cwd=tmp_path).out
        size = amount((tmp_path / "users.xlsx").stat().st_size)
        which = {"users.xlsx": f"sheet `Leavers`, {size}", "keep.csv": "column `Mail`, each email looked up"}
        for name, words in which.items():
            sha256 = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
            assert f"`{name}`, {words}, SHA-256 {sha256}\n" in shown
        there = tmp_path / "there"
        there.mkdir()
        for name in ("plan.json", "users.xlsx", "keep.csv"):
            (tmp_path / name).rename(there / name)
        (there / "fewer.csv").write_text("".join(f"{mail}\n" for mail in ["Mail", *mails[:6]]))
        by_plan = ("run", "--plan", "plan.json", "--host", served.url)
        ran = bulkdel(*by_plan, "--exclude", "fewer.csv:Mail:email", cwd=there)
        assert (ran.code, served.pool.deleted) == (2, 0), ran.err
        assert "exclude keep.csv: the plan has it with SHA-256 " in ran.err
        ran = bulkdel(*by_plan, "--json", cwd=there)
        assert (ran.code, ran.counts()) == (0, {"deleted": 53, "excluded": 7}), ran.err
        assert served.pool.deleted == 53


def test_a_workbook_that_was_changed_after_the_first_session_is_not_the_planned_one(tmp_path: Path) -> None:
    """The rows of the run are not sent, because the workbook is another one now."""
    with sandbox(IDS[:60]) as served:
        for ids in (IDS[:60], [*IDS[1:60], IDS[0]]):
            book = xlsxwriter.Workbook(str(tmp_path / "users.xlsx"))
            book.add_worksheet("Leavers").write_column(0, 0, ["id", *ids])
            book.close()
            if ids[0] == IDS[0]:
                options = ("--limit", 50, "--out", "plan.json")
                ran = bulkdel("plan", "delete-users", "users.xlsx", "--host", served.url, *options, cwd=tmp_path)
                assert ran.code == 0, ran.err
                assert bulkdel("run", "--plan", "plan.json", "--host", served.url, cwd=tmp_path).code == 0
        ran = bulkdel("run", "--plan", "plan.json", "--host", served.url, cwd=tmp_path)
        assert (ran.code, served.pool.deleted) == (2, 50), ran.err
        assert "export users.xlsx: was changed since; " in ran.err
        assert "make the plan anew" in ran.err


@mutant(
    "a workbook is converted that the plan does not have",
    "ExportReading._open_file",
    swap("arguments.approved is not None", "arguments.approved is not None and file.copied"),
)
def test_no_workbook_is_converted_that_the_plan_does_not_have(planned: Desk) -> None:
    """Its conversion is a process of its own, which reads every cell. The refusal says nothing of the file."""
    book = planned.folder / "other.xlsx"
    with xlsxwriter.Workbook(str(book)) as made:
        made.add_worksheet("Secrets").write_column(0, 0, ["id", *IDS])
    forged = planned.folder / "forged.json"
    forged.write_text(planned.file.read_text())
    names = {"names": ["delete-users", "other.xlsx"]}
    rewritten(forged, command={**json.loads(forged.read_text())["command"], **names})
    ran = planned("run", "--plan", forged)
    planned.refused(ran, "export other.xlsx: is not the planned users.jsonl; ")
    assert hashlib.sha256(book.read_bytes()).hexdigest() not in ran.err
    torn = planned.folder / "torn.xlsx"
    torn.write_bytes(book.read_bytes()[:2_000])
    rewritten(forged, command={**json.loads(forged.read_text())["command"], "names": ["delete-users", "torn.xlsx"]})
    planned.refused(planned("run", "--plan", forged), "export torn.xlsx: is not the planned users.jsonl; ")


def test_a_plan_with_an_end_is_over_then(tmp_path: Path) -> None:
    """The stopped session prints the command that makes the next plan. With that one the run goes on."""

    def scenario(folder: Path, seconds: float) -> bool:
        with desk(folder, latency_s=0.1) as it:
            until = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
            planned = it.plan("--not-after", until, "--concurrency", 1, "--chunk-size", 5)
            ran = it("run", "--plan", "plan.json")
            deleted = it.served.pool.deleted
            if not deleted:
                return False
            assert (planned.code, ran.code, deleted < 580) == (0, 6, True), ran.err
            words = shlex.split(ran.err.partition("To go on, with a new confirmation:\n  ")[2].splitlines()[0])
            assert words[:3] == ["bulkdel", "plan", "delete-users"]
            assert words[-2:] == ["--out", "plan-new.json"]
            for more in ((), ("--not-after", "23:59Z")):
                ran = it("run", "--plan", "plan.json", *more)
                assert (ran.code, it.served.pool.deleted) == (2, deleted), ran.err
            assert f"its --not-after, {until}, has passed" in ran.err
            words[words.index("--chunk-size") + 1] = "50"
            assert it(*words[1:]).code == 0
            assert "have an outcome, " in it("show", "plan-new.json").out
            ran = it("run", "--plan", "plan-new.json", "--json")
            assert (ran.code, ran.counts()) == (0, {"deleted": 580, "excluded": 20}), ran.err
            return True

    with_time_enough(scenario, tmp_path)


@pytest.mark.traced
@pytest.mark.parametrize(
    ("words", "env", "code", "said"),
    [
        (["--out", "there.json"], {}, 2, "is there already"),
        (["--out", "missing/plan.json"], {}, 2, "does not exist"),
        (["--sandbox"], {}, 2, "--out: a run with --sandbox needs no approval"),
        ([], {"GENAUTH_ACCESS_KEY_ID": "", "GENAUTH_ACCESS_KEY_SECRET": ""}, 2, "pool is known only after a sign-in"),
        (["--exclude", "users.jsonl"], {}, 3, "there is nothing to delete"),
        (["--id-type", "external_id"], {}, 4, "0 of 200 sampled ids exist as external_id"),
        (["--as", "x" * 101], {}, 2, "--as"),
    ],
)
def test_a_plan_that_could_not_be_run_is_not_written(
    planned: Desk, words: list[str], env: dict[str, str], code: int, said: str
) -> None:
    (planned.folder / "there.json").write_text("approved")
    ran = (
        planned.plan(*words, out="unborn.json", env=env)
        if "--out" not in words
        else planned("plan", "delete-users", "users.jsonl", *words)
    )
    assert (ran.code, said in ran.err) == (code, True), (ran.out, ran.err)
    assert not (planned.folder / "unborn.json").exists()
    assert (planned.folder / "there.json").read_text() == "approved"
    assert not [name for name in planned.folder.rglob("*") if name.suffix == ".part"]


@mutant(
    "ctl moves the end that a plan has approved",
    "check_change",
    swap("until > datetime.fromisoformat(approved)", "until > now > datetime.fromisoformat(approved)"),
)
def test_the_end_that_was_approved_is_not_moved_later(tmp_path: Path) -> None:
    """An earlier one is a change like any other."""
    until = datetime.now(UTC) + timedelta(hours=1)
    with desk(tmp_path, latency_s=0.05) as it:
        assert it.plan("--not-after", until.isoformat(), "--concurrency", 1, "--chunk-size", 5).code == 0
        process = start("run", "--plan", it.file, "--host", it.served.url, cwd=tmp_path, env=KEYS)
        wait_until(lambda: it.served.pool.deleted > 0, process)
        later, earlier = ((until + timedelta(minutes=by)).isoformat() for by in (1, -1))
        refused = bulkdel("ctl", it.log, "until", later)
        assert (refused.code, "was approved until" in refused.out + refused.err) == (2, True), refused
        moved = bulkdel("ctl", it.log, "until", earlier)
        assert moved.code == 0, moved
        process.terminate()
        assert finish(process).code == 143


@pytest.mark.skipif(os.geteuid() != 0, reason="no folder of another user was tried: needs root")
@mutant(
    "a plan decides that a run is kept in the folder of another user",
    "check_folder_of",
    swap("owner not in {os.geteuid(), 0}", "owner == -1"),
    case="True",
)
@pytest.mark.parametrize("typed", [True, False])
def test_a_plan_does_not_decide_that_the_run_is_kept_in_the_folder_of_another_user(typed: bool, tmp_path: Path) -> None:
    theirs, ids = tmp_path / "theirs", user_ids(20)
    theirs.mkdir()
    write_objects(theirs / "users.jsonl", ids)
    with sandbox([*ids, "f" * 24]) as served:
        where, plan = ("--host", served.url), tmp_path / "plan.json"
        planned = bulkdel("plan", "delete-users", theirs / "users.jsonl", *where, "--out", plan)
        assert planned.code == 0, planned
        os.chown(theirs, 1234, 1234)
        before = {*theirs.iterdir()}
        confirmed = ("run", "--plan", plan, *where, "--confirm", 20, "--pool", POOL)
        ran = bulkdel(*confirmed)
        assert (ran.code, {*theirs.iterdir()}, served.pool.deleted) == (3, before, 0), ran
        assert f"the run would be kept in {theirs}, which belongs to another user" in ran.err
        if typed:
            ran = bulkdel(*confirmed, "--run", tmp_path / "run")
            assert {*theirs.iterdir()} == before
        else:  # the person is in that folder
            ran = bulkdel(*confirmed, cwd=theirs)
        assert (ran.code, served.pool.deleted) == (0, 20), ran


@pytest.mark.skipif(os.geteuid() != 0, reason="no folder of another user was tried: needs root")
def test_a_plan_does_not_decide_that_bad_rows_lie_in_the_folder_of_another_user(tmp_path: Path) -> None:
    """They lie where the run is kept. Whoever names the export or that place in the same command has seen where."""
    theirs, ids = tmp_path / "theirs", user_ids(20)
    theirs.mkdir()
    export = write_objects(theirs / "users.jsonl", [*ids, "no id"])
    with sandbox([*ids, "f" * 24]) as served:
        where, plan = ("--host", served.url), tmp_path / "plan.json"
        planned = bulkdel("plan", "delete-users", export, "--skip-invalid", "10", *where, "--out", plan)
        assert planned.code == 0, planned
        os.chown(theirs, 1234, 1234)
        before = {*theirs.iterdir()}
        options, place = ("--plan", plan, *where, "--confirm", 20, "--pool", POOL), tmp_path / "run"
        ran = bulkdel("run", *options)
        assert (ran.code, {*theirs.iterdir()}, served.pool.deleted) == (3, before, 0), ran
        assert f"the run would be kept in {theirs}, which belongs to another user" in ran.err
        assert "Name the export in the same command, or another place with --run\n" in ran.err
        ran = bulkdel("run", *options, "--run", place)
        assert (ran.code, {*theirs.iterdir()}, served.pool.deleted) == (0, before, 20), ran
        assert (place / "invalid").exists()
