"""The shards of a run while they send: the figures of each, and what they add up to.

At the end the logs of the shards are added up: `core.run_state.RunState.take`, with what `checkpoint.reader` has read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bulkdel.core.latency import BOUNDS_S
from bulkdel.core.outcome import KINDS
from bulkdel.fleet.channel import Figures, ShardEnded
from bulkdel.fleet.placing import Placed


class ShardState:
    """One shard, as its processes report it.

    figures: the latest. placed: its process, while there is one. ended: how its session has ended. sends: whether its
    rows are being sent: from the start of its first process in this session to the end of the last one.
    """

    def __init__(self, number: int, figures: Figures) -> None:
        self.number = number
        self.figures = figures
        self.placed: Placed | None = None
        self.ended: ShardEnded | None = None
        self.sends = False
        self._figures_at = time.monotonic()
        self.settled_before = _settled(figures)  # rows with an outcome when the session of the run began
        self._earlier: list[Figures] = []  # the last figures of processes that ended early

    def begin_sending(self) -> None:
        """Note that its rows are sent from now on."""
        self.sends = True

    def end_sending(self) -> None:
        """Note that its process has ended, and that none is started for it any more."""
        self.placed, self.sends = None, False

    def place(self, placed: Placed) -> None:
        """Note its process."""
        self.placed = placed

    @property
    def age_s(self) -> float:
        """Seconds since its latest figures."""
        return time.monotonic() - self._figures_at

    @property
    def silent_s(self) -> float:
        """Seconds since its last useful response from the server, as far as is known."""
        return self.figures.silent_s + self.age_s

    def take(self, figures: Figures) -> None:
        """Take in figures of its process."""
        self.figures, self._figures_at = figures, time.monotonic()

    def end(self, ended: ShardEnded) -> None:
        """Take in how its session has ended."""
        self.ended = ended

    def begin_again(self, found: Figures) -> None:
        """Note that its process has ended early, and keep its figures: the next one counts from 0.

        found: the figures in its log.
        """
        self.placed = None
        self._earlier.append(replace(self.figures, remaining=found.remaining, counts=found.counts, in_flight=0))
        self.figures = Figures(found.remaining, found.counts, silent_s=self.figures.silent_s)

    def tell(self, line: bytes) -> None:
        """Tell its process something, if there is one."""
        if self.placed is not None:
            self.placed.tell(line)

    @property
    def settled(self) -> int:
        """Rows with an outcome of this session."""
        return _settled(self.figures) - self.settled_before

    @property
    def of_session(self) -> Sequence[Figures]:
        """The figures of each of its processes in this session."""
        return (*self._earlier, self.figures)


class ShardStates:
    """All shards of a run."""

    def __init__(self, shards: Sequence[ShardState] = ()) -> None:
        self._shards = shards

    def __iter__(self) -> Iterator[ShardState]:
        return iter(self._shards)

    @property
    def working(self) -> list[ShardState]:
        """Those that have a process."""
        return [shard for shard in self._shards if shard.placed is not None]

    @property
    def sending(self) -> int:
        """How many shards send."""
        return sum(shard.sends for shard in self._shards)

    def tell(self, line: bytes) -> None:
        """Tell each process something."""
        for shard in self._shards:
            shard.tell(line)

    @property
    def ended(self) -> list[ShardEnded]:
        """The last message of each shard that has ended."""
        return [shard.ended for shard in self._shards if shard.ended is not None]

    @property
    def settled(self) -> int:
        """Rows with an outcome of this session."""
        return sum(shard.settled for shard in self._shards)

    @property
    def total(self) -> Figures:
        """The figures of all shards together. Sums are those of this session, the rest is what the processes do now."""
        now = [shard.figures for shard in self.working]
        session = [figures for shard in self._shards for figures in shard.of_session]
        timed, reasons = [each.latency for each in session if each.latency[0]], [each.waiting for each in now]
        return Figures(
            sum(shard.figures.remaining for shard in self._shards),
            {kind: sum(shard.figures.counts.get(kind, 0) for shard in self._shards) for kind in KINDS},
            requests=sum(each.requests for each in session),
            retries=sum(each.retries for each in session),
            throttled=sum(each.throttled for each in session),
            in_flight=sum(each.in_flight for each in now),
            busy=bool(now) and all(each.busy for each in now),
            silent_s=self.silent_s,
            breaker_open=any(each.breaker_open for each in now),
            waiting=reasons[0] if reasons and all(reasons) else None,
            latency=(
                [sum(counts[i] for counts, _ in timed) for i in range(len(BOUNDS_S) + 1)],
                sum(seconds for _, seconds in timed),
            ),
            refused=self.refused,
        )

    @property
    def refused(self) -> dict[str, int]:
        """How many rows were refused in this session, by code."""
        return added(*(figures.refused for shard in self._shards for figures in shard.of_session))

    @property
    def silent_s(self) -> float:
        """Seconds since the last useful response from the server to any of them."""
        return min((shard.silent_s for shard in self.working), default=0.0)


def added(*counts: Mapping[str, int]) -> dict[str, int]:
    """Counts with the same names, added up."""
    return {name: sum(each.get(name, 0) for each in counts) for each in counts for name in each}


def _settled(figures: Figures) -> int:
    return sum(figures.counts.get(kind, 0) for kind in KINDS)
