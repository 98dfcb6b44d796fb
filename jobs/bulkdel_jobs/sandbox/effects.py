"""The count of what was really done, per kind and key. What is asked for again and changes nothing counts apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

Key = int | str | tuple[int, str]
"""What an effect happened to: a user's number; the code of a thing; or a user's number and what it got or lost."""


class Effects:
    """The effects on one pool. A kind is a word such as "suspended" or "kicked"."""

    def __init__(self) -> None:
        self._changed: defaultdict[str, Counter[Key]] = defaultdict(Counter)
        self._repeated: defaultdict[str, Counter[Key]] = defaultdict(Counter)

    def count(self, kind: str, key: Key, *, changed: bool) -> None:
        """Count one effect. changed: False where everything was already so."""
        (self._changed if changed else self._repeated)[kind][key] += 1

    def changed(self, kind: str) -> Mapping[Key, int]:
        """How many requests of this kind changed something, per key."""
        return self._changed.get(kind, {})

    def repeated(self, kind: str) -> Mapping[Key, int]:
        """How many requests of this kind were carried out and changed nothing, per key."""
        return self._repeated.get(kind, {})

    def kinds(self) -> set[str]:
        """Every kind that was counted."""
        return self._changed.keys() | self._repeated.keys()
