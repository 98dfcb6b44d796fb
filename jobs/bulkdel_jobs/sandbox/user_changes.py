"""The endpoints that change users: their fields, status, departments, identities and sessions.

Those that read departments, identities and sessions are beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bulkdel_jobs.sandbox.calls import Call, Named, change_each, change_users, numbers_of
from bulkdel_jobs.sandbox.replies import NO_SUCH_SOURCE, NO_SUCH_USER, Rejected, Reply, malformed, no_such_department
from bulkdel_jobs.sandbox.user_endpoints import listed, looked_up, looked_up_user, shown
from bulkdel_jobs.sandbox.users import ACTIVATED, FIELDS, RESIGNED, UPDATE_FIELDS, check_values
from bulkdel_jobs.sandbox_switches import REFUSED_STATUS


def update_batch(call: Call, named: Named) -> Any:
    """Change the users of a list, each in its own fields, and list them as they are then."""
    updates = {id_: _update(call, user) for id_, user in zip(named.ids, call.body["list"], strict=True)}
    found = _change(call, named, updates)
    listed = [] if call.unsuccessful else [number for id_, number in found.items() if id_ not in call.switches.omit]
    return shown(call, map(call.pool.user, listed))


def update(call: Call, named: Named) -> Any:
    """Change one user, and show it as it is then."""
    found = _change(call, named, {named.ids[0]: _update(call, call.body)})
    if not found:
        raise Rejected(NO_SUCH_USER)
    return shown(call, map(call.pool.user, found.values()))[0]


def _update(call: Call, user: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields that a user is to get; Rejected if a value cannot be."""
    check_values(user)
    defaults = {"status": ACTIVATED, "gender": "U"} if call.switches.fill_defaults else {}
    given = {name: value for name, value in user.items() if value is not None and name not in {"userId", "options"}}
    return defaults | given


