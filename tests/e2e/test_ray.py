"""Shards on a Ray cluster of several nodes on this machine. `make test-ray` installs Ray.

The oracle is the server: its effects per id, and the times of its arrivals. The store is a directory that the nodes
share.
"""

from __future__ import annotations

import gzip
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox import SANDBOX_KEY_SECRET
from tests.e2e.test_hostile_folder import hostile
from tests.e2e.test_shards import beyond, export_of
from tests.forked import OFF
from tests.harness import (
    DELETIONS,
    KEYS,
    Case,
    assert_in_time,
    bulkdel,
    finish,
    kill,
    sandbox,
    steady,
    user_ids,
    wait_for_arrivals,
    wait_until,
)
from tests.raycluster import TOKEN, Cluster, cluster

LEASE_S = 10.0
NODES = 2


@pytest.fixture(autouse=True)
def a_program_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray keeps the command line of a driver, and its own threads."""
    monkeypatch.setenv(OFF, "1")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster(NODES, port=26381) as made:
        yield made


@contextmanager
def on_ray(folder: Path, ids: list[str], *options: object, shards: int = 3, **switches: Any) -> Iterator[Case]:
    export = export_of(folder, ids)
    where = ("--shards", f"{shards}@ray", "--run", f"file://{folder}/store")
    with sandbox(ids, **switches) as served:
        yield Case(export, served, len(ids), [*where, *(options or ("--rate", 0))])


def env(nodes: Cluster) -> dict[str, str]:
    return {**KEYS, **nodes.environ}


def url(it: Case) -> str:
    return f"file://{it.export.parent}/store"


def full(nodes: Cluster) -> None:
    """Add nodes until there are as many as at first."""
    while len(nodes.nodes) < NODES:
        nodes.add()


def sessions(folder: Path) -> int:
    """How many sessions of shards have begun."""
    lines = (path.read_bytes() for path in folder.glob("store/shard/*/log/0*"))
    return sum(b'"event":"start"' in line for line in lines)


def working(nodes: Cluster) -> list[int]:
    return [pid for node in nodes.nodes for pid in node.shards]


def test_a_run_on_nodes_is_that_of_one_process(nodes: Cluster, tmp_path: Path) -> None:
    ids = user_ids(3_000, seed=31)
    with on_ray(tmp_path, ids) as it:
        ran = bulkdel(*it.args, env=env(nodes))
        assert (ran.code, ran.counts()) == (0, {"deleted": 3_000, "duplicate": 300}), ran
        assert set(it.effects(ids)) == {1}
        assert bulkdel("status", url(it), "--audit", env={}).code == 0
        results = bulkdel("results", url(it), env={})
        assert results.out.count('"outcome":"deleted"') == 3_000, results.err
        again = bulkdel(*it.args, env=env(nodes))
        assert (again.code, again.summary["status"]) == (0, "complete"), again


def test_what_the_nodes_cannot_read_is_put_into_the_store(nodes: Cluster, tmp_path: Path) -> None:
    """A compressed export from a pipe: a node reads the part of its shard in the store."""
    ids = user_ids(3_000, seed=32)
    text = gzip.compress(export_of(tmp_path, ids).read_bytes(), 1)
    with on_ray(tmp_path, ids) as it:
        it.export.unlink()
        words = ["-" if each == it.export else each for each in it.args]
        hostile(tmp_path, tmp_path / "proof")
        safe = {**env(nodes), "PYTHONSAFEPATH": "1"}  # of this process; the nodes have an environment of their own
        ran = bulkdel(*words, env=safe, cwd=tmp_path, input=text)
        assert not (tmp_path / "proof").exists(), (tmp_path / "proof").read_text()
        assert (ran.code, ran.counts()) == (0, {"deleted": 3_000, "duplicate": 300}), ran
        assert list(tmp_path.glob("store/input/*/000000000001"))
        assert set(it.effects(ids)) == {1}


def test_the_secret_is_nowhere_in_ray(nodes: Cluster, tmp_path: Path) -> None:
    """Not in its files, and not in the memory of its processes on any node, while shards send."""
    ids = user_ids(3_000, seed=33)
    proxy = "http://user:password-of-the-proxy@127.0.0.1:9"
    with on_ray(tmp_path, ids, "--rate", 5, "--chunk-size", 1) as it:
        typed = bulkdel(*it.args, "--proxy", proxy, env=env(nodes))
        assert (typed.code, "BULKDEL_PROXY" in typed.err) == (2, True), typed
        process = it.start(env=env(nodes))
        it.wait_until_deleted(5)
        found = dict(nodes.text())
        process.send_signal(signal.SIGINT)
        assert finish(process).code == 130
    assert any(str(it.export).encode() in text for text in found.values()), "the order itself is found"
    assert [name for name, text in found.items() if SANDBOX_KEY_SECRET.encode() in text] == []
    assert [name for name, text in found.items() if b"password-of-the-proxy" in text] == []


def test_a_signal_drains_and_another_driver_goes_on(nodes: Cluster, tmp_path: Path) -> None:
    """After a drain nothing is in doubt. Then the driver is killed: its processes end, and the same command goes on."""
    ids = user_ids(4_000, seed=34)
    with on_ray(tmp_path, ids, latency_s=0.1, fault_paths=DELETIONS) as it:
        process = it.start("--concurrency", 6, env=env(nodes))
        it.wait_until_deleted(200)
        process.send_signal(signal.SIGTERM)
        ran = finish(process)
        assert (ran.code, ran.counts()["remaining"]) == (143, len(ids) - it.served.pool.deleted), ran
        assert "in doubt" not in bulkdel("status", url(it), env={}).out
        process = it.start("--concurrency", 6, env=env(nodes))
        it.wait_until_deleted(it.served.pool.deleted + 400)
        kill(process)
        wait_until(lambda: not working(nodes))
        ran = bulkdel(*it.args, "--concurrency", 6, "--take-over", env=env(nodes))
        assert (ran.code, ran.counts()) == (0, {"deleted": 4_000, "duplicate": 400}), ran
        assert set(it.effects(ids)) == {1}
        sent = sum(size * count for size, count in it.served.ledger.chunk_sizes.items())
        assert sent - len(ids) <= 6 * 50


def test_nodes_are_killed_again_and_again(nodes: Cluster, tmp_path: Path) -> None:
    """No id is lost, and one that is sent again was in flight when a node was killed."""
    kills, seed = 12, random.randrange(1 << 32)
    draw, ids, killed = random.Random(seed), user_ids(40_000, seed=35), 0
    options = ("--rate", 8, "--concurrency", 6, "--chunk-size", 20)
    with on_ray(tmp_path, ids, *options, latency_s=0.15, fault_paths=DELETIONS) as it:
        process = it.start(env=env(nodes))
        while killed < kills and process.poll() is None:
            full(nodes)
            before = it.served.pool.deleted
            with suppress(AssertionError):  # the last shard may end
                wait_until(lambda before=before: it.served.pool.deleted > before, process)  # type: ignore[misc]
            time.sleep(draw.uniform(0.0, 2.0))
            victims = [node for node in nodes.nodes if node.shards]
            if victims:
                nodes.kill(draw.choice(victims))
                killed += 1
        it.switch(latency_s=0.0)
        assert bulkdel("ctl", url(it), "rate", 0).code == 0
        ran = finish(process)
        assert (ran.code, ran.counts()) == (0, {"deleted": len(ids), "duplicate": 4_000}), (seed, ran.err[-9_000:])
        assert killed == kills, (seed, killed)
        assert set(it.effects(ids)) == {1}, seed
        sent = sum(size * count for size, count in it.served.ledger.chunk_sizes.items())
        assert sent - len(ids) <= kills * 6 * 20, (sent, seed)
        assert bulkdel("status", url(it), "--audit", env={}).code == 0
    full(nodes)


def test_a_frozen_node_sends_nothing_after_it_was_replaced(nodes: Cluster, tmp_path: Path) -> None:
    """All of a node stops, its shard is placed again elsewhere, and the node goes on."""
    full(nodes)
    ids = user_ids(12_000, seed=36)
    with on_ray(tmp_path, ids, "--rate", 40, "--chunk-size", 5, shards=2) as it:
        process = it.start(env=env(nodes))
        it.wait_until_deleted(300)
        frozen = next(node for node in nodes.nodes if node.shards)
        (old,) = frozen.shards
        frozen.signal(signal.SIGSTOP)
        wait_until(lambda: sessions(tmp_path) == 3, process)
        time.sleep(1.1 * LEASE_S)
        assert bulkdel("ctl", url(it), "pause").code == 0  # so whatever arrives now comes from the frozen one
        time.sleep(1)
        wait_for_arrivals(it.served)
        before = len(it.served.ledger.arrivals)
        frozen.signal(signal.SIGCONT)
        time.sleep(5)
        assert len(it.served.ledger.arrivals) == before
        wait_until(lambda: not Path(f"/proc/{old}").exists())
        for command in (("rate", 0), ("resume",)):
            assert bulkdel("ctl", url(it), *command).code == 0
        ran = finish(process)
        assert (ran.code, ran.counts()) == (0, {"deleted": 12_000, "duplicate": 1_200}), ran
        assert set(it.effects(ids)) == {1}


def test_the_rate_is_kept_and_used(nodes: Cluster, tmp_path: Path) -> None:
    """Through the relay: at most rate * W + processes + 2 % of the rate arrives in any window, and 98 % is used."""
    full(nodes)

    def play(folder: Path) -> None:
        rate, ids = 100, user_ids(8_000, seed=37)
        with on_ray(folder, ids, "--rate", rate, "--chunk-size", 5) as it:
            process = it.start(env=env(nodes))
            it.wait_until_deleted(1_000)
            began, first = time.monotonic(), len(it.served.ledger.arrivals)
            time.sleep(10)
            took_s, count = time.monotonic() - began, len(it.served.ledger.arrivals) - first
            process.send_signal(signal.SIGINT)
            finish(process)
            assert_in_time(beyond(list(it.served.ledger.arrivals), rate, 4) <= 0, "above the rate")
            assert_in_time(count >= 0.98 * rate * took_s, count, took_s)

    steady(play, tmp_path)


@pytest.mark.soak
def test_a_shard_ends_while_the_head_is_away(tmp_path: Path) -> None:
    """It can be placed nowhere. The run drains, and ends with exit code 4 and the command that goes on, here without
    Ray."""
    ids = user_ids(4_000, seed=41)
    with cluster(1, port=26387) as made, on_ray(tmp_path, ids, "--rate", 20, "--chunk-size", 5, shards=2) as it:
        process = it.start(env=env(made))
        it.wait_until_deleted(100)
        os.kill(made.nodes[0].shards[0], signal.SIGKILL)
        made.head.signal(signal.SIGKILL)
        began = time.monotonic()
        ended = finish(process)
        took_s = time.monotonic() - began
        assert (ended.code, "the head of the Ray cluster" in ended.err) == (4, True), ended
        assert "To go on" in ended.err, ended
        assert took_s < 30, took_s
        assert max(it.effects(ids)) == 1
        it.options = ["--shards", 2, "--run", url(it), "--rate", 0]
        ran = bulkdel(*it.args)
        assert (ran.code, ran.counts()) == (0, {"deleted": 4_000, "duplicate": 400}), ran
        assert it.effects(ids) == [1] * len(ids)


def test_a_cluster_without_a_token_is_refused(tmp_path: Path) -> None:
    ids = user_ids(1_000, seed=38)
    with cluster(0, port=26383, RAY_AUTH_MODE="disabled") as open_one, on_ray(tmp_path, ids) as it:
        environ = {**env(open_one), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        ran = bulkdel(*it.args, env=environ)
        assert (ran.code, "without a token" in ran.err) == (2, True), ran
        assert it.served.ledger.requests == 0


def test_another_version_of_the_program_is_refused(tmp_path: Path) -> None:
    """Its actor names both versions. Nothing was sent."""
    (other := tmp_path / "other/bulkdel-9.9.9.dist-info").mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: bulkdel\nVersion: 9.9.9\n")
    ids = user_ids(1_000, seed=39)
    with cluster(1, port=26385, PYTHONPATH=str(other.parent)) as made, on_ray(tmp_path, ids) as it:
        ran = bulkdel(*it.args, env=env(made))
        assert (ran.code, "has bulkdel 9.9.9" in ran.err) == (4, True), ran
        assert it.served.ledger.deleted == 0


def test_without_a_cluster_or_a_store_it_is_refused(tmp_path: Path) -> None:
    said = "cannot join a Ray cluster" if find_spec("ray") else "Ray is not installed"
    with on_ray(tmp_path, user_ids(1_000, seed=40)) as it:
        ran = bulkdel(*it.args, env={**KEYS, "RAY_ADDRESS": "127.0.0.1:9", "RAY_AUTH_MODE": "disabled"})
        assert (ran.code, said in ran.err) == (2, True), ran
        without = [each for each in it.args if each not in {"--run", url(it)}]
        assert (ran := bulkdel(*without)).code == 2, ran
