"""The sandbox over real HTTP: validation, ids, every switch, the rate limit, the ledger, the admin endpoints."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import orjson
import pytest

from bulkdel_jobs.sandbox import (
    CREATE_PATH,
    DELETE_PATH,
    LIST_PATH,
    LOOKUP_PATH,
    SANDBOX_KEY_ID,
    SANDBOX_KEY_SECRET,
    SANDBOX_POOL_ID,
    TOKEN_PATH,
    Pool,
    Sandbox,
    Switches,
    serve,
    serve_in_thread,
)
from bulkdel_jobs.sandbox.calls import Named
from bulkdel_jobs.sandbox.sandbox import Ledger
from bulkdel_jobs.sandbox.token_issuer import sign, string_to_sign
from bulkdel_jobs.sandbox.users import ID_TYPES, fold, ids_of, split_phone
from tests.mutants import mutant
from tests.syntax import swap

IDS = [f"{n:024x}" for n in range(1, 61)]
NOW = "2026-01-01T00:00:00.000Z"
ARCHIVED_PATH = "/api/v3/list-archived-users"


class Client:
    """A bare client: what it sends is what the test says."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.http = http
        self.headers: dict[str, str] = {}

    async def sign_in(self, prefix: str = "x-genauth-") -> dict[str, Any]:
        key = {"accessKeyId": SANDBOX_KEY_ID, "accessKeySecret": SANDBOX_KEY_SECRET}
        answer: dict[str, Any] = await self.post(TOKEN_PATH, key)
        if answer["statusCode"] == 200:
            token = answer["data"]["access_token"]
            self.headers = {"authorization": f"Bearer {token}", f"{prefix}userpool-id": pool_in(token)}
        return answer

    async def call(self, method: str, path: str, **more: Any) -> tuple[int, Any, Any]:
        headers = more.pop("headers", self.headers)
        async with self.http.request(
            method, self.sandbox.url + path, headers=headers, allow_redirects=False, **more
        ) as response:
            raw = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(raw) if is_json else raw, response.headers

    async def post(self, path: str, body: Any, **more: Any) -> Any:
        status, answer, _ = await self.call("POST", path, data=orjson.dumps(body), **more)
        assert status == 200
        return answer

    async def get(self, path: str, query: Any, **more: Any) -> Any:
        status, answer, _ = await self.call("GET", path, params=query, **more)
        assert status == 200
        return answer

    async def delete(self, ids: Any, id_type: str | None = None) -> Any:
        options = {} if id_type is None else {"options": {"userIdType": id_type}}
        return await self.post(DELETE_PATH, {"userIds": ids, **options})

    async def look_up(self, ids: list[str], id_type: str = "user_id") -> list[dict[str, Any]]:
        answer = await self.get(LOOKUP_PATH, [*(("userIds", id_) for id_ in ids), ("userIdType", id_type)])
        assert answer["statusCode"] == 200
        found: list[dict[str, Any]] = answer["data"]
        return found

    async def existing(self, ids: list[str]) -> set[str]:
        return {user["userId"] for user in await self.look_up(ids)}


def pool_in(token: str) -> str:
    payload = token.split(".")[1]
    pool: str = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["scoped_userpool_id"]
    return pool


@contextlib.asynccontextmanager
async def signed_in(pool: Pool, switches: Switches | None = None, *, seed: int = 0) -> AsyncIterator[Client]:
    """A client that has signed in to a sandbox with `pool`."""
    async with serve(pool, switches, seed=seed) as sandbox, aiohttp.ClientSession() as http:
        client = Client(sandbox, http)
        await client.sign_in()
        yield client


def users(count: int = 10) -> Pool:
    return Pool.from_ids(IDS[:count])


# --- signing in --------------------------------------------------------------------------------------------------


async def test_token_carries_the_pool_and_its_life() -> None:
    async with signed_in(users()) as client:
        answer = await client.sign_in()
        assert answer["data"]["expires_in"] == 7200
        assert pool_in(answer["data"]["access_token"]) == SANDBOX_POOL_ID
        assert answer["requestId"]


@pytest.mark.parametrize(("key_id", "secret"), [(SANDBOX_KEY_ID, "wrong"), ("other", SANDBOX_KEY_SECRET)])
async def test_wrong_key_gets_no_token(key_id: str, secret: str) -> None:
    async with signed_in(users()) as client:
        answer = await client.post(TOKEN_PATH, {"accessKeyId": key_id, "accessKeySecret": secret})
        assert answer["statusCode"] == 401
        assert "data" not in answer


@pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Basic abc", "GenAuth x"])
async def test_a_deletion_without_signing_in_is_refused(authorization: str | None) -> None:
    async with signed_in(users()) as client:
        headers = {} if authorization is None else {"authorization": authorization}
        answer = await client.post(DELETE_PATH, {"userIds": IDS[:1]}, headers=headers)
        assert answer["statusCode"] == 401
        assert client.sandbox.pool.deleted == 0


@pytest.mark.parametrize("prefix", ["x-genauth-", "x-authing-"])
async def test_pool_header_of_either_brand_must_match_the_token(prefix: str) -> None:
    async with signed_in(users()) as client:
        await client.sign_in(prefix)
        assert (await client.delete(IDS[:1]))["data"] == {"success": True}
        client.headers[f"{prefix}userpool-id"] = "0" * 24
        answer = await client.delete(IDS[1:2])
        assert (answer["apiCode"], answer["message"]) == (2224, "用户池不存在")
        del client.headers[f"{prefix}userpool-id"]
        assert (await client.delete(IDS[1:2]))["apiCode"] == 2224
        assert client.sandbox.pool.deleted == 1


async def test_tokens_expire_and_are_revoked() -> None:
    async with signed_in(users()) as client:
        assert len(await client.look_up(IDS[:1])) == 1
        client.sandbox.switches = Switches(token_lifetime_s=0, token_announced_s=7)
        answer = await client.delete(IDS[:1])
        assert (answer["statusCode"], answer["apiCode"]) == (401, 2020)
        assert (await client.sign_in())["data"]["expires_in"] == 7
        client.sandbox.switches = Switches(token_lifetime_s=0.5)
        assert (await client.sign_in())["data"]["expires_in"] == 1
        client.sandbox.switches = Switches()
        assert len(await client.look_up(IDS[:1])) == 1
        client.sandbox.revoke_tokens()
        assert (await client.delete(IDS[:1]))["statusCode"] == 401


async def test_a_later_token_can_be_of_another_pool() -> None:
    async with signed_in(users(), Switches(pool_id="f" * 24)) as client:
        assert pool_in((await client.sign_in())["data"]["access_token"]) == "f" * 24
        assert (await client.delete(IDS[:1]))["data"] == {"success": True}


# --- the signature -----------------------------------------------------------------------------------------------

SIGNED_POST = {
    "date": "Tue, 01 Jul 2025 00:00:00 GMT",
    "x-genauth-lang": "zh-CN",
    "x-genauth-signature-method": "HMAC-SHA1",
    "x-genauth-signature-nonce": "0123abcd",
    "x-genauth-signature-version": "1.0",
}
SIGNED_GET = {"x-authing-signature-method": "HMAC-SHA1", "x-authing-signature-nonce": "n"}


