"""Duplicates, exact within a window. Owns the sets that take turns; knows nothing of where ids come from."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import compress, count

WINDOW = 100_000
"""Ids within which a repetition is always found (design; about 12 MB; farther apart it is sent and counted again)."""

OLDER = 6
"""Sets beside the one that fills. Two large sets, as in the design, remember twice the window at their fullest, which
only a long export needs; and a set of 17,000 has a quarter of the table of one of 20,000 (CPython doubles twice)."""


class DuplicateWindow:
    """Remembers the last `size` different ids, and a few more.

    Sets that take turns: the young one fills up to its share of `size` and becomes the latest of the older ones, and
    the oldest is dropped. An id among the last `size` ids is in one of them. The answer depends on the sequence alone,
    so that every pass over an export agrees. What is in the young set does not depend on the others: a window that was
    empty where another one had gone round is like that other one from when it has gone round itself.

    taken: ids so far. round_at: how many of them had been taken when all the older sets had last been replaced; 0
    before that.
    """

    __slots__ = ("_older", "_share", "_turns", "_young", "round_at", "taken")

    def __init__(self, size: int = WINDOW) -> None:
        self._share = -(-size // OLDER)
        self._young: set[str] = set()
        self._older: deque[set[str]] = deque(maxlen=OLDER)
        self._turns = 0
        self.taken = 0
        self.round_at = 0

    def repeated(self, keys: Sequence[str]) -> list[int]:
        """Take all of `keys`; return the indices of those that came before. As asking `seen` for one after the other.

        Nearly always they are all new, and fit the young set. That is found out, and they are remembered, by the sets'
        own loops: in half the time (measured).
        """
        young, before = self._young, len(self._young)
        if before + len(keys) <= self._share and all(some.isdisjoint(keys) for some in (young, *self._older)):
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
        known = any(key in older for older in self._older)
        self._young.add(key)  # also when an older set knows it: the window runs from the latest occurrence
        self._turn()
        return known

    def _turn(self) -> None:
        if len(self._young) >= self._share:
            self._older.append(self._young)
            self._young = set()
            self._turns += 1
            if self._turns % OLDER == 0:
                self.round_at = self.taken
