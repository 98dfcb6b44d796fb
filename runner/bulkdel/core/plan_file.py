"""A plan as a file that another user approves: its seal, its age, its user, and how it differs from a plan made anew.

Owns the rules, and knows no file and no clock. docs/approval.md describes the members.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any

import orjson

from bulkdel.core.json_types import NONE, TEXT, Each, Mismatch, check_of
from bulkdel.core.log_entries import stamp
from bulkdel.core.nesting import is_deep
from bulkdel.core.plan_digest import digest_of

FORMAT = 1
"""Grows when an older version could misread the file."""

FORMAT_MEMBER = "plan_format"
LINES = "lines"
SHA256 = "sha256"
"""The first member of the file, and the two of its seal: a checksum of each line, and a digest over all of them."""

VALID_S = 86_400.0
"""For so long a run may begin by a plan."""

AHEAD_S = 300.0
"""The clocks of two machines may be so far apart."""

SAMPLE_SHIFT = 0.2
"""The share of the sample that exists may differ by so much. Each sample is drawn anew: of 200 ids, four standard
deviations are less than a fifth."""

NAMES = frozenset({"name", "object"})
"""Members with the path of a file. They are not compared: the hashes decide."""

PLAIN = frozenset({"numbers", "export"})
"""Members whose own members are named without them."""

OPTIONS = frozenset({"options", "parameters", "guards"})
"""Members whose own members are options."""

APART = frozenset({"exclude", "not_after", "sample", "digest"})
"""Members that are compared in ways of their own."""

_EXCLUDE_FILE = {
    **dict.fromkeys(("path", "sha256", "id_type"), str),
    **dict.fromkeys(("column", "sheet"), TEXT),
    "ids": int,
    "looked_up": bool,
}

_check_members = check_of(
    {
        **dict.fromkeys(("tool", "planned_at", "job", "pool", "host"), str),
        **dict.fromkeys(("confirm_host", "digest", "not_after"), TEXT),
        "config": TEXT,
        **dict.fromkeys(("require_other_user", "backup"), bool),
        **dict.fromkeys(("guards", "options", "parameters"), dict),
        "planned_by": {"user": str, "machine": str, "as": TEXT},
        "export": {
            **dict.fromkeys(("name", "sha256", "format", "compression"), str),
            **dict.fromkeys(("delimiter", "id_field", "id_pattern"), TEXT),
            **dict.fromkeys(("header", "trim", "skip_invalid"), bool),
            "bytes": int,
            "id_column": (int, NONE),
        },
        "numbers": dict.fromkeys(("rows", "ids", "duplicate", "excluded", "invalid"), int),
        "exclude": [_EXCLUDE_FILE],
        "sample": ({"asked": int, "found": int}, NONE),
        "shown": list,
        "command": {"names": [str], "options": Each([str])},
    }
)
"""The members that are read one by one. A file that was forged with its seal can lack them."""

DEPTH_MAX = 50
"""Objects and lists may be nested so deeply. The table of a job has far fewer levels."""


class NoPlanFile(ValueError):
    """The text is no plan that this version can use. Its text says why."""


class Edited(NoPlanFile):
    """The plan was changed after it was written. Its text names each line."""


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a plan with the seal."""
    lines = {name: _checksum(value) for name, value in leaves(values)}
    return {**values, LINES: lines, SHA256: digest_of(values)}


def text_of(values: Mapping[str, Any]) -> str:
    """A sealed plan as text. Each value has a line of its own; the checksums share one."""
    body = json.dumps({name: value for name, value in values.items() if name not in {LINES, SHA256}}, indent=2)
    seal = f'  "{LINES}": {json.dumps(values[LINES])},\n  "{SHA256}": "{values[SHA256]}"\n'
    return f"{body.removesuffix('}').rstrip()},\n{seal}}}\n"


