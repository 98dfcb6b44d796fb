"""The pipeline of one session. Read this file first.

export → rows → chunks → intent (durable) → request → decision → outcome (durable)
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING

from bulkdel.core.chunker import chunk_tasks

if TYPE_CHECKING:
    from bulkdel.checkpoint.writer import Checkpoint
    from bulkdel.engine.drain import Drain
    from bulkdel.engine.workers import Engine
    from bulkdel.safety.run_plan import Plan

PASSES = 2
"""One pass over the export, and one more for the rows that the first pass left without an outcome (design)."""


async def settle_export(
    plan: Plan, log: Checkpoint, workers: Engine, drain: Drain, left: Callable[[], int | None]
) -> None:
    """Give every row of the export its outcome, or drain.

    log: where intents and outcomes become durable; its progress says which rows have no outcome yet.
    left: how many more ids this session may settle; None for all.
    """
    for _ in range(PASSES):
        if drain.stop is not None or log.progress.complete or left() == 0:
            return
        rows = takewhile(lambda _: drain.stop is None, plan.export.batches(log.progress.begin))
        row_filter = plan.export.row_filter(plan.protected)
        chunks = chunk_tasks(rows, row_filter, log.progress, plan.chunk_size, left())
        await workers.run(chunks)
