"""Checks an address in the place of a file. Refuses one that cannot be read, with the command that pipes it."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

from bulkdel.command_line import CommandLine
from bulkdel.core.address import HIDDEN, SCHEMES, Address, address_of
from bulkdel.errors import UsageError
from bulkdel.run_place import default_place

_COLLAPSED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/[^/].*")
"""An address that was a `Path`, which makes one slash of two."""


def check_export(export: str, line: CommandLine) -> None:
    """Raise UsageError when `export` is an address that cannot be read. line: printed back, with a pipe before it."""
    address = address_of(export)
    if address is None:
        return
    _check(address)
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


def check_exclude(name: str | Path) -> None:
    """Raise UsageError when an exclude file is an address that cannot be read."""
    if isinstance(name, Path) and (found := _COLLAPSED.fullmatch(str(name))) and found[1].lower() in SCHEMES:
        raise UsageError(f"--exclude {name}: give an address as a text, because a Path has changed it")
    address = address_of(str(name))
    if address is None:
        return
    _check(address)
    if address.scheme not in SCHEMES:
        raise UsageError(
            f"--exclude {address.shown}: bulkdel reads {_schemes()} and files. Nothing was read. Copy it first:\n"
            f"  curl -fsSL {shlex.quote(address.shown)} > {shlex.quote(address.name)}"
        )


def _check(address: Address) -> None:
    if (fault := address.fault) is not None:
        raise UsageError(f"{address.shown}: {fault}")


def _schemes() -> str:
    return ", ".join(f"{scheme}://" for scheme in SCHEMES if scheme != "http")
