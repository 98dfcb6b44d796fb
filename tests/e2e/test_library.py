"""`bulkdel.open_run`: a run inside another program, against the sandbox. The sandbox's own count is the oracle."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import bulkdel
from bulkdel.core.decision import Decision, NextStep, Response
from bulkdel.core.id_type import IdType
from bulkdel.core.log_entries import ChangedBy
from bulkdel.core.pace import By
from bulkdel.job import Target, TargetOptions
from bulkdel.live.steering import Steering
from bulkdel.settings import Settings
from bulkdel_jobs.delete_users import DeleteUsers
from bulkdel_jobs.genauth.endpoints import DeleteUsersBatch
from bulkdel_jobs.genauth.genauth_job import GenAuth
from bulkdel_jobs.sandbox import Switches
from tests.harness import (
    DELETIONS,
    KEYS,
    POOL,
    Case,
    case,
    entries,
    environment,
    names_in,
    sandbox,
    user_ids,
    wait_until,
    write_objects,
)
from tests.mutants import mutant
from tests.syntax import drop, negate, swap
from tests.waits import WAIT_MAX_S

pytestmark = pytest.mark.traced  # it runs in this process

IDS = user_ids(400, seed=31)


def opened(it: Case, **options: Any) -> bulkdel.Run:
    """A run of the case's export."""
    options = {"rate": 0, "host": it.served.url, "environ": KEYS, **options}
    return bulkdel.open_run("delete-users", it.export, **options)


async def whole(run: bulkdel.Run, ids: int) -> bulkdel.Summary:
    """All of it, confirmed with this number."""
    async with run:
        await run.plan()
        await run.confirm(ids=ids, pool=POOL)
        run.start()
        return await run.finished()


def assert_all_deleted_once(it: Case, ids: list[str]) -> None:
    assert it.effects(ids) == [1] * len(ids)


# The order of the steps


