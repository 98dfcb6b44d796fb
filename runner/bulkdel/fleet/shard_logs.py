"""The logs of the shards of a run, as the process of the run reads them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from bulkdel.checkpoint.lock import is_locked
from bulkdel.checkpoint.reader import begins_as, is_fresh, read_log, shard_log
from bulkdel.core.run_state import Progress
from bulkdel.core.shards import shard_header, shard_numbers
from bulkdel.engine.surroundings import Surroundings
from bulkdel.errors import Drained, NotAcceptable
from bulkdel.fleet.channel import Figures
from bulkdel.fleet.shard_states import ShardState, ShardStates
from bulkdel.settings import SendingSettings
from bulkdel.store_path import in_store

FREE_S = 15.0
"""Wait so long for the processes of an earlier session that was killed."""

LOOK_S = 0.05


class ShardLogs:
    """The logs of the shards of one run.

    path, progress: of the log of the run. patience_s: a store that cannot be read is asked again for so long.
    """

    def __init__(self, path: Path, progress: Progress, patience_s: float) -> None:
        self._path = path
        self._progress = progress
        self._patience_s = patience_s
        self._logs = {number: shard_log(path, number) for number in shard_numbers(progress.header)}

    def begin(self, around: Surroundings, settings: SendingSettings, stopped: threading.Event) -> None:
        """Make the logs, or check that they are as the last session has left them. Blocks; ends soon when stopped.

        All are there before the first session begins, so one that is missing later was lost. Raises NotAcceptable for
        one that was lost or changed, or whose process is still under way. Raises Drained when it was stopped.
        """
        self._wait_until_free(stopped)
        for number, log in self._logs.items():
            if stopped.is_set():
                raise Drained
            if self._progress.sessions:
                self._check_as_left(number, log)
            else:
                self._create(number, log, around, settings)

    def _wait_until_free(self, stopped: threading.Event) -> None:
        """Wait for the processes of a session that was killed: they end by themselves."""
        if in_store(self._path):  # the log of a shard is taken over there
            return
        until = time.monotonic() + FREE_S
        for log in self._logs.values():
            while os.path.lexists(log) and is_locked(log):
                if time.monotonic() > until:
                    raise NotAcceptable(f"{log}: its process is still under way. Stop it, then run this again.")
                if stopped.wait(LOOK_S):
                    return

    def _check_as_left(self, number: int, log: Path) -> None:
        """Check that the log goes on from what the last session that has stopped noted of it."""
        noted = self._progress.shards_left.get(str(number))
        if noted is not None and not begins_as(log, noted, self._patience_s):
            raise NotAcceptable(
                f"{log}: does not go on from where the last session left it, so ids could be sent again. Nothing was "
                "sent. Put the file back that was there; then run the same command again."
            )

    def _create(self, number: int, log: Path, around: Surroundings, settings: SendingSettings) -> None:
        if is_fresh(log, patience_s=self._patience_s):
            header, skipped = shard_header(self._progress.header, self._progress.skipped, number)
            around.create_log(log, header, skipped, around.terms_of(settings)).close()

    def states(self) -> ShardStates:
        """The shards, as their logs have them. Blocks."""
        return ShardStates([ShardState(number, self.figures(number)) for number in self._logs])

    def figures(self, number: int) -> Figures:
        """The rows of a shard, as its log has them. Blocks."""
        found = read_log(self._logs[number], patience_s=self._patience_s).progress
        return Figures(found.remaining, dict(found.counts))
