"""The requested pace of a running session: the limits of the rate, and the pauses. Pure.

A change comes in as a value; `engine.control` carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from bulkdel.core.log_entries import Changed, ChangedBy, Value

BY_HAND = frozenset({ChangedBy.CTL, ChangedBy.PAGE, ChangedBy.LIBRARY})
"""Sources of a pause by hand. Any of them may end such a pause. Only the pause file ends its own pause."""

RATE_MIN, RATE_MAX = 0.001, 100_000.0
"""Requests a second. A rate of fewer than four an hour is a typing error, and a far lower one has no finite pause."""

OPTION = "rate"
"""The name of the limit that --rate sets. A change in its place has the name of its source."""


def may_be_set(rate: float) -> bool:
    """Whether a rate may be set; 0 is unlimited."""
    return rate == 0 or RATE_MIN <= rate <= RATE_MAX


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The limits of the rate, requests a second; 0 is unlimited. The smallest holds.

    option: --rate, or the latest change in its place. source: of that change; None for --rate.
    schedule: that of --schedule now; None without one.
    """

    option: float
    source: ChangedBy | None = None
    schedule: float | None = None

    @property
    def ceiling(self) -> float:
        """The smallest of them; 0 when there is no limit."""
        return min((limit for limit in (self.option, self.schedule) if limit), default=0.0)

    @property
    def binding(self) -> str:
        """The limit that holds; of two equal ones, the one that a person gave."""
        if self.schedule and self.ceiling < (self.option or float("inf")):
            return ChangedBy.SCHEDULE.value
        return self._option

    @property
    def named(self) -> dict[str, float]:
        """Every limit by its name."""
        return {
            self._option: self.option,
            **({} if self.schedule is None else {ChangedBy.SCHEDULE.value: self.schedule}),
        }

    @property
    def _option(self) -> str:
        return OPTION if self.source is None else self.source.value


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause that is in force. since: epoch seconds. user: who asked for it; None when a file did."""

    source: ChangedBy
    user: str | None
    since: float


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pauses in force. Nothing is sent while there is one.

    by_hand: of a person. by_file: of --pause-file. since: when the first of them began, epoch seconds.
    """

    by_hand: Pause | None = None
    by_file: Pause | None = None
    since: float | None = None

    @property
    def first(self) -> Pause | None:
        """The pause that people are told about; None when nothing is paused."""
        return self.by_hand or self.by_file

    def begun(self, pause: Pause) -> Pauses:
        """With this pause too. A second one of the same kind changes nothing."""
        since = pause.since if self.since is None else self.since
        if pause.source in BY_HAND:
            return replace(self, by_hand=self.by_hand or pause, since=since)
        return replace(self, by_file=self.by_file or pause, since=since)

    def ended(self, source: ChangedBy) -> Pauses:
        """Without the pause that this source may end."""
        left = replace(self, by_hand=None) if source in BY_HAND else replace(self, by_file=None)
        return left if left.first else Pauses()

    def kept_for_a_person(self) -> Pauses:
        """The pauses as one that only a person ends: the pause file is gone, and the end has to be confirmed."""
        return replace(self, by_hand=self.first, by_file=None)


class By(NamedTuple):
    """The origin of a change: where it came from, and the user who asked for it; None when the program itself did."""

    source: ChangedBy
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """A change that is asked for. value: as in `core.log_entries.Changed`.

    confirmed: the number of ids, the pool and the name of the host, where a long pause asks for them.
    """

    what: Changed
    value: Value
    by: By
    confirmed: tuple[int | None, str | None, str | None] = (None, None, None)
