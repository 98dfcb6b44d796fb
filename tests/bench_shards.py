"""`make bench-shards`: what the processes of a run in shards cost together, and how much faster they are.

    python -m tests.bench_shards [IDS]

The real command sends IDS (800,000) ids without a limit of the rate to the server of `make bench`, in one process and
in 2 and 4 shards, each process with 64 requests in flight. Each process that sends is held to a quarter of a processor,
so that the server is never what is waited for; that needs root and the cpu controller of cgroups. Compared are

- the seconds of all processes on a processor for each million ids, without those that the same run takes for 100,000
  ids: the start of the processes;
- how fast the middle half of the rows is settled.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bench import exports
from tests.bench.serving import serving
from tests.bench.stub import POOL
from tests.harness import COMMAND, environment, processes_of_shards

SHARDS = (1, 2, 4)
START = 100_000
IN_FLIGHT = 64
APART = 0.15
"""How far the cost of shards may be from that of one process."""

FASTER = 1.8
"""How much faster two shards have to be, each on a quarter of a processor."""

CGROUPS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))


def words(made: exports.Made, url: str, shards: int, place: Path) -> list[str]:
    given = {"--confirm": made.count, "--pool": POOL, "--run": place, "--concurrency": IN_FLIGHT * shards}
    given |= {"--host": url, "--rate": 0, "--progress-every": "1s", "--log-format": "json"}
    given |= {"--shards": shards} if shards > 1 else {}
    options = [str(word) for pair in given.items() for word in pair]
    return [*COMMAND, "run", "delete-users", str(made.path), "--json", "--allow-absent", *options]


@contextmanager
def quarters(count: int) -> Iterator[list[Path]]:
    """Groups that are held to a quarter of a processor each. Exits where there can be none."""
    root = next((each for each in CGROUPS if (each / "cpu.cfs_quota_us").exists() or (each / "cpu.max").exists()), None)
    if root is None or os.geteuid():
        sys.exit("not measured: it needs root and the cpu controller of cgroups")
    made = [root / f"bulkdel-bench-{os.getpid()}-{number}" for number in range(count)]
    for group in made:
        group.mkdir()
        if (group / "cpu.max").exists():
            (group / "cpu.max").write_text("25000 100000")
        else:
            (group / "cpu.cfs_quota_us").write_text("25000")  # of a period of 100,000
    try:
        yield made
    finally:
        for group in made:
            with suppress(OSError):
                group.rmdir()


def measured(made: exports.Made, url: str, shards: int, place: Path) -> tuple[float, float]:
    """Run it: the seconds of all its processes on a processor, and ids a second in the middle half of the rows."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with quarters(shards) as groups:
        process = subprocess.Popen(
            words(made, url, shards, place), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        held, seen = set[int](), list[tuple[float, int]]()
        for line in process.stderr:
            for pid in {*(processes_of_shards(process.pid) if shards > 1 else [process.pid])} - held:
                (groups[len(held) % shards] / "cgroup.procs").write_text(str(pid))
                held.add(pid)
            with suppress(ValueError):
                if (event := json.loads(line)).get("event") == "progress":
                    seen.append((time.monotonic(), event["settled"]))
        assert process.wait() == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    middle = [each for each in seen if made.count / 4 <= each[1] <= made.count * 3 / 4] or [(0.0, 0), (1.0, 0)]
    (began, first), (ended, last) = middle[0], middle[-1]
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used_s, (last - first) / max(ended - began, 1e-9)


def main() -> int:
    """Print the table; exit 1 when the costs are too far apart, or two shards are too slow."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 800_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = (exports.write(folder, "objects", each) for each in (START, START + count))
        costs, speeds = dict[int, float](), dict[int, float]()
        with serving(folder) as served:
            print(
                f"{os.cpu_count()} processors, {served.name}, {count:,} ids, a quarter of a processor for each process"
            )
            print(f"{'shards':>6} {'start, CPU s':>13} {'CPU s/million':>14} {'ids/s':>8} {'times':>6}")
            for shards in SHARDS:
                start, _ = measured(small, served.url, shards, folder / f"{shards}-small")
                whole, speeds[shards] = measured(large, served.url, shards, folder / str(shards))
                costs[shards] = (whole - start) * 1e6 / count
                speed, times = speeds[shards], speeds[shards] / speeds[1]
                print(f"{shards:>6} {start:>13.2f} {costs[shards]:>14.2f} {speed:>8,.0f} {times:>6.2f}", flush=True)
    apart = max(abs(cost / costs[1] - 1) for cost in costs.values())
    print(f"the costs are at most {apart:.0%} apart")
    return 0 if apart <= APART and speeds[2] / speeds[1] >= FASTER else 1


if __name__ == "__main__":
    sys.exit(main())
