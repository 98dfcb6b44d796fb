"""Values of a JSON body by their path: names with dots between them, such as `meta.created`. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from bulkdel.job import NEVER

WORD_MAX = 40
"""Characters of a status. A longer text may be something else, and the plan shows it."""


def value_at(value: Any, path: str) -> Any:
    """The value at `path`; None where there is none. The empty path is the whole value."""
    for name in filter(None, path.split(".")):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def objects_at(value: Any, path: str) -> list[Mapping[str, Any]] | None:
    """The list of objects at `path`; None when there is no such list."""
    found = value_at(value, path)
    if isinstance(found, list) and all(isinstance(item, Mapping) for item in found):
        return found
    return None


def id_at(value: Any, path: str) -> str | None:
    """The id at `path`: a string, or a whole number as it is written; None for anything else."""
    found = value_at(value, path)
    if type(found) is int:
        return str(found)
    return found if isinstance(found, str) else None


def is_one_of(value: Any, values: Iterable[Any]) -> bool:
    """Whether a JSON value is one of `values`. `true` and 1 are two values, as they are in JSON."""
    return any(type(value) is type(each) and value == each for each in values)


def epoch_s(value: Any) -> float | None:
    """Epoch seconds of an ISO 8601 time with its zone, in the years 1 to 9999 of UTC; None for anything else.

    A time without a zone may be hours off.
    """
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
        return at.astimezone(UTC).timestamp() if at.tzinfo else None
    except (ValueError, OverflowError):
        return None


def last_seen_s(value: Any, path: str) -> float | None:
    """Epoch seconds of the last sign-in at `path`: NEVER where it is null, None where it is missing or no such time."""
    above, _, name = path.rpartition(".")
    holder = value_at(value, above)
    if isinstance(holder, Mapping) and name in holder and holder[name] is None:
        return NEVER
    return epoch_s(value_at(value, path))


def word_at(value: Any, path: str) -> str | None:
    """The status at `path`: a short text, or a number or truth value as JSON writes it; None for anything else."""
    found = value_at(value, path)
    if isinstance(found, bool | int):
        return json.dumps(found)
    return found if isinstance(found, str) and found.isprintable() and 0 < len(found) <= WORD_MAX else None
