"""Made-up ids and parameters for a check: harmless ids that fit an id type, and hostile ones. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from bulkdel.core.id_parser import IdCheck
from bulkdel.core.id_type import IdType, misshapen
from bulkdel.errors import UsageError
from bulkdel.job import Job
from bulkdel.parameters import default_of, parameters_of

FORMS = (
    "check{0:06d}",
    "{0:024x}",
    "{0:08x}-0000-4000-8000-{0:012x}",
    "check{0:06d}@example.com",
    "+1555{0:07d}",
    "{0:010d}",
    "check:check{0:06d}",
    "{0:024x}:check{0:06d}",
    "group::check:check{0:06d}",
)
"""The usual forms of ids. None of their ids is a part of another one: all have one length."""

HOSTILE = (
    ".",
    "..",
    "../x",
    "a/b",
    "a?b",
    "a#b",
    "a%2Fb",
    "%2e%2e",
    "a,b",
    "a;b",
    "a&b=c",
    "a+b",
    "a b",
    'a"b',
    "a'b",
    "a\\b",
    "a\nb",
    "<a>&lt;",
    "{id}",
    "%s",
    "é😀",
)
"""Ids that become something else where a job puts text together instead of encoding it."""


def example_ids(id_type: IdType, count: int, given: Sequence[str] = ()) -> list[str]:
    """Make up `count` ids that fit the type; empty when none of the usual forms does. given: ids to take first."""
    ids = list(dict.fromkeys(given))
    if id_type.uniform is not None:
        length, letters = id_type.uniform
        return [*ids, *(_spelled(number, length, letters) for number in range(1, count + 1))][:count]
    for form in FORMS:
        if misshapen(form.format(1), id_type, {}) is None:
            return [*ids, *(form.format(number) for number in range(1, count + 1))][:count]
    return ids[:count]


def refused_by_preflight(id_: str, id_type: IdType) -> bool:
    """Whether the preflight refuses this id, so that the job gets it only with an `--id-pattern` of the user's."""
    return IdCheck(id_type, {}).check(id_) != id_


def _spelled(number: int, length: int, letters: bytes) -> str:
    spelled = bytearray()
    for _ in range(length):
        number, digit = divmod(number, len(letters))
        spelled.insert(0, letters[digit])
    return spelled.decode()


MADE_UP = "check"
"""A value of a text that the job needs."""


def example_parameters(job: Job, given: Sequence[str]) -> Any:
    """Fill in the parameters of a job; None for a job without any. given: `NAME=VALUE`. Raises UsageError."""
    kind = job.parameters
    hints = {} if kind is None else get_type_hints(kind)
    values: dict[str, Any] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"--parameter {pair!r}: write NAME=VALUE")
        values[name] = _read(name, hints.get(name, str), text, values.get(name, ()))
    for one in () if kind is None else fields(kind):
        if one.name not in values and default_of(one) is MISSING:
            values[one.name] = _made_up(one.name, hints[one.name])
    return parameters_of(job, values)


def _read(name: str, hint: Any, text: str, before: tuple[str, ...]) -> Any:
    kinds = get_args(hint) or (hint,)
    if hint == tuple[str, ...]:
        return (*before, text)
    if bool in kinds:
        return text.lower() in {"true", "yes"}
    if int in kinds:
        try:
            return int(text)
        except ValueError:
            raise UsageError(f"--parameter {name}: {text!r} is not a whole number") from None
    return text


def _made_up(name: str, hint: Any) -> Any:
    if hint is str:
        return MADE_UP
    if hint == tuple[str, ...]:
        return (MADE_UP,)
    if hint in {int, bool}:
        return hint(1)
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    raise UsageError(f"the job needs its parameter {name!r}: give --parameter {name}=VALUE")
