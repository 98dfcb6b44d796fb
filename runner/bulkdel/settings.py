"""Every option of `run`, `plan`, `restore` and `verify`, once: name, default, bounds, help.

Owns the values that an option may have, not their effect. A value comes from the command line, the environment or the
config file, in this order. Secrets are no options: a job reads them from the environment or from a 0600 file.

The annotations are evaluated when the module is loaded: cyclopts would evaluate texts five times a command.
"""

import os
import re
import resource
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_type_hints
from urllib.parse import urlsplit

from cyclopts import Group, Parameter, Token
from cyclopts.validators import Number

from bulkdel.conditions import conditions_of, time_of, with_instants
from bulkdel.core.address import HIDDEN, address_of, split_names
from bulkdel.core.guards import Guard, Guards
from bulkdel.core.halt_limits import number_or_share
from bulkdel.core.listen_address import ListenAddress, listen_address
from bulkdel.core.option import File, Names, Option, Role, option_of, variable_of
from bulkdel.core.pace import RATE_MAX, RATE_MIN, may_be_set
from bulkdel.core.shards import LOCAL, RAY, shards_of
from bulkdel.errors import UsageError
from bulkdel.format import shown, span
from bulkdel.output import LogFormat
from bulkdel.run_place import BACKUP, MEMBERSHIPS, default_place, is_stream
from bulkdel.store_path import in_store, store_path
from bulkdel.times import schedule_at, seconds_of, until_of

NOTE_MAX = 1_000
"""Characters of `--note`."""

CLAIM_MAX = 100
"""Characters of `--as`."""

SHA256_SHOWN = 12
"""Digits of a SHA-256 that a printed --confirm-export has. It takes as many, or more."""

_SHA256 = re.compile(rf"[0-9A-Fa-f]{{{SHA256_SHOWN},64}}")

OF_MEMBERSHIPS = "memberships.jsonl"
"""The name of a copy of the memberships; after that of its backup, where the person has named that."""

PACKED = (".gz", ".zst")
"""The endings of a compressed backup."""

_BATCH, _LOG = frozenset({File.BATCH}), frozenset({File.LOG})

_DECIDES, _MEANS, _PACE = Option(Role.DECIDES), Option(Role.MEANS), Option(Role.PACE)
_ONCE = Option(Role.DECIDES, once=True)
_OWN = Option(Role.DECIDES, own=True)
_GUARDS = Option(Role.MEANS, looks=True)
_MACHINE, _SECRET = Option(Role.MACHINE), Option(Role.MACHINE, secret=True)
_SHOWS, _CONFIRMS = Option(Role.SHOWS, _BATCH | _LOG), Option(Role.CONFIRMS)
_OF_THE_RUN = Option(Role.COMMAND, _LOG, Names.FILE)

CHECKING = Group("What is read back", sort_key=0)
UNDOING = Group("What is restored", sort_key=0)
READING = Group("How the export is read", sort_key=1)
SENDING = Group("How it is sent", sort_key=2)
SAFETY = Group("Guard rails", sort_key=3)
SERVER = Group("Where it is sent", sort_key=4)
NOTIFYING = Group("Notifications", sort_key=5)
OUTPUT = Group("Output", sort_key=6)

IN_FLIGHT, IN_FLIGHT_IN_STORE = 16, 512
"""Requests in flight by default. The second is enough for 1,000 requests a second, each of 300 ms. Rows in doubt follow
the rate, not this number: `engine.gate`."""

DESCRIPTORS_BESIDE = 32
"""Files that are open besides the connections: ten (measured), eight connections of `bulkdel ctl`, the look-up of host
names, and some to spare."""

DESCRIPTORS_OF_PAGE = 34
"""Those of --listen besides: 32 connections of browsers, the one that is taken next, and the socket that listens."""

COUNT_MAX = 2**53
"""The largest count: beyond it, readers of JSON round."""

_WHOLE = re.compile(r"-?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)")

Validator = Callable[[Any, Any], None]


def check_rate(_type: object, rate: float | None) -> None:
    """Refuse a rate that may not be set; None is the default. Raises ValueError."""
    if rate is not None and not may_be_set(rate):
        raise ValueError(f"Must be 0 for no limit, or >= {RATE_MIN:g} and <= {RATE_MAX:,.0f}.")


