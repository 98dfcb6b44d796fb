"""A batch on the nodes of a Ray cluster (`make test-ray`): the servers' own counts and arrival times at the end."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from bulkdel_jobs.sandbox import SANDBOX_KEY_SECRET
from tests.e2e.test_batch import Night, beyond, night
from tests.forked import OFF
from tests.harness import finish, is_alive, start, wait_until
from tests.raycluster import Node, cluster

OVER_ALL = 30.0
HEAD = """rate_over_all = 30
[defaults]
job = "delete-users"
rate = 0
chunk_size = 1
run = "file://{folder}/stores/{name}"
"""
OF_NODE = (
    'credentials = { GENAUTH_ACCESS_KEY_ID_FILE = "GENAUTH_ACCESS_KEY_ID_FILE", '
    'GENAUTH_ACCESS_KEY_SECRET_FILE = "GENAUTH_ACCESS_KEY_SECRET_FILE" }'
)
OF_FILE = 'credentials_file = "key.env"'


def processes(node: Node) -> list[int]:
    """The processes of runs on a node."""
    time.sleep(0.2)
    found = []
    for pid in node.pids:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"bulkdel" in command and b"run" in command:
            found.append(pid)
    return found


def place(it: Night) -> list[str]:
    return ["--address", f"file://{it.folder}/stores"]


def written(it: Night, head: str = HEAD) -> None:
    (it.folder / "stores").mkdir(exist_ok=True)
    it.write("a", "b", head=head.replace("{folder}", str(it.folder)), a=OF_NODE, b=OF_FILE)


def test_a_batch_whose_node_and_driver_are_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every user is deleted once, within one rate over all nodes; a lost run is placed again; no key is Ray's.

    Ctrl-C drains the runs on all nodes.
    """
    counts = {"a": 450, "b": 450}
    monkeypatch.setenv(OFF, "1")  # Ray has threads of its own
    with cluster(2, port=26_391) as nodes, night(tmp_path, counts) as it:
        written(it)
        driver = nodes.environ
        unconfirmed = it.batch("plan", *place(it), "--on", "ray", "--json", env=driver)
        assert unconfirmed.code == 0, unconfirmed
        assert "--on" in unconfirmed.summary["command"]
        planned = unconfirmed.summary["to_confirm"]
        options = ["--on", "ray", "--confirm", str(planned["ids"]), "--plan", planned["plan"], "--json"]
        process = start("batch", "run", it.file, *it.where, *place(it), *options, env=driver)
        wait_until(lambda: all(pool.ledger.deleted > 10 for pool in it.pools.values()), process)
        one, other = nodes.nodes
        assert (len(processes(one)), len(processes(other))) == (1, 1)
        nodes.kill(one)
        wait_until(lambda: len(processes(other)) == 2, process)
        before = {name: pool.ledger.deleted for name, pool in it.pools.items()}
        wait_until(lambda: all(it.pools[n].ledger.deleted > before[n] + 10 for n in before), process)
        left = processes(other)
        process.kill()
        process.communicate()
        wait_until(lambda: not any(is_alive(pid) for pid in left))
        arrived = [len(pool.ledger.arrivals) for pool in it.pools.values()]
        time.sleep(1)
        assert [len(pool.ledger.arrivals) for pool in it.pools.values()] == arrived
        assert [name for name, text in nodes.text() if SANDBOX_KEY_SECRET.encode() in text] == []
        before = {name: pool.ledger.deleted for name, pool in it.pools.items()}
        process = start("batch", "run", it.file, *it.where, *place(it), *options, env=driver)
        wait_until(lambda: any(it.pools[n].ledger.deleted > before[n] + 5 for n in before), process)
        process.send_signal(signal.SIGINT)
        drained = finish(process)
        assert (drained.code, set(drained.summary["totals"]) >= {"deleted", "remaining"}) == (130, True), drained
        again = it.batch("run", *place(it), *options, env=driver)
        assert again.code == 0, again
        assert [run["status"] for run in again.summary["runs"]] == ["complete", "complete"]
        assert [effects for name in it.ids for effects in it.effects(name)] == [1] * sum(counts.values())
        times = [at for pool in it.pools.values() for at in pool.ledger.arrivals]
        assert beyond(times, OVER_ALL, 3) <= 0.1 * OVER_ALL, sorted(times)
        shown = it.batch("status", *place(it), "--json", env={})
        assert {run["name"]: run["deleted"] for run in shown.summary["runs"]} == counts
