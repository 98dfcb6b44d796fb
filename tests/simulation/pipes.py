"""Unix sockets in virtual time: an event loop whose processes speak with each other over delayed pipes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from random import Random
from typing import Any

from tests.simulation.loop import TURN_S, SimulatedLoop

PROCESS: ContextVar[int | None] = ContextVar("PROCESS", default=None)
"""The process that connects, where one may be killed."""


class PipeLoop(SimulatedLoop):
    """A simulated loop with Unix sockets.

    delay_max_s: how long a message is under way, at most. Those of one direction stay in their order. rng: draws it.
    """

    def __init__(self, now: float, delay_max_s: float, rng: Random) -> None:
        super().__init__(now, lambda _: None)
        self._delay_max_s = delay_max_s
        self._rng = rng
        self._servers: dict[str, Callable[[], asyncio.BaseProtocol]] = {}
        self._pipes: list[tuple[int | None, Pipe]] = []  # each with the process that has connected

    async def create_unix_server(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], path: Any = None, **_: Any
    ) -> PipeServer:
        """Listen at a path."""
        self._servers[str(path)] = protocol_factory
        return PipeServer(lambda: self._servers.pop(str(path), None))

    async def create_unix_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], path: Any = None, **_: Any
    ) -> tuple[Pipe, asyncio.BaseProtocol]:
        """Connect to the one that listens at this path. Raises ConnectionRefusedError when none does."""
        await asyncio.sleep(self.delay_s())
        if str(path) not in self._servers:
            raise ConnectionRefusedError
        here, there = protocol_factory(), self._servers[str(path)]()
        near, far = Pipe(self, here), Pipe(self, there)
        near.join(far)
        far.join(near)
        self._pipes += [(PROCESS.get(), near), (None, far)]
        there.connection_made(far)
        here.connection_made(near)
        return near, here

    def listen_also(self, path: str, at: str) -> None:
        """Let what listens at this path listen at another one too."""
        self._servers[at] = self._servers[path]

    def delay_s(self) -> float:
        """How long the next message is under way."""
        return self._rng.random() * self._delay_max_s

    def break_pipes(self) -> None:
        """Every connection is lost."""
        for _, pipe in self._pipes:
            pipe.abort()
        self._pipes = []

    def kill(self, process: int) -> None:
        """This process says nothing more. What it has said arrives, and then the end of its connection."""
        for of, pipe in self._pipes:
            if of == process:
                pipe.close()


class PipeServer:
    """What `create_unix_server` returns. stop: ends it."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop

    def close(self) -> None:
        """Listen no more."""
        self._stop()


class Pipe(asyncio.Transport):
    """One end of a connection. protocol: what reads at this end."""

    def __init__(self, loop: PipeLoop, protocol: asyncio.BaseProtocol) -> None:
        super().__init__({"peername": str(Path("pipe"))})
        self._loop = loop
        self._protocol = protocol
        self._other: Pipe | None = None
        self._last_at = 0.0
        self._closing = self._lost = False

    def join(self, other: Pipe) -> None:
        """Join with the other end."""
        self._other = other

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send: it arrives later."""
        if not self._closing and self._other is not None:
            self._at_the_other(self._other.arrive, bytes(data))

    def arrive(self, data: bytes) -> None:
        """Something arrives at this end."""
        if not self._closing and not self._lost:
            self._protocol.data_received(data)  # type: ignore[attr-defined]

    def close(self) -> None:
        """End the connection, after what was written."""
        if self._closing:
            return
        self._closing = True
        self._loop.call_soon(self._lose)
        if self._other is not None:
            self._at_the_other(self._other.end)

    def end(self) -> None:
        """The other end has closed."""
        if not self._closing and not self._lost:
            self._protocol.eof_received()  # type: ignore[attr-defined]
            self.close()

    def abort(self) -> None:
        """The connection is lost at this end, with what is under way."""
        self._closing = True
        self._loop.call_soon(self._lose)

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """A reader is never too slow."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    def _at_the_other(self, step: Callable[..., None], *args: Any) -> None:
        # Timers of the same time have no order.
        self._last_at = max(self._last_at + TURN_S, self._loop.time() + self._loop.delay_s())
        self._loop.call_at(self._last_at, step, *args)

    def _lose(self) -> None:
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(None)
