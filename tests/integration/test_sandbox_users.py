"""The users' side of an offboarding in the sandbox: what the vendor's tests expect, every switch, and every effect."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
import pytest

from bulkdel_jobs.sandbox import SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, Pool, Switches
from bulkdel_jobs.sandbox.api import ENDPOINTS, TOKEN_PATH, is_not_played
from bulkdel_jobs.sandbox.token_issuer import sign, string_to_sign
from tests.integration.test_sandbox import IDS, NO_SIGN_IN, SIGNED_GET, Client, signed_in, users
from tests.integration.test_sandbox_access import FAULTS, NO_USER, malformed


async def ask(client: Client, call: str, asked: Any) -> Any:
    """Call an endpoint; a GET takes a list as a repeated key."""
    path = f"/api/v3/{call}"
    if ("GET", path) not in ENDPOINTS:
        return await client.post(path, asked)
    lists = {name: value if isinstance(value, list) else [value] for name, value in asked.items()}
    return await client.get(path, [(name, str(value)) for name, values in lists.items() for value in values])


def suspended(*ids: str) -> dict[str, Any]:
    return {"list": [{"userId": id_, "status": "Suspended"} for id_ in ids]}


def filtered(field: str, operator: str, value: Any) -> dict[str, Any]:
    return {"advancedFilter": [{"field": field, "operator": operator, "value": value}]}


LONG = {"intro": "hello" * 205}
TOO_LONG = "customData must be less than 1024 characters"
OVER = "limit must less than 50"

REFUSED: list[tuple[str, Any, int, str]] = [
    ("get-user", {"userId": "test"}, 404, NO_USER),
    ("get-user", {"userId": ""}, 400, malformed("userId")),
    ("get-user", {}, 400, malformed("userId")),
    ("get-user", {"userId": "no-at-sign", "userIdType": "email"}, 400, malformed("userId")),
    ("get-user", {"userId": "none@x.example", "userIdType": "email"}, 404, NO_USER),
    ("get-user", {"userId": "138#0000", "userIdType": "phone"}, 400, malformed("userId")),
    ("get-user", {"userId": "212-456-1111", "userIdType": "phone"}, 404, NO_USER),
    ("get-user", {"userId": IDS[0], "userIdType": "custom_field"}, 400, malformed("userIdType")),
    ("get-user-batch", {"userIds": []}, 400, malformed("userIds")),
    ("create-user", {}, 400, NO_SIGN_IN),
    ("create-user", {"email": "test1@qqq"}, 400, malformed("email")),
    ("create-user", {"email": "test1@qq.example", "customData": LONG}, 400, TOO_LONG),
    ("create-user", {"email": "test1@qq.example", "phoneCountryCode": "+86"}, 400, "phone cannot be empty"),
    ("create-user", {"email": "user1@sandbox.example"}, 409, "email 已存在"),
    ("create-users-batch", {"list": [{"username": "n"}, {"email": "test1@qqq"}]}, 400, malformed("email")),
    ("create-users-batch", {"list": [{"username": "n"}, {"email": "a@x.example", "customData": LONG}]}, 400, TOO_LONG),
    ("update-user", {"userId": IDS[0], "gender": ""}, 400, malformed("gender 格")),
    ("update-user", {"userId": IDS[0], "status": "Gone"}, 400, malformed("status")),
    ("update-user", {"userId": IDS[0], "email": 1}, 400, malformed("email")),
    ("update-user", {"userId": IDS[0], "username": "user1"}, 409, "username 已存在"),
    ("update-user", {"userId": "none", "name": "n"}, 404, NO_USER),
    ("update-user", {"name": "n"}, 400, malformed("userId")),
    ("update-user-batch", {"list": []}, 400, malformed("list")),
    ("update-user-batch", suspended(*IDS[:51]), 400, malformed("list")),
    ("update-user-batch", {"list": [IDS[0]]}, 400, malformed("list")),
    ("update-user-batch", {"list": [{"status": "Suspended"}]}, 400, malformed("list")),
    ("update-user-batch", suspended(IDS[0], ""), 400, malformed("list")),
    ("update-user-batch", suspended(IDS[0], "none"), 404, NO_USER),
    ("update-user-batch", {"list": [{"userId": IDS[0], "name": "n"}, {"userId": IDS[1], "gender": "X"}]}, 400,
     malformed("gender 格")),
    ("update-user-batch", {"list": [{"userId": id_, "externalId": "same"} for id_ in IDS[:2]]}, 409,
     "externalId 已存在"),
    ("resign-user-batch", {"userIds": []}, 400, malformed("userIds")),
    ("resign-user-batch", {"userIds": IDS[:51]}, 400, malformed("userIds")),
    ("resign-user-batch", {"userIds": IDS[:1], "userIdType": "custom_field"}, 400, malformed("userIdType")),
    ("resign-user", {"userId": "none"}, 404, NO_USER),
    ("kick-users", {"userId": IDS[0], "appIds": []}, 400, malformed("appIds")),
    ("kick-users", {"userId": IDS[0], "appIds": [f"app{n}" for n in range(51)]}, 400, malformed("appIds")),
    ("kick-users", {"userId": "none", "appIds": ["app"]}, 404, NO_USER),
    ("check-session-status", {"userId": IDS[0]}, 400, malformed("appId")),
    ("check-session-status", {"userId": "none", "appId": "app"}, 404, NO_USER),
    ("list-users", {"options": {"pagination": {"page": 0}}}, 400, malformed("page")),
    ("list-users", {"options": {"pagination": {"limit": 0}}}, 400, malformed("limit")),
    ("list-users", {"options": {"pagination": {"limit": 220}}}, 400, OVER),
    ("list-users", filtered("status", "EQUAL", "invalid"), 400, malformed("status")),
    ("list-users", filtered("lastLogin", "BETWEEN", [1]), 400, malformed("advancedFilter")),
    ("list-users", filtered("lastLogin", "LESSER", "soon"), 400, malformed("advancedFilter")),
    ("list-users", {"advancedFilter": ["status"]}, 400, malformed("advancedFilter")),
    ("list-users", filtered("name", "EQUAL", "n"), 501, "不支持的操作"),
    ("list-archived-users", {"limit": 220}, 400, OVER),
    ("list-public-accounts", {"options": {"pagination": {"limit": 220}}}, 400, OVER),
    ("delete-public-accounts-batch", {"userIds": []}, 400, malformed("userIds")),
    ("get-public-account-batch", {"userIds": [""]}, 400, malformed("userIds")),
    ("create-public-accounts-batch", {"list": [{}]}, 400, NO_SIGN_IN),
    ("is-user-exists", {}, 400, malformed("username, email, phone, externalId")),
    ("is-user-exists", {"username": 7}, 400, malformed("username, email, phone, externalId")),
    ("get-user-identities", {"userId": ""}, 400, malformed("userId")),
    ("get-user-identities", {"userId": "none"}, 404, NO_USER),
    ("batch-get-user-encrypt-password", {"userIds": []}, 400, malformed("userIds")),
    ("batch-get-user-encrypt-password", {"userIds": ["none"]}, 404, NO_USER),
    ("set-custom-fields", {"list": []}, 400, malformed("list")),
    ("get-user-mfa-info", {}, 501, "沙盒不支持此接口"),
]  # fmt: skip
"""Call, what is sent, statusCode and message. Most messages are what the vendor's own tests expect."""


