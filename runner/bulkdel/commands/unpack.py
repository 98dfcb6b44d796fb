"""`bulkdel unpack`: a run that was packed on another machine or by another user, in a new folder; and how it goes on.

check the archive → write its files to a new folder → check the log → name the folder → print the one command
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.reader import read_log
from bulkdel.command_line import CommandLine
from bulkdel.commands.pack_contents import tables_of
from bulkdel.commands.resume import line_of_start, of_the_last_machine
from bulkdel.commands.steps import ByteCount, run_step
from bulkdel.core.handover import HOST, NAMED, OF_A_FILE, PLACE, Manifest, Unfit, check_config, check_host
from bulkdel.core.log_entries import Header
from bulkdel.core.option import ENV_PREFIX, variable_of
from bulkdel.core.run_state import RunState
from bulkdel.engine.signals import Signals
from bulkdel.errors import BulkdelError, NotAcceptable, UsageError
from bulkdel.format import amount, counted, shown
from bulkdel.going_on import goes_on, next_of_restore
from bulkdel.handover.reading import AGAIN, Unpacked
from bulkdel.handover.reading import unpack as unpack_archive
from bulkdel.handover.writing import ENDINGS
from bulkdel.job import SANDBOX, TargetOptions, load_job
from bulkdel.options import FILES
from bulkdel.output import result, say
from bulkdel.parameters import options_of, parameters_of
from bulkdel.place.opening import log_place
from bulkdel.run_place import RUNS
from bulkdel.safety.export_reading import ReadingProgress
from bulkdel.safety.plan_from_file import PlanFile
from bulkdel.safety.protect import PROTECT
from bulkdel.safety.server_checks import is_own_host
from bulkdel.settings import CommonSettings
from bulkdel.store_path import is_store_url
from bulkdel.variables import BETWEEN, holds_table, merged, table_of, toml_in

_NAME = re.compile(r"[A-Z0-9_]+")
"""The name of a variable."""


def unpack(archive: Path, to: Path | None, environ: Mapping[str, str]) -> int:
    """Unpack a run, and print how it goes on. to: the new folder. Returns the exit code.

    Raises NotAcceptable for an archive that is not accepted, FileFailed when the folder cannot be written.
    """
    folder = to or Path(next((archive.name.removesuffix(end) for end in ENDINGS if archive.name.endswith(end)), ""))
    if not folder.name:
        raise UsageError(f"{archive}: its name gives no name for the folder. Name one: --to FOLDER")
    if folder.name.endswith(RUNS):  # what lies beside such a folder counts as the run's
        raise UsageError(
            f"{folder}: a name that ends in {RUNS} is that of the runs of an export. Name another: --to FOLDER"
        )
    progress = ReadingProgress()
    done = ByteCount(progress, "unpacking")
    with Signals() as signals:
        step = partial(unpack_archive, archive, folder, check, done.add)
        found = run_step(step, progress, CommonSettings(), signals)
    _print_end(folder, found, environ)
    return 0


def check(manifest: Manifest, folder: Path) -> None:
    """Refuse an archive whose log, options, config or plan is not what an archive may have. Raises NotAcceptable.

    folder: with its files.
    """
    pinned = read_log(log_place(folder / PLACE)).progress.header.pinned
    try:
        check_host(pinned["host"])
        job, tables = load_job(pinned["job"]), _tables_in(manifest, folder)
        manifest.check_options({*NAMED, *(option for option, is_path in options_of(job).items() if is_path)})
        check_config(tables, tables_of(job))
        if job.config_table in tables:
            job.configured(tables[job.config_table])
        for name in manifest.options.get("--plan", ()):
            _check_plan(folder / name, pinned["host"])
    except (Unfit, UsageError) as error:
        raise NotAcceptable(f"the archive {shown(error)}. Nothing was unpacked. {AGAIN}") from error


def _check_plan(path: Path, host: str) -> None:
    if PlanFile.read(path).values["host"] != host:
        raise Unfit("holds a plan of another host than that of the run")


def _tables_in(manifest: Manifest, folder: Path) -> Mapping[str, Any]:
    """The tables of the config file of an archive. Raises Unfit."""
    try:
        return {
            table: value
            for name in manifest.options.get("--config", ())
            for table, value in toml_in((folder / name).read_bytes()).items()
        }
    except ValueError as error:
        raise Unfit("has a config that is no TOML") from error


def line_to_go_on(manifest: Manifest, folder: Path, progress: RunState) -> CommandLine:
    """The command that goes on with a run in this folder. progress: of its log.

    It names the host: no key goes to one that only a file names. A variable is in it that sets a key of the job, and no
    host and no secret: such as those that protect pools, each machine has of its own.
    """
    place, pinned = folder / PLACE, progress.header.pinned
    line = CommandLine("resume", (str(place),))
    if (undo := progress.undo) is not None:
        line, _ = next_of_restore(progress, undo, place)
        line = replace(line.without(*FILES), names=(str(place),))
    for option, names in manifest.options.items():
        line = line.plus(option, *(folder / name for name in names))
    line = line if pinned["host"] == SANDBOX else line.plus("--host", pinned["host"])
    return replace(line, variables=_variables_of(progress))


def _variables_of(progress: RunState) -> dict[str, str]:
    """Those variables of the last session that an archive may set."""
    tables = tables_of(load_job(progress.header.pinned["job"])) - {PROTECT}
    begins = tuple(f"{variable_of(name)}{BETWEEN}" for name in tables)
    hosts = {f"{begin}{HOST.upper()}" for begin in begins}
    return {
        name: value
        for name, value in line_of_start(progress).variables.items()
        if name.startswith(begins)
        and not (name in hosts or name.endswith(OF_A_FILE) or holds_table(value))
        and _NAME.fullmatch(name)
    }


def _print_end(folder: Path, found: Unpacked, environ: Mapping[str, str]) -> None:
    manifest, progress = found.manifest, read_log(log_place(folder / PLACE)).progress
    pinned = progress.header.pinned
    result(f"{folder}: {counted(len(manifest.files), 'file')}, {amount(manifest.size)}")
    result(f"  packed     {manifest.at} by {manifest.user} on {manifest.machine}")
    result(f"  archive    sha256 {found.sha256}")
    result(f"  job        {pinned['job']} on {pinned['host']}, pool {pinned['pool']}")
    result(f"  remaining  {counted(progress.remaining, 'row')}")
    if not goes_on(progress):
        say(f"Nothing remains to be sent. What the log shows:\n  {CommandLine('status', (str(folder / PLACE),))}")
        return
    line = line_to_go_on(manifest, folder, progress)
    say("Another user or machine than that of the last session confirms the run anew, and so does a run without the")
    say("--limit or --not-after that it had.")
    for text in _credentials(progress.header, manifest, folder, line.variables, environ):
        say(text)
    had = [name for name in of_the_last_machine(progress) if name not in {*line.options, *line.variables}]
    stored = progress.undo.facts.get("run") if progress.undo is not None else None
    had += [f"--run {stored}"] if isinstance(stored, str) and is_store_url(stored) else []
    if had:
        other = ", and --without NAME for each other" if line.command == "resume" else ""
        say(f"The first machine had {shown(', '.join(had))}. Add each to the command that is meant here{other}.")
    own = environ.get(variable_of("config"))
    for packed in line.options.get("--config", ()) if own else ():
        say(
            f"The command reads {packed} in the place of your {own}: your [run] and [protect] do not count there. Add "
            "what is meant to it, such as an exclude list."
        )
    say(f"To go on:\n  {line}", "to_go_on", command=line.words)


def _credentials(
    header: Header, manifest: Manifest, folder: Path, variables: Mapping[str, str], environ: Mapping[str, str]
) -> list[str]:
    """What the sign-in sends, and where it comes from: the archive may name any variable of this machine.

    No value of a variable is read, and no file that one names. variables: those of the command that goes on.
    """
    if (host := header.pinned["host"]) == SANDBOX:
        return []
    named = _Names(environ)
    try:
        job = load_job(header.pinned["job"])
        tables = merged(_tables_in(manifest, folder), table_of(variables, ENV_PREFIX))
        values = {name: _here(manifest, folder, value) for name, value in header.parameters.items()}
        options = TargetOptions(host, tables.get(job.config_table, {}), named, parameters_of(job, values))
        target, own = job.configured(options.config).target(options), is_own_host(job, replace(options, environ={}))
    except BulkdelError as error:
        return [shown(error)]  # a job may quote the config of the archive
    only_there = f"{host} is not the host of {job.name}. Only this archive names it, unless your config does too."
    return [
        f"A secret that has to be here: the credentials for {host}: {target.key_hint}"
        if target.key is None
        else f"The command sends these credentials to {host}: {', '.join(named.asked) or shown(target.key)}",
        *([] if own else [only_there]),
    ]


def _here(manifest: Manifest, folder: Path, value: Any) -> Any:
    """A parameter; of a file the one in the archive. None is read that lies elsewhere: the log says where it was."""
    if not isinstance(value, dict):
        return value
    packed = next((file.name for file in manifest.files if file.sha256 == value.get("sha256")), None)
    if packed is None:
        raise UsageError("The archive lacks a file that the job reads, so the credentials cannot be named.")
    return folder / packed


class _Names(Mapping[str, str]):
    """The names of the variables of this machine. asked: those that a job has asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._names = {name.removesuffix(OF_A_FILE) for name, value in environ.items() if value}
        self.asked: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._names:
            raise KeyError(name)
        self.asked[name] = None
        return "set"

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
