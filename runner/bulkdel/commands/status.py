"""`bulkdel status`: progress and counts of a run, from its log alone. With --audit, whether the log is unchanged.

With --watch, the status again and again until the run ends, on any terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.audit import Audit, AuditedSession, audit
from bulkdel.checkpoint.reader import SoundLog, read_log
from bulkdel.checkpoint.takeover import holder
from bulkdel.command_line import CommandLine
from bulkdel.commands.results import UNREAD
from bulkdel.commands.watching import watch
from bulkdel.core.guards import Guards
from bulkdel.core.log_entries import Annotation, Change, ChangedBy, Header
from bulkdel.core.run_state import RunState
from bulkdel.core.shards import shard_numbers
from bulkdel.core.summary import FIGURES, KILLED, count_lines, counts_of, state_of, summary_of
from bulkdel.core.target_state import GONE
from bulkdel.core.verification import Counts
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.format import counted, printable, shown
from bulkdel.going_on import how_to_go_on, how_to_go_on_restoring, is_of_restore, to_pack
from bulkdel.job import load_job
from bulkdel.live.ask import live_status
from bulkdel.live.status_lines import now_lines, status_lines
from bulkdel.log_words import SOURCES, change_words, confirmed_words, done_words, user_words
from bulkdel.output import result, result_line
from bulkdel.own_key import read_key
from bulkdel.parameters import by_option
from bulkdel.place.opening import log_place
from bulkdel.run_place import short_name
from bulkdel.verify.findings import read_findings

USER = ("user", "machine", "as")
"""Facts of a session's start entry that name its user. `as` is the name of --as."""

FACTS = (*USER, "tool", "command", "cwd", "options", "note", "confirmed", "asked", "excluded", "guards", "backup")
"""Facts of a session's start entry that `--audit` shows."""


def print_status(run: Path, *, json: bool, environ: Mapping[str, str]) -> int:
    """Print progress and counts of a run; of one that is under way, also what it does now. run: its place."""
    log = read_log(log_place(run))
    progress = log.progress
    pid = holder(log_place(run), progress)
    state = "running" if pid is not None else state_of(progress)
    live = live_status(run, environ) if pid is not None else None
    if json:
        stop = dict(progress.stop.facts) if progress.stop else {}
        figures = {**stop, **{name: live[name] for name in FIGURES if live and name in live}}
        exit_code = stop.get("exit")
        summary = summary_of(progress, state, figures, run=printable(run), log_sha256=log.sha256, exit_code=exit_code)
        more = {
            "in_doubt": progress.in_doubt.size,
            "sessions": progress.sessions,
            "note": progress.note,
            "plan": progress.plan,
            "run_by": None if progress.start is None else {name: progress.start.facts.get(name) for name in USER},
            "pid": pid,
            "live": live,
            "guards": progress.guards.to_json(),
            "annotations": [_annotation_values(annotation) for annotation in progress.annotations],
        }
        result(dumps(summary | more))
        return 0
    now = state if live is None else live["state"]
    result_line(f"{run}: {now}" + (f" (pid {pid})" if pid is not None else ""))
    _print_run(progress)
    for line in (*count_lines(progress), *_verified(run, log, environ)):
        result_line(line)
    for annotation in standing(progress.annotations):
        result_line(f"  {annotation.event:<10} {annotation_words(annotation)}")
        if annotation.event == "forget" and annotation.facts.get("state") != "ended":
            result_line(f"  to end it: {CommandLine('forget', (str(run),))}")
    if live is not None:
        result("\n".join(now_lines(run, live)))
    if pid is not None:
        return 0
    for line in _of_a_cut(log, state):
        result_line(f"  {line}")
    if not progress.complete or not (progress.undo is None or progress.undo.is_restored):
        _print_how_to_go_on(progress, run, environ)
    for noted in progress.restores.values():
        if noted.facts.get("only") and not noted.is_restored:
            result(how_to_go_on_restoring(progress, noted, run))
    return 0


def _of_a_cut(log: SoundLog, state: str) -> Iterator[str]:
    """Yield what is known of a session that was cut off, and of rows without a response."""
    progress = log.progress
    if state == KILLED:
        why = "its process was killed, the machine went down, or the log could not be written"
        yield f"the last session has no end in the log: {why}"
    if progress.in_doubt.size:
        them = "it" if progress.in_doubt.size == 1 else "them"
        remaining = f"{progress.in_doubt.size:,} of the remaining may have been sent: the log has no response"
        yield remaining + ("; not restored" if progress.undo else f"; the next run looks {them} up")
    if log.damaged_tail:
        yield f"the log ends in {counted(log.damaged_tail, 'torn byte')}, which the next run cuts off"


