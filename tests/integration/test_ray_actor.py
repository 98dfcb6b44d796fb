"""The actor and what placed its process, without Ray: real processes, a real keeper, and every call sent twice."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bulkdel.checkpoint.reader import read_log
from bulkdel.errors import NotAcceptable
from bulkdel.fleet.local import LocalProcess, LocalProcesses
from bulkdel.fleet.on_ray import on_node
from bulkdel.fleet.on_ray.actor import Actor, Parcel, parcel_of
from bulkdel.fleet.on_ray.on_node import Lost, OnNode
from bulkdel.fleet.on_ray.relay import Incoming, Item, Kind
from bulkdel.fleet.placing import Engine, Environment, Exited, Said, Work
from bulkdel.fleet.rate_keeper import keeping_rate
from bulkdel.fleet.sharded_session import ShardedSession
from bulkdel.http.shared_rate import KeeperAddress
from bulkdel.job import load_job
from bulkdel.library import Run
from bulkdel.place.opening import log_at
from bulkdel.safety.run_plan import RunArguments
from bulkdel.settings import Settings
from bulkdel.store_path import store_path
from bulkdel_jobs.sandbox import Sandbox
from tests.e2e.test_shards import export_of
from tests.harness import KEYS, POOL, Case, bulkdel, case, sandbox, user_ids
from tests.mutants import mutant
from tests.syntax import drop, swap
from tests.waits import WAIT_MAX_S

NOWHERE = KeeperAddress("/nowhere", "pool")


class Twice:
    """The calls of an actor, each of which arrives twice. silent: it does not answer any more."""

    def __init__(self) -> None:
        self.actor = Actor()
        self.silent = False
        self.killed = False

    async def start(self, parcel: Parcel) -> str:
        first, second = await asyncio.gather(self.actor.start(parcel), self.actor.start(parcel))
        assert first == second
        return first

    async def poll(self, after: int) -> Sequence[Item]:
        if self.silent:
            raise Lost("no answer")
        _, second = await asyncio.gather(self.actor.poll(after), self.actor.poll(after))
        return second

    async def tell(self, items: Sequence[Item]) -> None:
        if self.silent:
            raise Lost("no answer")
        await self.actor.tell(items)
        await self.actor.tell(items)

    async def kill(self) -> None:
        self.killed = True
        if not self.silent:
            await self.actor.kill()


def children() -> list[int]:
    """The processes of bulkdel that this process has started."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (each / "stat").read_text().rpartition(")")[2].split()
            if int(parent[1]) == os.getpid() and parent[0] != "Z" and b"-m\0bulkdel" in (each / "cmdline").read_bytes():
                found.append(int(each.name))
    return found


async def one_more_than(before: list[int]) -> set[int]:
    """Wait until one process more is there. One that has just begun has no command line for a moment."""
    async with asyncio.timeout(WAIT_MAX_S):
        while not (found := {*children()} - {*before}):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    assert len(found) == 1, found
    return found


def work(*words: object, **environ: str) -> Work:
    return Work([str(word) for word in words], Environment(values=environ), NOWHERE)


async def placed(work: Work, calls: Twice, lost: list[bool] | None = None) -> OnNode:
    found = OnNode(calls, "n1", work.keeper, ([] if lost is None else lost).append)
    await found.start(parcel_of(work))
    return found


async def said(process: OnNode) -> AsyncIterator[Said | Exited]:
    async with asyncio.timeout(WAIT_MAX_S):
        async for each in process.poll():
            yield each


async def all_said(it: Case, folder: Path) -> list[Said | Exited]:
    """All that the process of a run says, which a node runs to its end at 200 requests a second."""
    async with keeping_rate({"pool": 200.0}) as keeper:
        order = Work([str(each) for each in it.args], Environment(values=KEYS), keeper.address("pool"), folder)
        process = await placed(order, Twice())
        everything = [each async for each in said(process)]
        await process.kill()
    return everything


async def exited(actor: Actor) -> None:
    """Wait until the actor knows that its process has ended."""
    async with asyncio.timeout(WAIT_MAX_S):
        while not any(kind == Kind.EXITED for _, kind, _, _ in await actor.poll(0)):  # noqa: ASYNC110 - it keeps them
            await asyncio.sleep(0.02)


