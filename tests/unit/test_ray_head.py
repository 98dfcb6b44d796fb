"""The head of a Ray cluster that does not answer, and the choice of a node. Without Ray."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from bulkdel.fleet.on_ray.cluster import Nodes
from bulkdel.fleet.on_ray.head import HEAD_SILENT_S, Head, in_time
from tests.mutants import mutant
from tests.syntax import swap

FAILED = "the head of the Ray cluster has not answered for 15 s"


class AwayFrom:
    """A head that is away between two instants of the loop's clock, seconds. asked: when it was asked."""

    def __init__(self, gone_s: float, back_s: float = float("inf")) -> None:
        self.gone_s, self.back_s = gone_s, back_s
        self.asked: list[float] = []

    async def answers(self, seconds: float) -> bool:
        now = asyncio.get_running_loop().time()
        self.asked.append(now)
        if self.gone_s <= now < self.back_s:
            await asyncio.sleep(seconds)
            return False
        return True


@mutant(
    "each that waits for a head that has failed waits anew",
    "Head.failed",
    swap("self._failing is None", "self._failing is None or self._failing.done()"),
)
@pytest.mark.fake_clock
async def test_what_waits_for_the_head_ends_with_it() -> None:
    """A step that never ends is cancelled 15 s after the last answer, and the next one does not wait again."""
    head, cancelled = Head(AwayFrom(100).answers), list[str]()

    async def hang(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(name)

    with pytest.raises(OSError, match=FAILED) as raised:
        await head.unless_failed(hang("first"))
    assert raised.value.strerror == FAILED
    at = asyncio.get_running_loop().time()
    assert 100 + HEAD_SILENT_S - 2 <= at <= 100 + HEAD_SILENT_S + 2
    assert await head.failed() == FAILED
    with pytest.raises(OSError, match=FAILED):
        await head.unless_failed(hang("second"))
    assert asyncio.get_running_loop().time() < at + 1
    assert cancelled == ["first", "second"]


@pytest.mark.fake_clock
async def test_a_head_that_is_back_in_time_has_not_failed() -> None:
    """All that waits for it has one watch, and a step that ends keeps its result or its error."""
    there = AwayFrom(10, 10 + HEAD_SILENT_S - 2)
    head = Head(there.answers)

    async def late() -> str:
        await asyncio.sleep(60)
        return "placed"

    async def refused() -> str:
        raise OSError(None, "no node")

    failing = asyncio.create_task(head.failed())
    placed = await asyncio.gather(*(head.unless_failed(late()) for _ in range(20)))
    assert placed == ["placed"] * 20
    assert len(there.asked) <= 61
    with pytest.raises(OSError, match="no node"):
        await head.unless_failed(refused())
    assert not failing.done()
    failing.cancel()


@mutant(
    "a request to the head of a Ray cluster has no time limit",
    "in_time",
    swap("seconds", "1_000 * seconds"),
)
async def test_a_call_that_never_returns_holds_nothing_up() -> None:
    """Neither the event loop nor the end of the process: its thread is a daemon."""
    release, began = threading.Event(), time.monotonic()
    with pytest.raises(TimeoutError):
        await in_time(lambda: release.wait(20), 0.05)
    assert time.monotonic() < began + 10
    (left,) = [each for each in threading.enumerate() if each.daemon and each.name == "blocking step"]
    release.set()
    left.join(10)
    assert not left.is_alive()
    assert await in_time(lambda: 7, 10) == 7

    def fail() -> None:
        raise ValueError("of the call")

    with pytest.raises(ValueError, match="of the call"):
        await in_time(fail, 10)


def row(name: str, cpus: float, *, alive: bool = True) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": {"CPU": cpus} if cpus else {}}


def test_the_node_with_the_fewest_processes_is_taken() -> None:
    """Not the head, a dead one, or one that was lost lately; that one all the same when there is no other."""
    nodes, table = Nodes(), [row("head", 0), row("a", 4), row("b", 4), row("dead", 4, alive=False)]
    assert sorted(str(nodes.next(table)) for _ in range(6)) == ["a"] * 3 + ["b"] * 3
    nodes.ended("a", False)
    assert nodes.next(table) == "a"
    nodes.ended("a", True)
    assert [nodes.next(table) for _ in range(3)] == ["b"] * 3
    assert nodes.next([row("a", 4)]) == "a"
    assert nodes.next([row("dead", 4, alive=False)]) is None
