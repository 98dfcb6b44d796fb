"""The endpoints of what a user refers to: departments, and the identity that ties a user to an account elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bulkdel_jobs.sandbox import codes
from bulkdel_jobs.sandbox.answers import NO_SUCH_SOURCE, Answer, Refused, malformed, no_such_department
from bulkdel_jobs.sandbox.calls import Call, plain_user_id, user_id
from bulkdel_jobs.sandbox.changing import change_each, succeeded


def set_user_departments(call: Call) -> Answer:
    """Set the departments of one user. Those that the request leaves out are left."""
    named, places, pool = user_id(call), _places(call), call.pool

    def change(number: int) -> None:
        before = {id_: pool.directory.place_of(number, id_) for id_ in pool.user(number)["departmentIds"]}
        for id_, place in places.items():
            joined = before.get(id_, {}).get("joinedAt") or call.created_at
            pool.directory.place(number, id_, place | {"joinedAt": joined})
        main = next((id_ for id_, place in places.items() if place["isMainDepartment"]), None)
        pool.change(number, {"departmentIds": [*places], "mainDepartmentId": main}, call.created_at)
        after = {id_: pool.directory.place_of(number, id_) for id_ in places}
        pool.count("departments-set", number, changed=before != after)

    change_each(call, named, lambda id_: pool.find_alive(named.id_type, id_), change, unknown="refuse")
    return succeeded(call)


def _places(call: Call) -> dict[str, dict[str, bool]]:
    """Read how the user is to stand in which departments."""
    places: dict[str, dict[str, bool]] = {}
    for each in codes.objects(call, "departments"):
        id_ = each.get("departmentId")
        place = {name: each.get(name) or False for name in ("isLeader", "isMainDepartment")}
        if not isinstance(id_, str) or not all(isinstance(flag, bool) for flag in place.values()):
            raise malformed("departments")
        if id_ not in call.pool.directory.departments:
            raise no_such_department(id_)
        places[id_] = place
    return places


def get_user_departments(call: Call) -> Answer:
    """List the departments of one user page by page, in the order in which the user has them."""
    number, directory = codes.looked_up_user(call), call.pool.directory

    def show(id_: str) -> dict[str, Any]:
        user = call.pool.user(number)
        place = {"joinedAt": user["createdAt"]} | directory.place_of(number, id_)
        record: Mapping[str, Any] = directory.departments.get(id_) or {"departmentId": id_}
        return {**record, **place}

    return codes.listed(call, call.pool.user(number, lag_s=call.switches.lag_s)["departmentIds"], show)


def get_user_identities(call: Call) -> Answer:
    """List what ties one user to accounts elsewhere."""
    return Answer(200, call.pool.user(codes.looked_up_user(call), lag_s=call.switches.lag_s)["identities"])


def link_identity(call: Call) -> Answer:
    """Tie one user to an account elsewhere."""
    named, pool = plain_user_id(call), call.pool
    source, own, kind = call.text("extIdpId"), call.text("userIdInIdp"), call.body.get("type") or "generic"
    provider = pool.directory.sources.get(source)
    if provider is None:
        raise Refused(NO_SUCH_SOURCE)
    if not isinstance(kind, str):
        raise malformed("type")

    def change(number: int) -> None:
        identity = {"extIdpId": source, "provider": provider, "type": kind, "userIdInIdp": own}
        tied = pool.tie(number, identity, call.created_at)
        pool.count("identity-linked", (number, f"{source}:{own}"), changed=tied)

    change_each(call, named, lambda id_: pool.find_alive(named.id_type, id_), change, unknown="refuse")
    return succeeded(call)
