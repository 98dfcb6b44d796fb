"""The job `delete-users`: GenAuth's (Authing's) V3 call delete-users-batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bulkdel.core.outcome import OutcomeWords
from bulkdel_jobs.genauth.endpoints import DeleteUsersBatch, UserLookUps
from bulkdel_jobs.genauth.job import GenAuthJob
from bulkdel_jobs.genauth.memberships import UserMemberships
from bulkdel_jobs.genauth.target import COLUMNS, Calls

CALLS = Calls(DeleteUsersBatch, UserLookUps)


class DeleteUsers(GenAuthJob):
    """`bulkdel.job.Job`; the entry point names this class."""

    name = "delete-users"
    summary = "delete users of a GenAuth or Authing user pool (delete-users-batch)"
    words = OutcomeWords(
        names={"done": "deleted", "absent": "absent"},
        keys={"done": "deleted", "absent": "absent"},
        columns=COLUMNS,
    )
    undo = "restore-users"
    fires = "the webhook `user:deleted`, in which GenAuth lists the deleted users"
    memberships = UserMemberships()

    def undo_options(self, backup: str | None) -> Sequence[tuple[str, str]]:  # noqa: ARG002 - it takes records
        """No passwords. GenAuth has none to give back, and the other ways change what users are asked for."""
        return [("--passwords", "none")]

    def calls(self, parameters: Any) -> Calls:  # noqa: ARG002 - it has none
        """See `GenAuthJob`."""
        return CALLS
