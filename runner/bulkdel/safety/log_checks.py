"""The checks of a resume: whether the log of the run allows it, and whether it is of the same run.

NotAcceptable is exit 3.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulkdel.command_line import how_to_restore, how_to_take_back
from bulkdel.core.option import option_of
from bulkdel.core.run_state import Progress
from bulkdel.errors import NotAcceptable
from bulkdel.format import located, shown
from bulkdel.options import OPTIONS
from bulkdel.parameters import options_of_run
from bulkdel.safety.exclude import ExcludeFile
from bulkdel.safety.run_plan import RunPlan

OTHERWISE = "Give the export and the options of that run, or another place (--run) for a new one."


def check_not_undone(log: Progress | None, path: Path) -> None:
    """Refuse to resume a run after its restore has begun: the restore would miss what the run does from now on.

    Raises NotAcceptable.
    """
    if log is not None and not log.complete and (undo := log.undo) is not None:
        of_job = options_of_run(log.header.pinned["job"])
        raise NotAcceptable(
            f"{path}: a restore of this run has begun ({undo.at}), so the run is not resumed. Nothing was sent.\n"
            f"{how_to_restore(log, undo, path, of_job)}"
        )


def check_not_handed_over(log: Progress | None, path: Path) -> None:
    """Refuse to go on with a run from a log that was handed over: two machines would send its rows.

    Raises NotAcceptable.
    """
    if log is not None and (packed := log.handed_over) is not None:
        raise NotAcceptable(f"{path}: nothing was sent. {how_to_take_back(packed, path)}")


def check_excluded(log: Progress, files: Sequence[ExcludeFile], path: Path) -> bool:
    """Whether exclude files were added. Raises NotAcceptable when a file of the run is missing or has changed."""
    now, before = {file.key for file in files}, log.excluded
    gone = {sha256: name for sha256, name in before.items() if sha256 not in now}
    if gone and not log.complete:
        given = {located(file.path) for file in files}
        changes = [
            f"  {name}: {'was changed since' if name in given else 'is not given now'} (its SHA-256 was {sha256})"
            for sha256, name in gone.items()
        ]
        raise NotAcceptable(
            f"{path}: this run was started with other exclude files. Nothing was sent.\n"
            + "\n".join(changes)
            + "\nGive each of these as it was (--exclude); more may be added."
        )
    return any(sha256 not in before for sha256 in now)


def check_guards(plan: RunPlan) -> None:
    """Refuse a resume with guards that spare fewer accounts than before. Raises NotAcceptable."""
    log = plan.progress
    if log is None or log.complete or not (loosened := plan.guards.loosened(log.guards)):
        return
    kept, changes = plan.guards, []
    for guard, before, now in loosened:
        kept = replace(kept, **{guard.name: getattr(log.guards, guard.name)})
        old, new = (", ".join(values) or "none" for values in (before, now))
        changes.append(f"  {guard.option}: the log has {old}, this run has {new}")
    line = plan.line.without("--spare", "--only-status")
    for option, values in kept.options.items():
        line = line.plus(option, *values)
    raise NotAcceptable(
        f"{plan.run}: this run was started with guards that spare more. A resume may add guards and tighten "
        "them. Nothing was sent.\n" + "\n".join(changes) + f"\nTo go on:\n  {line}"
    )


def refuse_differences(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    path: Path,
    *,
    leave_out: Collection[str] = (),
    otherwise: str = OTHERWISE,
) -> None:
    """Compare the pinned values of the header with this run. Raises NotAcceptable naming each difference.

    otherwise: what the user can do.
    """
    # Members of `source` and `table`, and the parameters, move up: a message names the member that differs.
    old, new = (
        {
            **{name: value for name, value in pinned.items() if name not in {"source", "table", "parameters"}},
            **pinned.get("source", {}),
            **pinned.get("table", {}),
            **{option_of(name): _compared(value) for name, value in pinned.get("parameters", {}).items()},
        }
        for pinned in (before, now)
    )
    different = [
        f"  {shown(_pinned_words(name))}: the log has {old.get(name)!r}, this run {new.get(name)!r}"
        for name in {**new, **old}
        if name not in leave_out and _json_of(old.get(name)) != _json_of(new.get(name))
    ]
    if different:
        raise NotAcceptable(
            f"{path}: belongs to another run, nothing was sent.\n" + "\n".join(different) + f"\n{otherwise}"
        )


def _pinned_words(name: str) -> str:
    """What a pinned value is: the option that sets it, or what it says of the export."""
    words = {"sha256": "SHA-256 of the export", "bytes": "bytes of the export"}
    return words.get(name) or (option_of(name) if name in OPTIONS else name)


def _json_of(value: Any) -> str:
    """A value as text. `true` and 1 differ in it, as they do for a server."""
    return json.dumps(value, sort_keys=True)


def _compared(parameter: Any) -> Any:
    """The part of a parameter that must be the same: of a file its content, not its path; of a list the set."""
    if isinstance(parameter, list):
        return sorted(set(parameter))
    return f"a file with SHA-256 {parameter['sha256']}" if isinstance(parameter, dict) else parameter
