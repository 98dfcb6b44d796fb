"""Checks of what the file of a batch may name. Another person may have written it, so it is data. Reads no file.

It may set the options of a closed list. Files that are written, and files whose content is sent as it is, lie in the
folder of the file. A host or an address that only the file names is not asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from bulkdel.command_line import TO_TYPE, CommandLine
from bulkdel.core.address import Address, address_of, beginning_of, is_below
from bulkdel.core.option import ENV_PREFIX, file_variable_of, variable_of
from bulkdel.errors import UsageError
from bulkdel.format import shown
from bulkdel.options import FROM_BATCH
from bulkdel.settings import Settings

SETTINGS = frozenset(one.name for one in fields(Settings))
"""The options of `run`."""

OF_THE_BATCH = {
    "confirm": "the batch is confirmed as a whole",
    "json": "`bulkdel batch … --json` has it",
    "log_format": "the log of each run is JSON",
    "listen": "`bulkdel batch run --listen` serves one page for all runs",
    "shards": "the runs of a batch are processes already",
    "on": "`bulkdel batch run --on` says it for all runs",
    "take_over": "the batch says it where it places a run again",
    "config": "`bulkdel batch … --config` names one for all runs",
    "confirm_host": "`bulkdel batch … --host` names a protected host: no file confirms it",
}
"""Options of `run` that a batch sets itself, and what to use instead."""

RUN_KEYS = sorted((SETTINGS & FROM_BATCH) - OF_THE_BATCH.keys())
"""The options of `run` that the file may set."""

BY_VARIABLE = frozenset(map(variable_of, ("export", "exclude")))
"""Variables of this program that `credentials` may give to a process: an address with a signature in it."""

OF_THIS_MACHINE = (variable_of("proxy"), variable_of("notify"), file_variable_of("notify"))
"""Variables of options that may hold a secret. Each child process gets them from the machine on which it starts."""

KEPT = (
    *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV"),
    *OF_THIS_MACHINE,
)
KEPT_BEGINNINGS = ("LC_", "LD_", "DYLD_", "PYTHON", "COVERAGE_", "SSL_CERT_", "XDG_RUNTIME_DIR", "XDG_STATE_HOME")
"""The variables that each child process gets, besides its credentials and those that set a table of the config.

It gets no others: a job reads its credentials from any variable that its author or the config names.
"""

OF_BUCKETS = ("AWS_", "AZURE_", "GOOGLE_", "IDENTITY_", "MSI_")
"""The beginnings of the variables with which object stores are read. A run has them only if it names such a store."""

_ELSEWHERE = ("_FILE", "_URI", "_URL")
"""The endings of such variables that name a file or an address with a credential."""

WORDS_OF_SECRETS = frozenset(
    {
        *("ACCOUNT", "APIKEY", "AUTH", "CLIENT", "CREDENTIAL", "CREDENTIALS", "ID", "KEY", "LOGIN", "PASS"),
        *("PASSWORD", "SECRET", "TOKEN", "USER", "USERNAME"),
    }
)
"""A variable that the file of a batch may give to a process has one of these words in its name."""

_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def check_options(where: str, names: Iterable[str]) -> None:
    """Refuse an option of `run` that the file may not set. Raises UsageError that says where it belongs."""
    for name in names:
        if name in OF_THE_BATCH:
            raise UsageError(f"{where}, {name}: cannot be given for one run; {OF_THE_BATCH[name]}. Leave it out")
        if name in SETTINGS and name not in FROM_BATCH:
            raise UsageError(
                f"{where}, {name}: no file of a batch may set it, because another person may have written the file. "
                f"Write it into [run] of a config of your own, and type --config FILE. Leave it out here"
            )


def check_inside(base: Path, name: str, where: str) -> None:
    """Refuse a file that is not in the folder of the batch. Raises UsageError. base: that folder."""
    inside = Path(os.path.realpath(base / name)).is_relative_to(os.path.realpath(base))
    if not inside or Path(name).is_absolute() or name.startswith("~") or address_of(name) is not None:
        raise UsageError(
            f"{where}: {shown(name)} is not in the folder of this file. Name a file in it, by a path without .. and ~"
        )


def check_variable(name: str, where: str) -> None:
    """Refuse a variable that is no credential, such as one that Python reads. Raises UsageError.

    Nor may it be one that each process has from this machine (`KEPT`). Of the variables of this program, only those
    with an address may be given (`BY_VARIABLE`).
    """
    own = name.startswith((ENV_PREFIX, f"_{ENV_PREFIX}")) or name in KEPT or name.startswith(KEPT_BEGINNINGS)
    elsewhere = name.startswith(OF_BUCKETS) and name.endswith(_ELSEWHERE)
    credential = _NAME.fullmatch(name) and not WORDS_OF_SECRETS.isdisjoint(name.split("_"))
    if name in BY_VARIABLE or (credential and not own and not elsewhere):
        return
    raise UsageError(
        f"{where}: a batch may set credentials only. Their names have one of these words: "
        f"{', '.join(sorted(WORDS_OF_SECRETS))}. None of a store ends with {', '.join(_ELSEWHERE)}"
    )


def check_source(source: str, name: str, where: str) -> None:
    """Refuse a variable of this machine whose value a file may not pick as this credential. Raises UsageError.

    source: its name. It is not shown: the file may have the secret in its place. name: of the variable that the job
    reads.
    """
    if source != name and not (source.isidentifier() and source.endswith(f"_{name}")):
        raise UsageError(
            f"{where}: is not the name of an environment variable that ends with _{name}, and no file of a batch sends "
            f"any other. Write such a name, as OTHER_{name}, for the variable that has the secret, or use "
            "credentials_file"
        )


def check_addresses(path: Path, places: Iterable[str], typed: Sequence[str], line: CommandLine) -> None:
    """Refuse an address that only the file of a batch names, before it is asked. Raises UsageError.

    places: the paths and addresses in the file. typed: the addresses, or beginnings of addresses, that the user has
    typed. line: the command, with these.
    """
    known = [_address(text) for text in typed]
    found = (address for place in places if (address := address_of(place)) is not None)
    others = {beginning_of(address): None for address in found if not any(is_below(address, one) for one in known)}
    if others:
        line = line.plus("--address", *typed, *[TO_TYPE] * len(others))
        raise UsageError(
            f"{path}: names {', '.join(map(shown, others))}. No address is asked that only a file names. Nothing was "
            f"sent. If it is meant, type it for {TO_TYPE}:\n  {line}"
        )


def _address(text: str) -> Address:
    if (address := address_of(text)) is None:
        raise UsageError(f"--address {text!r}: is not an address, such as s3://bucket/night")
    return address
