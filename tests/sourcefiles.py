"""What the tests of the source share: id types like those of an API, and reading a file."""

from __future__ import annotations

import gzip
import random
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import zstandard

from bulkdel.core.bad_rows import BadRow, MaxInvalid
from bulkdel.core.id_type import IdType
from bulkdel.export.file import BLOCK, open_export
from bulkdel.export.preflight import Preflight, preflight
from bulkdel.export.rows import Parsed, ReadOptions

TYPES = {
    each.name: each
    for each in (
        IdType("user_id", re.compile(r"[0-9a-f]{24}"), "24 lower-case hex digits"),
        IdType("phone", re.compile(r"\+?[0-9]+"), "digits", reusable=True),
        IdType("email", re.compile(r"[^@\s]+@[^@\s]+"), "an address", reusable=True, key=str.lower),
        IdType("identity", re.compile(r"[0-9a-f]{24}:\S+"), "<extIdpId>:<userIdInIdp>"),
        IdType("external_id"),
        IdType("username", reusable=True),
    )
}
UID = "6319a1504f3aaaaaf214dd5b"

SKIP = MaxInvalid(10, Fraction(1, 100))
"""One bad row in a hundred is left out, and ten in any case."""


def uid(number: int) -> str:
    """A user id."""
    return f"{number:024x}"


def options(id_type: str = "external_id", **others: Any) -> ReadOptions:
    """Options with every type of the job known."""
    return ReadOptions(TYPES[id_type], TYPES, **others)


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def pack(data: bytes, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.compress(data, 1)
    return zstandard.ZstdCompressor(level=1).compress(data) if compression == "zstd" else data


def look(path: Path, opts: ReadOptions | None = None, *, block_size: int = BLOCK, **others: Any) -> Preflight:
    """The preflight of a file."""
    with open_export(str(path), block_size=block_size) as export:
        return preflight(export, opts or options(), rng=random.Random(1), **others)


def read(
    path: Path, opts: ReadOptions | None = None, *, block_size: int = BLOCK
) -> tuple[Preflight, list[str | BadRow]]:
    """The preflight of a file, and its rows in order, their positions checked."""
    rows: list[str | BadRow] = []

    def take(parsed: Parsed) -> None:
        assert parsed.start == len(rows)
        assert 0 < len(parsed.rows) <= 1 << 16
        rows.extend(parsed.rows)

    seen = look(path, opts, block_size=block_size, to=take)
    assert seen.rows == len(rows)
    return seen, rows


def ids(path: Path, opts: ReadOptions | None = None, *, block_size: int = BLOCK) -> list[str]:
    """The ids of a file without a bad row."""
    _, rows = read(path, opts, block_size=block_size)
    assert all(isinstance(row, str) for row in rows)
    return [str(row) for row in rows]
