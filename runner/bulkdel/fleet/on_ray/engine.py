"""The engine that places processes on the nodes of a Ray cluster: one actor for each, on the node with the fewest.

An actor that has died, or that does not answer for SILENT_S, counts as lost, and so does its process. The run places
the work again, and the new process takes the log over. If the old process still lives, it gets no share of the rate any
more, and its lease ends with the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bulkdel.errors import NotAcceptable
from bulkdel.fleet.on_ray.actor import Actor, Parcel, parcel_of
from bulkdel.fleet.on_ray.cluster import HEAD_SILENT_S, Nodes, first_line, head_answers, silence_of_head
from bulkdel.fleet.on_ray.numbered_items import Item
from bulkdel.fleet.on_ray.on_node import Lost, OnNode
from bulkdel.fleet.placing import Work
from bulkdel.output import say
from bulkdel.threads import in_thread

T = TypeVar("T")

START_S = 60.0
"""Seconds that an actor may take to start its process."""

SILENT_S = 10.0
"""An actor that does not answer for so long counts as lost. It answers each second."""

KILL_S = 1.0
"""Seconds that a kill may take. A lost process may go on: nothing depends on its end."""

CALLS_AT_ONCE = 8
"""Calls that an actor serves at the same time: a poll waits for a second."""


class RayNodes:
    """Places processes on nodes. See `placing.Engine`."""

    def __init__(self) -> None:
        self._nodes = Nodes()
        self._actors = ray.remote(Actor)  # one for all: for each such class Ray puts its code on the head

    async def place(self, work: Work) -> OnNode:
        """Start a process on a node. One that refuses gets nothing of this run any more; another node is taken.

        Raises OSError when there is no node and when the head does not answer, NotAcceptable when each node that is
        alive has refused.
        """
        while (node := await self._next_node()) is not None:
            actor = RayActor(self._actors, node)
            placed = OnNode(actor, node[:12], work.keeper, partial(self._nodes.ended, node))
            try:
                await placed.start(parcel_of(work))
            except NotAcceptable as error:
                say(f"{error} Nothing is placed on it.", "node.refused", level="warning")
                self._nodes.refuse(node, error)
            else:
                return placed
        raise self._nodes.refusal or OSError(None, "no node of the Ray cluster is alive")

    async def _next_node(self) -> str | None:
        try:
            return self._nodes.next(await _ask_head(ray.nodes, HEAD_SILENT_S))
        except Lost as error:
            raise OSError(None, str(error)) from error

    async def failed(self) -> str:
        """Wait until the head of the cluster has not answered for `cluster.HEAD_SILENT_S`, and say so."""
        return await silence_of_head(head_answers)

    def leave(self) -> None:
        """End every process at once: its actor ends with this process, and it ends with its actor."""


class RayActor:
    """The calls of one actor. See `on_node.Calls`."""

    def __init__(self, actors: Any, node: str) -> None:
        """actors: makes an actor. node: the id of its node."""
        at = NodeAffinitySchedulingStrategy(node, soft=False)
        options = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": CALLS_AT_ONCE}
        self._make: Callable[[], Any] = actors.options(scheduling_strategy=at, **options).remote
        self._actor: Any = None

    async def start(self, parcel: Parcel) -> str:
        """Make the actor, and start the process."""
        self._actor = await _ask_head(self._make, HEAD_SILENT_S)
        failed: str = await self._ask(START_S, "start", parcel)
        return failed

    async def poll(self, after: int) -> Sequence[Item]:
        """The items with a number above `after`."""
        items: Sequence[Item] = await self._ask(SILENT_S, "poll", after)
        return items

    async def tell(self, items: Sequence[Item]) -> None:
        """Give it items."""
        await self._ask(SILENT_S, "tell", items)

    async def kill(self) -> None:
        """End the process and the actor."""
        if self._actor is None:
            return
        with suppress(Lost):
            await self._ask(KILL_S, "kill")
        with suppress(Lost):
            await _ask_head(partial(ray.kill, self._actor), KILL_S)

    async def _ask(self, seconds: float, method: str, *arguments: Any) -> Any:
        return await _answer(getattr(self._actor, method).remote(*arguments), seconds, "no answer for")


async def _ask_head(call: Callable[[], T], seconds: float) -> T:
    """The result of a call that asks the head, and blocks until it answers. One that never does holds nothing up."""
    asking = in_thread(call, lambda: None, stop_s=0)
    return await _answer(asking, seconds, "the head of the Ray cluster does not answer a request within")


async def _answer(asking: Awaitable[T], seconds: float, silent: str) -> T:
    """What is answered within so many seconds. silent: the reason when nothing is. Raises Lost."""
    try:
        return await asyncio.wait_for(asking, seconds)
    except TimeoutError:
        raise Lost(f"{silent} {seconds:.0f} s") from None
    except ray.exceptions.RayError as error:
        raise Lost(first_line(error)) from error
