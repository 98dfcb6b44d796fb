"""The licence to send: each commit to a store renews it, and without one nothing leaves.

A process that was stopped or cut off cannot know whether another one has taken its log over. The other one waits until
this licence must have lapsed. So both count the same seconds, each on its own clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from bulkdel.store.means import MEANS, Means

LICENCE_S = 10.0
"""Seconds for which one commit licenses sending, from its begin."""

RENEW_SHARE = 0.4
"""After this much of a licence it is renewed. With the time until that is noticed, it is less than half of it."""

WAIT_SHARE = 1.1
"""A successor waits this much of a licence: two clocks do not run exactly alike."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a log in a store is written.

    licence_s: see LICENCE_S; tests pass a shorter one. patience_s: a commit that fails is repeated for so long.
    take_over: begin without watching whether another process still writes the log.
    means: clock, threads and network.
    """

    licence_s: float = LICENCE_S
    patience_s: float = 900.0
    take_over: bool = False
    means: Means = MEANS

    @property
    def wait_s(self) -> float:
        """How long a successor waits until the licence of the process before it has lapsed."""
        return self.licence_s * WAIT_SHARE


TERMS = Terms()


class Licence:
    """The licence of one process. It is renewed in the thread of the commits and read in the event loop."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._began = float("-inf")
        self._predecessor_until = float("-inf")

    @property
    def length_s(self) -> float:
        """Seconds for which one commit licenses sending."""
        return self._terms.licence_s

    @property
    def valid(self) -> bool:
        """Whether a request may leave now."""
        return self._terms.means.clock() - self._began < self._terms.licence_s

    @property
    def renewal_due(self) -> bool:
        """Whether so much of it has passed that a commit is due, also when there is nothing to write."""
        return self._terms.means.clock() - self._began >= self._terms.licence_s * RENEW_SHARE

    @property
    def predecessor_s(self) -> float:
        """Seconds until the licence of the process before this one has lapsed for sure; 0 when it has."""
        return max(0.0, self._predecessor_until - self._terms.means.clock())

    def renew(self, began: float) -> None:
        """A commit counts. began: when the first attempt to write it began, by the clock of the terms."""
        self._began = began

    def succeed(self) -> None:
        """This process has just taken the log over from one whose licence may still be valid."""
        self._predecessor_until = self._terms.means.clock() + self._terms.wait_s
