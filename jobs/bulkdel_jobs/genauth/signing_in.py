"""The token of GenAuth's management API: how it is asked for, what is in it, and which headers carry it.

`bulkdel_jobs.parts.tokens` has the life of a token. Neither the secret nor a token may be in a message or in a repr.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.errors import Halted
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import Transport
from bulkdel_jobs.genauth.access_key import Brand, Credentials
from bulkdel_jobs.genauth.responses import read_envelope
from bulkdel_jobs.parts.tokens import HEADER_SAFE, FreshToken, SignIn, TokenAuth, life_s

PATH = "/api/v3/get-management-token"
POOL_CLAIM = "scoped_userpool_id"
USER_CLAIMS = ("sub", "userId", "user_id")
"""The claims that may name the user of a token. In most tokens they name an access key or the pool. No user has such an
id, so protecting it does no harm."""

CHECK_KEY = (
    "check GENAUTH_ACCESS_KEY_ID and GENAUTH_ACCESS_KEY_SECRET (or the credentials file), that the key is enabled, and "
    "that --host is the deployment it belongs to"
)


def claims_of(token: str) -> tuple[str, tuple[str, ...]]:
    """Read pool and users out of a token (a JWT; only the server checks its signature).

    Raises Halted, with a message that does not show the token.
    """
    parts = token.split(".")
    if len(parts) != 3 or not HEADER_SAFE.fullmatch(token):  # noqa: PLR2004 - header, payload, signature
        raise Halted("the server's token is not a JWT, so its user pool is unknown: check that --host is a GenAuth API")
    try:
        payload = orjson.loads(base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), altchars=b"-_", validate=True))
    except ValueError:
        raise Halted("the payload of the server's token cannot be read, so its user pool is unknown") from None
    claims = payload if isinstance(payload, dict) else {}
    pool = claims.get(POOL_CLAIM)
    if not isinstance(pool, str) or not HEADER_SAFE.fullmatch(pool):
        raise Halted(f"the server's token names no user pool ({POOL_CLAIM}): is the key one of a user pool?")
    return pool, tuple(dict.fromkeys(user for user in _users_in(claims) if user not in {"", pool}))


def _users_in(claims: Mapping[str, Any]) -> Iterator[str]:
    """What may name the user, without spaces around it. Raises Halted where it is no text: no row could equal it."""
    for claim in USER_CLAIMS:
        user = claims.get(claim)
        if isinstance(user, str):
            yield user.strip()
        elif user is not None:
            raise Halted(
                f"the server's token names its user by a {claim} that is no text, so the key's own user cannot be "
                "protected: is --host a GenAuth API?"
            )


@dataclass(kw_only=True)
class KeySignIn(SignIn):
    """The call get-management-token with an access key."""

    credentials: Credentials
    brand: Brand
    lang: str | None = None
    check = CHECK_KEY

    def request(self) -> Request:
        """See `tokens.SignIn`."""
        key = {"accessKeyId": self.credentials.key_id, "accessKeySecret": self.credentials.secret}
        return Request("POST", PATH, body=orjson.dumps(key))

    def headers(self) -> Mapping[str, str]:
        """See `tokens.SignIn`."""
        return {} if self.lang is None else {f"{self.brand.prefix}lang": self.lang}

    @property
    def secrets(self) -> tuple[str, ...]:
        """See `tokens.SignIn`."""
        return self.credentials.secret, self.credentials.key_id

    def read(self, response: Response) -> Decision:
        """Decide on the response to the sign-in: SETTLED with `data` = the object that holds the token."""
        decision = read_envelope(response)
        if decision.next_step is not NextStep.SETTLED:
            return decision
        if isinstance(decision.data, dict) and isinstance(decision.data.get("access_token"), str):
            return decision
        return Decision(NextStep.RETRY, reason="statusCode 200, but no token in the response")

    def signed_in(self, data: Any) -> FreshToken:
        """See `tokens.SignIn`."""
        pool, users = claims_of(data["access_token"])
        return FreshToken(data["access_token"], pool, life_s(data.get("expires_in")), users)

    def token_headers(self, fresh: FreshToken) -> Mapping[str, str]:
        """The token, its pool and the language, under the brand's names."""
        return {**super().token_headers(fresh), f"{self.brand.prefix}userpool-id": fresh.pool, **self.headers()}


def tokens_for(
    credentials: Credentials,
    brand: Brand,
    transport: Transport,
    rate_limiter: RateLimiter,
    *,
    pool: str | None = None,
    lang: str | None = "en-US",
    patience_s: float = 900.0,
    clock: Callable[[], float] = time.monotonic,
) -> TokenAuth:
    """Make the credentials that sign in with `credentials` through `transport`."""
    sign_in = KeySignIn(
        send=transport.send,
        rate_limiter=rate_limiter,
        credentials=credentials,
        brand=brand,
        lang=lang,
        patience_s=patience_s,
        clock=clock,
    )
    return TokenAuth(sign_in=sign_in, pool=pool)
