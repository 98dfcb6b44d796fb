"""The audit of a log: whether it is unchanged, and what each session did. Only reads.

Each session has recorded, at its start and at its stop, the SHA-256 of every byte before it. So a change of an earlier
line is found, even with a correct checksum. A change after the last such entry is found only with the SHA-256 that the
summary printed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from json import dumps
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.lock import holder
from bulkdel.checkpoint.reader import Reader, find_log, open_log
from bulkdel.core.log_entries import Entry, Header, Session, Skipped, Unreadable
from bulkdel.core.run_state import Progress
from bulkdel.core.summary import counts_of
from bulkdel.errors import NotAcceptable
from bulkdel.format import counted, printable
from bulkdel.output import result

FACTS = ("user", "machine", "tool", "command", "cwd", "options", "note", "confirmed", "asked", "excluded", "backup")
"""Members of a session's start entry that `--json` repeats."""


@dataclass(slots=True)
class AuditedSession:
    """One session as the log has it. line: where it starts. stop: None when it was killed, or is under way."""

    line: int
    start: Session
    stop: Session | None = None


@dataclass(slots=True)
class Audit:
    """The findings, up to the first fault.

    fault: the fault and its place; None without one. commits, sha256: of the lines that were read.
    damaged_tail: bytes after the last whole line; no outcome relies on them.
    """

    progress: Progress | None = None
    sittings: list[AuditedSession] = field(default_factory=list)
    commits: int = 0
    sha256: str = ""
    damaged_tail: int = 0
    fault: str | None = None


def audit(path: Path) -> Audit:
    """Read every line of a log. Raises NotAcceptable only when it cannot be opened."""
    found = Audit()
    fd = open_log(path)
    try:
        reader = Reader(fd, path)
        try:
            for progress, entries in reader.folding():
                found.progress = progress
                _note(found, entries, reader.seq + 1)
            if found.progress is not None:
                _add_up(found.progress)
                _check_end(found, reader.damaged_tail)
        except Unreadable as error:
            found.fault = f"{path}: {error}"
        except NotAcceptable as error:
            found.fault = str(error)
        found.commits, found.sha256, found.damaged_tail = reader.seq, reader.sha.hexdigest(), reader.damaged_tail
    finally:
        os.close(fd)
    return found


def _note(found: Audit, entries: list[Entry], line: int) -> None:
    for entry in entries:
        match entry:
            case Session(event="start"):
                found.sittings.append(AuditedSession(line, entry))
            case Header() | Skipped(reason="duplicate"):
                pass  # the list of duplicates belongs to the header, which holds its SHA-256
            case _ if not found.sittings or found.sittings[-1].stop is not None:
                # The hash of no session covers an entry after the last stop, so there must be none.
                kind = type(entry).__name__.lower()
                raise Unreadable(f"line {line} holds an entry ({kind}) that no session wrote: none was under way")
            case Session():
                found.sittings[-1].stop = entry
            case _:
                pass


def _check_end(found: Audit, damaged_tail: int) -> None:
    """Refuse a torn line after the stop entry: a run that has stopped writes nothing more."""
    if damaged_tail and found.sittings and found.sittings[-1].stop is not None:
        raise Unreadable(f"{damaged_tail} bytes that no session wrote stand behind the last session's end")


def _add_up(progress: Progress) -> None:
    counts = counts_of(progress)
    if sum(counts.values()) != progress.rows or min(counts.values()) < 0:
        found = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        raise Unreadable(f"the counts do not add up to {progress.rows} rows: {found}")


def print_audit(path: Path, *, json: bool) -> int:
    """Print the audit. Raises NotAcceptable, after that, when a check fails."""
    path = find_log(path)
    found = audit(path)
    pid = holder(path, found.progress) if found.progress is not None else None
    if json:
        result(dumps(_json(found, path, pid)))
    else:
        for line in _lines(found, path, pid):
            result(line)
    if found.fault is not None:
        raise NotAcceptable(f"the audit failed: {found.fault}")
    return 0


