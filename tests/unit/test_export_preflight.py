"""What the preflight counts, samples and writes."""

from __future__ import annotations

import hashlib
import os
import random
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bulkdel.core.bad_rows import Why
from bulkdel.core.halt_limits import SAMPLE_SIZE
from bulkdel.core.id_type import IdSet
from bulkdel.core.record import Record
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.export.file import open_export
from bulkdel.export.invalid_file import InvalidRows
from bulkdel.export.preflight import Preflight, preflight
from bulkdel.export.sniff import header_of
from tests.launching import launched
from tests.sourcefiles import SKIP, ids, look, options, write


def test_counts_and_sample(tmp_path: Path) -> None:
    text = "".join(f'"user-{number}"\n' for number in range(10_000)) + '"user-9999"\n"user-5"\n'
    told: list[tuple[int, int]] = []
    protected = IdSet(ids=[*(f"user-{number}" for number in range(10)), "another"])
    seen = look(
        write(tmp_path / "x", text), protected=protected, on_progress=lambda done, size: told.append((done, size))
    )
    assert (
        seen.rows,
        seen.counts["ids"],
        seen.counts["excluded"],
        seen.counts["duplicate"],
        seen.counts["invalid"],
    ) == (10_002, 9990, 11, 1, 0)
    assert (seen.kept, seen.perhaps) == (10, 0)
    assert seen.examples == ("user-10", "user-11", "user-12")
    assert len(seen.sample) == 200
    positions = [record.position for record in seen.sample]
    assert positions == sorted(set(positions))
    assert all(record == Record(record.position, f"user-{record.position}") for record in seen.sample)
    assert positions[0] >= 10
    assert positions[-1] < 10_000
    assert told == [(len(text), len(text))]
    assert seen.bad == ()


@pytest.mark.parametrize("rows", [1, 5, 199, 200, 201])
def test_a_sample_is_never_larger_than_what_there_is(tmp_path: Path, rows: int) -> None:
    seen = look(write(tmp_path / "x", "".join(f'"user-{number}"\n' for number in range(rows))))
    assert len(seen.sample) == min(SAMPLE_SIZE, rows)


def test_everything_excluded_is_the_callers_business(tmp_path: Path) -> None:
    seen = look(write(tmp_path / "x", '"a"\n'), protected=IdSet(ids=["a"]))
    assert (seen.rows, seen.counts["ids"], seen.sample, seen.examples) == (1, 0, (), ())


BAD_CSV = 'n,id\r\n1,a\r\n"2\r\n2", b\r\n3,c,3\r\n4,d\r\n5,'


def left_out(path: Path, to: Path, **others: Any) -> Preflight:
    """Preflight a file, and write its bad rows to `to`."""
    opts = options(skip_invalid=SKIP, **others)
    with ExitStack() as stack, open_export(str(path)) as export:
        rows = InvalidRows(path.parent, stack)
        seen = preflight(export, opts, rng=random.Random(1), to=rows.add)
        rows.finish(header_of(export, seen.dialect), seen.bad)
        rows.write(to)
        known = rows.known()
    for which, file in (("rows", to), ("reasons", Path(f"{to}.reasons.csv"))):
        data = file.read_bytes()
        assert known[which] == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    assert sum(known["why"].values()) == seen.counts["invalid"]
    return seen


