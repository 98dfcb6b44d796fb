"""What each job of GenAuth sends, beside the vendor's SDK on the wire, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from genauth import ManagementClient

from bulkdel.core.decision import Decision, IdAnswer, NextStep, Response, Verdict
from bulkdel.core.id_type import IdType
from bulkdel.core.record import Records
from bulkdel.errors import Halted
from bulkdel.http.client import WorkerStatus
from bulkdel.http.connecting import connect
from bulkdel.http.lookup import AccountLookup
from bulkdel.job import Account, HasStates, Target, TargetOptions, load_job
from bulkdel.parameters import parameters_of
from bulkdel.settings import Settings
from bulkdel_jobs.sandbox import TOKEN_PATH
from bulkdel_jobs.user_status import UpdateStatus, read_statuses
from tests.jobs import JOBS
from tests.mutants import mutant
from tests.rawserver import Peer, RawServer, ReceivedRequest, answer
from tests.syntax import swap

KEY, SECRET = "5a9db0c5a9db0c5a9db0c001", "a-secret"
TOKEN = "eyJhbGciOiJub25lIn0.eyJzY29wZWRfdXNlcnBvb2xfaWQiOiI1YTlkYjBjMDAwMDAwMDAwMDAwMGMwZGUifQ.c2ln"
SIGNED_IN = {"statusCode": 200, "message": "", "data": {"access_token": TOKEN, "expires_in": 7200}}
IDS = ["6229ffaaaaaaaaaacade3e3d", "6319a1504f3aaaaf214dd5b7"]
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "enable-users": {"status": "Activated"},
    "kick-users": {"app": ("a", "b")},
    "revoke-roles": {"role": ("r", "s"), "namespace": "n"},
    "remove-group-members": {"group": "g"},
    "delete-roles": {"namespace": "n"},
    "delete-resources": {"namespace": "n"},
}
USER = {"userId": "u", "status": "Activated"}


def target_of(name: str, **parameters: Any) -> tuple[Target, IdType]:
    job = load_job(name)
    made = parameters_of(job, parameters or PARAMETERS.get(name, {}))
    return job.target(TargetOptions("http://127.0.0.1:1", parameters=made)), job.id_types[job.id_type_default]


def records_of(*ids: str) -> Records:
    return Records(tuple(range(len(ids))), ids)


def state_calls(name: str) -> list[tuple[str, str, tuple[tuple[str, str], ...], bytes | None]]:
    target, id_type = target_of(name)
    look_ups = target.look_ups(id_type)
    if not isinstance(look_ups, HasStates):
        return []
    control = look_ups.state_control()
    return [each[:4] for each in (*look_ups.state_calls(Account(raw=USER)), *([control] if control else []))]


# --- the same requests as the vendor's SDK ----------------------------------------------------------------------------


async def sent_by_sdk(call: Callable[[ManagementClient], object]) -> ReceivedRequest:
    """The request of the vendor's SDK, as it arrives at a server of raw bytes."""

    async def serve(peer: Peer) -> None:
        while True:
            request = await peer.request()
            body = SIGNED_IN if request.target == TOKEN_PATH else {"statusCode": 200, "message": ""}
            await peer.send(answer(json.dumps(body).encode(), headers={"content-type": "application/json"}))

    async with RawServer(serve).running() as server:
        await asyncio.to_thread(lambda: call(ManagementClient(KEY, SECRET, host=server.url)))
    return server.requests[-1]


ROLES = [{"code": "r", "namespace": "n"}, {"code": "s", "namespace": "n"}]
SDK: Mapping[str, Callable[[ManagementClient], object]] = {
    "delete-users": lambda sdk: sdk.delete_users_batch(IDS, {"userIdType": "user_id"}),
    "resign-users": lambda sdk: sdk.resign_user_batch(IDS, "user_id"),
    "disable-users": lambda sdk: sdk.update_user_batch([{"userId": id_, "status": "Suspended"} for id_ in IDS]),
    "enable-users": lambda sdk: sdk.update_user_batch([{"userId": id_, "status": "Activated"} for id_ in IDS]),
    "kick-users": lambda sdk: sdk.kick_users(["a", "b"], IDS[0], {"userIdType": "user_id"}),
    "revoke-roles": lambda sdk: sdk.revoke_role_batch(
        [{"targetType": "USER", "targetIdentifier": id_} for id_ in IDS], ROLES
    ),
    "remove-group-members": lambda sdk: sdk.remove_group_members(IDS, "g"),
    "delete-public-accounts": lambda sdk: sdk.delete_public_accounts_batch(IDS, {"userIdType": "user_id"}),
    "delete-groups": lambda sdk: sdk.delete_groups_batch(IDS),
    "delete-roles": lambda sdk: sdk.delete_roles_batch(IDS, "n"),
    "delete-resources": lambda sdk: sdk.delete_resources_batch("n", IDS),
}


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
async def test_the_request_is_that_of_the_sdk(job: Any) -> None:
    theirs = await sent_by_sdk(SDK[job.name])
    target, id_type = target_of(job.name)
    (ours,) = target.action(id_type).calls(records_of(*(IDS[:1] if job.name == "kick-users" else IDS)))
    assert (ours.method, ours.path, ours.query, ours.headers) == (theirs.method, theirs.target, (), ())
    assert ours.body is not None
    given = {name: value for name, value in json.loads(theirs.body).items() if value is not None}
    assert json.loads(ours.body) == given
    assert ours.body == json.dumps(json.loads(ours.body), separators=(",", ":"), ensure_ascii=False).encode()


