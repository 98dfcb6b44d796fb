"""`bulkdel restore` through the real command: what comes back, for which rows, and what is refused."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import shlex
import shutil
import signal
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkdel.export.lines import LINE_MAX
from bulkdel_jobs.genauth.create_users import CREATE_PATH
from bulkdel_jobs.sandbox import Pool, Sandbox, Switches, calls, serve_in_thread
from bulkdel_jobs.sandbox.users import BULKY, check_values, ids_of
from tests.full_users import differences, full_user, full_users
from tests.harness import (
    DELETIONS,
    KEYS,
    POOL,
    Ran,
    bulkdel,
    entries,
    finish,
    kill,
    sandbox,
    start,
    user_ids,
    wait_until,
    write_objects,
)
from tests.inputs import input_file
from tests.mutants import mutant
from tests.objectserver import ObjectServer, object_server
from tests.places import log_of, restore_log
from tests.recorded import let_pass, rewrite
from tests.syntax import drop, negate, swap
from tests.waits import WAIT_MAX_S

NONE = ("--passwords", "none", "--rate", 0)
IDENTITY = "{:024x}"


@dataclass
class Undo:
    """A deletion that is to be undone: its export, a server, and the commands for both ways."""

    folder: Path
    served: Sandbox
    ids: Sequence[str]
    id_type: str = "user_id"
    backup: str = "users.jsonl.zst"

    @property
    def export(self) -> Path:
        return self.folder / "export.jsonl"

    @property
    def log(self) -> Path:
        return log_of(self.export)

    @property
    def place(self) -> Path:
        return self.log.parent

    @property
    def undone_in(self) -> Path:
        """The place of the restore."""
        return restore_log(self.log).parent

    @property
    def derived(self) -> Path:
        return self.undone_in / "records.jsonl"

    @property
    def map(self) -> Path:
        return self.undone_in / "new-ids.jsonl"

    def deletion(self, *more: object, backup: bool = True) -> list[object]:
        kept = ("--backup-to", self.folder / self.backup) if backup else ()
        confirmed = ("--confirm", len(self.ids), "--pool", POOL, "--id-type", self.id_type)
        where = ("--host", self.served.url, "--rate", 0)
        return ["run", "delete-users", self.export, *where, *confirmed, *kept, "--json", *more]

    def delete(self, *more: object, backup: bool = True) -> Ran:
        ran = bulkdel(*self.deletion(*more, backup=backup))
        assert ran.code == 0, ran
        return ran

    def restoring(self, rows: int, *more: object) -> list[object]:
        where = () if "--host" in more else ("--host", self.served.url)
        return ["restore", self.place, *where, *NONE, "--json", "--confirm", rows, "--pool", POOL, *more]

    def restore(self, rows: int | None = None, *more: object) -> Ran:
        return bulkdel(*self.restoring(len(self.ids) if rows is None else rows, *more))

    def plan(self, *more: object, **kwargs: Any) -> Ran:
        """Name the export: its log is found beside it."""
        where = () if "--host" in more else ("--host", self.served.url)
        return bulkdel("restore", self.export, *where, *NONE, "--plan", *more, **kwargs)


@contextmanager
def undo(
    folder: Path, ids: Sequence[str], *, pool: Pool | None = None, id_type: str = "user_id", **switches: Any
) -> Iterator[Undo]:
    write_objects(folder / "export.jsonl", ids)
    users = Pool.from_ids(ids, id_type) if pool is None else pool
    with serve_in_thread(users, Switches(**switches)) as served:
        yield Undo(folder, served, ids, id_type)


def killed_often(words: Sequence[object], times: int, requests: Callable[[], int], rng: random.Random) -> None:
    """Start a command and kill it after some requests, `times` times."""
    for _ in range(times):
        process, enough = start(*words), requests() + rng.randrange(3, 30)
        wait_until(lambda process=process, enough=enough: requests() >= enough or process.poll() is not None)  # type: ignore[misc]
        kill(process)


def new_rng() -> random.Random:
    seed = f"{time.time_ns():x}"
    print(f"seed {seed}")  # noqa: T201 - pytest shows it where the test fails
    return random.Random(seed)


FAULTS = ("500", "502", "503", "html", "drop_before", "drop_after", "500_after", "truncated_after")


@pytest.mark.soak
@pytest.mark.parametrize("_number", range(20))
def test_the_round_trip_under_faults(_number: int, tmp_path: Path) -> None:
    """Every fault now and then, kills between, until both ways are complete: nothing is lost, no user twice."""
    rng, others = new_rng(), 10
    count = rng.randrange(50, 200)
    before, pool = full_users(count + others), full_users(count + others)
    ids = [ids_of(pool.user(number), "user_id")[0] for number in range(count)]
    shares: dict[str, Any] = {f"share_{fault}": rng.choice((0, 0.01, 0.02)) for fault in FAULTS}
    with undo(tmp_path, ids, pool=pool, assignment_targets=True, **shares) as it:
        requests = lambda: it.served.ledger.requests  # noqa: E731
        more: list[object] = ["--backup-memberships", "--max-refused", "100%", "--chunk-size", rng.choice((7, 50))]
        killed_often(it.deletion(*more), rng.randrange(3), requests, rng)
        until_complete(it.deletion(*more))
        assert len(pool) == others
        more = ["--max-refused", "100%", "--chunk-size", rng.choice((7, 50))]
        killed_often(it.restoring(count, *more), rng.randrange(4), requests, rng)
        restored = restore_log(it.log)
        until_complete(it.restoring(count, *more), between=lambda: let_pass(restored, 11))
        assert differences(before, pool) == []
        assert pool.users_ever == 2 * count + others, "a user was created twice"
        assert [json.loads(line)["old"] for line in it.map.read_text().splitlines()] == ids


def until_complete(words: Sequence[object], tries: int = 12, between: Callable[[], None] = lambda: None) -> None:
    """Run the same command until it is complete."""
    for _ in range(tries):
        ran = bulkdel(*words)
        if ran.code == 0:
            return
        assert ran.code == 4, ran
        between()
    raise AssertionError(ran)


IDS: dict[str, Callable[[int], str]] = {
    "user_id": lambda n: f"{n:024x}",
    "email": lambda n: f"User{n}@x.org",
    "phone": lambda n: f"+86138{n:08d}",
    "username": lambda n: f"user, {n}",
    "external_id": lambda n: f"ext/{n}",
    "identity": lambda n: f"{7:024x}:ou_{n}",
    "sync_relation": lambda n: f"wechat:ou_{n}",
}
ALWAYS = ("email", "identity")


@pytest.mark.parametrize(
    ("id_type", "ending"),
    [
        pytest.param(each, ending, marks=() if each in ALWAYS else pytest.mark.soak)
        for each, ending in zip(IDS, (".gz", ".zst", "", ".gz", ".zst", ".gz", ""), strict=True)
    ],
)
def test_the_derived_export_holds_what_the_run_deleted(id_type: str, ending: str, tmp_path: Path) -> None:
    """By every type of id, killed at random; with absent ids, and many that were never sent."""
    rng = new_rng()
    ids = [IDS[id_type](n) for n in range(1, 101)]
    rng.shuffle(ids)
    absent = ids[::9]
    pool = Pool.from_ids([*(id_ for id_ in ids if id_ not in absent), IDS[id_type](0)], id_type)
    with undo(tmp_path, ids, pool=pool, id_type=id_type, latency_after_s=0.002) as it:
        it.backup = f"users.jsonl{ending}"
        slow = ("--concurrency", 3, "--chunk-size", 5)
        killed_often(it.deletion(*slow), 3, lambda: it.served.ledger.requests, rng)
        bulkdel(*it.deletion(*slow, "--limit", 30))
        plan = it.plan()
        assert plan.code == 0, plan
        rows = [json.loads(row) for row in bulkdel("results", it.log, "--only", "deleted").out.splitlines()]
        gone = [pool.find(id_type, row["id"]) for row in rows]
        assert rows
        assert [json.loads(line) for line in it.derived.read_text().splitlines()] == [
            pool.user(number) for number in gone if number is not None
        ]


@mutant(
    "a restore does not say what cannot be told once a response is lost",
    "RestoreUsers.plan_lines",
    swap(
        'f"whether a user without any of {keys} was created, when no response came"',
        'f"which look-up finds a user without any of {keys}, when no response came"',
    ),
)
def test_users_with_nothing_but_an_identity_come_back_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No look-up finds them by a key, so each gets the id that the answer to its own request shows.

    The server creates users that have nothing to sign in with.
    """
    monkeypatch.setattr(calls, "check_new", check_values)
    monkeypatch.setattr(calls, "keys_of", lambda user: [user["name"]])
    identity = {"extIdpId": f"{7:024x}", "provider": "wechat", "type": "openid"}
    users = [{"name": f"User {n}", "identities": [{**identity, "userIdInIdp": f"ou_{n}"}]} for n in range(12)]
    pool = Pool()
    ids = [user["userId"] for user in pool.create(users, "2026-01-01T00:00:00.000Z")]
    with undo(tmp_path, ids, pool=pool) as it:
        it.delete()
        planned = " ".join(it.plan().out.split())
        assert "uncertain whether a user without any of email, phone, username, externalId was created, w" in planned
        ran = it.restore()
        assert (ran.code, ran.counts(), pool.users_ever) == (0, {"done": 12}, 24), ran.err
        back = {str(user["userId"]): user["identities"][0]["userIdInIdp"] for user in map(pool.user, pool.alive())}
        pairs = [json.loads(line) for line in it.map.read_text().splitlines()]
        assert [(pair["old"], back[pair["new"]]) for pair in pairs] == [(id_, f"ou_{n}") for n, id_ in enumerate(ids)]


