"""How many rows were settled when, in flat memory. Pure.

The time runs over the sessions, one after the other: the hours between two sessions are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

BUCKETS_MAX = 120
"""When a run takes longer than so many buckets, two neighbours become one, and a bucket is twice as wide."""

PAUSES_MAX = 200
"""Pauses that are kept."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Rows settled over the time of the sessions.

    bucket_s: width of a bucket, seconds. per_minute: rows a minute of each bucket; the last one may be shorter.
    length_s: time of all sessions. sessions: when each began. pauses: when each began and ended. All in seconds from
    the start of the first session, without the time between sessions. throttled: in which seconds responses 429 came,
    in the middle of their buckets.
    """

    bucket_s: float = 1.0
    per_minute: tuple[float, ...] = ()
    length_s: float = 0.0
    sessions: tuple[float, ...] = ()
    pauses: tuple[tuple[float, float], ...] = ()
    throttled: tuple[float, ...] = ()


@dataclass(slots=True)
class Timeline:
    """Takes in what happened, in the order of the log."""

    _rows: list[int] = field(default_factory=list)
    _throttled: list[int] = field(default_factory=list)
    _bucket_s: float = 1.0
    _base_s: float = 0.0
    _length_s: float = 0.0
    _began: float = 0.0
    _sessions: list[float] = field(default_factory=list)
    _pauses: list[tuple[float, float]] = field(default_factory=list)
    _paused: float | None = None

    def begin(self, at: str) -> None:
        """A session starts."""
        self._end_pause(self._length_s)
        self._base_s, self._began = self._length_s, _epoch(at)
        self._sessions.append(self._base_s)

    def settle(self, at: str, rows: int) -> None:
        """Rows are settled."""
        bucket = self._bucket(at)
        self._rows += [0] * (bucket + 1 - len(self._rows))
        self._rows[bucket] += rows

    def throttle(self, at: str, responses: int) -> None:
        """So many responses 429 came in the seconds before."""
        bucket = self._bucket(at)
        self._throttled += [0] * (bucket + 1 - len(self._throttled))
        self._throttled[bucket] += responses

    def pause(self, at: str, *, paused: bool) -> None:
        """The session pauses, or continues."""
        passed = self._passed(at)
        if not paused:
            self._end_pause(passed)
        elif self._paused is None:
            self._paused = passed

    def end(self, at: str) -> None:
        """The session stops."""
        self._end_pause(self._passed(at))

    def throughput(self) -> Throughput:
        """The timeline of the entries so far. A pause without an end lasts until the last entry."""
        width, rows = self._bucket_s, list(self._rows)
        widths = [width] * len(rows)
        if rows:
            widths[-1] = min(width, max(self._length_s - width * (len(rows) - 1), 0.0))
        if len(rows) > 1 and widths[-1] < width / 2:  # a short bucket would show a speed by chance
            rows[-2:], widths[-2:] = [rows[-2] + rows[-1]], [widths[-2] + widths[-1]]
        pauses = [*self._pauses, *([(self._paused, self._length_s)] if self._paused is not None else [])]
        return Throughput(
            bucket_s=width,
            per_minute=tuple(60 * some / max(seconds, 1.0) for some, seconds in zip(rows, widths, strict=True)),
            length_s=self._length_s,
            sessions=tuple(self._sessions),
            pauses=tuple(pauses),
            throttled=tuple(min((i + 0.5) * width, self._length_s) for i, some in enumerate(self._throttled) if some),
        )

    def _bucket(self, at: str) -> int:
        """The bucket of a time. Buckets are widened until there are few enough."""
        bucket = int(self._passed(at) / self._bucket_s)
        while bucket >= BUCKETS_MAX:
            self._rows, self._throttled = (
                [sum(counts[i : i + 2]) for i in range(0, len(counts), 2)] for counts in (self._rows, self._throttled)
            )
            self._bucket_s *= 2
            bucket //= 2
        return bucket

    def _passed(self, at: str) -> float:
        """Seconds of sessions until `at`. A clock that was set back does not make it go back before the session."""
        passed = self._base_s + max(0.0, _epoch(at) - self._began)
        self._length_s = max(self._length_s, passed)
        return passed

    def _end_pause(self, at: float) -> None:
        if self._paused is not None and len(self._pauses) < PAUSES_MAX:
            self._pauses.append((self._paused, max(at, self._paused)))
        self._paused = None


def _epoch(at: str) -> float:
    """Epoch seconds; 0 for a text that is no time."""
    try:
        return datetime.fromisoformat(at).timestamp()
    except ValueError:
        return 0.0
