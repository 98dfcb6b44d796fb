"""`batch ctl` at the batch itself: commands that arrive while another one is obeyed."""

from __future__ import annotations

import asyncio

import pytest

from bulkdel.core.log_entries import ChangedBy
from bulkdel.core.pace import By
from bulkdel.fleet.batch_steering import AGAIN_S, BatchSteering
from tests.mutants import mutant
from tests.syntax import swap

BY = By(ChangedBy.CTL, "anna")


@mutant(
    "a pause of a batch does not wait for the resume before it",
    "BatchSteering.apply",
    swap("self._applying", "asyncio.Lock()"),
)
@pytest.mark.fake_clock
async def test_a_pause_during_a_resume_holds_when_both_are_done() -> None:
    steering = BatchSteering(
        under_way=list, waiting=lambda: 2, doing=str, stop=lambda: None, drain=lambda: None, environ={}
    )
    await steering.apply("pause", BY)
    both = [asyncio.create_task(steering.apply(command, BY)) for command in ("resume", "pause")]
    done, _ = await asyncio.wait(both, timeout=10 * AGAIN_S)
    assert [task in done and task.result().ok for task in both] == [True, True]
    held = [steering.held]
    assert (await steering.apply("resume", BY)).ok
    held.append(steering.held)
    assert held == [True, False]
    steering.close()
