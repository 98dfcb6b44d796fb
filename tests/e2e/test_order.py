"""From the system calls of the real command: no deletion leaves before its intent is on the disk.

strace slows every fdatasync down, so that a request that does not wait for it is seen.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness import COMMAND, case, environment, strace, user_ids
from tests.mutants import mutant
from tests.syntax import drop, swap
from tests.waits import WAIT_MAX_S

IDS = user_ids(600, seed=8)
SYNC_S = 0.01

CALL = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. )?(?P<name>\w+)")
TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
USER_ID = re.compile(r"[0-9a-f]{24}")


@dataclass(frozen=True)
class Order:
    """What a trace shows. syncs: of the log.

    sent: positions that left, in order, a repetition again. early: those that left before their intent was durable.
    """

    sent: Sequence[int]
    early: Sequence[int]
    syncs: int


def order_of(trace: Iterable[str], log: Path, ids: Sequence[str]) -> Order:
    """Read a trace: a call counts as made when it begins, a sync only when it has ended well."""
    position_of = {id_: position for position, id_ in enumerate(ids)}
    written: dict[str, set[int]] = {}
    syncing: dict[str, bool] = {}
    durable: set[int] = set()
    sent: list[int] = []
    early: list[int] = []
    syncs = 0
    for line in trace:
        if (call := CALL.match(line)) is None:
            continue
        pid, name = call["pid"], call["name"]
        if name in {"fdatasync", "fsync"}:
            if "resumed>" not in line:
                syncing[pid] = f"<{log}>" in line
            if syncing[pid] and re.search(r"\) += 0( |$)", line):
                durable |= written.pop(pid, set())
                syncs += 1
        elif "resumed>" in line:
            continue
        elif f"<{log}>" in line:
            written.setdefault(pid, set()).update(_intents(line))
        elif r"{\"userIds\":[" in line:
            positions = [position_of[id_] for id_ in USER_ID.findall(line.split(r"\"userIds\":[")[1])]
            sent += positions
            early += [position for position in positions if position not in durable]
    return Order(sent, early, syncs)


def _intents(line: str) -> Iterator[int]:
    """The positions of the intents in a line that was written to the log."""
    text = "".join(TEXT.findall(line)).encode().decode("unicode_escape")
    for entry in json.loads(text)["entries"]:
        if entry["type"] == "intent":
            for start, stop in entry["ranges"]:
                yield from range(start, stop)


def traced(folder: Path, ids: Sequence[str] = IDS, *options: object) -> Order:
    """Run the real command under strace."""
    trace = folder / "trace"
    before = [
        *strace("-y", "-s", 100_000, "-o", trace, "-e", "signal=none"),
        *("-e", "trace=write,writev,pwrite64,sendto,sendmsg,fdatasync,fsync"),
        *("-e", f"inject=fdatasync:delay_enter={int(SYNC_S * 1e6)}"),
    ]
    with case(folder, ids, options=options or ["--rate", 0, "--chunk-size", 10]) as it:
        done = subprocess.run(
            [*before, *COMMAND, *map(str, it.args)],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=WAIT_MAX_S,
            check=False,
        )
        said = done.stderr.decode()
        assert done.returncode == 0, said
        assert it.served.pool.deleted == len(ids)
        with trace.open(encoding="latin-1") as lines:
            order = order_of(lines, it.log, ids)
    assert sorted(order.sent) == list(range(len(ids))), "the trace must show every deletion, once"
    return order


@mutant(
    "a request leaves before its intent is durable",
    "ChunkInHand.write_intent",
    swap("await self._context.log.flush()", "await asyncio.sleep(0)"),
    strace=True,
)
@mutant(
    "a commit is not synced to the disk",
    "WritableFile.append",
    drop("self._disk.sync(self._fd)"),
    strace=True,
)
def test_intents_are_durable_before_their_requests(tmp_path: Path) -> None:
    """Of all positions that left, none left early."""
    order = traced(tmp_path)
    assert order.early == []
    assert order.syncs >= 2


@pytest.mark.soak
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("--rate", 0, "--concurrency", 64), id="unlimited"),
        pytest.param(("--rate", 150, "--chunk-size", 25), id="paced"),
    ],
)
def test_nor_with_many_in_flight_or_intents_that_wait_for_company(options: tuple[object, ...], tmp_path: Path) -> None:
    ids = user_ids(10_040, seed=9)
    assert traced(tmp_path, ids, *options).early == []
