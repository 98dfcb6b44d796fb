"""An object of an object store (s3://, gs://, az://), read by obstore.

Credentials come from the environment and the machine, as obstore finds them: keys, web identity, instance metadata.
Nothing of them is in a message.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

from bulkdel.core.address import Address
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.store.far_object import Broken, Changed, Opened, Reach, Version

CONNECT_S = 10.0
WHOLE = timedelta(days=30)
"""Time limit of one whole request. What bounds it is the silence."""

TEXT_MAX = 200
"""Characters of the store's own words in a message."""

ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}
"""obstore reads these variables by itself only without options of the client."""

NO_PROXY = {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": "*,0.0.0.0/0,::/0"}
"""Without --proxy: obstore would use one that the environment names, and has no other way to say no."""

_QUERY = re.compile(r"\?\S*")  # a signed URL has its signature there


class BucketObject:
    """One object: `FarObject`. Raises UsageError when obstore is not installed or the address cannot be used."""

    def __init__(self, address: Address, reach: Reach) -> None:
        try:
            import obstore  # noqa: PLC0415 - an extra installs it
            from obstore import exceptions, store  # noqa: PLC0415
        except ImportError:
            raise UsageError(
                f"{address.shown}: needs obstore. Install it with: pip install 'bulkdel[remote]'"
            ) from None
        self._address, self._obstore, self._errors = address, obstore, exceptions
        try:
            pem = None if reach.ca_file is None else reach.ca_file.read_bytes()
        except OSError as error:
            raise UsageError(f"--ca-file {reach.ca_file}: {error.strerror}") from error
        silence_s = reach.silence_s
        client: Any = {
            "timeout": WHOLE,
            "allow_http": os.environ.get(ALLOW_HTTP[address.scheme], "").lower() in {"1", "true"},
            "connect_timeout": timedelta(seconds=min(CONNECT_S, silence_s)),
            "read_timeout": timedelta(seconds=silence_s),
            **({"proxy_url": reach.proxy} if reach.proxy is not None else NO_PROXY),
            **({} if pem is None else {"root_certificate": pem}),
        }
        try:
            url, retry = f"{address.scheme}://{address.place}", {"max_retries": 0}
            self._store: Any = store.from_url(url, client_options=client, retry_config=cast("Any", retry))
        except (exceptions.BaseError, ValueError) as error:
            raise UsageError(f"{address.shown}: cannot be used: {_words(error)}") from None

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
            raise Changed(f"{shown}: changed") from None
        except FileNotFoundError:
            raise NotAcceptable(f"{shown}: there is no such object. Nothing was sent. Check the address.") from None
        except (errors.PermissionDeniedError, errors.UnauthenticatedError):
            raise NotAcceptable(
                f"{shown}: the credentials of this environment may not read it. Nothing was sent. Check which are used "
                "(docs/remote.md), and their permissions."
            ) from None
        except ValueError as error:
            raise UsageError(f"{shown}: cannot be read: {_words(error)}. Copy it, and name the copy") from None
        except errors.BaseError as error:
            raise Broken(_words(error)) from None
        meta = answered.meta
        found = Version(meta["size"], meta["e_tag"], meta["version"], meta["last_modified"].isoformat())
        if version is not None and version.differs(found):
            raise Changed(f"{shown}: changed")
        yield Opened(found, answered.range[0], self._parts(answered))

    async def _parts(self, answered: Any) -> AsyncIterator[bytes]:
        try:
            async for part in answered.stream(min_chunk_size=1):  # whatever has come: a drop loses nothing of it
                yield bytes(part)
        except self._errors.BaseError as error:
            raise Broken(_words(error)) from None


def _words(error: Exception) -> str:
    """The store's own words in one line, without a query, which may be signed."""
    first = str(error).partition("\n")[0]
    return " ".join(_QUERY.sub("", first).split())[:TEXT_MAX].rstrip(".:")
