"""One chunk of accounts that are created: the state machine of `chunk_state`, turned round. Pure.

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
from bulkdel.core.chunk_state import MAY_LAG, REPEATED, ChunkState, Found, LookUpReason, SubChunk
from bulkdel.core.decision import Decision, NextStep
from bulkdel.core.look_up_lag import LOOKS_AGAIN_MAX
from bulkdel.core.outcome import TAKEN, Detail, Reduction
from bulkdel.core.record import Record, Records

HIDDEN = "a look-up may not find it"
"""The reason of an outcome, where no look-up can show whether the account was created."""

OTHERS = "look-ups return another account"
"""The reason of a refusal without a request: a look-up returned an account that has no key of the record, each time."""

WITHOUT_RESPONSE = frozenset({LookUpReason.LOST, LookUpReason.IN_DOUBT})
REFUSALS = frozenset({LookUpReason.UNSURE, LookUpReason.REFUSED})


def no_reductions(_record: Record) -> Sequence[Reduction]:
    """Nothing can be left out."""
    return ()


@dataclass
class CreationState(ChunkState):
    """The state machine of one chunk of accounts that are created.

    groups: the records of the chunk; records that may share a key are in different groups. The groups are settled one
        by one.
    reductions_of: what may be left out of a record that the API refuses, the best first (`Job.reductions`).
    looks_again_max: how often a look-up is repeated that may lag behind a request.
    deletion_lags: whether look-ups may lag behind the deletion of these accounts.

    `contradicted` counts the records in `left` that go on once look-ups cannot lag any more. If the API has called a
    key taken and no look-up finds it, the record is refused. If the account exists under its old id, it was never gone.
    If there was no response and no look-up finds the account, the record is sent again.
    """

    groups: Sequence[Records] = ()
    looks_again_max: int = LOOKS_AGAIN_MAX
    reductions_of: Callable[[Record], Sequence[Reduction]] = no_reductions
    deletion_lags: bool = False
    _unclear: bool = False  # whether a request of this session got a response that says nothing clear
    _clashes: set[str] = field(default_factory=set)  # ids whose latest refusal says that another account has a key
    _left_out: dict[str, Reduction] = field(default_factory=dict)  # by id, what was left out of a refused record
    _reductions: dict[str, list[Reduction]] = field(default_factory=dict)  # by id, what may still be left out of it

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._stack and len(self.groups) > 1:
            start, why = self._stack.pop()
            self._stack += [(start._replace(records=group), why) for group in reversed(self.groups)]

    @property
    def unanswered(self) -> bool:
        """Whether a request for these records got no clear response, in this session or before."""
        return self.in_doubt or self._lost or self._unclear

    @property
    def gives_up(self) -> bool:
        """Whether the look-up that is due is the last one for records that may have been created, if it finds none."""
        sub_chunk, why = self._stack[-1]
        if why in WITHOUT_RESPONSE:
            return self._lag_is_over
        return why in REFUSALS and len(sub_chunk.records) == 1 and not self._looks_again(sub_chunk, why)

    def _looks_again(self, sub_chunk: SubChunk, why: LookUpReason | None) -> bool:
        """Whether a look-up that finds nothing is repeated, because it may lag."""
        several = why is LookUpReason.UNSURE and len(sub_chunk.records) > 1
        return why in MAY_LAG and sub_chunk.again < self.looks_again_max and not self._lag_is_over and not several

    def _decided(self, sub_chunk: SubChunk, decision: Decision) -> None:
        self._unclear = self._unclear or decision.maybe_applied
        if decision.next_step not in {NextStep.LOOK_UP, NextStep.SPLIT}:
            super()._decided(sub_chunk, decision)
            return
        self._clashes.difference_update(sub_chunk.records.ids)
        if decision.next_step is NextStep.LOOK_UP:
            self._clashes.update(sub_chunk.records.ids)
        if len(sub_chunk.records) > 1:
            self._stack.append((sub_chunk._replace(maybe_applied=True), LookUpReason.UNSURE))
        else:
            self._refuse(sub_chunk)

    def _send(self, rest: SubChunk, why: LookUpReason | None, unproven: Collection[str]) -> None:
        """Send records with unused keys.

        A record that was sent before could be created twice. So it is left while look-ups may lag. If no look-up can
        find it even after that, it ends as unknown.
        """
        if why in WITHOUT_RESPONSE and not self._lag_is_over:
            self._leave_until_lag_over(rest)
            return
        hidden = {*unproven} if rest.maybe_applied and not self.resend_unproven else set[str]()
        unknown = Records.of(record for record in rest.records if record.id in hidden)
        self._settle("unknown", rest, unknown, detail=rest.detail, reason=HIDDEN)
        others = Records.of(record for record in rest.records if record.id not in hidden)
        rest = rest._replace(again=0)
        if others and why is LookUpReason.IN_DOUBT:
            # Each alone: after a refusal of several it would again be open which of them were created.
            alone = [Records.of([record]) for record in reversed(others)]
            self._stack += [(rest._replace(records=each), None) for each in alone]
        elif others:
            self._stack.append((rest._replace(records=others), None))

    def _retry(self, sub_chunk: SubChunk, *, free: bool) -> None:
        if not sub_chunk.maybe_applied:
            super()._retry(sub_chunk, free=free)
            return
        sub_chunk = sub_chunk._replace(attempts=sub_chunk.attempts + (not free), again=0)
        self._stack.append((sub_chunk, LookUpReason.LOST))

    def _refuse(self, sub_chunk: SubChunk) -> None:
        if sub_chunk.maybe_applied:
            super()._refuse(sub_chunk)
        else:
            self._reduce(sub_chunk)

    def _reduce(self, sub_chunk: SubChunk) -> None:
        """Send a refused record again without a part that may be the cause; settle it when no such part is left."""
        (record,) = sub_chunk.records
        if record.id not in self._reductions:
            self._reductions[record.id] = list(self.reductions_of(record))
        if reductions := self._reductions[record.id]:
            self._left_out[record.id] = left_out = reductions.pop(0)
            records = Records.of([record._replace(payload=left_out.payload)])
            self._stack.append((sub_chunk._replace(records=records, attempts=0), None))
        elif record.id in self._clashes and sub_chunk.maybe_applied and not self._lag_is_over:
            self._leave_until_lag_over(sub_chunk)
        else:
            self._settle("refused", sub_chunk, sub_chunk.records, detail=sub_chunk.detail)

    def _left_out_of(self, records: Records) -> Reduction | None:
        return self._left_out.get(records.ids[0]) if len(records) == 1 else None

    def _found(
        self, sub_chunk: SubChunk, why: LookUpReason | None, found: Found, *, blind: bool, unproven: Collection[str]
    ) -> None:
        by_presence: dict[Presence | None, list[Record]] = {presence: [] for presence in (None, *Presence)}
        for record in sub_chunk.records:
            by_presence[found.get(record.id)].append(record)
        self._reached(sub_chunk, Records.of(by_presence[Presence.REACHED]))
        if never_gone := Records.of(by_presence[Presence.NEVER_GONE]):
            self._never_gone(sub_chunk._replace(records=never_gone), why)
        self._settle("refused", sub_chunk, Records.of(by_presence[Presence.TAKEN]), reason=TAKEN)
        if undated := Records.of(by_presence[Presence.UNDATED]):
            self._undated(sub_chunk._replace(records=undated), why)
        if unused := Records.of(by_presence[None]):
            self._unused(sub_chunk._replace(records=unused), why, blind=blind, unproven=unproven)

    def _never_gone(self, sub_chunk: SubChunk, why: LookUpReason | None) -> None:
        """Take in records for which a look-up has found the old account. A run may have deleted it since."""
        if not self.deletion_lags:
            self._settle("already", sub_chunk, sub_chunk.records)
        elif why in REPEATED and sub_chunk.again < self.looks_again_max:
            self._stack.append((sub_chunk._replace(again=sub_chunk.again + 1), why))
        else:
            self._leave_until_lag_over(sub_chunk)

    def _undated(self, sub_chunk: SubChunk, why: LookUpReason | None) -> None:
        """Take in records for which a look-up has found an account that may be the created one, or another one.

        Where nothing was sent, the API has returned an account that it was not asked for.
        """
        if sub_chunk.maybe_applied:
            self._settle("unknown", sub_chunk, sub_chunk.records, reason="perhaps another account")
        elif why is LookUpReason.EXHAUSTED:
            self.left.append(sub_chunk)
        elif why in REPEATED and sub_chunk.again < LOOKS_AGAIN_MAX:
            self._stack.append((sub_chunk._replace(again=sub_chunk.again + 1), why))
        else:
            self._settle("refused", sub_chunk, sub_chunk.records, detail=Detail(message=OTHERS), reason=OTHERS)

    def _unused(self, rest: SubChunk, why: LookUpReason | None, *, blind: bool, unproven: Collection[str]) -> None:
        """Take in records with keys that no account has, as far as the look-up can tell."""
        alone, may_lag = len(rest.records) == 1, not self._lag_is_over
        if blind and not (self.resend_unproven and why in WITHOUT_RESPONSE):
            self.left.append(rest)
        elif self._looks_again(rest, why):
            self._stack.append((rest._replace(again=rest.again + 1), why))
        elif self.protected:
            self.spared += rest.records
        elif why is LookUpReason.EXHAUSTED:
            self.left.append(rest)
        elif why not in REFUSALS:
            self._send(rest, why, unproven)
        elif not alone:
            self._split(rest)
        elif rest.records[0].id in unproven and may_lag:
            self._leave_until_lag_over(rest)
        elif rest.records[0].id in unproven:
            self._settle("unknown", rest, rest.records, detail=rest.detail, reason=HIDDEN)
        elif why is LookUpReason.UNSURE:  # it was refused together with others, which may have been the cause
            self._stack.append((rest, None))
        else:
            # Unless it is a clash, what was sent before has had no effect: the next refusal needs no look-up.
            self._reduce(rest._replace(maybe_applied=rest.records.ids[0] in self._clashes))
