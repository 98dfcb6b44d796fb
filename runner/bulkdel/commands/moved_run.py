"""How a run goes on whose files were moved or copied to another folder: its command, with the files that lie there.

The log has the command and the folder of its last session. Where this log is another file than that session's, both are
those of another place, perhaps of another machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bulkdel.command_line import CONFIRMING, ENV_PREFIX, CommandLine, how_to_resume, line_of_log
from bulkdel.core.address import address_of
from bulkdel.core.handover import MANIFEST, MANIFEST_MAX, GoingOn, Manifest, Unfit, paths_of
from bulkdel.core.run_state import Progress
from bulkdel.errors import UsageError
from bulkdel.format import printable, shown
from bulkdel.job import SANDBOX, Job, load_job
from bulkdel.parameters import options_of
from bulkdel.safety.checks import PROTECT
from bulkdel.settings import LOG, SANDBOX_LOG, SPOOLED
from bulkdel.store_path import StorePath, beside
from bulkdel.variables import holds_table, merged, table_of

FILES = ("--exclude", "--config", "--ca-file", "--backup", "--plan")
"""The options of `run` that name a file."""


def job_of(name: str, command: str) -> Job:
    """The job whose options a command that goes on has: that of the run, or its undo. Raises UsageError."""
    job = load_job(name)
    return job if command != "restore" or job.undo is None else load_job(job.undo)


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
    of_job = {} if going_on is None else options_of(job_of(manifest.job, going_on.command))
    manifest.check_going_on(of_job, tables, tables_of(job))
    return tables


def how_to_go_on(progress: Progress, log: Path) -> str:
    """The command that resumes the run, in the folder of its log; see `how_to_resume`. log: where it is."""
    start, undo = progress.start, progress.undo
    if isinstance(log, StorePath) or start is None or progress.handed_over is not None:
        return how_to_resume(progress, log)
    if (unpacked := _unpacked(log)) is not None and (going_on := unpacked.going_on) is not None:
        line, _ = line_in(Path(), unpacked, going_on, datetime.now(UTC))
        return f"To go on, in {printable(log.absolute().parent)}:\n  {line}"
    if undo is not None:
        return how_to_resume(progress, log)
    facts = progress.stop.facts if progress.stop is not None else {}
    try:
        line, left_out = line_of_log(facts.get("to_go_on") or start.facts.get("to_go_on"))
    except ValueError:
        return how_to_resume(progress, log)
    if not line.names:  # an approved plan has them
        line = replace(line, names=(progress.header.pinned["job"], progress.header.export_path))
    if line.command != "run" or _is_file(_log_of(line, start.facts), log):
        return how_to_resume(progress, log)
    folder = log.absolute().parent
    line, missing = _in_folder(line, log, folder)
    text = how_to_resume(progress, log, (line.words, printable(folder))) + left_out
    if missing:
        text += f"\nNot in that folder, and needed there: {', '.join(map(shown, missing))}"
    return text


def line_in(folder: Path, manifest: Manifest, going_on: GoingOn, now: datetime) -> tuple[CommandLine, str | None]:
    """The command with the files where they are now, and the --not-after that was left out because it has passed.

    It names the host of the run, whatever the config and the environment say.
    """
    paths = paths_of(going_on.options, options_of(job_of(manifest.job, going_on.command)))
    options = {
        option: tuple(str(folder / value) if option in paths else value for value in values)
        for option, values in going_on.options.items()
    }
    names = (*going_on.names[:-1], str(folder / going_on.names[-1]))
    line = CommandLine(going_on.command, names, options, going_on.variables)
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


def _unpacked(log: Path) -> Manifest | None:
    """The hand-over of a run that was unpacked in the folder of this log, and has not gone on; None for any other."""
    try:
        found = log.with_name(MANIFEST).read_bytes()[: MANIFEST_MAX + 1]
        manifest = Manifest.of(found)
        packed = next((file for file in manifest.files if file.name == log.name), None)
        if packed is None or packed.size != log.stat().st_size:
            return None
        with log.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == packed.sha256
        check_going_on(manifest, {})
    except (OSError, Unfit, UsageError):
        return None
    return manifest if same else None


def _log_of(line: CommandLine, facts: Mapping[str, Any]) -> Path:
    """Where the log of the last session was."""
    default = f"{line.names[-1]}{SANDBOX_LOG if '--sandbox' in line.options else LOG}"
    return Path(str(facts.get("cwd", "")), next(iter(line.options.get("--checkpoint", ())), default))


def _is_file(path: Path, log: Path) -> bool:
    try:
        return path.samefile(log)
    except OSError:
        return False


def _in_folder(line: CommandLine, log: Path, folder: Path) -> tuple[CommandLine, list[str]]:
    """The command with the names of its files in this folder, and the names of those that are not there."""
    missing: list[str] = []

    def here(value: str) -> str:
        if address_of(value) is not None:
            return value
        name = Path(value).name
        if not (folder / name).exists():
            missing.append(name)
        return name

    copy = beside(log, SPOOLED)
    export = copy.name if copy.exists() else here(line.names[-1])
    options = {
        option: tuple(map(here, values)) if option in FILES else values
        for option, values in line.without(*CONFIRMING, "--checkpoint").options.items()
    }
    line = replace(line, names=(*line.names[:-1], export), options=options)
    default = f"{export}{SANDBOX_LOG if '--sandbox' in options else LOG}"
    return line if log.name == default else line.plus("--checkpoint", log.name), missing
