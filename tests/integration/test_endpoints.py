"""GenAuth's calls about users: what is asked, in which groups, and how what comes back is matched to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkdel.core.decision import NextStep, Response
from bulkdel.core.guards import Facts
from bulkdel.core.record import Records
from bulkdel.job import NEVER
from bulkdel_jobs.genauth.endpoints import IDS_MAX, DeleteUsersBatch, UserLookUps, account_of
from bulkdel_jobs.genauth.id_types import ID_TYPES
from bulkdel_jobs.parts.look_ups import URL_MAX
from tests.examples import examples
from tests.mutants import mutant
from tests.syntax import swap

PROVIDER = "62f20932716fbcc10d966ee5"


def body_of(call: Any) -> Any:
    return json.loads(call.body)


def matched(id_type: str, ids: Sequence[str], *users: dict[str, Any]) -> tuple[dict[str, Any], int]:
    accounts, strays = UserLookUps(ID_TYPES[id_type]).match(ids, users)
    return {id_: account.raw for id_, account in accounts.items()}, strays


# ── deleting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("id_type", list(ID_TYPES))
def test_deleting(id_type: str) -> None:
    action = DeleteUsersBatch(ID_TYPES[id_type])
    (call,) = action.calls(Records((0, 7), ("a", "ü+&")))
    assert (call.method, call.path, call.query) == ("POST", "/api/v3/delete-users-batch", ())
    assert body_of(call) == {"userIds": ["a", "ü+&"], "options": {"userIdType": id_type}}
    assert action.read(Response(200, b'{"statusCode":200,"data":{"success":true}}')).next_step is NextStep.SETTLED
    assert action.read(Response(200, b'{"statusCode":200,"data":{"success":false}}')).next_step is NextStep.LOOK_UP
    assert action.read(Response(200, b'{"statusCode":200,"data":{}}')).next_step is NextStep.RETRY


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([], "1 to 50 ids, not 0"),
        ([f"{i}" for i in range(51)], "1 to 50 ids, not 51"),
        (["a", ""], "empty"),
        (["a", "b", "a"], "twice"),
    ],
)
def test_what_no_call_can_be_built_from(ids: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DeleteUsersBatch(ID_TYPES["user_id"]).calls(Records(tuple(range(len(ids))), tuple(ids)))


def test_fifty_are_allowed() -> None:
    records = Records(tuple(range(IDS_MAX)), tuple(map(str, range(IDS_MAX))))
    (call,) = DeleteUsersBatch(ID_TYPES["user_id"]).calls(records)
    assert body_of(call)["userIds"] == list(records.ids)


# ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("id_type", list(ID_TYPES))
def test_asking(id_type: str) -> None:
    ((group, call),) = UserLookUps(ID_TYPES[id_type]).calls(["a", "b"])
    assert list(group) == ["a", "b"]
    assert (call.method, call.path, call.body) == ("GET", "/api/v3/get-user-batch", None)
    by_identity = id_type in {"identity", "sync_relation"}
    more = (("withIdentities", "true"),) if by_identity else ()
    assert call.query == (("userIds", "a"), ("userIds", "b"), ("userIdType", id_type), *more)


def test_groups_of_fifty() -> None:
    look_ups = UserLookUps(ID_TYPES["user_id"])
    ids = [f"{i:024x}" for i in range(120)]
    assert [len(group) for group, _ in look_ups.calls(ids)] == [50, 50, 20]
    assert [id_ for group, _ in look_ups.calls(ids) for id_ in group] == ids
    assert look_ups.calls([]) == []


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=250), max_size=60))
@settings(max_examples=examples(60), deadline=None)
def test_no_query_is_longer_than_six_kilobytes_and_no_id_is_left_out(ids: list[str]) -> None:
    calls = UserLookUps(ID_TYPES["identity"]).calls(ids)
    assert [id_ for group, _ in calls for id_ in group] == ids
    for group, call in calls:
        assert [value for name, value in call.query if name == "userIds"] == list(group)
        assert 1 <= len(group) <= IDS_MAX
        assert len(group) == 1 or len(f"{call.path}?{urlencode(call.query)}") <= URL_MAX


def test_long_ids_go_in_smaller_groups() -> None:
    calls = UserLookUps(ID_TYPES["username"]).calls(["ä" * 200] * 50)  # 1,200 bytes each, encoded
    assert {len(group) for group, _ in calls} == {4, 2}


# ── matching ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("id_type", "asked", "user", "matches"),
    [
        ("user_id", "a" * 24, {"userId": "a" * 24}, True),
        ("user_id", "a" * 24, {"userId": "A" * 24}, False),
        ("user_id", "a" * 24, {"id": "a" * 24}, False),
        ("email", "A@X.example", {"email": "a@x.Example"}, True),
        ("email", "a@x.example", {"email": "b@x.example"}, False),
        ("email", "a@x.example", {"email": None}, False),
        ("phone", "13800000000", {"phone": "13800000000"}, True),
        ("phone", "+8613800000000", {"phone": "13800000000", "phoneCountryCode": "+86"}, True),
        ("phone", "8613800000000", {"phone": "13800000000", "phoneCountryCode": "+86"}, True),
        ("phone", "+8613800000000", {"phone": "13800000000", "phoneCountryCode": "86"}, True),
        ("phone", "13800000000", {"phone": "13800000000", "phoneCountryCode": "+86"}, True),
        ("phone", "+8613800000000", {"phone": "+8613800000000"}, True),
        ("phone", "+8613800000000", {"phone": "13800000000", "phoneCountryCode": "+1"}, False),
        ("phone", "13800000000", {"phone": "13800000001"}, False),
        ("phone", "+8613800000000", {"phone": "13800000000"}, True),
        ("phone", "013800000000", {"phone": "13800000000", "phoneCountryCode": "+86"}, True),
        ("phone", "+447911123456", {"phone": "07911123456", "phoneCountryCode": "+44"}, True),
        ("phone", "+390612345", {"phone": "0612345", "phoneCountryCode": "+39"}, True),
        ("phone", "+8613800000000", {"phone": "+113800000000"}, False),
        ("username", "Ann", {"username": "Ann"}, True),
        ("username", "Ann", {"username": "ann"}, False),
        ("external_id", "10086", {"externalId": "10086"}, True),
        ("external_id", "10086", {"externalId": 10086}, False),
        ("identity", f"{PROVIDER}:ou_8", {"identities": [{"extIdpId": PROVIDER, "userIdInIdp": "ou_8"}]}, True),
        ("identity", f"{PROVIDER}:ou_8", {"identities": [{"extIdpId": "x", "userIdInIdp": "ou_8"}]}, False),
        ("sync_relation", "lark:ou_8", {"identities": [{"provider": "lark", "userIdInIdp": "ou_8"}]}, True),
        ("sync_relation", "lark:ou_8", {"identities": [{"type": "lark", "userIdInIdp": "ou_8"}]}, True),
        ("sync_relation", "lark:ou_8", {"identities": [{"provider": "lark", "userIdInIdp": "ou_9"}]}, False),
        ("sync_relation", "lark:ou_8", {"identities": "lark:ou_8"}, False),
        ("sync_relation", "lark:ou_8", {"identities": ["lark:ou_8", None, {}]}, False),
        ("identity", f"{PROVIDER}:ou_8", {}, False),
    ],
)
def test_matching(id_type: str, asked: str, user: dict[str, Any], matches: bool) -> None:
    # Asked together with another: only then does the rule decide.
    expected = ({asked: user}, 0) if matches else ({}, 1)
    assert matched(id_type, [asked, "other"], user) == expected
    assert matched(id_type, ["other", asked], user) == expected


def test_the_record_of_an_id_that_is_asked_for_alone_is_meant() -> None:
    user = {"userId": "f" * 24}
    assert matched("username", ["Ann"], user) == ({"Ann": user}, 0)
    assert matched("username", ["Ann"]) == ({}, 0)
    ann = {"username": "Ann"}
    assert matched("username", ["Ann"], user, ann) == ({"Ann": ann}, 0)  # but rather the one that fits
    assert matched("external_id", ["1"], user) == ({"1": user}, 0)
    # A user id is compared exactly, so a stranger is no match even then.
    assert matched("user_id", ["e" * 24], user) == ({}, 1)


def test_several_ids_one_account() -> None:
    user = {"phone": "13800000000", "phoneCountryCode": "+86"}
    ids = ["13800000000", "+8613800000000", "8613800000000", "1"]
    assert matched("phone", ids, user) == (dict.fromkeys(ids[:3], user), 0)


def test_a_number_without_code_and_two_ids_with_different_codes() -> None:
    """Which of the two it is, only a look-up of each alone can tell."""
    user = {"phone": "13800000000"}
    ids = ["+8613800000000", "+113800000000"]
    assert matched("phone", ids, user) == ({}, 1)
    assert [matched("phone", [id_], user) for id_ in ids] == [({id_: user}, 0) for id_ in ids]


def test_one_number_in_two_countries() -> None:
    users = [{"phone": "13800000000", "phoneCountryCode": code, "userId": code} for code in ("+86", "+1")]
    look_ups = UserLookUps(ID_TYPES["phone"])
    # Without a code, deleting by it may delete both, so both are copied.
    accounts, strays = look_ups.match(["13800000000", "5550100000"], users)
    assert (strays, len(accounts["13800000000"].records)) == (0, 2)
    assert sorted(accounts["13800000000"].ids) == ["+113800000000", "+8613800000000"]
    # With a code, the other one is no match. But a record that comes back for one id alone counts as found by it.
    accounts, strays = look_ups.match(["+8613800000000", "5550100000"], users)
    assert (strays, accounts["+8613800000000"].records) == (1, (users[0],))
    accounts, strays = look_ups.match(["+8613800000000"], users)
    assert (strays, accounts["+8613800000000"].records, accounts["+8613800000000"].certain) == (0, tuple(users), True)


def test_all_that_came_back_for_one_id_alone_is_copied() -> None:
    users = [{"username": "ann"}, {"username": "ANN"}]
    accounts, _ = UserLookUps(ID_TYPES["username"]).match(["Ann"], users)
    assert sorted(record["username"] for record in accounts["Ann"].records) == ["ANN", "ann"]
    assert (sorted(accounts["Ann"].ids), accounts["Ann"].certain) == (["ANN", "ann"], False)


def test_strays_are_counted() -> None:
    users = [{"username": "a"}, {"username": "x"}, {}]
    assert matched("username", ["a", "b", "c"], *users) == ({"a": users[0]}, 2)


@given(st.sets(st.text("abcd", min_size=1, max_size=3), max_size=12), st.data())
def test_in_any_order_exactly_those_that_exist(ids: set[str], data: st.DataObject) -> None:
    alive = data.draw(st.permutations(sorted(ids)).map(lambda found: found[: len(found) // 2]))
    accounts, strays = UserLookUps(ID_TYPES["username"]).match(sorted(ids), [{"username": id_} for id_ in alive])
    assert (set(accounts), strays) == (set(alive), 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1970-01-01T00:00:10.500Z", 10.5),
        ("1970-01-01T01:00:10+01:00", 10.0),
        ("1970-01-01T00:00:10", None),  # no zone: hours off, perhaps
        ("yesterday", None),
        ("", None),
        (10, None),
    ],
)
def test_times_of_an_account(value: Any, expected: float | None) -> None:
    account = account_of({"createdAt": value, "lastLogin": value, "status": "Archived"})
    assert (account.created_at, account.last_seen_at, account.status) == (expected, expected, "Archived")


def test_a_user_that_never_signed_in() -> None:
    """null says so; a record without the field says nothing. A null time of creation says nothing either."""
    assert account_of({"createdAt": None, "lastLogin": None}).facts == (Facts(last_seen_at=NEVER),)
    assert account_of({}).facts == (Facts(),)


@pytest.mark.parametrize("ids", [["User"], ["User", "other"]])
def test_every_record_of_an_id_has_its_facts(ids: list[str]) -> None:
    """Of two records with one id, and of a record that the server found by a rule of its own."""
    look_ups = UserLookUps(ID_TYPES["username"])
    when = {"createdAt": "1970-01-01T00:00:10Z", "lastLogin": "1970-01-01T00:00:20Z", "status": "Activated"}
    active, idle = Facts(20.0, 10.0, "Activated"), Facts(NEVER, 5.0, "Suspended")
    since = {"createdAt": "1970-01-01T00:00:05Z", "lastLogin": None, "status": "Suspended"}
    twice, _ = look_ups.match(ids, [{"username": "User", **when}, {"username": "User", **since}])
    assert set(twice["User"].facts) == {active, idle}
    if len(ids) == 1:
        found, _ = look_ups.match(ids, [{"username": "User", **when}, {"username": "user", **since}])
        assert found["User"].facts == (active, idle)
    assert account_of({"status": 7}).status is None


@pytest.mark.parametrize("status", ["", "6229ffaaaaaaaaaacade3e3d", "of Ann", "a" * 21])
def test_a_status_that_is_no_word_is_not_shown(status: str) -> None:
    """It may be an id."""
    assert account_of({"status": status}).status is None


# ── the control ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("id_type", list(ID_TYPES))
def test_the_control_is_read_in_the_id_type_of_the_run(id_type: str) -> None:
    look_ups = UserLookUps(ID_TYPES[id_type])
    call = look_ups.control()
    assert (call.method, call.path) == ("POST", "/api/v3/list-users")
    options = body_of(call)["options"]
    assert options["pagination"] == {"page": 1, "limit": 50}
    assert options.get("withIdentities", False) is (id_type in {"identity", "sync_relation"})
    user = {
        "userId": "u",
        "email": "e",
        "phone": "1",
        "username": "n",
        "externalId": "x",
        "identities": [{"extIdpId": PROVIDER, "provider": "lark", "userIdInIdp": "o"}],
    }
    ids = {"user_id": "u", "email": "e", "phone": "1", "username": "n", "external_id": "x"}
    expected = {**ids, "identity": f"{PROVIDER}:o", "sync_relation": "lark:o"}[id_type]
    half = "half of an emoji: \ud83d"  # JSON can have it, and no request: JavaScript leaves it where it cuts a text
    identity = {"extIdpId": half, "provider": half, "userIdInIdp": half}
    unnameable = dict.fromkeys(user, half) | {"identities": [identity]}
    answer = {"statusCode": 200, "data": {"totalCount": 2, "list": [unnameable, user | {"name": half}]}}
    decision = look_ups.read_control(Response(200, json.dumps(answer).encode()))
    assert (decision.next_step, decision.data) == (NextStep.SETTLED, [expected])


NO_LISTS: list[Any] = [None, [], {}, {"list": None}, {"list": 5}, {"list": "u"}, {"list": {}}]
NO_ZERO: tuple[Any, ...] = (60, -1, None, "0", False, 0.0, [])
HIDING: list[Any] = [{"list": []}, *({"list": [], "totalCount": total} for total in NO_ZERO)]


@mutant(
    "a control without a list is an empty one",
    "read_listed",
    swap(
        "if not isinstance(listed, list) or not all(isinstance(item, dict) for item "
        "in listed):\n"
        '    return unreadable(decision, "the response holds no page of records")',
        "listed = listed or []\n"
        "if not all(isinstance(item, dict) for item in listed):\n"
        '    return unreadable(decision, "the response holds no page of records")',
    ),
    case="data18",
)
@mutant(
    "a control takes a user that does not say its ids for none",
    "UserLookUps.read_control",
    swap("not all(map(self.says_ids, decision.data))", "decision.data and not any(map(self.says_ids, decision.data))"),
    case="data17",
)
@pytest.mark.parametrize(
    "data",
    [
        *(*NO_LISTS, *HIDING, {"list": [None]}, {"list": [{}]}, {"list": [{"userId": "u"}, {"id": "v"}]}),
        {"list": None, "totalCount": 0},
    ],
)
def test_a_control_without_a_list_of_users_is_no_answer(data: Any) -> None:
    """An empty list would say that the pool has no user, and so that an empty look-up may be believed."""
    look_ups = UserLookUps(ID_TYPES["user_id"])
    decision = look_ups.read_control(Response(200, json.dumps({"statusCode": 200, "data": data}).encode()))
    assert decision.next_step is NextStep.RETRY


@pytest.mark.parametrize(("id_type", "listed"), [("user_id", []), ("email", [{"userId": "u"}])])
def test_a_control_that_lists_no_user_of_the_type(id_type: str, listed: list[Any]) -> None:
    look_ups = UserLookUps(ID_TYPES[id_type])
    answer = {"statusCode": 200, "data": {"totalCount": len(listed), "list": listed}}
    decision = look_ups.read_control(Response(200, json.dumps(answer).encode()))
    assert (decision.next_step, decision.data) == (NextStep.SETTLED, [])


def test_a_control_that_is_refused() -> None:
    look_ups = UserLookUps(ID_TYPES["user_id"])
    assert look_ups.read_control(Response(200, b'{"statusCode":403}')).next_step is NextStep.FORBIDDEN
    assert look_ups.read(Response(200, b'{"statusCode":200,"data":{}}')).next_step is NextStep.RETRY


def test_two_accounts_under_one_id_are_both_copied_and_the_younger_decides() -> None:
    old = {"userId": "a", "email": "u@x.org", "createdAt": "2020-01-01T00:00:00Z"}
    new = {"userId": "b", "email": "U@x.org", "createdAt": "2026-01-01T00:00:00Z"}
    undated = {"userId": "c", "email": "u@X.org"}
    look_ups = UserLookUps(ID_TYPES["email"])
    for found, first in (([old, new], new), ([new, old], new), ([new, undated, old], undated)):
        accounts, strays = look_ups.match(["u@x.org"], found)
        assert strays == 0
        assert accounts["u@x.org"].raw == first
        assert sorted(record["userId"] for record in accounts["u@x.org"].records) == sorted(
            record["userId"] for record in found
        )


@mutant(
    "a user whose record does not say its ids has none",
    "UserLookUps.read_owner",
    swap("[None]", "[]"),
)
@pytest.mark.parametrize(
    ("id_type", "user", "says"),
    [
        ("user_id", {"userId": "a"}, True),
        ("user_id", {"email": "a@x.org"}, False),
        ("user_id", {"userId": 5}, False),
        ("email", {"userId": "a", "email": "a@x.org"}, True),
        ("email", {"userId": "a"}, True),  # the API leaves an empty field out
        ("email", {"userId": "a", "email": None}, True),
        ("email", {"userId": "a", "email": {"value": "a@x.org"}}, False),
        ("email", {"user": {"userId": "a", "email": "a@x.org"}}, False),
        ("identity", {"userId": "a", "identities": []}, True),
        ("identity", {"userId": "a"}, False),  # asked for with them, and without
        ("sync_relation", {"userId": "a", "identities": ["lark:1"]}, False),
    ],
)
def test_a_record_that_does_not_say_its_ids_is_told_from_one_without_any(
    id_type: str, user: dict[str, Any], says: bool
) -> None:
    look_ups = UserLookUps(ID_TYPES[id_type])
    assert look_ups.says_ids(user) is says
    owner = look_ups.read_owner(Response(200, json.dumps({"statusCode": 200, "data": [user]}).encode())).data
    assert (None in owner) is not says


def test_a_record_without_the_id_that_was_asked_for_is_not_certain() -> None:
    look_ups = UserLookUps(ID_TYPES["email"])
    accounts, _ = look_ups.match(["u@x.org"], [{"userId": "a", "email": "boss@x.org"}])
    assert not accounts["u@x.org"].certain
    accounts, _ = look_ups.match(["u@x.org"], [{"userId": "a", "email": "U@x.org"}])
    assert accounts["u@x.org"].certain