def test_signature_equals_what_openssl_makes_of_the_documented_string() -> None:
    """The two values were made with `openssl dgst -sha1 -hmac secret1 -binary | base64`."""
    body = {"userIds": ["a@x.example", "ä@x.example"], "options": {"userIdType": "email"}}
    unsigned = {"user-agent": "x", "x-authing-lang": "other brand"}
    headers = dict(reversed((SIGNED_POST | unsigned).items()))
    text = string_to_sign("POST", DELETE_PATH, headers, body)
    assert sign("secret1", text) == "vIz9M+ZYtrtFzaOYOh0UrBj2cs8="
    query = {"userIds": ["a@x.example"], "withCustomData": "true", "userIdType": "email"}
    text = string_to_sign("GET", LOOKUP_PATH, SIGNED_GET, query, brand="authing")
    assert sign("secret1", text) == "1YklRM6PGzY7ny0u9F0Jb6I2DCQ="


@pytest.mark.parametrize(
    ("brand", "key", "passed", "status"),
    [
        ("GenAuth", SANDBOX_KEY_ID, None, 200),
        ("genauth", SANDBOX_KEY_ID, None, 200),
        ("Authing", SANDBOX_KEY_ID, None, 200),
        ("Elsewhere", SANDBOX_KEY_ID, None, 401),
        ("GenAuth", "other", None, 401),
        ("GenAuth", SANDBOX_KEY_ID, {"userIds": IDS[:2]}, 401),
    ],
)
async def test_signed_deletion(brand: str, key: str, passed: Any, status: int) -> None:
    """`passed`: what the signature was made for, where it is not what is sent."""
    async with signed_in(users()) as client:
        body = {"userIds": IDS[:1], "options": {"userIdType": "user_id"}}
        prefix = "authing" if brand == "Authing" else "genauth"
        headers = {name.replace("genauth", prefix): value for name, value in SIGNED_POST.items()}
        text = string_to_sign("POST", DELETE_PATH, headers, passed or body, brand=prefix)
        headers["authorization"] = f"{brand} {key}:{sign(SANDBOX_KEY_SECRET, text)}"
        answer = await client.post(DELETE_PATH, body, headers=headers)
        assert answer["statusCode"] == status
        assert client.sandbox.pool.deleted == (status == 200)


@mutant(
    "the sandbox compares the signature of a text as it came and not as Node writes it",
    "_utf_8",
    swap(
        'text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()',
        'text.encode(errors="surrogatepass")',
    ),
)
async def test_half_a_surrogate_pair_in_a_signed_body() -> None:
    """Node signs U+FFFD in its place. It may stand in a text of the body, and in a nested one, which has its escape."""
    async with signed_in(users()) as client:
        for brand, right in (("\ud800", "\ufffd"), ("a\udfffb", "a\ufffdb")):
            body = {"userIds": IDS[:1], "note": brand, "options": {"userIdType": "user_id", "x": brand}}
            headers = dict(SIGNED_POST)
            text = string_to_sign("POST", DELETE_PATH, headers, body | {"note": right})
            for signature, status in ((sign(SANDBOX_KEY_SECRET, text), 200), ("x\xff", 401)):
                headers["authorization"] = f"GenAuth {SANDBOX_KEY_ID}:{signature}"
                sent = json.dumps(body).encode()
                _, answer, _ = await client.call("POST", DELETE_PATH, data=sent, headers=headers)
                assert answer["statusCode"] == status


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        ([("userIds[]", IDS[0])], {"userIds": IDS[:1]}),
        ([("userIds", IDS[0])], {"userIds": IDS[:1]}),
        ([("userIds", IDS[0])], {"userIds": IDS[0]}),
        ([("userIds", IDS[0]), ("userIds", IDS[1]), ("withCustomData", "true")],
         {"userIds": IDS[:2], "withCustomData": "true"}),
    ],
)  # fmt: skip
async def test_signed_look_up_in_every_reading(sent: Any, passed: Any) -> None:
    async with signed_in(users()) as client:
        text = string_to_sign("GET", LOOKUP_PATH, SIGNED_GET, passed, brand="authing")
        headers = {**SIGNED_GET, "authorization": f"authing {SANDBOX_KEY_ID}:{sign(SANDBOX_KEY_SECRET, text)}"}
        answer = await client.get(LOOKUP_PATH, sent, headers=headers)
        assert answer["statusCode"] == 200
        assert len(answer["data"]) == len([name for name, _ in sent if name.startswith("userIds")])
        del headers["x-authing-signature-nonce"]
        assert (await client.get(LOOKUP_PATH, sent, headers=headers))["statusCode"] == 401


# --- validation --------------------------------------------------------------------------------------------------


def paged(**pagination: Any) -> dict[str, Any]:
    return {"options": {"pagination": pagination}}


NO_SIGN_IN = "Must contain one of the following fields: username, phone, email"

MALFORMED: list[tuple[str, Any, str]] = [
    (TOKEN_PATH, {"accessKeyId": SANDBOX_KEY_ID}, "accessKeySecret"),
    (TOKEN_PATH, {"accessKeyId": 1, "accessKeySecret": "x"}, "accessKeyId"),
    (TOKEN_PATH, [], "accessKeyId"),
    (DELETE_PATH, b"{", "userIds"),
    (DELETE_PATH, {}, "userIds"),
    (DELETE_PATH, [], "userIds"),
    (DELETE_PATH, {"userIds": []}, "userIds"),
    (DELETE_PATH, {"userIds": IDS[:51]}, "userIds"),
    (DELETE_PATH, {"userIds": [IDS[0], 7]}, "userIds"),
    (DELETE_PATH, {"userIds": [IDS[0], ""]}, "userIds"),
    (DELETE_PATH, {"userIds": [IDS[0], None]}, "userIds"),
    (DELETE_PATH, {"userIds": IDS[0]}, "userIds"),
    (DELETE_PATH, {"userIds": IDS[:1], "options": []}, "options"),
    (DELETE_PATH, {"userIds": IDS[:1], "options": {"userIdType": "custom_field"}}, "userIdType"),
    (DELETE_PATH, {"userIds": IDS[:1], "options": {"userIdType": ["email"]}}, "userIdType"),
    (LOOKUP_PATH, [], "userIds"),
    (LOOKUP_PATH, [("userIds", "")], "userIds"),
    (LOOKUP_PATH, [("userIds", id_) for id_ in IDS[:51]], "userIds"),
    (LOOKUP_PATH, [("userIds", ",".join(IDS[:51]))], "userIds"),
    (LIST_PATH, paged(limit=51), "limit must less than 50"),
    (LIST_PATH, paged(limit=0), "limit"),
    (LIST_PATH, paged(page=0), "page"),
    (LIST_PATH, paged(page="x"), "page"),
    (LIST_PATH, {"options": {"pagination": [1]}}, "options"),
    (LIST_PATH, {"options": [1]}, "options"),
    (ARCHIVED_PATH, [("limit", "51")], "limit must less than 50"),
    (ARCHIVED_PATH, [("page", "0")], "page"),
    (ARCHIVED_PATH, [("startAt", "x")], "startAt"),
    (CREATE_PATH, [], "list"),
    (CREATE_PATH, {"list": []}, "list"),
    (CREATE_PATH, {"list": [{"email": f"{n}@x.example"} for n in range(51)]}, "list"),
    (CREATE_PATH, {"list": ["a"]}, "list"),
    (CREATE_PATH, {"list": [{"externalId": "1"}]}, NO_SIGN_IN),
    (CREATE_PATH, {"list": [{"email": ""}]}, NO_SIGN_IN),
    (CREATE_PATH, {"list": [{"email": 1}]}, "email"),
    (CREATE_PATH, {"list": [{"email": "a@x.example", "identities": {}}]}, "identities"),
    (CREATE_PATH, {"list": [{"email": "a@x.example", "identities": ["x"]}]}, "identities"),
    (CREATE_PATH, {"list": [{"email": "a@x.example", "identities": [{"provider": "x"}]}]}, "identities"),
    (CREATE_PATH, {"list": [{"email": "a@x.example", "departmentIds": [1]}]}, "departmentIds"),
]
"""Path, body or query, and the parameter that the refusal names, or the message where the call has its own."""


