"""One process at a time may write a log: it holds `flock` on the log itself.

The lock lies on the log and not on a file beside it. It belongs to the inode, so two paths to one log are one lock, and
it ends with its process, however that ends. The log's latest session says which process that is.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.reader import RUN, Fold, LogKind, open_log, reading
from bulkdel.checkpoint.watch import wait_for_line
from bulkdel.errors import NotAcceptable
from bulkdel.store.lines import StoreLines
from bulkdel.store_path import StorePath, in_store

TRIES = 5
TRY_PAUSE_S = 0.02
"""A run does not wait for another run. It tries again because `is_locked` holds a shared lock for microseconds."""


def lock(fd: int, path: Path, kind: LogKind[Any]) -> None:
    """Take the lock of a log until `fd` is closed. Raises NotAcceptable that names the process that has it."""
    for remaining in reversed(range(TRIES)):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if remaining:
                time.sleep(TRY_PAUSE_S)
        except OSError as error:
            raise NotAcceptable(
                f"{path}: cannot be locked ({error.strerror}), so two processes could not be kept apart. "
                f"Put the log on a local file system ({kind.option})."
            ) from error
        else:
            return
    raise NotAcceptable(
        f"{path}: another {writer_words(path, kind)} is under way. Wait for it to end or stop it, then run this again."
    )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the log of a run, and change nothing. Raises NotAcceptable when a process has it.

    A store has no lock: that no process writes the log is seen once, before.
    """
    if in_store(path):
        if is_locked(path):
            raise NotAcceptable(
                f"{path}: a {writer_words(path)} is under way. Wait for it to end, then run this again."
            )
        yield
        return
    fd = open_log(path)
    try:
        lock(fd, path, RUN)
        yield
    finally:
        os.close(fd)


def is_locked(path: Path, kind: LogKind[Any] = RUN) -> bool:
    """Whether a run has the lock of this log; of one in a store, whether a process writes it: that may take 11 s."""
    if in_store(path):
        return _is_written(path, kind)
    fd = open_log(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks, on which no run begins
        return False
    finally:
        os.close(fd)  # lets the shared lock go
    return False


def _is_written(path: StorePath, kind: LogKind[Any]) -> bool:
    """Whether a process writes a log in a store: a session has not ended, and another line appears."""
    with reading(path, kind) as reader:
        if reader.replay().under_way is None:
            return False
    with closing(StoreLines(path)) as lines:
        return wait_for_line(lines, reader.seq + 1, path) is not None


def holder(path: Path, fold: Fold) -> int | None:
    """Pid of the process whose session is under way in this log; None when there is none."""
    pid = fold.under_way.facts.get("pid") if fold.under_way else None
    return pid if isinstance(pid, int) and is_locked(path) else None


def writer_words(path: Path, kind: LogKind[Any] = RUN) -> str:
    """The process that has the lock, in words: before its session starts, its pid is not known."""
    try:
        with reading(path, kind) as reader:
            pid = holder(path, reader.replay())
    except NotAcceptable:
        pid = None
    return kind.name if pid is None else f"{kind.name} (pid {pid})"
