"""The users of the sandbox: their records, and which user an id means. Knows no request.

A user is the record that the API shows, in full. Each has a number, counted from 0. An account that is created again
gets another number, so that a user is deleted at most once. Of a made-up user only the id that it was added with is
kept: a million users take 300 to 500 MB.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, NamedTuple

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
    "postalCode", "company", "givenName", "familyName", "middleName", "profile", "preferredUsername", "website",
    "zoneinfo", "locale", "formatted", "region", "tenantIds", "departmentIds", "customData", "identities",
    "identityNumber",
})
# fmt: on
"""What a record keeps of a user that create-users-batch is asked for. `password`, `salt` and `otp` are accepted, and
no record shows them; any other field, such as `userId`, is dropped."""


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


def created(number: int, fields: Mapping[str, Any], created_at: str) -> Record:
    """Make the user that create-users-batch was asked for. Fields that are empty or not accepted are dropped."""
    kept = {name: value for name, value in fields.items() if name in CREATE_FIELDS and value not in ("", None)}
    code = kept.pop("phoneCountryCode", "").lstrip("+")
    if "phone" in kept:
        code_in_phone, kept["phone"] = split_phone(kept["phone"])
        kept["phoneCountryCode"] = f"+{code or code_in_phone}"
    if "email" in kept:
        kept["email"] = fold("email", kept["email"])
    parts = ("extIdpId", "provider", "userIdInIdp")
    identities = [
        {"identityId": f"{one['provider']}:{one['userIdInIdp']}", "type": "openid"}
        | {name: one[name] for name in parts}
        for one in kept.pop("identities", ())
        if isinstance(one, dict) and all(isinstance(one.get(name), str) for name in parts)
    ]
    return {
        "userId": user_id(number),
        "createdAt": created_at,
        "updatedAt": created_at,
        "status": "Activated",
        "workStatus": "Active",
        "gender": "U",
        "emailVerified": False,
        "phoneVerified": False,
        "loginsCount": 0,
        "userSourceType": "adminCreated",
        "customData": {},
        "departmentIds": [],
        "identities": identities,
        **kept,
    }


def made_up(number: int, id_type: str, id_: str, created_at: str | None) -> Record:
    """Make up a user. `id_` is its id of `id_type`; its other ids follow from `number`."""
    # The identity source is the example of the API's own documentation.
    identity = {"extIdpId": "62f20932716fbcc10d966ee5", "provider": "lark", "userIdInIdp": f"ou_{number}"}
    if id_type in SOURCES:
        identity[SOURCES[id_type]], _, identity["userIdInIdp"] = id_.partition(":")
    fields = {
        "email": f"user{number}@sandbox.example",
        "phone": f"1{number:010d}",
        "username": f"user{number}",
        "externalId": f"ext-{number}",
        "name": f"User {number}",
        "customData": {"number": number},
        "identities": [identity],
    }
    if id_type in FIELDS:
        fields[FIELDS[id_type]] = id_
    day = number % (len(_DAYS) // 2)
    user = created(number, fields, created_at or _DAYS[day])
    user |= {"lastLogin": _DAYS[day + len(_DAYS) // 2], "loginsCount": 1}
    return user | {"userId": id_} if id_type == "user_id" else user


def ids_of(user: Record, id_type: str) -> list[str]:
    """Every id of one type that `user` has, a phone number with its country code."""
    if id_type in SOURCES:
        return [f"{one[SOURCES[id_type]]}:{one['userIdInIdp']}" for one in user["identities"]]
    if (id_ := user.get(FIELDS[id_type])) is None:
        return []
    return [user["phoneCountryCode"] + id_ if id_type == "phone" else id_]


# --- the pool ---------------------------------------------------------------------------------------------------------


class Conflict(Exception):
    """A user cannot be created, because another user has its value of this field."""


class Added(NamedTuple):
    """What is kept of a made-up user. created_at: None for a date well in the past."""

    id_type: str
    id: str
    created_at: str | None


class Pool:
    """The users of one pool. One thread at a time may change it, any number may read it."""

    def __init__(self) -> None:
        self._users: list[Added | Record] = []
        self._indexes: dict[str, dict[str, tuple[int, ...]]] = {}  # by id type and key: users, oldest first
        self._deleted_at: dict[int, float] = {}
        self._lock = Lock()  # a search makes an index while another thread adds users

    @classmethod
    def from_ids(cls, ids: Iterable[str], id_type: str = "user_id", *, created_at: str | None = None) -> Pool:
        """Make a pool of the users whose id of `id_type` is in `ids`. An id that comes twice is one user."""
        pool = cls()
        pool.add_ids(ids, id_type, created_at=created_at)
        return pool

    @classmethod
    def generated(cls, count: int) -> Pool:
        """Make a pool of `count` made-up users; `user_ids()` lists their ids."""
        return cls.from_ids(map(user_id, range(count)))

    def __len__(self) -> int:
        """How many users exist now."""
        return self.users_ever - self.deleted

    @property
    def users_ever(self) -> int:
        """How many users exist or existed; every user's number is below it."""
        return len(self._users)

    @property
    def deleted(self) -> int:
        """How many users were deleted."""
        return len(self._deleted_at)

    def add_ids(self, ids: Iterable[str], id_type: str = "user_id", *, created_at: str | None = None) -> int:
        """Add the users whose id of `id_type` is in `ids`; return how many were new. A deleted one is added again.

        created_at: ISO 8601; None for a date well in the past.
        """
        if id_type not in ID_TYPES:
            raise ValueError(f"not a userIdType: {id_type!r}; known are {', '.join(ID_TYPES)}")
        before = self.users_ever
        for id_ in ids:
            if self.find_alive(id_type, id_) is None:
                self._add(Added(id_type, id_, created_at))
        return self.users_ever - before

    def create(self, users: Sequence[Mapping[str, Any]], created_at: str) -> list[Record]:
        """Create all of `users` (the API's fields), or none: Conflict when an id is taken. created_at: ISO 8601."""
        made = [created(self.users_ever + i, fields, created_at) for i, fields in enumerate(users)]
        taken = set[tuple[str, str]]()
        for user in made:
            for id_type, field in FIELDS.items():
                for id_ in ids_of(user, id_type):
                    if (id_type, id_) in taken or self.find_alive(id_type, id_) is not None:
                        raise Conflict(field)
                    taken.add((id_type, id_))
        for user in made:
            self._add(user)
        return made

    def _add(self, user: Added | Record) -> None:
        with self._lock:
            self._users.append(user)
            for id_type, index in self._indexes.items():
                self._enter(index, id_type, self.users_ever - 1)

    def _enter(self, index: dict[str, tuple[int, ...]], id_type: str, number: int) -> None:
        """Enter a user into an index, under each of its ids of this type: a phone with and without country code."""
        kept = self._users[number]
        ids = [kept.id] if isinstance(kept, Added) and kept.id_type == id_type else ids_of(self.user(number), id_type)
        for id_ in ids:
            keys = {fold(id_type, id_)}
            if id_type == "phone":
                keys.add("+" + "".join(split_phone(id_)))
            for key in keys:
                index[key] = (*index.get(key, ()), number)

    def _with_id(self, id_type: str, id_: str) -> tuple[int, ...]:
        """Return every user that has `id_`, oldest first. The first search by an id type makes its index."""
        with self._lock:
            if id_type not in self._indexes:
                index = self._indexes[id_type] = {}
                for number in range(self.users_ever):
                    self._enter(index, id_type, number)
        index = self._indexes[id_type]
        if id_type == "phone":
            return index.get(id_) or index.get(f"+{id_}", ())
        return index.get(fold(id_type, id_), ())

    def user(self, number: int) -> Record:
        """Return one user in full."""
        kept = self._users[number]
        return made_up(number, *kept) if isinstance(kept, Added) else kept

    def find(self, id_type: str, id_: str) -> int | None:
        """Return the number of the user that has `id_`, deleted or not; of several the latest."""
        numbers = self._with_id(id_type, id_)
        return numbers[-1] if numbers else None

    def is_alive(self, number: int, *, lag_s: float = 0.0) -> bool:
        """Whether the user exists now, or existed `lag_s` seconds ago."""
        deleted_at = self._deleted_at.get(number)
        return deleted_at is None or deleted_at > time.monotonic() - lag_s

    def find_alive(self, id_type: str, id_: str) -> int | None:
        """Return the number of the existing user that has `id_`, or None."""
        found = self.find(id_type, id_)
        return None if found is None or found in self._deleted_at else found

    def delete(self, number: int) -> None:
        """Delete one existing user."""
        if number in self._deleted_at:
            raise ValueError(f"user {number} was deleted before")
        self._deleted_at[number] = time.monotonic()

    def alive(self) -> Iterator[int]:
        """Numbers of the existing users, oldest first."""
        return (number for number in range(self.users_ever) if number not in self._deleted_at)

    def user_ids(self, id_type: str = "user_id") -> list[str]:
        """Return an id of each existing user that has one of this type, oldest first."""
        return [id_ for number in self.alive() for id_ in ids_of(self.user(number), id_type)[:1]]

    def deleted_ids(self, id_type: str | None = None) -> Counter[str]:
        """Return every id under which users were deleted, and how many.

        id_type: of the ids; None for the id that each user was added with. A user without such an id counts under its
        user id.
        """
        found = Counter[str]()
        for number in sorted(self._deleted_at):
            added, user = self._users[number], self.user(number)
            ids = [] if id_type is None else ids_of(user, id_type)
            if id_type is None and isinstance(added, Added):
                ids = [added.id]
            found[ids[0] if ids else user["userId"]] += 1
        return found

    def effects(self, id_: str, id_type: str = "user_id") -> int:
        """How many users were really deleted under `id_`: more than one only if the account was created again."""
        return sum(number in self._deleted_at for number in self._with_id(id_type, id_))
