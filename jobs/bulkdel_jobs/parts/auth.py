"""Credentials: none, a key in a header, HTTP basic, OAuth2 client credentials. Each is a `bulkdel.job.Auth`.

Their pool is given: such an API has no pool of its own, so it is the address (`target.pool_of`).
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.errors import Halted
from bulkdel.http.rate_limiter import RateLimiter
from bulkdel.http.transport import Transport
from bulkdel_jobs.parts.secret import Secret
from bulkdel_jobs.parts.statuses import Statuses
from bulkdel_jobs.parts.tokens import HEADER_SAFE, HIDDEN, FreshToken, SignIn, TokenAuth, life_s, pattern_of

FORM = (("content-type", "application/x-www-form-urlencoded"),)

_TOKEN_STATUSES = Statuses.of({"settled": [200, 201], "refused": [400, 401, 403, 404]})


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedAuth:
    """Credentials that are not fetched and do not end: the same headers for every request.

    secrets: redacted in every text of the server. check: what the user should check when the server refuses them.
    """

    pool: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    check: str = "give credentials"

    @property
    def users(self) -> tuple[str, ...]:
        """No account is named."""
        return ()

    @property
    def waiting(self) -> None:
        """There are always credentials."""
        return

    def hide(self, text: str) -> str:
        """See `bulkdel.job.Auth`."""
        return pattern_of(*self.secrets).sub(HIDDEN, text)

    async def ensure(self) -> None:
        """See `bulkdel.job.Auth`. There is nothing to fetch."""

    def sign(self, request: Request) -> tuple[Mapping[str, str], int]:  # noqa: ARG002 - the same for all
        """See `bulkdel.job.Auth`."""
        return self.headers, 1

    def rejected(self, generation: int) -> None:  # noqa: ARG002 - there is one
        """See `bulkdel.job.Auth`. Other credentials cannot be fetched, so the first 401 halts."""
        raise Halted(f"the server does not accept the credentials (401); {self.check}")

    def accepted(self, generation: int) -> None:
        """See `bulkdel.job.Auth`."""


def key_in_header(pool: str, key: Secret, name: str = "authorization", prefix: str = "Bearer ") -> FixedAuth:
    """A key or token in a header; by default a bearer token (RFC 6750)."""
    return FixedAuth(
        pool=pool, headers={name: f"{prefix}{key.value}"}, secrets=(key.value,), check=f"check {key.source}"
    )


def basic(pool: str, user: str, password: Secret) -> FixedAuth:
    """User and password (HTTP basic, RFC 7617)."""
    both = _basic(user, password.value)
    return FixedAuth(
        pool=pool,
        headers={"authorization": f"Basic {both}"},
        secrets=(password.value, both),
        check=f"check the user and {password.source}",
    )


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass(kw_only=True)
class ClientCredentials(SignIn):
    """The OAuth2 token call of a client with its own credentials (RFC 6749, section 4.4).

    path: of the token call, on the host of the API. in_body: whether the client's secret goes into the body, and not
    into a basic header. more: further members of the form, such as scope and audience. pool: of every token.
    """

    path: str
    client_id: str
    secret: Secret
    pool: str
    in_body: bool = False
    more: Mapping[str, str] = field(default_factory=dict)

    def request(self) -> Request:
        """See `tokens.SignIn`."""
        form = {"grant_type": "client_credentials", **self.more}
        if self.in_body:
            form |= {"client_id": self.client_id, "client_secret": self.secret.value}
        return Request("POST", self.path, body=urlencode(form).encode(), headers=FORM)

    def headers(self) -> Mapping[str, str]:
        """See `tokens.SignIn`. Both parts are form-encoded before they are joined (RFC 6749, section 2.3.1)."""
        if self.in_body:
            return {}
        return {"authorization": f"Basic {_basic(quote(self.client_id, safe=''), quote(self.secret.value, safe=''))}"}

    @property
    def secrets(self) -> tuple[str, ...]:
        """See `tokens.SignIn`."""
        encoded = quote(self.secret.value, safe="")
        return self.secret.value, encoded, _basic(quote(self.client_id, safe=""), encoded)

    @property
    def check(self) -> str:
        """See `tokens.SignIn`."""
        return f"check the client, {self.secret.source} and the path of the token call"

    def read(self, response: Response) -> Decision:
        """See `tokens.SignIn`."""
        decision = _TOKEN_STATUSES.decide_json(response)
        token = decision.data.get("access_token") if isinstance(decision.data, dict) else None
        if decision.next_step is NextStep.SETTLED and not (isinstance(token, str) and HEADER_SAFE.fullmatch(token)):
            return Decision(NextStep.RETRY, reason=f"HTTP {response.status}, but no token in the response")
        return decision

    def signed_in(self, data: Any) -> FreshToken:
        """See `tokens.SignIn`."""
        return FreshToken(data["access_token"], self.pool, life_s(data.get("expires_in")))


def oauth2(
    pool: str,
    secret: Secret,
    transport: Transport,
    rate_limiter: RateLimiter,
    *,
    path: str,
    client_id: str,
    in_body: bool = False,
    more: Mapping[str, str] | None = None,
    patience_s: float = 900.0,
    clock: Callable[[], float] = time.monotonic,
) -> TokenAuth:
    """Make the credentials of an OAuth2 client; see `ClientCredentials`."""
    sign_in = ClientCredentials(
        send=transport.send,
        rate_limiter=rate_limiter,
        patience_s=patience_s,
        clock=clock,
        path=path,
        client_id=client_id,
        secret=secret,
        pool=pool,
        in_body=in_body,
        more=more or {},
    )
    # Its life has the real clock: a token ends while this process is stopped, too.
    return TokenAuth(sign_in=sign_in, pool=pool)