@mutant(
    "the repr of a plan has the environment",
    "RunArguments.__repr__",
    swap(
        'f"{type(self).__name__}({self.command}, {self.job.name})"',
        'f"{type(self).__name__}({self.command}, {self.job.name}, {self.environ})"',
    ),
)
async def test_a_whole_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Plan, confirm, start, events, summary. It prints nothing and leaves the signal handlers alone."""
    handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with case(tmp_path, IDS) as it:
        async with opened(it, chunk_size=20) as run:
            plan = await run.plan()
            assert (plan.ids, plan.pool, plan.requests) == (400, POOL, 20)
            assert await run.plan() == plan
            inner = await run.run_plan()
            assert repr(inner) == f"RunPlan(delete-users, ids=400, pool={POOL!r})"
            assert repr(inner.arguments) == "RunArguments(run, delete-users)"
            for name in KEYS:
                assert KEYS[name] not in repr(plan), name
            assert it.served.pool.deleted == 0
            await run.confirm(ids=400, pool=POOL)
            events = [event async for event in run.start()]
            summary = await run.finished()
        assert [event.name for event in events] == ["chunk.settled"] * 20
        assert sum(event.fields["done"] for event in events) == 400
        assert (summary.status, summary.exit_code, summary.events_dropped) == ("complete", 0, 0)
        assert summary.counts["deleted"] == summary.rows == 400
        assert summary.run == it.place
        assert_all_deleted_once(it, IDS)
        assert entries(it.log)[0]["confirmed"].items() >= {"ids": 400, "pool": POOL, "how": "library"}.items()
    assert capfd.readouterr() == ("", "")
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers


@mutant(
    "a number that differs confirms where the pool is the right one",
    "confirm",
    swap(
        "any(given[name] != value for name, value in wanted.items())",
        "all(given[name] != value for name, value in wanted.items())",
    ),
)
@pytest.mark.parametrize(("ids", "pool"), [(399, POOL), (401, POOL), (400, "another"), (400, POOL.upper()), (0, POOL)])
async def test_numbers_that_differ_confirm_nothing(ids: int, pool: str, tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        async with opened(it) as run:
            await run.plan()
            with pytest.raises(bulkdel.NotConfirmed, match="the plan has 400 ids in pool") as raised:
                await run.confirm(ids=ids, pool=pool)
            assert raised.value.exit_code == 2
            with pytest.raises(bulkdel.NotConfirmed, match="cannot undo a deletion"):
                run.start()
        assert it.served.pool.deleted == 0
        assert not it.log.exists()


async def test_a_step_out_of_order_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        async with opened(it) as run:
            with pytest.raises(RuntimeError, match="await plan"):
                run.start()
            with pytest.raises(RuntimeError, match="await plan"):
                await run.confirm(ids=400, pool=POOL)
            with pytest.raises(RuntimeError, match="call start"):
                await run.finished()
            assert run.snapshot() is None
        assert it.served.ledger.requests == 0


async def test_too_few_of_the_sample_exist(tmp_path: Path) -> None:
    with case(tmp_path, IDS, users=user_ids(10, seed=77)) as it:
        async with opened(it) as run:
            await run.plan()
            with pytest.raises(bulkdel.Halted, match="0 of 200 sampled ids exist"):
                await run.confirm(ids=400, pool=POOL)
            with pytest.raises(bulkdel.Halted, match="0 of 200 sampled ids exist"):
                run.start()
        assert it.served.pool.deleted == 0


async def test_a_bad_export_raises_before_anything_is_sent(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        it.export.write_text('{"id": "6319a15be4d9c05b8f1e9d2a"}\n{"id": 5}\n')
        async with opened(it) as run:
            with pytest.raises(bulkdel.NotAcceptable, match="line 2"):
                await run.plan()
        assert it.served.ledger.requests == 0


def test_an_unknown_job() -> None:
    with pytest.raises(bulkdel.UsageError, match="no job 'nope'"):
        bulkdel.open_run("nope", "export.jsonl")


@mutant(
    "the library takes an option that only the command obeys",
    "open_run",
    swap("RunOptions.__annotations__.keys()", "vars(Settings())"),
    case="schedule",
)
@pytest.mark.parametrize("name", ["speed", "schedule", "pause_file", "slow_while", "notify", "listen"])
def test_an_option_that_would_have_no_effect_is_refused(name: str) -> None:
    options: Any = {name: "00:00-24:00=1"}
    with pytest.raises(TypeError, match=f"no option '{name}'"):
        bulkdel.open_run("delete-users", "export.jsonl", **options)


@mutant(
    "the library leaves the options in a config unread",
    "open_run",
    swap('config and "run" in config', 'config and "ran" in config'),
)
def test_options_in_the_config_are_refused(tmp_path: Path) -> None:
    """An exclude file that is not read would protect nothing."""
    with pytest.raises(bulkdel.UsageError, match=r"\[run\].*arguments"):
        bulkdel.open_run("delete-users", tmp_path / "ids.jsonl", config={"run": {"exclude": ["keep.jsonl"]}})


@pytest.mark.parametrize(("name", "value"), [("run", 7), ("backup_to", "users.log")])
def test_a_path_of_another_type_is_refused(name: str, value: object, tmp_path: Path) -> None:
    """A text may be the URL of a store, so `run` may be one."""
    options: Any = {name: value}
    with pytest.raises(bulkdel.UsageError, match=rf"{name} is a pathlib\.Path, not {type(value).__name__}"):
        bulkdel.open_run("delete-users", tmp_path / "ids.jsonl", **options)


async def test_a_complete_run_repeats_its_summary(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        first = await whole(opened(it), 400)
        requests = it.served.ledger.requests
        async with opened(it) as run:
            assert (await run.plan()).complete
            run.start()
            second = await run.finished()
        assert second.to_json() == first.to_json()
        assert it.served.ledger.requests == requests


# Events, pace, progress


@mutant(
    "events that are not taken are kept without bound",
    "Events.put",
    swap("self._queue.qsize() >= self._size", "self._queue.qsize() < 0"),
)
async def test_events_that_are_not_taken_are_dropped_and_counted(tmp_path: Path) -> None:
    """The run does not wait for its caller."""
    with case(tmp_path, IDS) as it:
        async with opened(it, chunk_size=10, events_max=3) as run:
            await run.plan()
            await run.confirm(ids=400, pool=POOL)
            events = run.start()
            summary = await run.finished()
            assert summary.events_dropped == events.dropped == 40 - 3
            assert len([event async for event in events]) == 3
        assert summary.counts["deleted"] == 400


async def test_the_rate_can_be_changed_under_way(tmp_path: Path) -> None:
    """At the first rate, 40 requests would take 40 s."""
    with case(tmp_path, IDS) as it:
        async with opened(it, rate=1, chunk_size=10) as run:
            await run.plan()
            await run.confirm(ids=400, pool=POOL)
            events = run.start()
            await anext(events)
            with pytest.raises(bulkdel.UsageError, match="rate -1"):
                run.set_rate(-1)
            run.set_rate(500)
            assert (await run.finished()).status == "complete"
            assert it.served.ledger.busiest() > 3, "requests in a second"
        assert_all_deleted_once(it, IDS)


@mutant(
    "a lowered concurrency never holds",
    "Workers._work",
    swap("worker.number < self.concurrency", "worker.number >= 0"),
)
async def test_the_concurrency_can_be_changed_under_way(tmp_path: Path) -> None:
    """With one request at a time, the next one arrives when the one before was answered."""
    answered_s = 0.05
    with case(tmp_path, IDS, latency_s=answered_s) as it:
        async with opened(it, chunk_size=1, concurrency=8) as run:
            await run.plan()
            await run.confirm(ids=400, pool=POOL)
            events = run.start()
            await anext(events)
            run.set_concurrency(1)
            arrivals = it.served.ledger.arrivals
            in_hand = len(arrivals) + 8  # each worker has at most one chunk that it sends all the same
            await asyncio.to_thread(wait_until, lambda: len(arrivals) >= in_hand + 5)
            gaps = [later - earlier for earlier, later in pairwise(arrivals[in_hand : in_hand + 5])]
            assert min(gaps) >= answered_s
            run.set_concurrency(64)
            assert (await run.finished()).status == "complete"
        assert_all_deleted_once(it, IDS)


@mutant(
    "a command before the sending is obeyed later",
    "Steering.apply",
    swap("obey != self._status", "obey == self._status"),
)
async def test_a_command_before_the_sending_is_refused_and_not_obeyed_later(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        async with opened(it) as run:
            plan = await run.run_plan()
            await run.confirm(ids=400, pool=POOL)
            answer = await Steering(run, plan).apply("concurrency 1", By(ChangedBy.PAGE, "Ann"))
            assert (answer.ok, "does not send yet" in answer.text) == (False, True)
            run.start()
            summary = await run.finished()
        assert (summary.status, summary.progress.changes) == ("complete", {})


async def test_a_snapshot_says_how_far_it_is(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        async with opened(it, chunk_size=10) as run:
            await run.plan()
            await run.confirm(ids=400, pool=POOL)
            async for _ in run.start():
                seen = run.snapshot()
                assert seen is not None
                assert seen.rows == 400
                assert sum(seen.counts.values()) == seen.settled <= 400
            last = run.snapshot()
            assert last is not None
            assert last.counts["deleted"] == 400


# Stopping


@mutant(
    "a run that is left goes on",
    "Run.__aexit__",
    negate("not sending.done()"),
)
async def test_leaving_the_context_drains(tmp_path: Path) -> None:
    """The requests on the wire finish; the next run settles the rest, and no id is sent twice."""
    with case(tmp_path, IDS, latency_s=0.1) as it:
        async with opened(it, rate=20, chunk_size=10) as run:
            await run.plan()
            await run.confirm(ids=400, pool=POOL)
            events = run.start()
            await anext(events)
        left = [event.name async for event in events]
        assert "run.draining" in left, "and the iteration has ended"
        last = entries(it.log)[-1]
        assert (last["event"], last["status"], last["exit"]) == ("stop", "interrupted", 4)
        assert 0 < it.served.pool.deleted < 400
        summary = await whole(opened(it), 400)
        assert summary.counts["deleted"] == 400
        assert summary.resumed
        assert_all_deleted_once(it, IDS)


async def test_a_caller_that_is_cancelled_while_it_leaves_unlocks_the_log(tmp_path: Path) -> None:
    """Also while every thread of the loop is busy, so that the closing has not begun."""
    loop, pool, free = asyncio.get_running_loop(), ThreadPoolExecutor(1), threading.Event()
    with case(tmp_path, IDS) as it:
        await whole(opened(it), 400)
        loop.set_default_executor(pool)

        async def leave() -> None:
            async with opened(it) as run:
                await run.plan()
                pool.submit(free.wait)
                loop.call_soon(leaving.cancel)

        leaving = asyncio.create_task(leave())
        await asyncio.wait({leaving})
        free.set()
        assert leaving.cancelled()
        async with opened(it) as run:
            assert (await run.plan()).complete


async def test_a_caller_that_is_cancelled_while_the_run_drains_unlocks_the_log(tmp_path: Path) -> None:
    """The run drains all the same."""
    with case(tmp_path, IDS, latency_s=0.1) as it:
        run = opened(it, rate=20, chunk_size=10)

        async def leave() -> None:
            async with run:
                await run.plan()
                await run.confirm(ids=400, pool=POOL)
                await anext(run.start())
                asyncio.get_running_loop().call_soon(leaving.cancel)

        leaving = asyncio.create_task(leave())
        await asyncio.wait({leaving})
        assert leaving.cancelled()
        assert (await run.finished()).status == "interrupted"
        summary = await whole(opened(it), 400)
        assert (summary.counts["deleted"], summary.resumed) == (400, True)
        assert_all_deleted_once(it, IDS)


async def test_a_drained_run_says_so(tmp_path: Path) -> None:
    with case(tmp_path, IDS, latency_s=0.1) as it:
        async with opened(it, rate=20, chunk_size=10) as run:
            await run.plan()
            await run.confirm(ids=400, pool=POOL)
            async for event in run.start():
                if event.name == "chunk.settled":
                    run.drain()
            summary = await run.finished()
        assert (summary.status, summary.exit_code) == ("interrupted", 4)
        assert summary.why == "the caller drained the run"
        assert summary.counts["deleted"] == it.served.pool.deleted < 400


class Unreadable(DeleteUsersBatch):
    """An action that cannot read any response, so it fails in every worker at once."""

    def read(self, response: Response) -> Decision:
        raise ValueError(f"cannot read {len(response.body)} bytes")


class Malformed(DeleteUsersBatch):
    """An action that says of no id what became of it."""

    def read(self, response: Response) -> Decision:
        return Decision(NextStep.PER_ID, data=None)


def job_with(action: type[DeleteUsersBatch]) -> DeleteUsers:
    """The job with another action."""

    class OtherTarget(GenAuth):
        def action(self, id_type: IdType) -> DeleteUsersBatch:
            return action(id_type)

    class OtherJob(DeleteUsers):
        def target(self, options: TargetOptions) -> Target:
            made = super().target(options)
            return OtherTarget(*(getattr(made, field.name) for field in fields(GenAuth)))

    return OtherJob()


@mutant(
    "failures that are not retrieved",
    "Workers.run",
    swap(
        "for task in self._tasks:\n"
        "    task.cancel()  # has no effect on one that is done\n"
        "await finished\n"
        "# Every exception is retrieved: asyncio would print the others, whose text "
        "may hold ids.\n"
        "failures = [task.exception() for task in self._tasks if not task.cancelled()]",
        "for task in [task for task in self._tasks if not task.done()]:\n"
        "    task.cancel()\n"
        "await finished\n"
        "failures = (task.exception() for task in self._tasks if not task.cancelled())",
    ),
    crashes=True,
)
def test_a_failure_of_several_workers_is_raised_once(tmp_path: Path) -> None:
    """The first one is raised; of the others asyncio reports nothing, because its report would hold their texts."""
    reported: list[dict[str, Any]] = []

    async def go(it: Case) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        run = bulkdel.open_run(job_with(Unreadable), it.export, rate=0, host=it.served.url, environ=KEYS, chunk_size=20)
        with pytest.raises(ValueError, match="cannot read"):
            await whole(run, 400)
        del run
        gc.collect()

    # The jitter lets some fail when the first one has begun the drain.
    with case(tmp_path, IDS, latency_s=0.05, jitter_s=0.3) as it:
        asyncio.run(go(it))  # the end of the loop reports too
    assert reported == []


@mutant(
    "a request whose response the job cannot take in counts as untouched",
    "ChunkInHand.send",
    drop("self._worker.state = WorkerState.ON_WIRE"),
)
def test_a_job_that_fails_after_the_response_leaves_its_ids_in_doubt(tmp_path: Path) -> None:
    """The server has deleted them. The next session looks them up: they are deleted by this run, not absent."""
    with case(tmp_path, IDS[:20]) as it:
        job = job_with(Malformed)
        run = bulkdel.open_run(job, it.export, rate=0, host=it.served.url, environ=KEYS, run=it.place)
        with pytest.raises(TypeError):
            asyncio.run(whole(run, 20))
        assert it.effects(IDS[:20]) == [1] * 20
        assert [entry for entry in entries(it.log) if entry["type"] == "released"] == []
        assert it.run().counts() == {"deleted": 20}


async def test_drained_before_the_start(tmp_path: Path) -> None:
    """While the sample is looked up: `plan` raises, nothing was sent."""
    with case(tmp_path, IDS, latency_s=20.0) as it:
        async with opened(it) as run:
            planning = asyncio.create_task(run.plan())
            while not it.served.ledger.requests:  # noqa: ASYNC110 - the server is in another thread
                await asyncio.sleep(0.01)
            run.drain()
            with pytest.raises(bulkdel.Drained):
                await planning
        assert it.served.pool.deleted == 0
        assert not it.log.exists()


def test_a_cancelled_plan_leaves_a_pipe_at_once(tmp_path: Path) -> None:
    """The export is a named pipe whose writer says nothing: a thread waits for it, and the caller does not."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    try:

        async def go() -> None:
            options: Any = {"host": "http://127.0.0.1:1", "environ": KEYS}
            async with bulkdel.open_run("delete-users", pipe, **options) as run:
                planning = asyncio.create_task(run.plan())
                while "copying" not in run.doing:  # noqa: ASYNC110 - another thread says it
                    await asyncio.sleep(0.01)
                planning.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await planning

        began = time.monotonic()
        asyncio.run(go())  # the end of the loop does not wait for the thread either
        assert time.monotonic() - began < WAIT_MAX_S / 3
    finally:
        os.close(writer)


