"""Tasks beside a session, and waits that end early."""

from __future__ import annotations

import asyncio

import pytest

from bulkdel.engine.drain import Stop
from bulkdel.engine.workers import watching
from bulkdel.errors import BulkdelError, Halted
from bulkdel.tasks import all_of, beside, ended_before
from tests.mutants import mutant
from tests.syntax import swap


async def fail(error: Exception) -> None:
    raise error


async def test_a_watch_that_fails_begins_the_drain() -> None:
    stops, halted = list[Stop](), Halted("the engine has failed")
    async with watching(stops.append, fail(halted)):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert stops == [Stop("the engine has failed", error=halted)]


async def test_an_unexpected_error_of_a_watch_is_raised_at_the_end() -> None:
    stops, went_on = list[Stop](), asyncio.Event()

    async def session() -> None:
        async with watching(stops.append, fail(ZeroDivisionError()), asyncio.sleep(60)):
            await asyncio.sleep(0.01)
            went_on.set()

    with pytest.raises(ZeroDivisionError):
        await session()
    assert (stops, went_on.is_set()) == ([Stop("unexpected: ZeroDivisionError")], True)


@mutant(
    "what is cancelled beside others is not awaited",
    "end_all",
    swap("not task.cancelling()", "True"),
    case="cancelled",
)
@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "failed"])
async def test_when_all_are_cancelled_or_one_fails_each_of_them_ends_first(cancelled: bool) -> None:
    ended = list[int]()

    async def step(number: int) -> int:
        try:
            await asyncio.sleep(60 if cancelled or number else 0)
        finally:
            await asyncio.sleep(number / 50)  # such as a wait for a process that was killed
            ended.append(number)
        raise ZeroDivisionError

    together = asyncio.create_task(all_of(map(step, range(3))))
    await asyncio.sleep(0.01)
    if cancelled:
        together.cancel()
    with pytest.raises(asyncio.CancelledError if cancelled else ZeroDivisionError):
        await together
    assert ended == [0, 1, 2]


async def test_the_results_of_all_are_in_their_order() -> None:
    async def step(number: int) -> int:
        await asyncio.sleep(-number / 100)
        return number

    assert await all_of(map(step, range(-2, 1))) == [-2, -1, 0]
    assert await all_of(map(step, ())) == []


async def test_watches_end_with_the_block_also_before_they_have_begun() -> None:
    ended = list[int]()

    async def watch(number: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    async with watching(lambda _: None, watch(1), watch(2)):
        await asyncio.sleep(0)
    assert ended == [1, 2]
    async with watching(lambda _: None, watch(3)):
        pass
    assert ended == [1, 2]


async def test_a_step_beside_a_block_has_ended_when_the_block_has() -> None:
    ended = list[bool]()

    async def step() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append(True)

    async with beside(step()):
        await asyncio.sleep(0)
    assert ended == [True]
    async with beside(fail(ZeroDivisionError())) as failed:
        await asyncio.wait({failed})
    assert isinstance(failed.exception(), ZeroDivisionError)


async def test_a_wait_ends_early() -> None:
    stop = asyncio.Event()
    assert await ended_before(stop.wait(), asyncio.sleep(0))
    with pytest.raises(BulkdelError):
        await ended_before(stop.wait(), fail(Halted("no")))
    stop.set()
    assert not await ended_before(stop.wait(), asyncio.sleep(60))
