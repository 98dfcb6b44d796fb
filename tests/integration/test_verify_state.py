"""The state of a verification on the disk: cut, flipped, foreign, locked, read-only, and begun anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bulkdel.core.log_entries import frame
from bulkdel.core.ranges import positions_in
from bulkdel.core.verification import encode_first, encode_found
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.verify.state import State
from tests import recorded
from tests.recorded import encode_line

AT = "2026-01-01T00:00:00.000Z"
PINNED = {"run_id": "r", "sample": None}


def state(path: Path, *, again: bool = False, **pinned: Any) -> State:
    return State(path, {**PINNED, **pinned}, tool="t", at=AT, again=again, duplicates=recorded.NONE)


def fill(path: Path) -> list[tuple[int, set[int]]]:
    """Write books; return the length of the file and the rows known after each line."""
    after: list[tuple[int, set[int]]] = []
    with state(path) as books:
        for found in ({"gone": ((0, 50),)}, {"there": ((60, 61),), "recreated": ((61, 62),)}, {"gone": ((50, 60),)}):
            books.record(AT, found)  # type: ignore[arg-type]
            after.append((path.stat().st_size, set(positions_in(books.books.known.ranges))))
    return after


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    fill(tmp_path / "s")
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    with state(tmp_path / "s") as again:
        assert again.resumed
        assert again.aside is None
        assert (again.books.gone.size, again.books.there.ranges, again.books.recreated.ranges) == (
            60,
            ((60, 61),),
            ((61, 62),),
        )
        again.record(AT, {"gone": ((62, 70),)})
    with state(tmp_path / "s") as third:
        assert third.books.known.ranges == ((0, 70),)


def test_cut_anywhere_it_knows_what_the_whole_lines_said_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "s"
    after = fill(path)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        expected = next((rows for size, rows in reversed(after) if size <= length), set())
        with state(path) as books:
            assert set(positions_in(books.books.known.ranges)) == expected, length
            assert books.aside is None
            books.record(AT, {"gone": ((100, 101),)})  # and it can be gone on with
        with state(path) as books:
            assert set(positions_in(books.books.known.ranges)) == expected | {100}


def test_one_flipped_bit_drops_what_follows_and_invents_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s"
    after = fill(path)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for at in range(first, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with state(path) as books:
            known = set(positions_in(books.books.known.ranges))
            assert known == next((rows for size, rows in reversed(after) if size <= at), set()), at


@pytest.mark.parametrize(("again", "pinned"), [(True, {}), (False, {"run_id": "other"}), (False, {"sample": 5})])
def test_other_books_are_moved_aside_and_kept(again: bool, pinned: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "s"
    fill(path)
    before = path.read_bytes()
    (tmp_path / "s.old-1").write_text("older")
    with state(path, again=again, **pinned) as fresh:
        assert fresh.aside == tmp_path / "s.old-2"
        assert not fresh.resumed
        assert not fresh.books.known
    assert (tmp_path / "s.old-2").read_bytes() == before
    assert (tmp_path / "s.old-1").read_text() == "older"


FIRST = encode_first("t", AT, PINNED)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"hello\n", id="text"),
        pytest.param(b'{"id": "x"}\n', id="rows"),
        pytest.param(encode_line(1, [recorded.header()]), id="a checkpoint"),
        pytest.param(encode_line(1, [recorded.header()])[:-9], id="a torn checkpoint"),
        pytest.param(FIRST + frame(2, [b'{"type":"odd"}']), id="an unknown entry"),
        pytest.param(FIRST + b"".join(encode_found(i, AT, {"gone": ((0, 1),)}) for i in (2, 3)), id="twice"),
    ],
)
def test_what_is_not_ours_is_not_written_to(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(content)
    with pytest.raises(NotAcceptable, match="--state"):
        state(path)
    assert path.read_bytes() == content


def test_a_link_or_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "s")
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder"):
        with pytest.raises((NotAcceptable, FileFailed), match=name):
            state(tmp_path / name)
    assert not (tmp_path / "s").exists()


def test_two_at_a_time(tmp_path: Path) -> None:
    with (
        state(tmp_path / "s"),
        pytest.raises(NotAcceptable, match="another verification is under way"),
    ):
        state(tmp_path / "s")


def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileFailed, match="--state"):
        state(tmp_path / "missing" / "s")
    full = Path("/dev/full")
    if full.exists():
        with state(tmp_path / "s") as books:
            fd, books._fd = books._fd, os.open(full, os.O_WRONLY)
            with pytest.raises(FileFailed, match="goes on from what is in this file"):
                books.record(AT, {"gone": ((0, 1),)})
            assert not books.books.known  # durable first, then counted
            os.close(fd)
