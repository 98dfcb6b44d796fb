"""Asking a run that is under way, over its control socket. The run is found through its log."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from bulkdel.checkpoint.reader import RUN, header_of, read_log
from bulkdel.checkpoint.takeover import is_locked, writer_of
from bulkdel.command_line import CommandLine
from bulkdel.core.answer_types import check_answer
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.format import did_you_mean
from bulkdel.live.socket_path import folders, id_of_batch, in_folder, is_socket_of, of_batch, of_run
from bulkdel.place.opening import log_place
from bulkdel.store_path import StorePath, in_store

_USAGES = ("status", "pause", "resume", "rate N", "concurrency N", "until 18:00", "stop")
COMMANDS = {usage.split()[0]: usage for usage in _USAGES}
"""What a run can be asked: by its name, as it is written."""

ANSWER_S = 10.0
"""Without an answer for so long, the run cannot be reached."""

AGAIN_S = 0.05
"""Between two attempts to connect, while many others wait."""

ANSWER_MAX = 1 << 20
"""Bytes of an answer."""


def ask(run: Path, command: str, environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Send a command to the run that is under way in this place; returns its answer: `ok`, `text` and `status`.

    Raises NotAcceptable, and UsageError for a word that is no command.
    """
    if why := no_command(command):
        raise UsageError(why)
    place, own = log_place(run), of_run(run)
    run_id = header_of(place).run_id
    if in_store(run):
        return _ask_of_store(run, run_id, command, environ)
    if not is_locked(place):
        state = CommandLine("status", (str(run),))
        raise NotAcceptable(f"{run}: no run is under way here. To see how it ended:\n  {state}")
    if own is not None and (answer := _answer_at(own, place.log, run_id, command, environ)) is not None:
        return answer
    raise NotAcceptable(
        f"{run}: a run is under way, and it does not answer. It does so from the moment it begins to send, on the "
        "machine and in the container where it runs, to its own user and to root"
    )


def no_command(text: str) -> str:
    """Why a text is no command of a run; empty for one."""
    name = next(iter(text.split()), "")
    if name.casefold() in COMMANDS:
        return ""
    return f"{name[:20]!r} is no command.{did_you_mean(name, COMMANDS)} The commands are {', '.join(COMMANDS.values())}"


def live_status(run: Path, environ: Mapping[str, str]) -> Mapping[str, Any] | None:
    """What the run that has the lock of this log does now; None when it cannot be asked."""
    try:
        status: Mapping[str, Any] | None = ask(run, "status", environ)["status"]
    except NotAcceptable:
        return None
    return status


def ask_batch(log: Path, command: str, environ: Mapping[str, str]) -> Mapping[str, Any] | None:
    """Send a command to the batch with this log; None when none is under way."""
    return _answer_at(of_batch(log), log, id_of_batch(log), command, environ) if log.exists() else None


def _answer_at(own: Path, log: Path, id_: str, command: str, environ: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The answer of the process that writes this log. own: the first place of its socket."""
    owner = log.stat().st_uid
    places = (own, *(in_folder(folder, id_) for folder in folders(owner, environ)))
    return _answer(places, {owner, os.geteuid(), 0}, id_, command)


def _ask_of_store(run: StorePath, run_id: str, command: str, environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Ask the run with a log in a store. Its socket is in a folder of its user, on the machine where it runs."""
    own = os.geteuid()
    places = [in_folder(folder, run_id) for folder in folders(own, environ)]
    if (answer := _answer(places, {own, 0}, run_id, command)) is not None:
        return answer
    progress = read_log(log_place(run)).progress
    state = CommandLine("status", (str(run),))
    if progress.under_way is None:
        raise NotAcceptable(f"{run}: no run is under way here. To see how it ended:\n  {state}")
    where = writer_of(progress.under_way, RUN)
    raise NotAcceptable(
        f"{run}: it is controlled on the machine and by the user of {where}, and nothing answers here. Run this "
        f"command there. To see whether it still runs:\n  {state}"
    )


def _answer(places: Iterable[Path], users: set[int], run_id: str, command: str) -> Mapping[str, Any] | None:
    """The answer of this run at the first of these sockets that it has; None when it has none of them."""
    for path in places:
        if not is_socket_of(path, users):
            continue
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # what answers may be another program
            answer: Mapping[str, Any] = orjson.loads(_exchange(path, command))
            check_answer(answer)
            if answer["status"] is None or answer["status"]["run_id"] == run_id:
                return answer
    return None


def _exchange(path: Path, command: str) -> bytes:
    """Ask over the socket; all of the answer has to be there after ANSWER_S. Raises OSError."""
    until = time.monotonic() + ANSWER_S
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWER_S)
        _connect(sock, path, until)
        sock.sendall(orjson.dumps({"command": command}) + b"\n")
        received = bytearray()
        while len(received) < ANSWER_MAX:
            sock.settimeout(_left_s(until))
            if not (part := sock.recv(1 << 16)):
                break
            received += part
    return bytes(received)


def _connect(sock: socket.socket, path: Path, until: float) -> None:
    """Connect. Where as many wait as may, Linux refuses the next one at once, so it is tried again. Raises OSError."""
    while True:
        try:
            return sock.connect(str(path))
        except BlockingIOError:
            _left_s(until)
            time.sleep(AGAIN_S)


def _left_s(until: float) -> float:
    """Seconds until then. Raises TimeoutError when there are none."""
    if (left := until - time.monotonic()) <= 0:
        raise TimeoutError
    return left
