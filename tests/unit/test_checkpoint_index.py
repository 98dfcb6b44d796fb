"""What a log says of each row, held against a plain dictionary built from the same entries."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from pathlib import Path

import pytest

from bulkdel.checkpoint.index import SCHEMA, LogIndex
from bulkdel.core.guards import Spared
from bulkdel.core.log_entries import Entry, Intent, Outcome, Session, Skipped
from bulkdel.core.ranges import Ranges, ranges_of
from bulkdel.core.skipped_rows import PositionSet
from bulkdel.errors import FileFailed
from bulkdel.place.opening import log_at
from tests import recorded
from tests.recorded import encode_line, fold

AT = "2026-01-01T00:00:00.000Z"


def encoded(commits: list[list[Entry]]) -> bytes:
    return b"".join(encode_line(seq, commit) for seq, commit in enumerate(commits, 1))


def write_log(path: Path, commits: list[list[Entry]]) -> list[Entry]:
    path.write_bytes(encoded(commits))
    return [entry for commit in commits for entry in commit]


def without(left_out: PositionSet, positions: list[int]) -> tuple[Ranges, list[int]]:
    """What a run would write for these rows."""
    rows = [position for position in positions if position not in left_out]
    return ranges_of(rows), rows


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.95])
def test_every_row_has_the_result_that_the_log_says(tmp_path: Path, share: float) -> None:
    """Ranges in any order, several to an entry, several entries to a line, gaps, doubts; asked in any pieces."""
    rng = random.Random(4)
    rows = 3_000
    pieces = [(start, min(start + 7, rows)) for start in range(0, rows, 7)]
    rng.shuffle(pieces)
    duplicates = [(row, row + 1) for row in range(rows) if rng.random() < share]
    invalid = [(row, row + 1) for row in range(rows) if rng.random() < 0.01 and (row, row + 1) not in duplicates]
    left_out = recorded.skipped(duplicate=duplicates, invalid=invalid)
    expected: dict[int, tuple[str, bool, str | None]] = {}
    found: list[Entry] = []
    for number, (start, stop) in enumerate(pieces):
        kind = rng.choice(["done", "absent", "refused", "excluded", "in doubt", "untouched"])
        pieces_of = ((start, start + 2), (start + 4, stop)) if stop > start + 4 else ((start, stop),)
        every = [position for begin, end in pieces_of for position in range(begin, end)]
        ranges, positions = without(left_out.rows, every)
        if not positions:
            continue
        if kind == "excluded":
            why = rng.choice([None, *Spared])
            found.append(Skipped("excluded", ranges, why))
            expected |= dict.fromkeys(positions, ("excluded", False, why))
        elif kind == "in doubt":
            found.append(Intent(AT, ranges))
            expected |= dict.fromkeys(positions, ("remaining", True, None))
        elif kind != "untouched":
            found.append(Outcome(AT, 1, kind, ranges, request_id=str(number)))  # type: ignore[arg-type]
            expected |= dict.fromkeys(positions, (kind, False, str(number)))
    commits: list[list[Entry]] = [[recorded.header(rows, left_out)]]
    commits.append([Session("start", AT, hashlib.sha256(encoded(commits)).hexdigest())])
    for reason, some in left_out.by_reason.items():
        expected |= dict.fromkeys(some.between(0, rows), (reason, False, None))
    while found:
        size = rng.randrange(1, 9)
        commits.append(found[:size])
        del found[:size]
    entries = write_log(tmp_path / "log", commits)
    if left_out.rows.size:
        recorded.write_skipped(tmp_path / "log", rows, left_out)
    with LogIndex.of(log_at(tmp_path / "log")) as log_index:
        assert log_index.progress.counts == fold(entries, left_out).counts
        spared = Counter(said for kind, _, said in expected.values() if kind == "excluded" and said)
        assert log_index.progress.spared == spared
        here = 0
        while here < rows:
            stop = min(rows, here + rng.randrange(1, 40))
            told = log_index.between(here, stop)
            assert [row_result.start for row_result in told] == [here, *(row_result.stop for row_result in told[:-1])]
            assert told[-1].stop == stop
            for row_result in told:
                seen = (
                    row_result.kind,
                    row_result.in_doubt,
                    row_result.outcome.request_id if row_result.outcome else row_result.why,
                )
                for position in range(row_result.start, row_result.stop):
                    assert seen == expected.get(position, ("remaining", False, None))
            here = stop


def test_each_range_has_its_own_part_of_the_outcome(tmp_path: Path) -> None:
    said = tuple({"position": at, "id": f"x{at}", "code": at} for at in (2, 3, 7))
    write_log(
        tmp_path / "log", [[recorded.header(rows=10)], [Outcome(AT, 1, "refused", ((2, 4), (7, 8)), "q", None, said)]]
    )
    with LogIndex.of(log_at(tmp_path / "log")) as log_index:
        results = log_index.between(0, 10)
        assert [(each.start, each.stop, each.kind) for each in results] == [
            (0, 2, "remaining"),
            (2, 4, "refused"),
            (4, 7, "remaining"),
            (7, 8, "refused"),
            (8, 10, "remaining"),
        ]
        assert [each.outcome.exceptions for each in results if each.outcome] == [said[:2], said[2:]]


def test_no_room_for_the_index_is_a_failure_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[list[Entry]] = [[recorded.header(rows=5_000)]]
    write_log(tmp_path / "log", commits + [[recorded.deleted(i, i + 1)] for i in range(5_000)])
    monkeypatch.setattr("bulkdel.checkpoint.index.SCHEMA", SCHEMA + "PRAGMA max_page_count = 4;")
    with (
        pytest.raises(FileFailed, match=r"log: its index cannot be written: database or disk is full\. Make room in"),
        LogIndex.of(log_at(tmp_path / "log")),
    ):
        pytest.fail("there was room")