async def test_the_request_that_creates_users_is_that_of_the_sdk() -> None:
    """The SDK also sends what is not given, as null."""
    users: list[dict[str, Any]] = [
        {"username": "u", "customData": {"a": [1, None]}},
        {"email": "a@x.example", "departmentIds": ["d"]},
    ]
    target, id_type = target_of("restore-users", passwords="generate")
    lines = tuple(json.dumps({"userId": id_, **user}).encode() for id_, user in zip(IDS, users, strict=True))
    (ours,) = target.action(id_type).calls(Records((0, 1), tuple(IDS), lines))
    body = json.loads(ours.body or b"")
    theirs = await sent_by_sdk(lambda sdk: sdk.create_users_batch(body["list"], body["options"]))
    assert (ours.method, ours.path, ours.query, ours.headers) == (theirs.method, theirs.target, (), ())
    assert body == json.loads(theirs.body)
    assert body["list"] == users
    assert body["options"]["autoGeneratePassword"] is True


READS: Mapping[str, tuple[Callable[[ManagementClient], object], ...]] = {
    "resign-users": (lambda sdk: sdk.get_user_batch(["u"], "user_id"),),
    "delete-public-accounts": (lambda sdk: sdk.get_public_account_batch(["u"], "user_id"),),
    "delete-groups": (lambda sdk: sdk.get_group("u"), lambda sdk: sdk.list_groups(page=1, limit=50)),
    "delete-roles": (lambda sdk: sdk.get_role("u", "n"), lambda sdk: sdk.list_roles(1, 50, None, "n")),
    "delete-resources": (
        lambda sdk: sdk.get_resources_batch(["u"], "n"),
        lambda sdk: sdk.list_resources("n", None, 1, 50),
    ),
}


@pytest.mark.parametrize("name", READS)
async def test_the_look_up_is_that_of_the_sdk(name: str) -> None:
    target, id_type = target_of(name)
    look_ups = target.look_ups(id_type)
    ((_, looked_up),) = look_ups.calls(["u"])
    for ours, call in zip((looked_up, look_ups.control()), READS[name], strict=False):
        theirs = urlsplit((await sent_by_sdk(call)).target)
        assert (ours.method, ours.path) == ("GET", theirs.path)
        assert sorted(ours.query) == sorted(parse_qsl(theirs.query))


STATES: Mapping[str, tuple[Callable[[ManagementClient], object], ...]] = {
    "kick-users": (lambda sdk: sdk.check_session_status("a", "u"), lambda sdk: sdk.check_session_status("b", "u")),
    "revoke-roles": (
        lambda sdk: sdk.get_user_roles("u", namespace="n"),
        lambda sdk: sdk.list_role_members("r", 1, 50, namespace="n"),
    ),
    "remove-group-members": (lambda sdk: sdk.get_user_groups("u"), lambda sdk: sdk.list_group_members("g", 1, 50)),
}


@pytest.mark.parametrize("name", STATES)
async def test_the_state_is_asked_for_as_the_sdk_does(name: str) -> None:
    for (method, path, query, body), call in zip(state_calls(name), STATES[name], strict=True):
        request = await sent_by_sdk(call)
        theirs = urlsplit(request.target)
        assert (method, path) == (request.method, theirs.path)
        assert sorted(query) == sorted(parse_qsl(theirs.query))
        assert json.loads(body or b"null") == json.loads(request.body or b"null")


@pytest.mark.parametrize("name", ["delete-users", "resign-users", "disable-users", "delete-groups"])
def test_the_record_tells_the_state(name: str) -> None:
    assert state_calls(name) == []


