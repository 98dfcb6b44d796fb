"""The transport: one attempt of a request, over aiohttp's public `ClientSession`.

Every exception of aiohttp, ssl and the sockets is translated here and nowhere else. The transport never knows what a
status or a body means, and never tries anything twice. A reason that it gives for a fault names no id, no address and
no credential.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self
from urllib.parse import quote, urlencode

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from bulkdel.core.decision import NoResponse, Request, Response, Setup, fault_of
from bulkdel.core.retry import http_date_s
from bulkdel.errors import UsageError
from bulkdel.tls import trust

# Node's servers close an idle connection after 5 s. A request that crosses such a close is lost, so ours are closed
# before that.
KEEPALIVE_S = 4.0

# gzip alone: this module inflates it itself, with a bound. A cache on the way has to ask the server again: a guard
# compares what an account is now.
HEADERS = {
    "accept": "application/json",
    "accept-encoding": "gzip",
    "cache-control": "no-cache",
    "user-agent": "bulkdel",
}

GZIP = 16 + zlib.MAX_WBITS  # zlib's way to ask for gzip

FRAMING = frozenset({"content-length", "transfer-encoding"})

_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # may end a header, so that what follows becomes another one
_PATH = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")  # RFC 3986, section 3.3


class Transport(Protocol):
    """Where requests go: the network, or a simulation of it.

    requests: attempts made so far.
    ahead_s: how far the server's clock was ahead of ours at the latest response with a Date (negative: behind).
    fault: what was wrong with the latest response, or why there was none; see `fault_of`.
    """

    @property
    def fault(self) -> str:
        """In words; empty when the server responds."""
        ...

    @property
    def requests(self) -> int:
        """Attempts made so far."""
        ...

    @property
    def ahead_s(self) -> int | None:
        """Seconds; None before the first response with a Date."""
        ...

    async def send(self, request: Request, headers: Mapping[str, str]) -> Response | NoResponse:
        """Make exactly one attempt. Never raises for what the network or the server does."""
        ...


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """How to reach the server.

    host: base URL as `check_host` returns it. ca_file: PEM, trusted beside the system's own. proxy: `http://…` or None.
    It is not asked for a host without TLS.
    total_s, connect_s, read_s: bounds for a whole attempt, for making a connection (proxy and TLS included) and for
    silence in between. body_max: bytes of a body, as received and again once inflated.

    There is no bound for connections: each belongs to a request in flight, and the caller bounds those. A bound here
    would make requests queue where their time-outs are running already.
    """

    host: str
    ca_file: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    total_s: float = 60.0
    connect_s: float = 10.0
    read_s: float = 30.0
    body_max: int = 16 * 1024 * 1024


def check_host(url: str) -> str:
    """Return the base URL in its normal form, without trailing slash. Raises UsageError: it must be safe to send to."""
    try:
        # yarl, not urllib: what is checked has to be what aiohttp will read.
        base = URL(url)
        host, port = base.host or "", None if base.is_default_port() else base.port
        normal = URL.build(scheme=base.scheme, host=host, port=port, path=base.path)
        host.encode("idna")  # as its address is looked up
    except ValueError as error:
        raise UsageError(
            f"--host {url.rpartition('@')[2]!r} is not a URL ({error}): give one like https://api.example.com"
        ) from error
    if base.scheme not in {"https", "http"} or not host or not url.isprintable():
        raise UsageError(f"--host {url!r} is not a URL: give one like https://api.example.com")
    if base.user is not None or base.password is not None:
        # Not shown: there is a secret in it.
        raise UsageError("--host carries a user name or password: credentials come from the environment or a file")
    if base.raw_query_string or base.raw_fragment or "?" in url or "#" in url:
        raise UsageError("--host carries a query or fragment: give the base URL alone")
    if base.scheme == "http" and not is_loopback(url):
        raise UsageError(f"--host {url!r} is not https: credentials would travel in the clear (http is for loopback)")
    return str(normal).rstrip("/")


class NamedHost(NamedTuple):
    """A host that a base URL or a bare name names.

    name: as DNS has it, without a dot at its end. named_port: the port that the text names. port: the one that is
    asked, which the scheme says where none is named; None of a bare name.
    """

    name: str
    named_port: int | None
    port: int | None


def host_in(text: str) -> NamedHost:
    """The host in a base URL, or in a bare name. Raises ValueError for a text that names none.

    An address has one spelling: 10.1 and ::ffff:10.0.0.1 are 10.0.0.1.
    """
    url = URL(text if "://" in text else f"//{text}")
    if not url.raw_host:
        raise ValueError("no host")
    return NamedHost(_one_spelling(url.raw_host.rstrip(".").lower()), url.explicit_port, url.port)


def _one_spelling(host: str) -> str:
    """An address as it is usually written; a name as it is."""
    with contextlib.suppress(OSError):  # the system's own reading of 10.1 and 0x0a000001
        return socket.inet_ntoa(socket.inet_aton(host))
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        return str(getattr(address, "ipv4_mapped", None) or address)
    return host


def is_loopback(url: str) -> bool:
    """Whether a base URL names this machine."""
    host = URL(url).host or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
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


class _UnaskedResponse(aiohttp.ClientConnectionError):
    """Bytes lay on a connection before the request was written."""


class _Withheld(aiohttp.ClientConnectionError):
    """There is no lease to send. Nothing was written."""


def _sockets(may_send: Callable[[], bool]) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    """Make sockets that ask for the lease directly before a system call writes.

    A process can be stopped at any instant, also between the last look at its lease and its write. A shorter time
    between the two makes that rarer.
    """

    class Licensed(socket.socket):
        def send(self, data: Any, *flags: Any) -> int:
            if not may_send():
                raise ConnectionAbortedError("no lease to send")
            return super().send(data, *flags)

        def sendmsg(self, buffers: Any, *more: Any) -> int:
            if not may_send():
                raise ConnectionAbortedError("no lease to send")
            return super().sendmsg(buffers, *more)

    return lambda info: Licensed(info[0], info[1], info[2])


class _Connector(aiohttp.TCPConnector):
    """Gives a request its connection.

    A connection on which bytes wait already is dropped: a 408 for an idle connection, for example, or a response that
    was sent twice. These bytes would be taken for the response to the next request, and settle the wrong chunk.

    unconnected: requests that were not given a connection. Nothing of them was sent.
    """

    def __init__(self, may_send: Callable[[], bool], **options: Any) -> None:
        super().__init__(limit=0, keepalive_timeout=KEEPALIVE_S, socket_factory=_sockets(may_send), **options)
        self._may_send = may_send
        self.unconnected: set[aiohttp.ClientRequest] = set()

    async def connect(self, req: aiohttp.ClientRequest, *args: Any, **more: Any) -> aiohttp.connector.Connection:
        self.unconnected.add(req)
        connection = await super().connect(req, *args, **more)
        # The one name here that aiohttp does not document. aiohttp looks at it when a connection becomes idle, and not
        # when it is taken again.
        if connection.protocol is not None and connection.protocol.should_close:
            connection.close()
            raise _UnaskedResponse
        if not self._may_send():  # the last step before the request is written
            connection.release()
            raise _Withheld
        self.unconnected.remove(req)
        return connection


class _Body(aiohttp.BytesPayload):
    """The body of a request, which is written with the headers.

    Before Python 3.12, aiohttp writes it a turn of the event loop after the request has its connection.

    withheld: whether there was no lease to send then. Nothing was written, and the connection is closed.
    """

    def __init__(self, body: bytes, may_send: Callable[[], bool]) -> None:
        super().__init__(body)
        self._may_send = may_send
        self.withheld = False

    async def write_with_length(self, writer: aiohttp.abc.AbstractStreamWriter, content_length: int | None) -> None:
        if not self._may_send():
            self.withheld = True
            raise _Withheld
        await super().write_with_length(writer, content_length)


@dataclass(slots=True)
class _Attempt:
    """One call of `send`, as a client middleware.

    failed: the error of the first try. sent: whether the request was given a connection. If it fails then, it may have
    arrived.
    """

    connector: _Connector
    failed: aiohttp.ClientError | None = None
    sent: bool = False

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Refuse to be entered twice: after a disconnect aiohttp repeats an idempotent request without being asked."""
        if self.failed is not None:
            raise self.failed
        try:
            return await handler(request)
        except aiohttp.ClientError as error:
            self.failed = error
            raise
        finally:
            self.sent = request not in self.connector.unconnected
            self.connector.unconnected.discard(request)


