"""`bulkdel forget`: remove the files of a run that hold personal data; the log and what it can prove stay.

find the files → list them → confirm → lock the logs → annotate `begun` → unlink, sync the folders → annotate `ended`

A kill in between leaves `begun` in the log, and the same command again finishes it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.annotation import Annotator, annotating
from bulkdel.checkpoint.reader import Unborn
from bulkdel.command_line import CommandLine
from bulkdel.commands.run_files import PersonalFile, RunFiles, files_of, identity_of, rows_without_a_log
from bulkdel.core.log_entries import Annotation, stamp
from bulkdel.durable import sync_directory
from bulkdel.engine.session_entries import process_facts
from bulkdel.errors import FileFailed, NotAcceptable, NotConfirmed
from bulkdel.format import counted, printable
from bulkdel.going_on import is_of_restore
from bulkdel.output import result, say
from bulkdel.place.finding import find_run, run_of
from bulkdel.place.opening import WRITING, log_place
from bulkdel.run_place import LOG, RUNS, undone_by
from bulkdel.safety.confirmation import How
from bulkdel.store_path import in_store
from bulkdel.world import WORLD

SOME_LEFT = 1
"""Exit code when files were left because they are links or not what the run wrote, or are not where they should be."""


def forget(path: Path, *, confirm: int | None, abandon: bool) -> int:
    """Remove the files of a run that hold personal data. path: its place, or its export. Returns the exit code."""
    try:
        place = find_run(path)
        runs = files_of(place)
    except NotAcceptable as error:
        raise _naming_rows(path, error) from error
    if is_of_restore(runs[0].progress):
        run = undone_by(place)
        how = f":\n  {CommandLine('forget', (str(run),))}" if run is not None else " by `bulkdel forget RUN`."
        raise NotAcceptable(
            f"{place}: is a restore. Nothing was removed. Its files are removed with those of its run{how}"
        )
    line = CommandLine("forget", (str(place),))
    line = line.plus("--abandon") if abandon else line
    _print_files(runs)
    _refuse_wanted(runs, line, abandon=abandon)
    count = sum(len(_to_remove(run)) for run in runs)
    if any(_removable(run) for run in runs):
        facts = {"confirmed": {"files": count, "how": _confirm(count, confirm, line)}}
    elif any(begun(run.progress.annotations) for run in runs):
        facts = {}  # nothing is left but to say in the log that it has ended
    else:
        say("There is nothing to remove.")
        return _code(runs)
    removed = _remove(runs, facts)
    result(f"removed {counted(len(removed), 'file')}, {sum(removed.values()):,} bytes; the log in {place} says so")
    return SOME_LEFT if _look_again(place, line) else _code(runs)


def _naming_rows(path: Path, error: NotAcceptable) -> NotAcceptable:
    """The same refusal; where no run has begun, or no log is, with the files that have rows of its export."""
    run = run_of(path)
    if in_store(path) or (run is not None and not isinstance(error, Unborn)):
        return error
    if run is not None:
        places = [run]
    else:
        near = (path.parent if path.name == LOG else path, *sorted(Path(f"{path}{RUNS}").glob("*/")))
        places = [place for place in near if not os.path.lexists(place / LOG)]
    rows = [str(file) for place in places for file in rows_without_a_log(place)]
    if not rows:
        return error
    why, mend = "No log of a run is there", "If the log was moved away, put it back. If no run has begun"
    if isinstance(error, Unborn):
        why, mend = "No run has begun", "To give that run up"
    return NotAcceptable(
        f"{str(error).rstrip('.')}. {why}, and rows of its export are in {', '.join(rows)}. {mend}, "
        "remove them yourself."
    )


def begun(annotations: Sequence[Annotation]) -> Mapping[str, int]:
    """The sizes by path of the files that an earlier command has begun to remove and has left."""
    latest = next((entry for entry in reversed(annotations) if entry.event == "forget"), None)
    if latest is None or latest.facts.get("state") != "begun":
        return {}
    return {file["path"]: file["bytes"] for file in latest.facts.get("files", ())}


def _removable(run: RunFiles) -> list[PersonalFile]:
    return [file for file in run.files if not file.why_left]


def _to_remove(run: RunFiles) -> dict[str, int]:
    """The sizes of the files by path: those that an interrupted command has removed, and those that are there."""
    now = {_name(file.path): file.size for file in _removable(run)}
    there = {file.path.name for file in run.files}  # also when the folder has been moved since
    before = begun(run.progress.annotations).items()
    return {name: size for name, size in before if Path(name).name not in there} | now


def _name(path: Path) -> str:
    return printable(path.absolute())


def _print_files(runs: Sequence[RunFiles]) -> None:
    for run in runs:
        result(f"{run.place}:")
        for file in _removable(run):
            result(f"  remove  {file.path}, {file.what}, {file.size:,} bytes")
        for file in run.files:
            if file.why_left:
                result(f"  left    {file.path}, {file.what}: it {file.why_left}")
        for named in run.missing:
            result(f"  missing {named.path}, {named.what}: if it has moved, remove it yourself")
        for named in run.stored:
            result(
                f"  left    {named.path}, {named.what}: it is in a store, where forget removes nothing. When you no "
                "longer need it, delete its objects with the tools of the store"
            )
        if run.export is not None:
            result(f"  left    {run.export}, your own export")
        new = f"{counted(run.new_id_count, 'new id')} of restored accounts, " if run.new_id_count else ""
        ids = f"{counted(run.id_count, 'refused or unknown id')} with the API's message, " if run.id_count else ""
        result(f"  stays   {log_place(run.place).log}, the log; it has {new}{ids}the names of user and machine")
    result(
        "A removed file is no longer in its folder. Its blocks on the disk are not overwritten, and copies elsewhere "
        "stay: reports of `results --out`, snapshots, backups of the machine."
    )
    for run in runs:
        copies = {Path(name).name for name, _ in run.progress.backups}
        if any(file.path.name in copies for file in _removable(run)):
            result(f"{run.place}: without the backup, nothing that this run has done can be restored any more.")


def _refuse_wanted(runs: Sequence[RunFiles], line: CommandLine, *, abandon: bool) -> None:
    """Refuse to remove what a run or a restore that is not complete needs. Raises NotAcceptable."""
    wanted = [(run.place, file) for run in runs for file in _removable(run) if file.wanted]
    if wanted and not abandon:
        which = ", ".join(f"{file.path} ({file.what})" for _, file in wanted)
        status = CommandLine("status", (str(wanted[0][0]),))
        raise NotAcceptable(
            f"rows or memberships remain, and a run of them needs {which}. Nothing was removed. How to go on "
            f"with the run:\n  {status}\nTo give up these rows and remove the files:\n  {line.plus('--abandon')}"
        )


def _confirm(count: int, given: int | None, line: CommandLine) -> How:
    """Compare the number of files, or ask for it on the terminal. Returns how it was confirmed; raises NotConfirmed."""
    again = f"Nothing was removed. To confirm:\n  {line.plus('--confirm', count)}"
    if given is None and sys.stdin is not None and sys.stdin.isatty():
        say(f"Type the number of files ({count}) to remove them, anything else to stop:")
        typed = sys.stdin.readline().strip().replace(",", "")
        if typed != str(count):
            raise NotConfirmed(f"not confirmed: {typed!r} is not {count}. {again}")
        return How.TYPED
    if given is None:
        raise NotConfirmed(f"not confirmed: --confirm is missing. {again}")
    if given != count:
        raise NotConfirmed(
            f"not confirmed: --confirm {given} was given, but there are {counted(count, 'file')}. {again}"
        )
    return How.OPTIONS


def _remove(runs: Sequence[RunFiles], facts: Mapping[str, Any]) -> dict[str, int]:
    """Remove the files of all runs, and note it in their logs. Returns the sizes of those that are gone, by path.

    facts: how it was confirmed.

    Raises NotAcceptable when a log has changed, FileFailed when a log cannot be written or a file not removed.
    """
    by = process_facts(WORLD.pid())
    with ExitStack() as stack:
        logs = [(run, stack.enter_context(annotating(log_place(run.place, WRITING)))) for run in runs]
        for run, log in logs:
            if log.sha256 != run.sha256:
                raise NotAcceptable(
                    f"{run.place}: has changed meanwhile. Nothing was removed. Run the same command again."
                )
        for run, log in logs:
            if files := _removable(run):
                now = {**by, "state": "begun", **facts, "files": _listed(run, files)}
                log.add("forget", now, stamp(WORLD.wall()))
        for run, _ in logs:
            for file in _removable(run):
                _unlink(file)
        return {name: size for run, log in logs for name, size in _end(run, log, by).items()}


def _listed(run: RunFiles, files: Sequence[PersonalFile]) -> list[dict[str, Any]]:
    """The files as the log keeps them; with those that an interrupted command has removed already."""
    now = {_name(file.path): file for file in files}
    latest = [entry for entry in run.progress.annotations if entry.event == "forget"][-1:]
    before = latest[0].facts.get("files", []) if begun(latest) else []
    return [
        *(file for file in before if file["path"] not in now),
        *({"path": name, "what": file.what, "bytes": file.size, "sha256": file.sha256} for name, file in now.items()),
    ]


def _unlink(file: PersonalFile) -> None:
    """Remove a file, unless it has changed since it was listed. Raises FileFailed."""
    try:
        if identity_of(file.path.lstat()) == file.identity:
            file.path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _failed(file.path, "removed", error) from error


def _end(run: RunFiles, log: Annotator, by: Mapping[str, Any]) -> dict[str, int]:
    """Make the removal durable, and note that it has ended. Returns the sizes of the files that are gone, by path.

    Also of those that an interrupted command has removed: it may not have come to the folder.
    """
    if not begun(log.progress.annotations):
        return {}
    gone = {name: size for name, size in _to_remove(run).items() if not os.path.lexists(name)}
    for folder in {Path(name).parent for name in gone}:
        try:
            sync_directory(folder / "any")
        except FileNotFoundError:
            pass  # it was moved after that command
        except OSError as error:
            raise _failed(folder, "made durable", error) from error
    counts = {"removed": len(gone), "bytes": sum(gone.values())}
    log.add("forget", {**by, "state": "ended", **counts}, stamp(WORLD.wall()))
    return gone


def _failed(path: Path, what: str, error: OSError) -> FileFailed:
    return FileFailed(
        f"{path}: cannot be {what}: {error.strerror}. Repair that, then run the same command again: it does the rest."
    )


def _look_again(path: Path, line: CommandLine) -> bool:
    """Say which files came meanwhile, such as the torn line that was cut off the log. Returns whether there are any."""
    try:
        new = [file for run in files_of(path) for file in _removable(run)]
    except NotAcceptable:  # a run has begun
        return False
    for file in new:
        say(f"{file.path}, {file.what}, was not there before, or has changed, and is not removed.")
    if new:
        say(f"To remove it too:\n  {line.plus('--confirm', len(new))}")
    return bool(new)


def _code(runs: Sequence[RunFiles]) -> int:
    left = any(run.missing or run.stored or any(file.why_left for file in run.files) for run in runs)
    return SOME_LEFT if left else 0
