"""Which kind of place a path or a URL names. Every command makes the place of a log here."""

from __future__ import annotations

from pathlib import Path

from bulkdel.place.lease import Terms
from bulkdel.place.log_file import LogFile
from bulkdel.place.log_objects import READING, LogObjects
from bulkdel.place.log_place import LogPlace
from bulkdel.store_path import in_store

WRITING = Terms()
"""Terms of a command that writes a note about a run. It repeats what fails for as long as a run does by default."""


def log_place(run: Path, terms: Terms = READING) -> LogPlace:
    """The log of the run in this folder or store. The default of `terms` is for commands that read."""
    return LogObjects(run, terms) if in_store(run) else LogFile(run, world=terms.world)


def log_at(path: Path, terms: Terms = READING) -> LogPlace:
    """The log of a verification or a batch, in this file or at the URL of a store. terms: as in `log_place`."""
    return LogObjects(path, terms) if in_store(path) else LogFile(path.parent, path.name, world=terms.world)
