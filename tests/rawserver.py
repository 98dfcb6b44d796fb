"""A server of raw bytes, so that the wire can be broken at any of them. Knows just enough HTTP to read a request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bulkdel.tasks import begin_accepted

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request as it arrived. headers: names in lower case. at: time.monotonic() when its last byte was there."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    at: float


class Peer:
    """One connection, from the server's side."""

    def __init__(self, server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    async def request(self) -> ReceivedRequest:
        """Read one request. Raises IncompleteReadError when the client has gone: the server takes that as the end."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        request = ReceivedRequest(method, target, headers, body, time.monotonic())
        self.server.requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, data: bytes, every_s: float) -> None:
        for byte in data:
            await self.send(bytes([byte]))
            await asyncio.sleep(every_s)

    async def stall(self) -> None:
        """Say nothing until the test ends."""
        await asyncio.Event().wait()

    def close(self) -> None:
        """End in order (FIN) after what was sent."""
        self.writer.close()

    def reset(self) -> None:
        """End with RST: what was not read yet is lost."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]
"""What happens on one connection, from accept to close."""


@dataclass(slots=True)
class RawServer:
    """Listens on loopback and runs `script` on every connection."""

    script: Script
    tls: ssl.SSLContext | None = None
    requests: list[ReceivedRequest] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _peers: list[tuple[asyncio.Task[None] | None, asyncio.StreamWriter]] = field(default_factory=list)
    _failures: list[Exception] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://localhost:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[RawServer]:
        """Serve while the block runs. A script that failed in a way of its own fails the test."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            await begin_accepted()
            server.close()
            tasks = [task for task, _ in self._peers if task is not None]
            for task, writer in self._peers:
                writer.transport.abort()
                if task is not None:
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for _ in range(3):  # a connection that was accepted at the last moment begins and ends in these turns
                await asyncio.sleep(0)
                for _, writer in self._peers:
                    writer.transport.abort()
            if sys.version_info >= (3, 13):
                server.abort_clients()  # also those whose TLS handshake has not ended
                await asyncio.sleep(0)
        if self._failures:
            raise self._failures[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._peers.append((asyncio.current_task(), writer))
        try:
            await self.script(Peer(self, reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        except Exception as error:  # noqa: BLE001 - kept for the test, which must fail by it
            self._failures.append(error)
        finally:
            writer.close()


def answer(
    body: bytes = b"{}", status: int = 200, headers: Mapping[str, str] | None = None, *, length: int | None = None
) -> bytes:
    """A whole answer with its Content-Length, or with another one. A header given replaces that of the same name."""
    fields = {"content-length": str(len(body) if length is None else length), **(headers or {})}
    if "transfer-encoding" in fields:
        del fields["content-length"]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode("latin-1") + body


def always(response: bytes) -> Script:
    """Answer every request with `response`, keeping the connection."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(response)

    return script


def once(response: bytes) -> Script:
    """Read one request, send these bytes, close in order."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(response)

    return script


def tunnel_to(port: Callable[[], int]) -> Script:
    """A proxy that connects each client to this port, whatever it asks for."""

    async def script(peer: Peer) -> None:
        await peer.request()
        reader, writer = await asyncio.open_connection("127.0.0.1", port())
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        try:
            await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))
        finally:
            writer.transport.abort()

    return script


def tls_context(name: str = "localhost") -> ssl.SSLContext:
    """TLS with the self-signed certificate for `name`: `localhost`, or `elsewhere`, which names another host."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(DATA / f"{name}.crt", DATA / f"{name}.key")
    return context
