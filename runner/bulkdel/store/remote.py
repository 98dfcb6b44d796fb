"""An object store as a store of a log: S3 and what speaks like it, Google Cloud Storage, Azure. By obstore.

Credentials come from the environment and the machine, as obstore finds them; nothing of them is in a message. A request
is made once: whoever calls repeats it, and compares.
"""

from __future__ import annotations

from datetime import timedelta

from bulkdel.errors import UsageError
from bulkdel.store.bucket import open_bucket, words_of
from bulkdel.store_path import StorePath

REQUEST_S = 3.0
"""Time limit of one request: far below the licence."""


class Remote:
    """The objects below one URL: `Objects`. Raises UsageError when obstore is not installed."""

    hedged = True

    def __init__(self, path: StorePath) -> None:
        try:
            import obstore  # noqa: PLC0415 - it costs time, and an extra installs it
            from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError  # noqa: PLC0415
        except ImportError:
            raise UsageError(f"{path}: needs obstore. Install it with: pip install 'bulkdel[remote]'") from None
        self._obstore = obstore
        self._exists = AlreadyExistsError
        self._absent = (NotFoundError, FileNotFoundError)
        self._failed = (BaseError, OSError)
        limit = timedelta(seconds=REQUEST_S)
        self._store = open_bucket(str(path), {"timeout": limit, "connect_timeout": limit})

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
            return bytes(self._obstore.get(self._store, name).bytes())
        except self._absent:
            return None
        except self._failed as error:
            raise OSError(None, words_of(error)) from None
