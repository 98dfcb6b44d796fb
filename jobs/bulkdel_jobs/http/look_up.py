"""The look-ups that the table [http.look_up] describes, checked. Pure."""

from __future__ import annotations

import re
from typing import Any

from bulkdel.core.decision import Request
from bulkdel_jobs.http.config_table import ConfigTable
from bulkdel_jobs.parts.look_ups import ListLookUps, OneByOneLookUps
from bulkdel_jobs.parts.pages import ByCursor, ByLink, ByNumber, Pages
from bulkdel_jobs.parts.paths import PLACEHOLDER, check_path

KEYS = (
    "path, query, headers, chunk_size, next, id, list, list_query, list_at, list_id, state, reached, created_at, "
    "last_seen_at, status"
)

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""The name of a header (RFC 9110, section 5.6.2)."""

CONTROL = frozenset({"list", "list_query", "list_id"})
"""The keys of the control. It proves what look-ups can see, and decides of no id what becomes of it."""


def read_look_ups(
    table: ConfigTable, base: str, ids_max: int, *, deletes: bool, administrators: ConfigTable | None = None
) -> OneByOneLookUps:
    """Read and check the table, and [http.administrators]. Raises UsageError.

    ids_max: how many ids a request has at most.
    """
    path = table.checked("path", check_path, table.needed("path"))
    query, listing_query, headers = table.texts("query"), table.texts("list_query"), read_headers(table)
    in_query = [name for name, value in query if value == PLACEHOLDER]
    if any(PLACEHOLDER in name or (PLACEHOLDER in value and value != PLACEHOLDER) for name, value in query):
        raise table.fault("query", f'an id is a value of its own, "{PLACEHOLDER}"')
    if (PLACEHOLDER in path) + len(in_query) != 1:
        missing = "is missing" if PLACEHOLDER not in path and not in_query else "stands in two places"
        raise table.fault("path", f"{PLACEHOLDER} {missing}: it stands once, in the path or as a value of the query")
    listing = table.checked("list", check_path, table.needed("list"))
    if PLACEHOLDER in listing:
        raise table.fault("list", "has no id in it: it lists some accounts, so that an empty answer can be trusted")
    list_at = table.text("list_at", "") or ""
    at_once = table.take("chunk_size", int, "a whole number")
    following = table.table("next")
    if not in_query and (at_once is not None or following is not None):
        key = "next" if at_once is None else "chunk_size"
        raise table.fault(key, f"is for a list call, with {PLACEHOLDER} as a value of the query")
    if at_once is not None and not 1 <= at_once <= ids_max:
        raise table.fault("chunk_size", f"is between 1 and {ids_max:,}")
    pages = None if following is None else _pages(following, list_at, {name for name, _ in (*query, *listing_query)})
    state, reached = table.text("state"), table.list_of("reached", str, int, bool)
    if (state is None) != (not reached):
        raise table.fault("reached" if state else "state", "is missing: `state` is a path, `reached` its values")
    if state is None and not deletes:
        raise table.fault("state", "is missing: where a record says whether the account is in the state that is wanted")
    found: dict[str, Any] = {
        "one": Request("GET", f"{base}{path}", query, None, headers),
        "listing": Request("GET", f"{base}{listing}", listing_query, None, headers),
        "id_field": table.text("id", "id") or "id",
        "list_at": list_at,
        "list_id": table.text("list_id"),
        "state": state,
        "reached": tuple(reached or ()),
        "created_at": table.text("created_at"),
        "last_seen_at": table.text("last_seen_at"),
        "status": table.text("status"),
    }
    table.end(KEYS)
    if administrators is not None:
        found |= _administrators(administrators, base, headers)
    return ListLookUps(**found, at_once=at_once or 1, pages=pages) if in_query else OneByOneLookUps(**found)


def control_keys(look_ups: OneByOneLookUps) -> frozenset[str]:
    """The keys of the table that only the control has. The list call of look-ups has its list at `list_at` too."""
    return CONTROL if isinstance(look_ups, ListLookUps) else CONTROL | {"list_at"}


def read_headers(table: ConfigTable) -> tuple[tuple[str, str], ...]:
    """The headers of a table. Raises UsageError for one with an id in it, or that the program sets."""
    headers = table.texts("headers")
    for name, value in headers:
        if not _HEADER.fullmatch(name):
            raise table.fault("headers", f"{name!r} is not the name of a header")
        if PLACEHOLDER in name or PLACEHOLDER in value:
            raise table.fault(f"headers.{name}", "an id stands in the path or in the body")
        if name.lower() in {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}:
            raise table.fault(f"headers.{name}", "is set by the program")
    return headers


def _administrators(table: ConfigTable, base: str, headers: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """The request that lists administrators, and the places of the list in its response and of the id in a record."""
    path = table.checked("path", check_path, table.needed("path"))
    query = table.texts("query")
    if PLACEHOLDER in path or any(PLACEHOLDER in text for pair in query for text in pair):
        raise table.fault("path", "has no id in it: it lists the administrators")
    list_at, id_field = table.text("list_at", "") or "", table.text("id")
    table.end("path, query, list_at and id")
    return {
        "administrator_list": Request("GET", f"{base}{path}", query, None, headers),
        "administrators_at": list_at,
        "administrator_id": id_field,
    }


def _pages(table: ConfigTable, list_at: str, taken: set[str]) -> Pages:
    """taken: the parameters that the requests have already."""
    ways = [way for way in ("page", "cursor", "link") if way in table]
    if len(ways) != 1:
        raise table.fault("page", "one of page, cursor and link says how the next page is asked for")
    pages: Pages = ByLink()
    if ways == ["link"]:
        if not table.take("link", bool, "true"):
            raise table.fault("link", "is true, or the table has no `next`")
    else:
        parameter = table.needed(ways[0])
        if parameter in taken:
            raise table.fault(ways[0], "stands in the query already; the first request has no such parameter")
        if ways == ["cursor"]:
            pages = ByCursor(parameter=parameter, at=table.needed("at"))
        else:
            first = table.take("first", int, "a whole number", 1) or 0
            pages = ByNumber(parameter=parameter, first=first, list_at=list_at, total_at=table.text("total"))
    table.end("page, first and total; or cursor and at; or link")
    return pages