@mutant(
    "a restore does not say with which status the users come back",
    "coming_back",
    swap("record.get(status)", 'record.get("state")'),
)
@mutant(
    "a restore takes no record from an earlier backup",
    "derive",
    swap("settings.records_of or ()", "(settings.records_of or [])[1:]"),
)
@mutant(
    "a deletion does not say that its backup lacks a part",
    "_backup_notes",
    swap("not any(part in record for record in _records(plan))", "all(part in record for record in _records(plan))"),
)
@mutant(
    "a restore does not say that a part is missing in the backup",
    "_write_map",
    swap("undoes.coming.lacking", "undoes.coming.lacking[1:]"),
)
def test_the_records_of_an_earlier_step_come_back_with_the_status_of_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disabled, resigned, then deleted, each with a backup, at a server that does not know withDepartmentIds."""
    monkeypatch.setitem(BULKY, "departmentIds", "withDepartments")
    ids = user_ids(60)
    with undo(tmp_path, ids) as it:
        for job in ("disable-users", "resign-users"):
            words = it.deletion()
            words[1], words[words.index("--backup-to") + 1] = job, tmp_path / f"before-{job}.jsonl"
            assert bulkdel(*words, "--run", tmp_path / job).code == 0
        planned = bulkdel("plan", *it.deletion()[1:5], "--backup-to", tmp_path / "x.jsonl")
        assert "no sampled record has departmentIds, although it was asked for" in planned.out
        it.delete()
        planned = it.plan()
        assert "with the status of their record: 60 Resigned" in planned.out
        resigning = it.plan("--records-of", tmp_path / "resign-users")
        assert "with the status of their record: 60 Suspended" in resigning.out
        assert "60 of these records have no departmentIds in the backup, so it does not come back" in planned.out
        earlier = ("--records-of", tmp_path / "disable-users" / "log.jsonl")
        assert "with the status of their record: 60 Activated" in it.plan(*earlier).out
        ran = it.restore(None, *earlier)
        assert (ran.code, ran.summary["done"]) == (0, 60), ran
        assert "60 records of the backup had no departmentIds" in ran.err
        pool = it.served.pool
        assert [pool.user(number)["status"] for number in pool.alive()] == ["Activated"] * 60


def test_a_halted_restore_says_how_it_goes_on_without_some_rows(tmp_path: Path) -> None:
    """It has no --exclude. The command that it prints brings back the lines that were copied."""
    ids = user_ids(12)
    with undo(tmp_path, ids) as it:
        it.delete()
        it.plan()
        rows = it.derived.read_text().splitlines(keepends=True)
        keys = [json.loads(row)[key] for row in rows[:10] for key in ("email", "username", "phone")]
        it.served.switches = it.served.switches.changed({"poisonous": dict.fromkeys(filter(None, keys), (400, None))})
        halted = it.restore(None, "--chunk-size", 1, "--concurrency", 1)
        assert (halted.code, len(it.served.pool), "--exclude" in halted.err) == (4, 0, False), halted
        assert f"copy the lines of the other rows that remain from {it.derived} into a new FILE" in halted.err
        some = tmp_path / "some.jsonl"
        some.write_text("".join(rows[10:]))
        line = halted.err.split("run the job on it (")[1].split(";")[0]
        words = [str(some) if word == "FILE" else word for word in shlex.split(line)]
        ran = bulkdel(*words[1:], "--confirm", 2, "--pool", POOL, "--rate", 0, "--json")
        assert (ran.code, ran.counts(), len(it.served.pool)) == (0, {"done": 2}, 2), ran


def test_killed_while_it_derives(tmp_path: Path) -> None:
    """The file has its name only when it is whole, and nothing else is left of the killed ones."""
    ids, rng = user_ids(3_000), new_rng()
    with undo(tmp_path, ids) as it:
        it.delete()
        whole = None
        for _ in range(4):
            process = start("restore", it.place, "--host", it.served.url, *NONE, "--plan")
            time.sleep(rng.uniform(0.05, 0.35))
            kill(process)
            if it.derived.exists():
                whole = whole or it.derived.read_bytes()
                assert it.derived.read_bytes() == whole
        assert it.plan().code == 0
        assert len(it.derived.read_bytes().splitlines()) == len(ids)
        assert whole in {None, it.derived.read_bytes()}
        assert not list(tmp_path.rglob(".*.part"))
        assert it.served.ledger.deleted == len(ids)


@mutant(
    "the log of the run learns of its restore only when it has ended",
    "Run._send",
    swap("self._before_sending is not None", "self._before_sending is not None and self._drained"),
)
def test_stopped_in_the_middle(tmp_path: Path) -> None:
    """SIGTERM: what is on the wire ends, the map has what has come back, and the log of the run says so."""
    ids = user_ids(60)
    with undo(tmp_path, ids, latency_after_s=0.3, fault_paths=frozenset({CREATE_PATH})) as it:
        it.delete()
        process = start(*it.restoring(60, "--concurrency", 1, "--chunk-size", 5))
        wait_until(lambda: len(it.served.pool) > 5, process)
        notes = [entry for entry in entries(it.log) if entry["type"] == "annotation"]
        assert [note["state"] for note in notes] == ["begun"], "it was noted before the first user was created"
        process.send_signal(signal.SIGTERM)
        ran = finish(process)
        assert ran.code == 143, ran
        back = len(it.served.pool)
        assert ran.summary["done"] == back < 60
        assert len(it.map.read_text().splitlines()) == back
        (note,) = [entry for entry in entries(it.log) if entry.get("state") == "ended"]
        assert (note["rows"], note["restored"], note["remaining"]) == (60, back, 60 - back)
        assert f"bulkdel restore {it.place} --passwords none" in ran.err
        it.served.switches = it.served.switches.changed({"latency_after_s": 0})
        assert it.restore().counts() == {"done": 60}
        assert it.served.pool.users_ever == 120


@mutant(
    "a restore begins anew where its log is not found",
    "_check_which",
    swap("is_fresh(log_place(place))", "not (progress.sent or place.name)"),
)
@pytest.mark.parametrize("way", ["moved", "stored"])
def test_a_second_restore_does_not_begin(way: str, tmp_path: Path) -> None:
    """The first one was moved away, or is in a store. Nothing is created twice."""
    ids = user_ids(12)
    store = ("--run", f"file://{tmp_path / 'store'}") if way == "stored" else ()
    with undo(tmp_path, ids, clashes="accept") as it:
        it.delete()
        assert it.restore(None, "--limit", 5, *store).summary["done"] == 5
        place = store[1] if store else it.undone_in
        if way == "moved":
            Path(place).rename(tmp_path / "away")
        refused = it.restore()
        assert (refused.code, len(it.served.pool)) == (3, 5), refused
        assert f"It was {place}. If it was moved" in refused.err, refused
        assert "Nothing was created" in refused.err, refused
        assert f"bulkdel restore {it.place}" in refused.err, refused
        if way == "moved":
            (tmp_path / "away").rename(place)
        assert it.restore(None, *store).counts() == {"done": 12}
        assert it.served.pool.users_ever == 24


@mutant(
    "an archive does not say that a restore stays in a store",
    "_Found.note_stored_restore",
    swap("is_store_url(place)", "not is_store_url(place)"),
)
def test_a_restore_in_a_store_stays_there(tmp_path: Path) -> None:
    """The archive and its command say so. Without the store nothing is created; with it the restore goes on."""
    store = f"file://{tmp_path / 'store'}"
    with undo(tmp_path, user_ids(12), clashes="accept") as it:
        it.delete()
        assert it.restore(None, "--limit", 5, "--run", store).summary["done"] == 5
        packed = bulkdel("pack", it.place, "--out", tmp_path / "run.tar.zst")
        assert f"not in it: {store}, the place of the restore, stays there" in packed.out, packed
        unpacked = bulkdel("unpack", tmp_path / "run.tar.zst", "--to", tmp_path / "new")
        assert f"The first machine had --run {store}. Add each to the command" in unpacked.err, unpacked
        run, given = tmp_path / "new" / "run", it.restoring(12)[2:]
        refused = bulkdel("restore", run, *given)
        assert (refused.code, len(it.served.pool)) == (3, 5), refused
        ran = bulkdel("restore", run, *given, "--run", store)
        assert (ran.code, ran.counts(), it.served.pool.users_ever) == (0, {"done": 12}, 24), ran


@mutant(
    "two restores begin at the same time",
    "_Found.annotate_begun",
    swap("log.progress.restores.keys() != self.progress.restores.keys()", "not log.progress.restores.keys()"),
)
def test_of_two_restores_at_the_same_time_one_begins(tmp_path: Path) -> None:
    """Both have read the log of the run before one of them notes that it begins. Their own logs are apart."""
    ids = user_ids(12)
    with undo(tmp_path, ids, clashes="accept") as it:
        it.delete()
        stores = [("--run", f"file://{tmp_path / name}") for name in ("one", "two")]
        # Each takes long from reading that log to its first creation.
        it.served.switches = it.served.switches.changed({"latency_s": 0.7})
        both = [finish(each) for each in [start(*it.restoring(12, *store)) for store in stores]]
        assert sorted(ran.code for ran in both) == [0, 3], both
        assert it.served.pool.users_ever == 24


@mutant(
    "a restore that could not bring all rows back ends as a success",
    "Run._summary",
    swap(
        'progress.counts["refused"] + progress.counts["unknown"] + self._arguments.not_restorable',
        'progress.counts["refused"] + progress.counts["unknown"]',
    ),
)
@mutant(
    "a refusal to begin does not say which options are missing",
    "confirmed_before",
    swap(
        "      NotConfirmed(\n"
        '    f"not confirmed: --confirm and --pool are missing; {due}. '
        '{plan.words.nothing}. To confirm"\n'
        '    f"{of_all_ids(plan)}:\\n  {plan.confirming_line}"\n'
        ")",
        "      NotConfirmed(\n"
        '    f"not confirmed: {due}. {plan.words.nothing}. To confirm"\n'
        '    f"{of_all_ids(plan)}:\\n  {plan.confirming_line}"\n'
        ")",
    ),
)
@pytest.mark.traced
def test_rows_without_a_record(tmp_path: Path) -> None:
    """Deleted by a session without a backup: the plan counts them, the restore brings the others and ends with 1."""
    ids = user_ids(60)
    with undo(tmp_path, ids) as it:
        it.delete("--limit", 20, backup=False)
        refused = it.restore(40)
        assert refused.code == 3
        assert "kept no backup" in refused.err
        it.delete()
        assert "20 rows have no record in a backup, and cannot be restored" in it.plan().out
        unasked = bulkdel("restore", it.log, "--host", it.served.url, *NONE)
        assert unasked.code == 2, unasked
        assert "--confirm and --pool are missing; only a run of delete-users can undo it" in unasked.err
        assert not len(it.served.pool)
        ran = it.restore(40)
        assert (ran.code, ran.counts(), ran.summary["exit_code"]) == (1, {"done": 40}, 1), ran
        assert "20 rows have no record in a backup and cannot be restored" in ran.err
        assert len(it.served.pool) == 40
        assert it.restore(40).code == 1


def test_runs_of_which_nothing_can_come_back(tmp_path: Path) -> None:
    """No row was deleted; then some, of which no record was kept."""
    ids, bystanders = user_ids(30), user_ids(5, seed=1)
    with undo(tmp_path, ids, pool=Pool.from_ids(bystanders)) as it:
        it.delete("--allow-absent", "--limit", 10)
        nothing = it.restore(0)
        assert nothing.code == 0, nothing
        assert "no row was deleted, so there is nothing to restore" in nothing.err
    other = tmp_path / "other"
    other.mkdir()
    with undo(other, ids, pool=Pool.from_ids([*ids[:10], *bystanders])) as it:
        it.delete("--allow-absent", "--limit", 10, backup=False)
        it.delete("--allow-absent")
        lost = it.restore(10)
        assert lost.code == 3, lost
        assert "none of its 10 rows that were deleted has a record in the backup" in lost.err


def next_command(out: str) -> list[str]:
    """The command that `status` prints under "To go on", without `bulkdel`."""
    lines = out.splitlines()
    (at,) = [at for at, line in enumerate(lines) if line.startswith("To go on")]
    return shlex.split(lines[at + 1])[1:]


@mutant(
    "a run deletes more while it is being restored",
    "check_goes_on",
    negate("not log.complete"),
)
def test_a_run_of_which_a_restore_has_begun_is_not_resumed(tmp_path: Path) -> None:
    """Refused, with the command that ends the restore, and the rows for another run. So no row is lost to either."""
    ids = user_ids(60)
    with undo(tmp_path, ids) as it:
        it.delete("--limit", 40)
        assert "40 rows of" in it.plan().out
        assert it.restore(40, "--limit", 10).code == 0
        for words in (it.deletion(), ["plan", *it.deletion()[1:]]):
            refused = bulkdel(*words)
            assert refused.code == 3, refused
            assert "a restore of this run has begun" in refused.err
            assert it.served.ledger.deleted == 40
        told = bulkdel("status", it.log).out
        assert "restore stopped (restore-1) on" in told
        assert "10 of 40 rows, 30 remaining" in told
        ran = bulkdel(*next_command(told), "--host", it.served.url, "--confirm", 40, "--pool", POOL)
        assert (ran.code, ran.counts()) == (0, {"done": 40}), ran
        assert len(it.map.read_text().splitlines()) == 40
        told = bulkdel("status", it.log).out
        assert "restored (restore-1) on" in told
        assert "To go on" not in told
        left = shlex.split(told.splitlines()[-1])[1:]
        rows = [json.loads(line) for line in bulkdel(*left).out.splitlines()]
        assert [row["id"] for row in rows] == ids[40:]
        assert len(it.served.pool) == 60


@mutant(
    "a printed command has an option that the program does not take",
    "how_to_restore",
    swap('"--only"', '"--onyl"'),
)
@mutant(
    "the printed restore of a forged log is that of another run",
    "_of_restore",
    swap("replace(line.without(*left_out), names=names)", "line.without(*left_out)"),
)
def test_the_printed_restore_of_a_forged_log_is_that_of_its_run(tmp_path: Path) -> None:
    """In `status`, and where a resume is refused. No file elsewhere is named; typed, it goes on."""
    with undo(tmp_path, user_ids(60)) as it:
        it.delete("--limit", 40)
        assert it.restore(40, "--limit", 10).code == 0

        def noted(*words: str) -> None:
            rewrite(
                it.log,
                lambda entry: {**entry, "to_go_on": ["bulkdel", *words]} if entry.get("event") == "undo" else entry,
            )

        noted("run", "delete-users", "/home/me/everyone.jsonl", "--max-refused", "100%")
        for told in (bulkdel("status", it.log).out, bulkdel(*it.deletion()).err):
            assert f"\n  bulkdel restore {it.place}\n" in told
            assert "everyone" not in told
        noted(
            "restore",
            "/home/me/prod.jsonl.runs/delete-users",
            "--passwords",
            "none",
            "--json",
            "--from-backup",
            "/home/me/hr.jsonl",
        )
        told = bulkdel("status", it.log).out
        assert f"\n  bulkdel restore {it.place} --passwords none --json\n" in told
        assert "Add what is meant: --from-backup /home/me/hr.jsonl\n" in told
        assert "prod" not in told
        ran = bulkdel(*next_command(told), "--host", it.served.url, "--confirm", 40, "--pool", POOL)
        assert (ran.code, ran.counts()) == (0, {"done": 40}), ran


@mutant(
    "a run that has gone on since the plan of its restore is restored in part",
    "_Found.annotate_begun",
    swap('log.progress.counts["done"] != self.derived.done', 'log.progress.counts["done"] < self.derived.done'),
)
@pytest.mark.traced
def test_a_run_that_goes_on_before_its_restore_is_confirmed(tmp_path: Path) -> None:
    """While the question stands, the run is resumed. Nothing is created, and the same command shows the new plan."""
    ids = user_ids(60)
    with undo(tmp_path, ids) as it:
        it.delete("--limit", 40)
        ours, theirs = pty.openpty()
        try:
            words = [word for word in it.restoring(40) if word not in {"--confirm", 40, "--pool", POOL}]
            process = start(*words, stdin=theirs)
            assert process.stderr is not None
            assert any(line.startswith(b"Type the number of ids to ") for line in process.stderr)
            it.delete()
            os.write(ours, b"40\n")
            ran = finish(process)
        finally:
            os.close(ours)
            os.close(theirs)
        assert ran.code == 3, ran
        assert "the run has gone on since the plan was made" in ran.err
        assert not it.served.pool
        shutil.rmtree(it.undone_in)
        assert it.restore(60).counts() == {"done": 60}


def test_one_config_file_serves_both_ways(tmp_path: Path) -> None:
    """What says nothing to a restore is left out: the type of id, the backup, the ids to keep."""
    addresses = [f"user{n}@x.org" for n in range(30)]
    keep = write_objects(tmp_path / "keep.jsonl", addresses[:5])
    config = tmp_path / "bulkdel.toml"
    with undo(tmp_path, addresses, id_type="email") as it:
        lines = ('id_type = "email"', f'backup_to = "{it.folder / it.backup}"', f'exclude = ["{keep}"]', "rate = 0")
        config.write_text("\n".join(["[run]", *lines, f'host = "{it.served.url}"', ""]))
        confirmed = ("--confirm", 25, "--pool", POOL, "--json", "--config", config)
        assert bulkdel("run", "delete-users", it.export, *confirmed).counts() == {"deleted": 25, "excluded": 5}
        ran = bulkdel("restore", it.log, "--host", it.served.url, "--passwords", "generate", *confirmed)
        assert (ran.code, ran.counts()) == (0, {"done": 25}), ran
        assert {it.served.pool.user(number)["email"] for number in it.served.pool.alive()} == set(addresses)


@pytest.mark.traced
def test_memberships_that_cannot_be_put_back_are_counted(tmp_path: Path) -> None:
    """The API does not say whose the end of a role is; the copies have moved since."""
    count = 40
    before, pool = full_users(count), full_users(count)
    with undo(tmp_path, [ids_of(pool.user(number), "user_id")[0] for number in range(count)], pool=pool) as it:
        it.delete("--backup-memberships")
        plan = it.plan().out
        assert "restore-memberships: of the" in plan
        assert "under the same confirmation; fires the webhook" in plan
        copies = [it.folder / it.backup, it.folder / "users.jsonl.memberships.jsonl.zst"]
        away = tmp_path / "away"
        away.mkdir()
        moved = [path.rename(away / path.name) for path in copies]
        ran = it.restore(count, *(word for path in moved for word in ("--from-backup", path)))
        assert ran.code == 1, ran
        assert f'They have "endTime":"unknown" in {moved[1]}' in ran.err
        left = {difference.field for difference in differences(before, pool)}
        assert left == {"roles"}


@mutant(
    "a restore may not have more rows than the config allows a run",
    "check_max",
    swap("plan.arguments.undoes is not None or plan.complete", "plan.complete"),
)
def test_the_largest_number_of_ids_is_no_guard_of_a_restore(tmp_path: Path) -> None:
    """It brings accounts back. A complete run repeats its summary, although the number was lowered since."""
    few = tmp_path / "few.toml"
    few.write_text("[protect]\nmax_ids = 1\n")
    with undo(tmp_path, user_ids(3)) as it:
        it.delete()
        it.delete("--config", few)
        restored = it.restore(None, "--config", few)
        assert (restored.code, len(it.served.pool)) == (0, 3), restored


@mutant(
    "the last summary of a restore does not have the exit code of the command",
    "_run",
    swap("ended.exit_code or exit_code", "ended.exit_code or min(exit_code, 0)"),
)
def test_the_last_summary_has_the_exit_code_of_the_restore(tmp_path: Path) -> None:
    """One user is refused, because its e-mail is taken; all memberships of the others are put back."""
    count = 12
    pool = full_users(count + 10)
    ids = [ids_of(pool.user(number), "user_id")[0] for number in range(count)]
    with undo(tmp_path, ids, pool=pool, assignment_targets=True) as it:
        taken = pool.user(3)["email"]
        it.delete("--backup-memberships")
        pool.add_ids([taken], "email")
        ran = it.restore()
        accounts, memberships = [json.loads(line) for line in ran.out.splitlines()]
        assert (accounts["refused"], memberships["refused"]) == (1, 0), ran
        assert (ran.code, accounts["exit_code"], memberships["exit_code"]) == (1, 1, 1)


def test_the_end_of_a_deletion_says_how_to_restore_it(tmp_path: Path) -> None:
    """With what signs in to the same server. Typed as it is, the command shows the plan, and its command restores."""
    with undo(tmp_path, user_ids(20)) as it:
        config = tmp_path / "b.toml"
        config.write_text("")
        words = "To see what a restore brings back of what was deleted, and how to begin it:"
        options = f"--passwords none --host {it.served.url} --config {config} --plan"
        ending = f"{words}\n  bulkdel restore {it.place} {options}\n"
        assert words not in it.delete("--limit", 5, backup=False).err
        for more in (("--limit", 5), ()):
            assert ending in it.delete(*more, "--config", config).err
        typed_as_it_is = bulkdel(*shlex.split(ending.splitlines()[1])[1:])
        assert (typed_as_it_is.code, len(it.served.pool)) == (0, 0), typed_as_it_is
        command = typed_as_it_is.out.split("To run this plan:\n")[1].strip()
        ran = bulkdel(*shlex.split(command)[1:], "--json")
        assert (ran.counts(), words in ran.err) == ({"done": 15}, False), ran
        assert "--passwords" in bulkdel("restore", "--help", env={}).out


@mutant(
    "users are created before the copy of their memberships is looked for",
    "_prepare",
    swap("_copy_of(arguments, progress, kept)", "kept"),
)
def test_a_copy_of_the_memberships_that_is_lost(tmp_path: Path) -> None:
    """It is missed before any user is created; the printed command brings the users back without it."""
    count = 20
    before, pool = full_users(count), full_users(count)
    with undo(tmp_path, [ids_of(pool.user(number), "user_id")[0] for number in range(count)], pool=pool) as it:
        it.delete("--backup-memberships")
        (it.folder / "users.jsonl.memberships.jsonl.zst").unlink()
        refused = it.restore(count)
        assert refused.code == 3, refused
        assert "the copy of the memberships is not there, or has changed. Nothing was created" in refused.err
        assert len(pool) == 0
        ran = bulkdel(*shlex.split(refused.err.splitlines()[-1])[1:])
        assert (ran.code, ran.counts()) == (0, {"done": count}), ran
        assert {each.field for each in differences(before, pool)} == {"groups", "roles"}
        assert f"{count} of {count} rows, 0 remaining, see" in bulkdel("status", it.log).out


def shaped_users(shapes: Sequence[str]) -> Pool:
    """A user with an id of each shape; every other one is in a group."""
    pool = Pool()
    for number, shape in enumerate(shapes):
        pool.put(full_user(number) | {"userId": shape.format(number)})
    pool.access.add_group("staff", range(0, len(shapes), 2))
    return pool


@mutant(
    "a restore refuses users whose ids have another shape than usual",
    "RestoreSettings.for_run",
    swap('Settings(**shared, format="jsonl", id_pattern=".*")', 'Settings(**shared, format="jsonl")'),
)
@mutant(
    "one record with an id that no export can have keeps all others from coming back",
    "CopyIndex._account_of",
    swap("isinstance(ANY_SHAPE.check(id_), str)", "ANY_SHAPE.check(id_)"),
)
def test_users_whose_ids_have_any_shape(tmp_path: Path) -> None:
    """UUIDs, capitals, a number of another system; only an id that no export can have is left out, and said."""
    shapes = [*("{:08d}-1111-2222-3333-444444444444", "6C{:022X}", "{}", "用户 {}") * 2, "a\u2028{}"]
    before, pool = shaped_users(shapes), shaped_users(shapes)
    emails = [pool.user(number)["email"] for number in range(len(shapes))]
    with undo(tmp_path, emails, pool=pool, id_type="email") as it:
        it.delete("--backup-memberships")
        ran = it.restore(8)
        assert ran.code == 1, ran
        assert "1 row has no record in a backup" in ran.err
        accounts, memberships = (json.loads(line) for line in ran.out.splitlines())
        assert (accounts["done"], memberships["done"]) == (8, 4)
        assert [(each.field, each.after) for each in differences(before, pool)] == [("user", 0)]
        mapped = [json.loads(line)["old"] for line in it.map.read_text().splitlines()]
        assert mapped == [before.user(number)["userId"] for number in range(8)]
        assert "8 of 8 rows, 0 remaining; 4 of 4 memberships, 0 remaining, see" in bulkdel("status", it.log).out


@mutant(
    "a user is deleted whose record no restore can read",
    "line_of",
    swap("len(line) > LINE_MAX", "len(line) > 2 * LINE_MAX"),
)
@pytest.mark.traced
def test_a_user_whose_record_no_restore_could_read_is_kept(tmp_path: Path) -> None:
    """The deletion halts before that user is sent, and names the row; the other users come back."""
    before, pool = Pool(), Pool()
    for number in range(6):
        user = full_user(number) | ({"address": "x" * LINE_MAX} if number == 3 else {})
        before.put(user)
        pool.put(user)
    ids = pool.user_ids()
    with undo(tmp_path, ids, pool=pool) as it:
        halted = bulkdel(*it.deletion("--chunk-size", 2, "--concurrency", 1))
        assert halted.code == 4, halted
        assert "row 3 (counted from 0): the record of this user takes 1,05" in halted.err
        assert ids[3] in pool.user_ids()
        it.ids = [*ids[:3], *ids[4:]]
        ran = it.delete("--exclude", write_objects(tmp_path / "keep.jsonl", ids[3:4]))
        assert ran.counts() == {"deleted": 5, "excluded": 1}
        assert it.restore().code == 0
        assert differences(before, pool) == []


@pytest.mark.traced
def test_accounts_without_memberships(tmp_path: Path) -> None:
    ids = user_ids(20)
    with undo(tmp_path, ids) as it:
        it.delete("--backup-memberships")
        ran = it.restore()
        assert (ran.code, ran.counts()) == (0, {"done": 20}), ran
        assert "None of these accounts has a membership to put back" in ran.err


@mutant(
    "a restore creates the accounts in another pool",
    "check_pool",
    swap(
        "undoes is not None and plan.pool is not None and plan.pool != undoes.pool",
        "undoes is not None and plan.pool is None",
    ),
)
def test_what_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    ids = user_ids(30)
    with undo(tmp_path, ids) as it:
        it.delete()
        whole = {path: path.read_bytes() for path in (it.export, it.folder / it.backup, it.log)}

        def refused(code: int, text: str, *more: object) -> Ran:
            ran = it.restore(30, *more)
            assert ran.code == code, ran
            assert text in ran.err
            assert not it.served.pool
            return ran

        backup, data = it.folder / it.backup, whole[it.folder / it.backup]
        backup.write_bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])
        refused(3, f"{backup}: its first {len(data):,} bytes are not those that the run wrote")
        backup.unlink()
        refused(3, "--from-backup FILE")
        moved = tmp_path / "moved"
        moved.write_bytes(data)
        refused(3, "is no backup of this run", "--from-backup", it.export)
        rows = input_file(it.log)
        kept = rows.read_bytes()
        rows.write_bytes(kept[:-1])
        refused(3, "rows 0 to 29 cannot be read", "--from-backup", moved)
        rows.write_bytes(kept)
        it.export.unlink()  # it is not read
        refused(3, "the run was against", "--from-backup", moved, "--host", "https://api.example.com")
        it.served.switches = it.served.switches.changed({"pool_id": "other"})
        refused(3, f"is a run on pool {POOL}, but this key signs in to pool other", "--from-backup", moved)
        assert not it.map.exists()
        it.served.switches = it.served.switches.changed({"pool_id": POOL})
        # The derived export of a restore that has begun must stay as it is.
        assert it.restore(30, "--from-backup", moved, "--limit", 10).code == 0
        it.derived.write_bytes(it.derived.read_bytes().replace(b"Activated", b"Suspended", 1))
        ran = it.restore(30)
        assert ran.code == 3, ran
        assert "belongs to another run" in ran.err
        assert f"leave {it.undone_in} as it is: a run has one restore" in ran.err
        assert len(it.served.pool) == 10


@mutant(
    "a restore does not know when the deletion ended",
    "_prepare",
    swap("progress.settled_at", "None"),
)
def test_a_restore_does_not_believe_look_ups_that_lag_behind_the_deletion(tmp_path: Path) -> None:
    """Look-ups show some users under their old id still, which were deleted a minute after the others."""
    ids, now = user_ids(30), 0.0
    pool = Pool(lambda: now)
    pool.add_ids(user_ids(40))
    with undo(tmp_path, ids, pool=pool, lag_s=50.0) as it:
        assert bulkdel(*it.deletion("--limit", 20)).code == 0
        now = 60.0
        it.delete()
        ran = it.restore()
        assert (ran.code, ran.counts()) == (4, {"done": 20, "remaining": 10})
        assert "look-ups do not show yet what became of 10 ids, because they may lag: go on in 10 minutes" in ran.err
        now = 120.0
        ran = it.restore()
        assert (ran.code, ran.counts()) == (0, {"done": 30})
        assert len(pool) == 40


def test_a_restore_of_users_that_look_ups_still_show_is_told_to_wait(tmp_path: Path) -> None:
    with undo(tmp_path, user_ids(30), lag_s=600.0) as it:
        it.delete()
        for ago, text in (
            (0, "look-ups may lag behind it. Nothing was restored. Run the same command again in 10 minutes"),
            (11, "Is it the right export and pool"),
        ):
            let_pass(it.log, ago)
            ran = it.restore()
            assert ran.code == 4
            assert text in ran.err


@mutant(
    "a restore waits for a pipe in the place of its derived export",
    "_copies_in",
    swap("open_regular(path)", 'path.open("rb")'),
)
def test_what_is_no_derived_export_of_a_begun_restore_is_refused(tmp_path: Path) -> None:
    """A pipe is not waited for, a link is not followed, and other texts are named; it is not needed."""
    with undo(tmp_path, user_ids(20)) as it:
        it.delete()
        assert it.restore(None, "--limit", 10).code == 0
        whole, elsewhere = it.derived.read_bytes(), tmp_path / "elsewhere"
        elsewhere.write_bytes(whole)
        deep = b"[" * 100_000
        texts = {
            b"[1]\n": "no record",
            b"secret\n": "no record",
            deep: "no record",
            b"x" * (LINE_MAX + 1): "over 1 MiB",
        }
        cases: list[tuple[Callable[[], object], str]] = [
            (lambda: os.mkfifo(it.derived), "is not a regular file"),
            (lambda: it.derived.symlink_to("/dev/zero"), "symbolic link"),
            (lambda: it.derived.symlink_to(elsewhere), "symbolic link"),
            *((lambda text=text: it.derived.write_bytes(text), said) for text, said in texts.items()),
        ]
        for make, said in cases:
            it.derived.unlink()
            make()
            ran = None
            with suppress(subprocess.TimeoutExpired):
                ran = it.plan(timeout=60)
            assert ran is not None, "restore does not end"
            assert (ran.code, said in ran.err, "secret" in ran.err) == (3, True, False), ran
        it.derived.unlink()
        assert it.restore().code == 0, "the rows are in the place of the restore"
        assert (len(it.served.pool), it.derived.exists()) == (20, False)


def test_a_record_that_is_nested_too_deep_is_refused_by_the_plan(tmp_path: Path) -> None:
    """Of a backup and a log that another person has written. One parser reads it, and the other does not."""
    with undo(tmp_path, user_ids(5)) as it:
        it.backup = "users.jsonl"
        it.delete()
        whole = (tmp_path / it.backup).read_bytes()
        data = whole.replace(b"}\n", b',"customData":{"a":%b%b}}\n' % (b"[" * 1_005, b"]" * 1_005), 1)
        (tmp_path / it.backup).write_bytes(data)
        known = {"backup": [len(data), zlib.crc32(data)]}
        rewrite(it.log, lambda entry: entry | (known if isinstance(entry.get("backup"), list) else {}))
        for ran in (it.plan(), it.restore()):
            assert (ran.code, "holds a line that is no record" in ran.err, len(it.served.pool)) == (3, True, 0), ran


@mutant(
    "a restore asks the base URL of the log and not the typed one",
    "_prepare",
    swap('settings.host or pinned["host"]', 'pinned["host"]'),
)
def test_the_key_goes_to_the_host_that_was_typed_and_not_to_what_a_log_makes_of_it(tmp_path: Path) -> None:
    """The log names another host, in words that end like the typed one; and another path of the same host."""
    with undo(tmp_path, user_ids(10)) as it, sandbox([]) as evil:
        it.delete()
        whole = it.log.read_bytes()
        host = it.served.url.partition("://")[2]
        for forged, code in ((f"{evil.url}/x://{host}", 3), (f"{it.served.url}/x", 0)):
            it.log.write_bytes(whole)

            def with_host(entry: dict[str, Any], forged: str = forged) -> dict[str, Any]:
                return {**entry, "pinned": {**entry["pinned"], "host": forged}} if entry["type"] == "header" else entry

            rewrite(it.log, with_host)
            ran = bulkdel("restore", it.log, "--host", it.served.url, *NONE, "--plan")
            assert (ran.code, evil.ledger.requests) == (code, 0), ran


@mutant(
    "a restore reads another run than one that has ended",
    "LogFile.held",
    drop("_lock(fd, self.log)"),
)
def test_only_a_run_that_has_ended(tmp_path: Path) -> None:
    ids = user_ids(40)
    with undo(tmp_path, ids, latency_after_s=1, fault_paths=DELETIONS) as it:
        process = start(*it.deletion("--concurrency", 2, "--chunk-size", 3))
        wait_until(lambda: it.served.ledger.deleted > 6, process)
        it.served.switches = it.served.switches.changed({"latency_after_s": WAIT_MAX_S})
        before = it.served.ledger.deleted
        wait_until(lambda: it.served.ledger.deleted > before, process)  # that request has no response before the kill
        alive = it.restore()
        assert alive.code == 3
        assert f"another run (pid {process.pid}) is under way" in alive.err
        kill(process)
        it.served.switches = it.served.switches.changed({"latency_after_s": 0})
        plan = it.plan()
        assert plan.code == 0, plan
        assert "in doubt in that run, and not restored" in plan.out
    sandboxed = bulkdel("run", "delete-users", it.export, "--sandbox", "--backup-to", tmp_path / "s.jsonl", "--rate", 0)
    assert sandboxed.code == 0, sandboxed
    refused = bulkdel("restore", log_of(it.export, sandbox=True), *NONE)
    assert refused.code == 3
    assert "users ended with it" in refused.err


@mutant(
    "the undo that takes ids is printed with a host that only the log names",
    "_other_way",
    swap(
        'if own:\n    line = line.plus("--host", pinned["host"])',
        'if own or undo.name:\n    line = line.plus("--host", pinned["host"])',
    ),
)
@mutant(
    "the command that is printed to undo disable-users does not say which status the users get",
    "_other_way",
    swap("line.plus(option, value)", "line.plus(option, value) if progress.backup is not None else line"),
)
def test_an_undo_that_takes_ids_is_a_command_to_type(tmp_path: Path) -> None:
    """disable-users is undone by enable-users from its backup, restore-users by delete-users: as it is printed."""
    ids = [f"{n:08d}-1111-2222-3333-444444444444" for n in range(12)]
    with undo(tmp_path, ids) as it:
        statuses = [it.served.pool.user(number)["status"] for number in range(12)]
        pattern = ("--id-pattern", "[0-9-]{36}")
        where = ("--host", it.served.url, "--rate", 0, "--confirm", 12, "--pool", POOL, *pattern)
        place = tmp_path / "off"
        backup = ("--backup-to", tmp_path / "off.backup.jsonl", "--run", place)
        disabled = bulkdel("run", "disable-users", it.export, *where, *backup)
        assert (disabled.code, "restore brings back" in disabled.err) == (0, False), disabled
        typed(bulkdel("restore", place), 12, it.served.url)
        assert [it.served.pool.user(number)["status"] for number in range(12)] == statuses
        plain = tmp_path / "plain"
        assert bulkdel("run", "disable-users", it.export, *where, "--run", plain).code == 0
        typed(bulkdel("restore", plain), 12, it.served.url)
        assert {it.served.pool.user(number)["status"] for number in range(12)} == {"Activated"}
        it.delete(*pattern)
        assert it.restore().code == 0
        typed(bulkdel("restore", it.undone_in), 12, it.served.url)
        assert not it.served.pool
        again = log_of(it.undone_in.with_name("restore-1-done.jsonl")).parent
        assert bulkdel("status", again, "--json").summary["deleted"] == 12
    assert bulkdel("restore", tmp_path / "typo", *NONE).code == 3


@mutant(
    "the printed undo takes the statuses of any file that a log names",
    "_other_way",
    swap("only_logged((path,), run, progress, environ)", "only_logged((), run, progress, environ)"),
)
def test_a_printed_undo_names_no_backup_that_only_a_log_names(tmp_path: Path) -> None:
    """One elsewhere that this user has typed is named."""
    ids, evil = user_ids(12), tmp_path / "evil.jsonl"
    (tmp_path / "other").mkdir()
    with undo(tmp_path, ids) as it:
        log, backup = tmp_path / "other/off/log.jsonl", tmp_path / "off.backup.jsonl"
        where = ("--host", it.served.url, "--rate", 0, "--confirm", 12, "--pool", POOL)
        disabled = bulkdel("run", "disable-users", it.export, *where, "--backup-to", backup, "--run", log.parent)
        assert disabled.code == 0, disabled
        told = bulkdel("restore", log).err
        assert f" --from-backup {backup}" in told.splitlines()[-1]
        backup.rename(evil)
        rewrite(log, lambda entry: json.loads(json.dumps(entry).replace(str(backup), str(evil))))
        told = bulkdel("restore", log).err
        assert "--from-backup" not in told.splitlines()[-1]
        assert f"Only the log names the backup {evil}. If that is where you keep it, add --from-backup with it." in told


def typed(ran: Ran, ids: int, host: str) -> None:
    """Type the two commands that a refusal prints. `jq` may not be installed, so the test does its work."""
    assert ran.code == 2, ran
    first, second = (shlex.split(line)[1:] for line in ran.err.splitlines()[-2:])
    pipe = first.index("|")
    jq, member, into, path = first[pipe + 1 :]
    assert (jq, into) == ("jq", ">")
    told = bulkdel(*first[:pipe])
    assert told.code == 0, told
    Path(path).write_text("".join(f"{json.dumps(json.loads(row)[member[1:]])}\n" for row in told.out.splitlines()))
    # No key goes to a host that only the log names: it is typed.
    assert ("--host" in second, f"The run was against {host}, " in ran.err) == (False, True), ran
    done = bulkdel(*second, "--host", host, "--confirm", ids, "--pool", POOL)
    assert done.code == 0, done


@mutant(
    "a restore asks the store that only the log names",
    "_own_backups",
    swap(
        "begun if not own else earlier",
        "begun if own else earlier",
    ),
)
def test_no_store_is_asked_that_only_a_log_names(tmp_path: Path) -> None:
    """Before the address is typed neither the store nor the API hears of it. The run itself has it from the person."""
    with object_server() as store, undo(tmp_path, user_ids(10)) as it:
        env, backup = {**KEYS, **store.environ}, "s3://runs/users.jsonl.gz"
        ran = bulkdel(*it.deletion("--backup-to", backup, backup=False), env=env)
        assert (ran.code, len(it.served.pool)) == (0, 0), ran
        printed = next(line for line in ran.err.splitlines() if line.startswith("  bulkdel restore"))
        assert f"--from-backup {backup} --plan" in printed
        words = ("restore", it.log, "--host", it.served.url, *NONE)
        with unheard(store, it):
            for more in (("--plan",), ("--confirm", 10, "--pool", POOL)):
                refused = bulkdel(*words, *more, env=env)
                assert (refused.code, f"in a store: {backup}. " in refused.err) == (2, True), refused
                line = refused.err.splitlines()[-1]
                assert (line.startswith("  bulkdel restore"), "s3://" in line) == (True, False), line
        before = len(store.asked)
        planned = bulkdel(*shlex.split(printed)[1:], env=env)
        assert (planned.code, len(store.asked) > before) == (0, True), planned
        back = bulkdel(*words, "--confirm", 10, "--pool", POOL, "--from-backup", backup, "--json", env=env)
        assert back.counts() == {"done": 10}, back


def test_no_store_is_asked_that_only_the_log_of_an_earlier_run_names(tmp_path: Path) -> None:
    with object_server() as store, undo(tmp_path, user_ids(10)) as it:
        env, backup, first = {**KEYS, **store.environ}, "s3://runs/disabled.jsonl.gz", tmp_path / "first"
        words = ("disable-users", it.export, "--host", it.served.url, "--rate", 0, "--confirm", 10, "--pool", POOL)
        disabled = bulkdel("run", *words, "--backup-to", backup, "--run", first, env=env)
        assert disabled.code == 0, disabled
        it.delete()
        with unheard(store, it):
            refused = it.plan("--records-of", first, env=env)
            assert (refused.code, f"{first}: names 1 backup in a store: {backup}. " in refused.err) == (2, True), (
                refused
            )
        before = len(store.asked)
        typed = it.plan("--records-of", first, "--from-backup", backup, env=env)
        assert (typed.code, len(store.asked) > before) == (0, True), typed


@mutant(
    "a restore reads any file that a log names",
    "_own_backups",
    swap("only_logged(in_files, run, logs[run], environ)", "only_logged((), run, logs[run], environ)"),
)
@mutant(
    "a log that knows nothing of a file has all of it sent",
    "_backups",
    swap(
        "not progress.header.shards and mac_holds(progress.start, read_key(environ))",
        "not progress.header.shards or mac_holds(progress.start, read_key(environ))",
    ),
)
@pytest.mark.parametrize(("all_of_it", "code"), [(False, 3), (True, 2)])
def test_no_file_elsewhere_is_read_that_only_a_log_names(all_of_it: bool, code: int, tmp_path: Path) -> None:
    """Nor what follows the part that the log knows. One's own log may name any folder."""
    (tmp_path / "private").mkdir()
    (tmp_path / "run").mkdir()
    ids, private, backup = user_ids(10), tmp_path / "private/hr.jsonl", tmp_path / "private/users.jsonl"
    private.write_text("".join(f'{{"userId":"{each}","status":"Activated","name":"SALARY 9"}}\n' for each in ids))
    known = [private.stat().st_size, zlib.crc32(private.read_bytes())] if all_of_it else [0, 0]

    def forged(entry: dict[str, Any]) -> dict[str, Any]:
        named = json.loads(json.dumps(entry).replace(str(backup), str(private)))
        return {**named, "backup": known} if isinstance(entry.get("backup"), list) else named

    with undo(tmp_path / "run", ids) as it:
        it.delete("--backup-to", backup, backup=False)
        own, asked = it.log.read_bytes(), len(it.served.ledger.arrivals)
        rewrite(it.log, forged)
        for ran in (it.plan(), it.restore()):
            assert (ran.code, f"names 1 backup in another folder: {private}. " in ran.err) == (code, all_of_it), ran
            assert "hr.jsonl" not in ran.err.splitlines()[-1]
        assert not it.derived.exists() or not it.derived.read_bytes()
        assert (len(it.served.ledger.arrivals), len(it.served.pool)) == (asked, 0)
        typed = it.plan("--from-backup", private)
        assert (typed.code, re.findall(" backups +(.*)", typed.out)) == ((0, [str(private)]) if all_of_it else (3, []))
        it.log.write_bytes(own)
        assert re.findall(" backups +(.*)", it.plan().out) == [str(backup)]
        assert it.restore().counts() == {"done": 10}


