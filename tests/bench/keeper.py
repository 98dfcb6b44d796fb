"""`make bench-keeper`: what the keeper of the rates costs when many runs send at the same time.

    python -m tests.bench.keeper [PROCESSES [SECONDS]]

This process keeps the rates: a group of its own for each of 300 processes, and 300 groups of plans that have ended. A
second process plays all that send, by the protocol of `http.shared_rate`: each asks once a second, and at once when its
share was lowered. Half of them are limited by their share; the others can use a part of it, which changes. Printed are
the CPU of the keeper for each ask, all its work included, and how late the answers are.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from contextlib import suppress

import orjson

from bulkdel.fleet.rate_keeper import keeping_rate
from bulkdel.http.shared_rate import RENEW_S

PROCESSES, SECONDS = 300, 10
RATE = 150.0
MS_MAX = 1.0
"""CPU of an ask. All 300 ask at least once a second, so this would be a third of a core."""


class Sender:
    """A process that asks as one does that sends. late_s: of each answer."""

    def __init__(self, path: str, number: int) -> None:
        self.path, self.group, self.draw = path, f"pool {number}", random.Random(number)
        self.late_s: list[float] = []

    async def ask_again(self) -> None:
        """Ask until cancelled."""
        draw, asked_at, share = self.draw, dict[int, float](), 0.0
        uses = draw.uniform(0.1, 1.0) * RATE if draw.random() < 1 / 2 else None
        await asyncio.sleep(draw.random() * RENEW_S)
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(orjson.dumps({"group": self.group}) + b"\n")
        serial = number = 0
        while True:
            number += 1
            began = asked_at[number] = time.monotonic()
            wants = uses and uses * draw.uniform(0.95, 1.05)
            count = int(share * RENEW_S)
            ask = {"number": number, "serial": serial, "wants": wants, "sent": count, "answered": count}
            writer.write(orjson.dumps(ask) + b"\n")
            lowered = False
            while not lowered and (left_s := began + RENEW_S - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    got = orjson.loads(await asyncio.wait_for(reader.readline(), left_s))
                    lowered, share, serial = got["rate"] < share, got["rate"], got["serial"]
                    if (at := asked_at.pop(got["asked"], None)) is not None:
                        self.late_s.append(time.monotonic() - at)


async def ask_for_all(path: str, processes: int, seconds: float) -> None:
    """Play all processes; print a line when all have joined, and a line with the figures after so many seconds."""
    senders = [Sender(path, number) for number in range(processes)]
    tasks = [asyncio.create_task(sender.ask_again()) for sender in senders]
    await asyncio.sleep(3 * RENEW_S)
    for sender in senders:
        sender.late_s.clear()
    print("joined", flush=True)
    await asyncio.sleep(seconds)
    late_s = sorted(late for sender in senders for late in sender.late_s)
    print(len(late_s), statistics.median(late_s), late_s[len(late_s) * 99 // 100], flush=True)
    for task in tasks:
        task.cancel()


async def measured(processes: int, seconds: float, over_all: float) -> tuple[float, float, float, float]:
    """Keep the rates so long: asks a second, CPU seconds of an ask, and the median and p99 of how late an answer is."""
    groups = [f"{plan}pool {number}" for plan in ("plan of ", "") for number in range(processes)]
    async with keeping_rate(dict.fromkeys(groups, RATE), over_all=over_all) as keeper:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.keeper", str(processes), str(seconds), keeper.address("").path),
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdout is not None
        await child.stdout.readline()
        cpu, began = time.process_time(), time.monotonic()
        asks, median_s, p99_s = map(float, (await child.stdout.readline()).split())
        cpu_s, took_s = time.process_time() - cpu, time.monotonic() - began
        await child.wait()
        return asks / took_s, cpu_s / asks, median_s, p99_s


def main() -> int:
    """Print the table; exit 1 when an ask costs too much."""
    processes = int(sys.argv[1]) if len(sys.argv) > 1 else PROCESSES
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    if len(sys.argv) > 3:
        asyncio.run(ask_for_all(sys.argv[3], processes, seconds))
        return 0
    worst = 0.0
    print(f"{'over all':>9} {'asks/s':>7} {'CPU of an ask':>14} {'of a core':>10} {'answered after':>15} {'p99':>8}")
    for over_all in (0.0, RATE * processes / 2):
        asks_per_s, cpu_s, median_s, p99_s = asyncio.run(measured(processes, seconds, over_all))
        worst = max(worst, cpu_s * 1e3)
        print(
            f"{over_all or 'none':>9} {asks_per_s:>7,.0f} {cpu_s * 1e3:>11.2f} ms {asks_per_s * cpu_s:>10.1%} "
            f"{median_s * 1e3:>12.1f} ms {p99_s * 1e3:>5.1f} ms"
        )
    return 0 if worst <= MS_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
