"""Compressed bytes to plain bytes, with bounded memory. Owns gzip and zstd; knows nothing of lines.

Data comes out *before* a damaged end is found. That is why the preflight reads everything before anything is sent.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from bulkdel.errors import NotAcceptable
from bulkdel.export.refusal import refusal
from bulkdel.zstd import zstd

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
MAGIC = 4
"""As many bytes distinguish the formats."""

_SKIPPABLE = [bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60)]
"""How a zstd frame without data begins (pzstd and seekable archives write them)."""

RATIO_MAX = {"gzip": 400, "zstd": 2000}
"""How far the text may outgrow the file. Measured: exports that count up and repeat everything else reach 48 : 1
(gzip -9) and 573 : 1 (zstd -19); a bomb reaches 1030 : 1 and 32,000 : 1, the limits of the formats."""

RATIO_FREE = 64 << 20
"""Up to so many bytes of text the ratio is not checked: a small file may consist of one line many times."""

SIZE_MAX = 1 << 40
"""Bytes of text, at most, at any ratio: 1 TiB is a hundred million rows of 10 kB."""

_GZIP_MEMBER = 31
"""zlib's window bits for "a gzip header, a 32 KiB window, a CRC at the end"."""


def detect(head: bytes) -> str:
    """Return the compression by the first MAGIC bytes: `gzip`, `zstd` or `none`. The file's name does not matter."""
    if head.startswith(GZIP):
        return "gzip"
    return "zstd" if head[:MAGIC] in (ZSTD, *_SKIPPABLE) else "none"


def decompressed(
    blocks: Iterable[bytes], compression: str, path: str, size_max: int, todo: str | None = None
) -> Iterator[bytes]:
    """Yield the plain bytes of `blocks`, in blocks of at most `size_max` bytes. todo: advice for bytes of no export.

    gzip.GzipFile and ZstdFile would be shorter. But GzipFile passes over zeros after a member, which may be the lost
    rest of a file, and neither says at which byte the damage is.

    Raises NotAcceptable for damage, for anything after the end, and for a bomb.
    """
    if compression == "none":
        yield from blocks
        return
    taken = made = 0

    def refused(reason: str, of_export: str = "Get the export again.") -> NotAcceptable:
        return refusal(path, f"{compression}: {reason}", todo or of_export, byte=taken)

    member = _new_member(compression)
    kept = bytearray()
    for block in blocks:
        rest = block
        while rest or not (member.needs_input or member.eof):
            if member.eof:  # another member, or frame, begins
                if not _may_begin(compression, rest):
                    raise refused("something else follows after the end of the compressed data")
                member = _new_member(compression)
            try:
                text = member.decompress(rest, size_max - len(kept))
            except (zlib.error, zstd.ZstdError) as error:
                raise refused(str(error)) from error
            left = member.unused_data if member.eof else b""
            taken, made, rest = taken + len(rest) - len(left), made + len(text), left
            ratio = RATIO_MAX[compression]
            if made > SIZE_MAX or (made > RATIO_FREE and made > ratio * taken):
                reason = f"{taken} bytes became {made}: more than {ratio} times as much, or more than 1 TiB"
                raise refused(reason, "If it is an export all the same, decompress it and name the plain file.")
            kept += text
            if len(kept) == size_max:
                yield bytes(kept)
                kept.clear()
    if not member.eof:  # the checksum at the end comes after all of the text
        raise refused("the file ends in the middle of the compressed data")
    if kept:
        yield bytes(kept)


def _may_begin(compression: str, rest: bytes) -> bool:
    """Whether a member may begin here. Where the block ends before its magic bytes do, the decompressor decides."""
    if compression == "gzip":
        return GZIP.startswith(rest[: len(GZIP)])
    return len(rest) < MAGIC or detect(rest) == "zstd"


def _new_member(compression: str) -> _GzipMember | zstd.ZstdDecompressor:
    return _GzipMember() if compression == "gzip" else zstd.ZstdDecompressor()


class _GzipMember:
    """One gzip member, read like ZstdDecompressor (and bz2's and lzma's decompressors)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_MEMBER)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take `data` and return at most `max_length` bytes of text; the rest of it on the next calls."""
        return self._member.decompress(self._member.unconsumed_tail + data, max_length)

    @property
    def needs_input(self) -> bool:
        """Whether nothing comes without more data."""
        return not self._member.unconsumed_tail

    @property
    def eof(self) -> bool:
        """Whether the member has ended."""
        return self._member.eof

    @property
    def unused_data(self) -> bytes:
        """The bytes after the end of the member."""
        return self._member.unused_data
