"""Answers about each id, chunks that take several requests, and jobs whose target state is not absence."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.account_match import Doubt, Instant, Presence
from bulkdel.core.chunk_state import ChunkState, Evidence, LookUp, Send
from bulkdel.core.decision import Decision, IdAnswer, NextStep, Verdict, decision_per_id
from bulkdel.core.halt_limits import ALL_REFUSED_MIN
from bulkdel.core.id_rules import IdRules
from bulkdel.core.outcome import Detail
from bulkdel.core.record import Chunk, Record, Records
from bulkdel.core.retry import ATTEMPTS_MAX
from tests.examples import examples
from tests.mutants import mutant
from tests.syntax import swap

OK = Decision(NextStep.SETTLED)
LOST = Decision(NextStep.RETRY, maybe_applied=True)
UNKNOWN = Decision(NextStep.LOOK_UP)
REFUSAL = Detail(422, "no")


def state(size: int, *, absence_reaches: bool = True, in_doubt: bool = False, look_first: bool = False) -> ChunkState:
    records, sent = Records.of(Record(i, f"u{i}") for i in range(size)), Instant("2026-01-01T00:00:00.000Z", 0)
    chunk = Chunk(records, Doubt(sent, sent) if in_doubt else None)
    return ChunkState(chunk, IdRules(absence_reaches), look_first=look_first)


def answer(**verdicts: Verdict) -> Decision:
    """An answer of the API, as the engine completes it for the ids of a chunk of `len(verdicts)`."""
    answers = [
        IdAnswer(id_, verdict, REFUSAL if verdict is Verdict.REFUSED else Detail()) for id_, verdict in verdicts.items()
    ]
    return Decision(NextStep.PER_ID, data=answers)


def outcomes(chunk_state: ChunkState) -> dict[str, tuple[str, str | None]]:
    return {id_: (one.kind, one.reason) for one in chunk_state.settled for id_ in one.records.ids}


def due(chunk_state: ChunkState) -> tuple[str, list[str]]:
    step = chunk_state.next_step()
    assert step is not None
    return ("send" if isinstance(step, Send) else step.why.name), list(step.records.ids)


def test_each_id_ends_as_its_answer_says() -> None:
    chunk_state = state(6)
    chunk_state.replied(
        answer(
            u0=Verdict.SETTLED,
            u1=Verdict.REFUSED,
            u2=Verdict.ABSENT,
            u3=Verdict.AGAIN,
            u4=Verdict.MAYBE_APPLIED,
            u5=Verdict.ALREADY,
        )
    )
    assert outcomes(chunk_state) == {"u0": ("done", None), "u1": ("refused", None), "u5": ("already", None)}
    assert due(chunk_state) == ("send", ["u4"])
    chunk_state.replied(UNKNOWN)  # the first request was applied
    chunk_state.looked_up(Evidence({}, proven=True))
    assert due(chunk_state) == ("send", ["u3"])
    chunk_state.replied(answer(u3=Verdict.SETTLED))
    assert due(chunk_state) == ("CALLED_ABSENT", ["u2"])
    chunk_state.looked_up(Evidence({}, proven=True))
    assert chunk_state.next_step() is None
    assert outcomes(chunk_state) == {
        "u0": ("done", None),
        "u1": ("refused", None),
        "u2": ("absent", None),
        "u3": ("done", None),
        "u4": ("done", None),
        "u5": ("already", None),
    }


def test_three_errors_in_a_thousand_cost_no_request_for_the_others() -> None:
    chunk_state = state(1000)
    bad = {10, 500, 999}
    chunk_state.replied(answer(**{f"u{i}": Verdict.REFUSED if i in bad else Verdict.SETTLED for i in range(1000)}))
    assert chunk_state.next_step() is None
    assert chunk_state.requests == 1
    assert {id_ for id_, (kind, _) in outcomes(chunk_state).items() if kind == "refused"} == {f"u{i}" for i in bad}


def test_ids_that_are_to_be_sent_again_do_not_touch_the_others() -> None:
    chunk_state = state(3)
    for attempt in range(ATTEMPTS_MAX):
        step = chunk_state.next_step()
        assert isinstance(step, Send)
        assert step.attempt == attempt + 1
        chunk_state.replied(answer(**dict.fromkeys(step.records.ids, Verdict.AGAIN)))
    assert chunk_state.next_step() is None
    assert chunk_state.end() == (((0, 3),), ()), "the server did nothing with them"


def test_refusals_in_a_row_in_one_answer_halt() -> None:
    chunk_state = state(ALL_REFUSED_MIN + 2)
    verdicts = {f"u{i}": Verdict.REFUSED for i in range(ALL_REFUSED_MIN)}
    chunk_state.replied(answer(u10=Verdict.SETTLED, u11=Verdict.SETTLED, **verdicts))
    assert chunk_state.halt is not None
    assert outcomes(chunk_state) == {"u10": ("done", None), "u11": ("done", None)}
    assert chunk_state.end() == ((), ((0, ALL_REFUSED_MIN),))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, {"u0": ("absent", None), "u1": ("absent", None)}),
        ({"u0": Presence.OLD}, {"u0": ("refused", None), "u1": ("absent", None)}),
    ],
)
def test_ids_that_are_called_absent_are_looked_up(
    found: Mapping[str, Presence], expected: dict[str, tuple[str, str | None]]
) -> None:
    chunk_state = state(2)
    chunk_state.replied(answer(u0=Verdict.ABSENT, u1=Verdict.ABSENT))
    assert due(chunk_state) == ("CALLED_ABSENT", ["u0", "u1"])
    chunk_state.looked_up(Evidence(found, proven=True))
    assert chunk_state.next_step() is None
    assert outcomes(chunk_state) == expected


@pytest.mark.parametrize("applied", [False, True])
def test_without_look_ups_the_answer_is_the_only_proof(applied: bool) -> None:
    chunk_state = state(2)
    if applied:
        chunk_state.replied(LOST)
    chunk_state.replied(answer(u0=Verdict.ABSENT, u1=Verdict.ABSENT))
    chunk_state.looked_up(Evidence({}, proven=False, unproven={"u0", "u1"}))
    kind = "done" if applied else "absent"
    assert outcomes(chunk_state) == {"u0": (kind, "unproven"), "u1": (kind, "unproven")}


def test_called_absent_while_the_look_up_lags_behind_an_applied_request() -> None:
    chunk_state = state(1)
    chunk_state.replied(LOST)
    chunk_state.replied(answer(u0=Verdict.ABSENT))
    chunk_state.looked_up(Evidence({"u0": Presence.OLD}, proven=True))
    assert due(chunk_state) == ("LAGGING", ["u0"])
    chunk_state.looked_up(Evidence({}, proven=True))
    assert outcomes(chunk_state) == {"u0": ("done", None)}


IDS = ["a", "b", "c"]


@mutant(
    "an id that an answer does not name is settled",
    "decision_per_id",
    swap("IdAnswer(id_, Verdict.MAYBE_APPLIED, decision.detail)", "IdAnswer(id_, Verdict.SETTLED, decision.detail)"),
)
def test_an_id_that_the_answer_does_not_name_is_maybe_applied() -> None:
    found = decision_per_id(IDS, answer(a=Verdict.SETTLED, c=Verdict.REFUSED))
    assert {one.id: one.verdict for one in found.data} == {
        "a": Verdict.SETTLED,
        "b": Verdict.MAYBE_APPLIED,
        "c": Verdict.REFUSED,
    }
    assert found.accepted
    assert found.reason == "an answer did not settle 1 of its ids"
    assert decision_per_id(["a"], answer(a=Verdict.SETTLED)).reason == ""
    assert not decision_per_id(IDS, answer(c=Verdict.REFUSED)).accepted


@mutant(
    "an answer about other ids is believed",
    "decision_per_id",
    swap("not named.issubset(ids)", "named.isdisjoint(ids)"),
)
@pytest.mark.parametrize("answers", [["a", "b", "stranger"], ["a", "a", "b"], ["stranger"]])
def test_an_unknown_or_doubled_id_makes_the_answer_a_lost_one(answers: list[str]) -> None:
    data = [IdAnswer(id_, Verdict.SETTLED) for id_ in answers]
    found = decision_per_id(IDS, Decision(NextStep.PER_ID, data=data))
    assert (found.next_step, found.maybe_applied) == (NextStep.RETRY, True)
    assert "stranger" not in found.reason


@mutant(
    "the second request of a chunk is left out",
    "ChunkState._done",
    swap("sub_chunk.request_no + 1 < takes", "sub_chunk.request_no + 2 < takes"),
)
def test_a_chunk_that_takes_three_requests() -> None:
    chunk_state = state(2)
    for part in range(3):
        step = chunk_state.next_step()
        assert isinstance(step, Send)
        assert (step.request_no, outcomes(chunk_state)) == (part, {})
        chunk_state.replied(OK if part != 1 else answer(u0=Verdict.SETTLED, u1=Verdict.SETTLED), 3)
    assert outcomes(chunk_state) == {"u0": ("done", None), "u1": ("done", None)}


def test_an_id_that_was_there_already_for_one_request_gets_the_next_one() -> None:
    chunk_state = state(2)
    chunk_state.replied(answer(u0=Verdict.ALREADY, u1=Verdict.SETTLED), 2)
    steps = []
    while (step := chunk_state.next_step()) is not None:
        assert isinstance(step, Send)
        steps += [(step.request_no, id_) for id_ in step.records.ids]
        chunk_state.replied(answer(**dict.fromkeys(step.records.ids, Verdict.ALREADY)), 2)
    assert sorted(steps) == [(1, "u0"), (1, "u1")]
    assert outcomes(chunk_state) == {"u0": ("already", None), "u1": ("done", None)}


def test_a_chunk_of_several_requests_that_stops_between_them_is_in_doubt() -> None:
    chunk_state = state(2)
    chunk_state.replied(OK, 2)
    assert chunk_state.end() == ((), ((0, 2),))


# A job whose target state is not absence


def test_an_account_in_the_target_state_is_not_sent() -> None:
    chunk_state = state(3, look_first=True, absence_reaches=False)
    chunk_state.looked_up(Evidence({"u0": Presence.REACHED, "u1": Presence.OLD}, proven=True))
    assert outcomes(chunk_state) == {"u0": ("already", None), "u2": ("absent", None)}
    assert due(chunk_state) == ("send", ["u1"])


@mutant(
    "an id without an account counts as disabled",
    "IdRules._gone",
    swap("not self.absence_reaches", "not self.absence_reaches and not sub_chunk.maybe_applied"),
)
@pytest.mark.parametrize(
    ("presence", "expected"),
    [
        (Presence.REACHED, ("done", None)),
        (Presence.NEW, ("absent", "re-created")),
        (Presence.UNDATED, ("unknown", "perhaps re-created")),
        (None, ("absent", None)),
    ],
)
def test_rows_in_doubt_of_such_a_job(presence: Presence | None, expected: tuple[str, str | None]) -> None:
    chunk_state = state(1, absence_reaches=False, in_doubt=True)
    assert due(chunk_state) == ("IN_DOUBT", ["u0"])
    chunk_state.looked_up(Evidence({} if presence is None else {"u0": presence}, proven=True))
    assert outcomes(chunk_state) == {"u0": expected}


@mutant(
    "what a refused request may have done is told as done before",
    "ChunkState.settle_reached",
    swap("sub_chunk.reason_if_not_ours", "None"),
)
@pytest.mark.parametrize("other", [None, Presence.OLD])
def test_a_refused_chunk_may_have_been_applied_to_some(other: Presence | None) -> None:
    """The API calls an id unknown, and may have brought the known ones into the target state itself."""
    chunk_state = state(3, absence_reaches=False)
    chunk_state.replied(UNKNOWN)
    chunk_state.looked_up(Evidence({"u0": Presence.REACHED} | ({"u1": other} if other else {}), proven=True))
    assert outcomes(chunk_state)["u0"] == ("already", "unproven")


def test_unknown_ids_of_such_a_job_without_a_look_up_that_proves() -> None:
    chunk_state = state(1, absence_reaches=False)
    chunk_state.replied(LOST)
    chunk_state.replied(UNKNOWN)
    chunk_state.looked_up(Evidence({}, proven=False, unproven={"u0"}))
    assert outcomes(chunk_state) == {"u0": ("absent", "unproven")}


def test_a_lagging_look_up_that_finds_one_in_the_target_state_sends_the_others_again() -> None:
    chunk_state = state(2, absence_reaches=False)
    chunk_state.replied(LOST)
    chunk_state.replied(UNKNOWN)
    chunk_state.looked_up(Evidence({"u0": Presence.OLD, "u1": Presence.OLD}, proven=True))
    chunk_state.replied(UNKNOWN)
    assert due(chunk_state) == ("LAGGING", ["u0", "u1"])
    chunk_state.looked_up(Evidence({"u0": Presence.OLD, "u1": Presence.REACHED}, proven=True))
    assert outcomes(chunk_state) == {"u1": ("done", None)}
    assert due(chunk_state) == ("send", ["u0"])


# Whatever the server answers


@mutant(
    "what may be applied counts as done",
    "ChunkState._answered",
    swap(
        "self.rules.retry(self, part._replace(maybe_applied=True, touched=True), free=decision.free)",
        "self._done(part, part.records, detail, takes)",
    ),
)
@given(st.data())
@settings(max_examples=examples(200), deadline=None)
def test_every_id_ends_once_and_as_the_server_knows(data: st.DataObject) -> None:
    """A server that disables accounts and answers per id. No claim may be better than what it did."""
    size = data.draw(st.integers(1, 8))
    chunk_state = state(size, absence_reaches=False)
    missing = {f"u{i}" for i in data.draw(st.sets(st.integers(0, size - 1)))}
    reached: set[str] = set()
    for _ in range(200):
        step = chunk_state.next_step()
        if step is None:
            break
        if isinstance(step, LookUp):
            there = {
                id_: Presence.REACHED if id_ in reached else Presence.OLD
                for id_ in step.records.ids
                if id_ not in missing
            }
            chunk_state.looked_up(Evidence(there, proven=True))
            continue
        answers = []
        for id_ in step.records.ids:
            verdict = Verdict.ABSENT if id_ in missing else data.draw(st.sampled_from(Verdict))
            if verdict is Verdict.ABSENT and id_ not in missing:
                verdict = Verdict.REFUSED
            if verdict is Verdict.SETTLED or (verdict is Verdict.MAYBE_APPLIED and data.draw(st.booleans())):
                reached.add(id_)
            if verdict is Verdict.ALREADY:
                verdict = Verdict.ALREADY if id_ in reached else Verdict.AGAIN
            answers.append(IdAnswer(id_, verdict, REFUSAL))
        chunk_state.replied(decision_per_id(step.records.ids, Decision(NextStep.PER_ID, data=answers)))
    else:
        raise AssertionError("it does not end")
    ended = [id_ for one in chunk_state.settled for id_ in one.records.ids]
    untouched, doubtful = chunk_state.end()
    left = {i for start, stop in (*untouched, *doubtful) for i in range(start, stop)}
    assert len(ended) == len(set(ended))
    assert {*ended, *(f"u{i}" for i in left)} == {f"u{i}" for i in range(size)}
    for id_, (kind, _) in outcomes(chunk_state).items():
        assert kind not in {"done", "already"} or id_ in reached
        assert kind != "absent" or id_ in missing
