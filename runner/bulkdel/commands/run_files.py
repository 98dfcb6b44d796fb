"""The files that the program wrote for a run and that hold personal data. Finds and judges them; changes nothing.

They are found by the log and by the names that the program gives, never by a search. A file counts as the run's own
only while nothing speaks against it: no link, and the bytes that the log knows. The folder of the log may have been
moved or copied since: a file that the log names by its path may lie beside the log now.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from bulkdel.checkpoint.reader import RUN, Unborn, reading
from bulkdel.checkpoint.under_way import is_locked, writer_words
from bulkdel.commands.verify import STILL_THERE
from bulkdel.core.address import address_of
from bulkdel.core.log_entries import MADE, Outcome, Saved, Session
from bulkdel.core.mac import mac_holds
from bulkdel.core.run_state import Progress
from bulkdel.core.shards import shard_numbers
from bulkdel.engine.backup import holds_more, is_of_records
from bulkdel.errors import NotAcceptable
from bulkdel.export import REASONS
from bulkdel.export.download import source_of
from bulkdel.export.spool import part_of
from bulkdel.fleet.shard import shard_file
from bulkdel.format import printable
from bulkdel.input.opening import why_unsound
from bulkdel.own_key import read_key
from bulkdel.place.log_file import input_part
from bulkdel.place.log_place import INPUT, Beside, LogPlace
from bulkdel.place.opening import log_place
from bulkdel.safety.export_reading import INVALID
from bulkdel.settings import LOG, RESTORE_MAP, RESTORED, RESTORED_MEMBERSHIPS, SPOOLED, is_named_as_memberships
from bulkdel.store_path import beside, in_store, is_within, log_path
from bulkdel.verify.findings import STATE

RESTORES = {RESTORED: "the records of a restore", RESTORED_MEMBERSHIPS: "the memberships of a restore"}
"""The exports that a restore makes. Each has a log of its own."""

ROWS = "the rows of the run"
BACKUP = "the backup of the records"
MEMBERSHIPS = "the backup of the memberships"
UNKNOWN_COPY = "a backup of memberships"

UNKNOWN = "is not in the log, which says only that a session was about to write it; the next session makes it anew"
"""No byte of it can be compared, and another person may have written the log: it may be of another run."""

UNFINISHED = "what a killed command has left half-written"

OUTSIDE = "is in another folder than the log"
"""Another person may have written the log: what it names elsewhere is neither packed nor removed."""

MORE = "holds more than the log says, and no MAC shows that you have named it. If it is the backup, remove it yourself"
"""The log may call an exclude list of ids a backup, with the length and the checksum of its first line."""

READ_BYTES = 1 << 20

Identity = tuple[int, ...]
"""What changes when a file is replaced or written: device, inode, links, size, and the times in nanoseconds."""


class Known(NamedTuple):
    """What the log knows of the bytes of a file. whole: nothing follows them."""

    size: int
    sha256: str | None = None
    crc: int | None = None
    whole: bool = True


class NamedFile(NamedTuple):
    """A file that the program may have written. known: its bytes; None when no log knows them.

    wanted: whether a run or a restore that is not complete needs it. left: why it must not be removed; empty when it
    may be. more: the same of a file with more records than `known`. expected: whether it must be there unless `forget`
    has removed it.
    """

    path: Path
    what: str
    known: Known | None = None
    wanted: bool = False
    left: str = ""
    more: str = ""
    expected: bool = False


@dataclass(frozen=True, slots=True)
class PersonalFile:
    """A file that is there. known: its bytes in the log. kept: why it is not the run's; empty when it is.

    more: why it must not be removed all the same; empty when it may be.
    """

    path: Path
    what: str
    size: int
    sha256: str
    identity: Identity
    wanted: bool
    known: Known | None = None
    kept: str = ""
    more: str = ""

    @property
    def left(self) -> str:
        """Why it must not be removed; empty when it may be."""
        return self.kept or self.more


@dataclass(frozen=True, slots=True)
class RunFiles:
    """One run and its files.

    sha256: of the sound lines of its log. files: those that are there. missing: those that the log knows, and that are
    neither there nor removed by `forget`. stored: those in a store. ids: how many refused and unknown ids are in the
    log itself. made: the same of the new ids of restored accounts. export: the user's own; None when it is not there.
    """

    log: Path
    progress: Progress
    sha256: str
    files: tuple[PersonalFile, ...]
    missing: tuple[NamedFile, ...]
    stored: tuple[NamedFile, ...]
    ids: int
    made: int
    export: Path | None


def files_of(log: Path) -> list[RunFiles]:
    """Find the files of a run, and of its restore. Reads every file that it finds.

    Raises NotAcceptable when a log or a file cannot be read, or when a run or a verification is under way.
    """
    return _files_of(log, None)


def _files_of(log: Path, export: NamedFile | None) -> list[RunFiles]:
    """See `files_of`. export: that of a restore; None when the export is the user's own."""
    place = log_place(log)
    if is_locked(place):
        raise NotAcceptable(f"{log}: a {writer_words(place)} is under way. Wait for it to end, then run this again.")
    if is_held(beside(log, STATE)):
        raise NotAcceptable(f"{log}: a verification is under way. Wait for it to end, then run this again.")
    read = _Read.of(log)
    pinned, complete = read.progress.header.pinned, read.progress.complete
    original, restoring = _original(log, read.progress), _is_restoring(read.progress)
    derived = [NamedFile(beside(log, ending), what, wanted=restoring) for ending, what in RESTORES.items()]
    begun = [each for each in derived if Path(f"{each.path}{LOG}").exists()]
    own = _now(_own_export(log, read.progress), log, original)
    names = [*_named(log, read, own), *(each for each in derived if each not in begun)]
    if export is not None:
        known = Known(pinned["bytes"], pinned["sha256"])
        names.append(export._replace(known=known, wanted=export.wanted or not complete, expected=True))
    stored = [each for each in names if in_store(each.path)]
    named = [placed for each in names if each not in stored for placed in _placed(each, log, original)]
    found = {each.path: _look(each) for each in named}
    there = {path.absolute() for path in found}
    files = RunFiles(
        log,
        read.progress,
        read.sha256,
        tuple(file for file in found.values() if file is not None),
        tuple(each for each in named if _is_missing(each, found, read.progress)),
        tuple(stored),
        read.ids,
        read.made,
        own if export is None and own.absolute() not in there and own.is_file() else None,
    )
    return [files, *(each for which in begun for each in _files_of(Path(f"{which.path}{LOG}"), which))]