def _change(call: Call, named: Named, updates: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Give users the fields that stand under their ids; return the users' numbers by id."""
    pool, numbers = call.pool, numbers_of(call, named)
    fields = {number: updates[id_] for id_, number in numbers.items()}
    ids = frozenset(FIELDS.values())
    taken = pool.clash_of_changes({number: each for number, each in fields.items() if not ids.isdisjoint(each)})
    if taken is not None:
        raise conflict(taken)

    def change(number: int) -> None:
        others = dict(fields[number])
        if (status := others.pop("status", None)) is not None:
            set_status(call, number, status)
        if others:
            kept = {name: value for name, value in others.items() if name in UPDATE_FIELDS}
            # No record shows a password, so each one counts as a new one.
            changed = pool.change(number, kept, call.created_at) or "password" in others
            pool.count("updated", number, changed=changed)

    change_each(call, named, numbers.get, change)
    return numbers


def set_status(call: Call, number: int, status: str) -> None:
    """Give a user a status, and count the effect: the kind is the status in lower case."""
    changed = call.pool.change(number, {"status": status}, call.created_at)
    if changed and status != ACTIVATED and not call.switches.sessions_outlive:
        call.pool.end_sessions(number)
    call.pool.count(status.lower(), number, changed=changed)


def resign(call: Call, named: Named) -> Any:
    """Let the named users resign."""
    pool, numbers = call.pool, numbers_of(call, named)
    if call.switches.resign_again == "refuse" and any(pool.status(number) == RESIGNED for number in numbers.values()):
        raise Rejected(Reply(REFUSED_STATUS, message=("用户已离职", "The user has resigned already")))

    def change(number: int) -> None:
        set_status(call, number, RESIGNED)
        if not call.switches.resign_keeps_access:  # the API's text: grants, departments, roles, groups and posts
            pool.access.forget(number)
            pool.change(number, {"departmentIds": [], "mainDepartmentId": None}, call.created_at)

    return change_each(call, named, numbers.get, change)


def conflict(field: str) -> Rejected:
    """Refuse a user that is to have the same value in this field as another user."""
    return Rejected(Reply(409, message=(f"{field} 已存在", f"{field} already exists")))


def set_user_departments(call: Call, named: Named) -> Any:
    """Set the departments of one user. Those that the request leaves out are left."""
    places, pool = _places(call), call.pool

    def change(number: int) -> None:
        before = {id_: pool.references.place_of(number, id_) for id_ in pool.user(number)["departmentIds"]}
        for id_, place in places.items():
            joined = before.get(id_, {}).get("joinedAt") or call.created_at
            pool.references.place(number, id_, place | {"joinedAt": joined})
        main = next((id_ for id_, place in places.items() if place["isMainDepartment"]), None)
        pool.change(number, {"departmentIds": [*places], "mainDepartmentId": main}, call.created_at)
        after = {id_: pool.references.place_of(number, id_) for id_ in places}
        pool.count("departments-set", number, changed=before != after)

    return change_users(call, named, change)


def _places(call: Call) -> dict[str, dict[str, bool]]:
    """Read how the user is to stand in which departments."""
    places: dict[str, dict[str, bool]] = {}
    for each in call.items("departments", of=dict):
        id_ = each.get("departmentId")
        place = {name: each.get(name) or False for name in ("isLeader", "isMainDepartment")}
        if not isinstance(id_, str) or not all(isinstance(flag, bool) for flag in place.values()):
            raise malformed("departments")
        if id_ not in call.pool.references.departments:
            raise no_such_department(id_)
        places[id_] = place
    return places


def get_user_departments(call: Call) -> Any:
    """List the departments of one user page by page, in the order in which the user has them."""
    number, references = looked_up_user(call), call.pool.references

    def show(id_: str) -> dict[str, Any]:
        user = call.pool.user(number)
        place = {"joinedAt": user["createdAt"]} | references.place_of(number, id_)
        record: Mapping[str, Any] = references.departments.get(id_) or {"departmentId": id_}
        return {**record, **place}

    return listed(call, call.pool.user(number, lag_s=call.switches.lag_s)["departmentIds"], show)


def get_user_identities(call: Call, named: Named) -> Any:
    """List what ties one user to accounts elsewhere."""
    return call.pool.user(looked_up(call, named), lag_s=call.switches.lag_s)["identities"]


def link_identity(call: Call, named: Named) -> Any:
    """Tie one user to an account elsewhere."""
    pool = call.pool
    source, own, kind = call.text("extIdpId"), call.text("userIdInIdp"), call.body.get("type") or "generic"
    provider = pool.references.sources.get(source)
    if provider is None:
        raise Rejected(NO_SUCH_SOURCE)
    if not isinstance(kind, str):
        raise malformed("type")

    def change(number: int) -> None:
        identity = {"extIdpId": source, "provider": provider, "type": kind, "userIdInIdp": own}
        tied = pool.tie(number, identity, call.created_at)
        pool.count("identity-linked", (number, f"{source}:{own}"), changed=tied)

    return change_users(call, named, change)


def kick(call: Call, named: Named) -> Any:
    """Sign one user out of some applications."""
    apps, pool = call.items("appIds", of=str), call.pool

    def change(number: int) -> None:
        for app in apps:
            pool.count("kicked", (number, app), changed=pool.end_sessions(number, app))

    return change_users(call, named, change)


def check_status(call: Call, named: Named) -> Any:
    """Say whether a user is signed in to an application. A deleted user is known, and signed out."""
    app, switches, pool = call.text("appId"), call.switches, call.pool
    number = None if switches.blind else pool.find(named.id_type, named.ids[0])
    if number is None:
        raise Rejected(NO_SUCH_USER)
    exists = switches.sessions_outlive or pool.is_alive(number, lag_s=switches.lag_s)
    return {"active": exists and pool.has_session(number, app, lag_s=switches.lag_s)}
