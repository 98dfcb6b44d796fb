"""`bulkdel status`: progress and counts of a run, from its log alone."""

from __future__ import annotations

from json import dumps
from pathlib import Path

from bulkdel.checkpoint.lock import holder
from bulkdel.checkpoint.reader import find_log, read_log
from bulkdel.commands.next_command import going_on
from bulkdel.core.run_state import Progress
from bulkdel.core.summary import count_lines, summary_of
from bulkdel.format import counted, printable
from bulkdel.output import result


def print_status(path: Path, *, json: bool) -> int:
    """Print progress and counts of the run that keeps `path`, or whose export that is."""
    path = find_log(path)
    log = read_log(path)
    progress = log.progress
    pid = holder(path, progress)
    state = "running" if pid is not None else _state(progress)
    if json:
        stop = progress.stop.facts if progress.stop else {}
        summary = summary_of(progress, state, stop, checkpoint=printable(path), log_sha256=log.sha256)
        more = {"in_doubt": progress.in_doubt.size, "sessions": progress.sessions, "note": progress.note, "pid": pid}
        result(dumps(summary | more))
        return 0
    pinned = progress.header.pinned
    result(f"{path}: {state}" + (f" (pid {pid})" if pid is not None else ""))
    result(f"  job        {pinned['job']} on {pinned['host']}, pool {pinned['pool']}, by {pinned['id_type']}")
    result(f"  export     {progress.header.export_path}, {counted(progress.rows, 'row')}, begun {progress.header.at}")
    if progress.note:
        result(f"  note       {printable(progress.note)}")
    for line in count_lines(progress):
        result(line)
    if progress.in_doubt.size and pid is None:
        were, them = ("was", "it") if progress.in_doubt.size == 1 else ("were", "them")
        remaining = f"{progress.in_doubt.size:,} of the remaining {were} sent without an answer"
        result(f"  {remaining}: the next run looks {them} up")
    if log.damaged_tail and pid is None:
        result(f"  the log ends in {counted(log.damaged_tail, 'torn byte')}, which the next run cuts off")
    if not progress.complete and pid is None:
        result(going_on(progress))
    return 0


def _state(progress: Progress) -> str:
    if progress.complete:
        return "complete"
    if progress.stop is None:
        return "killed" if progress.start else "not begun"
    return str(progress.stop.facts.get("status", "incomplete"))
