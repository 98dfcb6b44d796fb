"""The keeper of a rate: divides it among processes that send at the same time, and listens for them on a Unix socket.

Owns the socket and the keeper's side of the protocol; `core.rate_shares` decides. The other side, with the protocol, is
`http.shared_rate`. How to use it:

    async with keeping_rate({"pool 1": 50.0, "pool 2": 20.0}, over_all=60.0) as keeper:
        env = {**os.environ, ADDRESS: keeper.address("pool 1").text}
        child = await asyncio.create_subprocess_exec(*command, env=env)
"""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from bulkdel.core.adaptive_rate import Slowed
from bulkdel.core.rate_shares import LASTS_S, Ask, RateShares, Share
from bulkdel.fleet.placing import LINE_MAX
from bulkdel.http.shared_rate import KeeperAddress
from bulkdel.live.connections import remove_left_over
from bulkdel.tasks import begin_accepted, beside
from bulkdel.times import since_boot

FOLDER, SOCKET = "bulkdel-", "rate"
"""The beginning of the name of a keeper's temporary folder, and the name of the socket in it."""

LEFT_S = 60.0
"""A killed keeper has left its folder if it is so old and no process listens in it."""

LOOK_S = 0.1
"""The rates are divided again at least this often: a share may have expired, or a rate climbed."""

TOGETHER_S = 0.02
"""The least time between two divisions. Requests for a share that come meanwhile are answered together, because a
division looks at every process, and every process asks once a second or more often."""


class RateKeeper:
    """Divides the rates of groups, and one over all of them. Made by `keeping_rate`.

    dividing: the task that does it.
    """

    dividing: asyncio.Task[None]

    def __init__(self, shares: RateShares, path: Path, clock: Callable[[], float]) -> None:
        self._shares = shares
        self._path = path
        self._clock = clock
        self._serving: dict[str, tuple[asyncio.StreamWriter, asyncio.Task[None]]] = {}
        self._numbers = count(1)
        self._news = asyncio.Event()  # something was said since the last division

    def address(self, group: str) -> KeeperAddress:
        """The address that a process of this group needs."""
        return KeeperAddress(str(self._path), group)

    def set_rate(self, group: str, rate: float) -> None:
        """Divide so many requests a second in this group from now on; 0 is unlimited. Begins a group that is new."""
        self._shares.set_rate(group, rate, self._clock())
        self._news.set()

    def slow(self, group: str) -> float:
        """Halve the rate of a group, down to its floor. Returns it, requests a second."""
        self._shares.slow(group, self._clock())
        self._news.set()
        return self.rate(group)

    def rate(self, group: str) -> float:
        """Requests a second of this group now; 0 is unlimited."""
        return self._shares.rate(group, self._clock())

    def slowed(self, group: str) -> Slowed | None:
        """Why the rate of a group is below the configured one; None when it is not."""
        return self._shares.slowed(group, self._clock())

    def pause_s(self, group: str) -> float:
        """Seconds until the pause of a group after a 429 ends; 0 without a pause."""
        return self._shares.pause_s(group, self._clock())

    async def divide(self) -> None:
        """Divide again and again, and send the shares that are due, until cancelled."""
        while True:
            self._news.clear()
            for share in self._shares.due(self._clock()):
                if (serving := self._serving.get(share.worker)) is not None:
                    serving[0].write(_line(share))
            await asyncio.sleep(TOGETHER_S)
            with suppress(TimeoutError):  # Python 3.11's wait_for would lose a cancellation that comes with the news
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()

    async def watch_failure(self) -> None:
        """Wait until an error in the program ends the divisions, and raise it."""
        await asyncio.shield(self.dividing)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one process. It has its share until it gives it back or the share expires, also when disconnected."""
        name = f"process {next(self._numbers)}"
        task = asyncio.current_task()
        assert task is not None, "each connection has one"
        self._serving[name] = writer, task
        try:
            group = orjson.loads(await reader.readline())["group"]
            while line := await reader.readline():
                said = orjson.loads(line)
                if said.pop("end", False):
                    self._shares.give_back(name)
                    break
                self._shares.ask(name, group, _ask(said), self._clock())
                self._news.set()
        except (OSError, ValueError, KeyError, TypeError):  # the process was killed, or it is no worker
            pass
        finally:
            del self._serving[name]
            writer.close()
            self._news.set()

    async def aclose(self) -> None:
        """Close every connection. The processes go on until their shares expire."""
        serving = [*self._serving.values()]
        for writer, _ in serving:
            writer.close()
        # A task of a connection that is cancelled at the end of the event loop would be reported as failed.
        await asyncio.gather(*(task for _, task in serving), return_exceptions=True)


def remove_folders_of_killed(within: Path, now: float) -> None:
    """Remove the folders of killed keepers. A folder with other files stays.

    A new folder may belong to a keeper that does not listen yet, so only older ones are looked at.
    """
    for folder in within.glob(f"{FOLDER}????????"):
        with suppress(OSError):
            found = folder.lstat()
            left = found.st_uid == os.geteuid() and found.st_mtime < now - LEFT_S
            if left and (folder / SOCKET).exists():
                remove_left_over(folder / SOCKET)
                folder.rmdir()


@asynccontextmanager
async def keeping_rate(
    rates: Mapping[str, float],
    *,
    over_all: float = 0.0,
    restarted: bool = False,
    clock: Callable[[], float] = since_boot,
    lasts_s: float = LASTS_S,
) -> AsyncIterator[RateKeeper]:
    """Keep rates until the block ends. rates: requests a second of each group; 0 is unlimited. over_all: of all.

    restarted: whether processes may have shares of an earlier keeper. Then the first one is granted after 3 s. True
    unless it is certain that the processes of an earlier keeper have ended, or that there was none.
    """
    now = clock()
    shares = RateShares(over_all, now=now, restarted=restarted, lasts_s=lasts_s)
    for group, rate in rates.items():
        shares.set_rate(group, rate, now)
    remove_folders_of_killed(Path(tempfile.gettempdir()), time.time())
    with socket_path() as path:
        keeper = RateKeeper(shares, path, clock)
        try:
            async with beside(keeper.divide()) as keeper.dividing, listening(path, keeper.serve):
                yield keeper
        finally:
            await keeper.aclose()
            with suppress(asyncio.CancelledError):
                await keeper.dividing


@contextmanager
def socket_path() -> Iterator[Path]:
    """The path for a socket, in a new folder of its own that is removed when the block ends."""
    folder = tempfile.mkdtemp(prefix=FOLDER)  # mode 0700, and a short path: a socket has room for few bytes
    try:
        yield Path(folder, SOCKET)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def listening(
    path: Path, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]
) -> AsyncIterator[None]:
    """Listen at a socket until the block ends. serve: is given each connection."""
    server = await asyncio.start_unix_server(serve, path, limit=LINE_MAX)
    try:
        yield
    finally:
        server.close()
        await begin_accepted()


def _ask(said: dict[str, Any]) -> Ask:
    return Ask(**{**said, "wants": math.inf if said["wants"] is None else float(said["wants"])})


def _line(share: Share) -> bytes:
    values = {**share._asdict(), "rate": 0.0 if math.isinf(share.rate) else share.rate}
    return orjson.dumps(values) + b"\n"
