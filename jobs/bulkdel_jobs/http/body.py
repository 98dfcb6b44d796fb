"""The template of a JSON body, with the ids as values in it. Pure.

`"{id}"` is one id, `"{ids}"` the list of all ids of the request. A list with one element that has `"{id}"` in it
becomes a list with that element for each id. An id is always a JSON value of its own, never a part of a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

ID, IDS = "{id}", "{ids}"


class Places(NamedTuple):
    """How many places a template has. one: for a single id. many: for all ids of a request."""

    one: int = 0
    many: int = 0


def places_of(template: Any) -> Places:
    """Check a template, and count its places for ids. Raises ValueError, with the reason for the user."""
    places = _places(template, repeated=False)
    json.dumps(template, allow_nan=False)
    return places


def _places(value: Any, *, repeated: bool) -> Places:
    """repeated: the value is in a list that is repeated for each id."""
    if isinstance(value, str):
        if value not in {ID, IDS} and (ID in value or IDS in value):
            raise ValueError(f'an id is a value of its own, "{ID}" or "{IDS}", and no part of a text')
        if value == IDS and repeated:
            raise ValueError(f'"{IDS}" is a list already')
        return Places(value == ID, value == IDS)
    if isinstance(value, dict):
        if any(ID in name or IDS in name for name in value):
            raise ValueError("an id is a value, and no name of a member")
        return _sum(_places(each, repeated=repeated) for each in value.values())
    if isinstance(value, list):
        if len(value) != 1:
            return _sum(_places(each, repeated=repeated) for each in value)
        inner = _places(value[0], repeated=True)
        if repeated and inner.one:
            raise ValueError("the ids cannot stand in a list in a list")
        return Places(0, inner.one + inner.many)
    if value is None or isinstance(value, bool | int | float):
        return Places()
    raise ValueError(f"{type(value).__name__} is no JSON value")


def _sum(places: Iterator[Places]) -> Places:
    found = list(places)
    return Places(sum(each.one for each in found), sum(each.many for each in found))


def filled_body(template: Any, ids: Sequence[str | int]) -> bytes:
    """The encoded body for these ids."""
    return json.dumps(_filled(template, ids), ensure_ascii=False, separators=(",", ":")).encode()


def _filled(value: Any, ids: Sequence[str | int]) -> Any:
    if value == IDS:
        return list(ids)
    if value == ID:
        return ids[0]
    if isinstance(value, dict):
        return {name: _filled(each, ids) for name, each in value.items()}
    if isinstance(value, list):
        if len(value) == 1 and _has_id(value[0]):
            return [_filled(value[0], [id_]) for id_ in ids]
        return [_filled(each, ids) for each in value]
    return value


def _has_id(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_id, value.values() if isinstance(value, dict) else value))
    return bool(value == ID)
