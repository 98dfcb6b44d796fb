"""One session of a run: its start entry, its passes over the export, its stop entry. Owns how the parts are wired.

What is settled how is the engine's; what is said at the end, `run`'s.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Any

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.commands.plan import command_to_go_on
from bulkdel.commands.setup import Prepared
from bulkdel.core.chunk_state import ChunkState
from bulkdel.core.chunker import ChunkTask, chunk_tasks
from bulkdel.core.log_entries import Session, Skipped
from bulkdel.core.outcome import KINDS
from bulkdel.core.refused_limit import RefusedLimit
from bulkdel.core.summary import Ending, exit_code, name_of, status_of
from bulkdel.engine.backup import Backup
from bulkdel.engine.event_loop import OnSignal
from bulkdel.engine.progress import Reporter, Snapshot
from bulkdel.engine.workers import Engine, Options, Stop
from bulkdel.errors import FileFailed
from bulkdel.format import counted, printable, stamp, until_words
from bulkdel.http.client import Client
from bulkdel.http.connect import connect
from bulkdel.http.lookup import AccountLookup

PASSES = 2
"""One over the export, and one more for what the first left behind (design: "one more pass at the end of the run")."""


class Sending:
    """The session that sends. `run` it once, then ask for the `ending`.

    unrecorded: what replies said that could not be made durable. kept: rows that a looked-up record has protected.
    unproven: rows that are left because a look-up did not find them and that proves nothing.
    blind: whether no look-up has found an existing user.
    """

    def __init__(self, prepared: Prepared, checkpoint: Checkpoint, confirmed: Mapping[str, Any] | None) -> None:
        self._prepared = prepared
        self._checkpoint = checkpoint
        self._confirmed = confirmed
        self._progress = checkpoint.progress
        self._action = prepared.target.action(prepared.id_type)
        self._before = sum(self._progress.counts[kind] for kind in KINDS)
        self._resumed = self._progress.sessions > 0
        self._stopped: Stop | None = None
        self._passes = 0
        self._lost = ""
        self._closing = False
        self._look: Callable[[], Snapshot | None] = lambda: None
        self._reporter = Reporter(lambda: self._look(), level=prepared.request.settings.log_level)  # noqa: PLW0108 - it changes
        self.unrecorded: dict[str, int] = {}
        self.kept = self.unproven = 0
        self.blind = False
        self._reporter.load()  # before the seconds of the session are counted

    async def run(self, on_signal: OnSignal) -> dict[str, Any]:
        """Send until all is settled or something stops it; returns the figures for the summary."""
        settings, began = self._prepared.request.settings, time.monotonic()
        backup = self._open_backup()
        self._checkpoint.enqueue(Session("start", stamp(time.time()), "", self._start_facts()))
        if backup is not None:
            await self._checkpoint.flush()  # before the first copy: else nobody would know whose file it is
        pool = self._progress.header.pinned["pool"]
        async with connect(self._prepared.target, settings, pool=pool) as (client, _):
            reporter, engine = self._reporter, self._engine(client, self._reporter, backup)
            self._look = lambda: self._moment(client, engine)
            on_signal(lambda signum: self._drain(engine, reporter, signum))
            with reporter.telling():
                await engine.run(self._next_pass)
            self._stopped, self.unrecorded, self.kept = engine.stopped, engine.unrecorded, engine.kept
            self.unproven, self.blind = engine.unproven, engine.blind
            self._lost = engine.doubt if engine.contradicted else client.last_failure or engine.doubt
            figures = {
                "requests": self._prepared.sample_check.requests + client.transport.requests,
                "retries": client.figures.retries,
                "throttled": client.figures.throttled,
                "resumed": self._resumed,
                "duration_s": round(time.monotonic() - began, 3),
            }
        if backup is not None:
            await asyncio.to_thread(backup.close)
        self._checkpoint.enqueue(Session("stop", stamp(time.time()), "", {**self._stop_facts(), **figures}))
        await self._checkpoint.aclose()
        return figures

    def told(self) -> str | None:
        """What is being done, where the progress does not tell it. It does while requests are sent."""
        if self._reporter.ask():
            return None
        return "beginning to send" if self._look() is None else "writing the last entries"

    def ending(self) -> Ending:
        """How it ended. A signal that came when nothing was left to do has stopped nothing."""
        stop = self._stopped
        if stop is not None and stop.signal is not None and self._done():
            stop = None
        remaining = f"{counted(self._progress.remaining, 'id')} got no answer that settles them"
        return Ending(
            why=stop.why if stop else "" if self._done() else f"{remaining}; the last failure: {self._lost or 'none'}",
            signal=stop.signal if stop else None,
            file_failed=self._checkpoint.failure is not None or bool(stop and isinstance(stop.error, FileFailed)),
            halted=stop is not None and stop.signal is None and not stop.planned,
            limit_reached=self._left() == 0,
            planned=stop is not None and stop.planned,
        )

    def _done(self) -> bool:
        return self._progress.complete or self._left() == 0

    def _open_backup(self) -> Backup | None:
        path = self._prepared.request.settings.backup
        return None if path is None else Backup.open(path, self._prepared.backup_known)

    def _engine(self, client: Client, reporter: Reporter, backup: Backup | None) -> Engine:
        prepared, settings = self._prepared, self._prepared.request.settings
        look_ups = prepared.target.look_ups(prepared.id_type, full=backup is not None)
        sampled = prepared.sample_check
        lookup = AccountLookup(client, look_ups, random.random, proven=bool(sampled.found), fullest=sampled.fullest)
        return Engine(
            client=client,
            lookup=lookup,
            action=self._action,
            checkpoint=self._checkpoint,
            id_type=prepared.id_type,
            options=Options(
                settings.concurrency,
                settings.drain_s,
                RefusedLimit.parse(settings.max_refused),
                in_doubt_resend=settings.in_doubt == "resend",
                look_first=prepared.look_first,
                until=(prepared.until.timestamp(), until_words(prepared.until)) if prepared.until else None,
            ),
            chance=random.random,
            backup=backup,
            protected=prepared.protected,
            on_settled=lambda chunk_state: _tell_chunk(reporter, chunk_state),
            on_stop=self._stop_reading,
        )

    def _next_pass(self) -> Iterator[ChunkTask | Skipped] | None:
        left = self._left()
        if self._passes == PASSES or self._progress.complete or left == 0:
            return None
        self._passes += 1
        return self._feed()

    def _feed(self) -> Iterator[ChunkTask | Skipped]:
        """One pass over what has no outcome by now."""
        reading = self._prepared.reading
        row_filter = reading.row_filter(self._prepared.protected)
        batches = takewhile(lambda _: not self._closing, reading.batches(self._progress.begin))
        return chunk_tasks(batches, row_filter, self._progress, self._prepared.chunk_size, self._left())

    def _stop_reading(self) -> None:
        """End the pass at the next batch: the chunks that follow are not wanted any more."""
        self._closing = True

    def _left(self) -> int | None:
        """How many more ids this session may settle; None without --limit."""
        limit = self._prepared.request.settings.limit
        settled = sum(self._progress.counts[kind] for kind in KINDS) - self._before
        return None if limit is None else max(0, limit - settled)

    def _moment(self, client: Client, engine: Engine) -> Snapshot:
        progress = self._progress
        counts = {name_of(progress, kind): progress.counts[kind] for kind in KINDS}
        waiting = client.waiting if engine.stopped is None else "draining: requests on the wire may finish"
        return Snapshot(
            progress.rows - progress.remaining,
            progress.rows,
            counts,
            client.transport.requests,
            client.rate_limiter.rate,
            waiting,
            engine.busy,
            client.adaptive_rate.slowed(client.clock()),
        )

    def _drain(self, engine: Engine, reporter: Reporter, signum: int) -> None:
        name = signal.Signals(signum).name
        why = "requests on the wire may finish; again to leave at once"
        reporter.event("warning", "run.draining", signal=name, why=why)
        engine.stop(Stop(name, signal=signum))

    def _start_facts(self) -> dict[str, Any]:
        settings = asdict(self._prepared.request.settings)
        if settings["proxy"] is not None:  # its URL may carry a password
            settings["proxy"] = "PROXY"
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container may know no name for its user
            user = str(os.getuid())
        return {
            "tool": f"bulkdel {version('bulkdel')}",
            "user": user,
            "machine": os.uname().nodename,
            "pid": os.getpid(),
            "command": str(self._prepared.request.typed),
            "to_go_on": self._prepared.line.words,
            "limit": settings["limit"],
            "cwd": printable(Path.cwd()),
            "options": {name: _told(value) for name, value in settings.items()},
            "asked": dict(self._prepared.reading.counts),
            "excluded": self._prepared.reading.excluded.to_json(),
            "backup": printable(settings["backup"].absolute()) if settings["backup"] else None,
            "confirmed": dict(self._confirmed) if self._confirmed else None,
        }

    def _stop_facts(self) -> dict[str, Any]:
        ending, now, until = self.ending(), datetime.now(UTC), self._prepared.until
        come = until is not None and now >= until and not self._progress.complete
        return {
            "why": ending.why or "done",
            **({"not_after": until.isoformat()} if until is not None and come else {}),
            **({} if self._progress.complete else {"to_go_on": command_to_go_on(self._prepared, ending, now).words}),
            "status": status_of(self._progress, ending),
            "exit": exit_code(self._progress, ending),
            "limit_reached": ending.limit_reached,
            "blind": self.blind,
        }


def _told(value: Any) -> Any:
    """An option as JSON has it."""
    if isinstance(value, Path | str):
        return printable(value)
    return [_told(item) for item in value] if isinstance(value, list | tuple) else value


def _tell_chunk(reporter: Reporter, chunk_state: ChunkState) -> None:
    if not reporter.debug:
        return
    counts = {part.kind: len(part.records) for part in chunk_state.settled}
    reporter.event(
        "debug", "chunk.settled", chunk=list(chunk_state.chunk.ranges), requests=chunk_state.requests, **counts
    )