@pytest.mark.parametrize(("path", "sent", "said"), MALFORMED)
async def test_a_malformed_request_is_refused_and_changes_nothing(path: str, sent: Any, said: str) -> None:
    async with signed_in(users(60)) as client:
        if path in (LOOKUP_PATH, ARCHIVED_PATH):
            answer = await client.get(path, sent)
        else:
            body = sent if isinstance(sent, bytes) else orjson.dumps(sent)
            status, answer, _ = await client.call("POST", path, data=body)
            assert status == 200
        message = said if " " in said else f"参数 {said} 格式错误"
        assert (answer["statusCode"], answer["message"]) == (400, message)
        assert answer["requestId"]
        assert len(client.sandbox.pool) == 60
        assert not client.sandbox.ledger.chunk_sizes


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "参数 userIds 格式错误"),
        ({"x-genauth-lang": "zh-CN"}, "参数 userIds 格式错误"),
        ({"x-genauth-lang": "en-US"}, "Parameter userIds is malformed"),
        ({"x-authing-lang": "en-US"}, "Parameter userIds is malformed"),
    ],
)
async def test_messages_follow_the_lang_header(headers: dict[str, str], message: str) -> None:
    async with signed_in(users()) as client:
        answer = await client.post(DELETE_PATH, {"userIds": []}, headers=client.headers | headers)
        assert answer["message"] == message


@pytest.mark.parametrize("size", [1, 50])
@pytest.mark.parametrize("options", [{}, {"options": None}, {"options": {"userIdType": None}}])
async def test_user_id_is_the_default_type(size: int, options: Any) -> None:
    async with signed_in(users(60)) as client:
        answer = await client.post(DELETE_PATH, {"userIds": IDS[:size], **options})
        assert (answer["statusCode"], answer["data"]) == (200, {"success": True})
        assert answer["requestId"]
        assert client.sandbox.ledger.chunk_sizes == {size: 1}
        assert client.sandbox.ledger.id_types == {"user_id": 1}
        assert client.sandbox.pool.deleted == size


@pytest.mark.parametrize(
    "query",
    [
        [("userIds", IDS[0]), ("userIds", IDS[1])],
        [("userIds[]", IDS[0]), ("userIds[]", IDS[1])],
        [("userIds[0]", IDS[0]), ("userIds[1]", IDS[1])],
        [("userIds", IDS[0]), ("userIds", IDS[1]), ("userIds", IDS[59])],
    ],
)
async def test_look_up_in_every_spelling(query: Any) -> None:
    async with signed_in(users()) as client:
        answer = await client.get(LOOKUP_PATH, query)
        assert {user["userId"] for user in answer["data"]} == set(IDS[:2])


@pytest.mark.parametrize(
    ("asked", "whole", "split"),
    [
        (["a,b"], {"a,b"}, {"a", "b"}),
        (["a,b", "c"], {"a,b", "c"}, {"a", "b", "c"}),
        (["a,,b", ",", "x,y"], set(), {"a", "b"}),
        ([","], set(), set()),
    ],
)
async def test_ids_fall_apart_at_commas_on_a_switch(asked: list[str], whole: set[str], split: set[str]) -> None:
    async with signed_in(Pool.from_ids(["a", "b", "c", "a,b"], "username")) as client:
        query = [*(("userIds", id_) for id_ in asked), ("userIdType", "username")]
        for switches, expected in ((Switches(), whole), (Switches(split_commas=True), split)):
            client.sandbox.switches = switches
            answer = await client.get(LOOKUP_PATH, query)
            assert {user["username"] for user in answer["data"]} == expected


async def test_bulky_parts_come_only_when_asked_for() -> None:
    async with signed_in(users()) as client:
        parts = {"customData", "identities", "departmentIds"}
        (bare,) = await client.look_up(IDS[:1])
        assert not parts & bare.keys()
        assert datetime.fromisoformat(bare["createdAt"]) < datetime(2022, 1, 1, tzinfo=UTC)
        query = [
            ("userIds", IDS[0]),
            ("withCustomData", "true"),
            ("withIdentities", "True"),
            ("withDepartmentIds", "1"),
        ]
        (full,) = (await client.get(LOOKUP_PATH, query))["data"]
        assert full.keys() - bare.keys() == parts
        body = {"options": {"withCustomData": True, "withIdentities": True, "withDepartmentIds": True}}
        assert (await client.post(LIST_PATH, body))["data"]["list"][0] == full


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ({}, 10),
        (None, 10),
        (paged(page=1, limit=50), 50),
        (paged(page=2, limit=50), 5),
        (paged(page=3, limit=50), 0),
    ],
)
async def test_list_users(body: Any, count: int) -> None:
    async with signed_in(users(55)) as client:
        answer = await client.post(LIST_PATH, body)
        assert answer["data"]["totalCount"] == 55
        assert len({user["userId"] for user in answer["data"]["list"]}) == count
        assert (await client.post(LIST_PATH, {"keywords": "a"}))["statusCode"] == 501


async def test_list_leaves_the_deleted_out() -> None:
    async with signed_in(users()) as client:
        await client.delete(IDS[:8])
        answer = await client.post(LIST_PATH, {})
        assert [user["userId"] for user in answer["data"]["list"]] == IDS[8:10]
        assert answer["data"]["totalCount"] == 2


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/nowhere"), ("GET", DELETE_PATH), ("POST", LOOKUP_PATH)])
async def test_unknown_paths_and_methods_are_bare_404(method: str, path: str) -> None:
    async with signed_in(users()) as client:
        status, body, headers = await client.call(method, path)
        assert (status, headers["content-type"].split(";")[0]) == (404, "text/html")
        assert b"404" in body


# --- creating ----------------------------------------------------------------------------------------------------


async def test_created_user_has_an_id_of_the_servers_choice_and_no_password() -> None:
    async with signed_in(users()) as client:
        before = datetime.now(UTC)
        wanted = {
            "userId": IDS[0],
            "email": "New@X.example",
            "phone": "+15550100000",
            "externalId": "77",
            "password": "p",
            "name": "New",
            "customData": {"a": 1},
            "departmentIds": ["d"],
            "identities": [{"extIdpId": "idp", "provider": "lark", "userIdInIdp": "ou"}],
            "unheardOf": 1,
        }
        await client.post("/sandbox/departments", {"add": ["d"]})
        await client.post("/sandbox/identity-sources", {"add": ["idp"]})
        (user,) = (await client.post(CREATE_PATH, {"list": [wanted]}))["data"]
        assert user["userId"] not in IDS
        assert (user["email"], user["phone"], user["phoneCountryCode"]) == ("new@x.example", "5550100000", "+1")
        assert (user["name"], user["customData"], user["departmentIds"]) == ("New", {"a": 1}, ["d"])
        assert [one["userIdInIdp"] for one in user["identities"]] == ["ou"]
        assert not {"password", "unheardOf", "username"} & user.keys()
        assert (before - datetime.fromisoformat(user["createdAt"])).total_seconds() < 1
        for id_type, id_ in [
            ("user_id", user["userId"]), ("email", "NEW@x.example"), ("external_id", "77"), ("phone", "5550100000"),
            ("phone", "+15550100000"), ("identity", "idp:ou"), ("sync_relation", "lark:ou"),
        ]:  # fmt: skip
            assert [found["userId"] for found in await client.look_up([id_], id_type)] == [user["userId"]], id_type
        assert await client.look_up(["user10"], "username") == []


