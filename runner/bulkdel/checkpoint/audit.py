"""The audit of a log: every line, the hash that each session took of the log before it, and that the counts add up.

Each session has recorded, at its start and at its stop, the SHA-256 of every byte before it, and so has each
annotation. So the audit finds a change of an earlier line, even with a correct checksum. For a change after the last
such entry, compare the SHA-256 of the log with the one that the summary printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from bulkdel.checkpoint.reader import RUN, begins_as, reading
from bulkdel.core.log_entries import Annotation, Change, Entry, Header, Session, Unreadable
from bulkdel.core.run_state import RunState
from bulkdel.core.summary import counts_of
from bulkdel.errors import NotAcceptable
from bulkdel.place.log_place import LogPlace


@dataclass(slots=True)
class AuditedSession:
    """One session as the log has it.

    line: where it starts. changes: while it ran. stop: None when it was killed, or is under way.
    """

    line: int
    start: Session
    stop: Session | None = None
    changes: list[Change] = field(default_factory=list)


@dataclass(slots=True)
class Audit:
    """The findings, up to the first fault.

    annotations: each with its line. fault: the fault and its place; None without one. commits, sha256: of the lines
    that were read. damaged_tail: bytes after the last whole line; no outcome relies on them.
    """

    progress: RunState | None = None
    sessions: list[AuditedSession] = field(default_factory=list)
    annotations: list[tuple[int, Annotation]] = field(default_factory=list)
    commits: int = 0
    sha256: str = ""
    damaged_tail: int = 0
    fault: str | None = None


def audit(place: LogPlace, each: Callable[[Iterable[Entry]], None] | None = None) -> Audit:
    """Read every line of a log. Raises NotAcceptable only when it cannot be opened.

    each: called with the entries of every line that was read, up to the first fault.
    """
    found, path = Audit(), place.where
    with reading(place, RUN, by_rolls=False) as reader:
        try:
            for progress, entries in reader.folding():
                found.progress = progress
                for entry in entries if reader.own else ():
                    if isinstance(entry, Annotation):
                        found.annotations.append((reader.seq + 1, entry))
                    else:
                        _add(found.sessions, entry, reader.seq + 1)
                if each is not None:
                    each(entries)
        except Unreadable as error:
            found.fault = f"{path}: {error}"
        except NotAcceptable as error:
            found.fault = str(error)
        found.commits, found.sha256, found.damaged_tail = reader.seq, reader.sha256, reader.damaged_tail
        _audit_shards(found, place, reader.shards.sha256)
        stopped = bool(found.sessions) and found.sessions[-1].stop is not None and not reader.torn_annotation
    if found.fault is None and found.progress is not None:
        rows, counts = found.progress.rows, counts_of(found.progress)
        if sum(counts.values()) != rows or min(counts.values()) < 0:
            words = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
            found.fault = f"{path}: the counts do not add up to {rows} rows: {words}"
        elif found.damaged_tail and stopped:
            # A run that has stopped writes nothing more, and this is not the beginning of an annotation.
            found.fault = f"{path}: {found.damaged_tail} bytes that no session wrote follow the last session's end"
    return found


def _audit_shards(found: Audit, place: LogPlace, shards: Mapping[int, str]) -> None:
    """Audit the log of each shard. Its commits count too; the first fault is that of the run."""
    left = {} if found.progress is None else found.progress.shards_left
    for number, noted in ((int(text), noted) for text, noted in left.items()):
        log = place.shard(number)
        if found.fault is None and (number not in shards or not begins_as(log, noted)):
            found.fault = f"{log.where}: does not go on from where the last session that has stopped left it"
    for number in shards:
        shard = audit(place.shard(number))
        found.commits += shard.commits
        found.fault = found.fault or shard.fault


def _add(sessions: list[AuditedSession], entry: Entry, line: int) -> None:
    """Add an entry to the sessions. Raises Unreadable for one that no session wrote."""
    match entry:
        case Session(event="start"):
            sessions.append(AuditedSession(line, entry))
        case Header():
            pass
        case _ if not sessions or sessions[-1].stop is not None:
            # The hash of no session covers an entry after the last stop, so there must be none.
            kind = type(entry).__name__.lower()
            raise Unreadable(f"line {line} holds an entry ({kind}) that no session wrote: none was under way")
        case Session():
            sessions[-1].stop = entry
        case Change():
            sessions[-1].changes.append(entry)
        case _:
            pass
