"""What a process that another process of this program has started has of it.

It ends with its parent, however that one ends. Otherwise it would hold the lock of its log, without a parent that could
stop it or that divides its rate. Where it begins in another folder, it still takes modules, libraries and certificates
only from where its parent takes them.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Mapping

PARENT = "_BULKDEL_PARENT"
"""The environment variable by which a parent tells its child process its pid. It is no option."""

PATHS = re.compile(r"PATH|PYTHONPATH|PYTHONHOME|PYTHONUSERBASE|(LD|DYLD)_[A-Z_]*PATH|SSL_CERT_(FILE|DIR)")
"""Variables with paths in which programs, modules, libraries and certificates are looked for."""

PRELOADED = re.compile(r"LD_PRELOAD|LD_AUDIT|DYLD_INSERT_LIBRARIES")
"""Variables with libraries. A name without a slash is looked for in those paths."""

LOOK_S = 0.5
"""Seconds between two looks at whether the parent is there."""

END_S = 3.0
"""Seconds that a process has to end in, if it does not drain requests. Then it is killed."""


def for_child() -> dict[str, str]:
    """The variable for a child of this process."""
    return {PARENT: str(os.getpid())}


def from_here(environ: Mapping[str, str]) -> dict[str, str]:
    """These variables for a child that begins in another folder: a relative or empty path means the folder here."""
    found = dict(environ)
    for name, value in environ.items():
        if value and PATHS.fullmatch(name):
            separators = "([:;])" if name.startswith("LD_") else "(:)"
            found[name] = "".join(_whole(part) for part in re.split(separators, value))
        elif PRELOADED.fullmatch(name):
            found[name] = "".join(_whole(part) if "/" in part else part for part in re.split("([: ])", value))
    return found


def _whole(path: str) -> str:
    """The path from the root; a separator as it is. Not by pathlib, because an empty path is the folder here."""
    return path if path in {":", ";"} or path.startswith("/") else f"{os.getcwd()}/{path}"  # noqa: PTH109


def end_with_parent(*, drains: bool) -> None:
    """End this process when the one that its environment names has ended. Without one, do nothing.

    It gets a SIGTERM, as from a person. drains: it finishes the requests that are under way, in a time of its own.
    """
    pid = os.environ.pop(PARENT, "")  # it is not the parent of what this process starts
    if pid.isdecimal():  # another program may have set the variable
        threading.Thread(target=_watch, args=(int(pid), drains), name="parent", daemon=True).start()


def _watch(pid: int, drains: bool) -> None:  # noqa: FBT001 - positional, for the thread
    # Asked again and again: the signal of Linux (PR_SET_PDEATHSIG) follows the thread that forked.
    while os.getppid() == pid:
        time.sleep(LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)
    if not drains:
        time.sleep(END_S)
        os.kill(os.getpid(), signal.SIGKILL)
