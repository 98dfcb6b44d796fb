"""The types of JSON values that another person or program may have written, and the check of a value.

A type is a class, a tuple of types of which one fits, a list with the type of its members, `Each`, `Such`, or an object
by its members. A member whose name ends in a question mark may be missing. Members that are not named are not checked.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

WHOLE_MAX = 1 << 63

_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Each:
    """An object with any names, whose values have this type."""

    type: Any


@dataclass(frozen=True, slots=True)
class Such:
    """A value that passes a test."""

    passes: Callable[[Any], bool]


def _is_time(value: Any) -> bool:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return found.tzinfo is not None and 1 < found.year < 9999  # noqa: PLR2004 - in any time zone it stays a year


def _is_path(value: Any) -> bool:
    """A path or a URL: no system has a path with a NUL."""
    return isinstance(value, str) and "\0" not in value


def _is_sha256(value: Any) -> bool:
    """Whether it is a SHA-256 in hexadecimal. A part of it is in the name of a file, so it is never a path."""
    return type(value) is str and _SHA256.fullmatch(value) is not None


def is_whole(value: Any) -> bool:
    """Whether it is a whole number that fits 64 bits."""
    return type(value) is int and 0 <= value < WHOLE_MAX


TIME = Such(_is_time)
WHOLE = Such(is_whole)
PATH = Such(_is_path)
SHA256 = Such(_is_sha256)
NONE = type(None)
TEXT = (str, NONE)
NUMBER = (int, float)


class Mismatch(ValueError):
    """A value has another type, or is missing. name: of the member, with dots; empty for the whole value."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(f"{name}: {found}" if name else found)
        self.name = name


Check = Callable[[Any], None]
"""Raises Mismatch unless the value has the type."""


def check_of(wanted: Any, name: str = "") -> Check:
    """The check of this type. name: of the value, with dots."""
    match wanted:
        case dict():
            return _object(wanted, name)
        case Each():
            return _many(dict, check_of(wanted.type, name), name)
        case list():
            return _many(list, check_of(wanted[0], name), name)
        case tuple() if not all(isinstance(one, type) for one in wanted):
            return _one_of([check_of(one, name) for one in wanted], name)
        case Such(passes):
            return _such(passes, name)
    classes = wanted if isinstance(wanted, tuple) else (wanted,)
    return _such(lambda value: type(value) in classes, name)


def _such(passes: Callable[[Any], bool], name: str) -> Check:
    def check(value: Any) -> None:
        if not passes(value):
            raise Mismatch(name, reprlib.repr(value))

    return check


def _object(members: Mapping[str, Any], name: str) -> Check:
    checks = [
        (member, may_be_missing, check_of(wanted, f"{name}.{member}" if name else member))
        for member, may_be_missing, wanted in (
            (spelt.rstrip("?"), spelt.endswith("?"), wanted) for spelt, wanted in members.items()
        )
    ]

    def check(value: Any) -> None:
        if type(value) is not dict:
            raise Mismatch(name, f"not an object: {reprlib.repr(value)}")
        for member, may_be_missing, of_member in checks:
            if member in value:
                of_member(value[member])
            elif not may_be_missing:
                raise Mismatch(f"{name}.{member}" if name else member, "is missing")

    return check


def _many(kind: type[dict[Any, Any] | list[Any]], of_each: Check, name: str) -> Check:
    def check(value: Any) -> None:
        if type(value) is not kind:
            raise Mismatch(name, reprlib.repr(value))
        for each in value.values() if isinstance(value, dict) else value:
            of_each(each)

    return check


def _one_of(checks: Sequence[Check], name: str) -> Check:
    def check(value: Any) -> None:
        for one in checks:
            try:
                one(value)
            except Mismatch:
                continue
            return
        raise Mismatch(name, reprlib.repr(value))

    return check
