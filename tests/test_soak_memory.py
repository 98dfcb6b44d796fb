"""Ten million ids in the memory of a hundred thousand: run, status, results, and going on after it."""

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


def peaks_kib(url: str, folder: Path, count: int) -> dict[str, int]:
    """Peak resident memory of each command, KiB."""
    made = exports.write(folder, "objects", count, duplicates=100)  # so that the sending pass keeps its window too
    log = Path(f"{made.path}.checkpoint.jsonl")
    found = {"run": commands.ours(url, made, "--rate", 0, "--concurrency", 64).peak_kib}
    for words in (["status"], ["results", "--out", f"{log}.out.jsonl"]):
        words.insert(1, str(log))
        found[words[0]] = commands.measured([sys.executable, "-m", "runner.cli", *words]).peak_kib
    found["again"] = commands.measured(commands.run_words(url, made, log), commands.ENVIRON).peak_kib
    return found


def test_memory_is_flat_to_ten_million(tmp_path: Path) -> None:
    """At SMALL the duplicate window has just become full."""
    with serving(tmp_path) as (url, _):
        small, large = peaks_kib(url, tmp_path, SMALL), peaks_kib(url, tmp_path, LARGE)
    for name, kib in large.items():
        assert kib <= ALL_MAX_KIB, large
        assert kib - small[name] <= GROWTH_MAX_KIB, (name, small, large)
