"""The input and the skipped rows: what is written is read, from any row on, and by a second reader; nothing else is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.input_index import Frame, Index
from bulkdel.core.input_rows import (
    BLOCK_CHARACTERS,
    BLOCK_ROWS,
    FRAME_BYTES,
    FRAME_MAX,
    Blocks,
    Rows,
    decode,
    decode_frame,
    encode,
)
from bulkdel.core.outcome import SKIPS, Skip
from bulkdel.core.skipped_rows import PAGE_ROWS, PositionSet, SkippedRows
from bulkdel.errors import Halted
from bulkdel.input.frames import Input, InputWriter
from bulkdel.input.skipped import packed, unpacked
from bulkdel.zstd import zstd
from tests import second_reader
from tests.examples import examples
from tests.mutants import mutant
from tests.syntax import drop, swap

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ROW = st.tuples(st.one_of(TEXTS, st.none()), st.integers(0, 3), TEXTS)


def rows_of(drawn: Sequence[tuple[str | None, int, str]], *, records: bool) -> Rows:
    """Rows from position 0. Of each: its id, how many lines after the one before it starts, and its text."""
    ids, steps, texts = zip(*drawn, strict=True) if drawn else ((), (), ())
    lines, line = [], 1
    for step in steps:
        line += step
        lines.append(line)
    why = {at: f"why {at}" for at, id_ in enumerate(ids) if id_ is None}
    return Rows(0, list(ids), lines, list(texts) if records else (), why)


def numbered(count: int, record: str = "") -> Rows:
    """So many good rows, each on a line of its own."""
    return Rows(
        0, [f"{number:024x}" for number in range(count)], range(1, count + 1), [record] * count if record else ()
    )


def written(rows: Rows, cuts: Iterable[int] = ()) -> tuple[bytes, Index]:
    """The file and its index. cuts: where the rows are given to the writer in pieces."""
    file = bytearray()
    writer = InputWriter(file.extend)
    ends = [*sorted({cut for cut in cuts if 0 < cut < len(rows.ids)}), len(rows.ids)]
    for first, stop in zip([0, *ends], ends, strict=False):
        writer.add(rows.between(first, stop))
    index = writer.finish()
    return bytes(file), index


def opened(file: bytes, index: Index) -> Input:
    return Input(lambda byte, size: file[byte : byte + size], index, "input.jsonl.zst")


def joined(found: Iterable[Rows], at: int = 0) -> Rows:
    whole = Rows(at, [], [])
    for rows in found:
        whole = whole.joined(rows)
    return whole


@mutant(
    "the input has the line of no row but the first",
    "encode",
    drop('members["steps"] = steps'),
)
@mutant(
    "a resume that begins in a block gets the reasons of other rows",
    "Rows.between",
    swap("first <= at < stop", "True"),
)
@given(st.lists(ROW, max_size=60), st.booleans(), st.lists(st.integers(1, 59)), st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=examples(150))
def test_what_is_written_is_read(
    drawn: list[tuple[str | None, int, str]], records: bool, cuts: list[int], first: int, stop: int
) -> None:
    """However the rows are given to the writer the file is the same, and a second reader reads the same rows."""
    rows = rows_of(drawn, records=records)
    file, index = written(rows, cuts)
    assert (file, index) == written(rows)
    assert Index.decode(index.encode()) == index
    found = joined(opened(file, index).rows())
    assert (found.ids, list(found.lines), list(found.records), dict(found.why)) == (
        *(list(rows.ids), list(rows.lines), list(rows.records), dict(rows.why)),
    )
    part = joined(opened(file, index).rows(first, stop), first)
    assert (part.ids, list(part.lines), list(part.records)) == (
        *(list(rows.ids[first:stop]), list(rows.lines[first:stop]), list(rows.records[first:stop])),
    )
    assert dict(part.why) == {at: words for at, words in rows.why.items() if first <= at < stop}
    second = second_reader.read_input(file, index.encode())
    assert (second.ids, second.lines, second.records) == (list(rows.ids), list(rows.lines), list(rows.records))
    assert second.why == rows.why


@mutant(
    "a block ends after half of its rows",
    "_block_rows",
    swap("BLOCK_ROWS if len(ids) == BLOCK_ROWS else None", "BLOCK_ROWS // 2 if len(ids) == BLOCK_ROWS else None"),
)
def test_blocks_and_frames_have_an_end() -> None:
    file, index = written(numbered(120_000))
    blocks = list(opened(file, index).rows())
    assert {len(block.ids) for block in blocks} == {BLOCK_ROWS}
    assert len(index.frames) == 4
    assert all(FRAME_BYTES <= frame.length < FRAME_BYTES + 40_000 for frame in index.frames[:-1])
    assert second_reader.read_input(file, index.encode()).ids == list(numbered(120_000).ids)


def test_a_block_ends_with_the_row_that_fills_it() -> None:
    """Records may have a MiB each; escaped, one has six times as much. No frame is larger than a reader takes."""
    records = [numbered(1, "\1" * (1 << 20)).records[0]] * 9
    rows = numbered(9)._replace(records=records)
    file, index = written(rows)
    assert [frame.rows for frame in index.frames] == [1] * 9
    assert max(frame.length for frame in index.frames) < FRAME_MAX
    assert joined(opened(file, index).rows()).records == records
    short = "r" * (BLOCK_CHARACTERS // 10 - 23)
    found = list(Blocks().add(numbered(25, short)))
    assert [len(block.ids) for block in found] == [10, 10]


def test_the_reasons_of_bad_rows_fill_a_block_too() -> None:
    rows = Rows(0, [None] * 9, range(1, 10), (), dict.fromkeys(range(9), "\1" * (BLOCK_CHARACTERS // 2)))
    file, index = written(rows)
    blocks = list(opened(file, index).rows())
    assert [len(block.ids) for block in blocks] == [2, 2, 2, 2, 1]
    assert max(frame.length for frame in index.frames) < FRAME_MAX
    with pytest.raises(ValueError, match="a frame of"):
        written(rows._replace(why=dict.fromkeys(range(9), "\1" * (3 << 20))))


def test_a_row_that_does_not_follow_is_refused() -> None:
    writer = InputWriter(bytearray().extend)
    writer.add(numbered(10))
    with pytest.raises(ValueError, match="row 11 after row 9"):
        writer.add(numbered(3)._replace(at=11))
    with pytest.raises(ValueError, match="some rows have a text"):
        writer.add(numbered(3, "text")._replace(at=10))
    with pytest.raises(ValueError, match="row 5 after row -1"):
        InputWriter(bytearray().extend).add(numbered(3)._replace(at=5))


def test_an_input_without_rows() -> None:
    file, index = written(Rows(0, [], []))
    assert (file, index.rows, index.size) == (b"", 0, 0)
    assert Index.decode(index.encode()) == index
    assert list(opened(file, index).rows()) == []


def test_a_record_is_kept_byte_for_byte() -> None:
    """A parser would lose the digits of a large integer, and the first of two equal members."""
    records = ['{"a":123456789012345678901234567890}', '{"a":1,"a":2}', '{"a":"\\ud800"}', '{ "a" : "\u2028é" }']
    rows = numbered(4)._replace(records=records)
    assert joined(opened(*written(rows)).rows()).records == records


# --- damage


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@mutant(
    "rows of a damaged frame are handed out",
    "Input._content",
    swap("hashlib.sha256(content).hexdigest() != frame.sha256", "not content"),
)
@pytest.mark.parametrize("change", ["a bit", "a frame of another input", "cut off", "longer", "of another length"])
def test_a_damaged_frame_halts_before_its_rows(change: str) -> None:
    """The frames before it are read."""
    rows = numbered(100_000)
    file, index = written(rows)
    third = index.frames[2]
    others, _ = written(rows._replace(ids=[f"{id_}z" for id_ in rows.ids]))
    damaged = {
        "a bit": flipped(file, third.byte + third.size // 2),
        "a frame of another input": file[: third.byte] + zstd.compress(_other(file, third)) + file[third.byte :],
        "cut off": file[: third.byte + third.size - 1],
        "longer": file[: third.byte] + others[third.byte :],
        "of another length": file,
    }[change]
    if change == "of another length":
        index = Index((*index.frames[:2], third._replace(length=third.length - 1)))
    if change == "a frame of another input":
        frames = [*index.frames[:2], third._replace(size=len(zstd.compress(_other(file, third))))]
        index = Index(tuple(frames))
    read: list[str | None] = []
    with pytest.raises(
        Halted, match=rf"rows {third.at:,} to {third.at + third.rows - 1:,} cannot be read .*has sent none"
    ):
        read.extend(id_ for block in opened(damaged, index).rows() for id_ in block.ids)
    assert read == rows.ids[: third.at]
    assert joined(opened(damaged, index).rows(0, third.at)).ids == rows.ids[: third.at]


def _other(file: bytes, frame: Frame) -> bytes:
    """The content of a frame, with one id changed: of the same length."""
    content = zstd.decompress(file[frame.byte : frame.byte + frame.size])
    return content.replace(b'"0', b'"f', 1)


def with_members(data: bytes, **members: Any) -> bytes:
    return orjson.dumps({**orjson.loads(data), **members})


BAD = encode(Rows(5, ["a", None, "c"], [3, 4, 6], ["1", "2", "3"], {6: "empty"}))


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b'{"at":5,"line":3}',
        *(with_members(BAD, at=at) for at in (-1, "5", True, 5.0)),
        *(with_members(BAD, line=line) for line in (0, "3", None)),
        *(with_members(BAD, ids=ids) for ids in ([], "abc", ["a", 1, "c"], ["a", None])),
        with_members(BAD, more=1),
        encode(numbered(BLOCK_ROWS + 1)),
        *(with_members(BAD, records=records) for records in (["1"], ["1", "2", 3], {"a": 1})),
        *(with_members(BAD, why=why) for why in ([], [[0, "x"]], [[1, 7]], [[1, "x"], [2, "y"]], [[2, "x"]])),
        *(with_members(BAD, why=why) for why in ([[1, "x"], [1, "x"]], [[1.0, "x"]], [[True, "x"]])),
        *(with_members(BAD, steps=steps) for steps in ([[0, 2]], [[3, 2]], [[2, -1]], [[2, 2], [1, 2]], [[1]], [7])),
    ],
)
def test_a_block_that_no_writer_wrote_is_refused(line: bytes) -> None:
    assert decode(BAD).why == {6: "empty"}
    with pytest.raises((ValueError, TypeError)):
        decode(line)


def test_blocks_that_are_not_those_of_the_frame() -> None:
    content = encode(numbered(3)) + encode(Rows(3, ["d"], [4]))
    assert len(decode_frame(content, 0, 4)) == 2
    for at, count in ((0, 3), (0, 5), (1, 4)):
        with pytest.raises(ValueError, match="row"):
            decode_frame(content, at, count)
    for torn in (content[:-1], content + b"{", content.replace(b"\n", b"\r", 1)):
        with pytest.raises(ValueError, match=r"line feed|unexpected|JSON"):
            decode_frame(torn, 0, 4)
    with pytest.raises(ValueError, match="row 3 where row 0 follows"):
        decode_frame(b"".join(reversed(content.splitlines(keepends=True))), 0, 4)


GOOD = written(numbered(100_000))[1]


def changed(number: int, **members: Any) -> bytes:
    lines = GOOD.encode().splitlines()
    lines[number] = with_members(lines[number], **members)
    return b"\n".join(lines)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]\n",
        GOOD.encode().rpartition(b'{"rows"')[0],
        changed(1, at=1),
        changed(1, byte=1),
        changed(0, rows=0),
        changed(0, size="1"),
        changed(0, sha256="aa"),
        changed(0, length=FRAME_MAX + 1),
        changed(0, size=1 << 40),
        changed(2, byte=1 << 63),
        changed(0, more=1),
        changed(-1, rows=1),
        changed(-1, content="0" * 64),
        changed(1, sha256="0" * 64),
    ],
)
def test_an_index_that_no_writer_wrote_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        Index.decode(data)


def test_the_content_does_not_depend_on_the_compression() -> None:
    rows = numbered(60_000)
    file, index = written(rows)
    frames, again = [], bytearray()
    for frame in index.frames:
        other = zstd.compress(zstd.decompress(file[frame.byte : frame.byte + frame.size]), 9)
        frames.append(frame._replace(byte=len(again), size=len(other)))
        again += other
    found = Index(tuple(frames))
    assert (found.content, found.encode() == index.encode()) == (index.content, False)
    assert joined(opened(bytes(again), found).rows()).ids == rows.ids
    digests = "".join(frame.sha256 for frame in index.frames)
    assert index.content == hashlib.sha256(digests.encode()).hexdigest()


# --- the skipped rows


def skipped(**by_reason: Iterable[int]) -> SkippedRows:
    found = SkippedRows()
    for reason in SKIPS:
        positions = PositionSet()
        positions.add(by_reason.get(reason, ()))
        found.add(reason, positions)
    return found


POSITIONS = st.dictionaries(st.integers(0, 3 * PAGE_ROWS), st.sampled_from(SKIPS), max_size=40)


@mutant(
    "the file of the skipped rows has them for another reason",
    "packed",
    swap("skipped.by_reason.values()", "reversed(skipped.by_reason.values())"),
)
@given(POSITIONS, st.integers(1, 20))
@settings(max_examples=examples(60))
def test_the_skipped_rows_are_read_as_they_were_written(drawn: dict[int, Skip], more: int) -> None:
    by_reason = {reason: {at for at, why in drawn.items() if why == reason} for reason in SKIPS}
    rows = max(drawn, default=0) + more
    data = packed(skipped(**by_reason), rows)
    found = unpacked(data, rows)
    assert {reason: set(each.between(0, rows)) for reason, each in found.by_reason.items()} == by_reason
    assert found == skipped(**by_reason)
    assert second_reader.read_skipped(data) == by_reason


def plain(rows: int, *bitmaps: bytes, head: Any = None) -> bytes:
    line = orjson.dumps(head or {"rows": rows, "bitmaps": list(SKIPS)})
    return zstd.compress(line + b"\n" + b"".join(bitmaps))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nothing",
        plain(10, b"\1\0", b"\2\0"),
        plain(10, b"\1\0", b"\2\0", b"\0\0\0"),
        plain(10, b"\1\0", b"\1\0", b"\0\0"),
        plain(10, b"\1\0", b"\0\4", b"\0\0"),
        plain(11, b"\1\0", b"\0\4", b"\0\0"),
        plain(10, b"\1\0", b"\2\0", b"\0\0", head={"rows": 10, "bitmaps": ["duplicate"]}),
        plain(10, b"\1\0", b"\2\0", b"\0\0")[:-1],
        plain(10, b"\1\0", b"\2\0", b"\0\0") + b"\0",
        zstd.compress(b"x" * 2_000),
    ],
)
def test_skipped_rows_that_nothing_wrote_are_refused(data: bytes) -> None:
    assert unpacked(plain(10, b"\1\0", b"\2\0", b"\0\0"), 10).rows.size == 2
    with pytest.raises(ValueError, match=r".+"):
        unpacked(data, 10)


def test_skipped_rows_are_small() -> None:
    positions = PositionSet((start, start + 3) for start in range(0, 1_000_000, 10))
    found = SkippedRows()
    found.add("duplicate", positions)
    assert len(packed(found, 1_000_000)) < 2_000
