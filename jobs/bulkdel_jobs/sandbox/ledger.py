"""What the server saw and did, for tests to compare a run with. Owns the counts; decides nothing."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import Any

from bulkdel_jobs.sandbox.users import Pool


class Ledger:
    """Counts of one server.

    requests: all that arrived, but for those to the admin endpoints; by_path: the same per path.
    arrivals: when each arrived, seconds on the monotonic clock.
    answers: per statusCode, or per fault where there was no envelope to read ("drop_after").
    chunk_sizes, id_types: of every well-formed deletion that was asked for, whatever its answer.
    lookup_sizes: the same of look-ups.
    accepted: ids in deletions that were answered with success.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.by_path: Counter[str] = Counter()
        self.arrivals = array("d")
        self.answers: Counter[str] = Counter()
        self.chunk_sizes: Counter[int] = Counter()
        self.id_types: Counter[str] = Counter()
        self.lookup_sizes: Counter[int] = Counter()
        self.accepted = 0
        self._sent: Counter[int | str] = Counter()  # by the user's number, or by the id where no user has it

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
        self._sent.update(self._user_or_id(id_type, id_) for id_ in ids)

    def _user_or_id(self, id_type: str, id_: str) -> int | str:
        found = self.pool.find(id_type, id_)
        return id_ if found is None else found

    def effects(self, id_: str, id_type: str = "user_id") -> int:
        """How many users were really deleted under `id_`: more than one only if the account was created again."""
        return self.pool.effects(id_, id_type)

    def sent(self, id_: str, id_type: str = "user_id") -> int:
        """How often a deletion of the (latest) user of `id_` was asked for, by whatever id."""
        return self._sent[self._user_or_id(id_type, id_)]

    def sent_times(self) -> dict[int, int]:
        """How many users (and unknown ids) were sent how often: `{1: 950, 2: 50}`. Those never sent are left out."""
        return dict(sorted(Counter(self._sent.values()).items()))

    def busiest(self, window_s: float = 1.0) -> int:
        """Return the most requests that arrived within any `window_s` seconds."""
        most = first = 0
        for last, now in enumerate(self.arrivals):
            while self.arrivals[first] <= now - window_s:
                first += 1
            most = max(most, last - first + 1)
        return most

    def counts(self) -> dict[str, Any]:
        """Return every count but the times of arrival."""
        names = ("requests", "by_path", "answers", "chunk_sizes", "lookup_sizes", "id_types", "accepted", "deleted")
        return {
            **{name: getattr(self, name) for name in names},
            "users": len(self.pool),
            "sent_times": self.sent_times(),
            "busiest_second": self.busiest(),
        }
