"""`bulkdel restore --only`: some accounts come back, each restore is a run of its own, and nothing comes back twice."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.genauth.create_users import CREATE_PATH
from bulkdel_jobs.sandbox import LOOKUP_PATH, Pool, Switches, serve_in_thread
from bulkdel_jobs.sandbox.users import ids_of
from tests.e2e.test_restore import NONE, Undo, undo
from tests.full_users import full_users
from tests.harness import KEYS, POOL, Ran, bulkdel, kill, start, wait_until, write_objects
from tests.mutants import mutant
from tests.places import restore_log
from tests.recorded import let_pass
from tests.syntax import drop, swap

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COUNT = 60


@contextmanager
def deleted(folder: Path, *more: object, id_type: str = "email", pool: Pool | None = None) -> Iterator[Undo]:
    """A pool of users with keys, of which a run has deleted those with an e-mail."""
    users = full_users(COUNT) if pool is None else pool
    ids = [id_ for number in range(len(users)) for id_ in ids_of(users.user(number), id_type)]
    write_objects(folder / "export.jsonl", ids)
    with serve_in_thread(users, Switches(assignment_targets=True)) as served:
        it = Undo(folder, served, ids, id_type)
        it.delete(*more)
        yield it


def only(it: Undo, rows: int, *named: object, more: tuple[object, ...] = ()) -> Ran:
    """Restore these alone."""
    return bulkdel(*words(it, rows, *named), *more, cwd=it.folder)


def words(it: Undo, rows: int, *named: object) -> list[object]:
    return it.restoring(rows, *(word for each in named for word in ("--only", each)))


def alive(it: Undo, *emails: str) -> list[bool]:
    return [it.served.pool.find_alive("email", email) is not None for email in emails]


def records(it: Undo) -> dict[str, Any]:
    """The records of the backup, by e-mail."""
    lines = zstd.decompress((it.folder / it.backup).read_bytes()).decode().splitlines()
    return {record["email"]: record for record in map(json.loads, lines)}


@mutant(
    "restore brings back accounts that --only does not name",
    "CopyIndex.take",
    swap("wanted is None or account in wanted", "wanted is None or account"),
)
@mutant(
    "a later restore brings back what an earlier one has brought back",
    "derive",
    swap("index.leave_out(id_)", "len(id_) > 0"),
)
def test_three_users_come_back(tmp_path: Path) -> None:
    """By e-mail, by the old user id, and from a file. The others stay deleted, and can be restored later."""
    with deleted(tmp_path) as it:
        a, b, c, *others = it.ids
        (tmp_path / "ceo.txt").write_text(f"{c}\n")
        named = (a.upper(), records(it)[b]["userId"], "ceo.txt")
        planned = bulkdel(*(word for word in words(it, 3, *named) if word != "--json"), "--plan", cwd=tmp_path)
        assert planned.code == 0, planned.err
        assert re.search(rf"\n  found +{a.upper()} is {records(it)[a]['userId']}\n", planned.out)
        ran = only(it, 3, *named)
        assert (ran.code, ran.counts()) == (0, {"done": 3}), ran
        assert alive(it, a, b, c, *others) == [True] * 3 + [False] * len(others)
        for log in (it.log, restore_log(it.log)):
            assert not any(each in log.read_text() for each in (a, a.upper(), b, c))
        told = bulkdel("status", it.place).out
        assert ("restored (restore-1) on " in told, "To go on" in told) == (True, False), told
        again = only(it, 3, a, b, c)
        assert (again.code, "Other restores have 3 accounts" in again.err) == (0, True), again
        rest = it.restore(len(others))
        assert (rest.code, rest.counts()) == (0, {"done": len(others)}), rest
        assert (it.place / "restore-2" / "log.jsonl").exists()
        assert it.served.pool.users_ever == COUNT + len(it.ids), "a user was created twice"


def test_what_is_not_found_is_named(tmp_path: Path) -> None:
    with deleted(tmp_path) as it:
        a, b, *_ = it.ids
        assert only(it, 1, a).code == 0
        ran = only(it, 1, a, b, "nobody@x.org", more=("--plan",))
        facts = json.loads(ran.out)["only"]
        assert facts == {"found": 1, "other_restores": 1, "not_found": 1, "not_done": 0}
        ran = only(it, 1, a, b, "nobody@x.org")
        assert (ran.code, ran.counts()) == (1, {"done": 1}), ran
        assert re.search(r"\n  not found +nobody@x.org\n", ran.err)
        assert f"{a}: restore-1 has brought it back" in ran.err
        lost = only(it, 0, "nobody@x.org", "nothing")
        assert (lost.code, "2 ids of --only cannot be restored" in lost.err) == (3, True), lost
        assert it.served.pool.users_ever == COUNT + 2


def test_an_id_that_may_mean_two_accounts_is_refused(tmp_path: Path) -> None:
    """A number without a country code. Each account is named by its own id."""
    pool = full_users(COUNT)
    pool.change(0, {"phone": "13800000001", "phoneCountryCode": "+86"}, at="2026-01-01T00:00:00Z")
    pool.change(1, {"phone": "13800000001", "phoneCountryCode": "+49"}, at="2026-01-01T00:00:00Z")
    with deleted(tmp_path, pool=pool) as it:
        ran = only(it, 1, "13800000001")
        assert ran.code == 3, ran
        assert "1 id that may mean several accounts. Nothing was created." in ran.err
        assert len(set(ran.err.splitlines()[-1].split(": ")[1].split(" or "))) == 2
        assert it.served.pool.users_ever == COUNT


@mutant(
    "a restore by --only closes the run",
    "RunState.undo",
    swap('not entry.facts.get("only")', "entry"),
)
def test_the_run_goes_on_after_some_were_restored(tmp_path: Path) -> None:
    with deleted(tmp_path, "--limit", 20) as it:
        first = it.ids[0]
        assert only(it, 1, first).code == 0
        assert alive(it, first) == [True]
        ran = it.delete("--confirm", len(it.ids) - 1)  # what came back is excluded
        assert ran.counts()["deleted"] == len(it.ids), ran
        assert alive(it, *it.ids) == [True] + [False] * (len(it.ids) - 1)
        assert only(it, 1, it.ids[-1]).code == 0
        assert alive(it, it.ids[-1]) == [True]


def by_phone() -> tuple[Pool, list[str]]:
    """A pool, and the phone numbers of some of its users: first with the country code, then without it."""
    pool = full_users(COUNT)
    users = [pool.user(number) for number in range(COUNT)]
    having = Counter(user["phone"] for user in users)
    numbers = [user["phone"] for user in users if user["phoneCountryCode"] == "+86" and having[user["phone"]] == 1]
    return pool, [*(f"+86{number}" for number in numbers), *numbers]


@mutant(
    "a resume deletes what a restore has brought back",
    "kept_by_restores",
    swap("sorted(log.back)", "sorted(log.back)[:0]"),
)
def test_a_resume_keeps_what_a_restore_has_brought_back_under_another_spelling_of_its_id(tmp_path: Path) -> None:
    pool, ids = by_phone()
    half = len(ids) // 2
    write_objects(tmp_path / "export.jsonl", ids)
    with undo(tmp_path, ids, pool=pool, id_type="phone") as it:
        it.delete("--limit", half, "--chunk-size", half)
        before = it.served.pool.deleted
        assert only(it, 1, ids[1]).code == 0
        ran = it.delete("--confirm", len(ids) - 2)  # both spellings are excluded
        assert it.served.pool.deleted == before, ran
        assert ran.counts() == {"deleted": half, "excluded": 1, "absent": half - 1}


@pytest.mark.parametrize("way", [("csv", "utf-16-le"), ("csv", "cp1252"), ("lines", "cp1252")], ids=str)
def test_a_resume_reads_what_came_back_whatever_the_export_is_like(way: tuple[str, str], tmp_path: Path) -> None:
    (form, encoding), pool, export = way, full_users(COUNT), tmp_path / "export.csv"
    emails = [email for number in range(COUNT) if (email := pool.user(number)["email"]) is not None]
    rows = ["Kunde;Mail", *(f"K;{email}" for email in emails)] if form == "csv" else emails
    export.write_text("".join(f"{row}\n" for row in rows), encoding, "replace")
    with serve_in_thread(pool) as served:
        column = ("--id-field", "Mail") if form == "csv" else ()
        read = ("--id-type", "email", "--format", form, "--encoding", encoding, "--id-pattern", ".+@.+", *column)
        where, confirmed = ("--host", served.url, "--pool", POOL), ("--confirm", len(emails), "--limit", 9)
        ran = bulkdel("run", "delete-users", export, *read, *where, *confirmed, "--backup")
        assert ran.code == 0, ran
        place = tmp_path / "export.csv.runs" / "delete-users"
        assert bulkdel("restore", place, *NONE, *where, "--only", emails[1], "--confirm", 1).code == 0
        ran = bulkdel("resume", place, *where, "--confirm", len(emails) - 1)
        assert (ran.code, pool.find_alive("email", emails[1]) is not None) == (0, True), ran
        assert len([email for email in emails if pool.find_alive("email", email) is not None]) == 1


@mutant(
    "a run is resumed while a restore of some of its rows goes on",
    "check_restored",
    swap("not undo.is_restored", "undo.is_restored"),
)
def test_a_run_is_not_resumed_before_its_restore_has_ended_nor_without_what_it_brought_back(tmp_path: Path) -> None:
    with deleted(tmp_path, "--limit", 20) as it:
        some, before = it.ids[:3], it.served.pool.deleted
        assert only(it, 3, *some, more=("--limit", 1)).code == 0
        refused = bulkdel(*it.deletion())
        assert (refused.code, "restore-1 of this run has not ended" in refused.err) == (3, True), refused
        assert only(it, 3, *some).code == 0
        keep = it.place / "restore-1" / "keep.jsonl"
        keep.rename(tmp_path / "moved.jsonl")
        refused = bulkdel(*it.deletion())
        assert (refused.code, f"{keep}: is not there" in refused.err) == (3, True), refused
        assert it.served.pool.deleted == before, "nothing was sent"


def test_a_restore_of_all_brings_these_back_too(tmp_path: Path) -> None:
    with deleted(tmp_path) as it:
        assert it.restore(None, "--limit", 5).code == 0
        refused = only(it, 1, it.ids[-1])
        assert (refused.code, "brings back these too" in refused.err) == (3, True), refused
        (line,) = (line for line in refused.err.splitlines() if line.startswith("  bulkdel restore"))
        rest = bulkdel(*shlex.split(line)[1:], "--host", it.served.url, "--confirm", len(it.ids), "--pool", POOL)
        assert rest.code == 0, rest
        assert all(alive(it, *it.ids))


def test_killed_and_typed_again(tmp_path: Path) -> None:
    """By the printed command too, which holds no id."""
    with deleted(tmp_path) as it:
        some = it.ids[:30]
        (tmp_path / "some.txt").write_text("\n".join(some))
        process = start(*words(it, 30, "some.txt"), "--chunk-size", 3, "--concurrency", 1, cwd=tmp_path)
        wait_until(lambda: it.served.ledger.by_path[CREATE_PATH] >= 3, process)
        kill(process)
        told = bulkdel("status", it.place).out
        line = told.split("To go on with the restore")[1].splitlines()[1]
        assert f"--only {it.place}/only-1.jsonl" in line
        let_pass(restore_log(it.log), 11)
        rest = bulkdel(*shlex.split(line)[1:], "--host", it.served.url, "--confirm", 30, "--pool", POOL, cwd=tmp_path)
        assert rest.code == 0, rest
        assert alive(it, *some) == [True] * 30
        assert it.served.pool.users_ever == COUNT + 30
        assert not (it.place / "restore-2").exists()


@mutant(
    "the list of what came back keeps the old ids of users that have new ones",
    "write_map",
    swap(
        "[new] if ids_of is None else ids_of(json.loads(rows.records[row - rows.at]))",
        "[old] if ids_of is None else ids_of(json.loads(rows.records[row - rows.at]))",
    ),
    case="user_id",
)
@pytest.mark.parametrize("id_type", ["email", "user_id"])
def test_what_came_back_is_kept_from_a_second_deletion(id_type: str, tmp_path: Path) -> None:
    """The old list deletes them again, unless keep.jsonl is excluded."""
    with deleted(tmp_path, id_type=id_type) as it:
        email = next(iter(records(it)))
        ran = only(it, 1, email)
        keep = it.place / "restore-1" / "keep.jsonl"
        assert (ran.code, f"To keep them: --exclude {keep}" in ran.err) == (0, True), ran
        user = it.served.pool.find_alive("email", email)
        assert user is not None
        new = ids_of(it.served.pool.user(user), id_type)[0]
        assert json.loads(keep.read_text())["id"].lower() == new.lower()
        write_objects(tmp_path / "again.jsonl", [new])
        where = ("--host", it.served.url, "--id-type", id_type, "--exclude", keep)
        ran = bulkdel("plan", "delete-users", tmp_path / "again.jsonl", *where, "--json")
        assert json.loads(ran.out)["excluded"] == 1, ran


def test_what_they_wrote_is_forgotten(tmp_path: Path) -> None:
    with deleted(tmp_path) as it:
        for nth in (0, 1):
            assert only(it, 1, it.ids[nth]).code == 0
        report = bulkdel("report", it.place, "--out", tmp_path / "report.json")
        assert report.code == 0, report
        told = f"Restored since: 2 of {len(it.ids)} deleted (restore-1, restore-2)."
        assert told in (tmp_path / "report.json").read_text()
        verified = bulkdel("verify", it.place, "--host", it.served.url, "--rate", 0)
        assert f"restored since: 2 of {len(it.ids)} deleted (restore-1, restore-2)" in verified.out, verified
        listed = bulkdel("forget", it.place).out
        for nth in (1, 2):
            names = ("keep.jsonl", "records.jsonl", "new-ids.jsonl", "input.jsonl.zst")
            for path in (f"only-{nth}.jsonl", *(f"restore-{nth}/{name}" for name in names)):
                assert f"  remove  {it.place}/{path}, " in listed, listed


@mutant(
    "verify believes the log of a restore that another user has begun",
    "Restored._made_in",
    swap("mac_holds(progress.start, self.key)", "progress.start is not None"),
)
@mutant(
    "verify knows nothing of what restores have made",
    "VerifySession._settle_undated",
    swap("made.issuperset(ids)", "not made"),
)
def test_who_came_back_at_once_is_verified(tmp_path: Path) -> None:
    """Within the minutes in which no time tells the new account from the old one. Only this user's restore counts."""
    pool = full_users(COUNT)
    for number in range(COUNT):
        email = f"user{number}@example.com"
        pool.change(number, {"email": email}, at="2026-01-01T00:00:00Z")
    with deleted(tmp_path, pool=pool) as it:
        a, b, *_ = it.ids
        it.served.pool.add_ids(["by@stander.example"], "email")
        assert only(it, 2, a, b).code == 0
        env = {**KEYS, "XDG_STATE_HOME": str(tmp_path / "other")}
        verifying = ("verify", it.place, "--host", it.served.url, "--rate", 0)
        ran = bulkdel(*verifying, "--json", env=env)
        found = json.loads(ran.out)
        assert (ran.code, found["could_not_tell"], found["recreated"]) == (4, 2, 0), ran
        assert f"bulkdel verify {it.place}/restore-1" in ran.err
        ran = bulkdel(*verifying, "--json")
        found = json.loads(ran.out)
        assert (ran.code, found["gone"], found["recreated"]) == (0, len(it.ids), 2), ran