# Several at once


TWO_AND_ONE = """
import asyncio, json, os, sys, threading
import bulkdel

KEYS = json.loads(sys.argv[1])
PLACES = json.loads(sys.argv[2])

def options(place):
    return {"host": place["url"], "rate": 0, "chunk_size": 5, "environ": KEYS}

async def one(place):
    async with bulkdel.open_run("delete-users", place["export"], **options(place)) as run:
        plan = await run.plan()
        await run.confirm(ids=place["ids"], pool=place["pool"])
        async for event in run.start():
            pass
        return (await run.finished()).status

async def two():
    return await asyncio.gather(one(PLACES[0]), one(PLACES[1]))

def in_a_thread(found):
    place = PLACES[2]
    summary = bulkdel.run_sync("delete-users", place["export"], ids=place["ids"], pool=place["pool"], **options(place))
    found.append(summary.status)

found = []
thread = threading.Thread(target=in_a_thread, args=(found,))
thread.start()
both = asyncio.run(two())
thread.join()
print(json.dumps([*both, *found]))
"""


@mutant(
    "rows that were in doubt at a kill are left out",
    "_split",
    swap("yield max(begin, start), min(end, stop), doubt", "yield min(end, stop), min(end, stop), doubt"),
)
def test_two_runs_in_one_loop_and_one_in_a_thread_killed_once_lose_nothing(tmp_path: Path) -> None:
    """SIGKILL while all three send; the same program again goes on with each."""
    exports = [user_ids(600, seed=seed) for seed in (41, 42, 43)]
    with ExitStack() as stack:
        slow: dict[str, Any] = {"latency_after_s": 1.0, "fault_paths": DELETIONS}
        servers = [stack.enter_context(sandbox(ids, **slow)) for ids in exports]
        places = [
            {
                "url": served.url,
                "export": str(write_objects(tmp_path / f"{number}.jsonl", ids)),
                "ids": len(ids),
                "pool": POOL,
            }
            for number, (served, ids) in enumerate(zip(servers, exports, strict=True))
        ]
        words = [sys.executable, "-c", TWO_AND_ONE, json.dumps(KEYS), json.dumps(places)]
        killed = subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL)
        # The first sixteen requests of each are answered, and more are on the wire.
        wait_until(lambda: all(served.pool.deleted > 80 for served in servers), killed)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert all(served.pool.deleted < 600 for served in servers), "killed in the middle"
        for served in servers:
            served.switches = Switches()
        again = subprocess.run(
            words, env=environment(), capture_output=True, text=True, timeout=WAIT_MAX_S, check=False
        )
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout) == ["complete"] * 3
        assert again.stderr == ""
        for served, ids in zip(servers, exports, strict=True):
            assert [served.ledger.effects(id_) for id_ in ids] == [1] * len(ids)


