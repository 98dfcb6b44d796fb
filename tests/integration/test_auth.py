"""The life of a token: one sign-in for all requests that wait, ahead of its end; a refusal ends the run."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from bulkdel.core.decision import NoResponse, Request, Response
from bulkdel.errors import Halted, UsageError
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import HttpTransport, TransportOptions
from bulkdel.job import Auth
from bulkdel_jobs.genauth.access_key import AUTHING, BRANDS, GENAUTH, Brand, Credentials, brand_named
from bulkdel_jobs.genauth.signing_in import KeySignIn, claims_of
from bulkdel_jobs.parts.tokens import HIDDEN, LIFE_DEFAULT_S, LIFE_MAX_S, FreshToken, TokenAuth, pattern_of
from tests.loops import now
from tests.mutants import mutant
from tests.rawserver import RawServer, always, answer
from tests.syntax import swap

ANY = Request("GET", "/")

POOL = "6319a1504f3abcdef214dd5b"
SECRET = "canary-secret"
KEY = "canary-key"


def jwt(payload: Any, *, encode: Callable[[Any], bytes] = lambda payload: json.dumps(payload).encode()) -> str:
    parts = [b'{"alg":"none"}', encode(payload), b"signature"]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def token(number: int = 1, pool: str = POOL) -> str:
    return jwt({"scoped_userpool_id": pool, "number": number})


# Reading a token


def test_every_user_that_a_token_may_belong_to_is_read() -> None:
    claims = {"scoped_userpool_id": POOL, "sub": "k" * 24, "userId": "12345678", "user_id": POOL}
    assert claims_of(jwt(claims)) == (POOL, ("k" * 24, "12345678"))
    assert claims_of(jwt({"scoped_userpool_id": POOL, "sub": None, "userId": "x", "user_id": " x\n"})) == (POOL, ("x",))


@pytest.mark.parametrize("claim", ["sub", "userId", "user_id"])
@pytest.mark.parametrize("user", [["u"], {"id": "u"}, 7, 0, False, []])
def test_a_user_that_is_no_text_halts(claim: str, user: Any) -> None:
    with pytest.raises(Halted, match=f"by a {claim} that is no text, so the key's own user cannot be protected"):
        claims_of(jwt({"scoped_userpool_id": POOL, "sub": "x", claim: user}))


@pytest.mark.parametrize("padding", ["", "x", "xx", "xxx", "ÿ~?>"])
def test_the_pool_is_read_whatever_the_length_of_the_payload(padding: str) -> None:
    assert claims_of(jwt({"scoped_userpool_id": POOL, "sub": padding})) == (POOL, (padding,) if padding else ())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("opaque", "not a JWT"),
        ("", "not a JWT"),
        ("a.b", "not a JWT"),
        (f"{token()}.d", "not a JWT"),
        (f"{token()}\r\nx-evil: 1", "not a JWT"),
        ("a.b*c=.d", "cannot be read"),
        ("a.a.d", "cannot be read"),
        (jwt(None, encode=lambda _: b"{"), "cannot be read"),
        (jwt(None, encode=lambda _: b"\xff"), "cannot be read"),
        (jwt([]), "names no user pool"),
        (jwt({}), "names no user pool"),
        (jwt({"scoped_userpool_id": 7}), "names no user pool"),
        (jwt({"scoped_userpool_id": ""}), "names no user pool"),
        (jwt({"scoped_userpool_id": "a b\r\n"}), "names no user pool"),
    ],
)
def test_a_token_without_a_readable_pool_halts_and_is_not_shown(text: str, why: str) -> None:
    with pytest.raises(Halted, match=why) as caught:
        claims_of(text)
    assert not text or text not in str(caught.value)


def test_a_signed_in_shows_no_token() -> None:
    assert "canary" not in repr(FreshToken("canary", POOL, 1))


def test_brands_are_found_by_name() -> None:
    assert brand_named("GenAuth") is GENAUTH
    assert brand_named("authing") is AUTHING
    assert {brand.host for brand in BRANDS.values()} == {"https://api.genauth.ai", "https://api.authing.cn"}
    with pytest.raises(UsageError, match="Brands: genauth, authing"):
        brand_named("okta")


# Keeping a token


class Desk(KeySignIn):
    """Hands out tokens one after another, each after a while; an exception in the list is raised."""

    def __init__(self, *then: Exception, life_s: float = 100, takes_s: float = 1, pools: Iterable[str] = ()) -> None:
        self.credentials = Credentials(KEY, SECRET)
        self.rate_limiter = RateLimiter(0)
        self.calls = 0
        self._then = list(then)
        self._life_s = life_s
        self._takes_s = takes_s
        self._pools = list(pools)

    async def __call__(self) -> FreshToken:
        self.calls += 1
        await asyncio.sleep(self._takes_s)
        if self._then:
            raise self._then.pop(0)
        pool = self._pools.pop(0) if self._pools else POOL
        return FreshToken(token(self.calls, pool), pool, self._life_s)


def keep(desk: Desk, *, brand: Brand = GENAUTH, pool: str | None = None, lang: str | None = None) -> TokenAuth:
    desk.brand, desk.lang = brand, lang
    tokens = TokenAuth(sign_in=desk, pool=pool, clock=asyncio.get_running_loop().time)
    as_auth: Auth = tokens  # mypy holds it to the contract
    assert as_auth is tokens
    return tokens


def generation(tokens: TokenAuth) -> int:
    ready = tokens.sign(ANY)
    assert ready is not None
    return ready[1]


@pytest.mark.fake_clock
@pytest.mark.parametrize(("brand", "prefix"), [(GENAUTH, "x-genauth-"), (AUTHING, "x-authing-")])
@pytest.mark.parametrize("lang", [None, "en-US"])
async def test_headers_carry_token_and_pool_under_the_brands_names(brand: Brand, prefix: str, lang: str | None) -> None:
    tokens = keep(Desk(), brand=brand, lang=lang)
    assert tokens.sign(ANY) is None
    assert tokens.pool is None
    await tokens.ensure()
    expected = {"authorization": f"Bearer {token()}", f"{prefix}userpool-id": POOL}
    assert tokens.sign(ANY) == (expected | ({f"{prefix}lang": lang} if lang else {}), 1)
    assert tokens.pool == POOL


@mutant(
    "every waiting request signs in",
    "TokenAuth.ensure",
    swap("self._turn", "asyncio.Lock()"),
)
@pytest.mark.fake_clock
async def test_one_sign_in_serves_all_requests_that_wait() -> None:
    desk = Desk()
    tokens = keep(desk)
    waiting = [asyncio.create_task(tokens.ensure()) for _ in range(50)]
    await asyncio.sleep(0.5)
    seen = [tokens.waiting]
    await asyncio.gather(*waiting)
    await tokens.ensure()
    assert [*seen, tokens.waiting] == ["signing in", None]
    assert (desk.calls, generation(tokens)) == (1, 1)


@pytest.mark.fake_clock
@pytest.mark.parametrize(("life", "stale_after"), [(7200, 7140), (100, 80), (3, 2.4)])
async def test_a_token_is_refreshed_a_minute_or_a_fifth_of_its_life_ahead(life: float, stale_after: float) -> None:
    desk = Desk(life_s=life, takes_s=0.001)
    tokens = keep(desk)
    await tokens.ensure()
    await asyncio.sleep(stale_after - 0.01)
    assert generation(tokens) == 1
    await asyncio.sleep(0.02)
    assert tokens.sign(ANY) is None
    await asyncio.gather(*(tokens.ensure() for _ in range(10)))
    assert (desk.calls, generation(tokens)) == (2, 2)


@pytest.mark.untraced
@pytest.mark.fake_clock
async def test_a_short_lived_token_costs_one_refresh_an_expiry() -> None:
    """3 s of life over 60 s, however many wait. 2.4 s of use and 0.05 s of signing in make 25 sign-ins."""

    desk = Desk(life_s=3, takes_s=0.05)
    tokens = keep(desk)

    async def work() -> None:
        while now() < 60:
            if (ready := tokens.sign(ANY)) is None:
                await tokens.ensure()
                continue
            await asyncio.sleep(0.01)
            tokens.accepted(ready[1])

    await asyncio.gather(*(work() for _ in range(20)))
    assert desk.calls == 25


@pytest.mark.fake_clock
async def test_the_request_that_signs_in_is_cancelled_and_the_next_one_signs_in() -> None:
    desk = Desk()
    tokens = keep(desk)
    first, *others = (asyncio.create_task(tokens.ensure()) for _ in range(5))
    await asyncio.sleep(0.5)
    first.cancel()
    others[0].cancel()
    await asyncio.gather(*others[1:])
    assert first.cancelled()
    assert others[0].cancelled()
    assert (desk.calls, generation(tokens)) == (2, 1)
    assert now() == pytest.approx(1.5, abs=0.01)


@pytest.mark.fake_clock
async def test_a_refused_sign_in_refuses_all_requests_after_one_call() -> None:
    desk = Desk(Halted("sign-in refused"))
    tokens = keep(desk)
    found = await asyncio.gather(*(tokens.ensure() for _ in range(5)), return_exceptions=True)
    assert [str(error) for error in found] == ["sign-in refused"] * 5
    assert all(isinstance(error, Halted) for error in found)
    with pytest.raises(Halted, match="sign-in refused"):
        await tokens.ensure()
    assert desk.calls == 1


@pytest.mark.fake_clock
@pytest.mark.parametrize(
    ("given", "pools", "good"), [(None, [POOL, "other"], 1), (POOL, [POOL, "other"], 1), (POOL, ["other"], 0)]
)
async def test_a_token_for_another_pool_halts(given: str | None, pools: list[str], good: int) -> None:
    tokens = keep(Desk(pools=pools), pool=given)
    for _ in range(good):
        await tokens.ensure()
        await asyncio.sleep(90)
    with pytest.raises(Halted, match=f"for user pool other, but this run is for {POOL}"):
        await tokens.ensure()
    assert tokens.sign(ANY) is None
    assert tokens.pool == POOL


@pytest.mark.fake_clock
async def test_a_401_discards_the_token_once_and_an_older_ones_only_retry() -> None:
    desk = Desk()
    tokens = keep(desk)
    await tokens.ensure()
    for _ in range(16):  # all in flight with the same token
        tokens.rejected(1)
    assert tokens.sign(ANY) is None
    await tokens.ensure()
    for _ in range(16):  # and stragglers, with the fresh one there
        tokens.rejected(1)
    assert (desk.calls, generation(tokens)) == (2, 2)


@pytest.mark.fake_clock
async def test_a_second_401_in_a_row_halts() -> None:
    tokens = keep(Desk())
    await tokens.ensure()
    tokens.accepted(1)
    tokens.rejected(1)
    await tokens.ensure()
    tokens.accepted(1)  # a late answer to the old token proves nothing about the fresh one
    with pytest.raises(Halted, match="401 twice"):
        tokens.rejected(2)


@pytest.mark.fake_clock
async def test_a_401_after_a_success_with_the_fresh_token_is_a_first_one_again() -> None:
    desk = Desk()
    tokens = keep(desk)
    for number in range(1, 6):
        await tokens.ensure()
        tokens.accepted(number)
        tokens.rejected(number)
    assert desk.calls == 5


@pytest.mark.fake_clock
async def test_an_answer_to_a_discarded_token_does_not_vouch_for_the_next() -> None:
    tokens = keep(Desk())
    await tokens.ensure()
    tokens.rejected(1)
    tokens.accepted(1)
    await tokens.ensure()
    with pytest.raises(Halted, match="401 twice"):
        tokens.rejected(2)


@pytest.mark.fake_clock
async def test_what_was_refused_for_good_stays_refused() -> None:
    tokens = keep(Desk(life_s=10))
    await tokens.ensure()
    tokens.rejected(1)
    await tokens.ensure()
    with pytest.raises(Halted):
        tokens.rejected(2)
    await asyncio.sleep(10)
    with pytest.raises(Halted, match="401 twice"):
        await tokens.ensure()


# Signing in


class Script:
    """Answers in turn; the last one again and again. Remembers when it was asked."""

    def __init__(self, *answers: Response | NoResponse) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[float, Request, Mapping[str, str]]] = []

    async def __call__(self, call: Request, headers: Mapping[str, str]) -> Response | NoResponse:
        self.asked.append((now(), call, headers))
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    @property
    def times(self) -> list[float]:
        return [round(at, 3) for at, _, _ in self.asked]


def envelope(status: int = 200, *, code: int = 200, retry_after: str | None = None, **more: Any) -> Response:
    return Response(status, json.dumps({"statusCode": code, **more}).encode(), retry_after)


def granted(**more: Any) -> Response:
    return envelope(message="", data={"access_token": token(), "expires_in": 7200} | more)


LOST = NoResponse("no connection: Connection refused", sent=False)


def sign(send: Script, rate_limiter: RateLimiter | None = None, **more: Any) -> KeySignIn:
    clock = asyncio.get_running_loop().time
    return KeySignIn(
        send=send,
        rate_limiter=rate_limiter or RateLimiter(0, clock=clock),
        credentials=Credentials(KEY, more.pop("secret", SECRET)),
        brand=GENAUTH,
        clock=clock,
        now=lambda: clock() + 1_700_000_000,
        chance=lambda: 1.0,
        **more,
    )


@pytest.mark.fake_clock
@pytest.mark.parametrize(
    ("expires_in", "life"),
    [
        (7200, 7200),
        (3, 3),
        (1.5, 1.5),
        (10**12, LIFE_MAX_S),
        (None, LIFE_DEFAULT_S),
        ("7200", LIFE_DEFAULT_S),
        (0, LIFE_DEFAULT_S),
        (-1, LIFE_DEFAULT_S),
        (0.5, LIFE_DEFAULT_S),
        (True, LIFE_DEFAULT_S),
        ([], LIFE_DEFAULT_S),
    ],
)
async def test_an_odd_life_becomes_a_safe_one(expires_in: Any, life: float) -> None:
    assert (await sign(Script(granted(expires_in=expires_in)))()).expires_in_s == life


@pytest.mark.fake_clock
@pytest.mark.parametrize(("lang", "headers"), [(None, {}), ("en-US", {"x-genauth-lang": "en-US"})])
async def test_signing_in_asks_as_documented(lang: str | None, headers: dict[str, str]) -> None:
    script = Script(granted())
    assert await sign(script, lang=lang)() == FreshToken(token(), POOL, 7200)
    ((_, call, sent),) = script.asked
    assert (call.method, call.path, call.query) == ("POST", "/api/v3/get-management-token", ())
    assert json.loads(call.body or b"") == {"accessKeyId": KEY, "accessKeySecret": SECRET}
    assert sent == headers


@pytest.mark.fake_clock
async def test_lost_answers_are_asked_for_again_with_backoff() -> None:
    script = Script(LOST, envelope(code=503), Response(502, b"<html>"), granted())
    await sign(script)()
    assert script.times == [0, 0.5, 1.5, 3.5]


@pytest.mark.fake_clock
async def test_a_server_that_names_a_time_is_not_asked_before() -> None:
    script = Script(envelope(503, code=503, retry_after="7"), granted())
    await sign(script)()
    assert script.times == [0, 7]


@pytest.mark.fake_clock
@pytest.mark.parametrize(
    ("response", "pause_s"),
    [
        (envelope(code=429), 3),
        (Response(429, b"slow down"), 3),
        (envelope(429, code=429, retry_after="5"), 5),
        (envelope(code=429, retry_after="Tue, 14 Nov 2023 22:13:30 GMT"), 10),  # the epoch above is 22:13:20
    ],
)
async def test_a_429_pauses_all_requests_and_is_no_failure(response: Response, pause_s: float) -> None:
    rate_limiter = RateLimiter(0, clock=asyncio.get_running_loop().time)
    script = Script(*[response] * 6, granted())
    signing = asyncio.create_task(sign(script, rate_limiter)())
    await asyncio.sleep(0.001)
    assert rate_limiter.paused_s == pytest.approx(pause_s, abs=0.01)
    await signing
    assert len(script.asked) == 7  # more than the attempts there are


@pytest.mark.fake_clock
@pytest.mark.parametrize(
    ("response", "said"),
    [
        (envelope(code=401, message="bad key", apiCode=1301), "code 401, apiCode 1301, 'bad key'"),
        (envelope(code=400, message="参数 accessKeyId 格式错误"), "code 400"),
        (envelope(code=403, message="no"), "code 403"),
        (envelope(code=404, message="no such key"), "code 404"),
        (envelope(code=402), "plan"),
        (Response(302, b""), "redirects"),
        (Response(404, b"<html>"), "wrong host or path"),
    ],
)
async def test_a_refusal_says_what_the_server_said_and_what_to_check(response: Response, said: str) -> None:
    script = Script(response)
    with pytest.raises(Halted) as caught:
        await sign(script)()
    assert said in str(caught.value)
    assert "GENAUTH_ACCESS_KEY_ID" in str(caught.value)
    assert len(script.asked) == 1


@pytest.mark.fake_clock
async def test_a_server_that_quotes_the_credentials_is_not_quoted() -> None:
    for response in (
        envelope(code=401, message=f"no key {KEY} with {SECRET}"),
        envelope(code=503, message=f"no key {KEY} with {SECRET}"),
    ):
        with pytest.raises(Halted) as caught:
            await sign(Script(response))()
        assert KEY not in str(caught.value)
        assert SECRET not in str(caught.value)
        assert "[hidden]" in str(caught.value)


@pytest.mark.fake_clock
async def test_an_empty_secret_does_not_garble_the_message() -> None:
    with pytest.raises(Halted, match="sign-in refused: the server answered"):
        await sign(Script(envelope(code=401)), secret="")()


@pytest.mark.fake_clock
@pytest.mark.parametrize(
    "response",
    [envelope(data={}), envelope(data=None), envelope(data={"access_token": 7}), Response(200, b"<html>")],
)
async def test_the_first_sign_in_gives_up_after_a_few_answers_without_a_token(response: Response) -> None:
    """The address is that of something else. Failures between them do not count."""
    script = Script(response, LOST, LOST, LOST, response)
    with pytest.raises(Halted, match=r"no token in 4 answers .*check --host"):
        await sign(script)()
    assert len(script.asked) == 7


@pytest.mark.fake_clock
@pytest.mark.parametrize("failure", [LOST, Response(503, b"<html>"), envelope(code=500)])
async def test_the_first_sign_in_outlasts_an_outage_within_the_patience(failure: Response | NoResponse) -> None:
    script = Script(*[failure] * 20, granted())
    await sign(script)()
    assert now() > 100


@pytest.mark.fake_clock
async def test_a_later_sign_in_outlasts_an_outage_within_the_patience() -> None:
    script = Script(granted(), *[LOST] * 20, granted())
    signing = sign(script)
    await signing()
    await signing()
    assert now() > 200
    assert len(script.asked) == 22


@pytest.mark.fake_clock
async def test_an_outage_beyond_the_patience_halts() -> None:
    script = Script(granted(), LOST)
    signing = sign(script, patience_s=60)
    await signing()
    with pytest.raises(Halted, match=r"no token for 52 s: .*Connection refused.* beyond the patience of 60 s"):
        await signing()
    assert now() < 60


@pytest.mark.fake_clock
async def test_a_retry_after_beyond_the_patience_halts_at_once_and_says_so() -> None:
    with pytest.raises(Halted, match="next attempt in 3600 s is beyond the patience of 900 s"):
        await sign(Script(envelope(code=429, retry_after="3600")))()
    assert now() < 1


@pytest.mark.fake_clock
async def test_thousands_of_attempts_do_not_overflow() -> None:
    script = Script(granted(), *[LOST] * 1100, granted())
    signing = sign(script, patience_s=1e6)
    await signing()
    assert await signing() == FreshToken(token(), POOL, 7200)


@pytest.mark.fake_clock
async def test_every_sign_in_waits_for_the_rate_limiter() -> None:
    rate_limiter = RateLimiter(1, clock=asyncio.get_running_loop().time)
    rate_limiter.pause(10)
    script = Script(LOST, granted())
    await sign(script, rate_limiter)()
    assert script.times[0] >= 10
    assert rate_limiter.taken == 2


async def test_signing_in_over_a_socket() -> None:
    server = RawServer(always(answer(granted().body)))
    async with server.running(), HttpTransport(TransportOptions(server.url)) as transport:
        signing = KeySignIn(
            send=transport.send, rate_limiter=RateLimiter(0), credentials=Credentials(KEY, SECRET), brand=AUTHING
        )
        tokens = TokenAuth(sign_in=signing)
        await tokens.ensure()
    assert tokens.pool == POOL
    (request,) = server.requests
    assert request.target == "/api/v3/get-management-token"
    assert request.headers["content-type"] == "application/json"


def test_secrets_are_taken_out_of_a_text() -> None:
    """Whole values only, and nothing for an empty one."""
    pattern = pattern_of("secret-1", "", "t.o.k", "secret")
    assert pattern.sub(HIDDEN, "a secret-1, a secret and Bearer t.o.k") == "a [hidden], a [hidden] and Bearer [hidden]"
    assert pattern_of("a+b/c=").sub(HIDDEN, "of A+B/C= and a+b/c=") == "of [hidden] and [hidden]"
    for text in ("nothing", "Bearer tools"):
        assert pattern.sub(HIDDEN, text) == pattern_of("").sub(HIDDEN, text) == text
