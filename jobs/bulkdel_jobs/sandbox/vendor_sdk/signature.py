"""The HMAC-SHA1 signature with which the vendor's Node SDKs sign requests in place of a token.

They sign the parameters that their caller passed, not the query that is sent. Where a query may have been made from
several sets of parameters, a signature of any of them counts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

_SPACES = re.compile(r"[\t\n\r\f]")
_PREFIXES = {"genauth": "x-genauth-", "authing": "x-authing-"}


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


def readings(query: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """What a caller may have passed for `query`: a list of one id and a single id make the same query."""
    single: dict[str, Any] = {}
    listed: dict[str, Any] = {}
    for name in dict.fromkeys(name for name, _ in query):
        values = [value for other, value in query if other == name]
        bare = name.removesuffix("[]")
        single[bare] = values if name != bare or len(values) > 1 else values[0]
        listed[bare] = values if bare == "userIds" else single[bare]
    return [single, listed]


def is_signed(
    keys: Mapping[str, str], method: str, path: str, headers: Mapping[str, str], possible: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether a request carries a signature made with one of `keys`: `GenAuth id:signature`, or `Authing …`.

    headers: names in lower case. possible: the sets of parameters that it may have been made from.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    key_id, _, signature = credentials.partition(":")
    brand, secret = scheme.lower(), keys.get(key_id)
    if brand not in _PREFIXES or secret is None:
        return False
    prefix = _PREFIXES[brand]
    if headers.get(f"{prefix}signature-method") != "HMAC-SHA1" or not headers.get(f"{prefix}signature-nonce"):
        return False
    texts = (string_to_sign(method, path, headers, parameters, brand=brand) for parameters in possible)
    return any(hmac.compare_digest(sign(secret, text).encode(), signature.encode()) for text in texts)
