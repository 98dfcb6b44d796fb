"""The calls that put users into groups and give them roles, and the calls that take them out again.

The sandbox gives roles to users only, not to groups or departments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bulkdel_jobs.sandbox.access import ALWAYS, LONG_AGO, Thing, Times
from bulkdel_jobs.sandbox.calls import BATCH_MAX, Call, Named, change_each, change_users
from bulkdel_jobs.sandbox.replies import Rejected, Reply, malformed
from bulkdel_jobs.sandbox.things import GROUP, ROLE
from bulkdel_jobs.sandbox.token_issuer import SANDBOX_POOL_ID
from bulkdel_jobs.sandbox.user_endpoints import listed
from bulkdel_jobs.sandbox.users import Record

ROLES_MAX = 10
"""Roles in one request, and targets of one request that assigns several roles (the vendor's OpenAPI)."""

TARGET_TYPES = ("USER", "ROLE", "GROUP", "DEPARTMENT")


def targets(call: Call, *, most: int = BATCH_MAX) -> Named:
    """`targets` in the body: user ids."""
    found = call.items("targets", of=dict, most=most)
    for target in found:
        if target.get("targetType") not in TARGET_TYPES:
            raise malformed("targets")
        if not isinstance(target.get("targetIdentifier"), str) or not target["targetIdentifier"]:
            raise malformed("targets")
    if any(target["targetType"] != "USER" for target in found):
        raise Rejected(Reply(501))
    return call.named("targets", [target["targetIdentifier"] for target in found], None)


def add_group_members(call: Call, users: Named) -> Any:
    """Put users into a group."""
    group = GROUP.find(call, call.body)

    def join(user: int) -> None:
        call.pool.count("group-added", (user, group.code), changed=group.add(user))

    return change_users(call, users, join)


def remove_group_members(call: Call, users: Named) -> Any:
    """Take users out of a group. A user that is not in it is no error (`Switches.refuse_non_members`)."""
    group, strict = GROUP.find(call, call.body), call.switches.refuse_non_members

    def find(id_: str) -> int | None:
        user = call.pool.find_alive("user_id", id_)
        return None if strict and user not in group.users else user

    def leave(user: int) -> None:
        call.pool.count("group-removed", (user, group.code), changed=group.users.remove(user))

    return change_each(replace(call, refuses_unknown=strict), users, find, leave)


def assign_role(call: Call, users: Named) -> Any:
    """Give one role to users."""
    times = Times(call.body.get("enableTime"), call.body.get("endTime"))
    if not all(isinstance(time, int | None) for time in times):
        raise malformed("enableTime" if isinstance(times.end, int | None) else "endTime")
    return _with_roles(call, users, "role-assigned", lambda role, user: role.add(user, times))


def assign_role_batch(call: Call, users: Named) -> Any:
    """Give roles to users."""
    return _with_roles(call, users, "role-assigned", Thing.add, several=True)


def revoke_role(call: Call, users: Named, *, several: bool = False) -> Any:
    """Take one role from users, or several. A user without the role is no error; one that does not exist is."""
    return _with_roles(call, users, "role-revoked", lambda role, user: role.users.remove(user), several=several)


def _with_roles(
    call: Call, users: Named, kind: str, act: Callable[[Thing, int], bool], *, several: bool = False
) -> Any:
    """Do something with each user and each role of a request. act: says whether it changed something."""
    named = call.items("roles", of=dict, most=ROLES_MAX) if several else [call.body]
    roles = list(dict.fromkeys(ROLE.find(call, fields) for fields in named))

    def change(user: int) -> None:
        for role in roles:
            call.pool.count(kind, (user, f"{role.record['namespace']}/{role.code}"), changed=act(role, user))

    return change_users(call, users, change)


def list_role_assignments(call: Call) -> Any:
    """List how users have a role page by page. Which user, an assignment says on a switch only."""
    named = {"code": call.parameter("roleCode"), "namespace": call.parameter("namespaceCode")}
    role = ROLE.find(call, named, blamed="roleCode")
    wanted = {value for name, value in call.query if name in ("targetType", "targetType[]")}
    users = [*role.users] if "USER" in wanted or not wanted else []
    pool_id = call.switches.pool_id or SANDBOX_POOL_ID

    def shown(user: int) -> Record:
        times = role.users.get(user) or ALWAYS
        assignment = {
            "roleId": role.record["id"],
            "roleName": role.record["name"],
            "roleCode": role.code,
            "description": role.record["description"],
            "status": "ENABLE",
            "enableTime": times.enable,
            "endTime": times.end,
            "userPoolId": pool_id,
            "createdAt": LONG_AGO,
            "updatedAt": LONG_AGO,
        }
        if call.switches.assignment_targets:
            assignment |= {"targetType": "USER", "targetIdentifier": call.pool.user(user)["userId"]}
        return assignment

    found = listed(call, users, shown)
    return {"totalCount": found["totalCount"], "data": found["list"]}  # elsewhere it is called `list`