@mutant(
    "a row that a restore has made is found twice",
    "VerifySession.run",
    drop("await workers.flush()"),
)
def test_a_second_pass_leaves_out_who_came_back(tmp_path: Path) -> None:
    """The look-up of other rows fails once, and is repeated."""
    pool = full_users(60)
    for number in range(60):
        pool.change(number, {"email": f"user{number}@example.com"}, at="2026-01-01T00:00:00Z")
    with deleted(tmp_path, pool=pool) as it:
        it.served.pool.add_ids(["by@stander.example"], "email")
        assert only(it, 1, it.ids[0]).code == 0
        it.served.script(None, None, None, "400", path=LOOKUP_PATH)  # a control, the first chunk twice
        ran = bulkdel("verify", it.place, "--host", it.served.url, "--rate", 0, "--concurrency", 1, "--json")
        found = json.loads(ran.out)
        assert (ran.code, found["gone"], found["recreated"]) == (0, 60, 1), ran


def printed(ran: Ran, begin: str = "  bulkdel restore") -> list[str]:
    """The command that was printed, as words."""
    return next(shlex.split(line)[1:] for line in (ran.out + ran.err).splitlines() if line.startswith(begin))


@mutant(
    "a printed command restores what a later plan has named",
    "OnlyThese.of",
    swap("cls(max([*there, *used, 0]) + 1, texts)", "cls(1, texts)"),
)
def test_a_printed_command_restores_what_its_plan_has_shown(tmp_path: Path) -> None:
    """Other plans and other restores between them change nothing. A file of the user is not replaced."""
    with deleted(tmp_path) as it:
        first, second, third = it.ids[:3]
        (it.place / "only-1.jsonl").write_text("mine\n")
        planned = [only(it, 1, each, more=("--plan",)) for each in (first, second)]
        assert [each.code for each in planned] == [0, 0], planned
        assert only(it, 1, third).code == 0
        command = json.loads(planned[0].out)["command"][1:]
        ran = bulkdel(*command, cwd=tmp_path)
        assert (ran.code, alive(it, first, second, third)) == (0, [True, False, True]), ran
        assert (it.place / "only-1.jsonl").read_text() == "mine\n"


