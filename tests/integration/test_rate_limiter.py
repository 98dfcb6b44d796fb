"""The rate limiter: nothing beyond the rate in any window, nothing of it lost, and a pause that holds every request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from itertools import product

import pytest

from bulkdel.core.decision import Request, Response
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import HttpTransport, TransportOptions
from tests.examples import one_in
from tests.loops import now
from tests.mutants import mutant
from tests.rawserver import RawServer, always, answer
from tests.syntax import drop, swap


def beyond(times: Iterable[float], rate: float) -> float:
    """How far the worst of all windows is beyond rate * W + 1 + 2 % of rate; at most 0 when the promise holds."""
    lowest, worst = 0.0, float("-inf")  # the first window begins at time 0, before anything was let through
    for count, at in enumerate(times):
        lowest = min(lowest, count - rate * at)
        worst = max(worst, count + 1 - rate * at - lowest)
    return worst - (1 + 0.02 * rate) - 1e-6


async def drive(rate_limiter: RateLimiter, until_s: float, workers: int = 16) -> list[float]:
    """Let `workers` take as fast as they may until `until_s`; return when each was let through."""
    times: list[float] = []

    async def work() -> None:
        while True:
            await rate_limiter.acquire()
            times.append(now())

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(until_s):
            await asyncio.gather(*(work() for _ in range(workers)))
    return times


def make(rate: float) -> RateLimiter:
    return RateLimiter(rate, clock=asyncio.get_running_loop().time)


@mutant(
    "a twentieth more than the rate is sent",
    "RateLimiter._change_bucket",
    swap("AsyncLimiter(size, size / self._rate)", "AsyncLimiter(size, 0.95 * size / self._rate)"),
    case="50-16",
)
@mutant(
    "a twentieth of the rate is not used",
    "RateLimiter._change_bucket",
    swap("AsyncLimiter(size, size / self._rate)", "AsyncLimiter(size, 1.05 * size / self._rate)"),
    case="50-16",
)
@pytest.mark.untraced
@pytest.mark.fake_clock
@pytest.mark.parametrize(("rate", "workers"), one_in(2, product([0.5, 1, 50, 150, 1000], [1, 16, 64])))
async def test_any_window_is_bounded_and_the_rate_is_used(rate: float, workers: int) -> None:
    rate_limiter = make(rate)
    times = await drive(rate_limiter, 20, workers)
    assert beyond(times, rate) <= 0
    assert len(times) >= 0.98 * rate * 20 - 1
    assert rate_limiter.taken == len(times)
    assert rate_limiter.rate == rate


def test_the_measure_of_the_bound_finds_a_burst() -> None:
    assert beyond([0.5, 0.5], 50) <= 0
    assert beyond([0.5, 0.5, 0.5], 50) > 0
    assert beyond([0.0, 0.0, 0.0], 50) > 0
    assert beyond([i / 50 for i in range(100)] + [2.0] * 3, 50) > 0


@mutant(
    "a burst at every start",
    "RateLimiter._change_bucket",
    swap("size - self._earned", "0"),
)
@pytest.mark.fake_clock
@pytest.mark.parametrize("rate", [2, 50, 150])
async def test_a_second_limiter_begins_without_a_burst(rate: float) -> None:
    """The sending after the sample check, a run started again at once: to the server they are one client."""

    times: list[float] = []
    for until_s in range(3, 31, 3):
        times += await drive(make(rate), until_s)
    assert beyond(times, rate) <= 0


@mutant("a tenth of the rate may leave at once", "BURST_SHARE", swap("0.01", "0.1"))
@pytest.mark.fake_clock
async def test_idle_time_is_no_credit_for_a_burst() -> None:
    rate_limiter = make(150)
    before = await drive(rate_limiter, 1)
    await asyncio.sleep(60)
    assert beyond(before + await drive(rate_limiter, 63), 150) <= 0


@pytest.mark.fake_clock
async def test_a_pause_holds_every_request_and_ends_without_a_burst() -> None:
    rate_limiter = make(150)
    loop = asyncio.get_running_loop()
    loop.call_at(1.0, rate_limiter.pause, 3.0)
    times = await drive(rate_limiter, 6, 64)
    assert not [at for at in times if 1.0 < at < 4.0]
    assert beyond(times, 150) <= 0
    assert beyond([at - 4.0 for at in times if at >= 4.0], 150) <= 0
    assert len(times) >= 0.98 * 150 * 3


@pytest.mark.fake_clock
@pytest.mark.parametrize("rate", [100, 0])
async def test_the_latest_429_counts_and_a_shorter_one_never_opens_earlier(rate: float) -> None:
    rate_limiter = make(rate)
    rate_limiter.pause(2)
    loop = asyncio.get_running_loop()
    loop.call_at(1.0, rate_limiter.pause, 3.0)  # extended while a request waits: until 4
    loop.call_at(2.0, rate_limiter.pause, 0.5)  # shorter: still until 4
    await rate_limiter.acquire()
    assert 4.0 <= now() < 4.02  # the first request of all waits for its bucket as well
    assert rate_limiter.taken == 1


@pytest.mark.fake_clock
async def test_paused_s_is_how_long_the_pause_lasts() -> None:
    rate_limiter = make(100)
    rate_limiter.pause(3)
    await asyncio.sleep(1)
    assert rate_limiter.paused_s == pytest.approx(2)
    await asyncio.sleep(2)
    assert rate_limiter.paused_s == 0


@pytest.mark.fake_clock
async def test_a_pass_that_meets_a_pause_is_dropped_not_kept() -> None:
    """Kept passes would leave together when the pause ends: here one a second, all taken just as it begins."""

    rate_limiter = make(1)
    taking = asyncio.ensure_future(drive(rate_limiter, 8, 4))
    await asyncio.sleep(0.5)
    rate_limiter.pause(3)  # the first in the queue waits in the bucket until 0.99
    times = await taking
    assert times[0] == pytest.approx(3.5)
    assert beyond(times, 1) <= 0
    assert len(times) == 5


@pytest.mark.fake_clock
async def test_without_a_rate_requests_wait_only_for_a_pause() -> None:
    rate_limiter = make(0)
    for _ in range(1000):
        await rate_limiter.acquire()
    assert now() < 0.001
    rate_limiter.pause(3)
    await asyncio.gather(*(rate_limiter.acquire() for _ in range(10)))
    assert now() == pytest.approx(3, abs=0.001)
    assert rate_limiter.taken == 1010


@pytest.mark.fake_clock
@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("after_s", [0.0, 0.0005, 0.3, 0.5, 0.99])
async def test_cancelled_waiters_leave_nothing_behind(after_s: float, *, paused: bool) -> None:
    """Cancelled in the queue, in the bucket, in the pause: the others go on at the full rate, no faster."""

    rate_limiter = make(2)
    if paused:
        rate_limiter.pause(0.6)
    doomed = [asyncio.create_task(rate_limiter.acquire()) for _ in range(5)]
    await asyncio.sleep(after_s)
    taken = rate_limiter.taken
    for task in doomed:
        task.cancel()
    await asyncio.gather(*doomed, return_exceptions=True)
    assert rate_limiter.taken == taken == sum(not task.cancelled() for task in doomed)
    times = await drive(rate_limiter, 21)
    assert beyond([0.5] * taken + times, 2) <= 0
    assert len(times) + taken >= 40 - 1
    assert rate_limiter.taken == len(times) + taken


@pytest.mark.fake_clock
async def test_the_head_of_the_queue_cancelled_alone_hands_on_its_turn() -> None:
    rate_limiter = make(2)
    first, second = (asyncio.create_task(rate_limiter.acquire()) for _ in range(2))
    await asyncio.sleep(0.25)
    first.cancel()
    await second
    assert now() == pytest.approx(0.49, abs=0.02)
    assert rate_limiter.taken == 1


@pytest.mark.fake_clock
async def test_another_rate_holds_from_the_next_request_on() -> None:
    rate_limiter = make(100)
    before = await drive(rate_limiter, 5)
    rate_limiter.set_rate(50)
    slower = await drive(rate_limiter, 10)
    rate_limiter.set_rate(200)
    faster = await drive(rate_limiter, 15)
    assert beyond(before, 100) <= 0
    assert beyond([at - 5 for at in slower], 50) <= 0
    assert beyond([at - 10 for at in faster], 200) <= 0
    assert beyond(before + slower, 100) <= 0
    assert beyond(slower + faster, 200) <= 0
    assert (len(before) >= 490, len(slower) >= 245, len(faster) >= 980) == (True, True, True)


@pytest.mark.fake_clock
@pytest.mark.parametrize("ceiling", [1.6, 16, 50, 150])
async def test_a_rate_that_climbs_every_second_loses_nothing_by_it(ceiling: float) -> None:
    """The adaptive rate climbs 1 % of the ceiling a second, and each step is a new bucket that begins full."""

    rate_limiter = make(max(1.0, ceiling / 16))  # the floor of the adaptive rate
    due = 0.0
    times: list[float] = []
    for second in range(1, 61):
        times += await drive(rate_limiter, second)
        due += rate_limiter.rate
        rate_limiter.set_rate(min(ceiling, rate_limiter.rate + ceiling / 100))
    assert beyond(times, rate_limiter.rate) <= 0
    assert len(times) >= 0.98 * due - 1


@pytest.mark.fake_clock
async def test_a_limit_may_come_and_go() -> None:
    rate_limiter = make(0)
    await rate_limiter.acquire()
    rate_limiter.set_rate(10)
    times = await drive(rate_limiter, 2)
    assert 18 <= len(times) <= 20
    rate_limiter.set_rate(0)
    rate_limiter.pause(1)
    await asyncio.gather(*(rate_limiter.acquire() for _ in range(100)))
    assert now() == pytest.approx(3, abs=0.001)


def test_a_negative_rate_is_no_rate() -> None:
    with pytest.raises(ValueError, match="not a rate"):
        RateLimiter(-1)


@pytest.mark.alone
async def test_a_real_server_sees_at_most_154_in_any_second_at_150() -> None:
    """In real time, over a real connection, the first second included.

    Tried three times at most: a busy machine may note one arrival late, and the next one right after it.
    """

    async def seen_by_a_server() -> list[float]:
        server = RawServer(always(answer()))
        rate_limiter = RateLimiter(150)
        request = Request("POST", "/", body=b"{}")
        async with server.running(), HttpTransport(TransportOptions(server.url)) as transport:
            began = asyncio.get_running_loop().time()

            async def work() -> None:
                while True:
                    await rate_limiter.acquire()
                    assert isinstance(await transport.send(request, {}), Response)

            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(began + 1.5):
                    await asyncio.gather(*(work() for _ in range(16)))
        return [request.at for request in server.requests]

    most = []
    for _ in range(3):
        seen = await seen_by_a_server()
        assert len(seen) > 150  # it ran at all; how much of the rate is used is the benchmark's to say
        most.append(max(sum(start <= at < start + 1 for at in seen) for start in seen))
        if most[-1] <= 154:
            break
    assert min(most) <= 154


@mutant(
    "a changed rate does not reach a request that waits",
    "RateLimiter.change_rate",
    drop("self._passing.cancel()"),
)
@pytest.mark.fake_clock
@pytest.mark.parametrize(("before", "after"), [(50, 10), (10, 100), (0.1, 100), (0.5, 2), (2, 0.5)])
async def test_a_change_holds_at_once_also_for_a_request_that_waits(before: float, after: float) -> None:
    """Until the change the old rate holds, from then on the new one: each part is bounded, and used."""
    rate_limiter = make(before)
    await drive(rate_limiter, 5)
    waiting = asyncio.create_task(drive(rate_limiter, 15, 4))
    await asyncio.sleep(0.1)
    rate_limiter.change_rate(after)
    times = [at - 5.1 for at in await waiting if at > 5.1]
    assert beyond(times, after) <= 0
    assert len(times) >= 0.97 * after * 9.5 - 1


@mutant(
    "a changed rate holds only once a request has left at the earlier one",
    "RateLimiter.change_rate",
    swap("rate, True", "rate, False"),
)
@mutant(
    "after a change the earlier rate earns on",
    "RateLimiter.change_rate",
    drop("self._earn()"),
)
@pytest.mark.fake_clock
async def test_a_change_holds_also_for_a_request_that_comes_after_it() -> None:
    rate_limiter = make(1)
    await rate_limiter.acquire()
    begun = now()
    await asyncio.sleep(0.5)
    rate_limiter.change_rate(0.1)
    await asyncio.sleep(1)
    await rate_limiter.acquire()
    assert now() - begun == pytest.approx(0.5 + (1 - 0.5) / 0.1, abs=0.2)
    rate_limiter.change_rate(10)
    await rate_limiter.acquire()
    assert now() - begun == pytest.approx(5.6, abs=0.2)


@mutant(
    "a request that waits for a share keeps its place at the earlier rate",
    "RateLimiter._acquire",
    swap(
        "while self.without_share:\n"
        "    await self._renewed.wait()\n"
        "if self._changed or (self._rate and self._bucket is None):\n"
        "    await self._change_bucket()",
        "if self._changed or (self._rate and self._bucket is None):\n"
        "    await self._change_bucket()\n"
        "while self.without_share:\n"
        "    await self._renewed.wait()",
    ),
)
@pytest.mark.fake_clock
async def test_a_change_holds_also_for_a_request_that_waits_for_a_share() -> None:
    clock = asyncio.get_running_loop().time
    rate_limiter = RateLimiter(0.5, clock=clock, share_clock=clock)
    await rate_limiter.acquire()
    rate_limiter.let_until(now())
    waiting = asyncio.create_task(rate_limiter.acquire())
    await asyncio.sleep(0.1)
    rate_limiter.change_rate(100)
    rate_limiter.let_until(now() + 3)
    await asyncio.sleep(0.1)
    assert waiting.done()
    await waiting


@pytest.mark.fake_clock
async def test_a_limit_and_its_end_hold_for_a_request_that_waits() -> None:
    rate_limiter = make(0.01)
    await rate_limiter.acquire()
    waiting = asyncio.create_task(rate_limiter.acquire())
    await asyncio.sleep(1)
    rate_limiter.change_rate(0)
    await asyncio.wait_for(waiting, 0.3)
    rate_limiter.change_rate(10)
    times = [at - now() for at in await drive(rate_limiter, now() + 5)]
    assert 0.98 * 50 - 1 <= len(times) <= 52


@pytest.mark.fake_clock
async def test_nothing_passes_while_the_limiter_is_held_and_no_burst_follows() -> None:
    rate_limiter = make(50)
    before = await drive(rate_limiter, 2)
    rate_limiter.hold()
    rate_limiter.hold()
    assert await drive(rate_limiter, 100) == []
    rate_limiter.change_rate(20)
    assert rate_limiter.held_s == pytest.approx(98)
    rate_limiter.release()
    after = await drive(rate_limiter, 110)
    assert beyond([*before], 50) <= 0
    assert beyond([at - 100 for at in after], 20) <= 0
    assert len(after) >= 0.98 * 20 * 10 - 1
    assert rate_limiter.held_s == pytest.approx(98), "it grows no more"


@pytest.mark.fake_clock
async def test_a_hold_and_a_pause_both_have_to_end() -> None:
    rate_limiter = make(50)
    rate_limiter.hold()
    rate_limiter.pause(10)
    passing = asyncio.create_task(rate_limiter.acquire())
    await asyncio.sleep(1)
    rate_limiter.release()
    await asyncio.sleep(8)
    assert not passing.done()
    rate_limiter.hold()
    await asyncio.sleep(8)
    assert not passing.done(), "the pause is over, and the second hold is not"
    rate_limiter.release()
    await passing


@mutant(
    "a request leaves although the share has ended while it waited",
    "RateLimiter._acquire",
    swap(
        "passed and self._open_at <= self._clock() and self._held_at is None and not self.without_share",
        "passed and self._open_at <= self._clock() and self._held_at is None",
    ),
)
@pytest.mark.fake_clock
async def test_a_request_whose_share_ends_while_it_waits_in_the_bucket_does_not_leave() -> None:
    clock = asyncio.get_running_loop().time
    rate_limiter = RateLimiter(2, clock=clock, share_clock=clock)
    rate_limiter.let_until(0.4)
    waiting = asyncio.create_task(rate_limiter.acquire())
    await asyncio.sleep(5)
    assert (waiting.done(), rate_limiter.taken, rate_limiter.without_share) == (False, 0, True)
    rate_limiter.let_until(20)
    await waiting
    assert (now() <= 6, rate_limiter.taken, rate_limiter.without_share) == (True, 1, False)


@mutant(
    "a request that waits loses what it has earned when its share changes",
    "RateLimiter._change_bucket",
    swap("size - self._earned", "size"),
)
@pytest.mark.fake_clock
async def test_a_low_rate_that_changes_again_and_again_is_used_and_held() -> None:
    """A request that waits keeps what it has earned, so a share that changes every second lets through what it is."""
    rate_limiter, rates = make(0.5), [0.5, 0.45, 2.0, 0.6] * 10
    driving = asyncio.create_task(drive(rate_limiter, 40, 2))
    for rate in rates:
        rate_limiter.change_rate(rate)
        await asyncio.sleep(1)
    times = await driving
    assert sum(rates) - 2 <= len(times) <= sum(rates) + 1


@pytest.mark.fake_clock
async def test_the_use_of_a_rate_is_what_requests_wait_for() -> None:
    rate_limiter = make(1)

    async def send() -> None:
        await rate_limiter.acquire()
        with rate_limiter.on_wire():
            await asyncio.sleep(5)

    await rate_limiter.acquire()
    before = rate_limiter.use
    await asyncio.gather(*(send() for _ in range(3)))
    assert rate_limiter.use.since(before) == pytest.approx((3, 1 + 2 + 3, 15), abs=0.1)
    rate_limiter.pause(7)
    await asyncio.gather(send(), send())
    assert rate_limiter.use.since(before) == pytest.approx((5, 7, 25), abs=0.1)  # a pause is no limit of the rate
