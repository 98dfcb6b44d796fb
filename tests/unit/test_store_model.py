"""Three processes and one log in a store, in any order of their steps: the program's protocol, a model of the store.

Everything that decides is the program's: `StoreLog`, `Creator`, `StoreLines`, `Licence`, the writer and the fold. The
store, the clock and the API are models. Wherever a process waits for the store, or sleeps, another one may go on, be
killed or begin; a request to the store may be lost, its answer too, and a creation may have its effect much later.

The invariant: what was sent has an intent in the log, no two sessions send a row as fresh, and no session sends a row
after a later one has looked it up.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.checkpoint.open_log import Fenced
from bulkdel.checkpoint.writer import Checkpoint, Queued
from bulkdel.core.log_entries import Entry, Intent, Outcome, Session, decode_line, to_json
from bulkdel.core.ranges import positions_in
from bulkdel.core.run_state import RunState
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.place.lease import Terms
from bulkdel.place.log_objects import line_name
from bulkdel.place.opening import log_at
from bulkdel.store.file_parts import part_name
from bulkdel.store_path import store_path
from bulkdel.world import World
from tests import recorded
from tests.examples import examples
from tests.mutants import mutant
from tests.simulation.strands import Inline
from tests.syntax import drop, swap

ROWS = 10
LEASE_S = 10.0
PATIENCE_S = 12.0
"""A step counts 10 s at most. So it ends in one that takes long and a few others."""
SKIPPED = recorded.skipped(
    excluded=[(ROWS, ROWS + 1)], duplicate=[(ROWS + 1, ROWS + 2)], invalid=[(ROWS + 2, ROWS + 3)]
)
"""Three rows, so that the creation of the log takes four commits."""

PATH = store_path("s3://model/run")
PROCESSES = 3
STEPS = 30
SEEDS = examples(240)
DEPTH = 2
"""How many processes are held up in a step while another one goes on."""


class Killed(BaseException):
    """The process is gone, wherever it was."""


@dataclass
class StoreWorld:
    """The store, the time and what was sent. chance: draws every fate.

    fresh_by, looked_up_by: by row, the session that has sent it as fresh, and the latest that has looked it up. A
    session is the number of its first line. late: creations on their way that may still have their effect.
    takeovers, fenced: how often a session began, and how often one has lost the log. calm: nothing goes wrong any more.
    """

    chance: random.Random
    now: float = 0.0
    objects: dict[str, bytes] = field(default_factory=dict)
    late: list[tuple[str, bytes]] = field(default_factory=list)
    fresh_by: dict[int, int] = field(default_factory=dict)
    looked_up_by: dict[int, int] = field(default_factory=dict)
    takeovers: int = 0
    fenced: int = 0
    depth: int = 0
    calm: bool = False
    processes: dict[int, Iterator[None]] = field(default_factory=dict)
    running: list[int] = field(default_factory=list)

    def surroundings(self) -> World:
        return World(
            boot=lambda: self.now,
            sleep=self.sleep,
            open_store=lambda _: self,
            threads=lambda *_: Inline(),
            lease_s=LEASE_S,
        )

    # The store: `Objects`

    hedged = False
    rounds = 1

    def create(self, name: str, data: bytes) -> bool:
        """A creation with a fate. At its begin and at its end other processes may go on."""
        if self.calm or name.startswith("probe"):
            return self._effect(name, data)
        self.between()
        created: bool | None = None
        match self.chance.choices(["fine", "lost", "cut", "late", "conflict", "twice"], [12, 1, 1, 1, 1, 1])[0]:
            case "fine":
                created = self._effect(name, data)
            case "lost":  # it has its effect, and no answer comes
                self._effect(name, data)
            case "cut":
                pass
            case "late":
                self.late.append((name, data))
            case "conflict":
                created = False
            case _:  # something between repeats the request, and answers what the repetition was told
                self._effect(name, data)
                created = self._effect(name, data)
        self.between()
        if created is None:
            raise OSError(None, "no answer")
        return created

    def get(self, name: str) -> bytes | None:
        """Read an object. One request in twenty fails."""
        if not self.calm and self.chance.random() < 0.05:
            raise OSError(None, "no answer")
        return self.objects.get(name)

    def listed(self, after: str) -> list[str]:
        """A list lacks some of what exists."""
        folder = after.partition("/")[0]
        names = [name for name in sorted(self.objects) if name.startswith(folder) and name > after]
        return [name for name in names if self.chance.random() < 0.7]

    def _effect(self, name: str, data: bytes) -> bool:
        if name in self.objects:
            return False
        self.objects[name] = data
        return True

    # Time, and the other processes

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.01)
        if not self.calm and self.chance.random() < 0.1:
            self.between()

    def between(self) -> None:
        """What happens while a process waits: time passes, late creations land, other processes go on."""
        self.now += self.chance.choices([0.02, 0.5, 4.0, 12.0, 30.0], [30, 4, 3, 2, 1])[0]
        while self.late and self.chance.random() < 0.3:
            self._effect(*self.late.pop(self.chance.randrange(len(self.late))))
        if self.running and self.chance.random() < 0.01:
            raise Killed
        if self.depth < DEPTH and self.chance.random() < 0.2:
            self.depth += 1
            try:
                for _ in range(self.chance.choice([1, 2, 6])):
                    self.step()
            finally:
                self.depth -= 1

    def step(self) -> None:
        """One step of a process that is not held up in one."""
        number = self.chance.choice([number for number in range(PROCESSES) if number not in self.running])
        if number not in self.processes and self.chance.random() < 0.6:
            return
        process = self.processes.setdefault(number, session(self))  # another machine begins, or goes on
        self.running.append(number)
        try:
            next(process)
        except (StopIteration, Killed):
            del self.processes[number]
        finally:
            self.running.remove(number)

    def lines(self) -> Iterator[bytes]:
        """The lines of the log: up to the first number that does not exist."""
        number = 1
        while (line := self.objects.get(line_name(number))) is not None:
            yield line
            number += 1

    def log(self) -> RunState:
        """What the log describes. Any reader has to be able to read it."""
        entries = [entry for number, line in enumerate(self.lines(), 1) for entry in decode_line(line, number).entries]
        sha256 = getattr(entries[0], "skipped_sha256", None)
        assert f"skipped/{sha256}/{part_name(1)}" in self.objects, "a header, and no skipped rows"
        return recorded.fold(entries, SKIPPED)

    def intended(self) -> set[int]:
        """The rows with an intent in the log."""
        found: set[int] = set()
        for line in self.lines():
            for entry in orjson.loads(line)["entries"]:
                if entry["type"] == "intent":
                    found.update(positions_in(tuple(map(tuple, entry["ranges"]))))
        return found


def session(world: StoreWorld) -> Iterator[None]:
    """One session, from the reading of the log to its end or its death; it yields between its steps."""
    take_over = not world.calm and world.chance.random() < 0.3
    place = log_at(PATH, Terms(PATIENCE_S, take_over, world.surroundings()))
    try:
        if next(world.lines(), None) is None:
            log = Checkpoint.create(place, recorded.header(ROWS + 3, SKIPPED), SKIPPED)
        else:
            log = Checkpoint.resume(place)
    except (NotAcceptable, FileFailed):
        return
    yield
    try:
        write(log, Session("start", recorded.AT, "", {"pid": 1}))
        world.takeovers += 1
        yield
        yield from settle(world, log)
        write(log, Session("stop", recorded.AT, "", {"why": "done"}))
    except Fenced:
        world.fenced += 1
    except (OSError, NotAcceptable):
        pass


def settle(world: StoreWorld, log: Checkpoint) -> Iterator[None]:
    """Give every row its outcome: look up the rows in doubt once they may be, send the others."""
    progress, lease = log.progress, log.lease
    number = log._file.seq  # noqa: SLF001 - the number of the fence
    doubts = rows_of(progress.in_doubt.overlap(0, ROWS))
    mine: set[int] = set()
    while True:
        if doubts and not lease.predecessor_s:
            for row in doubts:
                world.looked_up_by[row] = max(number, world.looked_up_by.get(row, 0))
            yield
            write(log, *(Outcome(recorded.AT, 1, "done", ((row, row + 1),)) for row in doubts))
            doubts = []
        known = {*rows_of(progress.settled.overlap(0, ROWS)), *rows_of(progress.in_doubt.overlap(0, ROWS))}
        fresh = [row for row in range(ROWS) if row not in known and row not in mine][: world.chance.choice([1, 2])]
        if not fresh and not doubts:
            return
        mine.update(fresh)
        if not fresh or lease.renewal_due:
            world.sleep(1.0)
            write(log)
        yield
        if fresh:
            write(log, *(Intent(recorded.AT, ((row, row + 1),)) for row in fresh))
            yield  # it may be held up right before it sends
            if lease.valid:
                for row in fresh:
                    send(world, row, number)
                yield
                write(log, *(Outcome(recorded.AT, 1, "done", ((row, row + 1),)) for row in fresh))
            else:
                doubts = [*doubts, *fresh]  # without a lease nothing is sent; they are looked up
        yield


def rows_of(ranges: Any) -> list[int]:
    return list(positions_in(ranges))


def write(log: Checkpoint, *entries: Entry) -> None:
    """One commit, as `CommitQueue` makes it."""
    encoded: list[Queued] = [(entry, orjson.dumps(to_json(entry)), None) for entry in entries]
    for entry in log._write(encoded):  # noqa: SLF001 - what its thread does
        log.progress.apply(entry)


def send(world: StoreWorld, row: int, number: int) -> None:
    """A request with a fresh row arrives at the API."""
    later = world.looked_up_by.get(row, 0)
    assert later <= number, f"row {row}: sent by session {number}, after session {later} had looked it up"
    assert world.fresh_by.setdefault(row, number) == number, f"row {row}: sent as fresh by two sessions"
    assert row in world.intended(), f"row {row}: sent without an intent in the log"


def played(seed: int) -> StoreWorld:
    """One interleaving; at the end one more session, for which nothing goes wrong."""
    world = StoreWorld(random.Random(seed))
    for _ in range(STEPS):
        world.step()
    world.calm, world.processes = True, {}
    world.now += 10 * LEASE_S
    for name, data in world.late:
        world._effect(name, data)  # noqa: SLF001
    for _ in session(world):
        pass
    progress = world.log()
    assert progress.settled.size == ROWS, f"{progress.in_doubt.size} rows in doubt at the end"
    return world


@mutant(
    "a line of another process in a store counts as our own",
    "Retrying._attempt",
    swap("Taken(name, found)", "0.0"),
)
@mutant(
    "a lease counts from the end of its commit",
    "WritableObjects.append",
    swap("self.lease.renew(began)", "self.lease.renew(clock())"),
)
@mutant(
    "a successor does not wait for the lease of the process before it",
    "WritableObjects.append",
    drop("self.lease.succeed()"),
)
@mutant(
    "a watch ends before the lease has lapsed",
    "StoreLines.wait_for",
    swap("self._terms.wait_s", "self._terms.world.lease_s / 4"),
)
@pytest.mark.untraced
def test_no_interleaving_breaks_the_invariant() -> None:
    """The seeds are the same in every run, so that a mutant is found or missed always."""
    worlds = [played(seed) for seed in range(SEEDS)]
    assert sum(world.takeovers for world in worlds) > 5 * SEEDS
    assert sum(world.fenced for world in worlds) > SEEDS * 4 // 5


@pytest.mark.untraced
@given(st.integers(min_value=SEEDS))
@settings(max_examples=examples(30))
def test_no_other_one_either(seed: int) -> None:
    played(seed)


@pytest.mark.soak
def test_a_hundred_thousand_interleavings() -> None:
    for seed in range(1_000_000, 1_100_000):
        played(seed)
