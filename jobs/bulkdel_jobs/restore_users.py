"""The job `restore-users`: creates users again from the records of a backup, by GenAuth's V3 call create-users-batch.

It is the undo of `delete-users`: `bulkdel restore` makes its export. Its plan says what comes back, and what does not.
`genauth.create_users` has the request, and the look-ups by the keys of a user.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bulkdel.core.id_type import IdType
from bulkdel.core.log_entries import MADE
from bulkdel.core.outcome import OutcomeWords, Reduction
from bulkdel.core.record import Record
from bulkdel.core.target_state import CREATED
from bulkdel_jobs.genauth.create_users import (
    DEPARTMENTS,
    FIELDS,
    IDENTITIES,
    KEYS,
    CreatedUserLookUps,
    CreateUsersBatch,
    reductions,
)
from bulkdel_jobs.genauth.genauth_job import COLUMNS, GenAuthJob, JobCalls
from bulkdel_jobs.genauth.id_types import USER_IDS

if TYPE_CHECKING:
    from bulkdel_jobs.sandbox.pool import Pool

PASSWORDS: Mapping[str, tuple[Mapping[str, bool], str]] = {
    "none": ({}, "none; a user has to set one before the next sign-in with a password"),
    "generate": ({"autoGeneratePassword": True}, "GenAuth generates one for each user, and nothing shows it"),
    "reset-on-first-login": (
        {"resetPasswordOnFirstLogin": True},
        "GenAuth asks for a new one at the first sign-in",
    ),
}
"""What to ask of the API for each policy, and what the plan says of it."""

NOT_BACK = (
    ("userId", "GenAuth gives each user a new one. The map has old and new; systems that keep the old one need it"),
    ("createdAt, lastLogin, loginsCount, lastIp", "they begin anew, like all other dates and counters"),
    ("passwords", "no call returns them"),
    ("sessions, tokens", "they ended with the user"),
    ("MFA, OTP, devices", "no call puts them back"),
    ("identityId, tokens of identities", "the API does not show them"),
    ("login history, real-name record, sync relations", "no call returns them"),
    ("source of the user", "it becomes adminCreated"),
    ("application, resource and data grants, posts, tenants", "the backup does not have them"),
    ("leader, main department, day of joining", "create-users-batch takes department ids only"),
)
"""What no call brings back, and why. Source: the vendor's models for creating a user."""


@dataclass(frozen=True)
class Restoring:
    """What the users get in place of their passwords."""

    passwords: Literal["none", "generate", "reset-on-first-login"]
    """Passwords cannot be restored. none: the users have none; generate: GenAuth makes one for each user;
    reset-on-first-login: GenAuth asks each user for a new one."""


class RestoreUsers(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "restore-users"
    summary = "create deleted users of a GenAuth or Authing user pool again, from a backup (create-users-batch)"
    words = OutcomeWords(
        names={"done": "restored", "already": "already there"},
        verb="restore",
        columns={**COLUMNS, "newUserId": MADE, "taken": "detail.taken"},
    )
    id_types = USER_IDS
    target_state = CREATED
    parameters = Restoring
    undo = "delete-users"
    fires = "the webhooks `register` and `user:created`; your own systems may send welcome mails on them"
    takes_records = True
    look_up_requests = len(KEYS)

    def calls(self, parameters: Restoring) -> JobCalls:
        """See `GenAuthJob`."""
        options, _ = PASSWORDS[parameters.passwords]
        return JobCalls(lambda _id_type: CreateUsersBatch(options), lambda *_, **__: CreatedUserLookUps())

    def plan_lines(self, parameters: Restoring) -> Sequence[tuple[str, str]]:
        """What comes back, and what does not. docs/restore.md has each field, and why one does not come back."""
        first = [*KEYS.values(), "status", "name", "customData"]
        more = len({*FIELDS} - {*first, DEPARTMENTS, IDENTITIES})
        (new_id, why), *lost = NOT_BACK
        keys = ", ".join(KEYS.values())
        return [
            ("comes back", f"{', '.join(first)} and {more} more fields, as they stand in the backup"),
            ("comes back", f"{DEPARTMENTS} and {IDENTITIES}, where the department or the source still exists"),
            ("is lost", f"{new_id}: {why}"),
            ("is lost", f"{', '.join(names for names, _ in lost)}. `bulkdel help restore` says why"),
            ("passwords", PASSWORDS[parameters.passwords][1]),
            ("mails", "the API is asked to send none"),
            ("uncertain", f"whether a user without any of {keys} was created, when no response came"),
            ("is refused", f"a row whose {' or '.join(KEYS.values())} another user has now; that user stays as it is"),
        ]

    def reductions(self, record: Record) -> Sequence[Reduction]:
        """See `Job`: a department or an identity that no longer exists costs that field, not the user."""
        return list(reductions(record))

    def fill(self, pool: Pool, ids: Iterable[str], id_type: IdType, parameters: Any) -> None:
        """Put nothing into the sandbox: the users are gone."""
