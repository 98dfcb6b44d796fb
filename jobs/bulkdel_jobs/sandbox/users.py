"""The record of a user, as the API shows it: how ids are compared, and which values a field takes.

Knows no request; `pool` holds the users.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from bulkdel_jobs.sandbox.replies import invalid, malformed

Record = dict[str, Any]
"""A user as the API shows it, with its bulky parts."""

BULKY = {"customData": "withCustomData", "identities": "withIdentities", "departmentIds": "withDepartmentIds"}
"""The parts of a record that come only when asked for, each with the parameter that asks for it."""

FIELDS = {"user_id": "userId", "phone": "phone", "email": "email", "username": "username", "external_id": "externalId"}
"""The id types that are a field of the record. No two users share such an id."""

SOURCES = {"identity": "extIdpId", "sync_relation": "provider"}
"""The id types `<source>:<userIdInIdp>`, each with the field of an identity that holds the source."""

ID_TYPES = (*FIELDS, *SOURCES)
"""Every `userIdType` that is documented. The Node SDK's `custom_field` has no documented shape and is refused."""

# fmt: off
CREATE_FIELDS = frozenset({
    "status", "email", "phone", "phoneCountryCode", "username", "externalId", "name", "nickname", "photo", "gender",
    "emailVerified", "phoneVerified", "birthdate", "country", "province", "city", "address", "streetAddress",
    "postalCode", "company", "browser", "device", "givenName", "familyName", "middleName", "profile",
    "preferredUsername", "website", "zoneinfo", "locale", "formatted", "region", "tenantIds", "departmentIds",
    "customData", "metadataSource", "identities", "identityNumber",
})
# fmt: on
"""What a record keeps of a user that create-users-batch is asked for. `password`, `salt` and `otp` are accepted, and
no record shows them; any other field, such as `userId`, is dropped."""

UPDATE_FIELDS = CREATE_FIELDS - {"tenantIds", "departmentIds", "identities"}
"""What a record keeps of a user that update-user is asked for; of the rest the same holds."""

ACTIVATED, RESIGNED = "Activated", "Resigned"

STATUSES = (ACTIVATED, "Suspended", RESIGNED, "Archived", "Deactivated")
"""Every status of a user. What `Deactivated` means is not documented."""


# --- how ids are compared ---------------------------------------------------------------------------------------------

DEFAULT_COUNTRY_CODE = "86"
"""The country code of a phone number that is written without one: callers may leave out mainland China's."""

