"""The backup's file by itself: torn at every byte and gone on with, many savers at once, the first failure."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zstandard

from bulkdel.core.log_entries import Saved
from bulkdel.core.nesting import RECORD_DEPTH_MAX
from bulkdel.durable import Disk, sync
from bulkdel.engine.backup import Backup, Copy, line_of
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.export.lines import LINE_MAX, whole_lines
from bulkdel.world import World
from tests.mutants import mutant
from tests.syntax import only_if, swap

NAMES = ["b.jsonl", "b.jsonl.gz", "b.jsonl.zst"]


def read(path: Path) -> list[int]:
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".zst":
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            data = reader.read()
    return [json.loads(line)["n"] for line in data.splitlines()]


async def save(path: Path, durable: Saved | None, *batches: list[int]) -> list[Saved]:
    """Save batch after batch; returns how long the file was after each."""
    backup = Backup.open(path, durable)
    try:
        return [await backup.save(line_of({"n": n}) for n in batch) for batch in batches]
    finally:
        backup.close()


@pytest.mark.parametrize("name", NAMES)
async def test_torn_at_every_byte(name: str, tmp_path: Path) -> None:
    """Whatever a crash left behind the durable bytes: what was whole stays, the rest goes, and new records follow."""
    path = tmp_path / name
    sizes = await save(path, None, [1, 2], [3], [4, 5])
    whole = path.read_bytes()
    assert sizes[-1] == (len(whole), zlib.crc32(whole))
    for length in range(sizes[0].size, len(whole)):
        path.write_bytes(whole[:length])
        await save(path, sizes[0], [9])
        kept = [1, 2] + ([3] if length >= sizes[1].size else [])
        found = read(path)
        # A plain file is cut at a line, which may be one of several that were written together.
        assert found in ([*kept, 9], [*kept, 4, 9]), length
    path.write_bytes(whole[: sizes[0].size - 1])
    with pytest.raises(NotAcceptable, match="are missing"):
        await save(path, sizes[0], [9])
    path.write_bytes(b"x" + whole[1:])
    with pytest.raises(NotAcceptable, match="others"):
        await save(path, sizes[0], [9])
    assert path.read_bytes() == b"x" + whole[1:]


@pytest.mark.parametrize("name", NAMES)
async def test_a_long_tail_is_read_in_pieces(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkdel.regular_file.READ_BYTES", 7)
    path = tmp_path / name
    size = (await save(path, None, [1, 2], list(range(3, 30)), [30]))[-1]
    with path.open("ab") as file:
        file.write(b"\x1f\x8b torn")
    assert (await save(path, Saved(), [31]))[0] > size
    assert read(path) == list(range(1, 32))


@mutant(
    "a file that does not begin as a backup is cut as a torn one",
    "_check_same",
    swap("1", "0"),
)
@pytest.mark.parametrize("held", [b"key=secret", bytes(9) + b"key=secret"])
@pytest.mark.parametrize("name", NAMES)
async def test_a_file_that_does_not_begin_as_a_backup_is_left(name: str, held: bytes, tmp_path: Path) -> None:
    """The log knows nothing of its bytes: all of it would count as torn."""
    path = tmp_path / name
    path.write_bytes(held)
    with pytest.raises(NotAcceptable, match="its first byte is another"):
        await save(path, Saved(), [1])
    assert path.read_bytes() == held


@mutant(
    "a backup is refused of which a loss of power has left only zeros",
    "_check_same",
    swap("any(map(any, blocks_of(fd, 0)))", "fd"),
    case="zeros",
)
@pytest.mark.parametrize("held", [pytest.param(b"", id="nothing"), pytest.param(bytes(999), id="zeros")])
async def test_a_file_that_holds_nothing_may_be_begun(held: bytes, tmp_path: Path) -> None:
    """A run that was killed before its first record left it; or the power failed before its bytes were on the disk."""
    (tmp_path / "b.jsonl").write_bytes(held)
    with suppress(NotAcceptable):
        await save(tmp_path / "b.jsonl", Saved(), [1])
    assert (tmp_path / "b.jsonl").read_bytes().strip(bytes(1)), "it has a record"
    assert read(tmp_path / "b.jsonl") == [1]


def test_a_record_is_copied_if_an_export_may_have_its_line() -> None:
    longest = line_of({"n": "x" * (LINE_MAX - len('{"n":""}'))})
    assert [lines.data for lines in whole_lines([longest], "x.jsonl")] == [longest]
    with pytest.raises(ValueError, match="takes 1,048,577 bytes, and a line of a backup has at most 1,048,576"):
        line_of({"nn": "x" * (LINE_MAX - len('{"n":""}'))})
    for depth in (RECORD_DEPTH_MAX, RECORD_DEPTH_MAX + 1, 100_000):
        deep: list[Any] = []
        for _ in range(depth - 2):
            deep = [deep]
        if depth == RECORD_DEPTH_MAX:
            assert Copy.of(line_of({"n": deep})).record == {"n": deep}
            continue
        with pytest.raises(ValueError, match="is nested too deep"):
            line_of({"n": deep})


def test_what_is_no_file_or_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    for name, error in (("dir", FileFailed), ("link", FileFailed), ("missing/b", FileFailed)):
        with pytest.raises(error):
            Backup.open(tmp_path / name, None)
    first = Backup.open(tmp_path / "b", None)
    with pytest.raises(NotAcceptable, match="another run"):
        Backup.open(tmp_path / "b", None)
    first.close()


class Syncs:
    """The disk's `sync`: counts its calls, and fails from some call on. The first call belongs to the opening."""

    def __init__(self, fail_at: int = 1 << 30) -> None:
        self.calls, self.fail_at = 0, fail_at

    def __call__(self, fd: int) -> None:
        self.calls += 1
        if self.calls >= self.fail_at:
            raise OSError(28, "No space left on device")
        sync(fd)


