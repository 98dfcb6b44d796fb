"""Parameters for a check: those that were given, and made-up values for those that a job needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from bulkdel.errors import UsageError
from bulkdel.job import Job
from bulkdel.parameters import default_of, parameters_of

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
