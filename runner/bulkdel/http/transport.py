"""One attempt on the wire, over aiohttp. Owns the connections and what a fault of the network is called.

Every exception of aiohttp, ssl and the sockets is translated here and nowhere else. Must never know what a status or a
body means, nor try anything twice. What it says about a fault names no id, no address and no credential.

Of aiohttp it takes the connector (addresses, TLS, proxies, keeping connections) and the reading of answers, not the
session. What a session adds is what must not happen here: it sends again after a disconnect, follows redirects, keeps
cookies, asks the environment and .netrc. And it costs three quarters of the time of a request (measured), for building
anew what is the same for every chunk. An attempt here is one write of bytes that were made once.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import re
import ssl
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace
from multidict import CIMultiDict
from yarl import URL

from bulkdel.core.decision import NoResponse, Request, Response, Setup
from bulkdel.core.retry import http_date_s
from bulkdel.errors import UsageError

KEEPALIVE_S = 4.0
"""Idle connections are dropped after this long: Node's servers close theirs after 5 s, and a request that crosses such
a close is lost although nothing is wrong."""

PREPARED_MAX = 64
"""Prepared beginnings of requests that are kept: a job has a handful of paths, and a run one token at a time."""

PROVISIONAL = frozenset(range(100, 200)) - {101}
"""Statuses that announce an answer. 101 is one: from there on the server speaks something else."""

GZIP = 16 + zlib.MAX_WBITS
"""zlib's way to ask for gzip."""

LOOK_SHARE = 0.05
"""How often is looked for attempts that take long, as a share of the shortest time-out: so much later it may end."""

NOBODY: list[Trace] = []
"""Who is told by aiohttp what happens to a connection."""

HEADERS = {
    "accept": "application/json",
    # Only what this module inflates itself, with a bound.
    "accept-encoding": "gzip",
    "user-agent": "bulkdel",
}


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """How to reach the server.

    host: base URL as `check_host` returns it. ca_file: PEM, trusted beside the system's own. proxy: `http://…` or None.
    total_s, connect_s, read_s: bounds for a whole attempt, for making a connection (proxy and TLS included) and for
    silence in between. body_max: bytes of an answer, as received and again once inflated.

    There is no bound for connections: each belongs to a request in flight, and the caller bounds those. A bound here
    would make requests queue where their time-outs are running already.
    """

    host: str
    ca_file: Path | None = None
    proxy: str | None = None
    total_s: float = 60.0
    connect_s: float = 10.0
    read_s: float = 30.0
    body_max: int = 16 * 1024 * 1024


def check_host(url: str) -> str:
    """Return the base URL in its normal form, without trailing slash. Raises UsageError: it must be safe to send to."""
    try:
        # yarl, not urllib: what is checked has to be what aiohttp will read.
        base = URL(url)
        port = base.port
    except ValueError as error:
        raise UsageError(f"--host {url!r} is not a URL ({error}): give one like https://api.example.com") from error
    host = base.host
    if base.scheme not in {"https", "http"} or not host or not url.isprintable():
        raise UsageError(f"--host {url!r} is not a URL: give one like https://api.example.com")
    if base.user is not None or base.password is not None:
        # Not shown: there is a secret in it.
        raise UsageError("--host carries a user name or password: credentials come from the environment or a file")
    if base.raw_query_string or base.raw_fragment or "?" in url or "#" in url:
        raise UsageError(f"--host {url!r} carries a query or fragment: give the base URL alone")
    if base.scheme == "http" and not _is_loopback(host):
        raise UsageError(f"--host {url!r} is not https: credentials would travel in the clear (http is for loopback)")
    normal = URL.build(scheme=base.scheme, host=host, port=None if base.is_default_port() else port, path=base.path)
    return str(normal).rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_proxy(proxy: str) -> str:
    try:
        url = URL(proxy)
        usable = url.scheme == "http" and bool(url.host)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("--proxy is not an http:// URL: give one like http://proxy.example.com:3128")
    return proxy


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    """The system's trust store and `ca_file`. There is no way to switch the checks off."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            reason = error.strerror if not isinstance(error, ssl.SSLError) else "no PEM certificate in it"
            raise UsageError(f"--ca-file {ca_file}: {reason}") from error
    return context


Field = tuple[str, str]

FRAMING = frozenset({"content-length", "transfer-encoding"})

_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What ends a header, or may be taken for its end: what stands behind it would be a header of another's making."""


