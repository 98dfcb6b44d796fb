"""Numbered items between an actor and the process that placed it. Pure.

Ray may send a call twice, and an answer may be lost. So every item has a number. The sender keeps an item until the
other side has named its number or a higher one. The receiver drops an item with a number that it has seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

ANSWER_BYTES = 4 << 20
"""Bytes of one answer, about: it ends with the item that reaches them."""


class Kind(StrEnum):
    """The kind of an item."""

    CHANNEL = "channel"
    """A line over the channel of a process."""
    STDERR = "stderr"
    """A line of its stderr."""
    EXITED = "exited"
    """It has ended. `key` is its exit code, or below 0 a signal; `line` is the last line of its stdout."""
    SIGNAL = "signal"
    """A signal for it. `key` is the number of the signal."""
    RATE = "rate"
    """A line between it and the keeper of the rate. `key` is the number of the connection."""
    RATE_END = "rate_end"
    """That connection has ended."""


class Item(NamedTuple):
    """One item. It travels as a plain tuple."""

    number: int
    kind: str
    key: int
    line: bytes


Plain = tuple[int, str, int, bytes]
"""An item on its way."""


class Outgoing:
    """The items that the other side has not confirmed."""

    def __init__(self) -> None:
        self._items = deque[Item]()
        self._last = 0

    def add(self, kind: Kind, line: bytes = b"", key: int = 0) -> None:
        """Add an item. It gets the next number."""
        self._last += 1
        self._items.append(Item(self._last, str(kind), key, line))

    def after(self, number: int) -> list[Plain]:
        """The items with a higher number. Those up to `number` are confirmed, and forgotten."""
        while self._items and self._items[0].number <= number:
            self._items.popleft()
        found, size = list[Plain](), 0
        for item in self._items:
            found.append((item.number, item.kind, item.key, item.line))
            size += len(item.line)
            if size >= ANSWER_BYTES:
                break
        return found


class Incoming:
    """The items from the other side. number: of the last item."""

    def __init__(self) -> None:
        self.number = 0

    def fresh(self, items: Iterable[Plain]) -> Iterator[Item]:
        """Yield the items that have not come before."""
        for item in map(Item._make, items):
            if item.number > self.number:
                self.number = item.number
                yield item
