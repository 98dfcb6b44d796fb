"""The log of a batch: what was confirmed, and how each run has ended.

The logs of the runs say what happened to the ids. This log has the same format, the same lock and the same rules for
damage.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from bulkdel.checkpoint.reader import LogKind, is_fresh, reading
from bulkdel.checkpoint.writer import LogWriter
from bulkdel.core.batch import BatchState
from bulkdel.core.log_entries import BatchHeader
from bulkdel.format import printable
from bulkdel.place.opening import log_at

BATCH: LogKind[BatchState] = LogKind(
    "batch",
    "batch",
    lambda header, _: BatchState(header),
    "the name of the file of the batch",
    "Move it away to confirm every run anew. The logs of the runs stay, and are resumed.",
)


def read_state(log: Path, file: Path) -> BatchState:
    """The state in the log, read without its lock; an empty state without a log. file: of the batch."""
    place = log_at(log)
    if is_fresh(place, BATCH):
        return BatchState(header(file, ""))
    with reading(place, BATCH) as reader:
        return reader.replay()


def open_batch_log(log: Path, file: Path, at: str) -> LogWriter[BatchState]:
    """Open the log to write to it, or create it. Raises NotAcceptable when another batch writes it, FileFailed."""
    place = log_at(log)
    if is_fresh(place, BATCH):
        return LogWriter.create(place, header(file, at), kind=BATCH)
    return LogWriter.resume(place, kind=BATCH)


def header(file: Path, at: str) -> BatchHeader:
    """The first entry of a log."""
    return BatchHeader(f"bulkdel {version('bulkdel')}", at, printable(file.absolute()))
