"""A node of a Ray cluster on another machine, whose links are cut one by one (`make test-ray`). It needs root.

The other machine is a network namespace, with one link to the engine, one to the API and one to the store. The export
and the log are in S3, as moto imitates it, so nothing is shared by a folder. The oracles are the effects at the API,
and what comes to it from the other machine.
"""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.test_http_servers import ask, server
from tests.e2e.test_shards import export_of, results_of
from tests.forked import OFF
from tests.harness import KEYS, Case, assert_in_time, bulkdel, finish, sandbox, start, steady, user_ids, wait_until
from tests.netns import Link, Machine, Relayed, another_machine, relayed
from tests.raycluster import Cluster, Node, cluster, program

LEASE_S = 10.0
RAY = "2@ray"
BUCKET = "night"
SLOW = ("--rate", 40, "--chunk-size", 5, "--drain", 2)
SIGNED = {
    "authorization": "AWS4-HMAC-SHA256 Credential=AKIAMOTO/20261126/us-east-1/s3/aws4_request, SignedHeaders=host, "
    "Signature=0"  # moto looks at none
}


@pytest.fixture(autouse=True)
def a_program_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray keeps the command line of a driver, and its own threads."""
    monkeypatch.setenv(OFF, "1")


def credentials(store: str) -> dict[str, str]:
    """The variables by which obstore finds moto."""
    return {
        "AWS_ENDPOINT_URL": store,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "AKIAMOTO",
        "AWS_SECRET_ACCESS_KEY": "moto-secret",
        "AWS_REGION": "us-east-1",
    }


@dataclass(frozen=True)
class Place:
    """A cluster whose head and first node are here. engine: the link of the other machine to them. store: its store."""

    nodes: Cluster
    machine: Machine
    engine: Link
    store: Relayed
    store_url: str

    @property
    def environ(self) -> dict[str, str]:
        """What a driver needs here."""
        return {**KEYS, **credentials(self.store_url), **self.nodes.environ}

    @contextmanager
    def node(self) -> Iterator[Node]:
        """A node on the other machine, until the block ends."""
        found = self.nodes.add(host=self.engine.there, prefix=self.machine.prefix)
        try:
            yield found
        finally:
            for link in (self.engine, self.store.link):
                link.mend()
            self.nodes.kill(found)

    def put(self, name: str, data: bytes) -> str:
        """Put an object into the bucket. Returns its address."""
        ask("PUT", f"{self.store_url}/{BUCKET}/{name}", data, {"content-type": "application/octet-stream"})
        return f"s3://{BUCKET}/{name}"

    def starts(self, name: str) -> list[int]:
        """The process ids of the sessions in a log, in their order."""
        found, number = list[int](), 1
        while True:
            try:
                line = ask("GET", f"{self.store_url}/{BUCKET}/{name}/log/{number:012d}", None, SIGNED)
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
                return found
            found += [entry["pid"] for entry in json.loads(line)["entries"] if entry.get("event") == "start"]
            number += 1

    def wait_for_successor(self, name: str, pid: int) -> float:
        """Wait until a shard of the run with this name, which this process has had, has a session of another process.

        Returns when, seconds of the monotonic clock.
        """
        (log,) = [log for number in (1, 2) if pid in self.starts(log := f"{name}/shard/{number}")]

        def taken_over() -> bool:
            time.sleep(0.1)
            return self.starts(log)[-1] != pid

        wait_until(taken_over)
        return time.monotonic()


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    program()
    with another_machine() as machine, server("moto_server", target="test-ray") as url:
        ask("PUT", f"{url}/{BUCKET}", b"")
        engine = machine.link()
        with (
            relayed(machine, url) as store,
            cluster(1, port=26395, host=engine.here, **credentials(url)) as nodes,
        ):
            yield Place(nodes, machine, engine, store, url)


@contextmanager
def case(
    place: Place, folder: Path, ids: list[str], *options: object, shards: str = "2"
) -> Iterator[tuple[Case, Relayed, str]]:
    """A run of two shards over an export in the bucket, the API on the other machine, and the name of the run."""
    name = f"{folder.parent.name}-{folder.name}"
    export = place.put(f"{name}.jsonl", export_of(folder, ids).read_bytes())
    where = ("--run", f"s3://{BUCKET}/{name}", "--shards", shards, *options)
    with sandbox(ids) as served, relayed(place.machine, served.url) as api:
        yield Case(export, served, len(ids), [*where]), api, name  # type: ignore[arg-type]  # only its text is used


def test_a_run_over_two_machines_is_that_of_one_process(place: Place, tmp_path: Path) -> None:
    """An export and a log in S3, and no folder that both machines have to share."""
    ids = user_ids(3_000, seed=61)
    with place.node(), case(place, tmp_path, ids, "--rate", 0, "--concurrency", 4, shards=RAY) as (it, api, name):
        ran = bulkdel(*it.args, env=place.environ, cwd=tmp_path)
        assert (ran.code, ran.counts()) == (0, {"deleted": 3_000, "duplicate": 300}), ran
        assert it.effects(ids) == [1] * len(ids)
        assert api.heard, "a part was sent from the other machine"
        assert bulkdel("status", f"s3://{BUCKET}/{name}", "--audit", env=place.environ).code == 0
        results = results_of(f"s3://{BUCKET}/{name}", env=place.environ, cwd=tmp_path)
    with sandbox(ids) as served:
        one = tmp_path / "one"
        alone = bulkdel(*Case(it.export, served, len(ids)).args, "--run", one, env=place.environ, cwd=tmp_path)
    assert alone.counts() == ran.counts()
    assert results_of(one) == results


def test_a_node_that_is_cut_off_from_the_engine_sends_nothing_after_it_was_replaced(
    place: Place, tmp_path: Path
) -> None:
    """It still reaches the API and the store. Its shard is placed again here. Nothing comes of it, also afterwards."""

    def scenario(folder: Path) -> None:
        ids = user_ids(12_000, seed=62)
        with place.node() as far, case(place, folder, ids, *SLOW, shards=RAY) as (it, api, name):
            process = it.start(env=place.environ, cwd=folder)
            wait_until(lambda: len(api.heard) > 30, process)
            (old,) = far.shards
            place.engine.cut()
            fenced_at = place.wait_for_successor(name, old)
            assert_in_time(Path(f"/proc/{old}").exists(), "the process was to be alive when it was replaced")
            time.sleep(1.1 * LEASE_S)
            assert_in_time(max(api.heard) <= fenced_at + 1.1 * LEASE_S, max(api.heard) - fenced_at)
            heard = len(api.heard)
            place.engine.mend()
            time.sleep(3)
            assert bulkdel("ctl", f"s3://{BUCKET}/{name}", "rate", 0, env=place.environ).code == 0
            ran = finish(process)
            assert (ran.code, ran.counts()) == (0, {"deleted": 12_000, "duplicate": 1_200}), ran
            assert len(api.heard) == heard
            assert it.effects(ids) == [1] * len(ids)

    steady(scenario, tmp_path)


def test_a_node_that_is_cut_off_from_the_store_sends_nothing_after_the_run_was_taken_over(
    place: Place, tmp_path: Path
) -> None:
    """It still reaches the API and the engine. Another process takes the run over here, without Ray."""

    def scenario(folder: Path) -> None:
        ids = user_ids(6_000, seed=63)
        with place.node() as far, case(place, folder, ids) as (it, api, name):
            process = start(*it.args, "--shards", RAY, *SLOW, env=place.environ, cwd=folder)
            wait_until(lambda: len(api.heard) > 30, process)
            (old,) = far.shards
            place.store.link.cut()
            (elsewhere := folder / "elsewhere").mkdir()
            successor = it.start("--take-over", "--rate", 0, env=place.environ, cwd=elsewhere)
            fenced_at = place.wait_for_successor(name, old)
            ran = finish(successor)
            assert (ran.code, ran.counts()) == (0, {"deleted": 6_000, "duplicate": 600}), ran
            first = finish(process)
            assert (first.code, "has taken it over" in first.err) == (5, True), first
            place.store.link.mend()
            time.sleep(3)
            assert_in_time(max(api.heard) <= fenced_at + 1.1 * LEASE_S, max(api.heard) - fenced_at)
            assert it.effects(ids) == [1] * len(ids)

    steady(scenario, tmp_path)
