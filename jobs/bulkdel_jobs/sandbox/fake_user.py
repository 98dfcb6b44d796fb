"""One user as the API shows it. Owns the record's fields and the values that are made up from a number.

A made-up user costs nothing until somebody looks at it: everything about it follows from its ordinal, and its ordinal
can be read back from any of its ids. It must never know who asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from bulkdel_jobs.sandbox.id_match import DEFAULT_COUNTRY_CODE, split_phone

IDP_ID = "62f20932716fbcc10d966ee5"
"""The external identity source of every made-up user (the example of the API's own documentation)."""
PROVIDER = "lark"
"""The kind of that identity source."""

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio, odd: neighbours land far apart, no two on one value
_MASK = (1 << 64) - 1
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_TWO_YEARS_S = 2 * 365 * 86_400
_SECRET_FIELDS = frozenset({"password", "salt", "otp"})

# fmt: off
CREATE_FIELDS = frozenset({
    "status", "email", "phone", "phoneCountryCode", "username", "externalId", "name", "nickname", "photo", "gender",
    "emailVerified", "phoneVerified", "birthdate", "country", "province", "city", "address", "streetAddress",
    "postalCode", "company", "givenName", "familyName", "middleName", "profile", "preferredUsername", "website",
    "zoneinfo", "locale", "formatted", "region", "password", "salt", "tenantIds", "otp", "departmentIds",
    "customData", "identities", "identityNumber",
})
# fmt: on
"""What create-users-batch accepts for one user (genauth-api.md); anything else is dropped, as `userId` is."""

_ORDINAL_IN = {
    "user_id": re.compile(r"[0-9a-f]{16}(?P<hex>[0-9a-f]{8})"),
    "phone": re.compile(r"1(?P<dec>\d{10})"),
    "email": re.compile(r"user(?P<dec>\d{1,9})@sandbox\.example"),
    "username": re.compile(r"user(?P<dec>\d{1,9})"),
    "external_id": re.compile(r"ext-(?P<dec>\d{1,9})"),
    "identity": re.compile(rf"{IDP_ID}:ou_(?P<hex>[0-9a-f]{{32}})"),
    "sync_relation": re.compile(rf"{PROVIDER}:ou_(?P<hex>[0-9a-f]{{32}})"),
}


def ordinal_in(id_type: str, key: str) -> int | None:
    """Read the ordinal out of a made-up id. A guess only: the caller checks that the user really carries the id."""
    found = _ORDINAL_IN[id_type].fullmatch(key)
    if found is None:
        return None
    return int(found[1], 16 if found.lastgroup == "hex" else 10)


def made_up_user_id(origin: str, ordinal: int) -> str:
    """24 lower-case hex digits: 16 that depend on `origin` (on the ordinal, where it is empty), 8 that say the ordinal.

    A generated user's id is worked out at every look-up; multiplying is several times faster than hashing.
    """
    if origin:
        return f"{blake2b(origin.encode(), digest_size=8).hexdigest()}{ordinal:08x}"
    return f"{(ordinal + 1) * _GOLDEN & _MASK:016x}{ordinal:08x}"


def iso(moment: datetime) -> str:
    """Write `moment` (UTC) as the API does: `2020-01-01T00:00:00.000Z`."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _past(ordinal: int, *, years: int) -> str:
    return iso(_EPOCH + timedelta(days=365 * years, seconds=ordinal * 7919 % _TWO_YEARS_S))


@dataclass(frozen=True, slots=True)
class Identity:
    """A tie to an external identity source: found as `<idp_id>:<user_in_idp>` and as `<provider>:<user_in_idp>`."""

    idp_id: str
    provider: str
    user_in_idp: str


@dataclass(frozen=True, slots=True)
class User:
    """One user, in full.

    phone: national digits; country_code: digits without plus.
    created_at: ISO 8601, UTC.
    more: further fields of the record, as they were given when the user was created.
    """

    user_id: str
    created_at: str
    email: str | None = None
    phone: str | None = None
    country_code: str = DEFAULT_COUNTRY_CODE
    username: str | None = None
    external_id: str | None = None
    identities: tuple[Identity, ...] = ()
    last_login: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def keys(self, id_type: str) -> tuple[str, ...]:
        """Every key under which the user is found as `id_type`."""
        if id_type == "identity":
            return tuple(f"{one.idp_id}:{one.user_in_idp}" for one in self.identities)
        if id_type == "sync_relation":
            return tuple(f"{one.provider}:{one.user_in_idp}" for one in self.identities)
        key: str | None = getattr(self, id_type)
        return () if key is None else (key,)

    def record(
        self, *, custom_data: bool = False, identities: bool = False, department_ids: bool = False
    ) -> dict[str, Any]:
        """Return the record as the API shows it; the three bulky parts come only when asked for."""
        known = {
            "email": self.email,
            "phone": self.phone,
            "phoneCountryCode": None if self.phone is None else f"+{self.country_code}",
            "username": self.username,
            "externalId": self.external_id,
            "lastLogin": self.last_login,
        }
        record: dict[str, Any] = {
            "userId": self.user_id,
            "createdAt": self.created_at,
            "updatedAt": self.created_at,
            "status": "Activated",
            "workStatus": "Active",
            "gender": "U",
            "emailVerified": False,
            "phoneVerified": False,
            "loginsCount": 0 if self.last_login is None else 1,
            "userSourceType": "adminCreated",
        }
        hidden = {"customData", "identities", "departmentIds", *_SECRET_FIELDS}
        record |= {name: value for name, value in self.more.items() if name not in hidden}
        record |= {name: value for name, value in known.items() if value is not None}
        if custom_data:
            record["customData"] = self.more.get("customData", {})
        if identities:
            record["identities"] = [
                {
                    "identityId": f"{one.provider}:{one.user_in_idp}",
                    "extIdpId": one.idp_id,
                    "provider": one.provider,
                    "type": "openid",
                    "userIdInIdp": one.user_in_idp,
                }
                for one in self.identities
            ]
        if department_ids:
            record["departmentIds"] = self.more.get("departmentIds", [])
        return record


def made_up(ordinal: int, origin: str, *, id_type: str = "", id_: str = "", created_at: str | None = None) -> User:
    """Make the user number `ordinal` up. `id_`, where given, is its id of `id_type`; all others follow from the number.

    origin: what its user id depends on, apart from the number.
    """
    code, phone = split_phone(id_) if id_type == "phone" else (DEFAULT_COUNTRY_CODE, f"1{ordinal:010d}")
    idp_id, provider, user_in_idp = IDP_ID, PROVIDER, f"ou_{ordinal:032x}"
    if id_type in {"identity", "sync_relation"}:
        source, _, user_in_idp = id_.partition(":")
        idp_id, provider = (source, PROVIDER) if id_type == "identity" else (IDP_ID, source)
    return User(
        user_id=id_ if id_type == "user_id" else made_up_user_id(origin, ordinal),
        created_at=created_at or _past(ordinal, years=0),
        email=id_.lower() if id_type == "email" else f"user{ordinal}@sandbox.example",
        phone=phone,
        country_code=code,
        username=id_ if id_type == "username" else f"user{ordinal}",
        external_id=id_ if id_type == "external_id" else f"ext-{ordinal}",
        identities=(Identity(idp_id, provider, user_in_idp),),
        last_login=_past(ordinal, years=2),
        more={"name": f"User {ordinal}", "customData": {"number": ordinal}},
    )


def _ties(given: Iterable[Any]) -> Iterator[Identity]:
    for one in given:
        parts = [one.get(name) for name in ("extIdpId", "provider", "userIdInIdp")] if isinstance(one, dict) else []
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) == len(Identity.__dataclass_fields__):
            yield Identity(*texts)


def created(ordinal: int, fields: Mapping[str, Any], created_at: str) -> User:
    """Make the user that create-users-batch was asked for.

    Fields that are empty, or that the API does not accept, are dropped. Ties to identity sources count only where all
    three parts are text.
    """
    given = {name: value for name, value in fields.items() if value not in ("", None)}
    kept = {name: value for name, value in given.items() if name in CREATE_FIELDS}
    phone, code = kept.get("phone"), kept.get("phoneCountryCode")
    if phone is not None:
        code_in_phone, phone = split_phone(phone)
        code = code.lstrip("+") if code else code_in_phone
    email = kept.get("email")
    own = {"email", "phone", "phoneCountryCode", "username", "externalId", *_SECRET_FIELDS}
    return User(
        user_id=made_up_user_id(f"created:{ordinal}", ordinal),
        created_at=created_at,
        email=None if email is None else email.lower(),
        phone=phone,
        country_code=code or DEFAULT_COUNTRY_CODE,
        username=kept.get("username"),
        external_id=kept.get("externalId"),
        identities=tuple(_ties(kept.get("identities") or ())),
        more={name: value for name, value in kept.items() if name not in own},
    )