def _written(fields: tuple[Field, ...]) -> bytes:
    """Header fields as they go out. Raises ValueError for one that would not stay one field."""
    if any(map(_UNSAFE.search, (text for field in fields for text in field))):
        raise ValueError("a control character in a header")  # not shown: it may be a credential
    if not FRAMING.isdisjoint(name.lower() for name, _ in fields):
        raise ValueError("how long a request is says the one who writes it")
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode()


class Transport:
    """Sends calls to one host. Use as an async context manager, in the loop that will send."""

    def __init__(self, options: TransportOptions) -> None:
        # A connection is a part of an attempt, which must not take longer than the whole.
        options = replace(options, connect_s=min(options.connect_s, options.total_s))
        self._options = options
        self._host = check_host(options.host)
        self._proxy = None if options.proxy is None else _check_proxy(options.proxy)
        # Loading what the system trusts takes 20 ms: on loopback nobody asks for it.
        self._tls = _tls(options.ca_file) if self._host.startswith("https:") or options.ca_file else True
        self._prepared_target = lru_cache(PREPARED_MAX)(self._target)
        self._prepared_fields = lru_cache(PREPARED_MAX)(self._fields)
        self._connecting = aiohttp.ClientTimeout(total=options.total_s, connect=options.connect_s)
        self._connector: aiohttp.TCPConnector | None = None
        self._door: aiohttp.ClientRequest
        self._loop: asyncio.AbstractEventLoop
        self._unarmed: dict[asyncio.Timeout, tuple[ResponseHandler, float]] = {}
        self._looking: asyncio.TimerHandle
        self._answered = False
        self.requests = 0
        """Attempts made so far."""
        self.ahead_s: int | None = None
        """How far the server's clock was ahead of ours at the latest answer with a Date (negative: behind)."""
        self._date: str | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._connector = aiohttp.TCPConnector(limit=0, ssl=self._tls, keepalive_timeout=KEEPALIVE_S)
        # Whom to connect to, in the form that a connector takes. It is never sent.
        self._door = aiohttp.ClientRequest(
            "GET",
            URL(self._host, encoded=True),
            headers=HEADERS,
            proxy=None if self._proxy is None else URL(self._proxy),
            loop=self._loop,
        )
        self._look()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connector, self._connector = self._connector, None
        if connector is not None:
            self._looking.cancel()
            await connector.close()

    async def send(self, call: Request, headers: Mapping[str, str]) -> Response | NoResponse:
        """Make exactly one attempt. Never raises for what the network or the server does."""
        if self._connector is None:
            raise RuntimeError("the wire was not entered")
        self.requests += 1
        until = self._loop.time() + self._options.total_s
        try:
            connection = await self._connector.connect(self._door, traces=NOBODY, timeout=self._connecting)
        except TimeoutError:
            return self._lost(aiohttp.ConnectionTimeoutError(), sent=False)
        except FAULTY as error:
            return self._lost(error, sent=False)
        try:
            async with asyncio.timeout(None) as scope:
                response = await self._exchange(connection, call, headers, scope, until)
        except FAULTY as error:
            return self._lost(error, sent=True)
        if self._proxy is not None and isinstance(response, Response) and response.status == PROXY_LOGIN:
            return self._lost_on_the_way(f"no connection: the proxy answered {PROXY_LOGIN}", Setup.PROXY)
        self._answered = self._answered or isinstance(response, Response)
        return response

    def _look(self) -> None:
        """Arm the time-outs of what has not been answered by now.

        Two timers for each request would be a fifth of its time (measured), and hardly any of them would ever end.
        """
        for scope, (protocol, until) in self._unarmed.items():
            scope.reschedule(until)
            protocol.read_timeout = self._options.read_s
            protocol.start_timeout()
        self._unarmed.clear()
        every_s = min(self._options.total_s, self._options.read_s) * LOOK_SHARE
        self._looking = self._loop.call_later(every_s, self._look)

    def _request(self, call: Request, headers: Mapping[str, str]) -> bytes:
        """The whole request as bytes."""
        target = self._target(call.path, call.query) if call.query else self._prepared_target(call.path)
        method, body = call.method.upper().encode(), call.body or b""
        fields = self._prepared_fields((*headers.items(),), json=call.body is not None)
        if call.body is None and method == b"GET":
            return b"%s %s HTTP/1.1\r\n%s\r\n" % (method, target, fields)
        return b"%s %s HTTP/1.1\r\n%scontent-length: %d\r\n\r\n%s" % (method, target, fields, len(body), body)

    def _target(self, path: str, query: tuple[Field, ...] = ()) -> bytes:
        """Everything but letters, digits and `-._~` is encoded: a `+` or `&` in an id must arrive as one."""
        target = f"{self._host}{path}"
        if query:
            target = f"{target}?{urlencode(query, quote_via=quote, safe='')}"
        # encoded: yarl would otherwise undo what it finds unnecessary.
        url = URL(target, encoded=True)
        return (str(url) if self._proxy and url.scheme == "http" else url.raw_path_qs).encode("ascii")

    def _fields(self, headers: tuple[Field, ...], *, json: bool) -> bytes:
        # The door's own are host, HEADERS, and what a connector adds for a proxy that asks for a password.
        merged = CIMultiDict(self._door.headers)
        if json:
            merged["content-type"] = "application/json"
        merged.update(headers)
        return _written(tuple(merged.items()))

    async def _exchange(
        self, connection: Connection, call: Request, headers: Mapping[str, str], scope: asyncio.Timeout, until: float
    ) -> Response | NoResponse:
        """Send `call` and read its answer, on a connection of its own for so long; to be ended by `scope`."""
        protocol, transport = connection.protocol, connection.transport
        response: Response | NoResponse | None = None
        try:
            if protocol is None or transport is None or transport.is_closing():
                return GONE
            protocol.set_response_params(
                read_until_eof=True,
                # aiohttp inflates gzip without a bound for the whole, and takes a torn end for a whole answer.
                auto_decompress=False,
            )
            if protocol.should_close:
                # An answer is there already (a 408 for an idle connection, an answer sent twice), to something else.
                # Taken for the answer to this, a chunk would be settled by that of another.
                return UNASKED
            transport.write(self._request(call, headers))
            self._unarmed[scope] = protocol, until
            message, content = await protocol.read()
            while message.code in PROVISIONAL:  # "go on", "wait": the answer is still to come
                protocol.start_timeout()  # if it is armed, aiohttp took this for the end and stopped it
                message, content = await protocol.read()
            response = await self._read(message, content)
            return response
        finally:
            if self._unarmed.pop(scope, None) is None and protocol is not None:
                protocol.read_timeout = None  # armed, perhaps when the answer was there already: not for the next one
                protocol.start_timeout()
            # After a part of an answer a connection cannot be used again; nor while one may be under way.
            if isinstance(response, Response):
                connection.release()
            else:
                if transport is not None:
                    transport.abort()  # closed in order, it would still send what nobody waits for any more
                connection.close()

    async def _read(self, message: RawResponseMessage, content: StreamReader) -> Response | NoResponse:
        """The answer, at most `body_max` bytes of its body in memory, before and after inflating."""
        bound = self._options.body_max
        parts: list[bytes] = []
        size = 0
        while part := await content.readany():
            size += len(part)
            if size > bound:
                return TOO_LARGE
            parts.append(part)
        body = b"".join(parts)
        encoding = message.headers.get("content-encoding", "identity").strip().lower()
        if body and encoding != "identity":
            if encoding not in {"gzip", "x-gzip"}:
                return NoResponse("answer in an encoding that was not asked for", sent=True)
            inflated = _inflate(body, bound)
            if isinstance(inflated, NoResponse):
                return inflated
            body = inflated
        headers = message.headers
        date = headers.get("date")
        if date is not None and date != self._date:  # a Date has whole seconds, so most answers repeat the one before
            self._date = date
            if (at := http_date_s(date.strip())) is not None:
                self.ahead_s = round(at - time.time())
        return Response(message.code, body, headers.get("retry-after"), date)

    def _lost(self, error: Exception, *, sent: bool) -> NoResponse:
        text = next(text for kinds, text in FAULTS if isinstance(error, kinds))
        if self._proxy is not None and not sent:
            text = THROUGH_PROXY.get(text, text)
        reason = text.format(options=self._options, fault=_fault(error))
        setup = _setup(error, proxied=self._proxy is not None)
        return NoResponse(reason, sent=True) if sent else self._lost_on_the_way(reason, setup)

    def _lost_on_the_way(self, reason: str, setup: Setup | None) -> NoResponse:
        """Nothing was sent. What has worked before is set up well: one bad node behind a load balancer may pass."""
        passing = self._answered and setup is not Setup.DESCRIPTORS
        return NoResponse(reason, sent=False, setup=None if passing else setup)


