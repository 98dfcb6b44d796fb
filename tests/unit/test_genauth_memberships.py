"""GenAuth's calls about memberships: what is asked, and what follows from each response."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.decision import NextStep, Request, Response, Verdict
from bulkdel.core.id_parser import IdCheck
from bulkdel.core.record import Record, Records
from bulkdel.job import Account, GroupOrRole, MembershipPage
from bulkdel_jobs.genauth.groups_and_roles import UserMemberships, id_of
from bulkdel_jobs.restore_memberships import MEMBERSHIP, MembershipLookUps, PutBack, in_common, membership_of

READING = UserMemberships()
GROUP, ROLE = GroupOrRole("group", "g"), GroupOrRole("role", "r", "n")
PAGE = (("page", "1"), ("limit", "50"))
SECOND = (("page", "2"), ("limit", "50"))
GROUPS, NAMESPACES = (Request("GET", f"/api/v3/list-{what}", PAGE) for what in ("groups", "namespaces"))
ROLES = Request("GET", "/api/v3/list-roles", (("namespace", "n"), *PAGE))
IN_GROUP = Request("GET", "/api/v3/list-group-members", (("code", "g"), *PAGE))
WITH_ROLE = Request("GET", "/api/v3/list-role-members", (("code", "r"), ("namespace", "n"), *PAGE))
ASSIGNED = Request(
    "GET",
    "/api/v3/list-role-assignments",
    (("roleCode", "r"), ("namespaceCode", "n"), ("targetType", "USER"), *PAGE),
)


def answer(data: Any = None, status_code: int = 200, **more: Any) -> Response:
    return Response(200, orjson.dumps({"statusCode": status_code, "message": "", "data": data, **more}))


def page(*items: Any, total: int | None = None, name: str = "list") -> Response:
    return answer({"totalCount": len(items) if total is None else total, name: items})


def test_what_is_asked() -> None:
    assert READING.lists() == [GROUPS, NAMESPACES]
    assert READING.members(GROUP) == [IN_GROUP]
    assert READING.members(ROLE) == [WITH_ROLE, ASSIGNED]


@pytest.mark.parametrize(
    ("request_", "response", "expected"),
    [
        (GROUPS, page({"code": "g", "type": "static"}, {"code": "rule", "type": "dynamic"}), [GROUP]),
        (NAMESPACES, page({"code": "n"}), [ROLES]),
        (ROLES, page({"code": "r", "namespace": "n"}), [ROLE]),
        (GROUPS, page(), []),
    ],
)
def test_a_list_of_groups_roles_or_namespaces(request_: Request, response: Response, expected: list[Any]) -> None:
    decision = READING.read_list(request_, response)
    total = orjson.loads(response.body)["data"]["totalCount"]
    page_ = MembershipPage(expected, total, None, left_out=total - len(expected))
    assert (decision.next_step, decision.data) == (NextStep.SETTLED, page_)


@pytest.mark.parametrize(
    ("request_", "response", "expected"),
    [
        (IN_GROUP, page({"userId": "u"}), [{"userId": "u"}]),
        (WITH_ROLE, page({"userId": "u"}), [{"userId": "u"}]),
        (
            ASSIGNED,
            page({"targetIdentifier": "u", "endTime": 9, "enableTime": None}, name="data"),
            [{"userId": "u", "endTime": 9}],
        ),
        (ASSIGNED, page({"endTime": 9}, name="data"), [{"userId": None, "endTime": "unknown"}]),
        (ASSIGNED, page({"endTime": None, "status": "ENABLE"}, name="data"), [{"userId": None}]),
    ],
)
def test_a_list_of_members(request_: Request, response: Response, expected: list[Any]) -> None:
    assert READING.read_members(request_, response).data == MembershipPage(expected, 1, None)


def test_pages_follow_until_the_total_is_reached() -> None:
    users = [{"userId": str(number)} for number in range(50)]
    first = READING.read_members(IN_GROUP, page(*users, total=51)).data
    assert (first.total, first.following) == (51, IN_GROUP._replace(query=(("code", "g"), *SECOND)))
    assert READING.read_members(first.following, page({"userId": "last"}, total=51)).data.following is None
    assert READING.read_members(IN_GROUP, page(total=51)).data.following is None  # a page without items ends a list


@pytest.mark.parametrize(
    "data",
    [None, [], {}, {"list": []}, {"totalCount": 1}, {"totalCount": "x", "list": []}, {"totalCount": 1, "list": 7},
     {"totalCount": 0, "list": {}},
     {"totalCount": 1, "list": [{}]}, {"totalCount": 1, "list": [{"userId": 7}]}, {"totalCount": 1, "list": ["u"]},
     {"totalCount": 1, "list": [{"userId": "", "code": ""}]}],
)  # fmt: skip
def test_no_page_is_asked_for_again(data: Any) -> None:
    for decision in (READING.read_members(IN_GROUP, answer(data)), READING.read_list(GROUPS, answer(data))):
        assert decision.next_step is NextStep.RETRY
        assert "no page" in decision.reason


def test_half_of_a_surrogate_pair() -> None:
    """In a name it changes nothing: JavaScript leaves it where it cuts an emoji in two. A code cannot be asked for."""
    body = page({"code": "g", "userId": "u", "name": "half"}).body
    named, coded = (Response(200, body.replace(b'"%b' % part, b'"\\ud83d')) for part in (b"half", b"g"))
    assert READING.read_list(GROUPS, named).data.items == [GROUP]
    assert READING.read_members(IN_GROUP, named).data.items == [{"userId": "u"}]
    assert READING.read_list(GROUPS, coded).next_step is NextStep.RETRY


def test_what_does_not_exist_any_more() -> None:
    """Only the statusCode says so. Without an envelope it is a wrong host or path."""
    decision = READING.read_members(IN_GROUP, answer(status_code=404))
    assert (decision.next_step, decision.data) == (NextStep.SETTLED, None)
    assert READING.read_members(IN_GROUP, Response(404, b"")).next_step is NextStep.HALT
    assert READING.read_list(GROUPS, answer(status_code=404)).next_step is NextStep.LOOK_UP


CODES = st.text(min_size=1)


@given(CODES, st.none() | CODES, CODES)
def test_the_id_of_a_membership(code: str, namespace: str | None, user: str) -> None:
    """An export may hold it whatever the code is: the reader refuses control characters and line separators."""
    of = GroupOrRole("group" if namespace is None else "role", code, namespace)
    id_ = id_of(of, user.strip() or "u")
    assert membership_of(id_) == (of, user.strip() or "u")
    assert IdCheck(MEMBERSHIP, {}).check(id_) == id_


def test_a_code_stays_readable() -> None:
    assert id_of(GroupOrRole("role", "a:b% écrivains 分组", "n\u2028\n"), "u") == (
        "role:n%E2%80%A8%0A:a%3Ab%25 écrivains 分组:u"
    )


def test_a_row_of_the_export() -> None:
    assert READING.row(ROLE, "u", {"endTime": 9}) == {"id": "role:n:r:u", "endTime": 9}
    assert READING.row(GROUP, "u", {}) == {"id": "group::g:u"}
    assert READING.row(ROLE, "u", {"endTime": "unknown"}) is None


def records(*ids: str, **times: int) -> Records:
    return Records.of(Record(position, id_, orjson.dumps({"id": id_, **times})) for position, id_ in enumerate(ids))


def test_one_request_puts_back_what_belongs_together() -> None:
    [added] = PutBack().calls(records("group::g:u", "group::g:v"))
    assert added.path == "/api/v3/add-group-members"
    assert orjson.loads(added.body or b"") == {"code": "g", "userIds": ["u", "v"]}
    [assigned] = PutBack().calls(records("role:n:r:u", enableTime=1, endTime=9))
    assert assigned.path == "/api/v3/assign-role"
    assert orjson.loads(assigned.body or b"") == {
        "code": "r", "namespace": "n", "targets": [{"targetType": "USER", "targetIdentifier": "u"}],
        "enableTime": 1, "endTime": 9,
    }  # fmt: skip
    for apart in (
        records("group::g:u", "group::h:u"),
        Records.joined([records("role:n:r:u"), records("role:n:r:v", endTime=9)]),
    ):
        assert len({in_common(record) for record in apart}) == 2
        with pytest.raises(ValueError, match="one group or role"):
            PutBack().calls(apart)


def test_a_look_up_asks_for_the_group_and_then_for_each_user() -> None:
    look_ups, ids = MembershipLookUps(), ["role:n:r:v", "group::g:u", "group::g:v"]
    assert look_ups.calls(ids) == [
        (["group::g:u", "group::g:v"], Request("GET", "/api/v3/get-group", (("code", "g"),))),
        (["role:n:r:v"], Request("GET", "/api/v3/get-role", (("code", "r"), ("namespace", "n")))),
    ]
    assert look_ups.texts(ids[:1]) == ["role:n:r:v", "v"]
    assert not look_ups.splits_commas
    there = look_ups.read(answer({"code": "g"})).data
    accounts, strays = look_ups.match(ids[1:], there)
    assert (list(accounts), strays) == (ids[1:], 0)
    assert {account.reached for account in accounts.values()} == {None}
    assert look_ups.match(ids[1:], look_ups.read(answer(status_code=404)).data) == ({}, 0)
    assert look_ups.match(ids[:1], [{"code": "r", "namespace": "other"}]) == ({}, 1)
    assert look_ups.read(answer([])).next_step is NextStep.RETRY
    assert look_ups.state_calls(accounts["group::g:u"]) == [
        Request("GET", "/api/v3/get-user-groups", (("userId", "u"),))
    ]
    assert look_ups.state_calls(Account(raw={"id": ids[0]})) == [
        Request("GET", "/api/v3/get-user-roles", (("userId", "v"), ("namespace", "n")))
    ]


@pytest.mark.parametrize(
    ("id_", "response", "expected"),
    [
        ("group::g:u", page({"code": "g"}, {"code": "h"}), True),
        ("group::g:u", page({"code": "h"}), False),
        ("group::g:u", page({"code": "g"}, total=60), True),
        ("group::g:u", page({"code": "h"}, total=60), None),
        ("group::g:u", answer(status_code=404, apiCode=2004), Verdict.ABSENT),
        ("role:n:r:u", page({"code": "r", "namespace": "n"}), True),
        ("role:n:r:u", page({"code": "r", "namespace": "other"}), False),
    ],
)
def test_whether_a_user_is_a_member(id_: str, response: Response, expected: Any) -> None:
    """A list of which only a part came proves nothing, unless the group or role is in it."""
    decision = MembershipLookUps().read_state(response, Account(raw={"id": id_}))
    if expected is None:
        assert decision.next_step is NextStep.RETRY
    else:
        assert (decision.next_step, decision.data) == (NextStep.SETTLED, expected)
    refused = MembershipLookUps().read_state(answer(status_code=404), Account(raw={"id": id_}))
    assert refused.next_step is NextStep.LOOK_UP


def test_the_control_lists_groups() -> None:
    look_ups = MembershipLookUps()
    assert (
        look_ups.owner("u")
        == look_ups.control()
        == Request("GET", "/api/v3/list-groups", (("page", "1"), ("limit", "10")))
    )
    [listed] = look_ups.read_control(page({"code": "a:b"}, {"code": ""})).data
    assert membership_of(listed).of == GroupOrRole("group", "a:b")
    assert look_ups.read_owner(page({"code": "g"})).data == []
    for unreadable in (answer(), page({"code": "g"}, {})):
        assert look_ups.read_control(unreadable).next_step is NextStep.RETRY
