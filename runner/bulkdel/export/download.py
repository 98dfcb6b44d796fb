"""The copy of an object that is not on this machine. It is read once, and can be continued after a kill or a drop.

In the place of the run lie the copy, `export.copy`, and `export.copy.source`, which describes its source:
the address without secrets, and the version. Both are there before the first byte is kept, so a later process knows
which version the unfinished copy (`.export.copy.part`) is of. Nothing of two versions is ever put together.

Another person may have written these files. A copy that no log pins is used again only if the file beside it has a MAC
by the key of this user, which binds the bytes, too. Otherwise the object is copied anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import orjson

from bulkdel.core.address import WEB, Address
from bulkdel.core.log_entries import stamp
from bulkdel.core.mac import MAC, copy_mac_holds, mac_of_copy
from bulkdel.core.retry import ATTEMPTS_MAX, backoff_s
from bulkdel.durable import atomic_file, sync, sync_directory, write_all
from bulkdel.errors import BulkdelError, ExportChanged, FileFailed, Halted, NotAcceptable, UsageError
from bulkdel.export.encoding import UTF_8
from bulkdel.export.file import BLOCK, Export
from bulkdel.export.pipe_copy import busy, open_copy, part_of
from bulkdel.export.refusal import refusal
from bulkdel.export.rows import Dialect
from bulkdel.format import amount, printable, span
from bulkdel.regular_file import open_regular, regular_fd
from bulkdel.run_place import LOG
from bulkdel.store.far_object import Broken, FarObject, ObjectChanged, Reach, Version, far_object

SOURCE = ".source"
"""The ending, after the name of the copy, of the file that describes its source."""

SOURCE_MAX = 1 << 20
"""Bytes of that file, at most."""

SYNC_BYTES = 8 << 20
"""The copy is made durable after so many bytes. A later process reads on from the last such place: a machine that lost
its power may have kept the length of what follows, and not the bytes."""

LOOK_S = 0.2
"""How often the reading calls `on_progress` while nothing comes."""

T = TypeVar("T")

Step = Callable[[str], None]
"""Called with the current step in words. It may raise, to stop the reading."""


def full_backoff_s(failed: int) -> float:
    """The whole backoff, without jitter: one reader has no other to keep out of step with."""
    return backoff_s(failed, 1.0)


@dataclass(frozen=True, slots=True)
class Fetching:
    """How an object is read.

    patience_s: how long it may take until the next byte. pause_s: how long to wait after so many failures in a row.
    key: of this user, for the MAC of a copy. Without it, copies of earlier commands are not used again.
    """

    reach: Reach
    patience_s: float
    on_progress: Step
    pause_s: Callable[[int], float] = full_backoff_s
    key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a copy. digest: SHA-256 of the whole address, its query included.

    table: how the rows of a workbook or of a Parquet file were taken (`export.converting`); None for equal bytes.
    size, sha256: of the bytes of the copy that are durable. mac: by the key of the user who wrote it.
    """

    address: str
    digest: str
    version: Version
    at: str
    table: Mapping[str, Any] | None = None
    size: int = 0
    sha256: str = ""
    mac: str | None = None

    @classmethod
    def of(cls, address: Address, version: Version) -> Source:
        """The object at this address, now."""
        return cls(address.shown, _digest(address), version, stamp(time.time()))

    @classmethod
    def read(cls, copy: Path) -> Source | None:
        """Read the file beside a copy; None when there is none, or it is another file: of a kind, size or shape."""
        try:
            with open_regular(source_of(copy)) as file:
                data = file.read(SOURCE_MAX + 1)
            found = orjson.loads(data[:SOURCE_MAX])
            version = _typed(Version.from_json(found["object"]))
            if (table := found.get("table")) is not None:
                _check_table(table)
            copied = found.get("size", 0), found.get("sha256", ""), found.get(MAC)
            address, digest, at = _texts(found[name] for name in ("address", "digest", "at"))
            _texts(copied[1:2])
            return cls(address, digest, version, at, table, *copied) if type(copied[0]) is int else None
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
            return None

    def of_all(self, fd: int) -> Source:
        """The same of all bytes of this file. Raises OSError."""
        digest, size = hashlib.sha256(), os.fstat(fd).st_size
        _feed(digest.update, fd, size)
        return replace(self, size=size, sha256=digest.hexdigest())

    def write(self, copy: Path, key: bytes | None) -> None:
        """Write the file, durably. key: of this user. Raises OSError."""
        facts = self._facts()
        mac = {} if key is None else {MAC: mac_of_copy(facts, key)}
        with atomic_file(source_of(copy), lambda _new, _old: True) as file:
            file.write(orjson.dumps({**facts, **mac}) + b"\n")

    def begins(self, fd: int, key: bytes | None) -> bool:
        """Whether the user who has the key has copied the first `size` bytes of this very file. False without a key."""
        if not copy_mac_holds(self._facts(), self.mac, key):
            return False
        digest = hashlib.sha256()
        with contextlib.suppress(OSError):
            _feed(digest.update, fd, self.size)
        return digest.hexdigest() == self.sha256

    def is_whole(self, fd: int, key: bytes | None) -> bool:
        """Whether the user who has the key has copied all of this very file."""
        return self.size == os.fstat(fd).st_size and self.begins(fd, key)

    def _facts(self) -> dict[str, Any]:
        found: dict[str, Any] = {"address": self.address, "digest": self.digest, "object": self.version.to_json()}
        found |= {"at": self.at, **({} if self.table is None else {"table": dict(self.table)})}
        return {**found, "size": self.size, "sha256": self.sha256}

    def to_json(self) -> dict[str, Any]:
        """As the header has it."""
        return {"address": self.address, **self.version.to_json(), "read_at": self.at}