@pytest.mark.parametrize(
    ("second", "field"),
    [
        ({"email": "A@x.example"}, "email"),
        ({"username": "n", "phone": "13800000000"}, "phone"),
        ({"username": "a"}, "username"),
        ({"username": "n", "externalId": "e"}, "externalId"),
        ({"email": "user3@sandbox.example"}, "email"),
    ],
)
async def test_what_is_unique_cannot_be_created_twice(second: Any, field: str) -> None:
    async with signed_in(users()) as client:
        first = {"email": "a@x.example", "phone": "13800000000", "username": "a", "externalId": "e"}
        assert (await client.post(CREATE_PATH, {"list": [first]}))["statusCode"] == 200
        answer = await client.post(CREATE_PATH, {"list": [{"username": "fresh"}, second]})
        assert (answer["statusCode"], answer["message"]) == (409, f"{field} 已存在")
        assert len(client.sandbox.pool) == 11
        twice = await client.post(CREATE_PATH, {"list": [{"username": "same"}, {"username": "same"}]},
                                  headers={**client.headers, "x-genauth-lang": "en-US"})  # fmt: skip
        assert (twice["statusCode"], twice["message"]) == (409, "username already exists")
        assert len(client.sandbox.pool) == 11


async def test_empty_fields_are_no_ids() -> None:
    async with signed_in(users()) as client:
        wanted = [{"username": f"n{n}", "email": "", "phone": "", "externalId": None} for n in range(2)]
        made = (await client.post(CREATE_PATH, {"list": wanted}))["data"]
        assert len(made) == 2
        assert not {"email", "phone", "phoneCountryCode", "externalId"} & made[0].keys()


async def test_archived_users_are_listed_apart() -> None:
    async with signed_in(users()) as client:
        wanted = [{"username": f"a{n}", "status": "Archived"} for n in range(3)] + [{"username": "b"}]
        made = (await client.post(CREATE_PATH, {"list": wanted}))["data"]
        answer = await client.get(ARCHIVED_PATH, {"page": "1", "limit": "2"})
        assert answer["data"]["totalCount"] == 3
        assert [user["userId"] for user in answer["data"]["list"]] == [user["userId"] for user in made[:2]]
        await client.delete([made[0]["userId"]])
        assert (await client.get(ARCHIVED_PATH, {}))["data"]["totalCount"] == 2
        assert (await client.get(ARCHIVED_PATH, {"startAt": str(int(time.time()) + 60)}))["data"]["totalCount"] == 0


# --- id types ----------------------------------------------------------------------------------------------------

SAMPLES = {
    "user_id": IDS[0],
    "phone": "+4915112345678",
    "email": "Alice@Example.com",
    "username": "alice",
    "external_id": "0042",
    "identity": "62f20932716fbcc10d966ee6:ou_8b",
    "sync_relation": "wechatwork:ou_9c",
}


@pytest.mark.parametrize("id_type", ID_TYPES)
async def test_a_user_is_found_and_deleted_under_any_of_its_ids(id_type: str) -> None:
    async with signed_in(Pool.from_ids([SAMPLES[id_type]], id_type)) as client:
        query = [("userIds", SAMPLES[id_type]), ("userIdType", id_type), ("withIdentities", "true")]
        (user,) = (await client.get(LOOKUP_PATH, query))["data"]
        (tie,) = user["identities"]
        under = {
            "user_id": user["userId"],
            "phone": user["phone"],
            "email": user["email"],
            "username": user["username"],
            "external_id": user["externalId"],
            "identity": f"{tie['extIdpId']}:{tie['userIdInIdp']}",
            "sync_relation": f"{tie['provider']}:{tie['userIdInIdp']}",
        }
        assert len(user["userId"]) == 24
        assert int(user["userId"], 16) >= 0
        assert fold(id_type, under[id_type]) == fold(id_type, SAMPLES[id_type])
        for other, id_ in under.items():
            if other == "phone" and user["phoneCountryCode"] != "+86":
                assert [one["userId"] for one in await client.look_up([f"{user['phoneCountryCode']}{id_}"], other)]
            assert [one["userId"] for one in await client.look_up([id_], other)] == [user["userId"]], other
        assert (await client.delete([SAMPLES[id_type]], id_type))["data"] == {"success": True}
        for other, id_ in under.items():
            assert await client.look_up([id_], other) == [], other
            assert client.sandbox.ledger.effects(id_, other) == 1
            assert client.sandbox.ledger.sent(id_, other) == 1
        assert client.sandbox.pool.deleted_ids() == {SAMPLES[id_type]: 1}
        assert client.sandbox.pool.deleted_ids("user_id") == {user["userId"]: 1}


@pytest.mark.parametrize(
    ("phone", "asked", "found"),
    [
        ("13800000000", "13800000000", True),
        ("13800000000", "+8613800000000", True),
        ("13800000000", "8613800000000", True),
        ("8613800000000", "13800000000", True),
        ("+8613800000000", "13800000000", True),
        ("+14155550100", "4155550100", True),
        ("+14155550100", "14155550100", True),
        ("+14155550100", "+14155550100", True),
        ("+358401234567", "+358401234567", True),
        ("+14155550100", "+444155550100", False),
        ("13800000000", "+13800000000", False),
        ("13800000000", "13800000001", False),
        ("+", "+", False),
    ],
)
def test_phones_match_with_or_without_country_code(phone: str, asked: str, found: bool) -> None:
    pool = Pool.from_ids([phone], "phone")
    assert (pool.find_alive("phone", asked) is not None) is found


@pytest.mark.parametrize(
    ("phone", "parts"),
    [("+14155550100", ("1", "4155550100")), ("+4915112345678", ("49", "15112345678")), ("+35812", ("358", "12")),
     ("13800000000", ("86", "13800000000")), ("8613800000000", ("86", "13800000000")), ("+x", ("86", "x"))],
)  # fmt: skip
def test_split_phone(phone: str, parts: tuple[str, str]) -> None:
    assert split_phone(phone) == parts


def test_emails_ignore_case_and_usernames_do_not() -> None:
    pool = Pool.from_ids(["Bob@X.example"], "email")
    pool.add_ids(["Bob"], "username")
    assert pool.find("email", "bOB@x.EXAMPLE") == 0
    assert pool.user(0)["email"] == "bob@x.example"
    assert pool.find("username", "Bob") == 1
    assert pool.find("username", "bob") is None


async def test_one_user_named_twice_is_deleted_once() -> None:
    async with signed_in(Pool.from_ids(["a@x.example"], "email")) as client:
        answer = await client.delete(["a@x.example", "A@x.example"], "email")
        assert answer["data"] == {"success": True}
        assert client.sandbox.ledger.effects("a@x.example", "email") == 1
        assert client.sandbox.ledger.sent("a@x.example", "email") == 2


# --- the pool ----------------------------------------------------------------------------------------------------


