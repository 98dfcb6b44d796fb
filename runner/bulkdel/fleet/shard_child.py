"""The child process of a shard: its command line, environment and order, and what its events mean for the run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from typing import Any

from bulkdel.core.halt_limits import number_or_share, refused_words, too_many_refused
from bulkdel.core.option import file_variable_of, option_of, variable_of
from bulkdel.core.summary import Ending
from bulkdel.engine.drain import Drain, Stop
from bulkdel.engine.snapshot import Event
from bulkdel.errors import BulkdelError, FileFailed, Halted, NotAcceptable, UsageError
from bulkdel.fleet.channel import ChunkEvent, Failed, Figures, Order, ShardEnded, Wanted, line_of, message_of
from bulkdel.fleet.placing import Environment, Exited, Placed, Work, secrets_in
from bulkdel.fleet.shard_control import ShardControl
from bulkdel.fleet.shard_logs import ShardLogs
from bulkdel.fleet.shard_totals import ShardState, ShardStates
from bulkdel.fleet.supervisor import Supervisor
from bulkdel.http.shared_rate import KeeperAddress
from bulkdel.output import say
from bulkdel.place.lease import Lease
from bulkdel.safety.run_plan import RunPlan
from bulkdel.settings import Settings
from bulkdel.tasks import ended_before

OPTIONS = frozenset(name(one.name) for one in fields(Settings) for name in (variable_of, file_variable_of))
"""The variables of the environment that are options. The words of a shard have the options of the run, so the variables
of the machine where the shard starts do not count."""

LEASE_LOOK_S = 0.25

REFUSALS = (UsageError, NotAcceptable)
"""The refusals of a command line or environment. The process has said why on its stderr."""

ERRORS: Mapping[int | None, type[BulkdelError]] = {
    kind.exit_code: kind for kind in (UsageError, NotAcceptable, FileFailed, Halted)
}
"""By its exit code, why a process could not begin."""


@dataclass(frozen=True, slots=True)
class ShardWork:
    """What the children of all shards share.

    plan: of the run. index: SHA-256 of the index of its rows. keeper: of the rate. debug: whether each chunk is an
    event. lease_s: how long a commit to a store renews the lease. logs: they show how far a killed process came.
    lease: of the log of the run.
    """

    plan: RunPlan
    index: str
    keeper: KeeperAddress
    debug: bool
    lease_s: float
    shards: ShardStates
    control: ShardControl
    logs: ShardLogs
    drain: Drain
    lease: Lease
    on_event: Callable[[Event], None]

    def of(self, number: int, settled_max: int | None, wanted: Wanted) -> Work:
        """The work of one shard. settled_max, wanted: see `Order`."""
        order = line_of(self._order(number, settled_max, wanted))
        return Work(*_command(self.plan), self.keeper, order=order)

    def _order(self, number: int, settled_max: int | None, wanted: Wanted) -> Order:
        plan, server = self.plan, self.plan.server
        return Order(
            number=number,
            tool=version("bulkdel"),
            index=self.index,
            protected=list(plan.own_ids),
            pool=plan.pool,
            seen=server.seen,
            administrator=list(server.administrator),
            excluded=[file.key for file in plan.excluded],
            settled_max=settled_max,
            debug=self.debug,
            lease_s=self.lease_s,
            wanted=wanted,
        )


class ShardChild:
    """The child of one shard in one session. See `supervisor.Child`.

    portion: rows that it may settle; None for all.
    """

    def __init__(self, shard: ShardState, portion: int | None, of_all: ShardWork) -> None:
        self.name = f"the process of shard {shard.number}"
        self._shard = shard
        self._portion = portion
        self._of_all = of_all
        self._refused_max = number_or_share(of_all.plan.arguments.settings.max_refused)
        self._was_placed = False
        self._is_over = False  # whether its session has ended, or cannot begin

    async def run(self, supervisor: Supervisor) -> None:
        """Run it until its session has ended. When it cannot go on, the run drains."""
        self._shard.begin_sending()
        try:
            await supervisor.run(self)
        except BulkdelError as error:
            self._of_all.drain.begin(Stop(str(error), error=error))
        finally:
            self._shard.end_sending()
            self._of_all.control.tell()  # the others get its part of the concurrency

    @property
    def settled(self) -> int:
        """Rows with an outcome of this session."""
        return self._shard.settled

    async def work(self) -> Work | None:
        """The work, once the run is not held and its lease is valid. None when the run drains.

        A frozen run may have lost its log to another session. Its processes must not take the logs of the shards over
        from that session.
        """
        shard, begun = self._shard, self._of_all.drain.begun
        await ended_before(begun.wait(), self._of_all.control.released.wait())
        while not (self._of_all.lease.valid or begun.is_set()):  # noqa: ASYNC110
            await asyncio.sleep(LEASE_LOOK_S)  # no event tells that a commit has renewed it
        if begun.is_set() or (self._portion is not None and shard.settled >= self._portion):
            return None
        if self._was_placed:
            self._of_all.on_event(Event("warning", "shard.restarted", {"shard": shard.number}))
        settled_max = None if self._portion is None else shard.settled_before + self._portion
        return self._of_all.of(shard.number, settled_max, self._of_all.control.wanted)

    def begin(self, placed: Placed) -> None:
        """Note that it is placed."""
        self._was_placed = True
        self._shard.place(placed)
        placed.tell(line_of(self._of_all.control.wanted))  # `wanted` may have changed meanwhile

    def keep(self, line: bytes) -> None:
        """Show a line of its stderr."""
        say(f"shard {self._shard.number}: {os.fsdecode(line).rstrip()}", "shard_said")

    def take(self, event: Mapping[str, Any]) -> None:
        """Take in an event."""
        match message_of(event):
            case Figures() as figures:
                self._shard.take(figures)
                self._check_refused()
            case ChunkEvent(level, name, fields):
                self._of_all.on_event(Event(level, name, dict(fields)))
            case ShardEnded() as ended:
                self._shard.end(ended)
                self._stop_after(ended.as_ending)
                self._is_over = True
            case Failed(code, why):
                self._of_all.drain.begin(Stop(why, error=ERRORS.get(code, Halted)(why)))
                self._is_over = True

    async def ended(self, exited: Exited) -> bool:
        """Note how a process has ended. One that has ended before its session counts from its log."""
        if self._is_over:
            return True
        if (refused := ERRORS.get(exited.code)) in REFUSALS:
            raise refused(f"{self.name} has refused its command line or environment")
        try:
            self._shard.begin_again(await asyncio.to_thread(self._of_all.logs.figures, self._shard.number))
        except BulkdelError as error:
            raise FileFailed(str(error)) from error  # its unread rows count as remaining
        return False

    def _stop_after(self, ending: Ending) -> None:
        """Stop all shards when the session of one has ended for a reason that holds for all."""
        if self._of_all.drain.stop is not None:
            return
        if ending.file_failed:
            self._of_all.drain.begin(Stop(ending.why, error=FileFailed(ending.why)))
        elif ending.halted:
            self._of_all.drain.begin(Stop(ending.why, error=Halted(ending.why)))
        elif ending.planned:
            self._of_all.drain.begin(Stop(ending.why, planned=True))
        elif ending.signal is not None:
            self._of_all.drain.begin(Stop(ending.why, signal=ending.signal))

    def _check_refused(self) -> None:
        """Apply --max-refused to the rows that all shards have settled in this session."""
        settled, refused = self._of_all.shards.settled, sum(self._of_all.shards.refused.values())
        if too_many_refused(self._refused_max, refused, settled) and self._of_all.drain.stop is None:
            may_exclude = self._of_all.plan.may_exclude
            why = refused_words(self._refused_max, refused, settled, may_exclude=may_exclude)
            self._of_all.drain.begin(Stop(why, error=Halted(why)))


def _command(plan: RunPlan) -> tuple[list[str], Environment]:
    """The words after `bulkdel` that start the process of a shard, and its environment."""
    settings = plan.arguments.settings
    # The words of a line hide a password of the proxy, and a signature in the address of an exclude file.
    hidden = secrets_in({"exclude": [str(name) for name in settings.exclude or ()]})
    if settings.proxy is not None and "@" in settings.proxy:
        hidden["proxy"] = settings.proxy
    line = plan.line.without("--shards", *map(option_of, hidden))
    secrets = {variable_of(name): value for name, value in hidden.items()}
    dropped = sorted(OPTIONS - secrets.keys())
    environment = Environment(dropped=dropped, values=line.variables, secrets=secrets)
    return replace(line, variables={}).words[1:], environment
