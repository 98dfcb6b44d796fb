"""The cluster as the process of a run sees it: whether it may be joined, its head, and its nodes.

This module does not import Ray, so it is tested without.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.threads import in_thread

ADDRESS = "RAY_ADDRESS"
AUTH_MODE = "RAY_AUTH_MODE"
TOKEN = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")

HOW_TO_START = f"Start one (docs/engines.md), or set {ADDRESS}, {AUTH_MODE}=token and the token"

TOKENS = "https://docs.ray.io/en/latest/ray-security/token-auth.html"

REACH_S = 10.0
"""Seconds that the connection to the cluster may take."""

HEAD_SILENT_S = 15.0
"""A head that does not answer for so long has failed. The run ends then, before Ray ends its process (`RECONNECT`)."""

LOOK_S = 1.0
"""Seconds between two questions to the head."""

PROBE_S = 60.0
"""Time limit of the request without a token."""

AVOIDED_S = 120.0
"""A node that did not answer gets nothing for so long, if there is another one. Ray notices a lost node late."""


async def silence_of_head(answers: Callable[[], Awaitable[bool]]) -> str:
    """Wait until the head of the cluster has not answered for HEAD_SILENT_S, and say so.

    answers: asks the head, and returns within LOOK_S whether it has answered.
    """
    clock = asyncio.get_running_loop().time
    answered = clock()
    while clock() < answered + HEAD_SILENT_S:
        await asyncio.sleep(LOOK_S)
        if await answers():
            answered = clock()
    return f"the head of the Ray cluster has not answered for {HEAD_SILENT_S:.0f} s"


async def head_answers(address: str) -> bool:
    """Whether the head of the cluster, at HOST:PORT, takes a connection within LOOK_S."""
    with suppress(OSError):  # a time-out is one
        await asyncio.wait_for(in_thread(partial(_reach, address, LOOK_S), lambda: None, stop_s=0), LOOK_S)
        return True
    return False


class Nodes:
    """The nodes that processes are placed on, in turn. refusal: why the latest node that has refused is not used."""

    def __init__(self) -> None:
        self.refusal: NotAcceptable | None = None
        self._refused: set[str] = set()
        self._avoided: dict[str, float] = {}
        self._placed = Counter[str]()

    def next(self, table: Iterable[Mapping[str, Any]]) -> str | None:
        """The node with the fewest processes of this run, which it counts there from now on.

        None when every node is dead or has refused. table: the result of `ray.nodes()`.
        """
        alive = [node for node in table if node["Alive"]]
        # A head that has no processor for work, as KubeRay starts it, is left alone.
        alive = [node for node in alive if node["Resources"].get("CPU", 0)] or alive
        names = [str(node["NodeID"]) for node in alive if node["NodeID"] not in self._refused]
        names = [name for name in names if self._avoided.get(name, 0.0) <= time.monotonic()] or names
        if not names:
            return None
        found = min(names, key=self._placed.__getitem__)
        self._placed[found] += 1
        return found

    def refuse(self, node: str, refusal: NotAcceptable) -> None:
        """Place nothing on this node any more: it is not as it has to be."""
        self._refused.add(node)
        self.refusal = refusal

    def ended(self, node: str, lost: bool) -> None:  # noqa: FBT001 - it is called with both in their order
        """A process on this node has ended. lost: because the node did not answer."""
        self._placed[node] -= 1
        if lost:
            self._avoided[node] = time.monotonic() + AVOIDED_S


def check_reached(address: str) -> None:
    """Refuse an address without a cluster: Ray would try for minutes. Raises UsageError."""
    if address.startswith("ray://"):
        raise UsageError(
            f"{ADDRESS} is that of a Ray client. Run this on a node of the cluster, or as the entrypoint of "
            "`ray job submit`"
        )
    if address.rpartition(":")[2].isdecimal():
        try:
            _reach(address, REACH_S)
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"cannot join a Ray cluster: {address}: {reason}. {HOW_TO_START}") from None


def _reach(address: str, seconds: float) -> None:
    """Connect to HOST:PORT, once. Raises OSError when no connection is taken in this time."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), seconds).close()


def check_token_asked(address: str) -> None:
    """Ask the cluster for its state with the token and without. Raises UsageError unless only the first is answered."""
    command = [sys.executable, "-P", "-m", "ray.scripts.scripts", "status", "--address", address]
    without = {name: value for name, value in os.environ.items() if name not in {AUTH_MODE, *TOKEN}}
    if _is_answered(command, {**without, AUTH_MODE: "disabled"}):
        raise UsageError(
            "this Ray cluster takes requests without a token, so anything that reaches it can run code where the "
            f"credentials are. Start every node with {AUTH_MODE}=token ({TOKENS})"
        )
    if not _is_answered(command, os.environ):  # the refusal without a token may have had another cause
        raise UsageError(
            "the Ray cluster does not answer `ray status` with the token either, so it is not known whether it "
            f"asks for one. See what it says, then run the same command again:\n  ray status --address {address}"
        )


def _is_answered(command: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether the cluster gives its state. Raises UsageError when it does not answer in time."""
    try:
        asked = subprocess.run(  # noqa: S603 - its own program
            command, env=environ, capture_output=True, timeout=PROBE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"the Ray cluster does not answer `ray status` within {PROBE_S:.0f} s, so it is not known whether it "
            "asks for a token. Run the same command again when it does"
        ) from None
    return asked.returncode == 0


def first_line(error: BaseException) -> str:
    """The first line of the text of an error, without its full stop."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
