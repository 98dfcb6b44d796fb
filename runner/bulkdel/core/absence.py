"""What a look-up proves about an id that is not in its answer. Owns the rule about commas; asks nothing itself.

A look-up carries its ids in the query of a URL, and a server may split a value there at its commas: it then looks for
`a` and `b` where `a,b` was meant, and answers that there is no such account. Some servers split only a value that
stands alone, others each of many.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


def may_be_split(id_: str) -> bool:
    """Whether a server may take `id_` in a query for several ids."""
    return "," in id_


def unproven(asked: Sequence[str], found: Collection[str]) -> frozenset[str]:
    """The ids of one request whose absence from its answer proves nothing.

    All ids with a comma, when the answer has found none of them. When it has found one, this server does not split ids
    that are asked for in this way: then none.
    """
    commas = frozenset(filter(may_be_split, asked))
    return commas if commas.isdisjoint(found) else frozenset()