def values_of(text: str) -> dict[str, Any]:
    """Read a sealed plan. Raises NoPlanFile; Edited when its seal does not hold."""
    try:
        values = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise NoPlanFile("it is not JSON: it is nested too deeply") from None
    except NoPlanFile:
        raise
    except ValueError as error:
        raise NoPlanFile(f"it is not JSON: {error}") from None
    if is_deep(values, DEPTH_MAX):
        raise NoPlanFile("it is nested too deeply")
    if not isinstance(values, dict) or FORMAT_MEMBER not in values:
        raise NoPlanFile("it is no plan: `bulkdel plan --out` writes one")
    if values[FORMAT_MEMBER] != FORMAT:
        raise NoPlanFile(
            f"its format is {values[FORMAT_MEMBER]!r}, and this version reads {FORMAT}. Make the plan anew with the "
            "version that runs it"
        )
    lines, seal = values.pop(LINES, None), values.pop(SHA256, None)
    if not (isinstance(lines, dict) and isinstance(seal, str)):
        raise Edited(f"its members {LINES!r} and {SHA256!r} are missing")
    try:
        found = digest_of(values)
    except TypeError:  # a number or a text that no plan holds
        found = ""
    if found != seal:
        changed = [*_edited(values, lines)] or ["no line differs, but the digest over them is another"]
        raise Edited("\n".join(f"  {each}" for each in changed))
    _check_shape(values)
    return {**values, LINES: lines, SHA256: seal}


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which each member occurs once. A program reads the last of two; a person may read the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise Edited(f"  {next(name for name in names if names.count(name) > 1)}: is there twice")
    return found


def _no_constant(text: str) -> Any:
    raise NoPlanFile(f"it is not JSON: {text} is no number")


def _finite(text: str) -> float:
    """A number with a fraction or an exponent. The digest would take one that is too large for null."""
    number = float(text)
    return number if isfinite(number) else _no_constant(text)


def _check_shape(values: Mapping[str, Any]) -> None:
    try:
        _check_members(values)
    except Mismatch as mismatch:
        raise NoPlanFile(f"its member {mismatch.name} is missing or of another type") from None
    if not values["host"].isascii():  # another character looks like one of another host
        raise NoPlanFile("its member host has a character that is not ASCII")
    if len(values["command"]["names"]) != len(("job", "export")):
        raise NoPlanFile("its member command has other names than a job and an export")
    if (sample := values["sample"]) is not None and not 0 <= sample["found"] <= sample["asked"]:
        raise NoPlanFile("its member sample found more ids than were looked up, or fewer than none")
    try:
        _seconds(values["planned_at"])
        _seconds(values["not_after"] or values["planned_at"])
    except ValueError:
        raise NoPlanFile("its times cannot be read") from None


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value below this one with its name: the members on the way to it, with dots."""
    below: Iterator[tuple[object, Any]] | None = None
    if isinstance(value, dict) and value:
        below = iter(value.items())
    elif isinstance(value, list | tuple) and value:
        below = iter(enumerate(value, 1))
    if below is None:
        yield name, value
        return
    for key, each in below:
        yield from leaves(each, f"{name}.{key}" if name else str(key))


def _checksum(value: Any) -> str:
    return f"{zlib.crc32(orjson.dumps(value)):08x}"


def _edited(values: Mapping[str, Any], lines: Mapping[str, Any]) -> Iterator[str]:
    """Yield each line that is not as it was written."""
    found = dict(leaves(values))
    for name, value in found.items():
        if name not in lines:
            yield f"{name}: was added"
            continue
        try:
            same = _checksum(value) == lines[name]
        except TypeError:
            same = False
        if not same:
            yield f"{name}: {_words(value)} is not what was written"
    for name in lines:
        if name not in found:
            yield f"{name}: was removed"


def age_fault(values: Mapping[str, Any], now: float) -> str | None:
    """The reason why a run may no longer, or not yet, begin by this plan; None when it may. now: epoch seconds."""
    if (over := over_fault(values, now)) is not None:
        return over
    at = _seconds(values["planned_at"])
    if at - now > AHEAD_S:
        return (
            f"it was made at {values['planned_at']}, and this machine's clock says {stamp(now)}: one of the clocks is "
            "wrong"
        )
    if now - at > VALID_S:
        return f"it was made at {values['planned_at']}, and was valid until {valid_until(values)}"
    return None


def over_fault(values: Mapping[str, Any], now: float) -> str | None:
    """The reason why no session may go by this plan any more; None when it may. now: epoch seconds."""
    until = values["not_after"]
    return None if until is None or now < _seconds(until) else f"its --not-after, {until}, has passed"


def valid_until(values: Mapping[str, Any]) -> str:
    """Until when a run may begin by this plan."""
    return stamp(_seconds(values["planned_at"]) + VALID_S)


def _seconds(text: str) -> float:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None or not text.isprintable():  # any character may stand between day and hour
        raise ValueError("a time without its zone, or of several lines")
    return at.timestamp()


def is_same_user(planner: Mapping[str, Any], runner: Mapping[str, Any]) -> bool:
    """Whether one user has planned and runs. Each has `user` and `machine`, and `as`: the name that was claimed.

    In CI each job may be the same user of the system, on any machine: where both claim a name, the names decide.
    """
    one, other = planner.get("as"), runner.get("as")
    if one is not None and other is not None:
        return str(one).strip().casefold() == str(other).strip().casefold()
    return (planner["user"], planner["machine"]) == (runner["user"], runner["machine"])


def differences(planned: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each difference between a plan and the same plan made anew.

    now: those members that are compared. A member that it lacks is not known yet.
    """
    before = {name: planned.get(name) for name in now}
    found = [
        *_other_values(before, now),
        *_other_files(before.get("exclude") or (), now.get("exclude") or ()),
        *_later(before, now),
    ]
    if not found and before.get("digest") != now.get("digest"):
        found.append(f"digest: the plan has {before['digest']}, now {now['digest']}")
    return found