async def test_many_savers_share_their_syncs(tmp_path: Path) -> None:
    syncs = Syncs()

    backup = Backup.open(tmp_path / "b", None, world=World(disk=Disk(sync=syncs)))
    sizes = await asyncio.gather(*(backup.save([line_of({"n": n})]) for n in range(100)))
    backup.close()
    assert sorted(read(tmp_path / "b")) == list(range(100))
    assert max(sizes).size == (tmp_path / "b").stat().st_size
    assert syncs.calls <= 4


async def test_a_saver_that_is_cancelled_cancels_no_other(tmp_path: Path) -> None:
    """Those who share its batch still return only when it is durable."""

    backup = Backup.open(tmp_path / "b", None)
    savers = [asyncio.create_task(backup.save([line_of({"n": n})])) for n in range(20)]
    await asyncio.sleep(0)
    savers[0].cancel()
    await asyncio.sleep(0)
    savers[3].cancel()
    done = await asyncio.gather(*savers, return_exceptions=True)
    assert [isinstance(one, Saved) for one in done].count(False) <= 2
    saved = read(tmp_path / "b")
    assert {n for n, one in enumerate(done) if isinstance(one, Saved)} <= set(saved)
    backup.close()


@mutant(
    "deleted before the copy is on the disk",
    "Backup._write",
    only_if("not packed", "self._disk.sync(self._fd)"),
)
async def test_the_first_failure_is_the_last_thing_that_is_tried(tmp_path: Path) -> None:
    syncs = Syncs(fail_at=3)

    async def attempt(backup: Backup) -> Any:
        with pytest.raises(FileFailed, match="No space left"):
            await backup.save([line_of({"n": 2})])

    backup = Backup.open(tmp_path / "b", None, world=World(disk=Disk(sync=syncs)))
    size = await backup.save([line_of({"n": 1})])
    for _ in range(3):
        await attempt(backup)
    assert backup.saved == size
    backup.close()
    assert syncs.calls == 3


async def test_a_file_that_was_cut_takes_no_more(tmp_path: Path) -> None:
    backup = Backup.open(tmp_path / "b", None)
    await backup.save([line_of({"n": 1})])
    os.truncate(tmp_path / "b", 0)
    with pytest.raises(FileFailed, match="it holds"):
        await backup.save([line_of({"n": 2})])
    backup.close()


async def test_a_file_that_is_gone_takes_no_more(tmp_path: Path) -> None:
    backup = Backup.open(tmp_path / "b", None)
    await backup.save([line_of({"n": 1})])
    (tmp_path / "b").unlink()
    with pytest.raises(FileFailed, match="no longer"):
        await backup.save([line_of({"n": 2})])
    backup.close()
