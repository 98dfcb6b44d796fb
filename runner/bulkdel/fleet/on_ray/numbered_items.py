"""Numbered items between an actor and the process that placed it.

Ray may send a call twice, and an answer may be lost. So every item has a number. The sender keeps an item until the
other side has named its number or a higher one. The receiver drops an item with a number that it has seen.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from enum import StrEnum

ANSWER_BYTES = 4 << 20
"""Bytes of one answer, about: it ends with the item that reaches them."""


class Kind(StrEnum):
    """The kind of an item.

    CHANNEL: a line over the channel of a process. STDERR: a line of its stderr. EXITED: it has ended; `key` is its exit
    code, or below 0 a signal, and `line` is the last line of its stdout. SIGNAL: a signal for it; `key` is the number.

    RATE_BEGIN: it has connected to the keeper of the rate; `key` is the number of the connection. RATE: a line over
    that connection, in either direction. RATE_END: that connection has ended.
    """

    CHANNEL = "channel"
    STDERR = "stderr"
    EXITED = "exited"
    SIGNAL = "signal"
    RATE_BEGIN = "rate_begin"
    RATE = "rate"
    RATE_END = "rate_end"


Item = tuple[int, str, int, bytes]
"""Its number, its kind, `key` and `line`. Plain values, so that it can travel."""


class Outgoing:
    """The items that the other side has not confirmed."""

    def __init__(self) -> None:
        self._items = deque[Item]()
        self._last = 0
        self._added = asyncio.Event()

    def add(self, kind: Kind, line: bytes = b"", key: int = 0) -> None:
        """Add an item. It gets the next number."""
        self._last += 1
        self._items.append((self._last, str(kind), key, line))
        self._added.set()

    async def next(self, number: int) -> list[Item]:
        """The items with a higher number, once there is one; see `after`."""
        while not (found := self.after(number)):
            self._added.clear()
            await self._added.wait()
        return found

    def after(self, number: int) -> list[Item]:
        """The items with a higher number. Those up to `number` are confirmed, and forgotten."""
        while self._items and self._items[0][0] <= number:
            self._items.popleft()
        found, size = list[Item](), 0
        for item in self._items:
            found.append(item)
            size += len(item[-1])
            if size >= ANSWER_BYTES:
                break
        return found


class Incoming:
    """The items from the other side. number: of the last item."""

    def __init__(self) -> None:
        self.number = 0

    def fresh(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items that have not come before."""
        for item in items:
            if (number := item[0]) > self.number:
                self.number = number
                yield item
