"""Whether a text of a report holds a value of an export: an id, or any other cell of its rows. Pure.

Owns the comparison. The texts are few and short, the values may be a hundred million, so one search in all texts at
once sorts out nearly every value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

INSIDE_MIN = 4
"""From so many letters and digits on, an id is also found inside a word: `smith` in `blacksmith`."""

WORD_MIN, NUMBER_MIN = 3, 5
"""A value that is no id counts from so many characters on, as a word or as a number: not `de`, not `2026`."""

COUNTRY_MAX = 3
"""Digits of the longest country code of a phone number."""

NAME_MIN = 6
"""From so many letters on, a value of several words is also found without spaces: `annamiller` for `Anna Miller`."""

KEPT_MAX = 10_000
"""Values that are remembered as compared: values of a column that repeats few values are compared once."""

_BETWEEN = re.compile(r"[\W_]+")
_BETWEEN_BYTES = bytes(byte for byte in range(128) if not chr(byte).isalnum())
_DATE = re.compile(r"[0-9]{4} [0-9]{2} [0-9]{2}")
"""A date in the words of a value. It names no account, and file names often have one."""


@dataclass(frozen=True, slots=True)
class _Folded:
    """A text for a comparison without case and without the characters between words."""

    words: str
    joined: str

    @classmethod
    def of(cls, text: str) -> Self:
        words = _BETWEEN.sub(" ", _folded(text)).strip()
        return cls(words, words.replace(" ", ""))


def _folded(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


class TextCheck:
    """Finds the texts that hold a value of an export. `see` every value; then `holds` answers.

    Memory grows with the texts, and not with the values.
    """

    def __init__(self, texts: Iterable[str], names: Iterable[str] = ()) -> None:
        """texts: compared with every value. names: of users, machines, pools; each holds only an id that is equal."""
        self._texts = {text: _Folded.of(text) for text in texts}
        self._names = {name: _Folded.of(name) for name in names}
        self._all = "\n".join(each.joined for each in (*self._texts.values(), *self._names.values())).encode()
        self._compared: set[tuple[str, bool]] = set()
        self._held: set[str] = set()

    def see(self, value: str, *, is_id: bool = False) -> None:
        """Compare one value. is_id: whether it is an id; otherwise it is another cell of a row."""
        if self._may_hold(value):
            self._compare(value, is_id=is_id)
        if "@" in value and self._may_hold(local := value.partition("@")[0]) and _BETWEEN.search(local.strip("._-+")):
            self._compare(local)  # anna.miller@… in a text as anna.miller; `info` alone names no person
        if "," in value and self._may_hold(turned := " ".join(reversed(value.split(",", 1)))):
            self._compare(turned)  # Miller, Anna in a text as Anna Miller
        if value.startswith("+") and self._may_hold(local := value[1 + COUNTRY_MAX :]):
            self._compare(local, is_id=is_id)  # +49 170 1234567 in a text as 0170 1234567

    def holds(self, text: str) -> bool:
        """Whether a text, or a name, holds one of the values that were seen."""
        return text in self._held

    def _may_hold(self, value: str) -> bool:
        """Whether any of all texts may hold this value; nearly always not, so this is what a comparison costs."""
        if value.isascii():  # as bytes, because their translation is the fastest way to leave characters out
            joined = value.encode().lower().translate(None, _BETWEEN_BYTES)
        else:
            joined = _Folded.of(value).joined.encode()
        return bool(joined) and joined in self._all

    def _compare(self, value: str, *, is_id: bool = False) -> None:
        if (value, is_id) in self._compared:
            return
        if len(self._compared) < KEPT_MAX:
            self._compared.add((value, is_id))
        wanted = _Folded.of(value)
        self._held |= {text for text, folded in self._texts.items() if _holds(folded, wanted, is_id=is_id)}
        if is_id:
            self._held |= {name for name, folded in self._names.items() if folded == wanted}


def _holds(text: _Folded, value: _Folded, *, is_id: bool) -> bool:
    size, is_ascii = len(value.joined), value.joined.isascii()
    if not is_ascii:  # Chinese has no spaces between words, and its names have two characters
        return (is_id or size > 1) and value.joined in text.joined
    if not is_id and _DATE.fullmatch(value.words):
        return False
    inside = INSIDE_MIN if is_id else NAME_MIN
    if size >= inside and (is_id or " " in value.words) and value.joined in text.joined:
        return True
    least = 1 if is_id else NUMBER_MIN if value.joined.isdigit() else WORD_MIN
    return size >= least and f" {value.words} " in f" {text.words} "
