"""What each endpoint of the API checks, does and answers. Knows no socket and no clock.

An endpoint reads a Call and returns an Answer, or raises Refused; deletions and creations change the pool. The server
decides when an endpoint is called, and what becomes of its answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bulkdel_jobs.sandbox.faults import UNSUCCESSFUL
from bulkdel_jobs.sandbox.id_match import ID_TYPES, USER_ID_SHAPE, fold
from bulkdel_jobs.sandbox.responses import BATCH_MAX, USER_NOT_FOUND, Answer, Refused, malformed
from bulkdel_jobs.sandbox.user_pool import Pool
from bulkdel_jobs.sandbox_switches import Switches

_USER_IDS = re.compile(r"userIds(?:\[\d*\])?")
_SEARCHES = ("keywords", "advancedFilter", "searchQuery")
_PARTS = {"custom_data": "withCustomData", "identities": "withIdentities", "department_ids": "withDepartmentIds"}
_PAGE_DEFAULT, _LIMIT_DEFAULT = 1, 10


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read.

    body: of a POST, parsed; None where there is none or it is no JSON. english: the language of messages.
    created_at: what a user that is created now gets as `createdAt`.
    fault: what the answer is going to suffer; an endpoint looks at "unsuccessful" only.
    """

    pool: Pool
    switches: Switches
    query: Sequence[tuple[str, str]]
    body: Any
    english: bool
    created_at: str
    fault: str | None = None

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        return next((value for key, value in self.query if key == name), None)


@dataclass(frozen=True, slots=True)
class Named:
    """The users that a request names, well-formed."""

    ids: list[str]
    id_type: str


def _named(ids: Any, id_type: Any, switches: Switches, *, split: bool = False) -> Named:
    """Check which users a request names. split: ids are split at commas."""
    id_type = "user_id" if id_type is None else id_type
    if id_type not in ID_TYPES:
        raise malformed("userIdType")
    if not isinstance(ids, list) or not 1 <= len(ids) <= BATCH_MAX:
        raise malformed("userIds")
    if not all(isinstance(id_, str) and id_ for id_ in ids):
        raise malformed("userIds")
    if split:
        ids = [part for id_ in ids for part in id_.split(",") if part]
    if id_type == "user_id" and not switches.any_id_shape and not all(map(USER_ID_SHAPE.fullmatch, ids)):
        raise malformed("userIds")
    return Named(ids, id_type)


def named_to_delete(call: Call) -> Named:
    """Read the body of delete-users-batch."""
    body = call.body if isinstance(call.body, dict) else {}
    options = body.get("options") or {}
    if not isinstance(options, dict) or body.get("options") == []:
        raise malformed("options")
    return _named(body.get("userIds"), options.get("userIdType"), call.switches)


def named_to_look_up(call: Call) -> Named:
    """Read the query of get-user-batch, in every spelling."""
    ids = [value for name, value in call.query if _USER_IDS.fullmatch(name)]
    return _named(ids, call.parameter("userIdType"), call.switches, split=call.switches.split_commas)


def delete_users_batch(call: Call) -> Answer:
    """Delete the named users, or refuse the chunk, as the switches say."""
    named, switches, pool = named_to_delete(call), call.switches, call.pool
    if switches.forbidden:
        raise Refused(Answer(403))
    for id_ in named.ids:
        if id_ in switches.poisonous:
            status_code, api_code = switches.poisonous[id_]
            raise Refused(Answer(status_code, api_code=api_code))
    if switches.duplicates_in_chunk == "refuse" and len({fold(named.id_type, id_) for id_ in named.ids}) < len(
        named.ids
    ):
        raise malformed("userIds")
    found = {id_: pool.find_alive(named.id_type, id_) for id_ in named.ids}
    incomplete = None in found.values() and switches.unknown_ids != "accept"
    # Each user once: it may have been named twice, in upper and lower case.
    users = list(dict.fromkeys(user for id_, user in found.items() if user is not None and id_ not in switches.liars))
    if call.fault == UNSUCCESSFUL:
        del users[{"none": 0, "half": len(users) // 2, "all": len(users)}[switches.unsuccessful_effect] :]
    elif incomplete and switches.unknown_ids == "refuse":
        users.clear()
    for user in users:
        pool.delete(user)
    if incomplete and call.fault != UNSUCCESSFUL:
        raise Refused(Answer(404, api_code=USER_NOT_FOUND))
    return Answer(200, {"success": call.fault != UNSUCCESSFUL})


def get_user_batch(call: Call) -> Answer:
    """List the existing ones of the named users, in no order that a caller could rely on."""
    named, switches = named_to_look_up(call), call.switches
    found = {call.pool.find(named.id_type, id_) for id_ in (() if switches.blind else named.ids)}
    users = [
        call.pool.user(number)
        for number in found
        if number is not None and call.pool.is_alive(number, lag_s=switches.lag_s)
    ]
    users.sort(key=lambda user: user.user_id)
    # Python's SDK sends `True`.
    parts = {part: (call.parameter(name) or "").lower() in {"true", "1"} for part, name in _PARTS.items()}
    return Answer(200, [user.record(**parts) for user in users[: switches.look_up_max]])


def page_of(page: Any, limit: Any) -> slice:
    """Check page (from 1) and limit, and return which of all users are on it. Digits count, for queries."""
    try:
        page = _PAGE_DEFAULT if page is None else int(page)
        limit = _LIMIT_DEFAULT if limit is None else int(limit)
    except (TypeError, ValueError):
        raise malformed("page") from None
    if page < 1:
        raise malformed("page")
    if not 1 <= limit <= BATCH_MAX:
        raise malformed("limit")
    return slice((page - 1) * limit, page * limit)


def list_users(call: Call) -> Answer:
    """List existing users, oldest first, page by page. Searches and filters are not supported."""
    body = call.body if isinstance(call.body, dict) else {}
    options = body.get("options") or {}
    pagination = options.get("pagination") or {} if isinstance(options, dict) else None
    if not isinstance(pagination, dict):
        raise malformed("options")
    if any(body.get(name) is not None for name in _SEARCHES):
        raise Refused(Answer(501))
    page = page_of(pagination.get("page"), pagination.get("limit"))
    parts = {part: options.get(name) is True for part, name in _PARTS.items()}
    found = [call.pool.user(number).record(**parts) for number in islice(call.pool.alive(), page.start, page.stop)]
    return Answer(200, {"totalCount": len(call.pool), "list": found})
