"""Annotations: what is done about a run outside of its sessions, appended to its log under the lock.

Owns when an annotation may be written, and its order of effects: it is durable before `add` returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson

from bulkdel.checkpoint.open_log import OpenLog
from bulkdel.checkpoint.reader import RUN
from bulkdel.core.log_entries import Annotation, Event, to_json
from bulkdel.core.run_state import RunState
from bulkdel.errors import FileFailed
from bulkdel.place.log_place import LogPlace


class Annotator:
    """The log of a run, locked for annotations. progress: the state that it describes."""

    def __init__(self, file: OpenLog, progress: RunState) -> None:
        self._file = file
        self.progress = progress

    @property
    def sha256(self) -> str:
        """SHA-256 of every durable byte of the log, hex."""
        return self._file.sha.hexdigest()

    def add(self, event: Event, facts: Mapping[str, Any], at: str) -> None:
        """Append an annotation; it is durable on return. at: a time as the log writes it. Raises FileFailed.

        After a failure no more may be written.
        """
        entry = Annotation(event, at, self.sha256, facts)
        try:
            self._file.commit([orjson.dumps(to_json(entry))])
        except OSError as error:
            raise _failed(self._file.place, error) from error
        self.progress.apply(entry)


@contextmanager
def annotating(place: LogPlace) -> Iterator[Annotator]:
    """Lock the log of a run and repair its tail, as a resume does; a run that starts meanwhile is refused.

    Raises NotAcceptable when a run is under way, or when the file is a corrupt log or no log. Raises FileFailed when
    the tail of the log cannot be repaired.
    """
    try:
        file, progress = OpenLog.resume(place, RUN)
    except OSError as error:
        raise _failed(place, error) from error
    try:
        yield Annotator(file, progress)
    finally:
        file.close()


def annotate(place: LogPlace, event: Event, facts: Mapping[str, Any], at: str) -> None:
    """Append one annotation to the log of a run. Raises what `annotating` and `Annotator.add` raise."""
    with annotating(place) as log:
        log.add(event, facts, at)


def _failed(place: LogPlace, error: OSError) -> FileFailed:
    return FileFailed(
        f"{place.where}: the log of the run cannot be written: {error.strerror or error}. {place.mend}, then run the "
        "same command again."
    )
