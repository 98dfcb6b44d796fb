"""A job that disables, and one whose API has no look-ups: the texts have their words, and the keys are neutral."""

from __future__ import annotations

import json
import os
import pty
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox import Sandbox
from tests.harness import KEYS, POOL, Ran, entries, importing_from, sandbox, user_ids, write_objects
from tests.harness import bulkdel as command
from tests.mutants import mutant
from tests.places import log_of
from tests.syntax import swap

IDS = user_ids(4, seed=71)
GONE = user_ids(1, seed=72)

JOBS = '''
from contextlib import contextmanager
from dataclasses import dataclass, fields

from bulkdel.core.outcome import OutcomeWords
from bulkdel.core.target_state import TargetState
from bulkdel.job import NoLookUps
from bulkdel_jobs.delete_users import DeleteUsers
from bulkdel_jobs.genauth.genauth_job import GenAuth


class Disable(DeleteUsers):
    """It takes the users away as the sandbox can, and calls that disabled."""

    name = "disable"
    summary = "disable users"
    undo = "enable"
    fires = "user:blocked for each user"
    words = OutcomeWords(
        names={"done": "disabled", "already": "already disabled", "absent": "not there"}, verb="disable", noun="seat"
    )
    target_state = TargetState("disabled", "not disabled", absence_reaches=False)


@dataclass(frozen=True, slots=True)
class BlindTarget(GenAuth):
    def look_ups(self, id_type, *, full=False):
        return NoLookUps()


class Blind(DeleteUsers):
    name = "blind"
    summary = "delete users that no look-up finds"

    def target(self, options):
        made = super().target(options)
        return BlindTarget(**{one.name: getattr(made, one.name) for one in fields(made)})

    @contextmanager
    def sandbox(self, ids, id_type, parameters):
        with super().sandbox(ids, id_type, parameters) as made:
            yield BlindTarget(**{one.name: getattr(made, one.name) for one in fields(made)})


@dataclass(frozen=True, slots=True)
class OldTarget(GenAuth):
    def look_ups(self, id_type, *, full=False):
        return None


class Old(Blind):
    name = "old"

    def target(self, options):
        made = super().target(options)
        return OldTarget(**{one.name: getattr(made, one.name) for one in fields(made)})
'''


@dataclass
class Bench:
    """The installed jobs, a folder to work in, and the server."""

    site: Path
    folder: Path
    served: Sandbox

    @property
    def log(self) -> Path:
        return log_of(self.folder / "users.jsonl", "disable")

    def run(self, *words: object, **popen: Any) -> Ran:
        env = {**KEYS, **importing_from(self.site), "COLUMNS": "200"}
        return command(*words, env=env, cwd=self.folder, **popen)

    def to_it(self, name: str, *more: object, job: str = "disable", **popen: Any) -> Ran:
        return self.run(name, job, "users.jsonl", "--host", self.served.url, "--rate", 0, *more, **popen)

    @property
    def confirmed(self) -> tuple[object, ...]:
        return ("--confirm", 5, "--pool", POOL)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    site, work = tmp_path / "site", tmp_path / "work"
    info = site / "words-1.dist-info"
    info.mkdir(parents=True)
    work.mkdir()
    (site / "wordjobs.py").write_text(JOBS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: words\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[bulkdel.jobs]\ndisable = wordjobs:Disable\nblind = wordjobs:Blind\nold = wordjobs:Old\n"
    )
    write_objects(work / "users.jsonl", [*IDS, *GONE])
    with sandbox([*IDS, *user_ids(2, seed=73)], unknown_ids="refuse") as served:
        yield Bench(site, work, served)


def test_people_read_the_words_of_the_job(bench: Bench) -> None:
    plan = bench.to_it("plan")
    assert "  to disable  5 ids in 1 request" in plan.out
    assert "  backup      none; --backup keeps a copy of every seat\n" in plan.out
    assert "  fires       user:blocked for each user\n" in plan.out
    assert "Nothing was disabled. To run this plan" in plan.out
    refused = bench.to_it("run")
    assert refused.code == 2, refused
    assert "missing; only a run of enable can undo it. Nothing was disabled. To confirm:" in refused.err
    config = bench.folder / "few.toml"
    config.write_text("[protect]\nmax_ids = 1\n")
    assert "asks to disable 5 ids, and [protect]" in bench.to_it("run", *bench.confirmed, "--config", config).err
    first = bench.to_it("run", *bench.confirmed)
    assert first.code == 0, first
    assert "  disabled                     4\n  not there                    1\n" in first.out
    assert "To verify the result:" in first.err
    assert "  disabled                     4\n" in bench.run("status", bench.log).out
    verified = bench.run("verify", bench.log, "--host", bench.served.url, "--rate", 0)
    assert verified.code == 0, verified
    lines = verified.out.splitlines()
    assert lines[0].endswith("looked up 5 ids that the run says are disabled or absent"), "one of them has no account"
    assert [line.split() for line in lines[1:3]] == [["disabled", "or", "absent", "5"], ["not", "disabled", "0"]]
    told = [refused.err, first.out, first.err, plan.out, verified.out, verified.err]
    assert not [text for text in told if "delete" in text]


