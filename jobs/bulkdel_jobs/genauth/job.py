"""What the jobs of GenAuth have in common: host and credentials, the table of the config, and the sandbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from bulkdel.core.id_type import IdType
from bulkdel.job import Job, Target, TargetOptions
from bulkdel_jobs.genauth.endpoints import IDS_MAX
from bulkdel_jobs.genauth.id_types import ID_TYPES
from bulkdel_jobs.genauth.target import CONFIG_TABLE, Calls, find_target, sandbox_target

if TYPE_CHECKING:  # a real run does not load the web server
    from bulkdel_jobs.sandbox.pool import Pool


class GenAuthJob(Job):
    """`bulkdel.job.Job`. A subclass has `name`, `summary`, `words`, `calls`, and what differs from the defaults.

    public: whether its ids are those of public accounts.
    """

    contract = 2
    chunk_max = IDS_MAX
    config_table = CONFIG_TABLE
    id_types: Mapping[str, IdType] = ID_TYPES
    id_type_default = "user_id"
    public = False

    def calls(self, parameters: Any) -> Calls:
        """Make the action and the look-ups. parameters: as in `TargetOptions`. Raises UsageError, NotAcceptable."""
        raise NotImplementedError

    def fill(self, pool: Pool, ids: Iterable[str], id_type: IdType, parameters: Any) -> None:  # noqa: ARG002
        """Put what `ids` mean into the sandbox: by default a user for each."""
        pool.add_ids(ids, id_type.name)

    def target(self, options: TargetOptions) -> Target:
        """Find host and credentials."""
        return find_target(options, self.calls(options.parameters))

    def sandbox(self, ids: Iterable[str], id_type: IdType, parameters: Any) -> AbstractContextManager[Target]:
        """Start the look-alike, and fill it."""
        calls = self.calls(parameters)
        return sandbox_target(calls, lambda pool: self.fill(pool, ids, id_type, parameters), public=self.public)