def test_many_apps_and_roles_take_several_requests() -> None:
    apps, roles = [f"a{n}" for n in range(120)], [f"r{n}" for n in range(21)]
    target, id_type = target_of("kick-users", app=[*apps, apps[0]])
    bodies = [json.loads(each.body or b"") for each in target.action(id_type).calls(records_of("u"))]
    assert [body["appIds"] for body in bodies] == [apps[:50], apps[50:100], apps[100:]]
    target, id_type = target_of("revoke-roles", role=[*roles, roles[0]], namespace="n")
    bodies = [json.loads(each.body or b"") for each in target.action(id_type).calls(records_of("u", "v"))]
    assert [[role["code"] for role in body["roles"]] for body in bodies] == [roles[:10], roles[10:20], roles[20:]]
    assert {role["namespace"] for body in bodies for role in body["roles"]} == {"n"}
    assert {json.dumps(body["targets"]) for body in bodies} == {json.dumps(bodies[0]["targets"])}


def chunk_requests(name: str, **parameters: Any) -> int:
    job = load_job(name)
    return job.chunk_requests(parameters_of(job, parameters or PARAMETERS.get(name, {})))


def test_the_plan_counts_as_many_requests_a_chunk_as_are_sent() -> None:
    for job in JOBS:
        target, id_type = target_of(job.name)
        assert chunk_requests(job.name) == len(target.action(id_type).calls(records_of("u")))
    apps, roles = [f"a{n}" for n in range(50)], [f"r{n}" for n in range(10)]
    for more, requests in ((), 1), (("new",), 2):
        assert chunk_requests("kick-users", app=[*apps, apps[0], *more]) == requests
        assert chunk_requests("revoke-roles", role=[*roles, roles[0], *more]) == requests


@pytest.mark.parametrize("job", [job for job in JOBS if job.name != "kick-users"], ids=lambda job: job.name)
def test_no_request_is_built_for_too_many_ids_or_the_same_twice(job: Any) -> None:
    target, id_type = target_of(job.name)
    for ids in ([], job.ids(51), [*job.ids(1), *job.ids(1)], [""]):
        with pytest.raises(ValueError, match=r"takes 1 to 50|twice|empty"):
            target.action(id_type).calls(records_of(*ids))


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
async def test_the_sandbox_of_a_job_holds_what_it_can_change(job: Any) -> None:
    """Each id exists there, and is not in the target state."""
    found = load_job(job.name)
    id_type, ids = found.id_types[found.id_type_default], job.ids(3)
    parameters = parameters_of(found, PARAMETERS.get(job.name, {}))
    with found.sandbox(iter(ids), id_type, parameters) as target:
        async with connect(target, Settings(rate=0), pool=None) as client:
            looked = await AccountLookup(client, target.look_ups(id_type), lambda: 0.0).find_proven(ids, WorkerStatus())
    assert looked is not None
    assert {id_: account.reached for id_, account in looked.accounts.items()} == dict.fromkeys(ids, False)


# --- answers ----------------------------------------------------------------------------------------------------------


def envelope(data: Any = None, code: int = 200, **more: Any) -> Response:
    return Response(200, json.dumps({"statusCode": code, "message": "m", "data": data, **more}).encode())


def test_each_user_in_the_answer_to_an_update_has_its_own_verdict() -> None:
    action = UpdateStatus({"a": "Suspended", "b": "Suspended"}.get)
    decision = action.read(
        envelope([{"userId": "b", "status": "Activated"}, {"userId": "a", "status": "Suspended"}, {"userId": "x"}])
    )
    assert decision.next_step is NextStep.PER_ID
    assert [(each.id, each.verdict) for each in decision.data] == [
        ("b", Verdict.REFUSED),
        ("a", Verdict.SETTLED),
        ("x", Verdict.REFUSED),  # the engine takes an answer with an id that was not sent for a lost one
    ]
    (refused, _, without) = decision.data
    assert isinstance(refused, IdAnswer)
    assert refused.detail.message == "updated, and the status is Activated"
    assert without.detail.message == "updated, and no status is shown"


@pytest.mark.parametrize("status", [None, 7, "6229ffaaaaaaaaaacade3e3d", "x" * 21, "sus pended"])
def test_a_status_that_may_be_an_id_is_not_shown(status: Any) -> None:
    decision = UpdateStatus(lambda _id: "Suspended").read(envelope([{"userId": "a", "status": status}]))
    assert decision.data == [
        IdAnswer("a", Verdict.REFUSED, decision.detail._replace(message="updated, and no status is shown"))
    ]


