"""How much of a shared rate a process can use, by what its requests wait for. Pure.

A process that asks for more than it uses takes the rest from the others. A process that asks for less than it could use
stays slow: its requests show only its share then, and not how many it could send.
"""

from __future__ import annotations

import math
from typing import NamedTuple

SPARE_LEAST = 0.1
"""A process asks for what it can use and for a little more (`with_spare`), at least this."""

SURE = 0.7
"""The part of what a process could use that it does use nearly all the time, also when its responses take irregular
times (simulated with 1 to 64 requests in flight)."""


class Use(NamedTuple):
    """What the requests of a process did in some time.

    taken: how many were let through. waited_s: how long requests waited for the rate. on_wire_s: how long they were on
    the wire. Two requests that wait for one second wait for two.
    """

    taken: int = 0
    waited_s: float = 0.0
    on_wire_s: float = 0.0

    def since(self, before: Use) -> Use:
        """The part of this use that came after `before`."""
        return Use(self.taken - before.taken, self.waited_s - before.waited_s, self.on_wire_s - before.on_wire_s)

    def wanted(self, seconds: float) -> float:
        """Requests a second to ask for: what the process used and a little more, or at once most of what it could use.

        Infinite when all its requests have waited. A request that waits for the rate could be on the wire. If all were,
        the process would send as many times more as there are more of them (Little's law). It asks for SURE of that:
        where its responses take irregular times, a share of all that it could use would stand idle in part, and the
        nearer to that it comes, the larger the part. From there it rises by little, for as long as it uses its share.
        """
        used = self.taken / seconds
        if not self.on_wire_s:
            return math.inf if self.waited_s else with_spare(used)
        return max(with_spare(used), SURE * used * (1 + self.waited_s / self.on_wire_s))


def with_spare(used: float) -> float:
    """The rate to ask for when a process can use so many requests a second, because of a slow server or little work.

    The unused part of its share is lost to the others. Without a spare part the process could not become faster.
    """
    return used + min(SPARE_LEAST + 0.1 * used, 0.25 + 0.01 * used)
