"""The logs of the shards of a run, as the process of the run reads them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from bulkdel.checkpoint.lock import is_locked
from bulkdel.checkpoint.reader import is_fresh, read_log, shard_log
from bulkdel.core.outcome import COUNTED
from bulkdel.core.run_state import Progress
from bulkdel.core.shards import shard_header, spans_of
from bulkdel.errors import NotAcceptable
from bulkdel.fleet.channel import Figures
from bulkdel.fleet.shard_states import ShardState, ShardStates
from bulkdel.store_path import in_store

FREE_S = 15.0
"""Wait so long for the processes of an earlier session that was killed."""

LOOK_S = 0.05


class ShardLogs:
    """The logs of the shards of one run. path, progress: of the log of the run."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path = path
        self._progress = progress
        self._numbers = range(1, len(spans_of(progress.header)) + 1)

    def wait_until_free(self, stopped: threading.Event) -> None:
        """Wait for the processes of a session that was killed: they end by themselves. Blocks until `stopped` is set.

        Raises NotAcceptable when one does not end.
        """
        if in_store(self._path):  # the log of a shard is taken over there
            return
        until = time.monotonic() + FREE_S
        for log in (shard_log(self._path, number) for number in self._numbers):
            while not is_fresh(log) and is_locked(log):
                if time.monotonic() > until:
                    raise NotAcceptable(f"{log}: its process is still under way. Stop it, then run this again.")
                if stopped.wait(LOOK_S):
                    return

    def states(self) -> ShardStates:
        """The shards, as their logs have them. Blocks."""
        return ShardStates([ShardState(number, self.figures(number)) for number in self._numbers])

    def figures(self, number: int) -> Figures:
        """The rows of a shard, as its log has them. Blocks."""
        path = shard_log(self._path, number)
        if is_fresh(path):
            header, _ = shard_header(self._progress.header, self._progress.skipped, number)
            return Figures(header.counts["ids"], dict.fromkeys(COUNTED, 0))
        found = read_log(path).progress
        return Figures(found.remaining, dict(found.counts))
