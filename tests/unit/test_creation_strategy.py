"""Which records an answer of a creation has created, and which parts of records count as gone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bulkdel.core.account_match import Instant, Presence, lag_is_over
from bulkdel.core.chunk_state import Evidence, Send
from bulkdel.core.decision import Decision, NextStep
from bulkdel.core.id_type import IdSet
from bulkdel.core.record import Chunk, Record, Records
from bulkdel.engine.creation_context import GONE_AFTER, Creations
from bulkdel.engine.creation_strategy import CreationStrategy
from bulkdel.engine.session_context import SessionContext
from bulkdel.engine.tally import Tally
from bulkdel.http.client import WorkerStatus
from bulkdel_jobs.genauth.create_users import CREATED_BY_API, CreatedUserLookUps
from bulkdel_jobs.restore_users import RestoreUsers
from tests.mutants import mutant
from tests.syntax import negate, swap

User = Mapping[str, Any]
NOON = Instant("2026-01-01T12:00:00.000Z", 0)
LONG_AGO = {"createdAt": "2021-05-01T00:00:00.000Z"}
ANN, BOB, EVE = ({"email": f"{name}@x.example", "username": name} for name in ("ann", "bob", "eve"))


def rows(*users: User) -> Records:
    return Records.of(
        Record(at, f"old {at}", json.dumps({"userId": f"old {at}", **user}).encode()) for at, user in enumerate(users)
    )


def creations(deleted_at: Instant | None = None) -> Creations:
    return Creations(RestoreUsers(), CreatedUserLookUps(), deleted_at)


def in_hand(
    *users: User, shared: Creations | None = None, now: Callable[[], Instant] = lambda: NOON
) -> CreationStrategy:
    shared = shared or creations()
    known = {"tally": Tally(IdSet(), succeeded=False), "in_doubt_resend": False, "now": now}
    known["lag_is_over"] = lambda moment: lag_is_over(moment, now())
    context = cast("SessionContext", SimpleNamespace(**known, creations=shared))
    return CreationStrategy(Chunk(rows(*users)), WorkerStatus(), context, shared)


def refused(chunk: CreationStrategy, times: int) -> Send:
    """The request that is due after so many refusals."""
    chunk.state.looked_up(Evidence({}, proven=True))
    for _ in range(times):
        chunk.state.replied(Decision(NextStep.SPLIT))
    step = chunk.state.next_step()
    assert isinstance(step, Send)
    return step


def accepted(chunk: CreationStrategy, records: Records, created: Sequence[User]) -> Any:
    decision = chunk.accepted(Send(records, 1), Decision(NextStep.SETTLED, data=created), None)
    assert decision.next_step is NextStep.PER_ID
    return {answer.id: chunk.noted[answer.id]["made"] for answer in decision.data}


@mutant(
    "an account that was there before counts as created",
    "CreationStrategy.accepted",
    swap("{Presence.REACHED, Presence.UNDATED}", "{Presence.REACHED, Presence.UNDATED, Presence.TAKEN}"),
    case="another user, who was there before",
)
@pytest.mark.parametrize(
    ("created", "made"),
    [
        ([ANN | {"userId": "1"}, BOB | {"userId": "2"}], {"old 0": "1", "old 1": "2"}),
        ([BOB | {"userId": "2"}, ANN | {"userId": "1"}], {"old 0": "1", "old 1": "2"}),
        ([ANN | {"userId": "1"}, EVE | {"userId": "3"}], {"old 0": "1"}),
        ([{"userId": "1", "username": "ann"}, BOB | {"userId": "2"}], {"old 0": "1", "old 1": "2"}),
        pytest.param([ANN | {"userId": "1"}, ANN | {"userId": "2"}], {}, id="two accounts of one record"),
        pytest.param([ANN | {"userId": "1"}, BOB | {"userId": "1"}], {}, id="one account of two records"),
        pytest.param([ANN | {"userId": "1", "username": "bob"}], {}, id="keys of two records"),
        pytest.param([ANN | {"userId": "old 0"}, BOB | {"userId": "2"}], {"old 1": "2"}, id="the old id"),
        pytest.param([ANN, BOB | {"userId": 2}], {}, id="no id"),
        pytest.param([ANN | {"userId": "1"} | LONG_AGO | {"name": "Eve"}], {}, id="another user, who was there before"),
        pytest.param(
            [ANN | {"userId": "1", "userSourceType": CREATED_BY_API} | LONG_AGO], {"old 0": "1"}, id="a clock is wrong"
        ),
        pytest.param([], {}, id="nothing"),
    ],
)
def test_a_record_is_created_when_the_answer_has_one_account_for_it(
    created: Sequence[User], made: Mapping[str, str]
) -> None:
    assert accepted(in_hand(ANN, BOB), rows(ANN, BOB), created) == made


SOCIAL = {"identities": [{"extIdpId": "s", "userIdInIdp": "1"}]}


@mutant(
    "an answer to a request of one record counts only by its keys",
    "CreationStrategy.accepted",
    swap("account.certain or alone", "account.certain and alone"),
)
@pytest.mark.parametrize(
    ("user", "created", "made"),
    [
        (SOCIAL, [SOCIAL | {"userId": "1"}], {"old 0": "1"}),
        (SOCIAL, [{"userId": "1"}], {"old 0": "1"}),
        (ANN, [{"userId": "1"}], {"old 0": "1"}),
        pytest.param(SOCIAL, [{"userId": "1"}, {"userId": "2"}], {}, id="two accounts"),
        pytest.param(SOCIAL, [{"userId": "old 0"}], {}, id="the old id"),
        pytest.param(ANN, [EVE | {"userId": "3"}], {}, id="another user"),
    ],
)
def test_the_answer_to_a_request_of_one_record_is_about_that_record(
    user: User, created: Sequence[User], made: Mapping[str, str]
) -> None:
    assert accepted(in_hand(user), rows(user), created) == made


def test_a_part_is_gone_when_several_records_are_taken_without_it_and_none_with_it() -> None:
    shared = creations()
    gone, kept = (ANN | {"departmentIds": [name, "there"]} for name in ("gone", "kept"))
    for number in range(GONE_AFTER):
        assert not shared.gone
        for user in (gone, kept):
            chunk = in_hand(user, shared=shared)
            accepted(chunk, refused(chunk, 1).records, [user | {"userId": str(number)}])
        accepted(in_hand(kept, shared=shared), rows(kept), [kept | {"userId": "9"}])
    assert shared.gone == {"departmentIds gone"}
    chunk = in_hand(gone, kept, shared=shared)
    sent = [json.loads(record.payload or b"")["departmentIds"] for record in chunk.as_sent(Send(rows(gone, kept), 1))]
    assert sent == [["there"], ["kept", "there"]]
    accepted(chunk, rows(gone), [gone | {"userId": "1", "departmentIds": ["there"]}])
    assert chunk.noted["old 0"] == {"made": "1", "reason": "without 1 of 2 departmentIds"}


@pytest.mark.parametrize("shown", [True, False])
def test_the_log_names_all_that_a_created_user_lacks(shown: bool) -> None:
    """Whether or not the answer to the creation shows departments and identities."""
    user = ANN | {"departmentIds": ["gone"], "identities": [{"extIdpId": "s", "userIdInIdp": "1"}]}
    chunk = in_hand(user)
    parts: User = {"departmentIds": [], "identities": []} if shown else {}
    less = chunk.as_sent(refused(chunk, 3))
    accepted(chunk, less, [{**ANN, **parts, "userId": "1"}])
    assert chunk.noted["old 0"] == {"made": "1", "reason": "without departmentIds and identities"}


@mutant(
    "with a department that is gone another part of the user is lost",
    "CreationStrategy.as_sent",
    swap(
        "(left_out := self._rules.left_out_of(step.records)) is not None",
        "(left_out := self._rules.left_out_of(step.records)) is not None and not self._creations.gone",
    ),
    case="False",
)
@pytest.mark.parametrize("early", [True, False])
def test_with_a_part_that_is_gone_no_other_part_is_lost(early: bool) -> None:
    """It becomes known while the record is refused, before or after the choice of what to leave out."""
    shared = creations()
    user = ANN | {"departmentIds": ["d1", "gone"], "identities": [{"extIdpId": "s", "userIdInIdp": "1"}]}
    chunk = in_hand(user, shared=shared)
    chunk.state.looked_up(Evidence({}, proven=True))
    shared.refused["departmentIds gone"] = GONE_AFTER if early else 0
    sent = []
    for _ in range(2):
        chunk.state.replied(Decision(NextStep.SPLIT))
        step = chunk.state.next_step()
        assert isinstance(step, Send)
        shared.refused["departmentIds gone"] = GONE_AFTER
        sent += [json.loads(payload or b"") for payload in chunk.as_sent(step).payloads]
    assert all(len(one["identities"]) == 1 for one in sent)
    assert [one["departmentIds"] for one in sent] == ([["d1"], []] if early else [["gone"], ["d1"]])


def test_records_that_share_a_key_are_in_different_groups() -> None:
    chunk = in_hand(ANN, BOB, ANN | {"username": "another"}, {"username": "BOB "})
    groups = chunk.state.groups
    assert [list(group.ids) for group in groups] == [["old 0", "old 1"], ["old 2", "old 3"]]


@mutant(
    "a user without a key is created together with others",
    "_apart",
    swap("groups if keys else ()", "groups"),
)
def test_records_without_a_key_are_sent_one_by_one() -> None:
    """Users with a social sign-in alone: only the answer says which new user is which."""
    chunk = in_hand(SOCIAL, ANN, SOCIAL, BOB)
    groups = chunk.state.groups
    assert [list(group.ids) for group in groups] == [["old 0"], ["old 1", "old 3"], ["old 2"]]


@mutant(
    "a restore believes look-ups that may lag behind the deletion",
    "CreationStrategy.__init__",
    negate("not context.lag_is_over(deleted_at)"),
    case="600-True",
)
@pytest.mark.parametrize(("ago_s", "left"), [(600, True), (601, False)])
def test_an_account_that_was_deleted_within_ten_minutes_may_be_gone(ago_s: int, left: bool) -> None:
    now = Instant("2026-01-01T12:00:00+00:00", 0)
    deleted_at = Instant(datetime.fromtimestamp(now.ours - ago_s, UTC).isoformat(), 0)
    chunk = in_hand(ANN, shared=creations(deleted_at), now=lambda: now)
    chunk.state.looked_up(Evidence({"old 0": Presence.NEVER_GONE}, proven=True))
    assert (chunk.state.next_step() is not None) is left
    assert [one.kind for one in chunk.state.settled] == ([] if left else ["already"])
