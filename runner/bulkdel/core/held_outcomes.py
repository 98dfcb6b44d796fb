"""Outcomes that are held back until it is clear that the ids are their cause, and not the request. Pure.

Two results may mean that every request is wrong (its path, its key, its id type):

- Ids that are refused with one code, one after the other. They are held until another id is settled. Enough of them in
  a row halt the run.
- Ids that an API calls absent, while no look-up proves it. A wrong path gives the same answer (404). They are held
  until one id is done. Enough of them before any id is done halt the run, and so does too large a share of absent ids
  later.

Ids that are still held when the run halts have no outcome in the log, so a later session asks for them again.
"""

from __future__ import annotations

from collections.abc import Sequence

from bulkdel.core.halt_limits import ABSENT_FIRST, ABSENT_SHARE_AFTER, ALL_REFUSED_MIN
from bulkdel.core.outcome import TAKEN, Settled

LEAVE_OUT = "Leave ids out (--exclude) only when the fault is theirs"

TO_CHECK = f"Check the request first. {LEAVE_OUT}"

WRONG_REQUEST = "Is it the right host, path, id type and column? If these ids really do not exist, give --allow-absent"


class HeldOutcomes:
    """The outcomes of a run that are held back. halt: why the run must halt; None while it may go on."""

    def __init__(
        self,
        *,
        absent_counts: bool = True,
        absent_allowed: bool = False,
        done: int = 0,
        absent: int = 0,
        to_check: str = TO_CHECK,
    ) -> None:
        """absent_counts: absent ids need no proof: they were looked up, or --allow-absent (absent_allowed) was given.

        done: ids that earlier sessions of the run have brought into the target state. absent: ids without an account.
        to_check: see `all_refused`.
        """
        self._to_check = to_check
        self._absent_counts = absent_counts
        self._absent_allowed = absent_allowed
        self._done = done
        self._absent = absent
        self._refused_parts: list[Settled] = []
        self._absent_parts: list[Settled] = []
        self.halt: str | None = None

    def take(self, settled: Sequence[Settled], *, controlled: bool = True) -> list[Settled]:
        """Take outcomes, in the order in which they were decided. Returns those that may be written now.

        controlled: whether look-ups have a control now. If not, an absent id that is `unproven` needs a proof.
        """
        ready: list[Settled] = []
        for part in settled:
            if part.reason == TAKEN:  # the API was not asked
                ready.append(part)
                continue
            if part.kind == "refused":
                ready += self._refused(part)
                continue
            ready += self._let_go(self._refused_parts)
            doubtful = not controlled and part.reason is not None and not self._absent_allowed
            if part.kind == "absent" and (doubtful or not self._absent_counts):
                ready += self._unproven(part)
            else:
                if part.kind in {"done", "already"}:
                    self._done += len(part.records)
                    ready += self._let_go(self._absent_parts)
                ready.append(part)
        return ready

    def end(self) -> tuple[list[Settled], list[Settled]]:
        """End a pass, and hold nothing any more. Returns (refusals to write, ids that get no outcome).

        No outcome: ids that were called absent without a proof and, after a halt, refused ids.
        """
        refused, absent = self._refused_parts, self._absent_parts
        self._refused_parts, self._absent_parts = [], []
        return ([], [*refused, *absent]) if self.halt is not None else (refused, absent)

    def _refused(self, part: Settled) -> list[Settled]:
        ready: list[Settled] = []
        if self._refused_parts and self._refused_parts[0].detail.refusal != part.detail.refusal:
            ready = self._let_go(self._refused_parts)
        self._refused_parts.append(part)
        if size(self._refused_parts) >= ALL_REFUSED_MIN:
            self.halt = self.halt or all_refused(self._refused_parts, self._to_check)
        return ready

    def _unproven(self, part: Settled) -> list[Settled]:
        self._absent += len(part.records)
        if not self._done:
            self._absent_parts.append(part)
            if size(self._absent_parts) >= ABSENT_FIRST:
                self.halt = self.halt or all_absent(self._absent_parts)
            return []
        settled = self._done + self._absent
        if settled >= ABSENT_SHARE_AFTER and 2 * self._absent > settled:
            self._absent_parts.append(part)
            share = f"{self._absent:,} of {settled:,} ids are absent by the answers alone"
            why = f"{share} ({part.detail}). {WRONG_REQUEST}"
            self.halt = self.halt or why
            return []
        return [part]

    def _let_go(self, held: list[Settled]) -> list[Settled]:
        """What was held; nothing after a halt."""
        if self.halt is not None:
            return []
        ready = held.copy()
        held.clear()
        return ready


def all_absent(absent: Sequence[Settled]) -> str:
    """Why a run halts after every id was called absent and none was done."""
    return f"all of {size(absent):,} ids are absent by the answers alone ({absent[-1].detail}). {WRONG_REQUEST}"


def size(parts: Sequence[Settled]) -> int:
    """How many ids these outcomes are of."""
    return sum(len(part.records) for part in parts)


def all_refused(parts: Sequence[Settled], to_check: str = TO_CHECK) -> str:
    """Why a run halts after these refusals in a row. It names rows and not ids: the log of a run holds it.

    to_check: a cause that is more likely than the ids, a reason for it, and how to go on without the ids.
    """
    positions = [position for part in parts for position in part.records.positions]
    return (
        f"{len(positions)} ids in a row were refused with one code ({parts[-1].detail}), and none was accepted between "
        f"them. They are rows {min(positions):,} to {max(positions):,} of the export, counted from 0. That is rarely "
        f"because of the ids. {to_check}"
    )
