"""The excluded ids of a run, kept in its place: a resume, a shard and another machine read them there.

The file is zstd of JSON Lines: an object for each exclude file, with what `ExcludeFile` has, and after it lists of its
ids. docs/log-format.md specifies it. The header pins it by its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from bulkdel.core.entry_types import SHA256, TEXT, WHOLE, check_of
from bulkdel.core.log_entries import Header
from bulkdel.errors import NotAcceptable
from bulkdel.format import shown
from bulkdel.input.frames import LEVEL
from bulkdel.place.log_place import EXCLUDED, LogPlace, PinnedFile
from bulkdel.safety.exclude import ExcludeFile
from bulkdel.zstd import zstd

IDS_IN_LINE = 1_000
BLOCK_BYTES = 1 << 20
_check = check_of(
    {
        "path": str,
        "sha256": SHA256,
        "ids": WHOLE,
        "id_type": str,
        "looked_up": bool,
        "unusual": WHOLE,
        **dict.fromkeys(("column", "sheet", "sheet_read", "sheets_hidden", "taken"), TEXT),
    }
)

Kept = tuple[ExcludeFile, Sequence[str]]
"""An exclude file and its ids."""


class ExcludedIds:
    """What is kept of the exclude files of a new run. `add` each, then take `data`."""

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(LEVEL)
        self._parts: list[bytes] = []

    def add(self, file: ExcludeFile, ids: Sequence[str]) -> None:
        """Add a file with its ids."""
        self._line(asdict(file))
        for at in range(0, len(ids), IDS_IN_LINE):
            self._line(ids[at : at + IDS_IN_LINE])

    def _line(self, value: Any) -> None:
        self._parts.append(self._compressor.compress(f"{json.dumps(value)}\n".encode()))

    def finish(self) -> bytes:
        """The bytes of the file; empty without an exclude file."""
        return b"".join([*self._parts, self._compressor.flush()]) if self._parts else b""


def kept_in(place: LogPlace, header: Header, typed: Collection[str]) -> Iterator[Kept]:
    """Yield what the place has of the exclude files of its run, but for those that were typed. typed: by their keys.

    Raises NotAcceptable where they are needed and cannot be read.
    """
    if (sha256 := header.excluded_sha256) is None or header.excluded.keys() <= set(typed):
        return
    pinned = PinnedFile(EXCLUDED, sha256)
    fault = "are missing"
    try:
        if (file := place.open(pinned)) is not None:
            with closing(file):
                hashed = hashlib.sha256()
                for block in file.blocks(BLOCK_BYTES):
                    hashed.update(block)
                fault = "are not those that the log names by their SHA-256"
                if hashed.hexdigest() == sha256:
                    yield from (kept for kept in _read(_lines(file.blocks(BLOCK_BYTES))) if kept[0].key not in typed)
                    return
    except (ValueError, TypeError, KeyError, EOFError, zstd.ZstdError) as error:
        fault = f"cannot be read: {shown(error)}"
    raise NotAcceptable(
        f"{place.at(pinned)}: the excluded ids of this run {fault}. Nothing was sent. Put the file back, or give every "
        "--exclude file of the run."
    )


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a compressed file."""
    decompressor, rest = zstd.ZstdDecompressor(), b""
    for block in blocks:
        *lines, rest = (rest + decompressor.decompress(block)).split(b"\n")
        yield from lines
    if rest or decompressor.unused_data or not decompressor.eof:
        raise ValueError("its end is missing, or more follows")


def _read(lines: Iterable[bytes]) -> Iterator[Kept]:
    file: ExcludeFile | None = None
    ids: list[str] = []
    for value in map(json.loads, lines):
        if isinstance(value, dict):
            if file is not None:
                yield file, ids
            _check(value, "")
            file, ids = ExcludeFile(**value), []
        elif file is None or not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ValueError("a line is no list of ids of a file")
        else:
            ids += value
    if file is not None:
        yield file, ids
