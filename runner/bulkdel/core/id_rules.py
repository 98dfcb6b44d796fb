"""What follows where ids are acted on: the rules of every job but one that creates accounts. Pure.

    Send ── settled ─────────────────────────────→ done; Send the next request, where a chunk takes several
      ├─ per id ─────────────────────────────────→ each id as its answer says: done, refused, Send again, or LookUp
      ├─ retry ── attempts left ─────────────────→ Send again; it may have been applied
      │           none left ─────────────────────→ LookUp: gone → as below · there → left for a later pass; left at
      │                                            once if no request may have had effect
      ├─ look up (an id is unknown) ─────────────→ LookUp: there → Send those · gone → absent, or done if it may
      │                                                   have been applied
      │           and was found just before ─────→ split, unless an earlier request may have had effect: then LookUp
      │                                            again, later: gone → as above, Send the others · all there → split;
      │                                            a single id → left for a later pass, or refused if no request had
      │                                            effect on it
      ├─ look up (success is not true) ──────────→ LookUp: gone → done · there → split; a single id → LookUp again,
      │                                            later; then left, or refused once no look-up can lag
      └─ split ──────────────────────────────────→ two halves; a single id → refused, or LookUp if an earlier request
                                                  may have had effect on it: gone → done, or absent (unproven) if that
                                                  request was refused · there → again, later; refused
    LookUp first (--look-first, --backup) ───────→ there → Send those · gone → absent
    LookUp that could not have found an id ──────→ unknown id: split, alone absent (unproven), left if
                                                  the request may misread it too · else in doubt
    LookUp that fails ───────────────────────────→ in doubt: no outcome, the next run looks first
    LookUp that finds a protected record ────────→ spared, never sent; in doubt: left while a look-up may lag, unknown
                                                  where a chunk takes several requests
    LookUp that finds the target state ──────────→ already, or done if a request may have been applied

"There" is an account that is not in the target state yet. "Gone" is an id without an account: that is the target state
of a deletion. For any other job it is `absent`.
"""

from __future__ import annotations

from dataclasses import dataclass

from bulkdel.core.account_match import Presence
from bulkdel.core.chunk_state import ChunkRules, ChunkState, Evidence, Found, LookUpReason, SubChunk, without_look_up
from bulkdel.core.decision import Decision, NextStep
from bulkdel.core.look_up_lag import LOOKS_AGAIN_MAX
from bulkdel.core.outcome import RE_CREATED, UNPROVEN, Kind
from bulkdel.core.record import Record, Records

REFUSED_AS_UNKNOWN = frozenset({LookUpReason.UNKNOWN_ID, LookUpReason.LAGGING})

REFUSED_SINCE = "refused after a request that may have been applied"
"""The reason of an unknown outcome: the API has refused the id, and it has no look-ups."""

PERHAPS_RE_CREATED = "perhaps re-created"
"""The reason of an unknown outcome: nothing tells whether the account that is there is the one that was meant."""

EXCLUDED_SINCE = "excluded after it was sent"
"""The reason of an unknown outcome: a request may have been applied, and no look-up shows it."""


