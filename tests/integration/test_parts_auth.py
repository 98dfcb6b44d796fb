"""The ready-made credentials: what goes into the headers, what is fetched, and that nothing of it is shown."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import sys
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest

from bulkdel.core.decision import Request
from bulkdel.errors import Halted, UsageError
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import HttpTransport, TransportOptions
from bulkdel.job import Auth
from bulkdel_jobs.parts.auth import FixedAuth, basic, key_in_header, oauth2
from bulkdel_jobs.parts.secret import Secret
from bulkdel_jobs.parts.sigv4 import AwsKey, aws_key, sigv4
from bulkdel_jobs.parts.target import pool_of
from bulkdel_jobs.parts.tokens import TokenAuth
from tests.rawserver import Peer, RawServer, answer

ANY = Request("GET", "/")
SECRET = Secret("s3cr:t/+", "THE_KEY")


@pytest.mark.parametrize(
    ("auth", "headers"),
    [
        (FixedAuth(pool="p"), {}),
        (key_in_header("p", SECRET), {"authorization": "Bearer s3cr:t/+"}),
        (key_in_header("p", SECRET, "x-api-key", ""), {"x-api-key": "s3cr:t/+"}),
        (basic("p", "ann", SECRET), {"authorization": "Basic YW5uOnMzY3I6dC8r"}),
    ],
)
async def test_fixed_credentials(auth: FixedAuth, headers: dict[str, str]) -> None:
    contract: Auth = auth  # mypy holds it to the contract
    await contract.ensure()
    assert (contract.pool, contract.users, contract.waiting) == ("p", (), None)
    assert contract.sign(ANY) == (headers, 1)
    contract.accepted(1)
    with pytest.raises(Halted, match="401"):
        contract.rejected(1)
    for value in headers.values():
        assert SECRET.value not in contract.hide(f"you sent {value}, and {SECRET.value}")
        assert value.rpartition(" ")[2] not in contract.hide(f"you sent {value}")
        assert value not in repr(contract)


def test_the_pool_of_an_api_without_pools_is_its_address() -> None:
    assert pool_of("https://api.example.com/v1", "/tenants/7") == "api.example.com/v1/tenants/7"
    assert pool_of("http://127.0.0.1:8080") == "127.0.0.1:8080"


def credentials(transport: HttpTransport, *, in_body: bool, more: dict[str, str] | None = None) -> TokenAuth:
    return oauth2(
        "pool", SECRET, transport, RateLimiter(0), path="/oauth/token", client_id="bulk del", in_body=in_body, more=more
    )


def tokens_of(*responses: bytes) -> Callable[[Peer], object]:
    queue = list(responses)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(queue.pop(0))

    return script


def granted(token: str = "t0k-en", **more: object) -> bytes:
    return answer(json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 3600, **more}).encode())


@pytest.mark.parametrize("in_body", [True, False])
async def test_an_oauth2_client_fetches_one_token(in_body: bool) -> None:
    server = RawServer(tokens_of(granted()))  # type: ignore[arg-type]
    async with server.running(), HttpTransport(TransportOptions(server.url)) as transport:
        auth: Auth = credentials(transport, in_body=in_body, more={"audience": "https://api/"})
        assert auth.sign(ANY) is None
        await auth.ensure()
        await auth.ensure()
        assert auth.sign(ANY) == ({"authorization": "Bearer t0k-en"}, 1)
        assert auth.pool == "pool"
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/oauth/token")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    fixed = {"grant_type": "client_credentials", "audience": "https://api/"}
    if in_body:
        assert form == {**fixed, "client_id": "bulk del", "client_secret": SECRET.value}
        assert "authorization" not in request.headers
    else:
        assert form == fixed
        assert base64.b64decode(request.headers["authorization"].removeprefix("Basic ")) == b"bulk%20del:s3cr%3At%2F%2B"
    for secret in (SECRET.value, "t0k-en", "s3cr%3At%2F%2B"):
        assert secret not in auth.hide(f"quoted: {secret}")
    assert SECRET.value not in repr(auth)


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (answer(b'{"error":"invalid_client","error_description":"no s3cr:t/+ here"}', 401), "no .hidden. here"),
        (answer(b"", 404), "404"),
        (answer(b"", 302, {"location": "/sign-in"}), "redirects"),
        (answer(b"<html>", 200), "no token in 4 answers"),
        (answer(b'{"access_token":"a b"}'), "no token in 4 answers"),
        (answer(b"[]"), "no token in the response"),
    ],
)
async def test_an_oauth2_client_that_gets_no_token_halts(response: bytes, said: str) -> None:
    server = RawServer(tokens_of(*[response] * 4))  # type: ignore[arg-type]
    async with server.running(), HttpTransport(TransportOptions(server.url)) as transport:
        auth = credentials(transport, in_body=False)
        auth.sign_in.chance = lambda: 0.0
        with pytest.raises(Halted, match=said):
            await auth.ensure()


# AWS

needs_botocore = pytest.mark.skipif(
    importlib.util.find_spec("botocore") is None, reason="no AWS signature was made, because botocore is not installed"
)


def test_an_aws_key_comes_whole_or_not_at_all() -> None:
    assert aws_key({}) is None
    both = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK"}
    assert aws_key(both) == AwsKey("AK", Secret("SK", "AWS_SECRET_ACCESS_KEY"))
    token = aws_key({**both, "AWS_SESSION_TOKEN": "T"})
    assert token is not None
    assert token.session_token == Secret("T", "AWS_SESSION_TOKEN")
    for name in both:
        with pytest.raises(UsageError, match="and not the other"):
            aws_key({name: "x"})


def test_without_botocore_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "botocore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(UsageError, match=r"pip install '\.\[aws\]' in the clone of bulkdel"):
        sigv4("https://s3", "pool", AwsKey("AK", SECRET), region="us-east-1", service="s3")


@needs_botocore
def test_a_signature_covers_what_is_sent() -> None:
    auth = sigv4(
        "https://b.s3.example.com", "pool", AwsKey("AK", SECRET, Secret("T", "x")), region="eu-west-1", service="s3"
    )
    request = Request("POST", "/a%2Fb", (("delete", ""),), b"<Delete/>", (("content-type", "application/xml"),))
    headers, generation = auth.sign(request)
    fields = {name.lower(): value for name, value in headers.items()}
    assert generation == 1
    assert fields["content-md5"] == base64.b64encode(hashlib.md5(b"<Delete/>").digest()).decode()
    assert "/eu-west-1/s3/aws4_request" in fields["authorization"]
    assert (
        "content-md5;content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token" in fields["authorization"]
    )
    changed = (
        request._replace(path="/a"),
        request._replace(query=()),
        request._replace(body=b"<Delete />"),
        request._replace(method="PUT"),
    )
    signatures = {auth.sign(each)[0]["Authorization"].rpartition("=")[2] for each in (request, *changed)}
    assert len(signatures) == 5
    assert SECRET.value not in repr(auth)