def _typed(value: T) -> T:
    """Return the instance of a dataclass. Raises TypeError for a member with another type than it is declared with."""
    for name, kind in get_type_hints(type(value)).items():
        if not isinstance(getattr(value, name), kind):
            raise TypeError(name)
    return value


def _texts(values: Iterable[Any]) -> list[str]:
    """Return texts of one line. Raises TypeError for anything else: it is shown in messages."""
    found = list(values)
    if not all(isinstance(each, str) and each.isprintable() for each in found):
        raise TypeError
    return found


def _check_table(table: Any) -> None:
    """Refuse what is not how `export.converting` takes the rows of a table. Raises KeyError or TypeError."""
    asked, how = table["asked"], _typed(Dialect.from_json(table["dialect"]))
    _texts([table["sha256"], *table["hidden"]])
    _texts(each for each in (table["sheet"], asked["sheet"], asked["id_field"]) if each is not None)
    if (how.format, how.compression, how.delimiter, how.encoding) != ("csv", "none", ",", UTF_8):
        raise TypeError
    if how.id_column is None or how.id_column < 0:
        raise TypeError


def source_of(copy: Path) -> Path:
    """The file that describes the source of `copy`."""
    return Path(f"{copy}{SOURCE}")


def _feed(update: Callable[[bytes], None], fd: int, size: int) -> None:
    """Hash the first bytes of a file. Raises OSError."""
    at = 0
    while data := os.pread(fd, min(BLOCK, size - at), at):
        update(data)
        at += len(data)


def _digest(address: Address) -> str:
    return hashlib.sha256(address.text.encode()).hexdigest()


def open_far_export(
    address: Address, copy: Path, fetching: Fetching, *, resumed: bool, block_size: int = BLOCK
) -> tuple[Export, Source]:
    """Open the copy of an object, and make it first where there is none that this user has made.

    resumed: whether a log pins the bytes of the copy. If it does not, the object is asked whether the copy is still
    its version: what is sent has to be what is there.

    Raises NotAcceptable for an object that cannot be read, that has changed, or another export in that place; Halted
    when nothing comes for too long; FileFailed when the copy cannot be written.
    """
    kept = _kept(address, copy, fetching, resumed=resumed)
    fd, source = _fetch(address, copy, fetching, resumed=resumed) if kept is None else kept
    return Export(fd, address.shown, spooled=copy, block_size=block_size), source


