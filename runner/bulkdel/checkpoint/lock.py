"""Who may write a checkpoint: one process, by `flock` on the log itself. Owns the lock and the search for its holder.

The lock lies on the log and not on a file beside it: it belongs to the inode, so two paths to one log are one lock, and
it ends with its process, however that dies. Knows nothing of commits or recovery.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from bulkdel.checkpoint.reader import LINE_MAX, open_log
from bulkdel.core.log_entries import Damaged, Session, Unreadable, decode_line
from bulkdel.errors import NotAcceptable

TRIES = 5
TRY_PAUSE_S = 0.02
"""A run does not wait for another run. It does outlast a reader, which may hold a shared lock for some microseconds."""

KERNEL_LOCKS = Path("/proc/locks")


def lock(fd: int, path: Path) -> None:
    """Take the lock or raise NotAcceptable that names who has it. It is held until `fd` is closed."""
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
            return
    pid = holder(path)
    who = "another run" if pid is None else f"another run (pid {pid})"
    raise NotAcceptable(f"{path}: {who} is using this checkpoint. Wait for it to end or stop it, then run this again.")


def holder(path: Path) -> int | None:
    """Pid of the process that holds the lock; None when nobody does, or when nothing tells who.

    The kernel's own list is exact and reading it disturbs nobody. Where there is none (macOS), or where it names the
    file's device differently (btrfs, overlays), the log's latest session says who, and a shared lock that is let go at
    once says whether it still runs.
    """
    try:
        fd = open_log(path)
    except NotAcceptable:
        return None
    try:
        return _by_kernel(os.fstat(fd)) or _by_session(fd)
    finally:
        os.close(fd)


def _by_kernel(stat: os.stat_result) -> int | None:
    file = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    try:
        text = KERNEL_LOCKS.read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        # 1: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF     (a waiter has `->` in second place)
        match line.split():
            case [_, "FLOCK", _, "WRITE", pid, where, *_] if where == file and int(pid) > 0:
                return int(pid)
    return None


def _by_session(fd: int) -> int | None:
    pid = _pid_of_latest_session(fd)
    if pid is None:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return pid
    return None  # closing the descriptor lets the shared lock go


def _pid_of_latest_session(fd: int) -> int | None:
    latest: Session | None = None
    with open(fd, "rb", closefd=False) as file:
        number = 0
        while line := file.readline(LINE_MAX + 1):
            number += 1
            # Only lines with a session in them are worth decoding: a handful in a million.
            if b'"type":"session"' in line:
                try:
                    entries = decode_line(line, number)
                except (Damaged, Unreadable):
                    continue
                latest = [entry for entry in entries if isinstance(entry, Session)][-1]
    if latest is None or latest.event == "stop":
        return None
    pid = latest.facts.get("pid")
    return pid if isinstance(pid, int) else None


__all__ = ["holder", "lock"]
