"""Tasks beside a session, and waits that end early."""

from __future__ import annotations

import asyncio

import pytest

from bulkdel.engine.drain import Stop, ended_before, watching
from bulkdel.errors import BulkdelError, Halted


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


async def test_a_wait_ends_early() -> None:
    stop = asyncio.Event()
    assert await ended_before(stop.wait(), asyncio.sleep(0))
    with pytest.raises(BulkdelError):
        await ended_before(stop.wait(), fail(Halted("no")))
    stop.set()
    assert not await ended_before(stop.wait(), asyncio.sleep(60))
