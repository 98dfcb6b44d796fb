"""The names of the files of a run, as the documentation says them: written down once more, for the tests."""

from __future__ import annotations

from pathlib import Path


def log_of(export: object, job: str = "delete-users", *, sandbox: bool = False) -> Path:
    """The log of the run of this export and job, without --run."""
    return Path(f"{export}.runs", f"{job}{'.sandbox' if sandbox else ''}", "log.jsonl")


def shard_log(log: Path, number: int) -> Path:
    """The log of a shard. log: that of its run."""
    return log.with_name(f"log.{number}.jsonl")


def restore_log(log: Path) -> Path:
    """The log of the run that creates again what the run with this log has deleted."""
    return log.parent / "restore-1" / "log.jsonl"


def memberships_log(log: Path) -> Path:
    """The log of the run that puts the memberships back."""
    return log.parent / "restore-1" / "memberships" / "log.jsonl"
