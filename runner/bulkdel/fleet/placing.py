"""The seam to what runs the processes of a run: this machine, or an engine that has several.

It has four verbs, and none of them is trusted with safety: an engine may place a shard twice, lose it, or say nothing.
What keeps a shard from being sent twice is the lock of its log, and what bounds the rate is its share.

1. `place` a shard: start its process, which is `bulkdel run` with the same words.
2. `poll` it: the lines that it has sent, until it ends.
3. `tell` it something: to drain, for example. Then it finishes what is on the wire and ends.
4. `keeper_address`: where the process finds the keeper of the rate.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from bulkdel.fleet.order import LINE_MAX, SHARD, Order
from bulkdel.http.shared_rate import ADDRESS, KeeperAddress
from bulkdel.output import say


class Placed(Protocol):
    """One placed process."""

    def poll(self) -> AsyncIterator[bytes]:
        """Each line that it sends, until it has ended, however that was."""
        ...

    def tell(self, line: bytes) -> None:
        """Tell it something. One that has ended does not hear it."""
        ...

    async def kill(self) -> None:
        """End it at once, as safe as a power failure: nothing of its log is lost."""
        ...


class Engine(Protocol):
    """What places processes. keeper_address: where they find the keeper of the rate."""

    @property
    def keeper_address(self) -> KeeperAddress:
        """For the processes, as seen from where they run."""
        ...

    async def place(self, order: Order) -> Placed:
        """Start the process of a shard. Raises OSError when it cannot be started."""
        ...


class LocalProcesses:
    """Processes on this machine. The log of a shard, the export and the keeper are where this process has them."""

    def __init__(
        self, words: Sequence[str], environ: Mapping[str, str], export: int, keeper_address: KeeperAddress
    ) -> None:
        """Take what all shards share. words: after `bulkdel`. export: the descriptor that they read."""
        self._words = words
        self._environ = environ
        self._export = export
        self.keeper_address = keeper_address

    async def place(self, order: Order) -> LocalProcess:
        """Start the process of a shard, in a session of its own: a Ctrl-C is for the process of the run."""
        ours, theirs = socket.socketpair()
        try:
            numbers = f"{theirs.fileno()} {self._export}"
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bulkdel", *self._words),
                env={**self._environ, ADDRESS: self.keeper_address.text, SHARD: numbers},
                pass_fds=(theirs.fileno(), self._export),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_MAX)
        writer.write(order.line())
        return LocalProcess(order.number, process, reader, writer)


class LocalProcess:
    """One process on this machine."""

    def __init__(
        self,
        number: int,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._number = number
        self._process = process
        self._reader = reader
        self._writer = writer
        self.pid = process.pid

    async def poll(self) -> AsyncIterator[bytes]:
        """Each line that it sends, until it has ended. What it prints is printed with the number of the shard."""
        printing = asyncio.create_task(self._print())
        try:
            with suppress(OSError, ValueError):  # torn by its end
                while (line := await self._reader.readline()).endswith(b"\n"):
                    yield line
            await self._process.wait()
            await printing
        finally:
            printing.cancel()
            self._writer.close()

    def tell(self, line: bytes) -> None:
        """Tell it something."""
        self._writer.write(line)

    async def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def _print(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None, "it is a pipe"
        with suppress(ValueError):  # a line without an end
            while line := await stderr.readline():
                say(f"shard {self._number}: {os.fsdecode(line).rstrip()}", "shard_said")
