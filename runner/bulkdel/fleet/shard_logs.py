"""The logs of the shards of a run, as the process of the run reads them."""

from __future__ import annotations

import threading
import time

from bulkdel.checkpoint.reader import begins_as, is_fresh, read_log
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.run_state import RunState
from bulkdel.core.shards import shard_header, shard_numbers
from bulkdel.errors import Drained, NotAcceptable
from bulkdel.fleet.channel import Figures
from bulkdel.fleet.shard_totals import ShardState, ShardStates
from bulkdel.place.log_place import LogPlace

FREE_S = 15.0
"""Wait so long for the processes of an earlier session that was killed."""

LOOK_S = 0.05


class ShardLogs:
    """The logs of the shards of one run.

    place, progress: of the log of the run.
    """

    def __init__(self, place: LogPlace, progress: RunState) -> None:
        self._progress = progress
        self._logs = {number: place.shard(number) for number in shard_numbers(progress.header)}

    def begin(self, stopped: threading.Event) -> None:
        """Make the logs, or check that they are as the last session has left them. Blocks; ends soon when stopped.

        All logs are made before the first session begins, so a log that is missing later was lost. Raises NotAcceptable
        for a log that was lost or changed, and for one with a process under way. Raises Drained when it was stopped.
        """
        self._wait_until_free(stopped)
        for number, log in self._logs.items():
            if stopped.is_set():
                raise Drained
            if self._progress.sessions:
                self._check_as_left(number, log)
            else:
                self._create(number, log)

    def _wait_until_free(self, stopped: threading.Event) -> None:
        """Wait until the processes of a killed session have ended: they end when its channels do."""
        until = time.monotonic() + FREE_S
        for log in self._logs.values():
            while log.is_there() and log.is_held():  # in a store the log of a shard is taken over
                if time.monotonic() > until:
                    raise NotAcceptable(f"{log.where}: its process is still under way. Stop it, then run this again.")
                if stopped.wait(LOOK_S):
                    return

    def _check_as_left(self, number: int, log: LogPlace) -> None:
        """Check that the log begins with the lines that the last stopped session noted of it."""
        noted = self._progress.shards_left.get(str(number))
        if noted is not None and not begins_as(log, noted):
            raise NotAcceptable(
                f"{log.where}: does not go on from where the last session left it, so ids could be sent again. Nothing "
                "was sent. Put the file back that was there; then run the same command again."
            )

    def _create(self, number: int, log: LogPlace) -> None:
        if is_fresh(log):
            header, skipped = shard_header(self._progress.header, self._progress.skipped, number)
            Checkpoint.create(log, header, skipped).close()

    def states(self) -> ShardStates:
        """The shards, as their logs have them. Blocks."""
        return ShardStates([ShardState(number, self.figures(number)) for number in self._logs])

    def figures(self, number: int) -> Figures:
        """The rows of a shard, as its log has them. Blocks."""
        found = read_log(self._logs[number]).progress
        return Figures(found.remaining, dict(found.counts))
