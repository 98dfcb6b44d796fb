"""The table of checks: what is played against a job, in this order, and what to do when a check goes wrong.

`check` plays it for `bulkdel job check`, and `pytest_plugin` shows each row as a test. The rows of the action are the
only ones that send an action to an API, and only for `Lab.existing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from bulkdel.core.decision import Decision, NextStep, Response, Verdict, decision_per_id
from bulkdel.core.guards import Facts
from bulkdel.http.transport import is_loopback
from bulkdel.job import LookUps
from bulkdel_jobs.kit import check_calls, check_look_ups, check_sign_in
from bulkdel_jobs.kit.check_calls import ENCODE, URL_MAX
from bulkdel_jobs.kit.check_sign_in import REJECTIONS_MAX
from bulkdel_jobs.kit.faults import RESPONSES, action_fault
from bulkdel_jobs.kit.lab import Check, Good, Lab, Seen, shown

DONE = frozenset({Verdict.SETTLED, Verdict.ALREADY})


class Need(NamedTuple):
    """What a check may need. has: whether a lab has it. why_not: the reason, for people."""

    has: Callable[[Lab], bool]
    why_not: Callable[[Lab], str] = lambda _: ""


NEEDS: Mapping[str, Need] = {
    "ids": Need(
        lambda lab: not lab.job.takes_records,
        lambda _: "a row of this job is a whole record, and no check makes one up",
    ),
    "look-ups": Need(
        lambda lab: isinstance(lab.look_ups, LookUps) and lab.look_ups.possible,
        lambda _: "the job has no look-ups: a plan says what cannot be known then",
    ),
    "an API": Need(lambda lab: lab.api is not None, lambda _: "the job has no look-alike, so no good answer is known"),
    "credentials": Need(lambda lab: lab.target.key is not None, lambda lab: f"no credentials: {lab.target.key_hint}"),
    "a sign-in": Need(lambda lab: lab.auth is not None, lambda _: "not signed in"),
    "ids to look up": Need(lambda lab: len(lab.known) > 1),
    "state calls": Need(lambda lab: lab.stateless is not None),
    "ids to act on": Need(
        lambda lab: bool(lab.existing),
        lambda lab: (
            "no action is sent to this host" + ("; --id names ids for it" if is_loopback(lab.target.host) else "")
        ),
    ),
    "a good answer": Need(lambda lab: lab.good is not None),
}


async def nothing(_: Lab) -> None:
    """Play nothing: the row says why the checks of its group are left out."""


async def look_ups_of_contract(lab: Lab) -> Seen | None:
    """The look-ups are of this edition of the contract."""
    found = lab.look_ups
    return None if isinstance(found, LookUps) else Seen(ok=False, text=f"look_ups() returned {type(found).__name__}")


async def whole_chunk(lab: Lab) -> Seen | None:
    """Carry out the action for as many ids as a request may have."""
    size, done = lab.job.chunk_max, len(lab.some)
    return await carry_out(lab, lab.existing[done:][:size]) if lab.whole and size > done else None


async def carry_out(lab: Lab, existing: Sequence[str]) -> Seen:
    """Send the action for ids that exist. The first good answer is kept where all of them are settled."""
    act, good = lab.target.action(lab.id_type), None
    decision = Decision(NextStep.RETRY)
    for request in act.calls(lab.records(*existing)):
        response, decision = await lab.exchange(lab.to_api, request, act.read, existing)
        if not isinstance(response, Response) or not settles(decision, existing):
            good = None
            break
        good = good or Good(response, existing, lab.stranger)
    lab.good = lab.good or good
    return Seen(good is not None, f"{len(existing)} id(s): {shown(decision)}")


def settles(decision: Decision, asked: Sequence[str]) -> bool:
    """Whether a decision settles every id."""
    if decision.next_step is not NextStep.PER_ID:
        return decision.next_step is NextStep.SETTLED
    complete = decision_per_id(asked, decision)
    return complete.next_step is NextStep.PER_ID and all(answer.verdict in DONE for answer in complete.data)


# --- the table --------------------------------------------------------------------------------------------------------


def _reads_faults(name: str, *needs: str) -> Iterator[Check]:
    """Every fault in the place of the answer to a reading request."""
    for fault in RESPONSES:
        play = partial(check_look_ups.reading_fault, name=name, fault=fault)
        yield Check(f"{name}/{fault.name}", play, needs, fault.reading_advice, fault.reading_advice)


ACTION = ("ids", "an API", "a sign-in", "ids to act on")
LOOK_UP = ("ids", "look-ups", "a sign-in")
KNOWN = (*LOOK_UP, "ids to look up")

OF_CONTRACT = "look_ups() returns an instance of bulkdel.job.LookUps, or NoLookUps()"
MATCH = "match() compares the id in the record with the id that was asked for"
ONCE = "Put each id of the chunk into the request once, and no other id"
SAME = "calls() must depend on the records alone: a request that is sent again is the same request"
GROUPS = f"Each request carries exactly the ids of its group, in at most {URL_MAX:,} bytes of URL"
SIGNED = "After ensure() sign() returns headers, and pool is the text that --pool confirms"
HALTED = "Raise Halted from ensure() when the answer brings no credentials"
HIDDEN = "hide() must replace every secret and token: a server may quote the request"
FOR_EVER = f"rejected() raises Halted when fresh credentials are refused too, {REJECTIONS_MAX} times at most"
CONTROL = "control() lists accounts that exist, and read_control() returns their ids as a look-up takes them"
FINDS = "match() returns an account for each id that has a record, and for no other id"
FIELDS = f"fields names those of {', '.join(Facts._fields)} that match() sets; NEVER for no sign-in"
ADMINISTRATORS = "read_administrators() returns the ids of administrators as a look-up takes them"
STATES = "Where Account.reached is None, state_calls() of HasStates makes requests that tell the state"
LISTED = "state_control() lists accounts that are not in the target state, and their state calls say so"
GOOD = "read() must settle the answer to an action that worked"
REACHED = "Account.reached, or read_state(), must say whether an account is in the target state"

CHECKS: tuple[Check, ...] = (
    Check("contract/look-ups", look_ups_of_contract, (), OF_CONTRACT),
    Check("calls", nothing, ("ids",), "", says_why=True),
    Check("calls/repeatable", check_calls.repeatable, ("ids",), SAME),
    Check("calls/every-id-once", check_calls.every_id_once, ("ids",), ONCE),
    Check("calls/hostile-ids", check_calls.hostile_ids, ("ids",), ENCODE),
    Check("calls/joined-ids", check_calls.joined_ids, ("ids",), "Send each id as a value of its own"),
    Check("look-up", nothing, ("look-ups",), "", says_why=True),
    Check("look-up/every-id-once", check_calls.look_up_every_id_once, ("look-ups",), GROUPS),
    Check("look-up/hostile-ids", check_calls.look_up_hostile_ids, ("look-ups",), ENCODE),
    Check("sign-in/works", check_sign_in.works, ("an API",), SIGNED),
    Check("sign-in", nothing, ("credentials",), "", says_why=True),
    *(
        Check(f"sign-in/{name}", partial(check_sign_in.fault, answer=answer), ("credentials",), HALTED)
        for name, answer in check_sign_in.ANSWERS.items()
    ),
    Check("secrets/hide", check_sign_in.hide, ("a sign-in",), HIDDEN),
    Check("secrets/repr", check_sign_in.show, ("a sign-in",), "Mark the field with field(repr=False), mask the key"),
    Check("sign-in/401-for-ever", check_sign_in.rejected_for_ever, ("a sign-in",), FOR_EVER),
    Check("sign-in/late-401", check_sign_in.rejected_late, ("a sign-in",), "Compare the generation in rejected()"),
    Check("look-up/control", check_look_ups.control, LOOK_UP, CONTROL),
    Check("look-up/finds", check_look_ups.finds, KNOWN, FINDS),
    Check("look-up/match", check_look_ups.match, KNOWN, MATCH),
    Check("guards/fields", check_look_ups.fields, KNOWN, FIELDS),
    Check("guards/administrators", check_look_ups.administrators, KNOWN, ADMINISTRATORS),
    Check("state/calls", check_look_ups.state_calls, KNOWN, STATES),
    *_reads_faults("state", "state calls"),
    Check("state/control", check_look_ups.state_control, ("state calls",), LISTED),
    *_reads_faults("state-control", "state calls"),
    *(check for name in ("look-up", "control", "owner", "administrators") for check in _reads_faults(name, "look-ups")),
    Check("target-state/before", partial(check_look_ups.target_state, after=False), (*ACTION, "look-ups"), REACHED),
    Check("action/good-answer", lambda lab: carry_out(lab, lab.some), ACTION, GOOD, says_why=True),
    Check(
        "target-state/after", partial(check_look_ups.target_state, after=True), ("a good answer", "look-ups"), REACHED
    ),
    Check("calls/chunk-max", whole_chunk, ("a good answer",), "chunk_max is more than the API takes in one request"),
    *(
        Check(f"action/{fault.name}", partial(action_fault, fault=fault), ("ids",), fault.advice, fault.advice)
        for fault in RESPONSES
    ),
)
"""Every check of a job that loads and describes itself right."""
