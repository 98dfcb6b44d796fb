"""GenAuth's calls about users: delete a batch, read a batch, list. Pure: records to calls, answers to verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson

from jobs.genauth.envelope import read_envelope, read_list, read_success
from runner.core.idtypes import IdType
from runner.core.records import Record, ids_of
from runner.core.verdicts import Act, Call, Reply, Verdict
from runner.job import Account

IDS_MAX = 50
"""Ids per call, for deleting and for reading (seed document: "Array length limit: 50")."""

URL_MAX = 6_000
"""Bytes of a look-up's query (design: gateways cut off URLs somewhere above 8 KB)."""

IDENTITIES = (("withIdentities", "true"),)
FULL = (("withCustomData", "true"), ("withIdentities", "true"), ("withDepartmentIds", "true"))
"""What get-user-batch leaves out unless it is asked for."""

STATUS_MAX = 20
"""Letters of a status that is shown. The longest documented one is `Deactivated`."""

DELETE_PATH = "/api/v3/delete-users-batch"
READ_PATH = "/api/v3/get-user-batch"
LIST_PATH = "/api/v3/list-users"


def delete_call(user_ids: Sequence[str], id_type: str) -> Call:
    """Build `delete-users-batch`. Raises ValueError unless there are 1 to 50 ids, all different, none empty."""
    if isinstance(user_ids, str | bytes):
        raise ValueError("user ids come as a list: a single string would be taken for a list of its letters")  # noqa: TRY004
    if not 1 <= len(user_ids) <= IDS_MAX:
        raise ValueError(f"delete-users-batch takes 1 to {IDS_MAX} ids, not {len(user_ids)}: split them")
    different = set(user_ids)
    if "" in different or set(map(type, different)) != {str}:
        raise ValueError("every user id is a non-empty string")
    if len(different) != len(user_ids):
        raise ValueError("the same id twice in one call: the API may refuse the whole call")
    return Call("POST", DELETE_PATH, body=orjson.dumps({"userIds": list(user_ids), "options": {"userIdType": id_type}}))


class DeleteUsersBatch:
    """The deleting side: `runner.job.Action` for delete-users-batch."""

    def __init__(self, id_type: IdType) -> None:
        self._id_type = id_type.name

    def call(self, records: Sequence[Record]) -> Call:
        """Build the request that deletes `records`."""
        return delete_call(ids_of(records), self._id_type)

    def read(self, reply: Reply) -> Verdict:
        """Success is statusCode 200 and data.success true; everything else is in the table of the envelope."""
        return read_success(reply)


class UserLookUps:
    """The reading side: `runner.job.LookUps` for get-user-batch and list-users."""

    def __init__(self, id_type: IdType, *, full: bool = False) -> None:
        self._id_type = id_type
        self._full = full
        self._ids_of = _IDS_OF[id_type.name]
        self._with_identities = id_type.name in {"identity", "sync_relation"}  # what these are matched by

    def calls(self, ids: Sequence[str]) -> list[tuple[Sequence[str], Call]]:
        """Ask for `ids`, 50 at most and 6 KB of query at most in one request."""
        parts = FULL if self._full else IDENTITIES if self._with_identities else ()
        fixed = (("userIdType", self._id_type.name), *parts)
        return [
            (group, Call("GET", READ_PATH, (*(("userIds", id_) for id_ in group), *fixed)))
            for group in _grouped(ids, URL_MAX - 100)
        ]

    def read(self, reply: Reply) -> Verdict:
        """Read the list of users that exist."""
        return read_list(reply)

    def match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        """Match users to ids: emails without case, phones with or without country code, everything else exactly."""
        asked: dict[str, list[str]] = {}
        for id_ in ids:
            asked.setdefault(self._fold(id_), []).append(id_)
        accounts: dict[str, Account] = {}
        strays = 0
        for user in found:
            matching = [id_ for own in self._ids_of(user) for id_ in asked.get(self._fold(own), ())]
            strays += not matching
            for id_ in matching:
                account, before = account_of(user), accounts.get(id_)
                # One id, two accounts: the younger one decides what may be done, and both may be gone by it.
                accounts[id_] = account if before is None else together(before, account)
        if strays and len(ids) == 1 and self._id_type.name in _LOOSE:
            # Asked for alone, so whoever came back is meant, by a rule of the server's that we do not know.
            return accounts or {ids[0]: replace(account_of(found[0]), certain=False)}, 0
        return accounts, strays

    def control(self) -> Call:
        """List one page of users, to have somebody who must be found."""
        options: dict[str, Any] = {"pagination": {"page": 1, "limit": 10}}
        if self._with_identities:
            options["withIdentities"] = True
        return Call("POST", LIST_PATH, body=orjson.dumps({"options": options}))

    def read_control(self, reply: Reply) -> Verdict:
        """Read the ids (of this id type) of the users on the page."""
        verdict = read_envelope(reply)
        if verdict.act is not Act.SETTLED:
            return verdict
        users = verdict.data.get("list") if isinstance(verdict.data, dict) else None
        listed = users if isinstance(users, list) else ()
        return verdict._replace(data=[own for user in listed if isinstance(user, dict) for own in self._ids_of(user)])

    def owner(self, user: str) -> Call:
        """Ask for one user by its user id, whatever this id type is."""
        return Call("GET", READ_PATH, (("userIds", user), ("userIdType", "user_id"), *IDENTITIES))

    def read_owner(self, reply: Reply) -> Verdict:
        """Read the ids (of this id type) of that user."""
        verdict = read_list(reply)
        if verdict.act is not Act.SETTLED:
            return verdict
        return verdict._replace(data=[own for user in verdict.data for own in self._ids_of(user)])

    def _fold(self, id_: str) -> str:
        return id_.lstrip("+") if self._id_type.name == "phone" else self._id_type.key(id_)


