"""The jobs `revoke-roles` and `remove-group-members`: GenAuth's (Authing's) calls of the same names. User ids only.

The record of a user has neither roles nor groups, so one more request for each user asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.core.record import Records
from bulkdel.core.target_state import TargetState
from bulkdel_jobs.genauth.endpoints import DEFAULT_NAMESPACE, UserLookUps, UserState, checked_ids, post
from bulkdel_jobs.genauth.id_types import USER_IDS
from bulkdel_jobs.genauth.job import COLUMNS, Calls, GenAuthJob
from bulkdel_jobs.genauth.memberships import GROUP_MEMBERS_PATH, ROLE_MEMBERS_PATH, UserMemberships
from bulkdel_jobs.genauth.responses import API_CODE, USER_NOT_FOUND, is_complete, read_listed, read_success

if TYPE_CHECKING:
    from bulkdel_jobs.sandbox.pool import Pool

REVOKE_PATH = "/api/v3/revoke-role-batch"
USER_ROLES_PATH = "/api/v3/get-user-roles"
REMOVE_PATH = "/api/v3/remove-group-members"
USER_GROUPS_PATH = "/api/v3/get-user-groups"

ROLES_MAX = 10
"""Roles in one request."""

FIRST_PAGE = (("page", "1"), ("limit", "10"))


class TakeAway:
    """The requests that take memberships away: `bulkdel.job.Action` for a call that answers with `success`."""

    def __init__(self, path: str, bodies: Callable[[Sequence[str]], Sequence[Mapping[str, Any]]]) -> None:
        """bodies: of the requests for some user ids."""
        self._path = path
        self._bodies = bodies

    def calls(self, records: Records) -> list[Request]:
        """Build the requests. ValueError as in `checked_ids`."""
        return [post(self._path, body) for body in self._bodies(checked_ids(self._path, records))]

    def read(self, response: Response) -> Decision:
        """Decide as `read_success`. An unknown role or group is refused like an unknown user, but for its code."""
        decision = read_success(response)
        unknown = decision.next_step is NextStep.LOOK_UP and not decision.maybe_applied
        if unknown and dict(decision.detail.extra).get(API_CODE) != USER_NOT_FOUND:
            return decision._replace(next_step=NextStep.SPLIT)  # alone, ten users in a row are refused: that halts
        return decision


def read_has_none(codes: Collection[str], namespace: str | None, response: Response) -> Decision:
    """Decide on the list of a user's roles or groups: SETTLED with `data` = whether none of `codes` is in it.

    A role of another namespace is another role. A list that is not complete proves nothing unless one of them is in it.
    """
    decision = read_listed(response)
    if decision.next_step is not NextStep.SETTLED:
        return decision
    listed = decision.data
    has = {record.get("code") for record in listed if record.get("namespace", namespace) == namespace}
    if has.isdisjoint(codes) and not is_complete(response, listed):
        return Decision(NextStep.RETRY, decision.detail, reason="the response lists only a part of what the user has")
    return decision._replace(data=has.isdisjoint(codes))


@dataclass(frozen=True)
class Roles:
    """The roles that the users lose."""

    role: tuple[str, ...]
    """Code of a role. May be repeated; every 10 of them take one more request for each chunk."""

    namespace: str = DEFAULT_NAMESPACE
    """The permission space that the roles belong to."""

    @property
    def calls(self) -> Calls:
        """The part of the target that takes these roles away."""
        within = ("namespace", self.namespace)
        state = UserState(
            calls=lambda user: [Request("GET", USER_ROLES_PATH, (("userId", str(user.get("userId"))), within))],
            read=partial(read_has_none, self.codes, self.namespace),
            control=Request("GET", ROLE_MEMBERS_PATH, (("code", self.codes[0]), within, *FIRST_PAGE)),
        )
        return Calls(lambda _id_type: TakeAway(REVOKE_PATH, self._bodies), partial(UserLookUps, state=state))

    @property
    def codes(self) -> Sequence[str]:
        """Each role once."""
        return tuple(dict.fromkeys(self.role))

    def _bodies(self, ids: Sequence[str]) -> list[Mapping[str, Any]]:
        targets = [{"targetType": "USER", "targetIdentifier": id_} for id_ in ids]
        roles = [{"code": code, "namespace": self.namespace} for code in self.codes]
        return [{"targets": targets, "roles": roles[at : at + ROLES_MAX]} for at in range(0, len(roles), ROLES_MAX)]


class RevokeRoles(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "revoke-roles"
    summary = "take roles away from users of a GenAuth or Authing user pool (revoke-role-batch)"
    words = OutcomeWords(
        names={"done": "revoked", "already": "already without the roles", "absent": "absent"},
        verb="revoke",
        columns=COLUMNS,
    )
    id_types = USER_IDS
    target_state = TargetState("without the roles", "with a role", absence_reaches=False)
    parameters = Roles
    fires = "the webhook `role:unassigned`, in which GenAuth lists the users"
    memberships = UserMemberships()

    def calls(self, parameters: Roles) -> Calls:
        """See `GenAuthJob`."""
        return parameters.calls

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

    @property
    def calls(self) -> Calls:
        """The part of the target that takes users out of this group."""
        state = UserState(
            calls=lambda user: [Request("GET", USER_GROUPS_PATH, (("userId", str(user.get("userId"))),))],
            read=partial(read_has_none, [self.group], None),
            control=Request("GET", GROUP_MEMBERS_PATH, (("code", self.group), *FIRST_PAGE)),
        )
        return Calls(
            lambda _id_type: TakeAway(REMOVE_PATH, lambda ids: [{"userIds": ids, "code": self.group}]),
            partial(UserLookUps, state=state),
        )


class RemoveGroupMembers(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "remove-group-members"
    summary = "take users of a GenAuth or Authing user pool out of a group (remove-group-members)"
    words = OutcomeWords(
        names={"done": "removed", "already": "already not in the group", "absent": "absent"},
        verb="remove",
        columns=COLUMNS,
    )
    id_types = USER_IDS
    target_state = TargetState("not in the group", "in the group", absence_reaches=False)
    parameters = Group
    fires = "the webhook `group:member-removed`, in which GenAuth lists the users"
    memberships = UserMemberships()

    def calls(self, parameters: Group) -> Calls:
        """See `GenAuthJob`."""
        return parameters.calls

    def fill(self, pool: Pool, ids: Iterable[str], id_type: IdType, parameters: Group) -> None:  # noqa: ARG002
        """A user for each of `ids`, all of them in the group."""
        pool.add_ids(ids)
        pool.access.add_group(parameters.group, pool.alive())