def address_to_listen_at(text: str | None) -> ListenAddress | None:
    """Read --listen; None without it. Raises UsageError for an address that cannot be used."""
    try:
        return None if text is None else listen_address(text)
    except ValueError as error:
        raise UsageError(f"--listen {text}: {error}") from None


def is_named_as_memberships(path: Path) -> bool:
    """Whether a file has the name of a copy of the memberships."""
    return path.name.endswith(tuple(f"{OF_MEMBERSHIPS}{packed}" for packed in ("", *PACKED)))


def check_slow_while(text: str) -> None:
    """Refuse a --slow-while that is no address to ask. Raises UsageError."""
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        host = None
    if not host or url.scheme not in {"http", "https"} or not text.isprintable() or " " in text:
        told = shown(_without_secrets(text))
        raise UsageError(f"--slow-while {told}: is not a URL. Give one like https://sign-in.example.com/health")
    if url.username is not None or url.password is not None:
        raise UsageError("--slow-while: has a user or a password in it, and the log would keep them. Leave them out")


def _without_secrets(text: str) -> str:
    """What stands before a query, without a user and a password, of a text that may be no URL."""
    plain, *query = re.split("[?#]", text, maxsplit=1)
    user, _, place = plain.rpartition("@")
    return f"{f'{HIDDEN}@' if user else ''}{place}{f'?{HIDDEN}' if query else ''}"


def whole_number(_type: object, tokens: Sequence[Token]) -> int:
    """Read a whole number, also as `199,719`: the plan shows it so.

    Refuses text that would have to be rounded: 1999.6 must not confirm 2000 ids.
    """
    text = tokens[0].value
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a whole number.")
    return int(text.replace(",", ""))


def per_second(_type: object, tokens: Sequence[Token]) -> float:
    """Read a rate: `10`, `0.5`, `1,000`, or with its unit, `10/s`."""
    text = tokens[0].value.strip().removesuffix("/s").rstrip()
    with suppress(ValueError):
        return float(text.replace(",", "") if _WHOLE.fullmatch(text) else text)
    raise ValueError(f"{tokens[0].value!r} is not a rate. Write 10 or 0.5 (requests a second), or 0 for no limit.")


def path_or_store(_type: object, tokens: Sequence[Token]) -> Path:
    """Read a path, or the URL of a store. Raises UsageError for any other address."""
    text = tokens[0].value
    return Path(text) if address_of(text) is None else store_path(text)


PathOrStore = Annotated[Path, Parameter(converter=path_or_store)]
"""An item of a list."""

PlaceOfRun = Annotated[
    Path | None,
    Option(Role.MACHINE, _BATCH | _LOG, Names.NEW_FILE, asked=False),
    Parameter(group=OUTPUT, converter=path_or_store, metavar="PLACE"),
]
"""Where a run is kept."""


def duration(_type: object, tokens: Sequence[Token]) -> float:
    """Read a duration as seconds."""
    return seconds_of(tokens[0].value)


def names_in_variable(_type: object, text: str, *, delimiter: str | None = None) -> list[str]:  # noqa: ARG001 - cyclopts gives it
    """The exclude files in an environment variable, each with the column and the type that are named after a colon.

    Raises UsageError for a word after a file that may be its column, and is also a file.
    """
    names: list[str] = []
    file = ""
    for part in split_names(text, os.pathsep):
        # The separator is a colon too. After a file, what is no file is part of its name.
        if os.path.lexists(file) and address_of(part) is None and not os.path.lexists(part):
            names[-1] += f"{os.pathsep}{part}"
        elif os.path.lexists(file) and not {"/", "."} & {*part}:
            raise UsageError(
                f"{variable_of('exclude')}: {shown(part)} may be a column of {shown(file)}, and is a file here too. "
                f"For the file write ./{shown(part)}; for the column rename or remove the file"
            )
        else:
            names.append(part)
            file = part
    return names


def words_in_variable(_type: object, text: str, *, delimiter: str | None = None) -> list[str]:  # noqa: ARG001 - as above
    """The words in an environment variable; an empty one, which `check` refuses, of a variable without any."""
    return text.split() or [""]


Flag = Parameter(negative="", show_default=False)

EVERYDAY = Parameter(show=True)
"""An option that `--help` shows. `--help-all` shows the others too."""


