"""Duplicates, exact within a window. Owns the two sets that take turns; knows nothing of where ids come from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, count

WINDOW = 100_000
"""Ids within which a repetition is always found (design: about 20 MB; farther apart it is sent and counted again)."""


class DuplicateWindow:
    """Remembers the last `WINDOW` to `2 * WINDOW` different ids.

    Two sets that take turns: the young one fills up to `size` and then becomes the old one. An id among the last
    `size` ids is in one of them. The answer depends on the sequence alone, so that every pass over an export agrees.
    What is in the young set does not depend on the old one: a window that was empty where another one turned is like
    that other one from its next turn on.

    taken: ids so far. turned_at: how many of them had been taken when the sets last took turns; 0 before that.
    """

    __slots__ = ("_old", "_size", "_young", "taken", "turned_at")

    def __init__(self, size: int = WINDOW) -> None:
        self._size = size
        self._young: set[str] = set()
        self._old: set[str] = set()
        self.taken = 0
        self.turned_at = 0

    def repeated(self, keys: Sequence[str]) -> list[int]:
        """Take all of `keys`; return the indices of those that came before. As asking `seen` for one after the other.

        Nearly always they are all new, and fit the young set. That is found out, and they are remembered, by the sets'
        own loops: 6 instead of 16 µs for 50 ids (measured).
        """
        young, before = self._young, len(self._young)
        if before + len(keys) <= self._size and young.isdisjoint(keys) and self._old.isdisjoint(keys):
            young.update(keys)
            if len(young) == before + len(keys):
                self.taken += len(keys)
                self._turn()
                return []
            young.difference_update(keys)  # one of them is there twice, and none was in the set before
        return list(compress(count(), map(self.seen, keys)))

    def seen(self, key: str) -> bool:
        """Whether `key` came before, within the window. Remembers it."""
        self.taken += 1
        if key in self._young:
            return True
        known = key in self._old
        self._young.add(key)  # also when the old set knows it: the window runs from the latest occurrence
        self._turn()
        return known

    def _turn(self) -> None:
        if len(self._young) >= self._size:
            self._old, self._young = self._young, set()
            self.turned_at = self.taken