@mutant(
    "an account that an unfinished restore has is created by another one too",
    "_of_others",
    swap("result.kind == REMAINING", "result.in_doubt"),
)
@pytest.mark.parametrize("other", ["some", "all"])
def test_an_account_belongs_to_the_first_restore_that_names_it(other: str, tmp_path: Path) -> None:
    """A user with nothing but an identity could be created twice: no look-up finds it."""
    with deleted(tmp_path, pool=full_users(COUNT)) as it:
        some = it.ids[:3]
        assert only(it, 3, *some, more=("--limit", 1)).code == 0
        if other == "some":
            ran = only(it, 0, some[1])
            assert (ran.code, "restore-1 has them, and has not ended" in ran.err) == (3, True), ran
            ran = only(it, 1, some[1], it.ids[3])
            assert f"{some[1]}: restore-1 has it, and has not ended" in ran.err
        else:
            ran = it.restore(len(it.ids) - 3)
        assert ran.code == 0, ran
        refused = bulkdel("pack", it.place, "--out", tmp_path / "a.tar.gz")
        assert (refused.code, "restore-1 has not ended" in refused.err) == (3, True), refused
        rest = only(it, 3, *some)
        assert (rest.code, rest.counts()) == (0, {"done": 3}), rest
        assert it.served.pool.users_ever == COUNT + 4 if other == "some" else COUNT + len(it.ids)
        assert bulkdel("pack", it.place, "--out", tmp_path / "a.tar.gz").code == 0


