"""The calls on groups, namespaces, roles and resources: what these four kinds of things share, and how they differ.

A thing is known by its code; a role or a resource by its namespace and its code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from bulkdel_jobs.sandbox.access import DEFAULT_NAMESPACE, Access, Kept, Namespace, Thing
from bulkdel_jobs.sandbox.calls import BATCH_MAX, Call, Named, change_each, succeeded
from bulkdel_jobs.sandbox.replies import Rejected, Reply, invalid, malformed
from bulkdel_jobs.sandbox.user_endpoints import listed, looked_up_user, shown
from bulkdel_jobs.sandbox.users import Record

CODE_MAX = 64
"""Letters of a code (the vendor's tests)."""

NAMESPACES_MAX = 10
"""Namespaces in one request that deletes them (the vendor's OpenAPI)."""

_CODE = re.compile(r"[\w.:*/-]+", re.ASCII)
"""A code for a new role, resource or namespace. Which characters are allowed is not documented; the vendor's tests
expect that Chinese, a blank and an exclamation mark are not."""

Fields = Mapping[str, Any]
"""The members of an object in a request, or of the request itself."""

Where = tuple[Kept[str, Thing] | Kept[str, Namespace], str | None]
"""The things of one kind by code, and the code of their namespace; None for a kind without namespaces."""


# --- codes in a request -----------------------------------------------------------------------------------------------


def code_in(fields: Fields, *, blamed: str = "code", least: int = 1) -> str:
    """Return the member `code`, of `least` to 64 letters. blamed: the parameter that a refusal names."""
    found = fields.get("code")
    if not isinstance(found, str) or not least <= len(found) <= CODE_MAX:
        raise malformed(blamed)
    return found


def one_code(call: Call, *, least: int = 1) -> Named:
    """`code` in the body. least: of its letters; 0 where the API takes one that nothing can have."""
    return Named("code", [code_in(call.body, least=least)], "code")


def code_list(call: Call, *, most: int = BATCH_MAX) -> Named:
    """`codeList` in the body. The API takes codes that nothing can have, such as an empty one."""
    found = call.items("codeList", most=most)
    if not all(isinstance(each, str) for each in found):
        raise malformed("codeList")
    return Named("code", found, "codeList")


def codes_of_resources(call: Call) -> Named:
    """`codeList` in the body. No answer of the API shows the id of a resource, so `ids` in its place are refused."""
    if call.body.get("codeList") is None and call.body.get("ids") is not None:
        raise Rejected(Reply(501))
    return code_list(call)


def code_list_in_query(call: Call) -> Named:
    """`codeList` of a GET in every spelling."""
    found = [value for name, value in call.query if re.fullmatch(r"codeList(?:\[\d*\])?", name)]
    if not 1 <= len(found) <= BATCH_MAX:
        raise malformed("codeList")
    return Named("code", found, "codeList")


# --- the calls that several kinds have --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class KindOfThing:
    """One kind of things, and the calls about it. A kind has those that the table of endpoints (`api`) names.

    word: in the kinds of effects. names: in Chinese and in English.
    where: the things among which an object in a request names one. fields: those that a creation may set.
    add: adds a thing by its code, its namespace and its fields. check: refuses what a creation cannot set.
    no_code: the answer to a batch with a thing that has no code.
    one_namespace: whether the things of a batch lie in one namespace, which the batch names.
    lists_new: whether a batch answers with the new things. newest_first: the order of a list.
    types: those that a list may be limited to.
    not_there: the answer of `get` about a code that no thing has; None for the usual one. shown: how a thing is shown.
    """

    word: str
    names: tuple[str, str]
    where: Callable[[Call, Fields], Where]
    add: Callable[[Access, str, str, Fields], Thing]
    fields: tuple[str, ...]
    check: Callable[[Fields], None]
    no_code: Reply
    one_namespace: bool = False
    lists_new: bool = False
    newest_first: bool = False
    not_there: Reply | None = None
    types: tuple[str, ...] = ()
    shown: Callable[[Call, Thing], Record] = lambda _call, thing: thing.record

    @property
    def absent(self) -> Reply:
        """The usual answer about a code that no thing has."""
        return Reply(404, message=(f"{self.names[0]}不存在", f"{self.names[1]} does not exist"))

    def find(self, call: Call, fields: Fields, *, blamed: str = "code") -> Thing:
        """Return the thing that an object in a request names. blamed: the parameter that a refusal names."""
        code = code_in(fields, blamed=blamed)
        found = self.where(call, fields)[0].get(code)
        if found is None:
            raise Rejected(self.absent)
        return found

    def create(self, call: Call) -> Any:
        """Create one thing, and show it."""
        code_in(call.body)
        return self.shown(call, self._created(call, [call.body])[0])

    def create_batch(self, call: Call) -> Any:
        """Create things, all or none."""
        given = call.items("list", of=dict)
        if not all(fields.get("code") for fields in given):
            raise Rejected(self.no_code)
        if self.one_namespace:
            given = [{**fields, "namespace": call.body.get("namespace")} for fields in given]
        made = self._created(call, given)
        return [self.shown(call, each) for each in made] if self.lists_new else succeeded(call)

    def _created(self, call: Call, given: list[Fields]) -> list[Thing]:
        """Create things, all or none."""
        for fields in given:
            self.check(fields)
        places = [(*self.where(call, fields), str(fields["code"])) for fields in given]
        different = {(space, code) for _, space, code in places}
        if len(different) < len(places) or any(code in things for things, _, code in places):
            raise Rejected(Reply(409, message=(f"{self.names[0]}标识符已存在", f"{self.names[1]} code already exists")))
        return [
            self.add(call.pool.access, code, space or "", _without_empty(fields, self.fields))
            for (_, space, code), fields in zip(places, given, strict=True)
        ]

    def delete(self, call: Call, named: Named) -> Any:
        """Delete the things of these codes, as the switches say, and with a group or a role its memberships."""
        things, space = self.where(call, call.body)
        kind, within = f"{self.word}-deleted", "" if space is None else f"{space}/"
        again = [code for code in named.ids if things.is_removed(code)]

        def delete(code: str) -> None:
            call.pool.count(kind, within + code, changed=things.remove(code))

        def find(code: str) -> str | None:
            return code if code in things else None

        answer = change_each(call, named, find, delete, absent=self.absent)
        for code in again:
            call.pool.count(kind, within + code, changed=False)
        return answer

    def get(self, call: Call) -> Any:
        """Show one thing."""
        found = self._looked_up(call, [code_in(call.fields)])
        if not found:
            raise Rejected(self.not_there or self.absent)
        return found[0]

    def get_batch(self, call: Call, named: Named) -> Any:
        """Show the named things that exist."""
        return self._looked_up(call, list(dict.fromkeys(named.ids)))[: call.switches.look_up_max]

    def _looked_up(self, call: Call, codes: list[str]) -> list[Record]:
        """Return the records of the things that have one of these codes, as a look-up sees them."""
        things, _ = self.where(call, call.fields)
        found = [things.get(code, lag_s=call.switches.lag_s) for code in codes]
        return [] if call.switches.blind else [self.shown(call, each) for each in found if each is not None]

    def list_all(self, call: Call) -> Any:
        """List the things, or those of one type, page by page."""
        wanted = call.parameter("type") if self.types else None
        if wanted is not None and wanted not in self.types:
            raise malformed("type")
        things, _ = self.where(call, call.fields)
        found = [each for each in things.values() if wanted in {None, each.record.get("type")}]
        return listed(call, found[:: -1 if self.newest_first else 1], partial(self.shown, call))

    def list_members(self, call: Call) -> Any:
        """List the users of one thing page by page."""
        users = self.find(call, call.fields).users
        return listed(call, users, lambda user: shown(call, [call.pool.user(user)], call.flag)[0])

    def list_of_user(self, call: Call) -> Any:
        """List the things that one user is in, or has."""
        user, lag_s = looked_up_user(call), call.switches.lag_s
        things = self.where(call, call.fields)[0].values(lag_s=lag_s)
        found = [self.shown(call, each) for each in things if each.has(user, lag_s=lag_s)]
        return {"totalCount": len(found), "list": found}


def _without_empty(fields: Fields, names: tuple[str, ...]) -> Fields:
    """Return those of `names` that have a value which is not empty."""
    return {name: fields[name] for name in names if fields.get(name) not in (None, "")}


def _namespace_in(call: Call, fields: Fields) -> Namespace:
    """Return the namespace that an object names, or the default one."""
    name = fields.get("namespace")
    if not isinstance(name, str | None):
        raise malformed("namespace")
    found = call.pool.access.namespaces.get(DEFAULT_NAMESPACE if name is None else name)
    if found is None:
        raise Rejected(NAMESPACE.absent)
    return found


def _check_group(fields: Fields) -> None:
    code_in(fields, blamed="list")
    if not isinstance(fields.get("name"), str):
        raise malformed("name")


def _check_code(word: str, fields: Fields) -> None:
    """Refuse a code that is too long, or has a character that no code has."""
    code = fields.get("code")
    if not isinstance(code, str) or len(code) > CODE_MAX or not _CODE.fullmatch(code):
        raise invalid(f"invalid {word} code: {code}")


def _check_resource(fields: Fields) -> None:
    _check_code("resource", fields)
    if fields.get("type") not in RESOURCE.types:
        raise malformed("list")


def _shown_group(call: Call, group: Thing, *, members: bool = False) -> Record:
    """Return the record of a group, without its custom data unless the query asks for it."""
    hidden = () if call.method == "POST" or call.flag("withCustomData") else ("customData",)
    users = shown(call, map(call.pool.user, group.users)) if members else []
    return {name: value for name, value in group.record.items() if name not in hidden} | {"members": users}


def get_all_groups(call: Call) -> Any:
    """List all groups, with their members if `fetchMembers` asks for them."""
    groups, members = call.pool.access.groups.values(), call.flag("fetchMembers")
    return [_shown_group(call, group, members=members) for group in groups]


# --- the kinds --------------------------------------------------------------------------------------------------------

GROUP = KindOfThing(
    word="group",
    names=("分组", "Group"),
    where=lambda call, _: (call.pool.access.groups, None),
    add=lambda access, code, _, fields: access.add_group(code, fields=fields),
    fields=("name", "description", "type", "customData"),
    check=_check_group,
    no_code=malformed("list").answer,
    lists_new=True,
    newest_first=True,
    shown=_shown_group,
)
ROLE = KindOfThing(
    word="role",
    names=("角色", "Role"),
    where=lambda call, fields: ((space := _namespace_in(call, fields)).roles, space.code),
    add=lambda access, code, space, fields: access.add_role(code, namespace=space, fields=fields),
    fields=("name", "description", "disableTime"),
    check=partial(_check_code, "role"),
    no_code=invalid("role code must not empty").answer,
)
RESOURCE = KindOfThing(
    word="resource",
    names=("资源", "Resource"),
    where=lambda call, fields: ((space := _namespace_in(call, fields)).resources, space.code),
    add=lambda access, code, space, fields: access.add_resource(code, space, fields),
    fields=("name", "description", "type", "actions", "apiIdentifier"),
    check=_check_resource,
    no_code=Reply(500, message=("未知错误", "Unknown error")),  # the vendor's tests
    one_namespace=True,
    types=("DATA", "API", "MENU", "BUTTON", "UI"),
)
NAMESPACE = KindOfThing(
    word="namespace",
    names=("权限组", "Namespace"),
    where=lambda call, _: (call.pool.access.namespaces, None),
    add=lambda access, code, _, fields: access.add_namespace(code, fields),
    fields=("name", "description"),
    check=partial(_check_code, "namespace"),
    no_code=invalid("namespace name must not be empty").answer,  # it means the code
    not_there=Reply(404, message=("namespace not exists", "namespace not exists")),  # the vendor's tests
)
