"""The token of the page, and the browsers that have signed in with it.

The token is compared in constant time, and a wrong one costs half a second. A browser gets a random session in its
place, so that the token is in no URL and in no cookie.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path

from bulkdel.command_line import quoted
from bulkdel.core.page_access import SignedIn
from bulkdel.errors import UsageError
from bulkdel.secret_file import open_secret

TOKEN_MIN = 16
TOKEN_MAX = 1_024
"""Characters of a token."""

WRONG_S = 0.5
"""What a wrong token costs."""

WRONG_AT_ONCE = 8
"""Wrong tokens that wait at the same time. Further requests with a token are answered 429 meanwhile."""

SESSION_S = 12 * 3_600.0
SESSIONS_MAX = 64
"""How long a browser stays signed in, and how many do. A further one signs the oldest out."""

NAME_MAX = 64
"""Characters of the name that a person gives for the log."""

BEARER = "Bearer "


class TooManyWrongTokensError(Exception):
    """So many wrong tokens wait that this one is not looked at."""


def read_token(path: Path) -> str:
    """Read the token file. Raises UsageError when others can read it, or the token is too short.

    A file of another owner may be readable for its group: Kubernetes mounts secrets so for a pod with `fsGroup`.
    """
    try:
        with open_secret(path) as file:
            found = os.fstat(file.fileno())
            if stat.S_IMODE(found.st_mode) & (0o077 if found.st_uid == os.geteuid() else 0o007):
                raise UsageError(f"--listen-control {path}: others can read the token. Fix: chmod 600 {quoted(path)}")
            token = file.read(TOKEN_MAX + 2).decode("ascii").strip()
    except OSError as error:
        raise UsageError(f"--listen-control {path}: {error.strerror}. Name a file with a token") from error
    except UnicodeDecodeError:
        token = ""
    if not TOKEN_MIN <= len(token) <= TOKEN_MAX or not token.isprintable() or " " in token:
        make = f"(umask 077; openssl rand -hex 32 > {quoted(path)})"
        raise UsageError(f"--listen-control {path}: no token of {TOKEN_MIN} or more characters. To make one:\n  {make}")
    return token


class SignIns:
    """Compares tokens, and keeps the sessions of browsers. token: None when the run has none."""

    def __init__(self, token: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token
        self._clock = clock
        self._waiting = 0
        self._sessions: dict[bytes, tuple[str, float]] = {}  # by the hash of the cookie: the name, and until when

    async def knows(self, token: str) -> bool:
        """Whether `token` is the token. Raises TooManyWrongTokensError."""
        if self._token is None:
            return False
        if self._waiting >= WRONG_AT_ONCE:
            raise TooManyWrongTokensError
        if hmac.compare_digest(token.encode(errors="surrogatepass"), self._token.encode()):
            return True
        self._waiting += 1
        try:
            await asyncio.sleep(WRONG_S)
        finally:
            self._waiting -= 1
        return False

    def new_session(self, name: str) -> str:
        """Sign a browser in, and return the value of its cookie. name: of the person, for the log."""
        cookie = secrets.token_urlsafe(32)
        while len(self._sessions) >= SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[_hash(cookie)] = name, self._clock() + SESSION_S
        return cookie

    def name_of(self, cookie: str) -> str | None:
        """The name that a signed-in browser has given; None when it is not signed in."""
        name, until = self._sessions.get(_hash(cookie), (None, 0.0))
        return name if until > self._clock() else None

    async def proof(self, authorization: str, cookie: str) -> SignedIn:
        """How a request proves that it knows the token. Raises TooManyWrongTokensError."""
        if authorization.startswith(BEARER) and await self.knows(authorization.removeprefix(BEARER).strip()):
            return SignedIn.TOKEN
        return SignedIn.COOKIE if self.name_of(cookie) is not None else SignedIn.NO


def _hash(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode(errors="surrogatepass")).digest()
