"""One attempt on the wire: what goes out, what comes back, and what every fault is called. Against raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import resource
import socket
import ssl
import struct
import threading
import tracemalloc
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bulkdel.core.decision import NoResponse, Request, Response, Setup
from bulkdel.errors import UsageError
from bulkdel.http.transport import HttpTransport, TransportOptions, check_host
from tests.harness import TRIES
from tests.mutants import mutant
from tests.rawserver import DATA, Peer, RawServer, ReceivedRequest, Script, always, answer, once, tls_context, tunnel_to
from tests.syntax import drop, swap
from tests.waits import WAIT_MAX_S

GET = Request("GET", "/look/up", (("id", "a"),))
POST = Request("POST", "/delete", body=b'{"ids":[]}')

CHUNKED = {"transfer-encoding": "chunked"}
GZIPPED = {"content-encoding": "gzip"}

GARBLED = NoResponse("response broken off or garbled", sent=True)
NOT_HTTP = NoResponse("response is not HTTP", sent=True)
CLOSED = NoResponse("connection closed before a response", sent=True)
TOO_LARGE = NoResponse("response too large", sent=True)
SELF_SIGNED = NoResponse("certificate not accepted: self-signed certificate", sent=False, setup=Setup.AUTHORITY)


async def send(server: RawServer, call: Request = POST, **options: Any) -> Response | NoResponse:
    """One attempt by a transport of its own."""
    async with HttpTransport(TransportOptions(**{"host": server.url, **options})) as transport:
        response = await transport.send(call, {})
        assert transport.requests == 1
        return response


async def exchange(
    script: Script, call: Request = POST, **options: Any
) -> tuple[Response | NoResponse, list[ReceivedRequest]]:
    """One attempt against a server that follows `script`: what came back, and what the server saw."""
    server = RawServer(script)
    async with server.running():
        return await send(server, call, **options), server.requests


def after_request(next_step: Callable[[Peer], Awaitable[None] | None]) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        acted = next_step(peer)
        if acted is not None:
            await acted

    return script


# What goes out and what comes back


async def test_a_call_arrives_as_it_was_and_its_answer_comes_back_whole() -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    headers = {"retry-after": "7", "date": date, "set-cookie": "a=b"}
    server = RawServer(always(answer(b'{"a":1}', 503, headers)))
    async with server.running(), HttpTransport(TransportOptions(f"{server.url}/base/")) as transport:
        for call in (POST, POST, GET):
            assert await transport.send(call, {"authorization": "Bearer x"}) == Response(503, b'{"a":1}', "7", date)
        assert transport.requests == 3
    post, _, get = server.requests
    assert (post.method, post.target, post.body) == ("POST", "/base/delete", POST.body)
    assert dict(post.headers) == {
        "host": f"localhost:{server.port}",
        "accept": "application/json",
        "accept-encoding": "gzip",
        "cache-control": "no-cache",
        "user-agent": "bulkdel",
        "authorization": "Bearer x",
        "content-length": "10",
        "content-type": "application/json",
    }
    assert (get.method, get.target, get.body) == ("GET", "/base/look/up?id=a", b"")
    assert not {"cookie", "content-type"} & set(get.headers)
    assert server.connections == 1


async def test_the_headers_link_of_a_response_are_joined() -> None:
    head = b"HTTP/1.1 200 OK\r\nlink: <?a>; rel=prev\r\nLink: <?b>; rel=next\r\ncontent-length: 0\r\n\r\n"
    response, _ = await exchange(once(head))
    assert response == Response(200, b"", link="<?a>; rel=prev, <?b>; rel=next")


async def test_a_query_is_encoded_once_and_left_alone() -> None:
    pairs = (("e", "a+b@c.de"), ("e", "x&y=z"), ("id", "lark:ou_1/2"), ("q", "50% é~-._ #?[]"), ("p", "%41"))
    _, (request,) = await exchange(always(answer()), Request("GET", "/q", pairs))
    assert request.target == (
        "/q?e=a%2Bb%40c.de&e=x%26y%3Dz&id=lark%3Aou_1%2F2&q=50%25%20%C3%A9~-._%20%23%3F%5B%5D&p=%2541"
    )


@mutant(
    "redirect followed",
    "HttpTransport._attempt",
    swap("False", "True"),
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(status: int) -> None:
    for call in (GET, POST):
        response, requests = await exchange(always(answer(b"", status, {"location": "/else"})), call)
        assert response == Response(status, b"")
        assert len(requests) == 1


async def test_chunked_gzipped_and_endless_answers_are_read() -> None:
    packed = gzip.compress(b'{"a":1}')
    for script in (
        once(answer(b'3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n', headers=CHUNKED)),
        once(answer(packed, headers=GZIPPED)),
        once(answer(b'{"a":1}', headers={"content-encoding": "Identity"})),
        once(b'HTTP/1.1 200 OK\r\n\r\n{"a":1}'),
        once(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b'{"a":1}')),
    ):
        assert (await exchange(script))[0] == Response(200, b'{"a":1}')
    assert (await exchange(once(answer(b"", 204, GZIPPED))))[0] == Response(204, b"")


async def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://localhost:1")
    assert (await exchange(always(answer())))[0] == Response(200, b"{}")


# One attempt is one request


def closes_as_the_second_goes_out() -> Script:
    """The first connection answers once and closes upon the second request; later ones answer everything."""
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        first = connections == 1
        while True:
            await peer.request()
            if first and len(peer.server.requests) > 1:
                return
            await peer.send(answer())

    return script


@mutant(
    "a request that may have arrived counts as not sent",
    "_Connector.connect",
    swap("self.unconnected.remove", "self.unconnected.add"),
)
@mutant(
    "a look-up sent twice in one attempt",
    "_Attempt.__call__",
    swap("self.failed is not None", 'self.failed is not None and request.method != "GET"'),
)
async def test_a_look_up_is_not_sent_again_behind_our_back() -> None:
    server = RawServer(closes_as_the_second_goes_out())
    async with server.running(), HttpTransport(TransportOptions(server.url)) as transport:
        assert await transport.send(GET, {}) == Response(200, b"{}")
        assert await transport.send(GET, {}) == CLOSED
        assert len(server.requests) == transport.requests == 2
        assert await transport.send(GET, {}) == Response(200, b"{}")


async def test_aiohttp_by_itself_would_have_sent_it_again() -> None:
    """Why an attempt refuses to be entered twice. If this fails, aiohttp has changed."""

    server = RawServer(closes_as_the_second_goes_out())
    async with server.running(), aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.get(server.url) as response:
                assert response.status == 200
        assert len(server.requests) == 3


@mutant(
    "an answer to something else taken",
    "_Connector.connect",
    swap("connection.protocol.should_close", "connection.protocol.upgraded"),
)
@pytest.mark.parametrize("call", [GET, POST], ids=["get", "post"])
@pytest.mark.parametrize("own", [True, False], ids=["transport", "aiohttp"])
async def test_what_came_unasked_answers_nothing(call: Request, *, own: bool) -> None:
    """The server sends bytes on an idle connection. aiohttp alone takes them for the response to the next request."""
    more = asyncio.Event()
    said = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(b'"asked"'))
        await more.wait()
        await peer.send(answer(b'"unasked"'))
        said.set()
        await peer.request()
        await peer.stall()

    server = RawServer(script)
    async with (
        server.running(),
        HttpTransport(TransportOptions(server.url)) as transport,
        aiohttp.ClientSession() as session,
    ):

        async def ask() -> bytes | NoResponse:
            if own:
                response = await transport.send(call, {})
                return response if isinstance(response, NoResponse) else response.body
            async with session.request(call.method, server.url, data=call.body) as answered:
                return await answered.read()

        assert await ask() == b'"asked"'
        more.set()
        await said.wait()
        await asyncio.sleep(0.05)  # until the client's kernel and loop have it
        expected = NoResponse("the connection held a response to another request", sent=False) if own else b'"unasked"'
        assert await ask() == expected
        assert server.connections == 1
        await asyncio.sleep(0.05)
        assert not own or len(server.requests) == 1, "nothing is sent on such a connection"


async def test_a_server_that_closes_every_connection() -> None:
    """At once: some connections are gone before the client's loop has told that they are there."""

    def hang_up(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the end of the test
            while True:
                peer, _ = listening.accept()
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.close()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        threading.Thread(target=hang_up, args=(listening,), daemon=True).start()
        async with HttpTransport(TransportOptions(f"http://127.0.0.1:{listening.getsockname()[1]}")) as transport:
            for _ in range(20):
                responses = await asyncio.gather(*[transport.send(POST, {}) for _ in range(50)])
                assert {type(response) for response in responses} == {NoResponse}
        listening.shutdown(socket.SHUT_RDWR)


async def test_an_answer_that_comes_too_late_answers_nothing() -> None:
    """The attempt has timed out; what comes for it now must not be taken for the answer to the next one."""

    late = asyncio.Event()

    async def script(peer: Peer) -> None:
        if server.connections == 1:
            await peer.request()
            await late.wait()
            await peer.send(answer(b'"late"'))
        await always(answer(b'"in time"'))(peer)

    server = RawServer(script)
    async with server.running(), HttpTransport(TransportOptions(server.url, total_s=1.0)) as transport:
        assert await transport.send(POST, {}) == NoResponse("no whole response within 1 s", sent=True)
        late.set()
        assert await transport.send(POST, {}) == Response(200, b'"in time"')
        assert server.connections == 2


@pytest.mark.parametrize(
    "field", [("x", "hidden\r\nhost: b"), ("x", "\nhidden"), ("x\r\n", "hidden"), ("x", "hidden\0")]
)
async def test_a_header_stays_one_header(field: tuple[str, str]) -> None:
    server = RawServer(always(answer()))
    async with server.running(), HttpTransport(TransportOptions(server.url)) as transport:
        with pytest.raises(ValueError, match="control character") as caught:
            await transport.send(POST, dict([field]))
        assert "hidden" not in str(caught.value)
        assert await transport.send(POST, {"x": "é\t"}) == Response(200, b"{}")
    assert [request.headers["x"].encode("latin-1").decode() for request in server.requests] == ["é"]


async def test_headers_of_a_job_replace_ours() -> None:
    """Each is sent once. The headers for the length of a body are refused: the transport sets them."""

    server = RawServer(always(answer()))
    async with server.running(), HttpTransport(TransportOptions(server.url)) as transport:
        for method in ("post", "GET"):
            await transport.send(Request(method, "/x", body=b"<x/>"), {"Content-Type": "text/xml", "User-Agent": "job"})
        await transport.send(Request("DELETE", "/x"), {})
        for name in ("Content-Length", "transfer-encoding"):
            with pytest.raises(ValueError, match="sets the length"):
                await transport.send(POST, {name: "0"})
    assert [request.method for request in server.requests] == ["POST", "GET", "DELETE"]
    for request in server.requests[:2]:
        assert (request.headers["content-type"], request.headers["user-agent"]) == ("text/xml", "job")
        assert request.body == b"<x/>"
    assert server.requests[2].headers["content-length"] == "0"
    assert "content-type" not in server.requests[2].headers


async def test_silence_is_noticed_wherever_it_falls() -> None:
    """Before the answer, and within it. (After an announcement of it, a 102, only the total time-out ends it.)"""

    for begin in (b"", b"HTTP/1.1 200 OK\r\n", answer(b"{", length=2), b"HTTP/1.1 102 Wait\r\n\r\n"):

        async def script(peer: Peer, begin: bytes = begin) -> None:
            await peer.request()
            await peer.send(begin)
            await peer.stall()

        # The other time-out is so long that a busy machine does not reach it. The connection counts towards the total.
        only_total = b"102" in begin
        for _ in range(TRIES):
            response, _ = await exchange(script, read_s=0.4, total_s=1.0 if only_total else 30.0)
            if response != NoResponse("no connection within 1 s", sent=False):
                break
        expected = "no whole response within 1 s" if only_total else "no data for 0.4 s"
        assert response == NoResponse(expected, sent=True), begin


async def test_a_slow_answer_leaves_no_time_out_to_the_next_one() -> None:
    """Its timer was armed, and must not go off while the connection is idle or answers something else."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await asyncio.sleep(0.05)
            await peer.send(answer())

    server = RawServer(script)
    async with server.running(), HttpTransport(TransportOptions(server.url, read_s=0.8)) as transport:
        for _ in range(2):
            assert await transport.send(POST, {}) == Response(200, b"{}")
            await asyncio.sleep(0.9)
        assert server.connections == 1


async def test_a_server_that_speaks_something_else_from_now_on() -> None:
    server = RawServer(once(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"))
    async with server.running(), HttpTransport(TransportOptions(server.url)) as transport:
        for connections in (1, 2):
            assert await transport.send(POST, {}) == Response(101, b"")
            assert server.connections == connections


async def test_a_connection_takes_no_longer_than_an_attempt_may() -> None:
    async def no_tls(peer: Peer) -> None:
        await peer.stall()

    server = RawServer(no_tls)
    async with server.running():
        response = await send(server, host=f"https://localhost:{server.port}", total_s=0.3, connect_s=60)
        assert response == NoResponse("no connection within 0.3 s", sent=False)


# Faults after the request has left


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (after_request(lambda peer: peer.reset()), NoResponse("connection lost: Connection reset by peer", sent=True)),
        (once(b""), CLOSED),
        (once(b"HTTP/1.1 2"), CLOSED),
        (once(b"HTTP/1.1 200 OK\r\ncontent-le"), CLOSED),
        (once(answer(b"{}", length=10)), GARBLED),
        (once(answer(b"5\r\n{}", headers=CHUNKED)), GARBLED),
        (once(answer(b"zz\r\n{}\r\n", headers=CHUNKED)), NOT_HTTP),
        (once(answer(b"2\r\n{}\r\nzz\r\n", headers=CHUNKED)), NOT_HTTP),
        (once(answer(b"no gzip", headers=GZIPPED)), GARBLED),
        (once(answer(gzip.compress(b"{}" * 50)[:-9], headers=GZIPPED)), GARBLED),
        (once(answer(gzip.compress(b"{}") + b"more", headers=GZIPPED)), GARBLED),
        (
            once(answer(headers={"content-encoding": "br"})),
            NoResponse("response in an encoding that was not asked for", sent=True),
        ),
        (once(b"220 smtp.example.com\r\n\r\n"), NOT_HTTP),
        (once(answer(headers={"x": "y" * 10_000})), NOT_HTTP),
        (once(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 500 + b"\r\n"), NOT_HTTP),
        (once(answer(headers={"Content-Length": "3"})), NOT_HTTP),
        (once(answer(headers={"content-length": "many"})), NOT_HTTP),
        (once(answer(b"x" * 1001)), TOO_LARGE),
        (once(answer(b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n", headers=CHUNKED)), TOO_LARGE),
        (once(answer(gzip.compress(b"x" * 1001), headers=GZIPPED)), TOO_LARGE),
        (once(answer(gzip.compress(b"x" * 1000), headers=GZIPPED)), Response(200, b"x" * 1000)),
        (after_request(lambda peer: peer.stall()), NoResponse("no data for 0.4 s", sent=True)),
        (after_request(lambda peer: peer.drip(answer(), 0.05)), NoResponse("no whole response within 1 s", sent=True)),
    ],
)
async def test_a_fault_on_the_wire_is_a_lost_answer(script: Script, expected: Response | NoResponse) -> None:
    told = str(expected)
    total_s, read_s = (1.0, 0.9) if "within 1 s" in told else (30.0, 0.4 if "for 0.4 s" in told else 30.0)
    response, requests = await exchange(script, POST, total_s=total_s, read_s=read_s, body_max=1000)
    assert response == expected
    assert len(requests) == 1


async def test_a_body_dripping_in_ends_at_the_total_time_out() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(length=1000))
        await peer.drip(b"x" * 1000, 0.05)

    began = asyncio.get_running_loop().time()
    response, _ = await exchange(script, total_s=0.8, read_s=0.7)
    assert response == NoResponse("no whole response within 0.8 s", sent=True)
    assert asyncio.get_running_loop().time() - began < 30, "the body would take 50 s"


async def test_a_reset_in_the_middle_of_a_body() -> None:
    begun = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(length=1000))
        await begun.wait()
        peer.reset()

    asyncio.get_running_loop().call_later(0.05, begun.set)
    assert (await exchange(script))[0] == GARBLED


async def test_fifty_megabytes_out_of_48_kilobytes_cost_no_more_than_the_bound() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 60_000
    server = RawServer(always(answer(bomb, headers=GZIPPED)))
    async with server.running():
        tracemalloc.start()
        try:
            assert await send(server, body_max=1_000_000) == TOO_LARGE
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # The bound, what zlib's growing buffer copies of it, and the session's own.
    assert peak < 4_000_000


async def test_a_cancelled_attempt_is_cancelled_and_its_connection_gone() -> None:
    arrived = asyncio.Event()
    ended = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(length=100))
        arrived.set()
        await peer.reader.read()
        ended.set()

    server = RawServer(script)
    async with server.running(), HttpTransport(TransportOptions(server.url)) as transport:
        sending = asyncio.create_task(transport.send(POST, {}))
        await arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        async with asyncio.timeout(WAIT_MAX_S):
            await ended.wait()


# Faults before the request can have left


async def test_nothing_listens() -> None:
    server = RawServer(always(answer()))
    async with server.running():
        pass
    assert await send(server) == NoResponse("no connection: Connection refused", sent=False)
    assert await send(server, host="https://api.invalid", proxy=server.url) == NoResponse(
        "no connection to the proxy: Connection refused", sent=False, setup=Setup.PROXY
    )


async def test_an_unknown_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object, **_more: object) -> None:
        raise OSError(-2, "Name or service not known")

    # The resolver of the machine may take long to say so, or lie.
    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", fails)

    response = await send(RawServer(always(answer())), host="https://nowhere.invalid")
    assert response == NoResponse("no connection: host name not found", sent=False)
    response = await send(RawServer(always(answer())), host="https://api.invalid", proxy="http://nowhere.invalid")
    assert response == NoResponse("no connection to the proxy: host name not found", sent=False, setup=Setup.PROXY)


async def test_a_self_signed_certificate() -> None:
    server = RawServer(always(answer()), tls_context())
    async with server.running():
        response = await send(server)
        assert response == SELF_SIGNED
        assert await send(server, ca_file=DATA / "localhost.crt") == Response(200, b"{}")
        assert len(server.requests) == 1


@mutant(
    "the keys of a TLS session of the library are written to SSLKEYLOGFILE",
    "trust",
    drop("context.keylog_filename = None"),
)
async def test_the_keys_of_a_session_are_not_written_in_the_process_of_a_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command removes the variable; a program that uses the library has its own environment."""
    keys = tmp_path / "keys"
    server = RawServer(always(answer()), tls_context())
    async with server.running():
        monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
        assert await send(server, ca_file=DATA / "localhost.crt") == Response(200, b"{}")
    assert not keys.exists() or all(line.startswith("#") for line in keys.read_text().splitlines())


async def test_a_certificate_for_another_host() -> None:
    server = RawServer(always(answer()), tls_context("elsewhere"))
    async with server.running():
        response = await send(server, ca_file=DATA / "elsewhere.crt")
    assert isinstance(response, NoResponse)
    assert not response.sent
    assert response.setup is Setup.HOST_NAME
    assert response.reason.startswith("certificate not accepted: Hostname mismatch")
    assert not server.requests


async def test_a_certificate_whose_time_is_over() -> None:
    server = RawServer(always(answer()), tls_context("expired"))
    async with server.running():
        response = await send(server, ca_file=DATA / "expired.crt")
    assert response == NoResponse("certificate not accepted: certificate has expired", sent=False, setup=Setup.DATES)


async def test_a_wrong_certificate_after_an_answer_may_pass() -> None:
    """One bad node behind a load balancer, or a certificate that expires during the run: like an outage."""

    contexts = [tls_context(), tls_context("elsewhere")]

    def choose(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = contexts.pop(0)

    right = tls_context()
    right.sni_callback = choose
    server = RawServer(once(answer()), right)
    async with (
        server.running(),
        HttpTransport(TransportOptions(server.url, ca_file=DATA / "localhost.crt")) as transport,
    ):
        assert await transport.send(POST, {}) == Response(200, b"{}")
        assert await transport.send(POST, {}) == SELF_SIGNED._replace(setup=None)


async def test_no_descriptor_is_left() -> None:
    """At any time: it is this machine's limit, and not the server."""

    server = RawServer(once(answer(headers={"connection": "close"})))
    async with server.running(), HttpTransport(TransportOptions(server.url)) as transport:
        assert await transport.send(POST, {}) == Response(200, b"{}")
        taken: list[int] = []
        with contextlib.ExitStack() as stack:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.dup(0))
                    stack.callback(os.close, taken[-1])
            response = await transport.send(POST, {})
    assert response == NoResponse("no connection: Too many open files", sent=False, setup=Setup.DESCRIPTORS)


async def test_a_server_that_does_not_speak_tls() -> None:
    async def says_hello(peer: Peer) -> None:
        await peer.send(b"220 hello\r\n")
        await peer.reader.read()

    async def resets(peer: Peer) -> None:
        await peer.reader.read(1)
        peer.reset()

    for script, expected in (
        (says_hello, NoResponse("no connection: TLS handshake failed", sent=False)),
        (resets, NoResponse("no connection: Connection reset by peer", sent=False)),
        (lambda peer: peer.stall(), NoResponse("no connection within 0.3 s", sent=False)),
    ):
        server = RawServer(script)
        async with server.running():
            assert await send(server, host=f"https://localhost:{server.port}", connect_s=0.3) == expected


# Proxies


async def test_a_tunnel_through_a_proxy() -> None:
    """The proxy sees CONNECT, its password and nothing of the request; the certificate is checked all the same."""
    server = RawServer(always(answer(b'"through"')), tls_context())
    proxy = RawServer(tunnel_to(lambda: server.port))
    async with server.running(), proxy.running():
        address = proxy.url.replace("://", "://user:word@")
        trusted = {"proxy": address, "ca_file": DATA / "localhost.crt"}
        assert await send(server, POST, **trusted) == Response(200, b'"through"')
        response = await send(server, POST, proxy=address)
        assert response == SELF_SIGNED
    assert [request.target for request in proxy.requests] == [f"localhost:{server.port}"] * 2
    assert {request.method for request in proxy.requests} == {"CONNECT"}
    assert {request.headers["proxy-authorization"] for request in proxy.requests} == {"Basic dXNlcjp3b3Jk"}
    assert "proxy-authorization" not in server.requests[0].headers
    assert len(server.requests) == 1


@mutant(
    "a key travels in the clear to a proxy",
    "HttpTransport.__init__",
    swap('proxy if self._host.startswith("https:") else None', "proxy"),
)
async def test_no_proxy_is_asked_for_a_server_without_tls() -> None:
    """It is allowed only because it is this machine, and the key would travel in the clear to another one."""
    proxy, server = RawServer(always(answer(b'"by proxy"'))), RawServer(always(answer(b'"here"')))
    async with proxy.running(), server.running():
        assert await send(server, POST, proxy=proxy.url) == Response(200, b'"here"')
    assert (proxy.connections, len(server.requests)) == (0, 1)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (once(answer(status=407)), NoResponse("no connection: the proxy answered 407", sent=False, setup=Setup.PROXY)),
        (once(answer(status=403)), NoResponse("no connection: the proxy answered 403", sent=False, setup=Setup.PROXY)),
        (once(answer(status=502)), NoResponse("no connection: the proxy answered 502", sent=False)),
        (
            after_request(lambda peer: peer.stall()),
            NoResponse("no connection through --proxy within 0.3 s", sent=False),
        ),
        (once(b""), NoResponse("no connection: the proxy hung up", sent=False)),
        (
            once(b"garbage\r\n\r\n"),
            NoResponse("no connection: the response of the proxy is not HTTP", sent=False, setup=Setup.PROXY),
        ),
    ],
)
async def test_a_proxy_that_makes_no_tunnel(script: Script, expected: NoResponse) -> None:
    proxy = RawServer(script)
    async with proxy.running():
        assert await send(proxy, host="https://api.invalid", proxy=proxy.url, connect_s=0.3) == expected