@dataclass(frozen=True, slots=True)
class IdRules(ChunkRules):
    """The rules for the ids of one chunk. See the module's picture.

    absence_reaches: whether an id without an account is in the target state (`TargetState`).
    resend_unproven: send rows in doubt again although no look-up can be trusted (true where an id is never reused).
    several_requests: whether a chunk takes several requests, so that a record may be half-way to the target state.
    """

    absence_reaches: bool = True
    resend_unproven: bool = False
    several_requests: bool = False

    def chunk_refused(self, state: ChunkState, sub_chunk: SubChunk, decision: Decision) -> None:
        """See `ChunkRules`."""
        several = len(sub_chunk.records) > 1
        sub_chunk = sub_chunk._replace(shared=sub_chunk.shared or several)
        if decision.next_step is NextStep.SPLIT:
            state.split(sub_chunk)
            return
        if not several:
            sub_chunk = sub_chunk.without_effect()
        if decision.maybe_applied:
            state.push(sub_chunk, LookUpReason.UNSURE)
        elif sub_chunk.just_found:  # and one of these ids is unknown
            self._contradict(state, sub_chunk)
        else:
            state.push(sub_chunk, LookUpReason.UNKNOWN_ID)

    def id_refused(self, state: ChunkState, sub_chunk: SubChunk) -> None:
        """Settle refused records. Look them up first if an earlier request may have had effect on them."""
        if sub_chunk.may_have_had_effect:
            state.push(sub_chunk._replace(again=0), LookUpReason.REFUSED)
        else:
            state.settle_refused(sub_chunk)

    def retry(self, state: ChunkState, sub_chunk: SubChunk, *, free: bool) -> None:
        """See `ChunkRules`."""
        state.send_again(sub_chunk, free=free)

    def looked_up(self, state: ChunkState, sub_chunk: SubChunk, why: LookUpReason, evidence: Evidence) -> None:
        """See `ChunkRules`."""
        kept, there, gone, unsure = list[Record](), list[Record](), list[Record](), list[Record]()
        reached = list[Record]()
        for record in sub_chunk.records:
            if (presence := evidence.found.get(record.id)) is Presence.PROTECTED:
                kept.append(record)
            elif presence is Presence.REACHED:
                reached.append(record)
            elif presence is not None:
                there.append(record)
            else:
                (unsure if evidence.blind or record.id in evidence.unproven else gone).append(record)
        self._gone(state, sub_chunk, Records.of(gone))
        state.settle_reached(sub_chunk, Records.of(reached))
        self._spare(state, sub_chunk, kept)
        if there:
            # Another client may delete an id after a first look-up. So an id refused as unknown is looked up again.
            just_found = why is not LookUpReason.FIRST
            # Attempts begin anew only where the look-up has settled some of the records: so they come to an end.
            attempts = sub_chunk.attempts if len(there) == len(sub_chunk.records) else 0
            found = sub_chunk._replace(
                records=Records.of(there), attempts=attempts, just_found=just_found, was_outside=True
            )
            if why is LookUpReason.LAGGING and (gone or reached):  # the others may have been refused because of these
                state.push(found._replace(again=0))
            else:
                self._there(state, found, why, evidence.found)
        rest = sub_chunk._replace(records=Records.of(unsure), attempts=0)
        if len(unsure) == len(sub_chunk.records):
            self._unproven(state, sub_chunk, why, evidence)
        elif unsure and why in REFUSED_AS_UNKNOWN:
            state.push(rest)  # refused because of another id?
        elif unsure:
            self._unproven(state, rest, why, evidence)

    def _contradict(self, state: ChunkState, sub_chunk: SubChunk) -> None:
        """Handle ids that the API refuses as unknown and a look-up finds.

        If an earlier request may have been applied, the look-up may lag behind it, so it is repeated. Otherwise the API
        refuses the id as it is written.
        """
        if not sub_chunk.may_have_had_effect:
            state.split(sub_chunk)
        elif sub_chunk.again < LOOKS_AGAIN_MAX:
            state.look_up_again(sub_chunk, LookUpReason.LAGGING)
        elif len(sub_chunk.records) > 1:
            state.split(sub_chunk)
        elif state.too_early:
            state.leave_until_lag_over(sub_chunk)
        else:
            state.settle_refused(sub_chunk)

    def _gone(self, state: ChunkState, sub_chunk: SubChunk, gone: Records) -> None:
        """Settle ids without an account."""
        if not self.absence_reaches:
            state.settle("absent", sub_chunk, gone)
        elif sub_chunk.may_be_ours:
            state.settle("done", sub_chunk, gone)
        else:
            state.settle("absent", sub_chunk, gone, reason=sub_chunk.reason_if_not_ours)

    def _there(self, state: ChunkState, rest: SubChunk, why: LookUpReason, found: Found) -> None:
        match why:
            case LookUpReason.UNSURE if len(rest.records) == 1 and rest.again < LOOKS_AGAIN_MAX:
                state.look_up_again(rest, why)
            case LookUpReason.UNSURE if len(rest.records) > 1:
                state.split(rest)
            case LookUpReason.REFUSED if rest.may_lag and rest.again < LOOKS_AGAIN_MAX and not state.lag_is_over:
                state.look_up_again(rest, why)
            case LookUpReason.UNSURE if state.too_early:
                # A refusal of this id alone would say that the API still knows it.
                state.leave_refused(rest)
            case LookUpReason.UNSURE | LookUpReason.REFUSED:
                state.settle_refused(rest)
            case LookUpReason.EXHAUSTED:
                state.leave(rest)
            case LookUpReason.LAGGING:
                self._contradict(state, rest)
            case LookUpReason.CALLED_ABSENT if not rest.may_have_had_effect:
                state.settle_refused(rest)
            case LookUpReason.CALLED_ABSENT:
                self._contradict(state, rest)
            case LookUpReason.IN_DOUBT:
                self._resend(state, rest, found)
            case _:
                state.push(rest)

    def _unproven(self, state: ChunkState, sub_chunk: SubChunk, why: LookUpReason, evidence: Evidence) -> None:
        """Handle ids that a look-up did not find and perhaps could not have found."""
        records, detail = sub_chunk.records, sub_chunk.detail
        if why in REFUSED_AS_UNKNOWN and len(records) > 1:
            state.split(sub_chunk)
        elif why in REFUSED_AS_UNKNOWN and records.ids[0] in evidence.misread:
            state.leave(without_look_up(sub_chunk, why))  # the API may have called another id unknown
        elif why in REFUSED_AS_UNKNOWN or why is LookUpReason.CALLED_ABSENT:
            # The API called this very id unknown, and no server splits an id in the body of a request.
            kind: Kind = "done" if self.absence_reaches and sub_chunk.may_be_ours else "absent"
            state.settle(kind, sub_chunk, records, detail=detail, reason=UNPROVEN)
        elif why is LookUpReason.REFUSED and not sub_chunk.maybe_applied:
            state.settle("refused", sub_chunk, records, detail=detail, reason=sub_chunk.reason_if_not_ours)
        elif why is LookUpReason.REFUSED and not state.can_look_up:
            state.settle("unknown", sub_chunk, records, detail=detail, reason=REFUSED_SINCE)
        elif why is LookUpReason.IN_DOUBT and state.protected and not state.can_look_up:
            state.settle("unknown", sub_chunk, records, reason=EXCLUDED_SINCE)
        elif why is LookUpReason.IN_DOUBT and self.resend_unproven:
            state.push(sub_chunk)
        else:
            state.leave(sub_chunk)

    def _spare(self, state: ChunkState, sub_chunk: SubChunk, kept: list[Record]) -> None:
        """Spare protected records that exist. Records in doubt wait for a look-up that cannot lag."""
        rest = sub_chunk._replace(records=Records.of(kept))
        if kept and sub_chunk.maybe_applied and not state.lag_is_over:
            if sub_chunk.again < LOOKS_AGAIN_MAX:
                state.look_up_again(rest, LookUpReason.IN_DOUBT)
            else:
                state.leave_until_lag_over(rest)
        elif sub_chunk.maybe_applied and self.several_requests:
            # Some of its requests may have had effect, and others not: then it is between its old and the target state.
            state.settle("unknown", sub_chunk, Records.of(kept), reason=EXCLUDED_SINCE)
        else:
            state.spare(kept)

    def _resend(self, state: ChunkState, sub_chunk: SubChunk, found: Found) -> None:
        """Settle or send again rows in doubt that exist, by whether each is the account that was meant."""
        by_presence: dict[Presence, list[Record]] = {presence: [] for presence in Presence}
        for record in sub_chunk.records:
            by_presence[found[record.id]].append(record)
        new = Records.of(by_presence[Presence.NEW])  # so the account that was meant is gone
        state.settle("done" if self.absence_reaches else "absent", sub_chunk, new, reason=RE_CREATED)
        state.settle("unknown", sub_chunk, Records.of(by_presence[Presence.UNDATED]), reason=PERHAPS_RE_CREATED)
        meant = by_presence[Presence.OLD]
        if state.protected:
            self._spare(state, sub_chunk, meant)
        elif meant:
            state.push(sub_chunk._replace(records=Records.of(meant)))
