"""The pipeline of one session. Read this file first.

export → rows → chunks → intent (durable) → request → response → decision → outcome (durable)
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING

from bulkdel.core.chunk_state import LookUp
from bulkdel.core.chunker import chunk_tasks
from bulkdel.errors import Halted

if TYPE_CHECKING:
    from bulkdel.checkpoint.writer import Checkpoint
    from bulkdel.engine.chunk import ChunkInHand
    from bulkdel.engine.drain import Drain
    from bulkdel.engine.workers import Workers
    from bulkdel.safety.run_plan import Plan

PASSES = 2
"""One pass over the export, and one more for the rows that the first pass left without an outcome (design)."""


async def settle_export(
    plan: Plan, log: Checkpoint, workers: Workers, drain: Drain, left: Callable[[], int | None]
) -> None:
    """Give every row of the export its outcome, or drain. left: how many ids this session may settle; None for all."""
    for _ in range(PASSES):
        if drain.stop is not None or log.progress.complete or left() == 0:
            return
        rows = takewhile(lambda _: drain.stop is None, plan.export.batches(log.progress.begin))
        row_filter = plan.export.row_filter(plan.protected)
        chunks = chunk_tasks(rows, row_filter, log.progress, plan.chunk_size, left())
        await workers.run(chunks)  # each worker calls settle_chunk for one chunk after the other


async def settle_chunk(chunk: ChunkInHand) -> None:
    """Give every record of a chunk its outcome. What follows from an answer is decided in core/chunk_state.py."""
    try:
        while (step := chunk.next_step()) is not None:
            if isinstance(step, LookUp):
                await chunk.look_up(step)
            else:
                request = await chunk.prepare(step)  # no id is protected, every copy is on the disk (--backup)
                await chunk.write_intent(step)  # durable before the request
                await chunk.send(step, request)  # the response is read into a decision
    finally:
        chunk.write_outcomes()  # durable before they are counted
    if chunk.state.halt is not None:
        raise Halted(chunk.state.halt)
