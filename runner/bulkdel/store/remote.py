"""An object store as a store of a log: S3 and what speaks like it, Google Cloud Storage, Azure. By obstore.

A request is made once: the caller repeats it, and compares.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from bulkdel.store.bucket import open_bucket, words_of
from bulkdel.store_path import StorePath

REQUEST_S = 3.0
"""Time limit of one request: far below the lease. A read may be silent for so long."""

BYTES_S = 125_000
"""1 Mbit/s. The time of an object's bytes at this rate is added to the limit of the request that creates it."""

SMALL_BITS = 16
"""Objects up to 64 KiB have the same limit."""

READ_MOST_S = 150.0
"""Time limit of one read. 16 MB, the longest roll, take 134 s at 1 Mbit/s."""


def _failure(error: Exception, began: float) -> OSError:
    """The error of a request. One that took its whole time limit says that the store is slow."""
    if time.monotonic() - began < REQUEST_S:
        return OSError(None, words_of(error))
    return OSError(
        errno.ETIMEDOUT,
        f"no answer within {REQUEST_S:g} s, so the store is too slow or not reached ({words_of(error)})",
    )


class Remote:
    """The objects below one URL: `Objects`. Raises UsageError when obstore is not installed."""

    hedged = True

    rounds = 8
    """A store may look first and write then. With a gap of 20 ms at every tenth write, one round rarely finds it."""

    def __init__(self, path: StorePath) -> None:
        self._open = partial(open_bucket, str(path), ca_file=None, proxy=None)
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
            raise PermissionError(errno.EACCES, words_of(error)) from None
        except self._failed as error:
            raise _failure(error, began) from None

    def listed(self, after: str) -> Iterator[str]:
        """See `Objects`. One request tells of a thousand objects."""
        folder = str(PurePosixPath(after).parent)
        try:
            for page in self._obstore.list(self._read, folder, offset=after):
                yield from (each["path"] for each in page)
        except self._failed as error:
            raise OSError(None, words_of(error)) from None

    def _writer(self, size: int) -> Any:
        """The store with the time limit for an object of this size: one for each power of two."""
        bits = max(SMALL_BITS, (size - 1).bit_length())
        if bits not in self._writers:
            limit = self._request + timedelta(seconds=(1 << bits) / BYTES_S)
            self._writers[bits] = self._open({"timeout": limit, "connect_timeout": self._request})
        return self._writers[bits]
