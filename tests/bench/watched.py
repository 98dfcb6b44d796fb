"""A run whose live page is open in a browser, and whose metrics are scraped: what that costs the run."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.commands import Cost, ours
from tests.bench.exports import Made

SCRAPE_S = 5.0
"""Between two scrapes of /metrics; Prometheus takes 15 s or more."""


def side_by_side(url: str, export: Made, *options: object) -> tuple[Cost, Cost]:
    """The real command without a page, and with one that is watched, at the same time.

    So both meet the same spells of a busy machine, which would hide a difference of one per cent.
    """
    plain, seen = (Path(f"{export.path}.{name}") for name in ("plain", "seen"))
    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(ours, url, export, *options, place=plain)
        other = threads.submit(watched, url, export, *options, place=seen)
        return one.result(), other.result()


def watched(url: str, export: Made, *options: object, place: Path) -> Cost:
    """The real command with a page, a reader of its stream, and a scraper."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    with _watching(port) as seen:
        cost = ours(url, export, *options, "--listen", f"127.0.0.1:{port}", place=place)
    if not all(seen.values()):
        raise RuntimeError(f"the page was not watched: {seen}")
    return cost


@contextlib.contextmanager
def _watching(port: int) -> Iterator[dict[str, int]]:
    """Read the stream and scrape, each in a thread, until the block ends. Counts what was read."""
    seen, done = {"events": 0, "scrapes": 0}, threading.Event()

    def scrape() -> None:
        while not done.wait(SCRAPE_S if seen["scrapes"] else 0.2):
            with contextlib.suppress(OSError):
                seen["scrapes"] += _get(port, "/metrics").read().startswith(b"# HELP bulkdel_")

    def read() -> None:
        while not done.wait(0.2):
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = _get(port, "/events")
                while answer.readline():
                    seen["events"] += 1

    threads = [threading.Thread(target=work, daemon=True) for work in (scrape, read)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        done.set()
        for thread in threads:
            thread.join()


def _get(port: int, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    return connection.getresponse()
