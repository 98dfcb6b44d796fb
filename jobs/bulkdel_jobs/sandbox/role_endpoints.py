"""The endpoints of roles and the users that have them. A role is known by its namespace and its code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bulkdel_jobs.sandbox import codes
from bulkdel_jobs.sandbox.access import ALWAYS, LONG_AGO, GroupOrRole, Times
from bulkdel_jobs.sandbox.answers import Answer, Refused, invalid, malformed
from bulkdel_jobs.sandbox.calls import BATCH_MAX, Call, Named, page
from bulkdel_jobs.sandbox.changing import change_each, succeeded
from bulkdel_jobs.sandbox.sign_in import SANDBOX_POOL_ID
from bulkdel_jobs.sandbox.users import Record

ROLES_MAX = 10
"""Roles in one request, and targets of one request that assigns several roles (the vendor's OpenAPI)."""

TARGET_TYPES = ("USER", "ROLE", "GROUP", "DEPARTMENT")

WHAT = ("角色", "Role")
NO_ROLE = Answer(404, message=("角色不存在", "Role does not exist"))


def create_role(call: Call) -> Answer:
    """Create one role."""
    codes.code(call)
    return Answer(200, _created(call, [dict(call.body)])[0].record)


def create_roles_batch(call: Call) -> Answer:
    """Create roles, all or none."""
    roles = codes.objects(call, "list")
    if not all(fields.get("code") for fields in roles):
        raise invalid("role code must not empty")
    _created(call, roles)
    return succeeded(call)


def _created(call: Call, roles: list[dict[str, Any]]) -> list[GroupOrRole]:
    """Create roles, all or none."""
    new = [(codes.new_code("role", fields), codes.namespace_in(call, fields)) for fields in roles]
    codes.check_free(new, {(code, space) for _, space in new for code in space.roles}, WHAT)
    return [
        call.pool.access.add_role(
            code, namespace=space.code, fields=codes.kept(fields, "name", "description", "disableTime")
        )
        for (code, space), fields in zip(new, roles, strict=True)
    ]


def targets(call: Call, *, most: int = BATCH_MAX) -> Named:
    """`targets` in the body: user ids. The sandbox gives roles to users only, not to groups or departments."""
    found = call.items("targets", most=most)
    for target in found:
        if not isinstance(target, dict) or target.get("targetType") not in TARGET_TYPES:
            raise malformed("targets")
        if not isinstance(target.get("targetIdentifier"), str) or not target["targetIdentifier"]:
            raise malformed("targets")
    if any(target["targetType"] != "USER" for target in found):
        raise Refused(Answer(501))
    return call.named("targets", [target["targetIdentifier"] for target in found], None)


def few_targets(call: Call) -> Named:
    """`targets` in the body, 1 to 10 of them."""
    return targets(call, most=ROLES_MAX)


def assign_role(call: Call) -> Answer:
    """Give one role to users."""
    times = Times(call.body.get("enableTime"), call.body.get("endTime"))
    if not all(isinstance(time, int | None) for time in times):
        raise malformed("enableTime" if isinstance(times.end, int | None) else "endTime")
    return _assigned(call, targets(call), [_role(call, call.body)], times)


def assign_role_batch(call: Call) -> Answer:
    """Give roles to users."""
    return _assigned(call, few_targets(call), _roles(call))


def _assigned(call: Call, users: Named, roles: list[GroupOrRole], times: Times = ALWAYS) -> Answer:
    def assign(user: int) -> None:
        for role in roles:
            call.pool.count("role-assigned", (user, _name(role)), changed=role.add(user, times))

    change_each(call, users, lambda id_: call.pool.find_alive("user_id", id_), assign, unknown="refuse")
    return succeeded(call)


def revoke_role(call: Call) -> Answer:
    """Take one role from users."""
    return _revoked(call, targets(call), [_role(call, call.body)])


def revoke_role_batch(call: Call) -> Answer:
    """Take roles from users."""
    return _revoked(call, targets(call), _roles(call))


def _revoked(call: Call, users: Named, roles: list[GroupOrRole]) -> Answer:
    """Take roles from users. A user without the role is no error; one that does not exist is."""

    def revoke(user: int) -> None:
        for role in roles:
            call.pool.count("role-revoked", (user, _name(role)), changed=role.users.remove(user))

    change_each(call, users, lambda id_: call.pool.find_alive("user_id", id_), revoke, unknown="refuse")
    return succeeded(call)


def delete_roles_batch(call: Call) -> Answer:
    """Delete roles of one namespace, and take them from all users. A code that no role has is an error."""
    named, space = codes.code_list(call), codes.namespace(call)
    within = f"{space.code}/"
    return codes.delete_each(call, named, space.roles, "role-deleted", within=within, unknown="refuse", absent=NO_ROLE)


def get_role(call: Call) -> Answer:
    """Return one role."""
    code = codes.code(call)
    role = codes.look_up(call, codes.namespace(call).roles, code)
    if role is None:
        raise Refused(NO_ROLE)
    return Answer(200, role.record)


def list_roles(call: Call) -> Answer:
    """List the roles of one namespace page by page."""
    return codes.listed(call, codes.namespace(call).roles.values(), lambda role: role.record)


def list_role_members(call: Call) -> Answer:
    """List the users that have a role page by page."""
    query = {"code": call.parameter("code"), "namespace": call.parameter("namespace")}
    return codes.listed_users(call, _role(call, query).users)


def list_role_assignments(call: Call) -> Answer:
    """List how users have a role page by page. Which user, an assignment says on a switch only."""
    code = call.parameter("roleCode") or ""
    role = _role(call, {"code": code, "namespace": call.parameter("namespaceCode")}, "roleCode")
    wanted = {value for name, value in call.query if name in ("targetType", "targetType[]")}
    users = [*role.users] if "USER" in wanted or not wanted else []
    part, pool_id = page(call.parameter("page"), call.parameter("limit")), call.switches.pool_id or SANDBOX_POOL_ID

    def shown(user: int) -> Record:
        times = role.users.get(user) or ALWAYS
        assignment = {
            "roleId": role.record["id"],
            "roleName": role.record["name"],
            "roleCode": role.record["code"],
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
    return Answer(200, {"totalCount": len(users), "data": [shown(user) for user in users[part]]})


def get_user_roles(call: Call) -> Answer:
    """List the roles that one user has in one namespace."""
    user, lag_s = codes.looked_up_user(call), call.switches.lag_s
    roles = [role for role in codes.namespace(call).roles.values(lag_s=lag_s) if role.has(user, lag_s=lag_s)]
    return Answer(200, {"totalCount": len(roles), "list": [role.record for role in roles]})


def _name(role: GroupOrRole) -> str:
    """Return the name of a role in the key of an effect."""
    return f"{role.record['namespace']}/{role.record['code']}"


def _role(call: Call, fields: Mapping[str, Any], blamed: str = "code") -> GroupOrRole:
    """Return the role that an object names by code and namespace. blamed: the parameter that a refusal names."""
    code = codes.code_in(fields, blamed=blamed)
    role = codes.namespace_in(call, fields).roles.get(code)
    if role is None:
        raise Refused(NO_ROLE)
    return role


def _roles(call: Call) -> list[GroupOrRole]:
    """Return the roles that a request names, each once."""
    named = call.items("roles", most=ROLES_MAX)
    if not all(isinstance(fields, dict) for fields in named):
        raise malformed("roles")
    return list(dict.fromkeys(_role(call, fields) for fields in named))
