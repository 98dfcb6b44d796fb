"""The log of one run of a batch, as the batch reads it: how far the run is, and whether it is still complete."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.reader import is_fresh, read_log
from bulkdel.checkpoint.takeover import holder
from bulkdel.core.summary import state_of, summary_of
from bulkdel.errors import BulkdelError
from bulkdel.export.file import fingerprint, open_export
from bulkdel.format import printable
from bulkdel.place.opening import log_place

NOT_STARTED = "not started"
"""The status of a run of which this batch has started no process."""

NOT_BEGUN = "not begun"
"""The status of a run without a log."""

RUNNING = "running"


def summary_in(run: Path, *, started: bool) -> dict[str, Any]:
    """The summary of a run, from its log, when its process has printed none. Its members are those of `run --json`.

    started: whether this batch has started a process of it. If not, its rows were settled on earlier nights.

    Raises NotAcceptable when the log cannot be read.
    """
    place = log_place(run)
    if is_fresh(place):
        return {"status": NOT_BEGUN if started else NOT_STARTED}
    read = read_log(place)
    progress = read.progress
    state = NOT_STARTED
    if started:
        state = RUNNING if holder(place, progress) is not None else state_of(progress)
    return summary_of(
        progress,
        state,
        {} if progress.stop is None else progress.stop.facts,
        run=printable(run),
        log_sha256=read.sha256,
        exit_code=None,
    )


class Still(enum.Enum):
    """Whether a run that was complete still is."""

    COMPLETE = enum.auto()
    """It is: its log is there, and its export is the one of that log."""

    OTHER_EXPORT = enum.auto()
    """It is not: its log is there, and its export has other bytes now."""

    OLDER_LOG = enum.auto()
    """It is not: its log has rows left, so the log is an older copy."""

    UNKNOWN = enum.auto()
    """Only a plan can tell: its log is gone, or a file cannot be read or compared here."""


def whether_complete(run: Path, export: Path) -> Still:
    """Find out whether a run that was complete still is."""
    try:
        place = log_place(run)
        if is_fresh(place):
            return Still.UNKNOWN
        progress = read_log(place).progress
        if not progress.complete:
            return Still.OLDER_LOG
        return Still.COMPLETE if _is_pinned(export, progress.header.pinned) else Still.OTHER_EXPORT
    except BulkdelError:
        return Still.UNKNOWN


def _is_pinned(export: Path, pinned: Mapping[str, Any]) -> bool:
    """Whether a file has the bytes that a log pins.

    True without a file: an export that was removed, lies elsewhere or was a pipe has no new ids to send.
    """
    if not export.is_file():
        return True
    with open_export(str(export)) as opened:
        return bool(opened.size == pinned["bytes"] and fingerprint(opened).sha256 == pinned["sha256"])
