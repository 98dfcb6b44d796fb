"""The preflight against a loop that only parses: CPU seconds and peak memory of one process, in one run.

    python -m tests.bench.preflight FOLDER ROWS [ROUNDS]

ROWS: of the export, those that repeat an id included. Prints one line for each format and share of duplicates. The
ratio is the parsing loop's time divided by ours, the median over the rounds; a loop and a preflight take turns, so that
other work on the machine slows down both.
"""

from __future__ import annotations

import csv
import gc
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from bulkdel.cli.main import GARBAGE_MIN
from bulkdel.export.file import open_export
from bulkdel.export.preflight import preflight
from bulkdel.export.rows import Parsed, ReadOptions
from bulkdel.input.run_input import NewInput
from bulkdel.job import load_job
from bulkdel.place.spool import Spool
from tests.bench import exports

SHARES = (0.0, 0.001, 0.3)
JOB = load_job("delete-users")
OPTIONS = ReadOptions(id_type=JOB.id_types[JOB.id_type_default], id_types=JOB.id_types)


def parse_objects(path: Path) -> None:
    """Parse every line, and nothing else."""
    with path.open("rb") as file:
        for line in file:
            _ = orjson.loads(line)["id"]


def parse_csv(path: Path) -> None:
    """Parse every row, and nothing else."""
    with path.open(newline="") as file:
        for row in csv.reader(file):
            _ = row[0]


LOOPS: dict[str, Callable[[Path], None]] = {"objects": parse_objects, "csv": parse_csv}


def look(path: Path) -> None:
    """The preflight, as `run` has it: it writes the rows of the run."""
    spool = Spool.unnamed(path.parent)
    new = NewInput(spool, str(path))

    def take(parsed: Parsed) -> None:
        new.add(parsed.for_input())

    with open_export(str(path)) as export:
        preflight(export, OPTIONS, rng=random.Random(0), temporary=path.parent, to=take)
    new.finish()
    spool.close()


def cpu_s(work: Callable[[Path], None], path: Path) -> float:
    """CPU seconds of one call."""
    gc.collect()
    begin = time.process_time()
    work(path)
    return time.process_time() - begin


def main() -> None:
    folder, rows = Path(sys.argv[1]), int(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    gc.set_threshold(GARBAGE_MIN)  # as the command has it
    print(f"{'':<10}{'duplicates':>12}{'parsing':>10}{'preflight':>11}{'ratio':>7}")
    for name, loop in LOOPS.items():
        for share in SHARES:
            made = exports.write(folder, name, round(rows * (1 - share)), repeated=share)
            took = [(cpu_s(loop, made.path), cpu_s(look, made.path)) for _ in range(rounds)]
            made.path.unlink()
            ratio = statistics.median(a / b for a, b in took)
            a, b = min(a for a, _ in took), min(b for _, b in took)
            print(f"{name:<10}{share:>12.1%}{a:>9.2f}s{b:>10.2f}s{ratio:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
