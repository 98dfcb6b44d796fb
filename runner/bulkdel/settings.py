"""Every option of `run` and `plan`, once: name, default, bounds, help. Command line over environment over TOML.

Owns what may be set and to what; knows nothing of what it does. Secrets are no settings: they come from the environment
or a 0600 file, and a job reads them.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter, Token

from bulkdel.core.bad_rows import MaxInvalid
from bulkdel.core.refused_limit import RefusedLimit
from bulkdel.errors import UsageError
from bulkdel.format import CommandLine

ENV_PREFIX = "BULKDEL_"

LOG = ".checkpoint.jsonl"
SANDBOX_LOG = ".sandbox.checkpoint.jsonl"
"""What is appended to the export's name for the log of a run, and of one with --sandbox."""

READING = Group("How the export is read", sort_key=1)
SENDING = Group("How it is sent", sort_key=2)
SAFETY = Group("Before anything is deleted", sort_key=3)
REACHING = Group("Where it is sent", sort_key=4)
TELLING = Group("What it tells", sort_key=5)

DESCRIPTORS_BESIDE = 32
"""Files that are open beside the connections: ten (measured), the look-up of host names, and some to spare."""

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|min|h)?")
_UNITS_S = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds_of(text: str, option: str = "duration") -> float:
    """Read a duration: `30`, `30s`, `15m`, `15min`, `2h`. Raises UsageError naming `option`."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{option} {text!r}: not a duration. Write 30, 30s, 15m or 2h")
    return float(found[1]) * _UNITS_S[found[2]]


_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?\s*(Z|[+-][0-9]{2}:?[0-9]{2})?")


def is_time_of_day(text: str) -> bool:
    """Whether --not-after names a time that comes again every day."""
    return _CLOCK.fullmatch(text.strip()) is not None


def until_of(text: str, now: datetime) -> datetime:
    """Read --not-after: a time of day (its next occurrence after `now`), or a date with a time, perhaps in the past.

    Without a zone it is this machine's. Raises UsageError for what it does not understand, for a time that the change
    of the clocks makes ambiguous, and for a date more than a year ahead.
    """
    clock = _CLOCK.fullmatch(text.strip())
    try:
        readings = _dated(text.strip(), now) if clock is None else _next_of(clock, now)
    except (ValueError, OverflowError):
        raise UsageError(f"--not-after {text!r}: write 06:00, 06:00Z, 06:00+02:00 or 2026-01-31T06:00+02:00") from None
    if len(readings) > 1:
        either = " or ".join(at.isoformat(timespec="seconds") for at in readings)
        raise UsageError(f"--not-after {text!r}: the clocks change about then. Write which time is meant: {either}")
    if not readings:
        raise UsageError(f"--not-after {text!r}: more than a year ahead. Correct the date, or leave --not-after out")
    return readings[0]


def _dated(text: str, now: datetime) -> list[datetime]:
    """Return the moments that a date may mean; none for one that is more than a year ahead."""
    at = datetime.fromisoformat(text)
    if at.year > now.year + 1:  # the last year that there is has no neighbours to convert into
        return []
    readings = [at] if at.tzinfo else _local(at)
    return [] if readings[0] > now + timedelta(days=366) else readings


def _next_of(clock: re.Match[str], now: datetime) -> list[datetime]:
    """Return the moments that a time of day may mean, the next one first."""
    of_day = time(int(clock[1]), int(clock[2]), int(clock[3] or 0))
    if clock[4]:
        zone = datetime.fromisoformat(f"2000-01-01T00:00{clock[4]}").tzinfo
        at = datetime.combine(now.astimezone(zone).date(), of_day, zone)
        return [at + timedelta(days=at <= now)]
    today = now.astimezone().date()
    days = [_local(datetime.combine(today + timedelta(days=n), of_day)) for n in (0, 1)]
    ahead = [[at for at in day if at > now] for day in days]
    first = 0 if ahead[0] else 1
    return ahead[first] if len(days[first]) == 1 else (ahead[first] + ahead[1])[:2]


def _local(naive: datetime) -> list[datetime]:
    """Return the moments that this local time may be: two when the clocks are set back over it, or skip it."""
    both = [naive.replace(fold=fold).astimezone() for fold in (0, 1)]
    return sorted(set(both))


def _whole(_type: object, tokens: Sequence[Token]) -> int:
    """Read a whole number, and nothing that would have to be rounded: a rounded number confirms nothing."""
    text = tokens[0].value
    if not re.fullmatch(r"-?[0-9]+", text):
        raise ValueError(f"not a whole number: {text!r}")
    return int(text)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user may say about a run. Frozen once read; `check` refuses what cannot work."""

    config: Annotated[Path | None, Parameter(group=TELLING)] = None
    """TOML file with defaults for these options, in a table [run]; config.example.toml explains each."""

    checkpoint: Annotated[Path | None, Parameter(group=TELLING)] = None
    """Where the log of this run is kept. Default: EXPORT.checkpoint.jsonl, beside the export."""

    host: Annotated[str | None, Parameter(group=REACHING)] = None
    """Base URL of the API; for a private deployment. Default: the job's own."""

    ca_file: Annotated[Path | None, Parameter(group=REACHING)] = None
    """PEM file with a certificate authority to trust beside the system's."""

    proxy: Annotated[str | None, Parameter(group=REACHING)] = None
    """Proxy URL. Proxies named in the environment are not used."""

    sandbox: Annotated[bool, Parameter(group=REACHING, negative="", show_default=False)] = False
    """Practise on a look-alike of the API inside this program, filled from the export. Needs no credentials."""

    rate: Annotated[float, Parameter(group=SENDING)] = 50.0
    """Requests a second, look-ups and retries included; 0 is unlimited."""

    concurrency: Annotated[int, Parameter(group=SENDING, converter=_whole)] = 16
    """Requests under way at the same time, at most."""

    chunk_size: Annotated[int | None, Parameter(group=SENDING, converter=_whole)] = None
    """Ids in one request. Default: as many as the API takes (50)."""

    limit: Annotated[int | None, Parameter(group=SENDING, converter=_whole)] = None
    """Settle this many ids in this session, then stop: a first careful step."""

    drain_s: Annotated[str, Parameter(name="--drain-s", group=SENDING)] = "30"
    """How long requests on the wire may finish after a first Ctrl-C, seconds."""

    patience: Annotated[str, Parameter(group=SENDING)] = "15m"
    """Stop when the server has given no useful answer for this long (30s, 15m, 2h)."""

    timeout_s: Annotated[float, Parameter(name="--timeout-s", group=SENDING)] = 60.0
    """How long one request may take as a whole, seconds."""

    id_type: Annotated[str | None, Parameter(group=READING)] = None
    """What kind of id the export holds. `bulkdel jobs` lists the types. Default: the job's own (user_id)."""

    id_field: Annotated[str | None, Parameter(group=READING)] = None
    """JSON member (dots reach deeper), CSV column by name, or by number from 1. Default: id, userId or user_id."""

    id_pattern: Annotated[str | None, Parameter(group=READING)] = None
    """Regular expression that a whole id must match, instead of the type's own shape."""

    format: Annotated[Literal["auto", "jsonl", "csv", "lines"], Parameter(group=READING)] = "auto"
    """Format of the export; `lines`: each line is an id. gzip and zstd are recognised by themselves."""

    trim: Annotated[bool, Parameter(group=READING, negative="", show_default=False)] = False
    """Strip spaces around ids, instead of refusing them; rows that are then empty are invalid."""

    on_invalid: Annotated[Literal["stop", "skip"], Parameter(group=READING)] = "stop"
    """What a bad row does: stop before anything is sent, or be written to EXPORT.invalid and skipped."""

    max_invalid: Annotated[str | None, Parameter(group=READING)] = None
    """With --on-invalid skip: refuse an export with more bad rows than N or N%. Default: 1%, but always 10 rows.
    May change on a resume, which does not count again."""

    confirm: Annotated[int | None, Parameter(group=SAFETY, converter=_whole)] = None
    """Confirm the number of ids that will be deleted, as `plan` shows it. Together with --pool."""

    pool: Annotated[str | None, Parameter(group=SAFETY)] = None
    """Confirm the user pool that they are deleted from. Together with --confirm."""

    confirm_host: Annotated[str | None, Parameter(group=SAFETY)] = None
    """Confirm the host, where the config's [protect] hosts asks for it: its bare name."""

    exclude: Annotated[list[Path] | None, Parameter(group=SAFETY, negative="")] = None
    """File of ids that must not be deleted: same formats, same id type. Repeatable; more may be added on a resume."""

    max_delete: Annotated[int | None, Parameter(group=SAFETY, converter=_whole)] = None
    """Refuse to start when the export asks for more deletions than this."""

    not_after: Annotated[str | None, Parameter(group=SAFETY)] = None
    """Stop at this time: 06:00 (this machine's time zone), 06:00Z, 06:00+02:00, or a date with it."""

    backup: Annotated[Path | None, Parameter(group=SAFETY)] = None
    """Keep a copy of every user, on the disk before the user is deleted: JSON Lines, with .gz or .zst compressed."""

    look_first: Annotated[bool, Parameter(group=SAFETY, negative="", show_default=False)] = False
    """Look every id up before it is sent, so that deleted and absent are seen. --backup does it anyway."""

    allow_absent: Annotated[bool, Parameter(group=SAFETY, negative="", show_default=False)] = False
    """Go on although fewer than half of the sampled ids exist."""

    max_refused: Annotated[str, Parameter(group=SAFETY)] = "1%"
    """Halt when more ids than this are refused: a number, or a share of what this session settled (from 1,000 on)."""

    in_doubt: Annotated[Literal["look-up", "resend"], Parameter(group=SAFETY)] = "look-up"
    """On a resume, ids that were sent without an answer are looked up; `resend` also sends those that stay doubtful."""

    json: Annotated[bool, Parameter(group=TELLING, negative="", show_default=False)] = False
    """Print the summary as one JSON object, the last line of stdout; `plan`: the plan, as all of stdout."""

    log_level: Annotated[Literal["debug", "info", "warning"], Parameter(group=TELLING)] = "info"
    """debug: one event per chunk."""

    def check_descriptors(self) -> None:
        """Refuse a limit of open files that the connections do not fit in. Raises UsageError.

        Found out in the middle, it would be taken for a server that fails.
        """
        # The sandbox runs in this process, so that both ends of a connection count.
        needed = self.concurrency * (2 if self.sandbox else 1) + DESCRIPTORS_BESIDE
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit != resource.RLIM_INFINITY and limit < needed:
            fitting = (limit - DESCRIPTORS_BESIDE) // (2 if self.sandbox else 1)
            lower = f", or --concurrency {fitting} or lower" if fitting > 0 else ""
            raise UsageError(
                f"only {limit} files may be open at once, and --concurrency {self.concurrency} needs {needed}: raise "
                f"the limit (ulimit -n {needed}){lower}"
            )

    def check(self, chunk_max: int) -> None:
        """Refuse numbers that cannot work. Raises UsageError naming the option."""
        bounds: list[tuple[str, Any, float, float]] = [
            ("--rate", self.rate, 0, 100_000),
            ("--concurrency", self.concurrency, 1, 4_096),
            ("--chunk-size", self.chunk_size, 1, chunk_max),
            ("--limit", self.limit, 1, 2**53),
            ("--timeout-s", self.timeout_s, 1, 3_600),
            ("--confirm", self.confirm, 0, 2**53),
            ("--max-delete", self.max_delete, 0, 2**53),
            ("--drain-s", seconds_of(self.drain_s, "--drain-s"), 0, 3_600),
            ("--patience", seconds_of(self.patience, "--patience"), 1, 30 * 86_400),
        ]
        for option, value, low, high in bounds:
            if value is not None and not low <= value <= high:
                raise UsageError(f"{option} {value:g}: must be from {low:g} to {high:g}")
        self.check_descriptors()
        try:
            RefusedLimit.parse(self.max_refused)
        except ValueError:
            raise UsageError(
                f"--max-refused {self.max_refused!r}: write a number of ids, or a share of them like 1% or 0.5%"
            ) from None
        if self.max_invalid is not None:
            try:
                MaxInvalid.parse(self.max_invalid)
            except ValueError:
                raise UsageError(
                    f"--max-invalid {self.max_invalid!r}: write a number of rows, or a share of them like 1% or 0.5%"
                ) from None
        if self.format == "lines" and self.id_field is not None:
            raise UsageError(f"--id-field {self.id_field}: with --format lines each line is an id, and has no fields")
        self._check_empty()
        if self.not_after is not None:
            until_of(self.not_after, datetime.now(UTC))
        if self.id_pattern is not None:
            try:
                re.compile(self.id_pattern)
            except re.error as error:
                raise UsageError(f"--id-pattern {self.id_pattern!r}: {error}") from error

    def _check_empty(self) -> None:
        """Refuse what an unset variable of a script leaves behind."""
        for option, text in (("--host", self.host), ("--proxy", self.proxy), ("--pool", self.pool)):
            if text is not None and not text.strip():
                raise UsageError(f"{option} is empty: give a value, or leave it out")
        files = {"--checkpoint": self.checkpoint, "--ca-file": self.ca_file, "--backup": self.backup}
        for option, path in (*files.items(), *(("--exclude", path) for path in self.exclude or ())):
            if path == Path():  # an empty text makes this path, too
                raise UsageError(f"{option} is empty, or names a folder: name a file, or leave it out")

    def checkpoint_for(self, export: str) -> Path:
        """Where the log goes. Raises UsageError when standard input gives no name to derive it from."""
        if self.checkpoint is not None:
            return self.checkpoint
        if export == "-" or export.startswith(("/dev/", "/proc/")):
            raise UsageError(f"reading {export} needs --checkpoint PATH: there is no file name to derive it from")
        return self.default_checkpoint(export)

    def default_checkpoint(self, export: str) -> Path:
        """Where the log of this export goes without --checkpoint."""
        return Path(f"{export}{SANDBOX_LOG if self.sandbox else LOG}")


