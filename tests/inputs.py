"""The rows of runs that tests make up: the files beside their logs, and what their headers pin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bulkdel.core.input_rows import Rows
from bulkdel.core.log_entries import InputPins
from bulkdel.input.run_input import NewInput
from bulkdel.place.opening import log_at
from bulkdel.place.spool import Spool

NO_INPUT = InputPins("0" * 64, "0" * 64)
"""Of a log whose rows nothing reads."""


def rows_of(ids: Sequence[str | None], at: int = 0) -> Rows:
    """Rows with these ids, the first of them at this position."""
    why = {row: "EMPTY_ID||" for row, id_ in enumerate(ids, at) if id_ is None}
    return Rows(at, list(ids), range(at + 1, at + 1 + len(ids)), why=why)


def write_input(log: Path, rows: Iterable[Rows]) -> InputPins:
    """Write the input of a run beside its log."""
    spool = Spool.unnamed(log.parent)
    new = NewInput(spool, str(log))
    for some in rows:
        new.add(some)
    new.finish()
    for beside, data in new.files.items():
        log_at(log).at(beside).write_bytes(data.read_at(0, data.size) if isinstance(data, Spool) else data)
    spool.close()
    return new.pins


def input_file(log: Path) -> Path:
    """The file with the rows of the run with this log."""
    return log.with_name("input.jsonl.zst")


def move_log(log: Path, to: Path) -> None:
    """Move a log, and what lies beside it."""
    to.parent.mkdir(parents=True, exist_ok=True)
    log.rename(to)
    for name in ("input.jsonl.zst", "input.index.jsonl", "skipped.zst"):
        if (path := log.with_name(name)).exists():
            path.rename(to.with_name(name))
