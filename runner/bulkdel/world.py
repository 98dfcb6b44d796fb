"""What the program cannot compute: clocks, chance, its disk, its network, its threads. A simulation passes its own."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bulkdel.durable import DISK, Disk
from bulkdel.threads import InThread, in_thread
from bulkdel.times import since_boot

if TYPE_CHECKING:
    from bulkdel.http.transport import Transport
    from bulkdel.store.objects import Objects
    from bulkdel.store_path import StorePath


def _threads(count: int, name: str) -> Executor:
    return ThreadPoolExecutor(count, thread_name_prefix=name)


@dataclass(frozen=True, slots=True)
class World:
    """The surroundings of a run.

    wall: the time, epoch seconds; it may be set while the run is under way. steady: seconds that only grow.
    boot: seconds that only grow, also while the machine sleeps. sleep: waits so many seconds, and blocks.
    chance: a number in [0, 1). random_bytes: so many bytes, which no other process draws. pid: of this process.
    disk: the calls that change a log and make it durable.
    open_transport, open_store: open the way to a server, and the store at a URL; None for those of the network.
    in_thread: runs a blocking step. threads: makes so many threads of this name.
    lease_s: how long a commit to a store renews the lease, from the beginning of the commit. Tests pass a shorter one.
    """

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    boot: Callable[[], float] = since_boot
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    random_bytes: Callable[[int], bytes] = os.urandom
    pid: Callable[[], int] = os.getpid
    disk: Disk = DISK
    open_transport: Callable[..., AbstractAsyncContextManager[Transport]] | None = None
    open_store: Callable[[StorePath], Objects] | None = None
    in_thread: InThread = in_thread
    threads: Callable[[int, str], Executor] = _threads
    lease_s: float = 10.0


WORLD = World()
"""This machine."""
