"""Cutting ids for look-ups: a response that names an account must tell for which of the ids it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from bulkdel.core.id_type import IdSet, IdType

T = TypeVar("T")


def cut_apart(items: Iterable[T], size: int, id_type: IdType, id_of: Callable[[T], str]) -> Iterator[tuple[T, ...]]:
    """Cut into chunks of at most `size`. Two ids that may be the same account are never in one chunk."""
    chunk: list[T] = []
    met = IdSet(id_type)
    for item in items:
        id_ = id_of(item)
        if len(chunk) == size or met.meets(id_):
            yield tuple(chunk)
            chunk, met = [], IdSet(id_type)
        chunk.append(item)
        met.update([id_])
    if chunk:
        yield tuple(chunk)
