"""One process on a node, as the run sees it: `placing.Placed`, over the calls of its actor.

This module does not import Ray, so it is tested
without.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from bulkdel.errors import NotAcceptable
from bulkdel.fleet.on_ray.actor import Parcel
from bulkdel.fleet.on_ray.relay import Item, Kind, Relay
from bulkdel.fleet.placing import Exited, Said, Stream
from bulkdel.http.shared_rate import KeeperAddress
from bulkdel.output import say

TELL_AGAIN_S = 0.5
"""Seconds before items whose call was lost are sent again."""


class Lost(OSError):
    """The actor or the head of the cluster has died, or does not answer. Its text is the reason."""


class Calls(Protocol):
    """The methods of an actor, each one call. They raise Lost. A call may arrive twice."""

    async def start(self, parcel: Parcel) -> str:
        """See `Actor`."""
        ...

    async def poll(self, after: int) -> Sequence[Item]:
        """See `Actor`."""
        ...

    async def tell(self, items: Sequence[Item]) -> None:
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
        self._on_end = ended
        self._relay = Relay(keeper.path)
        self._telling: asyncio.Task[None] | None = None
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
            self._telling = asyncio.create_task(self._tell_all())

    async def poll(self) -> AsyncIterator[Said | Exited]:
        """Yield its lines, and at last how it has ended."""
        try:
            while not self._lost:
                async for kind, key, line in self._relay.arrived(await self._calls.poll(self._relay.incoming.number)):
                    if kind is Kind.EXITED:
                        yield Exited(key, line)
                        return
                    yield Said(Stream(kind), line)
        except Lost as error:
            self._lose(error)
        yield Exited(None)

    def tell(self, line: bytes) -> None:
        """Tell it something over its channel."""
        self._relay.outgoing.add(Kind.CHANNEL, line)

    def signal(self, signum: int) -> None:
        """Send it a signal."""
        self._relay.outgoing.add(Kind.SIGNAL, key=signum)

    async def kill(self) -> None:
        """End it at once, as far as its node answers."""
        if self._ended:
            return
        self._ended = True
        if self._telling is not None:
            self._telling.cancel()
        self._relay.close()
        self._on_end(self._lost)
        await self._calls.kill()

    def _lose(self, error: Lost) -> None:
        self._lost = True
        if not self._ended:  # else its actor was killed here
            say(f"node {self._node} is lost: {error}", "node.lost", level="warning")

    async def _tell_all(self) -> None:
        """Send the items one call after the other, so that they arrive in their order. Ends with `kill`.

        The items of a lost call are sent again: their numbers say which of them have arrived.
        """
        sent = 0
        while True:
            items = await self._relay.outgoing.next(sent)
            try:
                await self._calls.tell(items)
            except Lost:  # `poll` notices a node that is lost
                await asyncio.sleep(TELL_AGAIN_S)
            else:
                sent = items[-1][0]
