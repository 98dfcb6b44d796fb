"""The log of a verification: what kind of log it is, and where it lies. Sends nothing, and loads no network stack."""

from __future__ import annotations

from collections.abc import Callable

from bulkdel.checkpoint.reader import LogKind
from bulkdel.core.log_entries import VerifyHeader
from bulkdel.core.skipped_rows import PositionSet
from bulkdel.core.verification import Findings

STATE = ".verify.jsonl"
"""The ending, after the name of the log of the run, of the log of its verification."""


def findings_log(skipped: Callable[[VerifyHeader], PositionSet]) -> LogKind[Findings]:
    """The kind of the log. skipped: the skipped rows of the run that this header belongs to."""
    return LogKind(
        "verification",
        "verify",
        lambda header, _: Findings(header, skipped(header)),
        "--state",
        "Move it away to verify everything once more.",
    )
