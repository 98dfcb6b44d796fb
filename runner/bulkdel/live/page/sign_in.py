"""The tokens of the page, and the browsers that have signed in with one.

A token is compared in constant time, and a wrong one costs half a second. A browser gets a random session in its
place, so that a token is in no URL and in no cookie.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from bulkdel.command_line import quoted
from bulkdel.core.page_access import Right, SignedIn
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
"""How long a browser stays signed in, and how many do with one token. A further one signs the oldest out."""

NAME_MAX = 64
"""Characters of the name that a person gives for the log."""

BEARER = "Bearer "


Tokens = dict[Right, str]
"""The token of each right that a run was given."""


class TooManyWrongTokensError(Exception):
    """So many wrong tokens wait that this one is not looked at."""


def read_tokens(files: Mapping[str, Path]) -> Tokens:
    """Read the files of tokens, by what each allows. Raises UsageError."""
    found = {Right(name): read_token(path, f"config, [listen] {name}") for name, path in files.items()}
    if len({*found.values()}) < len(found):
        raise UsageError("config, [listen]: `read` and `control` have the same token. Make another one")
    return found


def read_token(path: Path, of: str) -> str:
    """Read a token file. of: what names it. Raises UsageError when others can read it, or the token is too short.

    A file of another owner may be readable for its group: Kubernetes mounts secrets so for a pod with `fsGroup`.
    """
    try:
        with open_secret(path) as file:
            found = os.fstat(file.fileno())
            if stat.S_IMODE(found.st_mode) & (0o077 if found.st_uid == os.geteuid() else 0o007):
                raise UsageError(f"{of} {path}: others can read the token. Fix: chmod 600 {quoted(path)}")
            token = file.read(TOKEN_MAX + 2).decode("ascii").strip()
    except OSError as error:
        named = of if isinstance(error, FileNotFoundError) else f"{of} {path}"  # it may be the token itself
        raise UsageError(f"{named}: {error.strerror}. Name a file with a token") from error
    except UnicodeDecodeError:
        token = ""
    if not TOKEN_MIN <= len(token) <= TOKEN_MAX or not token.isprintable() or " " in token:
        make = f"(umask 077; openssl rand -hex 32 > {quoted(path)})"
        raise UsageError(f"{of} {path}: no token of {TOKEN_MIN} or more characters. To make one:\n  {make}")
    return token


class BrowserSession(NamedTuple):
    """A browser that has signed in. name: of the person, for the log. until: by the clock of `SignIns`."""

    name: str
    right: Right
    until: float


class SignIns:
    """Compares tokens, and keeps the sessions of browsers."""

    def __init__(self, tokens: Mapping[Right, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = {right: token.encode() for right, token in tokens.items()}
        self._clock = clock
        self._waiting = 0
        self._sessions: dict[bytes, BrowserSession] = {}  # by the hash of the cookie

    async def right_of(self, token: str) -> Right | None:
        """What a token allows; None for a wrong one. Raises TooManyWrongTokensError."""
        if not self._tokens:
            return None
        if self._waiting >= WRONG_AT_ONCE:
            raise TooManyWrongTokensError
        given = token.encode(errors="surrogatepass")
        # All are compared: how long it takes does not tell which one fits.
        rights = [right for right, known in self._tokens.items() if hmac.compare_digest(given, known)]
        if rights:
            return rights[0]
        self._waiting += 1
        try:
            await asyncio.sleep(WRONG_S)
        finally:
            self._waiting -= 1
        return None

    def new_session(self, name: str, right: Right) -> str:
        """Sign a browser in, and return the value of its cookie. name: of the person, for the log."""
        cookie = secrets.token_urlsafe(32)
        alike = [key for key, session in self._sessions.items() if session.right is right]
        for oldest in alike[: len(alike) - SESSIONS_MAX + 1]:  # a token that reads signs out none that steers
            del self._sessions[oldest]
        self._sessions[_hash(cookie)] = BrowserSession(name, right, self._clock() + SESSION_S)
        return cookie

    def session_of(self, cookie: str) -> BrowserSession | None:
        """The session of a signed-in browser; None when it is not signed in."""
        found = self._sessions.get(_hash(cookie))
        return found if found is not None and found.until > self._clock() else None

    async def proof(self, authorization: str, cookie: str) -> tuple[SignedIn, Right | None]:
        """How a request proves that it knows a token, and what that allows. Raises TooManyWrongTokensError."""
        if authorization.startswith(BEARER):
            right = await self.right_of(authorization.removeprefix(BEARER).strip())
            if right is not None:
                return SignedIn.TOKEN, right
        session = self.session_of(cookie)
        return (SignedIn.NO, None) if session is None else (SignedIn.COOKIE, session.right)


def _hash(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode(errors="surrogatepass")).digest()
