"""Why a row of an export gives no id: a code for every reason, and the words for each. Owns both; finds no reason.

The program acts on the codes. The words are for people and may change.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Why(Enum):
    """The reasons. Each value is the reason in words; `{}` stands for the detail of one row.

    COLUMNS: the row has more or fewer columns than the first row. INEXACT: the number may have been rounded.
    """

    EMPTY_ID = "an empty id"
    EMPTY_LINE = "an empty line"
    NEWLINE = "a newline in the id"
    CONTROL = "the control character {} in the id"
    SPACES = "spaces around the id (--trim takes them off)"
    SHAPE = "not {}"
    SPREADSHEET = "not {}; looks like a spreadsheet rewrote it"
    NOT_UTF8 = "not UTF-8: {}"
    NOT_JSON = "not JSON: {}"
    TOO_DEEP = "nested too deep"
    COLUMNS = "{}"
    NO_MEMBER = "no member {}"
    MEMBER_TWICE = "the member {} stands there twice"
    NO_BARE_ID = "an object, where the first row is a bare id"
    BOOLEAN = "a boolean is no id"
    NULL = "null is no id"
    OBJECT = "an object is no id"
    LIST = "a list is no id"
    MINUS_ZERO = "the number -0 is no id"
    INEXACT = "a number with a fraction, an exponent or more than 64 bits is no exact id; write it as a string"


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why one row or value gives no id.

    detail: what fills the `{}` of the reason's words.
    looks_like: names of the id types whose shape the value has.
    """

    why: Why
    detail: str = ""
    looks_like: tuple[str, ...] = ()

    @property
    def structural(self) -> bool:
        """Whether the file itself is damaged here; no option makes that acceptable."""
        return self.why is Why.NOT_UTF8

    @property
    def words(self) -> str:
        """The reason as a person reads it."""
        said = self.why.value.format(self.detail)
        return f"{said}; looks like {' or '.join(self.looks_like)}" if self.looks_like else said


def with_article(noun: str) -> str:
    """`a user_id`, `an email`. The u of `user` and `username` is spoken like a consonant."""
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"