def test_bad_rows_are_written_as_they_stand_and_can_be_fed_back(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "\ufeff" + BAD_CSV)
    write(tmp_path / ".invalid.csv.abcdefgh.part", "left by a run that was killed")
    write(tmp_path / ".invalid.csv.reasons.csv.abcdefgh.part", "left by a run that was killed")
    invalid, reasons = tmp_path / "invalid.csv", tmp_path / "invalid.csv.reasons.csv"
    seen = left_out(path, invalid)
    assert (seen.rows, seen.counts["ids"], seen.counts["invalid"]) == (5, 2, 3)
    assert invalid.read_bytes().decode() == 'n,id\r\n"2\r\n2", b\r\n3,c,3\r\n5,'
    assert reasons.read_text().splitlines() == [
        "line,reason",
        "3,spaces around the id (--trim takes them off)",
        '5,"3 columns, where the first row has 2"',
        "7,an empty id",
    ]
    assert [stat.S_IMODE(each.stat().st_mode) for each in (invalid, reasons)] == [0o600, 0o600]
    assert [(group.count, group.first.line, group.first.why.why) for group in seen.bad] == [
        (1, 3, Why.SPACES),
        (1, 5, Why.COLUMNS),
        (1, 7, Why.EMPTY_ID),
    ]
    text = invalid.read_bytes().decode().replace("3,c,3", "3,c").replace(", b", ",b") + "e"
    assert ids(write(invalid, text)) == ["b", "c", "e"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["invalid.csv", reasons.name, "x.csv"]


def test_bad_json_rows_are_written_as_they_stand(tmp_path: Path) -> None:
    path = write(tmp_path / "x", '{"id":"a"}\r\n{"id": " b"}\r\n\n{"id":null}')
    invalid = tmp_path / "invalid"
    seen = left_out(path, invalid)
    assert (seen.counts["ids"], seen.counts["invalid"]) == (1, 3)
    assert invalid.read_bytes() == b'{"id": " b"}\r\n\n{"id":null}'


def test_bad_lines_of_a_plain_list_are_written_as_they_stand(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "a\r\n b\r\n\r\nc\n d")
    seen = left_out(path, tmp_path / "invalid", format="lines")
    assert (seen.counts["ids"], seen.counts["invalid"]) == (2, 3)
    assert (tmp_path / "invalid").read_bytes() == b" b\r\n\r\n d"


def test_an_older_file_of_bad_rows_is_left_alone_unless_it_is_the_same(tmp_path: Path) -> None:
    """It may hold corrections by hand."""
    export, invalid = write(tmp_path / "x", '"a"\n""\n'), write(tmp_path / "invalid", "corrected")
    with pytest.raises(NotAcceptable, match="invalid"):
        left_out(export, invalid)
    assert invalid.read_text() == "corrected"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["invalid", "x"]
    invalid.write_text('""\n')
    invalid.chmod(0o644)
    left_out(export, invalid)
    assert invalid.read_bytes() == b'""\n'
    assert stat.S_IMODE(invalid.stat().st_mode) == 0o600


def test_a_file_of_bad_rows_that_cannot_be_written(tmp_path: Path) -> None:
    path = write(tmp_path / "x", '"a"\n""\n')
    with pytest.raises(FileFailed, match="No such file"):
        left_out(path, tmp_path / "missing" / "deep" / "y")
    (tmp_path / "dir").mkdir()
    with pytest.raises(FileFailed, match="directory"):
        left_out(path, tmp_path / "dir")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["dir", "x"]


PEAK = """
import random, resource, sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from bulkdel.export.file import open_export
from bulkdel.export.preflight import preflight
from bulkdel.input.run_input import NewInput
from bulkdel.place.spool import Spool
from tests.sourcefiles import options
with open_export(sys.argv[1]) as export:
    new = NewInput(Spool.unnamed(Path(sys.argv[1]).parent), "x")
    preflight(export, options("user_id"), rng=random.Random(1), to=lambda parsed: new.add(parsed.for_input()))
    new.finish()
    for _ in new.rows.rows():
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 1 << 20))
"""


@pytest.mark.soak
@pytest.mark.untraced
def test_memory_does_not_grow_with_the_export(tmp_path: Path) -> None:
    """At 300,000 rows everything that is gathered before it is written is full."""

    def peak(count: int) -> int:
        path = tmp_path / str(count)
        rng = random.Random(1)
        with path.open("w") as file:
            file.writelines(f'{{"id":"{rng.getrandbits(96):024x}"}}\n' for _ in range(count))
        command = [sys.executable, "-c", PEAK, str(path), *sys.path]
        uncovered = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        done = subprocess.run(launched(command, tmp_path / "took"), env=uncovered, capture_output=True, check=True)
        return int(done.stdout)

    assert peak(900_000) <= peak(300_000) + 10


def test_one_pass_serves_several_readers(tmp_path: Path) -> None:
    with open_export(str(write(tmp_path / "x", '"a"\n'))) as export:
        first = preflight(export, options(), rng=random.Random(1))
        assert preflight(export, options(), rng=random.Random(1)) == first
