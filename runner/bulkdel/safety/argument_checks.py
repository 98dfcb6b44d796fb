"""The checks of the options, the config and the parameters of a run, and of a change while it runs.

Nothing is opened for them. UsageError is exit 2.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from bulkdel.command_line import CommandLine
from bulkdel.core.address import HIDDEN, SCHEMES, Address, address_of
from bulkdel.core.id_type import IdType
from bulkdel.core.log_entries import Changed
from bulkdel.core.pace import Wish
from bulkdel.core.page_access import Right
from bulkdel.core.shards import RAY, shard_numbers
from bulkdel.errors import NotAcceptable, TooLate, UsageError
from bulkdel.export.encoding import encoding_named
from bulkdel.format import did_you_mean, shown, until_words
from bulkdel.http.shared_rate import ADDRESS
from bulkdel.job import Job, loadable_jobs
from bulkdel.parameters import check_values
from bulkdel.run_place import default_place
from bulkdel.safety.protect import IDS_MAX, PROTECT, RATE_MAX, ids_max, rate_max
from bulkdel.safety.run_plan import OpenedRun, RunArguments, RunPlan
from bulkdel.times import until_of

_COLLAPSED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/[^/].*")
"""An address that was a `Path`, which makes one slash of two."""

LISTEN, TOKENS = "listen", tuple(right.value for right in Right)
"""The table of the config with the tokens of the live page, and its members."""


def check_config(arguments: RunArguments) -> None:
    """Refuse a config with a table that has no effect, or a limit in [protect] that is no number. Raises UsageError."""
    if arguments.config:
        tables = {"run", PROTECT, LISTEN, *(job.config_table for job in loadable_jobs())}
        for name, value in arguments.config.items():
            if name not in tables or not isinstance(value, dict):  # it would have no effect
                raise UsageError(f"--config: {name!r} is no table of it; its tables are {', '.join(sorted(tables))}")
    rate_max(arguments.config)
    ids_max(arguments.config)


def check_options(arguments: RunArguments) -> None:
    """Refuse options and parameters of the job that cannot work. Raises UsageError."""
    arguments.settings.check(arguments.job.chunk_max)
    check_values(arguments.job, arguments.parameters)
    if arguments.settings.backup_memberships and arguments.job.memberships is None:
        raise UsageError(
            f"--backup-memberships: {arguments.job.name} has no memberships to copy. Leave --backup-memberships out"
        )


def check_addresses(arguments: RunArguments) -> None:
    """Refuse an address of the export or of an exclude file that cannot be read. Raises UsageError."""
    if not arguments.settings.as_confirmed:  # else it is not read
        check_export_address(arguments.export, arguments.line)
    for path in arguments.settings.exclude or ():
        check_exclude_address(path)


def check_export_address(export: str, line: CommandLine) -> None:
    """Raise UsageError when `export` is an address that cannot be read. line: printed back, with a pipe before it."""
    if (address := _address_in(export)) is None:
        return
    if HIDDEN in export:
        raise UsageError(f"{address.shown}: a printed command hides what may be a secret. Type the whole address")
    if address.scheme not in SCHEMES:
        if "--run" not in line.options:
            line = line.plus("--run", default_place(line.names[0], address.name, sandbox="--sandbox" in line.options))
        line = replace(line, names=(*line.names[:-1], "-"))
        raise UsageError(
            f"{address.shown}: bulkdel reads {_schemes()} and files. Nothing was read. To pipe it:\n"
            f"  curl -fsSL {shlex.quote(address.shown)} | {line}"
        )


def check_exclude_address(name: str | Path) -> None:
    """Raise UsageError when an exclude file is an address that cannot be read."""
    if isinstance(name, Path) and (found := _COLLAPSED.fullmatch(str(name))) and found[1].lower() in SCHEMES:
        raise UsageError(f"--exclude {name}: give an address as a text, because a Path has changed it")
    address = _address_in(str(name))
    if address is not None and address.scheme not in SCHEMES:
        raise UsageError(
            f"--exclude {address.shown}: bulkdel reads {_schemes()} and files. Nothing was read. Copy it first:\n"
            f"  curl -fsSL {shlex.quote(address.shown)} > {shlex.quote(address.name)}"
        )


def _address_in(name: str) -> Address | None:
    """The address that a name is; None for the name of a file. Raises UsageError for one that cannot be read."""
    address = address_of(name)
    if address is not None and address.fault is not None:
        raise UsageError(f"{address.shown}: {address.fault}")
    return address


def _schemes() -> str:
    return ", ".join(f"{scheme}://" for scheme in SCHEMES if scheme != "http")


def check_reading(arguments: RunArguments) -> None:
    """Refuse ways to read the export that do not exist, or that the job does not have. Raises UsageError."""
    job, settings = arguments.job, arguments.settings
    checked_id_type(job, settings.id_type)
    if settings.encoding is not None:
        encoding_named(settings.encoding)
    if job.takes_records and settings.format not in {"auto", "jsonl"}:
        raise UsageError(f"--format {settings.format}: {job.name} takes whole records, one JSON object a line")
    if job.takes_records and settings.keeps_backup:
        raise UsageError(f"--backup: {job.name} changes no record that could be kept. Leave --backup out")
    for guard in settings.guards.given if job.takes_records else ():
        raise UsageError(f"{guard.option}: {job.name} creates what is not there; it spares nothing. Leave it out")


def checked_id_type(job: Job, asked: str | None) -> IdType:
    """Return the id type that was asked for, or the job's own. Raises UsageError for one that the job does not know."""
    name = asked or job.id_type_default
    if name not in job.id_types:
        raise UsageError(
            f"--id-type {name!r}: {job.name} knows {', '.join(job.id_types)}.{did_you_mean(name, job.id_types)}"
        )
    return job.id_types[name]


