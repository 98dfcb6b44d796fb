"""What each endpoint of the API checks, does and answers. Owns their rules; has never heard of sockets or clocks.

A handler reads a Call and returns an Answer; deletions and creations change the pool. When to call it, and what becomes
of its answer, is the server's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bulkdel_jobs.sandbox.faults import UNSUCCESSFUL, Switches
from bulkdel_jobs.sandbox.id_match import ID_TYPES, USER_ID_SHAPE, fold
from bulkdel_jobs.sandbox.replica import Replica
from bulkdel_jobs.sandbox.responses import BATCH_MAX, USER_NOT_FOUND, Answer, failure, malformed, success
from bulkdel_jobs.sandbox.user_pool import Conflict, Pool

_USER_IDS = re.compile(r"userIds(?:\[\d*\])?")
_SEARCHES = ("keywords", "advancedFilter", "searchQuery")
_TEXTS = ("email", "phone", "phoneCountryCode", "username", "externalId")
_PAGE_DEFAULT, _LIMIT_DEFAULT = 1, 10


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read.

    body: of a POST, parsed; None where there is none or it is no JSON.
    created_at: what a user that is created now gets as `createdAt`.
    replica: what look-ups by id read, as it is now.
    fault: what the answer is going to suffer; only "unsuccessful" matters here.
    """

    pool: Pool
    switches: Switches
    query: Sequence[tuple[str, str]]
    body: Any
    english: bool
    created_at: str
    replica: Replica
    fault: str | None = None

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        return next((value for key, value in self.query if key == name), None)

    def flag(self, name: str) -> bool:
        """Whether a query parameter is set; Python's SDK sends `True`."""
        return (self.parameter(name) or "").lower() in {"true", "1"}


@dataclass(frozen=True, slots=True)
class Asked:
    """The users that a request names: well-formed."""

    ids: list[str]
    id_type: str


def _asked(ids: Any, id_type: Any, switches: Switches, *, split: bool = False) -> Asked | str:
    """Check what a request names; a text is the name of the malformed parameter. split: ids fall apart at commas."""
    id_type = "user_id" if id_type is None else id_type
    if id_type not in ID_TYPES:
        return "userIdType"
    if not isinstance(ids, list) or not 1 <= len(ids) <= BATCH_MAX:
        return "userIds"
    if not all(isinstance(id_, str) and id_ for id_ in ids):
        return "userIds"
    if split:
        ids = [part for id_ in ids for part in id_.split(",") if part]
    if id_type == "user_id" and not switches.any_id_shape and not all(map(USER_ID_SHAPE.fullmatch, ids)):
        return "userIds"
    return Asked(ids, id_type)


def asked_to_delete(body: Any, switches: Switches) -> Asked | str:
    """Read the body of delete-users-batch; a text is the name of the malformed parameter."""
    if not isinstance(body, dict):
        return "userIds"
    options = body.get("options")
    if options is not None and not isinstance(options, dict):
        return "options"
    return _asked(body.get("userIds"), (options or {}).get("userIdType"), switches)


