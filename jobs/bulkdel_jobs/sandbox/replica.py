"""What look-ups by id see: the pool, or what it was some seconds ago. Owns the users only a slow replica has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bulkdel_jobs.sandbox.user_pool import Pool


@dataclass(slots=True)
class Deletions:
    """When users were deleted, of the latest ones: by ordinal, on the monotonic clock, in that order."""

    times: dict[int, float] = field(default_factory=dict)

    def forget_before(self, time: float) -> None:
        """Drop what happened before `time`."""
        while self.times and self.times[first := next(iter(self.times))] < time:
            del self.times[first]


@dataclass(frozen=True, slots=True)
class Replica:
    """The pool as a look-up sees it, `lag_s` behind. Without a lag nothing is kept. clock: monotonic."""

    pool: Pool
    deletions: Deletions
    clock: Callable[[], float]
    lag_s: float = 0.0

    def deleted(self, ordinals: Iterable[int]) -> None:
        """Take note of a deletion."""
        if self.lag_s:
            now = self.clock()
            self.deletions.forget_before(now - self.lag_s)
            self.deletions.times.update(dict.fromkeys(ordinals, now))

    def shows(self, ordinal: int) -> bool:
        """Whether a look-up finds this user."""
        died = self.deletions.times.get(ordinal) if self.lag_s else None
        return self.pool.is_alive(ordinal) or (died is not None and self.clock() < died + self.lag_s)
