"""The key of this user on this machine: a MAC shows that this user has confirmed, or copied an export, here.

Owns where the key is, and when it is not used. It is no secret of an API, and nothing prints it. Where it can be
neither made nor read, a resume has to be confirmed, and a new run copies its export anew. Everything here blocks.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

KEY_BYTES = 32
NAME = "key"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # without O_NONBLOCK it would wait at a pipe
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def folder_of(environ: Mapping[str, str]) -> Path | None:
    """The folder of the key: in $XDG_STATE_HOME, else in ~/.local/state. None without an absolute one."""
    state, home = Path(environ.get("XDG_STATE_HOME", "")), Path(environ.get("HOME", ""))
    if state.is_absolute():
        return state / "bulkdel"
    return home / ".local" / "state" / "bulkdel" if home.is_absolute() else None


def read_key(environ: Mapping[str, str]) -> bytes | None:
    """The key; None where there is none, or where it is not of this user alone."""
    with suppress(OSError), _opened(folder_of(environ)) as folder:
        return _read(folder)
    return None


def make_key(environ: Mapping[str, str]) -> bytes | None:
    """The key, made if there is none yet; None where it cannot be."""
    path = folder_of(environ)
    with suppress(OSError):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
        with _opened(path) as folder:
            with suppress(FileNotFoundError):
                return _read(folder)
            with suppress(FileExistsError):  # another process was quicker
                _make(folder)
            return _read(folder)
    return None


@contextmanager
def _opened(path: Path | None) -> Iterator[int]:
    """The folder, open. Raises OSError where it is none of this user alone."""
    if path is None:
        raise FileNotFoundError
    folder = os.open(path, _FOLDER)
    try:
        _check_own(folder, stat.S_ISDIR)
        yield folder
    finally:
        os.close(folder)


def _read(folder: int) -> bytes | None:
    """The key in the folder. Raises OSError."""
    fd = os.open(NAME, _READ, dir_fd=folder)
    try:
        _check_own(fd, stat.S_ISREG)
        found = os.read(fd, KEY_BYTES + 1)
    finally:
        os.close(fd)
    return found if len(found) == KEY_BYTES else None


def _make(folder: int) -> None:
    """Write a key; it gets its name once it is whole. Raises FileExistsError when there is a key, and OSError."""
    part = f".{NAME}.{secrets.token_hex(8)}.part"
    fd = os.open(part, _NEW, 0o600, dir_fd=folder)
    try:
        os.write(fd, secrets.token_bytes(KEY_BYTES))
        os.fsync(fd)
        os.link(part, NAME, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    finally:
        os.close(fd)
        os.unlink(part, dir_fd=folder)


def _check_own(fd: int, is_kind: Callable[[int], bool]) -> None:
    """Raise PermissionError unless this is of the kind, of this user, and closed to all others."""
    found = os.fstat(fd)
    if not is_kind(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError
