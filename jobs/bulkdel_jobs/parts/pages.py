"""The pages of a list call: which request asks for the next one. Pure.

Every method raises Halted when a response names a page that cannot be asked for. It must not pass for the last page:
ids on the pages behind it would seem absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import SplitResult, parse_qsl, quote, urljoin, urlsplit

from bulkdel.core.decision import Request, Response
from bulkdel.errors import Halted
from bulkdel_jobs.parts.json_values import value_at

CURSOR_MAX = 2_000
"""Bytes of a percent-encoded cursor. With the ids beside it, a URL stays under 8 kB."""

URL_MAX = 8_000
"""Bytes of a link."""

HEADER_MAX = 16_000
"""Characters of a header Link."""

_LINK = re.compile(r"[\s,]*<([^<>]*)>")
_PARAMETER = re.compile(r'\s*;\s*([\w!#$%&*+\-.^`|~]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]+)))?', re.ASCII)

UNREADABLE = "the list call returned a header Link that cannot be read"


class Pages(Protocol):
    """A way to name the next page."""

    def next_page(self, host: str, request: Request, response: Response, found: int) -> Request | None:
        """The request for the page after `response`; None after the last one. See `bulkdel.job.LookUps.next_page`.

        host: base URL of `request`. Raises Halted.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ByNumber:
    """Pages with numbers: `?page=2`.

    parameter: of the page. first: the number of the first page. list_at: path of the list in the response.
    total_at: path of the number of items in all pages; without it only an empty page is the last one. A short page is
    not: a server may return fewer items than it was asked for.
    """

    parameter: str = "page"
    first: int = 1
    list_at: str = ""
    total_at: str | None = None

    def next_page(self, host: str, request: Request, response: Response, found: int) -> Request | None:  # noqa: ARG002
        """See `Pages`."""
        body = json.loads(response.body)
        total = None if self.total_at is None else value_at(body, self.total_at)
        if self.total_at is not None and (type(total) is not int or total < 0):
            raise Halted(f"the list call returned no number at {self.total_at!r}")
        if total is not None and found >= total:
            return None
        if not value_at(body, self.list_at):
            if total is None:
                return None
            raise Halted(f"the list call returned an empty page, and only {found:,} of {total:,} items before it")
        number = int(dict(request.query).get(self.parameter, self.first))
        return _with(request, self.parameter, str(number + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class ByCursor:
    """Pages with a cursor in the response: `?after=abc`. Null, missing or empty, it says that this page is the last.

    parameter: of the cursor. at: path of the cursor in the response.
    """

    parameter: str
    at: str

    def next_page(self, host: str, request: Request, response: Response, found: int) -> Request | None:  # noqa: ARG002
        """See `Pages`."""
        cursor = value_at(json.loads(response.body), self.at)
        if cursor is None or cursor == "":
            return None
        if not (isinstance(cursor, str) or type(cursor) is int):
            raise Halted(f"the list call returned no cursor at {self.at!r}, but another value")
        return _with(request, self.parameter, _checked(str(cursor), self.at))


@dataclass(frozen=True, slots=True)
class ByLink:
    """Pages with a header `Link: <…>; rel="next"` (RFC 8288). The link has the host and the path of the request."""

    def next_page(self, host: str, request: Request, response: Response, found: int) -> Request | None:  # noqa: ARG002
        """See `Pages`."""
        links = {target for target, relations in _links(response.link or "") if "next" in relations}
        if not links:
            return None
        if len(links) > 1:
            raise Halted('the list call returned two links with rel="next"')
        try:
            query = _query_of(links.pop(), f"{host}{request.path}")
        except ValueError as error:
            raise Halted(f'the link with rel="next" cannot be used: {error}') from None
        return request._replace(query=query)


def has_next(response: Response) -> bool:
    """Whether a response has a link to a next page."""
    return any("next" in relations for _, relations in _links(response.link or ""))


def _query_of(link: str, url: str) -> tuple[tuple[str, str], ...]:
    """The query of a link in the response to `url`. Raises ValueError unless only the query differs from `url`."""
    if len(link) > URL_MAX:
        raise ValueError(f"it has more than {URL_MAX:,} bytes")
    target = urlsplit(urljoin(url, link))
    if _place(target) != _place(urlsplit(url)):
        raise ValueError("its host or path is another one than that of the list call")
    return tuple(parse_qsl(target.query, keep_blank_values=True, errors="strict"))


def _place(url: SplitResult) -> tuple[object, ...]:
    port = url.port or {"https": 443, "http": 80}.get(url.scheme)
    return url.scheme, url.username, url.hostname, port, url.path


def _with(request: Request, name: str, value: str) -> Request:
    """The request with one value for a parameter of its query, in the place of all that it had."""
    return request._replace(query=(*(pair for pair in request.query if pair[0] != name), (name, value)))


def _checked(cursor: str, at: str) -> str:
    try:
        length = len(quote(cursor, safe=""))
    except UnicodeEncodeError:  # half of a surrogate pair
        raise Halted(f"the list call returned a cursor at {at!r} that is no text") from None
    if length > CURSOR_MAX:
        raise Halted(f"the list call returned a cursor at {at!r} of more than {CURSOR_MAX:,} bytes")
    return cursor


def _links(header: str) -> Iterator[tuple[str, set[str]]]:
    """The links of a header Link, each with its relations. Raises Halted for a header that cannot be read.

    A link with an `anchor` is left out: it belongs to another page than the response.
    """
    if len(header) > HEADER_MAX:
        raise Halted(UNREADABLE)
    at = 0
    while header[at:].strip(" \t,"):
        if (link := _LINK.match(header, at)) is None:
            raise Halted(UNREADABLE)
        at, given = link.end(), dict[str, str]()
        while (parameter := _PARAMETER.match(header, at)) is not None:
            name, quoted, plain = parameter.groups()
            given.setdefault(name.lower(), quoted or plain or "")
            at = parameter.end()
        rest = header[at:].lstrip()
        if rest and not rest.startswith(","):
            raise Halted(UNREADABLE)
        if "anchor" not in given:
            yield link[1].strip(), set(given.get("rel", "").lower().split())