async def test_what_the_api_refuses_it_refuses_whole() -> None:
    async with signed_in(users(60)) as client:
        for call, asked, status, message in REFUSED:
            answer = await ask(client, call, asked)
            assert (answer["statusCode"], answer["message"]) == (status, message), (call, asked)
        assert (client.sandbox.pool.kinds(), client.sandbox.public.kinds()) == ([], [])
        assert len(client.sandbox.pool) == 60


# --- creating and reading ---------------------------------------------------------------------------------------------


async def test_a_new_user_has_a_photo_and_has_never_signed_in() -> None:
    async with signed_in(Pool()) as client:
        asked = {
            "username": "n",
            "gender": "M",
            "phone": "13800000000",
            "phoneCountryCode": "+86",
            "customData": {"a": 1},
        }
        made = (await ask(client, "create-user", asked))["data"]
        assert {name: made[name] for name in asked} == asked
        assert (made["status"], made["loginsCount"], made["lastLogin"], made["lastIp"]) == ("Activated", 0, None, None)
        assert made["photo"]
        for id_type, id_ in (("user_id", made["userId"]), ("username", "n"), ("phone", "13800000000")):
            found = (await ask(client, "get-user", {"userId": id_, "userIdType": id_type}))["data"]
            assert found == {name: made[name] for name in found}
            assert made.keys() - found.keys() == {"customData", "identities", "departmentIds"}
        asked = {"userId": made["userId"], "withCustomData": "true", "withIdentities": "True", "withDepartmentIds": "1"}
        assert (await ask(client, "get-user", asked))["data"] == made
        client.sandbox.switches = Switches(blind=True)
        assert (await ask(client, "get-user", asked))["message"] == NO_USER