def _checked_fields(request: Request, headers: Mapping[str, str]) -> CIMultiDict[str]:
    """The headers of a request, with its content type. Raises ValueError for what cannot be sent as it is."""
    fields = CIMultiDict({} if request.body is None else {"content-type": "application/json"})
    fields.update(request.headers)
    fields.update(headers)  # the job's replace ours
    # No value is shown: it may be a credential, and the path may hold an id.
    if _UNSAFE.search("".join((*fields, *fields.values()))):
        raise ValueError("a control character in a header")
    if not FRAMING.isdisjoint(map(str.lower, fields)):
        raise ValueError("a content-length or transfer-encoding header: the transport sets the length itself")
    if not _PATH.fullmatch(request.path):
        raise ValueError("a path that is not percent-encoded")
    return fields


class HttpTransport:
    """Sends requests to one host: `Transport`. Use as an async context manager, in the loop that will send.

    requests, ahead_s: see `Transport`.

    Raises UsageError for a host, proxy or CA file that cannot be used.
    """

    def __init__(
        self,
        options: TransportOptions,
        *,
        now: Callable[[], float] = time.time,
        may_send: Callable[[], bool] = lambda: True,
    ) -> None:
        """may_send: called as the last step before a request is written; if it returns False, the request is not."""
        # A connection is a part of an attempt, so it must not take longer than the whole.
        self._options = replace(options, connect_s=min(options.connect_s, options.total_s))
        self._host = check_host(options.host)
        proxy = None if options.proxy is None else _check_proxy(options.proxy)
        # Without TLS the key would travel in the clear to the proxy. And its loopback is another machine.
        self._proxy = proxy if self._host.startswith("https:") else None
        # Loading the system's trust store takes 20 ms, and plain HTTP does not need it.
        self._tls = trust(options.ca_file) if self._host.startswith("https:") or options.ca_file else True
        self._now = now
        self._may_send = may_send
        self._connector: _Connector
        self._session: aiohttp.ClientSession | None = None
        self._answered = False
        self._date: str | None = None  # the latest Date header, and its epoch seconds
        self._date_s: float | None = None
        self.requests = 0
        self.ahead_s: int | None = None
        self.fault = ""

    async def __aenter__(self) -> Self:
        options = self._options
        self._connector = _Connector(self._may_send, ssl=self._tls)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            timeout=aiohttp.ClientTimeout(options.total_s, connect=options.connect_s, sock_read=options.read_s),
            headers=HEADERS,
            skip_auto_headers=["content-type"],
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,  # aiohttp has no bound for the whole, and takes a torn end for a whole body
            proxy=self._proxy,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, request: Request, headers: Mapping[str, str]) -> Response | NoResponse:
        """See `Transport`. Raises ValueError for headers or a path that cannot be sent as they are."""
        response = await self._attempt(request, headers)
        self.fault = fault_of(response)
        return response

    async def _attempt(self, request: Request, headers: Mapping[str, str]) -> Response | NoResponse:
        if self._session is None:
            raise RuntimeError("the transport was not entered")
        fields = _checked_fields(request, headers)
        self.requests += 1
        attempt = _Attempt(self._connector)
        # Everything but letters, digits and `-._~` is encoded: a `+` or `&` in an id must arrive as one.
        query = f"?{urlencode(request.query, quote_via=quote, safe='')}" if request.query else ""
        content = None if request.body is None else _Body(request.body, self._may_send)
        body = bytearray()
        try:
            async with self._session.request(
                request.method,
                URL(f"{self._host}{request.path}{query}", encoded=True),  # else yarl decodes what need not be encoded
                headers=fields,
                data=content,
                allow_redirects=False,
                middlewares=(attempt,),
            ) as answered:
                while part := await answered.content.readany():
                    body += part
                    if len(body) > self._options.body_max:
                        return TOO_LARGE
        except (aiohttp.ClientError, OSError, RuntimeError) as error:  # RuntimeError: "Connection closed."
            return WITHHELD if content is not None and content.withheld else self._lost(error, sent=attempt.sent)
        if self._proxy is not None and answered.status == PROXY_LOGIN:
            return self._not_sent(f"no connection: the proxy answered {PROXY_LOGIN}", Setup.PROXY)
        whole: bytes | NoResponse = bytes(body)
        if encoding := answered.headers.get("content-encoding"):
            whole = _inflated(bytes(body), encoding, self._options.body_max)
        if isinstance(whole, NoResponse):
            return whole
        self._answered = True
        date = answered.headers.get("date")
        if date != self._date:  # it changes once a second
            self._date, self._date_s = date, None if date is None else http_date_s(date.strip())
        if self._date_s is not None:
            self.ahead_s = round(self._date_s - self._now())
        link = ", ".join(answered.headers.getall("link", ())) or None
        return Response(answered.status, whole, answered.headers.get("retry-after"), date, link)

    def _lost(self, error: Exception, *, sent: bool) -> NoResponse:
        if isinstance(error, _Withheld):
            return WITHHELD
        proxied = self._proxy is not None
        faults = FAULTS if sent else (*(THROUGH_PROXY if proxied else ()), *NOT_CONNECTED, *FAULTS)
        text = next(text for kind, text in faults if isinstance(error, kind))
        reason = text.format(options=self._options, fault=_fault(error))
        return NoResponse(reason, sent=True) if sent else self._not_sent(reason, _setup(error, proxied=proxied))

    def _not_sent(self, reason: str, setup: Setup | None) -> NoResponse:
        """No setup is wrong after an earlier response: one node behind a load balancer fails, which may pass."""
        passing = self._answered and setup is not Setup.DESCRIPTORS
        return NoResponse(reason, sent=False, setup=None if passing else setup)


