"""The pipeline of one session. Read this file first.

input → chunks → intent (durable) → request → response → decision → outcome (durable)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import takewhile

from bulkdel.core.chunk_state import LookUp
from bulkdel.core.chunker import chunks_of
from bulkdel.core.input_rows import Rows
from bulkdel.core.record import Chunk
from bulkdel.engine.chunk_steps import ChunkInHand
from bulkdel.engine.creation_strategy import CreationStrategy
from bulkdel.engine.id_strategy import IdStrategy
from bulkdel.engine.session_context import SessionContext, doubts_wait_s, wait_for_doubts, write_held
from bulkdel.engine.workers import Workers
from bulkdel.errors import Halted
from bulkdel.http.client import WorkerStatus

PASSES = 2
"""One pass over the rows, and one more for the rows that the first pass left without an outcome."""


async def settle_export(
    read: Callable[[int], Iterator[Rows]],
    context: SessionContext,
    workers: Workers,
    limit_left: Callable[[], int | None],
) -> None:
    """Give every row of the export its outcome, or drain.

    read: gives the rows from a position on. limit_left: how many ids this session may settle; None for all.
    """
    progress, drain, tally, in_common = context.log.progress, context.drain, context.tally, context.job.in_common
    passes = 0
    while passes < PASSES and not (drain.stop is not None or progress.complete or limit_left() == 0):
        not_sent = tally.not_sent
        batches = takewhile(lambda _: drain.stop is None, read(progress.begin))
        doubts_wait = doubts_wait_s(context) > 0
        chunks = chunks_of(batches, progress, context.chunk_size, context.protected, limit_left(), in_common=in_common)
        chunks = (chunk for chunk in chunks if not (doubts_wait and chunk.doubt is not None))
        tally.begin_pass()
        await workers.run(chunks, partial(settle_chunk, context))  # each worker: one chunk after the other
        write_held(context)
        await workers.flush()
        if doubts_wait:  # the process before may still send its rows in doubt; meanwhile the fresh ones were sent
            await wait_for_doubts(context)
        elif limit_left() is None or tally.not_sent == not_sent:  # else other rows take their place (--limit)
            passes += 1


async def settle_chunk(context: SessionContext, chunk: Chunk, worker: WorkerStatus) -> None:
    """Give every record of a chunk its outcome. core/chunk_state.py and its rules say what follows."""
    if context.creations is None:
        in_hand = ChunkInHand(chunk, worker, context, IdStrategy(chunk, worker, context))
    else:
        creation = CreationStrategy(chunk, worker, context, context.creations)
        in_hand = ChunkInHand(chunk, worker, context, creation)
    await context.lookup.control.prove_once(worker)  # if no sample was looked up: all wait for one control
    try:
        while (step := in_hand.next_step()) is not None:
            if isinstance(step, LookUp):
                await in_hand.look_up(step)
            else:
                requests = await in_hand.prepare(step)  # no id is protected, every copy is on the disk (--backup)
                await in_hand.write_intent(step)  # durable before the request
                await in_hand.send(step, requests)  # the response is read into a decision
    finally:
        in_hand.enqueue_outcomes()  # they are counted when they are durable
    if in_hand.state.halt is not None:
        raise Halted(in_hand.state.halt)
