"""One chunk from its first request to its outcomes, as a state machine. Pure: nothing here waits or sends.

It holds a stack of sub-chunks; the top one determines the next step. A worker asks for `next_step`, does it, and
reports back with `replied` or `looked_up`, until no step is left. `ChunkRules` say what follows from a refusal and from
a look-up: `id_rules` where ids are acted on, `creation_rules` where accounts are created.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from bulkdel.core.account_match import Presence
from bulkdel.core.decision import Decision, IdAnswer, NextStep, Verdict
from bulkdel.core.halt_limits import ALL_REFUSED_MIN
from bulkdel.core.held_outcomes import TO_CHECK, all_refused, size
from bulkdel.core.look_up_lag import RENEWALS_MAX
from bulkdel.core.outcome import NOTHING_SAID, UNPROVEN, Detail, Kind, Settled
from bulkdel.core.ranges import Ranges
from bulkdel.core.record import Chunk, Record, Records
from bulkdel.core.retry import sends_again


class LookUpReason(enum.Enum):
    """Why ids are looked up: it decides what finding them means."""

    UNKNOWN_ID = "an id is unknown"
    CALLED_ABSENT = "the answer calls each of these ids absent"
    LAGGING = "an id is unknown although a look-up has just found it"
    UNSURE = "success is not true"
    REFUSED = "refused after a request that may have been applied, or that was for several ids"
    EXHAUSTED = "attempts ran out"
    LOST = "no response, and sending it twice may do harm"
    IN_DOUBT = "sent by a session that got no response"
    FIRST = "before anything is sent"


MAY_LAG = frozenset(
    {LookUpReason.UNSURE, LookUpReason.REFUSED, LookUpReason.LAGGING, LookUpReason.IN_DOUBT, LookUpReason.LOST}
)
"""Reasons for which a look-up that finds an id is repeated: it may lag behind the request."""

REPEATED = MAY_LAG | {LookUpReason.FIRST}
"""Reasons for which a look-up may be repeated. A first one may lag behind the run that is undone."""


class SubChunk(NamedTuple):
    """Records that share a history.

    maybe_applied: a request for them may have been applied, and no response confirmed it. An id that is in the target
        state counts as done.
    touched: a response came, or a request left without one, and nothing proves that the server did nothing, as a 429
        does. Wider than maybe_applied: a refusal touches too. They cannot be released any more.
    attempts: requests without a usable response, in a row.
    just_found: a look-up has just found every one of them.
    was_outside: before a request, a look-up showed that they were not in the target state. If an id is in it
        afterwards, the request has brought it there.
    shared: a request for them and others was refused. The action may have been carried out for some of them first.
    varied: since then a request for fewer of them was refused for another reason, or got no response, so some may be
        gone.
    again: how many look-ups have repeated an earlier one that may have lagged.
    renewed: how many look-ups have repeated one that was too old when the request could leave.
    request_no: which of the requests that the chunk takes is due; 0 for the first. Most chunks take one.
    detail: what the API returned with the latest response that did not accept them; empty without a response.
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
    request_no: int = 0
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
    def reason_if_not_ours(self) -> str | None:
        """The reason of an outcome by which this run did not bring these into the target state.

        A request for several ids that was refused because of one may have had effect on the others: on all of them, or
        on some of them if the server stops at the refused one.
        """
        return UNPROVEN if self.shared else None

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

    def answered(self, detail: Detail) -> SubChunk:
        """The state after the latest response has not accepted these as a whole, or after none came."""
        varied = self.varied or (self.shared and self.detail.refusal != detail.refusal)
        return self._replace(detail=detail, varied=varied)


def without_look_up(sub_chunk: SubChunk, why: LookUpReason | None) -> SubChunk:
    """The sub-chunk as it is left when the look-up for this reason is not made.

    If the API has called each of these ids unknown or absent, this request had no effect on them. Unless an earlier
    request may have had effect, they are not touched.
    """
    told = why in {LookUpReason.UNKNOWN_ID, LookUpReason.CALLED_ABSENT}
    return sub_chunk._replace(touched=sub_chunk.may_have_had_effect) if told else sub_chunk


