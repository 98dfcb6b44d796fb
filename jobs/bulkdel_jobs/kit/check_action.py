"""Carries out the action at a look-alike: a few ids, then a whole chunk. The only module here that sends an action."""

from __future__ import annotations

from collections.abc import Sequence

from bulkdel.core.decision import Decision, NextStep, Response, Verdict, decision_per_id
from bulkdel_jobs.kit.faults import Good
from bulkdel_jobs.kit.lab import Lab, shown

SOME = 3
"""Ids of the first chunk: enough for an answer with an id missing."""

DONE = frozenset({Verdict.SETTLED, Verdict.ALREADY})


async def carry_out(lab: Lab, name: str, ids: Sequence[str], advice: str) -> Good | None:
    """Send the action for `ids`, which exist. Returns the answer when all of them are settled."""
    assert lab.api is not None
    good: Good | None = None
    with lab.findings.watch(name):
        action = lab.target.action(lab.id_type)
        decision = Decision(NextStep.RETRY)
        for request in action.calls(lab.records(*ids)):
            response, decision = await lab.exchange(lab.api, request, action.read, ids)
            if not isinstance(response, Response) or not settles(decision, ids):
                good = None
                break
            good = good or Good(response, ids, lab.stranger)
        seen = f"{len(ids)} id(s): {shown(decision)}"
        lab.findings.add(name, ok=good is not None, seen=seen, advice=advice)
    return good


def settles(decision: Decision, ids: Sequence[str]) -> bool:
    """Whether a decision settles every id."""
    if decision.next_step is not NextStep.PER_ID:
        return decision.next_step is NextStep.SETTLED
    complete = decision_per_id(ids, decision)
    return complete.next_step is NextStep.PER_ID and all(answer.verdict in DONE for answer in complete.data)
