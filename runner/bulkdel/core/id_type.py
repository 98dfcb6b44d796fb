"""The types of ids and the sets of ids. Owns the check of an id's shape, and which ids may mean the same account.

Knows no type by name, because a job lists its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from bulkdel.core.alike import all_folded, folded, normal, spellings, without_trunk_zero
from bulkdel.core.bad_rows import Unusable, Why, with_article

SPREADSHEET = re.compile(r"[+-]?\d+(?:[.,]\d+)?[eE][+-]?\d+")
"""A decimal number in scientific notation: `7.3928E+23`, `73928e05`. Spreadsheets write long numbers in this way."""

BUCKET_TEXTS = 16
"""Texts in a bucket of a `TextSet`, on average, at most. More take a little less memory, and a longer search."""


@dataclass(frozen=True, slots=True)
class IdType:
    """One kind of id that an API accepts.

    name: as the API spells it.
    shape: what a whole id must match; None for free text.
    shape_text: the shape in words, for messages: "24 lower-case hex digits".
    uniform: length and allowed ASCII characters, when the shape is exactly so many of these characters.
    never: what no whole id may match, also with --id-pattern, which replaces the shape; None when nothing is barred.
    never_text: what an id is instead, in words.
    reusable: whether another account may carry the same id later (an email, a phone, a username).
    key: folds an id (emails: to lower case). Two ids with one key are certainly one account.
    forms: first the whole form, the id without the parts that never distinguish two accounts (a phone's plus); then
        that form without each part that may be missing (its country code). A look-up of one id finds the account of
        another when the whole form of one is among the forms of the other. None: only ids with one key.
    """

    name: str
    shape: re.Pattern[str] | None = None
    shape_text: str = "free text"
    uniform: tuple[int, bytes] | None = None
    never: re.Pattern[str] | None = None
    never_text: str = ""
    reusable: bool = False
    key: Callable[[str], str] = field(default=str)
    forms: Callable[[str], tuple[str, ...]] | None = None

    def forms_of(self, id_: str) -> tuple[str, ...]:
        """The whole form of `id_`, then the shortened ones, for any type."""
        return (self.key(id_),) if self.forms is None else self.forms(id_)

    def alike(self, id_: str) -> tuple[str, ...]:
        """As `forms_of`, of all ids that a server may take for `id_` (`core.alike`).

        Two ids may be one account when the whole form of one is among the forms of the other (`IdSet`).
        """
        if self.forms is None:
            return spellings(id_)
        found = tuple(map(folded, self.forms(normal(id_))))
        return (*found, *without_trunk_zero(found[0]))


PLAIN = IdType("id")
"""Free text, compared exactly."""


def rewritten_by_spreadsheet(id_: str) -> bool:
    """Whether `id_` is a number in scientific notation: no system has such ids."""
    return SPREADSHEET.fullmatch(id_) is not None


def misshapen(id_: str, id_type: IdType, others: Mapping[str, IdType]) -> Unusable | None:
    """The reason why `id_` cannot be of `id_type`; None when it can.

    `others`: every type of the job, to name those that the id looks like.
    """
    if id_type.never is not None and id_type.never.fullmatch(id_):
        return Unusable(Why.SHAPE, id_type.never_text)
    if id_type.shape is None or id_type.shape.fullmatch(id_):
        return None
    wanted = f"{with_article(id_type.name)} ({id_type.shape_text})"
    if rewritten_by_spreadsheet(id_):
        return Unusable(Why.SPREADSHEET, wanted)
    alike = tuple(
        other.name
        for other in others.values()
        if other.name != id_type.name and other.shape and other.shape.fullmatch(id_)
    )
    return Unusable(Why.SHAPE, wanted, alike)


class TextSet:
    """A set of texts without a line feed, in little memory: 40 bytes for one of 24 characters. A set of str takes 120.

    size: how many texts it holds.

    The texts are in buckets, by their hash. A bucket is one str, with a line feed before and after each of its texts.
    When the buckets are full, their number doubles. A text with a line feed is never in the set: no id has one.
    """

    def __init__(self) -> None:
        self._buckets = ["\n"]
        self.size = 0

    def __iter__(self) -> Iterator[str]:
        for bucket in self._buckets:
            yield from bucket.split("\n")[1:-1]

    def __contains__(self, text: str) -> bool:
        return f"\n{text}\n" in self._buckets[hash(text) & len(self._buckets) - 1] and "\n" not in text

    def add(self, text: str) -> None:
        """Add a text. One that is in the set already, or has a line feed, changes nothing."""
        if text not in self and "\n" not in text:
            self._buckets[hash(text) & len(self._buckets) - 1] += f"{text}\n"
            self.size += 1
            if self.size > BUCKET_TEXTS * len(self._buckets):
                self._double()

    def copy(self) -> TextSet:
        """Another set with the same texts. It shares their memory."""
        other = TextSet()
        other._buckets, other.size = list(self._buckets), self.size
        return other

    def _double(self) -> None:
        """Divide each bucket in two, by one more bit of the hash: one at a time, so that memory stays flat."""
        count = len(self._buckets)
        for number in range(count):
            both = ["\n", "\n"]
            for text in self._buckets[number].split("\n")[1:-1]:
                both[hash(text) & count > 0] += f"{text}\n"
            self._buckets[number] = both[0]
            self._buckets.append(both[1])


class IdSet:
    """A set of ids of one type, `id_type`. It answers whether another id is, or may be, one of them.

    Two ids are certainly the same account when they have one key (`IdType.key`). They may be the same account when the
    whole form of one is among the forms of the other (`IdType.alike`). This relation is not transitive: a phone number
    without a country code may be the same as two numbers with different codes.

    A question costs a few look-ups in sets. A user id costs about 40 bytes of memory, an email 100, a phone number 120.
    """

    __slots__ = ("_keys", "_shortened", "_whole", "id_type")

    def __init__(self, id_type: IdType = PLAIN, ids: Iterable[str] = ()) -> None:
        self.id_type = id_type
        self._keys = TextSet()
        self._whole = TextSet()  # those that are not the key of their id
        self._shortened = TextSet()
        self.update(ids)

    def __len__(self) -> int:
        """The number of different ids, by `IdType.key`."""
        return self._keys.size

    def __iter__(self) -> Iterator[str]:
        """The ids, folded to their keys."""
        return iter(self._keys)

    def update(self, ids: Iterable[str]) -> None:
        """Add `ids`."""
        for id_ in ids:
            key = self.id_type.key(id_)
            whole, *shortened = self.id_type.alike(id_)
            self._keys.add(key)
            if whole != key:
                self._whole.add(whole)
            for form in shortened:
                self._shortened.add(form)

    def plus(self, ids: Iterable[str]) -> IdSet:
        """A set of these and of `ids`; the same object when it has all of them."""
        more = [id_ for id_ in ids if not self.holds(id_)]
        if not more:
            return self
        joined = IdSet(self.id_type)
        joined._keys, joined._whole, joined._shortened = self._keys.copy(), self._whole.copy(), self._shortened.copy()
        joined.update(more)
        return joined

    def holds(self, id_: str) -> bool:
        """Whether `id_` is certainly one of them."""
        return self.id_type.key(id_) in self._keys

    def meets(self, id_: str) -> bool:
        """Whether `id_` may be one of them."""
        whole, *shortened = self.id_type.alike(id_)
        return self._has(whole) or whole in self._shortened or any(map(self._has, shortened))

    def meets_any(self, ids: Sequence[str]) -> bool:
        """Whether any of `ids` may be one of them."""
        if not self._keys.size:
            return False
        plain = all_folded(ids) if self.id_type.forms is None and not self._shortened.size else None
        return any(map(self.meets, ids)) if plain is None else any(map(self._has, plain))

    def _has(self, whole: str) -> bool:
        """Whether one of them has this whole spelling. One that is the key of its id is not kept a second time."""
        return whole in self._keys or whole in self._whole


def one_by_forms(id_type: IdType, one: str, other: str) -> bool:
    """Whether a look-up of one id finds the account of the other: by `IdType.forms`."""
    first, second = id_type.forms_of(one), id_type.forms_of(other)
    return first[0] in second or second[0] in first


def surely_apart(id_type: IdType, ids: Sequence[str]) -> bool:
    """Whether all of `ids` certainly mean different accounts. False means only: compare them one by one."""
    plain = all_folded(ids) if id_type.forms is None else None
    found = list(chain.from_iterable(map(id_type.alike, ids))) if plain is None else plain
    return len(set(found)) == len(found)