def test_generated_users_are_told_apart_by_every_type() -> None:
    pool = Pool.generated(300)
    assert len(set(pool.user_ids())) == len(pool) == 300
    for ordinal in (0, 7, 299):
        for id_type in ID_TYPES:
            (id_,) = ids_of(pool.user(ordinal), id_type)
            assert pool.find(id_type, id_) == ordinal
    assert pool.find("username", "user300") is None
    assert pool.find("username", "user007") is None
    assert pool.find("user_id", "0" * 24) is None


def test_a_pool_made_twice_is_the_same() -> None:
    one, other = (Pool.from_ids(["a", "b"], "external_id") for _ in range(2))
    assert [one.user(n) for n in range(2)] == [other.user(n) for n in range(2)]


def test_an_id_given_twice_is_one_user() -> None:
    pool = Pool.from_ids(["a@x.example", "A@x.example", "b@x.example"], "email")
    assert len(pool) == 2
    assert pool.add_ids(["B@x.example"], "email") == 0
    assert pool.add_ids([], "email") == 0


def test_a_user_cannot_be_deleted_twice() -> None:
    pool = users(1)
    pool.delete(0)
    with pytest.raises(ValueError, match="before"):
        pool.delete(0)


def test_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match="custom_field"):
        Pool.from_ids(["a"], "custom_field")


async def test_an_account_created_again_is_another_user_and_counted_on() -> None:
    async with signed_in(Pool.from_ids(["a@x.example", "b@x.example"], "email")) as client:
        pool, email = client.sandbox.pool, "a@x.example"
        (first,) = await client.look_up([email], "email")
        await client.delete([email], "email")
        (second,) = (await client.post(CREATE_PATH, {"list": [{"email": email}]}))["data"]
        assert second["userId"] != first["userId"]
        assert second["createdAt"] > first["createdAt"]
        assert pool.effects(email, "email") == 1
        assert client.sandbox.ledger.sent(email, "email") == 0
        await client.delete([email], "email")
        assert pool.effects(email, "email") == 2
        assert pool.effects(first["userId"]) == pool.effects(second["userId"]) == 1
        assert pool.deleted_ids("email") == {email: 2}
        assert pool.add_ids([email], "email") == 1
        assert await client.look_up([email], "email") != []
        assert pool.effects(email, "email") == 2


def test_an_identity_used_again_finds_the_new_user() -> None:
    pool = Pool.from_ids(["idp:ou"], "identity")
    pool.delete(0)
    assert pool.add_ids(["idp:ou"], "identity") == 1
    assert pool.find_alive("identity", "idp:ou") == pool.find_alive("sync_relation", "lark:ou") == 1
    assert pool.effects("idp:ou", "identity") == 1


def test_deleted_created_users_go_by_the_type_asked_for_or_their_user_id() -> None:
    pool = Pool()
    user = pool.create([{"username": "a"}], "2026-01-01T00:00:00.000Z")[0]
    pool.delete(0)
    assert pool.deleted_ids() == {user["userId"]: 1}
    assert pool.deleted_ids("username") == {"a": 1}
    assert pool.deleted_ids("email") == {user["userId"]: 1}


def test_a_changed_user_is_found_by_its_new_ids_only() -> None:
    pool = Pool.from_ids(["Ann@x.example", "bob@x.example"], "email")
    assert pool.find("email", "ann@x.example") == 0
    assert pool.find("phone", "10000000000") == 0
    assert pool.change(0, {"email": "C@x.example", "phone": "+14155550100", "name": "C"}, NOW)
    assert pool.find("email", "ann@x.example") is None
    assert pool.find("phone", "10000000000") is None
    assert pool.find("email", "c@X.example") == pool.find("phone", "4155550100") == 0
    assert pool.find("username", "user0") == 0
    assert (pool.user(0)["email"], pool.user(0)["phone"], pool.user(0)["name"]) == ("c@x.example", "4155550100", "C")
    assert not pool.change(0, {"email": "c@X.example", "name": "C"}, NOW)
    assert pool.clash_of_changes({0: {"email": "bob@x.example"}}) == "email"
    assert pool.clash_of_changes({0: {"username": "n"}, 1: {"username": "n"}}) == "username"
    assert pool.clash_of_changes({0: {"email": "c@x.example"}, 1: {"username": "n"}}) is None
    assert pool.user_ids("email") == ["c@x.example", "bob@x.example"]


def test_an_id_that_a_user_has_taken_over_means_this_user() -> None:
    pool = Pool.from_ids(["a", "b"], "username")
    assert pool.find("username", "b") == 1
    pool.delete(1)
    pool.change(0, {"username": "b"}, NOW)
    assert pool.find_alive("username", "b") == 0


def test_effects_are_counted_by_kind_and_id_and_repeats_apart() -> None:
    pool = Pool.from_ids(["a", "b"], "username")
    for key in (0, 0, 1, (1, "app"), "eng"):
        pool.count("lost", key, changed=True)
    pool.count("lost", 1, changed=False)
    pool.delete(0)
    assert pool.kinds() == ["deleted", "lost"]
    assert pool.effects_of("lost") == {"a": 2, "b": 1, "app/b": 1, "eng": 1}
    assert pool.repeats_of("lost") == {"b": 1}
    assert pool.effects_of("lost", "external_id") == {"ext-0": 2, "ext-1": 1, "app/ext-1": 1, "eng": 1}
    assert pool.effects_of("deleted") == {"a": 1}
    assert pool.effects_of("else") == pool.repeats_of("else") == {}


def test_a_user_takes_at_most_500_bytes() -> None:
    """So a million fit into 500 MB."""
    tracemalloc.start()
    try:
        pool = Pool.from_ids(f"{n:024x}" for n in range(20_000))
        assert pool.find("user_id", f"{19_999:024x}") == 19_999
        assert tracemalloc.get_traced_memory()[1] < 20_000 * 500
    finally:
        tracemalloc.stop()


# --- clocks and a replica ----------------------------------------------------------------------------------------


async def test_date_and_created_at_follow_their_switches_while_it_runs() -> None:
    async with signed_in(users()) as client:
        for date_s, created_s in ((0, 0), (7200, 7200), (0, -3600)):
            wanted = {"date_offset_s": date_s, "created_offset_s": created_s}
            await client.post("/sandbox/switches", wanted)
            body = orjson.dumps({"list": [{"username": f"u{created_s}"}]})
            _, created, headers = await client.call("POST", CREATE_PATH, data=body)
            now = time.time()
            assert abs(parsedate_to_datetime(headers["date"]).timestamp() - now - date_s) < 5
            made = datetime.fromisoformat(created["data"][0]["createdAt"]).timestamp()
            assert abs(made - now - created_s) < 5
        await client.post("/sandbox/users", {"ids": ["again"], "userIdType": "username", "createdAt": "now"})
        (again,) = await client.look_up(["again"], "username")
        assert abs(datetime.fromisoformat(again["createdAt"]).timestamp() - time.time() + 3600) < 5
        await client.post("/sandbox/switches", {"no_date": True})
        _, _, headers = await client.call("GET", LOOKUP_PATH, params={"userIds": IDS[0]})
        assert headers["date"] == ""


