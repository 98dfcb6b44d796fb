"""Ten million ids in the memory of a hundred thousand: run, status, results, report, and going on after it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.bench import commands, exports
from tests.bench.serving import serving

pytestmark = pytest.mark.soak
SMALL, LARGE = 100_000, 10_000_000
GROWTH_MAX_KIB = 10 * 1024
ALL_MAX_KIB = 120 * 1024
READERS_MAX_KIB = 80 * 1024
"""Of `status` and `report`: they run beside a run, or on a small machine afterwards."""


def peaks_kib(url: str, folder: Path, count: int, repeated: float) -> dict[str, int]:
    """Peak resident memory of each command, KiB. repeated: share of the rows that repeat an id."""
    made = exports.write(folder, "objects", count, repeated=repeated)
    run = Path(f"{made.path}.run")
    found = {"run": commands.ours(url, made, "--rate", 0, "--concurrency", 64, place=run).peak_kib}
    for words in (["status"], ["results", "--out", f"{run}.jsonl"], ["report", "--out", f"{run}.html"]):
        words.insert(1, str(run))
        found[words[0]] = commands.measured([sys.executable, "-m", "bulkdel", *words]).peak_kib
    found["again"] = commands.measured(commands.run_words(url, made, run), commands.ENVIRON).peak_kib
    return found


@pytest.mark.parametrize("repeated", [0.0, 0.3])
def test_memory_is_flat_to_ten_million(repeated: float, tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        small, large = (peaks_kib(served.url, tmp_path, count, repeated) for count in (SMALL, LARGE))
    for name, kib in large.items():
        assert kib <= ALL_MAX_KIB, large
        assert kib - small[name] <= GROWTH_MAX_KIB, (name, small, large)
        assert name not in {"status", "report"} or kib <= READERS_MAX_KIB, large