def test_a_moved_place_prints_no_restore_of_all(tmp_path: Path) -> None:
    """The file with the ids is in the place. Without it, no command is printed."""
    with deleted(tmp_path) as it:
        assert only(it, 3, *it.ids[:3], more=("--limit", 1)).code == 0
        it.place.parent.rename(tmp_path / "moved")
        moved = tmp_path / "moved" / "delete-users"
        line = bulkdel("status", moved).out.split("To go on with the restore")[1].splitlines()[1]
        assert f"--only {moved}/only-1.jsonl" in line
        (moved / "only-1.jsonl").rename(tmp_path / "away.jsonl")
        told = bulkdel("status", moved).out
        assert ("name the same ids again" in told, "bulkdel restore" in told) == (True, False), told


def test_memberships_that_were_left_out_come_back_later(tmp_path: Path) -> None:
    with deleted(tmp_path, "--backup-memberships") as it:
        some = it.ids[:5]
        assert only(it, 5, *some, more=("--without-memberships",)).code == 0
        ran = only(it, 5, *some)
        assert (ran.code, (it.place / "restore-1" / "memberships" / "log.jsonl").exists()) == (0, True), ran
        assert not (it.place / "restore-2").exists()


def test_an_earlier_restore_that_is_not_found_is_named(tmp_path: Path) -> None:
    with deleted(tmp_path) as it:
        a, b, c, *_ = it.ids
        assert only(it, 1, a, more=("--run", tmp_path / "elsewhere")).code == 0
        assert only(it, 1, b).code == 0, "the log says where it is"
        (tmp_path / "elsewhere").rename(tmp_path / "away")
        ran = only(it, 1, c)
        assert (ran.code, f"the log of restore-1 is neither in {it.place}/restore-1 nor in" in ran.err) == (3, True), (
            ran
        )
        (tmp_path / "away").rename(tmp_path / "elsewhere")
        assert only(it, 1, c, more=("--run", f"file://{tmp_path}/rest")).code == 0
        ran = only(it, 1, it.ids[4])
        assert (ran.code, "After a restore in a store there is no further one" in ran.err) == (3, True), ran


@pytest.mark.parametrize(
    ("named", "says"),
    [("s3://bucket/list", "give an id, or a file on this machine"), ("https://x.org/?q", "give an id, or a file")],
)
def test_what_only_does_not_take(named: str, says: str, tmp_path: Path) -> None:
    with deleted(tmp_path) as it:
        ran = only(it, 1, named)
        assert (ran.code, says in ran.err) == (2, True), ran
