"""Processes on this machine: they find the log, the export and the keeper of the rate at the paths of this process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from bulkdel.fleet.placing import LINE_MAX, SHARD, Exited, Said, Stream, Work
from bulkdel.http.shared_rate import ADDRESS
from bulkdel.parent import for_child, from_here

PROGRAM = (sys.executable, "-P", "-m", "bulkdel")
"""`-P`: Python loads no module from the folder in which a process begins, such as the folder of the export."""

READ_BYTES = 1 << 16

PART_MAX = 1 << 20
"""The most bytes of a line of stderr. A longer line comes in parts."""

RESULT_MAX = 16 << 20
"""Bytes of stdout that are read: a plan or a summary."""

WAITING_MAX = 1_000
"""The most lines that wait to be polled. With more, the process waits."""


class LocalProcesses:
    """Places processes on this machine."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Take the environment of this process."""
        self._environ = environ
        self._processes: list[asyncio.subprocess.Process] = []

    async def place(self, work: Work) -> LocalProcess:
        """Start a process, in a session of its own: a Ctrl-C on the terminal is for this process."""
        environ = {**work.environment.made(self._environ), ADDRESS: work.keeper.text, **for_child()}
        if work.order is None:
            return LocalProcess(await self._start(work, environ))
        ours, theirs = socket.socketpair()
        try:
            process = await self._start(work, {**environ, SHARD: str(theirs.fileno())}, theirs.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_MAX)
        writer.write(work.order)
        return LocalProcess(process, reader, writer)

    async def failed(self) -> str:
        """Never return: this machine fails only together with this process."""
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await never

    def leave(self) -> None:
        """End every process at once."""
        for process in self._processes:
            if process.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process.pid, signal.SIGKILL)

    async def _start(self, work: Work, environ: Mapping[str, str], *descriptors: int) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(*PROGRAM, *work.words),
            cwd=work.folder,
            env=environ if work.folder is None else from_here(environ),
            pass_fds=descriptors,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._processes = [*(each for each in self._processes if each.returncode is None), process]
        return process


class LocalProcess:
    """One process on this machine."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader | None = None,
        writer: asyncio.StreamWriter | None = None,
    ) -> None:
        """Take a process that has just started. reader, writer: of its channel."""
        self._process = process
        self._reader = reader
        self._writer = writer

    async def poll(self) -> AsyncIterator[Said | Exited]:
        """What it says, until it has ended."""
        said = asyncio.Queue[Said | Exited](WAITING_MAX)
        reading = asyncio.create_task(self._read(said))
        try:
            while not isinstance(each := await said.get(), Exited):
                yield each
            yield each
        finally:
            reading.cancel()
            if self._writer is not None:
                self._writer.close()

    def tell(self, line: bytes) -> None:
        """Tell it something."""
        if self._writer is not None:
            self._writer.write(line)

    def signal(self, signum: int) -> None:
        """Send it a signal."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signum)

    async def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)
        await self._process.wait()

    async def _read(self, said: asyncio.Queue[Said | Exited]) -> None:
        """Read all that it says, and how it ends."""
        process = self._process
        assert process.stdout is not None, "it is a pipe"
        assert process.stderr is not None, "it is a pipe"

        async def listen(stream: Stream, reader: asyncio.StreamReader, part_max: int) -> None:
            async for line in _lines(reader, part_max):
                await said.put(Said(stream, line))

        listening = [listen(Stream.STDERR, process.stderr, PART_MAX)]
        if self._reader is not None:
            listening.append(listen(Stream.CHANNEL, self._reader, LINE_MAX))
        result, _ = await asyncio.gather(_last_line(process.stdout), asyncio.gather(*listening))
        await said.put(Exited(await process.wait(), result))


async def _lines(reader: asyncio.StreamReader, part_max: int) -> AsyncIterator[bytes]:
    """The lines of a stream, until its end. part_max: bytes of a line; a longer one comes in parts."""
    rest = b""
    with suppress(OSError):  # torn by the end of the process
        while part := await reader.read(READ_BYTES):
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                yield line + b"\n"
            if len(rest) >= part_max:
                yield rest
                rest = b""
    if rest:
        yield rest


async def _last_line(reader: asyncio.StreamReader) -> bytes:
    out = bytearray()
    while part := await reader.read(READ_BYTES):
        if len(out) < RESULT_MAX:
            out += part
    *_, last = bytes(out).splitlines() or [b""]
    return last
