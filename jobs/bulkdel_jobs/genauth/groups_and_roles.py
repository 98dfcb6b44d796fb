"""GenAuth's calls that list groups and roles with their members: `bulkdel.job.Memberships`. Pure.

list-role-members names the users that have a role, and list-role-assignments the end of an assignment. The vendor's
model of an assignment (`RolePermissionListDto`) has no member for the user. The sandbox, and perhaps a server, gives
`targetIdentifier`. Where it is missing, an assignment with an end may be that of any user with the role.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any
from urllib.parse import quote, unquote

from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.job import GroupOrRole, MembershipPage, Memberships
from bulkdel_jobs.genauth.endpoints import DEFAULT_NAMESPACE, LIST_MAX
from bulkdel_jobs.genauth.responses import can_be_named, is_complete, read_envelope, read_listed, unreadable

GROUPS_PATH = "/api/v3/list-groups"
NAMESPACES_PATH = "/api/v3/list-namespaces"
ROLES_PATH = "/api/v3/list-roles"
GROUP_MEMBERS_PATH = "/api/v3/list-group-members"
ROLE_MEMBERS_PATH = "/api/v3/list-role-members"
ASSIGNMENTS_PATH = "/api/v3/list-role-assignments"
USER_GROUPS_PATH = "/api/v3/get-user-groups"
USER_ROLES_PATH = "/api/v3/get-user-roles"

TIMES = ("enableTime", "endTime")
"""The members of an assignment that limit it, milliseconds."""

UNKNOWN = "unknown"
UNKNOWN_END = {"endTime": UNKNOWN}
"""What the copy says of a membership that may have an end."""

SEPARATOR = ":"
"""Between the parts of the id of a membership."""

DYNAMIC = "dynamic"
"""The type of a group whose members follow from a rule. They are no memberships of the users.