# Settings


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://api.genauth.ai", "https://api.genauth.ai"),
        ("https://API.GenAuth.ai:443/", "https://api.genauth.ai"),
        ("https://id.example.com:8443/auth/", "https://id.example.com:8443/auth"),
        ("http://localhost:80", "http://localhost"),
        ("http://127.1.2.3:9000", "http://127.1.2.3:9000"),
        ("http://[::1]:9000/", "http://[::1]:9000"),
    ],
)
def test_a_host_in_its_normal_form(url: str, normal: str) -> None:
    assert check_host(url) == normal
    assert check_host(normal) == normal


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://api.genauth.ai", "not https"),
        ("http://127.0.0.1.example.com", "not https"),
        ("http://localhost.example.com", "not https"),
        ("http://10.0.0.1", "not https"),
        ("http://0.0.0.0", "not https"),
        ("api.genauth.ai", "not a URL"),
        ("ftp://api.genauth.ai", "not a URL"),
        ("https://", "not a URL"),
        ("https://api.genauth.ai:port", "not a URL"),
        ("https://api.genauth.ai/\n", "not a URL"),
        ("", "not a URL"),
        ("https://api genauth.ai", "not a URL"),
        ("https://api..genauth.ai", "not a URL"),
        (f"https://{'a' * 64}.ai", "not a URL"),
        ("https://key:hidden@api genauth.ai", "not a URL"),
        ("https://key:hidden@api.genauth.ai", "user name or password"),
        ("https://key@api.genauth.ai", "user name or password"),
        ("https://api.genauth.ai/?pool=1", "query or fragment"),
        ("https://api.genauth.ai/?", "query or fragment"),
        ("https://api.genauth.ai/#a", "query or fragment"),
    ],
)
def test_a_host_that_is_not_safe_to_send_to(url: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        check_host(url)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["https://proxy:1", "proxy:3128", "http://", "http://[broken"])
def test_a_proxy_that_cannot_be_used(proxy: str) -> None:
    with pytest.raises(UsageError, match="--proxy"):
        HttpTransport(TransportOptions("https://api.genauth.ai", proxy=proxy))


