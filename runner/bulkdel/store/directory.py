"""A directory that machines share, as a store. An object is a file that gets its name when it is whole."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath

from bulkdel.durable import sync, sync_directory, write_all

NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Opening a named pipe would wait for its other end. It means nothing to a regular file."""

OBJECT_BYTES_MAX = 16 << 20
"""Of an object that is read. No larger one is written. The largest is a roll; a line has half as much, and so has a
part of a backup or of an export, but for its last record."""

MODE = 0o600
"""For the owner only: a log holds refused ids."""


class Directory:
    """The files below one directory: `Objects`. Hard links decide which of two writers creates a file."""

    rounds = 1
    """The system decides about a link. One round shows whether this file system has links."""

    hedged = False
    """A second write to a slow disk only makes it slower."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known = set[Path]()

    def create(self, name: str, data: bytes) -> bool:
        """See `Objects`. The file and its name are on the disk when it returns."""
        path = self._path(name)
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        known = set(self._known)  # before the attempt: at the same time another thread may make the folder
        try:
            fd = os.open(part, NEW, MODE)
        except FileNotFoundError:
            if path.parent in known or (known and not self._root.is_dir()):
                raise  # removed, or no longer mounted: in a new folder the log would go on without its beginning
            self._make_folder(path.parent)
            fd = os.open(part, NEW, MODE)
        self._known.add(path.parent)
        try:
            try:
                write_all(fd, data)
                sync(fd)
            finally:
                os.close(fd)
            try:
                os.link(part, path)
            except FileExistsError:
                sync_directory(path)  # it may be our own of an earlier attempt, whose name was not made durable
                return False
        finally:
            with suppress(OSError):
                part.unlink()
        sync_directory(path)
        return True

    def get(self, name: str) -> bytes | None:
        """See `Objects`."""
        try:
            fd = os.open(self._path(name), READ)
        except FileNotFoundError:
            return None
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, f"{name} is not a regular file")
            if found.st_size > OBJECT_BYTES_MAX:
                raise OSError(errno.EFBIG, f"{name} is larger than any object that is written there")
            with open(fd, "rb", closefd=False) as file:
                return file.read(OBJECT_BYTES_MAX)
        finally:
            os.close(fd)

    def listed(self, after: str) -> list[str]:
        """See `Objects`."""
        folder = PurePosixPath(after).parent
        self._path(after)
        with suppress(FileNotFoundError), os.scandir(self._root / folder) as entries:
            return sorted(name for entry in entries if (name := f"{folder}/{entry.name}") > after)
        return []

    def _path(self, name: str) -> Path:
        """The path of an object. Raises OSError when a folder below the root is a link, which may lead anywhere."""
        for folder in PurePosixPath(name).parents:
            if folder.name and (self._root / folder).is_symlink():
                raise OSError(errno.ELOOP, f"{self._root / folder} is a link")
        return self._root / name

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, mode 0700, durably."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        with suppress(FileExistsError):  # another process may make it at the same time
            folder.mkdir(mode=0o700)
        sync_directory(folder)