The vendor's model of a group gives `static` as an example, and names no other type. So this word is not certain.
"""


class UserMemberships(Memberships):
    """The groups and roles of users."""

    restored_by = "restore-memberships"

    def lists(self) -> Sequence[Request]:
        """The groups, and the namespaces with their roles."""
        return [_first_page(GROUPS_PATH), _first_page(NAMESPACES_PATH)]

    def read_list(self, request: Request, response: Response) -> Decision:
        """See `bulkdel.job.Memberships`."""
        within = dict(request.query).get("namespace")
        return _read_page(request, response, lambda item: _group_or_role(request.path, item, within))

    def members(self, of: GroupOrRole) -> Sequence[Request]:
        """A role has two lists: of its users, and of its assignments, which have their end."""
        if of.kind == "group":
            return [_first_page(GROUP_MEMBERS_PATH, ("code", of.code))]
        namespace = of.namespace or DEFAULT_NAMESPACE
        assigned = (("roleCode", of.code), ("namespaceCode", namespace), ("targetType", "USER"))
        return [
            _first_page(ROLE_MEMBERS_PATH, ("code", of.code), ("namespace", namespace)),
            _first_page(ASSIGNMENTS_PATH, *assigned),
        ]

    def read_members(self, request: Request, response: Response) -> Decision:
        """See `bulkdel.job.Memberships`. The API answers statusCode 404 for a group or a role that does not exist."""
        decision = _read_page(request, response, _assignment if request.path == ASSIGNMENTS_PATH else _user)
        unknown = decision.next_step is NextStep.LOOK_UP and not decision.maybe_applied
        return decision._replace(next_step=NextStep.SETTLED, data=None) if unknown else decision

    def row(self, of: GroupOrRole, user: str, facts: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """See `bulkdel.job.Memberships`. A role that may have had an end is not given back without one."""
        if UNKNOWN in facts.values():
            return None
        return {"id": id_of(of, user), **facts}


def list_of_user(of: GroupOrRole, user: str) -> Request:
    """Ask for the groups of a user, or for its roles in the namespace of a role."""
    if of.kind == "group":
        return Request("GET", USER_GROUPS_PATH, (("userId", user),))
    return Request("GET", USER_ROLES_PATH, (("userId", user), ("namespace", of.namespace or DEFAULT_NAMESPACE)))


def read_whether_listed(wanted: Sequence[GroupOrRole], response: Response) -> Decision:
    """Decide on such a list: SETTLED with `data` = whether one of `wanted` is in it.

    A list that is not complete proves nothing, unless one of them is in it.
    """
    decision = read_listed(response)
    if decision.next_step is not NextStep.SETTLED:
        return decision
    listed = any(is_of(of, record) for record in decision.data for of in wanted)
    if not listed and not is_complete(response, decision.data):
        return Decision(NextStep.RETRY, decision.detail, reason="the response lists only a part of what the user has")
    return decision._replace(data=listed)


def is_of(of: GroupOrRole, record: Mapping[str, Any]) -> bool:
    """Whether a record is that of a group or a role. A role of another namespace is another role."""
    return bool(record.get("code") == of.code and record.get("namespace", of.namespace) == of.namespace)


def id_of(of: GroupOrRole, user: str) -> str:
    """The id of a membership: `role:default:admin:USER`, `group::staff:USER`."""
    return SEPARATOR.join(map(_escaped, (of.kind, of.namespace or "", of.code, user)))


def part_of(escaped: str) -> str:
    """Inverse of what `id_of` does to a part."""
    return unquote(escaped)


def _escaped(part: str) -> str:
    """Percent-encode what has a meaning in an id, and what no id of an export may have, such as a line separator."""
    if part.isprintable() and "%" not in part and SEPARATOR not in part:
        return part
    return "".join(char if char.isprintable() and char not in {"%", SEPARATOR} else quote(char) for char in part)


def _first_page(path: str, *query: tuple[str, str]) -> Request:
    return Request("GET", path, (*query, ("page", "1"), ("limit", str(LIST_MAX))))


def _group_or_role(path: str, item: Mapping[str, Any], within: str | None) -> list[GroupOrRole | Request]:
    """What an item of a list stands for. within: the namespace of a role."""
    code = _text(item["code"])
    if path == NAMESPACES_PATH:
        return [_first_page(ROLES_PATH, ("namespace", code))]
    if path == ROLES_PATH:
        return [GroupOrRole("role", code, within)]
    return [] if item.get("type") == DYNAMIC else [GroupOrRole("group", code)]


def _user(user: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The member of a list of users."""
    return [{"userId": _text(user["userId"])}]


def _assignment(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What an assignment says: when the membership of its user begins and ends."""
    times = {name: item[name] for name in TIMES if item.get(name) is not None}
    user = item.get("targetIdentifier")
    if isinstance(user, str) and user:
        return [{"userId": _text(user), **times}]
    return [{"userId": None, **(UNKNOWN_END if times else {})}]


def _text(value: object) -> str:
    """A code or an id. Raises TypeError for what no request can name."""
    if not can_be_named(value):
        raise TypeError("a code or an id is text")
    return value


def _list(value: object) -> list[Any]:
    """A list of the response. Raises TypeError for anything else: an empty object would seem to be an empty list."""
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _read_page(request: Request, response: Response, items: Callable[[Mapping[str, Any]], Sequence[Any]]) -> Decision:
    """Decide on a page of any of these lists. items: what an item of the response stands for."""
    decision = read_envelope(response, exact=True)  # a name, which nothing reads here, may have a lone surrogate
    if decision.next_step is not NextStep.SETTLED:
        return decision
    try:
        data = decision.data
        listed, total = data["data"] if request.path == ASSIGNMENTS_PATH else data["list"], int(data["totalCount"])
        found = list(map(items, _list(listed)))
    except (KeyError, TypeError, ValueError, AttributeError):
        return unreadable(decision, "the response holds no page of a list with its totalCount")
    query = dict(request.query)
    number = int(query["page"])
    more = listed and number * LIST_MAX < total
    following = request._replace(query=tuple({**query, "page": str(number + 1)}.items())) if more else None
    page = MembershipPage(list(chain.from_iterable(found)), total, following, left_out=found.count([]))
    return decision._replace(data=page)
