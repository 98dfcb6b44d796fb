"""Shards under one rate: several processes that send at the same time, and the keeper that divides the rate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from bulkdel.core.decision import NoResponse, Request, Response
from bulkdel.core.rate_shares import CLOCKS_APART, LASTS_S
from bulkdel.errors import BulkdelError, FileFailed, Halted
from bulkdel.fleet.rate_keeper import RateKeeper, keeping_rate
from bulkdel.http.shared_rate import KeeperAddress
from bulkdel.library import Summary
from bulkdel.settings import Settings
from bulkdel_jobs.delete_users import DeleteUsers
from tests.simulation.api import FAIR, Weather
from tests.simulation.clock import EPOCH, WorldClock
from tests.simulation.disk import SimulatedDisk
from tests.simulation.drawing import Drawn, draw, plain
from tests.simulation.network import CLEAR, Connection, Network, Roads
from tests.simulation.pipes import PROCESS, PipeLoop
from tests.simulation.program import HOST, Machine, begin, simulated
from tests.simulation.promises import Promises
from tests.simulation.run_promises import SLACK_S, Pace, ProcessPromises, code_of, pause_s_of
from tests.simulation.server import Server
from tests.simulation.sessions import End, Session, drawn_session
from tests.simulation.trace import Trace
from tests.simulation.world import OLD_S, write_ids

GROUP = "shards"
TOLD_S = 0.3
"""After so long, and twice the delay of a message, every process has heard of a 429 that another one got, while all
connections last."""

NEVER: Mapping[str, Any] = {"blind_s": float("inf"), "lag_s": 0.0, "token_s": 7200.0, "announced_s": 7200}


@dataclass(frozen=True)
class Shard:
    """One process. begins_s: after the begin of the world. killed_s: so long after that; None for one that lives."""

    rows: Sequence[str]
    begins_s: float
    concurrency: int
    killed_s: float | None
    roads: Roads


@dataclass(frozen=True)
class Shares:
    """What is drawn.

    rate: of all shards. changes: other rates, each with its time. lost_s: when the keeper is killed, and another one
    begins at once; None for a keeper that lives. delay_s: of a message to the keeper or from it, at most.
    """

    shards: Sequence[Shard]
    rate: float
    changes: Sequence[tuple[float, float]]
    lost_s: float | None
    delay_s: float
    weather: Weather


def draw_shares(seed: int) -> Shares:
    """Draw shards."""
    rng = Random(f"shares {seed}")
    shards = [
        Shard(
            [f"{number:024x}" for number in range(at * 1000, at * 1000 + rng.randrange(10, 120))],
            begins_s=rng.choice([0.0, rng.uniform(0.0, 6.0)]),
            concurrency=rng.randrange(1, 9),
            killed_s=rng.uniform(0.0, 10.0) if rng.random() < 0.3 else None,
            roads=drawn_session(rng).roads if rng.random() < 0.3 else CLEAR,
        )
        for at in range(rng.randrange(2, 5))
    ]
    weather = replace(drawn_session(rng).weather, **NEVER) if rng.random() < 0.5 else FAIR
    rates = [5.0, 20.0, 50.0]
    return Shares(
        shards,
        rate=rng.choice(rates),
        changes=sorted((rng.uniform(1.0, 8.0), rng.choice(rates)) for _ in range(rng.choice([0, 0, 1, 2]))),
        lost_s=rng.uniform(0.5, 8.0) if rng.random() < 0.4 else None,
        delay_s=rng.choice([0.02, 0.5]),
        weather=weather,
    )


class SharedPace:
    """When requests of all processes may leave. wrong: notes what must not have happened."""

    def __init__(self, drawn: Shares, now: Callable[[], float], wrong: Callable[[str], None]) -> None:
        self._rates = [(0.0, drawn.rate)]  # each with its time
        self._rate = drawn.rate
        self._pace = Pace(drawn.rate)
        self._told_s = TOLD_S + 2 * drawn.delay_s
        self._ways = 0
        self._now = now
        self._wrong = wrong
        self._pauses: list[tuple[float, float, int]] = []  # from when until when, and which process knows it anyway
        self._killed = set[int]()
        self._connected_from = 0.0  # when every process hears of what the keeper is told

    def connect(self) -> None:
        """A process opens a way to the server, with a rate limiter of its own: once to plan, and once to send."""
        self._ways += 1

    def sent(self, worker: int) -> None:
        """A request of a process leaves."""
        now = self._now()
        if (rate := self._rate_at(now)) != self._rate:
            self._rate = rate
            self._pace.changed(rate)
        if (broken := self._pace.sent(now, limiters=self._ways)) is not None:
            self._wrong(f"all shards: {broken}")
        if any(begin < now < end - SLACK_S and by != worker for begin, end, by in self._pauses):
            self._wrong(f"shard {worker} sends in the pause that another one was told")

    def throttled(self, worker: int, pause_s: float) -> None:
        """A 429 comes for a process. The others hear of it soon, unless that process was killed."""
        if worker not in self._killed and self._now() >= self._connected_from:
            self._pauses.append((self._now() + self._told_s, self._now() + pause_s, worker))

    def change_rate(self, rate: float) -> None:
        """The keeper divides another rate from now on."""
        self._rates.append((self._now(), rate))

    def cut(self) -> None:
        """The keeper is gone, and another one begins. What the first was told is lost with it.

        The second says nothing until every share of the first has ended.
        """
        self._connected_from, self._pauses = self._now() + LASTS_S * CLOCKS_APART + self._told_s, []

    def _rate_at(self, now: float) -> float:
        """The highest rate that a share may still have. A lower one holds once the shares before it have ended."""
        ends = [at for at, _ in self._rates[1:]]
        return max(
            rate
            for (begin, rate), end in zip(self._rates, [*ends, float("inf")], strict=True)
            if begin <= now <= end + LASTS_S * CLOCKS_APART + self._told_s
        )

    def killed(self, worker: int) -> None:
        """A process is gone. What it was just about to tell is lost."""
        now = self._now()
        self._killed.add(worker)
        self._pauses = [(begin, end, by) for begin, end, by in self._pauses if by != worker or begin <= now]


@dataclass(frozen=True)
class SharedWatch:
    """Watches the requests of one process: `network.Watch`."""

    number: int
    own: ProcessPromises
    pace: SharedPace

    def sent(self, request: Request) -> None:
        """See `network.Watch`."""
        self.own.sent(request)
        self.pace.sent(self.number)

    def answered(self, request: Request, response: Response | NoResponse) -> None:
        """See `network.Watch`."""
        self.own.answered(request, response)
        if isinstance(response, Response) and code_of(response) == 429:
            self.pace.throttled(self.number, pause_s_of(response))


class SharesWorld:
    """Shards from the begin of the first to the end of the last. said: how each ended. The rest: `DeletionWorld`."""

    def __init__(self, seed: int, folder: Path, drawn: Shares | None = None) -> None:
        self.drawn = drawn = drawn or draw_shares(seed)
        self.said: list[str] = []
        self._complete = [False] * len(drawn.shards)
        self._seed = seed
        self._folder = folder
        self._clock = clock = WorldClock()
        self.trace = Trace(lambda: clock.now)
        self._rng = Random(f"world {seed}")
        self._chance = Random(f"program {seed}").random
        self._deletions = [self._deletion(shard) for shard in drawn.shards]
        customs = self._deletions[0].customs
        self._server = Server("user_id", customs, Random(f"server {seed}"), lambda: clock.true, self.trace.note)
        self._promises = [
            Promises(each, self._server, self.trace, lambda: clock.now, folder / str(number))
            for number, each in enumerate(self._deletions)
        ]
        self._pace = SharedPace(drawn, lambda: clock.now, self._promises[0].note_wrong)
        for shard in drawn.shards:
            for id_ in shard.rows:
                self._server.create(id_, EPOCH - OLD_S)

    def play(self) -> list[str]:
        """Play all shards, and judge each. Returns what is wrong."""
        loop = PipeLoop(self._clock.now, self.drawn.delay_s, Random(f"pipes {self._seed}"))
        self._clock.run(loop, self._play(loop))
        for number, promises in enumerate(self._promises):
            log, complete = self._folder / str(number) / "run" / "log.jsonl", self._complete[number]
            if complete or log.exists():
                promises.judge_rows(log, may_remain=not complete)
        return [wrong for promises in self._promises for wrong in promises.wrong]

    def _deletion(self, shard: Shard) -> Drawn:
        end: End = "whole" if shard.killed_s is None else "kill"
        some, options = draw(0).customs, {"concurrency": shard.concurrency, "timeout": 2.0, "look_first": False}
        customs = replace(some, unknown="accept", poisonous=frozenset(), ahead_s=0.0, created_ahead_s=0.0)
        drawn = plain(shard.rows, customs, chunk_size=1, rate=0.0, **options)
        return replace(drawn, sessions=[Session(end=end, weather=self.drawn.weather, roads=shard.roads)])

    async def _play(self, loop: PipeLoop) -> None:
        self._server.begin(self.drawn.weather)
        address = asyncio.get_running_loop().create_future()
        keeping = asyncio.create_task(self._keep(loop, address))
        keeper: KeeperAddress = await address
        async with asyncio.TaskGroup() as group:
            for number in range(len(self.drawn.shards)):
                group.create_task(self._one(loop, number, keeper))
        keeping.cancel()
        await asyncio.wait({keeping})

    async def _keep(self, loop: PipeLoop, address: asyncio.Future[KeeperAddress]) -> None:
        """Keep the rate; after a kill with another keeper, at the same address."""
        drawn = self.drawn
        async with keeping_rate({GROUP: drawn.rate}, clock=loop.time) as keeper:
            address.set_result(keeper.address(GROUP))
            changing = asyncio.create_task(self._change(keeper))
            try:
                await asyncio.sleep(drawn.lost_s if drawn.lost_s is not None else 1e9)
            finally:
                changing.cancel()
            self.trace.note("** the keeper is killed")
            self._pace.cut()
            self._pace.change_rate(drawn.rate)
            loop.break_pipes()
        async with keeping_rate({GROUP: drawn.rate}, clock=loop.time, restarted=True) as keeper:
            loop.listen_also(keeper.address(GROUP).path, address.result().path)
            await asyncio.sleep(1e9)

    async def _change(self, keeper: RateKeeper) -> None:
        for at, rate in self.drawn.changes:
            await asyncio.sleep(at - self._clock.now)
            self.trace.note(f"the rate is {rate:g}")
            keeper.set_rate(GROUP, rate)
            self._pace.change_rate(rate)

    async def _one(self, loop: PipeLoop, number: int, keeper: KeeperAddress) -> None:
        """Play one process."""
        shard = self.drawn.shards[number]
        await asyncio.sleep(shard.begins_s)
        self.trace.note(f"=== shard {number}: {len(shard.rows)} rows, killed after {shard.killed_s}")
        task = asyncio.create_task(self._run(loop, number, keeper))
        await asyncio.wait({task}, timeout=shard.killed_s)
        if not task.done():
            self.trace.note(f"** shard {number} is killed")
            self._pace.killed(number)
            loop.kill(number)
            task.cancel()
            await asyncio.wait({task})
            self.said.append("killed")
            return
        said: str
        try:
            summary = task.result()
            self._promises[number].check_summary(summary)
            said = summary.status
            self._complete[number] = said == "complete"
        except BulkdelError as error:
            said = f"{type(error).__name__}: {error}"
            if not isinstance(error, Halted | FileFailed):
                self._promises[number].note_wrong(said)
        self.said.append(said)
        self.trace.note(f"=== shard {number}: {said}")

    async def _run(self, loop: PipeLoop, number: int, keeper: KeeperAddress) -> Summary:
        PROCESS.set(number)
        promises, deletion, folder = self._promises[number], self._deletions[number], self._folder / str(number)
        folder.mkdir()
        write_ids(folder / "export", deletion.rows)
        network = Network(self._server, Random(f"network {self._seed} {number}"))
        network.begin(self._server.weather, self.drawn.shards[number].roads)
        watch = promises.begin(deletion.sessions[0], 0.0)
        disk = SimulatedDisk(Random(f"disk {self._seed} {number}"), lambda _count, _name: None, promises.note_wrong)

        def connected() -> Connection:
            watch.connect()
            self._pace.connect()
            shared = SharedWatch(number, watch, self._pace)
            return Connection(network, shared, wall=lambda: self._clock.true, timeout_s=2.0)

        machine = Machine(loop, lambda: self._clock.true, self._chance, self._rng, connected, disk.calls, keeper)
        disk.file(folder / "run" / "log.jsonl", promises.log_is_safe)
        settings = Settings(run=folder / "run", host=HOST, max_refused="100%", **deletion.options)
        job = simulated(DeleteUsers, machine.its)
        try:
            async with machine.run(job, folder / "export", settings, machine.world()) as run:
                await begin(run)
                return await run.finished()
        except asyncio.CancelledError:
            watch.switch_off()
            disk.switch_off()
            network.cut_off()
            raise
