"""One user as the API shows it, and how a user is made up. Owns the fields of a record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bulkdel_jobs.sandbox.id_match import DEFAULT_COUNTRY_CODE, fold, split_phone

IDP_ID = "62f20932716fbcc10d966ee5"
"""The external identity source of every made-up user (the example of the API's own documentation)."""
PROVIDER = "lark"
"""The kind of that identity source."""

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
"""What create-users-batch accepts for one user (genauth-api.md). Any other field, such as `userId`, is dropped."""


def iso(moment: datetime) -> str:
    """Write `moment` (UTC) as the API does: `2020-01-01T00:00:00.000Z`."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


_DAYS = [iso(datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day)) for day in range(4 * 365)]
"""Made-up users were created in the first two of these years, and signed in last two years later."""


@dataclass(frozen=True, slots=True)
class Identity:
    """An account at an external identity source: found as `<idp_id>:<user_in_idp>` and `<provider>:<user_in_idp>`."""

    idp_id: str
    provider: str
    user_in_idp: str


@dataclass(frozen=True, slots=True)
class User:
    """One user, in full.

    created_at, last_login: ISO 8601, UTC. phone: national digits; country_code: digits without plus.
    more: further fields of the record. given: the id that it was added to the sandbox with, as it was written.
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
    given: str | None = None

    def ids(self, id_type: str) -> list[str]:
        """Every id of one type, a phone number with its country code."""
        if id_type == "phone" and self.phone is not None:
            return [f"+{self.country_code}{self.phone}"]
        if id_type == "identity":
            return [f"{one.idp_id}:{one.user_in_idp}" for one in self.identities]
        if id_type == "sync_relation":
            return [f"{one.provider}:{one.user_in_idp}" for one in self.identities]
        id_: str | None = getattr(self, id_type)
        return [] if id_ is None else [id_]

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
            "customData": self.more.get("customData", {}) if custom_data else None,
            "identities": [_identity_record(one) for one in self.identities] if identities else None,
            "departmentIds": self.more.get("departmentIds", []) if department_ids else None,
        }
        return {
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
            **{name: value for name, value in self.more.items() if name not in {"customData", "departmentIds"}},
            **{name: value for name, value in known.items() if value is not None},
        }


def _identity_record(identity: Identity) -> dict[str, str]:
    return {
        "identityId": f"{identity.provider}:{identity.user_in_idp}",
        "extIdpId": identity.idp_id,
        "provider": identity.provider,
        "type": "openid",
        "userIdInIdp": identity.user_in_idp,
    }


def _user_id(number: int) -> str:
    return f"5a9db0c5a9db0c5a{number:08x}"


def made_up(number: int, id_type: str = "", id_: str = "", created_at: str | None = None) -> User:
    """Make up a user. `id_`, where given, is its id of `id_type`; its other ids follow from `number`."""
    day = number % (len(_DAYS) // 2)
    code, phone = split_phone(id_) if id_type == "phone" else (DEFAULT_COUNTRY_CODE, f"1{number:010d}")
    idp_id, provider, user_in_idp = IDP_ID, PROVIDER, f"ou_{number}"
    if id_type == "identity":
        idp_id, _, user_in_idp = id_.partition(":")
    elif id_type == "sync_relation":
        provider, _, user_in_idp = id_.partition(":")
    return User(
        user_id=id_ if id_type == "user_id" else _user_id(number),
        created_at=created_at or _DAYS[day],
        email=fold("email", id_) if id_type == "email" else f"user{number}@sandbox.example",
        phone=phone,
        country_code=code,
        username=id_ if id_type == "username" else f"user{number}",
        external_id=id_ if id_type == "external_id" else f"ext-{number}",
        identities=(Identity(idp_id, provider, user_in_idp),),
        last_login=_DAYS[day + len(_DAYS) // 2],
        more={"name": f"User {number}", "customData": {"number": number}},
        given=id_ or None,
    )


def created(number: int, fields: Mapping[str, Any], created_at: str) -> User:
    """Make the user that create-users-batch was asked for. Fields that are empty or not accepted are dropped."""
    kept = {name: value for name, value in fields.items() if name in CREATE_FIELDS and value not in ("", None)}
    email, phone, code = (kept.pop(name, None) for name in ("email", "phone", "phoneCountryCode"))
    code_in_phone, phone = (None, None) if phone is None else split_phone(phone)
    return User(
        user_id=_user_id(number),
        created_at=created_at,
        email=None if email is None else fold("email", email),
        phone=phone,
        country_code=(code or "").lstrip("+") or code_in_phone or DEFAULT_COUNTRY_CODE,
        username=kept.pop("username", None),
        external_id=kept.pop("externalId", None),
        identities=tuple(_identities(kept.pop("identities", ()))),
        more={name: value for name, value in kept.items() if name not in _SECRET_FIELDS},
    )


def _identities(given: Iterable[Any]) -> Iterator[Identity]:
    """Read identities; one whose three parts are not all text is dropped."""
    for one in given:
        parts = [one.get(name) for name in ("extIdpId", "provider", "userIdInIdp")] if isinstance(one, dict) else [None]
        if all(isinstance(part, str) for part in parts):
            yield Identity(*parts)
