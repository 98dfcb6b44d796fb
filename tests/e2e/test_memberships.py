"""Memberships: all of them are copied before the first user is deleted, and those of restored users are put back.

The oracle is the server: which users its groups and roles have, and how often a request changed that.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zstandard

from bulkdel.core.log_entries import MembershipsSaved, from_json
from bulkdel.engine.derived_memberships import DerivedMemberships, write_memberships
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.job import GroupOrRole, load_job
from bulkdel.library import Run
from bulkdel.safety.run_plan import RunArguments
from bulkdel.settings import Settings
from bulkdel.world import World
from bulkdel_jobs.genauth.groups_and_roles import (
    ASSIGNMENTS_PATH,
    GROUP_MEMBERS_PATH,
    GROUPS_PATH,
    NAMESPACES_PATH,
    ROLE_MEMBERS_PATH,
    ROLES_PATH,
    UserMemberships,
    id_of,
)
from bulkdel_jobs.restore_memberships import ADD_PATH, ASSIGN_PATH
from bulkdel_jobs.sandbox import DELETE_PATH
from bulkdel_jobs.sandbox import access as of_sandbox
from bulkdel_jobs.sandbox.access import Kept, Times
from tests.e2e.test_backup import limited
from tests.examples import one_in
from tests.harness import KEYS, POOL, Case, bulkdel, case, entries, finish, kill, start, user_ids, wait_until
from tests.mutants import mutant
from tests.places import log_of, memberships_log, restore_log
from tests.recorded import MAY_LAG, let_pass, rewrite
from tests.syntax import negate, swap

IDS = user_ids(300, seed=13)
NEW = user_ids(270, seed=14)
"""The new ids of the first users: the others are not restored."""

LISTS = frozenset({GROUPS_PATH, NAMESPACES_PATH, ROLES_PATH, GROUP_MEMBERS_PATH, ROLE_MEMBERS_PATH, ASSIGNMENTS_PATH})
CHANGES = frozenset({ADD_PATH, ASSIGN_PATH})

END = 4_000_000_000_000
"""When a role ends, milliseconds."""

RULE = "by rule"
"""The code of a group whose members follow from a rule."""

Membership = tuple[str, str, str, str]
"""Kind, namespace, code, user id."""


def fill(it: Case) -> None:
    """Three groups, a group by a rule, and three roles in two namespaces. A page holds 50 users."""
    access = it.served.pool.access
    for group, users in (("small", range(3)), ("all", range(300)), ("empty", range(0))):
        access.add_group(group, users)
    for role, namespace, users in (("admin", "default", range(2)), ("a:b/c", "shop", range(1, 120))):
        access.add_role(role, users, namespace)
    access.add_role("x", (), "shop").add(7, Times(None, END))
    access.add_group(RULE, range(9), {"type": "dynamic"})


def of_server(it: Case) -> Iterator[tuple[str, str, str, of_sandbox.Thing]]:
    """Every group and role of the server but the one by a rule: kind, namespace, code, and itself."""
    access = it.served.pool.access
    groups = ((str(group.record["code"]), group) for group in access.groups.values())
    yield from (("group", "", code, group) for code, group in groups if code != RULE)
    for space in access.namespaces.values():
        yield from (("role", space.code, str(role.record["code"]), role) for role in space.roles.values())


def times_of(it: Case) -> dict[Membership, Times | None]:
    """The memberships at the server, each with its beginning and end."""
    users = it.served.pool.user
    return {(*of, users(user)["userId"]): each.users.get(user) for *of, each in of_server(it) for user in each.users}


def held(it: Case) -> set[Membership]:
    """The memberships at the server."""
    return set(times_of(it))


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a copy. Raises where it cannot be read to its end."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".zst":
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            data = reader.read()
    return [json.loads(line) for line in data.splitlines()]


def copied(path: Path) -> set[Membership]:
    """The memberships in a copy, which is complete and has none twice."""
    *found, last = lines(path)
    assert last["complete"] is True
    assert last["members"] == len(found)
    memberships = [(line["kind"], line.get("namespace", ""), line["code"], line["userId"]) for line in found]
    assert memberships == sorted(set(memberships))
    return set(memberships)


@contextmanager
def filled(folder: Path, ending: str = "", **more: Any) -> Iterator[tuple[Case, Path]]:
    """A run that keeps a copy of the memberships: its case, and where the copy will be."""
    with case(folder, IDS, **more) as it:
        fill(it)
        it.options += ["--backup-to", folder / f"users.jsonl{ending}", "--backup-memberships"]
        yield it, folder / f"users.jsonl.memberships.jsonl{ending}"


def sent(it: Case) -> int:
    """How many deletions reached the server."""
    return it.served.ledger.by_path[DELETE_PATH]


def reads(it: Case) -> int:
    """How many requests for a list reached the server."""
    return sum(it.served.ledger.by_path[path] for path in LISTS)


def has_read(it: Case, wanted: int) -> bool:
    """Whether so many did."""
    return reads(it) >= wanted


def without(it: Case, *options: str) -> Sequence[object]:
    """The arguments of the run without some of its options, which have no value."""
    return [word for word in it.args if word not in options]


@pytest.mark.parametrize(
    ("ending", "faults"),
    one_in(
        3,
        [
            ("", {}),
            (".gz", {"share_500": 0.05, "share_429": 0.03, "retry_after": "seconds", "retry_after_s": 0}),
            (".zst", {}),
        ],
    ),
)
def test_every_membership_is_copied_before_the_first_deletion(
    ending: str, faults: Mapping[str, Any], tmp_path: Path
) -> None:
    """A deleted user leaves its groups, so a whole copy was made before. The plan says what it costs."""
    with filled(tmp_path, ending) as (it, copy):
        before = held(it)
        planned = bulkdel("plan", *it.args[1:]).summary["memberships"]
        asked = reads(it)
        it.switch(**faults, fault_paths=LISTS)
        ran = it.run()
        assert ran.code == 0, ran.err
        assert copied(copy) == before
        assert copy.stat().st_mode & 0o777 == 0o600
        assert {name: planned[name] for name in ("groups", "roles", "namespaces", "members")} == {
            "groups": 3,
            "roles": 3,
            "namespaces": 2,
            "members": len(before),
        }
        if not faults:
            assert reads(it) - 2 * asked == planned["requests"]
            assert f"3 groups, 3 roles in 2 namespaces; about {planned['requests']} requests" in ran.err
        entry = next(entry for entry in entries(it.log) if entry["type"] == "memberships")
        assert (entry["path"], entry["size"], entry["members"]) == (str(copy), copy.stat().st_size, len(before))


@mutant(
    "the memberships are copied when the ids are sent",
    "SendingSession.run",
    swap(
        "if plan.copies_memberships:\n"
        "    await self._copy_memberships(workers)\n"
        "if plan.export.rows is not None:\n"
        "    await settle_export(plan.export.rows.rows, context, workers, self._left)",
        "if plan.export.rows is not None:\n"
        "    await settle_export(plan.export.rows.rows, context, workers, self._left)\n"
        "if plan.copies_memberships:\n"
        "    await self._copy_memberships(workers)",
    ),
)
def test_killed_while_reading(tmp_path: Path) -> None:
    """Nothing is sent before the copy is complete; a half one is made anew; a complete one is not read again."""
    with filled(tmp_path, ".zst", options=("--rate", 0, "--concurrency", 2), latency_s=0.004) as (it, copy):
        before, rng = held(it), random.Random(5)
        for _ in range(3):
            process, wanted = it.start(), reads(it) + rng.randrange(12, 40)
            wait_until(partial(has_read, it, wanted), process)
            kill(process)
            assert sent(it) == 0
            assert not copy.exists()
        process, wanted = it.start(), reads(it) + 20
        wait_until(partial(has_read, it, wanted), process)
        process.send_signal(signal.SIGINT)
        stopped = finish(process)
        assert stopped.code == 130, stopped.err
        assert sent(it) == 0
        assert not copy.exists()
        it.switch(latency_s=0.0)
        assert it.run("--limit", 100).code == 0
        assert copied(copy) == before
        asked = reads(it)
        assert it.run().code == 0
        assert reads(it) == asked
        assert copied(copy) == before


def test_without_room_for_the_copy_no_user_is_deleted(tmp_path: Path) -> None:
    """The copy outgrows the limit for files: exit 5. What a killed process has left of it is removed."""
    with filled(tmp_path) as (it, copy):
        before, part = held(it), copy.with_name(f".{copy.name}.x1.part")
        part.write_text("of a killed process\n")
        ran = it.run(preexec_fn=limited(16_000))
        assert (ran.code, sent(it), copy.exists(), part.exists()) == (5, 0, False, False), ran.err
        assert f"{copy}: the copy of the memberships cannot be written: File too large" in ran.err
        assert it.run().code == 0
        assert copied(copy) == before


@mutant(
    "a resume takes a copy of the memberships that has changed",
    "_check_copied",
    swap("found != known.saved", "found.size != known.size and found.crc != known.crc"),
)
def test_the_copy_belongs_to_every_session(tmp_path: Path) -> None:
    """A resume needs the option and the file as it was written. Once ids were sent, no copy is begun."""
    with filled(tmp_path, ".gz") as (it, copy):
        copy.write_text("of another program\n")
        taken = it.run()
        assert taken.code == 3, taken.err
        assert copy.read_text() == "of another program\n"
        copy.unlink()
        assert it.run("--limit", 100).code == 0
        done, whole = sent(it), copy.read_bytes()

        def refused(words: str, *args: object) -> None:
            ran = bulkdel(*(args or it.args))
            assert (ran.code, sent(it)) == (3, done), ran.err
            assert words in ran.err

        refused("Go on with --backup-memberships", *without(it, "--backup-memberships"))
        copy.write_bytes(whole[:-9])
        refused("has changed")
        copy.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        refused("has changed")
        copy.unlink()
        refused("No such file")
        copy.write_bytes(whole)
        assert it.run().code == 0


def until_the_first_intent(log: Path) -> None:
    """Cut a log: as if nothing had been sent."""
    lines = log.read_bytes().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if b'"type":"intent"' in line)
    log.write_bytes(b"".join(lines[:first]))


@mutant(
    "a forged log switches the copy of the memberships off",
    "RunPlan.copies_memberships",
    swap("self.progress.sent", "self.progress.memberships is not None"),
)
@mutant(
    "a copy of the memberships that only a forged log calls one of this run is replaced",
    "check_memberships",
    swap("not opened.log_trusted", "not opened.log_trusted and not known"),
    case="the log of another",
)
@pytest.mark.parametrize("whose", ["my own log", "the log of another"])
def test_a_copy_that_only_a_forged_log_has_is_made(whose: str, tmp_path: Path) -> None:
    """It names an empty file, and has no intent. Where the start is mine, this entry is behind its MAC."""
    with filled(tmp_path, ".gz") as (it, copy):
        assert it.run("--limit", 50).code == 0
        until_the_first_intent(it.log)
        nothing = {"path": "/dev/null", "size": 0, "crc": 0, "groups": 0, "roles": 0, "members": 0}
        no_mac = {"mac": "0" * 64} if whose == "the log of another" else {}

        def forged(entry: dict[str, Any]) -> dict[str, Any]:
            more = nothing if entry["type"] == "memberships" else no_mac if entry.get("event") == "start" else {}
            return {**entry, **more}

        rewrite(it.log, forged)
        done, before = sent(it), held(it)
        if no_mac:
            whole = copy.read_bytes()
            ran = it.run()
            assert (ran.code, sent(it), copy.read_bytes()) == (3, done, whole), ran
            assert f"{copy}: is there already" in ran.err
            copy.rename(tmp_path / "away")
        ran = it.run("--limit", 500)
        assert (ran.code, copied(copy)) == (0, before), ran
        assert sent(it) > done


def test_a_copy_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    with filled(tmp_path) as (it, copy):
        assert it.run("--limit", 50).code == 0
        done, pipe = sent(it), tmp_path / "pipe"
        os.mkfifo(pipe)
        copy.unlink()
        rewrite(it.log, lambda entry: {**entry, "path": str(pipe)} if entry["type"] == "memberships" else entry)
        ran = it.run()
        assert (ran.code, sent(it)) == (3, done), ran
        assert f"{pipe}: is not the copy of the memberships that this run wrote: is not a regular file" in ran.err


def test_it_is_not_begun_after_the_first_id(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        backup = tmp_path / "users.jsonl"
        assert it.run("--backup-to", backup, "--limit", 100).code == 0
        ran = it.run("--backup-to", backup, "--backup-memberships")
        assert ran.code == 3, ran.err
        assert "begun without it" in ran.err
        assert it.run("--backup-memberships").code == 2
        none = ("--exclude", it.export, "--run", tmp_path / "none.run", "--confirm", 0, "--pool", POOL)
        made = ("--backup-to", tmp_path / "none", "--backup-memberships", *none)
        nothing = bulkdel("run", "delete-users", it.export, "--host", it.served.url, *made)
        assert (nothing.code, reads(it)) == (0, 0), nothing.err
        other = bulkdel("plan", "delete-groups", it.export, "--backup-to", backup, "--backup-memberships")
        assert other.code == 2, other.err
        assert "has no memberships to copy" in other.err


def test_a_list_that_changes_is_read_again(tmp_path: Path) -> None:
    """A user leaves a group between two pages: the users behind it move up, and none of them is lost."""
    with filled(tmp_path, options=("--rate", 0, "--concurrency", 1), latency_s=0.01) as (it, copy):
        group = it.served.pool.access.groups.get("all")
        assert group is not None
        process = it.start()
        planned = 6  # requests for the first pages of the members, by the plan
        wait_until(lambda: it.served.ledger.by_path[GROUP_MEMBERS_PATH] >= planned, process)
        group.users.remove(0)
        it.served.pool.access.groups.remove("small")
        expected = held(it)
        it.switch(latency_s=0.0)
        ran = finish(process)
        assert ran.code == 0, ran.err
        assert copied(copy) == expected


class Moving(Kept[Any, Any]):
    """Something in it changes just before it is listed for the nth time."""

    def __init__(self, nth: int, change: Callable[[], object]) -> None:
        super().__init__()
        self._left = nth
        self._change = change

    def __iter__(self) -> Iterator[Any]:
        self._list()
        return super().__iter__()

    def values(self, *, lag_s: float = 0.0) -> list[Any]:
        self._list()
        return super().values(lag_s=lag_s)

    def _list(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._change()


@mutant(
    "one reading of the members whose count fits is enough",
    "read_until_equal",
    swap("each.pages <= 1", "each.fits"),
)
def test_none_is_missed_when_one_leaves_and_one_joins(tmp_path: Path) -> None:
    """Between two pages, so that the count stays. The first of the second page moves to the first page, unread."""
    with filled(tmp_path, options=("--rate", 0, "--concurrency", 1)) as (it, copy):
        access, ids = it.served.pool.access, it.served.pool.user

        def members_change() -> None:
            users.remove(3)
            users.add(200, Times())

        def roles_change() -> None:
            roles.remove("r3")
            access.add_role("last", (), "moving")

        users = Moving(3, members_change)  # the plan lists the first page of it
        group = access.groups.add("moving", of_sandbox.Thing({"code": "moving"}, users))
        for number in range(120):
            group.add(number)
        roles = Moving(6, roles_change)  # the plan lists both pages twice
        access.namespaces.add("moving", of_sandbox.Namespace({"code": "moving", "name": "moving"}, roles=roles))
        for number in range(60):
            access.add_role(f"r{number}", [number], "moving")
        ran = it.run()
        assert ran.code == 0, ran.err
        found = copied(copy)
        members = {user for _, _, code, user in found if code == "moving"}
        assert members == {ids(user)["userId"] for user in (*range(3), *range(4, 120), 200)}
        assert {code for _, space, code, _ in found if space == "moving"} == {f"r{n}" for n in range(60) if n != 3}


class Miscounted(Kept[int, Times]):
    """Users of a group whose count is wrong."""

    def __len__(self) -> int:
        return super().__len__() + 1


@mutant(
    "a list of members that changed while it was read counts as whole",
    "ListReading.fits",
    swap("self._totals <= {None} or self._totals == {self._items}", "self._items >= 0"),
)
def test_a_list_that_cannot_be_read_halts_the_run(tmp_path: Path) -> None:
    """A wrong count, a group that is listed and does not exist, a refusal: nothing is sent, and the reason is said."""
    with filled(tmp_path) as (it, copy):
        groups = it.served.pool.access.groups

        def halted(words: str) -> None:
            ran = it.run()
            assert (ran.code, sent(it), copy.exists()) == (4, 0, False), ran.err
            assert words in ran.err

        groups.add("wrong", of_sandbox.Thing({"code": "wrong"}, Miscounted()))
        halted("the members of the group 'wrong' changed in each of 5 readings")
        groups.remove("wrong")
        groups.add("hidden", of_sandbox.Thing({"code": "shown"}))
        halted("the API lists the group 'shown', and says that it does not exist")
        groups.remove("hidden")
        groups.add("w" * 65, of_sandbox.Thing({"code": "w" * 65}))
        halted("cannot be read")
        groups.remove("w" * 65)
        assert it.run().code == 0


# Putting back


def saved(it: Case) -> MembershipsSaved:
    """The copy, as the log names it."""
    entry = next(entry for entry in entries(it.log) if entry["type"] == "memberships")
    found = from_json(entry)
    assert isinstance(found, MembershipsSaved)
    return found


def restored(it: Case, folder: Path) -> Path:
    """Create the first users again, as a restore does. Returns the map of old and new ids."""
    it.served.pool.add_ids(NEW)
    map_ = folder / "map.jsonl"
    rows = ({"row": row, "old": old, "new": new} for row, (old, new) in enumerate(zip(IDS, NEW, strict=False)))
    map_.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return map_


def changes(it: Case) -> int:
    """How many requests for changes of memberships reached the server."""
    return sum(it.served.ledger.by_path[path] for path in CHANGES)


def has_changed(it: Case, process: subprocess.Popen[bytes], wanted: int) -> bool:
    """Whether so many did, or the process has ended."""
    return changes(it) >= wanted or process.poll() is not None


def put_back(it: Case, export: Path, rows: int) -> list[object]:
    """The command that puts memberships back."""
    confirmed = ("--confirm", rows, "--pool", POOL)
    return ["run", "restore-memberships", export, "--host", it.served.url, "--json", "--rate", 0, *confirmed]


@mutant(
    "memberships of users that were not restored are put back",
    "JOIN",
    swap(
        '"INSERT INTO found SELECT ?, ?, ?, ?, new FROM users WHERE old = ?"',
        '"INSERT INTO found SELECT ?1, ?2, ?3, ?4, coalesce((SELECT new FROM users WHERE old = ?5), ?5)"',
    ),
)
def test_the_memberships_of_restored_users_are_put_back(tmp_path: Path) -> None:
    """With kills and faults between. A group that is gone costs its memberships only; no user gets more than it had."""
    new_of = dict(zip(IDS, NEW, strict=False))
    with filled(tmp_path, ".gz", assignment_targets=True) as (it, _):
        pool = it.served.pool
        had = {(*of, new_of[old]): times for (*of, old), times in times_of(it).items() if old in new_of}
        assert it.run().code == 0
        map_, export = restored(it, tmp_path), tmp_path / "memberships.jsonl"
        assert write_memberships(saved(it), map_, export, UserMemberships()) == DerivedMemberships(len(had), 0)
        assert export.stat().st_mode & 0o777 == 0o600
        pool.access.groups.remove("small")
        it.switch(share_500_after=0.2, share_drop_after=0.1, latency_s=0.01, fault_paths=CHANGES)
        command, kills = put_back(it, export, len(had)), 0
        for _ in range(3):
            process, wanted = start(*command, "--concurrency", 2), changes(it) + 2
            wait_until(partial(has_changed, it, process, wanted))
            kills += kill(process).code == -signal.SIGKILL
        assert kills
        it.switch(latency_s=0.0, share_500_after=0.0, share_drop_after=0.0)
        ran = bulkdel(*command)
        assert ran.code == 0, ran.err
        expected = {membership: times for membership, times in had.items() if membership[2] != "small"}
        assert times_of(it) == expected
        effects = pool.effects_of("group-added") + pool.effects_of("role-assigned")
        assert effects == Counter("/".join(filter(None, membership[1:])) for membership in expected)
        assert ran.counts() == {"done": len(expected), "absent": 3}
        log = log_of(export, "restore-memberships")
        verified = bulkdel("verify", log, "--host", it.served.url, "--json", "--rate", 0)
        assert verified.found() == (len(had), 0, 0), verified.err


@mutant(
    "a role that may have had an end is given back for ever",
    "UserMemberships.row",
    swap(
        'if UNKNOWN in facts.values():\n    return None\nreturn {"id": id_of(of, user), **facts}',
        "known = {name: value for name, value in facts.items() if value != UNKNOWN}\n"
        'return {"id": id_of(of, user), **known}',
    ),
)
def test_an_end_that_may_be_any_users_is_not_forgotten(tmp_path: Path) -> None:
    """The API names no user of an assignment: a role with an end is not given back without one."""
    with filled(tmp_path) as (it, copy):
        assert it.run().code == 0
        assert [line for line in lines(copy) if "endTime" in line] == [
            {"kind": "role", "code": "x", "namespace": "shop", "userId": IDS[7], "endTime": "unknown"}
        ]
        map_, export = restored(it, tmp_path), tmp_path / "memberships.jsonl"
        written = write_memberships(saved(it), map_, export, UserMemberships())
        assert written.unclear == 1
        assert written.rows == len(export.read_text().splitlines())
        assert IDS[7] not in export.read_text()
        whole = copy.read_bytes()
        copy.write_bytes(whole.replace(b'"small"', b'"other"'))
        with pytest.raises(NotAcceptable, match="are not those that the run wrote"):
            write_memberships(saved(it), map_, export, UserMemberships())
        copy.write_bytes(whole)
        with pytest.raises(NotAcceptable, match="holds 425 memberships, but the log says 424"):
            write_memberships(replace(saved(it), members=424), map_, export, UserMemberships())
        for text in ("{", '{"old":"u"}', "7", "[" * 100_000):
            map_.write_text(f"{text}\n")
            with pytest.raises(NotAcceptable, match="is not the map of old and new ids"):
                write_memberships(saved(it), map_, export, UserMemberships())
        map_.unlink()
        with pytest.raises(NotAcceptable, match="cannot be read: No such file"):
            write_memberships(saved(it), map_, export, UserMemberships())
        os.mkfifo(map_)
        with pytest.raises(NotAcceptable, match="cannot be read: is not a regular file"):
            write_memberships(saved(it), map_, export, UserMemberships())
        map_.unlink()
        map_.touch()
        with pytest.raises(FileFailed, match="cannot be written: No such file"):
            write_memberships(saved(it), map_, tmp_path / "no folder" / "x", UserMemberships())


def test_it_can_be_practised(tmp_path: Path) -> None:
    """The sandbox has the users, groups and roles that the rows name."""
    export = tmp_path / "memberships.jsonl"
    rows = [
        {"id": id_of(of, user)}
        for of in (GroupOrRole("group", "g"), GroupOrRole("role", "r", "n"))
        for user in NEW[:60]
    ]
    export.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    ran = bulkdel("run", "restore-memberships", export, "--sandbox", "--json", "--rate", 0, env={})
    assert ran.code == 0, ran.err
    assert ran.counts() == {"done": 120}
    assert bulkdel("run", "restore-memberships", export, "--sandbox", "--backup-to", tmp_path / "b").code == 2


def test_the_plan_says_how_old_the_copy_is(tmp_path: Path) -> None:
    """The first session was two days ago. Its progress says what it reads, and how far it is."""
    seen: set[str | None] = set()
    with filled(tmp_path, latency_s=0.002) as (it, copy):
        settings = Settings(
            host=it.served.url, rate=0, limit=100, backup_to=tmp_path / "users.jsonl", backup_memberships=True
        )
        arguments = RunArguments(load_job("delete-users"), str(it.export), settings, {}, KEYS)

        async def first() -> int:
            async with Run(arguments, world=World(wall=lambda: time.time() - 2 * 86_400)) as run:
                await run.plan()
                await run.confirm(ids=300, pool=POOL)
                run.start()
                ended = asyncio.create_task(run.finished())
                while not ended.done():
                    seen.add(moment.doing if (moment := run.snapshot()) else None)
                    await asyncio.sleep(0)
                return (await ended).exit_code

        assert asyncio.run(first()) == 0
        read = {text for text in seen if text and text.startswith("reading the members of 6 groups and roles: ")}
        assert len(read) > 2
        assert {"listing the groups and roles", None} <= seen
        ran = it.run()
        assert ran.code == 0, ran.err
        assert f"  {copy} (425 memberships of " in ran.err
        assert "48 h 0 min old: what has changed since is not in it)" in ran.err


@mutant(
    "the code of a group may make its memberships bad rows",
    "_escaped",
    swap('char.isprintable() and char not in {"%", SEPARATOR}', 'char not in {"%", SEPARATOR}'),
)
def test_a_restore_puts_back_what_still_has_a_group_or_a_role(tmp_path: Path) -> None:
    """Most memberships were in a group that is gone: they are absent, and the others come back, under one command.

    A code may have characters that no export has in an id, and a text half of a surrogate pair.
    """
    with filled(tmp_path, ".zst", assignment_targets=True) as (it, _):
        pool = it.served.pool
        pool.access.add_group("line\u2028separator\n", range(3), {"description": "half of an emoji: \ud83d"})
        pool.access.add_role("\ufeff%3A", range(2), "tab\t")
        before = Counter(membership[:3] for membership in held(it))
        assert it.run().code == 0
        pool.access.groups.remove("all")
        confirmed = ("--confirm", 300, "--pool", POOL)
        ran = bulkdel(
            "restore", it.log, "--host", it.served.url, "--passwords", "none", "--rate", 0, "--json", *confirmed
        )
        assert ran.code == 0, ran.err
        gone = before.pop(("group", "", "all"))
        assert ran.counts() == {"done": before.total(), "absent": gone}
        assert Counter(membership[:3] for membership in held(it)) == before
        map_ = (json.loads(line) for line in (it.place / "restore-1" / "new-ids.jsonl").read_text().splitlines())
        new_of = {row["old"]: row["new"] for row in map_}
        assert times_of(it)["role", "shop", "x", new_of[IDS[7]]] == Times(None, END)


@mutant(
    "a restore without a membership that can be put back ends with another code than its last summary",
    "_put_back",
    swap("derived.unclear and not came_back.exit_code", "derived.unclear and came_back.exit_code"),
)
def test_a_restore_whose_memberships_are_all_unclear_says_so_in_its_last_summary(tmp_path: Path) -> None:
    """The only membership has an end that may be that of any user."""
    with case(tmp_path, IDS[:9]) as it:
        it.served.pool.access.add_role("x", (), "shop").add(7, Times(None, END))
        it.options += ["--backup-to", tmp_path / "users.jsonl", "--backup-memberships"]
        assert it.run().code == 0
        confirmed = bulkdel(*restoring(it), "--confirm", 9, "--pool", POOL)
        again = bulkdel(*restoring(it))
        for ran in (confirmed, again):
            assert (ran.code, ran.summary["exit_code"]) == (1, 1), ran
            assert "1 membership is not put back" in ran.err
        assert len(it.served.pool.user_ids()) == 9
        assert held(it) == set()


def restoring(it: Case) -> Sequence[object]:
    """The command that restores, without a confirmation."""
    return ("restore", it.log, "--host", it.served.url, "--passwords", "none", "--rate", 0, "--json")


def forget_what_was_put_back(it: Case) -> None:
    """Leave a complete restore of the users, of which no membership was put back."""
    shutil.rmtree(memberships_log(it.log).parent)


@mutant(
    "the complete restore of another gives roles to any account",
    "_put_back",
    swap(
        "replace(accounts.undoes, not_restorable=derived.unclear, confirmed=confirmed)",
        "replace(accounts.undoes, not_restorable=derived.unclear, confirmed=True)",
    ),
)
@mutant(
    "a session that sends nothing makes the log of another one its own",
    "Run._send",
    negate("not plan.begun_by_me"),
)
def test_the_log_of_another_gives_no_role_without_a_confirmation(tmp_path: Path) -> None:
    """It says that the restore is complete, and which accounts it has made. It was killed before its last entry."""
    with filled(tmp_path, assignment_targets=True) as (it, _):
        assert it.run().code == 0
        (any_account,) = user_ids(1, seed=15)
        it.served.pool.add_ids([any_account])
        other = {**KEYS, "XDG_STATE_HOME": str(tmp_path / "other")}
        assert bulkdel(*restoring(it), "--confirm", 300, "--pool", POOL, env=other).code == 0
        forget_what_was_put_back(it)

        def forged(entry: dict[str, Any]) -> dict[str, Any]:
            made = [{**each, "made": any_account} for each in entry.get("exceptions", ())]
            return {**entry, "exceptions": made} if made else entry

        log = restore_log(it.log)
        rewrite(log, forged)
        *others, last = log.read_bytes().splitlines(keepends=True)
        assert b'"event":"stop"' in last
        log.write_bytes(b"".join(others))
        before = held(it)
        for _ in range(2):  # the first one's session is not what confirms the second
            ran = bulkdel(*restoring(it))
            assert (ran.code, "not confirmed: --confirm and --pool are missing" in ran.err) == (2, True), ran
            assert held(it) == before
        ran = bulkdel(*shlex.split(ran.err.splitlines()[-1])[1:])
        assert (ran.code, {membership[3] for membership in held(it) - before}) == (0, {any_account}), ran


def test_the_memberships_of_ones_own_restore_are_put_back_without_a_question(tmp_path: Path) -> None:
    """A later session goes on where the key of this user shows it; without a key, the session that was confirmed."""
    keyless = {**KEYS, "XDG_STATE_HOME": "", "HOME": ""}
    for name, env, again in (("with a key", KEYS, 0), ("without a key", keyless, 2)):
        folder = tmp_path / name
        folder.mkdir()
        with filled(folder, assignment_targets=True) as (it, _):
            had = Counter(membership[:3] for membership in held(it))
            assert it.run().code == 0
            assert bulkdel(*restoring(it), "--confirm", 300, "--pool", POOL, env=env).code == 0
            assert Counter(membership[:3] for membership in held(it)) == had
            forget_what_was_put_back(it)
            assert bulkdel(*restoring(it), env=env).code == again


@mutant(
    "the log of a restore is packed without its run",
    "_check_run",
    swap("is_of_restore(progress)", "is_of_restore(progress) and not progress.sent"),
)
@mutant(
    "status prints a command that packs a restore without its run",
    "to_pack",
    swap("not is_of_restore(progress)", "is_of_restore(progress)"),
)
def test_a_restore_is_packed_with_its_run_alone(tmp_path: Path) -> None:
    """Its own log is refused and gets no note: an archive of it would go on nowhere. So is that of the memberships."""
    with filled(tmp_path, assignment_targets=True) as (it, _):
        assert it.run().code == 0
        confirmed = (*restoring(it), "--confirm", 300, "--pool", POOL)
        assert bulkdel(*confirmed, "--limit", 100).code == 0
        accounts, put_back = restore_log(it.log), memberships_log(it.log)
        told = bulkdel("status", accounts).out
        assert told.endswith(
            "To hand it, with its run, over to another user or machine:\n"
            f"  bulkdel pack {it.place} --out export-delete-users.tar.zst\n"
        ), told
        out = tmp_path / "run.tar.zst"
        instead = "is a restore. Nothing was packed. It is packed with its run:"
        command = f"bulkdel pack {it.place} --out {out}"

        def is_refused(log: Path) -> None:
            before = log.read_bytes()
            for again in ((), ("--again",)):
                refused = bulkdel("pack", log, "--out", out, *again)
                assert (refused.code, f"{log.parent}: {instead}\n  {command}" in refused.err, out.exists()) == (
                    3,
                    True,
                    False,
                ), refused
            assert log.read_bytes() == before

        is_refused(accounts)
        assert bulkdel(*confirmed).code == 0
        is_refused(put_back)
        packed = bulkdel("pack", it.log, "--out", out)
        names = [f"  run/{log.relative_to(it.place)}, the log, " in packed.out for log in (accounts, put_back)]
        assert (packed.code, names) == (0, [True, True]), packed
        # Without its run around it, nothing says which one to type: another person may have written this one.
        for name in ("alone", accounts.parent.name):
            alone = tmp_path / name / accounts.name
            alone.parent.mkdir()
            alone.write_bytes(accounts.read_bytes())
            refused = bulkdel("pack", alone, "--out", out.with_name("alone.tar.zst"))
            says = ("Pack its run." in refused.err, "bulkdel pack" in refused.err)
            assert (refused.code, says) == (3, (True, False)), refused


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_any_groups_and_roles_come_back(seed: int, tmp_path: Path) -> None:
    """Random groups, roles and ends; random faults, and kills of the deletion and of the restore, at random moments."""
    campaign = os.environ.get("CAMPAIGN_SEED") or f"{time.time_ns():x}"
    print(f"CAMPAIGN_SEED={campaign}")  # noqa: T201 - pytest shows it where the test fails
    rng = random.Random(f"{campaign} {seed}")
    ending, ids = rng.choice(["", ".gz", ".zst"]), IDS[: rng.randrange(20, 300)]
    with case(tmp_path, ids, users=IDS, assignment_targets=True, latency_s=0.004) as it:
        it.switch(share_500=0.02, share_drop_after=0.02, share_500_after=0.02)
        access = it.served.pool.access
        for number in range(rng.randrange(1, 12)):
            access.add_group(f"g{number}", rng.sample(range(300), rng.randrange(130)))
            role = access.add_role(f"r:{number}", (), rng.choice(["default", "shop", "n:1/2%3A"]))
            for user in rng.sample(range(300), rng.randrange(130)):
                role.add(user, rng.choice([Times(), Times(None, END), Times(1, END + number)]))
        had = times_of(it)
        options = (
            "--backup-to",
            tmp_path / f"users{ending}",
            "--backup-memberships",
            "--concurrency",
            rng.choice([1, 8]),
        )
        play(it, [*it.args, *options], rng)
        confirmed = ("--passwords", "none", "--rate", 0, "--json", "--confirm", len(ids), "--pool", POOL)
        it.switch(share_429=0.01, retry_after="seconds", retry_after_s=0)
        play(it, ["restore", it.log, "--host", it.served.url, *confirmed], rng)
        map_ = (json.loads(line) for line in (it.place / "restore-1" / "new-ids.jsonl").read_text().splitlines())
        new_of = {row["old"]: row["new"] for row in map_}
        assert set(new_of) == set(ids)
        assert times_of(it) == {(*of, new_of.get(user, user)): times for (*of, user), times in had.items()}
        effects = it.served.pool.effects_of("group-added") + it.served.pool.effects_of("role-assigned")
        back = [(*of, new_of[user]) for *of, user in had if user in new_of]
        assert effects == Counter("/".join(filter(None, membership[1:])) for membership in back)


def play(it: Case, command: Sequence[object], rng: random.Random) -> None:
    """Run a command until it is complete, and kill it at some random moments before."""
    for _ in range(rng.randrange(4)):
        process, wanted = start(*command), it.served.ledger.requests + rng.randrange(1, 60)
        wait_until(partial(has_asked, it, process, wanted))
        kill(process)
    for _ in range(10):
        ran = bulkdel(*command)
        if ran.code == 0:
            return
        assert ran.code == 4, ran.err
        if MAY_LAG in ran.err:
            for log in it.place.rglob("log.jsonl"):
                let_pass(log, 11)
    raise AssertionError(ran.err)


def has_asked(it: Case, process: subprocess.Popen[bytes], wanted: int) -> bool:
    """Whether so many requests have reached the server, or the process has ended."""
    return it.served.ledger.requests >= wanted or process.poll() is not None
