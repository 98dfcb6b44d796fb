"""Which requests are let in: keys, the tokens that they get, and the signatures of the vendor's Node SDKs.

The SDKs send a signature (HMAC-SHA1) with each request in place of a token. They sign the parameters that their caller
passed, not the query that is sent. Several sets of parameters may give one query: a signature of any of them is valid.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from bulkdel_jobs.sandbox.calls import Call
from bulkdel_jobs.sandbox.replies import Rejected, Reply, as_json, malformed

SANDBOX_KEY_ID = "5a9db0c5a9db0c5a9db0c001"
SANDBOX_KEY_SECRET = "sandbox-secret-5a9db0c5a9db0c5a"  # noqa: S105 - opens nothing but the sandbox
SANDBOX_POOL_ID = "5a9db0c0000000000000c0de"

NOT_SIGNED_IN = 2020
NO_SUCH_POOL = 2224
BAD_SIGNATURE = 1300
"""The first of the codes 1300-1306 for access-key problems; what each of them means is not documented."""

_SPACES = re.compile(r"[\t\n\r\f]")


class TokenIssuer:
    """The keys of one server, and the tokens that were issued, each with its time and its pool."""

    def __init__(self, keys: Mapping[str, str] | None) -> None:
        self._keys = {SANDBOX_KEY_ID: SANDBOX_KEY_SECRET} if keys is None else dict(keys)
        self._issued: dict[str, tuple[float, str]] = {}

    def revoke(self) -> None:
        """Make every token invalid that was issued so far."""
        self._issued.clear()

    def issue(self, call: Call) -> dict[str, Any]:
        """Exchange a key for a token: a JWT whose signature only looks like one.

        The vendor's Python SDK decodes the payload with the plain base64 alphabet, which works as long as the claims
        need no `-` or `_`; hex, digits and JSON's own characters never do.
        """
        for name in ("accessKeyId", "accessKeySecret"):
            if not isinstance(call.body.get(name), str):
                raise malformed(name)
        if self._keys.get(call.body["accessKeyId"]) != call.body["accessKeySecret"]:
            raise Rejected(Reply(401, api_code=BAD_SIGNATURE))
        switches, now = call.switches, int(time.time())
        announced_s = switches.token_announced_s
        if announced_s is None:
            announced_s = math.ceil(switches.token_lifetime_s)
        pool_id = switches.pool_id or SANDBOX_POOL_ID
        claims: dict[str, str | int] = {"scoped_userpool_id": pool_id, "iat": now, "exp": now + announced_s}
        if switches.token_user is not None:
            claims["sub"] = switches.token_user
        parts = (orjson.dumps({"alg": "HS256", "typ": "JWT"}), orjson.dumps(claims), secrets.token_bytes(32))
        token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
        self._issued[token] = time.monotonic(), pool_id
        return {"access_token": token, "expires_in": announced_s}

    def check(self, call: Call) -> None:
        """Refuse a caller without a valid token or signature, or with the token of another pool."""
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            if self._is_signed(call):
                return
            raise Rejected(Reply(401, api_code=BAD_SIGNATURE))
        issued, pool_id = self._issued.get(token.strip(), (-math.inf, ""))
        if time.monotonic() - issued >= call.switches.token_lifetime_s:
            raise Rejected(Reply(401, api_code=NOT_SIGNED_IN))
        if call.header("userpool-id") != pool_id:
            message = ("用户池不存在", "User pool does not exist")
            raise Rejected(Reply(404, api_code=NO_SUCH_POOL, message=message))

    def _is_signed(self, call: Call) -> bool:
        """Whether a request carries a signature made with a key: `GenAuth id:signature`, or `Authing …`."""
        scheme, _, credentials = call.headers.get("authorization", "").partition(" ")
        key_id, _, signature = credentials.partition(":")
        brand, secret = scheme.lower(), self._keys.get(key_id)
        if brand not in {"genauth", "authing"} or secret is None:
            return False
        prefix = f"x-{brand}-signature"
        if call.headers.get(f"{prefix}-method") != "HMAC-SHA1" or not call.headers.get(f"{prefix}-nonce"):
            return False
        possible = _readings(call.query) if call.method == "GET" else [call.body]
        texts = (string_to_sign(call.method, call.path, call.headers, each, brand=brand) for each in possible)
        given = _utf_8(signature)
        return any(hmac.compare_digest(sign(secret, text).encode(), given) for text in texts)


_LISTS = ("userIds", "codeList")
"""The parameters of a GET that are lists."""


def _readings(query: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """What a caller may have passed for `query`.

    A list of one id and a single id make the same query. An empty list is signed, and makes no part of the query.
    """
    single: dict[str, Any] = {}
    listed: dict[str, Any] = {}
    for name in dict.fromkeys(name for name, _ in query):
        values = [value for other, value in query if other == name]
        bare = name.removesuffix("[]")
        single[bare] = values if name != bare or len(values) > 1 else values[0]
        listed[bare] = values if bare in _LISTS else single[bare]
    return [single, listed, *(single | {name: []} for name in _LISTS if name not in single)]


def string_to_sign(
    method: str, path: str, headers: Mapping[str, str], parameters: Mapping[str, Any], *, brand: str = "genauth"
) -> str:
    """METHOD, newline, the signed headers a line each, the path and the parameters.

    headers: names in lower case; of them `date` and those of the brand are signed.
    parameters: of the query of a GET, of the top level of a POST's body. Each is written as JavaScript does: text
    bare, everything else as compact JSON.
    """
    signed = sorted(name for name in headers if name == "date" or name.startswith(f"x-{brand}-"))
    lines = "".join(f"{name}:{_SPACES.sub(' ', headers[name]).strip()}\n" for name in signed)
    written = [
        f"{name}={value if isinstance(value, str) else as_json(value).decode()}"
        for name, value in sorted(parameters.items())
    ]
    return f"{method}\n{lines}{path}{'?' if written else ''}{'&'.join(written)}"


def sign(secret: str, text: str) -> str:
    """base64(HMAC-SHA1(secret, text))."""
    return base64.b64encode(hmac.new(secret.encode(), _utf_8(text), hashlib.sha1).digest()).decode()


def _utf_8(text: str) -> bytes:
    """A text as Node writes it: U+FFFD in the place of half a surrogate pair, which a body and a header may have."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
