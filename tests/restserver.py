"""A small REST API on a thread, for jobs of APIs without a sandbox. Its own count of effects is the oracle.

A test subclasses `Api` and answers each request; a path arrives as its segments, each decoded once. A careless server,
or a proxy before a server, decodes the whole path and resolves its dots and double slashes before it splits it.
"""

from __future__ import annotations

import json
import posixpath
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request. path: its segments. headers: names in lower case. target: the path as it was sent."""

    method: str
    path: tuple[str, ...]
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    target: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = tuple[int, Any] | tuple[int, Any, Mapping[str, str]] | None
"""Status, body (bytes as they are, None for none, anything else as JSON), and headers. None closes the connection."""


@dataclass
class Api:
    """effects: how often the API did what to which id. asked: every request. careless: see the module."""

    careless: bool = False
    effects: Counter[tuple[str, str]] = field(default_factory=Counter)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def answer(self, asked: Asked) -> Answer:
        raise NotImplementedError

    def count(self, method: str) -> int:
        return sum(each.method == method for each in self.asked)


Some = TypeVar("Some", bound=Api)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment: else each answer waits 40 ms for a delayed ACK
    server: _Server

    def _any(self) -> None:
        api, parts = self.server.api, urlsplit(self.path)
        path = parts.path
        if api.careless:
            path = re.sub("/+", "/", posixpath.normpath(unquote(path)))
        asked = Asked(
            self.command,
            tuple(path.split("/")[1:] if api.careless else map(unquote, path.split("/")[1:])),
            parse_qs(parts.query, keep_blank_values=True),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(int(self.headers.get("content-length", 0))),
            self.path,
        )
        with self.server.turn:
            api.asked.append(asked)
            answer = api.answer(asked)
        if answer is None:
            self.close_connection = True
            return
        status, body, *more = answer
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (more[0] if more else {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(b"" if status == 204 else data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with fewer, some of many connections at once wait a second for their second try

    def __init__(self, api: Api) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api
        self.turn = threading.Lock()


@contextmanager
def served(api: Some) -> Iterator[Some]:
    """Serve while the block runs."""
    with _Server(api) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        api.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