def listen_tokens(config: Mapping[str, Any]) -> dict[str, Path]:
    """The files with the tokens of the live page, by what each allows. Raises UsageError."""
    table = config.get(LISTEN, {})
    if not isinstance(table, Mapping):
        raise UsageError(f"config, {LISTEN}: is a table with the files of tokens. The address stands in [run]")
    for name, value in table.items():
        if name not in TOKENS or not (isinstance(value, str) and value.strip()):
            keys = " and ".join(TOKENS)
            raise UsageError(f"config, [{LISTEN}] {shown(name)}: its keys are {keys}; each names a file with a token")
    return {name: Path(value).expanduser() for name, value in table.items()}


def check_page(arguments: RunArguments) -> dict[str, Path]:
    """The files with the tokens of the page. Raises UsageError where others could read the page without one."""
    address, tokens = arguments.settings.listen_address, listen_tokens(arguments.config)
    if address is not None and not (address.loopback or tokens):
        raise UsageError(
            f"--listen {arguments.settings.listen}: other machines could read the page. Name a file with a token in "
            'the config, so that the page asks for it ([listen] read = "page.token"), or listen on 127.0.0.1'
        )
    return tokens


def check_shards(opened: OpenedRun) -> None:
    """Refuse what a run in several processes cannot do. Raises UsageError."""
    arguments, log = opened.arguments, opened.log
    settings, wanted = arguments.settings, arguments.settings.shard_count
    if log is not None:
        wanted = len(shard_numbers(log.header))  # a resume keeps the cut
    if wanted <= 1:
        if settings.on == RAY and log is None:
            raise UsageError(f"--shards {settings.shards}: give 2 or more, for a process on a node for each")
        return
    for option, given, way in (
        ("--sandbox", settings.sandbox, "Start `bulkdel sandbox` and name it with --host"),
        ("--backup-memberships", settings.backup_memberships, "Leave --shards out, or the copy of the memberships"),
        ("`bulkdel batch`", ADDRESS in arguments.environ, "Leave it out: the runs of a batch are processes already"),
    ):
        if given:
            raise UsageError(f"--shards: cannot be used with {option}. {way}")
    if arguments.job.target_state.created:
        raise UsageError(f"--shards: {arguments.job.name} creates accounts, which one process does. Leave --shards out")


def check_until(opened: OpenedRun) -> None:
    """Refuse a --not-after that has passed. Raises UsageError, and TooLate in a run of a batch.

    The batch has given its process a time that had not passed then.
    """
    arguments, at, now = opened.arguments, opened.until, opened.now
    if at is None or at > now:
        return
    text = arguments.settings.not_after
    passed = f"--not-after {text!r}: has passed; it is {until_words(now.astimezone(at.tzinfo))}. Nothing was sent"
    if ADDRESS in arguments.environ and arguments.command == "run":
        raise TooLate(passed)
    raise UsageError(f"{passed}. Give a later time, or leave --not-after out")


def check_max(plan: RunPlan) -> None:
    """Refuse more ids than the config allows for one run. Raises NotAcceptable."""
    if plan.arguments.undoes is not None or plan.complete:  # a restore brings accounts back
        return
    most, ids, verb = ids_max(plan.arguments.config), plan.ids, plan.words.verb
    if most is not None and ids > most:
        raise NotAcceptable(
            f"{plan.export.path}: asks to {verb} {ids:,} ids, and [{PROTECT}] {IDS_MAX} of the config allows {most:,}. "
            "Nothing was sent. Is it the right export? If so, raise the number in the config."
        )


def check_change(arguments: RunArguments, wish: Wish, now: datetime) -> None:
    """Refuse a change of a running session to a value that cannot work. Raises UsageError."""
    settings, value = arguments.settings, wish.value
    if wish.what is Changed.RATE:
        rate, highest = cast("float", value), rate_max(arguments.config)
        replace(settings, rate=rate).check()
        if highest is not None and not 0 < rate <= highest:
            asked = f"{rate:g} requests/s" if rate else "0 is unlimited"
            raise UsageError(f"rate: {asked}, and [{PROTECT}] {RATE_MAX} of the config allows {highest:g}")
    elif wish.what is Changed.CONCURRENCY:
        replace(settings, concurrency=cast("int", value)).check()
    elif wish.what is Changed.UNTIL:
        until = until_of(cast("str", value), now, "until")
        if until <= now:
            raise UsageError(f"until {value}: is in the past. `stop` ends the run now")
        approved = None if arguments.approved is None else arguments.approved.values["not_after"]
        if approved is not None and until > datetime.fromisoformat(approved):
            raise UsageError(
                f"until {value}: the plan of this run was approved until {approved}, and for no later time"
            )
