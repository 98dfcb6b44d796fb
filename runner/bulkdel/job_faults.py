"""Exceptions that a job raised. Owns how they are recognised, and which part of their text is shown.

The text of an exception helps the job's author, but it may quote an id or a credential. Two steps redact it: the known
ids and credentials are removed; then every word that may be data is removed (`core.redaction.without_data`), because a
job may quote ids of another chunk.
"""

from __future__ import annotations

import builtins
import linecache
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from types import FrameType

from bulkdel.core.redaction import without_data, without_ids
from bulkdel.errors import BulkdelError, JobFailed
from bulkdel.job import GROUP

OURS = __name__.partition(".")[0]
DISTRIBUTION = "bulkdel"
"""Jobs of this distribution are part of the program: their exceptions are mistakes of the program."""

TYPES = " ".join([*dir(builtins), *(kind.__name__ for kind in object.__subclasses__())])
"""Names of types and functions that Python's own exceptions quote."""


@contextmanager
def job_faults(hide: Callable[[str], str]) -> Iterator[None]:
    """Turn an exception of a job into JobFailed. hide: removes known ids and credentials from a text."""
    try:
        yield
    except Exception as error:
        if (failed := job_failed(error, hide)) is None:
            raise
        raise failed from error


def job_failed(error: BaseException, hide: Callable[[str], str] = lambda text: text) -> JobFailed | None:
    """Name the job that raised `error`, the exception and the place; None for an expected failure or without a job.

    The innermost line of this program or of a job decides, because a job may fail inside a library.
    """
    if isinstance(error, BulkdelError):
        return None
    frames = list(traceback.walk_tb(error.__traceback__))
    jobs = _jobs()
    at_fault = next((package for frame, _ in reversed(frames) if (package := _package(frame)) in jobs), OURS)
    if not jobs[at_fault]:
        return None
    own = [(frame, line) for frame, line in frames if _package(frame) == at_fault]
    source = "".join(
        line for file in {frame.f_code.co_filename for frame, _ in own} for line in linecache.getlines(file)
    )
    kind = type(error).__qualname__
    where = "\n".join(map(_told, own))
    return JobFailed(
        f"the job {' or '.join(jobs[at_fault])} failed: {kind}: {_text(error, hide, source)}; report it to its "
        f"author. Once it is mended, the same command goes on.\n{where}"
    )


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _jobs() -> dict[str, list[str]]:
    """Names of the jobs of each package; none for a package of this program."""
    found: dict[str, list[str]] = {OURS: []}
    for point in entry_points(group=GROUP):
        names = found.setdefault(point.module.partition(".")[0], [])
        if point.dist is None or point.dist.name != DISTRIBUTION:
            names.append(point.name)
    return found


def _text(error: BaseException, hide: Callable[[str], str], source: str) -> str:
    try:
        text = hide(str(error))
    except Exception:  # noqa: BLE001 - both are code of the job, which has just failed
        return "[its text could not be read]"
    return without_data(without_ids(text, list(os.environ.values()), "[hidden]"), f"{source}\n{TYPES}")


def _told(own: tuple[FrameType, int]) -> str:
    frame, line = own
    code = frame.f_code
    return f"  {code.co_filename}, line {line}, in {code.co_name}: {linecache.getline(code.co_filename, line).strip()}"
