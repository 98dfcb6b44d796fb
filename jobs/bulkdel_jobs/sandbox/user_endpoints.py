"""The endpoints that read and delete users; those of public accounts are the same, with another pool."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from itertools import islice
from math import inf
from typing import Any, TypeVar

from bulkdel_jobs.sandbox.calls import Call, Named, change_each, page
from bulkdel_jobs.sandbox.pool import DELETED, Pool
from bulkdel_jobs.sandbox.replies import NO_SUCH_USER, Rejected, Reply, malformed
from bulkdel_jobs.sandbox.users import BULKY, STATUSES, Record

Value = TypeVar("Value")

LIMIT_OVER = "limit must less than 50"
"""The message for a longer page of users, as the vendor's tests have it."""


def delete_batch(call: Call, named: Named) -> Any:
    """Delete the named users, or refuse the chunk, as the switches say."""
    pool = call.pool
    numbers = {id_: pool.find(named.id_type, id_) for id_ in named.ids}
    again = {number for number in numbers.values() if number is not None and not pool.is_alive(number)}

    def find(id_: str) -> int | None:
        return None if numbers[id_] in again else numbers[id_]

    answer = change_each(call, named, find, pool.delete)
    for number in again:
        pool.count(DELETED, number, changed=False)
    return answer


def get_batch(call: Call, named: Named) -> Any:
    """List the named users that exist. Their order is not that of the request."""
    switches, pool = call.switches, call.pool
    ids = () if switches.blind else named.ids
    found = {pool.find_alive(named.id_type, id_, lag_s=switches.lag_s) for id_ in ids}
    users = [pool.user(number, lag_s=switches.lag_s) for number in found if number is not None]
    users.sort(key=lambda user: str(user["userId"]))
    return shown(call, users[: switches.look_up_max], call.flag)


def get_one(call: Call, named: Named) -> Any:
    """Show one user."""
    user = call.pool.user(looked_up(call, named), lag_s=call.switches.lag_s)
    return shown(call, [user], call.flag)[0]


def is_there(call: Call) -> Any:
    """Say whether a user has one of the ids that are named."""
    asked = {id_type: call.body[name] for name, id_type in _ASKED.items() if call.body.get(name)}
    if not asked or not all(isinstance(id_, str) for id_ in asked.values()):
        raise malformed(", ".join(_ASKED))
    lag_s = call.switches.lag_s
    found = (call.pool.find_alive(id_type, id_, lag_s=lag_s) is not None for id_type, id_ in asked.items())
    return {"exists": not call.switches.blind and any(found)}


_ASKED = {"username": "username", "email": "email", "phone": "phone", "externalId": "external_id"}
"""What is-user-exists may name, in the order of its refusal, each with its id type. What it does with several is not
documented."""


def list_all(call: Call) -> Any:
    """List existing users, oldest first, page by page; all, or those that a filter lets through (`filters_in`)."""
    options = call.options()
    pagination = options.get("pagination") or {}
    if not isinstance(pagination, dict):
        raise malformed("options")
    if any(call.body.get(name) is not None for name in ("keywords", "searchQuery")):
        raise Rejected(Reply(501))
    wanted = page(pagination.get("page"), pagination.get("limit"), over=LIMIT_OVER)
    filters, numbers, total = filters_in(call), call.pool.alive(), len(call.pool)
    if filters:
        passed = [number for number in numbers if all(let_through(call.pool, number) for let_through in filters)]
        numbers, total = iter(passed), len(passed)
    users = map(call.pool.user, islice(numbers, wanted.start, wanted.stop))
    return {"totalCount": total, "list": shown(call, users, lambda name: options.get(name) is True)}


def list_archived(call: Call) -> Any:
    """List the archived users, page by page: id and time, as the SDK's model has it."""
    wanted = page(call.parameter("page"), call.parameter("limit"), over=LIMIT_OVER)
    start_at = call.parameter("startAt") or "0"
    if not start_at.isdecimal():
        raise malformed("startAt")
    archived = [
        {"userId": user["userId"], "archivedAt": user["createdAt"]}
        for user in map(call.pool.user, call.pool.alive())
        if user["status"] == "Archived" and datetime.fromisoformat(user["createdAt"]).timestamp() >= int(start_at)
    ]
    return {"totalCount": len(archived), "list": archived[wanted]}


