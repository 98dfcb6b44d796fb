"""The clock, the sleep, the threads and the network of a store. A simulation passes its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from bulkdel.store.objects import Objects, open_objects
from bulkdel.store_path import StorePath
from bulkdel.times import since_boot


def some_threads(count: int) -> Executor:
    """So many threads."""
    return ThreadPoolExecutor(count, thread_name_prefix="store")


@dataclass(frozen=True, slots=True)
class Means:
    """What a store is used with.

    clock: seconds that also count while the machine sleeps. sleep: waits so many seconds. threads: makes so many.
    open: opens the store at a URL.
    """

    clock: Callable[[], float] = since_boot
    sleep: Callable[[float], None] = time.sleep
    threads: Callable[[int], Executor] = some_threads
    open: Callable[[StorePath], Objects] = open_objects


MEANS = Means()
