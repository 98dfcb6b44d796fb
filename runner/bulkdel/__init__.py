"""Bulk deletion through an API that cannot undo it. `open_run` is the way in; docs/library.md shows it.

The engine knows ids, chunks, decisions, outcomes, pace and durability. It knows no API: jobs do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bulkdel.engine.snapshot import Event, Events, Snapshot
    from bulkdel.errors import (
        BulkdelError,
        Drained,
        FileFailed,
        Halted,
        JobFailed,
        NotAcceptable,
        NotConfirmed,
        UsageError,
    )
    from bulkdel.library import Plan, Run, RunOptions, Summary, open_run, run_sync

__all__ = [
    "BulkdelError",
    "Drained",
    "Event",
    "Events",
    "FileFailed",
    "Halted",
    "JobFailed",
    "NotAcceptable",
    "NotConfirmed",
    "Plan",
    "Run",
    "RunOptions",
    "Snapshot",
    "Summary",
    "UsageError",
    "open_run",
    "run_sync",
]

_HOMES = ("bulkdel.errors", "bulkdel.engine.snapshot", "bulkdel.library")
"""The modules that have these names; the last one needs the network stack."""


def __getattr__(name: str) -> Any:
    """Load a public name when it is used: `bulkdel --help` needs none of them, and no network stack."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    homes = map(import_module, _HOMES)
    return next(getattr(home, name) for home in homes if hasattr(home, name))
