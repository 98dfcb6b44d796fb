"""A run in several processes: the rows, the counts and the results are those of one process, whatever is killed.

The oracle is the server: its effects per id, and the times of its arrivals.
"""

from __future__ import annotations

import asyncio
import fcntl
import gzip
import json
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bulkdel.checkpoint.takeover import is_locked
from bulkdel.checkpoint.writer import Checkpoint
from bulkdel.core.log_entries import Session, stamp
from bulkdel.place.lease import Terms
from bulkdel.place.opening import log_at
from bulkdel.store_path import store_path
from bulkdel_jobs.sandbox import DELETE_PATH
from tests.harness import (
    DELETIONS,
    KEYS,
    POOL,
    Case,
    Ran,
    assert_in_time,
    bulkdel,
    entries,
    finish,
    kill,
    processes_of_shards,
    sandbox,
    start,
    steady,
    user_ids,
    wait_until,
    write_objects,
)
from tests.mutants import mutant
from tests.objectserver import PASSING, Lie, object_server
from tests.places import shard_log
from tests.recorded import rewrite
from tests.store_child import ran, started
from tests.syntax import negate, swap

PAD = "x" * 900
"""With rows of a kilobyte, an export of some thousand rows can be cut."""

TIMES_OF_THEIR_OWN = ("at", "attempts", "requestId")


def export_of(folder: Path, ids: Sequence[str], *, packed: bool = False) -> Path:
    """Rows of a kilobyte. Every tenth id comes again much later, so that duplicates lie across every cut."""
    rows = [json.dumps({"id": each, "note": PAD}) for each in ids]
    for i in range(0, len(ids), 10):
        rows.insert((i * 7) % len(rows), json.dumps({"id": ids[i], "note": "again"}))
    text = ("\n".join(rows) + "\n").encode()
    path = folder / ("export.jsonl.gz" if packed else "export.jsonl")
    path.write_bytes(gzip.compress(text, 1) if packed else text)
    return path


@contextmanager
def sharded(
    folder: Path, ids: Sequence[str], *options: object, shards: int = 3, others: Sequence[str] = (), **switches: Any
) -> Iterator[Case]:
    """others: users that are not in the export."""
    export = export_of(folder, ids)
    with sandbox([*ids, *others], **switches) as served:
        yield Case(export, served, len(ids), ["--shards", shards, *(options or ("--rate", 0))])


def results_of(log: Path | str, **where: Any) -> list[dict[str, Any]]:
    ran = bulkdel("results", log, **where)
    assert ran.code == 0, ran
    found = [json.loads(line) for line in ran.out.splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES_OF_THEIR_OWN} for row in found]


def run(it: Case, *more: object) -> Ran:
    return bulkdel(*it.args, *more)


@mutant(
    "the audit does not miss the log of a shard",
    "_audit_shards",
    swap("not begins_as(log, noted)", "number < 0 and not begins_as(log, noted)"),
)
@pytest.mark.soak
def test_the_results_are_those_of_one_process(tmp_path: Path) -> None:
    """A compressed export. Some of its ids are absent, some rows are duplicates of rows in another shard."""
    ids = user_ids(2_400, seed=15)
    users = [*(each for i, each in enumerate(ids) if i % 50), *user_ids(3, seed=16)]
    export = export_of(tmp_path, ids, packed=True)
    with sandbox(users, unknown_ids="refuse") as served:
        it = Case(export, served, len(ids), ["--rate", 0, "--shards", 3])
        ran = run(it)
        assert ran.code == 0, ran
        assert len(entries(it.log)[0]["shards"]) == 2
        assert [shard_log(it.log, number).exists() for number in (1, 2, 3, 4)] == [True, True, True, False]
        assert max(it.effects(ids)) == 1
        assert bulkdel("verify", it.log, "--host", served.url, "--rate", 0, "--json").found() == (2_400, 0, 0)
    with sandbox(users, unknown_ids="refuse") as served:
        one = tmp_path / "one"
        alone = bulkdel(*Case(export, served, len(ids)).args, "--run", one)
        assert alone.code == 0, alone
    assert ran.counts() == alone.counts() == {"deleted": 2_352, "absent": 48, "duplicate": 240}
    assert results_of(it.log) == results_of(one)
    status = json.loads(bulkdel("status", it.log, "--json").out)
    assert (status["deleted"], status["duplicate"], status["remaining"]) == (2_352, 240, 0)
    assert status["log_sha256"] == ran.summary["log_sha256"]
    assert bulkdel("report", it.log, "--out", tmp_path / "report.json").code == 0
    assert bulkdel("status", it.log, "--audit").code == 0
    changed = shard_log(it.log, 2)
    changed.write_bytes((whole := changed.read_bytes())[:-1] + b" ")
    assert bulkdel("status", it.log, "--audit").code == 3
    changed.write_bytes(whole)
    assert bulkdel("status", it.log, "--audit").code == 0
    changed.unlink()
    assert bulkdel("status", it.log, "--audit").code == 3