def _verified(run: Path, log: SoundLog, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what the latest verification has found."""
    findings, _ = read_findings(run, log.progress, read_key(environ))
    if findings is None or findings.start is None:
        return
    pinned, state = findings.header.pinned, GONE
    with suppress(UsageError):  # the job is not installed here
        state = load_job(log.progress.header.pinned["job"]).target_state
    counts = Counts.of(log.progress, findings, pinned.get("sample"))
    found = f"{counts.gone:,} {state.reached}, {counts.still_there:,} {state.not_reached}"
    notes = [] if findings.proven else ["not by this user"]
    if pinned.get("log_sha256") != log.sha256:
        notes.append("the log has grown since")
    elif counts.could_not_tell:
        notes.append(f"{counts.could_not_tell:,} could not tell")
    at = (findings.stop or findings.start).at
    yield f"  verified   at {at}: {'; '.join((found, *notes))}"


def plan_lines(progress: RunState) -> list[str]:
    """By which user a run was planned, and by which it was run last; none for a run without a plan file."""
    if (plan := progress.plan) is None or progress.start is None:
        return []
    return [
        f"  planned by {user_words(plan.get('planned_by'))}, at {plan.get('planned_at', '?')}",
        f"  run by     {user_words(progress.start.facts)}",
    ]


def _print_run(progress: RunState) -> None:
    _print_job(progress.header)
    result_line(
        f"  export     {progress.header.export_path}, {counted(progress.rows, 'row')}, begun {progress.header.at}"
    )
    if shards := shard_numbers(progress.header):
        result_line(f"  shards     {len(shards)}, each with a log of its own")
    _print_guards(progress.guards)
    for line in plan_lines(progress):
        result_line(line)
    if progress.note:
        result_line(f"  note       {printable(progress.note)}")


def _print_how_to_go_on(progress: RunState, run: Path, environ: Mapping[str, str]) -> None:
    result(how_to_go_on(progress, run, read_key(environ)))
    if progress.undo is not None or progress.handed_over is not None or progress.start is None:
        return
    if (pack := to_pack(progress, run)) is not None:
        which = "it, with its run," if is_of_restore(progress) else "it"
        out = f"{short_name(Path(pack.names[0]))}.tar.zst"
        result(f"To hand {which} over to another user or machine:\n  {pack.plus('--out', out)}")


def standing(annotations: Sequence[Annotation]) -> list[Annotation]:
    """Those that say what holds now: of each undo the latest, and every removal, also one that has only begun."""
    latest: dict[object, Annotation] = {}
    for number, entry in enumerate(annotations):
        forgot = entry.event == "forget" and entry.facts.get("state") == "ended"
        latest.pop(key := (entry.event, entry.facts.get("run")), None)
        latest[number if forgot else key] = entry
    return list(latest.values())


def annotation_words(annotation: Annotation) -> str:
    """What was done, when and by which user, and where it is."""
    facts, (done, much) = annotation.facts, done_words(annotation)
    where = {"handover": ("into", "archive"), "undo": ("see", "run")}.get(annotation.event)
    words = f"{done} on {annotation.at} by {user_words(facts)}" + (f": {much}" if much else "")
    return words if where is None else f"{words}, {where[0]} {shown(facts.get(where[1], '?'))}"


def _annotation_values(annotation: Annotation) -> dict[str, Any]:
    kept = {"event": annotation.event, "at": annotation.at, "log_sha256": annotation.log_sha256}
    return {**kept, **annotation.facts}


def _print_job(header: Header) -> None:
    pinned = header.pinned
    pool = "not signed in" if pinned["pool"] is None else f"pool {pinned['pool']}"
    result_line(f"  job        {pinned['job']} on {pinned['host']}, {pool}, by {pinned['id_type']}")
    for option, value in by_option(header.parameters):
        result_line(f"  {'option':<10} {option} {value}")


def _print_guards(guards: Guards) -> None:
    for option, values in guards.options.items():
        result_line(f"  guard      {option} {', '.join(values)}")


def print_audit(run: Path, *, json: bool, expect: str | None = None) -> int:
    """Print the audit, then raise NotAcceptable when a check has failed. expect: the SHA-256 that the log has to have.

    The log has no key: a user with write access can write all of it anew. Only a hash that is kept elsewhere shows it.
    """
    found = audit(log_place(run))
    if found.fault is None and expect is not None and expect.strip().lower() != found.sha256:
        found = replace(found, fault=f"{run}: is not the log that was expected: its SHA-256 is {found.sha256}")
    pid = holder(log_place(run), found.progress) if found.progress is not None else None
    sessions = [_session_values(session) for session in found.sessions]
    for values in sessions:
        values["pid"] = pid if values is sessions[-1] else None
    if json:
        result(dumps(_audit_values(found, run, pid, sessions)))
    else:
        _print_lines(found, run, pid, sessions)
    if found.fault is not None:
        raise NotAcceptable(f"the audit failed: {found.fault}")
    return 0


def _session_values(session: AuditedSession) -> dict[str, Any]:
    start, stop = session.start, session.stop
    return {
        "line": session.line,
        "start": start.at,
        "stop": stop.at if stop else None,
        **{name: start.facts.get(name) for name in FACTS},
        "why": stop.facts.get("why") if stop else None,
        "exit": stop.facts.get("exit") if stop else None,
        "changes": [_change_values(change) for change in session.changes],
        "log_sha256": start.log_sha256,
        "log_sha256_at_stop": stop.log_sha256 if stop else None,
    }


def _change_values(change: Change) -> dict[str, Any]:
    return {
        "at": change.at,
        "what": change.what.value,
        "value": change.value,
        "source": change.source.value,
        "user": change.user,
        "confirmed": change.confirmed,
        "words": change_words(change),
    }


def _audit_values(found: Audit, run: Path, pid: int | None, sessions: list[dict[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "audit": "holds" if found.fault is None else "failed",
        "fault": found.fault,
        "run": printable(run),
        "log_sha256": found.sha256,
        "commits": found.commits,
        "damaged_tail": found.damaged_tail,
        "pid": pid,
        "sessions": sessions,
        "annotations": [{"line": line, **_annotation_values(entry)} for line, entry in found.annotations],
    }
    if found.progress is not None and found.fault is None:
        header = found.progress.header
        values |= {
            **counts_of(found.progress),
            "rows": found.progress.rows,
            "run_id": header.run_id,
            "begun": header.at,
            "confirmed": dict(header.confirmed),
            "pinned": dict(header.pinned),
        }
    return values


def _print_lines(found: Audit, run: Path, pid: int | None, sessions: list[dict[str, Any]]) -> None:
    if found.progress is not None:
        header, rows = found.progress.header, counted(found.progress.rows, "row")
        result_line(f"{run}: run {header.run_id}, begun {header.at} by {header.tool}")
        _print_job(header)
        result_line(f"  export     {header.export_path}, {rows}, sha256 {header.pinned['sha256']}")
        result_line(f"  confirmed  {confirmed_words(header.confirmed)}")
    for number, session in enumerate(sessions, 1):
        _print_session(number, session)
    for line, annotation in found.annotations:
        result_line(f"annotation, line {line}: {annotation_words(annotation)}")
        result_line(f"  log before {annotation.log_sha256}")
    if found.damaged_tail and pid is None:
        result_line(f"{counted(found.damaged_tail, 'torn byte')} at the end: unused, and cut off by the next run")
    commits = counted(found.commits, "commit")
    if found.fault is not None:
        result_line(f"audit: FAILED after {commits}: {found.fault}")
    elif found.progress is not None:
        facts = f"{counted(len(sessions), 'session')}, {commits}, SHA-256 {found.sha256}"
        result_line(f"audit: {facts}, the counts add up to {counted(found.progress.rows, 'row')}")


def _print_session(number: int, session: Mapping[str, Any]) -> None:
    stop = session["stop"] or "no stop entry: the run was killed, or the machine went down"
    if session["pid"] is not None:
        stop = f"now, under way (pid {session['pid']})"
    result_line(f"session {number}, line {session['line']}: {session['start']} to {stop}")
    result_line(f"  by         {user_words(session)}, {session['tool'] or '?'}")
    result_line(f"  command    {session['command'] or '?'}")
    if session["note"]:
        result_line(f"  note       {printable(session['note'])}")
    if session["confirmed"]:
        result_line(f"  confirmed  {confirmed_words(session['confirmed'])}")
    for sha256, name in (session["excluded"] or {}).items():
        result_line(f"  excluded   the ids of {name}, sha256 {sha256}")
    _print_guards(Guards.from_json(session["guards"] or {}))
    for change in session["changes"]:
        user = f" by {printable(change['user'])}" if change["user"] else ""
        result_line(f"  changed    {change['at']}{user}, {SOURCES[ChangedBy(change['source'])]}: {change['words']}")
    if session["stop"]:
        result_line(f"  stopped    {session['why'] or '?'} (exit {session['exit']})")
    result_line(f"  log before {session['log_sha256']} at its start")
    if session["stop"]:
        result_line(f"             {session['log_sha256_at_stop']} at its stop")


def watch_run(run: Path, environ: Mapping[str, str]) -> int:
    """Show the status of a run until it ends, then how it ended. run: its place.

    Returns the exit code: 141 when the reader of stdout has left (`| head`).
    """
    if not watch(lambda: _text_now(run, environ)):
        return UNREAD
    return print_status(run, json=False, environ=environ)


def _text_now(run: Path, environ: Mapping[str, str]) -> str | None:
    """The status of the run now: from the run, or else from its log. None when none is under way."""
    if (status := live_status(run, environ)) is not None:
        return "\n".join(status_lines(run, status))
    progress = read_log(log_place(run)).progress
    if (pid := holder(log_place(run), progress)) is None:
        return None
    note = "  it does not answer, so this is from its log alone"
    return "\n".join([f"{run}: running (pid {pid})", *count_lines(progress), note])