def _own_export(log: Path, progress: Progress) -> Path:
    """The path of the export; of one that lay elsewhere, that of its copy."""
    recorded = progress.header.export_path
    return Path(recorded) if address_of(recorded) is None else beside(log, SPOOLED)


def _is_missing(named: NamedFile, found: Mapping[Path, PersonalFile | None], progress: Progress) -> bool:
    """Whether a file is not where it should be, and not because an earlier `forget` has removed it."""
    forgotten = {Path(name).name for name in progress.forgotten}  # its folder may have been moved since
    return named.expected and found[named.path] is None and printable(named.path.name) not in forgotten


def _original(log: Path, progress: Progress) -> Path | None:
    """The log of the same run in a folder where its files were written: `log` is a copy of it. None without one."""
    files = [progress.header.export_path, *(name for name, _ in progress.backups), progress.memberships_to]
    if progress.start is not None:
        facts = progress.start.facts
        files.append(str(Path(facts.get("cwd", ""), facts.get("options", {}).get("checkpoint") or log.name)))
    for folder in dict.fromkeys(Path(name).parent for name in files if name is not None):
        other = folder / log.name
        if not _is_same(other, log) and _run_id(other) == progress.header.run_id:
            return other
    return None


def _run_id(log: Path) -> str | None:
    """The id of the run with this log; None when it cannot be read."""
    try:
        return _Read.of(log).progress.header.run_id
    except NotAcceptable:
        return None


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _now(path: Path, log: Path, original: Path | None) -> Path:
    """Where a file that the log names by its path is now: there, or beside the log when that was moved or copied."""
    folder = beside(log, "").parent
    here = folder / path.name
    is_beside = not _is_same(path.parent, folder) and os.path.lexists(here)
    return here if is_beside and (original is not None or not os.path.lexists(path)) else path


def _placed(named: NamedFile, log: Path, original: Path | None) -> Iterator[NamedFile]:
    """Yield a file where it is now. That may be two places, when the folder was copied and the first log is gone.

    original: the log of which this one is a copy; its files are left.
    """
    folder = beside(log, "").parent
    now, other = _now(named.path, log, original), named._replace(path=folder / named.path.name)
    elsewhere = now == named.path and not _is_same(now.parent, folder)
    if elsewhere and original is not None:
        yield named._replace(left=f"belongs to the run of {original}, of which this log is a copy")
    elif not is_within(now, log):
        yield named._replace(left=named.left or OUTSIDE)
    else:
        yield named._replace(path=now)
    if elsewhere and original is None and named.known is not None and os.path.lexists(now):
        copy = _look(other)
        if copy is not None and not copy.kept:
            yield other


