"""The lease of a log: the right to write it, and to send.

The lease of a file lasts as long as its lock. In a store each commit renews the lease for some seconds, and no request
leaves without a valid one. A process that was stopped or cut off cannot know whether another one has taken its log
over. So the other process waits until this lease must have lapsed: both count the same seconds, each on its own clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bulkdel.world import WORLD, World

if TYPE_CHECKING:
    from bulkdel.settings import SendingSettings

RENEW_SHARE = 0.4
"""A lease is renewed after this share of its length. Even if that is noticed late, it is before half of the length."""

WAIT_SHARE = 1.1
"""A successor waits for this many lengths of a lease: two clocks do not run exactly alike."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a log is read and written. The first two are of a log in a store.

    patience_s: for how long a failed request is repeated.
    take_over: begin without watching whether another process still writes the log.
    """

    patience_s: float = 900.0
    take_over: bool = False
    world: World = WORLD

    @classmethod
    def of(cls, settings: SendingSettings, world: World) -> Terms:
        """Those of a run with these settings."""
        return cls(settings.patience, settings.take_over, world)

    @property
    def wait_s(self) -> float:
        """How long a successor waits until the lease of the process before it has lapsed."""
        return self.world.lease_s * WAIT_SHARE


class Lease(Protocol):
    """The right of this process to write a log, and to send. It is renewed by commits and asked before each request."""

    @property
    def length_s(self) -> float | None:
        """Seconds for which one commit renews it; None when it lasts as long as the log is open."""
        ...

    @property
    def valid(self) -> bool:
        """Whether a request may leave now."""
        ...

    @property
    def renewal_due(self) -> bool:
        """Whether a commit is due, also when there is nothing to write."""
        ...

    @property
    def predecessor_s(self) -> float:
        """Seconds until the lease of the process before this one has lapsed for sure; 0 when it has."""
        ...


class LockLease:
    """The lease of a file: `Lease`. It lasts as long as the lock."""

    length_s = None
    valid = True
    renewal_due = False
    predecessor_s = 0.0


class TimedLease:
    """The lease of a log in a store: `Lease`. It is renewed in the thread of the commits and read in the event loop."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._began = float("-inf")
        self._predecessor_until = float("-inf")

    @property
    def length_s(self) -> float:
        """See `Lease`."""
        return self._terms.world.lease_s

    @property
    def valid(self) -> bool:
        """See `Lease`."""
        return self._terms.world.boot() - self._began < self._terms.world.lease_s

    @property
    def renewal_due(self) -> bool:
        """Whether so much of it has passed that a commit is due, also when there is nothing to write."""
        return self._terms.world.boot() - self._began >= self._terms.world.lease_s * RENEW_SHARE

    @property
    def predecessor_s(self) -> float:
        """See `Lease`."""
        return max(0.0, self._predecessor_until - self._terms.world.boot())

    def renew(self, began: float) -> None:
        """Renew it by a commit. began: when the first attempt at the commit began, by the clock of the terms."""
        self._began = began

    def succeed(self) -> None:
        """Note that this process has just taken over the log. The lease of the process before may still be valid."""
        self._predecessor_until = self._terms.world.boot() + self._terms.wait_s
