"""Cutting ids for look-ups."""

from __future__ import annotations

from collections.abc import Sequence

from bulkdel.core.apart import cut_apart
from bulkdel.core.id_type import IdType


def cut(ids: Sequence[str], size: int, id_type: IdType) -> list[list[str]]:
    rows = cut_apart(enumerate(ids), size, id_type, lambda row: row[1])
    return [[id_ for _, id_ in chunk] for chunk in rows]


def test_no_two_ids_that_may_be_the_same_are_in_one_chunk() -> None:
    text = IdType("email", key=str.lower)
    assert cut(["a", "b", "A", "c", "d", "e", "e"], 3, text) == [["a", "b"], ["A", "c", "d"], ["e"], ["e"]]
    number = IdType("number", forms=lambda id_: (id_, id_[1:]))
    assert cut(["12", "2", "32", "1"], 9, number) == [["12"], ["2"], ["32", "1"]]
    assert cut([], 3, text) == []
