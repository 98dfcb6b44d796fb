"""A client of the live page that says exactly what a test wants: any name, any site, any bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """One answer. headers: by lower-case name. status: 0 when the connection was closed without one."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


def request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """The bytes of one request."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def connected(at: int | str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection. at: a port of 127.0.0.1, or the path of a Unix socket."""
    if isinstance(at, str):
        return await asyncio.open_unix_connection(at)
    return await asyncio.open_connection("127.0.0.1", at)


async def send(at: int | str, sent: bytes) -> Answer:
    """Send these bytes, and read until the connection is closed."""
    reader, writer = await connected(at)
    try:
        writer.write(sent)
        try:
            return answer_of(await reader.read())
        except ConnectionError:
            return Answer(0, {}, b"")
    finally:
        writer.close()


async def ask(at: int | str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """Send one request. headers: with `_` for `-`. `Host` is the page's own unless it is given."""
    given = {"Host": f"127.0.0.1:{at}" if isinstance(at, int) else "localhost"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        given = {**JSON, **given}
    return await send(at, request(method, path, given, b"" if body is None else json.dumps(body).encode()))


def answer_of(received: bytes) -> Answer:
    """Take an answer apart."""
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first.split()[1]) if first else 0, headers, body)


async def stream(port: int, path: str = "/events", **headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open the stream, as HTTP/1.0: then it is not cut into chunks. The head of the answer is read."""
    reader, writer = await connected(port)
    writer.write(request("GET", path, {"Host": f"localhost:{port}", **headers}).replace(b"HTTP/1.1", b"HTTP/1.0"))
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def event(reader: asyncio.StreamReader) -> tuple[str, Any]:
    """The next event of a stream: its name and its value."""
    block = await reader.readuntil(b"\n\n")
    fields = dict(line.split(": ", 1) for line in block.decode().splitlines() if line and not line.startswith("retry"))
    return fields["event"], json.loads(fields["data"])
