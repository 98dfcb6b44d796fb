"""What a look-up proves about an id that is not in its response. Owns the rules about ids that may be misread.

A look-up carries its ids in a URL. In the query a server may split a value at its commas: it then looks for `a` and `b`
instead of `a,b`, and answers that no such account exists. Some servers split a value only when it is the only one,
others split every value. A server, or a proxy before it, may also read `+` as a blank, decode a value twice, take UTF-8
for another encoding, or write capital letters small.

In a path it may besides refuse an encoded character as an unknown path, and take what follows a dot for the name of a
format. It answers 404 then, and the account exists; or it means another account.

Such characters are the marks of an id. When a look-up does not find an id with marks, that proves its absence only if
the same response has an account whose id has the same marks; or if two look-ups do not find it, and after each of them
another one finds such an account. Where no other listed account has them, an earlier look-up counts, too. Capital
letters count as read where accounts are listed and none has one. A proof counts until listed accounts with the mark are
not found any more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import NamedTuple

from bulkdel.core.bad_rows import with_article


class Misread(NamedTuple):
    """Why an id that a look-up does not find may still exist.

    mark: what these ids have. why: the reason. same: what the id of a control has to have, to show how they are read.
    """

    mark: str
    why: str
    same: str = "the special characters of the ids of these rows"

    @property
    def text(self) -> str:
        """The reason in full, without a full stop."""
        return f"Their ids have {self.mark}. A server may read such an id in a look-up as {self.why}"

    def control(self, id_type: str, noun: str) -> str:
        """What can be done about it. noun: what an id means."""
        account = f"{with_article(noun)} whose {id_type} has {self.same}"
        return f"Create {account}, among the first that the API lists; look-ups must find it."


ODD_IN_PATH = "a dot, or a character other than letters, digits, hyphens, underscores and tildes"
"""The mark, in words, by which a server may take an id for another one in a path (`odd_in_path`)."""

IN_QUERY = Misread(
    "a comma, a capital letter, a plus or another character that a query has to encode",
    "another id or as two, so an empty response does not prove that it does not exist",
)
IN_PATH = Misread(
    f"a capital letter, {ODD_IN_PATH}",
    "another id, so HTTP 404 does not prove that it does not exist",
)

PLAIN_IN_PATH = r"A-Za-z0-9\-_~"
"""The characters that a URL never encodes, without the dot: a class of a pattern. No server misreads them in a path."""

_ODD_PATH_PART = re.compile(rf"%[0-9A-Fa-f]{{2}}|[^{PLAIN_IN_PATH}]")

_ODD_QUERY_PART = re.compile(r"%[0-9A-Fa-f]{2}|[^A-Za-z0-9\-._~@:/?,!*'()$]")
"""All but the characters that mean the same in a query when they are decoded once too often."""

_ENCODED = "an encoded character"
CAPITAL = "a capital letter"
_CAPITALS = re.compile("[A-Z]")

_LARGE_SCRIPTS = {script: script for script in ("CJK", "HANGUL", "HIRAGANA", "KATAKANA")} | {"IDEOGRAPHIC": "CJK"}
"""Scripts of so many characters that hardly two accounts have the same ones, by the first word of a character's name.
Those of one script that are as long in UTF-8 count as one."""


def may_be_split(id_: str) -> bool:
    """Whether a server may take `id_` in a query for several ids."""
    return "," in id_


def odd_in_path(id_: str) -> bool:
    """Whether `id_` has a character that a URL encodes, or a dot: a server may take it for another id in a path."""
    return _ODD_PATH_PART.search(id_) is not None


def marks_in_path(id_: str) -> frozenset[str]:
    """The marks of `id_` that a server may read otherwise in a path. All capital letters count as one mark."""
    return _capital(id_).union(map(_mark, _ODD_PATH_PART.findall(id_)))


def marks_in_query(id_: str) -> frozenset[str]:
    """The marks of `id_`, besides commas, that a server may read otherwise in a query."""
    return _capital(id_).union(map(_mark, _ODD_QUERY_PART.findall(id_)))


def perhaps_split(asked: Sequence[str], found: Collection[str]) -> frozenset[str]:
    """The ids of one request with several ids that may exist although its response lacks them.

    Those are all ids with a comma, when the response holds none of them. When it holds one, this server does not split
    the ids of such a request: then there are none.
    """
    commas = frozenset(filter(may_be_split, asked))
    return commas if commas.isdisjoint(found) else frozenset()


def _mark(piece: str) -> str:
    if piece.isascii():
        return piece if len(piece) == 1 else _ENCODED
    script = _LARGE_SCRIPTS.get(re.split("[ -]", unicodedata.name(piece, ""))[0])
    return piece if script is None else f"{script} of {len(piece.encode())} bytes"


def _capital(id_: str) -> frozenset[str]:
    return frozenset({CAPITAL}) if _CAPITALS.search(id_) else frozenset()
