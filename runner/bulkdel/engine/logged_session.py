"""What every session with a log has: the log, its drain, its start entry and its stop entry."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Generic

from bulkdel.checkpoint.reader import F
from bulkdel.checkpoint.writer import LogWriter
from bulkdel.core.log_entries import Session, stamp
from bulkdel.engine.drain import Drain


class LoggedSession(Generic[F]):
    """The base of a session: of a run, or of a verification. Its world is that of its log."""

    def __init__(self, log: LogWriter[F], key: bytes | None = None) -> None:
        """key: for the MACs of its session entries; None for none."""
        self._log = log
        self._world = log.place.world
        self._key = key
        self._drain = Drain()

    def _note_start(self, stack: AsyncExitStack, facts: Mapping[str, Any]) -> None:
        """Enqueue the start entry, and keep the log until the stack is closed."""
        self._log.enqueue(Session("start", stamp(self._world.wall()), "", facts), key=self._key)
        stack.callback(asyncio.create_task(self._log.keep()).cancel)

    def _note_stop(self, facts: Mapping[str, Any]) -> None:
        """Enqueue the stop entry."""
        self._log.enqueue(Session("stop", stamp(self._world.wall()), "", facts), key=self._key)
