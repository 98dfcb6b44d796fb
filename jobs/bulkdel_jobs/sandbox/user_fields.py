"""Which values the API takes for the fields of a user. Most messages are what the vendor's tests expect."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from bulkdel_jobs.sandbox.answers import invalid, malformed
from bulkdel_jobs.sandbox.users import STATUSES

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_CUSTOM_DATA_MAX = 1024
_TIE = ("extIdpId", "provider", "userIdInIdp")
"""The fields of an identity that tie a user to an account elsewhere. The sandbox fills in the others."""


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
    for identity in _list(user, "identities"):
        if not isinstance(identity, dict) or not all(isinstance(identity.get(name), str) for name in _TIE):
            raise malformed("identities")
    for name in ("departmentIds", "tenantIds"):
        if not all(isinstance(id_, str) for id_ in _list(user, name)):
            raise malformed(name)
    if len(json.dumps(user.get("customData"), ensure_ascii=False, separators=(",", ":"))) >= _CUSTOM_DATA_MAX:
        raise invalid("customData must be less than 1024 characters")


def _list(user: Mapping[str, Any], name: str) -> list[Any]:
    """Return a field that is a list; empty where it is left out."""
    found = user.get(name)
    if not isinstance(found, list | None):
        raise malformed(name)
    return found or []
