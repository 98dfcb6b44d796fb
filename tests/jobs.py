"""Every job of GenAuth as the tests need it: what is put into the sandbox, and which effects one id means.

The oracle is `effects`: everything that happened at the server, by kind and id, of users and of public accounts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bulkdel_jobs.sandbox import Pool, Sandbox, Switches, serve_in_thread

AT = "2024-01-01T00:00:00.000Z"
APPS = tuple(f"app-{number}" for number in range(60))
ROLES = tuple(f"role-{number}" for number in range(12))
GROUP, SPACE = "leavers", "billing"

HOSTILE = (
    *("../Groups/1", "a/b", "%2e%2e", "a,b", 'say "x"', "a b", "a+b", "a&code=1", "a#b", "a?b", "..", ".", "{id}"),
    *("a%2Fb", "ü", "'", "\\", "*", "-", "a;b", "null", "[]", "$(x)", "\U0001f600"),
)
VICTIMS = ("1", "a", "b", "Groups", "%2E%2E", "a%2fb", "u", "x", "id", "say", "A,B")
"""What a server would touch that got one of the ids in another form."""

Effect = tuple[str, str]
"""A kind, and the key that the sandbox counts under: an id, or what the user has lost, `/` and the id."""


def add_users(pool: Pool, ids: Iterable[str]) -> None:
    pool.add_ids(ids)


def add_active(pool: Pool, ids: Iterable[str]) -> None:
    pool.add_ids(ids)
    set_status(pool, ids, "Activated")


def add_disabled(pool: Pool, ids: Iterable[str]) -> None:
    pool.add_ids(ids)
    set_status(pool, ids, "Suspended")


def set_status(pool: Pool, ids: Iterable[str], status: str) -> None:
    for id_ in ids:
        pool.change(number_of(pool, id_), {"status": status}, AT)


def add_with_roles(pool: Pool, ids: Iterable[str]) -> None:
    """Users with the roles, in the namespace that is meant and in the default one."""
    pool.add_ids(ids)
    for role in ROLES:
        for space in (SPACE, "default"):
            pool.access.add_role(role, [number_of(pool, id_) for id_ in ids], space)


def add_members(pool: Pool, ids: Iterable[str]) -> None:
    """Users in the group that is meant, and in another one."""
    pool.add_ids(ids)
    for group in (GROUP, "others"):
        pool.access.add_group(group, [number_of(pool, id_) for id_ in ids])


def add_codes(pool: Pool, codes: Iterable[str]) -> None:
    """Groups, roles and resources of these codes, in the namespace that is meant and in the default one."""
    for code in codes:
        pool.access.add_group(code)
        for space in (SPACE, "default"):
            pool.access.add_role(code, namespace=space)
            pool.access.add_resource(code, space)


def number_of(pool: Pool, id_: str) -> int:
    number = pool.find_alive("user_id", id_)
    assert number is not None
    return number


def sign_out(pool: Pool, ids: Iterable[str]) -> None:
    for id_ in ids:
        pool.end_sessions(number_of(pool, id_))


def take_roles(pool: Pool, ids: Iterable[str]) -> None:
    space = pool.access.namespaces.get(SPACE)
    assert space is not None
    for role in space.roles.values():
        for id_ in ids:
            role.users.remove(number_of(pool, id_))


def leave(pool: Pool, ids: Iterable[str]) -> None:
    group = pool.access.groups.get(GROUP)
    assert group is not None
    for id_ in ids:
        group.users.remove(number_of(pool, id_))


def status_before(id_: str) -> str:
    """The status that a user had before it was disabled, in some backup."""
    return ("Activated", "Archived", "Deactivated")[sum(id_.encode()) % 3]


def restore(pool: Pool, ids: Iterable[str]) -> None:
    for id_ in ids:
        set_status(pool, [id_], status_before(id_))


def is_restored(pool: Pool, id_: str) -> bool | None:
    return has_status(status_before(id_))(pool, id_)


def of_user(reached: Callable[[Pool, int], bool]) -> Callable[[Pool, str], bool | None]:
    """The state of a user id. reached: of the user that has it."""

    def state(pool: Pool, id_: str) -> bool | None:
        number = pool.find_alive("user_id", id_)
        return None if number is None else reached(pool, number)

    return state


def is_there(pool: Pool, id_: str) -> bool | None:
    return None if pool.find_alive("user_id", id_) is None else False


def has_status(status: str) -> Callable[[Pool, str], bool | None]:
    return of_user(lambda pool, number: pool.status(number) == status)


def is_signed_out(pool: Pool, number: int) -> bool:
    return not any(pool.has_session(number, app) for app in APPS)


def is_without_roles(pool: Pool, number: int) -> bool:
    space = pool.access.namespaces.get(SPACE)
    assert space is not None
    return not any(role.has(number) for role in space.roles.values())


def is_no_member(pool: Pool, number: int) -> bool:
    group = pool.access.groups.get(GROUP)
    assert group is not None
    return not group.has(number)


def of_code(kind: str) -> Callable[[Pool, str], bool | None]:
    """The state of the code of a group, a role or a resource."""

    def state(pool: Pool, code: str) -> bool | None:
        space = pool.access.namespaces.get(SPACE)
        assert space is not None
        there = {"group": [*pool.access.groups], "role": [*space.roles], "resource": [*space.resources]}
        return False if code in there[kind] else None

    return state


@dataclass(frozen=True)
class JobCase:
    """One job. fill: puts what the ids mean into a pool, and back after a run. effects: of one id. path: of its action.

    state: whether an id is in the target state, by the server's own records; None when there is no such account.
    settle: brings ids into the target state; None where that is to be gone. codes: the ids are codes, not user ids.
    rows: how many ids a test works on; few where each takes many requests.
    per_id: the API lists what it has changed. creates: it makes new accounts, which are counted by their user names.
    row: of the export, for one id.
    """

    name: str
    path: str
    effects: Callable[[str], Sequence[Effect]]
    fill: Callable[[Pool, Sequence[str]], None] = add_users
    state: Callable[[Pool, str], bool | None] = is_there
    settle: Callable[[Pool, Sequence[str]], None] | None = None
    options: tuple[str, ...] = ()
    public: bool = False
    codes: bool = False
    rows: int = 70
    per_id: bool = False
    creates: bool = False
    row: Callable[[str], Mapping[str, Any]] = lambda id_: {"id": id_}

    def export(self, path: Path, ids: Iterable[str]) -> Path:
        """Write the export of these ids."""
        path.write_text("".join(json.dumps(self.row(id_)) + "\n" for id_ in ids))
        return path

    def expected(self, ids: Iterable[str]) -> Counter[Effect]:
        """The effects of one run on these ids, once each."""
        return Counter(effect for id_ in ids for effect in self.effects(id_))

    def ids(self, count: int, start: int = 0) -> list[str]:
        """Different ids of the job's id type."""
        return [f"code-{n:03}" if self.codes else f"{n:024x}" for n in range(start, start + count)]


