"""What the chunks of a session have counted. Nothing but its own methods changes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bulkdel.core.id_type import IdSet
from bulkdel.core.look_up_lag import LAG_MAX_S, LAG_VAIN_MAX
from bulkdel.core.outcome import Settled

CODES_MAX = 50
"""Different codes of refusals that are counted apart."""


@dataclass(slots=True)
class Tally:
    """What the chunks of a session have counted.

    settled, refused: rows, for --max-refused. protected: rows that were not sent, because the looked-up account is one
        to keep.
    spared: rows that were not sent because of a guard, or because the pool keeps this administrator.
    unproven: rows that this pass left, because a look-up did not find them but does not prove their absence.
    contradicted: rows that this pass left, because look-ups may lag: the API calls an id unknown that they find, or a
        key taken that they do not find, or they find a deleted account under its old id.
    lag_s: for how long look-ups may lag behind the requests for these rows: LAG_MAX_S, or longer where a clock was set
        back.
    refused_codes: refused rows by the code of the response, for the progress; at most CODES_MAX codes.
    uncertain: the latest reason, other than a failed request, for which a chunk was left: a look-up returned accounts
        that it was not asked for, an answer per id settled only some of its ids, a look-up was too old for the guards.
    succeeded: whether a request was ever accepted. own: ids of the key's own user, as the tokens named them.
    """

    own: IdSet
    succeeded: bool
    settled: int = 0
    refused: int = 0
    protected: int = 0
    spared: int = 0
    unproven: int = 0
    contradicted: int = 0
    lag_s: float = LAG_MAX_S
    uncertain: str = ""
    refused_codes: Counter[str] = field(default_factory=Counter)
    _lags_in_vain: int = 0  # chunks in a row for which waiting for a lagging look-up changed nothing

    @property
    def not_sent(self) -> int:
        """How many rows a look-up has kept from being sent."""
        return self.protected + self.spared

    @property
    def waits_for_lag(self) -> bool:
        """Whether waiting for a lagging look-up may change anything."""
        return self._lags_in_vain < LAG_VAIN_MAX

    def begin_pass(self) -> None:
        """Forget what the pass before has left."""
        self.unproven = self.contradicted = 0

    def add(self, settled: Sequence[Settled]) -> None:
        """Count outcomes."""
        for part in settled:
            self.settled += len(part.records)
            if part.kind == "refused":
                self.refused += len(part.records)
                self._count_code(part)

    def exclude(self, *, spared: int = 0, protected: int = 0) -> None:
        """Count rows that a look-up keeps from being sent."""
        self.spared += spared
        self.protected += protected

    def leave(self, *, unproven: int = 0, contradicted: int = 0, lag_s: float = 0) -> None:
        """Count rows that this pass leaves."""
        self.unproven += unproven
        self.contradicted += contradicted
        self.lag_s = max(self.lag_s, lag_s)

    def note_uncertain(self, why: str) -> None:
        """Note why a chunk is left; an empty text says nothing."""
        self.uncertain = why or self.uncertain

    def note_accepted(self) -> None:
        """Note that a request was accepted."""
        self.succeeded = True

    def note_wait(self, *, lagged: bool, last: bool) -> None:
        """Note a repeated look-up. lagged: it shows what the one before did not. last: it is not repeated again."""
        if lagged:
            self._lags_in_vain = 0
        elif last:
            self._lags_in_vain += 1

    def _count_code(self, part: Settled) -> None:
        """Count refused rows by the code of their refusal: only numbers, because a text may quote an id."""
        values = (part.detail.code, *(value for _, value in part.detail.extra))
        numbers, codes = [str(value) for value in values if isinstance(value, int)], self.refused_codes
        code = "/".join(numbers) or "no code"
        codes[code if code in codes or len(codes) < CODES_MAX else "others"] += len(part.records)


def counts_of(settled: Sequence[Settled]) -> dict[str, int]:
    """How many rows have each outcome."""
    counts: dict[str, int] = {}
    for part in settled:
        counts[part.kind] = counts.get(part.kind, 0) + len(part.records)
    return counts