async def test_look_ups_lag_behind_deletions_and_lists_do_not() -> None:
    async with signed_in(users(), Switches(lag_s=600)) as client:
        await client.delete(IDS[:2])
        assert await client.existing(IDS[:3]) == {*IDS[:3]}
        listed = await client.post(LIST_PATH, {})
        assert listed["data"]["totalCount"] == 8
        client.sandbox.switches = client.sandbox.switches.changed({"lag_s": 0.3})
        while await client.existing(IDS[:3]) != {IDS[2]}:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)
        client.sandbox.switches = client.sandbox.switches.changed({"lag_s": 600})
        await client.delete(IDS[2:3])
        assert await client.existing(IDS[:3]) == {*IDS[:3]}  # the first two: by the lag that holds now
        client.sandbox.switches = client.sandbox.switches.changed({"lag_s": 0})
        assert await client.existing(IDS[:3]) == set()


# --- open points -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unknown_ids", "status", "api_code", "left"),
    [("accept", 200, None, set()), ("refuse", 404, 2004, set(IDS[:3])), ("partial", 404, 2004, set())],
)
async def test_unknown_ids(unknown_ids: Any, status: int, api_code: int | None, left: set[str]) -> None:
    async with signed_in(users(), Switches(unknown_ids=unknown_ids)) as client:
        answer = await client.delete([*IDS[:3], IDS[59]])
        assert (answer["statusCode"], answer.get("apiCode")) == (status, api_code)
        assert await client.existing(IDS[:3]) == left
        assert client.sandbox.ledger.accepted == (4 if status == 200 else 0)
        known = await client.delete(IDS[4:7])
        assert known["statusCode"] == 200
        again = await client.delete(IDS[4:7])
        assert again["statusCode"] == status
        assert client.sandbox.ledger.effects(IDS[4]) == 1


POISONOUS = {"poisonous": {IDS[2]: [409, 1234], IDS[5]: [422, None]}}


@pytest.mark.parametrize(
    ("switches", "ids", "status", "api_code", "left"),
    [
        ({}, [*IDS[:2], IDS[0]], 200, None, []),
        ({"duplicates_in_chunk": "refuse"}, [*IDS[:2], IDS[0]], 400, None, IDS[:2]),
        ({"duplicates_in_chunk": "refuse"}, IDS[:2], 200, None, []),
        ({}, ["u-1"], 200, None, []),
        ({"check_id_shape": True}, ["u-1"], 400, None, []),
        (POISONOUS, IDS[:4], 409, 1234, IDS[:4]),
        (POISONOUS, IDS[3:6], 422, None, IDS[3:6]),
        (POISONOUS, IDS[6:8], 200, None, []),
        ({"forbidden": True}, IDS[:1], 403, None, IDS[:1]),
        ({"liars": [IDS[1]], "unknown_ids": "refuse"}, IDS[:3], 200, None, IDS[1:2]),
    ],
)
async def test_what_a_switch_does_to_a_deletion(
    switches: dict[str, Any], ids: list[str], status: int, api_code: int | None, left: list[str]
) -> None:
    """`left`: those of the ids that exist afterwards."""
    async with signed_in(users(), Switches().changed(switches)) as client:
        answer = await client.delete(ids)
        assert (answer["statusCode"], answer.get("apiCode")) == (status, api_code)
        assert answer.get("data") == ({"success": True} if status == 200 else None)
        assert client.sandbox.ledger.accepted == (len(ids) if status == 200 else 0)
        assert [id_ for id_ in sorted(set(ids)) if client.sandbox.pool.find_alive("user_id", id_) is not None] == left
        assert [client.sandbox.ledger.effects(id_) for id_ in left] == [0] * len(left)


@pytest.mark.parametrize("retry_after", [None, "seconds", "date"])
@pytest.mark.parametrize("style", ["envelope", "http"])
async def test_retry_after(retry_after: Any, style: Any) -> None:
    async with signed_in(users(), Switches(retry_after=retry_after, retry_after_s=1.5, fault_style=style)) as client:
        client.sandbox.script("429", "503")
        sent_at = time.time()
        status, answer, headers = await client.call("POST", DELETE_PATH, json={"userIds": IDS[:1]})
        assert (status, answer["statusCode"]) == (200 if style == "envelope" else 429, 429)
        said = headers.get("retry-after")
        if retry_after == "date":
            assert sent_at + 2 <= parsedate_to_datetime(said).timestamp() <= sent_at + 5
        else:
            assert said == ("2" if retry_after else None)
        _, _, headers = await client.call("POST", DELETE_PATH, json={"userIds": IDS[:1]})
        assert "retry-after" not in headers


# --- faults ------------------------------------------------------------------------------------------------------


HTML = "text/html"


@pytest.mark.parametrize(
    ("fault", "switches", "http", "answered", "deleted"),
    [
        ("429", {}, 200, 429, 0),
        ("500", {}, 200, 500, 0),
        ("502", {}, 200, 502, 0),
        ("503", {}, 200, 503, 0),
        ("429", {"fault_style": "http"}, 429, 429, 0),
        ("500", {"fault_style": "http"}, 500, 500, 0),
        ("502", {"fault_style": "http"}, 502, HTML, 0),
        ("503", {"fault_style": "http"}, 503, HTML, 0),
        ("html", {}, 200, HTML, 0),
        ("drop_before", {}, None, None, 0),
        ("drop_after", {}, None, None, 4),
        ("truncated_after", {}, None, None, 4),
        ("500_after", {}, 200, 500, 4),
        ("malformed_after", {}, 200, "ok", 4),
        ("unsuccessful", {}, 200, 200, 0),
        ("unsuccessful", {"unsuccessful_effect": "half"}, 200, 200, 2),
        ("unsuccessful", {"unsuccessful_effect": "all"}, 200, 200, 4),
    ],
)
async def test_what_a_fault_does_to_a_deletion(
    fault: str, switches: dict[str, Any], http: int | None, answered: int | str | None, deleted: int
) -> None:
    """`http`: None where the answer is lost. `answered`: its statusCode, or its media type where it is no envelope."""
    async with signed_in(users()) as client:
        client.sandbox.switches = Switches().changed({f"share_{fault}": 1, **switches})
        sent = client.call("POST", DELETE_PATH, json={"userIds": IDS[:4]})
        if http is None:
            with pytest.raises(aiohttp.ClientError):
                await sent
        else:
            status, body, headers = await sent
            is_envelope = headers["content-type"].startswith("application/json")
            assert (status, body["statusCode"] if is_envelope else HTML) == (http, answered)
            data = {"malformed_after": {"success": True}, "unsuccessful": {"success": False}}.get(fault)
            assert not is_envelope or body.get("data") == data
        assert client.sandbox.ledger.answers[fault] == 1
        assert client.sandbox.ledger.accepted == 0
        client.sandbox.switches = Switches()
        assert len(await client.existing(IDS[:4])) == 4 - deleted == 4 - client.sandbox.pool.deleted


def test_shares_are_drawn_from_the_seed() -> None:
    switches = Switches(share_500=0.3, share_drop_after=0.2)

    def drawn(seed: int) -> list[str | None]:
        with serve_in_thread(Pool(), switches, seed=seed) as sandbox:
            return [sandbox.draw(DELETE_PATH, switches) for _ in range(2000)]

    one = drawn(1)
    assert one == drawn(1)
    assert one != drawn(2)
    assert 500 < one.count("500") < 700
    assert 320 < one.count("drop_after") < 480
    assert one.count(None) == 2000 - one.count("500") - one.count("drop_after")


async def test_faults_can_be_kept_to_some_paths() -> None:
    async with signed_in(users()) as client:
        client.sandbox.switches = Switches(share_500=1, fault_paths=frozenset({DELETE_PATH}))
        assert (await client.delete(IDS[:1]))["statusCode"] == 500
        assert len(await client.look_up(IDS[:1])) == 1