JOBS = (
    JobCase("delete-users", "/api/v3/delete-users-batch", lambda id_: [("deleted", id_)]),
    JobCase(
        "resign-users",
        "/api/v3/resign-user-batch",
        lambda id_: [("resigned", id_)],
        fill=add_active,
        state=has_status("Resigned"),
        settle=lambda pool, ids: set_status(pool, ids, "Resigned"),
    ),
    JobCase(
        "disable-users",
        "/api/v3/update-user-batch",
        lambda id_: [("suspended", id_)],
        fill=add_active,
        state=has_status("Suspended"),
        settle=lambda pool, ids: set_status(pool, ids, "Suspended"),
        per_id=True,
    ),
    JobCase(
        "enable-users",
        "/api/v3/update-user-batch",
        lambda id_: [("activated", id_)],
        fill=add_disabled,
        state=has_status("Activated"),
        settle=lambda pool, ids: set_status(pool, ids, "Activated"),
        per_id=True,
        options=("--status", "Activated"),
    ),
    JobCase(
        "kick-users",
        "/api/v3/kick-users",
        lambda id_: [("kicked", f"{app}/{id_}") for app in APPS],
        state=of_user(is_signed_out),
        settle=sign_out,
        options=tuple(word for app in APPS for word in ("--app", app)),
        rows=12,
    ),
    JobCase(
        "revoke-roles",
        "/api/v3/revoke-role-batch",
        lambda id_: [("role-revoked", f"{SPACE}/{role}/{id_}") for role in ROLES],
        fill=add_with_roles,
        state=of_user(is_without_roles),
        settle=take_roles,
        options=(*(word for role in ROLES for word in ("--role", role)), "--namespace", SPACE),
    ),
    JobCase(
        "remove-group-members",
        "/api/v3/remove-group-members",
        lambda id_: [("group-removed", f"{GROUP}/{id_}")],
        fill=add_members,
        state=of_user(is_no_member),
        settle=leave,
        options=("--group", GROUP),
    ),
    JobCase(
        "delete-public-accounts",
        "/api/v3/delete-public-accounts-batch",
        lambda id_: [("public deleted", id_)],
        public=True,
    ),
    JobCase(
        "delete-groups",
        "/api/v3/delete-groups-batch",
        lambda code: [("group-deleted", code)],
        fill=add_codes,
        state=of_code("group"),
        codes=True,
    ),
    JobCase(
        "delete-roles",
        "/api/v3/delete-roles-batch",
        lambda code: [("role-deleted", f"{SPACE}/{code}")],
        fill=add_codes,
        state=of_code("role"),
        options=("--namespace", SPACE),
        codes=True,
    ),
    JobCase(
        "delete-resources",
        "/api/v3/delete-resources-batch",
        lambda code: [("resource-deleted", f"{SPACE}/{code}")],
        fill=add_codes,
        state=of_code("resource"),
        options=("--namespace", SPACE),
        codes=True,
    ),
)


