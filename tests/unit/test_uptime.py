"""A clock that stands still while the process is stopped."""

from __future__ import annotations

import asyncio

import pytest

from bulkdel.http.client import GAP_S, TICK_S, Uptime
from tests.loops import now
from tests.mutants import mutant
from tests.syntax import swap


@mutant(
    "time in which the process was stopped counts as silence of the server",
    "Uptime.__call__",
    swap("gap_s - TICK_S", "0 * gap_s"),
)
@pytest.mark.parametrize(
    ("looks", "ran_s"),
    [
        ([0, 1, 2, 3], 3),
        ([0, 2, 4], 4),  # late ticks of a busy machine
        ([0, 1, 61, 62], 3),  # stopped for a minute: a tick of it is ours
        ([0, 1, 3_601, 7_201, 7_202], 4),
        ([0], 0),
    ],
)
def test_time_between_looks_far_apart_does_not_count(looks: list[float], ran_s: float) -> None:
    times = iter([looks[0], *looks])
    uptime = Uptime(lambda: next(times))
    seen = [uptime() for _ in looks]
    assert seen[-1] - seen[0] == pytest.approx(ran_s)
    assert seen == sorted(seen)
    assert uptime.stopped_s == pytest.approx(looks[-1] - looks[0] - ran_s)


@pytest.mark.fake_clock
async def test_ticks_keep_the_looks_together() -> None:
    """With a tick, a wait of any length counts in full."""

    uptime = Uptime(now)
    ticking = asyncio.create_task(uptime.tick())
    await asyncio.sleep(600)
    ticking.cancel()
    assert uptime() == pytest.approx(600)
    assert TICK_S < GAP_S
