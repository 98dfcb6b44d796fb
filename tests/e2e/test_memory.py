"""Memory does not grow with the export."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from bulkdel_jobs.sandbox import Pool, serve_in_thread
from tests.bench import commands, exports
from tests.bench.commands import measured
from tests.bench.serving import serving
from tests.harness import COMMAND, POOL, environment
from tests.launching import launched, took
from tests.madeup import make_run
from tests.places import log_of

SMALL, LARGE = 50_000, 250_000
GROWTH_MAX_KIB = 4 * 1024
"""Buffers and caches of a fixed size take 3 to 6 MB until some 200,000 rows have passed; then nothing grows."""

ALL_MAX_KIB = 120 * 1024


def peaks_kib(export: Path, count: int, repeated: float) -> dict[str, int]:
    """Peak resident memory of a whole run over `count` ids, and of its results, KiB.

    repeated: share of the rows that repeat an id of any row before them.
    """
    rng, rows = random.Random(1), 0
    with export.open("w") as file:
        for i in range(count):
            file.write(f'{{"id":"{i:024x}"}}\n')
            rows += 1
            while rng.random() < repeated:
                file.write(f'{{"id":"{rng.randrange(i + 1):024x}"}}\n')
                rows += 1
    with serve_in_thread(Pool.from_ids(f"{i:024x}" for i in range(count))) as served:
        words = [
            *(*COMMAND, "run", "delete-users", str(export), "--host", served.url),
            *("--rate", "0", "--confirm", str(count), "--pool", POOL),
        ]
        done = subprocess.run(
            launched(words, export.with_suffix(".took")),
            env=environment(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert served.pool.deleted == count
    run = took(export.with_suffix(".took")).peak_kib
    log = log_of(export)
    return {"run": run, "results": peak_of_results_kib(log, rows)}


def test_the_server_of_the_benchmarks_takes_a_whole_run(tmp_path: Path) -> None:
    """`make test` runs no benchmark, so what the server of the benchmarks answers is tried here."""
    with serving(tmp_path) as served:
        words = commands.run_words(served.url, exports.write(tmp_path, "objects", 200), tmp_path / "run", "--rate", 0)
        done = subprocess.run(words, env=environment(commands.ENVIRON), capture_output=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["deleted"]) == (0, 200), done.stderr


@pytest.mark.soak
def test_memory_is_flat(tmp_path: Path) -> None:
    """At 250,000 ids at most 4 MB over 50,000. Of the rows 30 % repeat an id at random."""
    small = peaks_kib(tmp_path / "small.jsonl", SMALL, 0.3)
    large = peaks_kib(tmp_path / "large.jsonl", LARGE, 0.3)
    for name, kib in large.items():
        assert kib - small[name] <= GROWTH_MAX_KIB, (name, small, large)
        assert kib <= ALL_MAX_KIB


def peak_of_results_kib(log: Path, rows: int) -> int:
    """Peak resident memory of `results`, KiB."""
    out, report = log.with_suffix(".out.jsonl"), log.with_suffix(".took")
    done = subprocess.run(
        launched([*COMMAND, "results", str(log), "--out", str(out)], report),
        env=environment({}),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with out.open("rb") as file:
        assert sum(1 for _ in file) == rows
    return took(report).peak_kib


def peak_of_report_kib(log: Path) -> int:
    """Peak resident memory of `report`, KiB."""
    out = log.with_suffix(".html")
    kib = measured([*COMMAND, "report", str(log), "--out", str(out)]).peak_kib
    assert "50,000 users were deleted: every row of the export" in out.read_text()
    return kib


@pytest.mark.soak
def test_memory_of_results_and_report_is_flat(tmp_path: Path) -> None:
    """Memory: none for an id, 24 bytes for a chunk. docs/performance.md has the figures of ten million ids."""
    logs = {n: make_run(tmp_path / f"{n}.jsonl", n) for n in (SMALL, LARGE)}
    for small, large in (
        [peak_of_results_kib(log, n) for n, log in logs.items()],
        [peak_of_report_kib(log) for log in logs.values()],
    ):
        assert large - small <= GROWTH_MAX_KIB, (small, large)
        assert large <= ALL_MAX_KIB


def test_a_large_process_measures_a_small_one() -> None:
    """The peak is the command's own, however much memory the process has that starts it."""
    held = b"x" * (4 * ALL_MAX_KIB * 1024)
    assert measured([sys.executable, "-c", "pass"]).peak_kib < ALL_MAX_KIB
    assert len(held) > ALL_MAX_KIB * 1024