TOO_LARGE = NoResponse("response too large", sent=True)
WITHHELD = NoResponse("this process has no lease to send", sent=False, withheld=True)
GARBLED = NoResponse("response broken off or garbled", sent=True)
UNASKED = NoResponse("response in an encoding that was not asked for", sent=True)

# The words for each fault. The first class that fits counts, so a class stands above its base class.
FAULTS: tuple[tuple[type[Exception], str], ...] = (
    (_UnaskedResponse, "the connection held a response to another request"),
    (aiohttp.ClientConnectorCertificateError, "certificate not accepted: {fault}"),
    (aiohttp.ClientConnectorSSLError, "no connection: TLS handshake failed"),
    (aiohttp.ClientConnectorDNSError, "no connection: host name not found"),
    (aiohttp.ClientProxyConnectionError, "no connection to the proxy: {fault}"),
    (aiohttp.ClientHttpProxyError, "no connection: the proxy answered {fault}"),
    (aiohttp.ClientConnectorError, "no connection: {fault}"),
    (aiohttp.SocketTimeoutError, "no data for {options.read_s:g} s"),
    (TimeoutError, "no whole response within {options.total_s:g} s"),
    (aiohttp.ServerDisconnectedError, "connection closed before a response"),
    (aiohttp.ClientPayloadError, GARBLED.reason),
    (aiohttp.ClientResponseError, "response is not HTTP"),
    (Exception, "connection lost: {fault}"),
)

