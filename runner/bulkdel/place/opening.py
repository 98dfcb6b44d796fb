"""Which kind of place a path or a URL names. Every command makes the place of a log here."""

from __future__ import annotations

from pathlib import Path

from bulkdel.place.lease import Terms
from bulkdel.place.log_file import LogFile
from bulkdel.place.log_objects import READING, LogObjects
from bulkdel.place.log_place import LogPlace
from bulkdel.store_path import in_store

WRITING = Terms()
"""Of a command that writes a note about a run: what fails is repeated for as long as a run does by default."""


def log_place(path: Path, terms: Terms = READING) -> LogPlace:
    """The log at this path, or in the store at this URL. terms: of a store; the default is for commands that read."""
    return LogObjects(path, terms) if in_store(path) else LogFile(path)
