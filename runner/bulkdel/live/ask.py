"""Asking a run that is under way, over its control socket. The run is found through its log."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from bulkdel.checkpoint.lock import is_locked
from bulkdel.checkpoint.reader import header_of
from bulkdel.command_line import CommandLine
from bulkdel.errors import NotAcceptable
from bulkdel.live.socket_path import beside, folders, in_folder, is_socket_of

ANSWER_S = 10.0
"""Without an answer for so long, the run cannot be reached."""

AGAIN_S = 0.05
"""Between two attempts to connect, while many others wait."""

ANSWER_MAX = 1 << 20
"""Bytes of an answer."""


def ask(log: Path, command: str, environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Send a command to the run that has the lock of this log; returns its answer: `ok`, `text` and `status`.

    Raises NotAcceptable.
    """
    run_id = header_of(log).run_id
    if not is_locked(log):
        state = CommandLine("status", (str(log),))
        raise NotAcceptable(f"{log}: no run is under way in this log. To see how it ended:\n  {state}")
    owner = log.stat().st_uid
    for path in (beside(log), *(in_folder(folder, run_id) for folder in folders(owner, environ))):
        if not is_socket_of(path, {owner, os.geteuid(), 0}):
            continue
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # what answers may be another program
            answer: Mapping[str, Any] = orjson.loads(_exchange(path, command))
            status = answer["status"]
            if answer["ok"] in {True, False} and (status is None or status["run_id"] == run_id):
                return answer
    raise NotAcceptable(
        f"{log}: a run is under way, and it does not answer. It does so from the moment it begins to send, on the "
        "machine and in the container where it runs, to its own user and to root"
    )


def _exchange(path: Path, command: str) -> bytes:
    """Ask over the socket. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWER_S)
        _connect(sock, path)
        sock.sendall(orjson.dumps({"command": command}) + b"\n")
        received = bytearray()
        while len(received) < ANSWER_MAX and (part := sock.recv(1 << 16)):
            received += part
    return bytes(received)


def _connect(sock: socket.socket, path: Path) -> None:
    """Connect. Where as many wait as may, Linux refuses the next one at once, so it is tried again. Raises OSError."""
    until = time.monotonic() + ANSWER_S
    while True:
        try:
            return sock.connect(str(path))
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(AGAIN_S)
