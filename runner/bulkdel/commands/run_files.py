"""The files that the program wrote for a run and that hold personal data. Finds and judges them; changes nothing.

They are found by the log and by the names that the program gives, never by a search. A file counts as the run's own
only while nothing speaks against it: no link, and the bytes that the log knows.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bulkdel.checkpoint.lock import is_locked, writer_words
from bulkdel.checkpoint.reader import RUN, Unborn, reading
from bulkdel.command_line import is_restored
from bulkdel.commands.verify import STATE, STILL_THERE
from bulkdel.core.log_entries import Outcome
from bulkdel.core.run_state import Progress
from bulkdel.errors import NotAcceptable
from bulkdel.export import REASONS
from bulkdel.export.spool import SPOOLED
from bulkdel.format import printable
from bulkdel.safety.preparation import INVALID
from bulkdel.settings import LOG, RESTORE_MAP, RESTORED, RESTORED_MEMBERSHIPS

RESTORES = {RESTORED: "the records of a restore", RESTORED_MEMBERSHIPS: "the memberships of a restore"}
"""The exports that a restore makes. Each has a log of its own."""

MEMBERSHIPS = "the backup of the memberships"

UNFINISHED = "what a killed command has left half-written"

CLOCK_S = 5.0
"""By how much the clock of a file server may be ahead of ours."""

READ_BYTES = 1 << 20

Identity = tuple[int, ...]
"""What changes when a file is replaced or written: device, inode, links, size, and the times in nanoseconds."""


class Known(NamedTuple):
    """What the log knows of the bytes of a file. whole: nothing follows them."""

    size: int
    sha256: str | None = None
    crc: int | None = None
    whole: bool = True


class Named(NamedTuple):
    """A file that the program may have written. known: its bytes; None when no log knows them.

    wanted: whether a run that has rows left needs it. left: why it must not be removed; empty when it may be.
    """

    path: Path
    what: str
    known: Known | None = None
    wanted: bool = False
    left: str = ""


@dataclass(frozen=True, slots=True)
class PersonalFile:
    """A file that is there. kept: why it must not be removed; empty when it may be."""

    path: Path
    what: str
    size: int
    sha256: str
    identity: Identity
    wanted: bool
    kept: str = ""


@dataclass(frozen=True, slots=True)
class RunFiles:
    """One run and its files.

    sha256: of the sound lines of its log. files: those that are there. missing: those that the log knows, and that are
    neither there nor removed by `forget`. ids: how many refused and unknown ids are in the log itself. made: the
    same of the new ids of restored accounts. export: the user's own; None when it is not there.
    """

    log: Path
    progress: Progress
    sha256: str
    files: tuple[PersonalFile, ...]
    missing: tuple[Named, ...]
    ids: int
    made: int
    export: Path | None


def files_of(log: Path) -> list[RunFiles]:
    """Find the files of a run, and of its restore. Reads every file that it finds.

    Raises NotAcceptable when a log or a file cannot be read, or when a run or a verification is under way.
    """
    return _files_of(log, None)


def _files_of(log: Path, export: tuple[Path, str] | None) -> list[RunFiles]:
    """See `files_of`. export: that of a restore, and what it is; None when the export is the user's own."""
    if is_locked(log):
        raise NotAcceptable(f"{log}: a {writer_words(log)} is under way. Wait for it to end, then run this again.")
    if is_held(Path(f"{log}{STATE}")):
        raise NotAcceptable(f"{log}: a verification is under way. Wait for it to end, then run this again.")
    read = _Read.of(log)
    pinned, complete = read.progress.header.pinned, read.progress.complete
    derived = [(Path(f"{log}{ending}"), what) for ending, what in RESTORES.items()]
    begun = [(path, what) for path, what in derived if Path(f"{path}{LOG}").exists()]
    named = [*_named(log, read), *(Named(*each) for each in derived if each not in begun)]
    if export is not None:
        known = Known(pinned["bytes"], pinned["sha256"])
        named.append(Named(*export, known, wanted=not complete))
    found = {each.path: _look(each) for each in named}
    own, there = Path(read.progress.header.export_path), {path.absolute() for path in found}
    files = RunFiles(
        log,
        read.progress,
        read.sha256,
        tuple(file for file in found.values() if file is not None),
        tuple(each for each in named if _is_missing(each, found, read.progress)),
        read.ids,
        read.made,
        own if export is None and own.absolute() not in there and own.is_file() else None,
    )
    return [files, *(each for path, what in begun for each in _files_of(Path(f"{path}{LOG}"), (path, what)))]


