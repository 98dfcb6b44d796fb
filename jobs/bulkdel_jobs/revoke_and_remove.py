"""The jobs `revoke-roles` and `remove-group-members`: GenAuth's (Authing's) calls of the same names. User ids only.

The record of a user has neither roles nor groups, so one more request for each user asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bulkdel.core.decision import Decision, NextStep, Response
from bulkdel.core.id_type import IdType
from bulkdel.core.target_state import TargetState
from bulkdel.job import GroupOrRole
from bulkdel_jobs.genauth.endpoints import DEFAULT_NAMESPACE, BatchCall, UserLookUps, UserState
from bulkdel_jobs.genauth.genauth_job import GenAuthJob, JobCalls, outcome_words
from bulkdel_jobs.genauth.groups_and_roles import UserMemberships, list_of_user, read_whether_listed
from bulkdel_jobs.genauth.id_types import USER_IDS
from bulkdel_jobs.genauth.responses import API_CODE, USER_NOT_FOUND, read_success
from bulkdel_jobs.parts.statuses import with_data

if TYPE_CHECKING:
    from bulkdel_jobs.sandbox.pool import Pool

REVOKE_PATH = "/api/v3/revoke-role-batch"
REMOVE_PATH = "/api/v3/remove-group-members"

ROLES_MAX = 10
"""Roles in one request."""


def taking_away(
    path: str, things: Sequence[GroupOrRole], bodies: Callable[[Sequence[str]], Sequence[Mapping[str, Any]]]
) -> JobCalls:
    """Make the part of a target that takes roles of one namespace, or a group, from users. bodies: see `BatchCall`."""
    state = UserState(
        calls=lambda user: [list_of_user(things[0], str(user.get("userId")))],
        read=partial(read_has_none, things),
        control=UserMemberships().members(things[0])[0],
    )
    return JobCalls(lambda _id_type: BatchCall(path, bodies, read_taken_away), partial(UserLookUps, state=state))


def read_taken_away(response: Response) -> Decision:
    """Decide as `read_success`. An unknown role or group is refused like an unknown user, but for its code."""
    decision = read_success(response)
    unknown = decision.next_step is NextStep.LOOK_UP and not decision.maybe_applied
    if unknown and dict(decision.detail.extra).get(API_CODE) != USER_NOT_FOUND:
        return decision._replace(next_step=NextStep.SPLIT)  # alone, ten users in a row are refused: that halts
    return decision


def read_has_none(things: Sequence[GroupOrRole], response: Response) -> Decision:
    """Decide on the list of a user's roles or groups: SETTLED with `data` = whether none of `things` is in it."""
    return with_data(read_whether_listed(things, response), lambda listed: not listed)


@dataclass(frozen=True)
class Roles:
    """The roles that the users lose."""

    role: tuple[str, ...]
    """Code of a role. May be repeated; every 10 of them take one more request for each chunk."""

    namespace: str = DEFAULT_NAMESPACE
    """The permission space that the roles belong to."""

    @property
    def codes(self) -> Sequence[str]:
        """Each role once."""
        return tuple(dict.fromkeys(self.role))

    def bodies(self, ids: Sequence[str]) -> list[Mapping[str, Any]]:
        """Those of the requests that take the roles away from users."""
        targets = [{"targetType": "USER", "targetIdentifier": id_} for id_ in ids]
        roles = [{"code": code, "namespace": self.namespace} for code in self.codes]
        return [{"targets": targets, "roles": roles[at : at + ROLES_MAX]} for at in range(0, len(roles), ROLES_MAX)]


class RevokeRoles(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "revoke-roles"
    summary = "take roles away from users of a GenAuth or Authing user pool (revoke-role-batch)"
    words = outcome_words("revoked", "already without the roles", verb="revoke")
    id_types = USER_IDS
    target_state = TargetState("without the roles", "with a role", absence_reaches=False)
    parameters = Roles
    fires = "the webhook `role:unassigned`, in which GenAuth lists the users"
    memberships = UserMemberships()

    def calls(self, parameters: Roles) -> JobCalls:
        """See `GenAuthJob`."""
        roles = [GroupOrRole("role", code, parameters.namespace) for code in parameters.codes]
        return taking_away(REVOKE_PATH, roles, parameters.bodies)

    def chunk_requests(self, parameters: Roles) -> int:
        """One for every 10 roles."""
        return -(-len(parameters.codes) // ROLES_MAX)

    def fill(self, pool: Pool, ids: Iterable[str], id_type: IdType, parameters: Roles) -> None:  # noqa: ARG002
        """A user for each of `ids`. Each has all of the roles."""
        pool.add_ids(ids)
        for role in parameters.role:
            pool.access.add_role(role, pool.alive(), parameters.namespace)


@dataclass(frozen=True)
class Group:
    """The group that the users leave."""

    group: str
    """Code of the group."""


class RemoveGroupMembers(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "remove-group-members"
    summary = "take users of a GenAuth or Authing user pool out of a group (remove-group-members)"
    words = outcome_words("removed", "already not in the group", verb="remove")
    id_types = USER_IDS
    target_state = TargetState("not in the group", "in the group", absence_reaches=False)
    parameters = Group
    fires = "the webhook `group:member-removed`, in which GenAuth lists the users"
    memberships = UserMemberships()

    def calls(self, parameters: Group) -> JobCalls:
        """See `GenAuthJob`."""
        code = parameters.group
        return taking_away(REMOVE_PATH, [GroupOrRole("group", code)], lambda ids: [{"userIds": ids, "code": code}])

    def fill(self, pool: Pool, ids: Iterable[str], id_type: IdType, parameters: Group) -> None:  # noqa: ARG002
        """A user for each of `ids`, all of them in the group."""
        pool.add_ids(ids)
        pool.access.add_group(parameters.group, pool.alive())
