"""The endpoints that update users, and let them resign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from bulkdel_jobs.sandbox.answers import NO_SUCH_USER, Answer, Refused
from bulkdel_jobs.sandbox.calls import (
    Call,
    Named,
    user_id,
    user_id_beside_type,
    user_ids_beside_type,
    users_in_list,
)
from bulkdel_jobs.sandbox.changing import change_each, succeeded
from bulkdel_jobs.sandbox.pool import Conflict
from bulkdel_jobs.sandbox.user_endpoints import shown
from bulkdel_jobs.sandbox.user_fields import check_values
from bulkdel_jobs.sandbox.users import ACTIVATED, FIELDS, RESIGNED, UPDATE_FIELDS
from bulkdel_jobs.sandbox_switches import REFUSED_STATUS


def update_batch(call: Call) -> Answer:
    """Change the users of a list, each in its own fields, and list them as they are then."""
    named = users_in_list(call)
    updates = {id_: _update(call, user) for id_, user in zip(named.ids, call.body["list"], strict=True)}
    found = _change(call, named, updates)
    listed = [] if call.unsuccessful else [number for id_, number in found.items() if id_ not in call.switches.omit]
    return Answer(200, shown(map(call.pool.user, listed), ()))


def update(call: Call) -> Answer:
    """Change one user, and show it as it is then."""
    named = user_id(call)
    found = _change(call, named, {named.ids[0]: _update(call, call.body)})
    if not found:
        raise Refused(NO_SUCH_USER)
    return Answer(200, shown(map(call.pool.user, found.values()), ())[0])


def _update(call: Call, user: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields that a user is to get; Refused if a value cannot be."""
    check_values(user)
    defaults = {"status": ACTIVATED, "gender": "U"} if call.switches.fill_defaults else {}
    given = {name: value for name, value in user.items() if value is not None and name not in {"userId", "options"}}
    return defaults | given


def _change(call: Call, named: Named, updates: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Give users the fields that stand under their ids; return the users' numbers by id."""
    pool = call.pool
    numbers = {id_: number for id_ in updates if (number := pool.find_alive(named.id_type, id_)) is not None}
    fields = {number: updates[id_] for id_, number in numbers.items()}
    ids = frozenset(FIELDS.values())
    try:
        pool.check_changes({number: each for number, each in fields.items() if not ids.isdisjoint(each)})
    except Conflict as taken:
        raise conflict(str(taken)) from None

    def change(number: int) -> None:
        others = dict(fields[number])
        if (status := others.pop("status", None)) is not None:
            set_status(call, number, status)
        if others:
            kept = {name: value for name, value in others.items() if name in UPDATE_FIELDS}
            # No record shows a password, so each one counts as a new one.
            changed = pool.change(number, kept, call.created_at) or "password" in others
            pool.count("updated", number, changed=changed)

    change_each(call, named, numbers.get, change, unknown="refuse")
    return numbers


def set_status(call: Call, number: int, status: str) -> None:
    """Give a user a status, and count the effect: the kind is the status in lower case."""
    changed = call.pool.change(number, {"status": status}, call.created_at)
    if changed and status != ACTIVATED and not call.switches.sessions_outlive:
        call.pool.end_sessions(number)
    call.pool.count(status.lower(), number, changed=changed)


def resign_batch(call: Call) -> Answer:
    """Let the named users resign."""
    return _resign(call, user_ids_beside_type(call))


def resign(call: Call) -> Answer:
    """Let one user resign."""
    return _resign(call, user_id_beside_type(call), unknown="refuse")


def _resign(call: Call, named: Named, *, unknown: Literal["accept", "refuse"] = "accept") -> Answer:
    pool = call.pool
    numbers = {id_: number for id_ in named.ids if (number := pool.find_alive(named.id_type, id_)) is not None}
    if call.switches.resign_again == "refuse" and any(pool.status(number) == RESIGNED for number in numbers.values()):
        raise Refused(Answer(REFUSED_STATUS, message=("用户已离职", "The user has resigned already")))

    def change(number: int) -> None:
        set_status(call, number, RESIGNED)
        if not call.switches.resign_keeps_access:  # the API's text: grants, departments, roles, groups and posts
            pool.access.forget(number)
            pool.change(number, {"departmentIds": [], "mainDepartmentId": None}, call.created_at)

    change_each(call, named, numbers.get, change, unknown=unknown)
    return succeeded(call)


def conflict(field: str) -> Refused:
    """Refuse a user that is to have the same value in this field as another user."""
    return Refused(Answer(409, message=(f"{field} 已存在", f"{field} already exists")))
