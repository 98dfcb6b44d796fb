"""The job `delete-users`: GenAuth's (Authing's) V3 call delete-users-batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.job import Job, Target, TargetOptions
from bulkdel_jobs.genauth.endpoints import IDS_MAX, DeleteUsersBatch, UserLookUps
from bulkdel_jobs.genauth.id_types import ID_TYPES
from bulkdel_jobs.genauth.target import COLUMNS, CONFIG_TABLE, Calls, find_target, sandbox_target

CALLS = Calls(DeleteUsersBatch, UserLookUps)


class DeleteUsers(Job):
    """`bulkdel.job.Job`; the entry point names this class."""

    contract = 2
    name = "delete-users"
    summary = "delete users of a GenAuth or Authing user pool (delete-users-batch)"
    chunk_max = IDS_MAX
    config_table = CONFIG_TABLE
    words = OutcomeWords(
        names={"done": "deleted", "absent": "absent"},
        keys={"done": "deleted", "absent": "absent"},
        columns=COLUMNS,
    )
    id_types: Mapping[str, IdType] = ID_TYPES
    id_type_default = "user_id"
    fires = "the webhook `user:deleted`, in which GenAuth lists the deleted users"

    def target(self, options: TargetOptions) -> Target:
        """Find host and credentials."""
        return find_target(options, CALLS)

    def sandbox(self, ids: Iterable[str], id_type: IdType, parameters: Any) -> AbstractContextManager[Target]:  # noqa: ARG002
        """Start the look-alike with a user for each of `ids`."""
        return sandbox_target(CALLS, lambda pool: pool.add_ids(ids, id_type.name))
