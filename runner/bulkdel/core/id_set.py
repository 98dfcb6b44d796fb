"""Sets of ids that may mean the same account. Owns the comparison; the id type gives the forms of an id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from bulkdel.core.id_type import PLAIN, IdType


class IdSet:
    """A set of ids of one type. It answers whether another id is, or may be, one of them.

    Two ids are certainly the same account when they have one key (`IdType.key`). They may be the same account when the
    whole form of one is among the forms of the other (`IdType.forms`). This relation is not transitive: a phone number
    without a country code may be the same as two numbers with different codes.

    A question costs a few look-ups in sets. An id costs about 200 bytes of memory, an email 300, a phone number 500.
    """

    __slots__ = ("_id_type", "_keys", "_shortened", "_whole")

    def __init__(self, id_type: IdType = PLAIN, ids: Iterable[str] = ()) -> None:
        self._id_type = id_type
        self._keys: set[str] = set()
        self._whole: set[str] = set()  # this one and the next stay empty for a type without forms
        self._shortened: set[str] = set()
        self.update(ids)

    def __len__(self) -> int:
        """The number of different ids, by `IdType.key`."""
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        """The ids, folded to their keys."""
        return iter(self._keys)

    def update(self, ids: Iterable[str]) -> None:
        """Add `ids`."""
        if self._id_type.forms is None:
            self._keys.update(map(self._id_type.key, ids))
            return
        for id_ in ids:
            key = self._id_type.key(id_)
            whole, *shortened = self._id_type.forms(id_)
            self._keys.add(key)
            self._whole.add(key if key == whole else whole)  # one text in memory, not two alike
            self._shortened.update(shortened)

    def plus(self, ids: Iterable[str]) -> IdSet:
        """A set of these and of `ids`; this one itself when it has all of them."""
        more = [id_ for id_ in ids if not self.holds(id_)]
        if not more:
            return self
        joined = IdSet(self._id_type, more)
        joined._keys |= self._keys
        joined._whole |= self._whole
        joined._shortened |= self._shortened
        return joined

    def holds(self, id_: str) -> bool:
        """Whether `id_` is certainly one of them."""
        return self._id_type.key(id_) in self._keys

    def meets(self, id_: str) -> bool:
        """Whether `id_` may be one of them."""
        if self._id_type.forms is None:
            return self.holds(id_)
        whole, *shortened = self._id_type.forms(id_)
        return whole in self._whole or whole in self._shortened or not self._whole.isdisjoint(shortened)

    def meets_any(self, ids: Iterable[str]) -> bool:
        """Whether any of `ids` may be one of them."""
        if not self._keys:
            return False
        if self._id_type.forms is None:
            return not self._keys.isdisjoint(map(self._id_type.key, ids))
        return any(map(self.meets, ids))


def surely_apart(id_type: IdType, ids: Sequence[str]) -> bool:
    """Whether all of `ids` certainly mean different accounts. False means only: compare them one by one."""
    if id_type.forms is None:
        return len(set(map(id_type.key, ids))) == len(ids)
    forms = list(chain.from_iterable(map(id_type.forms, ids)))
    return len(set(forms)) == len(forms)
