"""An object store (s3://, gs://, az://), by obstore: its credentials, how it is reached, and its requests.

A `BucketObject` is an object of it that is read, such as an export. A `Remote` keeps the objects of a run. Each request
is made once: the caller repeats it. No message has anything of a credential, or a query, which may be signed.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, cast
from urllib.parse import urlsplit

from bulkdel.core.address import Address
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.format import to_install
from bulkdel.store.far_object import Broken, ObjectChanged, Opened, Reach, Version
from bulkdel.store_path import StorePath

TEXT_MAX = 200
"""Characters of the store's own words in a message."""

_QUERY = re.compile(r"(?<=\w)\?\S*")

ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}
"""obstore reads these variables only while it is given no options of the client."""

NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there. Without --proxy, obstore would use one that the environment names."""

ANY_HOST = "*,0.0.0.0/0,::/0"
"""The hosts that are reached without the proxy: all of them."""

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
OF_CREDENTIALS = ("AWS_ENDPOINT_URL_STS", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_METADATA_ENDPOINT")
"""The variables that say where a store is which speaks like S3, and where credentials come from."""

INSTANCE = ("169.254.0.0/16", "fd00:ec2::/32", "sts.amazonaws.com")
"""Where a machine and a container of Amazon get credentials, besides the service of their region."""

FOUND_BY_OBSTORE = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE")
"""With one of these, botocore is not asked."""

FRESH = timedelta(minutes=5)
"""How long credentials are used before botocore is asked again. It renews them well before they end."""

CONNECT_S = 10.0
WHOLE = timedelta(days=30)
"""Time limit of one whole request. In practice the limit of the silence ends a request before."""

REQUEST_S = 3.0
"""Time limit of one request: far below the lease. A read may be silent for so long."""

BYTES_S = 125_000
"""1 Mbit/s. The time of an object's bytes at this rate is added to the limit of the request that creates it."""

SMALL_BITS = 16
"""Objects up to 64 KiB have the same limit."""

READ_MOST_S = 150.0
"""Time limit of one read. 16 MB, the longest roll, take 134 s at 1 Mbit/s."""


def _open_bucket(
    url: str, limits: Mapping[str, timedelta], *, ca_file: Path | None = None, proxy: str | None = None
) -> Any:
    """Open the store at this URL. Sends nothing; a request is made once.

    limits: timeout, connect_timeout and read_timeout. Raises UsageError for a URL or an option that cannot be used, and
    when obstore is not installed.
    """
    try:
        from obstore.exceptions import BaseError  # noqa: PLC0415 - it costs time, and an extra installs it
        from obstore.store import from_url  # noqa: PLC0415
    except ImportError:
        raise UsageError(f"{url}: needs obstore. Install it with: {to_install('remote')}") from None
    try:
        pem = None if ca_file is None else ca_file.read_bytes()
    except OSError as error:
        raise UsageError(f"--ca-file {ca_file}: {error.strerror}") from error
    scheme = url.partition("://")[0]
    client: Any = {
        **limits,
        "allow_http": os.environ.get(ALLOW_HTTP[scheme], "").lower() in {"1", "true"},
        **({"proxy_url": proxy} if proxy is not None else _only(_hosts(scheme, os.environ))),
        **({} if pem is None else {"root_certificate": pem}),
    }
    once = cast("Any", {"max_retries": 0, "retry_timeout": limits["connect_timeout"]})
    try:
        return from_url(url, client_options=client, retry_config=once, **(_by_botocore() if scheme == "s3" else {}))
    except (BaseError, ValueError) as error:
        raise UsageError(f"{url}: cannot be used: {_words_of(error)}") from None


def _only(hosts: str) -> dict[str, str]:
    return {"proxy_url": NOWHERE, "proxy_excludes": hosts}


def _hosts(scheme: str, environ: Mapping[str, str]) -> str:
    """The hosts that obstore may reach. It follows redirects, and sends a session token of S3 to any host.

    A store of one's own has one host, and no reason to send a request to another. Amazon sends it to another region.
    """
    own = [environ[name] for name in ENDPOINTS if environ.get(name)]
    if scheme != "s3" or not own:
        return ANY_HOST
    named = [urlsplit(url).hostname for url in (*own, *(environ.get(name, "") for name in OF_CREDENTIALS))]
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return ",".join([*filter(None, named), *INSTANCE, f"sts.{region}.amazonaws.com"])


def _words_of(error: Exception) -> str:
    """The store's own words in one line, without a query, which may be signed."""
    text = str(error).partition("Debug source")[0]
    return " ".join(_QUERY.sub("", text).split())[:TEXT_MAX].rstrip(".:")


def _by_botocore() -> dict[str, Any]:
    """Credentials and region from profiles and SSO, where botocore is installed and finds some."""
    if any(name in os.environ for name in FOUND_BY_OBSTORE):
        return {}
    try:
        from botocore.session import Session  # noqa: PLC0415 - an extra installs it
    except ImportError:
        return {}
    session = Session()
    credentials, region = session.get_credentials(), session.get_config_variable("region")
    if credentials is None:
        return {}

    def provide() -> dict[str, Any]:
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + FRESH,
        }

    return {"credential_provider": provide, **({} if region is None else {"region": region})}


