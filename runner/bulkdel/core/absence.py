"""What a look-up proves about an id that is not in its response. Owns the rules about ids that may be misread.

A look-up carries its ids in a URL. In the query a server may split a value at its commas: it then looks for `a` and `b`
instead of `a,b`, and answers that no such account exists. Some servers split a value only when it is the only one,
others split every value.

In a path some characters are encoded. A proxy or a server may refuse an encoded slash as an unknown path, decode a path
twice, read `+` as a blank, or take UTF-8 for another encoding. It answers 404 then, and the account exists.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Sequence
from typing import NamedTuple

from bulkdel.core.bad_rows import with_article


class Misread(NamedTuple):
    """Why it proves nothing that a look-up does not find some ids. mark: what these ids have. why: the reason."""

    mark: str
    why: str

    @property
    def text(self) -> str:
        """The reason in full, without a full stop."""
        return f"Their ids have {self.mark}. A server may read such an id in a look-up as {self.why}"

    def control(self, id_type: str, noun: str) -> str:
        """What can be done about it. noun: what an id means."""
        account = f"{with_article(noun)} whose {id_type} has {self.mark}"
        return f"Create {account}, among the first that the API lists; look-ups must find it."


COMMAS = Misread("a comma", "two ids, so an empty response does not prove that it does not exist")
IN_PATH = Misread("a character such as / or +", "another id, so HTTP 404 does not prove that it does not exist")

_READ_BY_ALL = frozenset(string.ascii_letters + string.digits + "-._~!$&'()*,=:@")
"""The characters of a segment of a path that need no encoding, without `;` and `+`, which some servers take apart."""

_OTHER = "a character that is not ASCII"


def may_be_split(id_: str) -> bool:
    """Whether a server may take `id_` in a query for several ids."""
    return "," in id_


def marks_in_path(id_: str) -> frozenset[str]:
    """The characters of `id_` that a server may read otherwise in a path: all that are not ASCII count as one."""
    return frozenset(each if each.isascii() else _OTHER for each in {*id_} - _READ_BY_ALL)


def unproven(asked: Sequence[str], found: Collection[str]) -> frozenset[str]:
    """The ids of one request with several ids whose absence from its response proves nothing.

    Those are all ids with a comma, when the response holds none of them. When it holds one, this server does not split
    the ids of such a request: then there are none.
    """
    commas = frozenset(filter(may_be_split, asked))
    return commas if commas.isdisjoint(found) else frozenset()
