"""The pace: nothing beyond the rate in any window, nothing lost of it, and a gate that holds everybody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import pytest

from bulkdel.core.decision import Call, Reply
from bulkdel.http.rate_limiter import Throttle
from bulkdel.http.transport import Wire, WireOptions
from tests.fakeclock import now, run_fake
from tests.rawserver import RawServer, always, answer


def beyond(times: Iterable[float], rate: float) -> float:
    """How far the worst of all windows is beyond rate * W + 1 + 2 % of rate; at most 0 when the promise holds."""
    lowest, worst = 0.0, float("-inf")  # the first window begins at time 0, before anything was let through
    for count, at in enumerate(times):
        lowest = min(lowest, count - rate * at)
        worst = max(worst, count + 1 - rate * at - lowest)
    return worst - (1 + 0.02 * rate) - 1e-6


async def drive(throttle: Throttle, until_s: float, workers: int = 16) -> list[float]:
    """Let `workers` take as fast as they may until `until_s`; return when each was let through."""
    times: list[float] = []

    async def work() -> None:
        while True:
            await throttle.acquire()
            times.append(now())

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(until_s):
            await asyncio.gather(*(work() for _ in range(workers)))
    return times


def make(rate: float) -> Throttle:
    return Throttle(rate, clock=asyncio.get_running_loop().time)


@pytest.mark.parametrize("rate", [0.5, 1, 50, 150, 1000])
@pytest.mark.parametrize("workers", [1, 16, 64])
def test_any_window_is_bounded_and_the_rate_is_used(rate: float, workers: int) -> None:
    async def go() -> None:
        throttle = make(rate)
        times = await drive(throttle, 20, workers)
        assert beyond(times, rate) <= 0
        assert len(times) >= 0.98 * rate * 20 - 1
        assert throttle.taken == len(times)
        assert throttle.rate == rate

    run_fake(go())


def test_the_measure_of_the_bound_finds_a_burst() -> None:
    assert beyond([0.5, 0.5], 50) <= 0
    assert beyond([0.5, 0.5, 0.5], 50) > 0
    assert beyond([0.0, 0.0, 0.0], 50) > 0
    assert beyond([i / 50 for i in range(100)] + [2.0] * 3, 50) > 0


@pytest.mark.parametrize("rate", [2, 50, 150])
def test_one_that_takes_over_from_another_does_not_burst(rate: float) -> None:
    """The sending after the survey, a run started again at once: together they are one throttle to the server."""

    async def go() -> None:
        times: list[float] = []
        for until_s in range(3, 31, 3):
            times += await drive(make(rate), until_s)
        assert beyond(times, rate) <= 0

    run_fake(go())


def test_an_idle_time_is_no_credit_for_a_burst() -> None:
    async def go() -> None:
        throttle = make(150)
        before = await drive(throttle, 1)
        await asyncio.sleep(60)
        assert beyond(before + await drive(throttle, 63), 150) <= 0

    run_fake(go())


def test_a_pause_holds_everybody_and_its_end_lets_no_burst_through() -> None:
    async def go() -> None:
        throttle = make(150)
        assert throttle.waiting is None
        loop = asyncio.get_running_loop()
        loop.call_at(1.0, throttle.pause, 3.0)
        times = await drive(throttle, 6, 64)
        assert not [at for at in times if 1.0 < at < 4.0]
        assert beyond(times, 150) <= 0
        assert beyond([at - 4.0 for at in times if at >= 4.0], 150) <= 0
        assert len(times) >= 0.98 * 150 * 3

    run_fake(go())


@pytest.mark.parametrize("rate", [100, 0])
def test_the_latest_429_counts_and_a_shorter_one_never_opens_earlier(rate: float) -> None:
    async def go() -> None:
        throttle = make(rate)
        throttle.pause(2)
        loop = asyncio.get_running_loop()
        loop.call_at(1.0, throttle.pause, 3.0)  # extended while somebody waits: until 4
        loop.call_at(2.0, throttle.pause, 0.5)  # shorter: still until 4
        await throttle.acquire()
        assert 4.0 <= now() < 4.02  # the first request of all waits for its bucket as well
        assert throttle.taken == 1

    run_fake(go())


def test_paused_s_and_waiting_say_what_is_going_on() -> None:
    async def go() -> None:
        throttle = make(100)
        throttle.pause(3)
        await asyncio.sleep(1)
        assert throttle.paused_s == pytest.approx(2)
        assert throttle.waiting == "throttled"
        await asyncio.sleep(2)
        assert throttle.paused_s == 0
        assert throttle.waiting is None

    run_fake(go())


def test_slack_s_is_what_those_before_will_take() -> None:
    async def go() -> None:
        throttle = make(100)
        assert throttle.slack_s == 0
        queue = [asyncio.create_task(throttle.acquire()) for _ in range(20)]
        await asyncio.sleep(0)
        assert throttle.slack_s == pytest.approx(0.2)
        begun = now()
        queue.append(asyncio.create_task(throttle.acquire()))
        queue.pop(3).cancel()
        await asyncio.gather(*queue)
        assert now() - begun >= 0.19, "whoever came then waited as long as was said, but for the one who left"
        assert throttle.slack_s == 0
        unlimited = make(0)
        await unlimited.acquire()
        assert unlimited.slack_s == 0

    run_fake(go())


def test_a_grant_that_meets_a_closed_gate_is_dropped_not_kept() -> None:
    """Kept grants would leave together when the gate opens: here one a second, all taken just as it closes."""

    async def go() -> None:
        throttle = make(1)
        taking = asyncio.ensure_future(drive(throttle, 8, 4))
        await asyncio.sleep(0.5)
        throttle.pause(3)  # the first in the queue waits in the bucket until 0.99
        times = await taking
        assert times[0] == pytest.approx(3.5)
        assert beyond(times, 1) <= 0
        assert len(times) == 5

    run_fake(go())


def test_without_a_rate_nothing_waits_but_for_the_gate() -> None:
    async def go() -> None:
        throttle = make(0)
        for _ in range(1000):
            await throttle.acquire()
        assert now() < 0.001
        throttle.pause(3)
        await asyncio.gather(*(throttle.acquire() for _ in range(10)))
        assert now() == pytest.approx(3, abs=0.001)
        assert throttle.taken == 1010

    run_fake(go())


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("after_s", [0.0, 0.0005, 0.3, 0.5, 0.99])
def test_cancelled_waiters_leave_nothing_behind(after_s: float, *, paused: bool) -> None:
    """Cancelled in the queue, in the nap, in the bucket, at the gate: the others go on at the full rate, no faster."""

    async def go() -> None:
        throttle = make(2)
        if paused:
            throttle.pause(0.6)
        doomed = [asyncio.create_task(throttle.acquire()) for _ in range(5)]
        await asyncio.sleep(after_s)
        taken = throttle.taken
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        assert throttle.taken == taken == sum(not task.cancelled() for task in doomed)
        times = await drive(throttle, 21)
        assert beyond([0.5] * taken + times, 2) <= 0
        assert len(times) + taken >= 40 - 1
        assert throttle.taken == len(times) + taken

    run_fake(go())


def test_the_head_of_the_queue_cancelled_alone_hands_on_its_turn() -> None:
    async def go() -> None:
        throttle = make(2)
        first, second = (asyncio.create_task(throttle.acquire()) for _ in range(2))
        await asyncio.sleep(0.25)
        first.cancel()
        await second
        assert now() == pytest.approx(0.49, abs=0.02)
        assert throttle.taken == 1

    run_fake(go())


def test_another_rate_holds_from_the_next_request_on() -> None:
    async def go() -> None:
        throttle = make(100)
        before = await drive(throttle, 5)
        throttle.set_rate(50)
        slower = await drive(throttle, 10)
        throttle.set_rate(200)
        faster = await drive(throttle, 15)
        assert beyond(before, 100) <= 0
        assert beyond([at - 5 for at in slower], 50) <= 0
        assert beyond([at - 10 for at in faster], 200) <= 0
        assert beyond(before + slower, 100) <= 0
        assert beyond(slower + faster, 200) <= 0
        assert (len(before) >= 490, len(slower) >= 245, len(faster) >= 980) == (True, True, True)

    run_fake(go())


@pytest.mark.parametrize("ceiling", [1.6, 16, 50, 150])
def test_a_rate_that_climbs_every_second_loses_nothing_by_it(ceiling: float) -> None:
    """The adaptive rate climbs 1 % of the ceiling a second. A full bucket at each step would starve a slow one."""

    async def go() -> None:
        throttle = make(ceiling / 16)
        due = 0.0
        times: list[float] = []
        for second in range(1, 61):
            times += await drive(throttle, second)
            due += throttle.rate
            throttle.set_rate(min(ceiling, throttle.rate + ceiling / 100))
        assert beyond(times, throttle.rate) <= 0
        assert len(times) >= 0.98 * due - 1

    run_fake(go())


def test_a_limit_may_come_and_go() -> None:
    async def go() -> None:
        throttle = make(0)
        await throttle.acquire()
        throttle.set_rate(10)
        times = await drive(throttle, 2)
        assert 18 <= len(times) <= 20
        throttle.set_rate(0)
        throttle.pause(1)
        await asyncio.gather(*(throttle.acquire() for _ in range(100)))
        assert now() == pytest.approx(3, abs=0.001)

    run_fake(go())


def test_a_negative_rate_is_no_rate() -> None:
    with pytest.raises(ValueError, match="not a rate"):
        Throttle(-1)


def test_a_real_server_sees_at_most_154_in_any_second_at_150() -> None:
    """In real time, over a real wire, the first second included."""

    async def go() -> None:
        server = RawServer(always(answer()))
        throttle = Throttle(150)
        call = Call("POST", "/", body=b"{}")
        async with server.running(), Wire(WireOptions(server.url)) as wire:
            began = asyncio.get_running_loop().time()

            async def work() -> None:
                while True:
                    await throttle.acquire()
                    assert isinstance(await wire.send(call, {}), Reply)

            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(began + 1.5):
                    await asyncio.gather(*(work() for _ in range(16)))
        seen = [request.at for request in server.requests]
        in_a_second = max(sum(start <= at < start + 1 for at in seen) for start in seen)
        assert in_a_second <= 154
        assert len(seen) > 150  # it ran at all; how much of the rate is used is the benchmark's to say

    asyncio.run(go())
