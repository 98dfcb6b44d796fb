"""An object at an https address, read over aiohttp.

The rules of every request hold: no redirect is followed, no proxy of the environment is used, and the certificate is
checked. obstore could read it too, but it follows redirects to any host.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from bulkdel.core.address import Address
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.store.far_object import Broken, ObjectChanged, Opened, Reach, Version
from bulkdel.tls import trust

CONNECT_S = 10.0

PASSING = frozenset({408, 425, 429})
"""Statuses below 500 that may pass."""

_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class WebObject:
    """One object: `FarObject`. Raises UsageError for a proxy or a CA file that cannot be used."""

    def __init__(self, address: Address, reach: Reach) -> None:
        self._address, self._reach = address, reach
        self._proxy = None if address.scheme == "http" else reach.proxy  # the loopback of the proxy is another machine
        if self._proxy is not None and not (self._proxy.startswith("http://") and URL(self._proxy).host):
            raise UsageError("--proxy is not an http:// URL: give one like http://proxy.example.com:3128")
        self._tls = trust(reach.ca_file)

    @asynccontextmanager
    async def open(self, start: int, version: Version | None) -> AsyncIterator[Opened]:
        """See `FarObject`."""
        headers = {"accept-encoding": "identity", "user-agent": "bulkdel"}
        if start:
            headers["range"] = f"bytes={start}-"
        if version is not None and version.resumable:
            headers["if-match"] = str(version.etag)
        async with self._answered(headers) as answered:
            found, first = self._found(answered, start)
            if version is not None and version.differs(found):
                raise ObjectChanged(f"{self._address.shown}: changed")
            yield Opened(found, first, _parts(answered), answered.headers.get("content-encoding", ""))

    @asynccontextmanager
    async def _answered(self, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        silence_s, connector = self._reach.silence_s, _Connector(self._tls)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    timeout=aiohttp.ClientTimeout(total=None, connect=min(CONNECT_S, silence_s), sock_read=silence_s),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trust_env=False,
                    auto_decompress=False,  # the bytes as they are stored
                    headers=headers,
                ) as session,
                await self._get(session) as answered,
            ):
                yield answered
        finally:
            await connector.cut()

    async def _get(self, session: aiohttp.ClientSession) -> aiohttp.ClientResponse:
        try:
            # Not encoded again: a signature is over these very characters.
            url = URL(self._address.text, encoded=True)
            return await session.get(url, allow_redirects=False, proxy=self._proxy)
        except aiohttp.ClientConnectorCertificateError as error:
            cause = error.certificate_error
            reason = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else "not accepted"
            todo = "Is it the right address? A certificate authority of your own is trusted by --ca-file."
            raise self._refused(f"its certificate is not accepted ({reason})", todo) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Broken(_words(error)) from None

    def _found(self, answered: aiohttp.ClientResponse, start: int) -> tuple[Version, int]:
        """The version that a response is of, and its first byte."""
        status, fields = answered.status, answered.headers
        etag, modified = fields.get("etag"), fields.get("last-modified")
        version_id = fields.get("x-amz-version-id")
        ranges = _RANGE.fullmatch(fields.get("content-range", "").strip())
        total = int(ranges[3]) if ranges is not None and ranges[3] != "*" else None
        match status:
            case 200:
                return Version(answered.content_length, etag, version_id, modified), 0
            case 206 if ranges is not None and ranges[1] is not None and int(ranges[1]) == start:
                return Version(total, etag, version_id, modified), start
            case 416 if start:  # the object ends here, or before
                return Version(total, etag, version_id), start
            case 412:
                raise ObjectChanged(f"{self._address.shown}: changed")
        raise self._unexpected(answered)

    def _unexpected(self, answered: aiohttp.ClientResponse) -> Exception:
        status = answered.status
        match status:
            case 401 | 403:
                todo = "Has the address expired, or does it need a login? Get a new one."
                return self._refused(f"may not be read ({status})", todo)
            case 404 | 410:
                return self._refused(f"there is no such object ({status})", "Check the address.")
            case _ if 300 <= status < 400:  # noqa: PLR2004 - the class of redirects
                host = URL(answered.headers.get("location", ""), encoded=True).host or "the same host"
                todo = "Redirects are not followed. Check where it leads, and name that address."
                return self._refused(f"is a redirect to {host} ({status})", todo)
            case _ if status in PASSING or status >= 500:  # noqa: PLR2004 - the class of server errors
                return Broken(f"it answered {status}")
        return self._refused(f"it answered {status}, which is no part of an object", "Check the address.")

    def _refused(self, reason: str, todo: str) -> NotAcceptable:
        return NotAcceptable(f"{self._address.shown}: {reason}. Nothing was sent. {todo}")


class _Connector(aiohttp.TCPConnector):
    """Keeps the connection of its one request at hand, to close it at once: a farewell of TLS waits for the server."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(ssl=tls, force_close=True)
        self._transport: asyncio.Transport | None = None

    async def connect(self, req: aiohttp.ClientRequest, *args: Any, **more: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(req, *args, **more)
        self._transport = connection.transport
        return connection

    async def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            await asyncio.sleep(0)


async def _parts(answered: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    if answered.status == 416:  # noqa: PLR2004 - its body is no part of the object
        return
    try:
        async for part in answered.content.iter_any():
            yield part
    except (aiohttp.ClientError, OSError) as error:
        raise Broken(_words(error)) from None


def _words(error: Exception) -> str:
    """The reason, without an address: an exception's own text may have one."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status}"
    for kind, words in FAULTS:
        if isinstance(error, kind):
            return words
    errno = error.errno if isinstance(error, OSError) else None
    return os.strerror(errno) if errno else type(error).__name__


# The first class that fits counts.
FAULTS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "host name not found"),
    (aiohttp.ClientConnectorSSLError, "the TLS handshake failed"),
    (TimeoutError, "nothing came in time"),
    (aiohttp.ClientPayloadError, "the connection broke off"),
    (aiohttp.ServerDisconnectedError, "the connection broke off"),
)
