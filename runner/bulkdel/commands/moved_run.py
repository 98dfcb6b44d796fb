"""How a run goes on that was moved or copied to another folder: its command, with the files that lie there.

The log has the command and the folder of its last session. After a move they may be those of another machine.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.reader import header_of
from bulkdel.command_line import (
    AS_CONFIRMED,
    RUN_AGAIN,
    TO_TYPE,
    CommandLine,
    NextCommand,
    goes_on,
    how_to_resume,
    line_of_log,
    next_command,
    typed_words,
    why_not_resumed,
    without_words,
    words_of,
)
from bulkdel.core.address import address_of
from bulkdel.core.handover import MANIFEST, MANIFEST_MAX, PACKED_LOG, PLACE, GoingOn, Manifest, Unfit, paths_of
from bulkdel.core.option import ENV_PREFIX
from bulkdel.core.run_state import RunState
from bulkdel.errors import BulkdelError, NotAcceptable, UsageError
from bulkdel.format import printable, shown
from bulkdel.job import SANDBOX, Job, TargetOptions, load_job
from bulkdel.options import CONFIRMING, FILES
from bulkdel.parameters import from_pinned, options_of_archive, options_of_run
from bulkdel.place.log_place import INDEX, INPUT, PinnedFile
from bulkdel.place.opening import log_place
from bulkdel.regular_file import open_regular
from bulkdel.run_place import default_place, home_of, is_same
from bulkdel.safety.plan_from_file import PlanFile
from bulkdel.safety.protect import PROTECT
from bulkdel.store_path import StorePath
from bulkdel.variables import holds_table, merged, table_of, toml_in


def job_of(name: str, command: str) -> Job:
    """The job whose options a command that goes on has: that of the run, or its undo. Raises UsageError."""
    job = load_job(name)
    return job if command != "restore" or job.undo is None else load_job(job.undo)


def target_options(
    job: Job, progress: RunState, run: Path, config: Mapping[str, Any], environ: Mapping[str, str]
) -> TargetOptions:
    """The API of a run, as its log has it. config: all tables. Raises NotAcceptable for parameters of another job."""
    parameters = from_pinned(job, progress.header.parameters, run)
    return TargetOptions(progress.header.pinned["host"], config.get(job.config_table, {}), environ, parameters)


def tables_of(job: Job) -> frozenset[str]:
    """The tables of a config file that a run of this job, and its restore, read. Raises UsageError."""
    return frozenset({PROTECT, job.config_table, *([] if job.undo is None else [load_job(job.undo).config_table])})


def check_going_on(manifest: Manifest, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse a hand-over with what no archive may set. config: its config file. Returns the tables that it has.

    Raises Unfit, and UsageError for a job that is not installed, or cannot be described so.
    """
    going_on = manifest.going_on
    job = load_job(manifest.job)
    variables = {} if going_on is None else going_on.variables
    for name, value in variables.items():
        if holds_table(value):
            raise Unfit(f"sets {name} to a table, which no archive may do")
    if going_on is not None and going_on.command != "restore" and "--plan" not in going_on.options:
        practised = "--sandbox" in going_on.options
        if practised is not (manifest.host == SANDBOX):
            raise Unfit("holds a command with another host than that of the run")
    tables = merged(config, table_of(variables, ENV_PREFIX))
    allowed = {} if going_on is None else options_of_archive(job_of(manifest.job, going_on.command))
    manifest.check_going_on(allowed, tables, tables_of(job))
    return tables