@pytest.mark.soak
def test_processes_of_shards_and_the_run_are_killed_again_and_again(tmp_path: Path) -> None:
    """No id is lost, and one that is sent again was in flight when a process was killed."""
    kill_some(tmp_path, kills=8, seed=random.randrange(1 << 32))


@pytest.mark.soak
@pytest.mark.parametrize("number", range(20))
def test_processes_are_killed_by_the_hundred(tmp_path: Path, number: int) -> None:
    kill_some(tmp_path, kills=40, seed=random.randrange(1 << 32))


def kill_some(folder: Path, *, kills: int, seed: int) -> None:
    draw, ids, killed = random.Random(seed), user_ids(6_000, seed=7), 0
    others = user_ids(3, seed=8)  # of an empty pool nothing is proven
    with sharded(folder, ids, others=others, latency_s=0.05, fault_paths=DELETIONS) as it:
        options = ("--concurrency", 6, "--chunk-size", 20)
        while killed < kills and it.served.pool.deleted < len(ids):
            process = start(*it.args, *options)
            while killed < kills and process.poll() is None:
                time.sleep(draw.uniform(0.05, 0.4))
                whole = draw.random() < 0.2
                victims = [process.pid] if whole else processes_of_shards(process.pid)
                if victims and (whole or it.served.pool.deleted):
                    kill_one(draw.choice(victims))
                    killed += 1
            ended = kill(process)
            # On a busy machine a process may be killed five times in a row before it settles a row: that ends a run.
            in_vain = ended.code == 4 and "times without having settled a row" in ended.err
            assert in_vain or ended.code in {0, -signal.SIGKILL}, ended.err
        ran = run(it, *options)
        assert (ran.code, seed) == (0, seed), ran
        counts = ran.counts()
        assert counts == {"deleted": len(ids), "duplicate": 600}, seed
        assert set(it.effects(ids)) == {1}, seed
        sent = sum(it.served.ledger.chunk_sizes[size] * size for size in it.served.ledger.chunk_sizes)
        assert sent - len(ids) <= kills * 6 * 20, (sent, seed)
        assert bulkdel("status", it.log, "--audit").code == 0


