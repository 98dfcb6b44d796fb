"""A server of objects that breaks where a test says: https for exports at an address, and enough of S3 for obstore.

The faults of a test are taken one a request, in order; then the server is sound. It keeps every request.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

from tests.rawserver import tls_context

DATE = "Thu, 26 Nov 2026 08:00:00 GMT"


@dataclass(frozen=True)
class Fault:
    """What is wrong with one response.

    after: bytes of the body that come; then the connection is closed, or with `stall` nothing more comes. status: in
    the place of the object, with these headers. length: added to the Content-Length. change: called before the
    request is looked at.
    """

    after: int | None = None
    stall: bool = False
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int = 0
    change: Callable[[], None] = lambda: None


SOUND = Fault()


@dataclass(frozen=True)
class Asked:
    """One request. headers: names in lower case."""

    path: str
    headers: Mapping[str, str]


class ObjectServer(ThreadingHTTPServer):
    """objects: their bytes by path. ranges, etags, dates, if_match: whether the server has these.

    zips: whether it compresses a whole object while it sends it; a part is that of the object itself.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, *, tls: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.objects: dict[str, bytes] = {}
        self.faults: deque[Fault] = deque()
        self.asked: list[Asked] = []
        self.ranges = self.etags = self.dates = self.if_match = True
        self.zips = False
        self.gone = threading.Event()
        self.tls = tls
        if tls:
            self.socket = tls_context().wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if tls else 'http'}://localhost:{self.server_port}"

    def put(self, path: str, data: bytes) -> str:
        """Put an object there. Returns its address."""
        self.objects[path] = data
        return f"{self.url}{path}"

    def meets(self, *faults: Fault) -> None:
        """The next responses."""
        self.faults.extend(faults)

    def starts(self) -> list[str]:
        """The ranges that were asked for, in order; "" for the whole."""
        return [asked.headers.get("range", "") for asked in self.asked]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has left is no error."""


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def at(self) -> ObjectServer:
        return cast("ObjectServer", self.server)

    def do_GET(self) -> None:
        served, path = self.at, self.path.partition("?")[0]
        served.asked.append(Asked(self.path, {name.lower(): value for name, value in self.headers.items()}))
        fault = served.faults.popleft() if served.faults else SOUND
        fault.change()
        self.close_connection = True
        if fault.status is not None:
            self._put(fault.status, fault.headers, b"")
            return
        data = served.objects.get(path)
        if data is None:
            self._put(404, {}, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        fields = {"etag": etag} if served.etags else {}
        fields |= {"last-modified": DATE} if served.dates else {}
        if served.if_match and self.headers.get("if-match") not in {None, etag}:
            self._put(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        start, wanted = 0, re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        if wanted is not None and served.ranges:
            start = int(wanted[1])
            if start >= len(data):
                self._put(416, {"content-range": f"bytes */{len(data)}"}, b"<Error/>")
                return
            fields["content-range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if served.zips and not start:
            fields["content-encoding"], data = "gzip", gzip.compress(data)
        self._put(206 if start else 200, fields, data[start:], fault)

    def _put(self, status: int, fields: Mapping[str, str], body: bytes, fault: Fault = SOUND) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body) + fault.length), **fields}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if fault.after is None else body[: fault.after])
        self.wfile.flush()
        if fault.stall:
            self.at.gone.wait(60)
        elif fault.after is not None:
            with suppress(OSError):  # as a connection that breaks: nothing says that this is the end
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def object_server(*, tls: bool = True, faults: Iterable[Fault] = ()) -> Iterator[ObjectServer]:
    """Serve while the block runs."""
    with ObjectServer(tls=tls) as served:
        served.meets(*faults)
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield served
        finally:
            served.gone.set()
            served.shutdown()
            thread.join()
