"""A process that another process of this program has started ends with it, however that one ends.

Otherwise it would hold the lock of its log, without a parent that could stop it or that divides its rate.
"""

from __future__ import annotations

import os
import signal
import threading
import time

PARENT = "_BULKDEL_PARENT"
"""The environment variable by which a parent tells its child process its pid. It is no option."""

LOOK_S = 0.5
"""Seconds between two looks at whether the parent is there."""

END_S = 3.0
"""Seconds that a process has to end in, if it does not drain requests. Then it is killed."""


def for_child() -> dict[str, str]:
    """The variable for a child of this process."""
    return {PARENT: str(os.getpid())}


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
