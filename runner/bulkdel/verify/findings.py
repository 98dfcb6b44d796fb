"""The log of a verification: its kind, and its place. Sends nothing, and loads no network stack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bulkdel.checkpoint.reader import LogKind, is_fresh, reading
from bulkdel.core.log_entries import VerifyHeader
from bulkdel.core.run_state import RunState
from bulkdel.core.skipped_rows import PositionSet
from bulkdel.core.verification import Findings
from bulkdel.errors import NotAcceptable
from bulkdel.place.opening import log_at
from bulkdel.run_place import VERIFICATION
from bulkdel.store_path import in_store

AGAIN_MAX = 1_000
"""The most verifications of one run that keep their findings in a store."""


def findings_path(run: Path) -> Path:
    """Where the latest verification of this run is; in a store, the next place after it has a higher number."""
    if not in_store(run):
        return run / VERIFICATION
    latest, kind = run / "verify", findings_log(lambda _: PositionSet())
    for number in range(1, AGAIN_MAX):
        path = run / "verify" / str(number)
        if is_fresh(log_at(path), kind):
            break
        latest = path
    return latest


def has_findings(path: Path) -> bool:
    """Whether there is a verification at this path, which `findings_path` has found."""
    return path.name.isdecimal() if in_store(path) else path.is_file()


def next_findings_path(path: Path) -> Path:
    """The place of a new verification in a store. An earlier one is never overwritten."""
    number = int(path.name) + 1 if path.name.isdecimal() else 1
    return (path.parent if path.name.isdecimal() else path) / str(number)


def read_findings(run: Path, progress: RunState, key: bytes | None = None) -> tuple[Findings | None, bool]:
    """The verification of this run, None when there is none; and whether it could be read. key: of this user."""
    path = findings_path(run)
    if not has_findings(path):
        return None, True
    try:
        with reading(log_at(path), findings_log(lambda _: progress.skipped.rows, key)) as reader:
            findings = reader.replay()
    except NotAcceptable:
        return None, False
    mine = findings.header.pinned.get("run_id") == progress.header.run_id
    return (findings, True) if mine and findings.start is not None else (None, True)


def findings_log(skipped: Callable[[VerifyHeader], PositionSet], key: bytes | None = None) -> LogKind[Findings]:
    """The kind of the log. skipped: the skipped rows of the run that this header belongs to. key: of this user."""
    return LogKind(
        "verification",
        "verify",
        lambda header, _: Findings(header, skipped(header), key),
        "--state",
        "Move it away to verify everything once more.",
    )
