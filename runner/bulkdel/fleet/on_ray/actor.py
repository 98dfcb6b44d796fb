"""The actor on a node: it starts one process of this program and carries lines to it and from it.

The process knows no Ray. The actor starts it as `fleet.local` does, and opens a Unix socket at which it finds the
keeper of the rate. The actor decides nothing, and gets no secret: the process signs in with the environment and the
files of its node.

Every method is short and may be called twice. This module does not import Ray, so it is tested without.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

from bulkdel.errors import UsageError
from bulkdel.fleet.local import LocalProcess, LocalProcesses
from bulkdel.fleet.on_ray.relay import Item, Kind, Relay
from bulkdel.fleet.placing import Environment, Exited, Work
from bulkdel.fleet.rate_keeper import listening, socket_path
from bulkdel.http.shared_rate import KeeperAddress

POLL_S = 1.0
"""Seconds that a poll waits for an item."""

UNHEARD_S = 30.0
"""The process is killed when no poll has come for so long: the run has ended, or is cut off from this node."""

RAY = "RAY_"
"""Variables with this beginning are Ray's own, such as its token. The process does not get them."""


class Parcel(TypedDict):
    """`Work` on its way to a node. Only plain values, so that an actor of another version can read it.

    tool: the version of bulkdel that has to do it. environment: the members of `Environment`, without secrets. group:
    of the rate that the process shares. folder: in which it begins, if the node has this folder.
    """

    tool: str
    words: list[str]
    environment: dict[str, Any]
    group: str
    folder: str
    order: bytes | None


def parcel_of(work: Work) -> Parcel:
    """The work as it travels, without a secret. A node that lacks one of the secrets is refused."""
    return Parcel(
        tool=version("bulkdel"),
        words=[*work.words],
        environment=asdict(work.environment.elsewhere()),
        group=work.keeper.group,
        folder=str((work.folder or Path()).absolute()),
        order=work.order,
    )


class Actor:
    """The actor. The engine makes a Ray actor of it."""

    def __init__(self, unheard_s: float = UNHEARD_S) -> None:
        """unheard_s: see UNHEARD_S; a test gives less."""
        self._unheard_s = unheard_s
        self._relay = Relay()
        self._starting: asyncio.Task[str] | None = None
        self._process: LocalProcess | None = None
        self._polled_at = 0.0
        self._tasks = list[asyncio.Task[None]]()

    async def start(self, parcel: Parcel) -> str:
        """Start the process. Returns why it was not started; empty when it was.

        A second call starts nothing, and has the same answer.
        """
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(parcel))
        return await asyncio.shield(self._starting)

    async def poll(self, after: int) -> list[Item]:
        """The items with a number above `after`. Waits for one, but not for long."""
        self._polled_at = time.monotonic()
        with suppress(TimeoutError):
            return await asyncio.wait_for(self._relay.outgoing.next(after), POLL_S)
        return []

    async def tell(self, items: Iterable[Item]) -> None:
        """Take items. Those that have come before are dropped."""
        async for kind, key, line in self._relay.arrived(items):
            match kind:
                case Kind.CHANNEL if self._process is not None:
                    self._process.tell(line)
                case Kind.SIGNAL if self._process is not None:
                    self._process.signal(key)

    async def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            await self._process.kill()

    async def _start(self, parcel: Parcel) -> str:
        here = version("bulkdel")
        if parcel["tool"] != here:
            return f"has bulkdel {here}, and bulkdel {parcel['tool']} gives the order. Install the same on every node"
        try:
            async with AsyncExitStack() as stack:
                socket = stack.enter_context(socket_path())
                stack.callback(self._relay.close)
                await stack.enter_async_context(listening(socket, self._relay.accept))
                work = Work(
                    words=parcel["words"],
                    environment=Environment(**parcel["environment"]),
                    keeper=KeeperAddress(str(socket), parcel["group"]),
                    folder=_folder(parcel["folder"], socket.parent),
                    order=parcel["order"],
                )
                environ = {name: value for name, value in os.environ.items() if not name.startswith(RAY)}
                self._process = await LocalProcesses(environ).place(work)
                until_its_end = stack.pop_all()
        except (OSError, UsageError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            return f"cannot start a process: {reason}"
        self._polled_at = time.monotonic()  # before now nothing could be polled
        steps = self._carry(self._process, until_its_end), self._kill_unheard(self._process)
        self._tasks = [asyncio.create_task(step) for step in steps]
        return ""

    async def _carry(self, process: LocalProcess, until_its_end: AsyncExitStack) -> None:
        """Pass on the output of the process, until it has ended."""
        async for said in process.poll():
            match said:
                case Exited(code, result):
                    assert code is not None, "it ran on this machine"
                    await until_its_end.aclose()
                    self._relay.outgoing.add(Kind.EXITED, result, code)
                case _:
                    self._relay.outgoing.add(Kind(said.stream), said.line)

    async def _kill_unheard(self, process: LocalProcess) -> None:
        while self._polled_at + self._unheard_s > time.monotonic():  # noqa: ASYNC110 - nothing tells that no poll comes
            await asyncio.sleep(self._unheard_s / 10)
        await process.kill()


def _folder(wanted: str, otherwise: Path) -> Path:
    return Path(wanted) if Path(wanted).is_dir() else otherwise