def count(low: int, high: int = COUNT_MAX) -> Parameter:
    """An option that is a whole number between these bounds."""
    return Parameter(converter=whole_number, validator=Number(gte=low, lte=high))


def seconds(low: float, high: float) -> Parameter:
    """An option that is a duration between these bounds."""
    bounds = Number(gte=low, lte=high)
    return Parameter(converter=duration, validator=bounds, show_default=span, metavar="DURATION")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NotifySettings:
    """The options that `notify test` shares with the commands that it tests."""

    config: Annotated[Path | None, Option(Role.MACHINE, names=Names.FILE), Parameter(group=OUTPUT), EVERYDAY] = None
    """TOML file with defaults (`bulkdel config example`)."""

    ca_file: Annotated[Path | None, Option(Role.MACHINE, names=Names.FILE), Parameter(group=SERVER)] = None
    """PEM file with a certificate authority to trust besides the system's."""

    proxy: Annotated[str | None, _MACHINE, Parameter(group=SERVER)] = field(default=None, repr=False)
    """Proxy URL. Proxies named in the environment are not used."""

    notify: Annotated[list[str] | None, _SECRET, Parameter(group=NOTIFYING, negative="", metavar="URL")] = field(
        default=None, repr=False
    )
    """Post to this URL at the start and the end, at a halt, a planned stop and a long outage. Slack and Teams get their
    own form. Other services by apprise (mailto://…). Repeatable; better in BULKDEL_NOTIFY, because it is a secret."""

    on_event: Annotated[str | None, _SECRET, Parameter(group=NOTIFYING, metavar="COMMAND")] = field(
        default=None, repr=False
    )
    """Run this command at the same events, without a shell, with BULKDEL_EVENT and more in its environment."""

    def check(self) -> None:
        """Refuse values that cannot work, also those that a library call gives. Raises UsageError naming the option."""
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            option, value = option_of(name), getattr(self, name)
            for parameter in hint.__metadata__:
                for validate in cast("tuple[Validator, ...]", getattr(parameter, "validator", ())):
                    try:
                        validate(object, value)
                    except ValueError as error:
                        raise UsageError(f"{option} {value:g}: {error}") from None
            for item in value or [""] if isinstance(value, list) else [value]:
                # An unset variable of a script leaves an empty text or list behind; as a path it is `.`.
                if isinstance(item, str) and not item.strip():
                    raise UsageError(f"{option} is empty: give a value, or leave it out")
                if item == Path():
                    raise UsageError(f"{option} is empty, or is the current folder: give it a name, or leave it out")


@dataclass(frozen=True, kw_only=True)
class CommonSettings(NotifySettings):
    """The options that `run`, `plan`, `restore` and `verify` share: the server, the pace, the output."""

    host: Annotated[str | None, Option(Role.COMPARED, _BATCH), Parameter(group=SERVER), EVERYDAY] = None
    """Base URL of the API, for a private deployment. Default: the job's own; `verify`, `restore`: that of the run."""

    rate: Annotated[float, _PACE, Parameter(group=SENDING, converter=per_second, validator=check_rate), EVERYDAY] = 50.0
    """Requests a second, look-ups and retries included; 0 is unlimited."""

    concurrency: Annotated[int | None, _PACE, Parameter(group=SENDING), count(1, 4_096)] = None
    """Requests in flight at the same time, at most. Default: 16; 512 for a run in a store."""

    patience: Annotated[float, _PACE, Parameter(group=SENDING), seconds(1, 30 * 86_400)] = 900.0
    """Stop when the server has given no useful response for this long (30s, 15m, 2h)."""

    timeout: Annotated[float, _PACE, Parameter(group=SENDING), seconds(1, 3_600)] = 60.0
    """Time limit of one whole request (60s, 2m)."""

    json: Annotated[bool, Option(Role.SHOWS, _LOG), Parameter(group=OUTPUT), Flag, EVERYDAY] = False
    """Print the result as one JSON object, the last line."""

    log_level: Annotated[Literal["debug", "info", "warning"], _SHOWS, Parameter(group=OUTPUT)] = "info"
    """debug: one event per chunk. warning: no progress lines."""

    log_format: Annotated[LogFormat | None, Option(Role.SHOWS, _LOG), Parameter(group=OUTPUT)] = None
    """json: each line of stderr is one JSON object. text: plain lines. Default: a bar on a terminal, and elsewhere the
    progress as JSON lines."""

    progress_every: Annotated[float, _SHOWS, Parameter(group=OUTPUT), seconds(1, 3_600)] = 5.0
    """How often a progress line is written (5s, 1m), where there is no bar."""

    def check(self) -> None:
        """See `NotifySettings.check`."""
        super().check()
        self._check_open_files(1)

    @property
    def _descriptors_beside(self) -> int:
        return DESCRIPTORS_BESIDE

    def _check_open_files(self, ends: int) -> None:
        """Refuse a limit of open files that is too low for the connections.

        ends: how many ends of each connection are in this process. In the middle of a run, a connection that cannot be
        opened would look like a failing server.
        """
        beside, concurrency = self._descriptors_beside, self.in_flight
        needed = concurrency * ends + beside
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit != resource.RLIM_INFINITY and limit < needed:
            fitting = (limit - beside) // ends
            lower = f", or --concurrency {fitting} or lower" if fitting > 0 else ""
            raise UsageError(
                f"only {limit} files may be open at once, and --concurrency {concurrency} needs {needed}: raise the "
                f"limit (ulimit -n {needed}){lower}"
            )

    @property
    def in_flight(self) -> int:
        """How many chunks are under way at the same time."""
        return self.concurrency or IN_FLIGHT

    @property
    def connection(self) -> dict[str, Path | str | None]:
        """The options that another command needs too, to sign in to the same server."""
        return {"--host": self.host, "--config": self.config, "--ca-file": self.ca_file, "--proxy": self.proxy}


