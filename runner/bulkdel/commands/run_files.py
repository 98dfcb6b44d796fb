"""The files that the program wrote for a run and that hold personal data. Finds and judges them; changes nothing.

They are found by the log and by the names that the program gives. A file counts as the run's own
only while nothing speaks against it: no link, and the bytes that the log knows. The place of the run may have been
moved or copied since: a file that the log names by its path may have moved with it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bulkdel.checkpoint.reader import RUN, Unborn, original_of, reading
from bulkdel.checkpoint.takeover import is_locked, writer_words
from bulkdel.core.log_entries import MADE, MembershipsSaved, Outcome, Saved, Session
from bulkdel.core.mac import mac_holds
from bulkdel.core.run_state import RunState
from bulkdel.core.shards import shard_numbers
from bulkdel.engine.backup import holds_more, is_of_records
from bulkdel.errors import NotAcceptable
from bulkdel.export.invalid_file import REASONS
from bulkdel.fleet.shard import shard_file
from bulkdel.format import printable
from bulkdel.input.run_input import why_unsound
from bulkdel.own_key import read_key
from bulkdel.place.finding import runs_in
from bulkdel.place.log_file import input_part
from bulkdel.place.log_place import EXCLUDED, INPUT, LogPlace, PinnedFile
from bulkdel.place.opening import log_place
from bulkdel.regular_file import blocks_of, open_regular
from bulkdel.run_place import (
    BACKUP,
    INVALID,
    KEEP,
    LOG,
    MADE_AGAIN,
    NEW_IDS,
    PUT_BACK,
    PUTTING_BACK,
    RUNS,
    STILL_THERE,
    VERIFICATION,
    home_of,
    is_same,
    is_within,
    local_place,
    logged_file,
    logged_name,
    only_files,
    own_file,
    restore_places,
)
from bulkdel.settings import is_named_as_memberships
from bulkdel.store_path import in_store, is_store_url, path_or_url

MADE_AGAIN_WORDS, PUT_BACK_WORDS = "the records of a restore", "the memberships of a restore"
MADE_BY_RESTORE = {MADE_AGAIN: MADE_AGAIN_WORDS, f"{PUTTING_BACK}/{PUT_BACK}": PUT_BACK_WORDS}
"""The exports that a restore makes. Each is in the place of its run."""

ROWS, EXCLUDED_WORDS = PinnedFile(INPUT, "").words, PinnedFile(EXCLUDED, "").words
BACKUP_WORDS = "the backup of the records"
MEMBERSHIPS_WORDS = "the backup of the memberships"
UNKNOWN_COPY = "a backup of memberships"

UNKNOWN = "is not in the log, which says only that a session was about to write it; the next session makes it anew"
"""No byte of it can be compared, and another person may have written the log: it may be of another run."""

UNNAMED = "is outside of the place of the run, and no MAC shows that you have named it. Remove it yourself"
"""The log may name the copy of another run, with its length and its checksum."""

UNFINISHED = "what a killed command has left half-written"

OUTSIDE = "is in another folder than the run"
"""Another person may have written the log: what it names elsewhere is neither packed nor removed."""

MORE = "holds more than the log says, and no MAC shows that you have named it. If it is the backup, remove it yourself"
"""The log may call an exclude list of ids a backup, with the length and the checksum of its first line."""

Identity = tuple[int, ...]
"""What changes when a file is replaced or written: device, inode, links, size, and the times in nanoseconds."""


Known = str | Saved | MembershipsSaved
"""What the log knows of the bytes of a file: the SHA-256 of all, the part of a backup, or a copy of memberships."""


class NamedFile(NamedTuple):
    """A file that the program may have written. known: its bytes; None when no log knows them.

    wanted: whether a run or a restore that is not complete needs it. why_left: why it must not be removed; empty when
    it may be. why_longer: the same of a file with more records than `known`. expected: whether it must be there unless
    `forget` has removed it.
    """

    path: Path
    what: str
    known: Known | None = None
    wanted: bool = False
    why_left: str = ""
    why_longer: str = ""
    expected: bool = False


@dataclass(frozen=True, slots=True)
class PersonalFile:
    """A file that is there. known: its bytes in the log. why_foreign: why it is not the run's; empty when it is.

    why_longer: why it must not be removed all the same; empty when it may be.
    """

    path: Path
    what: str
    size: int
    sha256: str
    identity: Identity
    wanted: bool
    known: Known | None = None
    why_foreign: str = ""
    why_longer: str = ""

    @property
    def why_left(self) -> str:
        """Why it must not be removed; empty when it may be."""
        return self.why_foreign or self.why_longer


@dataclass(frozen=True, slots=True)
class RunFiles:
    """One run and its files.

    place: where it is. sha256: of the sound lines of its log. files: those that are there. missing: those that the log
    knows, and that are neither there nor removed by `forget`. stored: those in a store. id_count: how many refused and
    unknown ids are in the log itself. new_id_count: the same of the new ids of restored accounts. export: the user's
    own; None when it is not there.
    """

    place: Path
    progress: RunState
    sha256: str
    files: tuple[PersonalFile, ...]
    missing: tuple[NamedFile, ...]
    stored: tuple[NamedFile, ...]
    id_count: int
    new_id_count: int
    export: Path | None


def files_of(run: Path, export: NamedFile | None = None) -> list[RunFiles]:
    """Find the files of a run, and of its restore. Reads every file that it finds.

    export: that of a restore; None when the export is the user's own.

    Raises NotAcceptable when a log or a file cannot be read, or when a run or a verification is under way.
    """
    place = log_place(run)
    if is_locked(place):
        raise NotAcceptable(f"{run}: a {writer_words(place)} is under way. Wait for it to end, then run this again.")
    if is_held(run / VERIFICATION):  # in a store nothing is removed
        raise NotAcceptable(f"{run}: a verification is under way. Wait for it to end, then run this again.")
    read = _Read.of(run)
    pinned, complete = read.progress.header.pinned, read.progress.complete
    original, restoring = original_of(run, read.progress), _is_restoring(read.progress)
    derived = [
        NamedFile(restore / name, words, wanted=restoring)
        for restore in restore_places(run)
        for name, words in MADE_BY_RESTORE.items()
    ]
    begun = [each for each in derived if _has_log(each.path.parent)]
    own = _now(Path(read.progress.header.export_path), run, original)
    names = [*_named(run, read), *(each for each in derived if each not in begun)]
    if export is not None:
        names.append(export._replace(known=pinned["sha256"], wanted=export.wanted or not complete, expected=True))
    stored = [each for each in names if in_store(each.path)]
    named = [placed for each in names if each not in stored for placed in _placed(each, run, original)]
    found = {each.path: _look(each) for each in named}
    missing = (each for each in named if each.expected and found[each.path] is None)
    there = {path.absolute() for path in found}
    files = RunFiles(
        run,
        read.progress,
        read.sha256,
        tuple(file for file in found.values() if file is not None),
        tuple(each for each in missing if printable(each.path.name) not in read.progress.forgotten),
        tuple(stored),
        read.id_count,
        read.new_id_count,
        own if export is None and own.absolute() not in there and own.is_file() else None,
    )
    return [files, *(each for which in begun for each in files_of(which.path.parent, which))]


def _beside(path: Path, run: Path) -> Path:
    """Where a file is when it has moved with the run: in the place, or beside it, where `unpack` puts it."""
    return path if path.is_relative_to(local_place(run)) else home_of(run) / path.name


def _now(path: Path, run: Path, original: Path | None) -> Path:
    """Where a file that the log names by its path is now: there, or beside the run."""
    here = _beside(path, run)
    has_moved = not is_same(path.parent, here.parent) and os.path.lexists(here)
    return here if has_moved and (original is not None or not os.path.lexists(path)) else path


def _placed(named: NamedFile, run: Path, original: Path | None) -> Iterator[NamedFile]:
    """Yield a file where it is now. That may be two places, when the folder was copied and the first run is gone.

    original: the place of which this one is a copy; its files are left.
    """
    here, now = _beside(named.path, run), _now(named.path, run, original)
    elsewhere = now == named.path and not is_same(now.parent, here.parent)
    if elsewhere and original is not None:
        yield named._replace(why_left=f"belongs to the run of {original}, of which this one is a copy")
    elif not is_within(now, run):
        yield named._replace(why_left=named.why_left or OUTSIDE)
    else:
        yield named._replace(path=now)
    if elsewhere and original is None and named.known is not None and os.path.lexists(now):
        other = named._replace(path=here)
        copy = _look(other)
        if copy is not None and not copy.why_foreign:
            yield other


def _is_restoring(progress: RunState) -> bool:
    """Whether a restore of the run has begun and is not complete. It needs the backups and what it has made so far."""
    return progress.handed_over is None and not all(each.is_restored for each in progress.restores.values())


def is_held(path: Path) -> bool:
    """Whether a process has the lock of this file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def identity_of(found: os.stat_result) -> Identity:
    """The identity of a file with this status."""
    return (found.st_dev, found.st_ino, found.st_nlink, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class _Read(NamedTuple):
    """What is read from a log. named: copies that this user has named, by its MACs. The others: as in `RunFiles`."""

    progress: RunState
    sha256: str
    id_count: int
    new_id_count: int
    named: frozenset[str]

    @classmethod
    def of(cls, run: Path) -> _Read:
        id_count = new_id_count = 0
        named, key = set[str](), read_key(os.environ)
        with reading(log_place(run), RUN) as reader:
            for progress, entries in reader.folding():
                for entry in entries:
                    if isinstance(entry, Outcome):
                        id_count += sum("id" in each for each in entry.exceptions)
                        new_id_count += sum(MADE in each for each in entry.exceptions)
                    elif isinstance(entry, Session) and mac_holds(entry, key):
                        named.update(_backups_of(entry.facts, shard_numbers(progress.header)))
                        named.update(filter(None, [entry.facts.get("memberships")]))
            return cls(progress, reader.sha.hexdigest(), id_count, new_id_count, frozenset(named))


def _backups_of(facts: Mapping[str, Any], shards: Collection[int]) -> Iterator[str]:
    """The backups of a session, by what its start says: one, or one of each shard."""
    name, options, run = facts.get("backup"), facts.get("options", {}), path_or_url(facts.get("run", ""))
    if name is None and shards and (to := str(run / BACKUP) if options.get("backup") else options.get("backup_to")):
        path = path_or_url(to) if is_store_url(to) else Path(facts.get("cwd", ""), to)  # each shard has its own
        name = logged_name(path, run)
    if name is not None:
        yield name
        yield from (str(shard_file(path_or_url(name), number)) for number in shards)


def _named(run: Path, read: _Read) -> Iterator[NamedFile]:
    """Yield the files of one run, without its restore: each path once."""
    progress = read.progress
    resumable = not progress.complete and progress.undo is None and progress.handed_over is None
    restoring = _is_restoring(progress)
    yield from _named_rows(run, progress, wanted=resumable or restoring)
    for name, saved in dict(sorted(progress.backups, key=lambda backup: backup[1].size)).items():
        current = progress.backup is not None and progress.backup[0] == name
        wanted = (resumable and current) or restoring
        why_longer = "" if name in read.named else MORE
        yield NamedFile(logged_file(name, run), BACKUP_WORDS, saved, wanted, why_longer=why_longer, expected=True)
    copies = {logged_file(each.path, run): each for each in progress.copies}
    for path, copied in copies.items():
        why_left = "" if is_named_as_memberships(path) else "has no name that a run gives to such a copy"
        if path.parent != run and printable(path.absolute()) not in read.named:
            why_left = why_left or UNNAMED
        yield NamedFile(path, MEMBERSHIPS_WORDS, copied, resumable or restoring, why_left=why_left, expected=True)
    if progress.memberships_to is not None and not (copies and progress.sent):
        to = logged_file(progress.memberships_to, run)
        if to not in copies:
            yield NamedFile(to, UNKNOWN_COPY, why_left=UNKNOWN)
        for each in dict.fromkeys((to, _beside(to, run))) if is_named_as_memberships(to) else ():
            yield from _matching(each.parent, rf"\.{re.escape(each.name)}\.\w+\.part", UNFINISHED)
    if progress.header.invalid:
        yield from _named_invalid(run, progress)
    yield from _named_written(run, restoring=restoring)


def _named_written(run: Path, *, restoring: bool) -> Iterator[NamedFile]:
    """Yield what the commands about a run have written that no log knows."""
    still = own_file(run, STILL_THERE)
    for each in _matching(still.parent, rf"{re.escape(still.stem)}(-\d+)?\.jsonl", "the list of those still there"):
        yield each._replace(wanted=_is_export_of_a_run(each.path))
    if not in_store(run):
        yield from _matching(run, r"log(\.\d+)?\.jsonl\.torn-\d+(-\d+)?", "a torn line of the log")
    only = only_files(run).values()
    yield from (NamedFile(path, "the ids that a restore named", wanted=restoring) for path in only)
    written = [still, *only]
    for folder in restore_places(run):
        yield NamedFile(folder / NEW_IDS, "the old and the new ids of a restore", wanted=restoring)
        yield NamedFile(folder / KEEP, "the ids of what came back")
        written += (folder / name for name in (NEW_IDS, KEEP, *MADE_BY_RESTORE))
    for path in written:
        yield from _matching(path.parent, rf"\.{re.escape(path.name)}\.\w+\.part", UNFINISHED)


def _named_rows(run: Path, progress: RunState, *, wanted: bool) -> Iterator[NamedFile]:
    """Yield the files with the rows of the run, and with those of a restore that did not begin."""
    place = log_place(run)
    rows = place.at(PinnedFile(INPUT, progress.header.input.index))
    yield NamedFile(rows, ROWS, why_left=_why_not_its_rows(place, progress), wanted=wanted, expected=True)
    if (sha256 := progress.header.excluded_sha256) is not None:
        yield NamedFile(place.at(PinnedFile(EXCLUDED, sha256)), EXCLUDED_WORDS, sha256, wanted=wanted, expected=True)
    if in_store(run):
        return
    places = restore_places(run)
    for each in (run, *places, *(place / PUTTING_BACK for place in places)):
        part = input_part(each)
        yield NamedFile(part, UNFINISHED, why_left="is being written" if is_held(part) else "")


def rows_without_a_log(run: Path) -> list[Path]:
    """The files in this place that have the rows of a run which did not begin."""
    rows, part = log_place(run).at(PinnedFile(INPUT, "")), input_part(run)
    return [*([rows] if os.path.lexists(rows) else []), *([part] if part.is_file() and not is_held(part) else [])]


def _why_not_its_rows(place: LogPlace, progress: RunState) -> str:
    """Why the file that the log names as the rows of the run must not be removed; empty when it has these rows."""
    why = "" if in_store(place.where) else why_unsound(place, progress.header)
    return why and f"is not shown to have the rows of this run ({why})"


def _matching(folder: Path, name: str, what: str) -> Iterator[NamedFile]:
    """Yield the files in a folder whose names match a regular expression."""
    pattern = re.compile(name)
    yield from (NamedFile(path, what) for path in sorted(folder.glob("*")) if pattern.fullmatch(path.name))


def _named_invalid(run: Path, progress: RunState) -> Iterator[NamedFile]:
    """Yield the file of bad rows and that of their reasons.

    The user may have corrected the rows, so both are left unless they hold the bytes that the log knows.
    """
    rows, reasons = (progress.header.invalid[which]["sha256"] for which in ("rows", "reasons"))
    name = own_file(run, INVALID)
    yield NamedFile(name, "the bad rows that were left out", rows, _is_export_of_a_run(name))
    yield NamedFile(Path(f"{name}{REASONS}"), "the reasons of the bad rows", reasons)


def _is_export_of_a_run(path: Path) -> bool:
    """Whether a run with rows left lies beside this file, as its export."""
    try:
        return any(not _Read.of(run).progress.complete for run in runs_in(Path(f"{path}{RUNS}")))
    except Unborn:
        return False


def _has_log(place: Path) -> bool:
    """Whether a restore has begun in this place. Raises NotAcceptable when it cannot be looked into."""
    try:
        (place / LOG).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(place, error) from error
    return True


def _unreadable(path: Path, error: OSError) -> NotAcceptable:
    return NotAcceptable(
        f"{path}: cannot be read: {error.strerror}. Nothing was removed. Make it readable, or move it away; then run "
        "the same command again."
    )


def _look(named: NamedFile) -> PersonalFile | None:
    """Judge one file; None when there is none. Raises NotAcceptable when it cannot be looked at."""
    try:
        found = named.path.lstat()
        why_foreign, why_longer, sha256 = _foreign_by_kind(found) or named.why_left, "", ""
        if not why_foreign:
            fd = os.open(named.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(fd, "rb") as file:
                found = os.fstat(fd)
                sha256, fits = digest_of(file, named.known)
                if named.why_longer and isinstance(named.known, Saved):
                    why_longer = named.why_longer if holds_more(fd, named.known) else ""
            why_foreign = "" if fits else "holds other bytes than those that the run wrote"
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # so there is no such file
            return None
        raise _unreadable(named.path, error) from error
    wanted = named.wanted and not why_foreign
    return PersonalFile(
        named.path, named.what, found.st_size, sha256, identity_of(found), wanted, named.known, why_foreign, why_longer
    )


def _foreign_by_kind(found: os.stat_result) -> str:
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link"
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if found.st_nlink > 1:
        return f"has {found.st_nlink - 1} more name{'s' if found.st_nlink > 2 else ''} (hard links)"  # noqa: PLR2004
    return ""


def has_bytes(path: Path, known: Known) -> bool:
    """Whether there is a file with these bytes."""
    try:
        with open_regular(os.path.realpath(path)) as file:
            return digest_of(file, known)[1]
    except OSError:
        return False


def digest_of(file: io.BufferedReader, known: Known | None) -> tuple[str, bool]:
    """The SHA-256 of a file, and whether its bytes are those that the log knows."""
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    match known:
        case Saved(size=0):
            return sha256, file.tell() == 0
        case Saved():  # the last session may have added records
            return sha256, is_of_records(file.fileno(), known)
        case MembershipsSaved():
            return sha256, Saved().plus(blocks_of(file.fileno())) == known.saved
    return sha256, known in {None, sha256}
