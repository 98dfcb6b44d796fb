"""A file that grows, as objects of a store: each write is one, and their numbers are their order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from bulkdel.store.certain import READ_S, Getter
from bulkdel.store.means import MEANS, Means
from bulkdel.store_path import StorePath


def part_name(number: int) -> str:
    """The name of an object."""
    return f"{number:012d}"


def parts_of(path: StorePath, means: Means = MEANS, patience_s: float = READ_S) -> Iterator[bytes]:
    """Yield the objects in their order, up to the first number that does not exist.

    patience_s: one that cannot be read is asked for again for so long. Raises OSError after that.
    """
    store = Getter(means.open(path), patience_s, means)
    for number in count(1):
        if (data := store.get(part_name(number))) is None:
            return
        yield data