async def test_an_identity_has_every_field_that_the_documentation_requires() -> None:
    required = {"identityId", "extIdpId", "provider", "type", "userIdInIdp", "userInfoInIdp", "originConnIds"}
    async with signed_in(users(1)) as client:
        (user,) = (await ask(client, "get-user-batch", {"userIds": IDS[:1], "withIdentities": "true"}))["data"]
        assert [set(identity) for identity in user["identities"]] == [required]


async def test_a_public_account_shows_no_identities() -> None:
    async with signed_in(Pool()) as client:
        client.sandbox.public.add_ids(IDS[:1])
        everything = {"withCustomData": "true", "withIdentities": "true", "withDepartmentIds": "true"}
        (account,) = (await ask(client, "get-public-account-batch", {"userIds": IDS[:1], **everything}))["data"]
        assert {"customData", "departmentIds"} <= account.keys()
        assert "identities" not in account
        made = (await ask(client, "create-public-accounts-batch", {"list": [{"username": "n"}]}))["data"]
        assert "identities" not in made[0]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ([("userIds", ",".join(IDS[:3]))], 3),
        ([("userIds[]", ",".join(IDS[:3]))], 0),
        ([("userIds", ",".join(IDS[:3])), ("userIds", IDS[3])], 1),
        ([("userIds", "user0,user1"), ("userIdType", "username")], 0),
    ],
)
async def test_only_a_bare_parameter_of_user_ids_is_split_at_commas(query: Any, found: int) -> None:
    async with signed_in(users(60)) as client:
        assert len((await client.get("/api/v3/get-user-batch", query))["data"]) == found


