"""Which ids a server may take for one another. Owns the fold for exclude lists, guards and requests.

A server may compare ids without case and accents, in another Unicode form or width, without characters that cannot be
seen, the domain of an address by its ASCII form, digits of any script by their values, a whole number by its value, a
UUID without its hyphens, and what is percent-encoded by what it means. This fold does all of that, so two ids with
different folds are two accounts for such a server. Where marks are vowels (Thai, Hindi), and for a Greek iota after a
long vowel, it takes more ids for one another than a server does: that protects more. Spaces inside an id count. It is
never used to look up, restore or create an account: see `IdType.forms`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import unquote

COUNTRY_CODE_MAX = 3
"""Digits of a country code, at most (ITU-T E.164)."""

_NO_DIGIT = re.compile(r"[^0-9]+")

_PREFIXED = r"00[1-9][0-9 ().-]{8,}|86[ -]?0*1[3-9](?:[ -]?[0-9]){9}"
"""A phone number with an international prefix in place of the plus, or one of mainland China without it."""

_INTERNATIONAL = re.compile(rf"\(?\+[0-9][0-9 ().-]{{5,}}|{_PREFIXED}")
"""A phone number with its country code, whatever the type of the id."""

_WHOLE = re.compile(r"([+-]?\d+)(?:\.0*)?")
WHOLE_MAX = 400
"""Characters of a whole number, at most. A longer text is no number of any server."""

_UUID = re.compile(
    r"(?:urn:uuid:)?[{(]?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})[)}]?"
)

_PLAIN_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\n"
_ODD_LINE = re.compile(
    rf"\n(?:(?:{_PREFIXED})\n|-?(?:0[0-9]+(?:\.0*)?|[0-9]+\.0*)\n|[{{(]|urn:|(?!{_PLAIN_UUID}){_UUID.pattern}\n)"
)
"""A line of ASCII text whose fold is not its lower case, or may not be."""

DECODINGS = 5
"""How often an id may be percent-encoded."""

_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that cannot be seen, besides those of the category Cf."""

_BASES = {"\u00e6": "ae", "\u0153": "oe", "\u00f0": "d", "\u00fe": "th", "\u0131": "i", "\u0237": "j", "\u014b": "n"}
_BASE = re.compile("LATIN SMALL LETTER ([A-Z]) WITH ")
"""Letters without a decomposition that a comparison without accents takes for others; the name of the rest says which:
LATIN SMALL LETTER O WITH STROKE."""

_IOTAS = re.compile("(?<=[\u03b1\u03b7\u03c9])\u03b9+")
"""An iota after alpha, eta or omega. Below the letter it is a mark, and its upper case stands behind the letter."""

TO_HIRAGANA = 0x60
_KATAKANA = frozenset(map(chr, range(0x30A1, 0x30F7)))
_SMALL = "ぁぃぅぇぉっゃゅょゎゕゖㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿ"
_SMALL_KANA = dict(zip(_SMALL, "あいうえおつやゆよわかけくしすとぬはひふへほむらりるれろ", strict=True))

_SUPPLEMENTARY = re.compile("[\U00010000-\U0010ffff]")
_ANY_SUPPLEMENTARY = "\U0001f363"
"""A comparison that knows no character beyond U+FFFF takes all of them for one."""

_ODD = ("xn--", "+", "%", ".\n", "-0\n")
"""An ASCII text, followed by a line feed, that has none of these folds to its lower case."""


def folded(id_: str) -> str:
    """Fold an id: the same text for all ids that a server may take for this one, but for country codes."""
    text = _text_of(id_)
    if (uuid := _UUID.fullmatch(text)) is not None:
        return "-".join(uuid.groups())
    number = _WHOLE.fullmatch(text) if len(text) <= WHOLE_MAX else None
    return text if number is None else str(int(number[1]))


def _text_of(id_: str) -> str:
    """The fold of an id as a text: a number and a UUID are as they were written."""
    text = _plain(id_)
    for _ in range(DECODINGS if "%" in text else 0):
        decoded = _plain(unquote(text))
        text = text if "\n" in decoded else decoded  # no set of ids holds a line feed
    local, at, domain = text.rpartition("@")
    if at:
        labels = domain.replace("\u3002", ".").rstrip(".").split(".")
        text = f"{local}@{'.'.join(map(_label, labels))}"
    return text


def _plain(text: str) -> str:
    return text.lower() if text.isascii() else _without_form(text)


