"""What travels between an actor and the run: numbered items. Lines to the keeper of the rate are among them.

Ray may send a call twice, and an answer may be lost. So every item has a number. The sender keeps an item until the
other side has named its number or a higher one. The receiver drops an item with a number that it has seen.

A process connects to a socket at its actor. For each such connection the run connects to the keeper, and the lines pass
in both directions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from enum import StrEnum
from itertools import count

from bulkdel.fleet.placing import LINE_MAX

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
        self._numbers = count(1)
        self._added = asyncio.Event()

    def add(self, kind: Kind, line: bytes = b"", key: int = 0) -> None:
        """Add an item. It gets the next number."""
        self._items.append((next(self._numbers), str(kind), key, line))
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


class Relay:
    """One end of the way. The actor has the connections of the process, the run has those to the keeper.

    outgoing, incoming: the items to and from the other end.
    """

    def __init__(self, keeper: str = "") -> None:
        """keeper: the path of its socket, for the end that the run has."""
        self.outgoing = Outgoing()
        self.incoming = Incoming()
        self._keeper = keeper
        self._numbers = count(1)
        self._connections: dict[int, tuple[asyncio.StreamWriter, asyncio.Task[None]]] = {}

    async def arrived(self, items: Iterable[Item]) -> AsyncIterator[tuple[Kind, int, bytes]]:
        """Yield kind, key and line of the items that have not come before. Those of connections are acted on here.

        A line for a connection that has ended is dropped.
        """
        for _, kind, key, line in self.incoming.fresh(items):
            writer, _ = self._connections.get(key, (None, None))
            if kind == Kind.RATE_BEGIN:
                await self._connect(key)
            elif kind not in (Kind.RATE, Kind.RATE_END):
                yield Kind(kind), key, line
            elif writer is not None:
                if kind == Kind.RATE:
                    writer.write(line)
                else:
                    writer.close()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin a connection of the process."""
        key = next(self._numbers)
        self.outgoing.add(Kind.RATE_BEGIN, key=key)
        self._begin(key, reader, writer)

    def close(self) -> None:
        """End every connection."""
        for writer, _ in self._connections.values():
            writer.close()

    async def _connect(self, key: int) -> None:
        """Begin the connection to the keeper that belongs to a connection of the process."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._keeper, limit=LINE_MAX)
        except OSError:  # no file descriptor is left, or the keeper is gone: the process connects again
            self.outgoing.add(Kind.RATE_END, key=key)
        else:
            self._begin(key, reader, writer)

    def _begin(self, key: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry the lines of a connection to the other end, from now until the connection ends."""
        self._connections[key] = writer, asyncio.create_task(self._carry(key, reader))

    async def _carry(self, key: int, reader: asyncio.StreamReader) -> None:
        with suppress(OSError, ValueError):  # torn by the end of the process or of the keeper
            while line := await reader.readline():
                self.outgoing.add(Kind.RATE, line, key)
        self.outgoing.add(Kind.RATE_END, key=key)
        writer, _ = self._connections.pop(key)
        writer.close()
