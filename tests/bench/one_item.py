"""How much code one item enters: 100 ids in 2 chunks, from the first to the last statement of the session that sends.

    python -m tests.bench.one_item [--list]

Counted are modules and named functions of `bulkdel` and `bulkdel_jobs`: no lambdas, comprehensions or generator
expressions. The sandbox and the progress display are not counted. The command runs in this process, its sandbox in a
thread of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from bulkdel.cli.main import main as bulkdel
from bulkdel.engine.session import SendingSession, SessionResult
from tests.harness import POOL, environment, sandbox, user_ids, write_objects

IDS = 100
NOT_COUNTED = ("bulkdel_jobs.sandbox", "bulkdel.engine.snapshot", "bulkdel.engine.reporter", "bulkdel.output")

entered: set[tuple[str, str]] = set()
running = threading.Event()
"""Set while the session runs: a thread keeps its profile function when the session is over."""


def note(frame: FrameType, event: str, _argument: Any) -> None:
    """Take note of a call, as `sys.setprofile` reports it."""
    module, code = frame.f_globals.get("__name__", ""), frame.f_code
    if event != "call" or not running.is_set() or not module.startswith("bulkdel") or module.startswith(NOT_COUNTED):
        return
    if not code.co_name.startswith("<"):
        entered.add((module, code.co_qualname))


def measure_session() -> None:
    """Count from the first to the last statement of the coroutine that is the session."""
    session = SendingSession.run

    async def measured(self: SendingSession) -> SessionResult:
        running.set()
        threading.setprofile(note)
        sys.setprofile(note)
        try:
            return await session(self)
        finally:
            running.clear()
            sys.setprofile(None)
            threading.setprofile(None)

    setattr(SendingSession, "run", measured)  # noqa: B010 - the type checker forbids to assign a method


def main() -> int:
    """Print the two numbers; with --list also the functions, module by module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true")
    listed = parser.parse_args().list
    measure_session()
    ids = user_ids(IDS)
    with tempfile.TemporaryDirectory() as folder, sandbox(ids) as served:
        export = write_objects(Path(folder) / "export.jsonl", ids)
        for name, value in environment().items():
            if name.startswith("GENAUTH"):
                os.environ[name] = value
        words = ["run", "delete-users", str(export), "--host", served.url, "--confirm", str(IDS), "--pool", POOL]
        code = bulkdel([*words, "--rate", "0", "--log-level", "warning"])
        assert code == 0
        assert served.ledger.deleted == IDS
    modules = Counter(module for module, _ in entered)
    if listed:
        for module, name in sorted(entered):
            print(f"{module}  {name}")
    for module, count in modules.most_common():
        print(f"{count:4}  {module}")
    generated = sum(name.startswith("__create_fn__") for _, name in entered)
    print(f"{len(modules)} modules entered, {len(entered)} functions: {generated} of them __init__s of dataclasses")
    return 0


if __name__ == "__main__":
    sys.exit(main())
