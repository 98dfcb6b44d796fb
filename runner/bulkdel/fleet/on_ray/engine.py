"""The engine that places processes on the nodes of a Ray cluster: one actor for each, on the node with the fewest.

An actor that has died, or that does not answer for SILENT_S, counts as lost, and so does its process. What placed it
places the work again, and the new process takes the log over. The old one, should it still live, gets no share of the
rate any more, and its licence to send ends with the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bulkdel.errors import NotAcceptable
from bulkdel.fleet.on_ray.actor import Actor, Parcel, Started
from bulkdel.fleet.on_ray.cluster import Nodes
from bulkdel.fleet.on_ray.lines import Incoming, Item, Kind, Outgoing
from bulkdel.fleet.placing import LINE_MAX, Exited, Said, Stream, Work
from bulkdel.http.shared_rate import KeeperAddress
from bulkdel.output import say

START_S = 60.0
"""So long an actor may take to start its process."""

SILENT_S = 10.0
"""An actor that does not answer for so long counts as lost. It answers each second."""

KILL_S = 1.0
"""So long is waited for a process to be killed. One that is lost may go on: nothing depends on its end."""

CALLS_AT_ONCE = 8
"""Calls that an actor serves at the same time: a poll waits for a second."""


class RayNodes:
    """Places processes on nodes. See `placing.Engine`."""

    def __init__(self) -> None:
        self._nodes = Nodes()

    async def place(self, work: Work) -> OnNode:
        """Start a process on a node. Raises OSError when there is no node, NotAcceptable when the node refuses."""
        parcel = Parcel(
            tool=version("bulkdel"),
            words=[*work.words],
            environment=asdict(replace(work.environment, secrets={})),
            group=work.keeper.group,
            folder=str(Path.cwd() if work.folder is None else work.folder.absolute()),
            order=work.order,
        )
        node = await asyncio.to_thread(self._nodes.next)
        if node is None:
            raise OSError(None, "no node of the Ray cluster is alive")
        placed = OnNode(node, self._nodes, work.keeper)
        await placed.start(parcel)
        return placed

    def leave(self) -> None:
        """End every process at once: its actor ends with this process, and it ends with its actor."""


class OnNode:
    """One process on a node, through its actor. See `placing.Placed`.

    What it sends to the keeper of the rate is passed on here.
    """

    def __init__(self, node: str, nodes: Nodes, keeper: KeeperAddress) -> None:
        """Ask for the actor. node: its id. keeper: where this process finds the keeper of the rate."""
        placed_at = NodeAffinitySchedulingStrategy(node, soft=False)
        options = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": CALLS_AT_ONCE}
        self._actor: Any = ray.remote(Actor).options(scheduling_strategy=placed_at, **options).remote()
        self._node = node
        self._nodes = nodes
        self._keeper = keeper
        self._outgoing = Outgoing()
        self._told = asyncio.Event()
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._tasks = set[asyncio.Task[None]]()
        self._lost = self._ended = False

    async def start(self, parcel: Parcel) -> None:
        """Start the process. One whose node is lost meanwhile has ended. Raises NotAcceptable when the node refuses."""
        try:
            started: Started = await asyncio.wait_for(self._actor.start.remote(parcel), START_S)
        except (ray.exceptions.RayError, TimeoutError) as error:
            self._lose(error)
        except BaseException:
            await self.kill()
            raise
        else:
            if started["failed"]:
                await self.kill()
                raise NotAcceptable(f"node {self._node[:12]} {started['failed']}.")
            self._run(self._tell_all())

    async def poll(self) -> AsyncIterator[Said | Exited]:
        """What it says, and how it has ended."""
        incoming = Incoming()
        while not self._lost:
            try:
                found = await asyncio.wait_for(self._actor.poll.remote(incoming.number), SILENT_S)
            except (ray.exceptions.RayError, TimeoutError) as error:
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
        self._nodes.ended(self._node, lost=self._lost)
        with suppress(ray.exceptions.RayError, TimeoutError):
            await asyncio.wait_for(self._actor.kill.remote(), KILL_S)
        with suppress(ray.exceptions.RayError):
            ray.kill(self._actor)

    def _lose(self, error: BaseException) -> None:
        self._lost = True
        text = "no answer" if isinstance(error, TimeoutError) else str(error).strip().partition("\n")[0]
        say(f"node {self._node[:12]} is lost: {text}", "node.lost", level="warning")

    def _add(self, kind: Kind, line: bytes = b"", key: int = 0) -> None:
        self._outgoing.add(kind, line, key)
        self._told.set()

    def _run(self, step: Any) -> None:
        task = asyncio.create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell_all(self) -> None:
        """Send the items one call after the other, so that they arrive in their order."""
        sent = 0
        with suppress(ray.exceptions.RayError):  # `poll` notices it too
            while True:
                await self._told.wait()
                self._told.clear()
                while items := self._outgoing.after(sent):
                    await self._actor.tell.remote(items)
                    sent = items[-1][0]

    async def _to_keeper(self, item: Item) -> None:
        """Pass a line on to the keeper, over a connection of its own for each connection of the process."""
        if item.key not in self._writers:
            reader, writer = await asyncio.open_unix_connection(self._keeper.path, limit=LINE_MAX)
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
