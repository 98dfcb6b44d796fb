"""The excluded ids of a run, kept in its place: a resume, a shard and another machine read them there.

The file is zstd of JSON Lines: an object for each exclude file, with what `ExcludeFile` has, and after it lists of its
ids. docs/log-format.md specifies it. The header pins it by its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bulkdel.core.address import address_of
from bulkdel.core.exclude_name import names_in
from bulkdel.core.json_types import SHA256, TEXT, WHOLE, check_of
from bulkdel.core.log_entries import Header
from bulkdel.errors import NotAcceptable
from bulkdel.format import located, shown
from bulkdel.input.frames import LEVEL
from bulkdel.place.log_place import EXCLUDED, LogPlace, PinnedFile
from bulkdel.safety.exclude import ExcludeFile
from bulkdel.zstd import zstd

IDS_IN_LINE = 1_000
BLOCK_BYTES = 1 << 20
LINE_MAX = 64 << 20
"""Bytes of the longest line. IDS_IN_LINE ids are shorter."""
_check = check_of(
    {
        "path": str,
        "sha256": SHA256,
        "ids": WHOLE,
        "id_type": str,
        "looked_up": bool,
        "unusual": WHOLE,
        "recognised": bool,
        **dict.fromkeys(("column", "sheet", "sheet_read", "sheets_hidden", "field_read"), TEXT),
    }
)

Kept = tuple[ExcludeFile, Sequence[str]]
"""An exclude file and its ids."""


class ExcludedWriter:
    """What is kept of the exclude files of a new run. `add` each, then `finish`."""

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

    Raises NotAcceptable where they are needed and cannot be read, also after it has yielded some.
    """
    if (sha256 := header.excluded_sha256) is None or header.excluded.keys() <= set(typed):
        return
    pinned, hashed = PinnedFile(EXCLUDED, sha256), hashlib.sha256()
    fault = "are missing"
    try:
        if (file := place.open(pinned)) is not None:
            with closing(file):
                found = _read(_lines(file.blocks(BLOCK_BYTES), hashed.update))
                yield from (kept for kept in found if kept[0].key not in typed)
            if hashed.hexdigest() == sha256:
                return
            fault = "are not those that the log names by their SHA-256"
    except (ValueError, TypeError, KeyError, EOFError, RecursionError, zstd.ZstdError) as error:
        fault = f"cannot be read: {shown(error)}"
    raise NotAcceptable(
        f"{place.at(pinned)}: the excluded ids of this run {fault}. Nothing was sent. Put the file back, or give the "
        "exclude files of the first session (--exclude)."
    )


def without_kept(names: Iterable[str | Path], header: Header, id_types: Collection[str]) -> list[str | Path]:
    """The names of exclude files, but for those that are not there any more and whose ids the place has."""
    kept = set(header.excluded.values()) if header.excluded_sha256 is not None else set()

    def is_kept(name: str) -> bool:
        paths = [way.path for way in names_in(name, id_types)]
        gone = address_of(name) is None and not any(map(os.path.lexists, paths))
        return gone and any(located(path) in kept for path in paths)

    return [name for name in names if not is_kept(str(name))]


def _lines(blocks: Iterable[bytes], read: Callable[[bytes], object]) -> Iterator[bytes]:
    """Yield the lines of a compressed file. read: takes each block as it is stored."""
    decompressor, rest = zstd.ZstdDecompressor(), b""
    for block in blocks:
        read(block)
        plain = decompressor.decompress(block, BLOCK_BYTES)
        while plain or not (decompressor.needs_input or decompressor.eof):
            *lines, rest = (rest + plain).split(b"\n")
            yield from lines
            if len(rest) > LINE_MAX:
                raise ValueError("a line is too long")
            plain = b"" if decompressor.eof else decompressor.decompress(b"", BLOCK_BYTES)
    if rest or decompressor.unused_data or not decompressor.eof:
        raise ValueError("its end is missing, or more follows")


def _read(lines: Iterable[bytes]) -> Iterator[Kept]:
    file: ExcludeFile | None = None
    ids: list[str] = []
    for value in map(json.loads, lines):
        if isinstance(value, dict):
            if file is not None:
                yield _whole(file, ids)
            _check(value)
            file, ids = ExcludeFile(**value), []
        elif file is None or not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ValueError("a line is no list of ids of a file")
        else:
            ids += value
    if file is not None:
        yield _whole(file, ids)


def _whole(file: ExcludeFile, ids: Sequence[str]) -> Kept:
    if file.ids != len(ids):
        raise ValueError(f"it has {len(ids):,} ids of {file.ids:,}")
    return file, ids
