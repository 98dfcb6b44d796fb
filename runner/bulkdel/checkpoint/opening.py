"""A log opened for writing, whichever place its path names: a file, or a store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from bulkdel.checkpoint.file import How, LogFile
from bulkdel.checkpoint.licence import Licence
from bulkdel.checkpoint.reader import F, LogKind
from bulkdel.checkpoint.store_log import StoreLog
from bulkdel.core.log_entries import Entry
from bulkdel.store_path import in_store


class OpenLog(Protocol):
    """A log that this process may append to: `LogFile` or `StoreLog`, which describe its members."""

    @property
    def path(self) -> Path: ...  # noqa: D102
    @property
    def recovered(self) -> Path | None: ...  # noqa: D102
    @property
    def sha(self) -> hashlib._Hash: ...  # noqa: D102
    @property
    def adopted(self) -> Entry | None: ...  # noqa: D102
    @property
    def licence(self) -> Licence | None: ...  # noqa: D102
    def commit(self, parts: Sequence[bytes]) -> None: ...  # noqa: D102
    def begin(self) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


def create_log(path: Path, kind: LogKind[Any], header: bytes, how: How) -> OpenLog:
    """See `LogFile.create` and `StoreLog.create`."""
    if in_store(path):
        return StoreLog.create(path, kind, header, how.terms, how.nonce)
    return LogFile.create(path, kind, header, how)


def resume_log(path: Path, kind: LogKind[F], how: How) -> tuple[OpenLog, F]:
    """See `LogFile.resume` and `StoreLog.resume`."""
    if in_store(path):
        return StoreLog.resume(path, kind, how.terms, how.nonce)
    return LogFile.resume(path, kind, how)