def _lines(found: Audit, path: Path, pid: int | None) -> list[str]:
    lines: list[str] = []
    if found.progress is not None:
        header = found.progress.header
        pinned = header.pinned
        lines += [
            f"{path}: run {header.run_id}, begun {header.at} by {header.tool}",
            f"  job        {pinned['job']} on {pinned['host']}, pool {pinned['pool']}, by {pinned['id_type']}",
            f"  export     {header.export_path}, {counted(found.progress.rows, 'row')}, sha256 {pinned['sha256']}",
            f"  confirmed  {_confirmed(header.confirmed)}",
        ]
    for number, sitting in enumerate(found.sittings, 1):
        lines += _sitting_lines(number, sitting, pid if sitting is found.sittings[-1] else None)
    if found.damaged_tail and pid is None:
        lines.append(f"{counted(found.damaged_tail, 'torn byte')} at the end: unused, and cut off by the next run")
    if found.fault is not None:
        lines.append(f"audit: FAILED after {counted(found.commits, 'commit')}: {found.fault}")
    elif found.progress is not None:
        lines.append(
            f"audit: {counted(len(found.sittings), 'session')}, {counted(found.commits, 'commit')}, "
            f"SHA-256 {found.sha256}, the counts add up to {counted(found.progress.rows, 'row')}"
        )
    return lines


def _sitting_lines(number: int, sitting: AuditedSession, pid: int | None) -> list[str]:
    start, stop = sitting.start, sitting.stop
    facts = start.facts
    lines = [
        f"session {number}, line {sitting.line}: {start.at} to {stop.at if stop else _without_stop(pid)}",
        f"  by         {facts.get('user', '?')} on {facts.get('machine', '?')}, {facts.get('tool', '?')}",
        f"  command    {facts.get('command', '?')}",
    ]
    if facts.get("note"):
        lines.append(f"  note       {printable(facts['note'])}")
    if facts.get("confirmed"):
        lines.append(f"  confirmed  {_confirmed(facts['confirmed'])}")
    excluded = facts.get("excluded") or {}
    lines += [f"  excluded   the ids of {path}, sha256 {sha256}" for sha256, path in excluded.items()]
    if stop is not None:
        lines.append(f"  stopped    {stop.facts.get('why', '?')} (exit {stop.facts.get('exit', '?')})")
    lines.append(f"  log before {start.log_sha256} at its start")
    if stop is not None:
        lines.append(f"             {stop.log_sha256} at its stop")
    return lines


def _without_stop(pid: int | None) -> str:
    return (
        f"now, under way (pid {pid})"
        if pid is not None
        else "no stop entry: the run was killed, or the machine went down"
    )


def _confirmed(confirmed: Mapping[str, Any]) -> str:
    if "ids" not in confirmed:
        return "nothing"
    how = {"typed": "typed on a terminal", "options": "by --confirm and --pool"}.get(confirmed.get("how", ""))
    return f"{counted(confirmed['ids'], 'id')} in pool {confirmed.get('pool')}, {how or confirmed.get('how')}"


def _json(found: Audit, path: Path, pid: int | None) -> dict[str, Any]:
    data: dict[str, Any] = {
        "audit": "holds" if found.fault is None else "failed",
        "fault": found.fault,
        "checkpoint": printable(path),
        "log_sha256": found.sha256,
        "commits": found.commits,
        "damaged_tail": found.damaged_tail,
        "pid": pid,
        "sessions": [
            _sitting_json(sitting, pid if sitting is found.sittings[-1] else None) for sitting in found.sittings
        ],
    }
    if found.progress is not None and found.fault is None:
        header = found.progress.header
        data |= {
            **counts_of(found.progress),
            "rows": found.progress.rows,
            "run_id": header.run_id,
            "begun": header.at,
            "confirmed": dict(header.confirmed),
            "pinned": dict(header.pinned),
        }
    return data


def _sitting_json(sitting: AuditedSession, pid: int | None) -> dict[str, Any]:
    start, stop = sitting.start, sitting.stop
    return {
        "line": sitting.line,
        "start": start.at,
        "stop": stop.at if stop else None,
        "pid": pid,
        **{name: start.facts.get(name) for name in FACTS},
        "why": stop.facts.get("why") if stop else None,
        "exit": stop.facts.get("exit") if stop else None,
        "log_sha256": start.log_sha256,
        "log_sha256_at_stop": stop.log_sha256 if stop else None,
    }
