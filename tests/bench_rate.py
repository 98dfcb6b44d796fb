"""`make bench-rate`: how much of the rate is used, and whether the bound holds, as the server sees it.

    python -m tests.bench_rate [SECONDS]

For each rate the real command runs for SECONDS (20); the sandbox's arrival times of the deletions are what is counted.
"""

from __future__ import annotations

import sys
import tempfile
from bisect import bisect_right
from pathlib import Path

from tests.harness import case, user_ids

RATES = (50, 150, 1_000)
USED_MIN = 0.98


def measured(rate: int, seconds: float) -> tuple[float, int]:
    """Run at `rate`: (share of it that was used, most requests in any second)."""
    ids = user_ids(int(rate * seconds))
    options = ("--rate", rate, "--chunk-size", 1, "--concurrency", 64)
    with tempfile.TemporaryDirectory() as folder, case(Path(folder), ids, options=options) as it:
        ran = it.run(timeout=seconds * 3 + 60)
        assert ran.code == 0, ran.err
        arrivals = list(it.served.ledger.arrivals)
        # The deletions are the last ones; before them come two sign-ins and the sample.
        deletions = arrivals[-len(ids) :]
        used = (len(deletions) - 1) / (deletions[-1] - deletions[0]) / rate
        most = max(bisect_right(arrivals, at + 1) - i for i, at in enumerate(arrivals))
        return used, most


def main() -> int:
    """Print the table; exit 1 when a promise of the design is not kept."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    kept = True
    print(f"{'rate':>6} {'used':>8} {'most in 1 s':>12} {'bound':>7}")
    for rate in RATES:
        used, most = measured(rate, seconds)
        bound = rate + 1 + 0.02 * rate
        kept = kept and used >= USED_MIN and most <= bound
        print(f"{rate:>6} {used:>8.2%} {most:>12} {bound:>7g}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
