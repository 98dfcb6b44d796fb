"""One chunk from its first request to its outcomes, as a state machine. Owns what follows from a decision or a lookup.

It holds a stack of sub-chunks; the top one determines the next step. A worker asks for `next_step`, does it, and
reports back with `replied` or `looked_up`, until no step is left. Nothing here waits or sends.

    Send ── settled ─────────────────────────────→ done; Send the next request, where a chunk takes several
      ├─ per id ─────────────────────────────────→ each id as its answer says: done, refused, Send again, or LookUp
      ├─ retry ── attempts left ─────────────────→ Send again; it may have been applied
      │           none left ─────────────────────→ LookUp: gone → as below · there → left for a later pass
      ├─ look up (an id is unknown) ─────────────→ LookUp: there → Send those · gone → absent, or done if it may
      │                                                   have been applied
      │           and was found just before ─────→ LookUp again, later: gone → as above, Send the others · all there
      │                                            → split; a single id → left for a later pass, or refused if no
      │                                            request had effect on it
      ├─ look up (success is not true) ──────────→ LookUp: gone → done · there → split; a single id → LookUp again,
      │                                            later; then left, or refused once no look-up can lag
      └─ split ──────────────────────────────────→ two halves; a single id → refused, or LookUp if an earlier request
                                                  may have had effect on it: gone → done, or absent (unproven) if that
                                                  request was refused · there → again, later; refused
    LookUp first (--look-first, --backup) ───────→ there → Send those · gone → absent
    LookUp that could not have found an id ──────→ unknown id: split, alone absent (unproven), left if
                                                  the request may misread it too · else in doubt
    LookUp that fails ───────────────────────────→ in doubt: no outcome, the next run looks first
    LookUp that finds a protected record ────────→ spared, never sent; in doubt: left while a look-up may lag
    LookUp that finds the target state ──────────→ already, or done if a request may have been applied

"There" is an account that is not in the target state yet. "Gone" is an id without an account: that is the target state
of a deletion. For any other job it is `absent`.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from bulkdel.core.account_match import Presence
from bulkdel.core.decision import Decision, IdAnswer, NextStep, Verdict
from bulkdel.core.halt_limits import ALL_REFUSED_MIN
from bulkdel.core.held_outcomes import TO_CHECK, all_refused, size
from bulkdel.core.look_up_lag import LOOKS_AGAIN_MAX, RENEWALS_MAX
from bulkdel.core.outcome import NOTHING_SAID, TAKEN, Detail, Kind, Reduction, Settled
from bulkdel.core.ranges import Ranges
from bulkdel.core.record import Chunk, Record, Records
from bulkdel.core.retry import ATTEMPTS_MAX, sends_again


class LookUpReason(enum.Enum):
    """Why ids are looked up: it decides what finding them means."""

    UNKNOWN_ID = "an id is unknown"
    CALLED_ABSENT = "the answer calls each of these ids absent"
    LAGGING = "an id is unknown although a look-up has just found it"
    UNSURE = "success is not true"
    REFUSED = "refused after a request that may have been applied"  # or after one for several ids that was refused
    EXHAUSTED = "attempts ran out"
    LOST = "no response, and sending it twice may do harm"
    IN_DOUBT = "sent by a session that got no response"
    FIRST = "before anything is sent"


REFUSED_AS_UNKNOWN = frozenset({LookUpReason.UNKNOWN_ID, LookUpReason.LAGGING})
MAY_LAG = frozenset(
    {LookUpReason.UNSURE, LookUpReason.REFUSED, LookUpReason.LAGGING, LookUpReason.IN_DOUBT, LookUpReason.LOST}
)
"""Reasons for which a look-up that finds an id is repeated: it may lag behind the request."""

REPEATED = MAY_LAG | {LookUpReason.FIRST}
"""Reasons for which a look-up may be repeated. A first one may lag behind the run that is undone."""


EXCLUDED_SINCE = "excluded after it was sent"
"""The reason of an unknown outcome: a request may have been applied, and no look-up shows it."""


class SubChunk(NamedTuple):
    """Records that share a history.

    maybe_applied: a request for them may have been applied, and no response confirmed it. An id that is in the target
        state counts as done.
    touched: a request reached the server and may have had effect. They cannot be released any more.
    attempts: requests without a response, in a row.
    just_found: a look-up has just found every one of them.
    was_outside: before a request, a look-up showed that they were not in the target state. If an id is in it
        afterwards, the request has brought it there.
    shared: a request for them and others was refused. The action may have been carried out for some of them first.
    varied: since then a request for fewer of them was refused for another reason, so some may be gone.
    again: how many look-ups have repeated an earlier one that may have lagged.
    renewed: how many look-ups have repeated one that was too old when the request could leave.
    part: which of the requests that the chunk takes is due; 0 for the first. Most chunks take one.
    detail: what the API returned with the latest refusal.
    """

    records: Records
    maybe_applied: bool = False
    touched: bool = False
    attempts: int = 0
    just_found: bool = False
    was_outside: bool = False
    shared: bool = False
    varied: bool = False
    again: int = 0
    renewed: int = 0
    part: int = 0
    detail: Detail = NOTHING_SAID

    @property
    def may_be_ours(self) -> bool:
        """Whether this run may have brought these into the target state, if they are in it now."""
        return self.maybe_applied or self.was_outside

    @property
    def may_have_had_effect(self) -> bool:
        """Whether an earlier request may have had effect on these, also one that was refused."""
        return self.maybe_applied or self.shared

    @property
    def unproven(self) -> str | None:
        """The reason of an outcome by which this run did not bring these into the target state.

        A request for several ids that was refused because of one may have had effect on the others: on all of them, or
        on some of them if the server stops at the refused one.
        """
        return "unproven" if self.shared else None

    @property
    def may_lag(self) -> bool:
        """Whether a look-up that finds these may lag behind an earlier request.

        An id that is refused alone, for the same reason as the request with others before, is the cause of both
        refusals.
        """
        return self.maybe_applied or self.varied

    def without_effect(self) -> SubChunk:
        """The state after the API called this id unknown, or in the target state already.

        That request had no effect on it. So an earlier look-up does not count any more: another client may have been
        faster. It still counts if a request for several ids was refused since: that one may have had effect.
        """
        return self._replace(was_outside=self.was_outside and self.shared and not self.just_found)

    def refused(self, detail: Detail) -> SubChunk:
        """The state after the latest response has refused these."""
        varied = self.varied or (self.shared and self.detail.refusal != detail.refusal)
        return self._replace(detail=detail, varied=varied)


def _without_look_up(sub_chunk: SubChunk, why: LookUpReason | None) -> SubChunk:
    """The sub-chunk as it is left when the look-up for this reason is not made.

    If the API has called each of these ids unknown or absent, this request had no effect on them. Unless an earlier
    request may have had effect, they are not touched.
    """
    told = why in {LookUpReason.UNKNOWN_ID, LookUpReason.CALLED_ABSENT}
    return sub_chunk._replace(touched=sub_chunk.may_have_had_effect) if told else sub_chunk


class Send(NamedTuple):
    """Send these records.

    attempt: 1 for the first; higher ones wait for their backoff first. part: which of their requests, from 0.
    left_out: what was left out of the record, if one record is sent without a part; None for whole records.
    """

    records: Records
    attempt: int
    part: int = 0
    left_out: Reduction | None = None


class LookUp(NamedTuple):
    """Look these up. again: the number of this repetition, 0 for the first look-up. A repetition waits first."""

    records: Records
    why: LookUpReason
    again: int = 0


Step = Send | LookUp

Found = Mapping[str, Presence]
"""The ids of a look-up that exist."""


@dataclass(slots=True)
class ChunkState:
    """The state machine of one chunk. See the module's picture.

    in_doubt: an earlier session sent these without a response. They are looked up before they are sent.
    resend_unproven: send rows in doubt again although no look-up can be trusted (true where an id is never reused).
    look_first: look every id up before it is sent, so that outcomes are observed and not inferred.
    protected: these records must not be sent. If they are in doubt, they were sent before they were excluded: they are
        looked up, and not sent again.
    several_requests: whether a chunk takes several requests, so that a record may be half-way to the target state.
    can_look_up: whether the job has look-ups. If not, each look-up is reported with every id unproven.
    absence_reaches: whether an id without an account is in the target state (`TargetState`).
    lag_over: the records are in doubt for so long that a look-up cannot lag behind the request of that session any
        more.
    attempts_max: requests without a response, in a row, before the ids are looked up. requests: how many were sent.
    settled: outcomes so far.
    spared: records that are never sent, because they are protected.
    left: sub-chunks that get no outcome in this pass.
    contradicted: how many ids in `left` have look-ups that contradict the API, perhaps because they lag.
    halt: why the run must halt. to_check: as of `all_refused`.
    after_s: how many seconds the server asked to wait before the next attempt.
    """

    chunk: Chunk
    in_doubt: bool = False
    resend_unproven: bool = False
    look_first: bool = False
    protected: bool = False
    several_requests: bool = False
    can_look_up: bool = True
    absence_reaches: bool = True
    lag_over: bool = False
    attempts_max: int = ATTEMPTS_MAX
    to_check: str = TO_CHECK
    requests: int = 0
    settled: list[Settled] = field(default_factory=list)
    spared: list[Record] = field(default_factory=list)
    left: list[SubChunk] = field(default_factory=list)
    contradicted: int = 0
    halt: str | None = None
    after_s: float = 0.0
    _stack: list[tuple[SubChunk, LookUpReason | None]] = field(default_factory=list)
    _lagging: list[Settled] = field(default_factory=list)  # to be refused as soon as no look-up can lag
    _misread: Collection[str] = ()
    _acted: bool = False  # whether a request of this session may have been applied
    _lost: bool = False  # whether a request of this session got no response

    def __post_init__(self) -> None:
        if self.protected and not self.in_doubt:
            self.spared += self.chunk.records
            return
        start = SubChunk(self.chunk.records, maybe_applied=self.in_doubt, touched=self.in_doubt)
        self._stack.append(
            (start, LookUpReason.IN_DOUBT if self.in_doubt else LookUpReason.FIRST if self.look_first else None)
        )

    def next_step(self) -> Step | None:
        """The next step; None when every record is settled or left, or when the run must halt."""
        if self.halt is not None or not self._stack:
            return None
        sub_chunk, why = self._stack[-1]
        if why is None:
            return Send(sub_chunk.records, sub_chunk.attempts + 1, sub_chunk.part, self._left_out_of(sub_chunk.records))
        return LookUp(sub_chunk.records, why, sub_chunk.again if why in REPEATED else 0)

    def replied(self, decision: Decision, takes: int = 1) -> None:
        """Take in the decision on the `Send` that was due. takes: how many requests its records take in all."""
        sub_chunk, _ = self._stack.pop()
        self.requests += 1
        # A request for several records may have been carried out for some of them before it was refused.
        refused = decision.next_step in {NextStep.LOOK_UP, NextStep.SPLIT} and len(sub_chunk.records) > 1
        self._acted = self._acted or decision.maybe_applied or refused
        self._lost = self._lost or (decision.maybe_applied and decision.next_step is NextStep.RETRY)
        self.after_s = decision.after_s or 0.0
        if decision.next_step is NextStep.SETTLED:
            self._done(sub_chunk, sub_chunk.records, decision.detail, takes)
            return
        if decision.next_step is NextStep.PER_ID:
            self._answered(sub_chunk, decision, takes)
            self._halt_if_all_refused()
            return
        sub_chunk = sub_chunk._replace(
            maybe_applied=sub_chunk.maybe_applied or decision.maybe_applied,
            touched=sub_chunk.touched or not decision.untouched,
            just_found=sub_chunk.just_found and not decision.maybe_applied,
        ).refused(decision.detail)
        self._decided(sub_chunk, decision)
        self._halt_if_all_refused()

    def _decided(self, sub_chunk: SubChunk, decision: Decision) -> None:
        """Take in a decision about a whole sub-chunk, other than SETTLED."""
        if decision.next_step in {NextStep.LOOK_UP, NextStep.SPLIT}:
            sub_chunk = sub_chunk._replace(shared=sub_chunk.shared or len(sub_chunk.records) > 1)
        if decision.next_step is NextStep.LOOK_UP and len(sub_chunk.records) == 1:
            sub_chunk = sub_chunk.without_effect()
        match decision.next_step:
            case NextStep.RETRY:
                self._retry(sub_chunk, free=decision.free)
            case NextStep.LOOK_UP if decision.maybe_applied:
                self._stack.append((sub_chunk, LookUpReason.UNSURE))
            case NextStep.LOOK_UP:  # one of these ids is unknown
                if sub_chunk.just_found:
                    self._contradict(sub_chunk)
                else:
                    self._stack.append((sub_chunk, LookUpReason.UNKNOWN_ID))
            case NextStep.SPLIT:
                self._split(sub_chunk)
            case _:
                # Only HALT gets here; the client and `ChunkInHand.send` deal with the others. Halting is always safe.
                self._stack.append((sub_chunk, None))
                self.halt = decision.reason or decision.next_step.value

    def looked_up(
        self, found: Found | None, *, proven: bool, unproven: Collection[str] = (), misread: Collection[str] = ()
    ) -> None:
        """Take in the result of the `LookUp` that was due.

        found: the ids that exist; None when the look-up failed.
        proven: whether a look-up has found an account, and no control has failed since. If not, "gone" is no proof.
        unproven: ids that may exist although this response lacks them (`core.absence`).
        misread: the unproven ids that the server may misread in the request of the action, too.
        """
        sub_chunk, why = self._stack.pop()
        if found is None:
            self.left.append(_without_look_up(sub_chunk, why))
            return
        self._misread = misread
        self._found(sub_chunk, why, found, blind=not found and not proven, unproven=unproven)
        self._halt_if_all_refused()

    def _found(
        self, sub_chunk: SubChunk, why: LookUpReason | None, found: Found, *, blind: bool, unproven: Collection[str]
    ) -> None:
        """Take in which of the ids exist. blind: no look-up has found any account, so an empty response is no proof."""
        kept, there, gone, unsure = list[Record](), list[Record](), list[Record](), list[Record]()
        reached = list[Record]()
        for record in sub_chunk.records:
            if (presence := found.get(record.id)) is Presence.PROTECTED:
                kept.append(record)
            elif presence is Presence.REACHED:
                reached.append(record)
            elif presence is not None:
                there.append(record)
            else:
                (unsure if blind or record.id in unproven else gone).append(record)
        rest = sub_chunk._replace(records=Records.of(unsure), attempts=0)
        self._gone(sub_chunk, Records.of(gone))
        self._reached(sub_chunk, Records.of(reached))
        self._spare(sub_chunk, kept)
        if there:
            # Another client may delete an id after a first look-up. So an id refused as unknown is looked up again.
            just_found = why is not LookUpReason.FIRST
            again = sub_chunk._replace(records=Records.of(there), attempts=0, just_found=just_found, was_outside=True)
            if why is LookUpReason.LAGGING and (gone or reached):  # the others may have been refused because of these
                self._stack.append((again._replace(again=0), None))
            else:
                self._there(again, why, found)
        if len(unsure) == len(sub_chunk.records):
            self._unproven(sub_chunk, why)
        elif unsure and why in REFUSED_AS_UNKNOWN:
            self._stack.append((rest, None))  # refused because of another id?
        elif unsure:
            self._unproven(rest, why)

    @property
    def maybe_applied(self) -> bool:
        """Whether an earlier request for the records of the step that is due may have been applied."""
        return bool(self._stack) and self._stack[-1][0].maybe_applied

    @property
    def may_have_had_effect(self) -> bool:
        """As of the sub-chunk of the step that is due."""
        return bool(self._stack) and self._stack[-1][0].may_have_had_effect

    def give_up(self) -> None:
        """Leave the records of the step that was due to a later pass or to the next run."""
        self.left.append(_without_look_up(*self._stack.pop()))

    def renew_look_up(self) -> bool:
        """Put a look-up before the `Send` that was due, because the latest one is too old.

        False when it was renewed before: at a very low rate every look-up is too old when its request may leave. Then
        the records are left.
        """
        sub_chunk, _ = self._stack.pop()
        if sub_chunk.renewed == RENEWALS_MAX:
            self.left.append(sub_chunk)
            return False
        why = LookUpReason.IN_DOUBT if sub_chunk.maybe_applied else LookUpReason.FIRST
        # An id that is gone before any request reached the server was not deleted by this run.
        was_outside = sub_chunk.was_outside and sub_chunk.touched
        again = sub_chunk._replace(renewed=sub_chunk.renewed + 1, was_outside=was_outside, again=0)
        self._stack.append((again, why))
        return True

    def touch(self) -> None:
        """Note that the request that was due was sent, and that this session does not wait for its response."""
        if self._stack:
            sub_chunk, why = self._stack.pop()
            self._stack.append((sub_chunk._replace(maybe_applied=True, touched=True), why))

    def leave(self) -> tuple[Ranges, Ranges]:
        """Give up the rows without an outcome. Returns (ranges provably not touched by the server, ranges in doubt).

        The refusals of an unfinished chunk are given up, too. If the whole chunk turns out to be refused with one code,
        the cause is not the ids. An id with a recorded refusal would never be sent again.
        """
        self._leave_until_lag_over(*(SubChunk(part.records, touched=True) for part in self._lagging))
        self._lagging = []
        if not self.left and not self._stack:
            return (), ()
        sub_chunks = [*self.left, *(_without_look_up(sub_chunk, why) for sub_chunk, why in self._stack)]
        if self._stack:
            refused = [part for part in self.settled if part.by_the_api]
            self.settled = [part for part in self.settled if not part.by_the_api]
            sub_chunks += [SubChunk(part.records, touched=True) for part in refused]
        self.left, self._stack = [], []
        untouched = [record for sub_chunk in sub_chunks if not sub_chunk.touched for record in sub_chunk.records]
        doubtful = [record for sub_chunk in sub_chunks if sub_chunk.touched for record in sub_chunk.records]
        return Records.of(sorted(untouched)).ranges, Records.of(sorted(doubtful)).ranges

    def _settle(
        self,
        kind: Kind,
        sub_chunk: SubChunk,
        records: Records,
        *,
        detail: Detail = NOTHING_SAID,
        reason: str | None = None,
    ) -> None:
        if records:
            self.settled.append(Settled(kind, records, detail, reason, sub_chunk.attempts + 1))

    def _done(self, sub_chunk: SubChunk, records: Records, detail: Detail, takes: int) -> None:
        """Settle records whose request was accepted, or send the next of their requests."""
        if sub_chunk.part + 1 < takes:
            rest = sub_chunk._replace(records=records, part=sub_chunk.part + 1, attempts=0)
            self._stack.append((rest._replace(maybe_applied=True, touched=True), None))
        else:
            left_out = self._left_out_of(records)
            reason = None if left_out is None else f"without {left_out.lost}"
            self._settle("done", sub_chunk, records, detail=detail, reason=reason)

    def _left_out_of(self, records: Records) -> Reduction | None:  # noqa: ARG002 - of an id nothing can be left out
        """What is left out of a record because the API has refused it; None for whole records."""
        return None

    def _retry(self, sub_chunk: SubChunk, *, free: bool) -> None:
        """Send again after no response, or one without a clear answer, until the attempts run out."""
        sub_chunk = sub_chunk._replace(attempts=sub_chunk.attempts + (not free))
        if sends_again(sub_chunk.attempts, self.attempts_max):
            self._stack.append((sub_chunk, None))
        elif sub_chunk.touched:
            self._stack.append((sub_chunk, LookUpReason.EXHAUSTED))
        else:
            self.left.append(sub_chunk)

    def _answered(self, sub_chunk: SubChunk, decision: Decision, takes: int) -> None:
        """Take in an answer about each id (`decision_per_id`). Consecutive ids with one answer stay together."""
        answers: dict[str, IdAnswer] = {answer.id: answer for answer in decision.data}
        for (verdict, detail), group in groupby(sub_chunk.records, lambda record: answers[record.id][1:]):
            part = sub_chunk._replace(records=Records.of(group)).refused(detail)
            match verdict:
                case Verdict.SETTLED:
                    self._done(part, part.records, detail, takes)
                case Verdict.ALREADY if part.part + 1 < takes:
                    self._stack.append((part._replace(part=part.part + 1, attempts=0, touched=True), None))
                case Verdict.ALREADY:
                    self._reached(part.without_effect(), part.records, detail)
                case Verdict.REFUSED:
                    self._refuse(part)
                case Verdict.ABSENT:
                    self._stack.append((part.without_effect()._replace(touched=True), LookUpReason.CALLED_ABSENT))
                case Verdict.AGAIN:
                    self._retry(part, free=decision.free)
                case _:
                    self._acted = self._lost = True
                    self._retry(part._replace(maybe_applied=True, touched=True), free=decision.free)

    def _split(self, sub_chunk: SubChunk) -> None:
        if len(sub_chunk.records) == 1:
            self._refuse(sub_chunk)
        else:
            first, second = sub_chunk.records.halves
            # The first half is pushed last, so it is sent first: outcomes follow the order of the export.
            self._stack.append((sub_chunk._replace(records=second, attempts=0, just_found=False), None))
            self._stack.append((sub_chunk._replace(records=first, attempts=0, just_found=False), None))

    def _refuse(self, sub_chunk: SubChunk) -> None:
        """Settle refused records. Look them up first if an earlier request may have had effect on them."""
        if sub_chunk.may_have_had_effect:
            self._stack.append((sub_chunk._replace(again=0), LookUpReason.REFUSED))
        else:
            self._settle("refused", sub_chunk, sub_chunk.records, detail=sub_chunk.detail)

    @property
    def _lag_is_over(self) -> bool:
        """Whether no look-up can lag behind a request that may have been applied."""
        return self.lag_over and not self._acted

    @property
    def _too_early(self) -> bool:
        """Whether it is too early to refuse an id: the look-up that finds it may lag behind a request for it.

        A request of an earlier session counts, and a request without a response. A request of this session with an
        unclear response does not count: the next response would be the same.
        """
        return self._lost or not self.lag_over

    def _leave_until_lag_over(self, *sub_chunks: SubChunk) -> None:
        """Leave records until no look-up can lag behind their requests."""
        self.contradicted += sum(len(sub_chunk.records) for sub_chunk in sub_chunks)
        self.left += sub_chunks

    def _contradict(self, sub_chunk: SubChunk) -> None:
        """Handle ids that the API refuses as unknown and a look-up finds.

        If an earlier request may have been applied, the look-up may lag behind it, so it is repeated. Otherwise the API
        refuses the id as it is written.
        """
        if not sub_chunk.may_have_had_effect:
            self._split(sub_chunk)
        elif sub_chunk.again < LOOKS_AGAIN_MAX:
            self._stack.append((sub_chunk._replace(again=sub_chunk.again + 1), LookUpReason.LAGGING))
        elif len(sub_chunk.records) > 1:
            self._split(sub_chunk)
        elif self._too_early:
            self._leave_until_lag_over(sub_chunk)
        else:
            self._settle("refused", sub_chunk, sub_chunk.records, detail=sub_chunk.detail)

    def _gone(self, sub_chunk: SubChunk, gone: Records) -> None:
        """Settle ids without an account."""
        if not self.absence_reaches:
            self._settle("absent", sub_chunk, gone)
        elif sub_chunk.may_be_ours:
            self._settle("done", sub_chunk, gone)
        else:
            self._settle("absent", sub_chunk, gone, reason=sub_chunk.unproven)

    def _reached(self, sub_chunk: SubChunk, reached: Records, detail: Detail = NOTHING_SAID) -> None:
        """Settle ids in the target state."""
        if sub_chunk.may_be_ours:
            self._settle("done", sub_chunk, reached, detail=detail)
        else:
            self._settle("already", sub_chunk, reached, detail=detail, reason=sub_chunk.unproven)

    def _there(self, rest: SubChunk, why: LookUpReason | None, found: Found) -> None:
        match why:
            case LookUpReason.UNSURE if len(rest.records) == 1 and rest.again < LOOKS_AGAIN_MAX:
                self._stack.append((rest._replace(again=rest.again + 1), LookUpReason.UNSURE))
            case LookUpReason.UNSURE if len(rest.records) > 1:
                self._split(rest)
            case LookUpReason.REFUSED if rest.may_lag and rest.again < LOOKS_AGAIN_MAX and not self._lag_is_over:
                self._stack.append((rest._replace(again=rest.again + 1), LookUpReason.REFUSED))
            case LookUpReason.UNSURE if self._too_early:
                # A refusal of this id alone would say that the API still knows it.
                self._lagging.append(Settled("refused", rest.records, rest.detail))
            case LookUpReason.UNSURE | LookUpReason.REFUSED:
                self._settle("refused", rest, rest.records, detail=rest.detail)
            case LookUpReason.EXHAUSTED:
                self.left.append(rest)
            case LookUpReason.LAGGING:
                self._contradict(rest)
            case LookUpReason.CALLED_ABSENT if not rest.may_have_had_effect:
                self._settle("refused", rest, rest.records, detail=rest.detail)
            case LookUpReason.CALLED_ABSENT:
                self._contradict(rest)
            case LookUpReason.IN_DOUBT:
                self._resend(rest, found)
            case _:
                self._stack.append((rest, None))

    def _unproven(self, sub_chunk: SubChunk, why: LookUpReason | None) -> None:
        """Handle ids that a look-up did not find and perhaps could not have found."""
        if why in REFUSED_AS_UNKNOWN and len(sub_chunk.records) > 1:
            self._split(sub_chunk)
        elif why in REFUSED_AS_UNKNOWN and sub_chunk.records.ids[0] in self._misread:
            self.left.append(_without_look_up(sub_chunk, why))  # the API may have called another id unknown
        elif why in REFUSED_AS_UNKNOWN or why is LookUpReason.CALLED_ABSENT:
            # The API called this very id unknown, and no server splits an id in the body of a request.
            kind: Kind = "done" if self.absence_reaches and sub_chunk.may_be_ours else "absent"
            self._settle(kind, sub_chunk, sub_chunk.records, detail=sub_chunk.detail, reason="unproven")
        elif why is LookUpReason.REFUSED and not sub_chunk.maybe_applied:
            self._settle("refused", sub_chunk, sub_chunk.records, detail=sub_chunk.detail, reason=sub_chunk.unproven)
        elif why is LookUpReason.REFUSED and not self.can_look_up:
            self._settle("unknown", sub_chunk, sub_chunk.records, detail=sub_chunk.detail, reason=why.value)
        elif why is LookUpReason.IN_DOUBT and self.protected and not self.can_look_up:
            self._settle("unknown", sub_chunk, sub_chunk.records, reason=EXCLUDED_SINCE)
        elif why is LookUpReason.IN_DOUBT and self.resend_unproven:
            self._stack.append((sub_chunk, None))
        else:
            self.left.append(sub_chunk)

    def _spare(self, sub_chunk: SubChunk, kept: list[Record]) -> None:
        """Spare protected records that exist. Records in doubt wait for a look-up that cannot lag."""
        rest = sub_chunk._replace(records=Records.of(kept), again=sub_chunk.again + 1)
        if kept and sub_chunk.maybe_applied and not self._lag_is_over:
            if sub_chunk.again < LOOKS_AGAIN_MAX:
                self._stack.append((rest, LookUpReason.IN_DOUBT))
            else:
                self._leave_until_lag_over(rest)
        elif sub_chunk.maybe_applied and self.several_requests:
            # Some of its requests may have had effect, and others not: then it is between its old and the target state.
            self._settle("unknown", sub_chunk, Records.of(kept), reason=EXCLUDED_SINCE)
        else:
            self.spared += kept

    def _resend(self, sub_chunk: SubChunk, found: Found) -> None:
        """Settle or send again rows in doubt that exist, by whether each is the account that was meant."""
        by_presence: dict[Presence, list[Record]] = {presence: [] for presence in Presence}
        for record in sub_chunk.records:
            by_presence[found[record.id]].append(record)
        new = Records.of(by_presence[Presence.NEW])  # so the account that was meant is gone
        self._settle("done" if self.absence_reaches else "absent", sub_chunk, new, reason="re-created")
        self._settle("unknown", sub_chunk, Records.of(by_presence[Presence.UNDATED]), reason="perhaps re-created")
        meant = by_presence[Presence.OLD]
        if self.protected:
            self._spare(sub_chunk, meant)
        elif meant:
            self._stack.append((sub_chunk._replace(records=Records.of(meant)), None))

    def _halt_if_all_refused(self) -> None:
        """Halt when ids in a row were refused with one code: the cause is not the ids. They stay in doubt."""
        row: list[Settled] = []
        for part in (*self.settled, *self._lagging):
            if part.reason == TAKEN:  # the API was not asked
                continue
            if part.kind != "refused" or (row and row[0].detail.refusal != part.detail.refusal):
                row.clear()
            if part.kind == "refused":
                row.append(part)
            if size(row) >= ALL_REFUSED_MIN and self.halt is None:
                self.halt = all_refused(row, self.to_check)
        if self.halt is not None:
            refused = [part for part in self.settled if part.by_the_api]
            self.settled = [part for part in self.settled if not part.by_the_api]
            # Without look-ups they are released: a row in doubt that the user then excludes could never be settled.
            self.left += [SubChunk(part.records, touched=self.can_look_up) for part in refused]