@dataclass(frozen=True, kw_only=True)
class SendingSettings(CommonSettings):
    """The options that `run`, `plan` and `restore` share: the session, its confirmation, its limits."""

    chunk_size: Annotated[int | None, _PACE, Parameter(group=SENDING), count(1)] = None
    """Ids in one request. Default: as many as the API takes (50)."""

    limit: Annotated[int | None, _DECIDES, Parameter(group=SENDING), count(1), EVERYDAY] = None
    """Settle this many ids, then stop: a first careful step."""

    drain: Annotated[float, _PACE, Parameter(group=SENDING), seconds(0, 3_600)] = 25.0
    """How long requests in flight may take to finish after a first Ctrl-C (25s, 2m)."""

    confirm: Annotated[int | None, _CONFIRMS, Parameter(group=SAFETY), count(0), EVERYDAY] = None
    """The number of ids, as `plan` shows it; with --pool."""

    pool: Annotated[str | None, Option(Role.CONFIRMS, _BATCH), Parameter(group=SAFETY), EVERYDAY] = None
    """The user pool, as `plan` shows it; with --confirm."""

    confirm_host: Annotated[str | None, _CONFIRMS, Parameter(group=SAFETY)] = None
    """The host by its bare name, where [protect] hosts of the config asks for it."""

    not_after: Annotated[str | None, _MEANS, Parameter(group=SAFETY), EVERYDAY] = None
    """Stop at this time: 06:00 (this machine's time zone), 06:00Z, 06:00+02:00, or a date with it."""

    schedule: Annotated[str | None, _PACE, Parameter(group=SENDING)] = None
    """Lower limits of the rate by time of day (local): "Mon-Fri 08:00-18:00=10, else=50"."""

    slow_while: Annotated[str | None, Option(Role.MACHINE, signed=True), Parameter(group=SENDING, metavar="URL")] = (
        field(default=None, repr=False)
    )
    """Ask this URL every 5 s. While its answer is not 200, or takes over a second, the rate is halved, and climbs back
    afterwards. For a page that your users sign in at."""

    pause_file: Annotated[Path | None, _MACHINE, Parameter(group=SENDING)] = None
    """Pause while this file exists."""

    run: PlaceOfRun = None
    """Where the run is kept that creates the accounts: a folder, or in a store (s3://bucket/run, gs://…, az://…,
    file://…). Default: restore-1, restore-2, … in the place of its run, where its files are in any case."""

    take_over: Annotated[bool, Option(Role.COMMAND), Parameter(group=OUTPUT), Flag] = False
    """In a store: do not watch for 11 s whether the last session still writes. For one that is surely dead."""

    max_refused: Annotated[str, _DECIDES, Parameter(group=SAFETY)] = "1%"
    """Halt when more ids than this are refused: a number, or a share of the ids that this session settled (from 1,000
    on)."""

    note: Annotated[str | None, Option(Role.COMMAND, _BATCH | _LOG, asked=False), Parameter(group=OUTPUT)] = None
    """Text for the log, such as the number of a change request. `status` shows it."""

    listen: Annotated[str | None, _MACHINE, Parameter(group=OUTPUT, metavar="ADDRESS")] = None
    """Serve a live page and metrics at this address: 127.0.0.1:9400, [::1]:9400 or unix:/run/bulkdel.sock."""

    @property
    def _descriptors_beside(self) -> int:
        return super()._descriptors_beside + (DESCRIPTORS_OF_PAGE if self.listen else 0)

    @property
    def in_flight(self) -> int:
        """See `CommonSettings`. A commit to a store takes far longer than one to a file, so more are under way."""
        return self.concurrency or (IN_FLIGHT_IN_STORE if in_store(self.run) else IN_FLIGHT)

    @property
    def listen_address(self) -> ListenAddress | None:
        """Where the live page listens; None without one. Raises UsageError for an address that cannot be used."""
        return address_to_listen_at(self.listen)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Settings(SendingSettings):
    """The options of `run` and `plan` that a library call and a batch have too."""

    run: Annotated[PlaceOfRun, EVERYDAY] = None
    """Where everything is kept that this run writes: a folder, or in a store (s3://bucket/run, gs://…, az://…,
    file://…), which outlives this machine. Default: EXPORT.runs/JOB."""

    shards: Annotated[str | None, _PACE, Parameter(group=SENDING, metavar="N")] = None
    """Cut the export into this many parts, each sent by a process of its own: on this machine, or with 8@ray on the
    nodes of a Ray cluster. The rate is still that of the whole run. A resume keeps the cut. Default: one process."""

    sandbox: Annotated[bool, _OWN, Parameter(group=SERVER), Flag, EVERYDAY] = False
    """Practise on an imitation of the API inside this program, filled from the export. Needs no credentials."""

    id_type: Annotated[str | None, Option(Role.MEANS, own=True), Parameter(group=READING), EVERYDAY] = None
    """What kind of id the export holds. `bulkdel jobs` lists the types. Default: the job's own (user_id)."""

    id_field: Annotated[str | None, _OWN, Parameter(group=READING), EVERYDAY] = None
    """JSON member (dots reach deeper), CSV column by name, or by number from 1. Default: id, userId or user_id."""

    id_pattern: Annotated[str | None, _DECIDES, Parameter(group=READING)] = None
    """Regular expression that a whole id must match, instead of the type's own shape."""

    format: Annotated[Literal["auto", "jsonl", "csv", "lines"], _OWN, Parameter(group=READING)] = "auto"
    """Format of the export; `lines`: each line is an id. gzip and zstd are detected."""

    encoding: Annotated[str | None, _OWN, Parameter(group=READING)] = None
    """Encoding of files that are not UTF-8, by its name in Python: cp1252, gb18030, utf-16-le. UTF-16 with a byte-order
    mark needs no name."""

    sheet: Annotated[str | None, _OWN, Parameter(group=READING)] = None
    """Sheet of a workbook (.xlsx, .xls, .ods), also of exclude files. Default: the only visible one that has rows."""

    trim: Annotated[bool, _OWN, Parameter(group=READING), Flag] = False
    """Strip spaces around ids, instead of refusing them; rows that are then empty are invalid."""

    skip_invalid: Annotated[str | None, _DECIDES, Parameter(group=READING, metavar="N|N%"), EVERYDAY] = None
    """Leave out at most so many bad rows, and keep them in `invalid`. Without it one bad row refuses the export."""

    exclude: Annotated[
        list[str | Path] | None,
        Option(Role.MEANS, names=Names.FILE, own=True, signed=True),
        Parameter(group=SAFETY, negative="", env_var_split=names_in_variable),
        EVERYDAY,
    ] = field(default=None, repr=False)
    """File of ids that must not be sent, or its address. FILE:COLUMN names its column, FILE:COLUMN:TYPE an id type of
    its own. Repeatable; a resume may add more."""

    spare: Annotated[
        list[str] | None,
        _GUARDS,
        Parameter(group=SAFETY, negative="", metavar="CONDITION", env_var_split=words_in_variable),
        EVERYDAY,
    ] = None
    """Keep accounts that signed in on a day or later, or were created after it: active-since=90d,
    created-after=2026-01-31 (midnight UTC). Repeatable."""

    only_status: Annotated[
        list[str] | None,
        _GUARDS,
        Parameter(group=SAFETY, negative="", metavar="STATUS", env_var_split=words_in_variable),
    ] = None
    """Send only accounts with one of these statuses, as the plan shows them (Suspended,Archived), and spare others."""

    backup: Annotated[
        bool, Option(Role.COMPARED, _BATCH | _LOG, looks=True), Parameter(group=SAFETY), Flag, EVERYDAY
    ] = False
    """Keep a copy of every record in the place of the run, durable before its id is sent."""

    backup_to: Annotated[
        Path | None,
        Option(Role.COMPARED, _BATCH, Names.NEW_FILE, looks=True),
        Parameter(group=SAFETY, converter=path_or_store),
    ] = None
    """The same, to another disk or a stricter store: FILE.jsonl, .jsonl.gz or .jsonl.zst, or s3://bucket/u.jsonl.gz."""

    backup_memberships: Annotated[bool, _DECIDES, Parameter(group=SAFETY), Flag] = False
    """With --backup, before the first id is sent: also copy which users are in which groups and have which roles."""

    look_first: Annotated[bool, Option(Role.DECIDES, looks=True), Parameter(group=SAFETY), Flag] = False
    """Look every id up before it is sent, so that outcomes are seen, not inferred. --backup does it anyway."""

    allow_absent: Annotated[bool, _ONCE, Parameter(group=SAFETY), Flag] = False
    """Go on although fewer than half of the sampled ids exist."""

    in_doubt: Annotated[Literal["look-up", "resend"], _ONCE, Parameter(group=SAFETY)] = "look-up"
    """On a resume, ids sent without a response are looked up; `resend` also sends those that stay in doubt."""

    confirm_export: Annotated[str | None, _CONFIRMS, Parameter(group=SAFETY, metavar="SHA256")] = None
    """Confirm the bytes of the export too, by the beginning of their SHA-256. `plan` prints it for a pipe or a URL."""

    as_confirmed: Annotated[bool, Option(Role.COMMAND), Parameter(group=SAFETY), Flag] = False
    """On a resume: go on with the rows that were confirmed, although the export has changed since."""

    def check(self, chunk_max: int = COUNT_MAX) -> None:
        """Refuse values that cannot work. chunk_max: ids that the API takes at once. Raises UsageError."""
        super().check()
        if self.confirm_export is not None and not _SHA256.fullmatch(self.confirm_export):
            raise UsageError(
                f"--confirm-export {self.confirm_export}: give the first {SHA256_SHOWN} digits of a SHA-256, or more"
            )
        if self.sandbox:  # its server is in this process, so both ends of a connection count
            self._check_open_files(2)
        if self.chunk_size is not None and self.chunk_size > chunk_max:
            raise UsageError(f"--chunk-size {self.chunk_size}: the API takes at most {chunk_max} ids in one request")
        for option, text, noun in (
            ("--max-refused", self.max_refused, "ids"),
            ("--skip-invalid", self.skip_invalid, "rows"),
        ):
            try:
                if text is not None:
                    number_or_share(text)
            except ValueError:
                ways = f"write a number of {noun}, or a share of them like 1% or 0.5%"
                raise UsageError(f"{option} {text!r}: {ways}") from None
        self._check_store()
        if self.backup and self.backup_to is not None:
            raise UsageError("--backup and --backup-to: both say where the copies are. Give one of them")
        if self.backup_memberships and not self.keeps_backup:
            raise UsageError("--backup-memberships: needs --backup, or --backup-to FILE: the copy is kept beside it")
        if self.note is not None and not (self.note.isprintable() and len(self.note) <= NOTE_MAX):
            raise UsageError(f"--note {self.note[:80]!r}: one line of at most {NOTE_MAX} printable characters")
        self._check_times(datetime.now(UTC))
        self._check_fields()
        if self.slow_while is not None:
            check_slow_while(self.slow_while)
        _ = self.listen_address  # refuses one that cannot be used

    @property
    def guards(self) -> Guards:
        """The guards that were given. An age counts from today. Once a plan is made there is no age left.

        Raises UsageError for a condition that cannot be read.
        """
        now = datetime.now(UTC)
        times = {guard.name: time_of(guard, text, now).timestamp() for guard, text in self._conditions.items()}
        return Guards(**times, statuses=None if self.only_status is None else frozenset(self._statuses))

    def with_instants(self, now: datetime, before: Guards) -> Self:
        """The same with an instant in the place of each age of --spare. before: see `conditions.with_instants`."""
        return self if self.spare is None else replace(self, spare=with_instants(self.spare, now, before))

    @property
    def _conditions(self) -> dict[Guard, str]:
        return conditions_of(self.spare or ())

    @property
    def _statuses(self) -> list[str]:
        return [status.strip() for text in self.only_status or () for status in text.split(",")]

    def _check_times(self, now: datetime) -> None:
        if self.not_after is not None:
            until_of(self.not_after, now)
        if self.schedule is not None:
            schedule_at(self.schedule, now)
        for guard, text in self._conditions.items():
            if time_of(guard, text, now) > now:
                raise UsageError(f"{guard.option}={text}: is in the future, so it would spare no account. Correct it")
        if self.only_status is not None and not all(self._statuses):
            raise UsageError("--only-status is empty, or one of its words is. Name the statuses, or leave it out")

    def _check_fields(self) -> None:
        if self.backup_memberships and (in_store(self.backup_to) or (self.backup and in_store(self.run))):
            raise UsageError(
                f"--backup-memberships: the copy of the memberships is a file beside the backup, and "
                f"{self.backup_to or self.run} is in a store. Name a file, such as --backup-to users.jsonl.gz, on a "
                "disk that outlives this machine"
            )
        if self.format == "lines" and self.id_field is not None:
            raise UsageError(f"--id-field {self.id_field}: with --format lines each line is an id, and has no fields")
        if self.id_pattern is not None:
            try:
                re.compile(self.id_pattern)
            except re.error as error:
                raise UsageError(f"--id-pattern {self.id_pattern!r}: {shown(error)}") from error

    def _check_store(self) -> None:
        if in_store(self.run):
            if self.on == RAY and self.backup_to is not None and not in_store(self.backup_to):
                raise UsageError(
                    f"--shards {self.shards}: a --backup-to that is a file would be lost with its node. Give the URL "
                    "of a store, or --backup"
                )
        elif self.on == RAY:
            raise UsageError(
                f"--shards {self.shards}: needs --run URL, so that every node reaches the log: s3://, gs://, az://, "
                "or file:// with a folder that they share"
            )
        elif self.take_over:
            raise UsageError("--take-over: needs --run URL. A log in a file is locked by its process")

    @property
    def shard_count(self) -> int:
        """How many shards were asked for; 1 for one process."""
        return self._shards[0]

    @property
    def on(self) -> str:
        """The engine that runs their processes."""
        return self._shards[1]

    @property
    def _shards(self) -> tuple[int, str]:
        try:
            return (1, LOCAL) if self.shards is None else shards_of(self.shards)
        except ValueError:
            raise UsageError(
                f"--shards {self.shards}: write a number such as 8, of at most five digits, or 8@ray for the nodes of "
                "a Ray cluster"
            ) from None

    def place_of(self, job: str, export: str) -> Path:
        """Where the run of this job is. Raises UsageError when standard input gives no name to derive it from."""
        if self.run is not None:
            return self.run
        if is_stream(export):
            raise UsageError(f"reading {export} needs --run PLACE: there is no file name to derive it from")
        return default_place(job, export, sandbox=self.sandbox)

    @property
    def keeps_backup(self) -> bool:
        """Whether a copy of every record is kept."""
        return self.backup or self.backup_to is not None

    @property
    def backup_option(self) -> str:
        """The option with which a backup was asked for."""
        return "--backup-to" if self.backup_to is not None else "--backup"

    def backup_in(self, run: Path) -> Path | None:
        """Where the copies of this run go; None without a backup."""
        return run / BACKUP if self.backup else self.backup_to

    def memberships_in(self, run: Path) -> Path | None:
        """Where the copy of the memberships goes, beside the backup. None without --backup-memberships."""
        backup = self.backup_in(run)
        if not self.backup_memberships or backup is None:
            return None
        if self.backup:
            return run / MEMBERSHIPS
        packed = backup.suffix if backup.suffix in PACKED else ""
        return backup.with_name(f"{backup.name.removesuffix(packed)}.{OF_MEMBERSHIPS}{packed}")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ApprovalSettings(Settings):
    """The option that only `run` and `plan` have, both."""

    as_: Annotated[str | None, Option(Role.COMMAND), Parameter(name="--as", group=SAFETY, metavar="NAME")] = None
    """Name of the user, where every job is the same user of the system (CI): for a plan that another user approves. It
    is recorded as claimed."""

    def check(self, chunk_max: int = COUNT_MAX) -> None:
        """See `Settings.check`."""
        super().check(chunk_max)
        if self.as_ is not None and not (self.as_.isprintable() and len(self.as_) <= CLAIM_MAX):
            raise UsageError(f"--as {self.as_[:80]!r}: one line of at most {CLAIM_MAX} printable characters")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PlanSettings(ApprovalSettings):
    """The options of `plan`."""

    out: Annotated[
        Path | None,
        Option(Role.MACHINE, names=Names.NEW_FILE),
        Parameter(group=SAFETY, metavar="FILE"),
        EVERYDAY,
    ] = None
    """Also write the plan to this new file, for another user: `bulkdel show FILE`, then `bulkdel run --plan FILE`."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunSettings(ApprovalSettings):
    """The options of `run`."""

    plan: Annotated[Path | None, _OF_THE_RUN, Parameter(group=SAFETY, metavar="FILE")] = None
    """Run this plan, which `plan --out` wrote and which has job, export and options. Asks nothing, and refuses any
    difference. A plan is valid for 24 hours; a run that has begun by it resumes later too."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RestoreSettings(SendingSettings):
    """The options of `restore`. It has none about the ids, because its export is made from the backup."""

    plan: Annotated[bool, _OF_THE_RUN, Parameter(group=UNDOING), Flag, EVERYDAY] = False
    """Only show the plan. No account is created; the derived export is written. Works without credentials too."""

    export: Annotated[str | None, _OF_THE_RUN, Parameter(group=UNDOING)] = None
    """A copy of the export, where `forget` has removed the rows of the run."""

    only: Annotated[
        list[str] | None,
        Option(Role.COMMAND, _LOG, names=Names.FILE),
        Parameter(group=UNDOING, negative="", metavar="ID|FILE"),
        EVERYDAY,
    ] = None
    """Only these accounts: an id of any type that the backup has, such as an email, or a file of ids. Repeatable."""

    from_backup: Annotated[list[PathOrStore] | None, _OF_THE_RUN, Parameter(group=UNDOING, negative="")] = None
    """A backup of the run, or its copy of the memberships, that has moved. Name every one that has. A backup in a store
    is always named. Repeatable."""

    records_of: Annotated[list[Path] | None, Option(Role.COMMAND), Parameter(group=UNDOING, negative=""), EVERYDAY] = (
        None
    )
    """An earlier run on the same accounts, such as a disabling: its place. The records of its backup take the
    place of those that were copied before the deletion. Repeatable; the last one counts."""

    without_memberships: Annotated[bool, Option(Role.COMMAND, _LOG), Parameter(group=UNDOING), Flag] = False
    """Bring back the accounts only, not their groups and roles: for a run whose copy of them is lost."""

    @property
    def for_run(self) -> Settings:
        """The settings of the run that creates the accounts. Its export is JSON Lines of records.

        Their ids may have any shape, because the API itself gave them.
        """
        shared = {one.name: getattr(self, one.name) for one in fields(SendingSettings)}
        return Settings(**shared, format="jsonl", id_pattern=".*")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class VerifySettings(CommonSettings):
    """The options of `verify`."""

    sample: Annotated[int | None, Parameter(group=CHECKING), count(1), EVERYDAY] = None
    """Read back this many ids, spread evenly over all; a resume reads back the same ones. Default: all."""

    again: Annotated[bool, Parameter(group=CHECKING), Flag, EVERYDAY] = False
    """Start over instead of resuming; the earlier findings are moved aside."""

    export: Annotated[str | None, Parameter(group=CHECKING), EVERYDAY] = None
    """A copy of the export, where `forget` has removed the rows of the run."""

    state: Annotated[Path | None, Parameter(group=CHECKING), EVERYDAY] = None
    """Where the progress of the verification is kept. Default: verify.jsonl in the place of the run."""