async def test_a_list_is_filtered_by_status_and_by_the_last_sign_in() -> None:
    async with signed_in(users(6)) as client:
        await ask(client, "update-user-batch", suspended(*IDS[:2]))
        await ask(client, "resign-user-batch", {"userIds": IDS[1:3]})
        made = (await ask(client, "create-user", {"username": "never", "status": "Archived"}))["data"]["userId"]
        at = [client.sandbox.pool.user(number)["lastLogin"] for number in range(6)]
        assert at == sorted(set(at))
        epoch_ms = [1640995200000 + 86_400_000 * day for day in range(6)]  # from 1 January 2022, a day apart
        for asked, expected in [
            (filtered("status", "EQUAL", "Suspended"), IDS[:1]),
            (filtered("status", "EQUAL", "Resigned"), IDS[1:3]),
            (filtered("status", "EQUAL", "Activated"), IDS[3:6]),
            (filtered("status", "EQUAL", "Archived"), [made]),
            (filtered("lastLogin", "LESSER", at[1]), IDS[:2]),
            (filtered("lastLogin", "GREATER", epoch_ms[4] - 86_400_000), IDS[4:6]),
            (filtered("lastLogin", "BETWEEN", [at[2], at[3]]), IDS[2:4]),
            ({"advancedFilter": [*filtered("status", "EQUAL", "Resigned")["advancedFilter"],
                                 *filtered("lastLogin", "GREATER", at[2])["advancedFilter"]]}, IDS[2:3]),
        ]:  # fmt: skip
            data = (await ask(client, "list-users", asked))["data"]
            assert ([user["userId"] for user in data["list"]], data["totalCount"]) == (expected, len(expected)), asked
        paged = filtered("status", "EQUAL", "Activated") | {"options": {"pagination": {"page": 2, "limit": 2}}}
        data = (await ask(client, "list-users", paged))["data"]
        assert ([user["userId"] for user in data["list"]], data["totalCount"]) == (IDS[5:6], 3)


# --- changing ---------------------------------------------------------------------------------------------------------


async def test_an_update_lists_the_users_as_they_are_then() -> None:
    async with signed_in(users(3)) as client:
        pool = client.sandbox.pool
        asked = {"list": [{"userId": IDS[2], "status": "Suspended"}, {"userId": IDS[0], "name": "N", "gender": None}]}
        listed = (await ask(client, "update-user-batch", asked))["data"]
        assert [(user["userId"], user["status"], user["name"]) for user in listed] == [
            (IDS[2], "Suspended", "User 2"),
            (IDS[0], "Activated", "N"),
        ]
        assert listed[0]["statusChangedAt"] == listed[0]["updatedAt"] > listed[0]["createdAt"]
        assert (pool.effects_of("suspended"), pool.effects_of("updated")) == ({IDS[2]: 1}, {IDS[0]: 1})
        await ask(client, "update-user-batch", asked)
        assert (pool.effects_of("suspended"), pool.effects_of("updated")) == ({IDS[2]: 1}, {IDS[0]: 1})
        assert (pool.repeats_of("suspended"), pool.repeats_of("updated")) == ({IDS[2]: 1}, {IDS[0]: 1})
        asked = {"list": [{"userId": IDS[2], "status": "Activated"}, {"userId": IDS[1], "password": "p"}]}
        await ask(client, "update-user-batch", asked)
        assert pool.kinds() == ["activated", "suspended", "updated"]
        assert pool.effects_of("activated") == {IDS[2]: 1}
        assert pool.effects_of("updated") == {IDS[0]: 1, IDS[1]: 1}
        assert "password" not in pool.user(1)
        shown = (await ask(client, "update-user", {"userId": "user1", "email": "NEW@x.example",
                                                   "options": {"userIdType": "username"}}))["data"]  # fmt: skip
        assert (shown["userId"], shown["email"]) == (IDS[1], "new@x.example")
        assert await client.look_up(["user1@sandbox.example"], "email") == []


async def test_what_an_update_leaves_out_is_kept_or_filled_in_on_a_switch() -> None:
    async with signed_in(users(2)) as client:
        pool = client.sandbox.pool
        await ask(client, "update-user", {"userId": IDS[0], "status": "Suspended", "gender": "M"})
        await ask(client, "update-user-batch", {"list": [{"userId": IDS[0], "name": "N"}]})
        assert (pool.status(0), pool.user(0)["gender"]) == ("Suspended", "M")
        client.sandbox.switches = Switches(fill_defaults=True)
        await ask(client, "update-user-batch", {"list": [{"userId": IDS[0], "name": "N"}, *suspended(IDS[1])["list"]]})
        assert (pool.status(0), pool.user(0)["gender"], pool.status(1)) == ("Activated", "U", "Suspended")
        assert pool.effects_of("activated") == {IDS[0]: 1}


