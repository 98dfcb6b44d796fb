"""`status --audit` in words and as JSON. What is checked, `bulkdel.commands.audit` knows."""

from __future__ import annotations

from collections.abc import Mapping
from json import dumps
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.reader import find_log
from bulkdel.checkpoint.writer import holder
from bulkdel.commands.audit import Audit, AuditedSession, audit
from bulkdel.core.summary import counts_of
from bulkdel.errors import NotAcceptable
from bulkdel.format import counted, printable
from bulkdel.output import result

FACTS = ("user", "machine", "tool", "command", "cwd", "options", "confirmed", "asked", "excluded", "backup")
"""Of a session's start, what the audit repeats."""


def audited(path: Path, *, json: bool) -> int:
    """Print the audit. Raises NotAcceptable, after that, when something does not hold."""
    path = find_log(path)
    pid = holder(path)
    found = audit(path)
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
        lines.append(
            f"{counted(found.damaged_tail, 'torn byte')} at the end: nothing relied on them; the next run cuts them off"
        )
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
        f"session {number}, line {sitting.line}: {start.at} to {stop.at if stop else _endless(pid)}",
        f"  by         {facts.get('user', '?')} on {facts.get('machine', '?')}, {facts.get('tool', '?')}",
        f"  command    {facts.get('command', '?')}",
    ]
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


def _endless(pid: int | None) -> str:
    return f"now, under way (pid {pid})" if pid is not None else "no stop: it was killed, or the machine went down"


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
