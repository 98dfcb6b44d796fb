"""Another machine on this one: a network namespace, with links to this machine that a test can cut. It needs root.

A server at 127.0.0.1 can be made reachable there, at 127.0.0.1 too, over a link of its own. So a test can cut a process
off from its store, or from its engine, while it still reaches the API. On a link that is cut packets are lost, and
nothing answers them.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.waits import WAIT_MAX_S

READ_BYTES = 1 << 16
CLONE_NEWNET = 0x4000_0000
"""See setns(2)."""
NUMBERS = count(os.getpid() % 60 * 4)
"""Of the links of this process. Another process of the tests begins elsewhere."""


class Link:
    """A link between this machine and the other. here, there: the addresses of its ends."""

    def __init__(self, namespace: str) -> None:
        number = next(NUMBERS) % 256
        self.here, self.there = f"10.231.{number}.1", f"10.231.{number}.2"
        self._name = f"bk{os.getpid()}.{number}"
        other = f"{self._name}o"
        _ip("link", "add", self._name, "type", "veth", "peer", "name", other, "netns", namespace)
        _ip("addr", "add", f"{self.here}/30", "dev", self._name)
        _ip("link", "set", self._name, "up")
        _ip("-n", namespace, "addr", "add", f"{self.there}/30", "dev", other)
        _ip("-n", namespace, "link", "set", other, "up")

    def cut(self) -> None:
        """Lose every packet from now on."""
        _ip("link", "set", self._name, "down")

    def mend(self) -> None:
        """Lose none any more."""
        _ip("link", "set", self._name, "up")


class Machine:
    """The other machine."""

    def __init__(self, name: str) -> None:
        self._name = name

    def link(self) -> Link:
        """A new link to it."""
        return Link(self._name)

    def enter(self) -> None:
        """Put the calling thread on the machine, and the threads that it starts. (`os.setns` is new in Python 3.12.)"""
        with Path("/run/netns", self._name).open("rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    @property
    def prefix(self) -> Sequence[str]:
        """The beginning of a command line that runs the rest on it. It is the same process then."""
        return ("ip", "netns", "exec", self._name)


@contextmanager
def another_machine() -> Iterator[Machine]:
    """Make one. What runs on it has to end before. Skips the test where it is not permitted."""
    if shutil.which("ip") is None:
        pytest.skip("no link was cut, because `ip` is not installed: apt-get install iproute2")
    if os.geteuid() != 0:
        pytest.skip("no link was cut: only root may make a network namespace")
    name = f"bulkdel{os.getpid()}.{next(NUMBERS)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no link was cut: a network namespace is not permitted here ({made.stderr.strip()})")
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        yield Machine(name)
    finally:
        _ip("netns", "del", name)  # and the links with it


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=WAIT_MAX_S)


class Relayed:
    """A server of this machine, on the other one by the same URL.

    heard: when bytes came from there, seconds of the monotonic clock.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.heard: list[float] = []


@contextmanager
def relayed(machine: Machine, url: str) -> Iterator[Relayed]:
    """Make the server at `url`, on 127.0.0.1 of this machine, reachable on the other one by the same URL."""
    link, port = machine.link(), urlsplit(url).port
    assert port is not None, "the servers of the tests have a port"
    found, here, there = Relayed(link), (link.here, port), ("127.0.0.1", port)
    with (
        ThreadPoolExecutor(1, initializer=machine.enter) as on_machine,
        ThreadPoolExecutor(1) as on_this,
        _Relay(here, there, found.heard) as second,
        on_machine.submit(_Relay, there, here, []).result() as first,
    ):
        serving = [pool.submit(server.serve_forever, 0.05) for pool, server in ((on_machine, first), (on_this, second))]
        try:
            yield found
        finally:
            for server in (first, second):
                server.shutdown()
        for each in serving:
            each.result()


class _Relay(socketserver.ThreadingTCPServer):
    """Passes what comes to an address on to another one, and back. heard: gets the times of what comes.

    The threads of its connections are on the machine of the thread that serves.
    """

    daemon_threads, block_on_close, request_queue_size = True, False, 128

    def __init__(self, at: tuple[str, int], to: tuple[str, int], heard: list[float]) -> None:
        self.to = to
        self.heard = heard
        super().__init__(at, _Connection)

    def handle_error(self, *_: object) -> None:
        """One end was killed."""


class _Connection(socketserver.BaseRequestHandler):
    server: _Relay

    def handle(self) -> None:
        with socket.create_connection(self.server.to) as far:
            back = threading.Thread(target=_pass_on, args=(far, self.request, []), daemon=True)
            back.start()
            _pass_on(self.request, far, self.server.heard)
            back.join()


def _pass_on(source: socket.socket, to: socket.socket, heard: list[float]) -> None:
    with suppress(OSError):
        while data := source.recv(READ_BYTES):
            heard.append(time.monotonic())
            to.sendall(data)
    with suppress(OSError):
        to.shutdown(socket.SHUT_WR)
