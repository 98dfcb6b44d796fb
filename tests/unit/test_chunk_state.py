"""The state machine of one chunk: every arrow of its picture by hand, and all at once against a little server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkdel.core.account_match import Doubt, Instant, Presence
from bulkdel.core.chunk_state import ChunkState, Evidence, Found, LookUp, LookUpReason, Send, SubChunk
from bulkdel.core.decision import Decision, IdAnswer, NextStep, NoResponse, Verdict, decision_on_no_response
from bulkdel.core.halt_limits import ALL_REFUSED_MIN
from bulkdel.core.id_rules import REFUSED_AS_UNKNOWN, REFUSED_SINCE, IdRules
from bulkdel.core.look_up_lag import LOOKS_AGAIN_MAX
from bulkdel.core.outcome import Detail
from bulkdel.core.ranges import positions_in
from bulkdel.core.record import Chunk, Records
from bulkdel.core.retry import ATTEMPTS_MAX
from tests.examples import examples
from tests.mutants import mutant
from tests.syntax import negate, swap

OLD, NEW, UNDATED, PROTECTED = Presence.OLD, Presence.NEW, Presence.UNDATED, Presence.PROTECTED

OK = Decision(NextStep.SETTLED, detail=Detail(200, request_id="r"))
LOST = decision_on_no_response(NoResponse("connection lost", sent=True))
UNSENT = decision_on_no_response(NoResponse("no connection", sent=False))
BUSY = Decision(NextStep.RETRY, Detail(503), maybe_applied=True, after_s=7.0)
REFUSED = Decision(NextStep.SPLIT, Detail(400, extra=(("apiCode", 1),)))
NOT_FOUND = Decision(NextStep.LOOK_UP, Detail(404, extra=(("apiCode", 2004),)))
UNSURE = Decision(NextStep.LOOK_UP, Detail(200), maybe_applied=True)
HALT = Decision(NextStep.HALT, reason="no permission")


def records(count: int) -> Records:
    return Records(tuple(range(0, 2 * count, 2)), tuple(f"u{i}" for i in range(count)))


SENT = Instant("2026-01-01T00:00:00.000Z", 0)


def state(
    count: int,
    machine: type[ChunkState] = ChunkState,
    rules: type[IdRules] = IdRules,
    *,
    in_doubt: bool = False,
    protected: bool = False,
    absence_reaches: bool = True,
    resend_unproven: bool = False,
    several_requests: bool = False,
    **more: Any,
) -> ChunkState:
    chunk = Chunk(records(count), Doubt(SENT, SENT) if in_doubt else None, protected)
    return machine(chunk, rules(absence_reaches, resend_unproven, several_requests), **more)


def told(chunk_state: ChunkState) -> list[tuple[str, list[str], str | None]]:
    return [(one.kind, [record.id for record in one.records], one.reason) for one in chunk_state.settled]


def sent(chunk_state: ChunkState) -> list[str]:
    """The ids that the step which is due asks for."""
    step = chunk_state.next_step()
    assert step is not None
    return [record.id for record in step.records]


def lose(chunk_state: ChunkState, decision: Decision = LOST) -> None:
    """Give this answer until the chunk is not sent again."""
    while isinstance(chunk_state.next_step(), Send):
        chunk_state.replied(decision)


def look_up_due(chunk_state: ChunkState) -> LookUpReason:
    step = chunk_state.next_step()
    assert isinstance(step, LookUp)
    return step.why


def found(*ids: str, presence: Presence = OLD) -> Found:
    return dict.fromkeys(ids, presence)


def left(chunk_state: ChunkState) -> tuple[list[int], list[int]]:
    untouched, doubtful = chunk_state.end()
    return [p // 2 for p in positions_in(untouched)], [p // 2 for p in positions_in(doubtful)]


# ── every arrow, by hand ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_protected_chunk_that_is_not_in_doubt_is_spared_without_a_request() -> None:
    chunk_state = state(3, protected=True)
    assert chunk_state.next_step() is None
    assert chunk_state.spared == [*records(3)]
    assert chunk_state.end() == ((), ())


def test_settled_at_once() -> None:
    chunk_state = state(3)
    assert chunk_state.next_step() == Send(records(3), 1)
    chunk_state.replied(OK)
    assert told(chunk_state) == [("done", ["u0", "u1", "u2"], None)]
    assert chunk_state.settled[0].detail.request_id == "r"
    assert (chunk_state.next_step(), chunk_state.requests, chunk_state.settled[0].attempts) == (None, 1, 1)
    assert left(chunk_state) == ([], [])


def test_a_lost_reply_is_sent_again_whole() -> None:
    chunk_state = state(3)
    for attempt in range(2, ATTEMPTS_MAX + 1):
        chunk_state.replied(LOST)
        assert chunk_state.next_step() == Send(records(3), attempt)
    chunk_state.replied(OK)
    assert told(chunk_state) == [("done", ["u0", "u1", "u2"], None)]
    assert (chunk_state.settled[0].attempts, chunk_state.requests) == (ATTEMPTS_MAX, ATTEMPTS_MAX)


def test_what_the_server_asks_to_wait_is_handed_on_and_forgotten() -> None:
    chunk_state = state(1)
    chunk_state.replied(BUSY)
    assert chunk_state.after_s == 7.0
    chunk_state.replied(LOST)
    assert chunk_state.after_s == 0.0


def test_attempts_run_out_gone_is_deleted_there_is_left_in_doubt() -> None:
    chunk_state = state(3)
    lose(chunk_state)
    assert look_up_due(chunk_state) is LookUpReason.EXHAUSTED
    chunk_state.looked_up(Evidence(found("u1"), proven=True))
    assert told(chunk_state) == [("done", ["u0", "u2"], None)]
    assert chunk_state.next_step() is None
    assert left(chunk_state) == ([], [1])


def test_attempts_run_out_and_all_are_gone() -> None:
    chunk_state = state(2)
    lose(chunk_state)
    chunk_state.looked_up(Evidence({}, proven=True))
    assert told(chunk_state) == [("done", ["u0", "u1"], None)]
    assert chunk_state.left == []


def test_looked_up_first_deleted_and_absent_are_seen() -> None:
    chunk_state = state(3, look_first=True)
    assert look_up_due(chunk_state) is LookUpReason.FIRST
    chunk_state.looked_up(Evidence(found("u1", "u2"), proven=True))
    assert told(chunk_state) == [("absent", ["u0"], None)]
    assert chunk_state.next_step() == Send(records(3)[1:], 1)
    chunk_state.replied(OK)
    assert told(chunk_state)[1:] == [("done", ["u1", "u2"], None)]


def test_seen_first_refused_as_unknown_and_gone_is_deleted() -> None:
    """An API that deletes the known ids and answers 404: what was seen before the request and is gone after it."""
    chunk_state = state(2, look_first=True)
    chunk_state.looked_up(Evidence(found("u0", "u1"), proven=True))
    chunk_state.replied(NOT_FOUND)
    assert look_up_due(chunk_state) is LookUpReason.UNKNOWN_ID
    chunk_state.looked_up(Evidence({}, proven=True))
    assert told(chunk_state) == [("done", ["u0", "u1"], None)]


@pytest.mark.parametrize("ends", ["fails", "is given up", "does not begin"])
def test_an_id_that_the_api_calls_unknown_is_not_in_doubt(ends: str) -> None:
    """Also where its look-up fails, or never is: the request had no effect on it. One for several ids may have had."""
    each = Decision(NextStep.PER_ID, data=[IdAnswer(f"u{n}", Verdict.ABSENT, Detail(404)) for n in range(2)])
    for count, answer in ((1, NOT_FOUND), (2, each), (2, NOT_FOUND)):
        chunk_state = state(count)
        chunk_state.replied(answer)
        if ends == "fails":
            chunk_state.looked_up(None)
        elif ends == "is given up":
            chunk_state.give_up()
        everything = list(range(count))
        shared = answer is NOT_FOUND and count > 1
        assert left(chunk_state) == (([], everything) if shared else (everything, []))


def test_a_request_that_is_on_the_wire_when_the_run_ends_is_in_doubt_and_may_be_ours() -> None:
    chunk_state = state(1)
    chunk_state.touch()
    assert chunk_state.due.maybe_applied
    assert left(chunk_state) == ([], [0])
    chunk_state.touch()  # nothing is due any more
    assert chunk_state.next_step() is None


@pytest.mark.parametrize("verdict", [Verdict.AGAIN, Verdict.MAYBE_APPLIED, Verdict.ALREADY])
def test_what_an_answer_leaves_open_was_touched(verdict: Verdict) -> None:
    """Sent again later; and of two requests the first was accepted, so the record is half-way."""
    chunk_state = state(1, several_requests=True)
    answer = Decision(NextStep.PER_ID, data=[IdAnswer("u0", verdict, Detail(200))])
    chunk_state.replied(answer, 2)
    assert isinstance(chunk_state.next_step(), Send)
    assert left(chunk_state) == (([0], []) if verdict is Verdict.AGAIN else ([], [0]))


def test_what_was_lost_does_not_count_for_the_next_request_of_a_record() -> None:
    chunk_state = state(1, several_requests=True)
    chunk_state.replied(LOST, 2)
    chunk_state.replied(Decision(NextStep.PER_ID, data=[IdAnswer("u0", Verdict.ALREADY, Detail(200))]), 2)
    assert chunk_state.next_step() == Send(records(1), 1, request_no=1)


def test_a_look_up_that_is_renewed_is_no_repetition() -> None:
    chunk_state = state(1, look_first=True)
    chunk_state.looked_up(Evidence(found("u0"), proven=True))
    assert chunk_state.renew_look_up()
    assert chunk_state.next_step() == LookUp(records(1), LookUpReason.FIRST, 0)


def test_a_refusal_as_unknown_of_an_id_that_is_there_keeps_what_the_api_said() -> None:
    chunk_state = state(2, old_doubt=True)
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence(found("u0"), proven=True))
    chunk_state.replied(NOT_FOUND)
    look_in_vain(chunk_state, "u0")
    assert [one.detail for one in chunk_state.settled if one.kind == "refused"] == [NOT_FOUND.detail]


def test_an_id_that_is_there_after_an_unclear_response_keeps_what_the_api_said() -> None:
    chunk_state = state(1, old_doubt=True)
    chunk_state.replied(UNSURE)
    while isinstance(chunk_state.next_step(), LookUp):
        chunk_state.looked_up(Evidence(found("u0"), proven=True))
    assert [(one.kind, one.detail) for one in chunk_state.settled] == [("refused", UNSURE.detail)]


def test_an_id_that_an_answer_calls_absent_and_that_is_there_keeps_what_the_api_said() -> None:
    chunk_state = state(1, old_doubt=True)
    chunk_state.replied(Decision(NextStep.PER_ID, data=[IdAnswer("u0", Verdict.ABSENT, Detail(404))]))
    while isinstance(chunk_state.next_step(), LookUp):
        chunk_state.looked_up(Evidence(found("u0"), proven=True))
    assert [(one.kind, one.detail) for one in chunk_state.settled] == [("refused", Detail(404))]


def test_an_unknown_id_that_a_look_up_may_miss_keeps_what_the_api_said() -> None:
    chunk_state = state(1)
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence({}, proven=True, unproven={"u0"}))
    assert [(one.reason, one.detail) for one in chunk_state.settled] == [("unproven", NOT_FOUND.detail)]


@pytest.mark.parametrize("resend", [True, False])
def test_a_row_in_doubt_without_look_ups_is_sent_again_or_left(resend: bool) -> None:
    """It is not called unknown: that is for one that must never be sent."""
    chunk_state = state(1, in_doubt=True, can_look_up=False, resend_unproven=resend)
    chunk_state.looked_up(Evidence({}, proven=False, unproven={"u0"}))
    assert (told(chunk_state), chunk_state.next_step() is None) == ([], not resend)


def test_an_id_that_was_seen_before_a_refusal_of_several_and_is_gone_was_done() -> None:
    """The refused request may have been carried out for it, and its look-up is repeated before the next one."""
    chunk_state = state(2, look_first=True)
    chunk_state.looked_up(Evidence(found("u0", "u1"), proven=True))
    chunk_state.replied(REFUSED)
    assert sent(chunk_state) == ["u0"]
    assert chunk_state.renew_look_up()
    chunk_state.looked_up(Evidence({}, proven=True))
    assert told(chunk_state) == [("done", ["u0"], None)]


def test_the_halt_says_what_is_to_be_checked() -> None:
    chunk_state = state(ALL_REFUSED_MIN, to_check="Check the key.")
    while (step := chunk_state.next_step()) is not None:
        if isinstance(step, Send):
            chunk_state.replied(REFUSED)
        else:
            chunk_state.looked_up(Evidence(found(*step.records.ids), proven=True))
    assert str(chunk_state.halt).endswith("Check the key.")


def test_what_was_lost_does_not_count_for_the_halves_of_a_chunk() -> None:
    chunk_state = state(2)
    chunk_state.replied(LOST)
    chunk_state.replied(REFUSED)
    assert chunk_state.next_step() == Send(records(2)[:1], 1)
    chunk_state.replied(OK)
    assert chunk_state.next_step() == Send(records(2)[1:], 1)


def test_what_the_api_says_of_an_id_in_doubt_is_kept() -> None:
    chunk_state = state(1)
    chunk_state.replied(LOST)
    chunk_state.replied(Decision(NextStep.PER_ID, data=[IdAnswer("u0", Verdict.ALREADY, Detail(409))]))
    assert told(chunk_state) == [("done", ["u0"], None)]
    assert chunk_state.settled[0].detail == Detail(409)


def test_an_id_that_is_called_unknown_after_a_lost_request_is_in_doubt() -> None:
    chunk_state = state(1)
    chunk_state.replied(LOST)
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(None)
    assert left(chunk_state) == ([], [0])


def test_an_id_that_the_request_may_misread_too_is_left() -> None:
    """Neither the refusal as unknown nor the look-up proves that it is absent. It was not touched, unless in doubt."""
    chunk_state = state(2)
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence({}, proven=True, unproven={"u0"}, misread={"u0"}))
    assert told(chunk_state) == [("absent", ["u1"], "unproven")]
    assert chunk_state.next_step() == Send(records(2)[:1], 1)  # alone: another id may have been the unknown one
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence({}, proven=True, unproven={"u0"}, misread={"u0"}))
    assert chunk_state.next_step() is None
    assert [each.records.ids for each in chunk_state.left] == [("u0",)]


@pytest.mark.parametrize(("answer", "proven"), [(None, True), ({}, False)])
def test_without_a_trusted_look_nothing_is_sent(answer: Found | None, proven: bool) -> None:
    chunk_state = state(2, look_first=True)
    chunk_state.looked_up(None if answer is None else Evidence(answer, proven=proven))
    assert chunk_state.next_step() is None
    assert (told(chunk_state), left(chunk_state)) == ([], ([0, 1], []))


@mutant(
    "in doubt and protected since sent again",
    "IdRules._resend",
    swap(
        "if state.protected:\n"
        "    self._spare(state, sub_chunk, meant)\n"
        "elif meant:\n"
        "    state.push(sub_chunk._replace(records=Records.of(meant)))",
        "if meant:\n    state.push(sub_chunk._replace(records=Records.of(meant)))",
    ),
)
@mutant(
    "an id is called excluded while a look-up may lag behind its deletion",
    "IdRules._spare",
    swap("state.leave_until_lag_over(rest)", "state.spare(kept)"),
    case="False",
)
@pytest.mark.parametrize("old_doubt", [False, True])
def test_in_doubt_and_protected_since_is_never_sent(old_doubt: bool) -> None:
    chunk_state = state(3, in_doubt=True, protected=True, old_doubt=old_doubt)
    chunk_state.looked_up(Evidence({"u1": Presence.OLD, "u2": Presence.NEW}, proven=True))
    assert told(chunk_state) == [("done", ["u0"], None), ("done", ["u2"], "re-created")]
    for again in () if old_doubt else range(1, LOOKS_AGAIN_MAX + 1):
        assert chunk_state.next_step() == LookUp(records(3)[1:2], LookUpReason.IN_DOUBT, again)
        chunk_state.looked_up(Evidence({"u1": Presence.OLD}, proven=True))
    assert chunk_state.next_step() is None
    assert chunk_state.spared == ([records(3)[1]] if old_doubt else [])
    assert (chunk_state.contradicted, left(chunk_state)) == ((0, ([], [])) if old_doubt else (1, ([], [1])))


def test_fresh_and_protected_is_never_sent_and_never_looked_up() -> None:
    chunk_state = state(2, protected=True, look_first=True)
    assert chunk_state.next_step() is None
    assert (chunk_state.spared, chunk_state.settled) == ([*records(2)], [])
    assert chunk_state.end() == ((), ())


def test_attempts_run_out_without_a_connection_nothing_was_touched() -> None:
    chunk_state = state(2)
    lose(chunk_state, UNSENT)
    assert chunk_state.next_step() is None
    assert left(chunk_state) == ([0, 1], [])


def test_gone_and_not_maybe_applied_is_absent_even_when_attempts_ran_out() -> None:
    """Refused, split, and then no connection any more: only the refused request can have deleted what is gone."""
    chunk_state = state(2)
    chunk_state.replied(REFUSED)
    lose(chunk_state, UNSENT)
    assert look_up_due(chunk_state) is LookUpReason.EXHAUSTED
    chunk_state.looked_up(Evidence({}, proven=True))
    assert told(chunk_state) == [("absent", ["u0"], "unproven")]


@mutant(
    "maybe applied is forgotten",
    "ChunkState.replied",
    swap("sub_chunk.maybe_applied or decision.maybe_applied", "False"),
)
@pytest.mark.parametrize("maybe_applied", [False, True])
def test_an_unknown_id_costs_two_requests_and_nothing_else(maybe_applied: bool) -> None:
    chunk_state = state(4)
    if maybe_applied:
        chunk_state.replied(LOST)
    chunk_state.replied(NOT_FOUND)
    assert look_up_due(chunk_state) is LookUpReason.UNKNOWN_ID
    chunk_state.looked_up(Evidence(found("u1", "u3"), proven=True))
    assert chunk_state.next_step() == Send(records(4)[1::2], 1)
    chunk_state.replied(OK)
    assert told(chunk_state) == [
        ("done", ["u0", "u2"], None) if maybe_applied else ("absent", ["u0", "u2"], "unproven"),
        ("done", ["u1", "u3"], None),
    ]


@pytest.mark.parametrize(("maybe_applied", "kind", "reason"), [(False, "absent", "unproven"), (True, "done", None)])
def test_none_found_of_a_refused_chunk(maybe_applied: bool, kind: str, reason: str | None) -> None:
    chunk_state = state(2)
    if maybe_applied:
        chunk_state.replied(LOST)
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence({}, proven=True))
    assert told(chunk_state) == [(kind, ["u0", "u1"], reason)]
    assert chunk_state.next_step() is None


def test_refused_again_although_all_exist_is_split() -> None:
    chunk_state = state(3)
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence(found("u0", "u1", "u2"), proven=True))
    chunk_state.replied(NOT_FOUND)
    look_in_vain(chunk_state, "u0", "u1", "u2")
    assert sent(chunk_state) == ["u0", "u1"]
    # A half that is refused is looked up anew: no look-up has shown yet what the API did before it refused the chunk.
    chunk_state.replied(NOT_FOUND)
    assert look_up_due(chunk_state) is LookUpReason.UNKNOWN_ID


def look_in_vain(chunk_state: ChunkState, *ids: str) -> None:
    """Answer each further look-up as the one before."""
    for again in range(1, LOOKS_AGAIN_MAX + 1):
        step = chunk_state.next_step()
        assert isinstance(step, LookUp)
        assert (step.why, step.again) == (LookUpReason.LAGGING, again)
        chunk_state.looked_up(Evidence(found(*ids), proven=True))


def test_a_look_up_that_lags_is_asked_again_until_it_tells() -> None:
    chunk_state = state(3)
    chunk_state.replied(LOST)
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence(found("u0", "u1", "u2"), proven=True))
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence(found("u1", "u2"), proven=True))
    assert told(chunk_state) == [("done", ["u0"], None)]
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence({}, proven=True))
    assert told(chunk_state) == [("done", ["u0"], None), ("done", ["u1", "u2"], None)]
    assert chunk_state.next_step() is None


@mutant(
    "refused because of another id that turns out to be gone",
    "IdRules.looked_up",
    swap("gone or reached", "not there"),
)
@pytest.mark.parametrize("old_doubt", [False, True])
def test_ids_refused_with_one_that_turns_out_to_be_gone_are_sent_again(old_doubt: bool) -> None:
    """Another program deleted u0, and look-ups lagged. The API has never refused u1 on its own account."""
    chunk_state = state(2, in_doubt=True, old_doubt=old_doubt)
    chunk_state.looked_up(Evidence(found("u0", "u1"), proven=True))
    chunk_state.replied(NOT_FOUND)
    for _ in range(LOOKS_AGAIN_MAX - 1):
        chunk_state.looked_up(Evidence(found("u0", "u1"), proven=True))
    assert (sent(chunk_state), look_up_due(chunk_state)) == (["u0", "u1"], LookUpReason.LAGGING)
    chunk_state.looked_up(Evidence(found("u1"), proven=True))
    assert told(chunk_state) == [("done", ["u0"], None)]
    assert sent(chunk_state) == ["u1"]
    chunk_state.replied(OK)
    assert told(chunk_state) == [("done", ["u0"], None), ("done", ["u1"], None)]


@pytest.mark.parametrize("old_doubt", [False, True])
@pytest.mark.parametrize("in_doubt", [False, True])
def test_a_single_id_that_may_be_deleted_is_not_refused_while_look_ups_may_lag(in_doubt: bool, old_doubt: bool) -> None:
    chunk_state = state(1, in_doubt=in_doubt, old_doubt=old_doubt)
    if in_doubt:
        chunk_state.looked_up(Evidence(found("u0"), proven=True))
    else:
        chunk_state.replied(LOST)
        chunk_state.replied(NOT_FOUND)
        chunk_state.looked_up(Evidence(found("u0"), proven=True))
    chunk_state.replied(NOT_FOUND)
    look_in_vain(chunk_state, "u0")
    if in_doubt and old_doubt:
        assert [one.kind for one in chunk_state.settled] == ["refused"]
    else:
        assert (chunk_state.settled, chunk_state.contradicted) == ([], 1)
        assert left(chunk_state) == ([], [0])


@mutant(
    "refused although it may be deleted",
    "IdRules._contradict",
    negate("state.too_early"),
)
def test_a_look_up_that_lags_behind_a_half_done_chunk() -> None:
    """Refused because of u0; the others may be deleted, so none of them is refused for good."""
    chunk_state = state(3)
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence(found("u1", "u2"), proven=True))
    assert told(chunk_state) == [("absent", ["u0"], "unproven")]
    chunk_state.replied(NOT_FOUND)
    look_in_vain(chunk_state, "u1", "u2")
    for id_ in ("u1", "u2"):
        assert sent(chunk_state) == [id_]
        chunk_state.replied(NOT_FOUND)
        chunk_state.looked_up(Evidence(found(id_), proven=True))
        chunk_state.replied(NOT_FOUND)
    assert chunk_state.contradicted == 2
    assert left(chunk_state) == ([], [1, 2])


@mutant(
    "absent counts as proven although the refused request may have had effect",
    "SubChunk.reason_if_not_ours",
    swap("self.shared", "self.shared and len(self.records) == 1"),
    case="there0",
)
@pytest.mark.parametrize("there", [(), ("u1",), ("u1", "u2")])
def test_an_id_that_is_gone_after_a_refusal_of_several_is_absent_and_unproven(there: tuple[str, ...]) -> None:
    """The API may go through the ids in order, or delete some of them, whatever is still there."""
    chunk_state = state(3)
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence(found(*there), proven=True))
    gone = [id_ for id_ in ("u0", "u1", "u2") if id_ not in there]
    assert told(chunk_state) == [("absent", gone, "unproven")]
    alone = state(1)
    alone.replied(NOT_FOUND)
    alone.looked_up(Evidence({}, proven=True))
    assert told(alone) == [("absent", ["u0"], None)], "a request for one id that is refused has no effect"
    first = state(3, look_first=True)
    first.looked_up(Evidence(found(*there), proven=True))
    assert told(first) == [("absent", gone, None)], "seen before any request"


def test_sent_alone_and_refused_as_unknown_it_is_refused_at_once() -> None:
    """No request can have deleted it: the API does not take the id as it stands, and look-ups do."""
    chunk_state = state(1)
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence(found("u0"), proven=True))
    chunk_state.replied(NOT_FOUND)
    assert [(one.kind, one.detail.extra) for one in chunk_state.settled] == [("refused", (("apiCode", 2004),))]


def test_refused_again_after_a_lost_reply_is_looked_up_again() -> None:
    chunk_state = state(2)
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence(found("u0", "u1"), proven=True))
    chunk_state.replied(LOST)
    chunk_state.replied(NOT_FOUND)
    assert look_up_due(chunk_state) is LookUpReason.UNKNOWN_ID
    chunk_state.looked_up(Evidence({}, proven=True))
    assert told(chunk_state) == [("done", ["u0", "u1"], None)]


def test_success_not_true_is_looked_up_then_split() -> None:
    chunk_state = state(3)
    chunk_state.replied(UNSURE)
    assert look_up_due(chunk_state) is LookUpReason.UNSURE
    chunk_state.looked_up(Evidence(found("u0", "u2"), proven=True))
    assert told(chunk_state) == [("done", ["u1"], None)]
    assert sent(chunk_state) == ["u0"]
    chunk_state.replied(OK)
    assert sent(chunk_state) == ["u2"]
    chunk_state.replied(UNSURE)
    for again in range(LOOKS_AGAIN_MAX + 1):
        assert chunk_state.next_step() == LookUp(chunk_state.chunk.records[2:], LookUpReason.UNSURE, again)
        chunk_state.looked_up(Evidence(found("u2"), proven=True))
    assert (left(chunk_state), chunk_state.contradicted) == (([], [2]), 1)
    assert told(chunk_state)[2:] == []


@mutant(
    "what a request without a clear answer may have deleted is refused",
    "IdRules._there",
    swap(
        "state.leave_refused(rest)",
        "state.settle_refused(rest)",
    ),
    case="False",
)
@mutant(
    "a refusal waits for ever where a response says nothing clear",
    "ChunkState.replied",
    swap("decision.maybe_applied and decision.next_step is NextStep.RETRY", "decision.maybe_applied"),
    case="False",
)
@pytest.mark.parametrize("lost", [False, True])
def test_an_id_is_refused_only_when_no_look_up_can_lag(lost: bool) -> None:
    """At first it is left. Later it is sent once more; with a lost response it is left again."""
    for in_doubt in (False, True):
        chunk_state = state(1, in_doubt=in_doubt, old_doubt=in_doubt)
        if in_doubt:
            chunk_state.looked_up(Evidence(found("u0"), proven=True))
        if lost:
            chunk_state.replied(LOST)
        chunk_state.replied(UNSURE)
        while chunk_state.next_step() is not None:
            chunk_state.looked_up(Evidence(found("u0"), proven=True))
        refused = in_doubt and not lost
        assert left(chunk_state) == (([], []) if refused else ([], [0]))
        assert told(chunk_state) == ([("refused", ["u0"], None)] if refused else [])


def test_split_down_to_the_culprit() -> None:
    chunk_state = state(50)
    sizes = []
    while (step := chunk_state.next_step()) is not None:
        if isinstance(step, LookUp):
            sizes.append(0)
            chunk_state.looked_up(Evidence(found("u0"), proven=True))
            continue
        sizes.append(len(step.records))
        chunk_state.replied(REFUSED if any(record.id == "u0" for record in step.records) else OK)
    assert sizes == [50, 25, 13, 7, 4, 2, 1, 0, 1, 2, 3, 6, 12, 25], "one look-up for what is refused alone at last"
    assert [one for one in told(chunk_state) if one[0] == "refused"] == [("refused", ["u0"], None)]
    assert [one.detail for one in chunk_state.settled if one.kind == "refused"] == [
        Detail(400, extra=(("apiCode", 1),))
    ]
    assert sum(len(one.records) for one in chunk_state.settled if one.kind == "done") == 49


def test_outcomes_of_a_split_chunk_come_in_the_order_of_the_export() -> None:
    chunk_state = state(8)
    chunk_state.replied(REFUSED)
    while chunk_state.next_step() is not None:
        chunk_state.replied(OK)
    assert [id_ for _, ids, _ in told(chunk_state) for id_ in ids] == [f"u{i}" for i in range(8)]


def refuse_each(chunk_state: ChunkState, verdict_of: Callable[[str], Decision]) -> None:
    """Refuse whatever has more than one id, and answer single ones by `verdict_of`."""
    while (step := chunk_state.next_step()) is not None:
        if isinstance(step, LookUp):
            there = found(*step.records.ids) if chunk_state.can_look_up else {}
            chunk_state.looked_up(Evidence(there, proven=chunk_state.can_look_up))
        else:
            chunk_state.replied(REFUSED if len(step.records) > 1 else verdict_of(step.records[0].id))


def test_all_refused_with_one_code_halts_and_records_nothing() -> None:
    chunk_state = state(ALL_REFUSED_MIN)
    refuse_each(chunk_state, lambda _: REFUSED)
    assert chunk_state.halt is not None
    assert "10 ids in a row" in chunk_state.halt
    assert "code 400" in chunk_state.halt
    assert (chunk_state.settled, chunk_state.next_step()) == ([], None)
    assert left(chunk_state) == ([], list(range(ALL_REFUSED_MIN)))


def test_all_refused_is_no_reason_to_halt_when_few_or_of_several_codes() -> None:
    few = state(ALL_REFUSED_MIN - 1)
    refuse_each(few, lambda _: REFUSED)
    several = state(ALL_REFUSED_MIN)
    refuse_each(several, lambda id_: Decision(NextStep.SPLIT, Detail(409)) if id_ == "u3" else REFUSED)
    one_deleted = state(ALL_REFUSED_MIN)
    refuse_each(one_deleted, lambda id_: OK if id_ == "u9" else REFUSED)
    one_left = state(ALL_REFUSED_MIN)
    refuse_each(one_left, lambda id_: UNSENT if id_ == "u9" else REFUSED)
    for chunk_state in (few, several, one_deleted, one_left):
        assert chunk_state.halt is None
        settled = sum(len(one.records) for one in chunk_state.settled)
        assert settled == len(chunk_state.chunk.records) - len(chunk_state.left)


@mutant(
    "refusals of which look-ups may lag count as decided one after the other",
    "ChunkState._halt_if_all_refused",
    swap("self._decided", "sorted(self._decided, key=lambda part: part.kind)"),
)
def test_ids_that_were_accepted_between_refusals_are_no_reason_to_halt() -> None:
    """Every second id gets an answer that says nothing clear, and look-ups find it."""
    chunk_state = state(3 * ALL_REFUSED_MIN)
    while (step := chunk_state.next_step()) is not None:
        if isinstance(step, LookUp):
            chunk_state.looked_up(Evidence(found(*step.records.ids), proven=True))
        elif len(step.records) > 1:
            chunk_state.replied(REFUSED)
        else:
            chunk_state.replied(OK if step.records[0].position % 4 else UNSURE)
    assert chunk_state.halt is None


@mutant(
    "a request that is lost every second time is sent for ever",
    "IdRules.looked_up",
    swap("sub_chunk.attempts if len(there) == len(sub_chunk.records) else 0", "0 * len(there)"),
)
def test_requests_come_to_an_end_where_the_api_knows_no_id_that_look_ups_find() -> None:
    """As behind two servers, of which one answers nothing and the other one knows no account."""
    chunk_state, sends = state(2), 0
    while (step := chunk_state.next_step()) is not None and sends < 100:
        if isinstance(step, LookUp):
            chunk_state.looked_up(Evidence(found(*step.records.ids), proven=True))
        else:
            sends += 1
            chunk_state.replied(LOST if sends % 2 else NOT_FOUND)
    assert sends < 20


def test_halt_keeps_the_chunk_in_doubt() -> None:
    chunk_state = state(2)
    chunk_state.replied(HALT)
    assert (chunk_state.halt, chunk_state.next_step(), chunk_state.settled) == ("no permission", None, [])
    assert left(chunk_state) == ([], [0, 1])


def test_a_halt_before_anything_was_touched_releases_the_chunk() -> None:
    chunk_state = state(2)
    chunk_state.replied(Decision(NextStep.SIGN_IN, untouched=True))
    assert chunk_state.halt == "sign in"  # not for this place, so it stops rather than guesses
    assert left(chunk_state) == ([0, 1], [])


@pytest.mark.parametrize("decision", [LOST, REFUSED, NOT_FOUND])
def test_a_look_up_that_fails_or_never_comes_leaves_all_in_doubt(decision: Decision) -> None:
    chunk_state = state(2)
    lose(chunk_state, NOT_FOUND if decision is REFUSED else decision)
    chunk_state.looked_up(None)
    assert (told(chunk_state), chunk_state.next_step()) == ([], None)
    assert left(chunk_state) == ([], [0, 1])
    waiting = state(2)
    waiting.replied(decision)
    assert left(waiting) == ([], [0, 1])
    assert waiting.next_step() is None


def test_nothing_sent_nothing_touched_and_a_request_on_the_wire_is_in_doubt() -> None:
    chunk_state = state(2)
    chunk_state.touch()
    assert left(chunk_state) == ([], [0, 1])
    chunk_state.touch()  # nothing is due any more
    assert left(chunk_state) == ([], [])
    assert left(state(2)) == ([0, 1], [])


def test_half_touched() -> None:
    """The part of a chunk that was answered keeps its outcome; the part on the wire is in doubt."""
    chunk_state = state(4)
    chunk_state.replied(REFUSED)
    chunk_state.replied(OK)
    chunk_state.touch()
    assert told(chunk_state) == [("done", ["u0", "u1"], None)]
    assert left(chunk_state) == ([], [2, 3])


@mutant(
    "in doubt sent without a look-up",
    "ChunkState.__post_init__",
    swap("LookUpReason.IN_DOUBT", "None"),
)
def test_in_doubt_is_looked_up_first_and_told_apart() -> None:
    chunk_state = state(5, in_doubt=True)
    assert look_up_due(chunk_state) is LookUpReason.IN_DOUBT
    chunk_state.looked_up(Evidence({"u0": OLD, "u1": NEW, "u2": UNDATED, "u4": OLD}, proven=True))
    assert told(chunk_state) == [
        ("done", ["u3"], None),
        ("done", ["u1"], "re-created"),
        ("unknown", ["u2"], "perhaps re-created"),
    ]
    assert sent(chunk_state) == ["u0", "u4"]
    chunk_state.replied(NOT_FOUND)  # known to exist a moment ago: look-ups may lag
    look_in_vain(chunk_state, "u0", "u4")
    assert sent(chunk_state) == ["u0"]
    chunk_state.replied(OK)
    assert sent(chunk_state) == ["u4"]


def test_a_look_up_that_shows_half_a_deletion_proves_none_absent() -> None:
    """The API deleted the known ones and refused the chunk; of these, the look-up still showed one."""
    chunk_state = state(3)
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence(found("u1"), proven=True))
    assert told(chunk_state) == [("absent", ["u0", "u2"], "unproven")]
    assert sent(chunk_state) == ["u1"]
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence({}, proven=True))
    # The look-up lagged, or another client deleted u1: the second request had no effect on it.
    assert told(chunk_state) == [("absent", ["u0", "u2"], "unproven"), ("absent", ["u1"], "unproven")]
    assert chunk_state.next_step() is None


def test_in_doubt_and_none_to_send_again() -> None:
    chunk_state = state(2, in_doubt=True)
    chunk_state.looked_up(Evidence({"u0": NEW, "u1": UNDATED}, proven=True))
    assert chunk_state.next_step() is None
    gone = state(2, in_doubt=True)
    gone.looked_up(Evidence({}, proven=True))
    assert (told(gone), gone.next_step()) == ([("done", ["u0", "u1"], None)], None)


@pytest.mark.parametrize("resend", [False, True])
def test_in_doubt_and_unproven(resend: bool) -> None:
    chunk_state = state(2, in_doubt=True, resend_unproven=resend)
    chunk_state.looked_up(Evidence({}, proven=False))
    assert told(chunk_state) == []
    assert chunk_state.next_step() == (Send(records(2), 1) if resend else None)
    assert left(chunk_state) == ([], [0, 1])


def test_unproven_and_unknown_is_split_until_the_api_itself_names_the_id() -> None:
    chunk_state = state(2)
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence({}, proven=False))
    assert sent(chunk_state) == ["u0"]
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence({}, proven=False))
    chunk_state.replied(LOST)
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence({}, proven=False))
    assert told(chunk_state) == [("absent", ["u0"], "unproven"), ("done", ["u1"], "unproven")]


@mutant(
    "an empty answer believed without proof",
    "Evidence.blind",
    swap("not self.found and not self.proven", "not self.found and not self.proven and bool(self.unproven)"),
)
@pytest.mark.parametrize("decision", [UNSURE, LOST])
def test_unproven_gone_is_no_proof_of_a_deletion(decision: Decision) -> None:
    chunk_state = state(2)
    lose(chunk_state, decision)
    chunk_state.looked_up(Evidence({}, proven=False))
    assert (told(chunk_state), chunk_state.next_step()) == ([], None)
    assert left(chunk_state) == ([], [0, 1])


def test_one_found_proves_the_others_gone() -> None:
    chunk_state = state(2)
    lose(chunk_state)
    chunk_state.looked_up(Evidence(found("u0"), proven=False))
    assert told(chunk_state) == [("done", ["u1"], None)]


OWN_TESTS = {LookUpReason.CALLED_ABSENT, LookUpReason.REFUSED, LookUpReason.LOST}
"""Reasons with tests of their own: in test_answers_per_id.py, in test_creation_state.py, and below."""


@pytest.mark.parametrize("why", sorted(set(LookUpReason) - OWN_TESTS, key=str))
def test_absence_that_proves_nothing_beside_absence_that_does(why: LookUpReason) -> None:
    """u0 exists, u1 is gone, u2 has a comma and was not found."""
    chunk_state = state(3, in_doubt=why is LookUpReason.IN_DOUBT, look_first=why is LookUpReason.FIRST)
    if answer := {LookUpReason.UNSURE: UNSURE, LookUpReason.EXHAUSTED: LOST}.get(
        why, NOT_FOUND if why in REFUSED_AS_UNKNOWN else None
    ):
        lose(chunk_state, answer)
    if why is LookUpReason.LAGGING:
        chunk_state.looked_up(Evidence(found("u0", "u1", "u2"), proven=True))
        chunk_state.replied(NOT_FOUND)
    assert look_up_due(chunk_state) is why
    chunk_state.looked_up(Evidence(found("u0"), proven=True, unproven={"u2"}))
    assert told(chunk_state)[0] == (
        "absent" if why in {LookUpReason.UNKNOWN_ID, LookUpReason.FIRST} else "done",
        ["u1"],
        "unproven" if why is LookUpReason.UNKNOWN_ID else None,
    )
    steps = []
    while (step := chunk_state.next_step()) is not None:
        steps.append([record.id for record in step.records])
        if isinstance(step, LookUp):
            chunk_state.looked_up(Evidence({} if why is LookUpReason.LAGGING else found("u0"), proven=True))
        else:
            chunk_state.replied(OK)
    left_behind = {
        LookUpReason.UNKNOWN_ID: ([], []),
        LookUpReason.LAGGING: ([], []),
        LookUpReason.FIRST: ([2], []),
        LookUpReason.EXHAUSTED: ([], [0, 2]),
        LookUpReason.UNSURE: ([], [0, 2]),
    }
    assert left(chunk_state) == left_behind.get(why, ([], [2]))
    both = [["u2"], ["u0"]]
    expected: dict[LookUpReason, list[list[str]]] = {
        LookUpReason.UNKNOWN_ID: both,
        LookUpReason.LAGGING: both,
        LookUpReason.EXHAUSTED: [],
        LookUpReason.UNSURE: [["u0"]] * LOOKS_AGAIN_MAX,
    }
    assert steps == expected.get(why, [["u0"]])


@pytest.mark.parametrize("old_doubt", [False, True])
@pytest.mark.parametrize(
    ("finds", "expected"),
    [
        ([], [("done", ["u0"], None)]),
        (["u0"], [("refused", ["u0"], None)]),
    ],
)
def test_refused_after_a_request_that_may_have_been_applied(
    finds: list[str], expected: list[object], old_doubt: bool
) -> None:
    """The id is looked up, a few times if it is there: the look-up may lag, but not behind a request of long ago."""
    chunk_state = state(1, in_doubt=True, old_doubt=old_doubt)
    chunk_state.looked_up(Evidence(found("u0"), proven=True))
    chunk_state.replied(REFUSED)
    looks = 0
    while chunk_state.next_step() is not None:
        assert look_up_due(chunk_state) is LookUpReason.REFUSED
        chunk_state.looked_up(Evidence(found(*finds), proven=True))
        looks += 1
    assert told(chunk_state) == expected
    assert looks == (1 + LOOKS_AGAIN_MAX if finds and not old_doubt else 1)


@mutant(
    "an id that is refused after a lost answer is refused for good",
    "IdRules.id_refused",
    swap("sub_chunk.may_have_had_effect", "sub_chunk.just_found or sub_chunk.shared"),
)
@pytest.mark.parametrize(
    "lost", [LOST, Decision(NextStep.PER_ID, data=[IdAnswer("u0", Verdict.MAYBE_APPLIED, Detail())])]
)
def test_a_look_up_may_lag_behind_a_request_of_this_session(lost: Decision) -> None:
    """That holds as well where the request of an earlier session is so old that no look-up lags behind it."""
    chunk_state = state(1, in_doubt=True, old_doubt=True)
    chunk_state.looked_up(Evidence(found("u0"), proven=True))
    chunk_state.replied(lost)
    chunk_state.replied(REFUSED)
    for _ in range(LOOKS_AGAIN_MAX):
        assert look_up_due(chunk_state) is LookUpReason.REFUSED
        chunk_state.looked_up(Evidence(found("u0"), proven=True))
    assert look_up_due(chunk_state) is LookUpReason.REFUSED
    chunk_state.looked_up(Evidence(found(), proven=True))
    assert told(chunk_state) == [("done", ["u0"], None)]


@mutant(
    "look-ups of rows in doubt do not wait for a request of several that was refused",
    "ChunkState.replied",
    swap(
        "self._perhaps_partly_done or decision.maybe_applied or refused",
        "self._perhaps_partly_done or decision.maybe_applied",
    ),
)
def test_a_look_up_may_lag_behind_a_request_that_was_refused_for_one_of_several() -> None:
    """The server has deleted u0, and then refused u1. Of u0 it says something else next."""
    chunk_state = state(2, in_doubt=True, old_doubt=True)
    chunk_state.looked_up(Evidence(found("u0", "u1"), proven=True))
    chunk_state.replied(REFUSED)
    chunk_state.replied(Decision(NextStep.SPLIT, Detail(422, "no such user")))
    for _ in range(LOOKS_AGAIN_MAX):
        assert look_up_due(chunk_state) is LookUpReason.REFUSED
        chunk_state.looked_up(Evidence(found("u0"), proven=True))
    assert look_up_due(chunk_state) is LookUpReason.REFUSED
    chunk_state.looked_up(Evidence(found(), proven=True))
    assert ("done", ["u0"], None) in told(chunk_state)


BAD = Decision(NextStep.SPLIT, Detail(400, "no such user"))
LOCKED = Decision(NextStep.SPLIT, Detail(423, "locked"))
GONE_BY_ANSWER = Decision(NextStep.PER_ID, data=[IdAnswer("u0", Verdict.ABSENT, Detail(404))])
THERE_BY_ANSWER = Decision(NextStep.PER_ID, data=[IdAnswer("u0", Verdict.ALREADY, Detail(409))])
BAD_BY_ANSWER = Decision(NextStep.PER_ID, data=[IdAnswer("u0", Verdict.REFUSED, Detail(400))])


@mutant(
    "what a chunk that is refused has done before is forgotten",
    "IdRules.chunk_refused",
    swap("sub_chunk.shared or several", "sub_chunk.shared or (several and decision.next_step is NextStep.LOOK_UP)"),
    case="answer1-1-False-True-expected1",
)
@pytest.mark.parametrize(
    ("answer", "looks", "finds", "proven", "expected"),
    [
        # The look-up shows that it is gone.
        (NOT_FOUND, 1, False, True, ("absent", "unproven")),
        (BAD, 1, False, True, ("absent", "unproven")),
        (LOCKED, 1, False, True, ("absent", "unproven")),
        (GONE_BY_ANSWER, 1, False, True, ("absent", "unproven")),
        (BAD_BY_ANSWER, 1, False, True, ("absent", "unproven")),
        # It is still there. A look-up may lag, unless the refusal is that of the chunk: then it is the culprit.
        (LOCKED, 1, True, True, ("refused", None)),
        (BAD, 1 + LOOKS_AGAIN_MAX, True, True, ("refused", None)),
        (BAD_BY_ANSWER, 1 + LOOKS_AGAIN_MAX, True, True, ("refused", None)),
        # The look-up proves nothing.
        (BAD, 1, False, False, ("refused", "unproven")),
        (NOT_FOUND, 1, False, False, ("absent", "unproven")),
        # The answer alone.
        (THERE_BY_ANSWER, 0, False, True, ("already", "unproven")),
        (OK, 0, False, True, ("done", None)),
    ],
)
def test_what_becomes_of_an_id_whose_chunk_was_refused_because_of_another(
    answer: Decision, looks: int, finds: bool, proven: bool, expected: tuple[str, str | None]
) -> None:
    """The API may have carried out the action for u0 before it refused the request because of u1."""
    chunk_state = state(2)
    chunk_state.replied(LOCKED)
    due = chunk_state.due
    assert (due.records.ids, due.maybe_applied, due.may_have_had_effect) == (("u0",), False, True)
    chunk_state.replied(answer)
    looked = 0
    while isinstance(chunk_state.next_step(), LookUp):
        chunk_state.looked_up(Evidence(found(*["u0"] * finds), proven=proven))
        looked += 1
    assert (told(chunk_state), looked) == ([(expected[0], ["u0"], expected[1])], looks)
    assert sent(chunk_state) == ["u1"]


def test_called_absent_alone_and_found_after_a_refusal_with_others_it_is_not_refused_yet() -> None:
    """The look-up may lag behind the refused request."""
    chunk_state = state(2)
    chunk_state.replied(LOCKED)
    chunk_state.replied(GONE_BY_ANSWER)
    chunk_state.looked_up(Evidence(found("u0"), proven=True))
    assert look_up_due(chunk_state) is LookUpReason.LAGGING
    chunk_state.looked_up(Evidence({}, proven=True))
    assert told(chunk_state)[0][1] == ["u0"]


def test_rows_in_doubt_that_are_excluded_since_and_no_look_up_can_tell() -> None:
    chunk_state = state(1, in_doubt=True, protected=True, can_look_up=False)
    chunk_state.looked_up(Evidence({}, proven=False, unproven={"u0"}))
    assert told(chunk_state) == [("unknown", ["u0"], "excluded after it was sent")]


def test_all_refused_without_look_ups_is_not_in_doubt() -> None:
    chunk_state = state(ALL_REFUSED_MIN, can_look_up=False)
    refuse_each(chunk_state, lambda _: REFUSED)
    assert chunk_state.halt is not None
    assert left(chunk_state) == (list(range(ALL_REFUSED_MIN)), [])


@pytest.mark.parametrize("can_look_up", [False, True])
def test_refused_after_such_a_request_and_no_look_up_can_tell(can_look_up: bool) -> None:
    chunk_state = state(1, can_look_up=can_look_up)
    chunk_state.replied(LOST)
    chunk_state.replied(REFUSED)
    chunk_state.looked_up(Evidence({}, proven=False, unproven={"u0"}))
    if can_look_up:
        assert (told(chunk_state), left(chunk_state)) == ([], ([], [0])), "a later session may be able to tell"
    else:
        assert told(chunk_state) == [("unknown", ["u0"], REFUSED_SINCE)]
        assert chunk_state.settled[0].detail.code == 400


def test_seen_first_then_refused_and_not_found_by_a_look_up_that_proves_nothing() -> None:
    chunk_state = state(1, look_first=True)
    chunk_state.looked_up(Evidence(found("u0"), proven=True))
    chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence({}, proven=True, unproven={"u0"}))
    assert told(chunk_state) == [("absent", ["u0"], "unproven")]


@mutant(
    "what another client has deleted is called done",
    "SubChunk.without_effect",
    swap("self.was_outside and self.shared and not self.just_found", "self.was_outside"),
)
@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([NOT_FOUND], ("absent", None)),
        ([GONE_BY_ANSWER], ("absent", None)),
        ([THERE_BY_ANSWER], ("already", None)),
        ([LOST, NOT_FOUND], ("done", None)),
        ([LOCKED, NOT_FOUND], ("done", None)),  # the refused request for both may have deleted it
        ([LOCKED, GONE_BY_ANSWER], ("done", None)),
    ],
)
def test_an_id_that_was_seen_and_is_unknown_when_it_is_sent_alone(
    answers: Sequence[Decision], expected: tuple[str, str | None]
) -> None:
    """Another client may have deleted it between the look-up and the request: this run had no effect then."""
    chunk_state = state(len(answers), look_first=True)
    chunk_state.looked_up(Evidence(found(*chunk_state.chunk.records.ids), proven=True))
    for answer in answers:
        chunk_state.replied(answer)
    if isinstance(chunk_state.next_step(), LookUp):
        chunk_state.looked_up(Evidence({}, proven=True))
    assert told(chunk_state)[0] == (expected[0], [*chunk_state.settled[0].records.ids], expected[1])
    assert chunk_state.settled[0].records.ids[0] == "u0"


@pytest.mark.parametrize("look_first", [False, True])
def test_a_protected_record_is_never_sent(look_first: bool) -> None:
    chunk_state = state(3, look_first=look_first)
    if not look_first:
        chunk_state.replied(NOT_FOUND)
    chunk_state.looked_up(Evidence({"u0": OLD, "u1": PROTECTED}, proven=True))
    assert chunk_state.spared == [records(3)[1]]
    assert told(chunk_state) == [("absent", ["u2"], None if look_first else "unproven")]
    assert sent(chunk_state) == ["u0"]
    chunk_state.replied(OK)
    assert (chunk_state.next_step(), left(chunk_state)) == (None, ([], []))


def test_all_refused_but_the_protected_is_no_reason_to_halt() -> None:
    chunk_state = state(ALL_REFUSED_MIN, look_first=True)
    first = records(ALL_REFUSED_MIN)[0]
    chunk_state.looked_up(
        Evidence({**found(*(f"u{i}" for i in range(ALL_REFUSED_MIN))), first.id: PROTECTED}, proven=True)
    )
    refuse_each(chunk_state, lambda _: REFUSED)
    assert (chunk_state.halt, chunk_state.spared) == (None, [first])
    assert len(chunk_state.settled) == ALL_REFUSED_MIN - 1


# ── all arrows at once: a little server, and what must hold whatever it does ──────────────────────────────────────────

FAULTS = ("lost_before", "lost_unread", "lost_after", "500_after", "unsuccessful", "half_done", "html")
CODES = ((400, 1), (499, None), (603, 7), (404, 2004))
POLICIES = ("accept", "refuse", "partial", "in order")
PARTLY = ("partial", "in order")
"""Policies by which a request that is refused because of an unknown id has deleted known ones."""


@dataclass(frozen=True)
class Scenario:
    """What one chunk meets. Numbers are indices of its records.

    unknown: never existed. poisonous: refused whatever happens, by code. policy: of chunks with an unknown id.
    halfway: a chunk with a poisonous id is refused only when the ids before it are deleted.
    faults: of the first requests, in order. look_ups: whether each look-up of the first ones is answered.
    blind: look-ups find no account. lag: so many look-ups still find accounts that have been deleted.
    in_doubt: an earlier session sent the chunk and deleted `earlier` of it.
    presence: of accounts in doubt that exist, or of those whose record is protected.
    commas: ids that a look-up never finds, and whose absence proves nothing.
    """

    size: int
    unknown: frozenset[int] = frozenset()
    poisonous: Mapping[int, tuple[int, int | None]] = field(default_factory=dict)
    policy: str = "refuse"
    faults: Sequence[str | None] = ()
    look_ups: Sequence[bool] = ()
    blind: bool = False
    in_doubt: bool = False
    resend_unproven: bool = False
    earlier: frozenset[int] = frozenset()
    presence: Mapping[int, Presence] = field(default_factory=dict)
    commas: frozenset[int] = frozenset()
    lag: int = 0
    halfway: bool = False


@dataclass
class Server:
    """Answers as the API may: it refuses a poisonous chunk whole, treats unknown ids by policy, and loses replies.

    effective: ids in a request that had any effect. confirmed: ids in a request answered with success. uncertain: ids
    in a request whose answer left open what it did.
    """

    scenario: Scenario
    alive: set[int]
    deleted: set[int]
    effective: set[int] = field(default_factory=set)
    confirmed: set[int] = field(default_factory=set)
    uncertain: set[int] = field(default_factory=set)
    sends: int = 0
    asked: int = 0

    def _do(self, ids: Sequence[int], share: int | None = None) -> None:
        alive = [i for i in ids if i in self.alive][:share]
        self.alive.difference_update(alive)
        self.deleted.update(alive)
        if alive:
            self.effective.update(ids)

    def _act(self, ids: Sequence[int]) -> Decision:
        for at, i in enumerate(ids):
            if i in self.scenario.poisonous:
                self._do(ids[: at if self.scenario.halfway else 0])
                code = self.scenario.poisonous[i]
                return Decision(
                    NextStep.LOOK_UP if code[0] == 404 else NextStep.SPLIT,
                    Detail(code[0], extra=(("apiCode", code[1] or 0),)),
                )
        policy = self.scenario.policy
        if policy == "accept" or all(i in self.alive for i in ids):
            self._do(ids)
            self.confirmed.update(ids)
            return OK
        if policy == "partial":
            self._do(ids)
        if policy == "in order":
            self._do(ids[: next(at for at, i in enumerate(ids) if i not in self.alive)])
        return NOT_FOUND

    def send(self, ids: Sequence[int]) -> Decision:
        fault = self.scenario.faults[self.sends] if self.sends < len(self.scenario.faults) else None
        self.sends += 1
        if fault == "lost_before":
            return UNSENT
        if fault is None:
            return self._act(ids)
        self.uncertain.update(ids)
        if fault in {"lost_unread", "html"}:
            return LOST
        if fault == "unsuccessful":
            return UNSURE
        if fault == "half_done":
            self._do(ids, len(ids) // 2)
            return UNSURE
        confirmed = set(self.confirmed)
        self._act(ids)
        self.confirmed = confirmed  # no response confirmed it
        return LOST if fault == "lost_after" else BUSY

    def look_up(self, ids: Sequence[int]) -> set[int] | None:
        answered = self.scenario.look_ups[self.asked] if self.asked < len(self.scenario.look_ups) else True
        self.asked += 1
        if not answered:
            return None
        seen = self.alive | self.deleted if self.asked <= self.scenario.lag else self.alive
        return set() if self.scenario.blind else {i for i in ids if i in seen - self.scenario.commas}


def play(scenario: Scenario, broken: type[ChunkState | IdRules] = IdRules) -> tuple[ChunkState, Server]:
    """Settle one chunk to its end, holding on the way what must hold at every step."""
    everyone = set(range(scenario.size))
    gone = scenario.unknown | scenario.earlier
    server = Server(scenario, everyone - gone, set(scenario.earlier - scenario.unknown))
    if scenario.in_doubt:
        server.uncertain, server.effective = set(everyone), set(scenario.earlier)
    machine, rules = (ChunkState, broken) if issubclass(broken, IdRules) else (broken, IdRules)
    doubts = {"in_doubt": scenario.in_doubt, "resend_unproven": scenario.resend_unproven}
    chunk_state = state(scenario.size, machine, rules, **doubts)
    proven = not scenario.blind  # the sample, or the control, has found an account
    while (step := chunk_state.next_step()) is not None:
        ids = [record.position // 2 for record in step.records]
        assert ids == sorted(set(ids)), "a step asks for each record once"
        finished = {record.position // 2 for one in chunk_state.settled for record in one.records}
        assert finished.isdisjoint(ids), "what is settled is never asked for again"
        if isinstance(step, Send):
            assert 1 <= step.attempt <= ATTEMPTS_MAX
            if scenario.in_doubt:
                assert server.asked, "what is in doubt is looked up before it is sent"
                strangers = {i for i in everyone & server.alive if scenario.presence.get(i, OLD) is not OLD}
                strangers -= scenario.commas
                assert scenario.blind or strangers.isdisjoint(ids), "an account that may be another one is never sent"
            chunk_state.replied(server.send(ids))
        else:
            seen = server.look_up(ids)
            answer = None if seen is None else {f"u{i}": scenario.presence.get(i, OLD) for i in seen}
            commas = {f"u{i}" for i in scenario.commas}
            chunk_state.looked_up(None if answer is None else Evidence(answer, proven, commas))
        assert server.sends + server.asked <= bound(scenario), "the number of requests is bounded"
    return chunk_state, server


def bound(scenario: Scenario) -> int:
    """Requests and look-ups together. Each fault and culprit costs a few, an untrusted look-up three per id."""
    troubles = 8 * len(scenario.faults) + 27 * len(scenario.poisonous)
    troubles += (2 * LOOKS_AGAIN_MAX + 6 * scenario.size) if scenario.lag else LOOKS_AGAIN_MAX * len(scenario.poisonous)
    troubles += LOOKS_AGAIN_MAX if scenario.in_doubt and PROTECTED in scenario.presence.values() else 0
    return 3 + troubles + (6 * scenario.size if scenario.blind or scenario.commas else 0)


def check(scenario: Scenario, broken: type[ChunkState | IdRules] = IdRules) -> None:
    """Play it, and hold against the server what is claimed at the end."""
    chunk_state, server = play(scenario, broken)
    untouched, doubtful = map(set, left(chunk_state))
    settled = {record.position // 2: one for one in chunk_state.settled for record in one.records}
    assert len(settled) == sum(len(one.records) for one in chunk_state.settled), "an outcome is final"
    spared = {record.position // 2 for record in chunk_state.spared}
    assert set(settled) | untouched | doubtful | spared == set(range(scenario.size)), "no record is lost"
    assert len(settled) + len(untouched) + len(doubtful) + len(chunk_state.spared) == scenario.size, (
        "no record ends twice"
    )
    assert all(scenario.presence[i] is PROTECTED and i in server.alive for i in spared), "spared: protected, and there"
    assert untouched.isdisjoint(server.effective), "what is called untouched was never effective"
    assert untouched.isdisjoint(server.uncertain), "what is called untouched was never sent without an answer"
    if chunk_state.halt is not None:
        assert not settled
        assert scenario.size >= ALL_REFUSED_MIN
        assert not server.confirmed
    for i, one in settled.items():
        recreated = scenario.in_doubt and scenario.presence.get(i, OLD) is NEW and one.reason == "re-created"
        match one.kind:
            case "done":
                gone = i not in server.alive
                assert i in server.confirmed or recreated or gone, "deleted: it is gone"
                # A look-up may have seen an id that a refused request then deleted, or had deleted when it lagged.
                partly = (scenario.policy in PARTLY and scenario.lag > 0) or scenario.halfway
                partly = partly and i in server.deleted
                assert i in server.confirmed or i in server.uncertain or partly, "deleted, and not absent"
                assert i in server.deleted or i in server.uncertain or scenario.policy == "accept"
            case "absent":
                assert i not in server.alive, "absent: it does not exist"
                assert i not in server.uncertain, "absent, and not deleted: no request may have had effect unseen"
                assert one.reason == "unproven" or i in scenario.unknown, "a deletion of ours is not called absent"
            case "refused":
                assert i in server.alive, "refused: it exists"
                assert i in scenario.poisonous or server.uncertain, "refused: the server had a reason"
                assert one.detail.code is not None
            case "unknown":
                assert scenario.in_doubt
                assert scenario.presence[i] is UNDATED


def no_faults(scenario: Scenario) -> bool:
    return not (scenario.faults or scenario.look_ups or scenario.blind or scenario.in_doubt)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    size = draw(st.integers(1, 50))
    some = st.frozensets(st.integers(0, size - 1), max_size=draw(st.sampled_from((0, 3, size))))
    unknown = draw(some)
    poison = st.dictionaries(st.integers(0, size - 1).filter(lambda i: i not in unknown), st.sampled_from(CODES))
    poisonous = {} if len(unknown) == size else draw(poison.filter(lambda found: len(found) <= 3 or len(found) > 9))
    return Scenario(
        size,
        unknown,
        poisonous,
        draw(st.sampled_from(POLICIES)),
        draw(st.lists(st.sampled_from((None, *FAULTS)), max_size=12)),
        draw(st.lists(st.booleans(), max_size=4)),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(some),
        draw(st.dictionaries(st.integers(0, size - 1), st.sampled_from((OLD, NEW, UNDATED, PROTECTED)))),
        draw(some),
        draw(st.sampled_from((0, 0, 1, 2, 4, 200))),
        draw(st.booleans()),
    )


def plausible(scenario: Scenario) -> Scenario:
    """Drop what no API does: an earlier session that deleted a poisonous id, and two wrong answers about one account.

    Where look-ups find no account, a deletion does not call an account unknown that exists.
    """
    unfindable = frozenset(range(scenario.size)) if scenario.blind else scenario.commas
    poisonous = {i: code for i, code in scenario.poisonous.items() if code[0] != 404 or i not in unfindable}
    scenario = dataclasses.replace(scenario, poisonous=poisonous)
    earlier = scenario.earlier - scenario.poisonous.keys() if scenario.in_doubt else frozenset()
    presence = {i: each for i, each in scenario.presence.items() if scenario.in_doubt or each is PROTECTED}
    # An API that refuses an id for its own sake has not deleted it before. With a lag the look-ups would still find it.
    lag = 0 if PROTECTED in presence.values() or poisonous else scenario.lag
    return dataclasses.replace(scenario, earlier=frozenset(earlier), presence=presence, lag=lag)


EXHAUSTED_WITHOUT_TAINT = Scenario(2, frozenset({0}), {1: (400, 1)}, "refuse", (None, *("lost_before",) * 4))
UNKNOWN_AFTER_LOST = Scenario(5, frozenset({2}), {}, "refuse", ("lost_after",))
PARTIAL = Scenario(5, frozenset({2}), {}, "partial")
IN_ORDER = Scenario(5, frozenset({2}), {}, "in order")
HALFWAY = Scenario(2, frozenset(), {1: (400, 1)}, "refuse", halfway=True)
CULPRIT_NOT_FOUND = Scenario(9, frozenset(), {3: (404, 2004)}, "refuse")
HALF_DONE = Scenario(8, frozenset(), {}, "refuse", ("half_done",))
LAGGING = Scenario(4, frozenset({1}), {}, "partial", lag=200)
LAGGING_ONCE = Scenario(2, frozenset({0}), {}, "partial", lag=1)
BLIND = Scenario(4, frozenset({1}), {}, "refuse", ("lost_unread",) * 4, blind=True)
BLIND_UNKNOWN = Scenario(4, frozenset({1}), {}, "refuse", blind=True)
ALL_REFUSED = Scenario(12, frozenset(), dict.fromkeys(range(12), (499, None)))
COMMAS = Scenario(6, frozenset({1}), {}, "refuse", commas=frozenset({2, 4}))
SEEN_AND_DELETED = Scenario(5, poisonous={0: (404, 2004), 4: (400, 1)}, halfway=True)
IN_DOUBT = Scenario(6, in_doubt=True, earlier=frozenset({0, 3}), presence={1: NEW, 2: UNDATED})


@given(scenarios().map(plausible))
@settings(max_examples=examples(400), deadline=None)
@example(EXHAUSTED_WITHOUT_TAINT)
@example(UNKNOWN_AFTER_LOST)
@example(PARTIAL)
@example(IN_ORDER)
@example(HALFWAY)
@example(CULPRIT_NOT_FOUND)
@example(HALF_DONE)
@example(LAGGING)
@example(LAGGING_ONCE)
@example(BLIND)
@example(BLIND_UNKNOWN)
@example(ALL_REFUSED)
@example(IN_DOUBT)
@example(COMMAS)
@example(SEEN_AND_DELETED)
def test_whatever_the_server_does_every_id_ends_once_and_truly(scenario: Scenario) -> None:
    check(scenario)


@given(scenarios().map(plausible))
@settings(max_examples=examples(150), deadline=None)
def test_without_faults_every_id_gets_its_one_right_outcome(scenario: Scenario) -> None:
    quiet = dataclasses.replace(
        scenario, faults=(), look_ups=(), blind=False, in_doubt=False, earlier=frozenset(), presence={}, lag=0
    )
    chunk_state, _ = play(quiet)
    kinds = {record.position // 2: one.kind for one in chunk_state.settled for record in one.records}
    if chunk_state.halt is not None:
        assert set(quiet.poisonous) == set(range(quiet.size))
        return
    accepted = quiet.policy == "accept"  # then the API calls an unknown id deleted
    _, doubtful = left(chunk_state)
    for i in range(quiet.size):
        if i in doubtful:
            # Found by look-ups and refused as unknown, at first together with others: look-ups may lag.
            assert quiet.poisonous[i] == (404, 2004)
            assert quiet.size > 1
        elif i in quiet.poisonous:
            assert kinds[i] == "refused"
        elif i in quiet.unknown:
            assert kinds[i] == "absent" or accepted
        else:
            # One response that deletes some ids and refuses others: a deleted one looks as if it had never existed.
            partly = (quiet.policy in PARTLY and quiet.unknown) or (quiet.halfway and quiet.poisonous)
            assert kinds[i] == "done" or (kinds[i] == "absent" and partly)


@pytest.mark.parametrize("culprits", [(17,), (0, 49), (0, 25, 49), (7, 8, 9)])
@pytest.mark.parametrize("code", [code for code in CODES if code[0] != 404])
def test_culprits_cost_at_most_twenty_requests_each(culprits: tuple[int, ...], code: tuple[int, int | None]) -> None:
    chunk_state, server = play(Scenario(50, poisonous=dict.fromkeys(culprits, code)))
    assert server.sends + server.asked - 1 <= 13 * len(culprits) <= 20 * len(culprits)
    assert sum(len(one.records) for one in chunk_state.settled if one.kind == "done") == 50 - len(culprits)


@given(st.frozensets(st.integers(0, 49), min_size=1), st.sampled_from(("refuse", *PARTLY)))
@settings(max_examples=examples(100), deadline=None)
def test_unknown_ids_cost_at_most_two_requests(unknown: frozenset[int], policy: str) -> None:
    chunk_state, server = play(Scenario(50, unknown, policy=policy))
    assert server.sends + server.asked - 1 <= 2
    assert {one.kind for one in chunk_state.settled} <= {"done", "absent"}
    assert not server.alive


# ── the checks above can fail: each rule broken once ──────────────────────────────────────────────────────────────────


class NeverTainted(ChunkState):
    """Forgets that a lost reply may have had effect."""

    def replied(self, decision: Decision, requests: int = 1) -> None:
        super().replied(decision._replace(maybe_applied=False), requests)


class AlwaysTainted(IdRules):
    """Claims whatever is gone as deleted."""

    def _gone(self, state: ChunkState, sub_chunk: SubChunk, gone: Records) -> None:
        super()._gone(state, sub_chunk._replace(maybe_applied=True), gone)


class ForgetsUnproven(ChunkState):
    """Takes an empty look-up for proof."""

    def looked_up(self, evidence: Evidence | None) -> None:
        super().looked_up(evidence and evidence._replace(proven=True))


class ForgetsCommas(ChunkState):
    """Takes the absence of an id for proof that the look-up could not have found."""

    def looked_up(self, evidence: Evidence | None) -> None:
        super().looked_up(evidence and evidence._replace(unproven=()))


class KeepsQuietAboutUnproven(IdRules):
    """Says `absent` of what the API may have deleted before it refused the rest."""

    def _gone(self, state: ChunkState, sub_chunk: SubChunk, gone: Records) -> None:
        super()._gone(state, sub_chunk._replace(shared=False), gone)


class NeverSplitsAgain(IdRules):
    """Looks up again and again what is refused again."""

    def _there(self, state: ChunkState, rest: SubChunk, why: LookUpReason, found: Found) -> None:
        super()._there(state, rest._replace(just_found=False), why, found)


class GivesUpAtOnce(ChunkState):
    """Refuses the whole chunk for one culprit."""

    def split(self, sub_chunk: SubChunk) -> None:
        self.settle_refused(sub_chunk)


class RefusesTheUnsure(IdRules):
    """Does not look up what a `success` that is not true has done."""

    def _there(self, state: ChunkState, rest: SubChunk, why: LookUpReason, found: Found) -> None:
        if why is LookUpReason.UNSURE:
            state.settle("done", rest, rest.records)
        else:
            super()._there(state, rest, why, found)


class SendsStrangers(IdRules):
    """Takes every account under an id in doubt for the one that was meant."""

    def _resend(self, state: ChunkState, sub_chunk: SubChunk, found: Found) -> None:
        state.push(sub_chunk)


class SendsDoubtsAtOnce(ChunkState):
    """Treats what is in doubt like fresh ids."""

    def __post_init__(self) -> None:
        self.push(SubChunk(self.chunk.records))


class ReleasesTheTouched(ChunkState):
    """Calls whatever has no outcome untouched."""

    def end(self) -> Any:
        untouched, doubtful = super().end()
        return tuple(sorted((*untouched, *doubtful))), ()


class LosesTheRest(ChunkState):
    """Drops what a failed look-up leaves."""

    def looked_up(self, evidence: Evidence | None) -> None:
        super().looked_up(evidence)
        self.left.clear()


class NeverHalts(ChunkState):
    """Records a whole chunk as refused."""

    def _halt_if_all_refused(self) -> None:
        pass


@pytest.mark.parametrize(
    ("mutant", "scenario"),
    [
        (NeverTainted, UNKNOWN_AFTER_LOST),
        (AlwaysTainted, Scenario(5, frozenset({2}))),
        (AlwaysTainted, EXHAUSTED_WITHOUT_TAINT),
        (ForgetsUnproven, BLIND),
        (ForgetsUnproven, BLIND_UNKNOWN),
        (ForgetsCommas, COMMAS),
        (ForgetsCommas, dataclasses.replace(COMMAS, faults=("lost_unread",) * 4)),
        (KeepsQuietAboutUnproven, PARTIAL),
        (KeepsQuietAboutUnproven, HALFWAY),
        (NeverSplitsAgain, CULPRIT_NOT_FOUND),
        (GivesUpAtOnce, CULPRIT_NOT_FOUND),
        (RefusesTheUnsure, HALF_DONE),
        (SendsStrangers, IN_DOUBT),
        (SendsDoubtsAtOnce, IN_DOUBT),
        (ReleasesTheTouched, Scenario(3, faults=("lost_after",) * 4, look_ups=(False,))),
        (LosesTheRest, Scenario(3, faults=("lost_unread",) * 4)),
    ],
)
def test_the_check_fails_where_a_rule_is_broken(mutant: type[ChunkState | IdRules], scenario: Scenario) -> None:
    check(scenario)
    with pytest.raises(AssertionError):
        check(scenario, mutant)


def test_the_halt_is_what_keeps_a_missing_permission_from_being_recorded() -> None:
    assert play(ALL_REFUSED)[0].settled == []
    assert len(play(ALL_REFUSED, NeverHalts)[0].settled) == 12


def test_what_may_be_applied_can_be_given_up_and_stays_in_doubt() -> None:
    chunk_state = state(2)
    before = chunk_state.due
    chunk_state.replied(Decision(NextStep.RETRY, maybe_applied=True))
    assert (before.maybe_applied, chunk_state.due.maybe_applied) == (False, True)
    chunk_state.give_up()
    assert chunk_state.next_step() is None
    assert chunk_state.end() == ((), records(2).ranges)


def test_a_look_up_that_is_too_old_is_repeated_before_the_request_a_few_times() -> None:
    chunk_state = state(2, look_first=True)
    chunk_state.looked_up(Evidence(found("u0", "u1"), proven=True))
    for _ in range(LOOKS_AGAIN_MAX):
        assert chunk_state.renew_look_up()
        assert look_up_due(chunk_state) is LookUpReason.FIRST
        chunk_state.looked_up(Evidence(found("u0", "u1"), proven=True))
    assert not chunk_state.renew_look_up()
    assert chunk_state.next_step() is None
    assert chunk_state.end() == (((0, 1), (2, 3)), ())


def test_after_a_request_it_is_repeated_as_for_rows_in_doubt() -> None:
    chunk_state = state(1, look_first=True)
    chunk_state.looked_up(Evidence(found("u0"), proven=True))
    chunk_state.replied(LOST)
    assert chunk_state.renew_look_up()
    assert look_up_due(chunk_state) is LookUpReason.IN_DOUBT
    chunk_state.looked_up(Evidence({}, proven=True))
    assert told(chunk_state) == [("done", ["u0"], None)]


def test_what_is_gone_before_any_request_was_absent() -> None:
    chunk_state = state(1, look_first=True)
    chunk_state.looked_up(Evidence(found("u0"), proven=True))
    assert chunk_state.renew_look_up()
    chunk_state.looked_up(Evidence({}, proven=True))
    assert told(chunk_state) == [("absent", ["u0"], None)]


def test_an_old_look_up_is_repeated_before_the_request() -> None:
    """What is gone by then was never sent, so it is absent; what is protected by then is spared."""
    chunk_state = state(4, look_first=True)
    chunk_state.looked_up(Evidence(found("u0", "u1", "u2"), proven=True))
    assert sent(chunk_state) == ["u0", "u1", "u2"]
    assert chunk_state.renew_look_up()
    assert look_up_due(chunk_state) is LookUpReason.FIRST
    chunk_state.looked_up(Evidence({**found("u0"), **found("u2", presence=PROTECTED)}, proven=True))
    assert sent(chunk_state) == ["u0"]
    chunk_state.replied(OK)
    assert told(chunk_state) == [("absent", ["u3"], None), ("absent", ["u1"], None), ("done", ["u0"], None)]
    assert [record.id for record in chunk_state.spared] == ["u2"]


@mutant(
    "a record that is half-way to the target state counts as never sent",
    "IdRules._spare",
    negate("self.several_requests"),
    case="True",
)
@pytest.mark.parametrize("several", [False, True])
def test_a_record_of_which_one_of_several_requests_may_have_been_applied_is_not_called_untouched(several: bool) -> None:
    in_doubt = state(1, in_doubt=True, old_doubt=True, absence_reaches=False, several_requests=several, protected=True)
    in_doubt.looked_up(Evidence(found("u0", presence=PROTECTED), proven=True))
    assert in_doubt.next_step() is None
    assert told(in_doubt) == ([("unknown", ["u0"], "excluded after it was sent")] if several else [])
    assert len(in_doubt.spared) == (not several)
