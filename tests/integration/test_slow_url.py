"""The URL of --slow-while: which answers count as fast, and that none of them is waited for long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import pytest

from bulkdel.engine.signals import SteadyLoop
from bulkdel.live.sources import BODY_MAX, asking
from tests.rawserver import Peer, RawServer, Script, always, answer
from tests.waits import WAIT_MAX_S


async def silent(peer: Peer) -> None:
    await peer.request()
    await asyncio.sleep(60)


async def early_head(peer: Peer) -> None:
    """The head of an answer 200 at once, and of its body a byte now and then."""
    await peer.request()
    await peer.send(answer(b"", length=1_000))
    while True:
        await peer.send(b"x")
        await asyncio.sleep(0.2)


async def endless(peer: Peer) -> None:
    await peer.request()
    await peer.send(answer(b"", length=1 << 40))
    while True:
        await peer.send(b"x" * BODY_MAX)


@pytest.mark.parametrize(
    ("script", "fast"),
    [
        (always(answer(b"fine")), True),
        (always(answer(b"fine", headers={"content-encoding": "gzip"})), True),
        (endless, True),
        (always(answer(b"", 204)), False),
        (always(answer(b"", 302, {"location": "/"})), False),
        (always(answer(b"cut", length=10)[:-1]), False),
        (silent, False),
        (early_head, False),
    ],
)
async def test_fast_is_a_whole_answer_200_within_a_second(script: Script, fast: bool) -> None:
    async with RawServer(script).running() as server, asking(server.url, None) as is_fast:
        began = time.monotonic()
        assert await is_fast() is fast
        took_s = time.monotonic() - began
        assert took_s < WAIT_MAX_S / 5


def test_a_silent_name_server_leaves_no_thread_that_the_end_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up of a name cannot be cancelled. A thread of asyncio's own would keep the program from ending."""
    answers = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        threads.append(threading.current_thread())
        answers.wait(30)
        return []

    async def ask() -> bool:
        async with asking("http://sign-in.example.com/health", None) as is_fast:
            return await is_fast()

    threads: list[threading.Thread] = []
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        with asyncio.Runner(loop_factory=SteadyLoop) as runner:
            assert runner.run(ask()) is False
        assert [thread.daemon for thread in threads] == [True]
    finally:
        answers.set()
        for thread in threads:
            with contextlib.suppress(RuntimeError):
                thread.join()
