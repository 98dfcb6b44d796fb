"""The vendor's SDK and this program, side by side on the wire: the same deletion in path, method, body and sign-in.

What the two agree in: method and path of both requests; the JSON of both bodies; the scheme `Bearer`, with the token
that the sign-in returned; the user pool's header. What differs is said here too: the SDK announces its version
and, by default, an empty language; it leaves `options` out when it is given none, which means `user_id`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from genauth import ManagementClient

from bulkdel.core.record import Records
from bulkdel.http.client import WorkerStatus
from bulkdel.http.connecting import connect
from bulkdel.job import TargetOptions
from bulkdel.settings import Settings
from bulkdel_jobs.delete_users import DeleteUsers
from bulkdel_jobs.genauth import GenAuthClient
from bulkdel_jobs.genauth.endpoints import DELETE_PATH, DeleteUsersBatch
from bulkdel_jobs.genauth.id_types import ID_TYPES
from bulkdel_jobs.sandbox import SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, TOKEN_PATH, Pool, serve_in_thread
from tests.rawserver import Peer, RawServer, ReceivedRequest, answer

KEY, SECRET, POOL = "5a9db0c5a9db0c5a9db0c001", "a-secret", "5a9db0c0000000000000c0de"
TOKEN = "eyJhbGciOiJub25lIn0.eyJzY29wZWRfdXNlcnBvb2xfaWQiOiI1YTlkYjBjMDAwMDAwMDAwMDAwMGMwZGUifQ.c2ln"

SIGNED_IN = {"statusCode": 200, "message": "", "data": {"access_token": TOKEN, "expires_in": 7200}}
DELETED = {"statusCode": 200, "message": "Operation successful", "requestId": "r", "data": {"success": True}}

IDS = {
    "user_id": ["6229ffaaaaaaaaaacade3e3d", "6319a1504f3aaaaf214dd5b7"],
    "phone": ["+8613800000000"],
    "email": ["a+b@x.example"],
    "username": ["名 & name?"],
    "external_id": ["10086"],
    "identity": ["62f20932716fbcc10d966ee5:ou_8bae746eac07cd2564654140d2a9ac61"],
    "sync_relation": ["lark:ou_8bae746eac07cd2564654140d2a9ac61"],
}


async def _serve(peer: Peer) -> None:
    while True:
        request = await peer.request()
        body = SIGNED_IN if request.target == TOKEN_PATH else DELETED
        await peer.send(answer(json.dumps(body).encode(), headers={"content-type": "application/json"}))


async def captured(send: Callable[[str], Awaitable[None]]) -> tuple[ReceivedRequest, ReceivedRequest]:
    """What arrives at a server of raw bytes: (the sign-in, the deletion)."""
    async with RawServer(_serve).running() as server:
        await send(server.url)
    signing_in, deleting = server.requests
    return signing_in, deleting


async def by_sdk(ids: list[str], id_type: str | None) -> tuple[ReceivedRequest, ReceivedRequest]:
    def call(url: str) -> None:
        client = ManagementClient(KEY, SECRET, host=url)
        options = None if id_type is None else {"userIdType": id_type}
        assert client.delete_users_batch(user_ids=ids, options=options) == DELETED

    return await captured(lambda url: asyncio.to_thread(call, url))


Sender = Callable[[list[str], str], Awaitable[tuple[ReceivedRequest, ReceivedRequest]]]


async def by_client(ids: list[str], id_type: str) -> tuple[ReceivedRequest, ReceivedRequest]:
    async def call(url: str) -> None:
        async with GenAuthClient(KEY, SECRET, host=url) as client:
            assert (await client.delete_users_batch(ids, id_type)).ok

    return await captured(call)


async def by_job(ids: list[str], id_type: str) -> tuple[ReceivedRequest, ReceivedRequest]:
    """The way of a run: job, target, api."""

    async def call(url: str) -> None:
        environ = {"GENAUTH_ACCESS_KEY_ID": KEY, "GENAUTH_ACCESS_KEY_SECRET": SECRET}
        target = DeleteUsers().target(TargetOptions(url, {}, environ))
        async with connect(target, Settings(), pool=None) as client:
            action = target.action(ID_TYPES[id_type])
            (request,) = action.calls(Records(tuple(range(len(ids))), tuple(ids)))
            decision = await client.ask(request, action.read, WorkerStatus())
            assert decision is not None

    return await captured(call)


def agree_in(request: ReceivedRequest) -> dict[str, Any]:
    """Everything of a request that the API looks at."""
    return {
        "method": request.method,
        "path": request.target,
        "type": request.headers["content-type"],
        "authorization": request.headers.get("authorization"),
        "pool": request.headers.get("x-genauth-userpool-id"),
        "body": json.loads(request.body),
    }


@pytest.mark.parametrize("id_type", list(ID_TYPES))
@pytest.mark.parametrize("ours", [by_client, by_job])
async def test_the_same_call(ours: Sender, id_type: str) -> None:
    sdk, own = await by_sdk(IDS[id_type], id_type), await ours(IDS[id_type], id_type)
    assert [agree_in(request) for request in sdk] == [agree_in(request) for request in own]
    assert agree_in(own[1]) == {
        "method": "POST",
        "path": DELETE_PATH,
        "type": "application/json",
        "authorization": f"Bearer {TOKEN}",
        "pool": POOL,
        "body": {"userIds": IDS[id_type], "options": {"userIdType": id_type}},
    }
    assert agree_in(own[0])["body"] == {"accessKeyId": KEY, "accessKeySecret": SECRET}


async def test_what_differs() -> None:
    ids = IDS["user_id"]
    _, sdk = await by_sdk(ids, None)
    _, own = await by_client(ids, "user_id")
    assert json.loads(sdk.body) == {"userIds": ids}
    assert json.loads(own.body) == {"userIds": ids, "options": {"userIdType": "user_id"}}
    assert (sdk.headers["x-genauth-lang"], own.headers["x-genauth-lang"]) == ("", "en-US")
    names = {
        name: {header for header in request.headers if header.startswith("x-")}
        for name, request in (("sdk", sdk), ("own", own))
    }
    assert names["sdk"] - names["own"] == {"x-genauth-sdk-version"}
    assert names["own"] <= names["sdk"]


async def test_the_comparison_can_fail() -> None:
    """Fifty ids against the same fifty in another order is another call."""
    ids = IDS["user_id"]
    _, sdk = await by_sdk(ids, "user_id")
    _, own = await by_client(ids[::-1], "user_id")
    assert agree_in(sdk) != agree_in(own)
    (call,) = DeleteUsersBatch(ID_TYPES["email"]).calls(Records((0,), ("a@x.example",)))
    _, sdk = await by_sdk(["a@x.example"], "username")
    assert json.loads(call.body or b"") != agree_in(sdk)["body"]


async def test_the_sandbox_takes_both_with_one_key() -> None:
    with serve_in_thread(Pool.generated(100)) as sandbox:
        ids = list(sandbox.pool.user_ids())
        sdk = ManagementClient(SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, host=sandbox.url)
        assert sdk.delete_users_batch(user_ids=ids[:50], options={"userIdType": "user_id"})["data"] == {"success": True}

        async with GenAuthClient(SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, host=sandbox.url) as client:
            assert (await client.delete_users_batch(ids[50:])).ok
        assert len(sandbox.pool) == 0
        assert sandbox.ledger.chunk_sizes == {50: 2}
        assert sandbox.ledger.id_types == {"user_id": 2}
        assert sandbox.ledger.answers == {"200": 4}
