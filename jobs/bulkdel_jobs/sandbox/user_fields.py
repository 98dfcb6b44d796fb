"""Which values the API takes for the fields of a user. Most messages are what the vendor's tests expect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from bulkdel_jobs.sandbox.answers import invalid, malformed
from bulkdel_jobs.sandbox.users import STATUSES

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_CUSTOM_DATA_MAX = 1024


def check_new(user: Mapping[str, Any]) -> None:
    """Refuse a user that the API would not create."""
    check_values(user)
    if not any(user.get(name) for name in ("email", "phone", "username")):  # nothing to sign in with
        raise invalid("Must contain one of the following fields: username, phone, email")
    if user.get("phoneCountryCode") and not user.get("phone"):
        raise invalid("phone cannot be empty")


def check_values(user: Mapping[str, Any]) -> None:
    """Refuse values that no field can have."""
    for name in ("email", "phone", "phoneCountryCode", "username", "externalId"):
        if not isinstance(user.get(name), str | None):
            raise malformed(name)
    if user.get("email") and not _EMAIL.fullmatch(user["email"]):
        raise malformed("email")
    if user.get("status") not in (None, *STATUSES):
        raise malformed("status")
    if user.get("gender") not in (None, "M", "W", "F", "U"):
        raise malformed("gender 格")
    if not isinstance(user.get("identities"), list | None):
        raise malformed("identities")
    if len(orjson.dumps(user.get("customData")).decode()) >= _CUSTOM_DATA_MAX:
        raise invalid("customData must be less than 1024 characters")
