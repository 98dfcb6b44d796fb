"""The jobs `delete-groups`, `delete-roles` and `delete-resources`: GenAuth's (Authing's) batch calls by code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel_jobs.genauth.codes import CODE, DEFAULT_NAMESPACE, Coded, CodeLookUps, DeleteByCode
from bulkdel_jobs.genauth.job import GenAuthJob
from bulkdel_jobs.genauth.target import COLUMNS, Calls

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


class DeleteGroups(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "delete-groups"
    summary = "delete groups of a GenAuth or Authing user pool, and their memberships (delete-groups-batch)"
    words = OutcomeWords(names=NAMES, noun="group", columns=COLUMNS)
    id_types = CODES
    id_type_default = CODE.name
    fires = "the webhook `group:deleted`, once for each group"

    def calls(self, parameters: Any) -> Calls:  # noqa: ARG002 - it has none
        """See `GenAuthJob`."""
        return calls_of(GROUPS)

    def fill(self, pool: Pool, ids: Iterable[str], id_type: IdType, parameters: Any) -> None:  # noqa: ARG002
        """A group for each of `ids`."""
        for code in ids:
            pool.access.add_group(code)


class DeleteRoles(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "delete-roles"
    summary = "delete roles of a GenAuth or Authing user pool, and their assignments (delete-roles-batch)"
    words = OutcomeWords(names=NAMES, noun="role", columns=COLUMNS)
    id_types = CODES
    id_type_default = CODE.name
    parameters = Namespace
    fires = "the webhook `role:delete`, once for each role"

    def calls(self, parameters: Namespace) -> Calls:
        """See `GenAuthJob`."""
        return calls_of(ROLES, parameters)

    def fill(self, pool: Pool, ids: Iterable[str], id_type: IdType, parameters: Namespace) -> None:  # noqa: ARG002
        """A role for each of `ids`."""
        for code in ids:
            pool.access.add_role(code, namespace=parameters.namespace)


class DeleteResources(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "delete-resources"
    summary = "delete resources of a GenAuth or Authing user pool, and their grants (delete-resources-batch)"
    words = OutcomeWords(names=NAMES, noun="resource", columns=COLUMNS)
    id_types = CODES
    id_type_default = CODE.name
    parameters = Namespace
    fires = "the webhook `resource:delete`, in which GenAuth lists the codes"

    def calls(self, parameters: Namespace) -> Calls:
        """See `GenAuthJob`."""
        return calls_of(RESOURCES, parameters)

    def fill(self, pool: Pool, ids: Iterable[str], id_type: IdType, parameters: Namespace) -> None:  # noqa: ARG002
        """A resource for each of `ids`."""
        for code in ids:
            pool.access.add_resource(code, parameters.namespace)
