"""The jobs `delete-users` and `delete-public-accounts`: GenAuth's (Authing's) V3 calls, the same at two paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from bulkdel.core.id_type import IdType
from bulkdel_jobs.genauth.endpoints import PUBLIC_ACCOUNTS, DeleteUsersBatch, UserLookUps
from bulkdel_jobs.genauth.genauth_job import GenAuthJob, JobCalls, outcome_words
from bulkdel_jobs.genauth.groups_and_roles import UserMemberships
from bulkdel_jobs.genauth.id_types import ID_TYPES


class DeleteUsers(GenAuthJob):
    """`bulkdel.job.Job`; the entry point names this class."""

    name = "delete-users"
    summary = "delete users of a GenAuth or Authing user pool (delete-users-batch)"
    words = outcome_words("deleted", keys={"done": "deleted", "absent": "absent"})
    undo = "restore-users"
    fires = "the webhook `user:deleted`, in which GenAuth lists the deleted users"
    memberships = UserMemberships()
    job_calls = JobCalls(DeleteUsersBatch, UserLookUps)

    def undo_options(self, backup: str | None) -> Sequence[tuple[str, str]]:  # noqa: ARG002 - it takes records
        """No passwords. GenAuth has none to give back, and the other ways change what users are asked for."""
        return [("--passwords", "none")]


class DeletePublicAccounts(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "delete-public-accounts"
    summary = "delete public accounts of a GenAuth or Authing user pool (delete-public-accounts-batch)"
    words = outcome_words("deleted", noun="public account")
    # The record of a public account has no identities, by which the other two types are matched.
    id_types: Mapping[str, IdType] = {
        name: id_type for name, id_type in ID_TYPES.items() if name not in {"identity", "sync_relation"}
    }
    public = True
    fires = "the webhook `user:deleted`, as far as GenAuth documents it"
    job_calls = JobCalls(partial(DeleteUsersBatch, paths=PUBLIC_ACCOUNTS), partial(UserLookUps, paths=PUBLIC_ACCOUNTS))
