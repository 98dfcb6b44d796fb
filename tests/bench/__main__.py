"""`make bench`: the table, and the same as JSON in `.bench/bench.json`.

    python -m tests.bench [--quick] [--rounds N] [--ids N] [--stub]

In every round each command runs once, in turn, and is compared with the bare loop of its own round: what another
process on this machine does then slows down both. Shown are medians over the rounds; ratios are medians of ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import commands, exports, parts, resuming, watched
from tests.bench.bare import CHUNK
from tests.bench.commands import Cost
from tests.bench.serving import CA_FILE, Served, serving

OUT = Path(".bench")
SDK_THREADS = 16
PACE = 150
Take = Callable[[], Cost]


class Bench:
    """One machine, one server, one folder of exports."""

    def __init__(self, served: Served, folder: Path, count: int) -> None:
        self._url = served.url
        self.tls_url = served.tls_url
        self._folder = folder
        self.count = count
        self._made: dict[tuple[str, int, int], exports.Made] = {}

    def made(self, name: str, *, count: int = 0, duplicates: int = 0) -> exports.Made:
        """An export, written once."""
        key = name, count or self.count, duplicates
        if key not in self._made:
            self._made[key] = exports.write(self._folder, name, key[1], duplicates=duplicates)
        return self._made[key]

    def bare(self, concurrency: int) -> Take:
        """The bare loop, with as many requests as the run has."""
        return lambda: commands.bare(self._url, self.count // CHUNK, concurrency)

    def sdk(self) -> Take:
        """The SDK, with a tenth of the requests: it is that slow."""
        requests = self.count // CHUNK // 10
        return lambda: _times(commands.sdk(self._url, requests, SDK_THREADS), self.count / CHUNK / requests)

    def ours(self, name: str, concurrency: int, *, count: int = 0, duplicates: int = 0) -> Take:
        """The real command."""
        made = self.made(name, count=count, duplicates=duplicates)
        return lambda: commands.ours(self._url, made, "--rate", 0, "--concurrency", concurrency)

    def over_tls(self, tls_url: str) -> Take:
        """The real command over TLS."""
        made = self.made("objects")
        return lambda: commands.ours(tls_url, made, "--rate", 0, "--concurrency", 64, "--ca-file", CA_FILE)

    def paced(self, requests: int) -> Mapping[str, Take]:
        """Both at PACE requests a second."""
        made = self.made("objects", count=requests * CHUNK)
        return {
            "bare": lambda: commands.bare(self._url, requests, 16, PACE),
            "ours": lambda: commands.ours(self._url, made, "--rate", PACE),
        }

    def on_page(self, requests: int) -> tuple[Cost, Cost]:
        """The real command at PACE requests a second, without a live page and with one that is watched."""
        return watched.side_by_side(self._url, self.made("objects", count=requests * CHUNK), "--rate", PACE)

    def resumed(self, count: int) -> float:
        """Seconds from the start of a run that was stopped at nine tenths to its first new deletion."""
        return resuming.first_s(self._url, self._folder, count)

    def parts(self) -> dict[str, float]:
        """CPU of each part, microseconds per chunk."""
        found: dict[str, float] = json.loads(commands.measured(parts.words(self._url, self._folder)).out)
        return found

    def help_s(self) -> float:
        """Wall seconds of `bulkdel --help`, the best of a few."""
        words = [str(Path(sys.executable).with_name("bulkdel")), "--help"]
        return min(commands.measured(words).wall_s for _ in range(5))


def _times(cost: Cost, factor: float) -> Cost:
    return Cost(cost.wall_s, cost.cpu_s, cost.peak_kib, cost.sending_s * factor)


def rounds(takes: Mapping[str, Take], count: int) -> dict[str, list[Cost]]:
    """Run each of `takes` once a round, every other round backwards."""
    found: dict[str, list[Cost]] = {name: [] for name in takes}
    for number in range(count):
        for name in list(takes)[:: -1 if number % 2 else 1]:
            print(f"round {number + 1} of {count}: {name:<40}", end="\r", file=sys.stderr, flush=True)
            found[name].append(takes[name]())
    print(" " * 60, end="\r", file=sys.stderr)
    return found


def ratio(these: Sequence[Cost], those: Sequence[Cost]) -> float:
    """How many times as fast `these` are as `those`, round by round; the median."""
    return statistics.median(b.sending_s / a.sending_s for a, b in zip(these, those, strict=True))


def compare(bench: Bench, *, count: int, quick: bool) -> list[dict[str, Any]]:
    """Everything at full speed. Each row has ids/s, and the ratio to the row that it names."""
    takes: dict[str, tuple[Take, str]] = {
        "bare loop, 64": (bench.bare(64), ""),
        "objects, 64": (bench.ours("objects", 64), "bare loop, 64"),
        "objects with duplicates, 64": (
            bench.ours("objects", 64, duplicates=100),
            "bare loop, 64",
        ),
        f"SDK, {SDK_THREADS} threads": (bench.sdk(), "objects, 64"),
    }
    if bench.tls_url is not None:
        takes["objects over TLS, 64"] = (bench.over_tls(bench.tls_url), "objects, 64")
    if not quick:
        takes |= {
            "bare ids, 64": (bench.ours("bare", 64), "bare loop, 64"),
            "CSV, 64": (bench.ours("csv", 64), "bare loop, 64"),
            "bare loop, 16": (bench.bare(16), ""),
            "objects, 16": (bench.ours("objects", 16), "bare loop, 16"),
            "bare loop, 256": (bench.bare(256), ""),
            "objects, 256": (bench.ours("objects", 256), "bare loop, 256"),
        }
    costs = rounds({name: take for name, (take, _) in takes.items()}, count)
    rows = []
    for name, (_, other) in takes.items():
        some = costs[name]
        rows.append(
            {
                "what": name,
                "ids_per_s": bench.count / statistics.median(cost.sending_s for cost in some),
                "cpu_us_per_request": 1e6 * statistics.median(cost.cpu_s for cost in some) * CHUNK / bench.count,
                "peak_mib": max(cost.peak_kib for cost in some) / 1024,
                "ratio": ratio(some, costs[other]) if other else None,
                "ratio_to": other,
            }
        )
    return rows


def adaptive_rate(bench: Bench, *, count: int, quick: bool) -> dict[str, float]:
    """CPU of a request at PACE a second: of a long run less a short one, so that starting up is not in it."""
    short, long = (2 * PACE, 6 * PACE) if quick else (2 * PACE, 14 * PACE)
    takes = {f"{name} {size}": take for size in (short, long) for name, take in bench.paced(size).items()}
    costs = rounds(takes, count)

    def us(name: str) -> list[float]:
        pairs = zip(costs[f"{name} {short}"], costs[f"{name} {long}"], strict=True)
        return [1e6 * (much.cpu_s - little.cpu_s) / (long - short) for little, much in pairs]

    ours, bare = us("ours"), us("bare")
    times = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    return {"bare": statistics.median(bare), "ours": statistics.median(ours), "times": times}


def live_page(bench: Bench, *, count: int, quick: bool) -> dict[str, float]:
    """CPU of a request without a live page and with one that is watched: long runs less short ones, side by side."""
    short, long = 3 * PACE, (9 if quick else 23) * PACE
    found = []
    for _ in range(count):
        pairs = zip(bench.on_page(short), bench.on_page(long), strict=True)
        found.append([1e6 * (much.cpu_s - little.cpu_s) / (long - short) for little, much in pairs])
    without, with_page = (statistics.median(values) for values in zip(*found, strict=True))
    return {"without": without, "with": with_page, "more": statistics.median(seen / plain - 1 for plain, seen in found)}


def flat(bench: Bench, *, count: int) -> dict[int, dict[str, float]]:
    """What an id costs while it is sent, and what memory the run takes, by the size of the export."""
    sizes = (100_000, 1_000_000, 10_000_000)
    costs = rounds({f"{size:,} ids": bench.ours("objects", 64, count=size) for size in sizes}, count)
    return {
        size: {
            "us_per_id": 1e6 * statistics.median(cost.sending_s for cost in some) / size,
            "peak_mib": max(cost.peak_kib for cost in some) / 1024,
        }
        for size, some in zip(sizes, costs.values(), strict=True)
    }


def show(found: Mapping[str, Any]) -> None:
    """Print the table."""
    print(f"{found['machine']}, against {found['server']}, {found['ids']:,} ids, {found['rounds']} rounds")
    print(f"\n{'':<38}{'ids/s':>9}{'ratio':>8}{'CPU µs/request':>16}{'peak MiB':>10}")
    for row in found["speed"]:
        times = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        cells = f"{row['ids_per_s']:>9,.0f}{times:>8}{row['cpu_us_per_request']:>16.0f}{row['peak_mib']:>10.0f}"
        print(f"{row['what']:<38}{cells}")
    print("ratio: to the bare loop with as many in flight; of TLS and the SDK, to ours. CPU: the whole process")
    print(f"\n{'part, by itself':<38}{'µs/chunk':>9}{'ids/s':>12}")
    for name, us in found["parts_us"].items():
        print(f"{name:<38}{us:>9.1f}{1e6 * CHUNK / us:>12,.0f}")
    paced = found["paced"]
    print(f"\nat --rate {PACE}: {paced['ours']:.0f} µs CPU a request, the bare loop {paced['bare']:.0f}", end="")
    print(f", {paced['times']:.2f} times as much")
    page = found["page"]
    print(f"with a live page that is watched: {page['with']:.0f} µs instead of {page['without']:.0f}", end="")
    print(f", {100 * page['more']:+.1f} %")
    print(f"--help in {found['help_s']:.2f} s; first deletion of a run of 1,000 ids after {found['first_s']:.2f} s")
    for size, one in found.get("flat", {}).items():
        print(f"{int(size):,} ids: {one['us_per_id']:.2f} µs an id while sending; peak {one['peak_mib']:.0f} MiB")
    for size, seconds in found.get("resumed_s", {}).items():
        print(f"{int(size):,} ids resumed at 90 %: first deletion after {seconds:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a minute instead of a few")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--ids", type=int)
    parser.add_argument("--stub", action="store_true", help="against the stub, even where there is an nginx")
    given = parser.parse_args()
    count, ids = given.rounds or (2 if given.quick else 5), given.ids or (200_000 if given.quick else 500_000)
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUT) as name, serving(Path(name).absolute(), stub=given.stub) as served:
        bench = Bench(served, Path(name), ids)
        thousand = bench.ours("objects", 16, count=1_000)
        found: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "commit": subprocess.run(
                ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
            ).stdout.strip(),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            "server": served.name,
            "ids": ids,
            "rounds": count,
            "speed": compare(bench, count=count, quick=given.quick),
            "parts_us": bench.parts(),
            "paced": adaptive_rate(bench, count=1 if given.quick else 2, quick=given.quick),
            "page": live_page(bench, count=2 if given.quick else 6, quick=given.quick),
            "help_s": bench.help_s(),
            "first_s": min(thousand().first_s for _ in range(3)),
        }
        if not given.quick:
            found["flat"] = flat(bench, count=2)
            found["resumed_s"] = {10_000_000: bench.resumed(10_000_000)}
    show(found)
    (OUT / "bench.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
