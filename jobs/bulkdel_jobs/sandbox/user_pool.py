"""The users of the sandbox: which exist, which were deleted, and which user an id means. Knows no request.

Each user has a number, counted from 0. An account that is created again gets another number, so that a user is deleted
at most once. Of a made-up user only the id that it was added with is kept: a million users take 300 to 500 MB.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

from bulkdel_jobs.sandbox.fake_user import User, created, made_up
from bulkdel_jobs.sandbox.id_match import ID_TYPES, keys_of, keys_to_find

_UNIQUE = {"email": "email", "phone": "phone", "username": "username", "externalId": "external_id"}
"""Fields of create-users-batch that no two users share, with the id type of each."""


class Conflict(Exception):
    """A user cannot be created: `field` (as the API spells it) is taken."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class Added(NamedTuple):
    """What is kept of a made-up user. created_at: None for a date well in the past."""

    id_type: str = ""
    id: str = ""
    created_at: str | None = None


GENERATED = Added()


class Pool:
    """The users of one pool. One thread at a time may change it, any number may read it."""

    def __init__(self) -> None:
        self._users: list[Added | User] = []
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
        pool = cls()
        pool.add_generated(count)
        return pool

    def __len__(self) -> int:
        """How many users exist now."""
        return self.users_ever - self.deleted

    @property
    def users_ever(self) -> int:
        """How many users there are or were; every number is below it."""
        return len(self._users)

    @property
    def deleted(self) -> int:
        """How many users were deleted."""
        return len(self._deleted_at)

    def add_generated(self, count: int) -> None:
        """Add `count` made-up users."""
        for _ in range(count):
            self._add(GENERATED)

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

    def create(self, users: Sequence[Mapping[str, Any]], created_at: str) -> list[User]:
        """Create all of `users` (the API's fields), or none: Conflict when an id is taken. created_at: ISO 8601."""
        made = [created(self.users_ever + i, fields, created_at) for i, fields in enumerate(users)]
        taken = set[tuple[str, str]]()
        for user in made:
            for api_field, id_type in _UNIQUE.items():
                for id_ in user.ids(id_type):
                    if (id_type, id_) in taken or self.find_alive(id_type, id_) is not None:
                        raise Conflict(api_field)
                    taken.add((id_type, id_))
        for user in made:
            self._add(user)
        return made

    def _add(self, added: Added | User) -> None:
        with self._lock:
            self._users.append(added)
            for id_type, index in self._indexes.items():
                self._enter(index, id_type, self.users_ever - 1)

    def _enter(self, index: dict[str, tuple[int, ...]], id_type: str, number: int) -> None:
        kept = self._users[number]
        ids = [kept.id] if isinstance(kept, Added) and kept.id_type == id_type else self.user(number).ids(id_type)
        for key in {key for id_ in ids for key in keys_of(id_type, id_)}:
            index[key] = (*index.get(key, ()), number)

    def _with_id(self, id_type: str, id_: str) -> tuple[int, ...]:
        """Return every user that has `id_`, oldest first. The first search by an id type makes its index."""
        with self._lock:
            if id_type not in self._indexes:
                index = self._indexes[id_type] = {}
                for number in range(self.users_ever):
                    self._enter(index, id_type, number)
        found = (self._indexes[id_type].get(key, ()) for key in keys_to_find(id_type, id_))
        return next(filter(None, found), ())

    def user(self, number: int) -> User:
        """Return one user in full."""
        kept = self._users[number]
        return kept if isinstance(kept, User) else made_up(number, *kept)

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
        return [id_ for number in self.alive() for id_ in self.user(number).ids(id_type)[:1]]

    def deleted_ids(self, id_type: str | None = None) -> Counter[str]:
        """Return every id under which users were deleted, and how many.

        id_type: of the ids; None for the id that each user was added with. A user without one goes by its user id.
        """
        users = map(self.user, sorted(self._deleted_at))
        if id_type is None:
            return Counter(user.given or user.user_id for user in users)
        return Counter((*user.ids(id_type), user.user_id)[0] for user in users)

    def effects(self, id_: str, id_type: str = "user_id") -> int:
        """How many users were really deleted under `id_`: more than one only if the account was created again."""
        return sum(number in self._deleted_at for number in self._with_id(id_type, id_))