GONE = NoResponse("no connection: closed as soon as it was made", sent=False)
UNASKED = NoResponse("the connection held an answer to something else", sent=False)
TOO_LARGE = NoResponse("answer too large", sent=True)
GARBLED = NoResponse("answer broken off or garbled", sent=True)

FAULTY = (aiohttp.ClientError, HttpProcessingError, OSError, RuntimeError)
"""What aiohttp raises for a fault of the network. RuntimeError: its reader, for a connection that has gone."""

FAULTS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (aiohttp.ConnectionTimeoutError, "no connection within {options.connect_s:g} s"),
    (aiohttp.ClientConnectorCertificateError, "certificate not accepted: {fault}"),
    (aiohttp.ClientConnectorSSLError, "no connection: TLS handshake failed"),
    (aiohttp.ClientConnectorDNSError, "no connection: host name not found"),
    (aiohttp.ClientProxyConnectionError, "no connection to the proxy: {fault}"),
    (aiohttp.ClientHttpProxyError, "no connection: the proxy answered {fault}"),
    (aiohttp.ClientConnectorError, "no connection: {fault}"),
    (aiohttp.SocketTimeoutError, "no data for {options.read_s:g} s"),
    (TimeoutError, "no whole answer within {options.total_s:g} s"),
    (aiohttp.ServerDisconnectedError, "connection closed before an answer"),
    (aiohttp.ClientPayloadError, GARBLED.reason),
    ((aiohttp.ClientResponseError, HttpProcessingError), "answer is not HTTP"),
    (Exception, "connection lost: {fault}"),
)
"""What a fault is called; the first row that fits. The parents stand below their children."""

