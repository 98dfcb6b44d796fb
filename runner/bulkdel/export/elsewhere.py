"""An export that this machine does not copy: each block is read from where it lies, when it is needed.

For a shard on another machine, which needs a part of the export only. It compares each block with the hash that the run
has taken, as it does for a file.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from bulkdel.core.address import Address
from bulkdel.errors import Halted
from bulkdel.export.download import Fetching, asking
from bulkdel.export.file import BLOCK, Export
from bulkdel.format import amount
from bulkdel.store.certain import Retrying
from bulkdel.store.far_object import Broken, Changed, Version, far_object
from bulkdel.store.parts import PART_BYTES, part_name
from bulkdel.store_path import StorePath

AHEAD_BYTES = 8 * BLOCK
"""Bytes of one request. They are kept for the reads that follow."""


class Elsewhere(Export):
    """See the module. The bytes that were read last are kept."""

    __slots__ = ("_begin", "_kept")

    def __init__(self, path: str, size: int) -> None:
        """path: for messages. size: bytes, as the run has read it."""
        self._fd = -1
        self.path = path
        self.spooled = None
        self.block_size = BLOCK
        self.size = size
        self._begin = 0
        self._kept = b""

    def is_file(self, path: Path) -> bool:  # noqa: ARG002 - as `Export` has it
        """It is no file of this machine."""
        return False

    def read_at(self, offset: int, length: int) -> bytes:
        """See `Export`. Raises Halted when it cannot be read."""
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        if not self._begin <= offset <= offset + length <= self._begin + len(self._kept):
            self._begin, self._kept = self._fetch(offset, length)
        at = offset - self._begin
        return self._kept[at : at + length]

    def _fetch(self, offset: int, length: int) -> tuple[int, bytes]:
        """Read these bytes, or more around them. Returns where they begin."""
        raise NotImplementedError


class FarExport(Elsewhere):
    """An object at an address, in the version that the run has read."""

    __slots__ = ("_address", "_far", "_fetching", "_version")

    def __init__(self, address: Address, version: Version, size: int, fetching: Fetching) -> None:
        super().__init__(address.shown, size)
        self._address, self._version, self._fetching = address, version, fetching
        self._far = far_object(address, fetching.reach)

    def _fetch(self, offset: int, length: int) -> tuple[int, bytes]:
        wanted = min(max(length, AHEAD_BYTES), self.size - offset)

        async def attempt() -> bytes:
            found = bytearray()
            async with self._far.open(offset, self._version) as opened:
                end = offset - opened.start + wanted
                async for part in opened.parts:
                    found += part
                    if len(found) >= end:
                        return bytes(found[end - wanted : end])
            raise Broken(f"it ended after {amount(offset + len(found))}")

        words = f"reading {self.path} from {amount(offset)}"
        try:
            # The run has read it, so there is no reason to give up early: it is asked for the whole patience.
            return offset, asyncio.run(asking(self._address, self._fetching, attempt, lambda: 1, lambda: words))
        except Changed as error:
            raise Halted(
                f"{self.path}: the export changed under the run; nothing from byte {offset} on was sent. Put the "
                "object back as it was and start the same command again."
            ) from error


class StoredExport(Elsewhere):
    """A copy in a store, in parts of PART_BYTES. See `stored_copy`."""

    __slots__ = ("_store",)

    def __init__(self, folder: StorePath, size: int, patience_s: float) -> None:
        super().__init__(str(folder), size)
        self._store = Retrying.at(folder, patience_s)

    def _fetch(self, offset: int, length: int) -> tuple[int, bytes]:
        first, last = offset // PART_BYTES, (offset + length - 1) // PART_BYTES
        parts = (self._part(number + 1) for number in range(first, last + 1))
        return first * PART_BYTES, b"".join(parts)

    def _part(self, number: int) -> bytes:
        try:
            return self._store.get(part_name(number)) or b""  # a part that is gone has not the hash of its block
        except OSError as error:
            raise Halted(f"{self.path}: {error.strerror or error}. Start the same command again.") from error
