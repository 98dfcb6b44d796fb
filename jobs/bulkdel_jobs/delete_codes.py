"""The jobs `delete-groups`, `delete-roles` and `delete-resources`: GenAuth's (Authing's) batch calls by code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.job import Job, Target, TargetOptions
from bulkdel_jobs.genauth.codes import CODE, DEFAULT_NAMESPACE, Coded, CodeLookUps, DeleteByCode
from bulkdel_jobs.genauth.endpoints import IDS_MAX
from bulkdel_jobs.genauth.target import COLUMNS, CONFIG_TABLE, Calls, find_target, sandbox_target

if TYPE_CHECKING:
    from bulkdel_jobs.sandbox.pool import Pool

GROUPS = Coded("/api/v3/delete-groups-batch", "/api/v3/get-group", "/api/v3/list-groups")
ROLES = Coded("/api/v3/delete-roles-batch", "/api/v3/get-role", "/api/v3/list-roles")
RESOURCES = Coded("/api/v3/delete-resources-batch", "/api/v3/get-resources-batch", "/api/v3/list-resources", batch=True)

CODES: Mapping[str, IdType] = {CODE.name: CODE}
NAMES = {"done": "deleted", "absent": "absent"}


def calls_of(things: Coded, within: Namespace | None = None) -> Calls:
    """Make the part of the target that deletes things by code."""
    if within is not None:
        things = replace(things, namespace=within.namespace)
    return Calls(lambda _id_type: DeleteByCode(things), lambda _id_type, *, full=False: CodeLookUps(things))  # noqa: ARG005


@dataclass(frozen=True)
class Namespace:
    """Where the roles or resources are."""

    namespace: str = DEFAULT_NAMESPACE
    """The permission space that they belong to."""


class DeleteGroups(Job):
    """`bulkdel.job.Job`."""

    contract = 2
    name = "delete-groups"
    summary = "delete groups of a GenAuth or Authing user pool, and their memberships (delete-groups-batch)"
    chunk_max = IDS_MAX
    config_table = CONFIG_TABLE
    words = OutcomeWords(names=NAMES, noun="group", columns=COLUMNS)
    id_types = CODES
    id_type_default = CODE.name
    fires = "the webhook `group:deleted`, once for each group"

    def target(self, options: TargetOptions) -> Target:
        """Find host and credentials."""
        return find_target(options, calls_of(GROUPS))

    def sandbox(self, ids: Iterable[str], id_type: IdType, parameters: Any) -> AbstractContextManager[Target]:  # noqa: ARG002
        """Start the look-alike with a group for each of `ids`."""

        def fill(pool: Pool) -> None:
            for code in ids:
                pool.access.add_group(code)

        return sandbox_target(calls_of(GROUPS), fill)


class DeleteRoles(Job):
    """`bulkdel.job.Job`."""

    contract = 2
    name = "delete-roles"
    summary = "delete roles of a GenAuth or Authing user pool, and their assignments (delete-roles-batch)"
    chunk_max = IDS_MAX
    config_table = CONFIG_TABLE
    words = OutcomeWords(names=NAMES, noun="role", columns=COLUMNS)
    id_types = CODES
    id_type_default = CODE.name
    parameters = Namespace
    fires = "the webhook `role:delete`, once for each role"

    def target(self, options: TargetOptions) -> Target:
        """Find host and credentials."""
        return find_target(options, calls_of(ROLES, options.parameters))

    def sandbox(self, ids: Iterable[str], id_type: IdType, parameters: Namespace) -> AbstractContextManager[Target]:  # noqa: ARG002
        """Start the look-alike with a role for each of `ids`."""

        def fill(pool: Pool) -> None:
            for code in ids:
                pool.access.add_role(code, namespace=parameters.namespace)

        return sandbox_target(calls_of(ROLES, parameters), fill)


class DeleteResources(Job):
    """`bulkdel.job.Job`."""

    contract = 2
    name = "delete-resources"
    summary = "delete resources of a GenAuth or Authing user pool, and their grants (delete-resources-batch)"
    chunk_max = IDS_MAX
    config_table = CONFIG_TABLE
    words = OutcomeWords(names=NAMES, noun="resource", columns=COLUMNS)
    id_types = CODES
    id_type_default = CODE.name
    parameters = Namespace
    fires = "the webhook `resource:delete`, in which GenAuth lists the codes"

    def target(self, options: TargetOptions) -> Target:
        """Find host and credentials."""
        return find_target(options, calls_of(RESOURCES, options.parameters))

    def sandbox(self, ids: Iterable[str], id_type: IdType, parameters: Namespace) -> AbstractContextManager[Target]:  # noqa: ARG002
        """Start the look-alike with a resource for each of `ids`."""

        def fill(pool: Pool) -> None:
            for code in ids:
                pool.access.add_resource(code, parameters.namespace)

        return sandbox_target(calls_of(RESOURCES, parameters), fill)
