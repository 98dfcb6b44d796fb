"""Play runs from the command line: `python -m tests.simulation FIRST COUNT`."""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.simulation.world import World, remove


def main() -> None:
    first, count = int(sys.argv[1]), int(sys.argv[2])
    began, failed = time.process_time(), 0
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as base:
        for seed in range(first, first + count):
            folder = Path(base) / str(seed)
            folder.mkdir()
            world = World(seed, folder)
            try:
                wrong = world.play()
            except Exception:  # noqa: BLE001
                wrong = [traceback.format_exc()]
            ends.update(one.partition(":")[0] for one in world.said)
            if wrong:
                failed += 1
                print(f"BULKDEL_SEED={seed}", *wrong[:5], f"sessions: {world.said}", sep="\n  ")  # noqa: T201
            remove(folder)
    took_s = time.process_time() - began
    print(f"{count} runs, {failed} failed, {took_s / count * 1000:.1f} ms of CPU each; sessions: {dict(ends)}")  # noqa: T201


main()
