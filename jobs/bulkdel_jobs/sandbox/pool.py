"""The users of one pool: which user an id means, what became of each, and the count of every effect. Knows no request.

A user is the record that the API shows, in full. Each has a number, counted from 0. An account that is created again
gets another number, so that a user is deleted at most once. Of a made-up user only the id that it was added with and
the fields that were changed are kept: a million users take 300 to 500 MB.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Lock
from types import MappingProxyType
from typing import Any, NamedTuple

from bulkdel_jobs.sandbox.access import Access, References
from bulkdel_jobs.sandbox.people import People
from bulkdel_jobs.sandbox.users import (
    ACTIVATED,
    FIELDS,
    ID_TYPES,
    SANDBOX_PROVIDER,
    SANDBOX_SOURCE,
    SOURCES,
    Record,
    as_stored,
    created,
    fold,
    identity_id,
    ids_of,
    made_up,
    split_phone,
)
from bulkdel_jobs.sandbox.users import user_id as made_up_id

Key = int | str | tuple[int, str]
"""What an effect happened to: a user's number; the code of a thing; or a user's number and what it got or lost."""

DELETED = "deleted"
"""The kind of a deletion. A kind of other effects is the word for it in the past: "resigned", "kicked"."""


class Added(NamedTuple):
    """What is kept of a made-up user. created_at: None for a date well in the past."""

    id_type: str
    id: str
    created_at: str | None


class Pool:
    """The users of one pool. One thread at a time may change it, any number may read it.

    Each user is signed in to every application until the session is ended.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, people: People | None = None) -> None:
        """Make an empty pool. clock: for look-ups that lag. people: what made-up users are; None for plain ones."""
        self._clock = clock
        self._people = people
        self._users: list[Added | Record] = []
        self._indexes: dict[str, dict[str, tuple[int, ...]]] = {}  # by id type and key: users, oldest first
        self._deleted_at: dict[int, float] = {}
        self._changes: dict[int, list[tuple[float, Record]]] = {}  # by user: when, and the fields that it changed
        self._lock = Lock()  # a search makes an index while another thread adds users
        # How many requests changed something, by kind and key; and how many were carried out and changed nothing.
        self._changed: defaultdict[str, Counter[Key]] = defaultdict(Counter)
        self._repeated: defaultdict[str, Counter[Key]] = defaultdict(Counter)
        self._made_at: dict[int, float] = {}  # of the users that were created through the API
        self.access = Access()
        self.references = References()
        self.references.add_source(SANDBOX_SOURCE, SANDBOX_PROVIDER)
        self._signed_out: dict[tuple[int, str], float] = {}  # by user and application, or "" for all: since when

    @classmethod
    def from_ids(
        cls,
        ids: Iterable[str],
        id_type: str = "user_id",
        *,
        created_at: str | None = None,
        people: People | None = None,
    ) -> Pool:
        """Make a pool of the users whose id of `id_type` is in `ids`. An id that comes twice is one user."""
        pool = cls(people=people)
        pool.add_ids(ids, id_type, created_at=created_at)
        return pool

    @classmethod
    def generated(cls, count: int, people: People | None = None) -> Pool:
        """Make a pool of `count` made-up users; `user_ids()` lists their ids."""
        return cls.from_ids(map(made_up_id, range(count)), people=people)

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

    # --- adding, changing, deleting -----------------------------------------------------------------------------------

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
                if id_type in SOURCES:
                    self.references.learn(self.user(self.users_ever - 1))
        return self.users_ever - before

    def create(
        self, users: Sequence[Mapping[str, Any]], created_at: str, also: Mapping[str, Any] | None = None
    ) -> list[Record]:
        """Create all of `users` (the API's fields), also with ids that are taken: `clashes` tells of those.

        What they refer to is known from then on. created_at: ISO 8601. also: fields that only the server can set.
        """
        made = self._made(users, created_at, also)
        for user in made:
            self.put(user)
            self._made_at[self.users_ever - 1] = self._clock()
            self.count("created", self.users_ever - 1, changed=True)
        return made

    def _made(
        self, users: Sequence[Mapping[str, Any]], created_at: str, also: Mapping[str, Any] | None = None
    ) -> list[Record]:
        return [created(self.users_ever + i, fields, created_at, also or {}) for i, fields in enumerate(users)]

    def put(self, user: Record) -> int:
        """Put a user in as the API shows it, and what it refers to; return its number. It is no effect of a request."""
        self._add(user)
        self.references.learn(user)
        return self.users_ever - 1

    def clashes(self, users: Sequence[Mapping[str, Any]], *, identities: bool = False) -> list[str | None]:
        """Return for each of `users` (the API's fields) the field that it cannot have, or None.

        Another user has the same value, or an earlier one of these. identities: whether these are unique too.
        """
        fields = FIELDS | ({"identity": "identities"} if identities else {})
        return list(self._clashes(((None, user) for user in self._made(users, "")), fields))

    def _clashes(
        self, users: Iterable[tuple[int | None, Record]], fields: Mapping[str, str] = MappingProxyType(FIELDS)
    ) -> Iterator[str | None]:
        """Say of each of `users`, given with its number if it has one, which of `fields`, by id type, is taken."""
        taken = set[tuple[str, str]]()
        for number, user in users:
            ids = [(id_type, id_) for id_type in fields for id_ in ids_of(user, id_type)]
            clash = next((one for one in ids if one in taken or self.find_alive(*one) not in {None, number}), None)
            if clash is None:
                taken.update(ids)
            yield None if clash is None else fields[clash[0]]

    def clash_of_changes(self, changes: Mapping[int, Mapping[str, Any]]) -> str | None:
        """Return a field that a user cannot have, or None. changes: fields (the API's) by the number of the user."""
        changed = ((number, self.user(number) | as_stored(fields)) for number, fields in changes.items())
        return next(filter(None, self._clashes(changed)), None)

    def change(self, number: int, fields: Mapping[str, Any], at: str) -> bool:
        """Set fields (the API's) of one user; return whether any of them had another value. at: now, ISO 8601."""
        return self._change(number, as_stored(fields), at)

    def _change(self, number: int, stored: Record, at: str) -> bool:
        before = self.user(number)
        changed = {name: value for name, value in stored.items() if before.get(name) != value}
        if changed:
            changed |= {"updatedAt": at} | ({"statusChangedAt": at} if "status" in changed else {})
            with self._lock:
                had = {id_type: self._ids(number, id_type) for id_type in self._indexes}
                self._changes.setdefault(number, []).append((self._clock(), changed))
                for id_type, index in self._indexes.items():
                    if self._ids(number, id_type) != had[id_type]:
                        for key in _keys(id_type, had[id_type]):
                            index[key] = tuple(other for other in index[key] if other != number)
                        self._enter(index, id_type, number)
        return bool(changed)

    def tie(self, number: int, identity: Mapping[str, Any], at: str) -> bool:
        """Give a user an identity (the API's fields), unless it has it; return whether it is new. at: now, ISO 8601."""
        ties = self.user(number)["identities"]
        if any(all(one[name] == identity[name] for name in ("extIdpId", "userIdInIdp")) for one in ties):
            return False
        (new,) = as_stored({"identities": [identity]})["identities"]
        return self._change(number, {"identities": [*ties, identity_id(number, len(ties)) | new]}, at)

    def end_sessions(self, number: int, app: str = "") -> bool:
        """Sign a user out of one application, or of all; return whether the user was signed in."""
        was = self.has_session(number, app)
        self._signed_out.setdefault((number, app), self._clock())
        return was

    def delete(self, number: int) -> None:
        """Delete one existing user."""
        if number in self._deleted_at:
            raise ValueError(f"user {number} was deleted before")
        self._deleted_at[number] = self._clock()
        self.access.forget(number)

    def _add(self, user: Added | Record) -> None:
        with self._lock:
            self._users.append(user)
            for id_type, index in self._indexes.items():
                self._enter(index, id_type, self.users_ever - 1)

    def _enter(self, index: dict[str, tuple[int, ...]], id_type: str, number: int) -> None:
        """Enter a user into an index, under each of its ids of this type."""
        for key in _keys(id_type, self._ids(number, id_type)):
            index[key] = (*index.get(key, ()), number)

    def _ids(self, number: int, id_type: str) -> list[str]:
        """Return the ids of one type that a user has. A made-up user keeps the spelling that it was added with."""
        kept = self._users[number]
        if isinstance(kept, Added) and kept.id_type == id_type and number not in self._changes:
            return [kept.id]
        return ids_of(self.user(number), id_type)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _with_id(self, id_type: str, id_: str) -> tuple[int, ...]:
        """Return every user that has `id_`, the one that got it last at the end. The first search makes an index."""
        with self._lock:
            if id_type not in self._indexes:
                index = self._indexes[id_type] = {}
                for number in range(self.users_ever):
                    self._enter(index, id_type, number)
        index = self._indexes[id_type]
        if id_type == "phone":
            return index.get(id_) or index.get(f"+{id_}", ())
        return index.get(fold(id_type, id_), ())

    def user(self, number: int, *, lag_s: float = 0.0) -> Record:
        """Return one user in full, as it is now, or as it was `lag_s` seconds ago."""
        kept = self._users[number]
        user = made_up(number, *kept, self._person(number)) if isinstance(kept, Added) else kept
        for changed_at, fields in self._changes.get(number, ()):
            if not lag_s or changed_at <= self._clock() - lag_s:
                user = user | fields
        return user

    def _person(self, number: int) -> Record:
        return {} if self._people is None else self._people.person(number)

    def find(self, id_type: str, id_: str) -> int | None:
        """Return the number of the user that has `id_`, deleted or not; of several the latest."""
        numbers = self._with_id(id_type, id_)
        return numbers[-1] if numbers else None

    def is_alive(self, number: int, *, lag_s: float = 0.0) -> bool:
        """Whether the user exists now, or existed `lag_s` seconds ago."""
        deleted_at = self._deleted_at.get(number)
        if not lag_s:
            return deleted_at is None
        then = self._clock() - lag_s
        return self._made_at.get(number, then) <= then and (deleted_at is None or deleted_at > then)

    def find_alive(self, id_type: str, id_: str, *, lag_s: float = 0.0) -> int | None:
        """Return the number of the user that has `id_` and exists now, or existed `lag_s` seconds ago; or None."""
        numbers = reversed(self._with_id(id_type, id_))
        return next((number for number in numbers if self.is_alive(number, lag_s=lag_s)), None)

    def status(self, number: int) -> str:
        """Return the status of one user; much faster than its record."""
        kept = self._users[number]
        first = str((self._person(number) if isinstance(kept, Added) else kept).get("status", ACTIVATED))
        return next(
            (fields["status"] for _, fields in reversed(self._changes.get(number, ())) if "status" in fields), first
        )

    def has_session(self, number: int, app: str, *, lag_s: float = 0.0) -> bool:
        """Whether the user is signed in to an application now, or was `lag_s` seconds ago; deleted or not."""
        ended = [self._signed_out[key] for key in ((number, app), (number, "")) if key in self._signed_out]
        return all(at > self._clock() - lag_s for at in ended)

    def alive(self) -> Iterator[int]:
        """Numbers of the existing users, oldest first."""
        return (number for number in range(self.users_ever) if number not in self._deleted_at)

    def user_ids(self, id_type: str = "user_id") -> list[str]:
        """Return an id of each existing user that has one of this type, oldest first."""
        return [id_ for number in self.alive() for id_ in ids_of(self.user(number), id_type)[:1]]

    # --- counts -------------------------------------------------------------------------------------------------------

    def count(self, kind: str, key: Key, *, changed: bool) -> None:
        """Count one effect, other than a deletion. changed: False where everything was already so."""
        (self._changed if changed else self._repeated)[kind][key] += 1

    def kinds(self) -> list[str]:
        """Every kind of effect that the users met, in alphabetical order."""
        return sorted({*self._changed, *self._repeated, *([DELETED] if self._deleted_at else [])})

    def effects_of(self, kind: str, id_type: str | None = None) -> Counter[str]:
        """Return how many requests of one kind changed something, by id.

        A key with two parts is `CODE/ID`: what the user got or lost, and the user. id_type: of the ids of users; None
        for the id that each user was added with. A user without such an id counts under its user id.
        """
        # A million deletions are not kept twice.
        keys = dict.fromkeys(sorted(self._deleted_at), 1) if kind == DELETED else self._changed.get(kind, {})
        return self._by_id(keys, id_type)

    def repeats_of(self, kind: str, id_type: str | None = None) -> Counter[str]:
        """Return the same of requests that were carried out and changed nothing, because it was so already."""
        return self._by_id(self._repeated.get(kind, {}), id_type)

    def _by_id(self, counts: Mapping[Key, int] | Mapping[int, int], id_type: str | None) -> Counter[str]:
        found = Counter[str]()
        for key, count in counts.items():
            if isinstance(key, tuple):
                found[f"{key[1]}/{self._id(key[0], id_type)}"] += count
            else:
                found[key if isinstance(key, str) else self._id(key, id_type)] += count
        return found

    def _id(self, number: int, id_type: str | None) -> str:
        """Return the id under which a user is counted."""
        kept = self._users[number]
        if id_type is None and isinstance(kept, Added):
            return kept.id
        user = self.user(number)
        ids = [] if id_type is None else ids_of(user, id_type)
        return ids[0] if ids else str(user["userId"])

    def deleted_ids(self, id_type: str | None = None) -> Counter[str]:
        """Return every id under which users were deleted, and how many; `effects_of` says under which id."""
        return self.effects_of(DELETED, id_type)

    def effects(self, id_: str, id_type: str = "user_id") -> int:
        """How many users were really deleted under `id_`: more than one only if the account was created again."""
        return sum(number in self._deleted_at for number in self._with_id(id_type, id_))


def _keys(id_type: str, ids: Iterable[str]) -> set[str]:
    """Return the keys of ids in an index: a phone number with and without its country code."""
    keys = {fold(id_type, id_) for id_ in ids}
    return keys | {"+" + "".join(split_phone(id_)) for id_ in ids} if id_type == "phone" else keys
