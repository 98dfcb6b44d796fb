"""Every job of GenAuth through the real command. The server's own count of effects, per id and kind, is the oracle."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from bulkdel.core.absence import marks_in_query, may_be_split
from bulkdel.job import job_names, load_job
from tests.examples import one_in
from tests.harness import POOL, Ran, bulkdel, kill, start, wait_for_arrivals, wait_until, write_objects
from tests.jobs import CREATING, EVERY_JOB, HOSTILE, JOBS, SPACE, VICTIMS, Effect, JobCase, Served, add_members, serving
from tests.mutants import mutant
from tests.places import log_of
from tests.recorded import MAY_LAG, let_pass
from tests.syntax import swap

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"

ALL = pytest.mark.parametrize("job", EVERY_JOB, ids=lambda job: job.name)
FEW = pytest.mark.parametrize("job", one_in(5, EVERY_JOB), ids=lambda job: job.name)


STATE_PATHS = {f"/api/v3/{name}" for name in ("check-session-status", "get-user-roles", "get-user-groups")}


def words(served: Served, export: Path, ids: int, *more: object) -> list[object]:
    """The command line that does it."""
    job = served.job
    return [
        *("run", job.name, export, *job.options, "--host", served.sandbox.url, "--rate", 0, "--json"),
        *("--confirm", ids, "--pool", POOL, *more),
    ]


def outcomes(run: Path) -> dict[str, str]:
    """How each id ended. run: its place."""
    told = bulkdel("results", run)
    assert told.code == 0, told
    return {row["id"]: row["outcome"] for row in map(json.loads, told.out.splitlines())}


def by_name(name: str) -> JobCase:
    return next(job for job in JOBS if job.name == name)


def verified(run: Path, host: str) -> Ran:
    return bulkdel("verify", run, "--host", host, "--rate", 0, "--json")


def test_every_installed_job_is_in_the_table() -> None:
    """All but `http`, which is what its table says, and the jobs whose rows are whole records."""
    with_records = {name for name in job_names() if load_job(name).takes_records} - {CREATING.name}
    assert set(job_names()) - {"http"} - with_records == {job.name for job in EVERY_JOB}


@mutant(
    "a plan asks for the state of each user of the sample",
    "_sampled",
    swap("lookup.find(some, WorkerStatus())", "lookup.find_proven(some, WorkerStatus())"),
    case="remove-group-members",
)
@FEW
def test_a_run_does_what_the_plan_says_and_nothing_else(job: JobCase, tmp_path: Path) -> None:
    """Some ids are absent, some in the target state already; the server changes the others, once each."""
    there, absent, bystanders = job.ids(job.rows), job.ids(0 if job.creates else 5, 200), job.ids(20, 300)
    already = there[-5:] if job.settle is not None else []
    rows = job.rows + len(absent)
    export, place = job.export(tmp_path / "e.jsonl", [*there, *absent]), tmp_path / "run"
    with serving(job, [*there, *bystanders]) as served:
        if job.settle is not None:
            job.settle(served.pool, already)
        where = ("--host", served.sandbox.url, "--rate", 0, "--run", place)
        plan = bulkdel("plan", job.name, export, *job.options, *where, "--json")
        assert plan.code == 0, plan
        assert json.loads(plan.out)["ids"] == rows
        assert not served.effects() + served.repeats()
        assert not served.sandbox.ledger.by_path.keys() & STATE_PATHS, "a plan needs to know only which users exist"

        ran = bulkdel(*words(served, export, rows, "--run", place, "--look-first"))
        assert ran.code == 0, ran
        done = "deleted" if job.name == "delete-users" else "done"
        meant = [id_ for id_ in there if id_ not in already]
        assert served.effects() == job.expected(meant)
        assert not served.repeats()
        assert ran.counts() == {
            name: count
            for name, count in ((done, len(meant)), ("already", len(already)), ("absent", len(absent)))
            if count
        }
        assert outcomes(place) == dict.fromkeys(meant, done) | dict.fromkeys(already, "already") | dict.fromkeys(
            absent, "absent"
        )
        found = verified(place, served.sandbox.url)
        assert found.code == 0, found
        assert served.effects() == job.expected(meant)


@mutant(
    "what was changed and excluded since is called excluded",
    "IdStrategy._presences",
    swap("sent or id_ not in protected", "sent and id_ not in protected"),
)
def test_what_was_sent_is_not_called_excluded(tmp_path: Path) -> None:
    """Killed after the effect; then some of these users are excluded. They are disabled, and the outcome says so."""
    job = by_name("disable-users")
    ids = job.ids(20)
    export, place = job.export(tmp_path / "e.jsonl", ids), tmp_path / "run"
    with serving(job, ids, latency_after_s=20.0, fault_paths=[job.path]) as served:
        process = start(*words(served, export, 20, "--run", place, "--concurrency", 1, "--chunk-size", 10))
        wait_until(lambda: len(served.effects()) == 10, process)
        kill(process)
        served.switch(latency_after_s=0.0)
        keep = write_objects(tmp_path / "keep.jsonl", [*ids[:3], *ids[-3:]])
        ran = bulkdel(*words(served, export, 14, "--run", place, "--exclude", keep))
        assert (ran.code, ran.counts()) == (0, {"done": 17, "excluded": 3}), ran
        assert served.effects() == job.expected(ids[:-3])
        assert {id_ for id_, outcome in outcomes(place).items() if outcome == "excluded"} == set(ids[-3:])


@FEW
def test_a_killed_run_is_continued(job: JobCase, tmp_path: Path) -> None:
    """SIGKILL while some requests have had their effect and got no answer: each id has it exactly once in the end."""
    ids = job.ids(job.rows)
    size = 1 if job.name == "kick-users" else 10
    export, place = job.export(tmp_path / "e.jsonl", ids), tmp_path / "run"
    with serving(job, [*ids, *job.ids(20, 300)], latency_after_s=20.0, fault_paths=[job.path]) as served:
        command = words(served, export, job.rows, "--run", place, "--concurrency", 4, "--chunk-size", size)
        process = start(*command)
        wait_until(lambda: len(served.effects()) >= 2 * size, process)
        kill(process)
        wait_for_arrivals(served.sandbox)
        assert 0 < len(served.effects()) < len(job.expected(ids))
        served.switch(latency_after_s=0.0)
        ran = bulkdel(*command)
        if MAY_LAG in ran.err:  # the kill has cut a creation, which had no effect
            let_pass(place / "log.jsonl", 11)
            ran = bulkdel(*command)
        assert ran.code == 0, ran
        assert served.effects() == job.expected(ids)
        assert ran.summary["resumed"] is True
        assert ran.counts() == {"deleted" if job.name == "delete-users" else "done": job.rows}
        before = served.sandbox.ledger.requests
        assert bulkdel(*command).summary == ran.summary
        assert served.sandbox.ledger.requests == before


@pytest.mark.parametrize("job", one_in(5, JOBS), ids=lambda job: job.name)
def test_the_user_of_the_key_is_spared(job: JobCase, tmp_path: Path) -> None:
    """Its id is in the export. Where the ids are codes, none of them means a user."""
    ids = job.ids(7)
    own = "5a9db0c5a9db0c5affffffff" if job.codes else ids[3]
    export = job.export(tmp_path / "e.jsonl", ids)
    with serving(job, ids, token_user=own) as served:
        ran = bulkdel(*words(served, export, 7))
        assert ran.code == 0, ran
        assert served.effects() == job.expected(id_ for id_ in ids if id_ != own)
        assert ran.summary["excluded"] == (0 if job.codes else 1)


@FEW
def test_hostile_ids_touch_only_what_they_mean(job: JobCase, tmp_path: Path) -> None:
    export, place = job.export(tmp_path / "e.jsonl", HOSTILE), tmp_path / "run"
    with serving(job, [*HOSTILE, *VICTIMS]) as served:
        more = ("--run", place, "--id-pattern", "(?s).+")
        ran = bulkdel(*words(served, export, len(HOSTILE), *more))
        assert ran.code == 0, ran
        assert served.effects() == job.expected(HOSTILE)
        assert not served.repeats()
        gone, there, open_ = verified(place, served.sandbox.url).found()
        # That an id with a comma, a plus or such a letter is gone cannot be proven: the server may have misread it.
        assert (gone + open_, there) == (len(HOSTILE), 0)
        assert open_ <= sum(may_be_split(id_) or bool(marks_in_query(id_)) for id_ in HOSTILE) < len(HOSTILE)
        assert not open_ or job.settle is None or job.creates


@mutant(
    "to send again is offered to a run that does it",
    "_unproven_text",
    swap('plan.arguments.settings.in_doubt != "resend"', "plan.arguments.settings"),
)
def test_to_send_an_id_again_that_may_be_misread_is_offered_once(tmp_path: Path) -> None:
    """The API answers nothing about an id that does not exist, and no look-up can prove that."""
    job = next(job for job in JOBS if job.name == "enable-users")
    export, again = job.export(tmp_path / "e.jsonl", ["a,b", *job.ids(3)]), "Send them again without a look-up"
    with serving(job, job.ids(3), unknown_ids="accept") as served:
        line = words(served, export, 4, "--id-pattern", "(?s).+", "--allow-absent", "--run", tmp_path / "run")
        ran = bulkdel(*line)
        assert (ran.code, ran.summary["remaining"]) == (4, 1), ran
        assert again in ran.err, ran
        ran = bulkdel(*line, "--in-doubt", "resend")
        assert (ran.code, ran.summary["remaining"]) == (4, 1), ran
        assert "- Create a user" in ran.err, ran
        assert again not in ran.err, ran


@pytest.mark.parametrize("job", [JOBS[0], JOBS[-1]], ids=lambda job: job.name)
def test_ids_that_cannot_be_sent_are_refused_before(job: JobCase, tmp_path: Path) -> None:
    """An empty id, a newline, a line separator, a zero byte: nothing is sent, also not for the others."""
    with serving(job, job.ids(3)) as served:
        for number, bad in enumerate(("", "a\nb", "a\u2028b", "a\0b")):
            export = job.export(tmp_path / f"{number}.jsonl", [*job.ids(3), bad])
            ran = bulkdel(*words(served, export, 4))
            assert ran.code == 3, ran
        assert not served.effects() + served.repeats()
        assert not served.sandbox.ledger.requests


@FEW
def test_the_sandbox_needs_nothing(job: JobCase, tmp_path: Path) -> None:
    export = job.export(tmp_path / "e.jsonl", job.ids(7))
    ran = bulkdel("run", job.name, export, *job.options, "--sandbox", "--rate", 0, "--json", env={})
    assert ran.code == 0, ran
    assert sum(ran.counts().values()) == 7
    assert set(ran.counts()) == {"deleted" if job.name == "delete-users" else "done"}


NEED = {
    "kick-users": "--app",
    "revoke-roles": "--role",
    "remove-group-members": "--group",
    "enable-users": "--status Activated",
}


@pytest.mark.parametrize("name", NEED)
def test_a_missing_parameter_is_named(name: str, tmp_path: Path) -> None:
    export = write_objects(tmp_path / "e.jsonl", JOBS[0].ids(1))
    ran = bulkdel("plan", name, export, "--host", "http://127.0.0.1:9")
    assert ran.code == 2, ran
    assert NEED[name] in ran.err


def test_two_jobs_undo_each_other(tmp_path: Path) -> None:
    """disable-users keeps a backup; enable-users gives each user back the status in it, and asks about the others."""
    (disable,) = [job for job in JOBS if job.name == "disable-users"]
    ids, late = disable.ids(60), disable.ids(2, 100)
    (off_before,), absent = disable.ids(1, 200), disable.ids(2, 300)
    export = write_objects(tmp_path / "e.jsonl", [*ids, off_before, *absent])
    backup = tmp_path / "backup.jsonl.zst"
    with serving(disable, [*ids, *late, off_before]) as served:
        served.pool.change(number(served, off_before), {"status": "Suspended"}, "2024-01-01T00:00:00.000Z")
        statuses = dict(zip(ids, ["Activated", "Archived", "Deactivated"] * 20, strict=True))
        for id_, status in statuses.items():
            served.pool.change(number(served, id_), {"status": status}, "2024-01-01T00:00:00.000Z")
        off = tmp_path / "off"
        assert bulkdel(*words(served, export, 63, "--backup-to", backup, "--run", off)).code == 0
        assert set(status_of(served, ids).values()) == {"Suspended"}

        def enable(export: Path, *more: object, count: int = 60) -> Ran:
            options = ("--rate", 0, "--json", "--confirm", count, "--pool", POOL, "--from-backup", backup)
            return bulkdel("run", "enable-users", export, "--host", served.sandbox.url, *options, *more)

        disabled = [id_ for id_, outcome in outcomes(off).items() if outcome == "done"]
        ran = enable(write_objects(tmp_path / "disabled.jsonl", disabled), "--run", tmp_path / "on")
        assert ran.code == 0, ran
        assert status_of(served, ids) == statuses
        assert status_of(served, [off_before]) == {off_before: "Suspended"}
        assert verified(tmp_path / "on", served.sandbox.url).code == 0

        # A user that the backup does not have: it is not sent, nor is its chunk.
        before = served.effects() + served.repeats()
        more = write_objects(tmp_path / "more.jsonl", [*ids, *late])
        ran = enable(more, "--chunk-size", 62, "--run", tmp_path / "more", count=62)
        assert ran.code == 2, ran
        ran = enable(more, "--run", tmp_path / "more", "--concurrency", 1, count=62)
        assert ran.code == 4, ran
        assert "to 2 users of a chunk (rows 60, 61, counted from 0)" in ran.err
        after = served.effects() + served.repeats() - before
        assert {key for _, key in after} == set(ids[:50])
        excluded = write_objects(tmp_path / "late.jsonl", late)
        ran = enable(more, "--run", tmp_path / "more", "--exclude", excluded)
        assert ran.code == 0, ran
        assert ran.summary["excluded"] == 2
        ran = enable(more, "--status", "Deactivated", "--run", tmp_path / "both", count=62)
        assert ran.code == 0, ran
        assert status_of(served, late) == dict.fromkeys(late, "Deactivated")
        assert status_of(served, ids) == statuses


def number(served: Served, id_: str) -> int:
    found = served.pool.find("user_id", id_)
    assert found is not None
    return found


def status_of(served: Served, ids: Sequence[str]) -> dict[str, str]:
    return {id_: served.pool.status(number(served, id_)) for id_ in ids}


def test_a_whole_offboarding(tmp_path: Path) -> None:
    """The steps of docs/guide.md, one after the other, on one export; each has its effect on each user once."""
    steps = [by_name(name) for name in re.findall(r"^bulkdel run (\S+) users\.jsonl", GUIDE.read_text(), re.MULTILINE)]
    assert len(steps) == 6
    users, stay = steps[0].ids(60), steps[0].ids(20, 300)
    export = write_objects(tmp_path / "users.jsonl", users)
    with serving(by_name("revoke-roles"), [*users, *stay], sessions_outlive=True) as served:
        add_members(served.pool, [*users, *stay])
        expected = Counter[Effect]()
        for number, job in enumerate(steps):
            ran = bulkdel(*words(Served(job, served.sandbox), export, 60, "--run", tmp_path / str(number)))
            assert ran.code == 0, ran
            expected += job.expected(users)
            assert served.effects() == expected
        assert len(served.pool) == len(stay)


@pytest.mark.parametrize("status", ["activated", "Resigned", "Deactivate"])
def test_a_status_that_no_update_sets_is_refused(status: str, tmp_path: Path) -> None:
    """And none is suggested: to a person who types `activated`, `Deactivated` would be a trap."""
    export = write_objects(tmp_path / "e.jsonl", JOBS[0].ids(1))
    ran = bulkdel("plan", "enable-users", export, "--sandbox", "--status", status)
    assert ran.code == 2, ran
    assert f"--status {status!r}: give one of Activated, Suspended, Archived, Deactivated" in ran.err


@pytest.mark.parametrize("text", [b"not json\n", b'{"userId": 1, "status": "Activated"}\n', b'{"userId": "u"}\n', None])
def test_a_file_that_is_no_backup_is_refused(text: bytes | None, tmp_path: Path) -> None:
    export, backup = write_objects(tmp_path / "e.jsonl", JOBS[0].ids(1)), tmp_path / "backup.jsonl"
    if text is not None:
        backup.write_bytes(b'{"userId": "x", "status": "Activated"}\n' + text)
    ran = bulkdel("plan", "enable-users", export, "--host", "http://127.0.0.1:9", "--from-backup", backup)
    assert ran.code == (2 if text is None else 3), ran
    assert str(backup) in ran.err
    assert text is None or "line 2" in ran.err


@mutant(
    "a file of the job is read although the plan does not have it",
    "check_files_of_job",
    swap('{name: approved.values["parameters"].get(name) for name in files}', "dict(files)"),
)
def test_a_file_of_the_job_is_read_only_if_the_plan_has_it(tmp_path: Path) -> None:
    """A plan and the file of a batch may name any file as a parameter. Nothing is sent, and no text of it is shown."""
    (enable,) = [job for job in JOBS if job.name == "enable-users"]
    ids = enable.ids(10)
    export, backup = write_objects(tmp_path / "e.jsonl", ids), tmp_path / "b.jsonl"
    backup.write_text("".join(json.dumps({"userId": each, "status": "Activated"}) + "\n" for each in ids))
    with serving(enable, ids) as served:
        where = ("--host", served.sandbox.url)
        out = ("--out", tmp_path / "plan.json")
        planned = bulkdel("plan", "enable-users", export, *where, "--from-backup", backup, *out)
        assert planned.code == 0, planned
        requests, good = served.sandbox.ledger.requests, backup.read_bytes()
        backup.write_text("a secret\n")
        refused = bulkdel("run", "--plan", tmp_path / "plan.json", *where)
        assert (refused.code, "--from-backup: the plan has a file with SHA-256" in refused.err) == (2, True), refused
        assert "line 1" not in refused.err
        backup.unlink()
        os.mkfifo(backup)
        refused = bulkdel("run", "--plan", tmp_path / "plan.json", *where)
        assert (refused.code, "is not a file" in refused.err) == (2, True), refused
        run = f'name = "a"\njob = "enable-users"\nexport = "e.jsonl"\nhost = "{served.sandbox.url}"\n'
        (tmp_path / "night.toml").write_text(f'[[run]]\n{run}parameters = {{ from_backup = "b.jsonl" }}\n')
        refused = bulkdel("batch", "plan", tmp_path / "night.toml")
        assert (refused.code, "b.jsonl is not a regular file" in refused.err) == (2, True), refused
        assert served.sandbox.ledger.requests == requests
        backup.unlink()
        backup.write_bytes(good)
        ran = bulkdel("run", "--plan", tmp_path / "plan.json", *where, "--rate", 0)
        assert (ran.code, served.effects()) == (0, enable.expected(ids)), ran


MISSPELT = {"revoke-roles": ("--role", "rolle", "--namespace", SPACE), "remove-group-members": ("--group", "x")}


@pytest.mark.parametrize("job", [job for job in JOBS if job.name in MISSPELT], ids=lambda job: job.name)
def test_a_role_or_group_that_does_not_exist_changes_nothing(job: JobCase, tmp_path: Path) -> None:
    """The API calls it unknown, as it does an unknown user. The run halts, and no row ends as a success."""
    ids = job.ids(60)
    export = write_objects(tmp_path / "e.jsonl", ids)
    with serving(job, ids) as served:
        command = words(served, export, 60)
        command[3 : 3 + len(job.options)] = MISSPELT[job.name]
        ran = bulkdel(*command)
        assert ran.code == 4, ran
        assert ran.counts() == {"remaining": 60}
        assert "does not exist" in ran.err
        assert not served.effects() + served.repeats()


def test_answers_per_id_cost_no_request_for_the_others(tmp_path: Path) -> None:
    """Three of 1,000 users keep their status: they are refused, and the 997 others are sent once."""
    (disable,) = [job for job in JOBS if job.name == "disable-users"]
    ids = disable.ids(1_000)
    export = write_objects(tmp_path / "e.jsonl", ids)
    liars = [ids[17], ids[500], ids[999]]
    with serving(disable, ids, liars=liars) as served:
        ran = bulkdel(*words(served, export, 1_000))
        assert ran.code == 1, ran
        assert ran.counts() == {"done": 997, "refused": 3}
        assert served.sandbox.ledger.by_path[disable.path] == 20
        assert served.effects() == disable.expected(set(ids) - set(liars))
        told = bulkdel("results", log_of(export, disable.name), "--only", "refused")
        rows = [json.loads(line) for line in told.out.splitlines()]
        assert [row["id"] for row in rows] == liars
        assert {row["message"] for row in rows} == {"updated, and the status is Activated"}
        assert Counter(json.dumps(row["statusCode"]) for row in rows) == {"200": 3}
