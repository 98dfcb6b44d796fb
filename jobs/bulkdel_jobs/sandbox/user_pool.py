"""The pool: who exists, who was deleted, and how often. Owns the users; has never heard of requests or switches.

A million users must fit well, so a user is a number, its ordinal. Beside the id that it was given (none for a generated
user) it costs one byte: whether it is dead. Everything else is made up when somebody looks. An account that is created
again is another user with another ordinal, so that a user dies at most once; what an id went through before is
remembered only for ids that were used again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from bulkdel_jobs.sandbox.fake_user import User, created, made_up, made_up_user_id, ordinal_in
from bulkdel_jobs.sandbox.id_match import ID_TYPES, fold

_UNIQUE = {"email": "email", "phone": "phone", "username": "username", "externalId": "external_id"}


class Segment(NamedTuple):
    """Users that came in together, with consecutive ordinals from `start`. `ids` is None for generated ones."""

    start: int
    id_type: str
    ids: list[str] | None
    created_at: str | None


class Conflict(Exception):
    """A user cannot be created: `field` (as the API spells it) is taken."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class Pool:
    """The users of one pool. Not thread safe beyond what the GIL gives: one writer at a time, any number of readers."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._starts: list[int] = []
        self._created: dict[int, User] = {}
        self._index: dict[str, dict[str, int]] = {id_type: {} for id_type in ID_TYPES}
        self._dead = bytearray()
        self._earlier: Counter[tuple[str, str]] = Counter()
        self.deleted = 0

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
        return len(self._dead) - self.deleted

    @property
    def users_ever(self) -> int:
        """How many users there are or were; ordinals are below it."""
        return len(self._dead)

    def add_generated(self, count: int) -> None:
        """Add `count` made-up users."""
        self._add_segment(Segment(len(self._dead), "", None, None), count)

    def add_ids(self, ids: Iterable[str], id_type: str = "user_id", *, created_at: str | None = None) -> int:
        """Add the users whose id of `id_type` is in `ids`; return how many were new. One that was deleted comes back.

        created_at: ISO 8601; None for a date well in the past that depends on the user.
        """
        if id_type not in ID_TYPES:
            raise ValueError(f"not a userIdType: {id_type!r}; known are {', '.join(ID_TYPES)}")
        start, new = len(self._dead), list[str]()
        index = self._index[id_type]
        for id_ in ids:
            key = fold(id_type, id_)
            if index.get(key, -1) >= start:
                continue
            before = self._find_key(id_type, key)
            if before is not None and not self._dead[before]:
                continue
            self._earlier_of(id_type, key, before)
            index[id_ if key == id_ else key] = start + len(new)  # one string for both, where they are equal
            new.append(id_)
        self._add_segment(Segment(start, id_type, new, created_at), len(new))
        if id_type in {"identity", "sync_relation"}:
            self._index_ties(start, len(new))
        return len(new)

    def _add_segment(self, segment: Segment, size: int) -> None:
        if size:
            self._segments.append(segment)
            self._starts.append(segment.start)
            self._dead.extend(bytes(size))

    def _index_ties(self, start: int, size: int) -> None:
        """File users that were given one kind of tie under the other kind as well: it does not follow from a number."""
        for ordinal in range(start, start + size):
            user = self.user(ordinal)
            for id_type in ("identity", "sync_relation"):
                index = self._index[id_type]
                for key in user.keys(id_type):
                    if (before := index.get(key)) is None or self._dead[before]:
                        index[key] = ordinal

    def _earlier_of(self, id_type: str, key: str, ordinal: int | None) -> None:
        """Remember that an id about to be used again has died with the user `ordinal`."""
        if ordinal is not None and self._dead[ordinal]:
            self._earlier[id_type, key] += 1

    def create(self, users: Sequence[Mapping[str, Any]], created_at: str) -> list[User]:
        """Create all of `users` (the API's fields), or none: Conflict when an id is taken. created_at: ISO 8601."""
        taken = set[tuple[str, str]]()
        made = [created(len(self._dead) + i, fields, created_at) for i, fields in enumerate(users)]
        for user in made:
            for field, id_type in _UNIQUE.items():
                for key in user.keys(id_type):
                    ordinal = self._find_key(id_type, key)
                    if (id_type, key) in taken or (ordinal is not None and not self._dead[ordinal]):
                        raise Conflict(field)
                    taken.add((id_type, key))
        for user in made:
            self._insert(user)
        return made

    def _insert(self, user: User) -> None:
        ordinal = len(self._dead)
        for id_type in ID_TYPES:
            if id_type != "user_id":  # follows from the ordinal
                for key in user.keys(id_type):
                    self._earlier_of(id_type, key, self._find_key(id_type, key))
                    self._index[id_type][key] = ordinal
        self._created[ordinal] = user
        self._dead.append(0)

    def find(self, id_type: str, id_: str) -> int | None:
        """Return the ordinal of the user, dead or alive, that carries `id_`; of several the latest."""
        if id_type != "phone":
            return self._find_key(id_type, fold(id_type, id_))
        digits = id_.removeprefix("+")
        if digits == id_ and (found := self._find_key("phone", digits)) is not None:
            return found
        for size in (1, 2, 3):  # the digits of a country code; no code begins another, so at most one fits
            found = self._find_key("phone", digits[size:])
            if found is not None and self.user(found).country_code == digits[:size]:
                return found
        return None

    def _find_key(self, id_type: str, key: str) -> int | None:
        found = self._index[id_type].get(key)
        if found is not None:
            return found
        guess = ordinal_in(id_type, key)
        if guess is None or guess >= len(self._dead):
            return None
        keys = (self._user_id(guess),) if id_type == "user_id" else self.user(guess).keys(id_type)
        return guess if key in keys else None

    def is_alive(self, ordinal: int) -> bool:
        """Whether the user exists now."""
        return not self._dead[ordinal]

    def find_alive(self, id_type: str, id_: str) -> int | None:
        """Return the ordinal of the existing user that carries `id_`, or None."""
        found = self.find(id_type, id_)
        return None if found is None or self._dead[found] else found

    def _segment_of(self, ordinal: int) -> tuple[Segment, str]:
        """Return the segment of a user that was not created, and the id that it was given ("" for none)."""
        segment = self._segments[bisect_right(self._starts, ordinal) - 1]
        return segment, segment.ids[ordinal - segment.start] if segment.ids is not None else ""

    def _user_id(self, ordinal: int) -> str:
        if ordinal in self._created:
            return self._created[ordinal].user_id
        segment, id_ = self._segment_of(ordinal)
        if segment.id_type == "user_id":
            return id_
        return made_up_user_id(_origin(segment, id_), ordinal)

    def user(self, ordinal: int) -> User:
        """Return the user in full."""
        if ordinal in self._created:
            return self._created[ordinal]
        segment, id_ = self._segment_of(ordinal)
        return made_up(ordinal, _origin(segment, id_), id_type=segment.id_type, id_=id_, created_at=segment.created_at)

    def delete(self, ordinal: int) -> None:
        """Delete one existing user."""
        if self._dead[ordinal]:
            raise ValueError(f"user {ordinal} was deleted before")
        self._dead[ordinal] = 1
        self.deleted += 1

    def alive(self, *, skip: int = 0, limit: int | None = None) -> Iterator[int]:
        """Ordinals of the existing users, oldest first."""
        stop = None if limit is None else skip + limit
        return islice((ordinal for ordinal, dead in enumerate(self._dead) if not dead), skip, stop)

    def user_ids(self) -> Iterator[str]:
        """User ids of the existing users, oldest first."""
        return map(self._user_id, self.alive())

    def archived(self) -> Iterator[User]:
        """Existing users that are archived: only those that were created so."""
        return (
            user
            for ordinal, user in self._created.items()
            if user.more.get("status") == "Archived" and not self._dead[ordinal]
        )

    def deleted_ids(self, id_type: str | None = None) -> Iterator[tuple[str, int]]:
        """Every id that was deleted, once, with how often. As `id_type`; None for the id that each user came with.

        A user that came without an id, or has none of `id_type`, goes by its user id.
        """
        repeated = set[tuple[str, str]]()
        for ordinal, dead in enumerate(self._dead):
            if not dead:
                continue
            kind, id_ = self._named(ordinal, id_type)
            effects = 1
            if self._earlier and (named := (kind, fold(kind, id_))) in self._earlier:
                if named in repeated:
                    continue
                repeated.add(named)
                effects = self.effects(id_, kind)
            yield id_, effects

    def _named(self, ordinal: int, id_type: str | None) -> tuple[str, str]:
        """Return the type and text of the id by which `deleted_ids` names a user."""
        if id_type is not None and (keys := self.user(ordinal).keys(id_type)):
            return id_type, keys[0]
        if id_type is None and ordinal not in self._created:
            segment, id_ = self._segment_of(ordinal)
            if segment.ids is not None:
                return segment.id_type, id_
        return "user_id", self._user_id(ordinal)

    def effects(self, id_: str, id_type: str = "user_id") -> int:
        """How many users were really deleted under `id_`: more than one only if the account was created again."""
        found = self.find(id_type, id_)
        return self._earlier[id_type, fold(id_type, id_)] + (found is not None and bool(self._dead[found]))


def _origin(segment: Segment, id_: str) -> str:
    return f"{segment.id_type}:{fold(segment.id_type, id_)}" if segment.ids is not None else ""
