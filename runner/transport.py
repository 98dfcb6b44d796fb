"""One attempt on the wire, over aiohttp. Owns the session and what a fault of the network is called.

Every exception of aiohttp, ssl and the sockets is translated here and nowhere else. Must never know what a status or a
body means, nor try anything twice. What it says about a fault names no id, no address and no credential.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from yarl import URL

from runner.core.verdicts import Call, Lost, Reply
from runner.errors import UsageError

KEEPALIVE_S = 4.0
"""Idle connections are dropped after this long: Node's servers close theirs after 5 s, and a request that crosses such
a close is lost although nothing is wrong."""

PATHS_MAX = 64
"""Prepared URLs that are kept. A job has a handful of paths; ids belong into the query or the body."""

GZIP = 16 + zlib.MAX_WBITS
"""zlib's way to ask for gzip."""

SESSION_HEADERS = {
    "accept": "application/json",
    # Only what this module inflates itself, with a bound.
    "accept-encoding": "gzip",
    "user-agent": "bulkdel",
}


@dataclass(frozen=True, slots=True)
class WireOptions:
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


class _SentTwice(aiohttp.ClientError):
    """aiohttp was about to send one attempt again."""


class _Once:
    """Client middleware of one attempt.

    After a disconnect aiohttp sends a GET again, by itself: past the limiter, uncounted, and when that second attempt
    finds no connection it looks as if nothing had been sent at all.
    """

    __slots__ = ("_entered",)

    def __init__(self) -> None:
        self._entered = False

    async def __call__(self, request: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        if self._entered:
            raise _SentTwice
        self._entered = True
        return await handler(request)


class _Unasked(aiohttp.ClientError):
    """An answer lay in the connection before its request was on the way."""


class _Response(aiohttp.ClientResponse):
    """Never takes what came unasked (a 408 for an idle connection, an answer sent twice) for the answer to a request.

    aiohttp 3.14.5 gives it to the next request on that connection: a chunk would be settled by the answer to another.
    """

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        # Nothing has been read since the request was written: sending it does not give the loop a turn.
        if connection.protocol is not None and connection.protocol.should_close:
            raise _Unasked
        return await super().start(connection)


class Wire:
    """Sends calls to one host. Use as an async context manager, in the loop that will send."""

    def __init__(self, options: WireOptions) -> None:
        self._options = options
        self._host = check_host(options.host)
        self._proxy = None if options.proxy is None else _check_proxy(options.proxy)
        self._tls = _tls(options.ca_file)
        self._prepared = lru_cache(PATHS_MAX)(self._url)
        self._session: aiohttp.ClientSession | None = None
        self.requests = 0
        """Attempts made so far."""

    async def __aenter__(self) -> Self:
        options = self._options
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls, keepalive_timeout=KEEPALIVE_S),
            timeout=aiohttp.ClientTimeout(total=options.total_s, connect=options.connect_s, sock_read=options.read_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=SESSION_HEADERS,
            response_class=_Response,
            proxy=self._proxy,
            trust_env=False,
            # aiohttp inflates gzip without a bound for the whole, and takes a torn end for a whole answer.
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, call: Call, headers: Mapping[str, str]) -> Reply | Lost:
        """Make exactly one attempt. Never raises for what the network or the server does."""
        if self._session is None:
            raise RuntimeError("the wire was not entered")
        self.requests += 1
        try:
            response = await self._session.request(
                call.method,
                self._url(call.path, call.query) if call.query else self._prepared(call.path),
                data=None if call.body is None else aiohttp.BytesPayload(call.body, content_type="application/json"),
                headers=headers,
                allow_redirects=False,
                middlewares=(_Once(),),
            )
            try:
                body = await self._read(response)
            finally:
                # A whole answer has given its connection back already; after a part of one it cannot be used again.
                response.close()
        # RuntimeError: what aiohttp's reader raises for a connection that has gone.
        except (aiohttp.ClientError, HttpProcessingError, OSError, RuntimeError) as error:
            return self._lost(error)
        if isinstance(body, Lost):
            return body
        return Reply(response.status, body, response.headers.get("retry-after"))

    def _url(self, path: str, query: tuple[tuple[str, str], ...] = ()) -> URL:
        """Everything but letters, digits and `-._~` is encoded: a `+` or `&` in an id must arrive as one."""
        target = f"{self._host}{path}"
        if query:
            target = f"{target}?{urlencode(query, quote_via=quote, safe='')}"
        # encoded: yarl would otherwise undo what it finds unnecessary.
        return URL(target, encoded=True)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | Lost:
        """The body, at most `body_max` bytes of it in memory, before and after inflating."""
        bound = self._options.body_max
        parts: list[bytes] = []
        size = 0
        while part := await response.content.readany():
            size += len(part)
            if size > bound:
                return TOO_LARGE
            parts.append(part)
        body = b"".join(parts)
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding == "identity" or not body:
            return body
        if encoding not in {"gzip", "x-gzip"}:
            return Lost("answer in an encoding that was not asked for", sent=True)
        return _inflate(body, bound)

    def _lost(self, error: Exception) -> Lost:
        sent, text = next((sent, text) for kinds, sent, text in FAULTS if isinstance(error, kinds))
        return Lost(text.format(options=self._options, fault=_fault(error)), sent=sent)


TOO_LARGE = Lost("answer too large", sent=True)
GARBLED = Lost("answer broken off or garbled", sent=True)

FAULTS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], bool, str], ...] = (
    # Not sent: what aiohttp raises for nothing but making a connection. `_Once` keeps that so: a second attempt inside
    # the first could end like this after the first had been sent.
    (aiohttp.ConnectionTimeoutError, False, "no connection within {options.connect_s:g} s"),
    (aiohttp.ClientConnectorCertificateError, False, "certificate not accepted: {fault}"),
    (aiohttp.ClientConnectorSSLError, False, "no connection: TLS handshake failed"),
    (aiohttp.ClientConnectorDNSError, False, "no connection: host name not found"),
    (aiohttp.ClientProxyConnectionError, False, "no connection to the proxy: {fault}"),
    (aiohttp.ClientHttpProxyError, False, "no connection: the proxy answered {fault}"),
    (aiohttp.ClientConnectorError, False, "no connection: {fault}"),
    # Sent, or nobody can tell.
    (aiohttp.SocketTimeoutError, True, "no data for {options.read_s:g} s"),
    (TimeoutError, True, "no whole answer within {options.total_s:g} s"),
    ((aiohttp.ServerDisconnectedError, _SentTwice), True, "connection closed before an answer"),
    (_Unasked, True, "the connection held an answer to something else"),
    (aiohttp.ClientPayloadError, True, GARBLED.reason),
    ((aiohttp.ClientResponseError, HttpProcessingError), True, "answer is not HTTP"),
    (Exception, True, "connection lost: {fault}"),
)
"""What a fault is called; the first row that fits. The parents stand below their children."""


def _inflate(body: bytes, bound: int) -> bytes | Lost:
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
