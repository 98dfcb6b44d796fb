"""The public Python call against the real sandbox: what it sends, what it returns, what it raises."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from bulkdel.errors import Halted, UsageError
from bulkdel_jobs.genauth.deletion import (
    DeleteUsersBatchResponse,
    EffectUnknown,
    GenAuthClient,
    IsSuccess,
    NoAnswer,
    NotSent,
)
from bulkdel_jobs.sandbox import (
    DELETE_PATH,
    SANDBOX_KEY_ID,
    SANDBOX_KEY_SECRET,
    SANDBOX_POOL_ID,
    TOKEN_PATH,
    Pool,
    Sandbox,
    Switches,
    serve,
)
from tests.rawserver import DATA, Peer, RawServer, always, answer, tls_context


def client_for(url: str, secret: str = SANDBOX_KEY_SECRET, **options: Any) -> GenAuthClient:
    return GenAuthClient(SANDBOX_KEY_ID, secret, url, **{"rate": 0, **options})


@contextlib.asynccontextmanager
async def served(
    switches: Switches | None = None, users: int = 60, **options: Any
) -> AsyncIterator[tuple[Sandbox, GenAuthClient, list[str]]]:
    """A sandbox of its own, a client of it, and the ids of its users."""
    async with serve(Pool.generated(users), switches) as sandbox, client_for(sandbox.url, **options) as client:
        yield sandbox, client, list(sandbox.pool.user_ids())


async def test_fifty_users_in_one_request() -> None:
    async with served() as (sandbox, client, ids):
        not_yet = client.user_pool_id
        assert not_yet is None
        answer = await client.delete_users_batch(ids[:50])
        assert answer.ok
        assert (answer.status_code, answer.api_code, answer.data) == (200, None, IsSuccess(success=True))
        assert answer.message == "", "as Authing says it"
        assert client.user_pool_id == SANDBOX_POOL_ID
        assert sandbox.ledger.by_path == {TOKEN_PATH: 1, DELETE_PATH: 1}
        assert list(sandbox.pool.user_ids()) == ids[50:]
        assert (await client.delete_users_batch(tuple(ids[50:]))).ok
        assert sandbox.ledger.by_path == {TOKEN_PATH: 1, DELETE_PATH: 2}


@pytest.mark.parametrize("brand", ["genauth", "authing", "Authing"])
async def test_both_brands_and_another_id_type(brand: str) -> None:
    pool = Pool.from_ids(["a@x.example", "b@x.example"], "email")
    async with serve(pool) as sandbox, client_for(sandbox.url, brand=brand) as client:
        assert (await client.delete_users_batch(["A@x.example"], user_id_type="email")).ok
        assert sandbox.ledger.id_types == {"email": 1}
        assert sandbox.pool.effects("a@x.example", "email") == 1
        assert len(sandbox.pool) == 1


async def test_many_at_once_share_one_sign_in() -> None:
    async with served() as (sandbox, client, ids):
        answers = await asyncio.gather(*(client.delete_users_batch([id_]) for id_ in ids))
        assert all(answer.ok for answer in answers)
        assert sandbox.ledger.by_path == {TOKEN_PATH: 1, DELETE_PATH: 60}
        assert sandbox.ledger.sent_times() == {1: 60}


@pytest.mark.parametrize(
    ("user_ids", "user_id_type", "said"),
    [
        ([f"{i:024x}" for i in range(51)], "user_id", "1 to 50 ids, not 51"),
        ([], "user_id", "1 to 50 ids, not 0"),
        (["a", ""], "user_id", "empty"),
        (["a", 7], "user_id", "list of strings"),
        (["a", None], "user_id", "list of strings"),
        (["a", "b", "a"], "user_id", "same id twice"),
        ("6229ffaxxxxxxxxcade3e3d9", "user_id", "list"),
        (b"6229ffaxxxxxxxxcade3e3d9", "user_id", "list"),
        (["a"], "userid", "no user id type 'userid'. Types: user_id, phone"),
    ],
)
async def test_what_cannot_be_right_is_refused_before_anything_is_sent(
    user_ids: Any, user_id_type: str, said: str
) -> None:
    async with served() as (sandbox, client, _):
        with pytest.raises(ValueError, match=said):
            await client.delete_users_batch(user_ids, user_id_type)
        assert sandbox.ledger.requests == 0


async def test_what_the_server_says_is_returned_whatever_it_says() -> None:
    culprit = next(iter(Pool.generated(60).user_ids()))
    async with served(Switches(poisonous={culprit: (409, 77)}, unknown_ids="refuse")) as (sandbox, client, ids):
        answer = await client.delete_users_batch(ids[:3])
        assert not answer.ok
        assert (answer.status_code, answer.api_code, answer.data.success) == (409, 77, False)
        assert answer.message
        assert answer.request_id
        answer = await client.delete_users_batch(["0" * 24])
        assert (answer.status_code, answer.api_code, answer.ok) == (404, 2004, False)
        sandbox.script("500", "http:502", "unsuccessful")
        for status_code in (500, 502, 200):
            answer = await client.delete_users_batch(ids[3:5])
            assert (answer.status_code, answer.data.success, answer.ok) == (status_code, False, False)
        assert sandbox.pool.deleted == 0
        assert sandbox.ledger.by_path[DELETE_PATH] == 5


async def test_a_lost_answer_is_said_to_be_one_and_nothing_is_repeated() -> None:
    async with served() as (sandbox, client, ids):
        faults = ("drop_after", "drop_before", "truncated_after", "malformed_after", "html", "http:302")
        sandbox.script(*faults)
        for index in range(len(faults)):
            with pytest.raises(EffectUnknown, match="may or may not be deleted") as caught:
                await client.delete_users_batch([ids[index]])
            assert isinstance(caught.value, NoAnswer)
            assert ids[index] not in str(caught.value)
        assert [sandbox.ledger.effects(id_) for id_ in ids[:6]] == [1, 0, 1, 1, 0, 0]
        assert sandbox.ledger.sent_times() == {1: 6}
        assert sandbox.ledger.by_path == {TOKEN_PATH: 1, DELETE_PATH: 6}
        assert (await client.delete_users_batch(ids[6:8])).ok


async def test_a_failure_around_a_success_is_believed_in_neither() -> None:
    token = answer(b'{"statusCode":200,"data":{"access_token":"e30.eyJzY29wZWRfdXNlcnBvb2xfaWQiOiJwIn0.x"}}')
    success = answer(b'{"statusCode":200,"data":{"success":true}}', 502)

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.send(token if request.target == TOKEN_PATH else success)

    async with RawServer(script).running() as server, client_for(server.url) as client:
        with pytest.raises(EffectUnknown, match="HTTP 502 around statusCode 200"):
            await client.delete_users_batch(["a"])


async def test_no_connection_is_not_sent() -> None:
    token = b'{"statusCode":200,"data":{"access_token":"e30.eyJzY29wZWRfdXNlcnBvb2xfaWQiOiJwIn0.x"}}'
    success = b'{"statusCode":200,"data":{"success":true}}'

    async def script(peer: Peer) -> None:
        request = await peer.request()
        await peer.send(answer(token if request.target == TOKEN_PATH else success, headers={"connection": "close"}))

    server = RawServer(script)
    async with contextlib.AsyncExitStack() as stack:
        async with server.running():
            client = await stack.enter_async_context(client_for(server.url))
            assert (await client.delete_users_batch(["a"])).ok
        with pytest.raises(NotSent, match="nothing was sent"):
            await client.delete_users_batch(["b"])
    assert [request.target for request in server.requests] == [TOKEN_PATH, DELETE_PATH]


async def test_429_is_an_answer_and_holds_the_next_call_back() -> None:
    async with served(Switches(retry_after="seconds", retry_after_s=4)) as (sandbox, client, ids):
        sandbox.script("429")
        answer = await client.delete_users_batch(ids[:1])
        assert (answer.status_code, answer.ok) == (429, False)
        began = time.monotonic()
        assert (await client.delete_users_batch(ids[:1])).ok
        assert time.monotonic() - began >= 3.9, "without Retry-After it would be 3 s"
        assert sandbox.ledger.by_path[DELETE_PATH] == 2


async def test_401_is_an_answer_and_the_next_call_signs_in_anew() -> None:
    async with served() as (sandbox, client, ids):
        assert (await client.delete_users_batch(ids[:1])).ok
        sandbox.revoke_tokens()
        answer = await client.delete_users_batch(ids[1:2])
        assert (answer.status_code, answer.ok) == (401, False)
        assert sandbox.ledger.by_path == {TOKEN_PATH: 1, DELETE_PATH: 2}
        assert (await client.delete_users_batch(ids[1:2])).ok
        assert sandbox.ledger.by_path == {TOKEN_PATH: 2, DELETE_PATH: 3}


async def test_after_401_twice_it_does_not_sign_in_again() -> None:
    async with served(Switches(token_lifetime_s=0, token_announced_s=7200)) as (sandbox, client, ids):
        for _ in range(4):
            assert (await client.delete_users_batch(ids[:1])).status_code == 401
        assert sandbox.ledger.by_path == {TOKEN_PATH: 2, DELETE_PATH: 4}


async def test_a_refused_sign_in_sends_no_deletion_and_shows_no_secret() -> None:
    async with served(secret="wrong-secret") as (sandbox, client, ids):
        with pytest.raises(Halted, match="sign-in refused") as caught:
            await client.delete_users_batch(ids[:1])
        assert "wrong-secret" not in str(caught.value)
        assert sandbox.ledger.by_path == {TOKEN_PATH: 1}


async def test_the_rate_is_held() -> None:
    async with served(rate=20) as (sandbox, client, ids):
        await asyncio.gather(*(client.delete_users_batch([id_]) for id_ in ids[:10]))
        arrivals = sandbox.ledger.arrivals
        assert len(arrivals) == 11, "the sign-in takes of the rate too"
        assert arrivals[-1] - arrivals[0] >= 10 / 20 * 0.9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": "http://api.example.com"}, "not https"),
        ({"brand": "acme"}, "Brands: genauth, authing"),
        ({"proxy": "socks5://x"}, "--proxy"),
        ({"ca_file": DATA / "missing.crt"}, "missing.crt"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        GenAuthClient("k", "s", **{"host": "https://localhost", **options})


@pytest.mark.parametrize(("options", "host"), [({}, "api.genauth.ai"), ({"brand": "authing"}, "api.authing.cn")])
async def test_without_a_host_it_is_the_public_cloud_of_the_brand(options: dict[str, Any], host: str) -> None:
    """Seen by a proxy that connects to no host."""
    async with RawServer(always(answer(status=403))).running() as proxy:
        async with GenAuthClient("k", "s", proxy=proxy.url, **options) as client:
            with pytest.raises(Halted, match="the proxy answered 403"):
                await client.delete_users_batch(["a"])
        assert [request.target for request in proxy.requests] == [f"{host}:443"]


async def test_a_private_deployment_with_its_own_authority() -> None:
    refusal = answer(b'{"statusCode":401,"message":"no"}')
    async with RawServer(always(refusal), tls=tls_context()).running() as server:
        async with client_for(server.url, ca_file=str(DATA / "localhost.crt")) as client:
            with pytest.raises(Halted, match="sign-in refused"):
                await client.delete_users_batch(["a"])
        assert [request.target for request in server.requests] == [TOKEN_PATH]


async def test_outside_of_its_context_it_does_nothing() -> None:
    client = client_for("http://127.0.0.1:9")
    assert isinstance(client, AbstractAsyncContextManager)
    with pytest.raises(RuntimeError, match="not entered"):
        await client.delete_users_batch(["a"])


def test_an_answer_is_frozen() -> None:
    answer = DeleteUsersBatchResponse(200, "", None, None, IsSuccess(success=False))
    assert not answer.ok
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.status_code = 500  # type: ignore[misc]


async def test_a_server_that_quotes_the_credentials_is_not_quoted() -> None:
    """The ids are the caller's own; key and token must be in no log."""

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            data = {"access_token": token, "expires_in": 7200}
            said = {"statusCode": 200, "data": data}
            if request.target != TOKEN_PATH:
                quoted = f"{request.headers['authorization']} {SANDBOX_KEY_ID} {SANDBOX_KEY_SECRET} {request.body!r}"
                said = {"statusCode": 403, "message": quoted}
            await peer.send(answer(json.dumps(said).encode()))

    payload = base64.urlsafe_b64encode(json.dumps({"scoped_userpool_id": "p"}).encode()).decode().rstrip("=")
    token = f"h.{payload}.s"

    async with RawServer(script).running() as server, client_for(server.url) as client:
        said = await client.delete_users_batch(["one"], "username")
        assert said.message.startswith("Bearer [hidden] [hidden] [hidden] b")
        assert '["one"]' in said.message
