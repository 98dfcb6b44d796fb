"""Whether a process writes a log now: its lock tells, or in a store new lines. The log names the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bulkdel.checkpoint.reader import RUN, Fold, LogKind, reading
from bulkdel.errors import NotAcceptable
from bulkdel.place.log_place import Busy, LogPlace


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
