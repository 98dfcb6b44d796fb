"""What places processes on the nodes of a Ray cluster, while the head is away: with a fake of Ray's module."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bulkdel.fleet.on_ray import cluster
from bulkdel.fleet.placing import Environment, Exited, Work
from bulkdel.http.shared_rate import KeeperAddress
from tests.mutants import mutant
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

ENGINE = "bulkdel.fleet.on_ray.engine"
WORK = Work(["jobs"], Environment(), KeeperAddress("/nowhere", "pool"))
ROWS = [{"NodeID": name, "Alive": True, "Resources": {"CPU": 4}} for name in "abc"]


class RayError(Exception):
    """Of the fake."""


class FakeRay(ModuleType):
    """As much of Ray as the engine calls.

    faults: what a request to the head raises. frozen: no such request returns. gone: the head takes no connection.
    on: the nodes of the actors, in their order.
    """

    def __init__(self) -> None:
        super().__init__("ray")
        self.exceptions = SimpleNamespace(RayError=RayError)
        self.faults: dict[str, Exception] = {}
        self.frozen, self.gone, self.back = threading.Event(), threading.Event(), threading.Event()
        self.on: list[str] = []

    def nodes(self) -> Any:
        self._ask("nodes")
        return ROWS

    def remote(self, _: type) -> Any:
        def options(*, scheduling_strategy: str, **_: Any) -> Any:
            return SimpleNamespace(remote=lambda: self._make(scheduling_strategy))

        return SimpleNamespace(options=options)

    def kill(self, _: Any) -> None:
        self._ask("kill")

    def _make(self, node: str) -> Any:
        self._ask("make")
        self.on.append(node)
        return SimpleNamespace(
            start=SimpleNamespace(remote=self._start), kill=SimpleNamespace(remote=lambda: asyncio.sleep(0))
        )

    async def _start(self, _: Any) -> str:
        return ""

    def _ask(self, what: str) -> None:
        if self.frozen.is_set():
            self.back.wait(60)
        if what in self.faults:
            raise self.faults[what]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeRay, Any]]:
    """The fake, and the module of the engine over it."""
    ray, strategies = FakeRay(), ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda node, soft: node  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.util", ModuleType("ray.util"))
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
    before = sys.modules.pop(ENGINE, None)
    engine = importlib.import_module(ENGINE)

    async def answers(_: str) -> bool:
        return not ray.gone.is_set()

    monkeypatch.setattr(cluster, "head_answers", answers)
    try:
        yield ray, engine
    finally:
        ray.back.set()
        sys.modules.pop(ENGINE, None)
        if before is not None:
            sys.modules[ENGINE] = before


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head has failed after a second."""
    monkeypatch.setattr(cluster, "HEAD_SILENT_S", 1.0)
    monkeypatch.setattr(cluster, "LOOK_S", 0.01)


async def test_an_error_of_ray_is_an_operating_system_error_in_words(fake: tuple[FakeRay, Any]) -> None:
    ray, engine = fake
    ray.faults["nodes"] = RayError("no connection.\nat frame 7")
    with pytest.raises(OSError, match="no connection") as raised:
        await engine.RayNodes("head:6379").place(WORK)
    assert str(raised.value) == "no connection"


@mutant(
    "a request to the head of a Ray cluster has no time limit",
    "_answer",
    swap("asyncio.wait_for(asking, seconds)", "asyncio.wait_for(asking, 1_000 * seconds)"),
)
@pytest.mark.usefixtures("impatient")
async def test_a_head_that_answers_no_request_is_not_waited_for(fake: tuple[FakeRay, Any]) -> None:
    """It still takes connections, as one that is frozen. The thread that asks it is a daemon."""
    ray, engine = fake
    ray.frozen.set()
    with pytest.raises(OSError, match="the head of the Ray cluster") as raised:
        await asyncio.wait_for(engine.RayNodes("head:6379").place(WORK), WAIT_MAX_S)
    assert "does not answer a request within" in str(raised.value)
    (left,) = [each for each in threading.enumerate() if each.daemon and each.name == "blocking step"]
    ray.back.set()
    await asyncio.to_thread(left.join, 10)
    assert not left.is_alive()


@pytest.mark.usefixtures("impatient")
async def test_a_head_that_takes_no_connection_has_failed(fake: tuple[FakeRay, Any]) -> None:
    ray, engine = fake
    failing = asyncio.create_task(engine.RayNodes("head:6379").failed())
    await asyncio.sleep(0.1)
    assert not failing.done()
    ray.gone.set()
    assert "has not answered for" in await asyncio.wait_for(failing, WAIT_MAX_S)


@mutant(
    "processes that are placed at once do not count for each other",
    "Nodes.next",
    swap("self._placed[found] += 1", "self._placed[found] = 0"),
)
async def test_many_placed_at_once_are_spread_over_the_nodes(fake: tuple[FakeRay, Any]) -> None:
    ray, engine = fake
    nodes = engine.RayNodes("head:6379")
    await asyncio.gather(*(nodes.place(WORK) for _ in range(30)))
    assert [ray.on.count(node) for node in "abc"] == [10, 10, 10]


@mutant(
    "an actor that cannot be made leaves its node as it was",
    "Nodes.ended",
    swap("time.monotonic() + AVOIDED_S", "time.monotonic() - AVOIDED_S"),
)
async def test_a_node_whose_actor_cannot_be_made_is_lost(fake: tuple[FakeRay, Any]) -> None:
    """The process has ended then, and what placed it places it again: elsewhere."""
    ray, engine = fake
    nodes = engine.RayNodes("head:6379")
    ray.faults["make"] = RayError("the node has died")
    placed = await nodes.place(WORK)
    assert [each async for each in placed.poll()] == [Exited(None)]
    await placed.kill()
    ray.faults.clear()
    await nodes.place(WORK)
    await nodes.place(WORK)
    assert sorted(ray.on) == ["b", "c"]
