"""The file of a log: how it is created, recovered, appended to and synced.

Everything here blocks and raises OSError; `bulkdel.checkpoint.writer` decides where it runs and what a failure
means. Knows nothing of entries beyond their encoded form, and nothing of the event loop.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.licence import TERMS, Terms
from bulkdel.checkpoint.lock import lock
from bulkdel.checkpoint.reader import F, FileLines, LogKind, Reader, Unborn, open_log
from bulkdel.core.log_entries import frame
from bulkdel.durable import DISK, Disk, atomic_file, check_place
from bulkdel.errors import NotAcceptable


@dataclass(frozen=True, slots=True)
class How:
    """How a log is written; a simulation passes its own.

    thread: runs the commits, one after the other; None for a thread of its own. nonce: None for a random one.
    terms: how a log in a store is written.
    """

    disk: Disk = DISK
    thread: concurrent.futures.Executor | None = None
    nonce: str | None = None
    terms: Terms = TERMS


PLAIN = How()

MODE = 0o600
"""For the owner only: refused and unknown ids are in the log, which is personal data."""

APPEND = os.O_RDWR | os.O_APPEND
NEW = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class LogFile:
    """A log that this process may append to: open, locked, every byte in it durable.

    nonce: a random word in every line that this process writes; it marks the lines of one session.
    seq, size: of the last durable line, and up to its end. sha: the SHA-256 of every durable byte.
    recovered: where a torn tail was saved before it was cut off; None when there was none.
    """

    __slots__ = ("_disk", "_fd", "nonce", "path", "recovered", "seq", "sha", "size")

    adopted = None
    """A file is created under its lock: no process goes on with what another one has begun."""

    licence = None
    """A process has a file for as long as it holds the lock."""

    def __init__(self, fd: int, path: Path, how: How) -> None:
        self._fd = fd
        self._disk = how.disk
        self.sha = hashlib.sha256()
        self.path = path
        self.nonce = how.nonce or secrets.token_hex(8)
        self.seq = 0
        self.size = 0
        self.recovered: Path | None = None

    @classmethod
    def create(cls, path: Path, kind: LogKind[Any], header: bytes, how: How) -> LogFile:
        """Make a log that holds its encoded header, durably. Raises NotAcceptable when there is one, and OSError.

        The list of skipped rows must follow, by `commit`, before anything else.
        """
        try:
            fd = os.open(path, APPEND | NEW, MODE)
        except FileExistsError:
            fd = open_log(path, APPEND, option=kind.option)
        file = cls(fd, path, how)
        try:
            lock(fd, path, kind)
            # Checked under the lock: another process may have created the log meanwhile.
            file._clear_remains(kind)
            file.commit([header])
            how.disk.sync_directory(path)
        except BaseException:
            file.close()
            raise
        return file

    @classmethod
    def resume(cls, path: Path, kind: LogKind[F], how: How) -> tuple[LogFile, F]:
        """Lock a log, read it, repair its tail. Raises NotAcceptable (nothing was changed then) and OSError."""
        fd = open_log(path, APPEND, option=kind.option)
        file = cls(fd, path, how)
        try:
            lock(fd, path, kind)
            reader = Reader(FileLines(fd), path, kind)
            fold = reader.replay()
            file.seq, file.size, file.sha = reader.seq, reader.size, reader.sha
            if reader.damaged_tail:
                file._cut_tail(reader.damaged_tail)
            file._harden(reader.last)
        except BaseException:
            file.close()
            raise
        return file, fold

    def commit(self, parts: Sequence[bytes]) -> None:
        """Append encoded entries as one line; durable on return. After an OSError no more may be written."""
        line = frame(self.seq + 1, parts, self.nonce)
        self._disk.write(self._fd, line)
        self._disk.sync(self._fd)
        check_place(self._fd, self.path, self.size + len(line))
        self.seq += 1
        self.size += len(line)
        self.sha.update(line)

    def begin(self) -> None:
        """End the creation."""

    def close(self) -> None:
        """Close the file, and with it the lock. Errors are ignored: every line is durable already."""
        fd, self._fd = self._fd, -1  # once closed, the number may belong to another file
        with suppress(OSError):
            os.close(fd)

    def _clear_remains(self, kind: LogKind[Any]) -> None:
        """Make room for the header.

        The file must be empty, or hold the remains of a process that was killed while it created the log: a torn
        header, which is saved, or a header with a part of its list of skipped rows, which this process writes again.
        """
        reader = Reader(FileLines(self._fd), self.path, kind)
        with suppress(Unborn):
            if any(fold.born for fold, _ in reader.folding()):
                raise NotAcceptable(f"{self.path}: a log exists already. Run the same command again to go on.")
        if reader.seq:
            self._disk.truncate(self._fd, 0)
        elif size := os.fstat(self._fd).st_size:
            self._cut_tail(size)

    def _cut_tail(self, length: int) -> None:
        """Save the `length` bytes behind the last sound line beside the log, then cut them off."""
        self.recovered = _save_beside(self.path, self.seq + 1, os.pread(self._fd, length, self.size))
        self._disk.truncate(self._fd, self.size)

    def _harden(self, last: bytes) -> None:
        """Make the last line durable: the earlier process may have been killed between its write and its sync.

        Or its sync failed. Then the system may keep the line in memory only and count it as written, so that another
        sync would not write it. Therefore the last line is written once more over itself, and synced.
        """
        self._disk.write_at(self._fd, last, self.size - len(last))
        self._disk.sync(self._fd)
        self._disk.sync_directory(self.path)


def _save_beside(path: Path, seq: int, data: bytes) -> Path:
    """Write `data` durably to `<path>.torn-<seq>`, or with a further number where that is taken."""
    names = (Path(f"{path}.torn-{seq}" + (f"-{i}" if i > 1 else "")) for i in count(1))
    target = next(name for name in names if not os.path.lexists(name))
    with atomic_file(target) as file:
        file.write(data)
    return target
