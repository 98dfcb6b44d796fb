"""What a look-up proves about an id that is not in its response. Owns the rule about ids with a comma.

A look-up carries its ids in the query of a URL, and a server may split a value there at its commas: it then looks for
`a` and `b` instead of `a,b`, and answers that no such account exists. Some servers split a value only when it is the
only one, others split every value.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bulkdel.core.bad_rows import with_article

COMMAS = (
    "Their ids have a comma. A server may read such an id in a look-up as two ids, so an empty response does not prove "
    "that it does not exist"
)
"""Why rows remain although a look-up did not find them."""


def comma_control(id_type: str, noun: str) -> str:
    """What can be done about ids with a comma. noun: what an id means."""
    account = with_article(noun)
    return f"Create {account} whose {id_type} has a comma, among the first that the API lists; look-ups must find it."


def may_be_split(id_: str) -> bool:
    """Whether a server may take `id_` in a query for several ids."""
    return "," in id_


def unproven(asked: Sequence[str], found: Collection[str]) -> frozenset[str]:
    """The ids of one request whose absence from its response proves nothing.

    Those are all ids with a comma, when the response holds none of them. When it holds one, this server does not split
    the ids of such a request: then there are none.
    """
    commas = frozenset(filter(may_be_split, asked))
    return commas if commas.isdisjoint(found) else frozenset()