class BucketObject:
    """One object: `FarObject`. Raises UsageError when obstore is not installed or the address cannot be used."""

    def __init__(self, address: Address, reach: Reach) -> None:
        limits = {
            "timeout": WHOLE,
            "connect_timeout": timedelta(seconds=min(CONNECT_S, reach.silence_s)),
            "read_timeout": timedelta(seconds=reach.silence_s),
        }
        url = f"{address.scheme}://{address.place}"
        self._store = _open_bucket(url, limits, ca_file=reach.ca_file, proxy=reach.proxy)
        import obstore  # noqa: PLC0415 - an extra installs it
        from obstore import exceptions  # noqa: PLC0415

        self._address, self._obstore, self._errors = address, obstore, exceptions

    @asynccontextmanager
    async def open(self, start: int, version: Version | None) -> AsyncIterator[Opened]:
        """See `FarObject`."""
        options: Any = {"range": {"offset": start}} if start else {}
        if version is not None and version.resumable:
            options["if_match"] = version.etag
        errors, shown = self._errors, self._address.shown
        try:
            answered = await self._obstore.get_async(self._store, self._address.key, options=options)
        except errors.PreconditionError:
            raise ObjectChanged(f"{shown}: changed") from None
        except FileNotFoundError:
            raise NotAcceptable(f"{shown}: there is no such object. Nothing was sent. Check the address.") from None
        except (errors.PermissionDeniedError, errors.UnauthenticatedError):
            raise NotAcceptable(
                f"{shown}: the credentials of this environment may not read it. Nothing was sent. Check which are used "
                "(docs/far-exports.md), and their permissions."
            ) from None
        except ValueError as error:
            raise UsageError(f"{shown}: cannot be read: {_words_of(error)}. Copy it, and name the copy") from None
        except errors.BaseError as error:
            raise Broken(_words_of(error)) from None
        meta = answered.meta
        found = Version(meta["size"], meta["e_tag"], meta["version"], meta["last_modified"].isoformat())
        if version is not None and version.differs(found):
            raise ObjectChanged(f"{shown}: changed")
        yield Opened(found, answered.range[0], self._parts(answered))

    async def _parts(self, answered: Any) -> AsyncIterator[bytes]:
        try:
            async for part in answered.stream(min_chunk_size=1):  # whatever has come: a drop loses nothing of it
                yield bytes(part)
        except self._errors.BaseError as error:
            raise Broken(_words_of(error)) from None


def _failure(error: Exception, began: float) -> OSError:
    """The error of a request. One that took its whole time limit says that the store is slow."""
    if time.monotonic() - began < REQUEST_S:
        return OSError(None, _words_of(error))
    return OSError(
        errno.ETIMEDOUT,
        f"no answer within {REQUEST_S:g} s, so the store is too slow or not reached ({_words_of(error)})",
    )


class Remote:
    """The objects below one URL: `Objects`. Raises UsageError when obstore is not installed."""

    hedged = True

    rounds = 8
    """A store may look first and write then. With a gap of 20 ms at every tenth write, one round rarely finds it."""

    def __init__(self, path: StorePath) -> None:
        self._open = partial(_open_bucket, str(path), ca_file=None, proxy=None)
        self._request = timedelta(seconds=REQUEST_S)
        whole = timedelta(seconds=READ_MOST_S)
        self._read = self._open({"timeout": whole, "connect_timeout": self._request, "read_timeout": self._request})
        self._writers: dict[int, Any] = {}
        import obstore  # noqa: PLC0415 - an extra installs it
        from obstore.exceptions import (  # noqa: PLC0415
            AlreadyExistsError,
            BaseError,
            PermissionDeniedError,
            UnauthenticatedError,
        )

        self._obstore, self._exists, self._failed = obstore, AlreadyExistsError, (BaseError, OSError)
        self._refused = (PermissionDeniedError, UnauthenticatedError)

    def create(self, name: str, data: bytes) -> bool:
        """See `Objects`."""
        began = time.monotonic()
        try:
            self._obstore.put(self._writer(len(data)), name, data, mode="create", use_multipart=False)
        except self._exists:
            return False
        except self._failed as error:
            raise _failure(error, began) from None
        return True

    def get(self, name: str) -> bytes | None:
        """See `Objects`."""
        began = time.monotonic()
        try:
            return bytes(self._obstore.get(self._read, name).bytes())
        except FileNotFoundError:  # as obstore words it
            return None
        except self._refused as error:
            raise PermissionError(errno.EACCES, _words_of(error)) from None
        except self._failed as error:
            raise _failure(error, began) from None

    def listed(self, after: str) -> Iterator[str]:
        """See `Objects`. One request tells of a thousand objects."""
        folder = str(PurePosixPath(after).parent)
        try:
            for page in self._obstore.list(self._read, folder, offset=after):
                yield from (each["path"] for each in page)
        except self._failed as error:
            raise OSError(None, _words_of(error)) from None

    def _writer(self, size: int) -> Any:
        """The store with the time limit for an object of this size: one for each power of two."""
        bits = max(SMALL_BITS, (size - 1).bit_length())
        if bits not in self._writers:
            limit = self._request + timedelta(seconds=(1 << bits) / BYTES_S)
            self._writers[bits] = self._open({"timeout": limit, "connect_timeout": self._request})
        return self._writers[bits]
