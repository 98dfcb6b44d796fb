"""The parameters of a job: the fields of `Job.parameters`, each an option of `plan` and `run`.

Checks their types and values, and turns them into JSON for the header and back. `cli.job_options` makes the options.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from bulkdel.core.mac import mac_holds
from bulkdel.core.option import option_of
from bulkdel.core.run_state import RunState
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.format import printable
from bulkdel.job import Job, TargetOptions, load_job
from bulkdel.own_key import read_key
from bulkdel.run_place import home_of, is_within
from bulkdel.settings import PlanSettings, RunSettings

TAKEN = frozenset(
    {"job", "export", "settings", "parameters", "given", "help", "version"}.union(
        vars(RunSettings()), vars(PlanSettings())
    )
)
"""Names that mean something else in `plan` and `run`."""

TEXTS = tuple[str, ...]
TYPES = (str, int, bool, Path, TEXTS)
TYPE_WORDS = "str, int, bool, Path, tuple[str, ...] or a Literal, perhaps with `| None`"

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def check_type(job: Job) -> None:
    """Refuse parameters that cannot be options: they are a mistake in the job. Raises UsageError."""
    kind, said = job.parameters, f"the job {job.name!r} cannot be used"
    if kind is None:
        return
    if not (is_dataclass(kind) and kind.__dataclass_params__.frozen):  # type: ignore[attr-defined]
        raise UsageError(f"{said}: its parameters are not a frozen dataclass")
    hints = get_type_hints(kind)
    for one in fields(kind):
        if one.name in TAKEN:
            raise UsageError(f"{said}: its parameter {one.name!r} has the name of a setting of `run`")
        if not _NAME.fullmatch(one.name):
            raise UsageError(f"{said}: the name of its parameter {one.name!r} is not in lower_case")
        hint, optional = _split(hints[one.name])
        if hint not in TYPES and get_origin(hint) is not Literal:
            raise UsageError(f"{said}: its parameter {one.name!r} is no {TYPE_WORDS}")
        if (optional or hint == TEXTS) and default_of(one) not in (MISSING, None if optional else ()):
            raise UsageError(f"{said}: no option can give its parameter {one.name!r} the value None, or no text")


def default_of(one: Field[Any]) -> Any:
    """The default of a field; MISSING when it has to be given."""
    return one.default if one.default_factory is MISSING else one.default_factory()


def options_of(job: Job) -> dict[str, bool]:
    """The options of a job as they are typed, each with whether its value is the path of a file."""
    options: dict[str, bool] = {}
    hints = get_type_hints(job.parameters) if job.parameters is not None else {}
    for name, hint in hints.items():
        kind, _ = _split(hint)
        options[option_of(name)] = kind is Path
        if kind is bool:
            options[f"--no-{option_of(name)[2:]}"] = False
    return options


def options_of_run(name: str) -> frozenset[str]:
    """The options of this job and of its undo, as they are typed; none of a job that is not installed."""
    try:
        job = load_job(name)
        return frozenset(options_of(job)).union(() if job.undo is None else options_of(load_job(job.undo)))
    except UsageError:
        return frozenset()


def parameters_of(job: Job, values: Mapping[str, Any]) -> Any:
    """Make the parameters of a job from values by name; None for a job without any. Raises UsageError."""
    kind = job.parameters
    known = {one.name: one for one in fields(kind)} if kind is not None else {}
    if unknown := [name for name in values if name not in known]:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise UsageError(f"{job.name} has no parameter {unknown[0]!r}: {has}")
    if kind is None:
        return None
    if missing := [name for name, one in known.items() if name not in values and default_of(one) is MISSING]:
        raise UsageError(f"{job.name} needs the parameter {missing[0]!r}")
    hints = get_type_hints(kind)
    try:
        return kind(**{name: _typed(name, hints[name], value) for name, value in values.items()})
    except (TypeError, ValueError) as error:  # also those of the job's own __post_init__
        raise UsageError(f"{job.name}: {error}") from error


def check_values(job: Job, parameters: Any) -> None:
    """Refuse values that cannot work, or could not be typed again. Raises UsageError naming the option and the job."""
    wanted: Any = job.parameters or NoneType
    if type(parameters) is not wanted:
        raise UsageError(f"{job.name}: its parameters are missing, or are those of another job")
    for one in fields(parameters) if parameters is not None else ():
        option, value = f"{job.name}, {option_of(one.name)}", getattr(parameters, one.name)
        if value == () and default_of(one) is MISSING:
            raise UsageError(f"{option}: give it at least once")
        for item in value if isinstance(value, tuple) else (value,):
            # An unset variable of a script leaves an empty text behind; as a path it is `.`.
            if (isinstance(item, str) and not item.strip()) or item == Path():
                raise UsageError(f"{option} is empty: give a value, or leave it out")
            if isinstance(item, str | Path) and not str(item).isprintable():
                raise UsageError(f"{option} {str(item)!r}: write it as one line of printable characters")


def pinned(parameters: Any) -> dict[str, Any]:
    """The parameters as JSON, as the header keeps them; of a Path also the SHA-256 of its file. Raises UsageError."""
    known = fields(parameters) if parameters is not None else ()
    return {one.name: _as_json(one.name, getattr(parameters, one.name)) for one in known}


def from_pinned(job: Job, values: Mapping[str, Any], run: Path, *, trusted: bool) -> Any:
    """Inverse of `pinned`, for the parameters in the header of the log of a run.

    trusted: whether this user has written that log. If not, no file is read for it outside the home of the run.

    Raises NotAcceptable when the installed job has other parameters, or a file is missing or has changed.
    """
    has = {one.name for one in fields(job.parameters)} if job.parameters is not None else set()
    if has != values.keys():
        then, now = (", ".join(sorted(names)) or "none" for names in (values, has))
        raise NotAcceptable(
            f"{run}: was written by a {job.name} with other parameters ({then}) than the installed one ({now}). "
            "Install the version of the job that wrote it."
        )
    files = {name: value for name, value in values.items() if isinstance(value, dict)}
    paths = {name: _path_now(Path(str(value.get("path"))), run, trusted=trusted) for name, value in files.items()}
    try:
        changed = [name for name, path in paths.items() if _as_json(name, path)["sha256"] != files[name].get("sha256")]
        parameters = parameters_of(job, {**values, **paths})
    except UsageError as error:
        raise NotAcceptable(f"{run}: the parameters of this run cannot be used: {error}") from error
    for name in changed:
        raise NotAcceptable(
            f"{paths[name]}: is not the file that the run had as {option_of(name)}: its SHA-256 is another"
        )
    return parameters


def target_options(
    job: Job, progress: RunState, run: Path, config: Mapping[str, Any], environ: Mapping[str, str]
) -> TargetOptions:
    """The API of a run, as its log has it. config: all tables. Raises NotAcceptable for parameters of another job."""
    trusted = mac_holds(progress.start, read_key(environ))
    parameters = from_pinned(job, progress.header.parameters, run, trusted=trusted)
    return TargetOptions(progress.header.pinned["host"], config.get(job.config_table, {}), environ, parameters)


def _path_now(recorded: Path, run: Path, *, trusted: bool) -> Path:
    """Where a file of a run is: as its log says, or under its name beside the place. trusted: as in `from_pinned`."""
    near = home_of(run) / recorded.name
    known = trusted or is_within(recorded, run)
    return recorded if known and (recorded.is_file() or not near.is_file()) else near


def by_option(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield option and value of each pinned parameter that has one, for people."""
    for name, value in values.items():
        match value:
            case None | []:
                continue
            case bool():
                text = "yes" if value else "no"
            case list():
                text = shlex.join(value)
            case {"path": path, "sha256": sha256}:
                text = f"{path}, sha256 {sha256}"
            case _:
                text = str(value)
        yield option_of(name), text


def _split(hint: Any) -> tuple[Any, bool]:
    """The type without None, and whether it was with None."""
    if get_origin(hint) not in (Union, UnionType):
        return hint, False
    others = [each for each in get_args(hint) if each is not NoneType]
    return (others[0] if len(others) == 1 else hint), len(others) < len(get_args(hint))


def _typed(name: str, hint: Any, value: Any) -> Any:
    """The value as its field wants it. Raises ValueError."""
    hint, optional = _split(hint)
    if value is None and optional:
        return None
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint == TEXTS and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if type(value) is hint or (get_origin(hint) is Literal and value in get_args(hint)):
        return value
    wanted = hint.__name__ if isinstance(hint, type) else str(hint).removeprefix("typing.")
    raise ValueError(f"the parameter {name!r} cannot be {value!r}: it is {wanted}")


def _as_json(name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if not isinstance(value, Path):
        return value
    try:
        if not value.is_file():
            raise UsageError(f"{option_of(name)} {printable(value)}: is not a file")
        with value.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{option_of(name)} {printable(value)}: {error.strerror}") from error
    return {"path": printable(value.absolute()), "sha256": sha256}