async def test_script_hits_exactly_the_next_requests_of_its_path() -> None:
    async with signed_in(users()) as client:
        client.sandbox.script("413", None, "http:302", "http:413")
        assert len(await client.look_up(IDS[:1])) == 1
        assert (await client.delete(IDS[:1]))["statusCode"] == 413
        assert (await client.delete(IDS[:1]))["statusCode"] == 200
        status, body, headers = await client.call("POST", DELETE_PATH, json={"userIds": IDS[1:2]})
        assert (status, body, headers["location"]) == (302, b"", f"{client.sandbox.url}/elsewhere")
        status, _, headers = await client.call("POST", DELETE_PATH, json={"userIds": IDS[1:2]})
        assert (status, "location" in headers) == (413, False)
        assert (await client.delete(IDS[1:2]))["statusCode"] == 200
        client.sandbox.script("401", path=TOKEN_PATH)
        assert (await client.sign_in())["statusCode"] == 401


def test_only_faults_can_be_scripted() -> None:
    sandbox = Sandbox(Pool(), Switches())
    sandbox.script("500", "http:302", "drop_before", "unsuccessful", None)
    for name in ("12", "199", "boom", "http:drop_after"):
        with pytest.raises(ValueError, match="no such fault"):
            sandbox.script(name)


async def test_latency_before_and_after_the_effect() -> None:
    async with signed_in(users()) as client:
        client.sandbox.switches = Switches(latency_s=0.02, jitter_s=0.01, latency_after_s=0.02)
        began = time.monotonic()
        await client.delete(IDS[:1])
        assert time.monotonic() - began >= 0.04
        for id_, switches in ((IDS[1], Switches(latency_s=30)), (IDS[2], Switches(latency_after_s=30))):
            client.sandbox.switches = switches
            deleting = asyncio.create_task(client.delete([id_]))
            while not client.sandbox.ledger.sent(id_):  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.001)
            await asyncio.wait({deleting}, timeout=0.05)
            assert not deleting.done()
            deleting.cancel()
        client.sandbox.switches = Switches()
        assert await client.existing(IDS[:3]) == {IDS[1]}


# --- the rate limit ----------------------------------------------------------------------------------------------


async def test_above_the_rate_everyone_is_locked_out_for_a_while() -> None:
    async with signed_in(users()) as client:
        client.sandbox.switches = Switches(rate_per_s=6, lockout_s=1.0, retry_after="seconds")  # one was the sign-in
        assert [(await client.delete([id_]))["statusCode"] for id_ in IDS[:7]] == [200] * 5 + [429] * 2
        _, answer, headers = await client.call("POST", TOKEN_PATH, json={})
        assert (answer["statusCode"], headers["retry-after"]) == (429, "1")
        assert client.sandbox.pool.deleted == 5
        assert client.sandbox.ledger.sent(IDS[6]) == 1
        await asyncio.sleep(1.05)
        assert (await client.delete(IDS[7:8]))["statusCode"] == 200
        ledger = client.sandbox.ledger
        assert ledger.answers["429"] == 3
        assert ledger.busiest(60) == ledger.requests == 10
        async with client.http.get(f"{client.sandbox.url}/sandbox/ledger") as response:
            assert (await response.json())["requests"] == 10


def test_rate_limit_over_time() -> None:
    sandbox, switches = Sandbox(Pool(), Switches()), Switches(rate_per_s=2, lockout_s=3)
    locked = []
    for now in (0.0, 0.5, 1.0, 1.5, 1.75, 4.0, 4.75, 4.875, 5.5, 5.75):
        sandbox.ledger.arrived("/", now)
        locked.append(sandbox.locked_s(now, switches))
    assert locked == [0, 0, 0, 0, 3.0, 0.75, 0, 0, 3.0, 2.75]
    assert sandbox.locked_s(5.8, Switches()) == 0


# --- ledger and admin endpoints -----------------------------------------------------------------------------------


async def test_ledger_counts() -> None:
    async with signed_in(users()) as client:
        began = time.monotonic()
        await client.delete(IDS[:4])
        await client.delete(IDS[2:5])
        await client.delete([IDS[59]], "external_id")
        await client.look_up(IDS[:6])
        await client.call("GET", "/nowhere")
        ledger = client.sandbox.ledger
        arrivals = list(ledger.arrivals)
        assert arrivals == sorted(arrivals)
        assert all(began - 30 < at <= time.monotonic() for at in arrivals)
        assert ledger.counts() == {
            "requests": 6,
            "by_path": {TOKEN_PATH: 1, DELETE_PATH: 3, LOOKUP_PATH: 1, "/nowhere": 1},
            "answers": {"200": 5, "404": 1},
            "chunk_sizes": {1: 1, 3: 1, 4: 1},
            "lookup_sizes": {6: 1},
            "id_types": {"user_id": 2, "external_id": 1},
            "accepted": 8,
            "deleted": 5,
            "effects": {"deleted": 5},
            "users": 5,
            "sent_times": {1: 4, 2: 2},
            "busiest_second": 6,
        }
        assert [ledger.sent(id_) for id_ in (IDS[0], IDS[2], IDS[9])] == [1, 2, 0]
        assert ledger.sent(IDS[59], "external_id") == 1
        assert [ledger.effects(id_) for id_ in (IDS[2], IDS[9], IDS[59])] == [1, 0, 0]


def test_every_request_for_an_id_is_counted() -> None:
    pool = users(2)
    ledger = Ledger(pool)
    for _ in range(300):
        ledger.asked_to_change(DELETE_PATH, Named("user_id", [IDS[0], IDS[9]], "userIds"))
    assert ledger.sent_times() == {300: 2}
    assert [ledger.sent(id_) for id_ in (IDS[0], IDS[1], IDS[9])] == [300, 0, 300]


def test_busiest_window_slides() -> None:
    ledger = Ledger(Pool())
    assert ledger.busiest() == 0
    for at in (0.0, 0.9, 1.0, 1.1, 1.85, 5.0):
        ledger.arrived("/", at)
    assert ledger.busiest() == 4
    assert ledger.busiest(0.15) == 2


async def test_deleted_ids_are_json_lines() -> None:
    async with signed_in(Pool.from_ids((f"e{n}@x.example" for n in range(10_010)), "email")) as client:
        pool = client.sandbox.pool
        for ordinal in range(10_005):
            pool.delete(ordinal)
        pool.create([{"email": "e3@x.example"}], "2026-01-01T00:00:00.000Z")
        pool.delete(10_010)
        for query in ("", "?userIdType=email"):
            _, raw, _ = await client.call("GET", f"/sandbox/deleted{query}")
            lines = [orjson.loads(line) for line in raw.splitlines()]
            assert len(lines) == 10_005 if query else 10_006
            counts = {line["id"]: line["count"] for line in lines}
            assert counts["e10004@x.example"] == 1
            assert counts["e3@x.example"] == (2 if query else 1)
            assert "e10005@x.example" not in counts
        status, _, _ = await client.call("GET", "/sandbox/deleted?userIdType=nonsense")
        assert status == 400