async def test_a_liar_is_listed_as_it_was_and_an_omitted_id_is_not_listed() -> None:
    async with signed_in(users(3), Switches(liars=frozenset(IDS[:1]), omit=frozenset(IDS[1:2]))) as client:
        listed = (await ask(client, "update-user-batch", suspended(*IDS[:3])))["data"]
        assert [(user["userId"], user["status"]) for user in listed] == [
            (IDS[0], "Activated"),
            (IDS[2], "Suspended"),
        ]
        assert client.sandbox.pool.effects_of("suspended") == {IDS[1]: 1, IDS[2]: 1}


async def test_look_ups_lag_behind_changes_and_lists_do_not() -> None:
    async with signed_in(users(2), Switches(lag_s=3600)) as client:
        await ask(client, "update-user-batch", suspended(*IDS[:2]))
        await ask(client, "kick-users", {"userId": IDS[0], "appIds": ["app"]})
        assert [user["status"] for user in await client.look_up(IDS[:2])] == ["Activated"] * 2
        assert (await ask(client, "get-user", {"userId": IDS[0]}))["data"]["status"] == "Activated"
        asked = {"userId": IDS[0], "appId": "app"}
        assert (await ask(client, "check-session-status", asked))["data"] == {"active": True}
        assert (await ask(client, "list-users", filtered("status", "EQUAL", "Suspended")))["data"]["totalCount"] == 2
        client.sandbox.switches = Switches()
        assert [user["status"] for user in await client.look_up(IDS[:2])] == ["Suspended"] * 2
        assert (await ask(client, "check-session-status", asked))["data"] == {"active": False}


async def test_a_resignation_by_any_id_takes_groups_and_roles_away() -> None:
    pool = users(4)
    group, role = pool.access.add_group("eng", pool.alive()), pool.access.add_role("admin", pool.alive())
    async with signed_in(pool) as client:
        asked = {"userIds": ["USER1@sandbox.example", "none@x.example"], "userIdType": "email"}
        assert (await ask(client, "resign-user-batch", asked))["data"] == {"success": True}
        answer = await ask(client, "resign-user", {"userId": "ext-2", "userIdType": "external_id"})
        assert answer["data"] == {"success": True}
        assert [pool.status(number) for number in range(4)] == ["Activated", "Resigned", "Resigned", "Activated"]
        assert list(group.users) == list(role.users) == [0, 3]
        client.sandbox.switches = Switches(resign_keeps_access=True)
        for _ in range(2):
            assert (await ask(client, "resign-user", {"userId": IDS[3]}))["data"] == {"success": True}
        assert list(group.users) == list(role.users) == [0, 3]
        client.sandbox.switches = Switches(resign_again="refuse")
        assert (await ask(client, "resign-user-batch", {"userIds": [IDS[0], IDS[3]]}))["statusCode"] == 422
        assert (await ask(client, "resign-user-batch", {"userIds": IDS[:1]}))["statusCode"] == 200
        assert pool.effects_of("resigned") == dict.fromkeys(IDS[:4], 1)
        assert pool.repeats_of("resigned") == {IDS[3]: 1}
        assert len(pool) == 4


# --- sessions ---------------------------------------------------------------------------------------------------------


async def sessions(client: Client, ids: list[str], app: str = "one") -> list[bool]:
    return [(await ask(client, "check-session-status", {"userId": id_, "appId": app}))["data"]["active"] for id_ in ids]


