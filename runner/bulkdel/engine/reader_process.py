"""Reading ahead in a process of its own. Owns that process, and the way of the work out of it.

Parsing, sifting, cutting and making requests cost as much as sending them, and in one process the two take turns. This
one is forked, so that all it needs is in its memory already. It sends nothing and writes nothing but its pipe; it is
gone when its reader is. Whom a chunk names is checked again where it is sent, like all work; its request was made of
the same ids.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import signal
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO, NoReturn

import orjson

from bulkdel import errors
from bulkdel.core.account_match import Instant
from bulkdel.core.chunker import ChunkTask
from bulkdel.core.decision import Request
from bulkdel.core.log_entries import Skipped
from bulkdel.core.record import Chunk
from bulkdel.durable import write_all
from bulkdel.engine.shutdown import STOPPING
from bulkdel.errors import BulkdelError, Halted, trace_of

RATE_MIN = 500.0
"""Requests a second from which on it is worth a process: below, there is time enough between two requests."""

IDS_MIN = 10_000
"""Ids from which on it is: below, they are sent before it pays."""

PIPE_BYTES = 1 << 20
"""A few frames: the reading goes on while nobody takes any."""

FRAME_ITEMS = 16
"""Chunks that travel together: one by one, taking them apart costs twice as much."""

LENGTH = struct.Struct("<I")
END = marshal.dumps(None)


def worthwhile(rate: float, ids: int) -> bool:
    """Whether to read ahead. rate: requests a second, 0 for no limit.

    On Linux alone: macOS does not bear a fork after its network libraries were used. Never beside another thread (the
    sandbox has one), whose locks would stay locked in the copy.
    """
    if not sys.platform.startswith("linux") or threading.active_count() > 1:
        return False
    return ids >= IDS_MIN and not 0 < rate < RATE_MIN and len(os.sched_getaffinity(0)) > 1


class Ahead:
    """Iterates what another process reads, once. Make it before there is an event loop.

    items: what to hand out; nothing of it has been taken yet. let_go: closes, in the other process, what only this one
    may hold: while a copy of the log's descriptor is open anywhere, its lock is held.

    Raises OSError where there is no other process to be had.
    """

    def __init__(self, items: Iterator[ChunkTask | Skipped], let_go: Callable[[], None]) -> None:
        read, write = os.pipe()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as some supervisors have it, pids may change owners
        with warnings.catch_warnings():
            # The threads that Python warns of are the loop's own for host names: none of them holds anything of ours.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                self._pid = os.fork()
            except OSError:
                os.close(read)
                os.close(write)
                raise
        if self._pid == 0:
            os.close(read)  # else it would be its own reader, and stay when the other one has gone
            _read_on(items, write, let_go)
        os.close(write)
        self._over = False
        self._pipe: BinaryIO = os.fdopen(read, "rb", buffering=PIPE_BYTES)

    def __iter__(self) -> Iterator[ChunkTask | Skipped]:
        """Yield the items. Raises what went wrong with the reading, as if it had been done here."""
        while True:
            length = self._pipe.read(LENGTH.size)
            size = LENGTH.unpack(length)[0] if len(length) == LENGTH.size else -1
            frame = self._pipe.read(max(size, 0))
            if frame == END:
                return
            if len(frame) != size:
                raise Halted(
                    "the process that reads the export has ended, killed by somebody or for want of memory; nothing "
                    "that was not read was sent. Start the same command again"
                )
            yield from map(_unpacked, marshal.loads(frame))  # noqa: S302 - from our own process, by our own pipe

    def kill(self) -> None:
        """End the other process, which holds nothing that this could harm. Whoever waits for it wakes up."""
        if not self._over:
            os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and let go of all that belongs to it."""
        self.kill()
        self._over = True
        os.waitpid(self._pid, 0)
        self._pipe.close()


def _read_on(items: Iterator[ChunkTask | Skipped], write: int, let_go: Callable[[], None]) -> NoReturn:
    """Be the other process. It ends without a word or any clean-up: what is open here, the first one closes."""
    try:
        # A terminal sends signals to both processes; the first one stops, or tells the progress.
        for signum in (*STOPPING, signal.SIGUSR1):
            signal.signal(signum, signal.SIG_IGN)
        let_go()
        empty = os.open(os.devnull, os.O_RDWR)
        for number in range(3):  # whoever waits for the end of our output must not wait for this process
            os.dup2(empty, number)
        with suppress(OSError):  # the system may allow less
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        for frame in _frames(items):
            write_all(write, LENGTH.pack(len(frame)) + frame)
    finally:
        os._exit(0)


def _frames(items: Iterator[ChunkTask | Skipped]) -> Iterator[bytes]:
    some: list[Any] = []
    try:
        for item in items:
            some.append(_plain(item))
            if len(some) == FRAME_ITEMS:
                yield marshal.dumps(some)
                some.clear()
        yield marshal.dumps(some)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side raises it
        known = isinstance(error, BulkdelError)
        yield marshal.dumps([{"error": type(error).__name__, "text": str(error) if known else trace_of(error)}])
    yield END


def _plain(item: ChunkTask | Skipped) -> Any:
    """What marshal knows. The ids as one text: the other side will hardly ever look at them."""
    if isinstance(item, Skipped):
        return item.reason, item.ranges
    call = None if item.call is None else tuple(item.call)
    since = None if item.in_doubt_since is None else tuple(item.in_doubt_since)
    return orjson.dumps(item.chunk.ids), item.chunk.ranges, since, item.protected, call


def _unpacked(plain: Any) -> ChunkTask | Skipped:
    if isinstance(plain, dict):
        _raise(plain)
    if len(plain) == 2:  # noqa: PLR2004 - see `_plain`
        return Skipped(*plain)
    ids, ranges, since, protected, call = plain
    moment = None if since is None else Instant(*since)
    return ChunkTask(Chunk.of(ids, ranges), moment, protected, None if call is None else Request(*call))


def _raise(plain: dict[str, str]) -> NoReturn:
    kind = getattr(errors, plain["error"], None)
    if isinstance(kind, type) and issubclass(kind, BulkdelError):
        raise kind(plain["text"])
    raise RuntimeError(f"while reading the export: {plain['error']}\n{plain['text']}")
