"""Several processes share one rate: what they send together, by the times at which their requests were let through.

The limiters, the keeper and its socket are the real ones. Time jumps where nothing happens. tests/e2e/test_shards.py
has the same with processes, signals and the arrivals of a server.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path

import orjson
import pytest

from bulkdel.core.decision import NoResponse, Request
from bulkdel.core.rate_shares import CLOCKS_APART, LASTS_S
from bulkdel.fleet.rate_keeper import RateKeeper, keeping_rate, remove_folders_of_killed
from bulkdel.http.connecting import connect
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.shared_rate import KeeperAddress, SharedRate, sharing
from bulkdel.job import TargetOptions
from bulkdel.settings import Settings
from bulkdel_jobs.delete_users import DeleteUsers
from tests.examples import one_in
from tests.harness import KEYS, sandbox
from tests.loops import now
from tests.mutants import mutant
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

EXPIRED_S = LASTS_S * CLOCKS_APART


def beyond(times: list[float], rate: float, workers: int) -> float:
    """How far the worst of all windows is beyond rate * W + workers + 2 % of rate; at most 0 when the bound holds."""
    lowest, worst = math.inf, -math.inf
    for count, at in enumerate(sorted(times)):
        lowest = min(lowest, count - rate * at)
        worst = max(worst, count + 1 - rate * at - lowest)
    return worst - (workers + 0.02 * rate) - 1e-6


def within(times: list[float], begin: float, end: float) -> int:
    return sum(begin <= at < end for at in times)


class Sender:
    """A process that sends as fast as it may. times: of its requests."""

    def __init__(self, limiter: RateLimiter, shared: SharedRate) -> None:
        self.limiter = limiter
        self.shared = shared
        self.times: list[float] = []

    async def send(self, response_s: Callable[[], float]) -> None:
        """One of its workers. response_s: what its server takes for a response."""
        while True:
            self.limiter.set_rate(self.shared.rate(now()))
            await self.limiter.acquire()
            self.shared.sent(now())
            self.times.append(now())
            with self.limiter.on_wire():
                await asyncio.sleep(response_s())
            self.shared.record(now(), failed=False)


@asynccontextmanager
async def sending(
    address: KeeperAddress,
    *,
    workers: int = 16,
    pause_s: float = 0.0,
    response_s: Callable[[], float] | None = None,
    own: float = 0.0,
) -> AsyncIterator[Sender]:
    clock = asyncio.get_running_loop().time
    limiter = RateLimiter(0, clock=clock, share_clock=clock)
    async with sharing(address, limiter, own, clock) as shared:
        sender = Sender(limiter, shared)
        tasks = [asyncio.create_task(sender.send(response_s or (lambda: pause_s))) for _ in range(workers)]
        try:
            yield sender
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


@asynccontextmanager
async def keeping(rate: float, **more: float) -> AsyncIterator[RateKeeper]:
    async with keeping_rate({"pool": rate}, clock=asyncio.get_running_loop().time, **more) as keeper:  # type: ignore[arg-type]
        yield keeper


@pytest.mark.untraced
@pytest.mark.fake_clock
@pytest.mark.parametrize("rate", one_in(2, [2.0, 50.0, 150.0, 1000.0]))
async def test_processes_that_join_and_end_stay_within_the_rate_and_use_it(rate: float) -> None:
    times: list[float] = []
    async with keeping(rate) as keeper, AsyncExitStack() as lasting:
        lasts = [await lasting.enter_async_context(sending(keeper.address("pool"))) for _ in range(2)]
        await asyncio.sleep(5)
        for _ in range(3):
            async with sending(keeper.address("pool")) as sender:
                await asyncio.sleep(4)
            times += sender.times
        await asyncio.sleep(5)
    for sender in lasts:
        times += sender.times
    assert beyond(times, rate, 3) <= 0
    assert len(times) >= 0.98 * rate * 22 - 4 * 3, len(times)


@mutant(
    "what a slow process leaves of the rate is not used by the others",
    "RateShares._targets",
    swap("max(each.wants, least[each.group])", "math.inf"),
    case="150.0",
)
@pytest.mark.untraced
@pytest.mark.fake_clock
@pytest.mark.parametrize("rate", one_in(3, [50.0, 150.0, 500.0]))
async def test_what_a_slow_process_leaves_is_used_by_the_others(rate: float) -> None:
    async with keeping(rate) as keeper:
        address = keeper.address("pool")
        async with (
            sending(address, workers=4, pause_s=0.8) as slow,
            sending(address) as fast,
            sending(address) as other,
        ):
            await asyncio.sleep(23)
    senders = (slow, fast, other)
    assert beyond([at for sender in senders for at in sender.times], rate, 3) <= 0
    used = sum(within(sender.times, 3, 23) for sender in senders)
    assert used >= 0.98 * rate * 20
    assert within(slow.times, 3, 23) >= 0.85 * 20 * 4 / 0.8  # it is slow because of its server, not of its share
    assert within(fast.times, 3, 23) == pytest.approx(within(other.times, 3, 23), rel=0.05)


@pytest.mark.fake_clock
async def test_a_process_without_work_leaves_the_rate_to_the_others_and_gets_its_part_at_once() -> None:
    async with keeping(100) as keeper:
        address = keeper.address("pool")
        async with sending(address) as busy, sending(address, workers=1, pause_s=10.0) as seldom:
            await asyncio.sleep(9)
            assert within(busy.times, 4, 9) >= 0.98 * 100 * 5
            waited = asyncio.create_task(seldom.limiter.acquire())
            await asyncio.sleep(0.4)
            assert waited.done()


@mutant(
    "a small share beside a large one is not raised",
    "RateShares._targets",
    swap("worker.rate if worker.rate < share <= worker.rate * (1 + STEADY) else share", "min(share, worker.rate)"),
)
@mutant(
    "a process asks only for what it has sent",
    "Use.wanted",
    swap("max(with_spare(used), SURE * used * (1 + self.waited_s / self.on_wire_s))", "with_spare(used)"),
)
@pytest.mark.fake_clock
@pytest.mark.parametrize(("rate", "response_s"), [(10.0, 0.02), (10.0, 2.0), (50.0, 0.13), (100.0, 0.5)])
async def test_a_process_with_one_request_in_flight_does_not_crawl(rate: float, response_s: float) -> None:
    """It had nothing to send, so its share is small. Then it sends one request after the other, beside a busy process:
    the tail of a shard, for example. After a few seconds it has most of what it can use, or its half of the rate."""
    took_s = 30.0
    async with keeping(rate) as keeper:
        address = keeper.address("pool")
        async with sending(address) as busy, sending(address, workers=1, response_s=lambda: took_s) as tail:
            await asyncio.sleep(29)
            took_s = response_s
            await asyncio.sleep(21)
    assert beyond([*busy.times, *tail.times], rate, 2) <= 0
    wanted = min(1 / response_s, rate / 2)
    assert within(tail.times, 34, 50) >= 0.7 * wanted * 16 - 2
    assert within(tail.times, 30, 34) >= 0.5 * wanted * 4 - 1
    assert within(busy.times, 34, 50) + within(tail.times, 34, 50) >= 0.95 * rate * 16


@mutant(
    "a slow process asks for all that it could use",
    "SURE",
    swap("0.7", "1.0"),
)
@pytest.mark.untraced
@pytest.mark.fake_clock
@pytest.mark.parametrize(("rate", "workers"), one_in(3, [(50.0, 1), (150.0, 4), (50.0, 16), (150.0, 16), (500.0, 16)]))
async def test_a_slow_process_whose_responses_take_irregular_times_wastes_little(rate: float, workers: int) -> None:
    draw = random.Random(workers)
    async with keeping(rate) as keeper:
        address = keeper.address("pool")
        async with (
            sending(address) as busy,
            sending(address, workers=workers, response_s=lambda: draw.expovariate(1 / 0.8)) as slow,
        ):
            await asyncio.sleep(63)
    assert beyond([*busy.times, *slow.times], rate, 2) <= 0
    assert within(busy.times, 3, 63) + within(slow.times, 3, 63) >= 0.98 * rate * 60
    assert within(slow.times, 3, 63) >= 0.6 * 60 * workers / 0.8


@pytest.mark.fake_clock
async def test_the_keeper_counts_the_share_of_a_process_that_is_gone_until_it_has_expired() -> None:
    """A process connects, gets a share, and disconnects without a word: it may go on sending meanwhile."""
    async with keeping(100) as keeper, sending(keeper.address("pool")) as other:
        await asyncio.sleep(3)
        reader, writer = await asyncio.open_unix_connection(keeper.address("pool").path)
        ask = {"number": 1, "serial": 0, "wants": None}
        writer.write(b'{"group":"pool"}\n' + orjson.dumps(ask) + b"\n")
        asked_at = now()
        share = orjson.loads(await reader.readline())
        assert share["rate"] == pytest.approx(50)
        writer.close()
        await asyncio.sleep(8)
        expired = asked_at + EXPIRED_S
        assert within(other.times, asked_at + 0.2, expired) <= 51 * (EXPIRED_S - 0.2)
        assert within(other.times, expired + 1.2, expired + 4.2) >= 0.98 * 100 * 3


@mutant(
    "a keeper leaves its connections to the end of the event loop",
    "RateKeeper.aclose",
    swap("asyncio.gather(*(task for _, task in serving), return_exceptions=True)", "asyncio.sleep(0)"),
)
async def test_the_connections_of_a_keeper_end_with_it() -> None:
    """At the end of the event loop they would be cancelled, and asyncio would report that as an error."""
    async with keeping_rate({"pool": 100.0}) as keeper:
        reader, writer = await asyncio.open_unix_connection(keeper.address("pool").path)
        writer.write(b'{"group":"pool"}\n' + orjson.dumps({"number": 1, "serial": 0, "wants": None}) + b"\n")
        await reader.readline()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    writer.close()
    assert left == set()


@pytest.mark.fake_clock
async def test_nothing_is_sent_without_a_keeper_and_a_new_keeper_waits_for_the_shares_of_the_old_one() -> None:
    clock = asyncio.get_running_loop().time
    async with AsyncExitStack() as stack:
        first = AsyncExitStack()
        keeper = await first.enter_async_context(keeping(100))
        senders = [await stack.enter_async_context(sending(keeper.address("pool"))) for _ in range(2)]
        path = keeper.address("pool").path
        await asyncio.sleep(3)
        await first.aclose()
        closed = now()
        await asyncio.sleep(5)
        times = [at for sender in senders for at in sender.times]
        assert beyond(times, 100, 2) <= 0
        assert max(times) <= closed + LASTS_S
        assert all(sender.limiter.without_share for sender in senders)
        async with keeping_rate({"pool": 100.0}, restarted=True, clock=clock) as second:
            _link(second.address("pool").path, path)
            begun = now()
            await asyncio.sleep(8)
        times = [at for sender in senders for at in sender.times]
        assert not within(times, closed + LASTS_S, begun + EXPIRED_S)
        assert within(times, begun + EXPIRED_S + 0.5, begun + EXPIRED_S + 3.5) >= 0.98 * 100 * 3
        assert beyond(times, 100, 2) <= 0


@mutant(
    "a process counts its share from the answer",
    "SharedRate._take_all",
    swap('self._asked_at[share["asked"]]', "self._clock()"),
)
@pytest.mark.fake_clock
async def test_a_share_lasts_from_the_ask_on_and_not_from_its_answer() -> None:
    """A keeper answers two seconds late, and then never again."""
    clock, asked = asyncio.get_running_loop().time, list[float]()

    async def answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readline()
            asked.append(now())
            number = orjson.loads(await reader.readline())["number"]
            await asyncio.sleep(2)
            share = {"serial": 1, "rate": 100.0, "asked": number, "pause_s": 0.0, "slowed": None}
            writer.write(orjson.dumps(share) + b"\n")
            await reader.read()
        finally:
            writer.close()

    with tempfile.TemporaryDirectory() as folder:
        server = await asyncio.start_unix_server(answer_late, Path(folder) / "rate")
        async with sending(KeeperAddress(str(Path(folder) / "rate"), "pool")) as sender:
            await asyncio.sleep(8)
        server.close()
    assert clock() > asked[0] + LASTS_S
    assert asked[0] + 2 <= min(sender.times)
    assert max(sender.times) < asked[0] + LASTS_S


def _link(target: str, path: str) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).symlink_to(target)


@mutant("each 429 of one burst halves the rate", "HALVE_EVERY_S", swap("1.0", "0.0"))
@pytest.mark.fake_clock
async def test_a_429_pauses_every_process_at_once_and_halves_the_rate_once() -> None:
    async with keeping(100) as keeper:
        address = keeper.address("pool")
        async with sending(address) as one, sending(address) as other:
            await asyncio.sleep(5)
            at = now()
            one.shared.throttled(at)
            one.limiter.pause(2.0)
            other.shared.throttled(at)  # its answer to the same burst
            other.limiter.pause(2.0)
            await asyncio.sleep(0.01)
            assert keeper.pause_s("pool") == pytest.approx(2, abs=0.1)
            assert keeper.rate("pool") == 50
            await asyncio.sleep(5)
    times = one.times + other.times
    assert not within(times, at + 0.02, at + 1.99)
    assert within(times, at + 2, at + 4.5) <= 2.5 * 55 + 3


@mutant(
    "a 429 of one process pauses no other one",
    "RateShares._grant",
    swap("self.pause_s(worker.group, now)", "0.0"),
)
@mutant(
    "a 429 is told to the others with their next share",
    "RateShares.ask",
    swap("other.owed or other.group == group", "other.owed and other.group == group"),
)
@pytest.mark.fake_clock
async def test_one_process_alone_is_told_of_the_429_of_another() -> None:
    async with keeping(100) as keeper:
        address = keeper.address("pool")
        async with sending(address) as one, sending(address) as other:
            await asyncio.sleep(2)
            at = now()
            one.shared.throttled(at)
            one.limiter.pause(0.5)
            await asyncio.sleep(0.3)
            one.shared.throttled(at)  # the rate is not halved again within a second
            one.limiter.pause(2.0)
            await asyncio.sleep(4)
    assert not within(other.times, at + 0.05, at + 2.3)


@pytest.mark.fake_clock
async def test_a_process_has_a_limit_of_its_own_too_and_leaves_the_rest() -> None:
    async with keeping(100) as keeper:
        address = keeper.address("pool")
        async with sending(address, own=10) as bounded, sending(address) as other:
            await asyncio.sleep(8)
            assert within(bounded.times, 3, 8) <= 10 * 5 + 2
            assert within(other.times, 3, 8) >= 0.98 * 90 * 5
            bounded.shared.set_ceiling(0.0, now())
            await asyncio.sleep(6)
            assert within(bounded.times, 10, 14) >= 0.95 * 50 * 4


@pytest.mark.fake_clock
async def test_groups_have_rates_of_their_own_and_one_over_all() -> None:
    clock = asyncio.get_running_loop().time
    async with keeping_rate({"a": 100.0, "b": 30.0}, over_all=90.0, clock=clock) as keeper:
        async with sending(keeper.address("a")) as one, sending(keeper.address("b")) as other:
            await asyncio.sleep(6)
            assert within(other.times, 2, 6) == pytest.approx(30 * 4, rel=0.03)
            assert within(one.times, 2, 6) == pytest.approx(60 * 4, rel=0.03)
            keeper.set_rate("b", 10.0)
            await asyncio.sleep(5)
            assert within(other.times, 7, 11) == pytest.approx(10 * 4, abs=3)
            assert within(one.times, 8, 11) == pytest.approx(80 * 3, rel=0.03)
        assert keeper.slow("a") == 50
        assert keeper.slowed("a") == "slow-while"


@mutant(
    "the keeper divides the rates for each ask",
    "RateKeeper.divide",
    swap("TOGETHER_S", "0.01 * TOGETHER_S"),
)
@mutant(
    "an ask is answered when the keeper would divide the rates anyway",
    "RateKeeper.divide",
    swap("async with asyncio.timeout(LOOK_S):\n    await self._news.wait()", "await asyncio.sleep(LOOK_S)"),
)
@pytest.mark.fake_clock
async def test_asks_that_come_together_are_answered_together_and_at_once() -> None:
    """A hundred processes ask twice within 10 ms. The rates are divided for the first ask, and then for all others."""
    groups = [f"pool {number}" for number in range(100)]
    at_s = list[float]()

    async def ask_twice(address: KeeperAddress, after_s: float) -> None:
        reader, writer = await asyncio.open_unix_connection(address.path)
        writer.write(orjson.dumps({"group": address.group}) + b"\n")
        await asyncio.sleep(after_s)
        for number in (1, 2):
            writer.write(orjson.dumps({"number": number, "serial": 0, "wants": None}) + b"\n")
        while (share := orjson.loads(await reader.readline()))["asked"] < 2:
            pass
        at_s.append(now())
        assert share["rate"] == 10
        writer.close()

    async with keeping_rate(dict.fromkeys(groups, 10.0), clock=asyncio.get_running_loop().time) as keeper:
        began = now()
        await asyncio.gather(*(ask_twice(keeper.address(group), 0.05 + i * 1e-4) for i, group in enumerate(groups)))
    assert len(at_s) == 100
    assert min(at_s) < began + 0.05 + 0.01
    assert max(at_s) < began + 0.05 + 0.01 + 0.03
    assert len({round(at, 3) for at in at_s}) <= 3


@pytest.mark.fake_clock
@pytest.mark.parametrize("turns", range(4))
async def test_a_keeper_ends_at_once_although_something_was_just_said(turns: int) -> None:
    async with asyncio.timeout(WAIT_MAX_S):
        async with keeping(100) as keeper:
            await asyncio.sleep(0.05)
            ending = now()
            keeper.set_rate("pool", 50)
            for _ in range(turns):
                await asyncio.sleep(0)
    assert now() - ending < 0.01


@pytest.mark.fake_clock
@pytest.mark.parametrize("turns", range(4))
async def test_a_process_ends_at_once_although_it_has_just_had_a_429(turns: int) -> None:
    clock = asyncio.get_running_loop().time
    limiter = RateLimiter(0, clock=clock, share_clock=clock)
    ended = False
    with suppress(TimeoutError):
        async with keeping(100) as keeper, asyncio.timeout(WAIT_MAX_S):
            async with sharing(keeper.address("pool"), limiter, 0.0, clock) as shared:
                await asyncio.sleep(1.55)
                shared.throttled(now())
                for _ in range(turns):
                    await asyncio.sleep(0)
            ended = True
    assert ended


@pytest.mark.fake_clock
async def test_what_is_no_worker_is_disconnected_and_disturbs_nothing() -> None:
    async with keeping(100) as keeper, sending(keeper.address("pool")) as sender:
        for words in (b"GET / HTTP/1.1\n", b'{"group":"other"}\n{"number":1,"wants":1}\n', b'{"group":"pool"}\n[]\n'):
            reader, writer = await asyncio.open_unix_connection(keeper.address("pool").path)
            writer.write(words)
            assert await reader.read() == b""
            writer.close()
        await asyncio.sleep(2)
        assert within(sender.times, 1, 2) >= 98


def test_an_address_is_text_in_the_environment_of_a_child() -> None:
    address = KeeperAddress("/tmp/x/rate", "https://core.example.com pool 1")
    assert KeeperAddress.of(address.text) == address


@mutant(
    "a request is written after the share of its process has ended",
    "connect.may_write",
    swap("may_send() and not rate_limiter.without_share", "may_send() or not rate_limiter.without_share"),
)
async def test_nothing_is_written_without_a_share_although_the_limiter_let_it_through() -> None:
    """A process that was frozen between the two, for example."""
    with sandbox([]) as served:
        target = DeleteUsers().target(TargetOptions(served.url, {}, KEYS, None))
        async with connect(target, Settings(), pool=None, keeper=KeeperAddress("/no/such/rate", "pool")) as client:
            response = await client.transport.send(Request("GET", "/"), {})
        assert isinstance(response, NoResponse)
        assert (response.sent, response.withheld, served.ledger.requests) == (False, True, 0)


@mutant(
    "what is left of a keeper is removed although it is no socket",
    "remove_left_over",
    swap("is_socket_of(path, {os.geteuid()})", "path.stat().st_uid == os.geteuid()"),
)
def test_only_folders_of_keepers_that_were_killed_are_removed() -> None:
    """Not one with another file, one that was made just now, or one in which a keeper listens."""
    names = ("killed", "other", "young", "heard", "empty")
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))  # a socket has a short path
        folders = {name: place / f"bulkdel-{name:_<8}" for name in names}
        for name, folder in folders.items():
            folder.mkdir()
            if name == "other":
                (folder / "rate").write_text("mine")
            elif name != "empty":
                end = stack.enter_context(socket.socket(socket.AF_UNIX))
                end.bind(str(folder / "rate"))
                if name == "heard":
                    end.listen()
            os.utime(folder, (1e6, 1e6) if name != "young" else (2e6, 2e6))
        remove_folders_of_killed(place, 2e6 + 1)
        assert {name for name, folder in folders.items() if not folder.exists()} == {"killed"}
        assert (folders["other"] / "rate").read_text() == "mine"
