"""The engine that places processes on the nodes of a Ray cluster: one actor for each, on the node with the fewest.

An actor that has died, or that does not answer for SILENT_S, counts as lost, and so does its process. The run places
the work again, and the new process takes the log over. If the old process still lives, it gets no share of the rate any
more, and its lease ends with the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.fleet.on_ray import cluster
from bulkdel.fleet.on_ray.actor import Actor, Parcel, parcel_of
from bulkdel.fleet.on_ray.on_node import Lost, OnNode
from bulkdel.fleet.on_ray.relay import Item
from bulkdel.fleet.placing import Engine, Work
from bulkdel.output import say
from bulkdel.threads import in_thread

START_S = 60.0
"""Seconds that an actor may take to start its process."""

SILENT_S = 10.0
"""An actor that does not answer for so long counts as lost. It answers each second."""

KILL_S = 1.0
"""Seconds that a kill may take. A lost process may go on: nothing depends on its end."""

RECONNECT = ("RAY_gcs_rpc_server_reconnect_timeout_s", "3600")
"""Ray ends this process, with exit code 1, when the head has been away for so long; by default a minute. The run ends
before that, and its requests may finish."""


@contextmanager
def joined() -> Iterator[Engine]:
    """Be a driver of the cluster until the block ends. Gives the engine that places processes on its nodes.

    It blocks, and comes before the event loop. The cluster is that of RAY_ADDRESS, or the one that was started on this
    machine. Raises UsageError without a cluster, and for a cluster that takes requests without a token: anything that
    reaches it could run code beside the credentials.
    """
    cluster.check_reached(os.environ.get(cluster.ADDRESS, ""))
    logging.getLogger("ray").setLevel(logging.ERROR)
    at_sigterm = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault(*RECONNECT)
    if path := os.environ.get(cluster.TOKEN[1]):
        os.environ[cluster.TOKEN[1]] = os.path.realpath(path)
    try:
        with chdir("/"):  # Ray adds the folder of its driver to where every actor looks for modules
            ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UsageError(f"cannot join a Ray cluster: {cluster.first_line(error)}. {cluster.HOW_TO_START}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, at_sigterm)  # Ray has set its own
    try:
        head = str(ray.get_runtime_context().gcs_address)
        cluster.check_token_asked(head)
        with redirect_stdout(cast("TextIO", _OfMainThread(sys.stdout))):
            yield RayNodes(head)
    finally:
        # The result is printed already. Ray still prints what it has held back.
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            ray.shutdown()


class _OfMainThread:
    """Standard output for the main thread. A thread of Ray prints what happens to nodes there, between our results."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread() is not threading.main_thread():
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class RayNodes:
    """Places processes on nodes. See `placing.Engine`."""

    def __init__(self, head: str) -> None:
        """head: the address of the head of the cluster, HOST:PORT."""
        self._head = head
        self._nodes = cluster.Nodes()
        self._actors = ray.remote(Actor)  # one for all: for each such class Ray puts its code on the head

    async def place(self, work: Work) -> OnNode:
        """Start a process on a node. One that refuses gets nothing of this run any more; another node is taken.

        Raises OSError when there is no node and when the head does not answer, NotAcceptable when each node that is
        alive has refused.
        """
        while (node := self._nodes.next(await _ask_head(ray.nodes, cluster.HEAD_SILENT_S))) is not None:
            actor = RayActor(self._actors, node)
            placed = OnNode(actor, node[:12], work.keeper, partial(self._nodes.ended, node))
            try:
                await placed.start(parcel_of(work))
            except NotAcceptable as error:
                say(f"{error} Nothing is placed on it.", "node.refused", level="warning")
                self._nodes.refuse(node, error)
            else:
                return placed
        raise self._nodes.refusal or OSError("no node of the Ray cluster is alive")

    async def failed(self) -> str:
        """Wait until the head of the cluster has not answered for `cluster.HEAD_SILENT_S`, and say so."""
        return await cluster.silence_of_head(partial(cluster.head_answers, self._head))

    def leave(self) -> None:
        """End every process at once: its actor ends with this process, and it ends with its actor."""


class RayActor:
    """The calls of one actor. See `on_node.Calls`."""

    def __init__(self, actors: Any, node: str) -> None:
        """actors: makes an actor. node: the id of its node."""
        at = NodeAffinitySchedulingStrategy(node, soft=False)
        self._make: Callable[[], Any] = actors.options(scheduling_strategy=at, num_cpus=0).remote
        self._actor: Any = None

    async def start(self, parcel: Parcel) -> str:
        """Make the actor, and start the process."""
        self._actor = await _ask_head(self._make, cluster.HEAD_SILENT_S)
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


async def _ask_head(call: Callable[[], Any], seconds: float) -> Any:
    """The result of a call that asks the head, and blocks until it answers. One that never does holds nothing up."""
    asking = in_thread(call, lambda: None, stop_s=0)
    return await _answer(asking, seconds, "the head of the Ray cluster does not answer a request within")


async def _answer(asking: Awaitable[Any], seconds: float, silent: str) -> Any:
    """What is answered within so many seconds. silent: the reason when nothing is. Raises Lost."""
    try:
        return await asyncio.wait_for(asking, seconds)
    except TimeoutError:
        raise Lost(f"{silent} {seconds:.0f} s") from None
    except ray.exceptions.RayError as error:
        raise Lost(cluster.first_line(error)) from error
