"""Memory of `verify` does not grow with the export. Its log is written here, as a run would have written it."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bulkdel.core.log_entries import Entry, Header, Outcome
from bulkdel_jobs.sandbox import Pool, serve_in_thread
from tests import recorded
from tests.harness import COMMAND, POOL, bulkdel, environment, write_objects
from tests.inputs import rows_of, write_input
from tests.launching import launched, took
from tests.places import log_of

GROWTH_MAX_KIB = 8 * 1024
SMALL, LARGE = 100_000, 400_000
ROWS_AT_ONCE = 10_000


def commits(header: Entry, count: int) -> Iterator[list[Entry]]:
    """Chunks of 50, answered in pairs, the later one first; 64 to a commit."""
    yield [header]
    starts = [start for pair in range(0, count, 100) for start in (pair + 50, pair)]
    for first in range(0, len(starts), 64):
        yield [
            Outcome(recorded.AT, 1, "done", ((start, start + 50),), f"request-{start}")
            for start in starts[first : first + 64]
        ]


def peak_kib(folder: Path, count: int) -> int:
    """Peak resident memory of a verification of `count` ids, one in 10,000 of which is still there, KiB."""
    ids = [f"{i:024x}" for i in range(count)]
    there = ids[5_000::10_000]
    export = write_objects(folder / "export.jsonl", ids[:1])
    log = log_of(export)
    with serve_in_thread(Pool.from_ids([ids[0], "f" * 24, *there])) as served:
        options = ("--host", served.url, "--confirm", 1, "--pool", POOL)
        assert bulkdel("run", "delete-users", export, *options).code == 0
        header = next(recorded.read_entries(log))
        assert isinstance(header, Header)
        write_objects(export, ids)
        data = export.read_bytes()
        pinned = {**header.pinned, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        rows = (rows_of(ids[first : first + ROWS_AT_ONCE], first) for first in range(0, count, ROWS_AT_ONCE))
        counts = {**header.counts, "rows": count, "ids": count}
        header = replace(header, pinned=pinned, counts=counts, input=write_input(log, rows))
        log.write_bytes(b"".join(recorded.lines_of(commits(header, count))))
        done = subprocess.run(
            launched([*COMMAND, "verify", str(log), "--host", served.url, "--rate", "0"], folder / "took"),
            env=environment(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert f"still there    {len(there):>13,}" in done.stdout.decode()
    assert len(log.with_name("still-there.jsonl").read_text().splitlines()) == len(there)
    return took(folder / "took").peak_kib


@pytest.mark.soak
def test_memory_is_flat(tmp_path: Path) -> None:
    """At 400,000 ids hardly more than at 100,000; the log's index is a fifth of a megabyte of it."""
    (tmp_path / "small").mkdir()
    (tmp_path / "large").mkdir()
    small = peak_kib(tmp_path / "small", SMALL)
    large = peak_kib(tmp_path / "large", LARGE)
    assert large - small <= GROWTH_MAX_KIB, (small, large)
