"""Finding duplicates, held against a plain dictionary: any size of runs and partitions, with and without a file."""

from __future__ import annotations

import errno
import os
import random
import re
import stat
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.skipped_rows import PositionSet
from bulkdel.errors import FileFailed
from bulkdel.export.duplicates import FIRSTS_MIN, DuplicateFinder
from tests.examples import one_in
from tests.mutants import mutant
from tests.syntax import swap


def plain(rows: list[tuple[int, str]]) -> tuple[dict[int, str], list[int]]:
    """The first row of each id, and the others."""
    seen: set[str] = set()
    firsts: dict[int, str] = {}
    others: list[int] = []
    for position, id_ in rows:
        if id_.lower() in seen:
            others.append(position)
        else:
            firsts[position] = id_
        seen.add(id_.lower())
    return firsts, others


def found(rows: list[tuple[int, str]], batch: int, finder: DuplicateFinder) -> tuple[dict[int, str], list[int]]:
    duplicates = PositionSet()
    with finder:
        for first in range(0, len(rows), batch):
            some = rows[first : first + batch]
            finder.add([position for position, _ in some], [id_ for _, id_ in some])
        firsts = finder.find(duplicates)
    return {record.position: record.id for record in sorted(firsts)}, list(duplicates.between(0, 1 << 20))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from("aAbBcCdé")), max_size=40),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 4),
)
def test_like_a_dictionary(steps: list[tuple[int, str]], batch: int, spill_rows: int, keys_max: int) -> None:
    """Also with gaps between the rows, and with partitions that have to be spread again."""
    rows, position = [], 0
    for step, id_ in steps:
        position += step
        rows.append((position, id_))
    finder = DuplicateFinder(None, str.lower, lambda: 1.0, spill_rows=spill_rows, keys_max=keys_max)
    assert found(rows, batch, finder) == plain(rows)


@pytest.mark.parametrize("keys_max", [1 << 16, 20])
@pytest.mark.parametrize("share", one_in(2, [0.0, 0.001, 0.3, 0.97]))
def test_at_any_distance(share: float, keys_max: int, tmp_path: Path) -> None:
    """20: every partition holds about eighty keys, so each is spread again, and most of those are not."""
    rng = random.Random(share)
    rows = [(at, f"{rng.randrange(at) if at and rng.random() < share else at:x}") for at in range(20_000)]
    rows[-1] = (rows[-1][0] + (1 << 17), "0")  # far apart: offsets within a run are larger than 16 bits hold
    finder = DuplicateFinder(tmp_path, str, lambda: 0.5, spill_rows=1_000, keys_max=keys_max)
    firsts, others = plain(rows)
    drawn_from, repeated = found(rows, 512, finder)
    assert repeated == others
    assert len(drawn_from) >= min(len(firsts), FIRSTS_MIN)
    assert drawn_from.items() <= firsts.items()


def test_the_sample_is_drawn_from_rows_of_everywhere() -> None:
    """Of a long export only some partitions: each tenth of the export has as many rows in them."""
    rows = [(at, f"{at:x}") for at in range(200_000)]
    drawn_from, _ = found(rows, 512, DuplicateFinder(None, str, lambda: 1.0))
    tenths = Counter(position // 20_000 for position in drawn_from)
    assert FIRSTS_MIN <= len(drawn_from) < 2 * FIRSTS_MIN
    # 400 each, standard deviation 20: five of them are beyond what chance does.
    assert all(abs(tenths[tenth] - len(drawn_from) / 10) < 105 for tenth in range(10))


def test_one_id_a_million_times_needs_no_more_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DuplicateFinder, "_spread", None)
    rows = [(at, "same") for at in range(100_000)]
    firsts, others = found(rows, 512, DuplicateFinder(tmp_path, str, lambda: 1.0, spill_rows=1_000, keys_max=100))
    assert (firsts, others) == ({0: "same"}, list(range(1, 100_000)))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_the_file_has_no_name_and_no_other_owner(tmp_path: Path) -> None:
    finder = DuplicateFinder(tmp_path, str, lambda: 1.0, spill_rows=10)
    with finder:
        finder.add(range(10), [str(i) for i in range(10)])
        (found,) = open_in(tmp_path)
        assert (stat.S_IMODE(found.st_mode), found.st_nlink) == (0o600, 0)
        assert list(tmp_path.iterdir()) == []
    assert open_in(tmp_path) == []


def open_in(folder: Path) -> list[os.stat_result]:
    """The files of this process that lie, or lay, in a folder."""
    descriptors = [*Path("/proc/self/fd").iterdir()]
    return [fd.stat() for fd in descriptors if fd.is_symlink() and str(fd.readlink()).startswith(str(folder))]


def test_a_small_export_takes_no_file(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert found([(0, "a"), (1, "a")], 512, DuplicateFinder(gone, str, lambda: 1.0)) == ({0: "a"}, [1])


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    finder = DuplicateFinder(tmp_path / "gone", str, lambda: 1.0, spill_rows=1)
    with (
        finder,
        pytest.raises(
            FileFailed,
            match=r"gone: the rows of this export, and finding its duplicates, .*No such file.*--run PLACE",
        ),
    ):
        finder.add([0], ["a"])


@mutant(
    "the temporary file may fill the disk",
    "DuplicateFinder._write",
    swap("self._check_space(len(data))", "self._needed = len(data)"),
)
def test_too_little_space_is_told_before_the_disk_is_full(tmp_path: Path) -> None:
    """The share of the export that the first rows are tells how large the file will be."""
    with DuplicateFinder(tmp_path, str, lambda: 1e-15, spill_rows=1) as finder:
        with pytest.raises(FileFailed) as caught:
            finder.add([0], ["some id"])
        words = r"take about [\d,]{10,} MB in this folder: [\d,]+ MB are free there\. Nothing was sent"
        assert re.search(words, str(caught.value)), caught.value


@mutant(
    "what else is written with the export may fill the disk",
    "DuplicateFinder._check_space",
    swap("self._growing()", "0"),
)
def test_room_is_looked_at_for_all_that_grows_with_the_export(tmp_path: Path) -> None:
    with (
        DuplicateFinder(tmp_path, str, lambda: 0.5, spill_rows=1, growing=lambda: 1 << 60) as finder,
        pytest.raises(FileFailed, match=r"MB are free there\. Nothing was sent"),
    ):
        finder.add([0], ["some id"])


def test_a_disk_that_fails_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int, length: int, offset: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with DuplicateFinder(tmp_path, str, lambda: 1.0, spill_rows=1) as finder:
        finder.add([0], ["a"])
        with monkeypatch.context() as patched:
            patched.setattr(os, "pread", fail)
            with pytest.raises(FileFailed, match="Input/output error"):
                finder.find(PositionSet())
            patched.setattr(os, "pread", lambda *_: b"")
            with pytest.raises(RuntimeError, match="cut short"):
                finder.find(PositionSet())