def gone_user(id_: str) -> dict[str, Any]:
    """The record of a user that was deleted, as a backup has it; its user name is its id."""
    email = f"{sum(id_.encode())}.{len(id_)}.{id_.encode().hex()}@x.example"
    return {"userId": id_, "username": id_, "email": email, "status": "Suspended", "createdAt": AT}


def is_created(pool: Pool, username: str) -> bool | None:
    return pool.find_alive("username", username) is not None


def bring_back(pool: Pool, ids: Iterable[str]) -> None:
    for id_ in ids:
        pool.put({"departmentIds": [], "identities": [], **gone_user(id_)})


CREATING = JobCase(
    "restore-users",
    "/api/v3/create-users-batch",
    lambda id_: [("created", id_)],
    fill=lambda _pool, _ids: None,
    state=is_created,
    settle=bring_back,
    options=("--passwords", "none"),
    creates=True,
    row=gone_user,
)
"""The undo of delete-users. An id is one of a user that is gone; in the target state is a user that was never gone."""

EVERY_JOB = (*JOBS, CREATING)

BACKUP = "backup.jsonl"

RESTORING = JobCase(
    "enable-users",
    "/api/v3/update-user-batch",
    lambda id_: [(status_before(id_).lower(), id_)],
    fill=add_disabled,
    state=is_restored,
    settle=restore,
    options=("--from-backup", BACKUP, "--status", "Activated"),
    per_id=True,
)
"""enable-users with a backup in the folder of the command (`write_backup`), which has a part of the users."""


def write_backup(folder: Path, ids: Iterable[str]) -> None:
    """Write what --backup would have written of `ids`; users with the status of `--status` are left out."""
    (folder / BACKUP).write_text(
        "".join(
            json.dumps({"userId": id_, "status": status_before(id_)}) + "\n"
            for id_ in ids
            if status_before(id_) != "Activated"
        )
    )


@dataclass
class Served:
    """A sandbox for one job. pool: the users or public accounts that the job works on."""

    job: JobCase
    sandbox: Sandbox
    pool: Pool = field(init=False)

    def __post_init__(self) -> None:
        self.pool = self.sandbox.public if self.job.public else self.sandbox.pool

    def effects(self) -> Counter[Effect]:
        """Everything that has changed anything, by kind and key."""
        return all_effects(self.sandbox, self._counted(Pool.effects_of))

    def repeats(self) -> Counter[Effect]:
        """Everything that was carried out and found already so."""
        return all_effects(self.sandbox, self._counted(Pool.repeats_of))

    def _counted(self, counts: Callable[[Pool, str, str | None], Counter[str]]) -> Callable[[Pool, str], Counter[str]]:
        return lambda pool, kind: counts(pool, kind, "username" if self.job.creates else None)

    def switch(self, **changes: Any) -> None:
        """Change what the sandbox does from now on."""
        self.sandbox.switches = self.sandbox.switches.changed(changes)


def all_effects(sandbox: Sandbox, counts: Callable[[Pool, str], Counter[str]]) -> Counter[Effect]:
    """Every kind of effect on users and, with `public` before its kind, on public accounts."""
    found = Counter[Effect]()
    for pool, mark in ((sandbox.pool, ""), (sandbox.public, "public ")):
        for kind in pool.kinds():
            found.update({(f"{mark}{kind}", key): count for key, count in counts(pool, kind).items()})
    return found


@contextmanager
def serving(job: JobCase, ids: Sequence[str], **switches: Any) -> Iterator[Served]:
    """Run the sandbox with what `ids` mean to a job, and with accounts of these ids in the other pool."""
    users, public = Pool(), Pool()
    if not job.codes:
        add_users(users if job.public else public, ids)  # the same ids mean other accounts there
    job.fill(public if job.public else users, ids)
    with serve_in_thread(users, Switches().changed(switches), public=public) as sandbox:
        yield Served(job, sandbox)
