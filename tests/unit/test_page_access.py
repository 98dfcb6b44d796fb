"""Which requests to the live page are answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bulkdel.core.listen_address import ListenAddress
from bulkdel.core.page_access import PageRequest, Right, SignedIn, refusal
from tests.mutants import mutant
from tests.syntax import swap

HERE = ListenAddress("127.0.0.1", 9400)
NETWORK = ListenAddress("0.0.0.0", 9400)
READS = PageRequest("GET", "/status.json", "127.0.0.1:9400")
STEERS = PageRequest(
    "POST",
    "/control",
    "127.0.0.1:9400",
    content_type="application/json",
    signed_in=SignedIn.TOKEN,
    right=Right.CONTROL,
)
CLICKS = replace(STEERS, origin="http://127.0.0.1:9400", fetch_site="same-origin", signed_in=SignedIn.COOKIE)


def status(request: PageRequest, address: ListenAddress = HERE, *, has_token: bool = False) -> int:
    """has_token: whether the run has the token of `control`."""
    found = refusal(request, address, {Right.CONTROL} if has_token else ())
    return 200 if found is None else found.status


@mutant(
    "the page answers under any name",
    "refusal",
    swap("not here", "not address.loopback"),
)
@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1:9400", 200),
        ("LOCALHOST:9400", 200),
        ("[::1]:9400", 200),
        ("127.0.0.1", 421),
        ("127.0.0.1:9401", 421),
        ("localhost.evil.example:9400", 421),
        ("evil.example:9400", 421),
        ("", 421),
    ],
)
def test_the_name_of_the_page(host: str, answer: int) -> None:
    """A page of another site can have its own name point to 127.0.0.1, and read what is answered under that name."""
    request = replace(READS, host=host)
    assert status(request) == answer
    assert status(request, has_token=True) == (200 if answer == 200 else 401)
    assert status(replace(request, signed_in=SignedIn.TOKEN), has_token=True) == 200
    assert status(request, ListenAddress(path="/run/b.sock")) == 200


def test_a_browser_leaves_port_80_out() -> None:
    assert status(replace(READS, host="localhost"), ListenAddress("127.0.0.1", 80)) == 200


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        *((path, 401) for path in ("/", "/status.json", "/events", "/metrics", "/no")),
        *((path, 200) for path in ("/healthz", "/readyz", "/page.js")),
    ],
)
def test_in_a_network_reading_needs_the_token(path: str, answer: int) -> None:
    request = replace(READS, path=path, host="run.example")
    assert status(request, NETWORK, has_token=True) == answer
    assert status(replace(request, signed_in=SignedIn.COOKIE), NETWORK, has_token=True) == 200


@mutant(
    "a token for reading is not asked for on this machine",
    "refusal",
    swap("here and Right.READ not in rights", "here"),
)
@pytest.mark.parametrize("address", [HERE, ListenAddress(path="/run/b.sock")])
def test_a_token_for_reading_is_asked_for_on_this_machine_too(address: ListenAddress) -> None:
    for rights, answer in (({Right.READ}, 401), ({Right.READ, Right.CONTROL}, 401), ({Right.CONTROL}, None)):
        found = refusal(READS, address, rights)
        assert (None if found is None else found.status) == answer
    assert refusal(replace(READS, signed_in=SignedIn.TOKEN, right=Right.READ), address, {Right.READ}) is None
    assert refusal(replace(READS, path="/readyz"), address, {Right.READ}) is None


@mutant(
    "another port of this machine steers the run from a browser",
    "OTHER_SITES",
    swap('{"cross-site", "same-site"}', '{"cross-site"}'),
)
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site(site: str) -> None:
    assert status(replace(READS, fetch_site=site)) == 403
    assert status(replace(READS, fetch_site=site, path="/events")) == 403
    assert status(replace(READS, fetch_site=site, path="/")) == 200  # a link to the page
    assert status(replace(CLICKS, fetch_site=site), has_token=True) == 403
    assert status(replace(STEERS, fetch_site=site), has_token=True) == 403
    assert status(replace(CLICKS, path="/login", fetch_site=site), has_token=True) == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9401", "http://127.0.0.1"])
def test_another_origin(origin: str) -> None:
    assert status(replace(CLICKS, origin=origin), has_token=True) == 403
    assert status(replace(STEERS, origin=origin), has_token=True) == 403
    assert status(replace(CLICKS, path="/login", origin=origin, signed_in=SignedIn.NO), has_token=True) == 403


def test_a_command() -> None:
    assert status(STEERS, has_token=True) == 200
    assert status(CLICKS, has_token=True) == 200
    assert status(replace(CLICKS, origin="https://127.0.0.1:9400"), has_token=True) == 200  # behind TLS
    assert status(replace(CLICKS, path="/login", signed_in=SignedIn.NO), has_token=True) == 200
    assert status(STEERS) == 403  # the run has no token
    assert status(replace(STEERS, signed_in=SignedIn.NO), has_token=True) == 401
    assert status(replace(CLICKS, origin=""), has_token=True) == 403  # no browser sends a cookie without an origin
    assert status(replace(STEERS, content_type="text/plain"), has_token=True) == 415
    assert status(replace(STEERS, content_type=""), has_token=True) == 415
