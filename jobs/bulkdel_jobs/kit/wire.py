"""A server on 127.0.0.1 that keeps what a request was and answers what it is told: the far end of a fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree as ET

import orjson


class Received(NamedTuple):
    """One request as it arrived.

    target: path and query as they were sent. headers: by name in lower case.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def places(self) -> dict[str, str]:
        """Every value in the request by its place: a path segment, a query parameter, a value of the body; decoded."""
        path, _, query = self.target.partition("?")
        found = {f"path segment {at}": unquote(segment) for at, segment in enumerate(path.split("/")[1:], 1)}
        for at, (name, value) in enumerate(parse_qsl(query, keep_blank_values=True), 1):
            found[f"query {at}, {name}"] = value
        return found | {f"body{place}": value for place, value in _values(self.body, self.headers.get("content-type"))}


MakeAnswer = Callable[[Received], bytes]
"""The bytes to answer a request with. None of them: the connection is closed."""


@dataclass(slots=True)
class FaultServer:
    """Answers every request with `answer` and closes the connection. requests: everything that arrived."""

    url: str = ""
    answer: MakeAnswer = lambda _: reply(200)
    requests: list[Received] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.split("\r\n")
            method, target, _ = first.split(" ")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            received = Received(method, target, headers, body)
            self.requests.append(received)
            writer.write(self.answer(received))
            await writer.drain()
        writer.close()


@asynccontextmanager
async def fault_server() -> AsyncIterator[FaultServer]:
    """Serve on a free port while the context lasts."""
    server = FaultServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=2**24)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()


def reply(status: int, body: bytes = b"", *headers: tuple[str, str], missing: int = 0) -> bytes:
    """A whole response. missing: bytes of the body that it announces and does not have."""
    fields = (("content-length", str(len(body) + missing)), ("connection", "close"), *headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"HTTP/1.1 {status} Fault\r\n{head}\r\n".encode() + body


def _values(body: bytes, content_type: str | None) -> list[tuple[str, str]]:
    """The values of a body with their places: JSON, a form, XML; else the whole text."""
    kind = content_type or ""
    if "json" in kind:
        return list(_json_values(orjson.loads(body), "")) if body else []
    text = body.decode(errors="replace")
    if "form-urlencoded" in kind:
        return [(f" {at}, {name}", value) for at, (name, value) in enumerate(parse_qsl(text, keep_blank_values=True))]
    if "xml" in kind:
        elements = ET.fromstring(body).iter()  # noqa: S314 - the job's own request
        return [(f" element {at}", element.text or "") for at, element in enumerate(elements)]
    return [("", text)] if text else []


def _json_values(value: object, place: str) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        keys = [(f"{place}, name {at}", name) for at, name in enumerate(value)]
        return keys + [pair for at, each in enumerate(value.values()) for pair in _json_values(each, f"{place}/{at}")]
    if isinstance(value, list):
        return [pair for at, each in enumerate(value) for pair in _json_values(each, f"{place}/{at}")]
    return [(place, value if isinstance(value, str) else orjson.dumps(value).decode())]
