"""`make bench-shards`: what the processes of a run in shards cost, together, against a run in one process.

    python -m tests.bench_shards [IDS]

The real command sends IDS (4,000,000) ids without a limit of the rate to the server of `make bench`, in one process and
in 2 and 4 shards. The seconds of all its processes on a processor are compared, for each million ids.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import exports
from tests.bench.serving import serving
from tests.bench.stub import POOL
from tests.harness import COMMAND, environment

SHARDS = (1, 2, 4)
APART = 0.15
"""How far the cost of shards may be from that of one process."""


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(made: exports.Made, url: str, shards: int, log: Path) -> tuple[float, float]:
    """Run it: (seconds on a processor, seconds) for each million ids, without those of an export of no size."""
    words = [*COMMAND, "run", "delete-users", str(made.path), "--host", url, "--rate", "0", "--json"]
    words += [
        "--allow-absent",
        "--confirm",
        str(made.count),
        "--pool",
        POOL,
        "--checkpoint",
        str(log),
        "--concurrency",
        "64",
    ]
    words += ["--shards", str(shards)] if shards > 1 else []
    before, began = cpu_s(), time.monotonic()
    subprocess.run(words, env=environment(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    millions = made.count / 1e6
    return (cpu_s() - before) / millions, (time.monotonic() - began) / millions


def main() -> int:
    """Print the table; exit 1 when the costs are too far apart."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = exports.write(folder, "objects", count)
        with serving(folder) as served:
            print(f"{os.cpu_count()} processors, {served.name}, {count:,} ids")
            print(f"{'shards':>6} {'CPU s/million':>14} {'s/million':>10} {'ids/s':>9}")
            costs = {}
            for shards in SHARDS:
                costs[shards], took = measured(made, served.url, shards, folder / f"{shards}.log")
                print(f"{shards:>6} {costs[shards]:>14.2f} {took:>10.2f} {1e6 / took:>9,.0f}", flush=True)
    apart = max(abs(cost / costs[1] - 1) for cost in costs.values())
    print(f"at most {apart:.0%} apart")
    return 0 if apart <= APART else 1


if __name__ == "__main__":
    sys.exit(main())