async def test_a_user_is_signed_in_until_kicked_out_of_an_application() -> None:
    async with signed_in(users(2)) as client:
        asked = {"userId": "user0", "appIds": ["one", "two"], "options": {"userIdType": "username"}}
        assert (await ask(client, "kick-users", asked))["data"] == {"success": True}
        assert [await sessions(client, IDS[:2], app) for app in ("one", "two", "three")] == [
            [False, True],
            [False, True],
            [True, True],
        ]
        await ask(client, "kick-users", {"userId": IDS[0], "appIds": ["two", "three"]})
        pool = client.sandbox.pool
        assert pool.effects_of("kicked") == {f"{app}/{IDS[0]}": 1 for app in ("one", "two", "three")}
        assert pool.repeats_of("kicked") == {f"two/{IDS[0]}": 1}
        client.sandbox.switches = Switches(blind=True)
        asked = {"userId": IDS[1], "appId": "one"}
        assert (await ask(client, "check-session-status", asked))["message"] == NO_USER


async def test_a_suspension_a_resignation_and_a_deletion_end_sessions_unless_a_switch_says_no() -> None:
    for outlive in (False, True):
        async with signed_in(users(4), Switches(sessions_outlive=outlive)) as client:
            await ask(client, "update-user-batch", suspended(IDS[0]))
            await ask(client, "update-user", {"userId": IDS[0], "status": "Activated"})
            await ask(client, "resign-user", {"userId": IDS[1]})
            await client.delete(IDS[2:3])
            assert await sessions(client, IDS[:4]) == [outlive, outlive, outlive, True]


# --- the rest ---------------------------------------------------------------------------------------------------------


async def test_stored_passwords_come_as_one_object_or_as_a_list() -> None:
    async with signed_in(users(2)) as client:
        asked = {"userIds": [*IDS[:2], "none"]}
        one = (await ask(client, "batch-get-user-encrypt-password", asked))["data"]
        assert one.keys() == {"userId", "encryptedPassword"}
        client.sandbox.switches = Switches(encrypted_passwords="list")
        listed = (await ask(client, "batch-get-user-encrypt-password", asked))["data"]
        assert [each["userId"] for each in listed] == IDS[:2]
        assert listed[0] == one


async def test_custom_fields_are_returned_as_they_were_sent() -> None:
    fields = [{"targetType": "USER", "dataType": "STRING", "key": "intro", "label": "Intro"}]
    async with signed_in(Pool()) as client:
        assert (await ask(client, "set-custom-fields", {"list": fields}))["data"] == fields


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({}, ""),
        ({"brand": "genauth"}, "操作成功"),
        ({"success_message": "documented"}, "操作成功"),
        ({"brand": "genauth", "success_message": "empty"}, ""),
    ],
)
async def test_a_success_has_the_documented_message_or_none(switches: dict[str, Any], message: str) -> None:
    async with signed_in(users(), Switches(**switches)) as client:
        assert (await client.delete(IDS[:1]))["message"] == message
        assert (await client.delete([]))["message"] == malformed("userIds")


async def test_genauth_has_no_calls_for_the_departments_of_a_user() -> None:
    async with signed_in(users(), Switches(brand="genauth")) as client:
        for method, call in (("POST", "set-user-departments"), ("GET", "get-user-departments")):
            status, body, _ = await client.call(method, f"/api/v3/{call}")
            assert (status, b"404" in body) == (404, True)
        assert (await ask(client, "resign-user-batch", {"userIds": IDS[:1]}))["data"] == {"success": True}
        assert (await client.delete(IDS[:1]))["statusCode"] == 200


async def test_whether_a_user_is_there_and_what_ties_it() -> None:
    async with signed_in(users(3)) as client:
        for asked, there in (
            ({"username": "user1"}, True),
            ({"email": "USER2@sandbox.example"}, True),
            ({"phone": "10000000002"}, True),
            ({"externalId": "ext-9"}, False),
            ({"username": "none", "externalId": "ext-0"}, True),
        ):
            assert (await ask(client, "is-user-exists", asked))["data"] == {"exists": there}, asked
        ties = (await ask(client, "get-user-identities", {"userId": "user1", "userIdType": "username"}))["data"]
        assert [(each["provider"], each["userIdInIdp"]) for each in ties] == [("lark", "ou_1")]
        client.sandbox.switches = Switches(blind=True)
        assert (await ask(client, "is-user-exists", {"username": "user1"}))["data"] == {"exists": False}
        assert (await ask(client, "get-user-identities", {"userId": IDS[1]}))["statusCode"] == 404