def encrypted_passwords(call: Call, named: Named) -> Any:
    """Show a made-up text in place of the stored password of each user; no password is kept."""
    found = [id_ for id_ in named.ids if call.pool.find_alive(named.id_type, id_) is not None]
    listed = [{"userId": id_, "encryptedPassword": f"sandbox:{id_[::-1]}"} for id_ in found]
    if call.switches.encrypted_passwords == "list":
        return listed
    if not listed:
        raise Rejected(NO_SUCH_USER)
    return listed[0]


def set_custom_fields(call: Call) -> Any:
    """Return the fields that were sent. The sandbox keeps any custom data, and no list of its fields."""
    return call.items("list")


# --- how users are found and shown ------------------------------------------------------------------------------------


def looked_up_user(call: Call) -> int:
    """Return the number of the user that a GET names by `userId`, as a look-up sees it."""
    named = call.named("userId", [call.parameter("userId") or ""], call.parameter("userIdType"))
    if not named.ids[0]:
        raise malformed("userId")
    return looked_up(call, named)


def looked_up(call: Call, named: Named) -> int:
    """Return the number of the user of one id, as a look-up sees it."""
    lag_s = call.switches.lag_s
    user = None if call.switches.blind else call.pool.find_alive(named.id_type, named.ids[0], lag_s=lag_s)
    if user is None:
        raise Rejected(NO_SUCH_USER)
    return user


def listed(call: Call, things: Collection[Value], show: Callable[[Value], Record]) -> Record:
    """List one page of `things`."""
    part = page(call.parameter("page"), call.parameter("limit"))
    return {"totalCount": len(things), "list": [show(each) for each in islice(things, part.start, part.stop)]}


def shown(call: Call, users: Iterable[Record], asked: Callable[[str], bool] = lambda _name: False) -> list[Record]:
    """Return records without their bulky parts, except for those that are asked for.

    asked: by the name of the parameter that asks for a part. A public account has no identities to show.
    """
    hidden = {part for part, name in BULKY.items() if not asked(name) or (call.public and part == "identities")}
    return [{name: value for name, value in user.items() if name not in hidden} for user in users]


# --- the filters of a list of users -----------------------------------------------------------------------------------

Filter = Callable[[Pool, int], bool]
"""Whether a list shows the user of this number."""


def filters_in(call: Call) -> list[Filter]:
    """Read `advancedFilter`: the status, or the time of the last sign-in. Rejected with 501 for anything else."""
    items = call.body.get("advancedFilter") or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise malformed("advancedFilter")
    return [_filter(item.get("field"), item.get("operator"), item.get("value")) for item in items]


def _filter(field: Any, operator: Any, value: Any) -> Filter:
    if (field, operator) == ("status", "EQUAL"):
        if value not in STATUSES:
            raise malformed("status")
        return lambda pool, number: pool.status(number) == value
    if field == "lastLogin" and operator in ("LESSER", "GREATER", "BETWEEN"):
        bounds = value if operator == "BETWEEN" else [-inf, value] if operator == "LESSER" else [value, inf]
        if not isinstance(bounds, list) or len(bounds) != 2:  # noqa: PLR2004
            raise malformed("advancedFilter")
        first, last = map(_ms, bounds)

        def signed_in_between(pool: Pool, number: int) -> bool:
            at = pool.user(number)["lastLogin"]
            return at is not None and first <= _ms(at) <= last

        return signed_in_between
    raise Rejected(Reply(501))


def _ms(moment: Any) -> float:
    """Return milliseconds since the epoch. moment: these, or ISO 8601."""
    try:
        return float(moment) if isinstance(moment, int | float) else datetime.fromisoformat(moment).timestamp() * 1000
    except (TypeError, ValueError):
        raise malformed("advancedFilter") from None
