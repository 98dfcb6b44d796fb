"""The engine that places processes on the nodes of a Ray cluster: one actor for each, on the node with the fewest.

An actor that has died, or that does not answer for SILENT_S, counts as lost, and so does its process. What placed it
places the work again, and the new process takes the log over. The old one, should it still live, gets no share of the
rate any more, and its licence to send ends with the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bulkdel.errors import NotAcceptable
from bulkdel.fleet.on_ray.actor import Actor, Parcel, Started, parcel_of
from bulkdel.fleet.on_ray.cluster import Nodes, head_address, is_answered
from bulkdel.fleet.on_ray.lines import Plain
from bulkdel.fleet.on_ray.on_node import Lost, OnNode
from bulkdel.fleet.placing import Work
from bulkdel.output import say

START_S = 60.0
"""So long an actor may take to start its process."""

SILENT_S = 10.0
"""An actor that does not answer for so long counts as lost. It answers each second."""

KILL_S = 1.0
"""So long is waited for a process to be killed. One that is lost may go on: nothing depends on its end."""

HEAD_SILENT_S = 15.0
"""A head that does not answer for so long has failed. Ray ends this process after `cluster.RECONNECT_S`, wherever it is
and with exit code 1, so the run has to end before."""

HEAD_LOOK_S = 1.0
"""So often the head is asked."""

CALLS_AT_ONCE = 8
"""Calls that an actor serves at the same time: a poll waits for a second."""


class RayNodes:
    """Places processes on nodes. See `placing.Engine`."""

    def __init__(self) -> None:
        self._nodes = Nodes()

    async def place(self, work: Work) -> OnNode:
        """Start a process on a node. One that refuses gets nothing of this run any more; another node is taken.

        Raises OSError when there is no node, NotAcceptable when each that is alive has refused.
        """
        while (node := await asyncio.to_thread(self._nodes.next)) is not None:
            placed = OnNode(RayActor(node), node[:12], work.keeper, partial(self._nodes.ended, node))
            try:
                await placed.start(parcel_of(work))
            except NotAcceptable as error:
                say(f"{error} Nothing is placed on it.", "node.refused", level="warning")
                self._nodes.refuse(node, error)
            else:
                return placed
        raise self._nodes.refusal or OSError(None, "no node of the Ray cluster is alive")

    async def failed(self) -> str:
        """Wait until the head of the cluster has not answered for HEAD_SILENT_S, and say so."""
        clock, answered = time.monotonic, time.monotonic()
        while clock() < answered + HEAD_SILENT_S:
            await asyncio.sleep(HEAD_LOOK_S)
            if await is_answered(head_address(), HEAD_LOOK_S):
                answered = clock()
        return f"the head of the Ray cluster has not answered for {HEAD_SILENT_S:.0f} s"

    def leave(self) -> None:
        """End every process at once: its actor ends with this process, and it ends with its actor."""


class RayActor:
    """The calls of one actor. See `on_node.Calls`."""

    def __init__(self, node: str) -> None:
        """Ask for the actor. node: its id."""
        at = NodeAffinitySchedulingStrategy(node, soft=False)
        options = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": CALLS_AT_ONCE}
        self._actor: Any = ray.remote(Actor).options(scheduling_strategy=at, **options).remote()

    async def start(self, parcel: Parcel) -> Started:
        """Start the process."""
        started: Started = await _answer(self._actor.start.remote(parcel), START_S)
        return started

    async def poll(self, after: int) -> Sequence[Plain]:
        """The items with a number above `after`."""
        items: Sequence[Plain] = await _answer(self._actor.poll.remote(after), SILENT_S)
        return items

    async def tell(self, items: Sequence[Plain]) -> None:
        """Give it items."""
        await _answer(self._actor.tell.remote(items), SILENT_S)

    async def kill(self) -> None:
        """End the process and the actor."""
        with suppress(Lost):
            await _answer(self._actor.kill.remote(), KILL_S)
        with suppress(ray.exceptions.RayError):
            ray.kill(self._actor)


async def _answer(call: Any, seconds: float) -> Any:
    """The answer to a call. Raises Lost."""
    try:
        return await asyncio.wait_for(call, seconds)
    except TimeoutError:
        raise Lost(f"no answer for {seconds:.0f} s") from None
    except ray.exceptions.RayError as error:
        raise Lost(str(error).strip().partition("\n")[0]) from error