def check_unpacked(manifest: Manifest, folder: Path, progress: RunState) -> Mapping[str, Any]:
    """Refuse a hand-over whose log, config or plan is not that of its run. Returns the tables that it has.

    folder: with its files. progress: of the log there. Raises NotAcceptable.
    """
    header, pinned = progress.header, progress.header.pinned
    if (header.run_id, pinned["job"], pinned["host"], pinned["pool"]) != (
        *(manifest.run_id, manifest.job, manifest.host, manifest.pool),
    ):
        raise NotAcceptable(f"{PACKED_LOG}: is not the log of the run that the archive names. Nothing was unpacked.")
    if (manifest.remaining, manifest.going_on is not None) != (progress.remaining, goes_on(progress)):
        raise NotAcceptable(
            f"{PACKED_LOG}: what the archive says of what remains is not what the log says. Nothing was unpacked. "
            "Get the archive again."
        )
    try:
        tables = check_going_on(manifest, tables_in(manifest, folder))
        job = load_job(manifest.job)
        if job.config_table in tables:
            job.configured(tables[job.config_table])
        for name in () if manifest.going_on is None else manifest.going_on.options.get("--plan", ()):
            _check_plan(folder / name, manifest)
    except (Unfit, UsageError) as error:
        raise NotAcceptable(f"the archive {shown(error)}. Nothing was unpacked. Get the archive again.") from error
    return tables


def _check_plan(path: Path, manifest: Manifest) -> None:
    if PlanFile.read(path).values["host"] != manifest.host:
        raise Unfit("holds a plan of another host than that of the run")


def tables_in(manifest: Manifest, folder: Path) -> Mapping[str, Any]:
    """The tables of the config file of a hand-over. Raises NotAcceptable."""
    if manifest.config is None:
        return {}
    try:
        return toml_in((folder / manifest.config).read_text(encoding="utf-8"))
    except ValueError as error:
        raise NotAcceptable(f"{manifest.config}: is no TOML. Nothing was unpacked. Get the archive again.") from error


def how_to_go_on(progress: RunState, run: Path, own_key: bytes | None) -> str:
    """What resumes the run, where it is now, in words. run: its place."""
    found = next_or_why(progress, run, own_key)
    return found if isinstance(found, str) else how_to_resume(progress, found)


def next_or_why(progress: RunState, run: Path, own_key: bytes | None) -> NextCommand | str:
    """The command that resumes the run, or why none does and what to do."""
    try:
        found = next_of(progress, run, own_key)
    except ValueError:
        found = None
    if found is not None and progress.handed_over is None and found.line.command == "restore":
        return found
    return why_not_resumed(progress, run, options_of_run(progress.header.pinned["job"])) or found or RUN_AGAIN


def next_of(progress: RunState, run: Path, own_key: bytes | None) -> NextCommand:
    """The command that resumes the run where it is now: there, moved, or unpacked. See `next_command`."""
    start, of_job = progress.start, options_of_run(progress.header.pinned["job"])
    if isinstance(run, StorePath) or start is None:
        return next_command(progress, run, of_job, own_key)
    if (unpacked := _unpacked(run, progress)) is not None and (going_on := unpacked.going_on) is not None:
        line, _ = line_in(Path(), unpacked, going_on, datetime.now(UTC))
        left_out = without_words(*(f"--host {host}" for host in line.options.get("--host", ())))
        return NextCommand(line.without("--host"), printable(run.absolute().parent), left_out)
    line, left_out = line_of_log(words_of(progress, own_key), run, of_job, typed_words(progress, own_key))
    if line.command != "run" or is_same(Path(str(start.facts.get("run", run))), run):
        return next_command(progress, run, of_job, own_key)
    if not line.names:  # an approved plan has them
        line = replace(line, names=(progress.header.pinned["job"], progress.header.export_path))
    folder = _folder_of(run.absolute(), start.facts)
    line, missing = _in_folder(line, run, folder)
    moved = next_command(progress, run, of_job, own_key, (line.words, printable(folder)))
    return replace(moved, left_out=moved.left_out + left_out, missing=tuple(missing))