def _other_values(planned: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    old, new = (dict(_compared(values)) for values in (planned, now))
    for name in {**new, **old}:
        if old.get(name) != new.get(name):
            yield f"{name}: the plan has {_words(old.get(name))}, now {_words(new.get(name))}"


def _compared(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values that have to be equal, each with the name for people."""
    for member, value in values.items():
        if member in APART:
            continue
        if member in OPTIONS:  # an option that a version does not know counts as not given
            yield from (
                (f"--{name.replace('_', '-')}", None if each is False else each) for name, each in value.items()
            )
            continue
        for name, each in leaves(value, member):
            first, _, rest = name.partition(".")
            if first == "export" and rest.partition(".")[0] in NAMES:
                continue
            yield (rest if first in PLAIN else name.replace(".", " ")), each or None


def _other_files(planned: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each exclude file that only one of the plans has."""
    old, new = ({_identity(file): str(file.get("path")) for file in files} for files in (planned, now))
    for identity, name in old.items():
        if identity not in new:
            now_as = {other for other, of in new.items() if of == name}
            changed = "was changed since" if now_as else "is not given now"
            if any(other[0] == identity[0] for other in now_as):
                changed = "has another column, sheet or id type now"
            yield f"exclude {name}: the plan has it with SHA-256 {identity[0]}; it {changed}"
    for identity, name in new.items():
        if identity not in old and name not in old.values():
            yield f"exclude {name}: the plan does not have it"


def _identity(file: Mapping[str, Any]) -> tuple[str, ...]:
    """The values that must be the same of an exclude file: its bytes, and how they are read."""
    return file["sha256"], *(
        f"{name}={value}" for name, value in sorted(file.items()) if name not in {"sha256", "path"}
    )


def _later(planned: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line when the run would stop later than planned. It may stop sooner."""
    old, new = planned.get("not_after"), now.get("not_after")
    if old is not None and (new is None or _seconds(new) > _seconds(old)):
        yield f"--not-after: the plan has {old}, now {new or 'none'}"


def sample_difference(planned: Mapping[str, Any] | None, now: Mapping[str, Any] | None, *, begun: bool) -> str | None:
    """A line when far more, or far fewer, of the sampled ids exist than in the plan; None otherwise.

    Other ids are drawn for each sample, so a small difference is chance. begun: whether the run has begun. The plan of
    a resume has no sample; a new run that looks one up is compared with a plan that has one.
    """
    if now and not planned and not begun:
        return f"sample: the plan has none, now {now['found']:,} of {now['asked']:,} ids that were looked up exist"
    if not planned or not now:
        return None
    before, after = (each["found"] / each["asked"] if each["asked"] else 0.0 for each in (planned, now))
    if abs(before - after) <= SAMPLE_SHIFT:
        return None
    return (
        f"sample: of the ids that were looked up, the plan found {planned['found']:,} of {planned['asked']:,}, now "
        f"{now['found']:,} of {now['asked']:,} exist"
    )


def _words(value: Any) -> str:
    """A value of a plan for people."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