def account_of(user: Mapping[str, Any]) -> Account:
    """What the engine wants to know of a user record."""
    status = user.get("status")
    return Account(
        created_at=_epoch(user.get("createdAt")),
        last_seen_at=_epoch(user.get("lastLogin")),
        # A word, as documented: it is shown in the plan, and anything else might be somebody's id.
        status=status if isinstance(status, str) and len(status) <= STATUS_MAX and status.isalpha() else None,
        raw=user,
    )


def together(one: Account, other: Account) -> Account:
    """Two accounts under one id, as one: the younger, or the one of whom nobody knows how old it is."""
    first, second = (one, other) if one.created_at is None else (other, one)
    if first.created_at is not None and (second.created_at or 0.0) > first.created_at:
        first, second = second, first
    return replace(first, also=(*second.records, *first.also))


def _epoch(value: Any) -> float | None:
    """Epoch seconds of an ISO 8601 time with its zone; None for anything else.

    A time without a zone may be anybody's local one, hours off: no base to tell an account from another by.
    """
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at.timestamp() if at.tzinfo else None


def _grouped(ids: Sequence[str], query_max: int) -> Iterator[list[str]]:
    group: list[str] = []
    length = 0
    for id_ in ids:
        cost = len("&userIds=") + len(quote(id_, safe=""))
        if group and (len(group) == IDS_MAX or length + cost > query_max):
            yield group
            group, length = [], 0
        group.append(id_)
        length += cost
    if group:
        yield group


def _strings(*values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str) and value]


def _phones(user: Mapping[str, Any]) -> list[str]:
    phone, code = user.get("phone"), user.get("phoneCountryCode")
    numbers = _strings(phone)
    return numbers + [f"{prefix}{number}" for prefix in _strings(code) for number in numbers]


def _identities(user: Mapping[str, Any], *providers: str) -> list[str]:
    identities = user.get("identities")
    return [
        f"{provider}:{own}"
        for identity in (identities if isinstance(identities, list) else ())
        if isinstance(identity, dict)
        for provider in _strings(*(identity.get(name) for name in providers))
        for own in _strings(identity.get("userIdInIdp"))
    ]


_LOOSE = frozenset({"phone", "email", "username", "identity", "sync_relation"})
"""Types that the server may match by rules we do not know. The others are compared exactly: a stranger is no match."""

_IDS_OF: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "user_id": lambda user: _strings(user.get("userId")),
    "phone": _phones,
    "email": lambda user: _strings(user.get("email")),
    "username": lambda user: _strings(user.get("username")),
    "external_id": lambda user: _strings(user.get("externalId")),
    "identity": lambda user: _identities(user, "extIdpId"),
    "sync_relation": lambda user: _identities(user, "provider", "type"),
}
"""The ids of one type that a user record carries."""
