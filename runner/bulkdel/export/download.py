"""The copy of an object that is not on this machine: it is read once, into a file without a name.

After a drop it is read on, where its version is known. Nothing of two versions is ever put together.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bulkdel.core.address import WEB, Address
from bulkdel.core.log_entries import stamp
from bulkdel.core.retry import backoff_s, sends_again
from bulkdel.durable import write_all
from bulkdel.errors import Halted, NotAcceptable
from bulkdel.export.file import Copying, Export
from bulkdel.format import amount, printable, span
from bulkdel.store.far_object import Broken, FarObject, ObjectChanged, Reach, Version, far_object

LOOK_S = 0.2
"""How often the reading calls `on_progress` while nothing comes."""

Step = Callable[[str], None]
"""Called with the current step in words. It may raise, to stop the reading."""


def full_backoff_s(failed: int) -> float:
    """The whole backoff, without jitter: one reader has no other to keep out of step with."""
    return backoff_s(failed, 1.0)


@dataclass(frozen=True, slots=True)
class Fetching:
    """How an object is read.

    patience_s: how long it may take until the next byte. pause_s: how long to wait after so many failures in a row.
    """

    reach: Reach
    patience_s: float
    on_progress: Step
    pause_s: Callable[[int], float] = full_backoff_s


@dataclass(frozen=True, slots=True)
class Source:
    """Where a copy is from. address: without what may be a secret. at: when it was read."""

    address: str
    version: Version
    at: str

    def to_json(self) -> dict[str, Any]:
        """As the header has it."""
        return {"address": self.address, **self.version.to_json(), "read_at": self.at}


def fetch(address: Address, folder: Path, fetching: Fetching) -> tuple[Export, Source]:
    """Copy an object to a file in `folder` without a name, which goes when it is closed.

    Raises NotAcceptable for an object that cannot be read, or that changes meanwhile; Halted when nothing comes for too
    long; FileFailed when there is no room.
    """
    copying = Copying(folder, f"{address.shown} is")
    with copying.new_file() as fd:
        version = _Download(address, fd, copying, fetching).whole()
    return Export(fd, address.shown, copied=True), Source(address.shown, version, stamp(time.time()))


class _Download:
    """Reads one object to its end into the file `fd`, which `copying` has made."""

    def __init__(self, address: Address, fd: int, copying: Copying, fetching: Fetching) -> None:
        self._far: FarObject = far_object(address, fetching.reach)
        self._address, self._fd, self._copying, self._fetching = address, fd, copying, fetching
        self._version: Version | None = None
        self._done = self._furthest = 0
        self._most = 0  # bytes of an object that does not say its length
        self._encoding = ""  # of the latest response

    def whole(self) -> Version:
        """Read it. Returns which version it was."""
        self._most = self._free() // 2
        try:
            asyncio.run(self._attempts())
        except ObjectChanged as error:
            if self._encoding:
                raise NotAcceptable(
                    f"{self._address.shown}: the server sends it compressed (Content-Encoding: "
                    f"{printable(self._encoding)}), so its length and its end cannot be checked. Nothing was sent. "
                    "Copy it, and name the copy."
                ) from error
            raise NotAcceptable(
                f"{self._address.shown}: changed while it was read. Nothing was sent. When it is no longer written to, "
                "run the same command again."
            ) from error
        assert self._version is not None, "all of it was read"
        return self._version

    async def _attempts(self) -> None:
        """Read until an attempt does not break off. Raises Halted.

        Each byte that no attempt has reached before begins the patience anew. Before the first byte there are few
        attempts, because a wrong setting does not pass.
        """
        failed, best, since = 0, 0, time.monotonic()
        while True:
            try:
                return await self._watched(self._rest())
            except Broken as error:
                reason = str(error)
            now = time.monotonic()
            if self._furthest > best:
                failed, best, since = 0, self._furthest, now
            failed += 1
            if now - since >= self._fetching.patience_s or (best == 0 and not sends_again(failed)):
                raise Halted(
                    f"{self._address.shown}: {reason}. Nothing came for {span(now - since)}, and nothing was sent. Run "
                    "the same command again when it can be reached."
                )
            await self._watched(asyncio.sleep(self._fetching.pause_s(failed)), f"; {reason}; asking again")

    async def _watched(self, step: Coroutine[Any, Any, None], more: str = "") -> None:
        """Run a step, and report on it meanwhile. An exception of the report ends the step. more: to be told, too."""
        task = asyncio.ensure_future(step)
        try:
            while not task.done():
                self._fetching.on_progress(f"{self._words()}{more}")
                await asyncio.wait({task}, timeout=LOOK_S)
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _rest(self) -> None:
        """Read from where it broke off to the end. Raises Broken, ObjectChanged and NotAcceptable."""
        version = self._version
        if version is not None and not version.resumable:
            self._cut(0)
        async with self._far.open(self._done, version) as opened:
            if version is None:
                self._begin(opened.version)
            self._encoding = opened.encoding
            if opened.start != self._done:
                self._cut(opened.start)
            async for part in opened.parts:
                self._keep(part)
        assert self._version is not None, "it has begun"
        if (size := self._version.size) is not None and self._done < size:
            raise Broken(f"it ended after {self._done:,} of {size:,} bytes")
        await self._check_end(self._version)

    async def _check_end(self, version: Version) -> None:
        """Ask for what follows the last byte: nothing may, and it has to be the same version still.

        A store gives one version in one response. A web server may read a file that is written to meanwhile, or name
        a length that is too short.
        """
        if self._address.scheme not in WEB or self._done == 0:
            return
        longer = False
        try:
            async with self._far.open(self._done, version) as opened:
                if opened.start == self._done:
                    longer = await anext(opened.parts, None) is not None
        except ObjectChanged:
            raise
        except NotAcceptable:  # a signed address may have expired meanwhile
            return
        if longer:
            raise self._is_longer()

    def _is_longer(self) -> ObjectChanged:
        return ObjectChanged(f"{self._address.shown}: is longer than it said")

    def _begin(self, version: Version) -> None:
        """Note which version it is, before the first byte is kept."""
        self._version = version
        if version.size is not None and (free := self._free()) < version.size:
            reason = f"{self._address.shown} has {amount(version.size)}, and {amount(free)} are free"
            raise replace(self._copying, what="It is").failed(reason)

    def _keep(self, part: bytes) -> None:
        size = self._version.size if self._version else None
        if size is not None and self._done + len(part) > size:
            raise self._is_longer()
        if size is None and self._done + len(part) > self._most:
            raise NotAcceptable(
                f"{self._address.shown}: the server does not say its length, and it has more than "
                f"{amount(self._most)}, half of what was free in {self._copying.folder}. Nothing was sent. Is it the "
                "right address? Make room, or copy it yourself and name the copy."
            )
        with self._copying.writing():
            write_all(self._fd, part)
        self._done += len(part)
        self._furthest = max(self._furthest, self._done)

    def _free(self) -> int:
        with self._copying.writing():
            return shutil.disk_usage(self._fd).free  # of the file: the folder may take none

    def _cut(self, size: int) -> None:
        """Keep the first `size` bytes of the file."""
        with self._copying.writing():
            os.ftruncate(self._fd, size)
            os.lseek(self._fd, size, os.SEEK_SET)
        self._done = size

    def _words(self) -> str:
        size = self._version.size if self._version else None
        total = f" of {amount(size)}" if size is not None else ""
        return f"reading {self._address.shown}: {amount(self._done)}{total}"