class Send(NamedTuple):
    """Send these records.

    attempt: 1 for the first; higher ones wait for their backoff first. request_no: which of their requests, from 0.
    """

    records: Records
    attempt: int
    request_no: int = 0


class LookUp(NamedTuple):
    """Look these up. again: the number of this repetition, 0 for the first look-up. A repetition waits first."""

    records: Records
    why: LookUpReason
    again: int = 0


Step = Send | LookUp

Found = Mapping[str, Presence]
"""The ids of a look-up that exist."""


class Evidence(NamedTuple):
    """What a look-up shows about ids.

    found: those that exist.
    proven: whether a look-up has found an account, and no control has failed since. If not, "gone" is no proof.
    unproven: ids that may exist although this response lacks them (`core.absence`).
    misread: the unproven ids that the server may misread in the request of the action, too.
    """

    found: Found
    proven: bool
    unproven: Collection[str] = ()
    misread: Collection[str] = ()

    @property
    def blind(self) -> bool:
        """Whether no look-up has found any account, so that an empty response is no proof."""
        return not self.found and not self.proven


class ChunkRules(ABC):
    """What follows from a response and from a look-up. Each method pushes, settles or leaves the sub-chunk."""

    @abstractmethod
    def chunk_refused(self, state: ChunkState, sub_chunk: SubChunk, decision: Decision) -> None:
        """Take in a refusal of the whole sub-chunk: LOOK_UP or SPLIT. `sub_chunk` has its detail already."""

    @abstractmethod
    def id_refused(self, state: ChunkState, sub_chunk: SubChunk) -> None:
        """Take in a refusal of each id by itself: it was alone in its request, or the answer names it."""

    @abstractmethod
    def retry(self, state: ChunkState, sub_chunk: SubChunk, *, free: bool) -> None:
        """Take in no response, or one without a clear answer. free: it does not count as an attempt."""

    @abstractmethod
    def looked_up(self, state: ChunkState, sub_chunk: SubChunk, why: LookUpReason, evidence: Evidence) -> None:
        """Take in which of the ids exist."""

    def reason_of(self, records: Records) -> str | None:  # noqa: ARG002 - of ids nothing is noted
        """The reason that is noted of records that are done; None for none."""
        return None