COUNTRY_CODE = re.compile(r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|\d{3}")
"""The country codes of ITU-T E.164: one or two digits where listed, else three. No code begins another."""

BARE_MAINLAND = re.compile(r"86(1\d{10})")
"""A mainland mobile number with its country code, and without the plus that usually goes before it."""


def split_phone(phone: str) -> tuple[str, str]:
    """Cut `phone` into country code and national number, both digits only: `+8613800000000` is `("86", "138…")`."""
    if not phone.startswith("+"):
        bare = BARE_MAINLAND.fullmatch(phone)
        return DEFAULT_COUNTRY_CODE, bare[1] if bare else phone
    found = COUNTRY_CODE.match(phone, 1)
    if found is None:
        return DEFAULT_COUNTRY_CODE, phone[1:]
    return found[0], phone[found.end() :]


FOLDS: Mapping[str, Callable[[str], str]] = {"email": str.lower, "phone": lambda phone: split_phone(phone)[1]}
"""How ids are compared: emails without case, phones without country code, others as they are."""


def fold(id_type: str, id_: str) -> str:
    """Return the form of `id_` in which ids are compared."""
    return FOLDS[id_type](id_) if id_type in FOLDS else id_


# --- records ----------------------------------------------------------------------------------------------------------


def iso(moment: datetime) -> str:
    """Write `moment` (UTC) as the API does: `2020-01-01T00:00:00.000Z`."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


_DAYS = [iso(datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day)) for day in range(4 * 365)]
"""Made-up users were created in the first two of these years, and signed in last two years later."""


def user_id(number: int) -> str:
    """Return the user id that the server chooses for a user."""
    return f"5a9db0c5a9db0c5a{number:08x}"


def created(
    number: int, fields: Mapping[str, Any], created_at: str, also: Mapping[str, Any] = MappingProxyType({})
) -> Record:
    """Make the user that create-users-batch was asked for. Fields that are empty or not accepted are dropped.

    also: fields that only the server can set.
    """
    kept = {name: value for name, value in fields.items() if name in CREATE_FIELDS and value not in ("", None)}
    user = {
        "userId": user_id(number),
        "createdAt": created_at,
        "updatedAt": created_at,
        "status": ACTIVATED,
        "workStatus": "Active",
        "photo": "https://sandbox.example/user.png",
        "gender": "U",
        "emailVerified": False,
        "phoneVerified": False,
        "loginsCount": 0,
        "lastLogin": None,
        "lastIp": None,
        "userSourceType": "adminCreated",
        "customData": {},
        "departmentIds": [],
        "identities": [],
        **as_stored(kept),
        **also,
    }
    # The server numbers the ties as it numbers the users: after a restore they are others.
    user["identities"] = [identity_id(number, at) | one for at, one in enumerate(user["identities"])]
    return user


def identity_id(number: int, at: int) -> Record:
    """Return the id that the server chooses for an identity. at: which of the identities of this user it is."""
    return {"identityId": f"5a9db0c7{number:08x}{at:08x}"}


def as_stored(fields: Mapping[str, Any]) -> Record:
    """Return fields that a caller sends in the form in which a record has them."""
    stored = dict(fields)
    code = stored.pop("phoneCountryCode", "").lstrip("+")
    if stored.get("phone"):
        code_in_phone, number = split_phone(stored["phone"])
        # A number that comes with its country code is already cut off, whatever it begins with.
        stored["phone"] = stored["phone"] if code and not stored["phone"].startswith("+") else number
        stored["phoneCountryCode"] = f"+{code or code_in_phone}"
    if "email" in stored:
        stored["email"] = fold("email", stored["email"])
    if "identities" in stored:
        stored["identities"] = [
            _IDENTITY | {name: one[name] for name in _IDENTITY if name in one} for one in stored["identities"]
        ]
    return stored


_IDENTITY = {
    "extIdpId": "",
    "provider": "",
    "type": "openid",
    "userIdInIdp": "",
    "userInfoInIdp": {},
    "originConnIds": [],
}
"""The fields of an identity that a caller chooses, with their defaults. The server never shows the tokens in it."""


SANDBOX_SOURCE, SANDBOX_PROVIDER = "62f20932716fbcc10d966ee5", "lark"
"""The identity source of made-up users: the example of the API's own documentation."""


def made_up(
    number: int, id_type: str, id_: str, created_at: str | None, person: Mapping[str, Any] = MappingProxyType({})
) -> Record:
    """Make up a user. `id_` is its id of `id_type`; its other ids follow from `number`.

    person: fields in the place of those that every made-up user has.
    """
    identity = {"extIdpId": SANDBOX_SOURCE, "provider": SANDBOX_PROVIDER, "userIdInIdp": f"ou_{number}"}
    if id_type in SOURCES:
        identity[SOURCES[id_type]], _, identity["userIdInIdp"] = id_.partition(":")
    day = number % (len(_DAYS) // 2)
    fields = {
        "email": f"user{number}@sandbox.example",
        "phone": f"1{number:010d}",
        "username": f"user{number}",
        "externalId": f"ext-{number}",
        "name": f"User {number}",
        "customData": {"number": number},
        "identities": [identity],
        "createdAt": _DAYS[day],
        "lastLogin": _DAYS[day + len(_DAYS) // 2],
        "lastIp": "192.0.2.1",
        "loginsCount": 1,
        **person,
    }
    if id_type in FIELDS:
        fields[FIELDS[id_type]] = id_
    user = created(number, fields, created_at or fields["createdAt"])
    user |= {name: fields[name] for name in ("lastLogin", "lastIp", "loginsCount")}
    return user | {"userId": id_} if id_type == "user_id" else user


def ids_of(user: Record, id_type: str) -> list[str]:
    """Every id of one type that `user` has, a phone number with its country code."""
    if id_type in SOURCES:
        return [f"{one[SOURCES[id_type]]}:{one['userIdInIdp']}" for one in user["identities"]]
    if not (id_ := user.get(FIELDS[id_type])):
        return []
    if id_type != "phone":
        return [id_]
    return [(user.get("phoneCountryCode") or f"+{DEFAULT_COUNTRY_CODE}") + id_]


# --- which values a field takes. Most messages are what the vendor's tests expect -------------------------------------

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
