"""The live page of a batch: the sum of its runs, and a table of them. Nothing can be changed on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from bulkdel.core.batch_status import status_of_batch
from bulkdel.core.listen_address import ListenAddress
from bulkdel.errors import BulkdelError, UsageError
from bulkdel.fleet.batch_progress import RunProgress
from bulkdel.fleet.run_log import RUNNING
from bulkdel.live.ask import ask
from bulkdel.settings import address_to_listen_at
from bulkdel.tasks import beside

ASK_S = 1.0
"""Seconds between two rounds of asking the runs."""


class BatchOnPage:
    """A batch as its page sees it. head: see `status_of_batch`."""

    def __init__(
        self, runs: Sequence[RunProgress], environ: Mapping[str, str], head: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._runs = runs
        self._environ = environ
        self._head = head

    async def watch(self) -> None:
        """Ask the runs that are under way, again and again until cancelled."""
        while True:
            for run in self._runs:
                if run.phase == RUNNING:
                    with contextlib.suppress(BulkdelError, OSError):  # the run does not send yet, or has ended
                        answer = await asyncio.to_thread(ask, run.place, "status", self._environ)
                        run.take_status(answer["status"] or {})
            await asyncio.sleep(ASK_S)

    def look(self) -> Mapping[str, Any]:
        """The status, as `/status.json` shows it."""
        return status_of_batch(self._head(), [run.status for run in self._runs])

    async def steer(self, _command: str, _name: str) -> tuple[bool, str]:
        """Refuse: the page has no token."""
        return False, "this page only shows; `bulkdel batch ctl` steers the runs"

    def writable(self) -> bool:
        """Whether the batch can go on, as far as the page knows."""
        return True


def page_address(text: str | None) -> ListenAddress | None:
    """Read `--listen` of a batch. Raises UsageError for an address that cannot be used."""
    address = address_to_listen_at(text)
    if address is not None and not address.loopback:
        raise UsageError(f"--listen {text}: other machines could read the page. Listen on 127.0.0.1, and use ssh -L")
    return address


@contextlib.asynccontextmanager
async def on_batch_page(address: ListenAddress | None, seen: BatchOnPage) -> AsyncIterator[None]:
    """Serve the page until the block ends; without an address do nothing."""
    if address is None:
        yield
        return
    from bulkdel.live.page.server import serving_page  # noqa: PLC0415 - loads a web server

    async with serving_page(address, {}, seen), beside(seen.watch()):
        yield
