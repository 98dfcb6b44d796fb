"""One chunk from its first request to its outcomes, as a state machine. Owns what follows from a verdict or a look-up.

It holds a stack of pieces; the top one says what to do next. The engine asks `next_step`, does it, and reports back
with `replied` or `looked_up`, until no step is left. Nothing here waits or sends, so every path is a value in a test.

    Send ── settled ─────────────────────────────→ deleted
      ├─ retry ── attempts left ─────────────────→ Send again (tainted, if the request may have had effect)
      │           none left ─────────────────────→ LookUp: gone → as below · there → left for a later pass
      ├─ look up (an id is unknown) ─────────────→ LookUp: there → Send those · gone → absent, or deleted if tainted
      │           and was found a moment before ─→ LookUp again, later: gone → as above · there → split; a single id
      │                                            → left for a later pass, or refused if no request had effect on it
      ├─ look up (success is not true) ──────────→ LookUp: gone → deleted · there → split; a single id → LookUp again,
      │                                            later; then refused
      └─ split ──────────────────────────────────→ two halves; a single id → refused
    LookUp first (--look-first, --backup) ───────→ there → Send those · gone → absent
    LookUp that could not have found an id ──────→ unknown id: split, alone absent (unproven) · else in doubt
    LookUp that fails ───────────────────────────→ in doubt: no outcome, the next run looks first
    LookUp that finds a protected record ────────→ spared, never sent
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bulkdel.core.account_match import Presence
from bulkdel.core.decision import Decision, NextStep
from bulkdel.core.outcome import NOTHING_SAID, Detail, Kind, Settled
from bulkdel.core.ranges import Ranges
from bulkdel.core.record import Chunk, Record, halves, positions_of
from bulkdel.core.retry import ALL_REFUSED_MIN, ATTEMPTS_MAX, LOOKS_AGAIN_MAX


class Why(enum.Enum):
    """Why ids are looked up: it decides what finding them means."""

    UNKNOWN_ID = "an id is unknown"
    LAGGING = "an id is unknown that a look-up has just found"
    UNSURE = "success is not true"
    EXHAUSTED = "attempts ran out"
    IN_DOUBT = "sent by a run that did not see the answer"
    FIRST = "before anything is sent"


REFUSED_AS_UNKNOWN = frozenset({Why.UNKNOWN_ID, Why.LAGGING})
MAY_LAG = frozenset({Why.UNSURE, Why.LAGGING, Why.IN_DOUBT})
"""Reasons for which a look-up that finds an id is repeated: it may lag behind the request."""


class SubChunk(NamedTuple):
    """Records that share a history.

    tainted: a request for them may have had effect unseen; an id found gone was then deleted by us.
    touched: a request reached the server and was not provably without effect; it cannot be released any more.
    attempts: requests whose reply was lost, in a row.
    known: a look-up has just said that every one of them exists.
    seen: a look-up has said so before a request: who is gone after it is gone because of it.
    shared: a request for them and others was refused because of an unknown id: the known ones may be deleted.
    again: look-ups so far that repeat one because it may have lagged.
    """

    records: Sequence[Record]
    tainted: bool = False
    touched: bool = False
    attempts: int = 0
    known: bool = False
    seen: bool = False
    shared: bool = False
    again: int = 0
    detail: Detail = NOTHING_SAID


class Send(NamedTuple):
    """Send these records. attempt: 1 for the first request; higher ones wait for their backoff first."""

    records: Sequence[Record]
    attempt: int


class LookUp(NamedTuple):
    """Ask which of these exist. again: the number of this repetition; 0 for the first. Repetitions wait first."""

    records: Sequence[Record]
    why: Why
    again: int = 0


Step = Send | LookUp

Found = Mapping[str, Presence]
"""Answer to a look-up: the asked ids that exist."""


@dataclass(slots=True)
class ChunkState:
    """The state machine of one chunk. See the module's picture.

    in_doubt: an earlier session sent these without seeing the answer: look first, send later.
    resend_unproven: in doubt, and no look-up can be trusted: send again (true where an id is never used twice).
    look_first: ask who is there before anything is sent, so that `deleted` and `absent` are seen and not inferred.
    protected: in doubt, and never to be sent again: who is still there is spared.
    lag_over: in doubt for so long that a look-up cannot lag behind the request any more.
    settled: outcomes so far. spared: records that are never sent, because they are protected. left: pieces that get
    none in this pass. contradicted: records among them that are refused as unknown, and found.
    halt: why the run must stop.
    after_s: how long the server wished to be left alone before the next attempt, seconds.
    """

    chunk: Chunk
    in_doubt: bool = False
    resend_unproven: bool = False
    look_first: bool = False
    protected: bool = False
    lag_over: bool = False
    attempts_max: int = ATTEMPTS_MAX
    requests: int = 0
    settled: list[Settled] = field(default_factory=list)
    spared: list[Record] = field(default_factory=list)
    left: list[SubChunk] = field(default_factory=list)
    contradicted: int = 0
    halt: str | None = None
    after_s: float = 0.0
    _stack: list[tuple[SubChunk, Why | None]] = field(default_factory=list)
    _absent: list[int] = field(default_factory=list)  # where in `settled`: of a refused chunk of which some were found

    def __post_init__(self) -> None:
        start = SubChunk(self.chunk, tainted=self.in_doubt, touched=self.in_doubt)
        self._stack.append((start, Why.IN_DOUBT if self.in_doubt else Why.FIRST if self.look_first else None))

    def next_step(self) -> Step | None:
        """What to do now; None when every record is settled or left, or when the run must halt."""
        if self.halt is not None or not self._stack:
            return None
        piece, why = self._stack[-1]
        if why is None:
            return Send(piece.records, piece.attempts + 1)
        return LookUp(piece.records, why, piece.again if why in MAY_LAG else 0)

    def replied(self, decision: Decision) -> None:
        """Take in the verdict on the `Send` that was due."""
        piece, _ = self._stack.pop()
        self.requests += 1
        self.after_s = decision.after_s or 0.0
        if decision.next_step is NextStep.SETTLED:
            self._settle("deleted", piece, piece.records, detail=decision.detail)
            self._halt_if_all_refused()
            return
        piece = piece._replace(
            tainted=piece.tainted or decision.tainting,
            touched=piece.touched or not decision.untouched,
            known=piece.known and not decision.tainting,
            detail=decision.detail,
        )
        match decision.next_step:
            case NextStep.RETRY:
                self._retry(piece._replace(attempts=piece.attempts + (not decision.free)))
            case NextStep.LOOK_UP if decision.tainting:
                self._stack.append((piece, Why.UNSURE))
            case NextStep.LOOK_UP:
                self._unknown_id(piece._replace(shared=piece.shared or len(piece.records) > 1))
            case NextStep.SPLIT:
                self._split(piece)
            case _:
                # Only HALT gets here: whoever sends deals with the rest. If one did, stopping is the safe reading.
                self._stack.append((piece, None))
                self.halt = decision.reason or decision.next_step.value
        self._halt_if_all_refused()

    def looked_up(self, found: Found | None, *, proven: bool, unproven: Collection[str] = ()) -> None:
        """Take in the answer to the `LookUp` that was due.

        found: the ids that exist; None when the look-up failed.
        proven: whether this session's look-ups have ever found an existing account; if not, "gone" is no proof.
        unproven: ids whose absence from this answer proves nothing, whatever else was found (`core.absence`).
        """
        piece, why = self._stack.pop()
        if found is None:
            self.left.append(piece)
            return
        blind = not found and not proven
        kept: list[Record] = []
        there: list[Record] = []
        gone: list[Record] = []
        unsure: list[Record] = []
        for record in piece.records:
            if (presence := found.get(record.id)) is Presence.PROTECTED:
                kept.append(record)
            elif presence is not None:
                there.append(record)
            else:
                (unsure if blind or record.id in unproven else gone).append(record)
        self._gone(piece, why, gone, all_gone=not found)
        self._spare(piece, kept)
        if there:
            # Seen first and refused as unknown all the same: somebody else was faster, so one more look is worth it.
            again = piece._replace(records=there, attempts=0, known=why is not Why.FIRST, seen=True)
            self._there(again, why, found)
        if len(unsure) == len(piece.records):
            self._unproven(piece, why)
        elif unsure and why in REFUSED_AS_UNKNOWN:
            self._stack.append((piece._replace(records=unsure, attempts=0), None))  # refused because of others, perhaps
        elif unsure:
            self._unproven(piece._replace(records=unsure, attempts=0), why)
        self._halt_if_all_refused()

    @property
    def tainted(self) -> bool:
        """Whether an earlier request for what the step that is due is about may have had effect."""
        return bool(self._stack) and self._stack[-1][0].tainted

    def give_up(self) -> None:
        """Leave what the step that was due is about: a later pass, or the next run, settles it."""
        piece, _ = self._stack.pop()
        self.left.append(piece)

    def touch(self) -> None:
        """A request for the step that was due is on the wire, and nobody will wait for its answer."""
        if self._stack:
            piece, why = self._stack.pop()
            self._stack.append((piece._replace(tainted=True, touched=True), why))

    def leave(self) -> tuple[Ranges, Ranges]:
        """Give up what has no outcome: (ranges the server provably did not touch, ranges in doubt).

        Refusals of a chunk that was not finished are given up too: had it been, every id might have been refused with
        one code, which says that it is not the ids; and a refusal that is recorded is never sent again.
        """
        if not self.left and not self._stack:
            return (), ()
        pieces = [*self.left, *(piece for piece, _ in self._stack)]
        if self._stack:
            refused = [part for part in self.settled if part.kind == "refused"]
            self.settled = [part for part in self.settled if part.kind != "refused"]
            pieces += [SubChunk(part.records, tainted=True, touched=True) for part in refused]
        self.left, self._stack = [], []
        untouched = [record for piece in pieces if not piece.touched for record in piece.records]
        doubtful = [record for piece in pieces if piece.touched for record in piece.records]
        return positions_of(sorted(untouched)), positions_of(sorted(doubtful))

    def _settle(
        self,
        kind: Kind,
        piece: SubChunk,
        records: Sequence[Record],
        *,
        detail: Detail = NOTHING_SAID,
        reason: str | None = None,
    ) -> None:
        if records:
            attempts = max(1, piece.attempts + 1)
            self.settled.append(Settled(kind, records, detail, reason, attempts))

    def _retry(self, piece: SubChunk) -> None:
        if piece.attempts < self.attempts_max:
            self._stack.append((piece, None))
        elif piece.touched:
            self._stack.append((piece, Why.EXHAUSTED))
        else:
            self.left.append(piece)

    def _split(self, piece: SubChunk) -> None:
        if len(piece.records) == 1:
            self._settle("refused", piece, piece.records, detail=piece.detail)
        else:
            first, second = halves(piece.records)
            # The first half ends up on top, so that outcomes come in the order of the export.
            self._stack.append((piece._replace(records=second, attempts=0, known=False), None))
            self._stack.append((piece._replace(records=first, attempts=0, known=False), None))

    def _unknown_id(self, piece: SubChunk) -> None:
        """The API says that one of these ids is unknown."""
        if piece.known:
            self._contradict(piece)
        else:
            self._stack.append((piece, Why.UNKNOWN_ID))

    def _contradict(self, piece: SubChunk) -> None:
        """Refused as unknown, and found by a look-up: it may lag behind a request that had effect. So look again.

        Without such a request it is the API that does not take the id as it stands, and that is a refusal.
        """
        may_lag = piece.tainted or piece.shared
        if may_lag and piece.again < LOOKS_AGAIN_MAX:
            self._stack.append((piece._replace(again=piece.again + 1), Why.LAGGING))
        elif may_lag and not self.lag_over and len(piece.records) == 1:
            self.contradicted += 1
            self.left.append(piece)
        else:
            self._split(piece)

    def _gone(self, piece: SubChunk, why: Why | None, gone: Sequence[Record], *, all_gone: bool) -> None:
        if why is Why.LAGGING and gone and not piece.tainted:
            # These were found only because the look-up lagged. So none may have been left of the refused chunk either.
            for at in self._absent:
                self.settled[at] = self.settled[at]._replace(reason="unproven")
            self._absent.clear()
        if piece.tainted or piece.seen:
            self._settle("deleted", piece, gone)
        else:
            # None left of a refused chunk: the API may have deleted the known ones first, so `absent` claims too much.
            unproven = why is Why.UNKNOWN_ID and all_gone
            if why is Why.UNKNOWN_ID and gone and not all_gone:
                self._absent.append(len(self.settled))
            self._settle("absent", piece, gone, reason="unproven" if unproven else None)

    def _there(self, rest: SubChunk, why: Why | None, found: Found) -> None:
        match why:
            case Why.UNSURE if len(rest.records) == 1 and rest.again < LOOKS_AGAIN_MAX:
                self._stack.append((rest._replace(again=rest.again + 1), Why.UNSURE))
            case Why.UNSURE:
                self._split(rest)
            case Why.EXHAUSTED:
                self.left.append(rest)
            case Why.LAGGING:
                self._contradict(rest)
            case Why.IN_DOUBT:
                self._resend(rest, found)
            case _:
                self._stack.append((rest, None))

    def _unproven(self, piece: SubChunk, why: Why | None) -> None:
        """None of these was found, and nothing has shown that this look-up could have found them."""
        if why in REFUSED_AS_UNKNOWN and len(piece.records) > 1:
            self._split(piece)
        elif why in REFUSED_AS_UNKNOWN:
            # The API itself said of this one id that it is unknown: a second witness. A deletion's body splits no id.
            kind: Kind = "deleted" if piece.tainted or piece.seen else "absent"
            self._settle(kind, piece, piece.records, reason="unproven")
        elif why is Why.IN_DOUBT and self.resend_unproven:
            self._stack.append((piece, None))
        else:
            self.left.append(piece)

    def _spare(self, piece: SubChunk, kept: list[Record]) -> None:
        """These are protected, and there. Those in doubt are looked up again first: the look-up may lag behind."""
        if kept and piece.tainted and not self.lag_over and piece.again < LOOKS_AGAIN_MAX:
            self._stack.append((piece._replace(records=tuple(kept), again=piece.again + 1), Why.IN_DOUBT))
        else:
            self.spared += kept

    def _resend(self, piece: SubChunk, found: Found) -> None:
        """In doubt and present: is it the account that was meant?"""
        by_presence: dict[Presence, list[Record]] = {presence: [] for presence in Presence}
        for record in piece.records:
            by_presence[found[record.id]].append(record)
        self._settle("deleted", piece, by_presence[Presence.NEW], reason="re-created")
        self._settle("unknown", piece, by_presence[Presence.UNDATED], reason="perhaps re-created")
        meant = by_presence[Presence.OLD]
        if self.protected:
            self._spare(piece, meant)
        elif meant:
            self._stack.append((piece._replace(records=meant), None))

    def _halt_if_all_refused(self) -> None:
        """A whole chunk refused id by id with one code: it is not the ids. Nothing is recorded, all stays in doubt."""
        if self._stack or self.left or self.spared or any(part.kind != "refused" for part in self.settled):
            return
        if len(self.chunk) >= ALL_REFUSED_MIN and len({part.detail.code for part in self.settled}) == 1:
            self.halt = f"all {len(self.chunk)} ids of a chunk were refused with one code ({self.settled[0].detail})"
            self.settled = []
            self.left = [SubChunk(self.chunk, tainted=True, touched=True)]
