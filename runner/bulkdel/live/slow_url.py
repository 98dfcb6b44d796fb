"""The URL of --slow-while: asked in a session of its own, without a key, a cookie or a redirect."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from bulkdel.engine.threads import in_thread
from bulkdel.live.watches import SLOW_S
from bulkdel.tls import trust

HTTP_OK = 200

BODY_MAX = 1 << 20
"""Bytes of the response that are read. The rest of a longer one does not count."""


class _Names(AbstractResolver):
    """Looks host names up in daemon threads.

    asyncio has a few threads for the whole program, and its end waits for them: a silent name server would keep them
    from the API's own name.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=int(address[1]), family=kind, proto=proto, flags=flags
            )
            for kind, _, proto, _, address in await in_thread(look_up, lambda: None, stop_s=0)
        ]

    async def close(self) -> None:
        pass


@contextlib.asynccontextmanager
async def asking(url: str, ca_file: Path | None) -> AsyncIterator[Callable[[], Coroutine[Any, Any, bool]]]:
    """Open the session. Gives a function that asks once and returns whether the answer was 200, within SLOW_S."""
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=SLOW_S),
        connector=aiohttp.TCPConnector(ssl=trust(ca_file), limit=1, force_close=True, resolver=_Names()),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        headers={"user-agent": "bulkdel"},
    ) as session:

        async def is_fast() -> bool:
            try:
                async with session.get(url, allow_redirects=False) as response:
                    if response.status != HTTP_OK:
                        return False
                    read = 0  # the end of the body counts too: a page is fast when a person can see it
                    async for part in response.content.iter_any():
                        if (read := read + len(part)) > BODY_MAX:
                            break
                    return True
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                return False

        yield is_fast