# Other words for some faults before a request was sent: without a proxy, and with one. With a proxy the only host name
# that is looked up here is the proxy's.
NOT_CONNECTED = ((TimeoutError, "no connection within {options.connect_s:g} s"),)
THROUGH_PROXY = (
    (TimeoutError, "no connection through --proxy within {options.connect_s:g} s"),
    (aiohttp.ClientConnectorDNSError, "no connection to the proxy: host name not found"),
    (aiohttp.ServerDisconnectedError, "no connection: the proxy hung up"),
    (aiohttp.ClientHttpProxyError, "no connection: the proxy answered {fault}"),
    (aiohttp.ClientResponseError, "no connection: the response of the proxy is not HTTP"),
)

PROXY_LOGIN = 407  # only a proxy answers this status: it wants a user and a password
PROXY_PASSING = 500  # from this status on a proxy could not reach the server, which may pass

# The setting to correct for each of OpenSSL's codes of a failed verification (X509_V_ERR_…). For all others: AUTHORITY.
CERTIFICATE = {
    9: Setup.DATES,  # not yet valid
    10: Setup.DATES,  # has expired
    62: Setup.HOST_NAME,
    64: Setup.HOST_NAME,  # of an IP address
}


def _setup(error: Exception, *, proxied: bool) -> Setup | None:
    """Return the wrong setting that causes this error at the first connection; None when the fault may pass."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            cause = error.certificate_error
            code = cause.verify_code if isinstance(cause, ssl.SSLCertVerificationError) else 0
            return CERTIFICATE.get(code, Setup.AUTHORITY)
        case aiohttp.ClientHttpProxyError():
            return Setup.PROXY if error.status < PROXY_PASSING else None
        case aiohttp.ClientProxyConnectionError():
            return Setup.PROXY
        case aiohttp.ClientConnectorDNSError() | aiohttp.ClientResponseError() if proxied:
            return Setup.PROXY
        case OSError() if error.errno in {errno.EMFILE, errno.ENFILE}:
            return Setup.DESCRIPTORS
    return None


def _inflated(body: bytes, encoding: str, bound: int) -> bytes | NoResponse:
    """Undo the content encoding. One member of gzip is inflated, to at most `bound` bytes; nothing may follow it."""
    encoding = encoding.strip().lower()
    if not body or encoding in {"", "identity"}:
        return body
    if encoding not in {"gzip", "x-gzip"}:
        return UNASKED
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
