"""The process of one shard: an ordinary session over the rows of the shard, in a log of its own.

It is `bulkdel run` with the words of the run. The results of the run so far (the preflight, the sample, the
confirmation) come over a channel. When the channel ends, the process of the run is gone, and nothing more is sent.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from bulkdel.checkpoint.reader import RUN, reading
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.address import shown_address
from bulkdel.core.log_entries import Header
from bulkdel.core.run_state import RunState
from bulkdel.core.shards import shard_header
from bulkdel.core.skipped_rows import SkippedRows
from bulkdel.engine.session import SendingSession
from bulkdel.engine.session_entries import start_facts
from bulkdel.engine.signals import SteadyLoop
from bulkdel.engine.snapshot import Event
from bulkdel.engine.workers import watching
from bulkdel.errors import BulkdelError, NotAcceptable
from bulkdel.export.file import Fingerprint
from bulkdel.export.rows import dialect_of
from bulkdel.fleet.channel import (
    Alive,
    ChunkEvent,
    Failed,
    Figures,
    Heard,
    Order,
    ShardEnded,
    Wanted,
    line_of,
    message_of,
)
from bulkdel.fleet.placing import LINE_MAX, object_in
from bulkdel.input.run_input import open_input
from bulkdel.job import Target
from bulkdel.parameters import pinned
from bulkdel.place.lease import Terms
from bulkdel.place.log_place import LogPlace
from bulkdel.place.opening import log_place
from bulkdel.safety.argument_checks import checked_id_type
from bulkdel.safety.backup_checks import check_backup
from bulkdel.safety.exclude import read_excluded
from bulkdel.safety.excluded_ids import kept_in, without_kept
from bulkdel.safety.export_reading import ReadingProgress, fetching_of, read_options
from bulkdel.safety.log_checks import refuse_differences
from bulkdel.safety.preparation import find_target
from bulkdel.safety.run_plan import CheckedExport, RunArguments, RunPlan, SampleCheck
from bulkdel.safety.server_checks import check_look_ups
from bulkdel.settings import Settings
from bulkdel.world import World

FIGURES_S = 0.25
"""Seconds between two figures."""

ALIVE_S = 1.0
"""Seconds between two signs of life."""

ORPHAN_S = 5.0
"""When the process of the run is gone, requests on the wire may take so long to finish."""

ANY_SHARE = "100%"
"""--max-refused of one shard is off: the run counts the refusals of all shards."""


def work(arguments: RunArguments, descriptor: str) -> int:
    """Do a shard. descriptor: of the channel, as `SHARD` has it. Returns the exit code."""
    with asyncio.Runner(loop_factory=SteadyLoop) as runner:
        return runner.run(_work(arguments, socket.socket(fileno=int(descriptor))))


async def _work(arguments: RunArguments, channel: socket.socket) -> int:
    reader, writer = await asyncio.open_connection(sock=channel, limit=LINE_MAX)
    with ExitStack() as stack:
        living = asyncio.create_task(_tell_that_it_lives(writer))
        stack.callback(living.cancel)
        try:
            order = message_of(object_in(await reader.readline()))
            assert isinstance(order, Order), "it is the first line"
            preparing = asyncio.create_task(asyncio.to_thread(_prepared, arguments, order, stack))
            wanted = await _hear_until(preparing, reader, order.wanted)
            plan, log = await preparing
            process = _Process(plan, log, replace(order, wanted=wanted), reader, writer)
            ended = await process.run()
        except BulkdelError as error:
            writer.write(line_of(Failed(error.exit_code, str(error))))
        else:
            writer.write(line_of(ended))
    with suppress(OSError):
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    return 0


async def _tell_that_it_lives(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(line_of(Alive()))
        await asyncio.sleep(ALIVE_S)


async def _hear_until(
    preparing: asyncio.Task[tuple[RunPlan, Checkpoint]], reader: asyncio.StreamReader, wanted: Wanted
) -> Wanted:
    """Hear the run until the shard is prepared. Returns what the run wants then.

    When the run is gone, this process ends at once, as at the signal that drains it: it has sent nothing.
    """
    while not preparing.done():
        reading = asyncio.create_task(reader.readline())
        await asyncio.wait({preparing, reading}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            reading.cancel()  # unread bytes stay in the reader
            break
        if not (line := reading.result()).endswith(b"\n"):
            signal.raise_signal(signal.SIGKILL)
        if isinstance(told := message_of(object_in(line)), Wanted):
            wanted = told
    return wanted


class _Process:
    """Runs the session, and exchanges messages with the run."""

    def __init__(
        self, plan: RunPlan, log: Checkpoint, order: Order, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._log = log
        self._reader = reader
        self._writer = writer
        self._wanted = order.wanted
        self._debug = order.debug
        self._session = SendingSession(
            plan,
            log,
            start=start_facts(plan, None, log.place.world.pid()),
            on_event=self._event,
        )

    async def run(self) -> ShardEnded:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(signum, self._session.drain, signum)
        async with watching(lambda _: self._session.drain(), self._obey(), self._tell()):
            result = await self._session.run()
        self._send_figures()
        return ShardEnded.of(result)

    async def _obey(self) -> None:
        """Obey the messages of the run, until its channel ends."""
        with suppress(OSError):
            while (line := await self._reader.readline()).endswith(b"\n"):  # no torn line
                match message_of(object_in(line)):
                    case Wanted() as wanted:
                        self._wanted = wanted
                        self._do_wanted()
                    case Heard(ago_s) if (workers := self._session.workers) is not None:
                        workers.client.heard(ago_s)
                    case _:
                        pass
        self._session.drain()
        await asyncio.sleep(ORPHAN_S)
        signal.raise_signal(signal.SIGKILL)

    def _do_wanted(self) -> None:
        """Obey the latest `Wanted`. Before requests can be sent, it is kept for later."""
        if (workers := self._session.workers) is None:
            return
        if self._wanted.held:
            workers.hold()
        else:
            workers.release()
        if workers.concurrency != self._wanted.concurrency:
            workers.set_concurrency(self._wanted.concurrency)

    async def _tell(self) -> None:
        while self._session.workers is None:  # noqa: ASYNC110 - what came before holds from the first request
            await asyncio.sleep(0.002)
        self._do_wanted()
        while True:
            self._send_figures()
            await asyncio.sleep(FIGURES_S)

    def _send_figures(self) -> None:
        if (moment := self._session.snapshot()) is not None:
            progress = self._log.progress
            self._writer.write(line_of(Figures.of(moment, progress.remaining, progress.counts)))

    def _event(self, event: Event) -> None:
        """Pass a chunk on. A refusal is told at once: the run counts the refusals of all shards (--max-refused)."""
        if event.name == "chunk.settled":
            if self._debug:
                self._writer.write(line_of(ChunkEvent(event.level, event.name, event.fields)))
            if "refused" in event.fields:
                self._send_figures()


def _prepared(arguments: RunArguments, order: Order, stack: ExitStack) -> tuple[RunPlan, Checkpoint]:
    """Make the plan of the shard from the order, and open its log. Blocks."""
    if order.tool != (here := version("bulkdel")):
        raise NotAcceptable(f"shard {order.number}: bulkdel {order.tool} gave the order, here is {here}. Install it.")
    settings = arguments.settings
    place = log_place(arguments.run, Terms(patience_s=settings.patience))
    of_run, skipped_of_run = _read_run(place)
    if of_run.input.index != order.index:
        raise NotAcceptable(f"{place.where}: is another log than that of the run. Nothing was sent. Run it again.")
    header, skipped = shard_header(of_run, skipped_of_run, order.number)
    target = find_target(arguments)
    assert target is not None, "the sandbox is refused"
    _check_surroundings(arguments, target, header, place.shard(order.number).log)
    id_type = checked_id_type(arguments.job, settings.id_type)
    check_look_ups(arguments, target, id_type)
    options = read_options(arguments, id_type)
    fetching, folder = fetching_of(settings, ReadingProgress()), arguments.folder
    names, stored = without_kept(settings.exclude or (), of_run, options.id_types), partial(kept_in, place, of_run)
    excluded = read_excluded(names, options, fetching, folder, stored=stored)
    if {file.key for file in excluded.files} != set(order.excluded):
        raise NotAcceptable("the exclude files are not what the run has read. Put them back, and run it again")
    settings = _settings_of_shard(settings, order, arguments.backup)
    terms = Terms.of(settings, World(lease_s=order.lease_s))
    log = Checkpoint.resume(log_place(arguments.run, terms).shard(order.number))
    stack.callback(log.close)
    _check_same(log.progress, header, skipped, place.shard(order.number).log)
    limit = None if order.settled_max is None else max(0, order.settled_max - log.progress.outcomes)
    own = replace(arguments, settings=replace(settings, limit=limit))
    checked = CheckedExport(
        shown_address(arguments.export),
        options,
        dialect_of(header.pinned),
        Fingerprint(header.pinned["sha256"], header.pinned["bytes"]),
        log.progress.header.counts,
        log.progress.skipped,
        open_input(place, of_run, stack, header.first, header.end),
    )
    plan = RunPlan(
        own,
        id_type,
        target,
        checked,
        log.progress,
        excluded.files,
        excluded.ids.plus(order.protected),
        backup_known=check_backup(own, log.progress),
        parameters=pinned(arguments.parameters),
        server=SampleCheck(order.pool, administrator=order.administrator, seen=order.seen),
    )
    return plan, log


def _settings_of_shard(settings: Settings, order: Order, backup: Path | None) -> Settings:
    """The settings of a run, changed for the process of one of its shards. backup: of the run."""
    return replace(
        settings,
        rate=0.0,  # its share limits it
        concurrency=order.wanted.concurrency,
        max_refused=ANY_SHARE,
        backup=False,
        backup_to=None if backup is None else shard_file(backup, order.number),
        # The session of the run has the log of the run. So only a lost process, or a process of a frozen run, may still
        # write the log of the shard.
        take_over=True,
    )


def _check_surroundings(arguments: RunArguments, target: Target, header: Header, path: Path) -> None:
    """Refuse a host, table or parameter that differs from the run: another machine may have another config.

    Raises NotAcceptable. The pool is compared when the process signs in.
    """
    table = {"table": dict(arguments.job.pinned)} if arguments.job.pinned else {}
    before = {name: header.pinned[name] for name in ("job", "host", "table") if name in header.pinned}
    now = {"job": arguments.job.name, "host": target.pinned_host, **table}
    refuse_differences(
        {**before, "parameters": header.parameters},
        {**now, "parameters": pinned(arguments.parameters)},
        path,
        otherwise="Give this machine the configuration of the run, then run it again.",
    )


def shard_file(path: Path, number: int) -> Path:
    """The path of a file of a shard. path: the path in a run without shards; its endings are kept."""
    name, dot, endings = path.name.partition(".")
    return path.with_name(f"{name}.shard-{number:05}{dot}{endings}")


def _read_run(place: LogPlace) -> tuple[Header, SkippedRows]:
    """The header of the log of the run, and its skipped rows."""
    with reading(place, RUN) as reader:
        progress, _ = next(reader.folding())
        return progress.header, progress.skipped


def _check_same(progress: RunState, header: Header, skipped: SkippedRows, path: Path) -> None:
    """Raise NotAcceptable unless the log begins as the log of the run says. A session may have excluded more rows."""
    same = replace(progress.header, skipped_sha256=None) == header
    if not (same and progress.skipped.covers(skipped)):
        raise NotAcceptable(
            f"{path}: is not the log of this shard. Nothing was sent. Put the file back that was there."
        )
