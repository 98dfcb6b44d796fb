"""Rows know on which line they stand, whatever stands between them: what `results` says, and an editor shows."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from runner.core.rows import BadRow
from runner.source import ReadOptions, open_export, preflight, read_parsed
from runner.source.lines import BLOCK, whole_lines
from tests.sourcefiles import options, write


def lines(path: Path, opts: ReadOptions | None = None, *, block_size: int = 1 << 20) -> list[tuple[int, str | None]]:
    """Line and id (None: a bad row) of every row, in the sending pass."""
    opts = opts or options()
    found: list[tuple[int, str | None]] = []
    with open_export(str(path), block_size=block_size) as export:
        seen = preflight(export, opts, rng=random.Random(1))
        for parsed in read_parsed(export, seen.dialect, opts, seen.fingerprint):
            assert len(parsed.lines) == len(parsed.batch.rows)
            for line, row in zip(parsed.lines, parsed.batch.rows, strict=True):
                if isinstance(row, BadRow):
                    assert row.line == line
                found.append((line, None if isinstance(row, BadRow) else row))
    return found


SKIP = options(on_invalid="skip")

CASES: dict[str, tuple[bytes, ReadOptions, list[tuple[int, str | None]]]] = {
    "objects": (b'{"id":"a"}\n{"id":"b"}\n', options(), [(1, "a"), (2, "b")]),
    "bare, no final newline": (b'"a"\n"b"', options(), [(1, "a"), (2, "b")]),
    "BOM and CRLF": (b'\xef\xbb\xbf"a"\r\n"b"\r\n', options(), [(1, "a"), (2, "b")]),
    "bad rows": (b'"a"\n7.5\n\n"b"\nnull\n', SKIP, [(1, "a"), (2, None), (3, None), (4, "b"), (5, None)]),
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
        SKIP,
        [(2, "a"), (3, None), (5, None), (6, None), (7, "c"), (9, "d")],
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
    line, byte = 1, 0
    for block in blocks:
        assert (block.line, block.byte) == (line, byte)
        assert len(block.data) <= BLOCK or block.data.count(b"\n") == 1
        line, byte = line + block.data.count(b"\n"), byte + len(block.data)
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