@mutant(
    "scripts get the words for people",
    "key_of",
    swap("progress.header.keys.get(kind) or name_of(progress, kind)", "name_of(progress, kind)"),
)
def test_scripts_read_the_words_of_the_engine(bench: Bench) -> None:
    plan = bench.to_it("plan", "--json").summary
    assert (plan["fires"], plan["look_ups"]) == ("user:blocked for each user", True)
    ran = bench.to_it("run", *bench.confirmed, "--json")
    assert ran.code == 0, ran
    summary = ran.summary
    wanted = {"done": 4, "already": 0, "absent": 1, "refused": 0, "remaining": 0, "job": "disable", "pool": POOL}
    assert wanted.items() <= summary.items()
    header = entries(bench.log)[0]
    assert header["names"] == {"done": "disabled", "already": "already disabled", "absent": "not there"}
    assert header["noun"] == "seat"
    assert header["keys"] == {"done": "done", "already": "already", "absent": "absent"}
    assert (summary["run_id"], summary["exit_code"]) == (header["run_id"], 0)
    assert bench.run("status", bench.log, "--json").summary.items() >= {**wanted, "exit_code": 0}.items()
    rows = [json.loads(line) for line in bench.run("results", bench.log).out.splitlines()]
    assert [row["outcome"] for row in rows] == ["done"] * 4 + ["absent"]
    assert bench.run("results", bench.log, "--only", "done,already").err == "results: 4 rows: 4 done\n"
    wrong = bench.run("results", bench.log, "--only", "disabled")
    assert (wrong.code, "There are: done, already, absent, refused" in wrong.err) == (2, True), wrong


def test_a_header_of_delete_users_has_no_second_names(bench: Bench) -> None:
    assert bench.to_it("run", *bench.confirmed, job="delete-users").code == 0
    header = entries(log_of(bench.folder / "users.jsonl"))[0]
    assert header["names"] == {"done": "deleted", "absent": "absent"}
    assert not {"keys", "noun"} & header.keys()


def test_the_question_has_the_words_of_the_job(bench: Bench) -> None:
    keyboard, terminal = pty.openpty()
    os.write(keyboard, b"4\n")
    try:
        ran = bench.to_it("run", stdin=terminal)
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert ran.code == 2, ran
    assert "Nothing is disabled before you confirm this plan: only a run of enable can undo it." in ran.err
    assert "Type the number of ids to disable to go on" in ran.err
    assert "Nothing was disabled. To confirm without a question:" in ran.err


def test_the_list_of_jobs(bench: Bench) -> None:
    listed = bench.run("jobs").out
    assert "disable  disable users\n  can be undone by enable\n  --id-type user_id " in listed
    kept = "restore-users makes new accounts from what --backup has kept (`bulkdel restore`)"
    assert f"(delete-users-batch)\n  cannot be undone; {kept}\n" in listed


def test_a_plan_says_what_cannot_be_known_without_look_ups(bench: Bench) -> None:
    plan = bench.to_it("plan", job="blind")
    assert plan.code == 0, plan
    for text in (
        "the API has no look-ups, so no sample shows whether these ids exist",
        "an id that the API calls unknown (404) counts as absent, and nothing proves it",
        "`verify` cannot prove the result",
        "ids that were sent without a response are sent again",
    ):
        assert f"  note       {text}\n" in plan.out
    assert "--backup" not in plan.out
    assert "looked up" not in plan.out
    values = bench.to_it("plan", "--json", job="blind").summary
    assert values["look_ups"] is False
    assert [note["note"] for note in values["notes"]] == [
        "no_sample",
        "absent_unproven",
        "cannot_be_verified",
        "doubts_stay",
    ]
    write_objects(bench.folder / "users.jsonl", ["a@example.com"])
    by_email = bench.to_it("plan", "--id-type", "email", job="blind").out
    assert "ids that were sent without a response stay so, unless --in-doubt resend sends them again\n" in by_email


@mutant(
    "a job without look-ups takes a backup",
    "check_look_ups",
    swap(
        'if given:\n    raise UsageError(f"{option}: the API of {job} has no look-ups. Leave {option} out")',
        "if given and settings.sandbox:\n"
        '    raise UsageError(f"{option}: the API of {job} has no look-ups. Leave '
        '{option} out")',
    ),
)
@pytest.mark.parametrize("option", [("--look-first",), ("--backup",), ("--only-status", "Suspended")])
@pytest.mark.parametrize("where", ["server", "sandbox"])
def test_options_that_need_look_ups_are_refused(option: tuple[str, ...], where: str, bench: Bench) -> None:
    if where == "server":
        ran = bench.to_it("run", *option, *bench.confirmed, job="blind")
    else:
        ran = bench.run("run", "blind", "users.jsonl", "--sandbox", *option)
    assert (ran.code, f"{option[0]}: the API of blind has no look-ups" in ran.err) == (2, True), ran
    assert bench.served.ledger.requests == 0
    assert sorted(path.name for path in bench.folder.iterdir()) == ["users.jsonl"]


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_job_whose_look_ups_are_none_of_the_contract_is_refused(command: str, bench: Bench) -> None:
    ran = bench.to_it(command, job="old")
    assert (ran.code, "the look-ups of old do not inherit from bulkdel.job.LookUps" in ran.err) == (2, True), ran
    assert bench.served.ledger.requests == 0
