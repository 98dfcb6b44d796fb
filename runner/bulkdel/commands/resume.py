"""Go on with a run by its place alone: the command that its log has, with what this command was given. Sends nothing.

From the place come the job, the export, what decides which ids are sent, and the pace. From this machine come its
config and what is trusted, asked and told: what the last session had of these, and this command lacks, is refused.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.reader import read_log
from bulkdel.command_line import AS_CONFIRMED, TO_TYPE, CommandLine, is_set_elsewhere
from bulkdel.commands.run_files import has_bytes
from bulkdel.core.address import address_of
from bulkdel.core.exclude_name import ExcludeKey
from bulkdel.core.id_type import IdType
from bulkdel.core.mac import mac_holds
from bulkdel.core.option import field_of, option_of
from bulkdel.core.run_state import RunState
from bulkdel.core.shards import names_engine
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.format import shown
from bulkdel.going_on import NextCommand, next_or_why
from bulkdel.job import SANDBOX, Job, load_job
from bulkdel.options import FILES, OF_THE_MACHINE, ONCE
from bulkdel.own_key import read_key
from bulkdel.parameters import options_of, target_options
from bulkdel.place.opening import log_place
from bulkdel.run_place import home_of, undone_by
from bulkdel.safety.exclude import exclude_path
from bulkdel.safety.server_checks import check_named_host

NEVER = frozenset(map(option_of, ONCE | OF_THE_MACHINE)) - {"--run"}
"""Options that no later session takes over."""

INSTEAD_OF = {"--backup": "--backup-to", "--backup-to": "--backup"}
"""Options of which a command has one."""

MAX_REFUSED = "--max-refused"
"""It is taken over only from a session of this user."""


@dataclass(frozen=True, slots=True)
class ResumeArguments:
    """The arguments of the caller. run: the place. options: as they were typed. without: names of options.

    config: all tables of the config file. environ: the environment.
    """

    run: Path
    options: Sequence[str]
    without: Collection[str]
    config: Mapping[str, Any] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)


def line_to_resume(arguments: ResumeArguments) -> CommandLine:
    """Make the command that goes on with the run.

    Raises NotAcceptable for a run that is not resumed, and UsageError that names what the command lacks.
    """
    run, own_key = arguments.run, read_key(arguments.environ)
    progress, typed = read_log(log_place(run)).progress, _typed(arguments.options)
    if isinstance(found := next_or_why(progress, run, own_key), str):
        raise NotAcceptable(f"{run}: nothing was sent. {found}")
    folders = _folders_of(found, progress) if mac_holds(progress.start, own_key) else []
    left_out = NEVER if folders else {*NEVER, MAX_REFUSED}
    had, meant = list(of_the_last_machine(progress)), [*map(_as_option, arguments.without)]
    line = _without(found.line.without(*left_out), had, meant)
    line = _with(_with_whole_paths(line, progress, run, folders), typed)
    _check_lacking(arguments, had, {*typed.options, *meant})
    _check_host(arguments, progress, typed)
    return line


def _job_of(name: str, command: str) -> Job:
    """The job whose options a command that goes on has: that of the run, or its undo. Raises UsageError."""
    job = load_job(name)
    return job if command != "restore" or job.undo is None else load_job(job.undo)


def _folders_of(found: NextCommand, progress: RunState) -> list[Path]:
    """The folder of the files of a run now, and the one where its command was typed."""
    typed = progress.start.facts.get("cwd", "") if progress.start is not None else ""
    return [Path(found.folder), Path(str(typed))]


def _typed(options: Sequence[str]) -> CommandLine:
    """The options that were typed. Raises UsageError for a word that is none."""
    try:
        line = CommandLine.read(["bulkdel", "resume", *options])
    except ValueError:
        line = None
    if line is None or line.names:  # its words are not shown: one may be a secret
        raise UsageError(
            "resume: after the run there are only options of `run`, each with one value or none. Give an option again "
            "for each further value"
        )
    if "--run" in line.options:
        raise UsageError("resume: the run is the first word. Leave --run out")
    return line


@dataclass(frozen=True, slots=True)
class _FilesNow:
    """Where the files of a command are, which may go on in another folder than that where it was typed.

    folders: from which its names may lead, where it was typed last; empty where another person may have written the
    log. Then only the names count, in `home`, that of the run: no other file is read that only a log names.
    excluded: the SHA-256 of the exclude files of the run.
    """

    folders: Sequence[Path]
    home: Path
    id_types: Mapping[str, IdType]
    excluded: Collection[str]

    def file(self, value: str) -> str:
        """The first of its paths that is there. An address stays as it is."""
        if address_of(value) is not None:
            return value
        return next(filter(os.path.lexists, self._paths(value)), self._paths(value)[0])

    def exclude_file(self, value: str) -> str | None:
        """The same of an exclude file; None for one that is nowhere: the place has its ids, or the run refuses.

        One that is where it was typed is taken as it is now: ids may have been added to it. Elsewhere only its bytes
        count: another file may have its name, even the export, or an older list.
        """
        if address_of(value) is not None:
            return value
        paths = self._paths(value)
        typed = filter(self._is_there, paths[-2:-1])
        return next(typed, None) or next(filter(self._is_known, paths), None)

    def _paths(self, value: str) -> list[str]:
        return [*(str(folder / value) for folder in self.folders), str(self.home / Path(value).name)]

    def _is_there(self, path: str) -> bool:  # the name of an exclude file may end in a column
        return os.path.lexists(exclude_path(path, self.id_types))

    def _is_known(self, path: str) -> bool:
        file = Path(exclude_path(path, self.id_types))
        return any(has_bytes(file, sha256) for sha256 in self.excluded)


def _with_whole_paths(line: CommandLine, progress: RunState, run: Path, folders: Sequence[Path]) -> CommandLine:
    """The command with whole paths, since it may be typed in another folder. folders: as in `_FilesNow`."""
    pinned, undone = progress.header.pinned, undone_by(run.absolute())
    job = load_job(pinned["job"]) if undone is not None else _job_of(pinned["job"], line.command)
    of_files = {*FILES, *(option for option, is_path in options_of(job).items() if is_path)}
    known = {ExcludeKey.read(text).sha256 for text in progress.excluded}
    now = _FilesNow(folders, home_of(run).absolute(), job.id_types, known)
    excluded = [name for name in map(now.exclude_file, line.options.get("--exclude", ())) if name is not None]
    options = {
        option: tuple(map(now.file, values)) if option in of_files else values
        for option, values in line.without("--exclude").options.items()
    }
    line = replace(line, options=options)
    line = line.plus("--exclude", *excluded) if excluded else line
    if line.command == "restore":
        return replace(line, names=(str(undone) if undone is not None else now.file(line.names[0]),))
    if not line.names:  # an approved plan has them
        return line.plus("--run", run)
    name, export = line.names
    line = line.plus("--run", run)
    if export in {TO_TYPE, "-"}:
        return replace(line, names=(name, "-")).plus(AS_CONFIRMED)
    return replace(line, names=(name, now.file(export)))


def _without(line: CommandLine, had: Sequence[str], meant: Sequence[str]) -> CommandLine:
    """The command without what --without names. Raises UsageError for a name that the last session did not have.

    had: what that had of its machine. meant: as options.
    """
    known = {*line.options, *map(_as_option, had)}
    if unknown := [name for name in meant if name not in known]:
        raise UsageError(f"--without {unknown[0].removeprefix('--')}: the last session had none. Leave it out")
    return line.without(*meant)


def _as_option(name: str) -> str:
    """An option or a variable, as --without names it, with two dashes."""
    return f"--{name.removeprefix('--')}"


def _with(line: CommandLine, typed: CommandLine) -> CommandLine:
    """The command with the options that were typed. They take the place of earlier ones, but --exclude adds to them.

    A condition of --spare takes the place of the earlier one of its name, --backup-to that of --backup, and back.
    """
    for option, values in typed.options.items():
        line = line.without(INSTEAD_OF.get(option, ""))
        before = line.options.get(option, ()) if option in {"--exclude", "--spare"} else ()
        if option == "--spare":
            names = {value.partition("=")[0] for value in values}
            before = tuple(value for value in before if value.partition("=")[0] not in names)
        line = line.plus(option, *dict.fromkeys((*before, *values)))
    return line


def _check_lacking(arguments: ResumeArguments, had: Sequence[str], given: Collection[str]) -> None:
    """Refuse a command without what the last session had of its machine. Raises UsageError that names it.

    given: the options that were typed, or that --without names.
    """
    lacking = [name for name in had if not (_as_option(name) in given or _is_set_here(name, arguments))]
    if lacking:
        raise UsageError(
            f"{arguments.run}: the last session had {shown(', '.join(lacking))}, and this command does not. "
            "Nothing was sent. Give each, or say that it is meant so: "
            + shown(" ".join(f"--without {name.removeprefix('--')}" for name in lacking))
        )


def _check_host(arguments: ResumeArguments, progress: RunState, typed: CommandLine) -> None:
    """Refuse the host of the run where only its log names it. Raises UsageError.

    Raises NotAcceptable where the parameters of the run cannot be used.
    """
    pinned = progress.header.pinned
    if pinned["host"] == SANDBOX or "--host" in typed.options or _is_set_here("--host", arguments):
        return
    job = load_job(pinned["job"])
    try:
        options = target_options(job, progress, arguments.run, arguments.config, arguments.environ)
    except NotAcceptable:
        if options_of(job).keys() & typed.options.keys():  # of another file, which the run compares
            return
        raise
    line = replace(typed, names=(str(arguments.run),))
    line = line.plus("--without", *arguments.without) if arguments.without else line
    check_named_host(job, options, arguments.run, line)


def _is_set_here(name: str, arguments: ResumeArguments) -> bool:
    """Whether the environment or the config of this machine has an option or a variable."""
    if not name.startswith("--"):
        return name in arguments.environ
    return is_set_elsewhere(field_of(name), arguments.environ, arguments.config)


def of_the_last_machine(progress: RunState) -> Iterator[str]:
    """Yield the options and variables that the last session had of its machine."""
    facts = progress.start.facts if progress.start is not None else {}
    options = facts.get("options", {})
    yield from (option_of(name) for name in sorted(OF_THE_MACHINE - {"run"}) if options.get(name.rstrip("_")))
    line = line_of_start(progress)
    yield from line.variables
    yield from (option for option, values in line.options.items() if names_engine(option, values))


def line_of_start(progress: RunState) -> CommandLine:
    """The command of the last session, as its start has it; an empty one where the log has none."""
    start = progress.start
    try:
        return CommandLine.read(start.facts.get("to_go_on", ()) if start is not None else ())
    except ValueError:
        return CommandLine("resume")
