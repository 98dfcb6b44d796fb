"""A small S3 server that lies: as much of the protocol as obstore needs for a log, and a switch for each lie.

It speaks PUT with `If-None-Match: *`, GET, the list of a folder and uploads in pieces, and nothing else. What it holds
is the oracle: `objects`.
"""

from __future__ import annotations

import math
import random
import ssl
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from tests.rawserver import DATA

ERROR = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'

LIST = "<ListBucketResult><IsTruncated>false</IsTruncated>{names}</ListBucketResult>"
UPLOAD = "<{tag}><Bucket>bucket</Bucket><Key>k</Key><UploadId>1</UploadId><ETag>e</ETag></{tag}>"
LISTED = "<Contents><Key>{}</Key><LastModified>2026-11-26T08:00:00Z</LastModified><Size>1</Size></Contents>"


class Lie(Enum):
    """What a PUT is answered beside the truth."""

    LOST = "it has its effect, and the answer is lost"
    CUT = "it has no effect, and no answer"
    EXISTS = "it has its effect, and is answered 412: as a proxy that has repeated it"
    CONFLICT = "it has no effect, and is answered 409: another attempt is under way"
    BUSY = "it has no effect, and is answered 503"
    BROKEN = "it has its effect, and is answered 500"


class GetLie(Enum):
    """What a GET is answered in the place of the object."""

    BUSY = "503"
    CUT = "half of the object, and no more"
    LATE = "nothing for `slow_s`, and then the object"
    DENIED = "403"


PASSING = (GetLie.BUSY, GetLie.CUT, GetLie.LATE)
"""A read that is repeated succeeds after them."""


@dataclass(frozen=True)
class StoreSwitches:
    """What the server does from now on.

    shares: of the PUTs, by lie. get_shares: of the GETs. put_s: seconds that a PUT takes, the median. p99_s: that one
    in a hundred takes or more; 0: all take about `put_s`. slow: share of those that take `slow_s` longer. fences:
    whether `If-None-Match` is obeyed. down: every request is answered 503. bytes_s: bytes that go over the wire in
    a second, for all requests together; 0: all of them. lists: whether a list is answered, and not 403.
    """

    shares: Mapping[Lie, float] = field(default_factory=dict)
    get_shares: Mapping[GetLie, float] = field(default_factory=dict)
    put_s: float = 0.0
    p99_s: float = 0.0
    slow: float = 0.0
    slow_s: float = 2.0
    fences: bool = True
    down: bool = False
    bytes_s: float = 0.0
    lists: bool = True


