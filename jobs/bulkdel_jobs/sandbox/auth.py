"""Who is asking: the two authentication schemes of the API. Owns tokens and the HMAC-SHA1 signature.

The string to sign is that of the vendor's Node SDKs, which sign what their caller passed and not what goes over the
wire; where one can be read in several ways from the wire, every reading counts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

_SPACES = re.compile(r"[\t\n\r\f]")
_PREFIXES = {"genauth": "x-genauth-", "authing": "x-authing-"}
_ARRAY = "[]"


def _signable(value: Any) -> str:
    """Write one parameter as JavaScript does: text bare, everything else as compact JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def string_to_sign(
    method: str, path: str, headers: Mapping[str, str], parameters: Mapping[str, Any], *, brand: str = "genauth"
) -> str:
    """METHOD, newline, the signed headers a line each, the path and the parameters.

    headers: names in lower case; of them `date` and those of the brand are signed.
    parameters: of the query of a GET, of the top level of a POST's body.
    """
    prefix = _PREFIXES[brand]
    signed = sorted(name for name in headers if name == "date" or name.startswith(prefix))
    lines = "".join(f"{name}:{_SPACES.sub(' ', headers[name]).strip()}\n" for name in signed)
    resource = "&".join(f"{name}={_signable(parameters[name])}" for name in sorted(parameters))
    return f"{method}\n{lines}{path}{'?' if resource else ''}{resource}"


def sign(secret: str, text: str) -> str:
    """base64(HMAC-SHA1(secret, text))."""
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()


def readings(query: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """What a caller may have passed for `query`: a list of one and a plain value look the same on the wire."""
    names = dict.fromkeys(name for name, _ in query)
    plain: dict[str, Any] = {}
    listed: dict[str, Any] = {}
    for name in names:
        values = [value for other, value in query if other == name]
        bare = name.removesuffix(_ARRAY)
        plain[bare] = values if name != bare or len(values) > 1 else values[0]
        listed[bare] = values if bare == "userIds" else plain[bare]
    yield plain
    yield listed


def signed_by(
    authorization: str,
    keys: Mapping[str, str],
    *,
    method: str,
    path: str,
    headers: Mapping[str, str],
    parameters: Iterator[dict[str, Any]],
) -> str | None:
    """Return the key id whose secret made `authorization` (`GenAuth id:signature`, `Authing …`), or None."""
    scheme, _, credentials = authorization.partition(" ")
    key_id, _, signature = credentials.partition(":")
    brand = scheme.lower()
    secret = keys.get(key_id)
    if brand not in _PREFIXES or secret is None:
        return None
    prefix = _PREFIXES[brand]
    if headers.get(f"{prefix}signature-method") != "HMAC-SHA1" or not headers.get(f"{prefix}signature-nonce"):
        return None
    for reading in parameters:
        expected = sign(secret, string_to_sign(method, path, headers, reading, brand=brand))
        if hmac.compare_digest(expected.encode(), signature.encode()):
            return key_id
    return None


def _segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Tokens:
    """The tokens that were handed out, with when and for which pool. They die with the server."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._issued: dict[str, tuple[float, str]] = {}

    def issue(self, pool_id: str, user: str | None, now: float, now_unix: int, announced_s: float) -> str:
        """Make a JWT (HS256) for `pool_id`. user: whom the claim `sub` names; None for nobody.

        now: on the clock that `pool_of` is asked by. now_unix, announced_s: for the claims `iat` and `exp`.

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
        """Make every token invalid that was handed out so far."""
        self._issued.clear()
