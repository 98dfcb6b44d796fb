"""The ids of each type: how an export writes them, which account they name, and what the record of that account holds.

The server compares emails without case, and phone numbers with or without their country code; all others exactly.
"""

from __future__ import annotations

from typing import Any

COUNTRY = "+86"
EXT_IDP = "62f20932716fbcc10d966ee5"
PROVIDER = "lark"

FORMS = {
    "user_id": "{:024x}",
    "phone": "1{:010d}",
    "email": "u{}@x.example",
    "username": "u{}",
    "external_id": "{}",
    "identity": f"{EXT_IDP}:ou_{{}}",
    "sync_relation": f"{PROVIDER}:ou_{{}}",
}
"""An id of each type, from its number."""

WITH_COMMAS = frozenset({"username", "external_id", "identity", "sync_relation"})
"""Types whose ids may have a comma."""

REUSABLE = frozenset(FORMS) - {"user_id"}
"""Types of which a new account may get the id of a deleted one."""


def spelled_otherwise(id_type: str, id_: str) -> str:
    """The same id as another system writes it; `id_` itself where there is no other way."""
    match id_type:
        case "email":
            return id_.upper()
        case "phone":
            return id_.removeprefix(COUNTRY) if id_.startswith(COUNTRY) else COUNTRY + id_
    return id_


def row_key(id_type: str, id_: str) -> str:
    """Rows with the same key are duplicates."""
    return id_.lower() if id_type == "email" else id_


def account_key(id_type: str, id_: str) -> str:
    """Ids with the same key name the same account."""
    return id_.removeprefix(COUNTRY) if id_type == "phone" else row_key(id_type, id_)


def members(id_type: str, key: str) -> dict[str, Any]:
    """The members of a user record that hold the id of an account."""
    match id_type:
        case "phone":
            return {"phone": key, "phoneCountryCode": COUNTRY}
        case "external_id":
            return {"externalId": key}
        case "identity":
            return {"identities": [{"extIdpId": EXT_IDP, "userIdInIdp": key.partition(":")[2]}]}
        case "sync_relation":
            return {"identities": [{"provider": PROVIDER, "userIdInIdp": key.partition(":")[2]}]}
        case "user_id":
            return {}  # every record has its userId
    return {id_type: key}