@mutant(
    "a call of Ray that is sent twice starts two processes",
    "Actor.start",
    swap("self._starting is None", "self._starting is None or not self._starting.done()"),
)
async def test_a_call_that_arrives_twice_starts_one_process() -> None:
    before = children()
    process = await placed(work("sandbox", "--port", 0), Twice())
    started = await one_more_than(before)
    try:
        await asyncio.sleep(0.2)
        assert {*children()} - {*before} == started
        process.signal(signal.SIGTERM)
        assert sum([isinstance(each, Exited) async for each in said(process)]) == 1
    finally:
        for pid in started & {*children()}:
            os.kill(pid, signal.SIGKILL)
        await process.kill()


async def test_a_run_on_a_node_shares_the_rate_and_ends_with_its_result(tmp_path: Path) -> None:
    """The lines between the process and the keeper pass through the actor, in both directions."""
    ids = user_ids(300, seed=51)
    with case(tmp_path, ids) as it:
        everything = await all_said(it, tmp_path)
        exited = everything[-1]
        assert isinstance(exited, Exited), everything
        assert (exited.code, json.loads(exited.result)["deleted"]) == (0, 300), everything
        assert it.effects(ids) == [1] * 300
    assert f"from pool {POOL}".encode() not in exited.result


@mutant(
    "a node with another version is accepted",
    "Actor._start",
    swap('parcel["tool"] != here', 'parcel["tool"] != here and not parcel["words"]'),
)
async def test_another_version_is_refused_by_name() -> None:
    before, calls = children(), Twice()
    parcel = Parcel(**{**parcel_of(work("jobs")), "tool": "9.9.9"})
    process = OnNode(calls, "n1", NOWHERE, lambda _: None)
    with pytest.raises(NotAcceptable, match=r"node n1 has bulkdel .* and bulkdel 9\.9\.9 gives the order"):
        await process.start(parcel)
    assert (children(), calls.killed) == (before, True)


@mutant(
    "a secret of the environment travels to the nodes",
    "Environment.elsewhere",
    swap(
        "replace(self, secrets={}, sources={**self.sources, **{name: name for name in self.secrets}})",
        "replace(self, sources={**self.sources, **{name: name for name in self.secrets}})",
    ),
)
async def test_no_secret_is_in_what_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node has the values. What is Ray's own, and what the run drops, is not passed on to the process."""
    secret = Environment(values={"A": "1"}, secrets={"BULKDEL_PROXY": "http://u:p@h"}, dropped=["BULKDEL_RATE"])
    parcel = parcel_of(Work(["jobs"], secret, NOWHERE))
    assert "http://u:p@h" not in repr(parcel)
    for name in ("BULKDEL_PROXY", "BULKDEL_RATE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "of the node")
    made = Environment(**parcel["environment"]).made(dict(os.environ))
    assert (made["A"], made["BULKDEL_PROXY"], "BULKDEL_RATE" in made) == ("1", "of the node", False)


async def test_a_node_without_a_secret_of_the_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would send without the proxy that the run has."""
    monkeypatch.delenv("BULKDEL_PROXY", raising=False)
    before, calls = children(), Twice()
    secret = Environment(secrets={"BULKDEL_PROXY": "http://u:p@h"})
    with pytest.raises(NotAcceptable, match=r"node n1 .* BULKDEL_PROXY is not set") as refused:
        await placed(Work(["jobs"], secret, NOWHERE), calls)
    assert "u:p" not in str(refused.value)
    assert (children(), calls.killed) == (before, True)


async def test_a_node_that_does_not_answer_is_lost() -> None:
    calls, lost = Twice(), list[bool]()
    process = await placed(work("sandbox", "--port", 0), calls, lost)
    calls.silent = True
    assert [each async for each in said(process)] == [Exited(None)]
    await process.kill()
    assert (lost, calls.killed) == ([True], True)
    await calls.actor.kill()
    await exited(calls.actor)


class Lossy:
    """The calls of an actor whose process does nothing. It loses some calls.

    losses: for each call of `tell` that is lost, whether it has arrived before. says: the items of its first answer.
    told: what has arrived. asked: how often it was told something.
    """

    def __init__(self, losses: Sequence[bool] = (), says: Sequence[Item] = ()) -> None:
        self.told = list[Item]()
        self.asked = 0
        self._losses = [*losses]
        self._says = [*says]
        self._incoming = Incoming()
        self._killed = asyncio.Event()

    async def start(self, parcel: Parcel) -> str:
        return ""

    async def poll(self, after: int) -> Sequence[Item]:
        if after < len(self._says):
            return self._says
        await self._killed.wait()
        raise Lost("the actor was killed")

    async def tell(self, items: Sequence[Item]) -> None:
        self.asked += 1
        arrived = self._losses.pop(0) if self._losses else None
        if arrived is not False:
            self.told += self._incoming.fresh(items)
        if arrived is not None:
            raise Lost("no answer")

    async def kill(self) -> None:
        self._killed.set()

    async def heard(self, count: int) -> list[tuple[str, int, bytes]]:
        """What it was told, after some time in which so many items may arrive."""
        for _ in range(250):
            if len(self.told) >= count:
                break
            await asyncio.sleep(0.02)
        return [(kind, key, line) for _, kind, key, line in self.told]


async def placed_on(calls: Lossy) -> OnNode:
    found = OnNode(calls, "n1", NOWHERE, lambda _: None)
    await found.start(parcel_of(work("jobs")))
    return found


@mutant(
    "nothing reaches a process on a node after a call was lost",
    "OnNode._tell_all",
    swap("await asyncio.sleep(TELL_AGAIN_S)", "await asyncio.sleep(TELL_AGAIN_S)\nreturn"),
)
async def test_what_a_lost_call_has_told_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call is lost on its way, and of the next one only the answer. Each line arrives once, in its order."""
    monkeypatch.setattr(on_node, "TELL_AGAIN_S", 0.05)
    calls = Lossy(losses=[False, True])
    process = await placed_on(calls)
    lines = [b"%d\n" % number for number in range(5)]
    for line in lines:
        process.tell(line)
        await asyncio.sleep(0.02)
    process.signal(signal.SIGTERM)
    expected = [*((str(Kind.CHANNEL), 0, line) for line in lines), (str(Kind.SIGNAL), int(signal.SIGTERM), b"")]
    assert await calls.heard(len(expected)) == expected
    await process.kill()


async def test_nothing_is_told_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_node, "TELL_AGAIN_S", 0.01)
    calls = Lossy(losses=[False] * 1_000)
    process = await placed_on(calls)
    process.tell(b"line\n")
    await asyncio.sleep(0.2)
    await process.kill()
    asked = calls.asked
    assert asked > 1
    await asyncio.sleep(0.2)
    assert calls.asked == asked


