"""A plan that was read from a file, and the words that it gives to a run.

`core.plan_file` has the rules, `safety.as_planned` compares. Nothing here writes or sends. Every refusal is exit 2.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from bulkdel.command_line import CommandLine
from bulkdel.core.address import address_of, holds_secret
from bulkdel.core.option import foreign, option_of
from bulkdel.core.plan_file import SHA256, Edited, NoPlanFile, values_of
from bulkdel.core.run_state import RunState
from bulkdel.core.shards import names_engine, without_engine
from bulkdel.errors import NotAcceptable, UsageError
from bulkdel.format import shown, steers
from bulkdel.going_on import flags_of
from bulkdel.job import Job, load_job
from bulkdel.options import FROM_PLAN
from bulkdel.parameters import options_of
from bulkdel.person import this_person

OTHER_USER = "require_other_user"
"""A key of [protect], and a member of a plan: another user than the one that made the plan has to run it."""

BYTES_MAX = 1 << 20
"""A plan of a thousand exclude files is smaller."""


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan that was read from a file with a valid seal."""

    path: Path
    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a plan. Raises UsageError when it is none, or was changed after it was written."""
        try:
            with path.open("rb") as file:
                found = file.read(BYTES_MAX + 1)
        except OSError as error:
            raise UsageError(f"{path}: the plan cannot be read: {error.strerror}. Nothing was sent") from error
        anew = "Nothing was sent. Make the plan anew with `bulkdel plan … --out FILE`, and have it approved."
        if len(found) > BYTES_MAX:
            raise UsageError(f"{path}: is no plan: it has more than {BYTES_MAX:,} bytes. {anew}")
        try:
            plan = cls(path, values_of(found.decode()))
        except UnicodeDecodeError:
            raise UsageError(f"{path}: is no plan: it is not UTF-8. {anew}") from None
        except Edited as error:
            lines = "\n".join(map(shown, str(error).split("\n")))
            raise UsageError(
                f"{path}: was changed after `plan` wrote it. These lines differ:\n{lines}\n{anew}"
            ) from None
        except NoPlanFile as error:
            raise UsageError(f"{path}: {shown(error)}. {anew}") from None
        job = load_job(plan.names[0])
        if found_foreign := foreign(plan.options, _allowed(job)):
            raise UsageError(
                f"{path}: sets {', '.join(map(shown, found_foreign))}. No plan may: such options come from the "
                f"user who runs it. {anew}"
            )
        flags = flags_of(options_of(job))
        if lacking := [option for option, values in plan.options.items() if not values and option not in flags]:
            raise UsageError(f"{path}: has no value for {', '.join(lacking)}. {anew}")
        if any(map(steers, plan.words)):
            raise UsageError(f"{path}: its command has a word that is not one line of printable characters. {anew}")
        if found_elsewhere := [option for option, values in plan.options.items() if _elsewhere(option, values)]:
            raise UsageError(
                f"{path}: gives {', '.join(found_elsewhere)} an address or an engine. No plan may: these are "
                f"typed. {anew}"
            )
        return plan

    @property
    def sha256(self) -> str:
        """The digest over all of it."""
        return str(self.values[SHA256])

    @property
    def names(self) -> tuple[str, ...]:
        """Job and export, as they would be typed."""
        return tuple(self.values["command"]["names"])

    @property
    def options(self) -> Mapping[str, tuple[str, ...]]:
        """Each option that it gives, with its values; a flag has none."""
        return {option: tuple(values) for option, values in self.values["command"]["options"].items()}

    @property
    def words(self) -> list[str]:
        """Every word of its command."""
        return [*self.names, *self.options, *(value for values in self.options.values() for value in values)]

    @property
    def export_elsewhere(self) -> bool:
        """Whether its export is at an address. No address is asked that only a file names."""
        return address_of(self.names[1]) is not None

    @property
    def ids(self) -> int:
        """The number of ids that it confirms."""
        return int(self.values["numbers"]["ids"])

    def line(self, given: Mapping[str, Any]) -> CommandLine:
        """The command that runs it. given: options of the connection, which no plan gives."""
        line = CommandLine("run", self.names if self.export_elsewhere else ())
        return self.keeping(line.plus("--plan", self.path).plus_given(given))

    def shortened(self, line: CommandLine) -> CommandLine:
        """The command line of a run by this plan, without the words that the plan gives."""
        line = self.keeping(line)
        own = {option: values for option, values in line.options.items() if self.options.get(option) != values}
        names = () if line.names == self.names and not self.export_elsewhere else line.names
        return replace(line, names=names, options={"--plan": (str(self.path),), **own})

    def keeping(self, line: CommandLine) -> CommandLine:
        """The command with a backup, where the plan has one: no plan gives it, and a run by it needs one."""
        has = not {"--backup", "--backup-to"}.isdisjoint(line.options)
        return line.plus("--backup") if self.values["backup"] and not has else line

    def to_log(self) -> dict[str, Any]:
        """The facts of the plan in the confirmation of the log."""
        values = self.values
        return {
            SHA256: self.sha256,
            "planned_at": values["planned_at"],
            "planned_by": dict(values["planned_by"]),
            OTHER_USER: values[OTHER_USER],
        }


def this_user(claimed: str | None) -> dict[str, str | None]:
    """The user of this process: of the system, the machine, and the name that --as claims."""
    person = this_person()
    return {"user": person.user, "machine": person.machine, "as": claimed}


def is_recorded(progress: RunState | None, plan: PlanFile) -> bool:
    """Whether the log of the run has this plan as its confirmation, so that the run has begun by it."""
    if progress is None:
        return False
    known = (progress.plan, progress.header.confirmed.get("plan"))
    return any(each is not None and each.get(SHA256) == plan.sha256 for each in known)


def given_words(line: CommandLine, job: Job) -> dict[str, list[str]]:
    """The options of a command line that a plan keeps: those of its list without a secret, and those of the job."""
    allowed = _allowed(job)
    return {
        option: list(values)
        for option, values in without_engine(line.options).items()
        if option in allowed and not any(map(holds_secret, values)) and not _elsewhere(option, values)
    }


def _allowed(job: Job) -> set[str]:
    """The options that a plan of this job may set."""
    return {*map(option_of, FROM_PLAN), *options_of(job)}


def _elsewhere(option: str, values: Sequence[str]) -> bool:
    """Whether an option names an address or an engine. Both are typed."""
    at_address = option == option_of("exclude") and any(address_of(value) is not None for value in values)
    return at_address or names_engine(option, values)


def check_folder_of(export: str, plan: PlanFile) -> None:
    """Refuse a run beside an export that only a plan names, in a folder of another user. Raises NotAcceptable."""
    folder = Path(export).absolute().parent
    if folder in {Path.cwd(), plan.path.absolute().parent}:  # where the person is, or has typed that the plan is
        return
    try:
        owner = folder.stat().st_uid
    except OSError:
        return  # the export cannot be opened either
    if owner not in {os.geteuid(), 0}:
        raise NotAcceptable(
            f"{plan.path}: the run would be kept in {shown(folder)}, which belongs to another user, and only the plan "
            "names it. Nothing was sent. Name the export in the same command, or another place with --run"
        )