def kill_one(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_a_signal_drains_all_shards_and_the_same_command_goes_on(tmp_path: Path) -> None:
    ids = user_ids(4_000, seed=9)
    with sharded(tmp_path, ids, shards=2, latency_s=0.1, fault_paths=DELETIONS) as it:
        process = it.start("--concurrency", 6)
        it.wait_until_deleted(200)
        process.send_signal(signal.SIGINT)
        ran = finish(process)
        assert ran.code == 130, ran
        assert ran.counts()["remaining"] == len(ids) - it.served.pool.deleted
        assert "in doubt" not in bulkdel("status", it.log).out
        assert bulkdel("status", it.log, "--audit").code == 0
        again = run(it)
        assert (again.code, again.counts()) == (0, {"deleted": 4_000, "duplicate": 400}), again
        assert set(it.effects(ids)) == {1}


@mutant(
    "--limit is that of each shard",
    "LimitPortions.take",
    swap("self.left -= portion", "self.left -= 0"),
)
def test_limits_hold_for_all_shards_together(tmp_path: Path) -> None:
    ids = user_ids(4_000, seed=10)
    with sharded(tmp_path, ids, shards=2) as it:
        ran = run(it, "--limit", 1_700)
        assert (ran.code, ran.counts()["deleted"]) == (0, 1_700), ran
        assert "1,700 ids in this session, divided among the shards" in ran.err
        assert it.served.pool.deleted == 1_700
        ran = run(it)
        assert (ran.code, ran.counts()) == (0, {"deleted": 4_000, "duplicate": 400}), ran


@mutant(
    "--max-refused is that of each shard",
    "ANY_SHARE",
    swap('"100%"', '"10"'),
)
@pytest.mark.soak
def test_refusals_are_counted_over_all_shards(tmp_path: Path) -> None:
    """The first shard alone would have too many: 30 of 1,000. Of all 3,000 it is 1 %."""
    ids = user_ids(3_000, seed=17)
    with sharded(tmp_path, ids, poisonous=dict.fromkeys(ids[:990:33], (409, None))) as it:
        ran = run(it, "--max-refused", 20, "--concurrency", 3)
        assert (ran.code, "--max-refused" in ran.err) == (4, True), ran
        assert 20 <= ran.counts()["refused"] <= 30
        ran = run(it, "--max-refused", "1%")
        assert (ran.code, ran.counts()) == (1, {"deleted": 2_970, "refused": 30, "duplicate": 300}), ran


@pytest.mark.soak
def test_the_backups_of_all_shards_are_restored_and_forgotten(tmp_path: Path) -> None:
    ids = user_ids(2_400, seed=18)
    with sharded(tmp_path, ids) as it:
        ran = run(it, "--backup-to", tmp_path / "users.jsonl.gz")
        assert ran.code == 0, ran
        assert [path.name for path in sorted(tmp_path.glob("users.*"))] == [
            f"users.shard-{number:05}.jsonl.gz" for number in (1, 2, 3)
        ]
        confirmed = ("--passwords", "none", "--confirm", 2_400, "--pool", POOL, "--json")
        ran = bulkdel("restore", it.log, "--host", it.served.url, "--rate", 0, *confirmed)
        assert (ran.code, ran.summary["rows"], ran.summary["remaining"]) == (0, 2_400, 0), ran
        listed = bulkdel("forget", it.log)
        assert all(f"users.shard-{number:05}.jsonl.gz" in listed.out for number in (1, 2, 3)), listed
        assert bulkdel("status", it.log, "--audit").code == 0


@mutant(
    "a run in shards with a damaged log ends without a summary",
    "Shards.folding",
    swap("self._partly", "self.unread"),
)
@pytest.mark.soak
def test_a_damaged_log_of_a_shard_is_named_at_the_end_and_the_run_goes_on_when_it_is_put_back(tmp_path: Path) -> None:
    ids = user_ids(1_200, seed=20)
    with sharded(tmp_path, ids, "--rate", 50, "--chunk-size", 5) as it:
        process, damaged = it.start(), shard_log(it.log, 2)
        wait_until(lambda: damaged.exists() and damaged.read_bytes().count(b"outcome") > 1, process)
        at = damaged.read_bytes().index(b"outcome")
        with damaged.open("r+b") as file:
            os.pwrite(file.fileno(), b"OUTCOME", at)
        process.send_signal(signal.SIGINT)
        ended = finish(process)
        assert (ended.code, f"{damaged}: line" in ended.err, "To go on" in ended.err) == (5, True, True), ended
        assert ended.summary["remaining"] > len(ids) - it.served.pool.deleted
        assert (entries(it.log)[-1]["event"], entries(it.log)[-1]["exit"]) == ("stop", 5)
        assert run(it).code == 3
        with damaged.open("r+b") as file:
            os.pwrite(file.fileno(), b"outcome", at)
        again = run(Case(it.export, it.served, it.ids, ["--shards", 3, "--rate", 0]))
        assert (again.code, again.counts()) == (0, {"deleted": 1_200, "duplicate": 120}), again
        assert set(it.effects(ids)) == {1}


@mutant(
    "a run halts when the process of one of its shards was killed",
    "Supervisor.run",
    swap(
        "self._restarts.why_none(lost, in_vain, since_boot() - progressed_at)",
        "self._restarts.why_none(lost, in_vain if end.exited.code is None else IN_VAIN_MAX, 0.0)",
    ),
)
@pytest.mark.alone
def test_the_rate_holds_while_shards_are_frozen_killed_and_joined(tmp_path: Path) -> None:
    """At most rate * W + processes + 2 % of the rate arrives in any window. The first process is frozen for longer than
    its share lasts, the second one is killed and started again."""
    steady(freeze_and_kill, tmp_path)


def freeze_and_kill(folder: Path) -> None:
    rate, ids = 100, user_ids(12_000, seed=11)
    with sharded(folder, ids, "--rate", rate, "--chunk-size", 5, "--concurrency", 24) as it:
        process = it.start()
        arrivals = it.served.ledger.arrivals
        wait_until(lambda: len(processes_of_shards(process.pid)) == 3 and it.served.pool.deleted > 300, process)
        frozen, killed, _ = processes_of_shards(process.pid)
        os.kill(frozen, signal.SIGSTOP)
        time.sleep(3.3)
        os.kill(frozen, signal.SIGCONT)
        time.sleep(0.5)
        os.kill(killed, signal.SIGKILL)
        time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        assert finish(process).code == 143
        # The process of the run has sent the sign-in and the sample.
        assert_in_time(beyond(list(arrivals), rate, 4) <= 0, beyond(list(arrivals), rate, 4))


@pytest.mark.soak
def test_a_frozen_shard_sends_nothing_again_that_was_answered_meanwhile(tmp_path: Path) -> None:
    """It is frozen for longer than its requests may take, and their answers have come when it wakes."""
    ids = user_ids(900, seed=12)
    with sharded(tmp_path, ids, "--rate", 20, "--chunk-size", 10, "--timeout", 2, latency_s=0.6) as it:
        process = it.start()
        wait_until(lambda: len(processes_of_shards(process.pid)) == 3 and it.served.pool.deleted > 100, process)
        frozen = processes_of_shards(process.pid)[0]
        os.kill(frozen, signal.SIGSTOP)
        time.sleep(6)
        os.kill(frozen, signal.SIGCONT)
        ran = finish(process)
        assert (ran.code, set(it.effects(ids))) == (0, {1}), ran
        sent = sum(size * count for size, count in it.served.ledger.chunk_sizes.items())
        assert sent == len(ids), "each id was sent once"


@pytest.mark.soak
def test_the_tail_of_a_run_that_was_killed_does_not_crawl(tmp_path: Path) -> None:
    """Each process has one request in flight. tests/integration/test_rate_keeper.py has the same in simulated time."""
    steady(tail, tmp_path)


def tail(folder: Path) -> None:
    rate, ids, options = 20, user_ids(2_000, seed=5), ("--concurrency", 3, "--chunk-size", 10)
    with sharded(folder, ids, "--rate", rate, *options, latency_s=0.15, fault_paths=DELETIONS) as it:
        process = it.start()
        it.wait_until_deleted(400)
        assert kill(process).code == -signal.SIGKILL
        ran = finish(it.start())
        assert (ran.code, it.served.pool.deleted) == (0, len(ids)), ran
        times = sorted(it.served.ledger.arrivals)
        assert_in_time(beyond(times, rate, 4) <= 0, beyond(times, rate, 4))
        apart = max(later - earlier for earlier, later in pairwise(times[-100:]))
        assert_in_time(apart <= 1.5, apart)


def beyond(times: Sequence[float], rate: float, shards: int) -> float:
    lowest, worst = float("inf"), float("-inf")
    for count, at in enumerate(sorted(times)):
        lowest = min(lowest, count - rate * at)
        worst = max(worst, count + 1 - rate * at - lowest)
    return worst - (shards + 0.02 * rate)


@pytest.mark.soak
def test_a_run_in_a_store_that_was_taken_over_drains_its_shards(tmp_path: Path) -> None:
    """Another process has the next line of the log of the run, not of the shards: these end with the run."""
    ids = user_ids(1_200, seed=19)
    url = f"file://{tmp_path}/store"
    options = ("--rate", 10, "--chunk-size", 10, "--run", url)

    async def take_over() -> None:
        other = Checkpoint.resume(log_at(store_path(url), Terms(take_over=True)))
        other.enqueue(Session("start", stamp(time.time()), "", {"machine": "other"}))
        await other.begun()
        other.close()

    with sharded(tmp_path, ids, *options) as it, it.start() as process:
        it.wait_until_deleted(30)
        asyncio.run(take_over())
        ended = finish(process)
        assert (ended.code, "host other) has taken it over" in ended.err) == (5, True), ended
        assert sum(it.effects(ids)) < len(ids) / 2


@mutant(
    "the processes of a run that is taken over wait for those of the frozen one",
    "_settings_of_shard",
    swap("True", "False"),
)
@pytest.mark.soak
def test_a_frozen_run_in_a_store_is_taken_over_with_its_shards(tmp_path: Path) -> None:
    """Its processes live on without it, and keep the logs of their shards. SIGCONT: nothing of the old run arrives."""
    ids, store = user_ids(600, seed=21), tmp_path / "store"
    options: dict[str, Any] = {"rate": 40.0, "chunk_size": 5, "concurrency": 6, "shards": "2"}
    with (
        sharded(tmp_path, ids, latency_s=0.05) as it,
        started(store, it.export, it.served.url, len(ids), **options) as old,
    ):
        it.wait_until_deleted(60)
        of_old = processes_of_shards(old.pid)
        old.send_signal(signal.SIGSTOP)
        new = ran(store, it.export, it.served.url, len(ids), **options | {"rate": 0.0})
        assert new.code == 0, new
        assert all(Path(f"/proc/{pid}").exists() for pid in of_old), "they wait for their run"
        at = it.served.ledger.requests
        old.send_signal(signal.SIGCONT)
        thawed = finish(old)
        assert (thawed.code, "has taken it over" in json.loads(thawed.out)["why"]) == (5, True), thawed
        assert it.served.ledger.requests == at, "of the old run nothing has arrived"
        assert it.effects(ids) == [1] * len(ids)


@pytest.mark.soak
def test_a_pause_and_a_change_of_the_rate_reach_all_shards(tmp_path: Path) -> None:
    ids = user_ids(4_000, seed=12)
    with sharded(tmp_path, ids, "--rate", 60, "--chunk-size", 5) as it:
        process = it.start()
        it.wait_until_deleted(100)
        assert bulkdel("ctl", it.log, "pause").code == 0
        time.sleep(0.3)
        before = len(it.served.ledger.arrivals)
        time.sleep(0.5)
        assert len(it.served.ledger.arrivals) == before
        assert bulkdel("ctl", it.log, "rate", 0).code == 0
        assert bulkdel("ctl", it.log, "resume").code == 0
        ran = finish(process)
        assert (ran.code, ran.counts()) == (0, {"deleted": 4_000, "duplicate": 400}), ran


@pytest.mark.soak
def test_shards_in_an_object_store_that_lies(tmp_path: Path) -> None:
    """Creations and reads fail while a process of a shard is killed: no id is lost, and none is sent again for it."""
    ids, url = user_ids(1_500, seed=66), "s3://bucket/run"
    options = ("--rate", 100, "--chunk-size", 5, "--run", url)
    with sharded(tmp_path, ids, *options, shards=2) as it, object_server(seed=9) as store:
        process = it.start(env={**KEYS, **store.environ})
        it.wait_until_deleted(200)
        store.switch(shares=dict.fromkeys(Lie, 0.03), get_shares=dict.fromkeys(PASSING, 0.05), slow_s=0.1)
        os.kill(processes_of_shards(process.pid)[1], signal.SIGKILL)
        ran = finish(process)
        assert (ran.code, ran.counts()) == (0, {"deleted": 1_500, "duplicate": 150}), ran
        assert set(it.effects(ids)) == {1}
        assert set(store.written.values()) == {1}, "no object was written twice"
        status = bulkdel("status", url, "--audit", env=store.environ)
        assert (status.code, set(store.get_lies)) == (0, set(PASSING)), status


@pytest.mark.soak
def test_a_frozen_shard_does_not_keep_the_patience_of_the_others(tmp_path: Path) -> None:
    """Its last figures say that the server has just answered. They grow old."""

    def scenario(folder: Path) -> None:
        ids = user_ids(3_000, seed=67)
        with sharded(folder, ids, "--rate", 60, "--chunk-size", 5, "--patience", 3, "--drain", 1, shards=2) as it:
            process = it.start()
            it.wait_until_deleted(200)
            frozen, _ = processes_of_shards(process.pid)
            os.kill(frozen, signal.SIGSTOP)
            it.switch(share_drop_before=1.0)
            began = time.monotonic()
            ran = finish(process)
            assert ran.code == 4, ran.err
            assert_in_time(time.monotonic() - began < 25)

    steady(scenario, tmp_path)


@pytest.mark.soak
def test_a_frozen_shard_is_killed_after_the_patience_and_started_again(tmp_path: Path) -> None:
    ids = user_ids(2_000, seed=68)
    with sharded(tmp_path, ids, "--rate", 100, "--chunk-size", 5, "--patience", 5, shards=2) as it:
        process = it.start()
        it.wait_until_deleted(200)
        os.kill(processes_of_shards(process.pid)[0], signal.SIGSTOP)
        ran = finish(process)
        assert (ran.code, ran.counts()) == (0, {"deleted": 2_000, "duplicate": 200}), ran
        assert set(it.effects(ids)) == {1}


@pytest.mark.soak
def test_a_shard_that_is_frozen_at_its_beginning_is_killed_and_started_again(tmp_path: Path) -> None:
    """It has told nothing yet, so it is killed after a minute."""
    ids = user_ids(600, seed=70)
    with sharded(tmp_path, ids, "--rate", 100, "--chunk-size", 5, "--patience", 5, shards=2) as it:
        process = it.start()
        wait_until(lambda: len(processes_of_shards(process.pid)) > 0, process, every_s=0.002)
        os.kill(processes_of_shards(process.pid)[0], signal.SIGSTOP)
        ran = finish(process)
        assert (ran.code, ran.counts()) == (0, {"deleted": 600, "duplicate": 60}), ran
        assert set(it.effects(ids)) == {1}


@mutant(
    "a signal does not end the wait for the processes of an earlier session",
    "ShardedSession.run",
    swap("ended_before(self._drain.begun.wait(), beginning)", "ended_before(asyncio.sleep(9), beginning)"),
)
@pytest.mark.soak
def test_a_signal_ends_the_wait_for_the_processes_of_an_earlier_session(tmp_path: Path) -> None:
    ids = user_ids(3_000, seed=69)
    with sharded(tmp_path, ids, "--rate", 150, "--chunk-size", 5) as it:
        stopped_in_the_middle(it)
        sent = it.served.ledger.by_path[DELETE_PATH]
        with shard_log(it.log, 1).open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            process = it.start()
            wait_until(lambda: it.log.read_bytes().count(b"\n") > 0 and is_locked(log_at(it.log)), process)
            time.sleep(1.5)
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            ran = finish(process)
            assert (ran.code, ran.summary["remaining"]) == (130, len(ids) - it.served.pool.deleted), ran
            assert_in_time(time.monotonic() - began < 4)
        assert it.served.ledger.by_path[DELETE_PATH] == sent
        assert bulkdel(*it.args).code == 0
        assert set(it.effects(ids)) == {1}


LINES_MIN = 8
"""More lines than a test takes away from the log of a shard."""


def stopped_in_the_middle(it: Case) -> None:
    """Send a part, in every shard, and stop."""
    process = it.start()
    it.wait_until_deleted(300)
    logs = [shard_log(it.log, number) for number in (1, 2, 3)]
    wait_until(lambda: all(log.read_bytes().count(b"\n") > LINES_MIN for log in logs), process)
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 130


@mutant(
    "the log of a shard is that of another run",
    "_check_same",
    swap(
        "replace(progress.header, skipped_sha256=None) == header",
        "progress.header.shard == header.shard",
    ),
)
def test_the_log_of_a_shard_begins_as_that_of_its_run_says(tmp_path: Path) -> None:
    """The forged one names other rows. No stop has noted how the log of the shard was left."""
    names = [f"{prefix}alice{number}" for prefix in ("xx", "") for number in range(2_000)]
    export = tmp_path / "users.csv"
    export.write_text("".join(f"{name},{PAD}\n" for name in ("username", *names[:2_000])))
    named = ("--id-type", "username", "--id-field", "username")
    with sandbox(names, "username") as served:
        it = Case(export, served, 2_000, ["--shards", 2, "--rate", 0, *named])
        assert run(it, "--limit", 100).code == 0
        shard = shard_log(it.log, 2)
        it.log.write_bytes(
            b"".join(line for line in it.log.read_bytes().splitlines(True) if b'"event":"stop"' not in line)
        )
        first = entries(shard)[0]["shard"][1]
        changed = {"input": {"index": "0" * 64, "content": "0" * 64}}
        rewrite(shard, lambda entry: {**entry, **changed} if entry["type"] == "header" else entry)
        sent = [served.ledger.effects(name, "username") for name in names[first:]]
        ran = run(it, "--limit", 1_900)
        assert (ran.code, f"{shard}: is not the log of this shard" in ran.err) == (4, True), ran
        assert [served.ledger.effects(name, "username") for name in names[first:]] == sent


@mutant(
    "a shard whose log was lost counts as one that has not begun",
    "Shards._of_shard",
    swap("run.sessions", "run.sessions > 1 << 30"),
)
@mutant(
    "a shard goes on from an older log",
    "ShardLogs._check_as_left",
    negate("not begins_as(log, noted)"),
)
@pytest.mark.parametrize(
    "lost",
    [
        "missing",
        *(pytest.param(each, marks=pytest.mark.soak) for each in ("older", "older, and the last session was killed")),
    ],
)
def test_the_log_of_a_shard_that_was_lost_refuses_the_run(lost: str, tmp_path: Path) -> None:
    """It says what was sent. When it is put back, the same command goes on."""
    ids = user_ids(3_000, seed=63)
    with sharded(tmp_path, ids, "--rate", 150, "--chunk-size", 5) as it:
        stopped_in_the_middle(it)
        noted = shard_log(it.log, 2).read_bytes().count(b"\n")
        if lost.endswith("killed"):
            process = it.start()
            it.wait_until_deleted(it.served.pool.deleted + 100)
            kill(process)
            wait_until(lambda: not any(is_locked(log_at(shard_log(it.log, number))) for number in (1, 2, 3)))
        shard, before = shard_log(it.log, 2), it.served.ledger.by_path[DELETE_PATH]
        whole = shard.read_bytes()
        if lost == "missing":
            shard.unlink()
        else:
            shard.write_bytes(b"".join(whole.splitlines(keepends=True)[: noted - 4]))
        ran = bulkdel(*it.args)
        assert (ran.code, str(shard) in ran.err, "Put " in ran.err) == (3, True, True), ran
        assert it.served.ledger.by_path[DELETE_PATH] == before
        assert bulkdel("status", it.log, "--audit", env={}).code == 3, "the evidence is still there"
        shard.write_bytes(whole)
        ran = bulkdel(*it.args)
        assert (ran.code, ran.counts()) == (0, {"deleted": 3_000, "duplicate": 300}), ran
        assert set(it.effects(ids)) == {1}


@mutant(
    "a run without its log begins anew beside the logs of its shards",
    "refuse_without_run",
    swap("(shard := place.shard_log()) is not None", "(shard := None) is not None"),
)
@pytest.mark.soak
def test_the_log_of_a_run_that_was_lost_is_not_made_anew_beside_those_of_its_shards(tmp_path: Path) -> None:
    ids = user_ids(3_000, seed=64)
    with sharded(tmp_path, ids, "--rate", 150, "--chunk-size", 5) as it:
        stopped_in_the_middle(it)
        before, away = it.served.ledger.by_path[DELETE_PATH], tmp_path / "away"
        it.log.rename(away)
        for words in (it.args, [each for each in it.args if each not in {"--shards", 3}]):
            ran = bulkdel(*words)
            assert (ran.code, "the logs of its shards are there" in ran.err) == (3, True), ran
        assert not it.log.exists()
        it.log.write_bytes(away.read_bytes()[:100])
        torn = bulkdel(*it.args)
        assert (torn.code, "the logs of its shards are there" in torn.err) == (3, True), torn
        assert it.served.ledger.by_path[DELETE_PATH] == before
        away.rename(it.log)
        assert bulkdel(*it.args).code == 0
        assert set(it.effects(ids)) == {1}


@mutant(
    "a run whose store is away at its end has no summary",
    "ShardedSession._read_at_end",
    swap(
        "if self._log.failure is None:\n"
        "    with suppress(NotAcceptable):\n"
        "        return await asyncio.to_thread(read_log, self._log.place, partly=True)",
        "if self._log is not None:\n"
        "    with suppress(FileFailed if self._log else NotAcceptable):\n"
        "        return await asyncio.to_thread(read_log, self._log.place, partly=True)",
    ),
)
@pytest.mark.soak
@pytest.mark.parametrize("back", [False, True])
def test_a_run_whose_store_is_away_at_its_end_says_what_its_shards_did(back: bool, tmp_path: Path) -> None:
    """Until the patience ends, or the store is back. Those of the shards, which lie below it, are there."""
    ids, shared = user_ids(3_000, seed=65), tmp_path / "shared"
    shared.mkdir()
    url = f"file://{shared}/run"
    with sharded(tmp_path, ids, "--rate", 60, "--chunk-size", 5, "--run", url, "--patience", 4) as it:
        process = it.start()
        it.wait_until_deleted(300)
        assert bulkdel("ctl", url, "rate", 0).code == 0
        log, away = shared / "run/log", shared / "away"
        log.rename(away)
        it.wait_until_deleted(3_000)
        if back:
            time.sleep(1)
            away.rename(log)
        ran = finish(process)
        assert (ran.code, ran.counts()) == (0 if back else 5, {"deleted": 3_000, "duplicate": 300}), ran
        if not back:
            away.rename(log)
        assert set(it.effects(ids)) == {1}
        status = bulkdel("status", url, "--json", env={})
        assert status.counts() == {"deleted": 3_000, "duplicate": 300}, status


@mutant(
    "--not-after is that of no shard",
    "ShardedSession._send_all",
    swap("steered.until", "None"),
)
@pytest.mark.soak
def test_all_shards_stop_when_the_time_has_come(tmp_path: Path) -> None:
    ids = user_ids(4_000, seed=61)
    with sharded(tmp_path, ids, "--rate", 30, "--chunk-size", 5) as it:
        process = it.start()
        it.wait_until_deleted(100)
        until = datetime.now(UTC) + timedelta(seconds=3)
        assert bulkdel("ctl", it.log, "until", until.isoformat()).code == 0
        ran = finish(process)
        assert (ran.code, "(--not-after)" in ran.err, datetime.now(UTC) > until) == (6, True, True), ran
        assert ran.summary["remaining"] == len(ids) - it.served.pool.deleted > 0
        assert bulkdel("status", it.log, "--json", env={}).summary["in_doubt"] == 0


@mutant(
    "each shard of a resume proves for itself that look-ups find accounts",
    "with_sample_check",
    negate("not plan.complete"),
)
@pytest.mark.soak
def test_a_resume_proves_that_look_ups_find_accounts_before_its_shards_begin(tmp_path: Path) -> None:
    """A shard that does it itself may list accounts which another one deletes before they are looked up."""
    ids = user_ids(2_400, seed=17)
    with sharded(tmp_path, ids) as it:
        assert run(it, "--limit", 600).code == 0
        before = it.served.ledger.by_path["/api/v3/list-users"]
        ran = run(it)
        assert (ran.code, it.served.pool.deleted) == (0, len(ids)), ran
        assert it.served.ledger.by_path["/api/v3/list-users"] == before + 1


def test_what_shards_cannot_do_is_refused(tmp_path: Path) -> None:
    ids = user_ids(2_400, seed=13)
    with sharded(tmp_path, ids) as it:
        ran = bulkdel("plan", "delete-users", it.export, "--sandbox", "--shards", 2, env={})
        assert (ran.code, "bulkdel sandbox" in ran.err) == (2, True), ran


def test_a_resume_keeps_the_number_of_processes(tmp_path: Path) -> None:
    """An export that is too small to be cut is sent by one process. The same command resumes it."""
    ids = user_ids(99, seed=14)
    with sandbox(ids) as served:
        it = Case(write_objects(tmp_path / "export.jsonl", ids), served, len(ids), ["--shards", 2])
        assert run(it, "--limit", 50).code == 0
        planned = bulkdel("plan", *(word for word in it.args[1:] if word != "--json"))
        assert "1, as the run was begun, and not the 2 of --shards" in planned.out, planned
        ran = run(it)
        assert (ran.code, ran.counts()) == (0, {"deleted": 99}), ran
        assert it.effects(ids) == [1] * 99
