"""Memory does not grow with the export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.sandbox import Pool, Switches, serve_in_thread
from tests.bench.commands import measured
from tests.harness import COMMAND, POOL, environment
from tests.launching import launched, took
from tests.madeup import make_run

pytestmark = pytest.mark.campaign
SMALL, LARGE = 200_000, 1_000_000
GROWTH_MAX_KIB = 10 * 1024
ALL_MAX_KIB = 120 * 1024


def peak_kib(export: Path, count: int) -> int:
    """Peak resident memory of a whole run over `count` ids, KiB."""
    with export.open("w") as file:
        file.writelines(f'{{"id":"{i:024x}"}}\n' for i in range(count))
        file.write(f'{{"id":"{count - 1:024x}"}}\n')  # a duplicate, so that the sending pass keeps its window too
    with serve_in_thread(Pool.from_ids(f"{i:024x}" for i in range(count)), Switches(), count_sent=False) as served:
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
    return took(export.with_suffix(".took")).peak_kib


def test_memory_is_flat(tmp_path: Path) -> None:
    """At 1,000,000 ids at most 10 MB over 200,000, when the duplicate window is full already."""
    small = peak_kib(tmp_path / "small.jsonl", SMALL)
    large = peak_kib(tmp_path / "large.jsonl", LARGE)
    assert large - small <= GROWTH_MAX_KIB, (small, large)


def peak_of_results_kib(folder: Path, count: int) -> int:
    """Peak resident memory of `results` over a made-up run of `count` ids, KiB."""
    log = make_run(folder / f"{count}.jsonl", count)
    done = subprocess.run(
        launched([*COMMAND, "results", str(log), "--out", str(folder / f"{count}.out.jsonl")], folder / "took"),
        env=environment({}),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with (folder / f"{count}.out.jsonl").open("rb") as file:
        assert sum(1 for _ in file) == count
    return took(folder / "took").peak_kib


def test_memory_of_results_is_flat(tmp_path: Path) -> None:
    """Per id nothing, per chunk 24 bytes. Ten million, measured by hand, are in the README."""
    small = peak_of_results_kib(tmp_path, 100_000)
    large = peak_of_results_kib(tmp_path, LARGE)
    assert large - small <= GROWTH_MAX_KIB, (small, large)
    assert large <= ALL_MAX_KIB


def test_a_large_process_measures_a_small_one() -> None:
    """The peak is the command's own, however much memory the process has that starts it."""
    held = b"x" * (4 * ALL_MAX_KIB * 1024)
    assert measured([sys.executable, "-c", "pass"]).peak_kib < ALL_MAX_KIB
    assert len(held) > ALL_MAX_KIB * 1024
