"""One process at a time may write a checkpoint: it holds `flock` on the log itself.

The lock lies on the log and not on a file beside it. It belongs to the inode, so two paths to one log are one lock, and
it ends with its process, however that dies. The log's latest session says which process that is.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from bulkdel.checkpoint.reader import open_log, read_log
from bulkdel.core.run_state import Progress
from bulkdel.errors import NotAcceptable

TRIES = 5
TRY_PAUSE_S = 0.02
"""A run does not wait for another run. It does outlast `is_locked`, which holds a shared lock for some microseconds."""


def lock(fd: int, path: Path) -> None:
    """Take the lock of a log until `fd` is closed, or raise NotAcceptable that names the run that has it."""
    if not try_lock(fd, path):
        raise NotAcceptable(
            f"{path}: another {run_words(path)} is using this checkpoint. Wait for it to end or stop it, then run this "
            "again."
        )


def try_lock(fd: int, path: Path) -> bool:
    """Take the lock, if no other process has it. Raises NotAcceptable where there are no locks."""
    for remaining in reversed(range(TRIES)):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if remaining:
                time.sleep(TRY_PAUSE_S)
        except OSError as error:
            raise NotAcceptable(
                f"{path}: cannot be locked ({error.strerror}), so two runs could not be kept apart. "
                "Put the checkpoint on a local file system (--checkpoint)."
            ) from error
        else:
            return True
    return False


def is_locked(path: Path) -> bool:
    """Whether a run has the lock of this log."""
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


def holder(path: Path, progress: Progress) -> int | None:
    """Pid of the run whose session is under way in this log; None when there is none."""
    pid = progress.start.facts.get("pid") if progress.start and not progress.stop else None
    return pid if isinstance(pid, int) and is_locked(path) else None


def run_words(path: Path) -> str:
    """The run that has the lock, in words: before its session starts, its pid is not known."""
    try:
        pid = holder(path, read_log(path).progress)
    except NotAcceptable:
        pid = None
    return "run" if pid is None else f"run (pid {pid})"
