"""The checks of a resume: whether the log of the run allows it, and whether it is of the same run.

NotAcceptable is exit 3.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.reader import original_of, read_log
from bulkdel.command_line import AS_CONFIRMED, CommandLine
from bulkdel.core.id_type import IdType
from bulkdel.core.option import option_of
from bulkdel.core.run_state import RunState
from bulkdel.errors import NotAcceptable
from bulkdel.format import counted, located, shown
from bulkdel.going_on import how_to_go_on, how_to_go_on_restoring, how_to_restore, how_to_take_back
from bulkdel.options import OPTIONS
from bulkdel.place.opening import log_place
from bulkdel.run_place import KEEP, restore_place, undone_by
from bulkdel.safety.exclude import ExcludeFile
from bulkdel.safety.export_reading import other_rows
from bulkdel.safety.plan_facts import header_values
from bulkdel.safety.run_plan import OpenedRun, RunPlan
from bulkdel.store_path import in_store

OTHERWISE = "Give the export and the options of that run, or another place (--run) for a new one."


def check_not_handed_over(log: RunState | None, path: Path) -> None:
    """Refuse to go on with a run from a log that was handed over: two machines would send its rows.

    Raises NotAcceptable.
    """
    if log is not None and (packed := log.handed_over) is not None:
        raise NotAcceptable(f"{path}: nothing was sent. {how_to_take_back(packed, path)}")


def check_goes_on(opened: OpenedRun) -> None:
    """Refuse to resume a run that was handed over, or whose restore has begun: that would miss what the run does now.

    Raises NotAcceptable.
    """
    log, path = opened.log, opened.arguments.run
    check_not_handed_over(log, path)
    if log is not None and not log.complete and (undo := log.undo) is not None:
        raise NotAcceptable(
            f"{path}: a restore of this run has begun ({undo.at}), so the run is not resumed. Nothing was sent.\n"
            f"{how_to_restore(log, undo, path)}"
        )


def check_restored(opened: OpenedRun) -> None:
    """Refuse a resume before a restore by --only has ended, or without the ids that it has brought back.

    See `kept_by_restores`. Raises NotAcceptable.
    """
    log, run = opened.log, opened.arguments.run
    if log is None or not may_name_restored(log, opened.id_type):
        return
    names_it = "a row that remains may name one of its accounts by another spelling. Nothing was sent."
    for number, undo in sorted(log.restores.items()):
        if not undo.is_restored:
            how = how_to_go_on_restoring(log, undo, run)
            raise NotAcceptable(f"{run}: restore-{number} of this run has not ended, and {names_it}\n{how}")
    for keep in kept_by_restores(log, run, opened.id_type):
        if not os.path.lexists(keep):
            raise NotAcceptable(
                f"{keep}: is not there. It has the ids that a restore of this run has brought back, and {names_it} "
                "Put it back, then run the same command again."
            )


def may_name_restored(log: RunState, id_type: IdType) -> bool:
    """Whether a row that remains may name an account that a restore of this run has brought back.

    The row of that account is settled. But where an id may have several spellings, another row may name it too.
    """
    return id_type.reusable and not log.complete


def kept_by_restores(log: RunState, run: Path, id_type: IdType) -> list[Path]:
    """The files with the ids that restores of this run have brought back, which a resume excludes."""
    back = sorted(log.back) if may_name_restored(log, id_type) else ()
    return [restore_place(run, number) / KEEP for number in back]


def check_no_copy(opened: OpenedRun) -> None:
    """Refuse a copy of a run that is still there: each would send what the other one has sent. Raises NotAcceptable.

    One that was handed over goes on in its copy. The hand-over of a restore is in the log of its run.
    """
    run, log = opened.arguments.run, opened.log
    if log is None or log.complete or not opened.log_trusted:
        return
    original = original_of(run, log)
    first = original if original is None else undone_by(original) or original
    if first is not None and read_log(log_place(first)).progress.handed_over is None:
        raise NotAcceptable(
            f"{run}: is a copy of the run in {original}, which is still there, and ids would be sent twice. Nothing "
            "was sent. Go on with that one; or, if this one is to go on, move the other one away."
        )


def check_excluded(log: RunState, files: Sequence[ExcludeFile], path: Path) -> bool:
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


def check_pinned(plan: RunPlan) -> None:
    """Refuse a resume that differs from the run. Raises NotAcceptable."""
    arguments, log = plan.arguments, plan.progress
    if log is None:
        return
    before = {**log.header.pinned, "parameters": log.header.parameters}
    now = {**header_values(plan), "parameters": plan.parameters}
    otherwise = (
        f"Give the options that the restore was begun with, and leave {plan.run} as it is: a run has one restore."
        if arguments.undoes is not None
        else _anew(plan, log)
    )
    if before["sha256"] != now["sha256"] and arguments.undoes is None:
        resume = CommandLine("resume", (str(arguments.run),)).plus_given(arguments.settings.connection)
        resume = resume.plus(AS_CONFIRMED)
        otherwise += f"\nTo go on with the rows that were confirmed, whatever the export has now:\n  {resume}"
    refuse_differences(before, now, arguments.run, leave_out={"pool"}, otherwise=otherwise)


def _anew(plan: RunPlan, log: RunState) -> str:
    """What to do about a run that differs from that of the log. Without any outcome it may be begun anew.

    But not where a row in doubt may be gone, and another account may have its id by now. With any other row in doubt
    the resume comes first.
    """
    path, doubts = plan.run, log.in_doubt.size
    if log.outcomes or (doubts and plan.id_type.reusable) or in_store(path):
        return OTHERWISE
    names = (path.with_name(f"{path.name}.anew{number}") for number in ("", *range(2, 100)))
    line = plan.line.plus("--run", next((name for name in names if not os.path.lexists(name)), path))
    anew = f"may be begun anew, in a place of its own:\n  {line}"
    if not doubts:
        return f"{OTHERWISE} No row of that run has an outcome, so it {anew}"
    resume = how_to_go_on(log, path, plan.own_key)
    return (
        f"{counted(doubts, 'row', 'is', 'are')} in doubt there: sent, and no response came. A resume of "
        "that run, with its options and its config, looks them up first. A new run knows nothing of them, and may call "
        f"absent what that run has {plan.words.done}.\n{resume}\nOnly where its request was wrong, it {anew}"
    )


def check_as_logged(plan: RunPlan) -> None:
    """Refuse a log that says of the export what is not so: other rows would be sent. Raises NotAcceptable.

    A log may leave out more rows than the export and the exclude files do, because guards have spared some.
    """
    log = plan.progress
    if log is None or not plan.read_anew:
        return
    newly = {"excluded"} if plan.more_excluded else set()
    skipped = (rows for reason, rows in plan.export.skipped.by_reason.items() if reason not in newly)
    if any(log.untouched(rows).size for rows in skipped):
        raise other_rows(plan.run)


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
        f"  {shown(_pinned_words(name))}: the log has {_told(old.get(name))}, this run {_told(new.get(name))}"
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


def _told(value: Any) -> str:
    return "none" if value is None else repr(value)
