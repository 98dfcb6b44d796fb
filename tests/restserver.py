"""A small HTTP server on a thread: for jobs of APIs without a sandbox, for notifications, for objects at an address.

A test subclasses `Api` and answers each request; a path arrives as its segments, each decoded once. A careless server,
or a proxy before a server, decodes the whole path and resolves its dots and double slashes before it splits it. What an
API counts of its effects is the oracle.
"""

from __future__ import annotations

import json
import posixpath
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from tests.rawserver import tls_context


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


class Cut(NamedTuple):
    """A body of which `after` bytes come; then the connection ends, or with `stall` stays silent."""

    body: bytes
    after: int
    stall: bool = False


Answer = tuple[int, Any] | tuple[int, Any, Mapping[str, str]] | None
"""Status, body (bytes and `Cut` as they are, None for none, else JSON), headers. None ends the connection."""

HANGS: Answer = (0, None)
"""No answer until the test is over, or for HANGS_S."""

HANGS_S = 60.0

PIECE_S = 0.05
"""How often a piece of a body is moved where `bytes_s` is given."""


@dataclass
class Api:
    """effects: how often the API did what to which id. asked: every request. careless: see the module.

    bytes_s: bytes that go over the wire in a second, for all requests together; 0: all of them at once.
    """

    careless: bool = False
    effects: Counter[tuple[str, str]] = field(default_factory=Counter)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    bytes_s: float = 0.0
    turn: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self, asked: Asked) -> Answer:
        raise NotImplementedError

    def answered(self, asked: Asked) -> Answer:
        """Answer one request at a time."""
        with self.turn:
            self.asked.append(asked)
            return self.answer(asked)

    def count(self, method: str) -> int:
        return sum(each.method == method for each in self.asked)


Some = TypeVar("Some", bound=Api)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body follows its head at once, and not 40 ms later
    server: _Server

    def _any(self) -> None:
        api, parts = self.server.api, urlsplit(self.path)
        path = parts.path
        if api.careless:
            path = re.sub("/+", "/", posixpath.normpath(unquote(path)))
        length = int(self.headers.get("content-length", 0))
        asked = Asked(
            self.command,
            tuple(path.split("/")[1:] if api.careless else map(unquote, path.split("/")[1:])),
            parse_qs(parts.query, keep_blank_values=True),
            {name.lower(): value for name, value in self.headers.items()},
            b"".join(self.rfile.read(piece) for piece in self._pieces(length)),
            self.path,
        )
        answer = api.answered(asked)
        if answer is HANGS:
            api.over.wait(HANGS_S)
            answer = None
        if answer is None:
            self.close_connection = True
            return
        status, body, *more = answer
        self._send(status, body, more[0] if more else {})

    def _send(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        data = b"" if body is None else body if isinstance(body, bytes | Cut) else json.dumps(body).encode()
        whole, after, stall = data if isinstance(data, Cut) else Cut(data, len(data))
        fields = {} if status == 204 else {"content-length": str(len(whole))}
        self.send_response(status)
        for name, value in {**fields, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        sent = 0
        for piece in self._pieces(min(after, len(whole))):
            sent += self.wfile.write(whole[sent : sent + piece])
        if isinstance(data, Cut):
            self.close_connection = True
            self.server.api.over.wait(HANGS_S * stall)

    def _pieces(self, length: int) -> Iterator[int]:
        """Yield the lengths of the pieces of a body, as fast as the wire allows."""
        rate = self.server.api.bytes_s
        most = int(rate * PIECE_S) or length
        while length > 0:
            if rate:
                with self.server.wire:
                    time.sleep(PIECE_S)
            yield min(most, length)
            length -= most

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with fewer, some of many connections at once wait a second for their second try

    def __init__(self, api: Api, tls: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api
        self.wire = threading.Lock()
        if tls:  # the handshake is made by the thread of the connection, so that none holds up the others
            self.socket = tls_context(tls).wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the errors of the API. A client that has left, or refuses the certificate, is none."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextmanager
def served(api: Some, *, tls: str = "") -> Iterator[Some]:
    """Serve while the block runs. tls: by https, with the certificate of this name in data/."""
    with _Server(api, tls) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        api.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        try:
            yield api
        finally:
            api.over.set()
            server.shutdown()
            thread.join()
