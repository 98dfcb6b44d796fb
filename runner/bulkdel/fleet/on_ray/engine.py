"""The engine that places processes on the nodes of a Ray cluster: one actor for each, on the node with the fewest.

An actor that has died, or that does not answer for SILENT_S, counts as lost, and so does its process. The run places
the work again, and the new process takes the log over. If the old process still lives, it gets no share of the rate any
more, and its lease ends with the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bulkdel.errors import NotAcceptable
from bulkdel.fleet.on_ray.actor import Actor, Parcel, parcel_of
from bulkdel.fleet.on_ray.cluster import Nodes, first_line, head_address, is_answered
from bulkdel.fleet.on_ray.head import HEAD_SILENT_S, Head, T, in_time
from bulkdel.fleet.on_ray.numbered_items import Plain
from bulkdel.fleet.on_ray.on_node import Lost, OnNode
from bulkdel.fleet.placing import Work
from bulkdel.output import say

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
        self._head = Head(_head_answers)
        self._actors = ray.remote(Actor)  # one for all: for each such class Ray puts its code on the head

    async def place(self, work: Work) -> OnNode:
        """Start a process on a node. One that refuses gets nothing of this run any more; another node is taken.

        Raises OSError when there is no node and when the head does not answer, NotAcceptable when each node that is
        alive has refused.
        """
        return await self._head.unless_failed(self._place(work))

    async def failed(self) -> str:
        """Wait until the head of the cluster has not answered for `head.HEAD_SILENT_S`, and say so."""
        return await self._head.failed()

    async def _place(self, work: Work) -> OnNode:
        while (node := self._nodes.next(await _asked(ray.nodes, HEAD_SILENT_S))) is not None:
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
        try:
            self._actor = await _asked(self._make, HEAD_SILENT_S)
        except OSError as error:
            raise Lost(str(error.strerror)) from error
        failed: str = await self._answer(START_S, "start", parcel)
        return failed

    async def poll(self, after: int) -> Sequence[Plain]:
        """The items with a number above `after`."""
        items: Sequence[Plain] = await self._answer(SILENT_S, "poll", after)
        return items

    async def tell(self, items: Sequence[Plain]) -> None:
        """Give it items."""
        await self._answer(SILENT_S, "tell", items)

    async def kill(self) -> None:
        """End the process and the actor."""
        if self._actor is None:
            return
        with suppress(Lost):
            await self._answer(KILL_S, "kill")
        with suppress(OSError):
            await _asked(partial(ray.kill, self._actor), KILL_S)

    async def _answer(self, seconds: float, method: str, *arguments: Any) -> Any:
        """The answer of a method. Raises Lost."""
        try:
            return await asyncio.wait_for(getattr(self._actor, method).remote(*arguments), seconds)
        except TimeoutError:
            raise Lost(f"no answer for {seconds:.0f} s") from None
        except ray.exceptions.RayError as error:
            raise Lost(first_line(error)) from error


async def _asked(call: Callable[[], T], seconds: float) -> T:
    """The result of a call that asks the head, and blocks until it answers. Raises OSError."""
    try:
        return await in_time(call, seconds)
    except TimeoutError:
        raise OSError(None, f"the head of the Ray cluster does not answer a request within {seconds:.0f} s") from None
    except ray.exceptions.RayError as error:
        raise OSError(None, first_line(error)) from error


async def _head_answers(seconds: float) -> bool:
    return await is_answered(head_address(), seconds)
