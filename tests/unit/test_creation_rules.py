"""The state machine of a chunk of accounts that are created: every path of the picture in its module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bulkdel.core.account_match import SKEW_S, ZONE_MAX_S, Doubt, Instant, Presence
from bulkdel.core.chunk_state import ChunkState, Evidence, LookUp, LookUpReason, Send
from bulkdel.core.creation_match import Created, Keys, presence_of_created
from bulkdel.core.creation_rules import CreationRules
from bulkdel.core.decision import Decision, IdAnswer, NextStep, Verdict
from bulkdel.core.halt_limits import ALL_REFUSED_MIN
from bulkdel.core.held_outcomes import HeldOutcomes
from bulkdel.core.look_up_lag import LOOKS_AGAIN_MAX
from bulkdel.core.outcome import TAKEN, Detail, Reduction
from bulkdel.core.record import Chunk, Record, Records
from bulkdel.core.retry import ATTEMPTS_MAX
from tests.mutants import mutant
from tests.syntax import negate, swap

REACHED, UNDATED = Presence.REACHED, Presence.UNDATED
BAD = Detail(400, "no such department")
SPLIT = Decision(NextStep.SPLIT, BAD)
LOST = Decision(NextStep.RETRY, maybe_applied=True)
UNSENT = Decision(NextStep.RETRY, untouched=True)
SENT = Instant("2026-01-01T00:00:00.000Z", 0)
DOUBT = Doubt(SENT, SENT)


def records(*ids: str) -> Records:
    return Records.of(Record(at, id_, b"{}") for at, id_ in enumerate(ids))


def state(
    *ids: str,
    in_doubt: bool = False,
    protected: bool = False,
    groups: Sequence[Records] = (),
    old_doubt: bool = False,
    reductions_of: Callable[[Record], Sequence[Reduction]] = lambda _: (),
    **more: Any,
) -> ChunkState:
    chunk = Chunk(records(*ids), DOUBT if in_doubt else None, protected)
    return ChunkState(chunk, CreationRules(reductions_of, **more), groups=groups, look_first=True, old_doubt=old_doubt)


def rules_of(chunk: ChunkState) -> CreationRules:
    assert isinstance(chunk.rules, CreationRules)
    return chunk.rules


def why_of(chunk: ChunkState) -> LookUpReason:
    step = chunk.next_step()
    assert isinstance(step, LookUp)
    return step.why


def created(*ids: str) -> Decision:
    return Decision(NextStep.PER_ID, data=[IdAnswer(id_, Verdict.SETTLED) for id_ in ids])


def told(chunk: ChunkState) -> list[tuple[str, list[str], str | None]]:
    return [(one.kind, list(one.records.ids), one.reason) for one in chunk.settled]


def due(chunk: ChunkState) -> tuple[str, list[str]]:
    """The step that is due in a word, and its ids."""
    match chunk.next_step():
        case Send(records=some):
            return "send", list(some.ids)
        case LookUp(records=some, why=why):
            return why.name, list(some.ids)
    return "end", []


def look(chunk: ChunkState, *, proven: bool = True, unproven: Sequence[str] = (), **found: Presence) -> None:
    chunk.looked_up(Evidence(found, proven, unproven))


def look_in_vain(chunk: ChunkState, why: LookUpReason) -> None:
    """The look-up and its repetitions find nothing."""
    for again in range(LOOKS_AGAIN_MAX + 1):
        step = chunk.next_step()
        assert isinstance(step, LookUp)
        assert (step.why, step.again) == (why, again)
        look(chunk)


def test_free_keys_are_sent_and_taken_ones_are_never_sent() -> None:
    chunk = state("a", "b", "c", "d")
    assert due(chunk) == ("FIRST", ["a", "b", "c", "d"])
    look(chunk, b=Presence.TAKEN, c=REACHED)
    assert told(chunk) == [("already", ["c"], None), ("refused", ["b"], TAKEN)]
    assert due(chunk) == ("send", ["a", "d"])
    chunk.replied(created("a", "d"))
    assert told(chunk)[2:] == [("done", ["a", "d"], None)]
    assert due(chunk) == ("end", [])


def test_a_look_up_that_returns_an_account_at_random_decides_nothing() -> None:
    chunk = state("a", "b")
    look(chunk, a=UNDATED)
    assert due(chunk) == ("send", ["b"])
    chunk.replied(created("b"))
    assert told(chunk) == [("done", ["b"], None)]
    assert chunk.end() == (((0, 1),), ())


def test_a_blind_look_up_sends_nothing() -> None:
    chunk = state("a")
    look(chunk, proven=False)
    assert due(chunk) == ("end", [])
    assert chunk.end() == (((0, 1),), ())


def test_no_response_is_followed_by_look_ups_and_not_by_the_same_request() -> None:
    chunk = state("a", "b")
    look(chunk)
    chunk.replied(LOST)
    assert due(chunk) == ("LOST", ["a", "b"])
    look(chunk, a=REACHED)
    assert told(chunk) == [("done", ["a"], None)]
    look(chunk)  # it may lag, so it is repeated
    assert due(chunk) == ("LOST", ["b"])
    look(chunk, b=REACHED)
    assert told(chunk) == [("done", ["a"], None), ("done", ["b"], None)]


@mutant(
    "an account is created again after a lost answer while look-ups may lag",
    "CreationRules._send",
    swap("not state.lag_is_over", "state.protected"),
    case="False",
)
@pytest.mark.parametrize("in_doubt", [False, True])
def test_without_a_response_it_is_not_sent_again_while_look_ups_may_lag(in_doubt: bool) -> None:
    """Not every API refuses a second account with the same keys. It was long in doubt before, or is new."""
    chunk = state("a", in_doubt=in_doubt, old_doubt=in_doubt)
    look(chunk)
    assert due(chunk) == ("send", ["a"])
    chunk.replied(LOST)
    look_in_vain(chunk, LookUpReason.LOST)
    assert due(chunk) == ("end", [])
    assert chunk.contradicted == 1
    assert chunk.end() == ((), ((0, 1),)), "it stays in doubt"


@mutant(
    "a creation that the API asks to repeat is sent for ever",
    "CreationRules.retry",
    swap("sends_again(attempts)", "sends_again(0)"),
)
def test_a_creation_in_doubt_is_sent_only_so_often() -> None:
    chunk, sends = state("a", in_doubt=True, old_doubt=True), 0
    while (step := chunk.next_step()) is not None and sends < 100:
        if isinstance(step, LookUp):
            look(chunk)
        else:
            sends += 1
            chunk.replied(Decision(NextStep.PER_ID, data=[IdAnswer("a", Verdict.AGAIN)]))
    assert sends == ATTEMPTS_MAX


def test_after_several_requests_without_effect_it_is_left() -> None:
    chunk = state("a")
    look(chunk)
    for _ in range(ATTEMPTS_MAX):
        assert due(chunk) == ("send", ["a"])
        chunk.replied(Decision(NextStep.RETRY))
    assert due(chunk) == ("EXHAUSTED", ["a"])
    look(chunk)
    assert due(chunk) == ("end", [])
    assert chunk.end() == ((), ((0, 1),)), "it stays in doubt"


def test_a_request_that_never_left_is_sent_again_without_a_look_up() -> None:
    chunk = state("a")
    look(chunk)
    chunk.replied(UNSENT)
    assert due(chunk) == ("send", ["a"])


def test_ids_that_the_answer_leaves_out_are_looked_up() -> None:
    chunk = state("a", "b")
    look(chunk)
    missing = IdAnswer("b", Verdict.MAYBE_APPLIED)
    chunk.replied(Decision(NextStep.PER_ID, data=[IdAnswer("a", Verdict.SETTLED), missing]))
    assert told(chunk) == [("done", ["a"], None)]
    assert due(chunk) == ("LOST", ["b"])


def test_a_clash_that_no_look_up_can_explain_is_a_refusal_when_look_ups_cannot_lag() -> None:
    chunk = state("a", in_doubt=True, old_doubt=True)
    look(chunk)
    chunk.replied(Decision(NextStep.LOOK_UP, Detail(409)))
    look(chunk)
    assert told(chunk) == [("refused", ["a"], None)]
    assert chunk.contradicted == 0


def test_records_that_may_share_a_key_are_settled_one_group_after_the_other() -> None:
    chunk = state("a", "b", "c", groups=[records("a", "c"), records("b")])
    look(chunk)
    assert due(chunk) == ("send", ["a", "c"])
    chunk.replied(created("a", "c"))
    assert due(chunk) == ("FIRST", ["b"])
    look(chunk, b=Presence.TAKEN)
    assert told(chunk) == [("done", ["a", "c"], None), ("refused", ["b"], TAKEN)]


def test_a_clash_may_be_about_a_part_that_can_be_left_out() -> None:
    chunk = state("a", reductions_of=lambda _: [Reduction(b"1", "identities")])
    look(chunk)
    chunk.replied(Decision(NextStep.LOOK_UP, Detail(409)))
    assert due(chunk) == ("send", ["a"])
    chunk.replied(created("a"))
    assert told(chunk) == [("done", ["a"], "without identities")]


def test_a_clash_of_one_alone_that_nothing_was_sent_for_is_a_refusal() -> None:
    chunk = state("a")
    look(chunk)
    chunk.replied(Decision(NextStep.LOOK_UP, Detail(409)))
    assert told(chunk) == [("refused", ["a"], None)]


@mutant(
    "nothing is looked up after several records were refused together",
    "CreationRules.chunk_refused",
    swap(
        "state.push(sub_chunk._replace(maybe_applied=True), LookUpReason.UNSURE)",
        "state.split(sub_chunk._replace(maybe_applied=True, again=0))",
    ),
)
@pytest.mark.parametrize("step", [NextStep.SPLIT, NextStep.LOOK_UP])
def test_after_a_refusal_of_several_a_look_up_shows_which_were_created(step: NextStep) -> None:
    chunk = state("a", "b", "c")
    look(chunk)
    chunk.replied(Decision(step, BAD))
    assert due(chunk) == ("UNSURE", ["a", "b", "c"])
    look(chunk, a=REACHED)
    assert told(chunk) == [("done", ["a"], None)]
    assert due(chunk) == ("send", ["b"])
    chunk.replied(Decision(step, BAD))  # perhaps because it was created with the others
    look_in_vain(chunk, LookUpReason.REFUSED)
    assert told(chunk)[1:] == ([("refused", ["b"], None)] if step is NextStep.SPLIT else [])
    assert chunk.contradicted == (step is NextStep.LOOK_UP)
    assert due(chunk) == ("send", ["c"])


def test_a_single_record_that_is_refused_and_found_was_created() -> None:
    chunk = state("a", "b")
    look(chunk)
    chunk.replied(SPLIT)
    look(chunk)
    chunk.replied(SPLIT)
    look(chunk, a=REACHED)
    assert told(chunk) == [("done", ["a"], None)]


def test_a_refusal_of_one_alone_needs_no_look_up() -> None:
    chunk = state("a")
    look(chunk)
    chunk.replied(SPLIT)
    assert told(chunk) == [("refused", ["a"], None)]
    assert chunk.settled[0].detail == SPLIT.detail


def test_parts_are_left_out_one_after_the_other() -> None:
    chunk = state("a", reductions_of=lambda _: [Reduction(b"1", "departmentIds"), Reduction(b"2", "identities")])
    look(chunk)
    sent = []
    for _ in range(3):
        step = chunk.next_step()
        assert isinstance(step, Send)
        sent.append(step.records.payloads[0])
        chunk.replied(SPLIT)
    assert sent == [b"{}", b"1", b"2"]
    assert told(chunk) == [("refused", ["a"], None)]


def test_of_a_record_that_is_refused_alone_again_nothing_has_to_be_looked_up() -> None:
    chunk = state("a", "b", reductions_of=lambda _: [Reduction(b"1", "departmentIds"), Reduction(b"2", "identities")])
    look(chunk)
    chunk.replied(SPLIT)
    look(chunk)
    chunk.replied(SPLIT)
    look_in_vain(chunk, LookUpReason.REFUSED)
    assert due(chunk) == ("send", ["a"])
    chunk.replied(SPLIT)
    assert due(chunk) == ("send", ["a"]), "without the other part"
    chunk.replied(LOST)
    look_in_vain(chunk, LookUpReason.LOST)
    assert due(chunk) == ("send", ["b"])
    assert [list(one.records.ids) for one in chunk.left] == [["a"]], (
        "a request without a response may have been applied"
    )


@mutant(
    "an account that a look-up finds lacks what was left out last",
    "ChunkState.settle_reached",
    swap(
        'self.settle("done", sub_chunk, reached, detail=detail)',
        'self.settle("done", sub_chunk, reached, detail=detail, reason=self.rules.reason_of(reached))',
    ),
)
def test_what_was_left_out_is_the_reason_of_the_outcome() -> None:
    """Not where a look-up finds the account: an earlier request may have created it. Its record shows what it lacks."""
    for lost in (True, False):
        chunk = state("a", reductions_of=lambda _: [Reduction(b"1", "departmentIds")])
        look(chunk)
        chunk.replied(SPLIT)
        chunk.replied(LOST if lost else created("a"))
        if lost:
            look(chunk, a=REACHED)
        assert told(chunk) == [("done", ["a"], None if lost else "without departmentIds")]


def test_a_wait_that_the_server_asks_for_is_no_attempt() -> None:
    chunk = state("a")
    look(chunk)
    chunk.replied(LOST)
    look_in_vain(chunk, LookUpReason.LOST)
    chunk = state("a", old_doubt=True, in_doubt=True)
    look(chunk)
    chunk.replied(Decision(NextStep.RETRY, untouched=True, free=True))
    assert due(chunk) == ("LOST", ["a"])
    look(chunk, a=REACHED)
    assert [one.attempts for one in chunk.settled] == [1]
    chunk = state("a", in_doubt=True, old_doubt=True)
    look(chunk)
    chunk.replied(LOST)
    look(chunk, a=REACHED)
    assert [one.attempts for one in chunk.settled] == [2]


def test_which_responses_leave_open_whether_a_user_was_created() -> None:
    for response, open_ in ((SPLIT, False), (UNCLEAR, True), (LOST, True), (UNSENT, False)):
        chunk = state("a", "b")
        look(chunk)
        chunk.replied(response)
        assert rules_of(chunk).unanswered(chunk) is open_
        if not open_:
            look(chunk) if due(chunk)[0] != "send" else None
            chunk.replied(SPLIT)
            assert not rules_of(chunk).unanswered(chunk)
    chunk = state("a", in_doubt=True)
    assert rules_of(chunk).unanswered(chunk)


def test_the_look_ups_after_each_lost_request_are_as_many() -> None:
    chunk = state("a", reductions_of=lambda _: [Reduction(b"1", "departmentIds"), Reduction(b"2", "identities")])
    look(chunk)
    chunk.replied(Decision(NextStep.SPLIT, BAD, maybe_applied=True))
    look_in_vain(chunk, LookUpReason.REFUSED)
    assert due(chunk) == ("send", ["a"])
    chunk.replied(LOST)
    look_in_vain(chunk, LookUpReason.LOST)


def test_all_groups_of_a_chunk_that_is_protected_since_are_spared() -> None:
    groups = [records("a", "b")[:1], records("a", "b")[1:]]
    some = state("a", "b", in_doubt=True, protected=True, old_doubt=True, groups=groups)
    look(some)
    look(some)
    assert (due(some), [record.id for record in some.spared]) == (("end", []), ["a", "b"])


@mutant(
    "a record that was refused with others lacks what could be left out",
    "CreationRules._unused",
    swap("why is LookUpReason.UNSURE", "why is LookUpReason.FIRST"),
)
def test_a_record_that_was_refused_with_others_is_sent_whole_once_more() -> None:
    """The look-up shows that the other one was the cause."""
    chunk = state("a", "b", reductions_of=lambda _: [Reduction(b"1", "departmentIds")])
    look(chunk)
    chunk.replied(SPLIT)
    for _ in range(LOOKS_AGAIN_MAX + 1):
        look(chunk, a=Presence.TAKEN)
    step = chunk.next_step()
    assert isinstance(step, Send)
    assert (step.records.ids, rules_of(chunk).left_out_of(step.records)) == (("b",), None)


@mutant(
    "look-ups of a row in doubt are not repeated after a request of this session",
    "CreationRules._looks_again",
    swap("not state.lag_is_over", "not state.old_doubt"),
)
def test_a_look_up_of_a_row_in_doubt_may_lag_behind_a_request_of_this_session() -> None:
    chunk = state("a", "b", in_doubt=True, old_doubt=True)
    look(chunk)
    assert due(chunk) == ("send", ["a"]), "each alone, so that a refusal leaves nothing open"
    chunk.replied(LOST)
    look_in_vain(chunk, LookUpReason.LOST)


@mutant(
    "an account that was never gone counts as restored after a request",
    "presence_of_created",
    swap("Presence.NEVER_GONE", "Presence.REACHED"),
)
def test_an_account_that_was_never_gone_is_there_already_whatever_was_sent() -> None:
    chunk = state("a", "b")
    look(chunk)
    chunk.replied(LOST)
    never_gone = presence_of_created(Created(None, never_gone=True), None, Instant("2026-01-01T00:00:00.000Z", 0))
    look(chunk, a=never_gone, b=REACHED)
    assert sorted(told(chunk)) == [("already", ["a"], None), ("done", ["b"], None)]


@mutant(
    "an account that look-ups still show under its old id was never gone however late they are",
    "CreationRules._never_gone",
    swap("not self.deletion_lags", "not self.deletion_lags or bool(sub_chunk.records)"),
)
@pytest.mark.parametrize("looks_again_max", [LOOKS_AGAIN_MAX, 0])
def test_an_account_under_its_old_id_is_left_while_look_ups_may_lag_behind_its_deletion(looks_again_max: int) -> None:
    chunk = state("a", "b", deletion_lags=True, looks_again_max=looks_again_max)
    look(chunk, a=Presence.NEVER_GONE)
    assert due(chunk) == ("send", ["b"])
    chunk.replied(created("b"))
    for again in range(1, looks_again_max + 1):
        step = chunk.next_step()
        assert isinstance(step, LookUp)
        assert (list(step.records.ids), step.why, step.again) == (["a"], LookUpReason.FIRST, again)
        look(chunk, a=Presence.NEVER_GONE)
    assert told(chunk) == [("done", ["b"], None)]
    assert chunk.contradicted == 1
    assert chunk.end() == (((0, 1),), ()), "nothing was sent for it"


def test_an_account_that_ceases_to_be_under_its_old_id_is_created() -> None:
    chunk = state("a", deletion_lags=True)
    look(chunk, a=Presence.NEVER_GONE)
    look(chunk)
    assert due(chunk) == ("send", ["a"])


def test_rows_in_doubt_are_judged_and_the_free_ones_left_while_look_ups_may_lag() -> None:
    chunk = state("a", "b", "c", "d", in_doubt=True)
    assert due(chunk) == ("IN_DOUBT", ["a", "b", "c", "d"])
    look(chunk, a=REACHED, b=Presence.TAKEN, c=UNDATED)
    assert told(chunk) == [
        ("done", ["a"], None),
        ("refused", ["b"], TAKEN),
        ("unknown", ["c"], "perhaps another account"),
    ]
    for _ in range(LOOKS_AGAIN_MAX):
        look(chunk)
    assert due(chunk) == ("end", [])
    assert chunk.end() == ((), ((3, 4),))


def test_rows_long_in_doubt_are_looked_up_once() -> None:
    chunk = state("a", in_doubt=True, old_doubt=True)
    look(chunk)
    assert due(chunk) == ("send", ["a"])


def test_a_refused_record_that_no_look_up_is_sure_to_find_is_unknown() -> None:
    chunk = state("a,b", in_doubt=True, old_doubt=True, resend_unproven=True)
    chunk.looked_up(Evidence({}, proven=True, unproven=["a,b"]))
    chunk.replied(SPLIT)
    chunk.looked_up(Evidence({}, proven=True, unproven=["a,b"]))
    assert told(chunk) == [("unknown", ["a,b"], "a look-up may not find it")]


CLASH = Decision(NextStep.LOOK_UP, Detail(409))
UNCLEAR = Decision(NextStep.SPLIT, BAD, maybe_applied=True)


@mutant(
    "a record that a look-up may not find is given up while look-ups may lag",
    "CreationRules._unused",
    swap(
        "first in evidence.unproven and not state.lag_is_over",
        "first in evidence.unproven and state.lag_is_over",
    ),
    case="SPLIT-SPLIT",
)
@pytest.mark.parametrize(
    ("first", "alone"),
    [(SPLIT, SPLIT), (CLASH, CLASH), (SPLIT, CLASH), (UNCLEAR, SPLIT), (SPLIT, UNCLEAR)],
    ids=["SPLIT-SPLIT", "CLASH-CLASH", "SPLIT-CLASH", "UNCLEAR-SPLIT", "SPLIT-UNCLEAR"],
)
def test_a_record_that_a_look_up_may_not_find_waits(first: Decision, alone: Decision) -> None:
    """The first request may have created it before the API refused another record, and now it refuses its keys.

    After the wait, a user may be listed by whose keys a look-up is proven.
    """
    chunk = state("a,b", "c")
    look(chunk)
    chunk.replied(first)
    assert not rules_of(chunk).gives_up(chunk, why_of(chunk))
    look(chunk, unproven=["a,b"])
    chunk.replied(alone)
    proofs = 0
    while due(chunk) == ("REFUSED", ["a,b"]):
        proofs += rules_of(chunk).gives_up(chunk, why_of(chunk))
        look(chunk, unproven=["a,b"])
    assert proofs == 1, "only the last look-up has to be proven"
    assert (told(chunk), chunk.contradicted) == ([], 1)
    assert due(chunk) == ("send", ["c"])


def test_alone_too_such_a_record_is_not_sent_again() -> None:
    chunk = state("a,b", in_doubt=True, old_doubt=True)
    chunk.looked_up(Evidence({}, proven=True, unproven=["a,b"]))
    assert due(chunk) == ("end", [])
    assert told(chunk) == [("unknown", ["a,b"], "a look-up may not find it")]


@mutant(
    "a record that no look-up can find is created again after a lost answer",
    "CreationRules._send",
    negate("not self.resend_unproven"),
    case="True",
)
@pytest.mark.parametrize("in_doubt", [True, False])
def test_a_record_that_no_look_up_is_sure_to_find_is_not_sent_again(in_doubt: bool) -> None:
    chunk = state("a,b", "c", in_doubt=in_doubt, old_doubt=in_doubt)
    if not in_doubt:
        chunk.looked_up(Evidence({}, proven=True, unproven=["a,b"]))
        assert due(chunk) == ("send", ["a,b", "c"]), "nothing was sent, so nothing can be created twice"
        chunk.replied(LOST)
    while due(chunk)[0] in {"LOST", "IN_DOUBT"}:
        assert rules_of(chunk).gives_up(chunk, why_of(chunk)) is in_doubt
        chunk.looked_up(Evidence({}, proven=True, unproven=["a,b"]))
    assert due(chunk) == (("send", ["c"]) if in_doubt else ("end", []))
    assert told(chunk) == ([("unknown", ["a,b"], "a look-up may not find it")] if in_doubt else [])
    assert chunk.contradicted == (0 if in_doubt else 2), "look-ups may lag"


@mutant(
    "repeated first look-ups count as repetitions of later ones",
    "CreationRules._send",
    swap("rest._replace(again=0)", "rest._replace(again=rest.again)"),
)
def test_look_ups_that_were_repeated_before_a_request_do_not_count_after_it() -> None:
    chunk = state("a", "b", deletion_lags=True)
    look(chunk, a=Presence.NEVER_GONE, b=Presence.NEVER_GONE)
    look(chunk)
    assert due(chunk) == ("send", ["a", "b"])
    chunk.replied(SPLIT)
    assert chunk.next_step() == LookUp(records("a", "b"), LookUpReason.UNSURE, 0)


@mutant(
    "a user for whom look-ups return another one is in the way of all others for ever",
    "CreationRules._undated",
    swap("sub_chunk.again < LOOKS_AGAIN_MAX", "sub_chunk.again >= 0"),
)
def test_a_record_for_which_look_ups_return_another_account_each_time_is_refused() -> None:
    chunk = state("a", "b")
    for _ in range(LOOKS_AGAIN_MAX + 1):
        assert due(chunk)[0] in {"FIRST", "send"}
        if due(chunk)[0] == "send":
            chunk.replied(created("b"))
        look(chunk, a=UNDATED)
    assert told(chunk) == [("done", ["b"], None), ("refused", ["a"], "look-ups return another account")]


def test_a_record_whose_attempts_ran_out_is_left_where_a_look_up_returns_another_account() -> None:
    chunk = state("a")
    look(chunk)
    for _ in range(ATTEMPTS_MAX):
        chunk.replied(Decision(NextStep.RETRY))
    assert due(chunk) == ("EXHAUSTED", ["a"])
    look(chunk, a=UNDATED)
    assert (told(chunk), [list(one.records.ids) for one in chunk.left]) == ([], [["a"]])


def test_look_ups_that_return_another_account_for_each_record_halt_the_run() -> None:
    chunk = state(*(f"a{number}" for number in range(ALL_REFUSED_MIN)))
    ids = [f"a{number}" for number in range(ALL_REFUSED_MIN)]
    for _ in range(LOOKS_AGAIN_MAX + 1):
        chunk.looked_up(Evidence(dict.fromkeys(ids, UNDATED), proven=True))
    assert chunk.halt is not None
    assert "look-ups return another account" in chunk.halt


def test_a_record_without_a_response_is_sent_again_where_a_person_says_so() -> None:
    """Also where no look-up finds any account. It is refused only after a look-up that could have found it."""
    for resend in (True, False):
        chunk = state("a", in_doubt=True, old_doubt=True, resend_unproven=resend)
        look(chunk, proven=False)
        assert due(chunk) == (("send", ["a"]) if resend else ("end", []))
    chunk = state("a", in_doubt=True, old_doubt=True, resend_unproven=True)
    look(chunk, proven=False)
    chunk.replied(Decision(NextStep.LOOK_UP, Detail(409)))
    assert due(chunk) == ("REFUSED", ["a"])
    look(chunk, proven=False)
    assert (told(chunk), due(chunk)) == ([], ("end", []))


def test_what_the_api_said_last_is_kept_of_a_record_that_no_look_up_may_find() -> None:
    chunk = state("a,b", "c", in_doubt=True, old_doubt=True)
    chunk.looked_up(Evidence({}, proven=True))
    chunk.replied(Decision(NextStep.RETRY, BAD, untouched=True))
    chunk.looked_up(Evidence({}, proven=True, unproven=["a,b"]))
    assert told(chunk) == [("unknown", ["a,b"], "a look-up may not find it")]
    assert chunk.settled[0].detail == BAD
    chunk = state("a,b", in_doubt=True, old_doubt=True)
    chunk.looked_up(Evidence({}, proven=True))
    chunk.replied(SPLIT)
    chunk.looked_up(Evidence({}, proven=True, unproven=["a,b"]))
    assert told(chunk) == [("unknown", ["a,b"], "a look-up may not find it")]
    assert chunk.settled[0].detail == BAD


def test_taken_keys_say_nothing_about_the_requests() -> None:
    ids = [f"u{number}" for number in range(30)]
    chunk = state(*ids)
    chunk.looked_up(Evidence(dict.fromkeys(ids, Presence.TAKEN), proven=True))
    assert chunk.halt is None
    held = HeldOutcomes()
    assert held.take(chunk.settled) == chunk.settled
    assert held.halt is None


def test_an_unfinished_chunk_keeps_what_is_taken_and_gives_up_what_the_api_refused() -> None:
    chunk = state("a", "b", "c")
    look(chunk, a=Presence.TAKEN)
    chunk.replied(SPLIT)
    look(chunk)
    chunk.replied(SPLIT)
    look_in_vain(chunk, LookUpReason.REFUSED)
    untouched, doubtful = chunk.end()
    assert told(chunk) == [("refused", ["a"], TAKEN)]
    assert (untouched, doubtful) == ((), ((1, 3),))


def test_ten_refusals_with_one_code_halt() -> None:
    chunk = state(*(f"u{number}" for number in range(12)), old_doubt=True)
    look(chunk)
    while chunk.next_step() is not None:
        if due(chunk)[0] == "send":
            chunk.replied(SPLIT)
        else:
            look(chunk)
    assert chunk.halt is not None
    assert told(chunk) == []


def test_an_excluded_record_in_doubt_is_spared_unless_it_was_created() -> None:
    chunk = state("a", "b", in_doubt=True, protected=True, old_doubt=True)
    look(chunk, a=REACHED)
    assert due(chunk) == ("end", [])
    assert told(chunk) == [("done", ["a"], None)]
    assert [record.id for record in chunk.spared] == ["b"]


NOON = Instant("2026-01-01T12:00:00.000Z", 0)
LATER = Instant("2026-01-01T13:00:00.000Z", 0)
AT = NOON.ours


@mutant(
    "an older account is taken for the one that was created",
    "presence_of_created",
    swap("moment.servers - SKEW_S <= account.at <= now.servers + SKEW_S", "account.at <= now.servers + SKEW_S"),
)
@mutant(
    "an account with one of the keys is taken for the one that was created",
    "presence_of_created",
    swap("account.alike and account.keys is Keys.ALL", "account.alike"),
)
@pytest.mark.parametrize(
    ("account", "moment", "now", "expected"),
    [
        pytest.param(Created(AT + 1), NOON, LATER, REACHED, id="younger"),
        pytest.param(Created(AT - SKEW_S), NOON, LATER, REACHED, id="clocks may differ"),
        pytest.param(Created(AT - SKEW_S - 1), NOON, LATER, UNDATED, id="a time zone may be wrong"),
        pytest.param(Created(AT - ZONE_MAX_S - 1), NOON, LATER, UNDATED, id="older, so a clock is wrong"),
        pytest.param(Created(AT + 1, keys=Keys.OTHER), NOON, LATER, Presence.TAKEN, id="another key"),
        pytest.param(Created(AT + 1, keys=Keys.OTHER, unused=True), NOON, LATER, UNDATED, id="a key written otherwise"),
        pytest.param(
            Created(AT + 1, keys=Keys.OTHER, alike=False, unused=True),
            NOON,
            LATER,
            Presence.TAKEN,
            id="signed up with one",
        ),
        pytest.param(Created(AT + 1, keys=Keys.SOME), NOON, LATER, UNDATED, id="not all of the keys"),
        pytest.param(Created(AT + 1, keys=Keys.SOME, unused=True), NOON, LATER, UNDATED, id="not all, once free"),
        pytest.param(Created(AT + 1), None, LATER, Presence.TAKEN, id="nothing was sent"),
        pytest.param(Created(AT + 1, certain=False), None, LATER, UNDATED, id="not what was asked for"),
        pytest.param(Created(AT + 1, certain=False), NOON, LATER, UNDATED, id="not what was asked for, sent"),
        pytest.param(Created(AT - 1, never_gone=True), None, LATER, Presence.NEVER_GONE, id="it was never gone"),
        pytest.param(Created(None), NOON, LATER, UNDATED, id="no date"),
        pytest.param(Created(None, unused=True), NOON, LATER, REACHED, id="the keys were free"),
        pytest.param(Created(AT + 1, alike=False), NOON, LATER, UNDATED, id="another person"),
        pytest.param(Created(AT + 1, alike=False, unused=True), NOON, LATER, UNDATED, id="signed up since"),
        pytest.param(Created(AT - ZONE_MAX_S - 1, alike=False), NOON, LATER, Presence.TAKEN, id="older, another"),
        pytest.param(Created(AT + 1), NOON, Instant("2026-01-02T13:00:00.000Z", 0), UNDATED, id="a day later"),
        pytest.param(Created(AT + 9_999), NOON, LATER, UNDATED, id="in the future"),
        pytest.param(Created(AT + 1), NOON._replace(ahead_s=None), LATER, UNDATED, id="clock then"),
        pytest.param(Created(AT + 1), NOON, LATER._replace(ahead_s=None), UNDATED, id="clock now"),
    ],
)
def test_which_account_a_look_up_has_found(
    account: Created, moment: Instant | None, now: Instant, expected: Presence
) -> None:
    assert presence_of_created(account, moment, now) is expected
