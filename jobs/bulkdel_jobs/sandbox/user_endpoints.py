"""The endpoints about users, and about public accounts, which are a second pool with the same rules."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from itertools import islice
from typing import Any

from bulkdel_jobs.sandbox.answers import Answer, Refused, malformed
from bulkdel_jobs.sandbox.calls import Call, page, user_ids, user_ids_in_query
from bulkdel_jobs.sandbox.changing import change_each, succeeded
from bulkdel_jobs.sandbox.pool import DELETED, Conflict
from bulkdel_jobs.sandbox.users import BULKY, Record

LIMIT_OVER = "limit must less than 50"
"""The message for a longer page of users, as the vendor's tests have it."""


def delete_batch(call: Call) -> Answer:
    """Delete the named users, or refuse the chunk, as the switches say."""
    (id_type, ids, _), pool = user_ids(call), call.pool
    known = {number for id_ in ids if (number := pool.find(id_type, id_)) is not None}
    found = change_each(call, user_ids(call), lambda id_: pool.find_alive(id_type, id_), pool.delete)
    for number in known.difference(found):
        pool.count(DELETED, number, changed=False)
    return succeeded(call)


def get_batch(call: Call) -> Answer:
    """List the named users that exist. Their order is not that of the request."""
    named, switches, pool = user_ids_in_query(call), call.switches, call.pool
    found = {pool.find(named.id_type, id_) for id_ in (() if switches.blind else named.ids)} - {None}
    users = [
        pool.user(number, lag_s=switches.lag_s)
        for number in found
        if number is not None and pool.is_alive(number, lag_s=switches.lag_s)
    ]
    users.sort(key=lambda user: str(user["userId"]))
    return Answer(200, shown(users[: switches.look_up_max], parts_in_query(call)))


def list_all(call: Call) -> Answer:
    """List existing users, oldest first, page by page. Searches and filters are not supported."""
    options = call.options()
    pagination = options.get("pagination") or {}
    if not isinstance(pagination, dict):
        raise malformed("options")
    if any(call.body.get(name) is not None for name in ("keywords", "advancedFilter", "searchQuery")):
        raise Refused(Answer(501))
    wanted = page(pagination.get("page"), pagination.get("limit"), over=LIMIT_OVER)
    users = map(call.pool.user, islice(call.pool.alive(), wanted.start, wanted.stop))
    parts = {part for part, name in BULKY.items() if options.get(name) is True}
    return Answer(200, {"totalCount": len(call.pool), "list": shown(users, parts)})


def list_archived(call: Call) -> Answer:
    """List the archived users, page by page: id and time, as the SDK's model has it. bulkdel does not call it."""
    wanted = page(call.parameter("page"), call.parameter("limit"), over=LIMIT_OVER)
    start_at = call.parameter("startAt") or "0"
    if not start_at.isdecimal():
        raise malformed("startAt")
    archived = [
        {"userId": user["userId"], "archivedAt": user["createdAt"]}
        for user in map(call.pool.user, call.pool.alive())
        if user["status"] == "Archived" and datetime.fromisoformat(user["createdAt"]).timestamp() >= int(start_at)
    ]
    return Answer(200, {"totalCount": len(archived), "list": archived[wanted]})


def create_batch(call: Call) -> Answer:
    """Create the users, all or none. bulkdel does not call it."""
    users = call.items("list")
    for user in users:
        check_fields(user)
    return Answer(200, _create(call, users))


def _create(call: Call, users: list[Any]) -> list[Record]:
    try:
        return call.pool.create(users, call.created_at)
    except Conflict as taken:
        raise conflict(taken) from None


# --- the parts of these -----------------------------------------------------------------------------------------------


def conflict(taken: Conflict) -> Refused:
    """Refuse a user with an id of another user."""
    return Refused(Answer(409, message=(f"{taken} 已存在", f"{taken} already exists")))


def check_fields(user: Any) -> None:
    """Refuse a user that the API would not create."""
    if not isinstance(user, dict):
        raise malformed("list")
    for name in ("email", "phone", "phoneCountryCode", "username", "externalId"):
        if not isinstance(user.get(name), str | None):
            raise malformed(name)
    if not any(user.get(name) for name in ("email", "phone", "username")):  # nothing to sign in with
        raise malformed("list")
    if not isinstance(user.get("identities"), list | None):
        raise malformed("identities")


def parts_in_query(call: Call) -> set[str]:
    """Return the bulky parts of a record that a GET asks for."""
    return {part for part, name in BULKY.items() if call.flag(name)}


def shown(users: Iterable[Record], parts: Collection[str]) -> list[Record]:
    """Return records without their bulky parts, except for `parts`."""
    hidden = BULKY.keys() - parts
    return [{name: value for name, value in user.items() if name not in hidden} for user in users]