@pytest.mark.parametrize("data", [None, {}, {"success": True}, [1], [{"status": "Suspended"}], [{"userId": 7}]])
def test_an_update_without_a_list_of_users_may_have_been_applied(data: Any) -> None:
    decision = UpdateStatus(lambda _id: "Suspended").read(envelope(data))
    assert (decision.next_step, decision.maybe_applied) == (NextStep.RETRY, True)


@pytest.mark.parametrize(("code", "step"), [(400, NextStep.SPLIT), (404, NextStep.LOOK_UP), (500, NextStep.RETRY)])
def test_a_refused_update_is_no_answer_per_id(code: int, step: NextStep) -> None:
    assert UpdateStatus(lambda _id: "Suspended").read(envelope([], code)).next_step is step


def test_an_update_names_no_field_but_the_status() -> None:
    target, id_type = target_of("disable-users")
    (request,) = target.action(id_type).calls(records_of(*IDS))
    (users,) = json.loads(request.body or b"").values()
    assert [user.keys() for user in users] == [{"userId", "status"}] * 2


def test_a_user_without_a_known_status_is_not_sent() -> None:
    with pytest.raises(Halted, match=r"to 1 user of a chunk \(rows 1, counted from 0\)"):
        UpdateStatus({"a": "Activated"}.get).calls(records_of("a", "b"))


@mutant(
    "an unknown role is looked up like an unknown user",
    "read_taken_away",
    swap(
        "unknown and dict(decision.detail.extra).get(API_CODE) != USER_NOT_FOUND",
        "not unknown and dict(decision.detail.extra).get(API_CODE) == USER_NOT_FOUND",
    ),
)
@pytest.mark.parametrize("name", ["revoke-roles", "remove-group-members"])
@pytest.mark.parametrize(
    ("response", "step"),
    [
        (envelope({"success": True}), NextStep.SETTLED),
        (envelope({"success": False}), NextStep.LOOK_UP),
        (envelope(code=404, apiCode=2004), NextStep.LOOK_UP),  # an unknown user
        (envelope(code=404), NextStep.SPLIT),  # an unknown role, group or namespace: then every user is refused
        (Response(404, b"<html>"), NextStep.HALT),
    ],
)
def test_an_unknown_role_is_no_unknown_user(name: str, response: Response, step: NextStep) -> None:
    target, id_type = target_of(name)
    assert target.action(id_type).read(response).next_step is step


def test_a_cloud_without_resignations_is_named() -> None:
    target, id_type = target_of("resign-users")
    decision = target.action(id_type).read(Response(404, b"<html>"))
    assert decision.next_step is NextStep.HALT
    assert decision.reason.endswith("wrong host or path, or a cloud without resign-user-batch")
    assert target.action(id_type).read(envelope(code=404)).next_step is NextStep.LOOK_UP


def read_state(name: str, response: Response) -> Decision:
    target, id_type = target_of(name)
    look_ups = target.look_ups(id_type)
    assert isinstance(look_ups, HasStates)
    return look_ups.read_state(response, Account())


@pytest.mark.parametrize(
    ("name", "data", "reached"),
    [
        ("kick-users", {"active": False}, True),
        ("kick-users", {"active": True}, False),
        ("kick-users", {"active": 0}, None),
        ("kick-users", {}, None),
        ("kick-users", None, None),
        ("revoke-roles", {"totalCount": 0, "list": []}, True),
        ("revoke-roles", {"totalCount": 1, "list": [{"code": "s", "namespace": "n"}]}, False),
        ("revoke-roles", {"totalCount": 1, "list": [{"code": "s", "namespace": "other"}]}, True),
        ("revoke-roles", {"totalCount": 1, "list": [{"code": "R"}]}, True),
        ("revoke-roles", {"totalCount": 1, "list": [{"code": "r"}]}, False),
        ("revoke-roles", {"totalCount": 60, "list": [{"code": "x"}]}, None),
        ("revoke-roles", {"totalCount": 60, "list": [{"code": "r"}]}, False),
        ("revoke-roles", {"totalCount": 60, "list": []}, None),
        ("revoke-roles", {"totalCount": True, "list": [{"code": "x"}]}, None),
        ("revoke-roles", {"list": [{"code": "x"}]}, None),
        ("revoke-roles", {"list": []}, None),
        ("revoke-roles", {}, None),
        ("remove-group-members", {"totalCount": 1, "list": [{"code": "g"}]}, False),
        ("remove-group-members", {"totalCount": 1, "list": [{"code": "G"}]}, True),
        ("remove-group-members", {"totalCount": 2, "list": [{"code": "x"}]}, None),
        ("remove-group-members", {"list": [1]}, None),
    ],
)
def test_the_state_of_a_user(name: str, data: Any, reached: bool | None) -> None:
    decision = read_state(name, envelope(data))
    expected = (NextStep.RETRY, None) if reached is None else (NextStep.SETTLED, reached)
    assert (decision.next_step, decision.data if reached is not None else None) == expected
    assert read_state(name, envelope(data, 403)).next_step is NextStep.FORBIDDEN