@pytest.mark.parametrize(("name", "why"), [("missing.crt", "No such file"), ("README.md", "no PEM certificate")])
def test_a_ca_file_that_cannot_be_used(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        HttpTransport(TransportOptions("https://api.genauth.ai", ca_file=DATA / name))


async def test_a_transport_is_for_use_inside_its_block() -> None:
    transport = HttpTransport(TransportOptions("http://localhost:1"))
    await transport.__aexit__(None, None, None)
    with pytest.raises(RuntimeError, match="not entered"):
        await transport.send(POST, {})


async def test_no_fault_tells_an_id_an_address_or_a_token() -> None:
    """Every kind of fault at once: before, during and after, with everything private in the call."""

    private = "canary-0123"
    call = Request("GET", f"/{private}", ((private, private),))
    headers: Mapping[str, str] = {"authorization": f"Bearer {private}"}
    scripts: list[Script] = [
        once(b""),
        once(b"garbage\r\n\r\n"),
        once(answer(length=9)),
        after_request(lambda peer: peer.reset()),
        after_request(lambda peer: peer.stall()),
    ]
    for script in scripts:
        server = RawServer(script)
        async with server.running():
            for host in (server.url, f"https://localhost:{server.port}"):
                async with HttpTransport(TransportOptions(host, connect_s=0.1, read_s=0.1)) as transport:
                    response = await transport.send(call, headers)
            assert isinstance(response, NoResponse)
            assert private not in response.reason
            assert "localhost" not in response.reason
            assert str(server.port) not in response.reason
