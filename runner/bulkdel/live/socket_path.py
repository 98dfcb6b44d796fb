"""Where the control socket of a run is. Owns the places and what is refused there; opens no connection.

In the place of the run, where the path is short enough for a Unix socket. Else in a folder of the user, named by the
run id.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from bulkdel.store_path import in_store

ENDING = ".sock"
PATH_MAX = 100
"""Bytes of the path of a Unix socket: Linux has room for 107, macOS for 103."""


def of_run(run: Path) -> Path | None:
    """The socket in the place of a run; None for one in a store."""
    return None if in_store(run) else run.resolve() / f"control{ENDING}"


def of_batch(log: Path) -> Path:
    """The socket beside the log of a batch."""
    return Path(f"{log.resolve()}{ENDING}")


def fits(path: Path) -> bool:
    """Whether a socket may have this path."""
    return len(os.fsencode(path)) <= PATH_MAX


def folders(uid: int, environ: Mapping[str, str]) -> Iterator[Path]:
    """The folders of a user where a run may have put its socket, the first choice first."""
    runtime = Path(environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute():  # else it is not valid, and would mean another place to `ctl` in another folder
        yield runtime / "bulkdel"
    yield Path(f"/run/user/{uid}/bulkdel")
    yield Path(f"/tmp/bulkdel-{uid}")  # noqa: S108 - it is checked, and has mode 0700


def in_folder(folder: Path, run_id: str) -> Path:
    """The socket of a run in such a folder."""
    return folder / f"{run_id}{ENDING}"


def id_of_batch(log: Path) -> str:
    """The id of a batch: it names the socket in such a folder, and is in the answers. log: of the batch."""
    return f"batch-{hashlib.sha256(os.fsencode(log.resolve())).hexdigest()[:16]}"


def is_own_folder(folder: Path, uid: int) -> bool:
    """Whether a folder belongs to this user only: no link, mode 0700."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & 0o077


def is_socket_of(path: Path, uids: set[int]) -> bool:
    """Whether there is a socket that belongs to one of these users, and no link to one."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid in uids
