"""A run with its log in a store and a lease of a second, for the tests to kill and to stop: real code, real process.

`python -m tests.store_child STORE EXPORT HOST IDS {"rate": 50, "lease_s": 1.0, "take_over": false}`. It prints its
summary as JSON, and exits as `bulkdel run` does. SIGUSR1 pauses it, SIGUSR2 lets it go on.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bulkdel.errors import BulkdelError
from bulkdel.fleet.sharded_session import session_of
from bulkdel.job import load_job
from bulkdel.library import Run
from bulkdel.safety.run_plan import RunArguments
from bulkdel.settings import Settings
from bulkdel.store_path import store_path
from bulkdel.world import World
from tests.harness import POOL, Ran, environment, finish

LEASE_S = 1.0
NOTHING: Mapping[str, str] = MappingProxyType({})


async def run(store: str, export: str, host: str, ids: int, lease_s: float, **options: Any) -> int:
    settings = Settings(host=host, run=store_path(store), **options)
    arguments = RunArguments(load_job("delete-users"), export, settings, {}, os.environ)
    async with Run(arguments, world=World(lease_s=lease_s), make_session=session_of) as opened:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, opened.pause)
        loop.add_signal_handler(signal.SIGUSR2, opened.resume)
        plan = await opened.plan()
        if not plan.complete:
            await opened.confirm(ids=ids, pool=POOL)
        opened.start()
        ended = await opened.finished()
    print(json.dumps(ended.to_json() | {"why": ended.why}), flush=True)  # noqa: T201 - its result
    return ended.exit_code


@contextmanager
def started(
    store: Path | str,
    export: Path,
    host: str,
    ids: int,
    *,
    environ: Mapping[str, str] = NOTHING,
    prefix: Sequence[str] = (),
    **options: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start it; what is left of it at the end is killed. store: a directory, or a URL. environ: more variables.

    prefix: the words before its command line.
    """
    url = store if isinstance(store, str) else f"file://{store}"
    words = [url, str(export), host, str(ids), json.dumps({"lease_s": LEASE_S, **options})]
    with subprocess.Popen(
        [*prefix, sys.executable, "-m", "tests.store_child", *words],
        env={**environment(), **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ran(store: Path | str, export: Path, host: str, ids: int, **options: Any) -> Ran:
    """Start it, and wait for its end."""
    with started(store, export, host, ids, **options) as process:
        return finish(process)


if __name__ == "__main__":
    try:
        code = asyncio.run(run(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), **json.loads(sys.argv[5])))
    except BulkdelError as error:
        print(error, file=sys.stderr)  # noqa: T201 - its message
        code = error.exit_code
    sys.exit(code)
