"""What the chunks of a session share: the parts that they use, and how outcomes are written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.account_match import Instant, lag_is_over
from bulkdel.core.guards import NO_GUARDS, Guards
from bulkdel.core.halt_limits import refused_words, too_many_refused
from bulkdel.core.held_outcomes import HeldOutcomes, all_absent
from bulkdel.core.id_type import IdSet, IdType
from bulkdel.core.log_entries import Outcome, Released, stamp
from bulkdel.core.outcome import Settled
from bulkdel.engine.backup import Backup
from bulkdel.engine.creation_context import Creations
from bulkdel.engine.drain import Drain, Stop
from bulkdel.engine.gate import Gate, OpenGate
from bulkdel.engine.snapshot import Event
from bulkdel.engine.tally import Tally, counts_of
from bulkdel.errors import Halted
from bulkdel.http.client import Client
from bulkdel.http.lookup import AccountLookup
from bulkdel.job import Action, Job


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What all chunks of a session share.

    action: makes the requests for a chunk. chunk_size: ids in a chunk, at most.
    log: makes intents and outcomes durable. backup: keeps a copy of every record; None without --backup.
    protected: ids that must never be sent. held: outcomes that wait before they are written.
    refused_max: --max-refused. to_check, may_exclude: see `RunPlan`. in_doubt_resend: --in-doubt resend.
    look_first: look every id up before it is sent.
    several_requests: whether a chunk takes several requests.
    guards: which of the looked-up accounts are spared. administrator: ids of the one that the pool keeps.
    gate: where a chunk waits before its intent.
    on_event: called with an event for every chunk that is done; None when no event is wanted.
    creations: what they share where accounts are created; None for every other job.
    """

    client: Client
    lookup: AccountLookup
    action: Action
    job: Job
    log: Checkpoint
    id_type: IdType
    drain: Drain
    protected: IdSet
    chunk_size: int
    administrator: IdSet
    tally: Tally
    held: HeldOutcomes
    refused_max: int | Fraction
    to_check: str
    may_exclude: bool = True
    backup: Backup | None = None
    in_doubt_resend: bool = False
    look_first: bool = False
    several_requests: bool = False
    guards: Guards = NO_GUARDS
    gate: Gate = field(default_factory=OpenGate)
    on_event: Callable[[Event], None] | None = None
    creations: Creations | None = None

    def now(self) -> Instant:
        """The time by our clock, and how far the server's is ahead of it."""
        return Instant(stamp(self.log.place.world.wall()), self.client.transport.ahead_s)

    def lag_is_over(self, moment: Instant) -> bool:
        """Whether no look-up can lag any more behind what was done at that moment."""
        return lag_is_over(moment, self.now())

    def clocks(self) -> tuple[float, float]:
        """The time by the wall clock and by the monotonic clock: the first may be set, the second may stand still."""
        world = self.log.place.world
        return world.wall(), world.steady()

    def age_s(self, since: tuple[float, float]) -> float:
        """Seconds since then: the larger of the ages by the two clocks."""
        return max(now - then for now, then in zip(self.clocks(), since, strict=True))

    def protects(self, ids: Sequence[str]) -> bool:
        """Whether one of these ids must never be sent."""
        return self.protected.meets_any(ids) or self.tally.own.meets_any(ids)


def enqueue_settled(
    context: SessionContext, settled: Sequence[Settled], noted: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> None:
    """Enqueue outcomes, and count them for --max-refused: too many refused ids begin the drain.

    The progress counts them once they are durable.

    noted: by id, further facts of the row for the entry, such as the id of the created account.
    """
    tally, (at, ahead_s), counts = context.tally, context.now(), counts_of(settled)
    for kind, records, detail, reason, attempts in settled:
        exceptions: tuple[dict[str, Any], ...] = ()
        if kind in {"refused", "unknown"}:
            known = detail.to_json()
            exceptions = tuple(
                {"position": record.position, "id": record.id, **known, **noted.get(record.id, {})}
                for record in records
            )
        elif noted:
            exceptions = tuple(
                {"position": record.position, **noted[record.id]} for record in records if record.id in noted
            )
        if kind == "absent" or (kind == "done" and context.job.target_state.absence_reaches):
            context.lookup.control.note_gone(records.ids)
        context.log.enqueue(Outcome(at, attempts, kind, records.ranges, detail.request_id, reason, exceptions, ahead_s))
    tally.add(settled)
    if "refused" in counts and too_many_refused(context.refused_max, tally.refused, tally.settled):
        most, may_exclude = context.refused_max, context.may_exclude
        why = refused_words(most, tally.refused, tally.settled, may_exclude=may_exclude)
        context.drain.begin(Stop(why, error=Halted(why)))


def write_held(context: SessionContext) -> None:
    """End a pass: write the refusals that were held back. The other ids get no outcome, so they are sent again.

    If look-ups are possible, such a refused id stays in doubt. By the answer of the API nothing was done with it.
    """
    refused, left = context.held.end()
    enqueue_settled(context, refused)
    for part in left:
        if part.kind == "absent" or not context.lookup.look_ups.possible:
            context.log.enqueue(Released(part.records.ranges))
    if left and context.drain.stop is None:
        why = all_absent(left)
        context.drain.begin(Stop(why, error=Halted(why)))


def doubts_wait_s(context: SessionContext) -> float:
    """Seconds until the rows in doubt may be looked up: the process before this one cannot send them any more then.

    0 but for a log in a store that was taken over without a watch.
    """
    return context.log.lease.predecessor_s


async def wait_for_doubts(context: SessionContext) -> None:
    """Wait for that time, or for the drain."""
    with suppress(TimeoutError):
        await asyncio.wait_for(context.drain.begun.wait(), doubts_wait_s(context))
