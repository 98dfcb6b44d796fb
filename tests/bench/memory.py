"""Peak memory of `bulkdel run` by the size of the export: 30 % of the rows repeat an id, 1 % of the ids are excluded.

    python -m tests.bench.memory FOLDER [IDS ...]

IDS: sizes of exports in different ids, 100,000 and 10,000,000 by default; 10,000,000 ids are 14,300,000 rows.
FOLDER: of the exports, about 500 MB for the larger one.
Prints the peak for each size, and how much it is over that of the first size. The figure is the sum over the processes
of the run of their PSS: a page that is shared by n processes counts 1/n in each. Linux only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path

from tests.bench import commands, exports
from tests.bench.serving import serving

SIZES = (100_000, 10_000_000)
REPEATED = 0.3
EXCLUDED_EVERY = 100
POLL_S = 0.02


def pss_kib(session: int) -> int:
    """PSS of all processes of a session, in KiB."""
    found = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # a process may end at any time
            if os.getsid(int(folder.name)) == session:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                found += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return found


def peak_mb(words: list[str]) -> float:
    """Run a command to its end, in a session of its own. Returns the peak of its memory in MB."""
    peak = 0
    with tempfile.TemporaryFile() as out:
        environ = {**os.environ, **commands.ENVIRON}
        process = subprocess.Popen(
            words, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL, start_new_session=True
        )
        while process.poll() is None:
            peak = max(peak, pss_kib(process.pid))
            time.sleep(POLL_S)
        out.seek(0)
        summary = json.loads(out.read().splitlines()[-1])
        if summary["status"] != "complete" or not summary["excluded"] or not summary["duplicate"]:
            raise RuntimeError(f"not what was expected of a run: {summary}")
    return peak * 1024 / 1e6


def main() -> None:
    folder, sizes = Path(sys.argv[1]), [int(size) for size in sys.argv[2:]] or SIZES
    with tempfile.TemporaryDirectory(dir=folder) as name, serving(Path(name).absolute()) as served:
        first = 0.0
        for count in sizes:
            made = exports.write(Path(name), "objects", count, repeated=REPEATED)
            exclude = Path(name) / "exclude.csv"
            kept = list(islice(exports.ids(count), 0, None, EXCLUDED_EVERY))
            exclude.write_text("id\n" + "".join(f"{id_}\n" for id_ in kept))
            to_delete = exports.Made(made.path, count - len(kept), made.sha256, made.size)
            options = ("--rate", 0, "--exclude", exclude)
            peak = peak_mb(commands.run_words(served.url, to_delete, Path(name) / str(count), *options))
            first = first or peak
            print(f"{count:>12,} ids: {peak:6.1f} MB, {peak - first:+.1f} MB", flush=True)


if __name__ == "__main__":
    main()
