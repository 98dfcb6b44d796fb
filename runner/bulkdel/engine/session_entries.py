"""The first and the last entries of a session: the header of a new log, and the facts of its start and its stop.

They are the same for a run in one process and in shards.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.address import shown_address
from bulkdel.core.log_entries import Header, stamp
from bulkdel.core.run_state import RunState
from bulkdel.core.summary import Ending, exit_code, status_of
from bulkdel.engine.drain import Stop
from bulkdel.errors import FileFailed
from bulkdel.format import located, printable
from bulkdel.options import SECRET
from bulkdel.person import this_person
from bulkdel.place.lease import Terms
from bulkdel.place.log_place import EXCLUDED, PinnedFile
from bulkdel.place.opening import log_place
from bulkdel.run_place import logged_name
from bulkdel.safety.confirmation import Confirmed
from bulkdel.safety.plan_facts import header_values
from bulkdel.safety.protect import PROTECT
from bulkdel.safety.run_plan import RunPlan
from bulkdel.world import World


def create_log(plan: RunPlan, confirmed: Confirmed | None, world: World) -> Checkpoint:
    """Write the bad rows that are left out, then the rows of the run, and the log with its header. Blocks."""
    export = plan.export
    if export.invalid_to is not None and export.invalid is not None:
        export.invalid.write(export.invalid_to)
    place = log_place(plan.run, Terms.of(plan.arguments.settings, world))
    header, files = header_of(plan, confirmed, world), dict(export.new.files if export.new is not None else {})
    if header.excluded_sha256 is not None:
        files[PinnedFile(EXCLUDED, header.excluded_sha256)] = plan.excluded_file
    return Checkpoint.create(place, header, export.skipped, files)


def header_of(plan: RunPlan, confirmed: Confirmed | None, world: World) -> Header:
    """The header of the log of a new run."""
    export, words = plan.export, plan.arguments.job.words
    assert export.new is not None, "a run has its rows"
    return Header(
        tool=f"bulkdel {version('bulkdel')}",
        run_id=str(uuid.UUID(bytes=world.random_bytes(16), version=4)),
        at=stamp(world.wall()),
        pinned=header_values(plan),
        export_path=located(export.path),
        export_state=export.state,
        export_object=export.source.to_json() if export.source is not None else {},
        excluded=plan.excluded_files(),
        excluded_sha256=hashlib.sha256(plan.excluded_file).hexdigest() if plan.excluded_file else None,
        counts=export.counts,
        sample=plan.server.to_json() if plan.server.asked else None,
        confirmed=confirmed.to_json() if confirmed else {},
        names=words.names,
        noun=words.noun,
        keys={} if words.named_keys == words.names else words.named_keys,
        parameters=plan.parameters,
        input=export.new.pins,
        invalid=export.invalid.known() if export.invalid is not None else {},
        guards=plan.guards,
        shards=plan.shards,
    )


def start_facts(plan: RunPlan, confirmed: Confirmed | None, pid: int) -> dict[str, Any]:
    """Make the facts of a session's start entry: user, command, options, and what was confirmed."""
    settings = asdict(plan.arguments.settings)
    if settings["proxy"] is not None:  # its URL may carry a password
        settings["proxy"] = "PROXY"
    settings |= {name: name.upper() for name in SECRET if settings[name] is not None}
    to, log = plan.arguments.backup, plan.progress
    backup = None if to is None else logged_name(to, plan.run)
    was = log.backup[0] if plan.backup_known is not None and log is not None and log.backup is not None else backup
    return {
        **process_facts(pid),
        "command": str(plan.arguments.line),
        "to_go_on": plan.line.words,
        **({} if plan.arguments.claimed is None else {"as": plan.arguments.claimed}),
        "limit": settings["limit"],
        "note": settings["note"],
        "cwd": printable(Path.cwd()),
        "run": printable(plan.run.absolute()),
        "options": {name.rstrip("_"): _as_json(value) for name, value in settings.items()},
        "asked": dict(plan.export.counts),
        "excluded": plan.excluded_files(),
        "guards": plan.guards.to_json(),
        **({PROTECT: guarded} if (guarded := plan.arguments.config.get(PROTECT)) else {}),
        **({"verdicts": dict(plan.arguments.job.verdicts)} if plan.arguments.job.verdicts else {}),
        "backup": backup,
        **({"backup_was": was} if was != backup else {}),
        "memberships": logged_name(plan.memberships, plan.run) if plan.memberships else None,
        "confirmed": confirmed.to_json() if confirmed else None,
    }


def ending_of(
    stop: Stop | None, *, complete: bool, limit_reached: bool, log_failure: FileFailed | None, left: Callable[[], str]
) -> Ending:
    """How a session ended. A drain that was asked for after the last row does not count.

    stop: why it drained; None when it did not. complete: whether every row has its outcome. log_failure: of its log.
    left: says why rows are left when the session was not stopped.
    """
    done = complete or limit_reached
    if stop is not None and (stop.signal is not None or stop.drained) and done:
        stop = None
    why = stop.why if stop else ""
    if log_failure is not None:  # also where the patience with the server ended first, since nothing was sent
        why = str(log_failure)
    elif stop is None and not done:
        why = left()
    return Ending(
        why=why,
        signal=stop.signal if stop else None,
        file_failed=log_failure is not None or bool(stop and isinstance(stop.error, FileFailed)),
        halted=stop is not None and stop.signal is None and not stop.planned and not stop.drained,
        limit_reached=limit_reached,
        planned=stop is not None and stop.planned,
        drained=stop is not None and stop.drained,
    )


def stop_facts(
    plan: RunPlan, progress: RunState, ending: Ending, *, until: datetime | None, now: datetime, blind: bool
) -> dict[str, Any]:
    """The facts of the stop entry, without the figures. until: when it had to stop. blind: see docs/log-format.md."""
    lost = plan.arguments.not_restorable
    refused = progress.counts["refused"] + progress.counts["unknown"] + lost
    time_came = until is not None and now >= until and not progress.complete
    return {
        "why": ending.why or "done",
        **({"not_after": until.isoformat()} if until is not None and time_came else {}),
        **({} if progress.complete else {"to_go_on": plan.line_after(ending, now).words}),
        "status": status_of(ending, complete=progress.complete),
        "exit": exit_code(ending, complete=progress.complete, refused=refused),
        "limit_reached": ending.limit_reached,
        "blind": blind,
    }


def process_facts(pid: int) -> dict[str, Any]:
    """Make the facts about the process of a session: version, user, machine, pid."""
    person = this_person()
    return {"tool": f"bulkdel {version('bulkdel')}", "user": person.user, "machine": person.machine, "pid": pid}


def _as_json(value: Any) -> Any:
    """The value of an option as JSON."""
    if isinstance(value, Path | str):
        return shown_address(printable(value))
    return [_as_json(item) for item in value] if isinstance(value, list | tuple) else value