async def test_a_call_that_is_not_played_says_so_and_any_other_path_is_not_found() -> None:
    assert not any(is_not_played(path) for path in (TOKEN_PATH, *(path for _, path in ENDPOINTS)))
    async with signed_in(users(1)) as client:
        headers = {**client.headers, "x-genauth-lang": "en-US"}
        answer = await client.post("/api/v3/unlink-identity", {}, headers=headers)
        assert (answer["statusCode"], answer["message"]) == (501, "The sandbox does not play this call")
        assert (await client.call("POST", "/api/v4/unlink-identity"))[0] == 404


async def test_an_empty_list_is_signed_though_it_is_not_sent() -> None:
    async with signed_in(users()) as client:
        for call, name in (("get-user-batch", "userIds"), ("get-resources-batch", "codeList")):
            path, passed = f"/api/v3/{call}", {name: [], "withCustomData": "false"}
            text = string_to_sign("GET", path, SIGNED_GET, passed, brand="authing")
            headers = {**SIGNED_GET, "authorization": f"authing {SANDBOX_KEY_ID}:{sign(SANDBOX_KEY_SECRET, text)}"}
            answer = await client.get(path, {"withCustomData": "false"}, headers=headers)
            assert (answer["statusCode"], answer["message"]) == (400, malformed(name))


async def test_the_shape_of_a_user_id_is_checked_on_a_switch() -> None:
    async with signed_in(users()) as client:
        for switches, status in ((Switches(), 200), (Switches(check_id_shape=True), 400)):
            client.sandbox.switches = switches
            assert (await ask(client, "resign-user-batch", {"userIds": ["u-1"]}))["statusCode"] == status
            assert (await ask(client, "get-user-batch", {"userIds": ["u-1"]}))["statusCode"] == status
            answer = await ask(client, "resign-user-batch", {"userIds": ["u-1"], "userIdType": "username"})
            assert answer["statusCode"] == 200


# --- faults -----------------------------------------------------------------------------------------------------------


class Changing(NamedTuple):
    """A call that changes users: how it names them, the kind of its effect, and what is before the id in its key."""

    call: str
    asked: Callable[[list[str]], dict[str, Any]]
    kind: str
    key: str = ""
    unsuccessful: Any = {"success": False}  # noqa: RUF012 - never changed


BATCHES = [
    Changing("delete-users-batch", lambda ids: {"userIds": ids}, "deleted"),
    Changing("delete-public-accounts-batch", lambda ids: {"userIds": ids}, "deleted"),
    Changing("update-user-batch", lambda ids: suspended(*ids), "suspended", unsuccessful=[]),
    Changing("resign-user-batch", lambda ids: {"userIds": ids}, "resigned"),
]

SINGLE = [
    Changing("update-user", lambda ids: {"userId": ids[0], "name": "N"}, "updated"),
    Changing("resign-user", lambda ids: {"userId": ids[0]}, "resigned"),
    Changing("kick-users", lambda ids: {"userId": ids[0], "appIds": ["app"]}, "kicked", "app/"),
]


