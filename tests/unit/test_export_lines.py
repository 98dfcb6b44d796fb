"""Rows know on which line they stand, whatever stands between them: what `results` says, and an editor shows."""

from __future__ import annotations

import gzip
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.bad_rows import BadRow
from bulkdel.errors import NotAcceptable
from bulkdel.export.lines import BLOCK, Lines, whole_lines, without_blank_end
from bulkdel.export.rows import Parsed, ReadOptions
from tests.sourcefiles import SKIP, look, options, write


def lines(path: Path, opts: ReadOptions | None = None, *, block_size: int = 1 << 20) -> list[tuple[int, str | None]]:
    """Line and id (None: a bad row) of every row."""
    found: list[tuple[int, str | None]] = []

    def take(parsed: Parsed) -> None:
        assert len(parsed.lines) == len(parsed.rows)
        for line, row in zip(parsed.lines, parsed.rows, strict=True):
            if isinstance(row, BadRow):
                assert row.line == line
            found.append((line, None if isinstance(row, BadRow) else row))

    look(path, opts, block_size=block_size, to=take)
    return found


SKIPPING = options(skip_invalid=SKIP)

CASES: dict[str, tuple[bytes, ReadOptions, list[tuple[int, str | None]]]] = {
    "objects": (b'{"id":"a"}\n{"id":"b"}\n', options(), [(1, "a"), (2, "b")]),
    "bare, no final newline": (b'"a"\n"b"', options(), [(1, "a"), (2, "b")]),
    "BOM and CRLF": (b'\xef\xbb\xbf"a"\r\n"b"\r\n', options(), [(1, "a"), (2, "b")]),
    "bad rows": (b'"a"\n7.5\n\n"b"\nnull\n', SKIPPING, [(1, "a"), (2, None), (3, None), (4, "b"), (5, None)]),
    "CSV with a header": (b"id,n\na,1\nb,2\n", options(), [(2, "a"), (3, "b")]),
    "CSV without": (b"1a,1\n2b,2\n", options(id_field="1"), [(1, "1a"), (2, "2b")]),
    "CSV, BOM and CRLF": (b"\xef\xbb\xbfid,n\r\na,1\r\nb,2\r\n", options(), [(2, "a"), (3, "b")]),
    "quoted newlines": (
        b'id,n\na,"1\n2\n3"\nb,"x"\nc,"y\r\nz"\r\nd,\n',
        options(),
        [(2, "a"), (5, "b"), (6, "c"), (8, "d")],
    ),
    "a header of two lines": (b'id,"n\nm"\na,1\nb,2\n', options(), [(3, "a"), (4, "b")]),
    "CSV, bad rows": (
        b'id,n\na,1\n,"2\n2"\n\nb,3,4\nc,"5\n"\nd,6\n',
        SKIPPING,
        [(2, "a"), (3, None), (5, None), (6, None), (7, "c"), (9, "d")],
    ),
    "CSV with the delimiter above": (
        b"\xef\xbb\xbfsep=;\r\nid;n\r\na;1\r\n;\r\nb;2\r\n;\r\n\r\n;\r\n",
        SKIPPING,
        [(3, "a"), (4, None), (5, "b")],
    ),
    "a tab above": (b'"sep=\t"\nn\tid\n1\ta\n', options(), [(3, "a")]),
    "the delimiter above, no header": (b"Sep=|\n1a|1\n2b|2\n", options(id_field="1"), [(2, "1a"), (3, "2b")]),
    "blank rows in quotes": (b'id,n\na,"x\n,\n,\n"\nb,"\n"\n"",\n , \n', options(), [(2, "a"), (6, "b")]),
    "blank rows and a last one": (b"id,n\na,1\n,\n,\nb,2", SKIPPING, [(2, "a"), (3, None), (4, None), (5, "b")]),
    "blank rows to the last byte": (b"id,n\na,1\n,\n ,", options(), [(2, "a")]),
    "an empty JSON string is a row": (b'"a"\n""\n \n', SKIPPING, [(1, "a"), (2, None)]),
    "plain lines": (
        b"\xef\xbb\xbfa\r\nb,c\n\n{\r\n d\n\n  \n",
        options(skip_invalid=SKIP, format="lines"),
        [(1, "a"), (2, "b,c"), (3, None), (4, "{"), (5, None)],
    ),
    "plain lines, trimmed": (
        b" a \n\t\nb",
        options(skip_invalid=SKIP, format="lines", trim=True),
        [(1, "a"), (2, None), (3, "b")],
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("block_size", [1, 7, 1 << 20])
def test_rows_know_their_lines(name: str, block_size: int, tmp_path: Path) -> None:
    """However the blocks fall."""
    data, opts, expected = CASES[name]
    assert lines(write(tmp_path / "x", data), opts, block_size=block_size) == expected


def test_of_the_decompressed_text(tmp_path: Path) -> None:
    assert lines(write(tmp_path / "x", gzip.compress(b'"a"\n"b"\n'))) == [(1, "a"), (2, "b")]


def test_blocks_are_small_whatever_is_read_at_once() -> None:
    """Cut at line feeds and nowhere else; only a line that is longer itself makes a longer block."""
    rng = random.Random(5)
    some = [b"x" * rng.choice((0, 1, 30, 500, BLOCK // 2, BLOCK + 1)) + b"\n" for _ in range(300)] + [b"end"]
    text = b"".join(some)
    blocks = [*whole_lines([text[:999_999], text[999_999:]], "x")]
    assert b"".join(block.data for block in blocks) == text
    line = 1
    for block in blocks:
        assert block.line == line
        assert len(block.data) <= BLOCK or block.data.count(b"\n") == 1
        line += block.data.count(b"\n")
    assert len(blocks) <= 2 * len(text) / BLOCK + 2, "and not smaller than need be"


@pytest.mark.parametrize("block_size", [997, 1 << 20])
def test_over_many_batches(block_size: int, tmp_path: Path) -> None:
    """More rows than a batch takes; every 100th CSV row spans three lines, so quick and slow reading take turns."""
    expected: list[tuple[int, str | None]] = []
    text, line = "id,n\n", 2
    for i in range(3_000):
        expected.append((line, f"i{i}"))
        three = i % 100 == 0 and i > 600
        note = "a\nb\nc" if three else "a"
        text += f'i{i},"{note}"\n'
        line += 3 if three else 1
    assert lines(write(tmp_path / "x.csv", text), block_size=block_size) == expected
    jsonl = "".join(f'"{id_}"\n' for _, id_ in expected)
    numbered = [(number, id_) for number, (_, id_) in enumerate(expected, 1)]
    assert lines(write(tmp_path / "x", jsonl), block_size=block_size) == numbered


BLANK = [b",\n", b' , ""\n', b"\r\n", b" \n", b'"",\n']


@given(
    st.lists(st.sampled_from([b"a,1\n", b'""""\n', b";\n", *BLANK]), max_size=12),
    st.lists(st.integers(0, 60), max_size=6),
    st.sampled_from([b"", b",", b" "]),
)
def test_blank_rows_at_the_end_are_left_out(rows: list[bytes], cuts: list[int], torn: bytes) -> None:
    """However the blocks fall, and nothing else is; with the line of what stays."""
    wanted = [*rows]
    while wanted and wanted[-1] in BLANK:
        wanted.pop()
    stops = sorted({min(cut, len(rows)) for cut in cuts} | {0, len(rows)})
    blocks = [Lines(b"".join(rows[begin:end]), 1 + begin) for begin, end in pairwise(stops)]
    if torn:
        blocks.append(Lines(torn, 1 + len(rows), torn=True))
    found = list(without_blank_end(blocks, ",", "x"))
    assert b"".join(block.data for block in found) == b"".join(wanted)
    assert not any(block.torn for block in found)
    line = 1
    for block in found:
        assert block.line == line
        line += block.data.count(b"\n")


def test_more_blank_rows_than_a_spreadsheet_has_are_refused() -> None:
    """They are held until a row follows, and memory is bounded."""
    block = (b"," + b" " * 998 + b"\n") * 100
    blocks = (Lines(block, 1 + 100 * number) for number in range(200))
    with pytest.raises(NotAcceptable, match="x, line 1: over 16 MiB of nothing but blank rows"):
        list(without_blank_end(blocks, ",", "x"))
