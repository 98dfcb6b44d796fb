"""The store: several machines reach it, each by a way of its own.

The objects are real files, so that the program reads them as always where nothing goes wrong: before it sends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from random import Random

from bulkdel.place.log_objects import line_name
from tests.simulation.strands import StrandLoop, sleep

NO_ANSWER_S = 5.0
"""How long a request to the store waits, when no answer comes."""

LATE_MAX_S = 40.0
"""How long after that a creation may have its effect."""


@dataclass(frozen=True)
class Way:
    """The way of one machine to the store. Shares are of its requests, from 0 to 1.

    lost: a creation has its effect, and no answer comes. cut: it has none. late: it has it later. conflict: the store
    says that the object exists, and it does not. twice: something between repeats the request, and answers what the
    repetition was told. delay_s: of each direction, at most. away: from when to when the store cannot be reached,
    seconds since the world began.
    """

    lost: float = 0.0
    cut: float = 0.0
    late: float = 0.0
    conflict: float = 0.0
    twice: float = 0.0
    delay_s: float = 0.05
    away: tuple[float, float] = (0.0, 0.0)


CLEAR_WAY = Way()


class SharedStore:
    """The objects. on_lines: called with the bytes of all lines, when there is one more."""

    def __init__(self, folder: Path, on_lines: Callable[[bytes], None]) -> None:
        self._folder = folder
        self._on_lines = on_lines
        self._bytes = b""
        self._count = 0

    def effect(self, name: str, data: bytes) -> bool:
        """Create an object; False when there is one of this name."""
        path = self._folder / name
        if path.exists():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        while (line := self.get(line_name(self._count + 1))) is not None:
            self._bytes, self._count = self._bytes + line, self._count + 1
            self._on_lines(self._bytes)
        return True

    def get(self, name: str) -> bytes | None:
        """Read an object; None when there is none."""
        path = self._folder / name
        return path.read_bytes() if path.exists() else None

    def listed(self, after: str) -> Sequence[str]:
        """The names in the folder of `after` that are greater."""
        folder = PurePosixPath(after).parent
        return sorted(name for path in (self._folder / folder).glob("*") if (name := f"{folder}/{path.name}") > after)

    @property
    def lines(self) -> bytes:
        """The lines of the log."""
        return self._bytes


class FarStore:
    """The store as one machine sees it: `bulkdel.store.objects.Objects`."""

    rounds = 1
    hedged = False

    def __init__(self, store: SharedStore, way: Way, loop: StrandLoop, rng: Random) -> None:
        self._store = store
        self._way = way
        self._loop = loop
        self._rng = rng

    def create(self, name: str, data: bytes) -> bool:
        """A creation with a fate."""
        way = self._way
        self._travel()
        shares = [way.lost, way.cut, way.late, way.conflict, way.twice]
        fates = ["lost", "cut", "late", "conflict", "twice", "fine"]
        fate = self._rng.choices(fates, [*shares, max(0.0, 1.0 - sum(shares))])[0]
        created = False
        match "fine" if name.startswith("probe") else fate:
            case "lost":
                self._store.effect(name, data)
                self._no_answer()
            case "cut":
                self._no_answer()
            case "late":
                late_s = NO_ANSWER_S + self._rng.random() * LATE_MAX_S
                self._loop.call_later(late_s, self._store.effect, name, data)
                self._no_answer()
            case "conflict":
                pass
            case "twice":
                self._store.effect(name, data)
                created = self._store.effect(name, data)
            case _:
                created = self._store.effect(name, data)
        self._travel()
        return created

    def get(self, name: str) -> bytes | None:
        """Read an object."""
        self._travel()
        if self._rng.random() < self._way.cut:
            self._no_answer()
        found = self._store.get(name)
        self._travel()
        return found

    def listed(self, after: str) -> Sequence[str]:
        """A list lacks some of what exists."""
        self._travel()
        return [name for name in self._store.listed(after) if self._rng.random() < 0.7]

    def _travel(self) -> None:
        sleep(self._rng.random() * self._way.delay_s)
        start, stop = self._way.away
        if start <= self._loop.time() < stop:
            self._no_answer()

    def _no_answer(self) -> None:
        sleep(NO_ANSWER_S)
        raise OSError(None, "no answer")