@mutant(
    "a node whose process was killed here is called lost",
    "OnNode._lose",
    swap("not self._ended", "self._node"),
)
@pytest.mark.parametrize("ends_first", [True, False])
async def test_a_node_whose_process_was_killed_here_is_not_lost(
    ends_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = list[str]()
    monkeypatch.setattr(on_node, "say", lambda _text, event, **_: events.append(event))
    calls = Lossy()
    process = await placed_on(calls)

    async def heard() -> list[Said | Exited]:
        return [each async for each in said(process)]

    polling = asyncio.create_task(heard())
    await asyncio.sleep(0.05)
    await (process if ends_first else calls).kill()
    assert await polling == [Exited(None)]
    assert events == ([] if ends_first else ["node.lost"])
    await process.kill()


@mutant(
    "a process on a node waits for a keeper that could not be reached",
    "Relay._connect",
    swap("self.outgoing.add(Kind.RATE_END, key=key)", "pass"),
)
async def test_a_connection_to_a_keeper_that_is_gone_ends() -> None:
    """The process connects again by itself."""
    said_before = [(str(Kind.RATE_BEGIN), 7, b""), (str(Kind.RATE), 7, b"{}\n"), (str(Kind.EXITED), 0, b"")]
    calls = Lossy(says=[(number, *item) for number, item in enumerate(said_before, 1)])
    process = await placed_on(calls)
    assert [each async for each in said(process)] == [Exited(0)]
    assert await calls.heard(1) == [(str(Kind.RATE_END), 7, b"")]
    await process.kill()


async def test_a_run_on_a_node_outlasts_a_keeper_that_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, failures = asyncio.open_unix_connection, [errno.EMFILE, errno.ECONNREFUSED]

    async def sometimes(path: str, limit: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if failures:
            raise OSError(failures.pop(), "no connection")
        return await connect(path, limit=limit)

    monkeypatch.setattr(asyncio, "open_unix_connection", sometimes)
    ids = user_ids(100, seed=59)
    with case(tmp_path, ids) as it:
        everything = await all_said(it, tmp_path)
        exited = everything[-1]
        assert isinstance(exited, Exited), everything
        assert (exited.code, failures, it.effects(ids)) == (0, [], [1] * 100), everything


class Nodes:
    """An engine of nodes that are in this process. calls: those of each actor, in their order."""

    def __init__(self) -> None:
        self.calls = list[Twice]()
        self.failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def failed(self) -> str:
        return await self.failure

    async def place(self, work: Work) -> OnNode:
        self.calls.append(Twice())
        return await placed(work, self.calls[-1])

    def leave(self) -> None:
        pass


@asynccontextmanager
async def sent_on(engine: Engine, folder: Path, ids: Sequence[str], **more: Any) -> AsyncIterator[tuple[Sandbox, Run]]:
    """A run in two shards that this engine places. It is confirmed and started."""
    export = export_of(folder, ids)
    with sandbox(ids) as served:
        settings = Settings(
            host=served.url,
            run=store_path(f"file://{folder}/store"),
            shards="2",
            rate=60,
            chunk_size=10,
            concurrency=8,
            **more,
        )
        arguments = RunArguments(load_job("delete-users"), str(export), settings, {}, {**os.environ, **KEYS})
        session = partial(ShardedSession, engine=engine)
        async with Run(arguments, make_session=session) as opened:
            await opened.plan()
            await opened.confirm(ids=len(ids), pool=POOL)
            opened.start()
            yield served, opened


async def deleted(served: Sandbox, count: int) -> None:
    async with asyncio.timeout(WAIT_MAX_S):
        while served.pool.deleted < count:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


async def no_more_than(before: list[int]) -> None:
    """Wait until every process of bulkdel has ended that was started since."""
    async with asyncio.timeout(WAIT_MAX_S):
        while children() != before:  # noqa: ASYNC110 - nothing tells that a process has ended
            await asyncio.sleep(0.05)


@pytest.fixture
def _keys_on_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@mutant(
    "a run halts when the machine of one of its shards is lost",
    "Supervisor.run",
    swap(
        "self._restarts.why_none(lost, in_vain, since_boot() - progressed_at)",
        "self._restarts.why_none(lost, IN_VAIN_MAX if end.exited.code is None else in_vain, 0.0)",
    ),
    crashes=True,
)
@pytest.mark.usefixtures("_keys_on_nodes")
async def test_the_shard_of_a_node_that_is_cut_off_is_taken_over(tmp_path: Path) -> None:
    """The node lives and reaches the server and the store. Its process gets no share of the rate, and loses its log."""
    ids, before, nodes = user_ids(2_400, seed=52), children(), Nodes()
    async with sent_on(nodes, tmp_path, ids) as (served, opened):
        await deleted(served, 200)
        cut_off = nodes.calls[0]
        cut_off.silent = True
        async with asyncio.timeout(WAIT_MAX_S):
            ended = await opened.finished()
        assert (ended.exit_code, ended.counts["deleted"]) == (0, len(ids)), ended.why
        replaced = len(nodes.calls) - 2
        assert replaced >= 1, "on a busy machine another process may be late, and count as lost too"
        assert {served.ledger.effects(each, "user_id") for each in ids} == {1}
        await no_more_than(before)
        await exited(cut_off.actor)
        sent = sum(size * count for size, count in served.ledger.chunk_sizes.items())
        assert sent - len(ids) <= replaced * 8 * 10


@mutant(
    "the log of a shard that goes on after the session is refused",
    "begins_as",
    swap(
        "if reader.seq == lines:  # those before the line that was just read\n    break",
        "if reader.seq == lines + 1:  # those before the line that was just read\n    break",
    ),
)
@pytest.mark.soak
@pytest.mark.usefixtures("_keys_on_nodes")
async def test_the_log_of_a_process_that_was_lost_may_go_on_after_the_session(tmp_path: Path) -> None:
    """It lives until it hears nothing for a while, and renews its lease meanwhile. The run can be resumed."""
    ids, nodes, url = user_ids(2_400, seed=59), Nodes(), f"file://{tmp_path}/store"
    async with sent_on(nodes, tmp_path, ids) as (served, opened):
        await deleted(served, 200)
        nodes.calls[0].silent = True
        opened.drain()
        async with asyncio.timeout(WAIT_MAX_S):
            await opened.finished()
        stop = read_log(log_at(store_path(url))).progress.stop
        assert stop is not None
        noted = {int(number): lines for number, (lines, _) in stop.facts["shards"].items()}
        async with asyncio.timeout(WAIT_MAX_S):
            while read_log(log_at(store_path(url))).lines == noted:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.2)
        await nodes.calls[0].actor.kill()
        await exited(nodes.calls[0].actor)
        options = ("--shards", 2, "--run", url, "--take-over", "--limit", 10)
        case = Case(tmp_path / "export.jsonl", served, len(ids), [*options, "--rate", 0])
        ran = await asyncio.to_thread(bulkdel, *case.args)
        assert (ran.code, ran.summary["status"]) == (0, "incomplete"), ran


@mutant(
    "a shard that is placed again may settle its whole portion again",
    "_prepared",
    swap("max(0, order.settled_max - log.progress.outcomes)", "order.settled_max"),
)
@pytest.mark.soak
@pytest.mark.usefixtures("_keys_on_nodes")
async def test_a_limit_holds_for_the_shard_of_a_node_that_is_cut_off_too(tmp_path: Path) -> None:
    """What the lost process has settled before its log was taken over counts."""
    ids, before, nodes = user_ids(2_400, seed=55), children(), Nodes()
    async with sent_on(nodes, tmp_path, ids, limit=600) as (served, opened):
        await deleted(served, 100)
        nodes.calls[0].silent = True
        async with asyncio.timeout(WAIT_MAX_S):
            ended = await opened.finished()
        assert (ended.exit_code, served.pool.deleted) == (0, 600), ended.why
        assert len(nodes.calls) == 2
        await no_more_than(before)


@pytest.mark.usefixtures("_keys_on_nodes")
async def test_a_run_halts_with_its_engine(tmp_path: Path) -> None:
    """Its requests may finish, and its log says how far it is. Nothing is placed again."""
    ids, before, nodes = user_ids(2_400, seed=53), children(), Nodes()
    async with sent_on(nodes, tmp_path, ids) as (served, opened):
        await deleted(served, 200)
        nodes.failure.set_result("the head does not answer")
        async with asyncio.timeout(WAIT_MAX_S):
            ended = await opened.finished()
        assert (ended.exit_code, ended.why) == (4, "the head does not answer")
        assert ended.counts["deleted"] == served.pool.deleted < len(ids)
        assert len(nodes.calls) == 2
        await no_more_than(before)


class Slow(Nodes):
    """Nodes that place a process when `may_place` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.may_place = asyncio.Event()
        self.asked = 0

    async def place(self, work: Work) -> OnNode:
        self.asked += 1
        await self.may_place.wait()
        return await super().place(work)


@mutant(
    "a pause is not told to a shard that is being placed",
    "ShardChild.begin",
    drop("placed.tell(line_of(self._of_all.control.wanted))"),
)
@pytest.mark.soak
@pytest.mark.usefixtures("_keys_on_nodes")
async def test_a_pause_holds_for_a_shard_that_is_being_placed(tmp_path: Path) -> None:
    """It is told once the process is there, so it sends nothing before the pause ends."""
    ids, nodes = user_ids(2_400, seed=56), Slow()
    async with sent_on(nodes, tmp_path, ids) as (served, opened):
        async with asyncio.timeout(WAIT_MAX_S):
            while nodes.asked < 2:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        opened.pause()
        nodes.may_place.set()
        await asyncio.sleep(5)  # the first request of a shard comes within two seconds
        assert served.ledger.deleted == 0
        opened.resume()
        await deleted(served, 20)
        opened.drain()
        async with asyncio.timeout(WAIT_MAX_S):
            await opened.finished()


@pytest.mark.usefixtures("_keys_on_nodes")
async def test_a_drain_does_not_wait_for_a_shard_that_is_being_placed(tmp_path: Path) -> None:
    before, nodes = children(), Slow()
    async with sent_on(nodes, tmp_path, user_ids(2_400, seed=57)) as (served, opened):
        async with asyncio.timeout(WAIT_MAX_S):
            while nodes.asked < 2:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        opened.drain()
        async with asyncio.timeout(WAIT_MAX_S):
            ended = await opened.finished()
        assert (ended.exit_code, served.ledger.deleted, children()) == (4, 0, before), ended.why


@mutant(
    "a placing is not given up when the engine has failed",
    "Supervisor._run_once",
    swap("ended_before(self._draining.wait(), place())", "ended_before(asyncio.Event().wait(), place())"),
)
@pytest.mark.usefixtures("_keys_on_nodes")
async def test_a_run_halts_with_its_engine_while_a_shard_is_being_placed(tmp_path: Path) -> None:
    """A process may take a minute to begin, and nothing may wait so long for an engine that has failed."""
    before, nodes = children(), Slow()
    async with sent_on(nodes, tmp_path, user_ids(2_400, seed=60)) as (served, opened):
        async with asyncio.timeout(WAIT_MAX_S):
            while nodes.asked < 2:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        nodes.failure.set_result("the head does not answer")
        finishing = asyncio.create_task(opened.finished())
        in_time, _ = await asyncio.wait({finishing}, timeout=WAIT_MAX_S)
        nodes.may_place.set()
        ended = await finishing
        assert in_time, "it has waited for the placing"
        assert (ended.exit_code, ended.why, served.ledger.deleted) == (4, "the head does not answer", 0)
        assert children() == before


class Losing(Nodes):
    """Nodes that are lost before their process has sent something."""

    async def place(self, work: Work) -> OnNode:
        calls = Twice()
        self.calls.append(calls)
        found = await placed(work, calls)
        calls.silent = True
        await calls.actor.kill()
        return found


@mutant(
    "a shard is placed for ever on machines that are lost",
    "Restarts.why_none",
    swap("self.patience_s", "self.patience_s * 12"),
)
@pytest.mark.usefixtures("_keys_on_nodes")
async def test_a_run_whose_processes_are_always_lost_has_patience(tmp_path: Path) -> None:
    before, nodes = children(), Losing()
    async with sent_on(nodes, tmp_path, user_ids(2_400, seed=58), patience=1) as (served, opened):
        async with asyncio.timeout(WAIT_MAX_S):
            ended = await opened.finished()
        assert (ended.exit_code, served.ledger.deleted) == (4, 0), ended.why
        assert "was lost" in ended.why
        assert "(--patience)" in ended.why
        assert 2 <= len(nodes.calls) <= 6, "each waits half a second longer"
    await no_more_than(before)


async def test_a_process_that_refuses_its_environment_is_not_started_again(tmp_path: Path) -> None:
    class Misspelt(LocalProcesses):
        placed = 0

        async def place(self, work: Work) -> LocalProcess:
            self.placed += 1
            return await super().place(replace(work, environment=work.environment.plus({"BULKDEL_RAT": "1"})))

    engine = Misspelt({**os.environ, **KEYS})
    async with sent_on(engine, tmp_path, user_ids(2_400, seed=54)) as (served, opened):
        async with asyncio.timeout(WAIT_MAX_S):
            ended = await opened.finished()
        assert (ended.exit_code, served.pool.deleted) == (4, 0), ended.why
        assert "has refused its command line or environment" in ended.why
        assert engine.placed == 2


async def test_a_process_that_took_long_to_start_is_not_killed_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it has started, nothing polls it."""
    place = LocalProcesses.place

    async def slowly(self: LocalProcesses, work: Work) -> LocalProcess:
        await asyncio.sleep(1.5)
        return await place(self, work)

    monkeypatch.setattr(LocalProcesses, "place", slowly)
    before, actor = children(), Actor(unheard_s=1.0)
    await actor.start(parcel_of(work("sandbox", "--port", 0)))
    await asyncio.sleep(0.3)
    await one_more_than(before)
    await actor.kill()
    await exited(actor)


async def test_a_process_without_a_poll_is_killed() -> None:
    """Its run has ended, or is cut off."""
    before, actor = children(), Actor(unheard_s=2.0)
    await actor.start(parcel_of(work("sandbox", "--port", 0)))
    await one_more_than(before)
    async with asyncio.timeout(WAIT_MAX_S):
        while children() != before:  # noqa: ASYNC110 - nothing tells that a process has ended
            await asyncio.sleep(0.05)
    await exited(actor)
    items = await actor.poll(0)
    assert [(kind, key) for _, kind, key, _ in items if kind == Kind.EXITED] == [(str(Kind.EXITED), -9)]
