"""GenAuth's create-users-batch, and look-ups of users by what identifies them in the pool. Pure.

A row is the record of a user as get-user-batch shows it (`--backup`). Its id is the user id that it had; the API gives
a new one. E-mail, phone, user name and external id are its keys: no two users of a pool share one.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from bulkdel.core.creation_match import Keys
from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.core.id_type import IdType, one_by_forms
from bulkdel.core.outcome import Reduction
from bulkdel.core.record import Record, Records
from bulkdel.job import Account, ByKeys, FindsCreated, LookUps
from bulkdel_jobs.genauth.endpoints import IDS_MAX, UserLookUps, account_of
from bulkdel_jobs.genauth.id_types import ID_TYPES
from bulkdel_jobs.genauth.responses import can_be_named, read_list

CONFLICT = 409
"""The statusCode of a creation with a key that another user has (GenAuth's list of status codes)."""

CREATE_PATH = "/api/v3/create-users-batch"

KEYS = {"email": "email", "phone": "phone", "username": "username", "external_id": "externalId"}
"""The id types that no two users of a pool share, each with its field of the record."""

DEPARTMENTS, IDENTITIES = "departmentIds", "identities"

# fmt: off
FIELDS = (
    "status", "email", "phone", "phoneCountryCode", "username", "externalId", "name", "nickname", "photo", "gender",
    "emailVerified", "phoneVerified", "birthdate", "country", "province", "city", "address", "streetAddress",
    "postalCode", "company", "browser", "device", "givenName", "familyName", "middleName", "profile",
    "preferredUsername", "website", "zoneinfo", "locale", "formatted", "region", "identityNumber", "customData",
    "metadataSource", DEPARTMENTS, IDENTITIES,
)
# fmt: on
"""What a record has and create-users-batch takes (the vendor's OpenAPI, and its SDK for `metadataSource`)."""


def _fold(key: str) -> str:
    """A server may compare user names and external ids without case, and without the spaces around them."""
    return key.strip().casefold()


KEY_TYPES: Mapping[str, IdType] = {
    "email": ID_TYPES["email"],
    "phone": ID_TYPES["phone"],
    "username": replace(ID_TYPES["username"], key=_fold, forms=lambda key: (_fold(key),)),
    "external_id": replace(ID_TYPES["external_id"], key=_fold, forms=lambda key: (_fold(key),)),
}
"""How keys are compared: two of them may be the same."""

PERSONAL = (
    "name",
    "nickname",
    "givenName",
    "middleName",
    "familyName",
    "preferredUsername",
    "company",
    "address",
    "city",
    "province",
    "country",
    "customData",
)
"""Fields by which a created user is told from another one that has the same keys."""

CREATED_BY_API = "adminCreated"
"""The `userSourceType` of a user that a management call has created."""

EMPTY: tuple[Any, ...] = (None, "", [], {})

IDENTITY_FIELDS = ("extIdpId", "provider", "type", "userIdInIdp", "userInfoInIdp", "originConnIds")
"""What create-users-batch takes of an identity."""

HALF_A_PAIR = re.compile("[\ud800-\udfff]")

User = Mapping[str, Any]


class CreateUsersBatch:
    """The request that creates the users of one chunk: `bulkdel.job.Action` for create-users-batch.

    It asks the API to send no notification. options: those about passwords.
    """

    def __init__(self, options: Mapping[str, bool]) -> None:
        self._options = {
            "keepPassword": False,
            "autoGeneratePassword": False,
            "resetPasswordOnFirstLogin": False,
            **options,
            "departmentIdType": "department_id",
            "sendNotification": {"sendEmailNotification": False, "sendPhoneNotification": False},
        }

    def calls(self, records: Records) -> list[Request]:
        """Build the request. Raises ValueError unless there are 1 to 50 records."""
        if not 1 <= len(records) <= IDS_MAX:
            raise ValueError(f"create-users-batch takes 1 to {IDS_MAX} users, not {len(records)}: split them")
        body = {"list": [new_user(user_of(record)) for record in records], "options": self._options}
        # orjson refuses a lone surrogate, which a record may have.
        return [Request("POST", CREATE_PATH, body=json.dumps(body, separators=(",", ":")).encode())]

    def read(self, response: Response) -> Decision:
        """Read the users that were created. A conflict is LOOK_UP: a user with one of the keys is there already."""
        decision = read_list(response)
        if decision.next_step not in {NextStep.SPLIT, NextStep.LOOK_UP}:
            return decision
        conflict = decision.detail.code == CONFLICT  # a 404 is about a department
        return decision._replace(next_step=NextStep.LOOK_UP if conflict else NextStep.SPLIT)


def user_of(record: Record) -> User:
    """The user in a row: a JSON object, as the preflight has checked."""
    user: User = json.loads(record.payload or b"{}")
    return user


def new_user(user: User) -> dict[str, Any]:
    """The fields of a user that create-users-batch takes. An empty one is left out."""
    kept = {name: user[name] for name in FIELDS if user.get(name) not in EMPTY}
    if "phone" not in kept:
        kept.pop("phoneCountryCode", None)  # the API refuses one without the other
    if IDENTITIES in kept:
        kept[IDENTITIES] = [
            {name: identity[name] for name in IDENTITY_FIELDS if identity.get(name) is not None}
            for identity in _objects(kept[IDENTITIES])
        ]
    return kept


def reductions(record: Record) -> Iterator[Reduction]:
    """The record without one department or identity, without two, without all of a kind, without all of both.

    One that no longer exists makes the API refuse the user.
    """
    user = user_of(record)
    places = [(name, at) for name in (DEPARTMENTS, IDENTITIES) for at in range(len(_list(user.get(name))))]
    kinds = [tuple(place for place in places if place[0] == name) for name in (DEPARTMENTS, IDENTITIES)]
    for left_out in dict.fromkeys([*combinations(places, 1), *combinations(places, 2), *kinds, tuple(places)]):
        if left_out:
            yield _without(user, left_out)


def _without(user: User, left_out: Sequence[tuple[str, int]]) -> Reduction:
    """A user without these departments and identities, each by its field and its place in the list."""
    kept, lost, parts = dict(user), list[str](), list[str]()
    for name in dict.fromkeys(name for name, _ in left_out):
        whole = _list(user.get(name))
        kept[name] = [each for at, each in enumerate(whole) if (name, at) not in left_out]
        parts += [_part(name, each) for at, each in enumerate(whole) if (name, at) in left_out]
        lost.append(_some_of(name, len(whole) - len(kept[name]), len(whole)))
    return Reduction(json.dumps(kept, separators=(",", ":")).encode(), " and ".join(lost), tuple(parts))


def _some_of(name: str, count: int, total: int) -> str:
    """What a user lacks of a field."""
    return name if count == total else f"{count} of {total} {name}"


def _part(name: str, value: Any) -> str:
    """What tells a department or an identity source from others."""
    return f"{name} {value.get('extIdpId') if isinstance(value, dict) else value}"


class CreatedUserLookUps(UserLookUps, FindsCreated):
    """Look-ups by user id, and by the keys of records: `bulkdel.job.LookUps` for create-users-batch."""

    def __init__(self) -> None:
        super().__init__(ID_TYPES["user_id"])

    def for_records(self, records: Records, *, one_key: bool = False) -> ByKeys:
        """The look-ups of these records by their keys."""
        return KeyLookUps(records, one_key=one_key)


class KeyLookUps(UserLookUps, ByKeys):
    """Look-ups of users by the keys of some records. It is asked for the ids of these records only.

    one_key: ask for one key of each record. One that every server reads in the same way is preferred.
    """

    def __init__(self, records: Records, *, one_key: bool = False) -> None:
        super().__init__(ID_TYPES["user_id"], full=True)
        self._users = {record.id: user_of(record) for record in records}
        self._by_type = {name: UserLookUps(ID_TYPES[name], full=True) for name in KEYS}
        self._keys = {id_: self._keys_of(user) for id_, user in self._users.items()}
        asked = {id_: _in_url(keys) for id_, keys in self._keys.items()}
        self._asked = {id_: self._first(keys) if one_key else keys for id_, keys in asked.items()}
        hidden = (id_ for id_, keys in asked.items() if all(any(self._read_alike(key)) for key in keys.items()))
        self._by_old_id = frozenset(() if one_key else filter(can_be_named, hidden))
        self._ids: defaultdict[tuple[str, str], list[str]] = defaultdict(list)  # by id type and form of the key
        for id_, keys in self._keys.items():
            for name, spellings in keys.items():
                for form in {form for key in spellings for form in KEY_TYPES[name].forms_of(key)}:
                    self._ids[name, form].append(id_)

    def calls(self, ids: Sequence[str]) -> list[tuple[Sequence[str], Request]]:
        """Make the requests: one for each kind of key, or more where the query would be too long.

        A user that was never gone may have keys that a server misreads: it is asked for by its id as well.
        """
        found = super().calls([id_ for id_ in ids if id_ in self._by_old_id])
        for look_ups, asked in self.by_kind(ids):
            owners = defaultdict[str, list[str]](list)
            for id_, key in asked.items():
                owners[key].append(id_)
            for keys, request in look_ups.calls(list(owners)):
                found.append(([id_ for key in keys for id_ in owners[key]], request))
        return found

    def by_kind(self, ids: Sequence[str]) -> Iterator[tuple[LookUps, Mapping[str, str]]]:
        """See `bulkdel.job.ByKeys`."""
        for name, look_ups in self._by_type.items():
            if keys := {id_: self._asked[id_][name] for id_ in ids if name in self._asked[id_]}:
                yield look_ups, keys

    def _first(self, keys: Mapping[str, str]) -> Mapping[str, str]:
        """One of these keys, if possible one that no server can take for several, or read otherwise."""
        return dict(sorted(keys.items(), key=self._read_alike)[:1])

    def _read_alike(self, key: tuple[str, str]) -> tuple[bool, int]:
        """(False, 0) for a key that every server reads in the same way; more for others. key: its kind and its text."""
        kind, text = key
        return self._by_type[kind].may_split(text), len(self._by_type[kind].marks(text))

    def match(self, ids: Sequence[str], found: Sequence[User]) -> tuple[dict[str, Account], int]:
        """Match users to the records with which they share a key. A user found by a look-up of one record is its."""
        accounts: dict[str, Account] = {}
        strays, wanted = 0, set(ids)
        for user in found:
            matching = wanted.intersection(self._sharing(user))
            certain = bool(matching)
            if not matching and len(wanted) == 1:
                matching = wanted
            strays += not matching
            for id_ in matching:
                account = self._account(id_, user, certain=certain)
                if id_ not in accounts or account.keys is Keys.ALL:
                    accounts[id_] = account
        return accounts, strays

    def keys_of(self, id_: str) -> set[str]:
        """The forms of the keys of a record."""
        return {
            f"{name} {form}"
            for name, spellings in self._keys[id_].items()
            for key in spellings
            for form in KEY_TYPES[name].forms_of(key)
        }

    def texts(self, ids: Sequence[str]) -> Sequence[str]:
        """Every text of these records: a message of the server may quote any part of what was sent."""
        return [*ids, *(text for id_ in ids for text in self._texts(id_))]

    def _texts(self, id_: str) -> Iterator[str]:
        for spellings in self._keys[id_].values():
            yield from spellings
        yield from filter(None, _texts_in(self._users[id_]))

    def _keys_of(self, user: User) -> dict[str, list[str]]:
        """The key of each kind that a user has, in each of its spellings; a phone number with its country code."""
        return {name: own for name, look_ups in self._by_type.items() if (own := look_ups.ids_of(user))}

    def _sharing(self, user: User) -> Iterator[str]:
        """The ids of the records that share a key with a user, and its own: it may be a record that was never gone."""
        yield from self.ids_of(user)
        for name, look_ups in self._by_type.items():
            for own in look_ups.ids_of(user):
                for form in KEY_TYPES[name].forms_of(own):
                    yield from (id_ for id_ in self._ids[name, form] if self._shares(id_, name, [own]))

    def _shares(self, id_: str, name: str, own: Sequence[str]) -> bool:
        """Whether the key of this kind may be one of `own`."""
        keys = self._keys[id_].get(name, ())
        return any(one_by_forms(KEY_TYPES[name], key, other) for key in keys for other in own)

    def _account(self, id_: str, user: User, *, certain: bool) -> Account:
        shared, lacking, keys, user_id = list[str](), list[str](), Keys.ALL, user.get("userId")
        row = self._users[id_]
        for name in self._keys[id_]:
            own = self._by_type[name].ids_of(user)
            if self._shares(id_, name, own):
                shared.append(KEYS[name])
            elif own:
                keys = Keys.OTHER
            else:
                lacking.append(KEYS[name])
                keys = Keys.SOME if keys is Keys.ALL else keys
        lost = [*lacking, *_lost(row, user)]
        shown = all(name in user for name in (DEPARTMENTS, IDENTITIES) if row.get(name))
        return replace(
            account_of(user, (id_,)),
            certain=certain,
            made=user_id if isinstance(user_id, str) else None,
            keys=keys,
            never_gone=user_id == id_,
            alike=_alike(row, user),
            shared=tuple(shared),
            lost=" and ".join(lost) if lost or shown else None,
        )


def _in_url(keys: Mapping[str, Sequence[str]]) -> Mapping[str, str]:
    """The first spelling of each of these keys that a query can carry. JSON can also have half of a surrogate pair."""
    return {name: key for name, (key, *_) in keys.items() if key.isascii() or not HALF_A_PAIR.search(key)}


def _lost(row: User, user: User) -> Iterator[str]:
    """What a user lacks of the departments and identities of a row, where its record shows them."""
    for name, parts_of in ((DEPARTMENTS, _departments), (IDENTITIES, _ties)):
        wanted = parts_of(row.get(name))
        if name in user and (missing := wanted - parts_of(user[name])):
            yield _some_of(name, len(missing), len(wanted))


def _departments(ids: Any) -> set[str]:
    return {str(each) for each in _list(ids)}


def _ties(identities: Any) -> set[str]:
    """What ties a user to accounts elsewhere."""
    return {f"{each.get('extIdpId')}:{each.get('userIdInIdp')}" for each in _objects(identities)}


def _alike(row: User, user: User) -> bool:
    """Whether a user has what the row says of the person, and was created by the API. A stranger seldom has both."""
    pairs = [(_known(row.get(name)), _known(user.get(name))) for name in PERSONAL]
    source = user.get("userSourceType")
    told = source == CREATED_BY_API or (source is None and any(known is not None for known, _ in pairs))
    return told and all(before == now for before, now in pairs)


def _known(value: Any) -> Any:
    """A value, where it is not empty."""
    return None if value in EMPTY else value


def _texts_in(value: Any) -> Iterator[str]:
    """The texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(each)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(value: Any) -> list[User]:
    return [each for each in _list(value) if isinstance(each, dict)]
