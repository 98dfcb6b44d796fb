"""Files of a new run on this machine: when they get their names, and when the disk has these."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bulkdel.durable import DISK
from bulkdel.place.log_file import LogFile
from bulkdel.place.spool import Spool
from bulkdel.world import World
from tests.mutants import mutant
from tests.syntax import swap


def test_a_part_gets_its_name_with_its_bytes_and_no_part_is_left(tmp_path: Path) -> None:
    spool = Spool.part(tmp_path / ".rows.part")
    spool.write(b"rows")
    spool.put(tmp_path / "rows")
    spool.close()
    assert (tmp_path / "rows").read_bytes() == b"rows"
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


@mutant(
    "whatever has the name of the part becomes the rows of a run",
    "Spool.put",
    swap("not _is_at(os.fstat(self._fd), self._part)", "not self._part.exists()"),
    case="replaced",
)
@pytest.mark.parametrize("by", ["replaced", "removed"])
def test_a_part_that_is_another_file_now_gets_no_name(by: str, tmp_path: Path) -> None:
    part = tmp_path / ".rows.part"
    spool = Spool.part(part)
    spool.write(b"rows")
    part.unlink()
    if by == "replaced":
        part.write_bytes(b"other rows")
    with pytest.raises(OSError, match=r"\.rows\.part was removed or replaced"):
        spool.put(tmp_path / "rows")
    assert not (tmp_path / "rows").exists()
    spool.close()


@mutant(
    "the name of a new log is not made durable",
    "WritableFile.append",
    swap("self._disk.sync_directory(self._path)", "self._disk.sync(self._fd)"),
)
def test_the_name_of_a_new_log_is_durable_with_its_first_line(tmp_path: Path) -> None:
    """Of a verification, too, which puts no file beside its log."""
    named: list[Path] = []
    place = LogFile(tmp_path, world=World(disk=replace(DISK, sync_directory=named.append)))
    lines = place.writable(new=True, another=True)
    lines.append(1, b"first\n")
    lines.append(2, b"second\n")
    lines.close()
    assert named == [tmp_path / "log.jsonl"]