# Rows in place of a file


def as_iterator() -> Iterator[str]:
    yield from IDS


async def as_async_iterator() -> AsyncIterator[str]:
    for id_ in IDS:
        yield id_


@pytest.mark.parametrize("rows", [as_iterator, as_async_iterator])
def test_rows_of_a_program_are_read_once(rows: Callable[[], Any], tmp_path: Path) -> None:
    place = tmp_path / "run"
    with sandbox(IDS) as served:
        options: Any = {"run": place, "host": served.url, "rate": 0, "environ": KEYS}
        summary = bulkdel.run_sync("delete-users", rows(), ids=400, pool=POOL, **options)
        assert summary.counts["deleted"] == served.pool.deleted == 400
        assert names_in(place) == ["log.jsonl"]
        assert bulkdel.run_sync("delete-users", rows(), ids=400, pool=POOL, **options).to_json() == summary.to_json()


def test_rows_that_fail_are_no_export(tmp_path: Path) -> None:
    """Half of the rows would be another export; nothing is kept of them."""

    def rows() -> Iterator[str]:
        yield from IDS[:100]
        raise LookupError("the source is gone")

    options: Any = {"run": tmp_path / "run", "environ": KEYS}
    with pytest.raises(LookupError, match="the source is gone"):
        bulkdel.run_sync("delete-users", rows(), ids=400, pool=POOL, **options)
    with pytest.raises(bulkdel.UsageError, match="a row is a int"):
        bulkdel.run_sync("delete-users", [5], ids=1, pool=POOL, **options)  # type: ignore[list-item]
    assert list(tmp_path.iterdir()) == []


