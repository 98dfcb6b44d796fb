"""The table [protect] of the config: pools that are refused, hosts that are confirmed by name, limits of a run."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import unquote

from bulkdel.core.run_state import RunState
from bulkdel.errors import UsageError
from bulkdel.format import shown
from bulkdel.http.transport import host_in
from bulkdel.safety.plan_from_file import OTHER_USER
from bulkdel.variables import Variable

PROTECT = "protect"
PROTECTED = ("pools", "hosts")
RATE_MAX = "rate_max"
IDS_MAX = "max_ids"
"""A table of the config file, and its members: pools are refused, hosts have to be confirmed by name, a running session
cannot be changed to a higher rate, and no run has more ids. OTHER_USER is another member."""

NUMBERS = (RATE_MAX, IDS_MAX)
"""Keys of [protect] that are a number. Of two, the smaller one holds."""

_ONE_NAME = re.compile(r"(?:https?://)?(?:\[[0-9A-Fa-f:.]+\])?[^\s*,;\"'`?|^$\\()\[\]{}<>]*", re.IGNORECASE)
DEFAULT_PORTS = (443, 80)
"""Those of https and http: an address with one is the address without."""

_RANGE = re.compile(r"[0-9A-Fa-f.:]+/\d{1,3}")

T = TypeVar("T")


def _protected(config: Mapping[str, Any], listed: str, fold: Callable[[str], T]) -> set[T]:
    """The pools or hosts that the config protects. Raises UsageError for an unknown name: it would protect nothing."""
    table = config.get(PROTECT, {})
    for name, value in table.items():
        if name in {*NUMBERS, OTHER_USER}:
            continue
        if name not in PROTECTED:
            lists = f"{' and '.join(PROTECTED)}, each a list of strings"
            others = f"{' and '.join(NUMBERS)}, numbers, and {OTHER_USER}, true or false"
            raise UsageError(f"config, [{PROTECT}] {shown(name)}: has {lists}; {others}")
        if not (isinstance(value, list) and all(isinstance(item, str) and item.strip() for item in value)):
            raise UsageError(f"config, [{PROTECT}] {name}: has to be a list of strings, none of them empty")
        for item in value:
            text = item.strip()
            if not _ONE_NAME.fullmatch(text) or _RANGE.fullmatch(text) or not text.isprintable():
                raise UsageError(
                    f"config, [{PROTECT}] {name}: {shown(item)!r} is no single name, so it would protect nothing. "
                    "Write each by itself, without patterns, ranges and quotes"
                )
    return {fold(item.strip()) for item in table.get(listed, ())}


def rate_max(config: Mapping[str, Any]) -> float | None:
    """The highest rate that a running session may be changed to, requests a second. Raises UsageError."""
    value = config.get(PROTECT, {}).get(RATE_MAX)
    if value is not None and not (type(value) in {int, float} and value > 0):
        raise UsageError(f"config, [{PROTECT}] {RATE_MAX}: has to be a number of requests a second above 0")
    return None if value is None else float(value)


def ids_max(config: Mapping[str, Any]) -> int | None:
    """How many ids one run may ask for. Raises UsageError."""
    value = config.get(PROTECT, {}).get(IDS_MAX)
    if value is not None and not (type(value) is int and value >= 0):
        raise UsageError(f"config, [{PROTECT}] {IDS_MAX}: has to be a whole number of ids")
    return value


def requires_other_user(config: Mapping[str, Any]) -> bool:
    """Whether a run has to go by the plan of another user. Raises UsageError."""
    value = config.get(PROTECT, {}).get(OTHER_USER, False)
    if not isinstance(value, bool):
        raise UsageError(f"config, [{PROTECT}] {OTHER_USER}: has to be true or false")
    return value


def host_word(config: Mapping[str, Any], host: str) -> str | None:
    """The extra word that confirms a run on `host` (a URL): its bare name; None when it needs none.

    A host of the config without a port is protected at each of its ports.
    """
    name, _, port = host_in(host)
    return None if _protected(config, "hosts", _host).isdisjoint({(name, None), (name, port)}) else bare_name(host)


def bare_name(host: str) -> str:
    """The name of a host (a URL), with its port if it names one."""
    name, named_port, _ = host_in(host)
    shown_name = f"[{name}]" if ":" in name else name
    return shown_name if named_port is None else f"{shown_name}:{named_port}"


def _pool(pool: str) -> tuple[str, ...]:
    """Fold a pool id. Ids that differ only in case, width or spaces are one pool, and so are two spellings of a URL.

    The first part is an id or a host; the others are the path of an API without pools.
    """
    text = unicodedata.normalize("NFKC", unquote(pool)).strip().casefold().rpartition("://")[2]
    first, *path = [part.partition(";")[0] for part in text.split("/") if part] or [""]
    with suppress(ValueError):
        name, port, _ = host_in(first)
        first = name if port in {None, *DEFAULT_PORTS} else f"{name}:{port}"
    return (first, *path)


def _is_protected(pool: tuple[str, ...], protected: tuple[str, ...]) -> bool:
    """Whether a pool may be a protected one: one of two paths lies below the other, as the rest is in each request."""
    return all(one == other for one, other in zip(pool, protected, strict=False))


def _host(listed: str) -> tuple[str, int | None]:
    """A protected host: its name, and its port if the config names one. Raises UsageError for what names no host."""
    try:
        found = host_in(listed)
    except ValueError:
        raise UsageError(f"config, [{PROTECT}] hosts: {listed!r} names no host, so it would protect nothing") from None
    return found.name, found.named_port


def with_logged(config: Mapping[str, Any], log: RunState | None) -> Mapping[str, Any]:
    """The tables of the config with the [protect] of the last session: what guarded a run guards it to its end.

    The stricter of two values holds. So a log that another person has written can only add guards.
    """
    logged = log.start.facts.get(PROTECT, {}) if log is not None and log.start is not None else {}
    return {**config, PROTECT: stricter(config.get(PROTECT, {}), logged)} if logged else config


def stricter(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two tables [protect] as one. What has the wrong type is kept, so that it is refused where the table is read."""
    both = {**other, **one}
    for name in one.keys() & other.keys():
        mine, theirs = one[name], other[name]
        if name in PROTECTED and isinstance(mine, list):
            both[name] = [*mine, *(each for each in theirs if each not in mine)]
        elif name in NUMBERS and type(mine) in {int, float} and math.isfinite(mine):
            both[name] = min(mine, theirs)
        elif name == OTHER_USER and isinstance(mine, bool):
            both[name] = mine or theirs
    return both


def guard_of(key: str, value: Variable) -> Any:
    """The value of a variable that sets a member of the table. Raises UsageError."""
    if key in PROTECTED and not value.strip():
        raise UsageError(f"{value.variable}: is empty, so it would protect nothing. Give names, or unset it")
    try:
        if key in PROTECTED:
            return [*map(str, value.read_as(list))]
        return value.read_as(int, float) if key in NUMBERS else value.read_as(bool)
    except ValueError:
        what = "a number" if key in NUMBERS else "true or false"
        what = "the names with spaces between them" if key in PROTECTED else what
        raise UsageError(f"{value.variable}: write {what}") from None


def protects_pools(config: Mapping[str, Any]) -> bool:
    """Whether any pool is protected. Raises UsageError for an unknown name: it would protect nothing."""
    return bool(_protected(config, "pools", _pool))


def protects_pool(config: Mapping[str, Any], pool: str) -> bool:
    """Whether this pool may be a protected one. Raises UsageError."""
    return any(_is_protected(_pool(pool), each) for each in _protected(config, "pools", _pool))