@mutant(
    "a restore reads any file as the memberships that a log names",
    "_copy_of",
    swap("not given", "not given and kept.size < 0"),
)
def test_no_memberships_elsewhere_are_read_that_only_a_log_names(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with undo(tmp_path / "run", user_ids(10)) as it:
        it.delete("--backup-memberships")
        copy = it.folder / "users.jsonl.memberships.jsonl.zst"
        moved = copy.rename(tmp_path / copy.name)
        rewrite(it.log, lambda entry: json.loads(json.dumps(entry).replace(str(copy), str(moved))))
        asked = len(it.served.ledger.arrivals)
        ran = it.restore()
        assert (ran.code, f"names 1 backup in another folder: {moved}. " in ran.err) == (2, True), ran
        assert (len(it.served.ledger.arrivals), len(it.served.pool)) == (asked, 0)
        typed = it.restore(10, "--from-backup", moved, "--from-backup", it.folder / it.backup)
        assert (typed.code, len(it.served.pool)) == (0, 10), typed


@contextmanager
def unheard(store: ObjectServer, it: Undo) -> Iterator[None]:
    """Neither the store nor the API is asked for anything."""
    before = len(store.asked), len(it.served.ledger.arrivals)
    yield
    assert (len(store.asked), len(it.served.ledger.arrivals)) == before
