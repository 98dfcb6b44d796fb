"""A plan that was read from a file: what it gives to a run, whether it is still valid, and by whom it may be run.

`core.plan_file` has the rules, `safety.as_planned` compares. Nothing here writes or sends. Every refusal is exit 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from bulkdel.command_line import CommandLine, option_of
from bulkdel.core.address import holds_secret
from bulkdel.core.plan_file import SHA256, Edited, NoPlanFile, age_fault, is_same_user, over_fault, values_of
from bulkdel.core.run_state import Progress
from bulkdel.errors import NotConfirmed, UsageError
from bulkdel.format import printable
from bulkdel.person import this_person

OTHER_USER = "require_other_user"
"""A key of [protect], and a member of a plan: another user than the one that made the plan has to run it."""

BYTES_MAX = 1 << 20
"""A plan of a thousand exclude files is smaller."""


COMPARED_BY_MEANING = frozenset(
    {
        "host",
        "id_type",
        "exclude",
        "spare_active_since",
        "spare_created_after",
        "only_status",
        "backup",
        "not_after",
    }
)
"""Options of which not the text is compared, but what it says: the bytes of a file, an instant, a name in full."""

PACE = frozenset(
    {
        "rate",
        "concurrency",
        "chunk_size",
        "shards",
        "on",
        "drain_s",
        "patience",
        "timeout_s",
        "schedule",
        "slow_while",
        "checkpoint",
        "store",
    }
)
"""Options that may differ from the plan: the pace, and where the processes and the log are. The plan's hold where none
is given."""

OWN = frozenset(
    {
        "config",
        "ca_file",
        "proxy",
        "notify",
        "on_event",
        "archive",
        "archive_key",
        "archive_no_ids",
        "json",
        "log_level",
        "log_format",
        "progress_every",
        "take_over",
        "note",
        "listen",
        "listen_control",
        "pause_file",
        "confirm",
        "pool",
        "confirm_host",
        "out",
        "plan",
        "as_",
    }
)
"""Options of one machine, or of one command: no plan has them. An option in none of these sets may not differ."""


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan that was read from a file, and whose seal holds."""

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
            return cls(path, values_of(found.decode()))
        except UnicodeDecodeError:
            raise UsageError(f"{path}: is no plan: it is not UTF-8. {anew}") from None
        except Edited as error:
            lines = "\n".join(map(printable, str(error).split("\n")))
            raise UsageError(
                f"{path}: was changed after `plan` wrote it. These lines differ:\n{lines}\n{anew}"
            ) from None
        except NoPlanFile as error:
            raise UsageError(f"{path}: {printable(str(error))}. {anew}") from None

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
    def ids(self) -> int:
        """The number of ids that it confirms."""
        return int(self.values["numbers"]["ids"])

    def shortened(self, line: CommandLine) -> CommandLine:
        """The command line of a run by this plan, without what the plan gives."""
        own = {option: values for option, values in line.options.items() if self.options.get(option) != values}
        names = () if line.names == self.names else line.names
        return replace(line, names=names, options={"--plan": (str(self.path),), **own})

    def to_log(self) -> dict[str, Any]:
        """What the confirmation in the log says of it."""
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


def user_words(user: Mapping[str, Any]) -> str:
    """A user of a plan for people."""
    words = f"{printable(str(user.get('user') or '?'))} on {printable(str(user.get('machine') or '?'))}"
    return words if user.get("as") is None else f"{words}, as {printable(str(user['as']))} (claimed)"


def is_recorded(progress: Progress | None, plan: PlanFile) -> bool:
    """Whether the log of the run has this plan as its confirmation, so that the run has begun by it."""
    if progress is None:
        return False
    known = (progress.plan, progress.header.confirmed.get("plan"))
    return any(each is not None and each.get(SHA256) == plan.sha256 for each in known)


def check_age(plan: PlanFile, progress: Progress | None, now: float, anew: CommandLine) -> None:
    """Refuse a plan that is too old, or of the future, unless the run has begun by it, and one that is over.

    Raises NotConfirmed.

    anew: the command that makes another one. now: epoch seconds.
    """
    fault = (over_fault if is_recorded(progress, plan) else age_fault)(plan.values, now)
    if fault is not None:
        raise NotConfirmed(
            f"{plan.path}: the plan cannot be run: {fault}. Nothing was sent. Make it anew, and have it approved:\n"
            f"  {anew}"
        )


def check_user(plan: PlanFile, claimed: str | None) -> None:
    """Refuse the user that has made the plan. Raises UsageError. claimed: the name of --as."""
    planner, runner = plan.values["planned_by"], this_user(claimed)
    if is_same_user(planner, runner):
        raise UsageError(
            f"{plan.path}: was made by {user_words(planner)}, and you are {user_words(runner)}. [protect] "
            "require_other_user wants another user to run it. Nothing was sent. Let another user run this command; in "
            "CI, name the user of each job with --as"
        )


def given_words(line: CommandLine) -> dict[str, list[str]]:
    """The options of a command line that a plan keeps: no secret, and nothing of the machine or of one command."""
    own = set(map(option_of, OWN))
    return {
        option: list(values)
        for option, values in line.options.items()
        if option not in own and not any(map(holds_secret, values))
    }
