"""A Ray cluster on this machine, for tests. Each node is `ray start --block`, so it can be killed or stopped.

The credentials of the nodes are in files, which only the processes that sign in read. So a test can look for them in
everything that is Ray's.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bulkdel_jobs.sandbox import SANDBOX_KEY_ID, SANDBOX_KEY_SECRET
from tests.harness import environment, wait_until
from tests.waits import WAIT_MAX_S

TOKEN = "ray-token-of-the-tests-" + "0" * 32
START_S = 45
QUIET = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": TOKEN,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
}


def program() -> str:
    """The program `ray`. Skips the test without it."""
    found = shutil.which("ray", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("nothing ran on Ray, because it is not installed: make test-ray")
    return found


class Node:
    """One node. prefix: the words before its command line, which have to become the same process."""

    def __init__(self, environ: Mapping[str, str], *words: str, prefix: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, program(), "start", "--block", "--disable-usage-stats", *words],
            env={**environment({}), **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pids(self) -> list[int]:
        """Every process of the node: of Ray, and those that its actors have started."""
        children = dict[int, list[int]]()
        for each in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(each.name))
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    @property
    def shards(self) -> list[int]:
        """The processes of shards on the node."""
        return [pid for pid in self.pids if b"_BULKDEL_SHARD=" in _bytes(f"/proc/{pid}/environ")]

    def signal(self, signum: int) -> None:
        """Send a signal to every process of the node."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signum)

    def kill(self) -> None:
        """Kill it, as the end of its machine would."""
        self.signal(signal.SIGKILL)
        self.process.wait()


class Cluster:
    """The head, which gets no work, and nodes. environ: for a driver. host: the address of all of them."""

    def __init__(self, folder: Path, environ: Mapping[str, str], port: int, host: str) -> None:
        self._folder = folder
        self._environ = {**QUIET, **environ}
        self._host = host
        self.address = f"{host}:{port}"
        self.head = Node(
            self._environ,
            *("--head", "--port", str(port), "--num-cpus", "0", "--include-dashboard", "false"),
            *("--node-ip-address", host, "--temp-dir", str(folder), *PORTS),
        )
        self.nodes = list[Node]()

    @property
    def environ(self) -> dict[str, str]:
        """What a driver needs to join."""
        return {**QUIET, "RAY_ADDRESS": self.address}

    def add(self, *, host: str | None = None, prefix: Sequence[str] = (), **environ: str) -> Node:
        """Add a node. host: an address of its own. prefix: see `Node`. environ: more variables of it."""
        words = ("--address", self.address, "--num-cpus", "4", "--node-ip-address", host or self._host, *PORTS)
        before = self.alive()
        node = Node({**self._environ, **environ}, *words, prefix=prefix)
        self.nodes.append(node)
        wait_until(lambda: bool(self.alive() - before), timeout_s=START_S)  # two at the same time hinder each other
        return node

    def kill(self, node: Node) -> None:
        """Kill a node."""
        node.kill()
        self.nodes.remove(node)

    def alive(self) -> set[str]:
        """The nodes of the cluster, with the head. One that has just died is among them."""
        words = [program(), "status", "--address", self.address]
        done = subprocess.run(
            words, env={**os.environ, **self.environ}, capture_output=True, text=True, check=False, timeout=WAIT_MAX_S
        )
        return set(re.findall(r"node_\w+", done.stdout.partition("Active:")[2].partition("Pending:")[0]))

    def text(self) -> Iterator[tuple[str, bytes]]:
        """Everything that Ray keeps: its files, and the memory of its processes that are not workers."""
        for path in self._folder.rglob("*"):
            if path.is_file():
                yield str(path), _bytes(path)
        for node in (self.head, *self.nodes):
            for pid in node.pids:
                name = _bytes(f"/proc/{pid}/comm").decode().strip()
                if name in {"gcs_server", "raylet"} or name.startswith("ray::"):
                    yield f"memory of {name} {pid}", _memory(pid)

    def end(self) -> None:
        """End it."""
        for node in (*self.nodes, self.head):
            node.kill()


PORTS = ("--min-worker-port", "0", "--max-worker-port", "0", "--object-store-memory", str(80 << 20))


@contextmanager
def cluster(nodes: int, *, port: int, host: str = "127.0.0.1", **environ: str) -> Iterator[Cluster]:
    """A cluster with so many nodes. host: the address of all of them. environ: variables of all of them."""
    program()
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # a short path: Ray has sockets in it
    secrets = {"GENAUTH_ACCESS_KEY_ID": SANDBOX_KEY_ID, "GENAUTH_ACCESS_KEY_SECRET": SANDBOX_KEY_SECRET}
    files = dict[str, str]()
    keys = Path(tempfile.mkdtemp(prefix="keys"))
    for name, value in secrets.items():
        (keys / name).touch(0o600)
        (keys / name).write_text(value)
        files[f"{name}_FILE"] = str(keys / name)
    made = Cluster(folder, {**files, **environ}, port, host)
    try:
        wait_until(lambda: bool(made.alive()), timeout_s=START_S)
        for _ in range(nodes):
            made.add()
        yield made
    finally:
        made.end()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(keys)


def _bytes(path: Path | str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _memory(pid: int) -> bytes:
    """What is written in the memory of a process."""
    found = bytearray()
    of = Path(f"/proc/{pid}")
    with suppress(OSError), (of / "maps").open() as maps, (of / "mem").open("rb", 0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if not rights.startswith("rw") or "/dev/shm" in line:
                continue
            start, end = (int(each, 16) for each in span.split("-"))
            with suppress(OSError, ValueError, OverflowError):
                memory.seek(start)
                found += memory.read(min(end - start, 64 << 20))
    return bytes(found)
