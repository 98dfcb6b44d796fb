"""What is written reads back: the same ids at the same positions, whatever the block size, in both passes."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.bad_rows import BadRow
from bulkdel.export.rows import Dialect, dialect_of
from tests.examples import examples, one_in
from tests.sourcefiles import SKIP, ids, options, pack, read, uid, write

PACKED = st.sampled_from(["none", "gzip", "zstd"])
BLOCK = st.sampled_from([1, 2, 3, 5, 16, 100, 1 << 20])
GOOD = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"], exclude_characters="\ufeff"),
    min_size=1,
)
OTHER = st.text(st.sampled_from('a ,;"\r\n\t\u2028\x0b\x0c\x1cé'), max_size=6)
END = st.sampled_from(["\n", "\r\n"])


@contextmanager
def stored(data: bytes, packed: str) -> Iterator[Path]:
    """A file for one example: Hypothesis shares tmp_path among all of them."""
    with tempfile.TemporaryDirectory() as directory:
        yield write(Path(directory) / "export", pack(data, packed))


@given(st.lists(GOOD, min_size=1, max_size=30), PACKED, BLOCK, END, st.booleans(), st.booleans(), st.integers(0, 2))
@settings(deadline=None)
def test_json_lines(  # noqa: PLR0917 - Hypothesis passes them by position
    wanted: list[str], packed: str, block: int, end: str, final: bool, ascii_only: bool, kind: int
) -> None:
    forms: list[list[Any]] = [
        list(wanted),
        [{"id": i, "name": 'x"}\n{'} for i in wanted],
        [{"a": {"b": i}} for i in wanted],
    ]
    rows = forms[kind]
    text = end.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows) + (end if final else "")
    opts = options(id_field="a.b" if kind == 2 else None, format="jsonl")
    with stored(text.encode(), packed) as path:
        assert ids(path, opts, block_size=block) == wanted


@given(
    st.lists(st.tuples(GOOD, OTHER, OTHER), min_size=1, max_size=30),
    PACKED,
    BLOCK,
    END,
    st.sampled_from(",;\t"),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
)
@settings(deadline=None, max_examples=examples(150))
def test_csv(  # noqa: PLR0917 - Hypothesis passes them by position
    rows: list[tuple[str, str, str]],
    packed: str,
    block: int,
    end: str,
    delimiter: str,
    quote_all: bool,
    bom: bool,
    column: int,
) -> None:
    out = io.StringIO(newline="")
    if quote_all:
        writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    else:
        writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    header = ["name", "no\nte"]
    header.insert(column, "id")
    writer.writerow(header)
    for id_, *others in rows:
        # Python 3.11 writes a carriage return without quotes, which no strict reader takes.
        cells = others if quote_all else [other.replace("\r", "") for other in others]
        cells.insert(column, id_)
        writer.writerow(cells)
    data = (b"\xef\xbb\xbf" if bom else b"") + out.getvalue().encode()
    with stored(data, packed) as path:
        seen, found = read(path, options(format="csv"), block_size=block)
    assert found == [row[0] for row in rows]
    assert seen.dialect == Dialect("csv", packed, delimiter, header=True, id_field="id", id_column=column, guessed=True)


@given(st.lists(st.sampled_from(["ok", "", " x", "a\tb"]), min_size=1, max_size=10), BLOCK, st.booleans())
@settings(deadline=None)
def test_bad_rows_keep_their_place(cells: list[str], block: int, as_csv: bool) -> None:
    cells = ["ok", *cells]
    if as_csv:
        text = "".join(f'"{cell}","a\nb"\n' for cell in ["id", *cells])
        lines = [3 + 2 * number for number in range(len(cells))]
    else:
        text = "".join(json.dumps({"id": cell}) + "\n" for cell in cells)
        lines = [1 + number for number in range(len(cells))]
    with stored(text.encode(), "none") as path:
        seen, rows = read(path, options(skip_invalid=SKIP), block_size=block)
    assert [isinstance(row, BadRow) for row in rows] == [cell != "ok" for cell in cells]
    assert all(row.line == line for row, line in zip(rows, lines, strict=True) if isinstance(row, BadRow))
    assert seen.counts["invalid"] == sum(cell != "ok" for cell in cells)


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("packed", "form"), one_in(2, product(["none", "gzip", "zstd"], ["bare", "objects", "csv", "wide"]))
)
def test_more_rows_than_a_batch_and_a_block(tmp_path: Path, packed: str, form: str) -> None:
    wanted = [uid(number) for number in range(60_000)]
    row = {"bare": '"%s"\n', "objects": '{"id":"%s"}\n', "csv": "%s,x\n", "wide": '%s,"x\ny"\n'}[form]
    text = ("id,x\n" if form in ("csv", "wide") else "") + "".join(row % each for each in wanted)
    assert ids(write(tmp_path / "x", pack(text.encode(), packed)), options("user_id")) == wanted


def test_a_dialect_goes_through_json() -> None:
    dialect = Dialect("csv", "gzip", ";", header=True, id_field="id", id_column=3, guessed=False)
    source = json.loads(json.dumps(asdict(dialect)))
    assert dialect_of({"source": {**source, "trim": False}}) == dialect
    del source["compression"]
    with pytest.raises(TypeError):
        dialect_of({"source": source})