def with_all_excluded(settings: Settings, environ: Mapping[str, str], table: Mapping[str, Any]) -> Settings:
    """Add up the exclude files of the command line, the environment and the config's table [run], each file once.

    Of every other option the first place that has it wins; a list of ids to keep must never replace another one.
    """
    configured = table.get("exclude", [])
    configured = [configured] if isinstance(configured, str) else configured
    if not (isinstance(configured, list) and all(isinstance(name, str) for name in configured)):
        raise UsageError('config, [run] exclude: write a list of file names: ["keep.jsonl"]')
    named = environ.get(f"{ENV_PREFIX}EXCLUDE")
    listed = [] if named is None else named.split(os.pathsep)
    files = [*(settings.exclude or ()), *map(Path, listed), *map(Path, configured)]
    return replace(settings, exclude=list({path.resolve(): path for path in reversed(files)}.values())[::-1] or None)


def flags_of(settings: type) -> frozenset[str]:
    """Names of the options that take no value."""
    return frozenset(option_of(one.name) for one in fields(settings) if one.default is False)


def option_of(name: str) -> str:
    """Name an option as it is typed."""
    return f"--{name.replace('_', '-')}"


def with_environment(line: CommandLine, settings: Any, environ: Mapping[str, str]) -> CommandLine:
    """Add the options that the environment sets: a printed command is typed in another shell, perhaps."""
    for one in fields(settings):
        option, value = option_of(one.name), getattr(settings, one.name)
        if f"{ENV_PREFIX}{one.name.upper()}" not in environ or value in (None, False):
            continue
        if isinstance(value, list):  # the environment's files are added to those that were typed
            line = line.instead(option, *map(str, value))
        elif not line.has(option):
            line = line.plus(option) if value is True else line.plus(option, str(value))
    return line