def _is_missing(named: Named, found: Mapping[Path, PersonalFile | None], progress: Progress) -> bool:
    """Whether a file that the log knows is not there, and not because an earlier `forget` has removed it."""
    forgotten = printable(named.path.absolute()) in progress.forgotten
    return named.known is not None and found[named.path] is None and not forgotten


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
    """What is read from a log. ids, made: as in `RunFiles`. began: when its first session did, in seconds, or None."""

    progress: Progress
    sha256: str
    ids: int
    made: int
    began: float | None

    @classmethod
    def of(cls, log: Path) -> _Read:
        ids, made, began = 0, 0, None
        with reading(log, RUN) as reader:
            for progress, entries in reader.folding():
                for entry in entries:
                    if isinstance(entry, Outcome):
                        ids += sum("id" in each for each in entry.exceptions)
                        made += sum("made" in each for each in entry.exceptions)
                if began is None and progress.start is not None:
                    began = datetime.fromisoformat(progress.start.at).timestamp()
            return cls(progress, reader.sha.hexdigest(), ids, made, began)


def _named(log: Path, read: _Read) -> Iterator[Named]:
    """Yield the files of one run, without its restore: each path once."""
    progress = read.progress
    pinned, resumable = progress.header.pinned, not progress.complete and progress.undo is None
    restoring = progress.undo is not None and not is_restored(progress.undo)
    copy = Path(f"{log}{SPOOLED}")
    if os.path.lexists(copy):  # the log does not say whether the export was a pipe
        yield Named(copy, "the copy of the piped export", Known(pinned["bytes"], pinned["sha256"]), resumable)
    part = copy.with_name(f".{copy.name}.part")
    yield Named(part, UNFINISHED, left="is being written" if is_held(part) else "")
    for name, saved in dict(sorted(progress.backups, key=lambda backup: backup[1].size)).items():
        current = progress.backup is not None and progress.backup[0] == name
        known = Known(saved.size, crc=saved.crc, whole=saved.size == 0)
        yield Named(Path(name), "the backup of the records", known, resumable and current)
    if (memberships := progress.memberships) is not None:
        known = Known(memberships.size, crc=memberships.crc)
        yield Named(Path(memberships.path), MEMBERSHIPS, known, resumable or restoring)
    elif (
        to := progress.memberships_to
    ) is not None:  # killed before the log had the copy: the next session replaces it
        yield Named(Path(to), MEMBERSHIPS)
        yield from (Named(part, UNFINISHED) for part in _beside(Path(to), r"\.\w+\.part", before="."))
    for export in (progress.header.export_path, log) if progress.asked["invalid"] else ():
        rows = Path(f"{export}{INVALID}")
        left = "was written again after the run had begun" if _is_younger(rows, read.began) else ""
        yield Named(rows, "the bad rows that were left out", wanted=_is_export_of_a_run(rows), left=left)
        yield Named(Path(f"{rows}{REASONS}"), "the reasons of the bad rows")
    for still in _beside(log, re.escape(STILL_THERE.removesuffix(".jsonl")) + r"(-\d+)?\.jsonl"):
        yield Named(still, "the list of those still there", wanted=_is_export_of_a_run(still))
    for torn in _beside(log, r"\.torn-\d+(-\d+)?"):
        yield Named(torn, "a torn line of the log")
    yield Named(Path(f"{log}{RESTORE_MAP}"), "the old and the new ids of a restore")
    parts = "|".join(map(re.escape, (*RESTORES, RESTORE_MAP, STILL_THERE)))
    for part in _beside(log, rf"({parts})\.\w+\.part", before="."):
        yield Named(part, UNFINISHED)


def _beside(file: Path, ending: str, before: str = "") -> list[Path]:
    """The files beside another one with its own name and this ending, a regular expression."""
    pattern = re.compile(re.escape(f"{before}{file.name}") + ending)
    return sorted(path for path in file.parent.glob("*") if pattern.fullmatch(path.name))


def _is_younger(path: Path, began: float | None) -> bool:
    """Whether a file was written after a run had begun: the run writes it before that."""
    return began is not None and path.is_file() and path.stat().st_mtime > began + CLOCK_S


def _is_export_of_a_run(path: Path) -> bool:
    """Whether another run with rows left reads this file."""
    log = Path(f"{path}{LOG}")
    try:
        return log.exists() and not _Read.of(log).progress.complete
    except Unborn:
        return False


def _look(named: Named) -> PersonalFile | None:
    """Judge one file; None when there is none. Raises NotAcceptable when it cannot be looked at."""
    try:
        found = named.path.lstat()
        kept, sha256 = _kept_by_kind(found) or named.left, ""
        if not kept:
            fd = os.open(named.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(fd, "rb") as file:
                found = os.fstat(fd)
                sha256, fits = _digest(file, named.known)
            kept = "" if fits else "holds other bytes than those that the run wrote"
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotAcceptable(
            f"{named.path}: cannot be read: {error.strerror}. Nothing was removed. Make it readable, or "
            "move it away; then run the same command again."
        ) from error
    wanted = named.wanted and not kept
    return PersonalFile(named.path, named.what, found.st_size, sha256, identity_of(found), wanted, kept)


def _kept_by_kind(found: os.stat_result) -> str:
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link"
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if found.st_nlink > 1:
        return f"has {found.st_nlink - 1} more name{'s' if found.st_nlink > 2 else ''} (hard links)"  # noqa: PLR2004
    return ""


def _digest(file: BinaryIO, known: Known | None) -> tuple[str, bool]:
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
    )
    return sha.hexdigest(), fits
