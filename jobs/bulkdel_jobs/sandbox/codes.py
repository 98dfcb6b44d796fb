"""What the calls on groups, namespaces, roles and resources have in common: codes, and the namespace of a call."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Container, Hashable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, TypeVar

from bulkdel_jobs.sandbox.access import DEFAULT_NAMESPACE, Kept, Namespace
from bulkdel_jobs.sandbox.answers import NO_SUCH_USER, Answer, Refused, invalid, malformed
from bulkdel_jobs.sandbox.calls import BATCH_MAX, Call, Named, page
from bulkdel_jobs.sandbox.changing import change_each, succeeded
from bulkdel_jobs.sandbox.user_endpoints import parts_in_query, shown
from bulkdel_jobs.sandbox.users import Record

Thing = TypeVar("Thing")

CODE_MAX = 64
"""Letters of a code (the vendor's tests)."""

NO_NAMESPACE = Answer(404, message=("权限组不存在", "Namespace does not exist"))

_CODE = re.compile(r"[\w.:*/-]+", re.ASCII)
"""A code for a new role, resource or namespace. Which characters are allowed is not documented; the vendor's tests
expect that Chinese, a blank and an exclamation mark are not."""


def code(call: Call, name: str = "code") -> str:
    """Return the parameter `name` of a GET or a POST: a code of 1 to 64 letters."""
    return code_in(call.body if call.method == "POST" else {name: call.parameter(name)}, name)


def code_in(fields: Mapping[str, Any], name: str = "code", *, blamed: str | None = None) -> str:
    """Return a member of an object: a code of 1 to 64 letters. blamed: the parameter that a refusal names."""
    found = fields.get(name)
    if not isinstance(found, str) or not 1 <= len(found) <= CODE_MAX:
        raise malformed(blamed or name)
    return found


def code_list(call: Call, *, most: int = BATCH_MAX) -> Named:
    """`codeList` in the body. The API takes codes that nothing can have, such as an empty one."""
    found = call.items("codeList", most=most)
    if not all(isinstance(each, str) for each in found):
        raise malformed("codeList")
    return Named("code", found, "codeList")


def code_list_in_query(call: Call) -> Named:
    """`codeList` of a GET in every spelling."""
    found = [value for name, value in call.query if re.fullmatch(r"codeList(?:\[\d*\])?", name)]
    if not 1 <= len(found) <= BATCH_MAX:
        raise malformed("codeList")
    return Named("code", found, "codeList")


def objects(call: Call, name: str) -> list[dict[str, Any]]:
    """Return a member of the body that must be a list of 1 to 50 objects."""
    found = call.items(name)
    if not all(isinstance(one, dict) for one in found):
        raise malformed(name)
    return found


def namespace(call: Call) -> Namespace:
    """Return the namespace that a GET or a POST names, or the default one."""
    return namespace_in(call, call.body if call.method == "POST" else {"namespace": call.parameter("namespace")})


def namespace_in(call: Call, fields: Mapping[str, Any]) -> Namespace:
    """Return the namespace that an object names, or the default one."""
    name = fields.get("namespace")
    if not isinstance(name, str | None):
        raise malformed("namespace")
    found = call.pool.access.namespaces.get(DEFAULT_NAMESPACE if name is None else name)
    if found is None:
        raise Refused(NO_NAMESPACE)
    return found


def new_code(what: str, fields: Mapping[str, Any]) -> str:
    """Return the code of a new `what`. Refused if it is too long, or has a character that no code has."""
    code = fields.get("code")
    if not isinstance(code, str) or len(code) > CODE_MAX or not _CODE.fullmatch(code):
        raise invalid(f"invalid {what} code: {code}")
    return code


def kept(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return those of `names` that `fields` has, without empty ones."""
    return {name: fields[name] for name in names if fields.get(name) not in (None, "")}


def check_free(new: Collection[Hashable], there: Container[Hashable], what: tuple[str, str]) -> None:
    """Refuse new codes of which one is there already, or comes twice. what: its name in Chinese and English."""
    if len(set(new)) < len(new) or any(each in there for each in new):
        raise Refused(Answer(409, message=(f"{what[0]}标识符已存在", f"{what[1]} code already exists")))


def delete_each(
    call: Call,
    named: Named,
    things: Kept[str, Thing],
    kind: str,
    *,
    within: str = "",
    unknown: Literal["accept", "refuse"] = "accept",
    absent: Answer,
) -> Answer:
    """Delete the things of these codes, as the switches say. kind: of the effect; `within` + code is its key."""
    again = [code for code in named.ids if things.is_removed(code)]

    def delete(code: str) -> None:
        call.pool.count(kind, within + code, changed=things.remove(code))

    change_each(call, named, lambda code: code if code in things else None, delete, unknown=unknown, absent=absent)
    for code in again:
        call.pool.count(kind, within + code, changed=False)
    return succeeded(call)


def look_up(call: Call, things: Kept[str, Thing], code: str) -> Thing | None:
    """Return what has this code, as a look-up by code sees it."""
    return None if call.switches.blind else things.get(code, lag_s=call.switches.lag_s)


def look_up_each(call: Call, things: Kept[str, Thing]) -> list[Thing]:
    """Return what has one of the codes of a GET, as a look-up sees it."""
    found = (look_up(call, things, code) for code in dict.fromkeys(code_list_in_query(call).ids))
    return [each for each in found if each is not None][: call.switches.look_up_max]


def looked_up_user(call: Call) -> int:
    """Return the number of the user that a GET names by `userId`, as a look-up sees it."""
    named = call.named("userId", [call.parameter("userId") or ""], call.parameter("userIdType"))
    if not named.ids[0]:
        raise malformed("userId")
    lag_s = call.switches.lag_s
    user = None if call.switches.blind else call.pool.find_alive(named.id_type, named.ids[0], lag_s=lag_s)
    if user is None:
        raise Refused(NO_SUCH_USER)
    return user


def listed(call: Call, things: Sequence[Thing], show: Callable[[Thing], Record]) -> Answer:
    """List one page of `things`."""
    part = page(call.parameter("page"), call.parameter("limit"))
    return Answer(200, {"totalCount": len(things), "list": [show(each) for each in things[part]]})


def listed_users(call: Call, users: Collection[int]) -> Answer:
    """List one page of the users of these numbers."""
    part = page(call.parameter("page"), call.parameter("limit"))
    found = islice(users, part.start, part.stop)
    return Answer(200, {"totalCount": len(users), "list": shown(map(call.pool.user, found), parts_in_query(call))})
