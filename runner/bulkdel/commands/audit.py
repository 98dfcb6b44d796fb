"""The audit of a log: whether everything in it still is what was written, and who ran what. Only reads.

What it rests on: each session, at its start and at its stop, has noted the SHA-256 of every byte before it, so a
change to an earlier line shows even when its checksum was made to fit. What follows the last such entry, or was cut off
there, shows only by the SHA-256 that the summary printed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from bulkdel.checkpoint.reader import Reader, open_log
from bulkdel.core.log_entries import Entry, Header, Session, Skipped, Unreadable
from bulkdel.core.run_state import Progress
from bulkdel.core.summary import counts_of
from bulkdel.errors import NotAcceptable


@dataclass(slots=True)
class AuditedSession:
    """One session as the log has it. line: where it starts. stop: None when it was killed, or is under way."""

    line: int
    start: Session
    stop: Session | None = None


@dataclass(slots=True)
class Audit:
    """What was found, up to the first thing that does not hold.

    fault: what and where that is; None when all holds. commits, sha256: of the lines that were read.
    damaged_tail: bytes behind the last whole line; nothing ever relied on them.
    """

    progress: Progress | None = None
    sittings: list[AuditedSession] = field(default_factory=list)
    commits: int = 0
    sha256: str = ""
    damaged_tail: int = 0
    fault: str | None = None


def audit(path: Path) -> Audit:
    """Read every line of a log. Raises NotAcceptable only when it cannot be opened."""
    found = Audit()
    fd = open_log(path)
    try:
        reader = Reader(fd, path)
        try:
            for progress, entries in reader.folding():
                found.progress = progress
                _note(found, entries, reader.seq + 1)
            if found.progress is not None:
                _add_up(found.progress)
                _check_end(found, reader.damaged_tail)
        except Unreadable as error:
            found.fault = f"{path}: {error}"
        except NotAcceptable as error:
            found.fault = str(error)
        found.commits, found.sha256, found.damaged_tail = reader.seq, reader.sha.hexdigest(), reader.damaged_tail
    finally:
        os.close(fd)
    return found


def _note(found: Audit, entries: list[Entry], line: int) -> None:
    for entry in entries:
        match entry:
            case Session(event="start"):
                found.sittings.append(AuditedSession(line, entry))
            case Header() | Skipped(reason="duplicate"):
                pass  # the list of duplicates belongs to the header, which holds its SHA-256
            case _ if not found.sittings or found.sittings[-1].stop is not None:
                # No session's hash covers what was put behind the last stop; so nothing may be there.
                kind = type(entry).__name__.lower()
                raise Unreadable(f"line {line} holds an entry ({kind}) that no session wrote: none was under way")
            case Session():
                found.sittings[-1].stop = entry
            case _:
                pass


def _check_end(found: Audit, damaged_tail: int) -> None:
    """A run that has said its last word writes no half a line after it."""
    if damaged_tail and found.sittings and found.sittings[-1].stop is not None:
        raise Unreadable(f"{damaged_tail} bytes that no session wrote stand behind the last session's end")


def _add_up(progress: Progress) -> None:
    counts = counts_of(progress)
    if sum(counts.values()) != progress.rows or min(counts.values()) < 0:
        told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        raise Unreadable(f"the counts do not add up to {progress.rows} rows: {told}")
