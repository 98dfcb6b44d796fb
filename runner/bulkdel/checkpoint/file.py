"""The bytes of the checkpoint log on their way to the disk. Owns creation, recovery, appending and syncing of one file.

Everything here blocks and raises OSError; `bulkdel.checkpoint.writer` decides where it runs and what a failure
means. Knows nothing of entries beyond their encoded form, and nothing of the event loop.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from bulkdel.checkpoint.lock import lock
from bulkdel.checkpoint.reader import Reader, Unborn, open_log
from bulkdel.core.log_entries import frame
from bulkdel.core.run_state import Progress
from bulkdel.durable import check_place, sync, sync_directory, write_all, write_at
from bulkdel.errors import NotAcceptable

MODE = 0o600
"""Refused and unknown ids are in the log: personal data, for its owner's eyes."""

APPEND = os.O_RDWR | os.O_APPEND
NEW = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class LogFile:
    """A log that this process may append to: open, locked, every byte in it durable.

    nonce: a random word in every line that this process writes; it tells the lines of one session from all others.
    seq, size: of the last durable line, and up to its end.
    recovered: where a torn tail was saved before it was cut off; None when there was none.
    """

    __slots__ = ("_fd", "_sha", "nonce", "path", "recovered", "seq", "size")

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._sha = hashlib.sha256()
        self.path = path
        self.nonce = secrets.token_hex(8)
        self.seq = 0
        self.size = 0
        self.recovered: Path | None = None

    @property
    def sha256(self) -> str:
        """Hex, over every durable byte."""
        return self._sha.hexdigest()

    @classmethod
    def create(cls, path: Path, header: bytes) -> LogFile:
        """Make a log that holds its encoded header, durably. Raises NotAcceptable when there is one, and OSError.

        The list of duplicates must follow, by `commit`, before anything else.
        """
        try:
            fd = os.open(path, APPEND | NEW, MODE)
        except FileExistsError:
            fd = open_log(path, APPEND)
        file = cls(fd, path)
        try:
            lock(fd, path)
            # Only under the lock is it certain what is there: another run may have been faster.
            file._clear_remains()
            file.commit([header])
            sync_directory(path)
        except BaseException:
            file.close()
            raise
        return file

    @classmethod
    def resume(cls, path: Path) -> tuple[LogFile, Progress]:
        """Lock a log, read it, repair its tail. Raises NotAcceptable (nothing was changed then) and OSError."""
        fd = open_log(path, APPEND)
        file = cls(fd, path)
        try:
            lock(fd, path)
            reader = Reader(fd, path)
            progress = reader.replay()
            file.seq, file.size, file._sha = reader.seq, reader.size, reader.sha
            if reader.damaged_tail:
                file._cut_tail(reader.damaged_tail)
            file._harden(reader.last)
        except BaseException:
            file.close()
            raise
        return file, progress

    def commit(self, parts: Sequence[bytes]) -> None:
        """Append encoded entries as one line; durable on return. After an OSError no more may be written."""
        line = frame(self.seq + 1, parts, self.nonce)
        write_all(self._fd, line)
        sync(self._fd)
        check_place(self._fd, self.path, self.size + len(line))
        self.seq += 1
        self.size += len(line)
        self._sha.update(line)

    def close(self) -> None:
        """Let go of the file and with it of the lock. What is durable does not depend on it, so errors say nothing."""
        fd, self._fd = self._fd, -1  # the number is somebody else's as soon as it is closed
        with suppress(OSError):
            os.close(fd)

    def _clear_remains(self) -> None:
        """Make room for the header.

        The file must be empty, or hold what a run wrote that was killed while it created the log: a torn header, which
        is saved, or a header with a part of its list of duplicates, which this run writes again.
        """
        reader = Reader(self._fd, self.path)
        with suppress(Unborn):
            if any(progress.born for progress, _ in reader.folding()):
                raise NotAcceptable(f"{self.path}: a checkpoint exists already. Run the same command again to go on.")
        if reader.seq:
            os.ftruncate(self._fd, 0)
        elif size := os.fstat(self._fd).st_size:
            self._cut_tail(size)

    def _cut_tail(self, length: int) -> None:
        """Save the `length` bytes behind the last sound line beside the log, then cut them off."""
        self.recovered = _save_beside(self.path, self.seq + 1, os.pread(self._fd, length, self.size))
        os.ftruncate(self._fd, self.size)
        os.fsync(self._fd)

    def _harden(self, last: bytes) -> None:
        """Make what was read durable, which it need not be: the run before may have died between write and sync.

        Or its sync failed: then the system may have marked the last line clean and only holds it in memory, and no
        later sync would write it. So that line, the only one it can be, is written once more over itself.
        """
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        fcntl.fcntl(self._fd, fcntl.F_SETFL, flags & ~os.O_APPEND)  # Linux would append, wherever it is told to write
        write_at(self._fd, last, self.size - len(last))
        fcntl.fcntl(self._fd, fcntl.F_SETFL, flags)
        sync(self._fd)
        sync_directory(self.path)


def _save_beside(path: Path, seq: int, data: bytes) -> Path:
    """Write `data` durably to `<path>.torn-<seq>`, or with a further number where that is taken."""
    target = Path(f"{path}.torn-{seq}")
    further = count(2)
    while os.path.lexists(target):
        target = Path(f"{path}.torn-{seq}-{next(further)}")
    fd = os.open(target, os.O_WRONLY | NEW, MODE)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(path)
    return target
