"""Which kind of place a path or a URL names. Nothing else asks that of a log."""

from __future__ import annotations

from pathlib import Path

from bulkdel.place.lease import Terms
from bulkdel.place.log_file import LogFile
from bulkdel.place.log_objects import READING, LogObjects
from bulkdel.place.log_place import LogPlace
from bulkdel.store_path import in_store


def log_place(path: Path, terms: Terms = READING) -> LogPlace:
    """The log at this path, or in the store at this URL. terms: of a store."""
    return LogObjects(path, terms) if in_store(path) else LogFile(path)
