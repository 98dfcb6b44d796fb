"""Play runs from the command line. See README.md."""

from __future__ import annotations

import argparse
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.simulation.world import remove
from tests.simulation.worlds import WORLDS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("first", type=int, help="the first seed")
    parser.add_argument("count", type=int, nargs="?", default=1, help="how many seeds from there")
    parser.add_argument("--world", choices=WORLDS, default="deletion", help="what is played")
    parser.add_argument("--trace", action="store_true", help="print what was drawn and what happened")
    options = parser.parse_args()
    began, failed = time.process_time(), 0
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as base:
        for seed in range(options.first, options.first + options.count):
            folder = Path(base) / str(seed)
            folder.mkdir()
            world = WORLDS[options.world](seed, folder)
            try:
                wrong = world.play()
            except Exception:  # noqa: BLE001
                wrong = [traceback.format_exc()]
            ends.update(one.partition(":")[0] for one in world.said)
            failed += bool(wrong)
            if options.trace:
                print(world.drawn, *world.trace.lines, sep="\n")  # noqa: T201
            if wrong:
                print(f"BULKDEL_SEED={seed}", *wrong[:5], f"sessions: {world.said}", sep="\n  ")  # noqa: T201
            remove(folder)
    took_s = time.process_time() - began
    print(f"{options.count} runs, {failed} failed, {took_s / options.count * 1000:.1f} ms of CPU each; {dict(ends)}")  # noqa: T201


main()