def fetch_unnamed(address: Address, folder: Path, fetching: Fetching) -> Export:
    """Copy an object to a file in `folder` without a name, which goes when it is closed. See `open_far_export`."""
    try:
        fd, name = tempfile.mkstemp(dir=folder, prefix=".bulkdel-", suffix=".part")
        Path(name).unlink()
    except OSError as error:
        raise _failed(folder, address, error) from error
    try:
        asyncio.run(_Download(address, fd, folder, fetching).whole())
    except BaseException:
        os.close(fd)
        raise
    return Export(fd, address.shown)


def _kept(address: Address, copy: Path, fetching: Fetching, *, resumed: bool) -> tuple[int, Source] | None:
    """Open the copy that is there. None when there is none, or one that neither a log nor the key of this user pins.

    Raises NotAcceptable when it is not one of the object that was asked for.
    """
    if not os.path.lexists(copy):
        return None
    source = Source.read(copy)
    if source is None or source.address != address.shown:
        what = "of a pipe, or of a file that was removed" if source is None else f"of {source.address}"
        raise refusal(address.shown, f"{copy} is a copy {what}", "Name another place (--run) for this export.")
    try:
        fd = regular_fd(copy)
    except OSError as error:
        raise refusal(str(copy), error.strerror or str(error), "Remove it, to copy the object again.") from error
    try:
        if not (resumed or source.is_whole(fd, fetching.key)):
            os.close(fd)
            return None
        if not (resumed and source.digest == _digest(address)):
            _check_version(address, copy, source, fetching)
    except BaseException:
        os.close(fd)
        raise
    return fd, source


def _check_version(address: Address, copy: Path, source: Source, fetching: Fetching) -> None:
    """Raise NotAcceptable when the copy is not one of the object as it is now."""
    try:
        now = _version(address, fetching)
    except (Halted, NotAcceptable) as error:
        reason = str(error).partition(". Nothing was sent")[0]
        raise NotAcceptable(
            f"{reason}. So it is not known whether {copy} is still a copy of it. Nothing was sent. {_ways(copy)}"
        ) from None
    if not now.known:
        raise ExportChanged(
            f"{address.shown}: has no version (ETag, time of the last change), so it cannot be compared with {copy}, "
            f"which was read at {source.at}. Nothing was sent. {_ways(copy)}"
        )
    if source.version.differs(now):
        raise ExportChanged(
            f"{address.shown}: has changed since {source.at}, when it was copied ({copy} holds {source.version}; now "
            f"it is {now}). Nothing was sent. {_ways(copy)}"
        )


def _ways(copy: Path) -> str:
    """The commands after a copy that may be another version."""
    if os.path.lexists(copy.with_name(LOG)):
        return f"To go on with that run, name the copy as the export, with --run {copy.parent}."
    return (
        "To read the object anew, remove the copy, then run the same command again:\n"
        f"  rm -- {shlex.quote(printable(copy))}\n"
        f"To send the copy, name it as the export, with --run {copy.parent}."
    )


def _version(address: Address, fetching: Fetching) -> Version:
    """Ask which version the object is now."""
    far = far_object(address, fetching.reach)

    async def look() -> Version:
        async with far.open(0, None) as opened:
            return opened.version

    return asyncio.run(asking(address, fetching, look, lambda: 0, lambda: f"asking for {address.shown}"))


def _fetch(address: Address, copy: Path, fetching: Fetching, *, resumed: bool) -> tuple[int, Source]:
    """Make the copy. One that another process of this user has just made is not replaced."""
    part = part_of(copy)
    try:
        fd = open_copy(copy, empty=False)
    except BlockingIOError:
        raise busy(address.shown, copy) from None
    except OSError as error:
        raise _failed(copy, address, error) from error
    try:
        if (kept := _kept(address, copy, fetching, resumed=resumed)) is not None:
            part.unlink(missing_ok=True)
            os.close(fd)
            return kept
        download = _Download(address, fd, copy, fetching, to_name=True)
        begun = _begun(address, copy, fd, fetching)
        asyncio.run(download.whole(*begun))
        assert download.source is not None, "all of it was read"
        try:
            part.rename(copy)
            sync_directory(copy)
        except OSError as error:
            raise _failed(copy, address, error) from error
    except (ObjectChanged, Endless) as error:
        # The same command begins anew, with the object as it is then.
        _remove(part, copy)
        os.close(fd)
        if isinstance(error, Endless):
            raise
        if download.encoding:
            raise NotAcceptable(
                f"{address.shown}: the server sends it compressed (Content-Encoding: {printable(download.encoding)}), "
                "so its length and its end cannot be checked. Nothing was sent, and what was read is removed. Copy it, "
                "and name the copy."
            ) from error
        raise NotAcceptable(
            f"{address.shown}: changed while it was read. Nothing was sent, and what was read is removed. When it is "
            "no longer written to, run the same command again."
        ) from error
    except BaseException:
        if os.fstat(fd).st_size == 0:  # nothing that a later process could go on with
            _remove(part, copy)
        os.close(fd)
        raise
    return fd, download.source


