"""The connections of a process on a node to the keeper of the rate: their lines travel as numbered items."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from bulkdel.fleet.on_ray.numbered_items import Kind, Outgoing


class Relay:
    """One end of the way: the actor has the connections of the process, the run has those to the keeper."""

    def __init__(self, outgoing: Outgoing) -> None:
        """outgoing: to the other end."""
        self._outgoing = outgoing
        self._connections: dict[int, tuple[asyncio.StreamWriter, asyncio.Task[None]]] = {}

    def begin(self, key: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry the lines of a connection to the other end, from now until the connection ends."""
        self._connections[key] = writer, asyncio.create_task(self._carry(key, reader))

    def write(self, key: int, line: bytes) -> None:
        """Write a line from the other end. It is dropped when the connection has ended."""
        if key in self._connections:
            self._connections[key][0].write(line)

    def end(self, key: int) -> None:
        """End a connection: it has ended at the other end."""
        if key in self._connections:
            self._connections[key][0].close()

    def close(self) -> None:
        """End every connection."""
        for key in self._connections:
            self.end(key)

    async def _carry(self, key: int, reader: asyncio.StreamReader) -> None:
        with suppress(OSError, ValueError):  # torn by the end of the process or of the keeper
            while line := await reader.readline():
                self._outgoing.add(Kind.RATE, line, key)
        self._outgoing.add(Kind.RATE_END, key=key)
        writer, _ = self._connections.pop(key)
        writer.close()
