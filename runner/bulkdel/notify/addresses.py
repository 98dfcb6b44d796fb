"""Where notifications go: the value of --notify, read and checked. Pure.

An address is a secret: that of Slack is a token. A message names its host at most, or only its scheme.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field

from yarl import URL

from bulkdel.errors import UsageError
from bulkdel.http.transport import is_loopback

HTTP = ("http", "https")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


class Form(enum.Enum):
    """The form of a body that is posted."""

    JSON = enum.auto()
    SLACK = enum.auto()
    TEAMS = enum.auto()


SLACK = ("hooks.slack.com", "hooks.slack-gov.com")
TEAMS = (".webhook.office.com", ".logic.azure.com", ".powerplatform.com")
"""Hosts of incoming webhooks, and of workflows."""


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """An address to post to. host: with its port, for messages. origin: scheme, host and port. query: not encoded."""

    host: str
    form: Form
    origin: str
    path: str = field(repr=False)
    query: tuple[tuple[str, str], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class AppriseAddress:
    """An address that apprise reads. scheme: for messages; any other part may be a secret."""

    scheme: str
    url: str = field(repr=False)


def form_of(host: str) -> Form:
    """The form that the host of an address takes."""
    if host in SLACK:
        return Form.SLACK
    return Form.TEAMS if host.endswith(TEAMS) else Form.JSON


def address_of(text: str) -> HttpAddress | AppriseAddress:
    """Read one value of --notify. Raises UsageError for one that nothing can be sent to safely."""
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    if not (_SCHEME.fullmatch(scheme) and rest and text.isprintable()):  # not shown: it may be a secret
        raise UsageError(
            "--notify is not a URL: give one like https://hooks.example.com/…, or one of apprise like mailto://…"
        )
    if scheme not in HTTP:
        return AppriseAddress(scheme, text)
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        url, port = URL(), None
    if not url.host or port is None:
        raise UsageError(f"--notify {scheme}://…: is not a URL: give one like https://hooks.example.com/…")
    origin = str(url.origin())
    host = origin.removeprefix(f"{scheme}://")
    if url.user is not None or url.password is not None:
        raise UsageError(
            f"--notify {scheme}://…{host}: carries a user name or password, which is not sent. Leave it out"
        )
    if scheme == "http" and not is_loopback(text):
        raise UsageError(
            f"--notify http://{host}/…: is not https, so anyone on the way could read it. Give an https:// URL"
        )
    return HttpAddress(host, form_of(url.host), origin, url.raw_path, tuple(url.query.items()))
