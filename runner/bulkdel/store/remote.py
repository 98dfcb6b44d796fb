"""An object store as a store of a log: S3 and what speaks like it, Google Cloud Storage, Azure. By obstore.

A request is made once: the caller repeats it, and compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path, PurePosixPath

from bulkdel.store.bucket import open_bucket, words_of
from bulkdel.store_path import StorePath

REQUEST_S = 3.0
"""Time limit of one request that creates an object: far below the licence. So long may a read be silent."""

READ_MOST_S = 150.0
"""Time limit of one read. 16 MB, the longest roll, take 134 s at 1 Mbit/s."""


class Remote:
    """The objects below one URL: `Objects`. Raises UsageError when obstore is not installed."""

    hedged = True

    def __init__(self, path: StorePath, *, ca_file: Path | None, proxy: str | None, limit_s: float) -> None:
        request, whole = timedelta(seconds=REQUEST_S), timedelta(seconds=READ_MOST_S)
        limits = {"timeout": timedelta(seconds=limit_s), "connect_timeout": request}
        self._store = open_bucket(str(path), limits, ca_file=ca_file, proxy=proxy)
        limits = {"timeout": whole, "connect_timeout": request, "read_timeout": request}
        self._read = open_bucket(str(path), limits, ca_file=ca_file, proxy=proxy)
        import obstore  # noqa: PLC0415 - an extra installs it
        from obstore.exceptions import AlreadyExistsError, BaseError  # noqa: PLC0415

        self._obstore, self._exists, self._failed = obstore, AlreadyExistsError, (BaseError, OSError)

    def create(self, name: str, data: bytes) -> bool:
        """See `Objects`."""
        try:
            self._obstore.put(self._store, name, data, mode="create", use_multipart=False)
        except self._exists:
            return False
        except self._failed as error:
            raise OSError(None, words_of(error)) from None
        return True

    def get(self, name: str) -> bytes | None:
        """See `Objects`."""
        try:
            return bytes(self._obstore.get(self._read, name).bytes())
        except FileNotFoundError:  # as obstore words it
            return None
        except self._failed as error:
            raise OSError(None, words_of(error)) from None

    def listed(self, after: str) -> Iterator[str]:
        """See `Objects`. One request tells of a thousand objects."""
        folder = str(PurePosixPath(after).parent)
        try:
            for page in self._obstore.list(self._read, folder, offset=after):
                yield from (each["path"] for each in page)
        except self._failed as error:
            raise OSError(None, words_of(error)) from None
