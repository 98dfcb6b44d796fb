"""`make bench-store`: how much of the rate a run with its log in a store uses, and what a kill would leave in doubt.

    python -m tests.bench_store [SECONDS]

A commit takes 40 ms in the median and 200 ms or more once in a hundred times, and one more answer in a hundred is 2 s
late. A request takes 20, 100 or 300 ms. The options are the defaults. The arrival times at the sandbox are what is
counted. Rows in doubt are counted in the log while the run is under way, as a kill would leave them. Chunks are small,
so that the sandbox is no bottleneck: they count as chunks of 50.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import product
from pathlib import Path

from bulkdel.core.log_entries import decode_line
from bulkdel.core.run_state import RunState
from bulkdel_jobs.sandbox import DELETE_PATH
from tests.harness import KEYS, POOL, case, finish, start, user_ids
from tests.objectserver import ObjectServer, object_server

RATES = (50, 150, 500, 1_000)
API_S = (0.02, 0.1, 0.3)
COMMIT_S, COMMIT_P99_S, LATE, LATE_S = 0.04, 0.2, 0.01, 2.0
USED_MIN = 0.98
CHUNK, WHOLE_CHUNK = 2, 50
AHEAD_S = 0.26
EDGE = 0.1
"""Of the run, at both ends, that is not measured: the connections are opened, the last chunks come back."""


class Following:
    """The state of a run by its log in the store. Each line is read once: the store's server is in this process."""

    def __init__(self, store: ObjectServer) -> None:
        self._store = store
        self._progress: RunState | None = None
        self._read = 0

    def in_doubt(self) -> int:
        """The rows that a kill would leave in doubt now."""
        for line in self._store.lines("/bucket/run", after=self._read):
            self._read += 1
            for entry in decode_line(line, self._read).entries:
                if self._progress is None:
                    self._progress = RunState(entry)  # type: ignore[arg-type]  # the header is the first
                else:
                    self._progress.apply(entry)
        return self._progress.in_doubt.size if self._progress is not None else 0


def measured(rate: int, api_s: float, seconds: float) -> tuple[float, int, float]:
    """Run at `rate`: the share of it that was used, most rows in doubt, commits a second."""
    ids = user_ids(int(rate * seconds * CHUNK))
    with object_server() as store, tempfile.TemporaryDirectory() as folder:
        store.switch(put_s=COMMIT_S, p99_s=COMMIT_P99_S, slow=LATE, slow_s=LATE_S)
        following = Following(store)
        with case(Path(folder), ids, latency_s=api_s, fault_paths=frozenset({DELETE_PATH})) as it:
            words = [*("run", "delete-users", it.export, "--host", it.served.url, "--rate", rate, "--json")]
            words += ["--chunk-size", CHUNK, "--confirm", len(ids), "--pool", POOL, "--run", "s3://bucket/run"]
            process = start(*words, env={**KEYS, **store.environ})
            doubts = [0]
            while process.poll() is None and it.served.pool.deleted < len(ids) * (1 - EDGE):
                if it.served.pool.deleted > len(ids) * EDGE:
                    doubts.append(following.in_doubt())
                try:
                    process.wait(0.5)
                except Exception:  # noqa: BLE001 - it is still running
                    continue
            ran = finish(process, seconds * 3 + 60)
            assert ran.code == 0, ran.err
            arrivals = sorted(it.served.ledger.arrivals)
            cut = int(len(arrivals) * EDGE)
            middle = arrivals[cut : len(arrivals) - cut]
            span_s = middle[-1] - middle[0]
            used = (len(middle) - 1) / span_s / rate
            return used, max(doubts) // CHUNK * WHOLE_CHUNK, len(store.lines("/bucket/run")) / ran.summary["duration_s"]


def main() -> int:
    """Print the table; exit 1 when less of a rate is used than `USED_MIN`."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 12.0
    kept = True
    print(f"{'rate':>6} {'API ms':>7} {'used':>8} {'in doubt':>9} {'reckoned':>9} {'commits/s':>10}")
    for rate, api_s in product(RATES, API_S):
        used, doubts, commits = measured(rate, api_s, seconds)
        kept = kept and used >= USED_MIN
        reckoned = WHOLE_CHUNK * rate * (AHEAD_S + api_s)
        print(
            f"{rate:>6} {api_s * 1000:>7.0f} {used:>8.2%} {doubts:>9,} {reckoned:>9,.0f} {commits:>10.1f}", flush=True
        )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
