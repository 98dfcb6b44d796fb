"""The endpoints of groups and their members."""

from __future__ import annotations

from typing import Any

from bulkdel_jobs.sandbox import codes
from bulkdel_jobs.sandbox.access import GroupOrRole
from bulkdel_jobs.sandbox.answers import Answer, Refused, malformed
from bulkdel_jobs.sandbox.calls import Call, Named
from bulkdel_jobs.sandbox.changing import change_each, succeeded
from bulkdel_jobs.sandbox.user_endpoints import shown
from bulkdel_jobs.sandbox.users import Record

WHAT = ("分组", "Group")
NO_GROUP = Answer(404, message=("分组不存在", "Group does not exist"))


def create_group(call: Call) -> Answer:
    """Create one group."""
    return Answer(200, _created(call, [dict(call.body)], "code")[0])


def create_groups_batch(call: Call) -> Answer:
    """Create groups, all or none."""
    return Answer(200, _created(call, codes.objects(call, "list"), "list"))


def _created(call: Call, groups: list[dict[str, Any]], blamed: str) -> list[Record]:
    """Create groups, all or none. blamed: the parameter that the refusal of a code names."""
    access = call.pool.access
    new = [codes.code_in(fields, blamed=blamed) for fields in groups]
    if not all(isinstance(fields.get("name"), str) for fields in groups):
        raise malformed("name")
    codes.check_free(new, access.groups, WHAT)
    fields = [codes.kept(each, "name", "description", "type", "customData") for each in groups]
    made = [access.add_group(code, fields=each) for code, each in zip(new, fields, strict=True)]
    return [_shown(call, group) for group in made]


def members(call: Call) -> Named:
    """`userIds` in the body, which are user ids."""
    return call.named("userIds", call.texts("userIds"), None)


def add_group_members(call: Call) -> Answer:
    """Put users into a group."""
    users, group = members(call), _group(call)

    def join(user: int) -> None:
        call.pool.count("group-added", (user, group.record["code"]), changed=group.add(user))

    change_each(call, users, lambda id_: call.pool.find_alive("user_id", id_), join)
    return succeeded(call)


def remove_group_members(call: Call) -> Answer:
    """Take users out of a group. A user that is not in it is no error (`Switches.refuse_non_members`)."""
    users, group, strict = members(call), _group(call), call.switches.refuse_non_members

    def find(id_: str) -> int | None:
        user = call.pool.find_alive("user_id", id_)
        return None if strict and user not in group.users else user

    def leave(user: int) -> None:
        left = group.users.remove(user)
        call.pool.count("group-removed", (user, group.record["code"]), changed=left)

    change_each(call, users, find, leave, unknown="refuse" if strict else "accept")
    return succeeded(call)


def delete_groups_batch(call: Call) -> Answer:
    """Delete groups, and so their memberships. A code that no group has is no error."""
    return codes.delete_each(call, codes.code_list(call), call.pool.access.groups, "group-deleted", absent=NO_GROUP)


def get_group(call: Call) -> Answer:
    """Return one group."""
    group = codes.look_up(call, call.pool.access.groups, codes.code(call))
    if group is None:
        raise Refused(NO_GROUP)
    return Answer(200, _shown(call, group))


def list_groups(call: Call) -> Answer:
    """List the groups page by page, the newest first."""
    return codes.listed(call, call.pool.access.groups.values()[::-1], lambda group: _shown(call, group))


def get_all_groups(call: Call) -> Answer:
    """List all groups, with their members if `fetchMembers` asks for them."""
    groups, members = call.pool.access.groups.values(), call.flag("fetchMembers")
    return Answer(200, [_shown(call, group, members=members) for group in groups])


def list_group_members(call: Call) -> Answer:
    """List the members of a group page by page."""
    return codes.listed_users(call, _group(call).users)


def get_user_groups(call: Call) -> Answer:
    """List the groups of one user."""
    user, lag_s = codes.looked_up_user(call), call.switches.lag_s
    groups = [group for group in call.pool.access.groups.values(lag_s=lag_s) if group.has(user, lag_s=lag_s)]
    return Answer(200, {"totalCount": len(groups), "list": [_shown(call, group) for group in groups]})


def _group(call: Call) -> GroupOrRole:
    """Return the group that a call names."""
    group = call.pool.access.groups.get(codes.code(call))
    if group is None:
        raise Refused(NO_GROUP)
    return group


def _shown(call: Call, group: GroupOrRole, *, members: bool = False) -> Record:
    """Return the record of a group, without its custom data unless the query asks for it."""
    hidden = () if call.method == "POST" or call.flag("withCustomData") else ("customData",)
    users = shown(map(call.pool.user, group.users), ()) if members else []
    return {name: value for name, value in group.record.items() if name not in hidden} | {"members": users}
