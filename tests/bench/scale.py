"""Reckons a night of 300 pools and 10^9 ids on 1, 10 and 100 nodes: `python -m tests.bench.scale`.

docs/scale.md has the table that this prints, and a test compares both. Each constant says where it comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

IDS = 1_000_000_000
POOLS = 300
CHUNK = 50

CORES = 8
"""Of a node. An assumption."""

MEMORY_GB = 32
"""Of a node. An assumption."""

RATE = 150
"""Requests a second that a pool admits: the documentation of GenAuth's public cloud."""

CPU_MS = {"file": 0.85, "store": 1.57}
"""CPU of a request at 150 a second, milliseconds, start and preflight included. Measured: 150,000 ids, `time -v`."""

PROCESS_MB = {"file": 64, "store": 75}
"""Peak memory of a run. Measured in the same runs."""

PREFLIGHT_S = 7.3
"""`plan` of 3,333,333 ids on one core, look-up of the sample included. Measured."""

COMMITS_PER_S = 18
"""Commits a second of a log in a store, at 150 requests a second: 24,000 for ten million ids, with a PUT of 42 ms
(median) to 200 ms (p99). Measured on loopback. No cloud store was measured."""

BUSY = 0.8
"""Share of the cores that may be used."""

PUT_USD, GET_USD = 5 / 1_000_000, 0.4 / 1_000_000
"""The price list of S3, 2026."""

ROLL = 1_000
"""Lines of the log in one roll."""

LEASE_S = 10.0


@dataclass(frozen=True, slots=True)
class Night:
    """What a night takes. pools_at_once: runs at a time, on all nodes. seconds: of the whole night."""

    nodes: int
    log: str
    pools_at_once: int
    waves: int
    seconds: float
    cores: float
    memory_gb: float


def night(nodes: int, log: str) -> Night:
    """Reckon a night: pools are runs of their own, as many at a time as cores and memory allow."""
    seconds = pool_s()
    core_each = RATE * CPU_MS[log] / 1_000
    a_node = min(int(CORES * BUSY / core_each), int(MEMORY_GB * 1_000 * BUSY / PROCESS_MB[log]))
    at_once = min(POOLS, nodes * a_node)
    waves = ceil(POOLS / at_once)
    each = ceil(at_once / nodes)
    return Night(
        nodes, log, at_once, waves, waves * (PREFLIGHT_S + seconds), each * core_each, each * PROCESS_MB[log] / 1_000
    )


def pool_s() -> float:
    """Seconds of sending for one pool: its rate is the limit."""
    return IDS / POOLS / CHUNK / RATE


def objects() -> tuple[int, int, float]:
    """Commit objects and rolls of the whole night, and what writing them costs, USD."""
    commits = int(COMMITS_PER_S * pool_s()) * POOLS
    rolls = ceil(commits / ROLL)
    return commits, rolls, (commits + rolls) * PUT_USD


def table() -> str:
    """The table of docs/scale.md."""
    lines = [
        "| nodes | log | pools at once | waves | the night | cores a node | memory a node |",
        "|---|---|---|---|---|---|---|",
    ]
    for log in ("file", "store"):
        for nodes in (1, 10, 100):
            one = night(nodes, log)
            minutes = f"{one.seconds / 60:.0f} min"
            cores, memory = f"{one.cores:.1f}", f"{one.memory_gb:.1f} GB"
            lines.append(f"| {nodes} | {log} | {one.pools_at_once} | {one.waves} | {minutes} | {cores} | {memory} |")
    return "\n".join(lines)


def summary() -> str:
    """The figures of docs/scale.md that do not depend on the nodes."""
    commits, rolls, usd = objects()
    return "\n".join(
        [
            f"- requests: {IDS // CHUNK:,} deletions, {POOLS * RATE:,} a second when all pools run at once",
            f"- one pool: {IDS // POOLS:,} ids in {pool_s() / 60:.1f} minutes of sending",
            f"- store: {commits:,} commit objects and {rolls:,} rolls, {usd:.0f} USD to write",
            f"- to read one log back: {ceil(commits / POOLS / ROLL)} rolls and at most {ROLL - 1} commits",
            f"- taking over: {1.1 * LEASE_S:.0f} s of watching, then all rows; with --take-over fresh rows at once",
        ]
    )


if __name__ == "__main__":
    print(table())
    print()
    print(summary())