@pytest.mark.parametrize(
    ("name", "status", "reached"),
    [
        ("resign-users", "Resigned", True),
        ("resign-users", "Suspended", False),
        ("disable-users", "Suspended", True),
        ("disable-users", "Resigned", False),
        ("disable-users", None, None),
        ("enable-users", "Activated", True),
        ("delete-users", "Activated", False),
    ],
)
def test_the_status_in_a_record(name: str, status: str | None, reached: bool | None) -> None:
    target, id_type = target_of(name)
    look_ups = target.look_ups(id_type)
    accounts, strays = look_ups.match(IDS[:1], [{"userId": IDS[0], "status": status}])
    assert (accounts[IDS[0]].reached, strays) == (reached, 0)


def test_two_users_with_one_address_are_both_to_resign() -> None:
    """The address means both, so it is in the target state when both are."""
    job = load_job("resign-users")
    look_ups = job.target(TargetOptions("http://127.0.0.1:1")).look_ups(job.id_types["email"])
    for statuses, reached in ((("Resigned", "Resigned"), True), (("Resigned", "Activated"), False)):
        users = [
            {"userId": f"{n}", "email": email, "status": status}
            for n, (email, status) in enumerate(zip(("A@x.example", "a@x.example"), statuses, strict=True))
        ]
        accounts, _ = look_ups.match(["a@x.example"], users)
        assert accounts["a@x.example"].reached is reached


@pytest.mark.parametrize("name", ["delete-groups", "delete-roles"])
@pytest.mark.parametrize(
    ("response", "step", "data"),
    [
        (envelope({"code": "a"}), NextStep.SETTLED, [{"code": "a"}]),
        (envelope(code=404), NextStep.SETTLED, []),
        (Response(500, b'{"statusCode":404}'), NextStep.LOOK_UP, [None]),  # a server that failed half-way
        (envelope(None), NextStep.RETRY, None),
        (envelope([]), NextStep.RETRY, None),
        (Response(404, b"<html>"), NextStep.HALT, [None]),
    ],
)
def test_a_look_up_of_one_code(name: str, response: Response, step: NextStep, data: Any) -> None:
    target, id_type = target_of(name)
    look_ups = target.look_ups(id_type)
    decision = look_ups.read(response)
    assert (decision.next_step, decision.data) == (step, data)


def test_codes_match_exactly_and_in_their_namespace() -> None:
    target, id_type = target_of("delete-roles")
    look_ups = target.look_ups(id_type)
    records = [
        {"code": "a", "namespace": "n"},
        {"code": "b"},
        {"code": "c", "namespace": "default"},
        {"code": "D", "namespace": "n"},
    ]
    accounts, strays = look_ups.match(["a", "b", "c", "d"], records)
    assert (set(accounts), strays) == ({"a", "b"}, 2)
    assert look_ups.read_control(envelope({"list": [{"code": "a"}, {"code": ""}, {"code": "\ud83d"}]})).data == ["a"]
    unreadable: dict[str, Any]
    for unreadable in ({}, {"list": {}}, {"list": [{"code": "a"}, {}]}):
        assert look_ups.read_control(envelope(unreadable)).next_step is NextStep.RETRY
    assert look_ups.read_owner(envelope({"list": [{"code": "a"}]})).data == []


def test_codes_are_looked_up_fifty_at_a_time_where_the_api_can() -> None:
    counts = {}
    for name in ("delete-groups", "delete-roles", "delete-resources"):
        target, id_type = target_of(name)
        look_ups = target.look_ups(id_type)
        codes = [f"c{n}" for n in range(60)]
        calls = look_ups.calls(codes)
        assert [code for group, _ in calls for code in group] == codes
        counts[name] = len(calls)
    assert counts == {"delete-groups": 60, "delete-roles": 60, "delete-resources": 2}


@mutant(
    "of two records of a user in a backup the later one counts",
    "read_statuses",
    swap("statuses.setdefault(user, sys.intern(status))", "statuses[user] = sys.intern(status)"),
)
def test_the_first_record_of_a_user_counts(tmp_path: Path) -> None:
    """A later one may be from after the update."""
    path = tmp_path / "backup.jsonl"
    path.write_text('{"userId":"a","status":"Activated","name":"\\ud83d"}\n{"userId":"a","status":"Suspended"}\n')
    assert read_statuses(path) == {"a": "Activated"}
