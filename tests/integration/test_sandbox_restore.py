"""What the sandbox does with a restore: users that are created again, and groups, roles and departments put back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from bulkdel_jobs.sandbox import CREATE_PATH, Pool, Switches
from tests.full_users import KEYS, LOST, RESTORABLE, Difference, differences, full_users
from tests.integration.test_sandbox import Client, signed_in
from tests.integration.test_sandbox_users import ask
from tests.mutants import mutant
from tests.syntax import negate

FULL = {"withCustomData": "true", "withIdentities": "true", "withDepartmentIds": "true"}
TAKEN, NEW = {"username": "taken"}, {"email": "new@x.example"}


async def post(client: Client, call: str, body: Any) -> Any:
    """Send JSON that orjson would refuse, as half of a surrogate pair."""
    _, answer, _ = await client.call("POST", f"/api/v3/{call}", data=json.dumps(body))
    return answer


async def create(client: Client, *users: Mapping[str, Any], **options: Any) -> Any:
    return await post(client, "create-users-batch", {"list": users, "options": options})


def records(pool: Pool) -> list[dict[str, Any]]:
    return [pool.user(number) for number in pool.alive()]


# --- whole users ------------------------------------------------------------------------------------------------------


def test_full_users_have_two_values_of_each_field() -> None:
    users = records(full_users(120))
    assert {*RESTORABLE, *LOST} == {name for user in users for name in user}
    for field in RESTORABLE:
        assert len({json.dumps(user[field]) for user in users if user.get(field) not in (None, [], {})}) > 1, field
    assert {len(user["departmentIds"]) for user in users} == {len(user["identities"]) for user in users} == {0, 1, 2}
    nulls = {name for user in users for name in RESTORABLE if user.get(name, "") is None}
    assert nulls >= {"email", "phone", "externalId", "birthdate", "customData", "metadataSource"}
    assert differences(full_users(120), full_users(120)) == []


async def test_every_field_that_create_accepts_is_kept_and_shown_again() -> None:
    pool = full_users(120)
    async with signed_in(pool) as client:
        saved = records(pool)
        for number in range(120):
            pool.delete(number)
        shown = []
        for at in range(0, 120, 50):
            answer = await create(client, *saved[at : at + 50])
            assert answer["statusCode"] == 200
            shown += answer["data"]
        assert shown == records(pool)
        left = differences(full_users(120), pool)
        assert {each.field for each in left} == {"groups", "roles"}  # a new user is in none
        assert differences(full_users(120), pool, memberships=False) == []
        assert not {user["userId"] for user in shown} & {user["userId"] for user in saved}
        assert {user["createdAt"] for user in shown}.isdisjoint(user["createdAt"] for user in saved)
        asked = [("userIds", user["userId"]) for user in shown[:50]] + [*FULL.items()]
        _, found, _ = await client.call("GET", "/api/v3/get-user-batch", params=asked)
        assert found["data"] == shown[:50]
        for id_type in KEYS:
            assert pool.effects_of("created", id_type).most_common(1)[0][1] == 1
        assert pool.kinds() == ["created", "deleted"]


def test_the_comparison_of_pools_says_what_differs() -> None:
    before, after = full_users(60), full_users(60)
    after.delete(20)
    after.change(21, {"nickname": "else", "emailVerified": 1}, "2026-01-01T00:00:00.000Z")
    others = {"userId": "x", "email": "x@x.example", "phone": None, "username": None, "externalId": None}
    after.put(after.user(0) | others)
    after.access.add_role("admin").users.remove(1)
    user, names = before.user(21), [f"email {before.user(number)['email']}" for number in (1, 20, 21)]
    found = differences(before, after)
    (roles,) = (each for each in found if each.field == "roles")
    assert (roles.user, {*roles.before} - {*roles.after}) == (names[0], {"default/admin"})
    assert {*map(repr, found)} == {
        *map(repr, [
            roles,
            Difference(names[1], "user", 1, 0),
            Difference(names[2], "nickname", user["nickname"], "else"),
            Difference(names[2], "emailVerified", False, 1),
            Difference("x", "user", 0, 1),
        ])
    }  # fmt: skip


# --- what goes wrong with a creation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["email", "phone", "username", "externalId"])
@pytest.mark.parametrize("policy", ["refuse", "partial"])
async def test_a_taken_id_refuses_all_or_only_its_user(field: str, policy: Any) -> None:
    there = {"email": "a@x.example", "phone": "+14155550100", "username": "a", "externalId": "1"}
    spelled = {"email": "A@X.example", "phone": "4155550100", "phoneCountryCode": "1"}
    same = {name: value for name, value in spelled.items() if name.startswith(field)} or {field: there[field]}
    async with signed_in(Pool(), Switches(clashes=policy)) as client:
        pool = client.sandbox.pool
        await create(client, there)
        twin = {"username": "b"} | same
        answer = await create(client, {"username": "c"}, twin, {"username": "c"}, {"username": "d"})
        assert (answer["statusCode"], answer["message"]) == (409, f"{field} 已存在")
        made = {"refuse": ["a"], "partial": ["a", "c", "d"]}[policy]
        assert pool.user_ids("username") == made
        assert pool.effects_of("created", "username") == dict.fromkeys(made, 1)


async def test_two_users_may_get_one_id_or_one_identity() -> None:
    tie = {"extIdpId": "idp", "provider": "lark", "userIdInIdp": "ou"}
    async with signed_in(Pool(), Switches(clashes="accept")) as client:
        pool = client.sandbox.pool
        pool.references.add_source("idp", "lark")
        for _ in range(2):
            assert (await create(client, NEW))["statusCode"] == 200
        assert pool.effects_of("created", "email") == {"new@x.example": 2}
        assert differences(Pool.from_ids(["new@x.example"], "email"), pool)[-1][1:] == ("user", 0, 1)
        await client.delete([pool.user(1)["userId"]])
        assert pool.find_alive("email", "new@x.example") == 0
        for unique, status in ((False, 200), (False, 200), (True, 409)):
            client.sandbox.switches = Switches(unique_identities=unique)
            answer = await create(client, {"username": f"n{len(pool)}", "identities": [tie]})
            assert answer["statusCode"] == status
        assert answer["message"] == "identities 已存在"


@pytest.mark.parametrize(
    ("wanted", "message", "kept"),
    [
        ({"departmentIds": ["d", "gone"]}, "存在不合法的 departmentId: gone", ["d"]),
        ({"identities": [{"extIdpId": "gone", "provider": "lark", "userIdInIdp": "ou"}]}, "身份源不存在", []),
    ],
)
async def test_what_does_not_exist_any_more_refuses_all_or_is_left_out(wanted: Any, message: str, kept: Any) -> None:
    async with signed_in(Pool()) as client:
        known = await client.post("/sandbox/departments", {"add": ["d", "gone"], "remove": ["gone"]})
        assert known == {"known": ["d"]}
        await client.post("/sandbox/identity-sources", {"add": ["gone"]})
        await client.post("/sandbox/identity-sources", {"remove": ["gone"]})
        answer = await create(client, NEW, {"username": "n"} | wanted)
        assert (answer["statusCode"], answer["message"], len(client.sandbox.pool)) == (404, message, 0)
        client.sandbox.switches = Switches(unknown_references="ignore")
        (made,) = (await create(client, {"username": "n"} | wanted))["data"]
        (field,) = wanted
        assert made[field] == client.sandbox.pool.user(0)[field] == kept


async def test_a_response_may_leave_created_users_out_or_name_one_that_was_not() -> None:
    switches = Switches(created_max=2, omit=frozenset({"n1"}), liars=frozenset({"n0"}))
    async with signed_in(Pool(), switches) as client:
        pool = client.sandbox.pool
        listed = (await create(client, *({"username": f"n{n}", "externalId": str(n)} for n in range(4))))["data"]
        assert [user["username"] for user in listed] == ["n0", "n2"]
        assert pool.user_ids("username") == ["n1", "n2", "n3"]
        assert [pool.find("user_id", user["userId"]) for user in listed] == [None, 1]
        client.sandbox.switches = Switches(created_reversed=True)
        listed = (await create(client, {"username": "first"}, {"username": "second"}))["data"]
        assert [user["username"] for user in listed] == ["second", "first"]


@pytest.mark.parametrize(
    ("switches", "answer", "made"),
    [
        ({"poisonous": {"2": (422, 7)}}, "422", []),
        ({"forbidden": True}, "403", []),
        ({"share_drop_before": 1.0}, "drop_before", []),
        ({"share_500": 1.0}, "500", []),
        ({"share_500_after": 1.0}, "500_after", ["a", "b", "c", "d"]),
        ({"share_drop_after": 1.0}, "drop_after", ["a", "b", "c", "d"]),
        ({"share_truncated_after": 1.0}, "truncated_after", ["a", "b", "c", "d"]),
        ({"share_malformed_after": 1.0}, "malformed_after", ["a", "b", "c", "d"]),
        ({"share_unsuccessful": 1.0}, "unsuccessful", []),
        ({"share_unsuccessful": 1.0, "unsuccessful_effect": "half"}, "unsuccessful", ["a", "b"]),
        ({}, "200", ["a", "b", "c", "d"]),
    ],
)
async def test_each_fault_strikes_a_creation(switches: dict[str, Any], answer: str, made: list[str]) -> None:
    async with signed_in(Pool()) as client:
        client.sandbox.switches = Switches(**switches)
        sandbox, users = client.sandbox, [{"username": name, "externalId": str(n)} for n, name in enumerate("abcd", 1)]
        with contextlib.suppress(aiohttp.ClientError):
            await create(client, *users)
        assert sandbox.ledger.answers["200"] == 1 + (answer == "200")
        assert sandbox.ledger.answers[answer] >= 1
        assert sandbox.pool.effects_of("created", "username") == dict.fromkeys(made, 1)
        assert sandbox.ledger.chunk_sizes == {4: 1}
        assert (sandbox.ledger.sent("b", path=CREATE_PATH), sandbox.ledger.sent_times(path=CREATE_PATH)) == (1, {1: 4})
        assert sandbox.ledger.sent_times() == {}
        assert sandbox.ledger.accepted == (4 if answer == "200" else 0)


async def test_a_created_user_is_seen_later_by_look_ups_that_lag() -> None:
    async with signed_in(Pool.from_ids(["a"], "username")) as client:
        client.sandbox.switches = Switches(lag_s=3600)
        pool = client.sandbox.pool
        await client.delete(["a"], "username")
        (made,) = (await create(client, {"username": "a"}))["data"]
        (seen,) = await client.look_up(["a"], "username")  # the replica still shows the user that was deleted
        assert seen["userId"] == pool.user(0)["userId"] != made["userId"]
        assert await client.look_up([made["userId"]]) == []
        client.sandbox.switches = Switches()
        assert [user["userId"] for user in await client.look_up(["a"], "username")] == [made["userId"]]


async def test_the_options_of_a_creation() -> None:
    async with signed_in(Pool()) as client:
        pool = client.sandbox.pool
        for wrong in (
            {"keepPassword": 1},
            {"sendNotification": True},
            {"sendNotification": {"sendEmailNotification": "no"}},
            {"departmentIdType": "name"},
            {"passwordEncryptType": "aes"},
        ):
            answer = await create(client, NEW, **wrong)
            assert (answer["statusCode"], answer["message"]) == (400, "参数 options 格式错误")
        assert (await create(client, NEW, departmentIdType="sync_relation"))["statusCode"] == 501
        assert len(pool) == 0
        pool.references.add_department("d1", {"code": "c1", "openDepartmentId": "o1"})
        quiet = {"sendNotification": {"sendEmailNotification": False, "sendPhoneNotification": False}}
        silent = {"username": "s", "email": "s@x.example", "phone": "1", "departmentIds": ["c1"]}
        (made,) = (await create(client, silent, departmentIdType="code", **quiet))["data"]
        assert (made["departmentIds"], made.get("resetPasswordOnNextLogin")) == (["d1"], None)
        assert pool.kinds() == ["created"]
        loud = {"sendNotification": {"sendEmailNotification": True, "sendPhoneNotification": True}}
        policy = {"autoGeneratePassword": True, "resetPasswordOnFirstLogin": True}
        made = (await create(client, NEW, {"phone": "2", "departmentIds": ["o1"]},
                             departmentIdType="open_department_id", **loud, **policy))["data"]  # fmt: skip
        ids = [user["userId"] for user in made]
        assert [user["resetPasswordOnNextLogin"] for user in made] == [True, True]
        assert pool.effects_of("mail-sent") == {ids[0]: 1}
        assert pool.effects_of("sms-sent") == {ids[1]: 1}
        assert pool.effects_of("password-generated") == dict.fromkeys(ids, 1)


# --- what is put back afterwards --------------------------------------------------------------------------------------


async def test_groups_and_roles_are_counted_for_each_user() -> None:
    pool = Pool.from_ids(["a" * 24, "b" * 24])
    a, b = pool.user_ids()
    pool.access.add_group("eng")
    pool.access.add_role("admin", namespace="shop")
    async with signed_in(pool) as client:
        for ids in ([a], [a, b]):
            answer = await ask(client, "add-group-members", {"code": "eng", "userIds": ids})
            assert answer["data"] == {"success": True}
        assert pool.effects_of("group-added") == {f"eng/{a}": 1, f"eng/{b}": 1}
        assert pool.repeats_of("group-added") == {f"eng/{a}": 1}
        assigned: dict[str, Any] = {
            "code": "admin",
            "namespace": "shop",
            "targets": [{"targetType": "USER", "targetIdentifier": a}],
        }
        for times in ({}, {"enableTime": 1, "endTime": 2}, {"enableTime": 1, "endTime": 2}):
            assert (await ask(client, "assign-role", assigned | times))["data"] == {"success": True}
        for wrong in ("enableTime", "endTime"):
            answer = await ask(client, "assign-role", assigned | {wrong: "soon"})
            assert (answer["statusCode"], answer["message"]) == (400, f"参数 {wrong} 格式错误")
        assert pool.effects_of("role-assigned") == {f"shop/admin/{a}": 2}  # the second time it got other times
        assert pool.repeats_of("role-assigned") == {f"shop/admin/{a}": 1}
        both: dict[str, Any] = {"roles": [{"code": "admin", "namespace": "shop"}], "targets": [*assigned["targets"]]}
        both["targets"] += [{"targetType": "USER", "targetIdentifier": b}]
        assert (await ask(client, "assign-role-batch", both))["data"] == {"success": True}
        assert pool.effects_of("role-assigned") == {f"shop/admin/{a}": 3, f"shop/admin/{b}": 1}


async def test_assignments_of_a_role_are_listed_with_their_times() -> None:
    pool = full_users(60)
    async with signed_in(pool) as client:
        asked = {"roleCode": "admin", "namespaceCode": "shop", "limit": 4}
        data = (await ask(client, "list-role-assignments", asked))["data"]
        role = pool.access.add_role("admin", namespace="shop")
        assert (data["totalCount"], len(data["data"])) == (len(role.users), 4)
        (first,) = {each["roleCode"] for each in data["data"]}
        assert first == "admin"
        assert [each["endTime"] for each in data["data"]] == [role.users.values()[at].end for at in range(4)]
        assert "targetIdentifier" not in data["data"][0]
        client.sandbox.switches = Switches(assignment_targets=True)
        data = (await ask(client, "list-role-assignments", asked | {"page": 2, "targetType": ["USER"]}))["data"]
        users = [pool.user(number)["userId"] for number in role.users][4:8]
        assert [each["targetIdentifier"] for each in data["data"]] == users
        data = (await ask(client, "list-role-assignments", asked | {"targetType": ["ORG"]}))["data"]
        assert data == {"totalCount": 0, "data": []}
        for wrong, status in (({"roleCode": ""}, 400), ({"roleCode": "none"}, 404), ({"limit": 51}, 400)):
            assert (await ask(client, "list-role-assignments", asked | wrong))["statusCode"] == status


async def test_departments_of_a_user_are_set_and_listed() -> None:
    pool = full_users(3)
    async with signed_in(pool) as client:
        user = pool.user(0)
        before = (await ask(client, "get-user-departments", {"userId": user["userId"]}))["data"]
        assert [(each["departmentId"], each["isMainDepartment"]) for each in before["list"]] == [
            ("d-sales", True),
            ("d-dev", False),
        ]
        places = [{"departmentId": "d-dev", "isLeader": True, "isMainDepartment": True}, {"departmentId": "d-部门"}]
        asked = {"userId": user["username"], "departments": places, "options": {"userIdType": "username"}}
        for _ in range(2):
            assert (await ask(client, "set-user-departments", asked))["data"] == {"success": True}
        assert pool.effects_of("departments-set") == pool.repeats_of("departments-set") == {user["userId"]: 1}
        changed = pool.user(0)
        assert (changed["departmentIds"], changed["mainDepartmentId"]) == (["d-dev", "d-部门"], "d-dev")
        asked = {"userId": user["userId"], "limit": 1}
        listed = (await ask(client, "get-user-departments", asked))["data"]
        assert (listed["totalCount"], len(listed["list"])) == (2, 1)
        dev = listed["list"][0]
        assert (dev["code"], dev["isLeader"], dev["joinedAt"]) == ("code-d-dev", True, before["list"][1]["joinedAt"])
        for departments, status, message in [
            ([], 400, "参数 departments 格式错误"),
            ([{"departmentId": 1}], 400, "参数 departments 格式错误"),
            ([{"departmentId": "d-dev", "isLeader": 1}], 400, "参数 departments 格式错误"),
            ([{"departmentId": "none"}], 404, "存在不合法的 departmentId: none"),
        ]:
            answer = await ask(client, "set-user-departments", {"userId": user["userId"], "departments": departments})
            assert (answer["statusCode"], answer["message"]) == (status, message)
        answer = await ask(client, "set-user-departments", {"userId": "none", "departments": places})
        assert (answer["statusCode"], answer["message"]) == (404, "用户不存在")


@mutant(
    "a resignation in the sandbox leaves the departments",
    "resign.change",
    negate("not call.switches.resign_keeps_access"),
)
@pytest.mark.parametrize("keeps", [False, True])
async def test_a_resignation_takes_departments_away(keeps: bool) -> None:
    pool = full_users(3)
    async with signed_in(pool, Switches(resign_keeps_access=keeps)) as client:
        ids = [pool.user(number)["userId"] for number in range(2)]
        before = [pool.user(number)["departmentIds"] for number in range(3)]
        assert all(before)
        assert (await ask(client, "resign-user-batch", {"userIds": ids}))["data"] == {"success": True}
        after = [pool.user(number)["departmentIds"] for number in range(3)]
        assert after == (before if keeps else [[], [], before[2]])
        assert bool(pool.user(0).get("mainDepartmentId")) is keeps
    assert pool.effects_of("resigned") == dict.fromkeys(ids, 1)


async def test_an_identity_is_linked_once() -> None:
    pool = full_users(3)
    async with signed_in(pool) as client:
        user = pool.user(0)["userId"]
        asked = {"userId": user, "extIdpId": "idp-oidc", "userIdInIdp": "sub-1"}
        before = pool.user(1)["identities"]
        await ask(client, "link-identity", asked | {"userId": pool.user(1)["userId"], "userIdInIdp": "sub-2"})
        assert pool.user(1)["identities"][:-1] == before
        for _ in range(2):
            assert (await ask(client, "link-identity", asked))["data"] == {"success": True}
        (tie,) = pool.user(0)["identities"]
        assert tie["identityId"]
        assert (tie["provider"], tie["type"], tie["userIdInIdp"]) == ("oidc", "generic", "sub-1")
        linked = {f"idp-oidc:sub-1/{user}": 1, f"idp-oidc:sub-2/{pool.user(1)['userId']}": 1}
        assert pool.effects_of("identity-linked") == linked
        assert pool.repeats_of("identity-linked") == {f"idp-oidc:sub-1/{user}": 1}
        assert [each["userId"] for each in await client.look_up(["idp-oidc:sub-1"], "identity")] == [user]
        for wrong, status in (({"extIdpId": "none"}, 404), ({"userId": "none"}, 404), ({"type": 1}, 400)):
            assert (await ask(client, "link-identity", asked | wrong))["statusCode"] == status


async def test_the_control_endpoints_take_lists_of_ids_only() -> None:
    async with signed_in(Pool()) as client:
        for wrong in ({"add": "d"}, {"remove": [1]}):
            status, text, _ = await client.call("POST", "/sandbox/departments", data=json.dumps(wrong))
            assert (status, b"lists of texts" in text) == (400, True)
        assert await client.post("/sandbox/departments", {"add": ["d"], "public": True}) == {"known": ["d"]}
        assert [*client.sandbox.public.references.departments] == ["d"]
        assert not [*client.sandbox.pool.references.departments]
