"""The head of a Ray cluster that does not answer, and the choice of a node. Without Ray."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from bulkdel.fleet.on_ray.cluster import HEAD_SILENT_S, LOOK_S, Nodes, head_answers, silence_of_head
from tests.mutants import mutant
from tests.syntax import swap

FAILED = "the head of the Ray cluster has not answered for 15 s"


class AwayFrom:
    """A head that is away between two instants of the loop's clock, seconds."""

    def __init__(self, gone_s: float, back_s: float = float("inf")) -> None:
        self.gone_s, self.back_s = gone_s, back_s

    async def answers(self) -> bool:
        if self.gone_s <= asyncio.get_running_loop().time() < self.back_s:
            await asyncio.sleep(LOOK_S)
            return False
        return True


@pytest.mark.fake_clock
async def test_a_head_that_does_not_answer_has_failed() -> None:
    assert await silence_of_head(AwayFrom(100).answers) == FAILED
    assert 100 + HEAD_SILENT_S - 2 <= asyncio.get_running_loop().time() <= 100 + HEAD_SILENT_S + 2


@mutant(
    "a head of a Ray cluster that answers again has failed",
    "silence_of_head",
    swap("if await answers():\n    answered = clock()", "await answers()"),
)
@pytest.mark.fake_clock
async def test_a_head_that_is_back_in_time_has_not_failed() -> None:
    failing = asyncio.create_task(silence_of_head(AwayFrom(10, 10 + HEAD_SILENT_S - 2).answers))
    await asyncio.sleep(60)
    assert not failing.done()
    failing.cancel()


async def test_a_head_is_asked_at_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert await head_answers(address)
    assert not await head_answers(address)


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