class StoreServer:
    """The objects of a bucket, and what was asked. switches: may be replaced at any time.

    puts: by path. pieces: of uploads that have not ended. lies, get_lies: told so far. written: how often each object
    was given bytes; more than once only without a fence.
    """

    def __init__(self, url: str, chance: random.Random) -> None:
        self.url = url
        self.switches = StoreSwitches()
        self.objects: dict[str, bytes] = {}
        self.puts: Counter[str] = Counter()
        self.pieces: defaultdict[str, dict[int, bytes]] = defaultdict(dict)
        self.lies: Counter[Lie] = Counter()
        self.get_lies: Counter[GetLie] = Counter()
        self.written: Counter[str] = Counter()
        self.chance = chance
        self.lock = threading.Lock()
        self.wire = threading.Lock()

    def switch(self, **changes: Any) -> None:
        """Change what the server does."""
        self.switches = replace(self.switches, **changes)

    @property
    def environ(self) -> dict[str, str]:
        """The variables by which obstore finds the server. There is a secret in them that no output may have."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "eu-central-1",
        }

    def lines(self, prefix: str, after: int = 0) -> list[bytes]:
        """The lines of the log below a prefix with a number above `after`, up to the first that is missing."""
        found, number = [], after + 1
        while (line := self.objects.get(f"{prefix}/log/{number:012d}")) is not None:
            found.append(line)
            number += 1
        return found


P99_SIGMAS = 2.326
"""Standard deviations above the mean of a normal distribution that one value in a hundred exceeds."""
PIECE_S = 0.05
"""How often a piece of an object is sent where `bytes_s` is given."""
PRIVATE_CA = DATA / "store-ca.crt"
"""A certificate authority that no system trusts."""
SECRET = "wJalrXUtnFEMIexampleSECRET"


L = TypeVar("L", Lie, GetLie)


def _drawn(store: StoreServer, shares: Mapping[L, float], told: Counter[L]) -> L | None:
    """Draw the lie of one request, and count it."""
    draw = store.chance.random()
    for lie, share in shares.items():
        if draw < share:
            told[lie] += 1
            return lie
        draw -= share
    return None


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    store: StoreServer

    def do_PUT(self) -> None:
        length = int(self.headers["content-length"])
        body = b"".join(self.rfile.read(min(piece, length - start)) for start, piece in self._pieces(length))
        store, (name, _, query) = self.store, self.path.removeprefix("/bucket/").partition("?")
        switches = store.switches
        with store.lock:
            store.puts[name] += 1
            lie, slow = _drawn(store, switches.shares, store.lies), store.chance.random() < switches.slow
        if (seconds := self._duration_s(switches)) > 0:
            time.sleep(seconds)
        if switches.down or lie is Lie.BUSY:
            self._answer(503, "SlowDown")
        elif lie is Lie.CUT:
            self.close_connection = True
        elif query:
            with store.lock:
                store.pieces[name][int(dict(parse_qsl(query))["partNumber"])] = body
            self._answer(200)
        elif lie is Lie.CONFLICT:
            self._answer(409, "ConditionalRequestConflict")
        else:
            with store.lock:
                created = name not in store.objects
                if created or not switches.fences or "if-none-match" not in self.headers:
                    store.objects[name] = body
                    store.written[name] += 1
                    created = True
            if slow:  # the effect is there, the answer is late
                time.sleep(switches.slow_s)
            if lie is Lie.LOST:
                self.close_connection = True
            elif lie is Lie.BROKEN:
                self._answer(500, "InternalError")
            elif not created or lie is Lie.EXISTS:
                self._answer(412, "PreconditionFailed")
            else:
                self._answer(200)

    def do_POST(self) -> None:
        """The begin and the end of an upload in pieces."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        store, (name, _, query) = self.store, self.path.removeprefix("/bucket/").partition("?")
        if query.startswith("uploads"):
            self._answer(200, body=UPLOAD.format(tag="InitiateMultipartUploadResult").encode())
            return
        with store.lock:
            store.objects[name] = b"".join(piece for _, piece in sorted(store.pieces.pop(name).items()))
        self._answer(200, body=UPLOAD.format(tag="CompleteMultipartUploadResult").encode())

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].removeprefix("/bucket").lstrip("/")
        store, switches = self.store, self.store.switches
        found = store.objects.get(name)
        with store.lock:
            lie = _drawn(store, switches.get_shares, store.get_lies)
        if lie is GetLie.LATE:
            time.sleep(switches.slow_s)
        if switches.down or lie is GetLie.BUSY:
            self._answer(503, "SlowDown")
        elif lie is GetLie.DENIED:
            self._answer(403, "AccessDenied")
        elif not name:
            self._list()
        elif lie is GetLie.CUT:
            self.close_connection = True
            if found is not None:
                self._answer(200, body=found[: len(found) // 2], length=len(found))
        elif found is None:
            self._answer(404, "NoSuchKey")
        else:
            self._answer(200, body=found)

    def _list(self) -> None:
        """A page of names below `prefix` behind `start-after`."""
        asked = dict(parse_qsl(self.path.partition("?")[2]))
        prefix, after = asked["prefix"], asked.get("start-after", "")
        names = [name for name in sorted(self.store.objects) if name.startswith(prefix) and name > after][:1_000]
        if self.store.switches.lists:
            self._answer(200, body=LIST.format(names="".join(map(LISTED.format, names))).encode())
        else:
            self._answer(403, "AccessDenied")

    def _duration_s(self, switches: StoreSwitches) -> float:
        """How long a PUT takes: by a log-normal distribution where `p99_s` is given."""
        chance = self.store.chance
        if not switches.p99_s:
            return switches.put_s * chance.uniform(0.85, 1.15)
        sigma = math.log(switches.p99_s / switches.put_s) / P99_SIGMAS
        return switches.put_s * chance.lognormvariate(0, sigma)

    def _answer(self, status: int, code: str = "", body: bytes | None = None, length: int | None = None) -> None:
        text = ERROR.format(code=code).encode() if body is None and status != 200 else body or b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(text) if length is None else length))
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Thu, 26 Nov 2026 08:00:00 GMT")
        self.end_headers()
        for start, piece in self._pieces(len(text)):
            self.wfile.write(text[start : start + piece])

    def _pieces(self, length: int) -> Iterator[tuple[int, int]]:
        """Yield where each piece of a body begins and its length, as fast as `bytes_s` allows."""
        rate = self.store.switches.bytes_s
        piece = int(rate * PIECE_S) or length
        for start in range(0, length, piece or 1):
            yield start, piece
            if rate:
                with self.store.wire:
                    time.sleep(PIECE_S)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A client that was killed or has given up."""


@contextmanager
def store_server(seed: int = 0, *, beside: StoreServer | None = None, tls: bool = False) -> Iterator[StoreServer]:
    """Serve a bucket named `bucket` until the block ends. tls: by https, with a certificate of `PRIVATE_CA`.

    beside: another way to the objects of this server. So a process can be cut off from them while another one is not.
    """
    handler = type("Request", (_Request,), {})
    server = _Server(("127.0.0.1", 0), handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(DATA / "store.crt", DATA / "store.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    store = StoreServer(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}", random.Random(seed))
    if beside is not None:
        store.objects, store.written, store.lock = beside.objects, beside.written, beside.lock
    handler.store = store  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
