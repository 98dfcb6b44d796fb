"""A process that is frozen at any step between the intent of a chunk and its request, until its lease has lapsed.

The process is this one, and its clock jumps in the place of a SIGSTOP: so it is frozen between any two steps of its
tasks. While it is without a lease, it must write no request to delete. The oracle are the calls of its sockets.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import pytest

from bulkdel.job import load_job
from bulkdel.library import Run
from bulkdel.safety.run_plan import RunArguments
from bulkdel.settings import Settings
from bulkdel.store.directory import Directory
from bulkdel.store_path import StorePath, store_path
from bulkdel.times import since_boot
from bulkdel.world import World
from bulkdel_jobs.sandbox import DELETE_PATH
from tests.harness import KEYS, POOL, case, user_ids
from tests.mutants import mutant
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

pytestmark = pytest.mark.untraced

LEASE_S = 2.0
FROZEN_S = 0.1
STEPS = 60
"""More than there are between the first intent and its request."""


class Frozen:
    """A clock that jumps at a step of a task. steps: so many after the first intent is in the log.

    written: whether a request to delete was written before the jump. withheld: none was while there was no lease.
    """

    def __init__(self, step: int) -> None:
        self._left = step
        self._ahead_s = 0.0
        self.counts = self.frozen = False
        self.jumped = asyncio.Event()
        self.written, self.withheld = False, True

    def clock(self) -> float:
        return since_boot() + self._ahead_s

    def step(self) -> None:
        """A task takes a step."""
        if not self.counts or self.jumped.is_set():
            return
        self._left -= 1
        if self._left < 0:
            self._ahead_s = 1.5 * LEASE_S
            self.frozen = True
            self.jumped.set()

    def write(self, data: bytes) -> None:
        """A socket is written to."""
        if DELETE_PATH.encode() in data:
            self.written = self.written or not self.jumped.is_set()
            self.withheld = self.withheld and not self.frozen


class Step(Coroutine[Any, Any, Any]):
    """A coroutine that tells each step before it is taken."""

    def __init__(self, inner: Any, told: Callable[[], None]) -> None:
        self._inner = inner
        self._told = told

    def send(self, value: Any) -> Any:
        self._told()
        return self._inner.send(value)

    def throw(self, *error: Any) -> Any:
        return self._inner.throw(*error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise AssertionError("a task takes it step by step")


class Away(Directory):
    """A store that is away while the process is frozen."""

    def __init__(self, folder: Path, frozen: Frozen) -> None:
        super().__init__(folder)
        self._frozen = frozen

    def create(self, name: str, data: bytes) -> bool:
        if self._frozen.frozen:
            raise OSError("it is away")
        created = super().create(name, data)
        if b'"intent"' in data:
            self._frozen.counts = True
        return created


async def frozen_at(step: int, rate: float, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Frozen:
    """Delete five ids in one chunk, and freeze the process at this step. Returns what it has written."""
    ids, frozen = user_ids(5, seed=71), Frozen(step)
    loop = asyncio.get_running_loop()

    def send(self: socket.socket, data: Any, *args: Any, write: Any = socket.socket.send) -> int:
        frozen.write(bytes(data))
        written: int = write(self, data, *args)
        return written

    def sendmsg(self: socket.socket, parts: Any, *args: Any, write: Any = socket.socket.sendmsg) -> int:
        parts = [*parts]  # asyncio passes an iterator
        frozen.write(b"".join(parts))
        written: int = write(self, parts, *args)
        return written

    with case(folder, ids) as it, monkeypatch.context() as patched:
        patched.setattr(socket.socket, "send", send)
        patched.setattr(socket.socket, "sendmsg", sendmsg)
        settings = Settings(host=it.served.url, run=store_path(f"file://{folder}/store"), rate=rate, patience=60.0)
        arguments = RunArguments(load_job("delete-users"), str(it.export), settings, {}, {**os.environ, **KEYS})

        def away(path: StorePath) -> Away:
            return Away(path.directory, frozen)

        async with Run(arguments, world=World(boot=frozen.clock, open_store=away, lease_s=LEASE_S)) as opened:
            await opened.plan()
            await opened.confirm(ids=5, pool=POOL)
            loop.set_task_factory(lambda loop, inner, **more: asyncio.Task(Step(inner, frozen.step), loop=loop, **more))
            opened.start()
            ending = asyncio.create_task(opened.finished())
            jumped = asyncio.create_task(frozen.jumped.wait())
            await asyncio.wait({ending, jumped}, return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_MAX_S)
            if frozen.jumped.is_set():
                await asyncio.sleep(FROZEN_S)
            frozen.frozen = False  # the store is back, and the next commit renews the lease
            async with asyncio.timeout(WAIT_MAX_S):
                ended = await ending
            jumped.cancel()
            loop.set_task_factory(None)
        assert (ended.exit_code, it.effects(ids)) == (0, [1] * 5), ended.why
    return frozen


@mutant(
    "a process without a lease sends",
    "TimedLease.valid",
    swap("self._terms.world.boot() - self._began < self._terms.world.lease_s", "True"),
    case="0.0",
)
@mutant(
    "a process that was frozen writes what it had begun",
    "HttpTransport.__init__",
    swap("self._host = check_host(options.host)", "self._host, may_send = check_host(options.host), lambda: True"),
)
@pytest.mark.parametrize("rate", [0.0, 5.0])
async def test_nothing_is_written_without_a_lease_at_any_step(
    rate: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a rate, the request waits for the limiter on its way."""
    before = 0
    for step in range(STEPS):
        (folder := tmp_path / str(step)).mkdir()
        frozen = await frozen_at(step, rate, folder, monkeypatch)
        assert frozen.withheld, step
        if frozen.written:
            break
        before += 1
    assert STEPS > before > 1, "steps between the intent and the request"
