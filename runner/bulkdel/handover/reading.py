"""Reading the archive of a hand-over, which may be hostile. Owns what is accepted.

Nothing of it is trusted. Its members are compared with the manifest one by one: a plain file with the next name and
the next size, or the archive is refused. Every file is made anew in a new folder, and the folder gets its name when all
bytes are checked and on the disk. So no link is followed, because none is ever made.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bulkdel.core.handover import MANIFEST, MANIFEST_MAX, Manifest, PackedFile, Unfit
from bulkdel.durable import sync, sync_directory, write_all
from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.export.compression import MAGIC, RATIO_FREE, RATIO_MAX, decompressed, detect
from bulkdel.handover.writing import OnProgress

BLOCK = 1 << 20

PADDING_MAX = 1 << 20
"""Zeros behind the last file, at most. `tar` fills a record of 10 kB with them."""

AGAIN = "Get the archive again."

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Unpacked(NamedTuple):
    """An archive that was unpacked. sha256: of the archive."""

    manifest: Manifest
    sha256: str


def unpack(path: Path, to: Path, check: Callable[[Manifest, Path], None], on_progress: OnProgress) -> Unpacked:
    """Unpack an archive to a new folder, 0700, with files of mode 0600. A failure leaves nothing behind.

    check: looks at the files before the folder gets its name; may raise.

    Raises NotAcceptable for an archive that is not accepted, FileFailed when the folder cannot be written.
    """
    try:
        if os.path.lexists(to):
            raise NotAcceptable(f"{to}: is there already. Nothing was unpacked. Name a new folder: --to FOLDER")
        part = Path(tempfile.mkdtemp(dir=to.absolute().parent, prefix=f".{to.name}.", suffix=".part"))  # 0700
        held = _locked(part)
        try:
            found = _unpack(path, part, on_progress)
            check(found.manifest, part)
            sync_directory(part / MANIFEST)
            part.rename(to)
            sync_directory(to.absolute())
            _remove_parts(to)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            if held is not None:
                os.close(held)
    except OSError as error:
        raise FileFailed(
            f"{to}: cannot be written: {error.strerror}. Nothing was unpacked. Make room, or name another folder: "
            "--to FOLDER"
        ) from error
    return found


def _remove_parts(to: Path) -> None:
    """Remove what killed processes have left: a folder with personal data. A living one has its folder locked.

    Only a folder with such a name as `unpack` gives, that is empty or begins as one of an archive.
    """
    ours = re.compile(rf"\.{re.escape(to.name)}\.[a-z0-9_]{{8}}\.part")
    with suppress(OSError):  # a folder that cannot be listed
        for left in filter(lambda each: ours.fullmatch(each.name), to.absolute().parent.iterdir()):
            with suppress(OSError):
                if (held := _locked(left)) is not None:
                    if (left / MANIFEST).exists() or not any(left.iterdir()):
                        shutil.rmtree(left, ignore_errors=True)
                    os.close(held)


def _locked(folder: Path) -> int | None:
    """Lock a folder; None when another process has it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _unpack(path: Path, folder: Path, on_progress: OnProgress) -> Unpacked:
    digest = hashlib.sha256()
    with _opened(path) as file:
        compression = detect(file.peek(MAGIC)[:MAGIC])
        if compression == "none":
            raise NotAcceptable(f"{path}: is no archive of `bulkdel pack`: it is neither zstd nor gzip.")
        size = os.fstat(file.fileno()).st_size
        stream = _Stream(path, decompressed(_blocks(path, file, digest), compression, str(path), BLOCK, AGAIN))
        manifest = stream.manifest()
        _check_sizes(path, manifest, size, compression, folder)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _keep(fd, MANIFEST, iter([manifest.to_bytes()]))
            for inner in manifest.folders:
                os.mkdir(inner, 0o700, dir_fd=fd)
            for packed in manifest.files:
                _keep(fd, packed.name, stream.file(packed, on_progress))
            for inner in manifest.folders:
                sync_directory(folder / inner / "any")
        finally:
            os.close(fd)
        stream.end()
    return Unpacked(manifest, digest.hexdigest())


