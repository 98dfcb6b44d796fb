"""Compressed bytes to plain bytes, with bounded memory. Owns gzip and zstd; knows nothing of lines.

Data comes out *before* a damaged end is found. That is why the preflight reads everything before anything is sent.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import zstandard

from bulkdel.errors import NotAcceptable
from bulkdel.export.refusal import refusal

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIP_FIRST = [bytes([first]) for first in range(0x50, 0x60)]
_ZSTD_SKIP = b"\x2a\x4d\x18"
MAGIC = 4
"""Bytes that tell the formats apart."""

RATIO_MAX = {"gzip": 400, "zstd": 2000}
"""How far the text may outgrow the file. Measured: exports that count up and repeat everything else reach 48 : 1
(gzip -9) and 573 : 1 (zstd -19); a bomb reaches 1030 : 1 and 32,000 : 1, the limits of the formats."""

RATIO_FREE = 64 << 20
"""Bytes of text for which the ratio is not looked at: a small file may repeat itself as it likes."""

SIZE_MAX = 1 << 40
"""Bytes of text after which no ratio helps: 1 TiB is a hundred million rows of 10 kB."""

_ZSTD_STEP = 512
"""Bytes given to zstd at a time, because it cannot be told how much to give back: a block of 4 bytes may stand for
128 KiB, so these may become 16 MiB and never more."""

_GZIP_MEMBER = 31
"""zlib's window bits for "a gzip header, a 32 KiB window, a CRC at the end"."""


def detect(head: bytes) -> str:
    """Return what the first MAGIC bytes say: `gzip`, `zstd` or `none`. A name says nothing."""
    if head.startswith(GZIP):
        return "gzip"
    return "zstd" if head.startswith(ZSTD) or _skippable(head) else "none"


def _skippable(head: bytes) -> bool:
    """Whether a zstd frame without data begins here (pzstd and seekable archives write them)."""
    return head[:1] in _ZSTD_SKIP_FIRST and head[1:MAGIC] == _ZSTD_SKIP


def decompressed(blocks: Iterable[bytes], compression: str, path: str, piece: int) -> Iterator[bytes]:
    """Yield the plain bytes of `blocks`, in pieces of at most `piece` bytes.

    Raises NotAcceptable for damage, for anything after the end, and for a bomb.
    """
    if compression == "none":
        return iter(blocks)
    unpacked = _gunzip(blocks, path, piece) if compression == "gzip" else _unzstd(blocks, path)
    return _in_pieces(unpacked, piece)


def _in_pieces(parts: Iterable[bytes], piece: int) -> Iterator[bytes]:
    """Join small parts and cut large ones."""
    kept: list[bytes] = []
    size = 0
    for part in parts:
        kept.append(part)
        size += len(part)
        if size >= piece:
            whole = b"".join(kept)
            full = size - size % piece
            yield from (whole[i : i + piece] for i in range(0, full, piece))
            kept, size = [whole[full:]], size - full
    if size:
        yield b"".join(kept)


class _Gauge:
    """How much went in and came out. Stops a bomb."""

    def __init__(self, path: str, compression: str) -> None:
        self._path = path
        self._compression = compression
        self._made = 0
        self.taken = 0

    def add(self, taken: int, made: int) -> None:
        self.taken += taken
        self._made += made
        ratio = RATIO_MAX[self._compression]
        if self._made > SIZE_MAX or (self._made > RATIO_FREE and self._made > ratio * self.taken):
            reason = f"{self.taken} bytes became {self._made}: more than {ratio} times as much, or more than 1 TiB"
            raise self.refuse(reason, "If it is an export all the same, decompress it and name the plain file.")

    def refuse(self, reason: str, todo: str = "Get the export again.") -> NotAcceptable:
        return refusal(self._path, f"{self._compression}: {reason}", todo, byte=self.taken)

    def rubbish(self) -> NotAcceptable:
        return self.refuse("something else follows after the end of the compressed data")

    def truncated(self) -> NotAcceptable:
        return self.refuse("the file ends in the middle of the compressed data")


def _gunzip(blocks: Iterable[bytes], path: str, piece: int) -> Iterator[bytes]:
    gauge = _Gauge(path, "gzip")
    member = zlib.decompressobj(_GZIP_MEMBER)
    for block in blocks:
        rest = block
        while rest:
            if member.eof:
                if not GZIP.startswith(rest[: len(GZIP)]):
                    raise gauge.rubbish()
                member = zlib.decompressobj(_GZIP_MEMBER)
            yield (made := _inflate(member, rest, piece, gauge))
            left = member.unused_data if member.eof else member.unconsumed_tail
            gauge.add(len(rest) - len(left), len(made))
            rest = left
    if not member.eof:  # it is only after all of its text has come out: the CRC of that text is the last thing in it
        raise gauge.truncated()


def _inflate(member: zlib._Decompress, rest: bytes, piece: int, gauge: _Gauge) -> bytes:
    try:
        return member.decompress(rest, piece)
    except zlib.error as error:
        raise gauge.refuse(str(error)) from error


def _unzstd(blocks: Iterable[bytes], path: str) -> Iterator[bytes]:
    gauge = _Gauge(path, "zstd")
    unpacker = zstandard.ZstdDecompressor()
    frame = unpacker.decompressobj()
    for block in blocks:
        at = 0
        while at < len(block):
            step = block[at : at + _ZSTD_STEP]
            if frame.eof:
                # Fewer than MAGIC bytes before the end of a block: zstd itself will say.
                if len(step) >= MAGIC and detect(step) != "zstd":
                    raise gauge.rubbish()
                frame = unpacker.decompressobj()
            try:
                made = frame.decompress(step)
            except zstandard.ZstdError as error:
                raise gauge.refuse(str(error)) from error
            taken = len(step) - len(frame.unused_data)
            at += taken
            gauge.add(taken, len(made))
            yield made
    if not frame.eof:
        raise gauge.truncated()