def _is_restoring(progress: Progress) -> bool:
    """Whether a restore of the run has begun and is not complete. It needs the backups and what it has made so far."""
    return progress.handed_over is None and progress.undo is not None and not progress.undo.is_restored


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
    """What is read from a log. ids, made: as in `RunFiles`. named: backups that this user has named, by its MACs."""

    progress: Progress
    sha256: str
    ids: int
    made: int
    named: frozenset[str]

    @classmethod
    def of(cls, log: Path) -> _Read:
        ids = made = 0
        named, key = set[str](), read_key(os.environ)
        with reading(log_place(log), RUN) as reader:
            for progress, entries in reader.folding():
                for entry in entries:
                    if isinstance(entry, Outcome):
                        ids += sum("id" in each for each in entry.exceptions)
                        made += sum(MADE in each for each in entry.exceptions)
                    elif isinstance(entry, Session) and mac_holds(entry, key):
                        named.update(_backups_of(entry.facts, shard_numbers(progress.header)))
            return cls(progress, reader.sha.hexdigest(), ids, made, frozenset(named))


def _backups_of(facts: Mapping[str, Any], shards: Iterable[int]) -> Iterator[str]:
    """The backups of a session, by what its start says: one, or one of each shard."""
    name = facts.get("backup") or facts.get("options", {}).get("backup")
    if name is not None:
        path = Path(facts.get("cwd", ""), name)
        yield str(path)
        yield from (str(shard_file(path, number)) for number in shards)


def _named(log: Path, read: _Read, export: Path) -> Iterator[NamedFile]:
    """Yield the files of one run, without its restore: each path once. export: where that of the run is now."""
    progress = read.progress
    pinned, resumable = progress.header.pinned, not progress.complete and progress.undo is None
    resumable = resumable and progress.handed_over is None
    restoring = _is_restoring(progress)
    copy = beside(log, SPOOLED)
    if os.path.lexists(copy):  # the log does not say whether the export was a pipe
        yield NamedFile(copy, "the copy of the export", Known(pinned["bytes"], pinned["sha256"]))
    yield from _named_rows(log, progress, wanted=resumable or restoring)
    yield NamedFile(source_of(copy), "what it is a copy of")
    part = part_of(copy)
    yield NamedFile(part, UNFINISHED, left="is being written" if is_held(part) else "")
    for name, saved in dict(sorted(progress.backups, key=lambda backup: backup[1].size)).items():
        current = progress.backup is not None and progress.backup[0] == name
        known = Known(saved.size, crc=saved.crc, whole=saved.size == 0)
        wanted = (resumable and current) or restoring
        yield NamedFile(log_path(name), BACKUP, known, wanted, more="" if name in read.named else MORE, expected=True)
    copies = {each.path: each for each in progress.copies}
    for path, copied in copies.items():
        known = Known(copied.size, crc=copied.crc)
        yield NamedFile(Path(path), MEMBERSHIPS, known, resumable or restoring, expected=True)
    if (to := progress.memberships_to) is not None and not (copies and progress.sent):
        if to not in copies:
            yield NamedFile(Path(to), UNKNOWN_COPY, left=UNKNOWN)
        near = beside(log, "").with_name(Path(to).name)
        folders = (Path(to), *(() if _is_same(Path(to).parent, near.parent) else (near,)))
        for each in folders if is_named_as_memberships(Path(to)) else ():
            yield from (NamedFile(part, UNFINISHED) for part in _beside(each, r"\.\w+\.part", before="."))
    if progress.asked["invalid"]:
        yield from _named_invalid(log, progress, export)
    for still in _beside(log, re.escape(STILL_THERE.removesuffix(".jsonl")) + r"(-\d+)?\.jsonl"):
        yield NamedFile(still, "the list of those still there", wanted=_is_export_of_a_run(still))
    for torn in _beside(log, r"\.torn-\d+(-\d+)?"):
        yield NamedFile(torn, "a torn line of the log")
    yield NamedFile(beside(log, RESTORE_MAP), "the old and the new ids of a restore", wanted=restoring)
    parts = "|".join(map(re.escape, (*RESTORES, RESTORE_MAP, STILL_THERE)))
    for part in _beside(log, rf"({parts})\.\w+\.part", before="."):
        yield NamedFile(part, UNFINISHED)


def _named_rows(log: Path, progress: Progress, *, wanted: bool) -> Iterator[NamedFile]:
    """Yield the files with the rows of the run; of a log in a file also those of runs that lay there before."""
    place = log_place(log)
    rows = place.at(Beside(INPUT, progress.header.input.index))
    yield NamedFile(rows, ROWS, left=_why_not_its_rows(place, progress), wanted=wanted, expected=True)
    if in_store(log):
        return
    for each in (log, *(Path(f"{beside(log, ending)}{LOG}") for ending in RESTORES)):
        part = input_part(each)
        yield NamedFile(part, UNFINISHED, left="is being written" if is_held(part) else "")
    for other in _inputs(log):
        if other.name != rows.name:
            yield NamedFile(other, "the rows of a run that did not begin, or whose log was moved away")


