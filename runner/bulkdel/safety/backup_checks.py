"""The checks of the backup of a run, and of its copy of the memberships.

UsageError is exit 2, NotAcceptable 3.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from bulkdel.core.address import address_of
from bulkdel.core.log_entries import MembershipsSaved, Saved
from bulkdel.core.run_state import RunState
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.format import shown
from bulkdel.place.backup_file import check_known
from bulkdel.place.opening import log_place
from bulkdel.regular_file import blocks_of, open_regular
from bulkdel.run_place import BACKUP, logged_file, logged_name
from bulkdel.safety.run_plan import OpenedRun, RunArguments
from bulkdel.store_path import in_store


def check_own_backup(opened: OpenedRun) -> None:
    """Refuse a session with another backup than the run has, or with none. Raises as `check_backup`."""
    check_backup(opened.arguments, opened.log, proven=opened.log_trusted)


def check_backup(arguments: RunArguments, log: RunState | None, *, proven: bool = False) -> Saved | None:
    """Return the part of the backup that is known to be durable; None for a new file.

    A run with a backup needs it in every session: otherwise the backup would have unnoticed gaps. proven: whether this
    user has begun the last session. If not, the refusal does not propose the path in the log.

    Raises NotAcceptable, and UsageError when the backup would be written over another file of the run.
    """
    backup, known = arguments.backup, log.backup if log else None
    if backup is None:
        if known is not None and log is not None and not log.complete:
            place = shown(known[0])
            way = f"Go on with --backup-to {place}, or name a new file there"
            if logged_file(known[0], arguments.run) == arguments.run / BACKUP:
                way = "Go on with --backup"
            elif not proven or address_of(known[0]) is not None:
                way = "Another person may have written the log: name with --backup-to where you keep it, or a new file"
            raise NotAcceptable(f"this run keeps a backup in {place}, as its log says. Nothing was sent. {way}")
        return None
    durable = durable_backup(arguments, log)
    if log is None or not log.complete:
        check_known(backup, durable)
    _check_apart(arguments, backup, (), "one of its own")
    return durable


def durable_backup(arguments: RunArguments, log: RunState | None) -> Saved | None:
    """The part of the backup that is known to be durable; None for a new file, and without a backup."""
    backup, known = arguments.backup, log.backup if log else None
    if backup is None or known is None:
        return None
    same = known[0] == logged_name(backup, arguments.run)
    return known[1] if same or _has_moved(backup, known[1]) else None


def memberships_of(opened: OpenedRun) -> Path | None:
    """Where the copy of the memberships is, or will be; None without --backup-memberships."""
    wanted, log = opened.arguments.settings.memberships_in(opened.arguments.run), opened.log
    if wanted is None or log is None or log.complete or not log.sent or (known := log.memberships) is None:
        return wanted
    return wanted if _has_moved(wanted, known.saved) else logged_file(known.path, opened.arguments.run)


def check_memberships(opened: OpenedRun) -> None:
    """Refuse a session with another copy of the memberships than the run has, or with none.

    A run with that copy needs it in every session. After the first id was sent, the copy cannot be made any more. Until
    then it is made anew, even if the log names one: a forged log would leave the run without a copy. Unless this user
    has begun the last session, a file that is there already is refused.

    Raises NotAcceptable, and UsageError when the copy would be written over another file of the run.
    """
    arguments, log = opened.arguments, opened.log
    wanted = memberships_of(opened)
    if opened.complete:
        return
    known = log.memberships_to if log else None
    if wanted is None:
        if known is not None:
            raise NotAcceptable(
                f"this run keeps a copy of the memberships in {known}. Nothing was sent. Go on with "
                "--backup-memberships"
            )
        return
    if log is not None and log.sent and log.memberships is not None:
        _check_copied(wanted, log.memberships)
        return
    if log is not None and log.sent:
        raise NotAcceptable(
            "--backup-memberships: this run has begun without it, and the memberships of the users whose ids were "
            "sent are lost. Nothing more was sent. Leave it out, or begin a run of its own for the other ids."
        )
    _check_apart(arguments, wanted, () if arguments.backup is None else (arguments.backup,), "another backup")
    if os.path.lexists(wanted) and (not opened.log_trusted or logged_name(wanted, arguments.run) != known):
        raise NotAcceptable(
            f"{wanted}: is there already, and this run did not write it, or no session of it was begun by this user on "
            "this machine. Nothing was sent. Move it away, or name a new file (--backup-to)."
        )


def _check_apart(arguments: RunArguments, copy: Path, others: Iterable[Path], which: str) -> None:
    """Refuse a copy that would be written over another file of the run. Raises UsageError, with what to name."""
    of_run = (arguments.run, log_place(arguments.run).log, arguments.export, *arguments.excluded_paths)
    if any(copy.absolute() == Path(other).absolute() for other in (*others, *of_run)):
        option = arguments.settings.backup_option
        raise UsageError(f"{option}: {copy} is another file of this run; name {which}: --backup-to FILE")


def _has_moved(path: Path, known: Saved) -> bool:
    """Whether a file begins with the bytes that the run wrote to another place: it was moved, or handed over."""
    if not known.size or in_store(path):
        return False
    try:
        return _saved_in(path, known.size) == known
    except OSError:
        return False


def _saved_in(path: Path, size_max: int = sys.maxsize) -> Saved:
    """Length and CRC-32 of a file, or of its beginning. Raises OSError."""
    with open_regular(path) as file:
        return Saved().plus(blocks_of(file.fileno(), stop=size_max))


def _check_copied(path: Path, known: MembershipsSaved) -> None:
    """Refuse a copy of the memberships that is not the one of the log. Raises NotAcceptable."""
    try:
        found = _saved_in(path)
    except OSError as error:
        fault = error.strerror or "it cannot be read"
    else:
        fault = "it has changed" if found != known.saved else ""
    if fault:
        raise NotAcceptable(
            f"{path}: is not the copy of the memberships that this run wrote: {fault}. Nothing was sent. "
            "Put the file back, then run the same command again."
        )
