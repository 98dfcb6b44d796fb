"""The file of the excluded ids: what is written is read, and what nothing of this program has written is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulkdel.errors import NotAcceptable
from bulkdel.place.opening import log_at
from bulkdel.safety.exclude import ExcludeFile
from bulkdel.safety.excluded_ids import ExcludedWriter, Kept, kept_in
from bulkdel.zstd import zstd
from tests import recorded

ONE = ExcludeFile("keep.csv", "a" * 64, 2_500, "user_id", column="Mail", unusual=3)
TWO = ExcludeFile("s3://b/vips", "b" * 64, 1, "email", looked_up=True, sheets_hidden="x, y")
FILES: list[Kept] = [(ONE, [f"id{n}" for n in range(2_500)]), (TWO, ["\udcff\n\u2028"])]


def read(folder: Path, data: bytes, *typed: str) -> list[Kept]:
    """Write the bytes as the file of a run, and read them."""
    (folder / "excluded.zst").write_bytes(data)
    header = replace(
        recorded.header(10),
        excluded={file.key: file.path for file, _ in FILES},
        excluded_sha256=hashlib.sha256(data).hexdigest(),
    )
    return [(file, list(ids)) for file, ids in kept_in(log_at(folder / "log.jsonl"), header, typed)]


def written() -> bytes:
    packing = ExcludedWriter()
    for file, ids in FILES:
        packing.add(file, ids)
    return packing.finish()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, written()) == FILES
    assert read(tmp_path, written(), ONE.key) == FILES[1:], "a file that was typed is not read here"
    assert read(tmp_path, b"none", ONE.key, TWO.key) == [], "nothing is needed of it"
    assert ExcludedWriter().finish() == b""


def facts(**changed: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(vars_of(ONE))), **changed}


def vars_of(file: ExcludeFile) -> dict[str, Any]:
    return {name: getattr(file, name) for name in ExcludeFile.__dataclass_fields__}


@pytest.mark.parametrize(
    "lines",
    [
        [["an id"]],
        [facts(), [5]],
        [facts(), "text"],
        [facts(path=5)],
        [facts(sha256="x")],
        [facts(ids=-1)],
        [facts(more=1)],
        [{"path": "x"}],
        ["{"],
    ],
    ids=str,
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, lines: list[Any]) -> None:
    text = "".join(f"{line if line == '{' else json.dumps(line)}\n" for line in lines)
    with pytest.raises(NotAcceptable, match="the excluded ids of this run cannot be read"):
        read(tmp_path, zstd.compress(text.encode()))


@pytest.mark.parametrize("harm", [lambda data: data[:-4], lambda data: b"x" + data, lambda data: data + b"x"])
def test_a_file_that_is_cut_or_longer_is_refused(tmp_path: Path, harm: Any) -> None:
    with pytest.raises(NotAcceptable, match="the excluded ids of this run cannot be read"):
        read(tmp_path, harm(written()))
