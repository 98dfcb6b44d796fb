"""A log in a store: one object a commit, created only if there is none of its number; line 17 is `log/000000000017`.

This rule keeps two processes apart, in the place of a lock. A process takes a log over by creating its next number. The
process before then fails to create that number, and sends nothing more. docs/store.md has the protocol.

The log is the lines 1 to g, where g + 1 is the first number that does not exist. Readers and writers know no other
rule. Rolls hold a thousand lines each, and only spare requests. A roll counts while its last line equals the object of
that line. So a roll of another writer replaces nothing. An audit reads only the lines.

A log with a deleted line is refused: the number of the line must not be created a second time. A list of the names
behind the end shows the gap. A list may lack objects that exist, so it can only add to the reasons for refusing.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice, repeat
from pathlib import Path

from bulkdel.errors import FileFailed, NotAcceptable
from bulkdel.place.lease import Terms, TimedLease
from bulkdel.place.log_place import Busy, Overtaken, PinnedFile
from bulkdel.place.spool import Spool
from bulkdel.run_place import STORED_LOG
from bulkdel.store.certain import READ_S, Retrying, Taken
from bulkdel.store.directory import OBJECT_BYTES_MAX
from bulkdel.store.file_parts import PART_BYTES, parts_of, put_parts
from bulkdel.store.probe import ANOTHER, AS_BEFORE, probe
from bulkdel.store_path import StorePath
from bulkdel.world import World

LINES_A_ROLL = 1_000

AT_ONCE = 32
"""How many lines are read at the same time."""

ROLLS_AT_ONCE = 4
"""How many rolls are read at the same time. Each has some megabytes."""

ROLL_BYTES_MAX = OBJECT_BYTES_MAX
"""Bytes of the longest roll. A longer one is left out, and its lines are read one by one."""

BEHIND = tuple(1 << power for power in range(21))
"""How far behind the end lines are looked for, where the store gives no list."""

NUMBERED = re.compile(r"(log|roll)/\d{12}")

LOOK_S = 0.2
"""How often a watch looks for the next line."""

OVERTAKE_LEASES = 6
"""How long a takeover is tried while the other process goes on writing, in leases."""

READING = Terms(patience_s=READ_S)
"""Of a command that only reads."""


def line_name(seq: int) -> str:
    """The name of the object with this line."""
    return f"{STORED_LOG}/{seq:012d}"


def roll_name(last: int) -> str:
    """The name of the object with the thousand lines up to `last`."""
    return f"roll/{last:012d}"


@dataclass(frozen=True, slots=True)
class LogObjects:
    """A log in a store: `LogPlace`. terms: how it is read and written."""

    where: StorePath
    terms: Terms = field(default=READING)
    number: int = 0
    kept_as: str = "the objects"
    mend: str = "Check the store and the network"

    @property
    def world(self) -> World:
        """See `LogPlace`."""
        return self.terms.world

    @property
    def log(self) -> StorePath:
        """See `LogPlace`."""
        return self.where

    def spool(self) -> Spool:
        """See `LogPlace`. It lies on this machine: before the confirmation nothing is put into a store."""
        return _spool()

    def keep(self, pinned: PinnedFile, data: bytes | Spool) -> None:
        """See `LogPlace`."""
        if isinstance(data, Spool):
            parts = data.blocks(PART_BYTES)
        else:
            parts = (data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES))
        try:
            with closing(self._store()) as store:
                put_parts(store, parts, _below(pinned))
        except Taken as error:
            raise NotAcceptable(
                f"{self.where}/{error}: an object is there with other bytes than {pinned.words}. Nothing was sent. "
                "Remove it, then run the same command again."
            ) from error

    def drop(self, pinned: PinnedFile) -> None:
        """See `LogPlace`."""

    def open(self, pinned: PinnedFile, start: int = 0, stop: int | None = None) -> Spool | None:
        """See `LogPlace`. The bytes are fetched into a file of this machine that has no name."""
        first, last = start // PART_BYTES, None if stop is None else -(-stop // PART_BYTES)
        with ExitStack() as stack:
            copy = _spool(start - start % PART_BYTES)
            stack.callback(copy.close)
            try:
                with closing(self._store()) as store:
                    for part in islice(parts_of(store, _below(pinned), first + 1), last and max(last - first, 1)):
                        with _with_room():
                            copy.write(part)
            except OSError as error:
                raise unreachable(self.where, error) from error
            if not copy.size:
                return None
            stack.pop_all()
            return copy

    def at(self, pinned: PinnedFile) -> StorePath:
        """See `LogPlace`."""
        return self.where / _below(pinned)

    def _store(self) -> Retrying:
        return Retrying.at(self.where, self.terms.patience_s, self.terms.world)

    def shard(self, number: int) -> LogObjects:
        """See `LogPlace`."""
        return replace(self, where=self.where / "shard" / str(number), number=number)

    def once(self) -> LogObjects:
        """See `LogPlace`."""
        return replace(self, terms=replace(self.terms, patience_s=0.0))

    def is_there(self) -> bool:
        """See `LogPlace`."""
        return True

    def beside(self) -> Sequence[Path]:
        """See `LogPlace`. Each lies below its SHA-256."""
        return ()

    def shard_log(self) -> StorePath | None:
        """See `LogPlace`."""
        first = self.shard(1)
        with first.lines() as lines:
            return None if next(iter(lines), None) is None else first.log

    @contextmanager
    def lines(self, *, by_rolls: bool = True) -> Iterator[StoreLines]:
        """See `LogPlace`."""
        with closing(StoreLines(self.where, self.terms, by_rolls=by_rolls)) as lines:
            try:
                yield lines
            except OSError as error:
                raise unreachable(self.where, error) from error

    def writable(self, *, new: bool, another: bool) -> WritableObjects:  # noqa: ARG002 - the first line makes it
        """See `LogPlace`."""
        return WritableObjects(self.where, self.terms, todo=ANOTHER if another else AS_BEFORE)

    @contextmanager
    def held(self) -> Iterator[None]:
        """See `LogPlace`."""
        yield

    def is_held(self) -> None:
        """See `LogPlace`."""

    def watch(self, seq: int) -> bytes | None:
        """See `LogPlace`."""
        with self.lines() as lines:
            return lines.wait_for(seq)

    def end(self) -> int | None:
        """See `LogPlace`."""
        with suppress(NotAcceptable), self.lines() as lines:
            return sum(1 for _ in lines)
        return None


def _below(pinned: PinnedFile) -> str:
    """Where the objects of a file lie: below its SHA-256, because nothing is ever replaced in a store."""
    return f"{pinned.kind}/{pinned.sha256}/"


def _spool(base: int = 0) -> Spool:
    with _with_room():
        return Spool.unnamed(Path(), base)


@contextmanager
def _with_room() -> Iterator[None]:
    """Turn an OSError of the copy on this machine into FileFailed."""
    try:
        yield
    except OSError as error:
        raise FileFailed(
            f"{Path().absolute()}: {error.strerror}. What is read of a store is copied there first. Nothing was sent. "
            "Make room, then run the same command again."
        ) from error


def unreachable(path: StorePath, error: OSError) -> NotAcceptable:
    """The error for a store that cannot be read."""
    return NotAcceptable(
        f"{path}: the store cannot be read: {error.strerror or error}. Check the URL, the network and the credentials, "
        "then run this again."
    )


class StoreLines:
    """The lines of a log in a store: `LogLines`. Use it in one thread, and close it."""

    def __init__(self, path: StorePath, terms: Terms, *, by_rolls: bool = True) -> None:
        """Open the store at this URL. by_rolls: whether rolls spare requests."""
        self._path = path
        self._terms = terms
        self._store = Retrying.at(path, terms.patience_s, terms.world)
        self._threads = terms.world.threads(AT_ONCE, "store")
        self._by_rolls = by_rolls

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines that there are. Raises OSError when the store fails, NotAcceptable when one was deleted."""
        names = range(LINES_A_ROLL, 10**12, LINES_A_ROLL)
        rolls = self._ahead(roll_name, names, ROLLS_AT_ONCE) if self._by_rolls else repeat(None)
        for first, roll in zip(count(1, LINES_A_ROLL), rolls, strict=False):
            rolled = [] if roll is None else roll.splitlines(keepends=True)
            if len(rolled) == LINES_A_ROLL and rolled[-1] == self.line(first + LINES_A_ROLL - 1):
                yield from rolled
                continue
            number = 0
            for number, line in enumerate(self.lines(range(first, first + LINES_A_ROLL)), 1):  # noqa: B007 - it is used
                yield line
            if number < LINES_A_ROLL:
                self._check_end(first + number)
                return

    def lines(self, numbers: range) -> Iterator[bytes]:
        """Yield these lines, up to the first that does not exist."""
        for line in self._ahead(line_name, numbers, AT_ONCE):
            if line is None:
                return
            yield line

    def line(self, seq: int) -> bytes | None:
        """Read one line; None when there is none of this number yet."""
        return self._store.get(line_name(seq))

    def tail(self, start: int) -> bytes | None:  # noqa: ARG002 - an object is whole or absent
        """See `LogLines`: no line is torn."""
        return None

    def length(self, start: int) -> int:  # noqa: ARG002 - see `tail`
        """See `LogLines`."""
        return 0

    def wait_for(self, seq: int) -> bytes | None:
        """Wait for this line, until the lease of any process must have lapsed. None when nothing has written it.

        While the store cannot be read, the other process cannot write either, and may go on later. So the time of a
        long look does not count. Raises OSError when the store cannot be read for the patience.
        """
        world = self._terms.world
        until = world.boot() + self._terms.wait_s
        while True:
            looked_at = world.boot()
            line = self.line(seq)
            now = world.boot()
            if now - looked_at > LOOK_S:
                until += now - looked_at
            if line is not None or now >= until:
                return line
            world.sleep(min(LOOK_S, world.lease_s / 10))

    def close(self) -> None:
        """End the threads."""
        self._store.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check_end(self, missing: int) -> None:
        """Raise NotAcceptable when there are lines behind this one, and it was not written meanwhile."""
        behind = self._behind(missing)
        if behind is not None and self.line(missing) is None:
            raise NotAcceptable(
                f"{self._path}: {line_name(missing)} is missing, and {behind} is there: an object of the log was "
                "deleted. Nothing was sent. Put it back, then run this again."
            )

    def _behind(self, missing: int) -> str | None:
        """The name of an object with lines behind this one, if there is one."""
        try:
            listed = partial(self._store.first_listed, wanted=NUMBERED.fullmatch)
            return listed(line_name(missing)) or listed(roll_name(missing))
        except OSError:
            numbers = [missing + distance for distance in BEHIND]
            found = zip(numbers, self._ahead(line_name, numbers, AT_ONCE), strict=True)
            return next((line_name(seq) for seq, line in found if line is not None), None)

    def _ahead(self, name_of: Callable[[int], str], numbers: Iterable[int], at_once: int) -> Iterator[bytes | None]:
        """Read the objects with these numbers in their order, some of them at the same time.

        A failed read is repeated here and not in the threads: at its end a program waits for its threads.
        """
        names = map(name_of, numbers)
        under_way = deque(self._begun(names, at_once))
        try:
            while under_way:
                name, attempt = under_way.popleft()
                try:
                    found = attempt.result()
                except OSError:
                    found = self._store.get(name)
                yield found
                under_way.extend(self._begun(names, 1))
        finally:
            for _, attempt in under_way:
                attempt.cancel()

    def _begun(self, names: Iterator[str], count: int) -> Iterator[tuple[str, Future[bytes | None]]]:
        """Begin to read the next few of these objects."""
        for name in islice(names, count):
            yield name, self._threads.submit(self._store.objects.get, name)


