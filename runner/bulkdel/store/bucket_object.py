"""An object of an object store (s3://, gs://, az://), read by obstore.

Each `open` makes one request. What the store says goes into messages without a query, which may be signed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from bulkdel.core.address import Address
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.store.bucket import open_bucket, words_of
from bulkdel.store.far_object import Broken, ObjectChanged, Opened, Reach, Version

CONNECT_S = 10.0
WHOLE = timedelta(days=30)
"""Time limit of one whole request. What bounds it is the silence."""


class BucketObject:
    """One object: `FarObject`. Raises UsageError when obstore is not installed or the address cannot be used."""

    def __init__(self, address: Address, reach: Reach) -> None:
        limits = {
            "timeout": WHOLE,
            "connect_timeout": timedelta(seconds=min(CONNECT_S, reach.silence_s)),
            "read_timeout": timedelta(seconds=reach.silence_s),
        }
        url = f"{address.scheme}://{address.place}"
        self._store = open_bucket(url, limits, ca_file=reach.ca_file, proxy=reach.proxy)
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
            raise UsageError(f"{shown}: cannot be read: {words_of(error)}. Copy it, and name the copy") from None
        except errors.BaseError as error:
            raise Broken(words_of(error)) from None
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
            raise Broken(words_of(error)) from None
