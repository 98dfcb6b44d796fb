"""Endpoints that bulkdel does not call: create-users-batch and list-archived-users."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from bulkdel_jobs.sandbox.api import Call, page_of
from bulkdel_jobs.sandbox.responses import BATCH_MAX, Answer, Refused, malformed
from bulkdel_jobs.sandbox.user_pool import Conflict

_TEXTS = ("email", "phone", "phoneCountryCode", "username", "externalId")


def create_users_batch(call: Call) -> Answer:
    """Create the users, all or none."""
    users = call.body.get("list") if isinstance(call.body, dict) else None
    if not isinstance(users, list) or not 1 <= len(users) <= BATCH_MAX:
        raise malformed("list")
    for user in users:
        _check_user(user)
    try:
        created = call.pool.create(users, call.created_at)
    except Conflict as conflict:
        message = (f"{conflict.field} 已存在", f"{conflict.field} already exists")
        raise Refused(Answer(409, message=message)) from None
    return Answer(200, [user.record(custom_data=True, identities=True, department_ids=True) for user in created])


def _check_user(user: Any) -> None:
    """Refuse a user with a malformed field, or without any field to sign in with."""
    if not isinstance(user, dict):
        raise malformed("list")
    for name in _TEXTS:
        if not isinstance(user.get(name, ""), str | None):
            raise malformed(name)
    if not any(user.get(name) for name in ("email", "phone", "username")):
        raise malformed("list")
    if not isinstance(user.get("identities"), list | None):
        raise malformed("identities")


def list_archived_users(call: Call) -> Answer:
    """List the archived users, page by page: id and time, as the SDK's model has it."""
    page = page_of(call.parameter("page"), call.parameter("limit"))
    start_at = call.parameter("startAt") or "0"
    if not start_at.isdecimal():
        raise malformed("startAt")
    archived = [
        {"userId": user.user_id, "archivedAt": user.created_at}
        for user in map(call.pool.user, call.pool.alive())
        if user.more.get("status") == "Archived"
        and datetime.fromisoformat(user.created_at).timestamp() >= int(start_at)
    ]
    return Answer(200, {"totalCount": len(archived), "list": archived[page]})
