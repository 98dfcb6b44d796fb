"""The command `results`: its options, and what it says of itself. The report is made in `runner.results`."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from runner.core.results import OUTCOMES
from runner.results import Report, only_of, read_key, told, write_results
from runner.telling import say

UNREAD = 128 + signal.SIGPIPE
"""Exit code when whoever read stdout has gone (`| head`): nothing to complain of, but not all of it was written."""


def results(
    checkpoint: Path,
    *,
    only: str | None,
    format_: str | None,
    out: Path | None,
    export: str | None,
    hash_ids: Path | None,
) -> int:
    """Write the report and say how many rows it has."""
    report = Report(
        only=OUTCOMES if only is None else only_of(only),
        csv=format_ == "csv" if format_ else out is not None and out.suffix.lower() == ".csv",
        key=None if hash_ids is None else read_key(Path(os.path.expanduser(hash_ids))),  # noqa: PTH111 - as elsewhere
    )
    try:
        tally = write_results(checkpoint, export, report, out)
    except BrokenPipeError:
        return UNREAD
    say(told(tally))
    return 0
