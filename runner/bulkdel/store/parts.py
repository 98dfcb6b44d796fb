"""A file that grows, as objects of a store: each write is one, and their numbers are their order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from bulkdel.store.certain import Retrying


def part_name(number: int) -> str:
    """The name of an object."""
    return f"{number:012d}"


def parts_of(store: Retrying) -> Iterator[bytes]:
    """Yield the objects in their order, up to the first number that does not exist. Raises OSError."""
    for number in count(1):
        if (data := store.get(part_name(number))) is None:
            return
        yield data
