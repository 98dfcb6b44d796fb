"""The connections of the live page and of the control socket: how many are taken, and how fast.

Both share their event loop with the run, so every cost is bounded here, before a byte of a request is parsed: how
many connections are taken a second, how many are open, how long a request and its answer may take. A connection carries
one request.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from bulkdel.core.listen_address import ListenAddress
from bulkdel.errors import UsageError
from bulkdel.live.socket_path import is_socket_of

TAKEN_PER_S = 50.0
"""Connections that are taken a second. A browser needs six for the page, Prometheus one a scrape."""

TAKEN_AT_ONCE = 20
"""Connections that are taken without a wait after a quiet time."""

WAITING_MAX = 64
"""Connections that wait in the kernel to be taken."""

REQUEST_S = 5.0
"""Until a whole request has to be there."""

ANSWER_S = 10.0
"""Until its answer has to be taken. A stream of events has a limit for each write instead."""

SEND_BUFFER = 64 * 1024
"""Bytes that the kernel keeps for a reader that is slow."""

TRY_AGAIN_S = 0.5
"""After a connection could not be taken: no descriptor is free."""

MODE = 0o600
"""Of a Unix socket."""


@dataclass(frozen=True, slots=True)
class Listener:
    """An open socket that listens. address: with the port that was taken."""

    socket: socket.socket
    address: ListenAddress

    def close(self) -> None:
        """Stop listening, and remove the Unix socket."""
        path = Path(self.address.path)
        with contextlib.suppress(OSError):
            if self.address.path and stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()
        self.socket.close()


def listen(address: ListenAddress) -> Listener:
    """Listen. Raises UsageError when the address is in use or not of this machine."""
    try:
        if address.path:
            return _listen_at_path(address)
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listening = socket.create_server((address.host, address.port), family=family, backlog=WAITING_MAX)
        _set_up(listening)
        return Listener(listening, replace(address, port=listening.getsockname()[1]))
    except OSError as error:
        at = f"unix:{address.path}" if address.path else address.authority
        why = (os.strerror(error.errno) if error.errno else str(error)).lower()
        raise UsageError(f"--listen {at}: {why}. Give another address, or leave it out") from error


def _listen_at_path(address: ListenAddress) -> Listener:
    path = Path(address.path)
    try:
        remove_left_over(path)
    except OSError as error:
        raise UsageError(f"--listen unix:{path}: {error.strerror or error}. Give another path") from error
    return Listener(listen_at(path), address)


def listen_at(path: Path) -> socket.socket:
    """Listen on a new Unix socket that only this user may connect to. Raises OSError."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _bind(listening, path)
        listening.listen(WAITING_MAX)
        _set_up(listening)
    except OSError:
        listening.close()
        raise
    return listening


def _bind(listening: socket.socket, path: Path) -> None:
    """Give a socket its path. It has MODE from the start: another person may soon have put a link to a file there."""
    if sys.platform == "darwin":  # pragma: no cover — there is no fchmod of a socket there
        umask = os.umask(0o777 & ~MODE)
        try:
            listening.bind(str(path))
        finally:
            os.umask(umask)
    else:
        os.fchmod(listening.fileno(), MODE)
        listening.bind(str(path))


def remove_left_over(path: Path) -> None:
    """Remove the socket of a run that was killed, if one is there. Raises OSError for anything else.

    path: not followed. A socket at which a program listens is never removed.
    """
    if not os.path.lexists(path):
        return
    if not is_socket_of(path, {os.geteuid()}):
        raise OSError("there is a file, and it is no socket of yours")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(0)  # where many wait to be taken, it is not left over either
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError("another program listens there")


def _set_up(listening: socket.socket) -> None:
    """Never block, and keep little for a slow reader: a connection has these options of its listener."""
    listening.settimeout(0)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


def _answer_busy(taken: socket.socket, answer: bytes) -> None:
    """Answer and close, without a wait. What has arrived is read: else the close would take the answer back."""
    with taken, contextlib.suppress(OSError):
        taken.send(answer)
        taken.shutdown(socket.SHUT_WR)
        taken.recv(SEND_BUFFER)


@dataclass(slots=True)
class _Open:
    """One open connection. deadline: ends it. asked: whether its request is there."""

    socket: socket.socket
    deadline: asyncio.TimerHandle | None = None
    asked: bool = False


class Connections:
    """Takes the connections of a listening socket, each for one request.

    most: how many are open at once. `settings` counts their descriptors. busy: the answer to the next one.
    give_way: before that, the oldest one ends of which the request is not there yet. So a probe is answered while
    others open connections and ask nothing. It takes `asked` for each request.
    """

    def __init__(self, listening: socket.socket, *, most: int, busy: bytes, give_way: bool = False) -> None:
        self._listening = listening
        self._most = most
        self._busy = busy
        self._give_way = give_way
        self._open: dict[asyncio.Transport, _Open] = {}

    async def take(self, make: Callable[[], asyncio.BaseProtocol]) -> None:
        """Take connections until cancelled. make: makes the protocol of one."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + 1 / TAKEN_PER_S, loop.time() - TAKEN_AT_ONCE / TAKEN_PER_S)
            await asyncio.sleep(due - loop.time())
            try:
                taken, _ = await loop.sock_accept(self._listening)
            except OSError:
                await asyncio.sleep(TRY_AGAIN_S)
                continue
            # The transport closes the socket once the last byte has left, or when it is aborted.
            self._open = {transport: each for transport, each in self._open.items() if each.socket.fileno() != -1}
            if len(self._open) >= self._most and not self._has_ended_one():
                _answer_busy(taken, self._busy)
                continue
            transport, _ = await loop.connect_accepted_socket(make, taken)
            self._open[transport] = _Open(taken)
            self.limit(transport, REQUEST_S)

    def _has_ended_one(self) -> bool:
        silent = (transport for transport, each in self._open.items() if not each.asked) if self._give_way else iter(())
        oldest = next(silent, None)
        if oldest is None:
            return False
        self.limit(oldest, None)
        oldest.abort()
        del self._open[oldest]
        return True

    def asked(self, transport: asyncio.BaseTransport | None, answer_s: float) -> None:
        """The request of a connection is there. answer_s: until its answer has to be taken."""
        if (found := self._open.get(cast("asyncio.Transport", transport))) is not None:
            found.asked = True
        self.limit(transport, answer_s)

    def limit(self, transport: asyncio.BaseTransport | None, seconds: float | None) -> None:
        """End a connection after so many seconds from now, instead of the earlier limit. None: no limit."""
        transport = cast("asyncio.Transport", transport)
        if (found := self._open.get(transport)) is None:  # it is gone already
            return
        if found.deadline is not None:
            found.deadline.cancel()
        loop = asyncio.get_running_loop()
        found.deadline = None if seconds is None else loop.call_later(seconds, transport.abort)

    def close(self) -> None:
        """End every connection."""
        for transport, each in self._open.items():
            if each.deadline is not None:
                each.deadline.cancel()
            transport.abort()
