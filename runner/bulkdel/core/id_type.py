"""The types of ids. Owns the check of an id's shape; knows no type by name, because a job lists its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bulkdel.core.bad_rows import Unusable, Why, with_article

SPREADSHEET = re.compile(r"[+-]?\d+(?:[.,]\d+)?[eE][+-]?\d+")
"""A decimal number in scientific notation: `7.3928E+23`, `73928e05`. Spreadsheets write long numbers in this way."""


@dataclass(frozen=True, slots=True)
class IdType:
    """One kind of id that an API accepts.

    name: as the API spells it.
    shape: what a whole id must match; None for free text.
    shape_text: the shape in words, for messages: "24 lower-case hex digits".
    uniform: length and allowed ASCII letters, when the shape is exactly that many of these letters.
    reusable: whether another account may carry the same id later (an email, a phone, a username).
    key: folds an id (emails: to lower case). Two ids with one key are certainly one account.
    forms: first the whole form, the id without what tells no two accounts apart (a phone's plus); then that form
        without each part that may be missing (its country code). Two ids may be one account when the whole form of one
        is among the forms of the other (`core.id_set`). None: only ids with one key may be one account.
    """

    name: str
    shape: re.Pattern[str] | None = None
    shape_text: str = "free text"
    uniform: tuple[int, bytes] | None = None
    reusable: bool = False
    key: Callable[[str], str] = field(default=str)
    forms: Callable[[str], tuple[str, ...]] | None = None

    def are_uniform(self, ids: Sequence[str]) -> bool:
        """Whether all of `ids` have the uniform shape. This takes a tenth of the time of a pattern for each id."""
        if self.uniform is None:
            return False
        length, letters = self.uniform
        text = "".join(ids)
        return set(map(len, ids)) <= {length} and text.isascii() and not text.encode().translate(None, letters)

    def forms_of(self, id_: str) -> tuple[str, ...]:
        """The whole form of `id_`, then the shortened ones, for any type."""
        return (self.key(id_),) if self.forms is None else self.forms(id_)


PLAIN = IdType("id")
"""Free text, compared exactly."""


def rewritten_by_spreadsheet(id_: str) -> bool:
    """Whether `id_` is a number in scientific notation, which is no id of any system."""
    return SPREADSHEET.fullmatch(id_) is not None


def misshapen(id_: str, id_type: IdType, others: Mapping[str, IdType]) -> Unusable | None:
    """The reason why `id_` cannot be of `id_type`; None when it can.

    `others`: every type the job knows, to say which one the id looks like.
    """
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
