"""The end of a run: status, counts, exit code. Pure: the same log and figures give the same words."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bulkdel.core.outcome import COUNTED, JOBS_OWN, REMAINING
from bulkdel.core.result_row import PROTECTED
from bulkdel.core.run_state import RunState

Status = Literal["complete", "incomplete", "stopped", "halted", "interrupted"]

FIGURES = ("requests", "retries", "throttled", "resumed", "duration_s")
"""The figures of a session, as its stop entry and the summary have them."""

EXIT_COMPLETE = 0
EXIT_REFUSED = 1
EXIT_REMAINING = 4
EXIT_FILE = 5
EXIT_STOPPED = 6
EXIT_SIGNAL = 128


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session ended, as far as the log's counts do not say it.

    why: in words. signal: its number. file_failed: a file of the run could not be written. halted: a guard rail, an
    outage, a permission. limit_reached: --limit was. planned: it was at --not-after, or a change
    asked for it. drained: the program that runs it as a library has drained it.
    """

    why: str = ""
    signal: int | None = None
    file_failed: bool = False
    halted: bool = False
    limit_reached: bool = False
    planned: bool = False
    drained: bool = False


class Cause(enum.StrEnum):
    """Why a run or a verification has ended before all its rows were settled. The value is that of the JSON form."""

    FILE = "file"
    SIGNAL = "signal"
    ASKED = "asked"
    HALTED = "halted"
    LIMIT = "limit"
    NOT_AFTER = "not-after"
    UNSETTLED = "unsettled"
    USAGE = "usage"
    NOT_CONFIRMED = "not-confirmed"
    NOT_ACCEPTABLE = "not-acceptable"
    FAULT = "fault"


def status_of(ending: Ending, *, complete: bool) -> Status:
    """One word for the state of a run or of a verification. complete: every row has its outcome, or its finding."""
    if complete:
        return "complete"
    if ending.signal is not None or ending.drained:
        return "interrupted"
    if ending.halted or ending.file_failed:
        return "halted"
    return "stopped" if ending.planned and not ending.limit_reached else "incomplete"


def exit_code(ending: Ending, *, complete: bool, refused: int) -> int:
    """Return the exit code. Where several apply: 5 before a signal before 4 before 6 before 1.

    complete: every row has its outcome, or its finding. refused: of a run, how many ids are refused or unknown; of a
    verification, how many are still there.
    """
    if ending.file_failed:
        return EXIT_FILE
    if complete:
        return EXIT_REFUSED if refused else EXIT_COMPLETE
    if ending.signal is not None:
        return EXIT_SIGNAL + ending.signal
    if ending.halted:
        return EXIT_REMAINING
    if ending.limit_reached:
        return EXIT_COMPLETE
    return EXIT_STOPPED if ending.planned else EXIT_REMAINING


def cause_of(status: object, exit_code: object, *, limit_reached: bool = False, asked: bool = False) -> Cause | None:
    """Why a session has ended before all was done; None when nothing is left. The order is that of the exit codes.

    status, exit_code, limit_reached: as its stop entry has them. asked: whether a change of the session has asked it to
    stop.
    """
    if exit_code == EXIT_FILE:
        return Cause.FILE
    if status == "complete":
        return None
    causes = {
        Cause.SIGNAL: isinstance(exit_code, int) and exit_code > EXIT_SIGNAL,
        Cause.HALTED: status == "halted",
        Cause.LIMIT: limit_reached,
        Cause.ASKED: status == "interrupted" or (status == "stopped" and asked),
        Cause.NOT_AFTER: status == "stopped",
    }
    return next((cause for cause, holds in causes.items() if holds), Cause.UNSETTLED)


KILLED = "killed"
"""The state of a run whose last session has no end in the log. The log does not say whether it could not be written."""


def state_of(progress: RunState) -> str:
    """The state of a run that is not under way: complete, killed, not begun, or the status of its last session."""
    if progress.complete:
        return "complete"
    if progress.stop is None:
        return KILLED if progress.start else "not begun"
    return str(progress.stop.facts.get("status", "incomplete"))


def counts_of(progress: RunState) -> dict[str, int]:
    """Rows by outcome, with the word for scripts; they add up to the rows."""
    return {key_of(progress, kind): count for kind, count in _counts(progress).items()}


def named_counts(progress: RunState) -> dict[str, int]:
    """The same with the word for people."""
    return {name_of(progress, kind): count for kind, count in _counts(progress).items()}


def _counts(progress: RunState) -> dict[str, int]:
    counts = progress.counts
    kinds = [kind for kind in COUNTED if kind not in JOBS_OWN or kind in progress.header.names or counts[kind]]
    return {**{kind: counts[kind] for kind in kinds}, REMAINING: progress.remaining}


def count_lines(progress: RunState) -> list[str]:
    """The counts, one a line, each with its reasons below it. Zeros are left out, but for the first and the last."""
    counts = _counts(progress)
    lines: list[tuple[str, int]] = []
    for kind, count in counts.items():
        if count or kind in {next(iter(counts)), REMAINING}:
            lines.append((name_of(progress, kind), count))
        reasons = {reason: some for (each, reason), some in sorted(progress.reasons.items()) if each == kind}
        if kind == "excluded" and 0 < (spared := sum(reasons.values())) < count:
            reasons[PROTECTED] = count - spared
        lines += [(f"  {reason}", some) for reason, some in reasons.items()]
    width = max(10, *map(len, named_counts(progress)), *(len(name) for name, _ in lines))
    return [f"  {name:<{width}} {count:>13,}" for name, count in lines]


def name_of(progress: RunState, kind: str) -> str:
    """What people call an outcome of the job of this log."""
    return progress.header.names.get(kind, kind)


def key_of(progress: RunState, kind: str) -> str:
    """What scripts call it."""
    return progress.header.keys.get(kind) or name_of(progress, kind)


def summary_of(
    progress: RunState,
    status: str,
    figures: Mapping[str, Any],
    *,
    run: str,
    log_sha256: str,
    exit_code: int | None,
) -> dict[str, Any]:
    """The summary, in the order that scripts and people read it.

    figures: of the session; FIGURES names them. exit_code: None while there is none.
    """
    pinned = progress.header.pinned
    return {
        **counts_of(progress),
        "rows": progress.rows,
        "spared": progress.spared,
        **{name: figures.get(name) for name in FIGURES},
        "run": run,
        "log_sha256": log_sha256,
        "status": status,
        "job": pinned["job"],
        "pool": pinned["pool"],
        "run_id": progress.header.run_id,
        "exit_code": exit_code,
    }