async def test_effects_are_json_lines() -> None:
    async with signed_in(users(3)) as client:
        await client.delete(IDS[:2])
        await client.delete(IDS[1:2])
        client.sandbox.pool.count("kicked", (2, "app"), changed=True)
        deleted = [
            {"kind": "deleted", "id": IDS[0], "count": 1, "again": 0},
            {"kind": "deleted", "id": IDS[1], "count": 1, "again": 1},
        ]
        kicked = {"kind": "kicked", "id": f"app/{IDS[2]}", "count": 1, "again": 0}
        for query, expected in (("", [*deleted, kicked]), ("?kind=kicked", [kicked]), ("?public=true", [])):
            _, raw, _ = await client.call("GET", f"/sandbox/effects{query}")
            assert [orjson.loads(line) for line in raw.splitlines()] == expected


async def test_public_accounts_are_a_pool_of_their_own() -> None:
    async with signed_in(users(3)) as client:
        assert await client.post("/sandbox/users", {"ids": IDS[1:5], "public": True}) == {"added": 4}
        answer = await client.post("/api/v3/delete-public-accounts-batch", {"userIds": IDS[:2]})
        assert answer["data"] == {"success": True}
        sandbox = client.sandbox
        assert (sandbox.pool.deleted, sandbox.public.deleted_ids()) == (0, {IDS[1]: 1})
        found = await client.get("/api/v3/get-public-account-batch", [("userIds", id_) for id_ in IDS[:4]])
        assert [account["userId"] for account in found["data"]] == IDS[2:4]
        made = await client.post("/api/v3/create-public-accounts-batch", {"list": [{"username": "n"}]})
        listed = await client.post("/api/v3/list-public-accounts", {})
        assert [account["userId"] for account in listed["data"]["list"]] == [*IDS[2:5], made["data"][0]["userId"]]
        assert len(sandbox.pool) == 3
        path = "/api/v3/delete-public-accounts-batch"
        assert (sandbox.ledger.sent(IDS[1]), sandbox.ledger.sent(IDS[1], path=path)) == (0, 1)
        assert (sandbox.ledger.sent_times(), sandbox.ledger.sent_times(path=path)) == ({}, {1: 2})


async def test_the_admin_endpoints() -> None:
    async with signed_in(users()) as client:
        client.headers, headers = {}, client.headers
        changes = {
            "unknown_ids": "refuse",
            "poisonous": {IDS[0]: [409, None]},
            "liars": [IDS[1]],
            "fault_paths": [DELETE_PATH],
            "rate_per_s": 100,
        }
        answer = await client.post("/sandbox/switches", changes)
        assert answer == await client.get("/sandbox/switches", {})
        assert {name: answer[name] for name in changes} == changes
        assert client.sandbox.switches == Switches(
            unknown_ids="refuse", poisonous={IDS[0]: (409, None)}, liars=frozenset({IDS[1]}),
            fault_paths=frozenset({DELETE_PATH}), rate_per_s=100,
        )  # fmt: skip
        new = {"ids": ["n@x.example"], "userIdType": "email", "createdAt": "2030-01-01T00:00:00.000Z"}
        assert await client.post("/sandbox/users", new) == {"added": 1}
        assert await client.post("/sandbox/users", {"ids": [IDS[50], IDS[0]]}) == {"added": 1}
        assert len(client.sandbox.pool) == 12
        assert await client.post("/sandbox/script", {"faults": ["500", None]}) == {"scripted": 2}
        assert await client.post("/sandbox/script", {"faults": ["503"], "path": LOOKUP_PATH}) == {"scripted": 1}
        assert client.sandbox.ledger.requests == 1
        client.headers = headers
        assert [(await client.delete([IDS[2]]))["statusCode"] for _ in range(2)] == [500, 200]
        assert (await client.get(LOOKUP_PATH, {"userIds": IDS[2]}))["statusCode"] == 503
        (user,) = await client.look_up(["n@x.example"], "email")
        assert user["createdAt"] == "2030-01-01T00:00:00.000Z"
        seen = await client.get("/sandbox/ledger", {"arrivals": "true"})
        assert seen.pop("arrivals") == list(client.sandbox.ledger.arrivals)
        assert seen["sent_times"] == {"2": 1}
        assert seen["by_path"] == client.sandbox.ledger.by_path


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sandbox/switches", b'{"no_such": 1}'),
        ("/sandbox/switches", b'{"unknown_ids": "maybe"}'),
        ("/sandbox/switches", b'{"share_500": 0.6, "share_503": 0.6}'),
        ("/sandbox/switches", b'{"share_500": -0.1}'),
        ("/sandbox/switches", b'{"latency_s": "long"}'),
        ("/sandbox/switches", b'{"latency_s": true}'),
        ("/sandbox/switches", b'{"forbidden": 1}'),
        ("/sandbox/switches", b'{"rate_per_s": -1}'),
        ("/sandbox/switches", b'{"poisonous": {"a": []}}'),
        ("/sandbox/switches", b"{"),
        ("/sandbox/switches", b"[]"),
        ("/sandbox/users", b'{"ids": ["a"], "userIdType": "nonsense"}'),
        ("/sandbox/users", b"{}"),
        ("/sandbox/users", b"[]"),
        ("/sandbox/users", b'{"ids": ["a", 1]}'),
        ("/sandbox/users", b'{"ids": ["a", ""]}'),
        ("/sandbox/users", b'{"ids": "a"}'),
        ("/sandbox/script", b'{"faults": ["boom"]}'),
    ],
)
async def test_the_admin_endpoints_say_why_a_request_makes_no_sense(path: str, body: bytes) -> None:
    async with signed_in(users()) as client:
        before, size = client.sandbox.switches, len(client.sandbox.pool)
        status, text, _ = await client.call("POST", path, data=body)
        assert status == 400
        assert b"Error" in text
        assert (client.sandbox.switches, len(client.sandbox.pool)) == (before, size)


# --- serving -----------------------------------------------------------------------------------------------------


def test_a_taken_port_is_an_error() -> None:
    with serve_in_thread(users()) as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"), serve_in_thread(users(), port=port):
            pytest.fail("served on a taken port")  # pragma: no cover


def test_an_error_inside_the_context_still_stops_the_server() -> None:
    with pytest.raises(KeyError), serve_in_thread(users()) as sandbox:
        raise KeyError
    port = int(sandbox.url.rpartition(":")[2])
    with serve_in_thread(users(), port=port) as again:
        assert again.url == sandbox.url


async def test_own_keys() -> None:
    async with serve(users(), keys={"mine": "secret"}) as sandbox, aiohttp.ClientSession() as http:
        client = Client(sandbox, http)
        assert (await client.sign_in())["statusCode"] == 401
        answer = await client.post(TOKEN_PATH, {"accessKeyId": "mine", "accessKeySecret": "secret"})
        assert answer["statusCode"] == 200


async def test_requests_under_way_do_not_hold_up_the_end() -> None:
    async with aiohttp.ClientSession() as http:
        async with serve(users(), Switches(latency_s=60)) as sandbox:
            hanging = asyncio.create_task(Client(sandbox, http).delete(IDS[:1]))
            while not sandbox.ledger.requests:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.001)
            began = time.monotonic()
        with pytest.raises(aiohttp.ClientError):
            await hanging
        assert time.monotonic() - began < 30


def test_a_connection_of_the_last_moment_is_ended() -> None:
    """Else asyncio would lose it, and warn in whatever test collects the garbage."""
    for _ in range(20):
        with serve_in_thread(Pool.from_ids([], "user_id")) as served:
            port = int(served.url.rpartition(":")[2])
            late = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        for connection in late:
            connection.close()
    gc.collect()
