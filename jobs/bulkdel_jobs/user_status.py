"""The jobs `disable-users` and `enable-users`: GenAuth's (Authing's) V3 call update-user-batch, which answers per id.

Each undoes the other. Both send user ids and a status, and no other field.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.core.target_state import TargetState
from bulkdel.errors import UsageError
from bulkdel_jobs.genauth.endpoints import UserLookUps
from bulkdel_jobs.genauth.id_types import USER_IDS
from bulkdel_jobs.genauth.job import GenAuthJob
from bulkdel_jobs.genauth.target import COLUMNS, Calls
from bulkdel_jobs.genauth.user_status import (
    RESIGNED,
    SETTABLE,
    SUSPENDED,
    UpdateStatus,
    Wanted,
    has_wanted,
    read_statuses,
)

if TYPE_CHECKING:
    from bulkdel_jobs.sandbox.pool import Pool

DISABLED_AT = "2024-01-01T00:00:00.000Z"
"""When the users of the look-alike were disabled."""

FIRES = "the webhooks `user:updated`, and `user:blocked` or `user:unblocked`, once for each user"


def calls_of(wanted: Wanted) -> Calls:
    """Make the part of the target that sets each user to its wanted status."""
    return Calls(lambda _id_type: UpdateStatus(wanted), partial(UserLookUps, state=has_wanted(wanted)))


class DisableUsers(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "disable-users"
    summary = "disable users of a GenAuth or Authing user pool: status Suspended (update-user-batch)"
    words = OutcomeWords(
        names={"done": "disabled", "already": "already disabled", "absent": "absent"}, verb="disable", columns=COLUMNS
    )
    id_types = USER_IDS
    target_state = TargetState("disabled", "not disabled", absence_reaches=False)
    undo = "enable-users"
    fires = FIRES

    def undo_options(self, backup: str | None) -> Sequence[tuple[str, str]]:
        """The status that each user had, where it is known."""
        return [("--from-backup", backup) if backup is not None else ("--status", "Activated")]

    def calls(self, parameters: Any) -> Calls:  # noqa: ARG002 - it has none
        """See `GenAuthJob`."""
        return calls_of(lambda _id: SUSPENDED)


@dataclass(frozen=True)
class Enabling:
    """Which status the users get. One of the two has to be given."""

    # No Literal: for the word "activated" the command line would suggest "Deactivated".
    status: str | None = None
    """Activated, Suspended, Archived or Deactivated, for every user; with --from-backup, for users not in it."""

    from_backup: Path | None = None
    """A file that --backup has written. Each user gets the status that it had then."""

    def wanted(self) -> Wanted:
        """Return the status of each user. Reads the backup: UsageError or NotAcceptable if it cannot be used."""
        if self.status not in {None, *SETTABLE}:
            raise UsageError(f"enable-users, --status {self.status!r}: give one of {', '.join(SETTABLE)}")
        if self.from_backup is None:
            if self.status is None:
                raise UsageError(
                    "enable-users: which status do the users get? Give --from-backup FILE with the backup of the "
                    "disable-users run, or --status Activated"
                )
            return lambda _id: self.status
        backed = read_statuses(self.from_backup)

        def wanted(id_: str) -> str | None:
            status = backed.get(id_, self.status)
            # What an update to this status does, other than a resignation, is not documented.
            return None if status == RESIGNED else status

        return wanted


class EnableUsers(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "enable-users"
    summary = "enable users of a GenAuth or Authing user pool, or restore their status (update-user-batch)"
    words = OutcomeWords(
        names={"done": "enabled", "already": "already enabled", "absent": "absent"}, verb="enable", columns=COLUMNS
    )
    id_types = USER_IDS
    target_state = TargetState("enabled", "not enabled", absence_reaches=False)
    parameters = Enabling
    undo = "disable-users"
    fires = FIRES

    def calls(self, parameters: Enabling) -> Calls:
        """See `GenAuthJob`."""
        return calls_of(parameters.wanted())

    def fill(self, pool: Pool, ids: Iterable[str], id_type: IdType, parameters: Enabling) -> None:  # noqa: ARG002
        """A disabled user for each of `ids`."""
        pool.add_ids(ids)
        for user in pool.alive():
            pool.change(user, {"status": SUSPENDED}, DISABLED_AT)
