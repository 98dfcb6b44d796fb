"""The URL of --slow-while: asked in a session of its own, without a key, a cookie or a redirect."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp

from bulkdel.live.watches import ASK_MAX_S, SLOW_S

HTTP_OK = 200


@contextlib.asynccontextmanager
async def asking(url: str, ca_file: Path | None) -> AsyncIterator[Callable[[], Coroutine[Any, Any, bool]]]:
    """Open the session. Gives a function that asks once and returns whether the answer was 200, within SLOW_S."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=ASK_MAX_S),
        connector=aiohttp.TCPConnector(ssl=context, limit=1, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        headers={"user-agent": "bulkdel"},
    ) as session:

        async def is_fast() -> bool:
            began = time.monotonic()
            try:
                async with session.get(url, allow_redirects=False) as response:
                    return response.status == HTTP_OK and time.monotonic() - began <= SLOW_S
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                return False

        yield is_fast