def delete_users_batch(call: Call) -> Answer:
    """Delete the named users, or refuse the chunk, as the switches say."""
    asked = asked_to_delete(call.body, call.switches)
    if isinstance(asked, str):
        return malformed(asked, english=call.english)
    switches, pool = call.switches, call.pool
    if refusal := _refusal(asked, switches):
        return failure(*refusal, english=call.english)
    if switches.duplicates_in_chunk == "refuse" and len({fold(asked.id_type, id_) for id_ in asked.ids}) < len(
        asked.ids
    ):
        return malformed("userIds", english=call.english)
    found = {id_: pool.find_alive(asked.id_type, id_) for id_ in asked.ids}
    incomplete = None in found.values() and switches.unknown_ids != "accept"
    doomed = {ordinal: None for id_, ordinal in found.items() if ordinal is not None and id_ not in switches.liars}
    ordinals = list(doomed)  # each once: one user may have been named twice, in upper and lower case
    if call.fault == UNSUCCESSFUL:
        share = {"none": 0, "half": len(ordinals) // 2, "all": len(ordinals)}[switches.unsuccessful_effect]
        ordinals = ordinals[:share]
    elif incomplete and switches.unknown_ids == "refuse":
        ordinals = []
    for ordinal in ordinals:
        pool.delete(ordinal)
    call.replica.deleted(ordinals)
    if call.fault == UNSUCCESSFUL:
        return success({"success": False}, english=call.english)
    if incomplete:
        return failure(404, USER_NOT_FOUND, english=call.english)
    return success({"success": True}, english=call.english)


def _refusal(asked: Asked, switches: Switches) -> tuple[int, int | None] | None:
    """StatusCode and apiCode with which a well-formed chunk is refused whole, whoever exists; None if it is not."""
    if switches.forbidden:
        return 403, None
    if switches.poisonous:
        return next((switches.poisonous[id_] for id_ in asked.ids if id_ in switches.poisonous), None)
    return None


def get_user_batch(call: Call) -> Answer:
    """List the existing ones of the named users, in no order that a caller could rely on."""
    asked = asked_to_read(call.query, call.switches)
    if isinstance(asked, str):
        return malformed(asked, english=call.english)
    ids = () if call.switches.blind else asked.ids
    ordinals = {call.pool.find(asked.id_type, id_) for id_ in ids}
    users = [call.pool.user(ordinal) for ordinal in ordinals if ordinal is not None and call.replica.shows(ordinal)]
    users.sort(key=lambda user: user.user_id)
    users = users[: call.switches.look_up_max]
    parts = {
        "custom_data": call.flag("withCustomData"),
        "identities": call.flag("withIdentities"),
        "department_ids": call.flag("withDepartmentIds"),
    }
    return success([user.record(**parts) for user in users], english=call.english)


def asked_to_read(query: Sequence[tuple[str, str]], switches: Switches) -> Asked | str:
    """Read the query of get-user-batch, in every spelling; a text is the name of the malformed parameter."""
    ids = [value for name, value in query if _USER_IDS.fullmatch(name)]
    id_type = next((value for name, value in query if name == "userIdType"), None)
    return _asked(ids, id_type, switches, split=switches.split_commas)


def _page(page: Any, limit: Any) -> tuple[int, int] | str:
    """Check page (from 1) and limit; a text is the name of the malformed one. Digits count, for queries."""
    try:
        page = _PAGE_DEFAULT if page is None else int(page)
        limit = _LIMIT_DEFAULT if limit is None else int(limit)
    except (TypeError, ValueError):
        return "page"
    if page < 1:
        return "page"
    return (page, limit) if 1 <= limit <= BATCH_MAX else "limit"


def list_users(call: Call) -> Answer:
    """List existing users, oldest first, page by page. Searches and filters are not played."""
    body = call.body if isinstance(call.body, dict) else {}
    options = body.get("options") or {}
    pagination = options.get("pagination") or {} if isinstance(options, dict) else None
    if not isinstance(pagination, dict):
        return malformed("options", english=call.english)
    if any(body.get(name) is not None for name in _SEARCHES):
        return failure(501, english=call.english)
    page = _page(pagination.get("page"), pagination.get("limit"))
    if isinstance(page, str):
        return malformed(page, english=call.english)
    number, limit = page
    parts = {
        "custom_data": options.get("withCustomData") is True,
        "identities": options.get("withIdentities") is True,
        "department_ids": options.get("withDepartmentIds") is True,
    }
    ordinals = call.pool.alive(skip=(number - 1) * limit, limit=limit)
    found = [call.pool.user(ordinal).record(**parts) for ordinal in ordinals]
    return success({"totalCount": len(call.pool), "list": found}, english=call.english)


def list_archived_users(call: Call) -> Answer:
    """List the archived users, page by page: id and time, as the SDK's model has it."""
    page = _page(call.parameter("page"), call.parameter("limit"))
    start_at = call.parameter("startAt") or "0"
    if isinstance(page, str) or not start_at.isdecimal():
        return malformed(page if isinstance(page, str) else "startAt", english=call.english)
    number, limit = page
    archived = [
        {"userId": user.user_id, "archivedAt": user.created_at}
        for user in call.pool.archived()
        if datetime.fromisoformat(user.created_at).timestamp() >= int(start_at)
    ]
    return success(
        {"totalCount": len(archived), "list": archived[(number - 1) * limit : number * limit]}, english=call.english
    )


def create_users_batch(call: Call) -> Answer:
    """Create the users, all or none."""
    users = call.body.get("list") if isinstance(call.body, dict) else None
    if not isinstance(users, list) or not 1 <= len(users) <= BATCH_MAX:
        return malformed("list", english=call.english)
    for user in users:
        if name := _malformed_field(user):
            return malformed(name, english=call.english)
    try:
        created = call.pool.create(users, call.created_at)
    except Conflict as conflict:
        message = f"{conflict.field} already exists" if call.english else f"{conflict.field} 已存在"
        return failure(409, english=call.english, message=message)
    return success(
        [user.record(custom_data=True, identities=True, department_ids=True) for user in created], english=call.english
    )


def _malformed_field(user: Any) -> str | None:
    """Name the field for which a user cannot be created whoever else exists, or None."""
    if not isinstance(user, dict):
        return "list"
    for name in _TEXTS:
        if not isinstance(user.get(name, ""), str | None):
            return name
    if not any(user.get(name) for name in ("email", "phone", "username")):
        return "list"
    if not isinstance(user.get("identities"), list | None):
        return "identities"
    return None


ENDPOINTS: Mapping[tuple[str, str], Callable[[Call], Answer]] = {
    ("POST", "/api/v3/delete-users-batch"): delete_users_batch,
    ("GET", "/api/v3/get-user-batch"): get_user_batch,
    ("POST", "/api/v3/list-users"): list_users,
    ("GET", "/api/v3/list-archived-users"): list_archived_users,
    ("POST", "/api/v3/create-users-batch"): create_users_batch,
}
"""Every endpoint behind the sign-in."""