THROUGH_PROXY = {
    "no connection within {options.connect_s:g} s": "no connection through --proxy within {options.connect_s:g} s",
    "no connection: host name not found": "no connection to the proxy: host name not found",
    "connection closed before an answer": "no connection: the proxy hung up",
    "answer is not HTTP": "no connection: the answer of the proxy is not HTTP",
}
"""What some of them are called where there is a proxy: then only its name is looked up here."""

PROXY_LOGIN = 407
"""Only a proxy answers this status: it wants a user and a password."""

PROXY_PASSING = 500
"""From this status on a proxy could not reach the server, which may pass."""

CERTIFICATE = {
    9: Setup.DATES,  # not yet valid
    10: Setup.DATES,  # has expired
    62: Setup.HOST_NAME,
    64: Setup.HOST_NAME,  # of an IP address
}
"""What OpenSSL's codes of failed verification (X509_V_ERR_…) ask for; every other one: trust for the authority."""


def _setup(error: Exception, *, proxied: bool) -> Setup | None:
    """Say what is set up wrongly when this is raised for a first connection; None for what may pass."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            cause = error.certificate_error
            code = cause.verify_code if isinstance(cause, ssl.SSLCertVerificationError) else 0
            return CERTIFICATE.get(code, Setup.AUTHORITY)
        case aiohttp.ClientHttpProxyError():
            return Setup.PROXY if error.status < PROXY_PASSING else None
        case aiohttp.ClientProxyConnectionError():
            return Setup.PROXY
        case aiohttp.ClientConnectorDNSError() | aiohttp.ClientResponseError() | HttpProcessingError() if proxied:
            return Setup.PROXY
        case OSError() if error.errno in {errno.EMFILE, errno.ENFILE}:
            return Setup.DESCRIPTORS
    return None


def _inflate(body: bytes, bound: int) -> bytes | NoResponse:
    """Inflate one member of gzip to at most `bound` bytes; whatever follows it is not an answer."""
    inflater = zlib.decompressobj(GZIP)
    try:
        inflated = inflater.decompress(body, bound + 1)
    except zlib.error:
        return GARBLED
    if len(inflated) > bound:
        return TOO_LARGE
    return inflated if inflater.eof and not inflater.unused_data else GARBLED


def _fault(error: Exception) -> str:
    """The detail of a fault. An exception's own text differs between loops and carries addresses."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            cause = error.certificate_error
            return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else type(cause).__name__
        case aiohttp.ClientHttpProxyError():
            return str(error.status)
        case OSError() if error.errno:
            return os.strerror(error.errno)
    return type(error).__name__