def all_folded(ids: Sequence[str]) -> Sequence[str] | None:
    """The folds of many ids, in little time; None when one of them has to be folded alone."""
    text = "\n{}\n".format("\n".join(ids).lower())
    if not text.isascii() or any(odd in text for odd in _ODD) or _ODD_LINE.search(text):
        return None
    found = text[1:-1].split("\n")
    return found if len(found) == len(ids) else None


def spellings(id_: str) -> tuple[str, ...]:
    """The fold of an id of any type; for an international phone number, its forms, and those without a trunk zero."""
    text = _text_of(id_)
    if not _INTERNATIONAL.fullmatch(text):
        return (folded(id_),)
    forms = phone_forms(text)
    return (*forms, *without_trunk_zero(forms[0]))


def normal(id_: str) -> str:
    """The id with each character in its usual width, and each digit as that of ASCII."""
    return id_ if id_.isascii() else "".join(map(_digit, unicodedata.normalize("NFKC", id_)))


def phone_forms(id_: str) -> tuple[str, ...]:
    """The digits of a number, then what is left of them without a country code of 1, 2 or 3 digits.

    The plus, an international prefix `00` and a trunk prefix `0` come off first. So `+8613800000004`, `8613800000004`
    and `13800000004` may be one number; `+8613800000004` and `+113800000004` differ in their country codes. Zeros after
    the country code come off too: some countries keep one, so `+2250712345678` and `0712345678` may be one number.
    Spaces and hyphens do not count; only an `--id-pattern` lets them in.
    """
    digits = _NO_DIGIT.sub("", id_).lstrip("0")
    shortened = (digits[cut:].lstrip("0") for cut in range(1, COUNTRY_CODE_MAX + 1))
    return (digits, *filter(None, shortened))


def without_trunk_zero(digits: str) -> tuple[str, ...]:
    """A number without the zeros after a country code of 1, 2 or 3 digits; nothing for a text that is no number.

    So `+8601380000004` and `+861380000004` may be one number. Only here: a look-up does not compare so.
    """
    if "0" not in digits[1 : COUNTRY_CODE_MAX + 1] or not digits.isdecimal():
        return ()
    cuts = (cut for cut in range(1, COUNTRY_CODE_MAX + 1) if digits[cut : cut + 1] == "0")
    parts = ((digits[:cut], digits[cut:].lstrip("0")) for cut in cuts)
    return tuple(code + rest for code, rest in parts if rest)


def is_unseen(char: str) -> bool:
    """Whether a character cannot be seen: a mark of the format, a selector of a variant, a filler, a blank pattern."""
    return unicodedata.category(char) == "Cf" or _UNSEEN.match(char) is not None


def _without_form(text: str) -> str:
    # The upper case first: it is the same for a dotless and a dotted i, of which one has no lower case of its own.
    small = _without_marks(_without_marks(text).upper().casefold())
    based = unicodedata.normalize("NFKC", _IOTAS.sub("", "".join(map(_base, small))))
    return _SUPPLEMENTARY.sub(_ANY_SUPPLEMENTARY, based)


def _without_marks(text: str) -> str:
    """The text without accents, other combining marks and the Arabic tatweel, and without what cannot be seen."""
    apart = unicodedata.normalize("NFKD", text).replace("\u0640", "")
    return "".join(char for char in apart if unicodedata.category(char) != "Mn" and not is_unseen(char))


def _base(char: str) -> str:
    if char.isascii():
        return char
    if char in _KATAKANA:
        return _base(chr(ord(char) - TO_HIRAGANA))
    if char in _SMALL_KANA:
        return _SMALL_KANA[char]
    named = _BASE.match(unicodedata.name(char, ""))
    return named[1].lower() if named else _BASES.get(char, _digit(char))


def _digit(char: str) -> str:
    """A decimal digit of any script as that of ASCII; any other character as it is.

    One beyond U+FFFF stays: for a comparison that knows no such character, all of them are one.
    """
    value = unicodedata.decimal(char, None) if char <= "\uffff" else None
    return char if value is None else str(value)


def _label(label: str) -> str:
    """One label of a domain, an ASCII form (`xn--…`) as the text that it stands for."""
    if not label.startswith("xn--"):
        return label
    try:
        return _without_form(label[4:].encode("ascii").decode("punycode"))
    except (UnicodeError, OverflowError):
        return label
