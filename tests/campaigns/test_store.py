"""Killed at random instants with the log in a store, and taken over by the next process. The server counts.

The lease is a second, so a successor watches for 1.1 s. `CAMPAIGN_SEED` draws the same instants again.
"""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.test_crash import seeded
from tests.harness import Case, case, finish, kill, user_ids, wait_for_arrivals
from tests.store_child import ran, started

IDS = user_ids(900, seed=16)
CHUNK, RATE, API_S = 5, 120.0, 0.02
OPTIONS: dict[str, Any] = {"rate": RATE, "chunk_size": CHUNK}
IN_FLIGHT = int(CHUNK * (RATE * (0.26 + API_S) + 16))
"""Ids that one process has under way: before the rate limiter, on the wire, and in a turn of the event loop."""


def killed_often(folder: Path, kills: int, rng: random.Random) -> None:
    store, again, killed = folder / "store", 0, 0
    with case(folder, IDS, latency_s=API_S, unknown_ids=rng.choice(["accept", "refuse"])) as it:
        before = sent(it)
        while killed < kills:
            take_over = rng.random() < 0.3
            with started(store, it.export, it.served.url, len(IDS), **OPTIONS, take_over=take_over) as process:
                deleted = it.served.pool.deleted
                if rng.random() < 0.5:
                    wait_for_more(it, deleted + rng.randint(1, 200))
                time.sleep(rng.uniform(0.0, 2.0 if rng.random() < 0.5 else 0.1))
                if rng.random() < 0.2:  # stopped first, as a machine that freezes and then dies
                    process.send_signal(signal.SIGSTOP)
                    time.sleep(rng.uniform(0, 0.2))
                killed += kill(process).code == -signal.SIGKILL
            wait_for_arrivals(it.served)
            now = sent(it)
            again += sum(0 < old < new for old, new in zip(before, now, strict=True))
            before = now
            assert again <= killed * IN_FLIGHT, (again, killed)
            if it.served.pool.deleted == len(IDS):
                break
        ended = ran(store, it.export, it.served.url, len(IDS), **OPTIONS)
        assert ended.code == 0, ended.err
        assert it.effects(IDS) == [1] * len(IDS), "every id is gone, once"
        assert sum(0 < old < new for old, new in zip(before, sent(it), strict=True)) + again <= (killed + 1) * IN_FLIGHT
    print(f"{killed} kills, {again} ids sent again")  # noqa: T201 - with -rP


def sent(it: Case) -> list[int]:
    return [it.served.ledger.sent(id_) for id_ in IDS]


def wait_for_more(it: Case, count: int) -> None:
    """Wait until so many are deleted, or for a while."""
    until = time.monotonic() + 3
    while it.served.pool.deleted < min(count, len(IDS)) and time.monotonic() < until:
        time.sleep(0.002)


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_five_kills_and_takeovers_lose_nothing(part: int, tmp_path: Path) -> None:
    killed_often(tmp_path, 5, seeded(f"store {part}"))


@pytest.mark.soak
@pytest.mark.parametrize("part", range(60))
def test_hundreds_of_kills_and_takeovers_lose_nothing(part: int, tmp_path: Path) -> None:
    killed_often(tmp_path, 10, seeded(f"store soak {part}"))


@pytest.mark.soak
def test_frozen_and_thawed_often(tmp_path: Path) -> None:
    """Fifty processes are stopped, taken over and continued. Nothing of them arrives after that."""
    rng = seeded("store frozen")
    for number in range(50):
        folder = tmp_path / str(number)
        folder.mkdir()
        store = folder / "store"
        with (
            case(folder, IDS, latency_s=API_S) as it,
            started(store, it.export, it.served.url, len(IDS), **OPTIONS) as old,
        ):
            it.wait_until_deleted(1)  # else it has not begun a session, and is refused
            wait_for_more(it, rng.randint(1, 400))
            time.sleep(rng.uniform(0, 0.1))
            old.send_signal(signal.SIGSTOP)
            with started(store, it.export, it.served.url, len(IDS), rate=0.0) as new:
                ended = finish(new)
            assert ended.code == 0, ended.err
            wait_for_arrivals(it.served)
            at = it.served.ledger.requests
            old.send_signal(signal.SIGCONT)
            thawed = finish(old)
            assert thawed.code == 5, (number, thawed)
            wait_for_arrivals(it.served)
            assert it.served.ledger.requests == at, (number, thawed)
            assert it.effects(IDS) == [1] * len(IDS)
