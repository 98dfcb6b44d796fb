"""The messages between a run and its shards, and what a run wants of each."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from bulkdel.core.latency import BOUNDS_S
from bulkdel.engine.drain import Drain
from bulkdel.fleet.channel import (
    Alive,
    ChunkEvent,
    Failed,
    Figures,
    Heard,
    Message,
    Order,
    ShardEnded,
    Wanted,
    line_of,
    message_of,
)
from bulkdel.fleet.placing import Exited, Said, object_in
from bulkdel.fleet.shard_child import ShardChild, ShardWork
from bulkdel.fleet.shard_control import GROUP, ShardControl
from bulkdel.fleet.shard_totals import ShardState, ShardStates
from bulkdel.http.positive_control import SeenBefore
from bulkdel.http.shared_rate import KeeperAddress
from tests.mutants import mutant
from tests.syntax import swap

FIGURES = Figures(7, {"done": 3}, requests=2, latency=([1, 0], 0.5), refused={"404": 1})
WANTED = Wanted(held=True, concurrency=4)
ORDER = Order(
    number=2,
    tool="1.0",
    index="ab",
    protected=["a"],
    pool="p",
    seen=SeenBefore(proven=True, fullest=3, may_list=True, lists_some=True),
    administrator=["x"],
    excluded=["k"],
    settled_max=None,
    debug=False,
    lease_s=10.0,
    wanted=WANTED,
)
ENDED = ShardEnded({"why": "", "signal": None}, {"done": 0}, 0, 0, blind=False)
MESSAGES: list[Message] = [
    ORDER,
    WANTED,
    Heard(0.5),
    Alive(),
    FIGURES,
    ChunkEvent("debug", "chunk.settled", {"rows": 5}),
    Failed(3, "why"),
    ENDED,
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: type(each).__name__)
def test_a_message_arrives_as_it_was_told(message: Message) -> None:
    line = line_of(message)
    assert line.count(b"\n") == 1
    found = message_of(object_in(line))
    assert type(found) is type(message)
    assert line_of(found) == line


class Process:
    """A process that only hears. told: what it was told, the latest last."""

    def __init__(self) -> None:
        self.told: list[Message] = []

    async def poll(self) -> Any:
        for each in [Said, Exited]:
            yield each

    def tell(self, line: bytes) -> None:
        self.told.append(message_of(object_in(line)))

    def signal(self, signum: int) -> None:
        raise AssertionError(signum)

    async def kill(self) -> None:
        """It has ended."""


class Keeper:
    """A keeper of the rate. rates: those that were set."""

    def __init__(self) -> None:
        self.rates: list[tuple[str, float]] = []

    def set_rate(self, group: str, rate: float) -> None:
        self.rates.append((group, rate))


def three_that_send() -> tuple[ShardStates, list[Process]]:
    """Three shards that send."""
    shards, processes = ShardStates([ShardState(number, Figures(10, {})) for number in (1, 2, 3)]), []
    for shard in shards:
        processes.append(Process())
        shard.begin_sending()
        shard.place(processes[-1])
    return shards, processes


@mutant(
    "the concurrency of a shard that has ended is lost",
    "ShardControl.wanted",
    swap("max(1, self._shards.sending)", "len([*self._shards])"),
)
def test_what_a_shard_leaves_of_the_concurrency_is_that_of_the_others() -> None:
    shards, processes = three_that_send()
    keeper: Any = Keeper()
    control = ShardControl(keeper, shards, concurrency=48, until=None)
    assert control.wanted == Wanted(held=False, concurrency=16)
    first = next(iter(shards))
    first.end_sending()
    control.tell()
    assert [process.told for process in processes] == [[], [Wanted(False, 24)], [Wanted(False, 24)]]
    control.set_concurrency(1)
    assert control.wanted.concurrency == 1, "each has at least one request"
    control.set_ceiling(7)
    assert keeper.rates == [(GROUP, 7)]


def test_a_hold_is_told_and_kept_for_a_process_that_comes_later() -> None:
    shards, (first, *_) = three_that_send()
    keeper: Any = Keeper()
    control = ShardControl(keeper, shards, concurrency=3, until=None)
    control.hold()
    assert (first.told[-1], control.wanted.held, control.released.is_set()) == (Wanted(True, 1), True, False)
    control.release()
    assert (first.told[-1], control.wanted.held, control.released.is_set()) == (Wanted(False, 1), False, True)


@mutant(
    "what a process of a shard has done before it ended is no part of the figures",
    "ShardStates.total",
    swap("sum(each.requests for each in session)", "sum(each.requests for each in now)"),
)
def test_the_figures_of_all_shards_add_up() -> None:
    """Requests are those of the session, also of processes that have ended early. A wait is one of all processes."""
    shards, _ = three_that_send()
    first, second, third = shards
    classes = [0] * (len(BOUNDS_S) + 1)
    first.take(Figures(4, {"done": 6}, requests=3, retries=1, in_flight=2, latency=([5, *classes[1:]], 0.5)))
    first.begin_again(Figures(4, {"done": 6}))
    second.take(Figures(9, {"done": 1}, requests=2, in_flight=1, busy=True, latency=([1, *classes[1:]], 0.25)))
    third.take(Figures(10, {}, waiting="sign-in", refused={"404": 2}))
    total = shards.total
    assert (total.remaining, total.counts["done"], total.requests, total.retries) == (23, 7, 5, 1)
    assert (total.in_flight, total.busy, total.waiting, total.refused) == (1, False, None, {"404": 2})
    assert total.latency == ([6, *classes[1:]], 0.75)
    second.end_sending()
    assert (shards.total.in_flight, shards.total.waiting) == (0, "sign-in")


@mutant(
    "a frozen shard keeps the patience of the others",
    "ShardState.silent_s",
    swap("self.figures.silent_s + self.age_s", "self.figures.silent_s"),
)
def test_the_figures_of_a_shard_that_is_frozen_grow_old() -> None:
    """They say that the server has just answered. That is no answer since."""
    shard = ShardState(1, Figures(10, {}))
    shard.take(Figures(10, {}, silent_s=2.0))
    at = time.monotonic()
    time.sleep(0.01)
    assert shard.silent_s >= 2.0 + (time.monotonic() - at) / 2


@mutant(
    "an undo in shards is told to exclude",
    "ShardChild._check_refused",
    swap("self._of_all.plan.may_exclude", "self._of_all.plan.may_exclude or settled > 0"),
)
@pytest.mark.parametrize("may_exclude", [True, False])
def test_an_undo_in_shards_is_not_told_to_exclude(may_exclude: bool) -> None:
    """It has no --exclude."""
    settings = SimpleNamespace(max_refused="1")
    plan: Any = SimpleNamespace(arguments=SimpleNamespace(settings=settings), may_exclude=may_exclude)
    unused: Any = None
    shard, drain = ShardState(1, Figures(10, {})), Drain()
    of_all = ShardWork(
        plan,
        "",
        KeeperAddress("/nowhere", GROUP),
        debug=False,
        lease_s=1.0,
        shards=ShardStates([shard]),
        control=unused,
        logs=unused,
        drain=drain,
        lease=unused,
        on_event=lambda _: None,
    )
    child = ShardChild(shard, None, of_all)
    child.take(object_in(line_of(Figures(8, {"refused": 2}, refused={"404": 2}))))
    assert drain.stop is not None
    assert ("--exclude" in drain.stop.why) == may_exclude