async def test_a_wrong_option_takes_no_row(tmp_path: Path) -> None:
    """The iterator is untouched, and no copy lies in the place of the run that would stand for other rows."""
    rows, place = iter(IDS), tmp_path / "run"
    async with bulkdel.open_run("delete-users", rows, run=place, chunk_size=51) as run:
        with pytest.raises(bulkdel.UsageError, match="chunk-size"):
            await run.plan()
    assert next(rows) == IDS[0]
    assert not list(tmp_path.iterdir())


def test_rows_need_a_place_for_their_run() -> None:
    with pytest.raises(bulkdel.UsageError, match="rows need a place for their run"):
        bulkdel.open_run("delete-users", iter(IDS))


# The public names


def test_the_options_are_those_of_the_command_line() -> None:
    hints = get_type_hints(Settings)
    # only the command line has these: in the library a call confirms and steers the run, and nothing is printed
    printed = {"json", "log_level", "log_format", "progress_every"}
    steered = {"listen", "pause_file", "schedule", "slow_while"}
    others = {
        "config",
        "confirm",
        "pool",
        "confirm_host",
        "notify",
        "on_event",
        "shards",
        *steered,
        *printed,
    }
    wanted = {one.name: hints[one.name] for one in fields(Settings) if one.name not in others}
    wanted["run"] |= str  # as a text it may be the URL of a store
    assert get_type_hints(bulkdel.RunOptions) == wanted


async def test_a_printed_command_asks_for_the_same(tmp_path: Path) -> None:
    with case(tmp_path, IDS) as it:
        (tmp_path / "keep.txt").write_text(f"{IDS[0]}\n")
        async with opened(it, rate=7.5, chunk_size=20, look_first=True, exclude=[tmp_path / "keep.txt"]) as run:
            line = (await run.plan()).confirming_line
    for part in (
        f"bulkdel run delete-users {it.export}",
        f"--host {it.served.url}",
        "--rate 7.5",
        "--chunk-size 20",
        "--look-first",
        f"--exclude {tmp_path / 'keep.txt'}",
        f"--confirm 399 --pool {POOL}",
    ):
        assert part in line


def test_public_names_are_loaded_when_they_are_used() -> None:
    """`bulkdel --help` pays for none of them."""
    code = (
        "import sys, bulkdel; assert 'aiohttp' not in sys.modules\n"
        "for name in bulkdel.__all__: getattr(bulkdel, name)\n"
        "assert 'aiohttp' in sys.modules; assert not hasattr(bulkdel, 'nope')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
