"""The pipeline of one session. Read this file first.

input → chunks → intent (durable) → request → response → decision → outcome (durable)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import takewhile

from bulkdel.core.chunk_decisions import LookUp
from bulkdel.core.chunker import chunks_of
from bulkdel.core.record import Chunk
from bulkdel.engine.creation_steps import chunk_in_hand
from bulkdel.engine.session_context import Parts, doubts_wait_s, wait_for_doubts, write_held
from bulkdel.engine.workers import Workers
from bulkdel.errors import Halted
from bulkdel.http.client import WorkerStatus
from bulkdel.safety.run_plan import RunPlan

PASSES = 2
"""One pass over the rows, and one more for the rows that the first pass left without an outcome."""


async def settle_export(plan: RunPlan, parts: Parts, workers: Workers, left: Callable[[], int | None]) -> None:
    """Give every row of the export its outcome, or drain. left: how many ids this session may settle; None for all."""
    export, progress, drain, tally = plan.export, parts.log.progress, parts.drain, parts.tally
    passes = 0
    while passes < PASSES and not (drain.stop is not None or progress.complete or left() == 0):
        not_sent = tally.not_sent
        assert export.rows is not None, "a run that is not complete has its rows"
        batches = takewhile(lambda _: drain.stop is None, export.rows.rows(progress.begin))
        job, early = plan.arguments.job, doubts_wait_s(parts) > 0
        chunks = chunks_of(batches, progress, plan.chunk_size, plan.protected, left(), in_common=job.in_common)
        chunks = (chunk for chunk in chunks if not (early and chunk.doubt is not None))
        tally.unproven = tally.contradicted = 0
        await workers.run(chunks, partial(settle_chunk, parts))  # each worker: one chunk after the other
        write_held(parts)
        await workers.flush()
        if early:  # the process before may still send its rows in doubt; meanwhile the fresh ones were sent
            await wait_for_doubts(parts)
        elif left() is None or tally.not_sent == not_sent:  # else other rows take the place of spared ones (--limit)
            passes += 1


async def settle_chunk(parts: Parts, records: Chunk, worker: WorkerStatus) -> None:
    """Give every record of a chunk its outcome. core/chunk_decisions.py decides what follows from a response."""
    chunk = chunk_in_hand(records, worker, parts)
    await parts.lookup.control.prove(worker)  # if no sample was looked up: all wait for one control
    try:
        while (step := chunk.next_step()) is not None:
            if isinstance(step, LookUp):
                await chunk.look_up(step)
            else:
                requests = await chunk.prepare(step)  # no id is protected, every copy is on the disk (--backup)
                await chunk.write_intent(step)  # durable before the request
                await chunk.send(step, requests)  # the response is read into a decision
    finally:
        chunk.write_outcomes()  # durable before they are counted
    if chunk.state.halt is not None:
        raise Halted(chunk.state.halt)