@dataclass(slots=True)
class ChunkState:
    """The state machine of one chunk.

    rules: what follows. groups: the records, cut into groups that are settled one by one; () for all at once.
    look_first: look every id up before it is sent, so that outcomes are observed and not inferred.
    can_look_up: whether the job has look-ups. If not, each look-up is reported with every id unproven.
    old_doubt: the records are in doubt for so long that a look-up cannot lag behind the request of that session any
        more.
    requests: how many were sent.
    settled: outcomes so far.
    spared: records that are never sent, because they are protected.
    left: sub-chunks that get no outcome in this pass.
    contradicted: how many ids in `left` have look-ups that contradict the API, perhaps because they lag.
    had_no_clear_response: whether a request of this session got none.
    halt: why the run must halt. to_check: as of `all_refused`.
    after_s: how many seconds the server asked to wait before the next attempt.
    """

    chunk: Chunk
    rules: ChunkRules
    groups: Sequence[Records] = ()
    look_first: bool = False
    can_look_up: bool = True
    old_doubt: bool = False
    to_check: str = TO_CHECK
    requests: int = 0
    settled: list[Settled] = field(default_factory=list)
    spared: list[Record] = field(default_factory=list)
    left: list[SubChunk] = field(default_factory=list)
    contradicted: int = 0
    had_no_clear_response: bool = False
    halt: str | None = None
    after_s: float = 0.0
    _stack: list[tuple[SubChunk, LookUpReason | None]] = field(default_factory=list)
    _decided: list[Settled] = field(default_factory=list)  # outcomes, and what was left refused, in their order
    _perhaps_partly_done: bool = False  # whether a request of this session may have been applied

    def __post_init__(self) -> None:
        if self.protected and not self.in_doubt:
            self.spare(self.chunk.records)
            return
        why = LookUpReason.IN_DOUBT if self.in_doubt else LookUpReason.FIRST if self.look_first else None
        for records in reversed(self.groups or [self.chunk.records]):
            self.push(SubChunk(records, maybe_applied=self.in_doubt, touched=self.in_doubt), why)

    @property
    def in_doubt(self) -> bool:
        """Whether an earlier session sent these without a response. They are looked up before they are sent."""
        return self.chunk.doubt is not None

    @property
    def protected(self) -> bool:
        """Whether these must not be sent. If they are in doubt, they were sent before they were excluded.

        Then they are looked up, and not sent again.
        """
        return self.chunk.protected

    @property
    def due(self) -> SubChunk:
        """The sub-chunk of the step that is due."""
        return self._stack[-1][0]

    def next_step(self) -> Step | None:
        """The next step; None when every record is settled or left, or when the run must halt."""
        if self.halt is not None or not self._stack:
            return None
        sub_chunk, why = self._stack[-1]
        if why is None:
            return Send(sub_chunk.records, sub_chunk.attempts + 1, sub_chunk.request_no)
        return LookUp(sub_chunk.records, why, sub_chunk.again if why in REPEATED else 0)

    def replied(self, decision: Decision, takes: int = 1) -> None:
        """Take in the decision on the `Send` that was due. takes: how many requests its records take in all."""
        sub_chunk, _ = self._stack.pop()
        self.requests += 1
        # A request for several records may have been carried out for some of them before it was refused.
        refused = decision.next_step in {NextStep.LOOK_UP, NextStep.SPLIT} and len(sub_chunk.records) > 1
        self._perhaps_partly_done = self._perhaps_partly_done or decision.maybe_applied or refused
        unclear = decision.maybe_applied and decision.next_step is NextStep.RETRY
        self.had_no_clear_response = self.had_no_clear_response or unclear
        self.after_s = decision.after_s or 0.0
        if decision.next_step is NextStep.SETTLED:
            self._done(sub_chunk, sub_chunk.records, decision.detail, takes)
        elif decision.next_step is NextStep.PER_ID:
            self._answered(sub_chunk, decision, takes)
        else:
            sub_chunk = sub_chunk._replace(
                maybe_applied=sub_chunk.maybe_applied or decision.maybe_applied,
                touched=sub_chunk.touched or not decision.untouched,
                just_found=sub_chunk.just_found and not decision.maybe_applied,
            ).answered(decision.detail)
            match decision.next_step:
                case NextStep.RETRY:
                    self.rules.retry(self, sub_chunk, free=decision.free)
                case NextStep.LOOK_UP | NextStep.SPLIT:
                    self.rules.chunk_refused(self, sub_chunk, decision)
                case _:
                    # Only HALT gets here: the client and `ChunkInHand.send` deal with the others. Halting is always
                    # safe.
                    self.push(sub_chunk)
                    self.halt = decision.reason or decision.next_step.value
        self._halt_if_all_refused()

    def looked_up(self, evidence: Evidence | None) -> None:
        """Take in the result of the `LookUp` that was due; None when the look-up failed."""
        sub_chunk, why = self._stack.pop()
        if evidence is None:
            self.leave(without_look_up(sub_chunk, why))
            return
        assert why is not None, "a look-up was due"
        self.rules.looked_up(self, sub_chunk, why, evidence)
        self._halt_if_all_refused()

    def give_up(self) -> None:
        """Leave the records of the step that was due to a later pass or to the next run."""
        self.leave(without_look_up(*self._stack.pop()))

    def renew_look_up(self) -> bool:
        """Put a look-up before the `Send` that was due, because the latest one is too old.

        False when it was renewed before: at a very low rate every look-up is too old when its request may leave. Then
        the records are left.
        """
        sub_chunk, _ = self._stack.pop()
        if sub_chunk.renewed == RENEWALS_MAX:
            self.leave(sub_chunk)
            return False
        why = LookUpReason.IN_DOUBT if sub_chunk.maybe_applied else LookUpReason.FIRST
        # An id that is gone before any request reached the server was not deleted by this run.
        was_outside = sub_chunk.was_outside and sub_chunk.touched
        again = sub_chunk._replace(renewed=sub_chunk.renewed + 1, was_outside=was_outside, again=0)
        self.push(again, why)
        return True

    def touch(self) -> None:
        """Note that the request that was due was sent, and that this session does not wait for its response."""
        if self._stack:
            sub_chunk, why = self._stack.pop()
            self.push(sub_chunk._replace(maybe_applied=True, touched=True), why)

    def end(self) -> tuple[Ranges, Ranges]:
        """Give up the rows without an outcome. Returns (ranges provably not touched by the server, ranges in doubt).

        The refusals of an unfinished chunk are given up, too. If the whole chunk turns out to be refused with one code,
        the cause is not the ids. An id with a recorded refusal would never be sent again.
        """
        sub_chunks = [*self.left, *(without_look_up(sub_chunk, why) for sub_chunk, why in self._stack)]
        if self._stack:
            sub_chunks += self._taken_back(touched=True)
        self.left, self._stack = [], []
        untouched = [record for sub_chunk in sub_chunks if not sub_chunk.touched for record in sub_chunk.records]
        doubtful = [record for sub_chunk in sub_chunks if sub_chunk.touched for record in sub_chunk.records]
        return Records.of(sorted(untouched)).ranges, Records.of(sorted(doubtful)).ranges

    # What the rules do with a sub-chunk

    def push(self, sub_chunk: SubChunk, why: LookUpReason | None = None) -> None:
        """Send the sub-chunk next, or look it up for this reason."""
        self._stack.append((sub_chunk, why))

    def look_up_again(self, sub_chunk: SubChunk, why: LookUpReason) -> None:
        """Repeat a look-up that may have lagged."""
        self.push(sub_chunk._replace(again=sub_chunk.again + 1), why)

    def settle(
        self,
        kind: Kind,
        sub_chunk: SubChunk,
        records: Records,
        *,
        detail: Detail = NOTHING_SAID,
        reason: str | None = None,
    ) -> None:
        """Give these records of the sub-chunk their outcome."""
        if records:
            self.settled.append(Settled(kind, records, detail, reason, sub_chunk.attempts + 1))
            self._decided.append(self.settled[-1])

    def settle_refused(self, sub_chunk: SubChunk) -> None:
        """Settle the sub-chunk as refused, with what the API said."""
        self.settle("refused", sub_chunk, sub_chunk.records, detail=sub_chunk.detail)

    def leave_refused(self, sub_chunk: SubChunk) -> None:
        """Leave these until no look-up can lag. For the halt they count as refused."""
        self.leave_until_lag_over(sub_chunk)
        self._decided.append(Settled("refused", sub_chunk.records, sub_chunk.detail))

    def settle_reached(self, sub_chunk: SubChunk, reached: Records, detail: Detail = NOTHING_SAID) -> None:
        """Settle ids in the target state."""
        if sub_chunk.may_be_ours:
            self.settle("done", sub_chunk, reached, detail=detail)
        else:
            self.settle("already", sub_chunk, reached, detail=detail, reason=sub_chunk.reason_if_not_ours)

    def spare(self, records: Iterable[Record]) -> None:
        """Never send these records, because they are protected."""
        self.spared += records

    def leave(self, sub_chunk: SubChunk) -> None:
        """Leave records to a later pass or to the next run."""
        self.left.append(sub_chunk)

    def leave_until_lag_over(self, sub_chunk: SubChunk) -> None:
        """Leave records until no look-up can lag behind their requests."""
        self.contradicted += len(sub_chunk.records)
        self.leave(sub_chunk)

    def split(self, sub_chunk: SubChunk) -> None:
        """Send both halves; refuse a single record."""
        if len(sub_chunk.records) == 1:
            self.rules.id_refused(self, sub_chunk)
        else:
            first, second = sub_chunk.records.halves
            # The first half is pushed last, so it is sent first: outcomes follow the order of the export.
            self.push(sub_chunk._replace(records=second, attempts=0, just_found=False))
            self.push(sub_chunk._replace(records=first, attempts=0, just_found=False))

    def send_again(self, sub_chunk: SubChunk, *, free: bool) -> None:
        """Send again after no response, or one without a clear answer, until the attempts run out."""
        sub_chunk = sub_chunk._replace(attempts=sub_chunk.attempts + (not free))
        if sends_again(sub_chunk.attempts):
            self.push(sub_chunk)
        elif sub_chunk.touched:
            self.push(sub_chunk, LookUpReason.EXHAUSTED)
        else:
            self.leave(sub_chunk)

    @property
    def lag_is_over(self) -> bool:
        """Whether no look-up can lag behind a request that may have been applied."""
        return self.old_doubt and not self._perhaps_partly_done

    @property
    def too_early(self) -> bool:
        """Whether it is too early to refuse an id: the look-up that finds it may lag behind a request for it.

        A request of an earlier session counts, and a request without a response. A request of this session with an
        unclear response does not count: the next response would be the same.
        """
        return self.had_no_clear_response or not self.old_doubt

    def _done(self, sub_chunk: SubChunk, records: Records, detail: Detail, takes: int) -> None:
        """Settle records whose request was accepted, or send the next of their requests."""
        if sub_chunk.request_no + 1 < takes:
            rest = sub_chunk._replace(records=records, request_no=sub_chunk.request_no + 1, attempts=0)
            self.push(rest._replace(maybe_applied=True, touched=True))
        else:
            self.settle("done", sub_chunk, records, detail=detail, reason=self.rules.reason_of(records))

    def _answered(self, sub_chunk: SubChunk, decision: Decision, takes: int) -> None:
        """Take in an answer about each id (`decision_per_id`). Consecutive ids with one answer stay together."""
        answers: dict[str, IdAnswer] = {answer.id: answer for answer in decision.data}
        for (verdict, detail), group in groupby(sub_chunk.records, lambda record: answers[record.id][1:]):
            part = sub_chunk._replace(records=Records.of(group)).answered(detail)
            match verdict:
                case Verdict.SETTLED:
                    self._done(part, part.records, detail, takes)
                case Verdict.ALREADY if part.request_no + 1 < takes:
                    self.push(part._replace(request_no=part.request_no + 1, attempts=0, touched=True))
                case Verdict.ALREADY:
                    self.settle_reached(part.without_effect(), part.records, detail)
                case Verdict.REFUSED:
                    self.rules.id_refused(self, part)
                case Verdict.ABSENT:
                    self.push(part.without_effect()._replace(touched=True), LookUpReason.CALLED_ABSENT)
                case Verdict.AGAIN:
                    self.rules.retry(self, part, free=decision.free)
                case _:
                    self._perhaps_partly_done = self.had_no_clear_response = True
                    self.rules.retry(self, part._replace(maybe_applied=True, touched=True), free=decision.free)

    def _halt_if_all_refused(self) -> None:
        """Halt when ids in a row were refused with one code: the cause is not the ids. They get no outcome."""
        row: list[Settled] = []
        for part in self._decided:
            if part.by_the_api:
                if row and row[0].detail.refusal != part.detail.refusal:
                    row.clear()
                row.append(part)
            elif part.kind != "refused":  # a row that was refused without a request says nothing about the requests
                row.clear()
            if size(row) >= ALL_REFUSED_MIN and self.halt is None:
                self.halt = all_refused(row, self.to_check)
        if self.halt is not None:
            # Without look-ups they are released: a row in doubt that the user then excludes could never be settled.
            self.left += self._taken_back(touched=self.can_look_up)

    def _taken_back(self, *, touched: bool) -> list[SubChunk]:
        """Take the refusals of the API back. Returns their records."""
        refused = [part for part in self.settled if part.by_the_api]
        self.settled = [part for part in self.settled if not part.by_the_api]
        return [SubChunk(part.records, touched=touched) for part in refused]