def _inputs(log: Path) -> list[Path]:
    return _beside(log, r"\.input-[0-9a-f]{16}\.jsonl\.zst")


def rows_without_a_log(log: Path) -> list[Path]:
    """The files beside this place of a log that have the rows of a run which did not begin."""
    part = input_part(log)
    return [*_inputs(log), *([part] if part.is_file() and not is_held(part) else [])]


def _why_not_its_rows(place: LogPlace, progress: Progress) -> str:
    """Why the file that the log names as the rows of the run must not be removed; empty when it has these rows."""
    why = "" if in_store(place.where) else why_unsound(place, progress.header)
    return why and f"is not shown to have the rows of this run ({why})"


def _beside(file: Path, ending: str, before: str = "") -> list[Path]:
    """The files beside another one with its own name and this ending, a regular expression."""
    pattern = re.compile(re.escape(f"{before}{file.name}") + ending)
    return sorted(path for path in beside(file, "").parent.glob("*") if pattern.fullmatch(path.name))


def _named_invalid(log: Path, progress: Progress, export: Path) -> Iterator[NamedFile]:
    """Yield the file of bad rows and that of their reasons.

    The user may have corrected the rows, and another run may have written others to the same file. So both are left
    unless they hold the bytes that the log knows.
    """
    near = beside(log, "")
    bases = [Path(progress.header.export_path), near]
    owner, invalid = _owner(log, progress, export), progress.header.invalid
    left = f"belongs to the run of {owner} too, whose files are not removed yet" if owner else ""
    for base in bases if invalid else ():
        rows, reasons = (Known(invalid[which]["bytes"], invalid[which]["sha256"]) for which in ("rows", "reasons"))
        name = Path(f"{base}{INVALID}")
        yield NamedFile(name, "the bad rows that were left out", rows, _is_export_of_a_run(name), left)
        yield NamedFile(Path(f"{name}{REASONS}"), "the reasons of the bad rows", reasons, left=left)


def _owner(log: Path, progress: Progress, export: Path) -> Path | None:
    """The log that the bad rows belong to, where that is another one: the log with the name of the export.

    Runs of one export, such as a rehearsal and the real one, write the same bytes to the same file. None when `forget`
    has removed files of that log.
    """
    own = Path(f"{export}{LOG}")
    if _is_same(own, log):
        return None
    try:
        found = _Read.of(own).progress
    except NotAcceptable:
        return None
    same = all(found.header.pinned[name] == progress.header.pinned[name] for name in ("sha256", "source"))
    return own if same and not found.forgotten else None


def _is_export_of_a_run(path: Path) -> bool:
    """Whether another run with rows left reads this file."""
    log = Path(f"{path}{LOG}")
    try:
        return log.exists() and not _Read.of(log).progress.complete
    except Unborn:
        return False


def _look(named: NamedFile) -> PersonalFile | None:
    """Judge one file; None when there is none. Raises NotAcceptable when it cannot be looked at."""
    try:
        found = named.path.lstat()
        kept, more, sha256 = _kept_by_kind(found) or named.left, "", ""
        if not kept:
            fd = os.open(named.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(fd, "rb") as file:
                found = os.fstat(fd)
                sha256, fits = digest_of(file, named.known)
                if named.more and named.known is not None:
                    more = named.more if holds_more(fd, Saved(named.known.size, named.known.crc or 0)) else ""
            kept = "" if fits else "holds other bytes than those that the run wrote"
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # so there is no such file
            return None
        raise NotAcceptable(
            f"{named.path}: cannot be read: {error.strerror}. Nothing was removed. Make it readable, or "
            "move it away; then run the same command again."
        ) from error
    wanted = named.wanted and not kept
    identity = identity_of(found)
    return PersonalFile(named.path, named.what, found.st_size, sha256, identity, wanted, named.known, kept, more)


def _kept_by_kind(found: os.stat_result) -> str:
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link"
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if found.st_nlink > 1:
        return f"has {found.st_nlink - 1} more name{'s' if found.st_nlink > 2 else ''} (hard links)"  # noqa: PLR2004
    return ""


def digest_of(file: BinaryIO, known: Known | None) -> tuple[str, bool]:
    """The SHA-256 of a file, and whether its bytes are those that the log knows."""
    sha, crc, size, part = hashlib.sha256(), 0, 0, known.size if known else 0
    while block := file.read(READ_BYTES):
        sha.update(block)
        crc = zlib.crc32(block[: max(0, part - size)], crc)
        size += len(block)
    fits = known is None or (
        (size == known.size if known.whole else size >= known.size)
        and known.sha256 in {None, sha.hexdigest()}
        and known.crc in {None, crc}
        and (known.whole or known.crc is None or is_of_records(file.fileno(), Saved(known.size, known.crc)))
    )
    return sha.hexdigest(), fits
