"""What follows where accounts are created: the rules of `id_rules`, turned round. Pure.

A record is looked up by its keys (e-mail, phone, user name, ...), always before it is sent:

    LookUp ── keys unused ───────────────→ Send; after a refusal split; a single one → Send without what may be the
      │                                    cause (`Job.reductions`), at last refused
      ├─ the old account: never gone ────→ already; LookUp again, at last left, while it may lag behind the deletion
      ├─ another account has a key ──────→ refused (taken)
      ├─ an account with these keys ─────→ done, if a request may have been applied, and it is younger and fits the row
      └─ not clear which account it is ──→ unknown; not sent yet: LookUp again, at last refused
    Send ── accepted ────────────────────→ done
      ├─ no response ────────────────────→ LookUp, again later because it may lag; left for a later pass. Once no
      │                                    look-up can lag any more: Send again, each record alone; unknown where the
      │                                    look-up may not have found it
      └─ refused together with others ───→ LookUp, because some of them may have been created

Repeating a creation may do harm: not every API refuses a second account with the same keys. So a request that may have
been applied is followed by look-ups, and without a response it is repeated only after one that cannot lag.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from bulkdel.core.account_match import Presence
from bulkdel.core.chunk_state import MAY_LAG, REPEATED, ChunkRules, ChunkState, Evidence, LookUpReason, SubChunk
from bulkdel.core.decision import Decision, NextStep
from bulkdel.core.look_up_lag import LOOKS_AGAIN_MAX
from bulkdel.core.outcome import TAKEN, Detail, Reduction
from bulkdel.core.record import Record, Records
from bulkdel.core.retry import sends_again

HIDDEN = "a look-up may not find it"
"""The reason of an outcome, where no look-up can show whether the account was created."""

PERHAPS_ANOTHER = "perhaps another account"
"""The reason of an unknown outcome: nothing tells whether this run created the account that is there."""

OTHERS = "look-ups return another account"
"""The reason of a refusal without a request: a look-up returned an account that has no key of the record, each time."""

WITHOUT_RESPONSE = frozenset({LookUpReason.LOST, LookUpReason.IN_DOUBT})
REFUSALS = frozenset({LookUpReason.UNSURE, LookUpReason.REFUSED})


@dataclass(slots=True)
class CreationRules(ChunkRules):
    """The rules for the accounts of one chunk that are created. See the module's picture.

    Records that may share a key are in different groups of the chunk (`ChunkState.groups`).

    reductions_of: what may be left out of a record that the API refuses, the best first (`Job.reductions`).
    looks_again_max: how often a look-up is repeated that may lag behind a request.
    deletion_lags: whether look-ups may lag behind the deletion of these accounts.
    resend_unproven: send records in doubt again although no look-up can be trusted.

    `ChunkState.contradicted` counts the records that go on once look-ups cannot lag any more. If the API has called a
    key taken and no look-up finds it, the record is refused. If the account exists under its old id, it was never gone.
    If there was no response and no look-up finds the account, the record is sent again.
    """

    reductions_of: Callable[[Record], Sequence[Reduction]]
    looks_again_max: int = LOOKS_AGAIN_MAX
    deletion_lags: bool = False
    resend_unproven: bool = False
    _unclear: bool = False  # whether a request of this session got a response that says nothing clear
    _clashes: set[str] = field(default_factory=set)  # ids whose latest refusal says that another account has a key
    _left_out: dict[str, Reduction] = field(default_factory=dict)  # by id, what was left out of a refused record
    _reductions: dict[str, list[Reduction]] = field(default_factory=dict)  # by id, what may still be left out of it

    def unanswered(self, state: ChunkState) -> bool:
        """Whether a request for these records got no clear response, in this session or before."""
        return state.in_doubt or state.had_no_clear_response or self._unclear

    def gives_up(self, state: ChunkState, why: LookUpReason) -> bool:
        """Whether the look-up that is due is the last one for records that may have been created, if it finds none."""
        if why in WITHOUT_RESPONSE:
            return state.lag_is_over
        return why in REFUSALS and len(state.due.records) == 1 and not self._looks_again(state, state.due, why)

    def left_out_of(self, records: Records) -> Reduction | None:
        """What is left out of a record because the API has refused it; None for whole records."""
        return self._left_out.get(records.ids[0]) if len(records) == 1 else None

    def reason_of(self, records: Records) -> str | None:
        """See `ChunkRules`."""
        left_out = self.left_out_of(records)
        return None if left_out is None else f"without {left_out.lost}"

    def chunk_refused(self, state: ChunkState, sub_chunk: SubChunk, decision: Decision) -> None:
        """See `ChunkRules`."""
        self._unclear = self._unclear or decision.maybe_applied
        self._clashes.difference_update(sub_chunk.records.ids)
        if decision.next_step is NextStep.LOOK_UP:
            self._clashes.update(sub_chunk.records.ids)
        if len(sub_chunk.records) > 1:
            state.push(sub_chunk._replace(maybe_applied=True), LookUpReason.UNSURE)
        else:
            self.id_refused(state, sub_chunk)

    def id_refused(self, state: ChunkState, sub_chunk: SubChunk) -> None:
        """See `ChunkRules`."""
        if sub_chunk.maybe_applied:
            state.push(sub_chunk._replace(again=0), LookUpReason.REFUSED)
        else:
            self._reduce(state, sub_chunk)

    def retry(self, state: ChunkState, sub_chunk: SubChunk, *, free: bool) -> None:
        """See `ChunkRules`."""
        if sub_chunk.maybe_applied:
            attempts = sub_chunk.attempts + (not free)
            why = LookUpReason.LOST if sends_again(attempts) else LookUpReason.EXHAUSTED
            state.push(sub_chunk._replace(attempts=attempts, again=0), why)
        else:
            state.send_again(sub_chunk, free=free)

    def looked_up(self, state: ChunkState, sub_chunk: SubChunk, why: LookUpReason, evidence: Evidence) -> None:
        """See `ChunkRules`."""
        by_presence: dict[Presence | None, list[Record]] = {presence: [] for presence in (None, *Presence)}
        for record in sub_chunk.records:
            by_presence[evidence.found.get(record.id)].append(record)
        state.settle_reached(sub_chunk, Records.of(by_presence[Presence.REACHED]))
        if never_gone := Records.of(by_presence[Presence.NEVER_GONE]):
            self._never_gone(state, sub_chunk._replace(records=never_gone), why)
        state.settle("refused", sub_chunk, Records.of(by_presence[Presence.TAKEN]), reason=TAKEN)
        if undated := Records.of(by_presence[Presence.UNDATED]):
            self._undated(state, sub_chunk._replace(records=undated), why)
        if unused := Records.of(by_presence[None]):
            self._unused(state, sub_chunk._replace(records=unused), why, evidence)

    def _looks_again(self, state: ChunkState, sub_chunk: SubChunk, why: LookUpReason) -> bool:
        """Whether a look-up that finds nothing is repeated, because it may lag."""
        several = why is LookUpReason.UNSURE and len(sub_chunk.records) > 1
        return why in MAY_LAG and sub_chunk.again < self.looks_again_max and not state.lag_is_over and not several

    def _never_gone(self, state: ChunkState, sub_chunk: SubChunk, why: LookUpReason) -> None:
        """Take in records for which a look-up has found the old account. A run may have deleted it since."""
        if not self.deletion_lags:
            state.settle("already", sub_chunk, sub_chunk.records)
        elif why in REPEATED and sub_chunk.again < self.looks_again_max:
            state.look_up_again(sub_chunk, why)
        else:
            state.leave_until_lag_over(sub_chunk)

    def _undated(self, state: ChunkState, sub_chunk: SubChunk, why: LookUpReason) -> None:
        """Take in records for which a look-up has found an account that may be the created one, or another one.

        Where nothing was sent, the API has returned an account that it was not asked for.
        """
        if sub_chunk.maybe_applied:
            state.settle("unknown", sub_chunk, sub_chunk.records, reason=PERHAPS_ANOTHER)
        elif why is LookUpReason.EXHAUSTED:
            state.leave(sub_chunk)
        elif why in REPEATED and sub_chunk.again < LOOKS_AGAIN_MAX:
            state.look_up_again(sub_chunk, why)
        else:
            state.settle("refused", sub_chunk, sub_chunk.records, detail=Detail(message=OTHERS), reason=OTHERS)

    def _unused(self, state: ChunkState, rest: SubChunk, why: LookUpReason, evidence: Evidence) -> None:
        """Take in records with keys that no account has, as far as the look-up can tell."""
        first = rest.records.ids[0]
        if evidence.blind and not (self.resend_unproven and why in WITHOUT_RESPONSE):
            state.leave(rest)
        elif self._looks_again(state, rest, why):
            state.look_up_again(rest, why)
        elif state.protected:
            state.spare(rest.records)
        elif why is LookUpReason.EXHAUSTED:
            state.leave(rest)
        elif why not in REFUSALS:
            self._send(state, rest, why, evidence.unproven)
        elif len(rest.records) > 1:
            state.split(rest)
        elif first in evidence.unproven and not state.lag_is_over:
            state.leave_until_lag_over(rest)
        elif first in evidence.unproven:
            state.settle("unknown", rest, rest.records, detail=rest.detail, reason=HIDDEN)
        elif why is LookUpReason.UNSURE:  # it was refused together with others, which may have been the cause
            state.push(rest)
        else:
            # Unless it is a clash, what was sent before has had no effect: the next refusal needs no look-up.
            self._reduce(state, rest._replace(maybe_applied=first in self._clashes))

    def _send(self, state: ChunkState, rest: SubChunk, why: LookUpReason, unproven: Collection[str]) -> None:
        """Send records with unused keys.

        A record that was sent before could be created twice. So it is left while look-ups may lag. If no look-up can
        find it even after that, it ends as unknown.
        """
        if why in WITHOUT_RESPONSE and not state.lag_is_over:
            state.leave_until_lag_over(rest)
            return
        hidden = {*unproven} if rest.maybe_applied and not self.resend_unproven else set[str]()
        unknown = Records.of(record for record in rest.records if record.id in hidden)
        state.settle("unknown", rest, unknown, detail=rest.detail, reason=HIDDEN)
        others = Records.of(record for record in rest.records if record.id not in hidden)
        rest = rest._replace(again=0)
        if others and why is LookUpReason.IN_DOUBT:
            # Each alone: after a refusal of several it would again be open which of them were created.
            for record in reversed(others):
                state.push(rest._replace(records=Records.of([record])))
        elif others:
            state.push(rest._replace(records=others))

    def _reduce(self, state: ChunkState, sub_chunk: SubChunk) -> None:
        """Send a refused record again without a part that may be the cause; settle it when no such part is left."""
        (record,) = sub_chunk.records
        if record.id not in self._reductions:
            self._reductions[record.id] = list(self.reductions_of(record))
        if reductions := self._reductions[record.id]:
            self._left_out[record.id] = left_out = reductions.pop(0)
            records = Records.of([record._replace(payload=left_out.payload)])
            state.push(sub_chunk._replace(records=records, attempts=0))
        elif record.id in self._clashes and sub_chunk.maybe_applied and not state.lag_is_over:
            state.leave_until_lag_over(sub_chunk)
        else:
            state.settle_refused(sub_chunk)
