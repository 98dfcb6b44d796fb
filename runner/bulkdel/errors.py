"""The reasons to stop, each with its exit code. An expected failure of one chunk is a value; an exception means stop.

Every message names the fault, its place (file and line) and the next step.
"""

from __future__ import annotations

import errno
import threading
import traceback
from types import CodeType


class BulkdelError(Exception):
    """Stops the program with `exit_code`; its text is for the user."""

    exit_code = 4

    @property
    def public(self) -> str:
        """The text without texts of rows, for a log that is collected."""
        return str(self)


class UsageError(BulkdelError):
    """Wrong options or settings, or the run was not confirmed."""

    exit_code = 2


class NotConfirmed(UsageError):
    """The numbers that confirm a run are missing, or differ from the plan."""


class NotAcceptable(BulkdelError):
    """The export, the run or the pool cannot be accepted; nothing was sent."""

    exit_code = 3


class Halted(BulkdelError):
    """A guard rail, an outage, a missing permission, a failed sign-in: the run stops and can be resumed."""

    exit_code = 4


class JobFailed(BulkdelError):
    """A job raised an exception. Its author has to fix it; then the run can be resumed."""

    exit_code = 4


class TooLate(BulkdelError):
    """The time at which a run of a batch has to stop came before its process could begin; nothing was sent."""

    exit_code = 6


class Drained(BulkdelError):
    """A library call drained the run before anything was sent."""

    def __init__(self, text: str = "the run was drained; nothing was sent") -> None:
        super().__init__(text)


class FileFailed(BulkdelError):
    """A file of the run could not be written. After the first failure no request is sent (fail-stop)."""

    exit_code = 5


SHORT_OF_MEMORY = (
    "the system gives this process no more memory. What was sent is in the log of the run. Allow more memory, then run "
    "the same command again"
)

_NOT_MAPPED = ("cannot allocate", "failed to map")
"""The loader's text for a library without memory to load it. Only the text tells it from a missing library."""


def of_the_machine(error: BaseException) -> BulkdelError | None:
    """The error to end with when memory is short, a module cannot be loaded or a name is too long; otherwise None."""
    if _is_short_of_memory(error):
        return BulkdelError(SHORT_OF_MEMORY)
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return UsageError(f"{str(error.filename)[:60]!r}…: this name is too long for a file")
    if isinstance(error, ImportError):
        return BulkdelError(
            f"the module {error.name or '?'} cannot be loaded. What was sent is in the log of the run. Install bulkdel "
            "anew, then run the same command again"
        )
    return None


def _is_short_of_memory(error: BaseException) -> bool:
    """Whether an error, or its cause, is a lack of memory. An ImportError may be one: a library was not mapped."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MemoryError) or (isinstance(link, OSError) and link.errno == errno.ENOMEM):
            return True
        if isinstance(link, ImportError) and any(words in str(link).lower() for words in _NOT_MAPPED):
            return True
        if isinstance(link, RuntimeError) and _last_code(link) is threading.Thread.start.__code__:
            return True  # no memory for its stack, or no more threads are allowed
        link = link.__cause__ or link.__context__
    return False


def _last_code(error: BaseException) -> CodeType | None:
    """The code that has raised an error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return None if trace is None else trace.tb_frame.f_code


def trace_of(error: BaseException) -> str:
    """The type of an unexpected exception and where it was raised, without its text: it may quote an id or a secret."""
    parts: list[str] = []
    link: BaseException | None = error
    while link is not None:
        kind = type(link)
        frames = [*traceback.format_tb(link.__traceback__), f"{kind.__module__}.{kind.__qualname__}\n"]
        parts = frames + ["\nthen, from that:\n\n"] * bool(parts) + parts
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "".join(parts)