async def strike(each: Changing, switches: dict[str, Any], ids: list[str], answer: str, changed: list[str]) -> Any:
    """Send one request with `ids`; `answer` must be what the ledger counts, and `changed` what it changed."""
    async with signed_in(users(4)) as client:
        client.sandbox.public.add_ids(IDS[:4])
        client.sandbox.switches = Switches(**switches)
        body = None
        with contextlib.suppress(aiohttp.ClientError):
            body = await ask(client, each.call, each.asked(ids))
        ledger, path = client.sandbox.ledger, f"/api/v3/{each.call}"
        assert ledger.answers - Counter({"200": 1}) == {answer: 1}  # signing in was the other
        pools = [client.sandbox.pool, client.sandbox.public]
        pool = pools.pop("public" in each.call)
        assert pool.effects_of(each.kind) == Counter(each.key + id_ for id_ in changed)
        assert (pool.kinds(), pools[0].kinds()) == ([each.kind] if changed else [], [])
        assert (ledger.chunk_sizes, ledger.sent_times(path=path)) == ({len(ids): 1}, {1: len(ids)})
        assert ledger.accepted == (len(ids) if answer == "200" else 0)
        return body


@pytest.mark.parametrize("each", BATCHES, ids=lambda each: each.call)
@pytest.mark.parametrize(("switches", "answer", "changed"), FAULTS)
async def test_each_fault_strikes_each_batch(
    each: Changing, switches: dict[str, Any], answer: str, changed: list[int]
) -> None:
    switches = dict(switches)
    if "poisonous" in switches:
        switches["poisonous"] = {IDS[1]: (422, 7)}
    if "liars" in switches:
        switches["liars"] = frozenset({IDS[1]})
    body = await strike(each, switches, [*IDS[:4], IDS[9]], answer, [IDS[index] for index in changed])
    if answer == "unsuccessful":
        assert body["data"] == each.unsuccessful


@pytest.mark.parametrize("each", SINGLE, ids=lambda each: each.call)
@pytest.mark.parametrize(
    ("switches", "answer", "changes"),
    [
        ({}, "200", True),
        ({"forbidden": True}, "403", False),
        ({"poisonous": {IDS[0]: (409, None)}}, "409", False),
        ({"liars": frozenset(IDS[:1])}, "200", False),
        ({"share_drop_before": 1.0}, "drop_before", False),
        ({"share_503": 1.0}, "503", False),
        ({"share_500_after": 1.0}, "500_after", True),
        ({"share_drop_after": 1.0}, "drop_after", True),
        ({"share_unsuccessful": 1.0}, "unsuccessful", False),
        ({"share_unsuccessful": 1.0, "unsuccessful_effect": "all"}, "unsuccessful", True),
    ],
)
async def test_each_fault_strikes_each_call_for_one_user(
    each: Changing, switches: dict[str, Any], answer: str, changes: bool
) -> None:
    await strike(each, switches, IDS[:1], answer, IDS[:1] if changes else [])


@pytest.mark.parametrize("each", [*BATCHES, *SINGLE], ids=lambda each: each.call)
async def test_faults_and_scripts_can_be_kept_to_one_call(each: Changing) -> None:
    async with signed_in(users(4)) as client:
        client.sandbox.public.add_ids(IDS[:4])
        path = f"/api/v3/{each.call}"
        client.sandbox.switches = Switches(share_500=1.0, fault_paths=frozenset({path}))
        assert (await ask(client, each.call, each.asked(IDS[:1])))["statusCode"] == 500
        assert len(await client.look_up(IDS[:1])) == 1
        client.sandbox.switches = Switches()
        client.sandbox.script("413", path=path)
        assert [(await ask(client, each.call, each.asked(IDS[:1])))["statusCode"] for _ in range(2)] == [413, 200]


@pytest.mark.parametrize("policy", ["accept", "refuse", "partial"])
async def test_an_unknown_user_alone_is_answered_as_the_switch_says(policy: Any) -> None:
    async with signed_in(users(1), Switches(unknown_ids=policy)) as client:
        for each in SINGLE:
            answer = await ask(client, each.call, each.asked(["none"]))
            # An update returns the user, so it has nothing to answer for one that does not exist.
            accepted = policy == "accept" and each.call != "update-user"
            assert answer["statusCode"] == (200 if accepted else 404), each.call
        assert client.sandbox.pool.kinds() == []
