"""The vendor's own Python SDK against the sandbox: what it can do there, it can do to the real service."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
import requests
from genauth import ManagementClient
from genauth.GenAuthException import GenAuthException
from genauth.utils.signatureComposer import signString

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
    serve_in_thread,
)
from bulkdel_jobs.sandbox.token_issuer import sign


def sdk(sandbox: Sandbox, secret: str = SANDBOX_KEY_SECRET, lang: str | None = None) -> Any:
    return ManagementClient(SANDBOX_KEY_ID, secret, host=sandbox.url, lang=lang)


def test_sign_in_delete_and_look_up() -> None:
    with serve_in_thread(Pool.generated(60)) as sandbox:
        client, ids = sdk(sandbox), list(sandbox.pool.user_ids())
        before = client.get_user_batch(ids[:50], with_custom_data=True, with_identities=True)
        assert {user["userId"] for user in before["data"]} == set(ids[:50])
        assert all(user["customData"] and user["identities"] for user in before["data"])
        answer = client.delete_users_batch(ids[:50])
        assert (answer["statusCode"], answer["data"]) == (200, {"success": True})
        assert client.get_user_batch(ids[:50])["data"] == []
        assert len(client.get_user_batch(",".join(ids[45:55]))["data"]) == 5
        assert list(sandbox.pool.user_ids()) == ids[50:]
        assert client.http_client.token_provider.get_access_token()[1] == SANDBOX_POOL_ID
        assert sandbox.ledger.by_path == {TOKEN_PATH: 1, LOOKUP_PATH: 3, DELETE_PATH: 1}


def test_delete_by_email_and_the_apis_own_complaints() -> None:
    with serve_in_thread(Pool.from_ids(["a@x.example", "b@x.example"], "email")) as sandbox:
        client = sdk(sandbox)
        assert client.delete_users_batch(["A@x.example"], {"userIdType": "email"})["data"] == {"success": True}
        assert [user["email"] for user in client.get_user_batch("b@x.example", "email")["data"]] == ["b@x.example"]
        answer = client.delete_users_batch([])
        assert (answer["statusCode"], answer["message"]) == (400, "参数 userIds 格式错误")
        answer = sdk(sandbox, lang="en-US").delete_users_batch([])
        assert answer["message"] == "Parameter userIds is malformed"


def test_list_and_create() -> None:
    with serve_in_thread(Pool.generated(3)) as sandbox:
        client = sdk(sandbox)
        answer = client.create_users_batch([{"email": "n@x.example", "status": "Archived"}, {"username": "n"}])
        made = [user["userId"] for user in answer["data"]]
        listed = client.list_users(options={"pagination": {"page": 1, "limit": 50}})["data"]
        assert listed["totalCount"] == 5
        assert [user["userId"] for user in listed["list"]][3:] == made
        assert client.list_users(options={"pagination": {"limit": 51}})["statusCode"] == 400
        assert [user["userId"] for user in client.list_archived_users(1, 10, 0)["data"]["list"]] == made[:1]
        assert sandbox.ledger.by_path[CREATE_PATH] == 1
        assert sandbox.ledger.by_path[LIST_PATH] == 2


def test_a_user_is_suspended_signed_out_and_resigned() -> None:
    with serve_in_thread(Pool.generated(3)) as sandbox:
        client, ids, pool = sdk(sandbox), list(sandbox.pool.user_ids()), sandbox.pool
        answer = client.update_user_batch([{"userId": id_, "status": "Suspended"} for id_ in ids[:2]])
        assert [user["status"] for user in answer["data"]] == ["Suspended"] * 2
        found = client.list_users(advanced_filter=[{"field": "status", "operator": "EQUAL", "value": "Suspended"}])
        assert [user["userId"] for user in found["data"]["list"]] == ids[:2]
        assert client.check_session_status("app", ids[2])["data"] == {"active": True}
        assert client.kick_users(["app"], "user2", {"userIdType": "username"})["data"] == {"success": True}
        assert client.check_session_status("app", ids[2])["data"] == {"active": False}
        assert client.resign_user_batch(["ext-0"], "external_id")["data"] == {"success": True}
        assert client.get_user(ids[0])["data"]["status"] == "Resigned"
        assert client.get_user("test")["message"] == "用户不存在"
        assert client.get_otp_secret_by_user(ids[0])["statusCode"] == 501
        effects = {kind: pool.effects_of(kind) for kind in pool.kinds()}
        assert effects == {
            "suspended": dict.fromkeys(ids[:2], 1),
            "kicked": {f"app/{ids[2]}": 1},
            "resigned": {ids[0]: 1},
        }


def test_wrong_secret() -> None:
    with serve_in_thread(Pool.generated(1)) as sandbox:
        with pytest.raises(GenAuthException) as caught:
            sdk(sandbox, "wrong").delete_users_batch(list(sandbox.pool.user_ids()))
        assert caught.value.statusCode == 401
        assert sandbox.pool.deleted == 0


def test_lost_connection_and_expired_token_as_the_sdk_sees_them() -> None:
    with serve_in_thread(Pool.generated(4)) as sandbox:
        client, ids = sdk(sandbox), list(sandbox.pool.user_ids())
        sandbox.script("drop_after", "drop_before", "truncated_after")
        for sent in (ids[:1], ids[1:2], ids[2:3]):
            with pytest.raises(requests.RequestException):
                client.delete_users_batch(sent)
        assert [sandbox.ledger.effects(id_) for id_ in ids] == [1, 0, 1, 0]
        sandbox.switches = Switches(token_lifetime_s=0)
        assert client.delete_users_batch(ids[3:])["statusCode"] == 401


def test_signature_is_made_as_the_sdk_makes_it() -> None:
    assert sign("secret", "websocket\n") == signString("secret", "websocket\n")
    assert sign("secret", "ä") == base64.b64encode(hmac.new(b"secret", "ä".encode(), hashlib.sha1).digest()).decode()
