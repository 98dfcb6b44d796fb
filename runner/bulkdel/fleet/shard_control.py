"""Changes of all shards while they send: the keeper changes the rate, a message to each shard the rest."""

from __future__ import annotations

import asyncio

from bulkdel.core.adaptive_rate import Slowed
from bulkdel.fleet.channel import Wanted, line_of
from bulkdel.fleet.rate_keeper import RateKeeper
from bulkdel.fleet.shard_totals import ShardStates

GROUP = "run"
"""The name of the rate group of all shards of the run."""


class ShardControl:
    """See `engine.control.Controlled` for the methods.

    concurrency: requests in flight of all shards together. until: --not-after, as epoch seconds and in words. released:
    set while no hold is in force.
    """

    def __init__(
        self, keeper: RateKeeper, shards: ShardStates, *, concurrency: int, until: tuple[float, str] | None
    ) -> None:
        self._keeper = keeper
        self._shards = shards
        self.concurrency = concurrency
        self.until = until
        self.released = asyncio.Event()
        self.released.set()

    @property
    def wanted(self) -> Wanted:
        """What is wanted of each shard now. Shards that send share the concurrency; each has at least one request."""
        share = max(1, self.concurrency // max(1, self._shards.sending))
        return Wanted(not self.released.is_set(), share)

    def tell(self) -> None:
        """Tell each shard what is wanted now."""
        self._shards.tell(line_of(self.wanted))

    def set_ceiling(self, rate: float) -> None:
        """Divide `rate` requests a second from now on; 0 is unlimited."""
        self._keeper.set_rate(GROUP, rate)

    def slow(self) -> float:
        """Halve the rate, down to its floor. Returns it, requests a second."""
        return self._keeper.slow(GROUP)

    @property
    def slowed(self) -> Slowed | None:
        """Why the rate is below the configured one; None when it is not."""
        return self._keeper.slowed(GROUP)

    @property
    def rate(self) -> float:
        """Requests a second of all shards; 0 is unlimited."""
        return self._keeper.rate(GROUP)

    @property
    def pause_s(self) -> float:
        """Seconds until the pause after a 429 ends; 0 without one."""
        return self._keeper.pause_s(GROUP)

    def hold(self) -> None:
        """Send nothing until `release`. Requests on the wire may finish."""
        self.released.clear()
        self.tell()

    def release(self) -> None:
        """End the hold."""
        self.released.set()
        self.tell()

    def set_concurrency(self, concurrency: int) -> None:
        """Keep at most so many requests in flight, in all shards together."""
        self.concurrency = concurrency
        self.tell()

    def set_until(self, epoch: float, words: str) -> None:
        """Stop at this time."""
        self.until = epoch, words
