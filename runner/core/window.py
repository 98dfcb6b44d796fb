"""Duplicates, exact within a window. Owns the two sets that take turns; knows nothing of where ids come from."""

from __future__ import annotations

WINDOW = 100_000
"""Ids within which a repetition is always found (design: about 20 MB; farther apart it is sent and counted again)."""


class DuplicateWindow:
    """Remembers the last `WINDOW` to `2 * WINDOW` different ids.

    Two sets that take turns: the young one fills up to `size` and then becomes the old one. An id among the last
    `size` ids is in one of them. The answer depends on the sequence alone, so that every pass over an export agrees.
    """

    __slots__ = ("_old", "_size", "_young")

    def __init__(self, size: int = WINDOW) -> None:
        self._size = size
        self._young: set[str] = set()
        self._old: set[str] = set()

    def seen(self, key: str) -> bool:
        """Whether `key` came before, within the window. Remembers it."""
        if key in self._young:
            return True
        known = key in self._old
        self._young.add(key)  # also when the old set knows it: the window runs from the latest occurrence
        if len(self._young) >= self._size:
            self._old, self._young = self._young, set()
        return known
