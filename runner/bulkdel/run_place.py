"""Where a run is: a folder, or the URL of a store, and the names of the files in it. Opens no file."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from bulkdel.core.address import address_of
from bulkdel.format import printable
from bulkdel.store_path import StorePath, in_store, path_or_url

LOG = "log.jsonl"
"""The log. Of shard 7 it is `log.7.jsonl`."""

STORED_LOG = "log"
"""The folder of the log in a store."""

BACKUP = "backup.jsonl.zst"
"""The copy of every record (--backup)."""

MEMBERSHIPS = "memberships.jsonl.zst"
"""The copy of the memberships."""

INVALID = "invalid"
"""The bad rows that were left out."""

VERIFICATION = "verify.jsonl"
"""The log of the verification."""

STILL_THERE = "still-there.jsonl"
"""The rows that a verification has found once more."""

REPORT = "report.html"
"""The report that a command on a terminal writes."""

_RESTORE = re.compile(r"restore-([1-9][0-9]{0,5})")
"""The place of a restore."""

_ONLY = re.compile(r"only-([1-9][0-9]{0,5})\.jsonl")
"""The ids that a restore names (--only)."""

KEEP = "keep.jsonl"
"""In the place of a restore: the ids of what came back, for --exclude."""

MADE_AGAIN = "records.jsonl"
"""The records of a restore: the export of its run."""

NEW_IDS = "new-ids.jsonl"
"""The old and the new ids of what was restored."""

PUTTING_BACK = "memberships"
"""The place of the run that puts the memberships back."""

PUT_BACK = "memberships.jsonl"
"""The memberships that are put back: the export of that run, in its place."""

RUNS = ".runs"
"""The ending, after the name of an export, of the folder with the places of its runs."""

OF_SANDBOX = ".sandbox"
"""The ending, after the name of the job, of the place of a run with --sandbox."""


def default_place(job: str, export: str, *, sandbox: bool) -> Path:
    """The place of a run without --run: beside its export; for an address, in the current folder."""
    address = address_of(export)
    return Path(f"{export if address is None else address.name}{RUNS}", f"{job}{OF_SANDBOX if sandbox else ''}")


def restore_place(run: Path, number: int) -> Path:
    """The place of a restore of this run. number: from 1. In it: MADE_AGAIN, NEW_IDS, KEEP and PUTTING_BACK."""
    return own_file(run, f"restore-{number}")


def is_kept_by_restore(path: Path) -> bool:
    """Whether this is the file with the ids that a restore has brought back."""
    return path.name == KEEP and number_of_restore(path.absolute().parent.name) is not None


def number_of_restore(name: str) -> int | None:
    """The number of the restore in a place of this name; None for another name."""
    found = _RESTORE.fullmatch(name)
    return None if found is None else int(found[1])


def only_file(run: Path, number: int) -> Path:
    """The file with the ids that restores of this run name (--only). number: from 1."""
    return own_file(run, f"only-{number}.jsonl")


def only_files(run: Path) -> dict[int, Path]:
    """Those that are there, by number."""
    return {int(found[1]): path for path in _inside(run) if (found := _ONLY.fullmatch(path.name)) is not None}


def restore_places(run: Path) -> list[Path]:
    """The places of the restores of this run that are there, by number; also of those that did not begin."""
    found = {number_of_restore(path.name): path for path in _inside(run) if path.is_dir()}
    return [found[number] for number in sorted(filter(None, found))]


def _inside(run: Path) -> list[Path]:
    """What is in the place of a run on this machine; empty where it cannot be read."""
    try:
        return sorted(local_place(run).iterdir())
    except OSError:
        return []


def is_stream(export: str) -> bool:
    """Whether an export is standard input, or a path of the system that leads to a pipe: it has no name to go by."""
    return export == "-" or export.startswith(("/dev/", "/proc/"))


def short_name(run: Path) -> str:
    """What tells a run from others in the name of a file: `users-delete-users` of `users.jsonl.runs/delete-users`."""
    export = run.parent.name.partition(".")[0] if run.parent.name.endswith(RUNS) else ""
    return f"{export}-{run.name}" if export else run.name


def own_file(run: Path, name: str) -> Path:
    """A file in the place of a run on this machine."""
    return local_place(run) / name


def logged_name(path: Path, run: Path) -> str:
    """How the log of a run names a file: in the place by its bare name, so that it is the run's wherever that lies."""
    in_place = path.absolute().parent == run.absolute()
    return printable(path.name if in_place else path.absolute())


def logged_file(name: str, run: Path) -> Path:
    """The file that the log of a run names. See `logged_name`. Raises UsageError for a malformed URL."""
    path = path_or_url(name)
    return run / path if len(path.parts) == 1 else path


def local_place(run: Path) -> Path:
    """The place of a run on this machine. That of a run in a store is in the current folder, and may not exist yet.

    Two stores may end in the same name.
    """
    return Path(f"{run.name}-{hashlib.sha256(str(run).encode()).hexdigest()[:6]}") if in_store(run) else run


_WRITTEN = re.compile(
    r"log(\.\d+)?\.jsonl|input(\.\d+)?(\.index)?\.jsonl(\.zst)?|\.input\.part|(skipped|excluded)(\.\d+)?\.zst"
    r"|invalid(\.reasons\.csv)?|verify\.jsonl|still-there(-\d+)?\.jsonl|report\.html|restore-\d+|only-\d+\.jsonl|(new-ids|keep)\.jsonl"
)
"""The names of the files that a run and the commands about it write in its place, and may replace there."""


def is_written_by(run: Path, path: Path) -> bool:
    """Whether a file has the place and the name of one that this run writes. A link is followed."""
    real, place = Path(os.path.realpath(path)), os.path.realpath(local_place(run))
    named = [each.name for each in (path, real) if os.path.realpath(each.parent) == place]
    return any(_WRITTEN.fullmatch(name.casefold()) for name in named)  # a disk may not tell small letters from capitals


def undone_by(run: Path) -> Path | None:
    """The place of the run that the run in this place undoes; None where it lies in no such place."""
    restore = run.parent if run.name == PUTTING_BACK else run
    if number_of_restore(restore.name) is None or in_store(run) or not os.path.lexists(restore.parent / LOG):
        return None
    return restore.parent


def home_of(run: Path) -> Path:
    """The folder with the place of a run, where the user's own files are. Of a run in a store, the current one."""
    if isinstance(run, StorePath):
        return Path()
    run = run if run.name not in {"", ".."} else Path(os.path.realpath(run))
    if (undone := undone_by(run)) is not None:
        return home_of(undone)
    folder = run.parent
    return folder.parent if folder.name.endswith(RUNS) else folder


def name_from_home(run: Path) -> str:
    """The name of a run as a command in its home takes it. Of a run in a store, the last one of the store."""
    return run.name if in_store(run) else os.path.relpath(run, home_of(run))


def is_within(path: Path, run: Path) -> bool:
    """Whether a file is in the home of a run, or below it. Links are followed: one may lead anywhere."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(home_of(run)))


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file or folder. False where one is missing or cannot be reached."""
    try:
        return one.samefile(other)
    except OSError:
        return False
