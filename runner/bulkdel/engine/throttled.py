"""The times of the responses 429, for the log: a report marks them. Owns how often they are noted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from bulkdel.checkpoint.writer import LogWriter
from bulkdel.core.log_entries import Throttled, stamp
from bulkdel.http.client import Client

LOOK_S = 1.0
"""Seconds between two looks: the first 429 after a while is noted within a second."""

EVERY_S = 10.0
"""Seconds between two entries: a server that throttles for hours adds six a minute."""


class ThrottledNotes:
    """Notes in the log how many requests of a session were answered 429, and about when."""

    def __init__(self, client: Client, log: LogWriter[Any], wall: Callable[[], float]) -> None:
        self._client = client
        self._log = log
        self._wall = wall
        self._noted = 0

    async def watch(self) -> None:
        """Note them again and again until cancelled."""
        while True:  # noqa: ASYNC110 - no event announces a 429
            await asyncio.sleep(EVERY_S if self.note() else LOOK_S)

    def note(self) -> bool:
        """Note the responses 429 since the last entry. Returns False when there are none."""
        if (count := self._client.figures["throttled"]) == self._noted:
            return False
        self._log.enqueue(Throttled(stamp(self._wall()), count - self._noted))
        self._noted = count
        return True
