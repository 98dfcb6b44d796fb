"""Which requests to the live page are answered. Pure: takes the facts of a request, returns the refusal.

Any web page that a person visits can make the browser send requests to 127.0.0.1. So three things are compared: the
name that the browser connected to (a page of another site may have its own name point here), the site that made the
browser send the request, and the token.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from bulkdel.core.listen_address import ListenAddress

PROBES = frozenset({"/healthz", "/readyz"})
"""Paths that show only that the run lives. Kubernetes asks them without a token."""

PAGE = "/"
FILES = frozenset({"/colours.css", "/page.css", "/page.js", "/vendor/uPlot.iife.min.js", "/vendor/uPlot.min.css"})
"""The files of the page. They are the same for every run, and the sign-in form needs them."""

LOGIN = "/login"
CONTROL = "/control"
OTHER_SITES = frozenset({"cross-site", "same-site"})
"""What a browser says in Sec-Fetch-Site of a request that another site caused, or another port of this one."""

READING = frozenset({"GET", "HEAD"})

HTTP_PORT = 80
"""A browser leaves it out of the name."""


class SignedIn(enum.Enum):
    """How a request has proven that it knows a token."""

    NO = "no"
    COOKIE = "cookie"  # a browser adds it to every request, also to one that another site has caused
    TOKEN = "token"  # noqa: S105 - a word, no secret


class Right(enum.Enum):
    """What a token allows."""

    READ = "read"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The headers of a request; a missing one is empty. right: of its token; None without one."""

    method: str
    path: str
    host: str
    origin: str = ""
    fetch_site: str = ""
    content_type: str = ""
    signed_in: SignedIn = SignedIn.NO
    right: Right | None = None


class Refusal(NamedTuple):
    """An HTTP status, and one line that says what to do."""

    status: int
    text: str


FROM_ANOTHER_SITE = Refusal(403, "another site has made the browser send this request")
SIGN_IN = Refusal(401, "sign in with the token, or send it as `Authorization: Bearer`")
ONLY_SHOWS = Refusal(
    403, "this page only shows. A run is steered from it with a token: `control` in [listen] of the config"
)
ONLY_READS = Refusal(403, "this token only reads. To steer the run, sign in with that of `control`")


def refusal(request: PageRequest, address: ListenAddress, rights: Collection[Right]) -> Refusal | None:
    """Why a request is not answered; None when it is.

    address: where the page listens. rights: those that the run has a token for. Without a token, reading is allowed on
    a loopback address under its own name only, and not where there is a token for it.
    """
    here = address.loopback and _named_here(request.host, address)
    if not rights and not here:
        return Refusal(421, f"the page is at {address.shown}; it does not answer to another name")
    checks = (
        _of_reading(request, free=here and Right.READ not in rights)
        if request.method in READING
        else _of_writing(request, rights)
    )
    return next((refused for wrong, refused in checks if wrong), None)


def _of_reading(request: PageRequest, *, free: bool) -> list[tuple[bool, Refusal]]:
    return [
        (request.fetch_site in OTHER_SITES and request.path not in PROBES | {PAGE}, FROM_ANOTHER_SITE),
        (not free and request.signed_in is SignedIn.NO and request.path not in PROBES | FILES, SIGN_IN),
    ]


def _of_writing(request: PageRequest, rights: Collection[Right]) -> list[tuple[bool, Refusal]]:
    origin = request.origin.partition("://")[2].lower()
    named = bool(request.origin) and origin == request.host.lower()
    steers = request.path != LOGIN
    return [
        (not rights or (steers and Right.CONTROL not in rights), ONLY_SHOWS),
        (request.fetch_site in OTHER_SITES or (bool(request.origin) and not named), FROM_ANOTHER_SITE),
        (request.content_type != "application/json", Refusal(415, "send application/json")),
        (steers and request.signed_in is SignedIn.NO, SIGN_IN),
        (steers and request.right is not Right.CONTROL, ONLY_READS),
        # A browser adds the cookie to every request, but it always names the site that has caused a command.
        (steers and request.signed_in is SignedIn.COOKIE and not named, FROM_ANOTHER_SITE),
    ]


def _named_here(host: str, address: ListenAddress) -> bool:
    """Whether `host`, as a request names it, is a name of a loopback address."""
    if address.path:
        return True  # no browser reaches a Unix socket
    names = {address.authority.rpartition(":")[0], "localhost", "127.0.0.1", "[::1]"}
    ports = {f":{address.port}", ""} if address.port == HTTP_PORT else {f":{address.port}"}
    return host.lower() in {name + port for name in names for port in ports}
