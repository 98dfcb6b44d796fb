"""The control socket of a run: `bulkdel ctl` connects to it. One line of JSON is asked, one is answered.

It has mode 0600, and serves only the user of the run and root. Costs are bounded by `Connections`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import orjson

from bulkdel.core.log_entries import ChangedBy
from bulkdel.core.pace import By
from bulkdel.live.connections import Connections, listen_at, remove_left_over
from bulkdel.live.socket_path import fits, folders, in_folder, is_own_folder
from bulkdel.live.steering import Answer
from bulkdel.output import say

LINE_MAX = 4_096
"""Bytes of a request."""

OPEN_MAX = 8
"""Connections that are open at once."""

BUSY = b'{"ok":false,"text":"too many connections at once. Try again in a moment","status":null}\n'

PEER = struct.Struct("iII")
"""The values of Linux about the other end: pid, uid, gid."""


class Steered(Protocol):
    """The receiver of the commands: a run, or a batch."""

    async def apply(self, command: str, by: By) -> Answer:
        """Obey a command, or say why not."""
        ...


@contextlib.asynccontextmanager
async def serving_socket(
    own: Path | None, run_id: str, steering: Steered, look: Callable[[], Mapping[str, Any]], environ: Mapping[str, str]
) -> AsyncIterator[None]:
    """Serve the control socket until the block ends. When none can be made, the run goes on, and a note says so.

    own: the first place for it; None where only a folder of the user will do. look: the status of the run.
    """
    listening = _open(own, run_id, environ)
    if listening is None:
        yield
        return
    path, sock = listening
    connections = Connections(sock, most=OPEN_MAX, busy=BUSY)
    taking = asyncio.create_task(connections.take(lambda: _Conversation(steering, look)))
    inode = None
    with contextlib.suppress(OSError):  # another program may have removed it at once
        inode = path.lstat().st_ino
    try:
        yield
    finally:
        taking.cancel()
        connections.close()
        sock.close()
        with contextlib.suppress(OSError):
            if path.lstat().st_ino == inode:
                path.unlink()


def _open(own: Path | None, run_id: str, environ: Mapping[str, str]) -> tuple[Path, socket.socket] | None:
    """Listen at the first place that works. Says why there is none."""
    uid, why = os.geteuid(), ""
    of_user = {in_folder(folder, run_id): folder for folder in folders(uid, environ)}
    places = of_user if own is None else (own, *of_user)
    for path in filter(fits, places):
        try:
            if path in of_user:
                _make_folder(of_user[path], uid)
            remove_left_over(path)
            return path, listen_at(path)
        except OSError as error:
            why = f"{path}: {error.strerror or error}"
    say(f"Note: `bulkdel ctl` cannot reach this run. {why}")
    return None


def _make_folder(folder: Path, uid: int) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if not is_own_folder(folder, uid):
        raise OSError(f"{folder} is not a folder of yours alone (mode 0700)")


class _Conversation(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, steering: Steered, look: Callable[[], Mapping[str, Any]]) -> None:
        self._steering = steering
        self._look = look
        self._line = b""
        self._transport: asyncio.Transport | None = None
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where the answer goes."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect the line; answer once it is whole, or too long."""
        if self._answering is None:
            self._line += data
            if b"\n" in self._line or len(self._line) > LINE_MAX:
                self._answering = asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self) -> None:
        transport = self._transport
        assert transport is not None, "a line came over it"
        user = _user(transport.get_extra_info("socket"))
        if user is None:
            answer = Answer(ok=False, text="another user's run is not controlled over its socket")
        elif (command := _command(self._line)) is None:
            answer = Answer(ok=False, text='not a request: one line of JSON, {"command": "status"}')
        else:
            answer = await self._steering.apply(command, By(ChangedBy.CTL, user))
        status = self._look() if user is not None else None
        if not transport.is_closing():
            transport.write(orjson.dumps({"ok": answer.ok, "text": answer.text, "status": status}) + b"\n")
            transport.close()


def _command(line: bytes) -> str | None:
    """The command of a request; None when it is no request."""
    try:
        asked = orjson.loads(line) if len(line) <= LINE_MAX else None
    except orjson.JSONDecodeError:
        return None
    command = asked.get("command") if isinstance(asked, dict) else None
    return command if isinstance(command, str) else None


def _user(sock: Any) -> str | None:
    """Name of the user at the other end; None for any user but the user of this process and root.

    Where the system does not tell, the mode of the socket has kept all others out.
    """
    uid, own = os.geteuid(), os.geteuid()
    if hasattr(socket, "SO_PEERCRED"):
        try:
            _, uid, _ = PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
        except OSError:  # it has left
            return None
    if uid not in {0, own}:
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
