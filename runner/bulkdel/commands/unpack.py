"""`bulkdel unpack`: a run that was packed on another machine or by another user, in a new folder; and how it goes on.

check the archive → write its files to a new folder → check the log → name the folder → print the one command
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.reader import header_of, read_log
from bulkdel.command_line import CommandLine
from bulkdel.commands.moved_run import check_going_on, check_unpacked, line_in, tables_in
from bulkdel.commands.steps import ByteCount, run_step
from bulkdel.core.handover import OF_A_FILE, PLACE, Manifest
from bulkdel.core.option import variable_of
from bulkdel.engine.signals import Signals
from bulkdel.errors import BulkdelError, UsageError
from bulkdel.format import amount, counted, shown
from bulkdel.handover.reading import Unpacked
from bulkdel.handover.reading import unpack as unpack_archive
from bulkdel.handover.writing import ENDINGS
from bulkdel.job import SANDBOX, TargetOptions, load_job
from bulkdel.output import result, say
from bulkdel.parameters import parameters_of
from bulkdel.place.opening import log_place
from bulkdel.safety.export_reading import ReadingProgress
from bulkdel.safety.server_checks import is_own_host
from bulkdel.settings import CommonSettings


def unpack(archive: Path, to: Path | None, environ: Mapping[str, str]) -> int:
    """Unpack a run, and print how it goes on. to: the new folder. Returns the exit code.

    Raises NotAcceptable for an archive that is not accepted, FileFailed when the folder cannot be written.
    """
    folder = to or Path(next((archive.name.removesuffix(end) for end in ENDINGS if archive.name.endswith(end)), ""))
    if not folder.name:
        raise UsageError(f"{archive}: its name gives no name for the folder. Name one: --to FOLDER")
    progress = ReadingProgress()
    done = ByteCount(progress, "unpacking")
    with Signals() as signals:
        step = partial(unpack_archive, archive, folder, check, done.add)
        found = run_step(step, progress, CommonSettings(), signals)
    _print_end(folder, found, environ)
    return 0


def check(manifest: Manifest, folder: Path) -> None:
    """Refuse an archive whose log, command, config or plan is not what an archive may have. Raises NotAcceptable."""
    check_unpacked(manifest, folder, read_log(log_place(folder / PLACE)).progress)


def _print_end(folder: Path, found: Unpacked, environ: Mapping[str, str]) -> None:
    manifest = found.manifest
    result(f"{folder}: {counted(len(manifest.files), 'file')}, {amount(manifest.size)}")
    result(f"  packed     {manifest.at} by {manifest.user} on {manifest.machine}")
    result(f"  archive    sha256 {found.sha256}")
    result(f"  job        {manifest.job} on {manifest.host}, pool {manifest.pool}")
    result(f"  remaining  {counted(manifest.remaining, 'row')}")
    going_on = manifest.going_on
    if going_on is None:
        say(f"Nothing remains to be sent. What the log shows:\n  {CommandLine('status', (str(folder / PLACE),))}")
        return
    line, passed = line_in(folder, manifest, going_on, datetime.now(UTC))
    say("Another user or machine than that of the last session confirms the run anew, and so does a run without the")
    say("--limit or --not-after that it had.")
    for name in going_on.secrets:
        say(f"A secret that has to be here: {name}")
    tables = check_going_on(manifest, tables_in(manifest, folder))
    for text in _credentials(manifest, tables, environ, folder):
        say(text)
    if going_on.left_out:
        say(f"Left out, because it belongs to the first machine: {', '.join(going_on.left_out)}")
    if passed is not None:
        say(f"Left out, because that time has passed: --not-after {passed}. Give another one to stop then.")
    own = environ.get(variable_of("config"))
    for packed in line.options.get("--config", ()) if own else ():
        say(
            f"The command reads {packed} in the place of your {own}: your [run] and [protect] do not count there. Add "
            "what is meant to it, such as an exclude list."
        )
    say(f"To go on:\n  {line}", "to_go_on", command=line.words)


def _credentials(manifest: Manifest, tables: Mapping[str, Any], environ: Mapping[str, str], folder: Path) -> list[str]:
    """What the sign-in sends, and where it comes from: the archive may name any variable of this machine.

    No value of a variable is read, and no file that one names.
    """
    if manifest.host == SANDBOX:
        return []
    named = _Names(environ)
    try:
        job = load_job(manifest.job)
        table = tables.get(job.config_table, {})
        values = header_of(log_place(folder / PLACE)).parameters
        parameters = parameters_of(job, {name: _here(value, manifest, folder) for name, value in values.items()})
        options = TargetOptions(manifest.host, table, named, parameters)
        target, own = job.configured(table).target(options), is_own_host(job, replace(options, environ={}))
    except BulkdelError as error:
        return [shown(error)]  # a job may quote the config of the archive
    only_there = (
        f"{manifest.host} is not the host of {job.name}. Only this archive names it, unless your config does too."
    )
    return [
        f"A secret that has to be here: the credentials for {manifest.host}: {target.key_hint}"
        if target.key is None
        else f"The command sends these credentials to {manifest.host}: {', '.join(named.asked) or shown(target.key)}",
        *([] if own else [only_there]),
    ]


def _here(value: Any, manifest: Manifest, folder: Path) -> Any:
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
