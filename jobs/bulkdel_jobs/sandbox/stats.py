"""What the server saw and did, for tests to hold a run against. Owns the counts; decides nothing.

It needs little memory: eight bytes a request, one byte a user.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Any

from bulkdel_jobs.sandbox.user_pool import Pool

SENT_MAX = 255
"""Where the count of how often an id was sent stops: it is kept in one byte."""


class Ledger:
    """Counts of one server.

    requests: all that arrived, control endpoints apart; by_path: the same per path.
    arrivals: when each arrived, seconds on the monotonic clock.
    answers: per statusCode, or per fault where there was no envelope to read ("drop_after").
    chunk_sizes, id_types: of every well-formed deletion that was asked for, whatever became of it.
    lookup_sizes: the same of look-ups.
    accepted: ids in deletions that were answered with success.
    """

    def __init__(self, pool: Pool, *, count_sent: bool = True) -> None:
        self.pool = pool
        self.count_sent = count_sent
        self.by_path: Counter[str] = Counter()
        self.arrivals = array("d")
        self.answers: Counter[str] = Counter()
        self.chunk_sizes: Counter[int] = Counter()
        self.id_types: Counter[str] = Counter()
        self.lookup_sizes: Counter[int] = Counter()
        self.accepted = 0
        self._sent = bytearray()
        self._sent_unknown: Counter[str] = Counter()

    @property
    def requests(self) -> int:
        """How many requests arrived."""
        return len(self.arrivals)

    @property
    def deleted(self) -> int:
        """How many users were really deleted."""
        return self.pool.deleted

    def arrived(self, path: str, now: float) -> None:
        """Count a request, at its arrival."""
        self.by_path[path] += 1
        self.arrivals.append(now)

    def asked_to_delete(self, id_type: str, ids: list[str]) -> None:
        """Count a well-formed request to delete, and each of its ids."""
        self.chunk_sizes[len(ids)] += 1
        self.id_types[id_type] += 1
        if self.count_sent:
            self._count(id_type, ids)

    def _count(self, id_type: str, ids: Iterable[str]) -> None:
        for id_ in ids:
            found = self.pool.find(id_type, id_)
            if found is None:
                self._sent_unknown[id_] += 1
                continue
            if found >= len(self._sent):
                self._sent.extend(bytes(self.pool.users_ever - len(self._sent)))
            if self._sent[found] < SENT_MAX:
                self._sent[found] += 1

    def effects(self, id_: str, id_type: str = "user_id") -> int:
        """How many users were really deleted under `id_`: more than one only if the account was created again."""
        return self.pool.effects(id_, id_type)

    def sent(self, id_: str, id_type: str = "user_id") -> int:
        """How often a deletion of the (latest) user of `id_` was asked for, by whatever id; at most SENT_MAX."""
        found = self.pool.find(id_type, id_)
        if found is None:
            return self._sent_unknown[id_]
        return self._sent[found] if found < len(self._sent) else 0

    def sent_times(self) -> dict[int, int]:
        """How many users (and unknown ids) were sent how often: `{1: 950, 2: 50}`. Those never sent are left out."""
        times = Counter(self._sent) + Counter(self._sent_unknown.values())
        del times[0]
        return dict(sorted(times.items()))

    def busiest(self, window_s: float = 1.0) -> int:
        """Return the most requests that arrived within any `window_s` seconds."""
        most = first = 0
        for last, now in enumerate(self.arrivals):
            while self.arrivals[first] <= now - window_s:
                first += 1
            most = max(most, last - first + 1)
        return most

    def as_json(self, *, arrivals: bool = False) -> dict[str, Any]:
        """Return every count, ready for JSON; the timeline only on request, for it is long."""
        counts: dict[str, Any] = {
            "requests": self.requests,
            "by_path": dict(self.by_path),
            "answers": dict(self.answers),
            "chunk_sizes": {str(size): times for size, times in sorted(self.chunk_sizes.items())},
            "lookup_sizes": {str(size): times for size, times in sorted(self.lookup_sizes.items())},
            "id_types": dict(self.id_types),
            "accepted": self.accepted,
            "deleted": self.deleted,
            "users": len(self.pool),
            "sent_times": {str(times): ids for times, ids in self.sent_times().items()},
            "busiest_second": self.busiest(),
        }
        if arrivals:
            counts["arrivals"] = list(self.arrivals)
        return counts
