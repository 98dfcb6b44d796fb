"""The command `results`: its options, and what it says of itself. The report is made in `bulkdel.commands.results`."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from bulkdel.checkpoint.reader import find_log
from bulkdel.commands.results import Report, only_of, read_key, told, write_results
from bulkdel.core.result_row import OUTCOMES
from bulkdel.errors import UsageError
from bulkdel.output import say

FORMATS = {".jsonl": "jsonl", ".csv": "csv", "": "jsonl"}
"""What is written, by the ending of --out."""

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
        csv=(format_ or _format_of(out)) == "csv",
        key=None if hash_ids is None else read_key(Path(os.path.expanduser(hash_ids))),  # noqa: PTH111 - as elsewhere
    )
    try:
        tally = write_results(find_log(checkpoint), export, report, out)
    except BrokenPipeError:
        return UNREAD
    say(told(tally))
    return 0


def _format_of(out: Path | None) -> str:
    """Name the format for this file. Raises UsageError for an ending that promises another one."""
    ending = out.suffix.lower() if out else ""
    if ending not in FORMATS:
        written = " or ".join(filter(None, FORMATS))
        raise UsageError(
            f"--out {out}: {ending} is not written. Name a file that ends in {written}, or say the format whatever the "
            "name: --format jsonl or --format csv"
        )
    return FORMATS[ending]
