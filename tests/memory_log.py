"""A log in memory: a third place beside a file and a store, in one file. It passes the suite of all places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bulkdel.errors import NotAcceptable
from bulkdel.place.lease import LockLease
from bulkdel.place.log_place import Busy, PinnedFile
from bulkdel.place.spool import Spool
from bulkdel.world import WORLD, World


@dataclass
class Kept:
    """The lines of one log. files: those beside it. locked: whether something writes it."""

    files: dict[PinnedFile, bytes] = field(default_factory=dict)
    lines: list[bytes] = field(default_factory=list)
    locked: bool = False


@dataclass(frozen=True)
class LogInMemory:
    """`bulkdel.place.log_at.LogPlace`. logs: all that there are, by name."""

    where: Path
    logs: dict[str, Kept] = field(default_factory=dict)
    number: int = 0
    kept_as: str = "the lines"
    mend: str = "Make room"

    @property
    def world(self) -> World:
        return WORLD

    @property
    def log(self) -> Path:
        return self.where

    @property
    def _kept(self) -> Kept:
        if (kept := self.logs.get(str(self.where))) is None:
            raise NotAcceptable(f"{self.where}: cannot be opened: there is none")
        return kept

    def spool(self) -> Spool:
        return Spool.unnamed(Path())

    def keep(self, pinned: PinnedFile, data: bytes | Spool) -> None:
        self._kept.files[pinned] = data.read_at(0, data.size) if isinstance(data, Spool) else data

    def drop(self, pinned: PinnedFile) -> None:
        self._kept.files.pop(pinned, None)

    def open(self, pinned: PinnedFile, start: int = 0, stop: int | None = None) -> Spool | None:
        if (data := self._kept.files.get(pinned)) is None:
            return None
        spool = Spool.unnamed(Path(), start)
        spool.write(data[start:stop])
        return spool

    def at(self, pinned: PinnedFile) -> Path:
        return self.where / pinned.name(self.number)

    def shard(self, number: int) -> LogInMemory:
        return LogInMemory(self.where / str(number), self.logs, number)

    def once(self) -> LogInMemory:
        return self

    def is_there(self) -> bool:
        return str(self.where) in self.logs

    def beside(self) -> Sequence[Path]:
        return [self.at(pinned) for pinned in self.logs.get(str(self.where), Kept()).files]

    def shard_log(self) -> Path | None:
        first = self.shard(1)
        return first.where if first.is_there() else None

    @contextmanager
    def lines(self, *, by_rolls: bool = True) -> Iterator[MemoryLines]:
        yield MemoryLines(self._kept)

    def writable(self, *, new: bool, another: bool) -> WritableMemory:
        if new:
            self.logs.setdefault(str(self.where), Kept())
        return WritableMemory(self._kept)

    @contextmanager
    def held(self) -> Iterator[None]:
        lines = WritableMemory(self._kept)
        try:
            yield
        finally:
            lines.close()

    def is_held(self) -> bool:
        return self._kept.locked

    def watch(self, seq: int) -> None:
        pass

    def end(self) -> int | None:
        return len(self._kept.lines) if self.is_there() else None


class MemoryLines:
    """`Lines`. None is torn."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self._stop = len(kept.lines)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.kept.lines[: self._stop])

    def tail(self, start: int) -> None:
        pass

    def length(self, start: int) -> int:
        return sum(map(len, self.kept.lines)) - start


class WritableMemory(MemoryLines):
    """`WritableLines`."""

    watch_s = 0.0

    def __init__(self, kept: Kept) -> None:
        super().__init__(kept)
        if kept.locked:
            raise Busy
        kept.locked = True
        self.lease = LockLease()

    def watch(self, seq: int) -> None:
        pass

    def following(self, seq: int) -> Iterator[bytes]:
        yield from ()

    def settle(self, seq: int, size: int, last: bytes) -> None:
        pass

    def append(self, seq: int, line: bytes) -> None:
        assert seq == len(self.kept.lines) + 1
        self.kept.lines.append(line)

    def close(self) -> None:
        self.kept.locked = False
