"""The log of a verification: what is the log of a run's too, and when it is gone on with, moved aside or refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from bulkdel.checkpoint.reader import read_log
from bulkdel.checkpoint.writer import Checkpoint, LogWriter
from bulkdel.core.log_entries import Entry, Finding, Found, Session, VerifyHeader, frame
from bulkdel.core.mac import found_with_mac
from bulkdel.core.ranges import positions_in
from bulkdel.core.verification import Findings
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.place.lease import Terms
from bulkdel.place.opening import log_at
from bulkdel.verify.session import open_findings_log
from tests import recorded
from tests.examples import lengths
from tests.recorded import AT, append, encode_line

PINNED = {"run_id": "r", "sample": None}
KEY = b"k" * 32
HEADER = VerifyHeader("t", AT, PINNED)


def found(finding: Finding, *ranges: tuple[int, int]) -> Found:
    return found_with_mac(Found(AT, finding, ranges), HEADER, KEY)


FOUND: list[list[Entry]] = [
    [found("gone", (0, 50))],
    [found("there", (60, 61)), found("recreated", (61, 62))],
    [found("gone", (50, 60))],
]
BEGINNING: list[list[Entry]] = [[HEADER], [Session("start", AT, "", {"pid": 1})]]
LINES = recorded.lines_of([*BEGINNING, *FOUND])
WHOLE = b"".join(LINES)


def opened(path: Path, *, again: bool = False, **pinned: Any) -> tuple[LogWriter[Findings], Path | None]:
    """Also where an earlier one is now."""
    log, earlier = open_findings_log(
        path, {**PINNED, **pinned}, recorded.NONE.rows, Terms(), at=AT, again=again, key=KEY
    )
    assert earlier is None or [*earlier.differs] == [*pinned]
    return log, None if earlier is None else earlier.path


def known(log: LogWriter[Findings]) -> set[int]:
    return set(positions_in(log.progress.known.ranges))


async def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "s"
    log, aside = opened(path)
    header = log.progress.header
    await append(log, Session("start", AT, ""), found_with_mac(Found(AT, "gone", ((0, 50),)), header, KEY))
    await log.aclose()
    assert (path.stat().st_mode & 0o777, aside) == (0o600, None)
    log, aside = opened(path)
    assert (known(log), aside) == (set(range(50)), None)
    await append(log, Session("start", AT, ""), found_with_mac(Found(AT, "there", ((60, 61),)), header, KEY))
    await log.aclose()
    log, _ = opened(path)
    assert {name: rows.ranges for name, rows in log.progress.rows.items()} == {
        "gone": ((0, 50),),
        "recreated": (),
        "there": ((60, 61),),
    }
    log.close()


@pytest.mark.untraced
def test_cut_anywhere_it_has_the_findings_of_the_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for length in lengths(len(WHOLE), list(accumulate(map(len, LINES)))):
        path.write_bytes(WHOLE[:length])
        whole = sum(length >= len(b"".join(LINES[:count])) for count in range(1, len(LINES) + 1))
        expected = [entry for commit in FOUND[: max(0, whole - 2)] for entry in commit if isinstance(entry, Found)]
        log, aside = opened(path)
        assert (known(log), aside) == ({row for entry in expected for row in positions_in(entry.ranges)}, None), length
        log.close()


@pytest.mark.parametrize(("again", "pinned"), [(True, {}), (False, {"run_id": "other"}), (False, {"sample": 5})])
def test_earlier_findings_are_moved_aside_and_kept(again: bool, pinned: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(WHOLE)
    (tmp_path / "s.old-1").write_text("older")
    log, aside = opened(path, again=again, **pinned)
    assert (aside, known(log)) == (tmp_path / "s.old-2", set())
    log.close()
    assert (tmp_path / "s.old-2").read_bytes() == WHOLE
    assert (tmp_path / "s.old-1").read_text() == "older"


@pytest.mark.parametrize(
    "of_another",
    [
        Found(AT, "gone", ((50, 60),)),
        found_with_mac(Found(AT, "gone", ((50, 60),)), HEADER, bytes(32)),
        found_with_mac(Found(AT, "gone", ((50, 60),)), VerifyHeader("t", "2026-01-01T00Z", PINNED), KEY),
        replace(found("gone", (50, 61)), ranges=((50, 60),)),
        replace(found("there", (50, 60)), finding="gone"),
    ],
)
def test_a_finding_that_is_not_of_this_user_and_log_is_moved_aside(of_another: Entry, tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(b"".join(recorded.lines_of([*BEGINNING, *FOUND[:2], [of_another]])))
    log, aside = opened(path)
    assert (aside, known(log)) == (tmp_path / "s.old-1", set())
    log.close()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"hello\n", id="text"),
        pytest.param(b'{"id": "x"}\n', id="rows"),
        pytest.param(encode_line(1, [recorded.header()]), id="a checkpoint"),
        pytest.param(encode_line(1, [recorded.header()])[:-9], id="a torn checkpoint"),
        pytest.param(LINES[0] + frame(2, [b'{"type":"odd"}'], recorded.NONCE), id="an unknown entry"),
        pytest.param(WHOLE + encode_line(len(LINES) + 1, FOUND[0]), id="found twice"),
        pytest.param(WHOLE.replace(b'"gone"', b'"there"', 1), id="a changed line"),
    ],
)
@pytest.mark.parametrize("again", [False, True])
def test_another_file_or_a_damaged_one_is_refused_and_left_alone(again: bool, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(content)
    with pytest.raises(NotAcceptable):
        opened(path, again=again)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["s"]


def test_the_log_of_a_verification_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(WHOLE)
    for use in (read_log, Checkpoint.resume):
        with pytest.raises(NotAcceptable, match="is not the log of a run of bulkdel"):
            use(log_at(path))


def test_a_link_or_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "s")
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder"):
        with pytest.raises(
            NotAcceptable, match=rf"{name}: (is a symbolic link|cannot be opened: Is a directory|is not a regular file)"
        ):
            opened(tmp_path / name)
    assert not (tmp_path / "s").exists()


def test_two_at_a_time(tmp_path: Path) -> None:
    log, _ = opened(tmp_path / "s")
    with pytest.raises(NotAcceptable, match="another verification is under way"):
        opened(tmp_path / "s")
    log.close()


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileFailed, match="--state"):
        opened(tmp_path / "missing" / "s")