def _remove(part: Path, copy: Path) -> None:
    """Remove the unfinished copy, and the file beside it where that is not the file of a whole copy."""
    with contextlib.suppress(OSError):
        part.unlink()
        if not os.path.lexists(copy):
            source_of(copy).unlink(missing_ok=True)


def _begun(address: Address, copy: Path, fd: int, fetching: Fetching) -> tuple[Source | None, int]:
    """The bytes of this version that an earlier process of this user has read, and how many of them count."""
    source = Source.read(copy)
    if source is None or source.address != address.shown or not source.version.resumable:
        return None, 0
    if source.size == 0 or not source.begins(fd, fetching.key):
        return None, 0
    return (None, 0) if source.version.differs(_version(address, fetching)) else (source, source.size)


class Endless(NotAcceptable):
    """An object that does not say its length is longer than there is room for."""


class _Download:
    """Reads one object to its end into the file `fd`.

    to: for messages. to_name: the file gets this name, so what it is a copy of is written beside it.
    """

    def __init__(self, address: Address, fd: int, to: Path, fetching: Fetching, *, to_name: bool = False) -> None:
        self._far: FarObject = far_object(address, fetching.reach)
        self._address, self._fd, self._to, self._to_name, self._fetching = address, fd, to, to_name, fetching
        self._done = self._furthest = 0
        self._digest = hashlib.sha256()  # of the copied bytes
        self._most = 0  # bytes of an object that does not say its length
        self.source: Source | None = None
        self.encoding = ""  # of the latest response

    async def whole(self, source: Source | None = None, start: int = 0) -> None:
        """Read it. source, start: the part that an earlier process has read; bytes after it are dropped."""
        self.source = source
        self._cut(start)
        self._most = start + self._free() // 2
        await asking(self._address, self._fetching, self._rest, lambda: self._furthest, self._words)
        self._sync()

    async def _rest(self) -> None:
        """Read from where it broke off to the end. Raises Broken, Changed and NotAcceptable."""
        version = self.source.version if self.source else None
        if version is not None and not version.resumable:
            self._cut(0)
        async with self._far.open(self._done, version) as opened:
            if version is None:
                self._begin(opened.version)
            self.encoding = opened.encoding
            if opened.start != self._done:
                self._cut(opened.start)
            async for part in opened.parts:
                self._keep(part)
        assert self.source is not None, "it has begun"
        if (size := self.source.version.size) is not None and self._done < size:
            raise Broken(f"it ended after {self._done:,} of {size:,} bytes")
        await self._check_end()

    async def _check_end(self) -> None:
        """Ask for what follows the last byte: nothing may, and it has to be the same version still.

        A store gives one version in one response. A web server may read a file that is written to meanwhile, or name
        a length that is too short.
        """
        if self._address.scheme not in WEB or self._done == 0 or self.source is None:
            return
        longer = False
        try:
            async with self._far.open(self._done, self.source.version) as opened:
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
        self.source = Source.of(self._address, version)
        try:
            if version.size is not None and (free := self._free()) < version.size:
                raise FileFailed(
                    f"{self._to}: {self._address.shown} has {amount(version.size)}, and {amount(free)} are free. "
                    f"It is copied there first; nothing was sent. Make room in {self._to.absolute().parent}, or "
                    "name another place (--run), and run the same command again."
                )
            if self._to_name:
                self.source.write(self._to, self._fetching.key)
        except OSError as error:
            raise _failed(self._to, self._address, error) from error

    def _keep(self, part: bytes) -> None:
        size = self.source.version.size if self.source else None
        if size is not None and self._done + len(part) > size:
            raise self._is_longer()
        if size is None and self._done + len(part) > self._most:
            raise Endless(
                f"{self._address.shown}: the server does not say its length, and it has more than "
                f"{amount(self._most)}, half of what was free in {self._to.absolute().parent}. Nothing was sent, and "
                "what was read is removed. Is it the right address? Make room, or copy it yourself and name the copy."
            )
        while part:
            to_sync = SYNC_BYTES - self._done % SYNC_BYTES
            piece, part = part[:to_sync], part[to_sync:]
            try:
                write_all(self._fd, piece)
            except OSError as error:
                raise _failed(self._to, self._address, error) from error
            self._digest.update(piece)
            self._done += len(piece)
            self._furthest = max(self._furthest, self._done)
            if len(piece) == to_sync:
                self._sync()

    def _sync(self) -> None:
        """Make the copied bytes durable, and note how many there are: a later process can go on from there."""
        assert self.source is not None, "it has begun"
        try:
            sync(self._fd)
            self.source = replace(self.source, size=self._done, sha256=self._digest.hexdigest())
            if self._to_name:
                self.source.write(self._to, self._fetching.key)
        except OSError as error:
            raise _failed(self._to, self._address, error) from error

    def _free(self) -> int:
        try:
            return shutil.disk_usage(self._to.absolute().parent).free
        except OSError as error:
            raise _failed(self._to, self._address, error) from error

    def _cut(self, size: int) -> None:
        """Keep the first `size` bytes of the file."""
        try:
            os.ftruncate(self._fd, size)
            os.lseek(self._fd, size, os.SEEK_SET)
            self._digest = hashlib.sha256()
            _feed(self._digest.update, self._fd, size)
        except OSError as error:
            raise _failed(self._to, self._address, error) from error
        self._done = size

    def _words(self) -> str:
        size = self.source.version.size if self.source else None
        total = f" of {amount(size)}" if size is not None else ""
        return f"reading {self._address.shown}: {amount(self._done)}{total}"


