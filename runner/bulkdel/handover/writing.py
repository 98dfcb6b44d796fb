"""Writing the archive of a hand-over. Owns its bytes; does not know which files a run has.

A plain tar, so that any tar can read it. Owner and time of the files are left out. Flat memory.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bulkdel.core.handover import MANIFEST, Manifest, PackedFile
from bulkdel.errors import NotAcceptable
from bulkdel.zstd import zstd

ENDINGS = (".tar.zst", ".tar.gz")

ZSTD_LEVEL = 3
GZIP_LEVEL = 6
"""Above these, an export of ids gets no smaller: docs/performance.md."""

_GZIP = 31
"""zlib's window bits for a gzip member."""

Read = Callable[[], Iterator[bytes]]
"""Opens a file, and yields its bytes in blocks."""

OnProgress = Callable[[int], None]
"""Called with the bytes so far. May raise, to stop."""


@dataclass(frozen=True, slots=True)
class FileToPack:
    """A file to pack. path: where it is; None for one that is made for the archive. sha256: that it must have."""

    name: str
    what: str
    path: Path | None
    read: Read
    sha256: str | None = None


def measured(source: FileToPack, on_progress: OnProgress) -> PackedFile:
    """The size and the SHA-256 of a file. Raises NotAcceptable when it is another one than it must be, and OSError."""
    digest, size = hashlib.sha256(), 0
    for block in source.read():
        digest.update(block)
        size += len(block)
        on_progress(len(block))
    if source.sha256 not in {None, digest.hexdigest()}:
        raise NotAcceptable(
            f"{source.path}: is not {source.what} of this run: its SHA-256 is not {source.sha256}, which the run "
            f"has. Nothing was packed. Put that file back, or name it where it is now: --moved FILE"
        )
    return PackedFile(source.name, source.what, size, digest.hexdigest())


def write(file: BinaryIO, name: str, manifest: Manifest, sources: list[FileToPack], on_progress: OnProgress) -> str:
    """Write the archive, and return its SHA-256. name: of the archive, which chooses the compression.

    Raises NotAcceptable when a file has changed since the manifest was made, and OSError.
    """
    out = _Packed(file, gzip=name.endswith(".gz"))
    data = manifest.to_bytes()
    out.add(_header(MANIFEST, len(data)), data, _padding(len(data)))
    for source, packed in zip(sources, manifest.files, strict=True):
        out.add(_header(packed.member, packed.size))
        digest, size = hashlib.sha256(), 0
        for block in source.read():
            digest.update(block)
            size += len(block)
            if size > packed.size:
                break
            out.add(block)
            on_progress(len(block))
        if (size, digest.hexdigest()) != (packed.size, packed.sha256):
            raise NotAcceptable(f"{source.path}: was changed while it was packed. Nothing was packed. Pack again.")
        out.add(_padding(size))
    out.add(bytes(2 * tarfile.BLOCKSIZE))
    return out.end()


class _Packed:
    """The compressed end of the archive."""

    def __init__(self, file: BinaryIO, *, gzip: bool) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: ZSTD_LEVEL,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        self._packer = (
            zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP) if gzip else zstd.ZstdCompressor(options=options)
        )
        self._size = 0

    def add(self, *parts: bytes) -> None:
        for part in parts:
            self._size += len(part)
            self._write(self._packer.compress(part))

    def end(self) -> str:
        self.add(bytes(-self._size % tarfile.RECORDSIZE))
        self._write(self._packer.flush())
        return self._digest.hexdigest()

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
