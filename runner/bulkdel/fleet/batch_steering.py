"""`bulkdel batch ctl` in the process of the batch: stop, pause and resume apply to runs that start or wait, too.

They apply from the moment when the batch begins to plan its runs.

A run that sends obeys over its own control socket. A run that is starting has no socket yet: it is asked again until it
obeys, and at a stop it gets the signal that drains it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from bulkdel.core.pace import By
from bulkdel.errors import BulkdelError
from bulkdel.format import counted
from bulkdel.live.ask import ask
from bulkdel.live.steering import Answer
from bulkdel.threads import in_thread

AGAIN_S = 0.5
"""Seconds until a run that is starting is asked again."""


class BatchSteering:
    """Steers one batch. It knows the runs by the paths of their logs."""

    def __init__(
        self,
        *,
        under_way: Callable[[], Sequence[Path]],
        waiting: Callable[[], int],
        doing: Callable[[], str],
        stop: Callable[[], object],
        drain: Callable[[], object],
        environ: Mapping[str, str],
    ) -> None:
        """under_way: the logs of the runs that have a process. waiting: how many have none yet.

        doing: what the batch does, in words. stop: begin no other run. drain: drain every process by a signal.
        """
        self._under_way = under_way
        self._waiting = waiting
        self._doing = doing
        self._stop = stop
        self._drain = drain
        self._environ = environ
        self._holding: asyncio.Task[None] | None = None
        self._applying = asyncio.Lock()
        self.held = False  # whether no run may begin now

    async def apply(self, command: str, by: By) -> Answer:  # noqa: ARG002 - each run notes who has asked
        """Say what the batch does, or obey stop, pause or resume for every run.

        A pause or a resume waits until the one before it is done.
        """
        if command == "status":
            return Answer(ok=True, text=self._doing())
        if command == "stop":
            return await self._do_stop()
        if command not in {"pause", "resume"}:
            return Answer(ok=False, text="no run answers now, and the batch itself obeys stop, pause and resume")
        async with self._applying:
            return self._do_pause() if command == "pause" else await self._do_resume()

    def close(self) -> None:
        """Ask no run any more."""
        if self._holding is not None:
            self._holding.cancel()

    def _do_pause(self) -> Answer:
        if not self.held:
            self.held = True
            self._holding = asyncio.create_task(self._hold())
        return Answer(ok=True, text=f"paused, with {self._words()}")

    async def _do_resume(self) -> Answer:
        self.held = False
        if self._holding is not None:
            await self._holding  # so no pause arrives after the resume
        await self._ask("resume", self._under_way())
        return Answer(ok=True, text=f"resumed, with {self._words()}")

    async def _do_stop(self) -> Answer:
        words = self._words()
        self._stop()
        logs = self._under_way()
        if len(await self._ask("stop", logs)) < len(logs):
            self._drain()
        return Answer(ok=True, text=f"stopping, with {words}: requests on the wire may finish, and no other run begins")

    async def _hold(self) -> None:
        """Pause each run that is under way, also one that begins to send only later."""
        while self.held:  # a paused run may have been started anew; a second pause changes nothing
            await self._ask("pause", self._under_way())
            await asyncio.sleep(AGAIN_S)

    async def _ask(self, command: str, logs: Sequence[Path]) -> set[Path]:
        """Send a command to runs at once. Returns those that have obeyed."""

        def obeys(run: Path) -> bool:
            try:
                return bool(ask(run, command, self._environ)["ok"])
            except (BulkdelError, OSError):  # it has no log yet, or has ended
                return False

        obeyed = await asyncio.gather(*(in_thread(partial(obeys, log), lambda: None) for log in logs))
        return {log for log, ok in zip(logs, obeyed, strict=True) if ok}

    def _words(self) -> str:
        return f"{counted(len(self._under_way()), 'run')} under way and {self._waiting():,} waiting"