def _opened(path: Path) -> io.BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise NotAcceptable(f"{path}: cannot be read: {error.strerror}. Name the archive.") from error


def _blocks(path: Path, file: io.BufferedReader, digest: hashlib._Hash) -> Iterator[bytes]:
    while True:
        try:
            block = file.read(BLOCK)
        except OSError as error:
            raise NotAcceptable(f"{path}: cannot be read: {error.strerror}. {AGAIN}") from error
        if not block:
            return
        digest.update(block)
        yield block


def _check_sizes(path: Path, manifest: Manifest, size: int, compression: str, folder: Path) -> None:
    """Refuse more bytes than the archive can hold, or than there is room for, before the first is written."""
    if manifest.size > max(RATIO_FREE, size * RATIO_MAX[compression]):
        raise _refused(path, f"says that its {size:,} bytes hold {manifest.size:,}")
    free = shutil.disk_usage(folder).free
    if manifest.size > free:
        raise FileFailed(
            f"{path}: holds {manifest.size:,} bytes, and {free:,} are free. Nothing was unpacked. Make room, or name "
            "another folder: --to FOLDER"
        )


def _keep(folder: int, name: str, blocks: Iterator[bytes]) -> None:
    """Write a new file, durably."""
    fd = os.open(name, NEW, 0o600, dir_fd=folder)
    try:
        for block in blocks:
            write_all(fd, block)
        sync(fd)
    finally:
        os.close(fd)


class _Stream:
    """The tar, read from its beginning to its end with bounded memory."""

    def __init__(self, path: Path, blocks: Iterator[bytes]) -> None:
        self._path = path
        self._blocks = blocks
        self._held = b""

    def manifest(self) -> Manifest:
        """Read the first member."""
        info = self._header()
        if info.name != MANIFEST or info.size > MANIFEST_MAX:
            raise _refused(self._path, f"does not begin with {MANIFEST}")
        data = b"".join(self._content(info.size))
        try:
            return Manifest.of(data)
        except Unfit as error:
            raise _refused(self._path, f"its {MANIFEST} {error}") from error

    def file(self, packed: PackedFile, on_progress: OnProgress) -> Iterator[bytes]:
        """Yield the bytes of the next member, which has to be this file."""
        info = self._header()
        if (info.name, info.size) != (packed.member, packed.size):
            raise _refused(
                self._path,
                f"has {info.name[:80]!r} of {info.size:,} bytes where its {MANIFEST} has {packed.name!r} of "
                f"{packed.size:,}",
            )
        digest = hashlib.sha256()
        for block in self._content(packed.size):
            digest.update(block)
            yield block
            on_progress(len(block))
        if digest.hexdigest() != packed.sha256:
            raise _refused(self._path, f"{packed.name!r} has other bytes than its {MANIFEST} says")

    def end(self) -> None:
        """Refuse anything but zeros behind the last file."""
        zeros = 0
        while block := self._held or next(self._blocks, b""):
            self._held = b""
            zeros += len(block)
            if any(block) or zeros > PADDING_MAX:
                raise _refused(self._path, f"holds more than its {MANIFEST} says")
        if zeros < 2 * tarfile.BLOCKSIZE:
            raise _refused(self._path, "has no end")

    def _header(self) -> tarfile.TarInfo:
        block = b"".join(self._take(tarfile.BLOCKSIZE))
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise _refused(self._path, "lacks a member") from error
        if info.type != tarfile.REGTYPE or info.size < 0:
            raise _refused(self._path, f"its member {info.name[:80]!r} is no plain file")
        return info

    def _content(self, size: int) -> Iterator[bytes]:
        yield from self._take(size)
        for _ in self._take(-size % tarfile.BLOCKSIZE):
            pass

    def _take(self, size: int) -> Iterator[bytes]:
        """Yield exactly so many bytes."""
        while size:
            held = self._held or next(self._blocks, b"")
            if not held:
                raise _refused(self._path, "ends in the middle of a file")
            part, self._held = held[:size], held[size:]
            size -= len(part)
            yield part


def _refused(path: Path, what: str) -> NotAcceptable:
    return NotAcceptable(f"{path}: {what}. Nothing was unpacked. {AGAIN}")
