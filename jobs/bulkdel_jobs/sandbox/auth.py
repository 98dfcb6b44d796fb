"""The tokens of the sandbox: issued, checked, revoked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import secrets

import orjson


def _segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Tokens:
    """The tokens that were issued, each with its time and its pool."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._issued: dict[str, tuple[float, str]] = {}

    def issue(self, pool_id: str, user: str | None, now: float, now_unix: int, announced_s: float) -> str:
        """Make a JWT (HS256) for `pool_id`. user: for the claim `sub`; None leaves it out.

        now: on the same clock as `pool_of`'s. now_unix, announced_s: for the claims `iat` and `exp`.

        The vendor's Python SDK decodes the payload with the plain base64 alphabet, which works as long as the claims
        need no `-` or `_`; hex, digits and JSON's own characters never do.
        """
        claims: dict[str, str | int] = {
            "scoped_userpool_id": pool_id,
            "iat": now_unix,
            "exp": now_unix + math.ceil(announced_s),
        }
        claims["jti"] = secrets.token_hex(8)
        if user is not None:
            claims["sub"] = user
        body = f"{_segment(orjson.dumps({'alg': 'HS256', 'typ': 'JWT'}))}.{_segment(orjson.dumps(claims))}"
        token = f"{body}.{_segment(hmac.new(self._secret, body.encode(), hashlib.sha256).digest())}"
        self._issued[token] = now, pool_id
        return token

    def pool_of(self, token: str, now: float, lifetime_s: float) -> str | None:
        """Return the pool of a token that is no older than `lifetime_s`, else None."""
        issued, pool_id = self._issued.get(token, (-math.inf, ""))
        return pool_id if now - issued < lifetime_s else None

    def revoke(self) -> None:
        """Make every token invalid that was issued so far."""
        self._issued.clear()
