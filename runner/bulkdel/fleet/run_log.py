"""The log of one run of a batch, as the batch reads it: how far the run is, and whether it is still complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bulkdel.checkpoint.lock import holder
from bulkdel.checkpoint.reader import is_fresh, read_log
from bulkdel.core.summary import state_of, summary_of
from bulkdel.format import printable

NOT_STARTED = "not started"
"""The status of a run of which this batch has started no process."""

NOT_BEGUN = "not begun"
"""The status of a run without a log."""

RUNNING = "running"


def summary_in(log: Path, *, started: bool) -> dict[str, Any]:
    """The summary of a run whose process has printed none. Its members are those of `run --json`.

    started: whether this batch has started a process of it. Without one, its rows are those of earlier nights.

    Raises NotAcceptable when the log cannot be read.
    """
    if is_fresh(log):
        return {"status": NOT_BEGUN if started else NOT_STARTED}
    read = read_log(log)
    progress = read.progress
    state = NOT_STARTED
    if started:
        state = RUNNING if holder(log, progress) is not None else state_of(progress)
    return summary_of(
        progress,
        state,
        {} if progress.stop is None else progress.stop.facts,
        checkpoint=printable(log),
        log_sha256=read.sha256,
        exit_code=None,
    )
