"""The calls that put users into groups and give them roles, and the calls that take them out again.

The sandbox gives roles to users only, not to groups or departments.
"""

from __future__ import annotations

from bulkdel_jobs.sandbox.access import ALWAYS, LONG_AGO, Thing, Times
from bulkdel_jobs.sandbox.calls import BATCH_MAX, Call, Named, page
from bulkdel_jobs.sandbox.changing import change_each, change_users
from bulkdel_jobs.sandbox.replies import Rejected, Reply, malformed
from bulkdel_jobs.sandbox.things import GROUP, ROLE
from bulkdel_jobs.sandbox.token_issuer import SANDBOX_POOL_ID
from bulkdel_jobs.sandbox.users import Record

ROLES_MAX = 10
"""Roles in one request, and targets of one request that assigns several roles (the vendor's OpenAPI)."""

TARGET_TYPES = ("USER", "ROLE", "GROUP", "DEPARTMENT")


def targets(call: Call, *, most: int = BATCH_MAX) -> Named:
    """`targets` in the body: user ids."""
    found = call.objects("targets", most=most)
    for target in found:
        if target.get("targetType") not in TARGET_TYPES:
            raise malformed("targets")
        if not isinstance(target.get("targetIdentifier"), str) or not target["targetIdentifier"]:
            raise malformed("targets")
    if any(target["targetType"] != "USER" for target in found):
        raise Rejected(Reply(501))
    return call.named("targets", [target["targetIdentifier"] for target in found], None)


def few_targets(call: Call) -> Named:
    """`targets` in the body, 1 to 10 of them."""
    return targets(call, most=ROLES_MAX)


def add_group_members(call: Call, users: Named) -> Reply:
    """Put users into a group."""
    group = GROUP.find(call, call.body)

    def join(user: int) -> None:
        call.pool.count("group-added", (user, group.code), changed=group.add(user))

    return change_users(call, users, join)


def remove_group_members(call: Call, users: Named) -> Reply:
    """Take users out of a group. A user that is not in it is no error (`Switches.refuse_non_members`)."""
    group, strict = GROUP.find(call, call.body), call.switches.refuse_non_members

    def find(id_: str) -> int | None:
        user = call.pool.find_alive("user_id", id_)
        return None if strict and user not in group.users else user

    def leave(user: int) -> None:
        call.pool.count("group-removed", (user, group.code), changed=group.users.remove(user))

    return change_each(call, users, find, leave, unknown="refuse" if strict else "accept")


def assign_role(call: Call, users: Named) -> Reply:
    """Give one role to users."""
    times = Times(call.body.get("enableTime"), call.body.get("endTime"))
    if not all(isinstance(time, int | None) for time in times):
        raise malformed("enableTime" if isinstance(times.end, int | None) else "endTime")
    return _assigned(call, users, [ROLE.find(call, call.body)], times)


def assign_role_batch(call: Call, users: Named) -> Reply:
    """Give roles to users."""
    return _assigned(call, users, _roles(call), ALWAYS)


def _assigned(call: Call, users: Named, roles: list[Thing], times: Times) -> Reply:
    def assign(user: int) -> None:
        for role in roles:
            call.pool.count("role-assigned", (user, _name(role)), changed=role.add(user, times))

    return change_users(call, users, assign, unknown="refuse")


def revoke_role(call: Call, users: Named) -> Reply:
    """Take one role from users. A user without the role is no error; one that does not exist is."""
    return _revoked(call, users, [ROLE.find(call, call.body)])


def revoke_role_batch(call: Call, users: Named) -> Reply:
    """Take roles from users."""
    return _revoked(call, users, _roles(call))


def _revoked(call: Call, users: Named, roles: list[Thing]) -> Reply:
    def revoke(user: int) -> None:
        for role in roles:
            call.pool.count("role-revoked", (user, _name(role)), changed=role.users.remove(user))

    return change_users(call, users, revoke, unknown="refuse")


def _roles(call: Call) -> list[Thing]:
    """Return the roles that a request names, each once."""
    return list(dict.fromkeys(ROLE.find(call, fields) for fields in call.objects("roles", most=ROLES_MAX)))


def _name(role: Thing) -> str:
    """Return the name of a role in the key of an effect."""
    return f"{role.record['namespace']}/{role.code}"


def list_role_assignments(call: Call) -> Reply:
    """List how users have a role page by page. Which user, an assignment says on a switch only."""
    named = {"code": call.parameter("roleCode"), "namespace": call.parameter("namespaceCode")}
    role = ROLE.find(call, named, blamed="roleCode")
    wanted = {value for name, value in call.query if name in ("targetType", "targetType[]")}
    users = [*role.users] if "USER" in wanted or not wanted else []
    part, pool_id = page(call.parameter("page"), call.parameter("limit")), call.switches.pool_id or SANDBOX_POOL_ID

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

    # The list is called `data` here.
    return Reply(200, {"totalCount": len(users), "data": [shown(user) for user in users[part]]})
