"""Whether a log may be taken over: not while a process writes it. Its lock tells, or in a store new lines.

The log names the process. In a store the successor watches for as long as a lease lasts (`place.lease`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bulkdel.checkpoint.reader import RUN, Fold, LogKind, reading
from bulkdel.core.log_entries import Damaged, Session, Unreadable, decode_line
from bulkdel.errors import NotAcceptable
from bulkdel.output import say
from bulkdel.place.log_place import Busy, LogPlace, WritableLines


@contextmanager
def locked(place: LogPlace) -> Iterator[None]:
    """Hold the lock of the log of a run, and change nothing. Raises NotAcceptable when a process has it.

    In a store the log is watched once, up to 11 s, and then nothing is held.
    """
    if place.is_held() is None and is_locked(place):
        raise NotAcceptable(another_words(place))
    try:
        with place.held():
            yield
    except Busy:
        raise NotAcceptable(another_words(place)) from None


def is_locked(place: LogPlace, kind: LogKind[Any] = RUN) -> bool:
    """Whether a run has the lock of this log. In a store: whether a process writes the log, which may take 11 s."""
    held = place.is_held()
    if held is not None:
        return held
    with reading(place, kind) as reader:
        if reader.replay().under_way is None:
            return False
    return place.watch(reader.seq + 1) is not None


def holder(place: LogPlace, fold: Fold) -> int | None:
    """Pid of the process of the session that is under way in this log; None without one."""
    pid = fold.under_way.facts.get("pid") if fold.under_way else None
    return pid if isinstance(pid, int) and is_locked(place) else None


def writer_words(place: LogPlace, kind: LogKind[Any] = RUN) -> str:
    """The process that has the lock, in words, with its pid once its session has started."""
    try:
        with reading(place, kind) as reader:
            pid = holder(place, reader.replay())
    except NotAcceptable:
        pid = None
    return kind.name if pid is None else f"{kind.name} (pid {pid})"


def another_words(place: LogPlace, kind: LogKind[Any] = RUN) -> str:
    """The refusal of a log that another process writes."""
    return (
        f"{place.where}: another {writer_words(place, kind)} is under way. Wait for it to end or stop it, then run "
        "this again."
    )


def refuse_while_written(lines: WritableLines, place: LogPlace, kind: LogKind[Any], session: Session, seq: int) -> None:
    """Raise NotAcceptable when the process of this session still writes. seq: of the next line. Blocks."""
    where, by = place.where, writer_of(session, kind)
    if lines.watch_s:
        say(f"{where}: {by} has not ended. Watching for {lines.watch_s:.0f} s whether it still writes.", "watching")
    if (line := lines.watch(seq)) is not None:
        by = writer_of(session_in(line, seq) or session, kind)
        raise NotAcceptable(f"{where}: {by} is under way. Wait for it to end or stop it, then run this again.")


def writer_of(session: Session | None, kind: LogKind[Any]) -> str:
    """The process of a session, in words."""
    facts = session.facts if session is not None else {}
    where = ", ".join(
        f"{name} {facts[key]}" for name, key in (("host", "machine"), ("pid", "pid"), ("user", "user")) if key in facts
    )
    return f"another {kind.name} ({where})" if where else f"another {kind.name}"


def session_in(line: bytes, seq: int) -> Session | None:
    """The session that begins with this line; None when none does."""
    try:
        entries = decode_line(line, seq).entries
    except (Damaged, Unreadable):
        return None
    first = entries[0] if entries else None
    return first if isinstance(first, Session) and first.event == "start" else None
