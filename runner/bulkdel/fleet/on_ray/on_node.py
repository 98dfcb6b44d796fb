"""One process on a node, as the run sees it: `placing.Placed`, over the calls of its actor.

Lines of the process to the keeper of the rate are passed on here. This module does not import Ray, so it is tested
without.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Protocol

from bulkdel.errors import NotAcceptable
from bulkdel.fleet.on_ray.actor import Parcel
from bulkdel.fleet.on_ray.numbered_items import Incoming, Item, Kind, Outgoing, Plain
from bulkdel.fleet.placing import LINE_MAX, Exited, Said, Stream
from bulkdel.http.shared_rate import KeeperAddress
from bulkdel.output import say

TELL_AGAIN_S = 0.5
"""Seconds before items whose call was lost are sent again."""


class Lost(Exception):
    """The actor has died, or does not answer. Its text is the reason."""


class Calls(Protocol):
    """The methods of an actor, each one call. They raise Lost. A call may arrive twice."""

    async def start(self, parcel: Parcel) -> str:
        """See `Actor`."""
        ...

    async def poll(self, after: int) -> Sequence[Plain]:
        """See `Actor`."""
        ...

    async def tell(self, items: Sequence[Plain]) -> None:
        """See `Actor`."""
        ...

    async def kill(self) -> None:
        """End the process and the actor, as far as they answer. Raises nothing."""
        ...


class OnNode:
    """One process on a node. See `placing.Placed`."""

    def __init__(self, calls: Calls, node: str, keeper: KeeperAddress, ended: Callable[[bool], object]) -> None:
        """node: its name, for messages. keeper: where this process finds it. ended: called with whether it was lost."""
        self._calls = calls
        self._node = node
        self._keeper = keeper
        self._on_end = ended
        self._outgoing = Outgoing()
        self._told = asyncio.Event()
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._tasks = set[asyncio.Task[None]]()
        self._lost = self._ended = False

    async def start(self, parcel: Parcel) -> None:
        """Start the process. If its node is lost, it counts as ended. Raises NotAcceptable when the node refuses."""
        try:
            failed = await self._calls.start(parcel)
        except Lost as error:
            self._lose(error)
        except BaseException:
            await self.kill()
            raise
        else:
            if failed:
                await self.kill()
                raise NotAcceptable(f"node {self._node} {failed}.")
            self._run(self._tell_all())

    async def poll(self) -> AsyncIterator[Said | Exited]:
        """Yield its lines, and at last how it has ended."""
        incoming = Incoming()
        while not self._lost:
            try:
                found = await self._calls.poll(incoming.number)
            except Lost as error:
                self._lose(error)
                break
            for item in incoming.fresh(found):
                match item.kind:
                    case Kind.RATE:
                        await self._to_keeper(item)
                    case Kind.RATE_END:
                        self._end_connection(item.key)
                    case Kind.EXITED:
                        yield Exited(item.key, item.line)
                        return
                    case _:
                        yield Said(Stream(item.kind), item.line)
        yield Exited(None)

    def tell(self, line: bytes) -> None:
        """Tell it something over its channel."""
        self._add(Kind.CHANNEL, line)

    def signal(self, signum: int) -> None:
        """Send it a signal."""
        self._add(Kind.SIGNAL, key=signum)

    async def kill(self) -> None:
        """End it at once, as far as its node answers."""
        if self._ended:
            return
        self._ended = True
        for task in self._tasks:
            task.cancel()
        for key in [*self._writers]:
            self._end_connection(key)
        self._on_end(self._lost)
        await self._calls.kill()

    def _lose(self, error: Lost) -> None:
        self._lost = True
        if self._ended:  # its actor was killed here
            return
        say(f"node {self._node} is lost: {error}", "node.lost", level="warning")

    def _add(self, kind: Kind, line: bytes = b"", key: int = 0) -> None:
        self._outgoing.add(kind, line, key)
        self._told.set()

    def _run(self, step: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell_all(self) -> None:
        """Send the items one call after the other, so that they arrive in their order. Ends with `kill`.

        The items of a lost call are sent again: their numbers say which of them have arrived.
        """
        sent = 0
        while True:
            await self._told.wait()
            self._told.clear()
            while items := self._outgoing.after(sent):
                try:
                    await self._calls.tell(items)
                except Lost:  # `poll` notices a node that is lost
                    await asyncio.sleep(TELL_AGAIN_S)
                else:
                    sent = items[-1][0]

    async def _to_keeper(self, item: Item) -> None:
        """Pass a line on to the keeper, over a connection of its own for each connection of the process."""
        if item.key not in self._writers:
            try:
                reader, writer = await asyncio.open_unix_connection(self._keeper.path, limit=LINE_MAX)
            except OSError:  # no file descriptor is left, or the keeper is gone: the process connects again
                self._add(Kind.RATE_END, key=item.key)
                return
            self._writers[item.key] = writer
            self._run(self._from_keeper(item.key, reader))
        self._writers[item.key].write(item.line)

    async def _from_keeper(self, key: int, reader: asyncio.StreamReader) -> None:
        with suppress(OSError, ValueError):  # torn by the end of the keeper
            while line := await reader.readline():
                self._add(Kind.RATE, line, key)
        self._add(Kind.RATE_END, key=key)

    def _end_connection(self, key: int) -> None:
        if (writer := self._writers.pop(key, None)) is not None:
            writer.close()
