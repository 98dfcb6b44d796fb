"""A log in a file. One process at a time may write it: the process that holds `flock` on the log.

The lock lies on the log and not on a file beside it. It belongs to the inode, so two paths to one log are one lock. It
ends with its process, even with a killed one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from bulkdel.durable import DISK, Disk, atomic_file, check_place, remove_parts
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.place.lease import LockLease
from bulkdel.place.log_place import EXCLUDED, INDEX, INPUT, LINE_MAX, SKIPPED, Busy, PinnedFile, number_of
from bulkdel.place.spool import Spool
from bulkdel.regular_file import regular_fd
from bulkdel.run_place import LOG, RUNS, number_of_restore
from bulkdel.store_path import in_store
from bulkdel.world import WORLD, World

READ_BYTES = 1 << 20

TRIES = 5
TRY_PAUSE_S = 0.02
"""A run does not wait for another run. It tries again because `is_held` holds a shared lock for microseconds."""

MODE = 0o600
"""For the owner only: the log has refused and unknown ids, which are personal data."""

OPEN_TO_OWNER = 0o700
"""The same for the folders."""

_SHARD_LOG = re.compile(r"log\.[0-9]+\.jsonl")

APPEND = os.O_RDWR | os.O_APPEND
NEW = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log in a file: `LogPlace`. folder, name: of the file. world: its disk makes it durable."""

    folder: Path
    name: str = LOG
    number: int = 0
    world: World = WORLD
    kept_as: str = "this file"
    mend: str = "Make room or repair the disk"

    @property
    def where(self) -> Path:
        """See `LogPlace`."""
        return self.folder if self.name == LOG else self.log

    @property
    def log(self) -> Path:
        """See `LogPlace`."""
        return self.folder / self.name

    def spool(self) -> Spool:
        """See `LogPlace`."""
        part = input_part(self.folder)
        try:
            make_folder(self.folder, self.world.disk)
            return Spool.part(part)
        except BlockingIOError:
            raise NotAcceptable(
                f"{self.where}: another process reads an export for this run, or waits for a confirmation. Nothing was "
                "sent. Wait for it to end, stop it, or name another place (--run)."
            ) from None
        except OSError as error:
            raise self._failed(part, "the rows of the run", error) from error

    def keep(self, pinned: PinnedFile, data: bytes | Spool) -> None:
        """See `LogPlace`."""
        path = self.at(pinned)
        try:
            remove_parts(path)
            if isinstance(data, Spool):
                data.put(path)
                self.world.disk.sync_directory(path)
                return
            with atomic_file(path, lambda *_: True) as file:
                file.write(data)
        except OSError as error:
            raise self._failed(path, pinned.words, error) from error

    def _failed(self, path: Path, what: str, error: OSError) -> FileFailed:
        return FileFailed(
            f"{path}: the file of {what} cannot be written: {error.strerror}. Nothing was sent. {self.mend}, or name "
            "another place (--run); then run the same command again."
        )

    def drop(self, pinned: PinnedFile) -> None:
        """See `LogPlace`."""
        with suppress(OSError):
            self.at(pinned).unlink()

    def open(self, pinned: PinnedFile, start: int = 0, stop: int | None = None) -> Spool | None:  # noqa: ARG002 - all of it
        """See `LogPlace`."""
        path = self.at(pinned)
        try:
            return Spool(regular_fd(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NotAcceptable(
                f"{path}: the file of {pinned.words} cannot be read: {error.strerror}. Put back the file that was "
                "there, then run this again."
            ) from error

    def at(self, pinned: PinnedFile) -> Path:
        """See `LogPlace`."""
        return self.folder / pinned.name(self.number)

    def shard(self, number: int) -> LogFile:
        """See `LogPlace`."""
        return replace(self, name=f"log{number_of(number)}.jsonl", number=number)

    def once(self) -> LogFile:
        """See `LogPlace`."""
        return self

    def is_there(self) -> bool:
        """See `LogPlace`."""
        return os.path.lexists(self.log)

    def beside(self) -> Sequence[Path]:
        """See `LogPlace`."""
        own = [self.at(PinnedFile(kind, "")) for kind in (INPUT, INDEX, SKIPPED, EXCLUDED)]
        return [*filter(os.path.lexists, own), *sorted(self.folder.glob("skipped.[0-9]*.zst"))]

    def shard_log(self) -> Path | None:
        """See `LogPlace`. Only the log of a run has shards."""
        if self.name != LOG:
            return None
        if (first := self.shard(1)).is_there():
            return first.log
        with suppress(OSError):  # a folder may be closed to readers
            return next((path for path in sorted(self.folder.iterdir()) if _SHARD_LOG.fullmatch(path.name)), None)
        return None

    @contextmanager
    def lines(self, *, by_rolls: bool = True) -> Iterator[FileLines]:  # noqa: ARG002 - there are none
        """See `LogPlace`."""
        with self._opened() as fd:
            yield FileLines(fd)

    def writable(self, *, new: bool, another: bool) -> WritableFile:  # noqa: ARG002 - a file can always be locked
        """See `LogPlace`."""
        try:
            if new and self.name == LOG:
                make_folder(self.folder, self.world.disk)
            fd = os.open(self.log, APPEND | NEW, MODE) if new else _open(self.log, APPEND)
        except FileExistsError:
            fd = _open(self.log, APPEND)
        try:
            _lock(fd, self.log)
        except BaseException:
            os.close(fd)
            raise
        return WritableFile(fd, self.log, self.world.disk)

    @contextmanager
    def held(self) -> Iterator[None]:
        """See `LogPlace`."""
        with self._opened() as fd:
            _lock(fd, self.log)
            yield

    def is_held(self) -> bool:
        """See `LogPlace`."""
        with self._opened() as fd:
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:  # a file system without locks: no run begins on it
                return False
        return False  # closing the file has released the shared lock

    def watch(self, seq: int) -> None:
        """See `LogPlace`: the lock shows whether a process has the log."""

    def end(self) -> int | None:
        """See `LogPlace`."""
        with suppress(OSError):
            return self.log.stat().st_size
        return None

    @contextmanager
    def _opened(self) -> Iterator[int]:
        fd = _open(self.log)
        try:
            yield fd
        finally:
            os.close(fd)


class FileLines:
    """The lines of the file `fd` as it is now: `LogLines`. Lines that are written meanwhile are not read."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._stop = os.fstat(fd).st_size

    def __iter__(self) -> Iterator[bytes]:
        """See `LogLines`."""
        start = 0
        with open(self._fd, "rb", buffering=READ_BYTES, closefd=False) as file:
            file.seek(0)
            while line := file.readline(min(LINE_MAX, self._stop - start)):
                start += len(line)
                yield line

    def tail(self, start: int) -> bytes | None:
        """See `LogLines`. A run may have cut it off meanwhile."""
        return os.pread(self._fd, min(LINE_MAX + 1, self._stop - start), start)

    def length(self, start: int) -> int:
        """See `LogLines`."""
        return self._stop - start


class WritableFile(FileLines):
    """The lines of a file that is locked for this process: `WritableLines`."""

    watch_s = 0.0

    def __init__(self, fd: int, path: Path, disk: Disk) -> None:
        super().__init__(fd)
        self._path = path
        self._disk = disk
        self._size = 0
        self.lease = LockLease()

    def watch(self, seq: int) -> None:
        """See `WritableLines`: the lock keeps processes apart."""

    def following(self, seq: int) -> Iterator[bytes]:  # noqa: ARG002 - no other process writes
        """See `WritableLines`."""
        yield from ()

    def settle(self, seq: int, size: int, last: bytes) -> Path | None:
        """See `WritableLines`.

        The earlier process may have been killed between its write and its sync. Or its sync failed. Then the system may
        keep the line in memory only and count it as written, and another sync would not write it. So the last line is
        written once more at the same offset, and synced.
        """
        torn, self._size = None, size
        if length := self.length(size):
            torn = _save_beside(self._path, seq + 1, os.pread(self._fd, length, size))
            self._disk.truncate(self._fd, size)
        if last:
            self._disk.write_at(self._fd, last, size - len(last))
            self._disk.sync(self._fd)
            self._disk.sync_directory(self._path)
        return torn

    def append(self, seq: int, line: bytes) -> None:
        """See `WritableLines`."""
        self._disk.write(self._fd, line)
        self._disk.sync(self._fd)
        self._size += len(line)
        check_place(self._fd, self._path, self._size)
        if seq == 1:
            self._disk.sync_directory(self._path)

    def close(self) -> None:
        """See `WritableLines`. The lock ends with the file."""
        fd, self._fd = self._fd, -1  # once closed, the number may belong to another file
        with suppress(OSError):
            os.close(fd)


def input_part(run: Path) -> Path:
    """The path of the input of a run while its log has no header."""
    return run / ".input.part"


def missing_folders(run: Path) -> list[Path]:
    """The folders that a run in this place has to make, the outermost first; none for a store."""
    if in_store(run):
        return []
    has_parent = run.parent.name.endswith(RUNS) or number_of_restore(run.name) is not None
    folders = (run.parent, run) if has_parent else (run,)
    return [folder for folder in folders if not folder.is_dir()]


def make_folder(run: Path, disk: Disk = DISK) -> None:
    """Make the place of a run, durably, where it is not there. Raises OSError."""
    for folder in missing_folders(run):
        with suppress(FileExistsError):  # another process has just made it
            folder.mkdir(OPEN_TO_OWNER)
        disk.sync_directory(folder)


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those of the folders that are empty, the last one first. Raises nothing."""
    for folder in reversed(folders):
        with suppress(OSError):
            if folder.is_dir():  # a plan of another person may name a folder that was not made
                folder.rmdir()


def _open(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a log that exists: a regular file, and no symbolic link. Raises NotAcceptable."""
    try:
        # O_NONBLOCK: without it, opening a named pipe waits for its other end. It has no effect on a regular file.
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        symbolic = error.errno == errno.ELOOP
        reason = "is a symbolic link; name the file itself" if symbolic else f"cannot be opened: {error.strerror}"
        raise NotAcceptable(f"{path}: {reason}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotAcceptable(f"{path}: is not a regular file; a log has to be one")
    return fd


def _lock(fd: int, path: Path) -> None:
    """Take the lock of a log until `fd` is closed. Raises Busy and NotAcceptable."""
    for remaining in reversed(range(TRIES)):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if remaining:
                time.sleep(TRY_PAUSE_S)
        except OSError as error:
            raise NotAcceptable(
                f"{path}: cannot be locked ({error.strerror}), so two processes could not be kept apart. "
                "Keep the run on a local file system, or in a store (--run)."
            ) from error
        else:
            return
    raise Busy


def _save_beside(path: Path, seq: int, data: bytes) -> Path:
    """Write `data` durably to `<path>.torn-<seq>`, or with a further number where that is taken."""
    names = (Path(f"{path}.torn-{seq}" + (f"-{i}" if i > 1 else "")) for i in count(1))
    target = next(name for name in names if not os.path.lexists(name))
    with atomic_file(target) as file:
        file.write(data)
    return target
