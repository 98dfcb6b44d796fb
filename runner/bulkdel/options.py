"""Every list of options, made from the descriptions at the fields of `settings`: see `core.option`.

Here are the names of fields, as in the config file. A field that says nothing is in no list. Where two commands have an
option of one name, both say the same of it, and `run` says whether it is a flag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args, get_origin

from bulkdel.core.option import APPROVED, File, Names, Option, Role, option_of
from bulkdel.settings import PlanSettings, RestoreSettings, RunSettings

_FIELDS: Mapping[str, Any] = {
    one.name: one.type for kind in (RestoreSettings, PlanSettings, RunSettings) for one in fields(kind)
}

OPTIONS: Mapping[str, Option] = {
    name: about for name, hint in _FIELDS.items() for about in get_args(hint)[1:] if isinstance(about, Option)
}
"""The options of `restore`, `plan` and `run`, by name."""


def _of(*roles: Role) -> frozenset[str]:
    return frozenset(name for name, one in OPTIONS.items() if one.role in roles)


def _set_by(kind: File, *names: Names) -> frozenset[str]:
    return frozenset(name for name, one in OPTIONS.items() if one.may_be_set_by(kind) and one.names in (names or Names))


DECIDES = _of(*APPROVED)
MEANS = _of(Role.MEANS)
PACE = _of(Role.PACE)
COMPARED = _of(Role.COMPARED)
SHOWS = _of(Role.SHOWS)
OF_THE_MACHINE = _of(Role.MACHINE)
OF_THE_COMMAND = _of(Role.SHOWS, Role.CONFIRMS, Role.COMMAND)

CONFIRMING = tuple(map(option_of, sorted(_of(Role.CONFIRMS))))
"""As they are typed. A command that is printed for a later session leaves them out."""

MAY_DIFFER = PACE | OF_THE_MACHINE | OF_THE_COMMAND
"""Options in which a run may differ from its plan. An option in no list may not differ."""

FROM_PLAN = _set_by(File.PLAN)
FROM_BATCH = _set_by(File.BATCH)
FROM_LOG = _set_by(File.LOG)
"""The options that each kind of file may set."""

WRITTEN_BY_BATCH = _set_by(File.BATCH, Names.NEW_FILE)
OF_WHICH_RUN = _set_by(File.LOG, Names.FILE, Names.NEW_FILE) - DECIDES
"""Options that say with which run a command goes on, and with which files."""

FILES = frozenset(option_of(name) for name, one in OPTIONS.items() if one.names is not Names.NOTHING)
"""Options that name a file which moves with the run, as they are typed."""

LIMITING = frozenset(name for name in DECIDES if not OPTIONS[name].own)
"""Where the person has set one in [run] of the config, the file of the batch may not have another value."""

FLAGS_OF_LOG = frozenset(name for name in FROM_LOG if get_args(_FIELDS[name])[0] is bool)
"""Those that take no value: a word after one would be an argument of its own."""

LISTS = frozenset(
    name for name in OPTIONS if any(get_origin(one) is list for one in get_args(get_args(_FIELDS[name])[0]))
)
"""Options that have several values."""

ONCE = frozenset(name for name, one in OPTIONS.items() if one.once)
ONLY_FOUND = frozenset(name for name, one in OPTIONS.items() if one.looks)
SECRET = frozenset(name for name, one in OPTIONS.items() if one.secret)
SIGNED = frozenset(name for name, one in OPTIONS.items() if one.signed)
NOT_ASKED = frozenset(name for name, one in OPTIONS.items() if not one.asked)

TEXTS = frozenset(
    name
    for name in (DECIDES | PACE) - ONLY_FOUND - SIGNED
    if OPTIONS[name].names is Names.NOTHING and get_args(_FIELDS[name])[0] in (str, str | None)
)
"""Options with a text that a report shows. Other texts name files, hosts or secrets, or are shown elsewhere."""