def line_in(folder: Path, manifest: Manifest, going_on: GoingOn, now: datetime) -> tuple[CommandLine, str | None]:
    """The command with the files where they are now, and the --not-after that was left out because it has passed.

    It names the host of the run, whatever the config and the environment say.
    """
    paths = paths_of(going_on.options, options_of_archive(job_of(manifest.job, going_on.command)))
    options = {
        option: tuple(str(folder / value) if option in paths else value for value in values)
        for option, values in going_on.options.items()
    }
    is_piped = going_on.names[-1] == "-"
    names = (*going_on.names[:-1], "-" if is_piped else str(folder / going_on.names[-1]))
    line = CommandLine(going_on.command, names, options, going_on.variables)
    line = line.plus(AS_CONFIRMED) if is_piped else line
    line = line if manifest.host == SANDBOX else line.plus("--host", manifest.host)
    until = next(iter(going_on.options.get("--not-after", ())), None)
    if until is None or not _has_passed(until, now):
        return line, None
    return line.without("--not-after"), until


def _has_passed(until: str, now: datetime) -> bool:
    try:
        return datetime.fromisoformat(until) <= now
    except (TypeError, ValueError):  # a time of day, which comes again
        return False


def _unpacked(run: Path, progress: RunState) -> Manifest | None:
    """The hand-over of a run that was unpacked in this place, and has not gone on; None for any other.

    Another person may have written the manifest: it passes every check that `unpack` makes.
    """
    folder = run.absolute().parent
    try:
        with open_regular(folder / MANIFEST) as file:
            found = file.read(MANIFEST_MAX + 1)
        manifest = Manifest.of(found)
        if len(found) > MANIFEST_MAX or run.name != PLACE or not _are_packed(manifest, folder):
            return None
        check_unpacked(manifest, folder, progress)
    except (OSError, Unfit, BulkdelError):
        return None
    return manifest


def _are_packed(manifest: Manifest, folder: Path) -> bool:
    """Whether the folder has every file of the manifest, with its bytes. The log comes first: it grows."""
    for packed in sorted(manifest.files, key=lambda each: each.name != PACKED_LOG):
        with open_regular(folder / packed.name) as file:
            if os.fstat(file.fileno()).st_size != packed.size:
                return False
            if hashlib.file_digest(file, "sha256").hexdigest() != packed.sha256:
                return False
    return True


def _folder_of(run: Path, facts: Mapping[str, Any]) -> Path:
    """The folder that has the part of that of the last session. facts: of its start.

    It is the one from which the place has the same name as then, where the whole folder was moved.
    """
    was, cwd = Path(str(facts.get("run", ""))), Path(str(facts.get("cwd", "")))
    if was.is_relative_to(cwd) and run.parts[-len(named := was.relative_to(cwd).parts) :] == named:
        return run.parents[len(named) - 1]
    return home_of(run)


def _in_folder(line: CommandLine, run: Path, folder: Path) -> tuple[CommandLine, list[str]]:
    """The command with the names of its files in this folder, and the names of those that are not there."""
    missing: list[str] = []
    own = os.path.relpath(run, folder)

    def here(value: str) -> str:
        if value == TO_TYPE or address_of(value) is not None:
            return value
        names = (value, Path(value).name) if not Path(value).is_absolute() else (Path(value).name,)
        found = next((name for name in names if (folder / name).exists()), None)
        if found is None:
            missing.append(names[-1])
        return found or names[-1]

    with suppress(NotAcceptable):
        place = log_place(run)
        header = header_of(place)
        rows = (place.at(PinnedFile(kind, header.input.index)) for kind in (INPUT, INDEX))
        missing += (f"{own}/{path.name}" for path in rows if not path.exists())
    export = line.names[-1]  # nothing reads it
    if not (export == TO_TYPE or address_of(export) is not None):
        export = export if not Path(export).is_absolute() and (folder / export).exists() else Path(export).name
    options = {
        option: tuple(map(here, values)) if option in FILES else values
        for option, values in line.without(*CONFIRMING, "--run").options.items()
    }
    line = replace(line, names=(*line.names[:-1], export), options=options)
    default = default_place(line.names[0], export, sandbox="--sandbox" in options)
    return line if Path(own) == default else line.plus("--run", own), missing
