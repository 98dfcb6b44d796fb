"""Plays the fault catalogue against every method of a job that reads a response."""

from __future__ import annotations

from collections.abc import Sequence

from bulkdel.core.decision import Decision, NextStep, Request, Response, Verdict, decision_per_id
from bulkdel_jobs.kit.faults import RESPONSES, ApiFault, Good
from bulkdel_jobs.kit.lab import Lab, Read, shown

ABSENT_MEANS = "A look-up may read a 404 as: no such account. It must not find one"


async def check_action_faults(lab: Lab, good: Good | None) -> None:
    """Answer an action with each fault. good: the answer of the look-alike to such a request."""
    action = lab.target.action(lab.id_type)
    ids = good.ids if good is not None else lab.made_up[:1]
    for fault in RESPONSES:
        with lab.findings.watch(f"action/{fault.name}", fault.advice):
            request = action.calls(lab.records(*ids))[0]
            decision = await _decided(lab, fault, good, request, action.read, ids=ids)
            if decision is None:
                why = "no good answer is known" if good is None else "a good answer names no id, or is empty"
                lab.findings.skip(f"action/{fault.name}", why)
                continue
            if decision.next_step is NextStep.PER_ID:
                decision = as_whole(decision_per_id(ids, decision), missing=ids[-1])
            lab.findings.add(
                f"action/{fault.name}", ok=_right(fault, decision), seen=shown(decision), advice=fault.advice
            )


async def check_reading_faults(lab: Lab, name: str, request: Request, read: Read, good: Response | None) -> None:
    """Answer a reading request with each fault. It must find nothing, and must not take one for an empty answer."""
    known = None if good is None else Good(good, (), "")
    for fault in RESPONSES:
        with lab.findings.watch(f"{name}/{fault.name}", _reading_advice(fault)):
            decision = await _decided(lab, fault, known, request, read, ids=())
            if decision is None:
                continue
            absent = fault.name == "404" and decision.next_step is NextStep.SETTLED and not decision.data
            ok = absent or (decision.next_step in fault.right and _pauses(fault, decision))
            lab.findings.add(f"{name}/{fault.name}", ok=ok, seen=shown(decision), advice=_reading_advice(fault))


def as_whole(decision: Decision, *, missing: str) -> Decision:
    """Read a complete answer per id: one that confirms nothing is lost, one that confirms `missing` is a success."""
    if decision.next_step is not NextStep.PER_ID:
        return decision
    verdicts = {answer.id: answer.verdict for answer in decision.data}
    if set(verdicts.values()) <= {Verdict.MAYBE_APPLIED}:
        return Decision(NextStep.RETRY, decision.detail, maybe_applied=True, reason="every id is maybe applied")
    if verdicts[missing] is not Verdict.MAYBE_APPLIED:
        return Decision(NextStep.SETTLED, reason=f"per id, and for the last one: {verdicts[missing].value}")
    return decision


async def _decided(
    lab: Lab, fault: ApiFault, good: Good | None, request: Request, read: Read, *, ids: Sequence[str]
) -> Decision | None:
    """The decision on a request that meets a fault; None when the fault cannot be played."""
    answer = fault.play(good)
    if answer is None:
        return None
    lab.server.answer = lambda _: answer
    return (await lab.exchange(lab.to_faults, request, read, ids))[1]


def _right(fault: ApiFault, decision: Decision) -> bool:
    if decision.next_step not in fault.right or not _pauses(fault, decision):
        return False
    if not fault.maybe_applied:
        return True
    return not decision.untouched and (decision.maybe_applied or decision.next_step is NextStep.HALT)


def _pauses(fault: ApiFault, decision: Decision) -> bool:
    return fault.after_s is None or decision.after_s == fault.after_s


def _reading_advice(fault: ApiFault) -> str:
    return ABSENT_MEANS if fault.name == "404" else fault.advice.partition(" with maybe_applied")[0]
