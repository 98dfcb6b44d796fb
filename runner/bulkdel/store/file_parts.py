"""A file as objects of a store: each write is one, and their numbers are their order.

below: where they lie in the store, with a slash at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

from bulkdel.store.certain import Retrying


def part_name(number: int, below: str = "") -> str:
    """The name of an object."""
    return f"{below}{number:012d}"


PART_BYTES = 4 << 20
"""Bytes of one object."""


def put_parts(store: Retrying, parts: Iterable[bytes], below: str = "") -> None:
    """Create the objects in their order. Raises Taken and OSError."""
    for number, part in enumerate(parts, 1):
        store.create(part_name(number, below), part)


def parts_of(store: Retrying, below: str = "", first: int = 1) -> Iterator[bytes]:
    """Yield the objects in their order, up to the first number that does not exist. Raises OSError."""
    for number in count(first):
        if (data := store.get(part_name(number, below))) is None:
            return
        yield data
