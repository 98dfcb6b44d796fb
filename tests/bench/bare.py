"""How fast this stack can be at all: the same request over and over, nothing read from a file, nothing kept.

    python -m tests.bench.bare URL REQUESTS CONCURRENCY [--rate REQUESTS/S]

Prints the seconds that the requests took.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator

import aiohttp
import orjson

CHUNK = 50
PATH = "/api/v3/delete-users-batch"


def body() -> bytes:
    """One deletion of 50 ids, as the job writes it."""
    ids = [f"{number:024x}" for number in range(CHUNK)]
    return orjson.dumps({"userIds": ids, "options": {"userIdType": "user_id"}})


async def _repeat(session: aiohttp.ClientSession, url: str, turns: Iterator[float]) -> None:
    loop, data = asyncio.get_running_loop(), body()
    for due in turns:
        if (early_s := due - loop.time()) > 0:
            await asyncio.sleep(early_s)
        async with session.post(url, data=data) as answer:
            if orjson.loads(await answer.read())["statusCode"] != 200:
                raise RuntimeError("not deleted")


async def spent(url: str, requests: int, concurrency: int, rate: float) -> float:
    """Seconds for all of `requests`. rate: requests a second, spread evenly; 0 as fast as it goes."""
    headers = {"Authorization": "Bearer x", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        begin = asyncio.get_running_loop().time()
        turns = (begin + number / rate if rate else 0.0 for number in range(requests))
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(_repeat(session, url + PATH, turns))
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("requests", type=int)
    parser.add_argument("concurrency", type=int)
    parser.add_argument("--rate", type=float, default=0.0)
    given = parser.parse_args()
    print(asyncio.run(spent(given.url, given.requests, given.concurrency, given.rate)))


if __name__ == "__main__":
    main()