async def asking(
    address: Address,
    fetching: Fetching,
    attempt: Callable[[], Coroutine[Any, Any, T]],
    furthest: Callable[[], int],
    words: Callable[[], str],
) -> T:
    """Make attempts until one does not break off. Raises Halted.

    furthest: how many bytes any attempt has reached. Each further one begins the patience anew. Before the first byte
    there are few attempts, because a wrong setting does not pass.
    """
    failed, best, since = 0, 0, time.monotonic()
    while True:
        try:
            return await _watched(attempt(), fetching.on_progress, words)
        except Broken as error:
            reason = str(error)
        now = time.monotonic()
        if furthest() > best:
            failed, best, since = 0, furthest(), now
        failed += 1
        if now - since >= fetching.patience_s or (best == 0 and failed >= ATTEMPTS_MAX):
            kept = (
                "Run the same command again; what was read is kept where its version is known."
                if best
                else ("Run the same command again when it can be reached.")
            )
            raise Halted(
                f"{address.shown}: {reason}. Nothing came for {span(now - since)}, and nothing was sent. {kept}"
            )
        wait = asyncio.sleep(fetching.pause_s(failed))
        await _watched(wait, fetching.on_progress, lambda: f"{words()}; {reason}; asking again")  # noqa: B023 - awaited


async def _watched(step: Coroutine[Any, Any, T], on_progress: Step, words: Callable[[], str]) -> T:
    """Run a step, and report on it meanwhile. An exception of the report ends the step."""
    task = asyncio.ensure_future(step)
    try:
        while not task.done():
            on_progress(words())
            await asyncio.wait({task}, timeout=LOOK_S)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


def _failed(to: Path, address: Address, error: OSError) -> BulkdelError:
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(
            f"{address.shown}: its name is too long for the file that it is copied to. Nothing was sent. Give a "
            "shorter one: --run PLACE"
        )
    return FileFailed(
        f"{to}: {error.strerror}. {address.shown} is copied there first; nothing was sent. Make room in "
        f"{to.absolute().parent}, or name another place (--run), and run the same command again."
    )