class WritableObjects(StoreLines):
    """The lines of a log in a store that this process writes until another one takes it over: `WritableLines`."""

    def __init__(self, path: StorePath, terms: Terms, *, todo: str) -> None:
        """Open the store. Raises NotAcceptable, with `todo`, for one that cannot keep two runs apart."""
        super().__init__(path, terms)
        probe(self._store.objects, path, terms.world, todo=todo)
        self._rolls = terms.world.threads(1, "store")
        self._overtakes = False  # the session before may be under way, and this one has not written yet
        self._overtakes_until = float("inf")
        self.lease = TimedLease(terms)

    @property
    def watch_s(self) -> float:
        """See `WritableLines`."""
        return 0.0 if self._terms.take_over else self._terms.wait_s

    def watch(self, seq: int) -> bytes | None:
        """See `WritableLines`."""
        self._overtakes = self._terms.take_over
        try:
            return None if self._overtakes else self.wait_for(seq)
        except OSError as error:
            raise unreachable(self._path, error) from error

    def following(self, seq: int) -> Iterator[bytes]:
        """See `WritableLines`.

        Many are read at the same time: one after the other, they would be read no faster than a busy process writes.
        """
        return self.lines(range(seq, 10**12))

    def settle(self, seq: int, size: int, last: bytes) -> None:  # noqa: ARG002 - an object is whole or absent
        """See `WritableLines`. The latest roll is made again if it is missing."""
        self._roll(seq // LINES_A_ROLL * LINES_A_ROLL)

    def append(self, seq: int, line: bytes) -> None:
        """See `WritableLines`. It renews the lease."""
        clock = self._terms.world.boot
        began = clock()
        try:
            self._store.create(line_name(seq), line)
        except Taken:
            now = clock()
            if not self._overtakes:
                raise
            if now > self._overtakes_until:
                raise Busy from None
            self._overtakes_until = min(self._overtakes_until, now + self._terms.world.lease_s * OVERTAKE_LEASES)
            raise Overtaken from None
        self.lease.renew(began)
        if self._overtakes:
            self._overtakes = False
            self.lease.succeed()
        if seq % LINES_A_ROLL == 0:
            self._roll(seq)

    def close(self) -> None:
        """See `WritableLines`."""
        super().close()
        self._rolls.shutdown(wait=False, cancel_futures=True)

    def _roll(self, last: int) -> None:
        """Join the thousand lines up to `last` in one object, if that is not done yet. Only reading needs it."""
        if last:
            self._rolls.submit(self._write_roll, last)

    def _write_roll(self, last: int) -> None:
        with suppress(OSError, RuntimeError):  # RuntimeError: the log was closed meanwhile
            if self._store.get(roll_name(last)) is None and (roll := self._joined(last)) is not None:
                self._store.objects.create(roll_name(last), roll)

    def _joined(self, last: int) -> bytes | None:
        """The thousand lines up to `last`; None when one is missing or they are too long. Reads no more than needed."""
        roll, count = bytearray(), 0
        for line in self.lines(range(last - LINES_A_ROLL + 1, last + 1)):
            roll += line
            count += 1
            if len(roll) > ROLL_BYTES_MAX:
                return None
        return bytes(roll) if count == LINES_A_ROLL else None
