"""The file with the copies of a run, before it is opened: whether it is the one that the log knows."""

from __future__ import annotations

import stat
from pathlib import Path

from bulkdel.core.log_entries import Saved
from bulkdel.errors import NotAcceptable
from bulkdel.store_path import in_store


def check_known(path: Path, durable: Saved | None) -> None:
    """Refuse a file that is not this run's backup. durable: as in `Backup.open`. Raises NotAcceptable."""
    if in_store(path):
        return  # its objects are read when it is opened
    try:
        there = path.lstat()
    except FileNotFoundError:
        size = 0
    except OSError as error:
        raise NotAcceptable(f"{path}: the backup cannot be read: {error.strerror}") from error
    else:
        if not stat.S_ISREG(there.st_mode):
            raise NotAcceptable(f"{path}: is not a regular file; a backup has to be one")
        size = there.st_size
    if durable is None and size:
        raise NotAcceptable(
            f"{path}: is there already, and the last session of this run did not write it. Nothing was sent. "
            "Name a new file (--backup-to)."
        )
    if durable is not None and size < durable.size:
        raise NotAcceptable(
            f"{path}: holds {size:,} bytes, but this run wrote {durable.size:,}: copies of "
            "records are missing. Nothing more was sent. Put the file back, or name a new one (--backup-to)."
        )
