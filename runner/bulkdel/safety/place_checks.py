"""The checks of the place of a run, and of the folders and stores that it writes into.

A file is made to try a folder, and removed. UsageError is exit 2, FileFailed 5.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from bulkdel.command_line import quoted
from bulkdel.core.address import address_of
from bulkdel.errors import FileFailed, UsageError
from bulkdel.output import say
from bulkdel.place.log_file import missing_folders
from bulkdel.run_place import LOG, OF_SANDBOX, PUTTING_BACK, STORED_LOG, is_written_by, local_place, restore_place
from bulkdel.safety.run_plan import RunArguments, RunPlan
from bulkdel.store.certain import Retrying
from bulkdel.store.file_parts import parts_of
from bulkdel.store_path import in_store

LONGEST_NAME = 48
"""Bytes of the longest name of a file in the place of a run: a file of a restore while it is written."""


def check_names(arguments: RunArguments) -> None:
    """Refuse a file of the user under a name that the run writes in its place: it would be replaced.

    Raises UsageError.
    """
    for path in (arguments.export, *arguments.excluded_paths, arguments.settings.backup_to):
        if path is not None and address_of(str(path)) is None and is_written_by(arguments.run, Path(path)):
            raise UsageError(
                f"{path}: has the name of a file that this run writes in its place, so it would be replaced. Nothing "
                "was sent. Give your file another name, or name another place (--run)"
            )


def check_folders(arguments: RunArguments) -> None:
    """Refuse a run that cannot write its files. Raises UsageError, and FileFailed."""
    if arguments.approved is None:  # else the plan may name the folder: the export is compared first
        _check_folders(arguments)


def check_planned_folders(plan: RunPlan) -> None:
    """The same for a run by a plan: it has the planned export. Raises UsageError, and FileFailed."""
    if plan.arguments.approved is not None:
        _check_folders(plan.arguments)


def check_bad_rows_folder(plan: RunPlan) -> None:
    """Refuse a run in a store when no folder takes its bad rows. Raises UsageError, and FileFailed."""
    run = plan.run
    if plan.progress is None and plan.export.invalid_to is not None and in_store(run):  # else they are in its place
        check_folder(local_place(run), "--skip-invalid")


def _check_folders(arguments: RunArguments) -> None:
    _check_place(arguments.run, sandbox=arguments.settings.sandbox)
    if (backup := arguments.backup) is not None:
        if arguments.settings.backup_to is not None:
            check_folder(backup, "--backup-to")
        _check_reached(backup)


def _check_place(run: Path, *, sandbox: bool) -> None:
    """Refuse a place that can hold no run, or has one of the other kind. Raises UsageError, and FileFailed."""
    if run.name.endswith(OF_SANDBOX) and not sandbox:  # other commands would take the run for practice
        raise UsageError(f"--run {run}: a place of this name is for a run with --sandbox. Name another place")
    if in_store(run):
        if run.scheme == "file" and _is_of_other_kind(run.directory / LOG, run.directory / STORED_LOG):
            raise UsageError(
                f"--run {run}: a run is in the folder {run.directory}. Go on with that, or name a new store"
            )
        return check_folder(run, "--run")
    if _is_of_other_kind(run / STORED_LOG, run / LOG):
        raise UsageError(f"--run {run}: is the store of a run. Go on with file://{run.absolute()}, or name a new place")
    try:
        (restore_place(run, 100) / PUTTING_BACK / ("." * LONGEST_NAME)).lstat()
    except OSError as error:
        faults = {
            errno.ENAMETOOLONG: "the name is too long. Name a shorter place: --run PLACE",
            errno.ENOTDIR: "is no folder, and a run is kept in one. Name a new one",
            errno.EACCES: "cannot be looked into: {}. Open its folder to this user, or name another place",
        }
        if (fault := faults.get(error.errno or 0)) is not None:
            raise UsageError(f"--run {run}: {fault.format(error.strerror)}") from error
    missing = missing_folders(run)
    for folder in missing:
        if folder.is_symlink():
            raise UsageError(
                f"--run {run}: {folder} is a link to a folder that is not there. Make that folder, mount it, or name "
                "another place"
            )
    return check_folder((missing or [run / LOG])[0], "--run")


def say_open_folder(run: Path) -> None:
    """Warn when others can open the folder of a new run. Its mode stays: the folder is the user's."""
    if in_store(run) or not run.is_dir():
        return
    mode = stat.S_IMODE(run.stat().st_mode)
    if others := "replace its files" if mode & 0o022 else "read its names" if mode & 0o044 else "":
        say(
            f"--run {run}: others can {others}, because the folder has mode {mode:o}. The files of the run have mode "
            f"600. To keep others out: chmod 700 {quoted(str(run))}"
        )


def _is_of_other_kind(other: Path, own: Path) -> bool:
    """Whether a place has the log of a run of the other kind, and none of its own."""
    return os.path.lexists(other) and not os.path.lexists(own)


def check_folder(path: Path, option: str) -> None:
    """Refuse a file or store of the run when its folder does not exist, or takes no file.

    A file is made to try it, and removed. An object store is not tried: nothing is ever removed from one. A folder that
    is missing is not made: it may be a share that is not mounted. Raises UsageError, and FileFailed.
    """
    folder = path.absolute().parent
    if in_store(path):
        if path.scheme != "file":
            return
        folder = path.directory.parent
    with suppress(PermissionError):  # the attempt to write gives the reason
        if not folder.is_dir():
            raise UsageError(f"{option} {path}: the folder {folder} does not exist; make it first")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FileFailed(
            f"{option} {path}: the folder {folder} takes no file: {error.strerror}. Nothing was sent"
        ) from error


def _check_reached(backup: Path) -> None:
    """Refuse a backup in a store that cannot be read: the run reads it before it sends. Raises FileFailed."""
    if not in_store(backup):
        return
    try:
        next(parts_of(Retrying.at(backup)), None)
    except OSError as error:
        why = error.strerror or error
        raise FileFailed(f"{backup}: the store of the backup cannot be read: {why}. Nothing was sent") from error
