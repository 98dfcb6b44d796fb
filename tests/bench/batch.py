"""A batch of many look-alike pools on this machine: `python -m tests.bench.batch [POOLS [IDS]]`.

Each pool is a sandbox at an address of its own; all are served by this process. Prints time, CPU and memory, and ends
with an error unless every server has deleted each of its users once.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

from bulkdel_jobs.sandbox import Pool, Sandbox, serve
from tests.harness import KEYS, environment, user_ids, write_objects

POOLS, IDS = 300, 1_000
PARALLEL = 8
RATE = 50

SAMPLE_S = 0.5
"""Between two looks at the memory."""


@contextmanager
def serving(pools: Sequence[Sequence[str]]) -> Iterator[list[Sandbox]]:
    """Serve a sandbox for each pool, all in one thread."""
    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    served: list[Sandbox] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        async with AsyncExitStack() as stack:
            served.extend([await stack.enter_async_context(serve(Pool.from_ids(ids))) for ids in pools])
            started.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    started.wait()
    try:
        yield served
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join()


def memory_mb(pid: int) -> tuple[float, float, int]:
    """The memory of a process, of it and its children together (shared pages once), and the number of children."""
    children = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                children.append(int(entry.name))
    sizes = [_pss_mb(each) for each in (pid, *children)]
    return sizes[0], sum(sizes), len(children)


def _pss_mb(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def measured(words: Sequence[str]) -> str:
    """Run a command to its end, print what it took, and return its stdout."""
    began, cpu = time.monotonic(), os.times()
    peak_own = peak_all = 0.0
    most = 0
    process = subprocess.Popen(
        [sys.executable, "-m", "bulkdel", *words], env=environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    threads = [threading.Thread(target=lambda: outs.append(process.communicate()))]
    outs: list[tuple[bytes, bytes]] = []
    threads[0].start()
    while threads[0].is_alive():
        own, everything, children = memory_mb(process.pid)
        peak_own, peak_all, most = max(peak_own, own), max(peak_all, everything), max(most, children)
        threads[0].join(SAMPLE_S)
    now = os.times()
    used = now.children_user - cpu.children_user + now.children_system - cpu.children_system
    out, err = outs[0]
    print(
        f"{' '.join(words[:2])}: {time.monotonic() - began:.0f} s, {used:.0f} s of CPU, at most {most} processes; "
        f"peak memory {peak_own:.0f} MB of the batch itself, {peak_all:.0f} MB of all processes; "
        f"exit code {process.returncode}"
    )
    if process.returncode:
        sys.exit(err.decode()[-2_000:])
    return out.decode()


def main() -> None:
    """Plan and run the batch."""
    pools, count = [int(word) for word in sys.argv[1:]] + [POOLS, IDS][len(sys.argv) - 1 :]
    ids = [user_ids(count, seed=number) for number in range(pools)]
    with serving(ids) as served, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = folder / "key.env"
        key.write_text("".join(f"{name}={value}\n" for name, value in KEYS.items()))
        key.chmod(0o600)
        rows = ["name,export,host"]
        for number, sandbox in enumerate(served):
            write_objects(folder / f"{number}.jsonl", ids[number])
            rows.append(f"pool-{number:03},{number}.jsonl,{sandbox.url}")
        (folder / "pools.csv").write_text("\n".join(rows) + "\n")
        file = folder / "night.toml"
        file.write_text(
            f'from = "pools.csv"\nparallel = {PARALLEL}\n[defaults]\njob = "delete-users"\nrate = {RATE}\n'
            'credentials_file = "key.env"\n'
        )
        where = [word for sandbox in served for word in ("--host", sandbox.url)]
        print(f"{pools} pools of {count:,} users, {PARALLEL} at once, {RATE} requests a second each")
        plan = json.loads(measured(["batch", "plan", str(file), *where, "--json"]))
        words = shlex.split(shlex.join(plan["command"]))[1:]
        summary = json.loads(measured([*words, "--json"]).splitlines()[-1])
        effects = {
            sandbox.ledger.effects(id_, "user_id") for sandbox, own in zip(served, ids, strict=True) for id_ in own
        }
        print(f"{summary['totals']['deleted']:,} deleted, each by the servers' own counts: {sorted(effects)} times")
        if effects != {1}:
            sys.exit("a user was not deleted, or more than once")
        measured(["batch", "status", str(file), "--json"])


if __name__ == "__main__":
    main()
