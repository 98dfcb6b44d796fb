"""The job `delete-public-accounts`: the twin of `delete-users` for public (shared) accounts, at other paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.job import Job, Target, TargetOptions
from bulkdel_jobs.genauth.endpoints import IDS_MAX, PUBLIC_ACCOUNTS, DeleteUsersBatch, UserLookUps
from bulkdel_jobs.genauth.id_types import ID_TYPES
from bulkdel_jobs.genauth.target import COLUMNS, CONFIG_TABLE, Calls, find_target, sandbox_target

CALLS = Calls(partial(DeleteUsersBatch, paths=PUBLIC_ACCOUNTS), partial(UserLookUps, paths=PUBLIC_ACCOUNTS))


class DeletePublicAccounts(Job):
    """`bulkdel.job.Job`."""

    contract = 2
    name = "delete-public-accounts"
    summary = "delete public accounts of a GenAuth or Authing user pool (delete-public-accounts-batch)"
    chunk_max = IDS_MAX
    config_table = CONFIG_TABLE
    words = OutcomeWords(names={"done": "deleted", "absent": "absent"}, noun="public account", columns=COLUMNS)
    # The record of a public account has no identities, by which the other two types are matched.
    id_types: Mapping[str, IdType] = {
        name: id_type for name, id_type in ID_TYPES.items() if name not in {"identity", "sync_relation"}
    }
    id_type_default = "user_id"
    fires = "the webhook `user:deleted`, as far as GenAuth documents it"

    def target(self, options: TargetOptions) -> Target:
        """Find host and credentials."""
        return find_target(options, CALLS)

    def sandbox(self, ids: Iterable[str], id_type: IdType, parameters: Any) -> AbstractContextManager[Target]:  # noqa: ARG002
        """Start the look-alike with a public account for each of `ids`."""
        return sandbox_target(CALLS, lambda pool: pool.add_ids(ids, id_type.name), public=True)
