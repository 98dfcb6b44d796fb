"""The job `restore-memberships`: puts users back into groups, and gives them their roles again.

Its export is made from the copy that `--backup-memberships` keeps. GenAuth's calls add-group-members and assign-role.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from bulkdel.core.decision import Decision, NextStep, Request, Response, Verdict
from bulkdel.core.id_type import IdType
from bulkdel.core.record import Record, Records
from bulkdel.core.target_state import TargetState
from bulkdel.job import Account, GroupOrRole, HasStates
from bulkdel_jobs.genauth.endpoints import DEFAULT_NAMESPACE, IDS_MAX, LookUpsOfNoUser, checked_ids, post
from bulkdel_jobs.genauth.genauth_job import GenAuthJob, JobCalls, outcome_words
from bulkdel_jobs.genauth.groups_and_roles import (
    GROUPS_PATH,
    SEPARATOR,
    TIMES,
    id_of,
    is_of,
    list_of_user,
    part_of,
    read_whether_listed,
)
from bulkdel_jobs.genauth.responses import API_CODE, USER_NOT_FOUND, read_listed_codes, read_one, read_success
from bulkdel_jobs.parts.statuses import with_data

if TYPE_CHECKING:
    from bulkdel_jobs.sandbox.pool import Pool

ADD_PATH = "/api/v3/add-group-members"
ASSIGN_PATH = "/api/v3/assign-role"
GROUP_PATH = "/api/v3/get-group"
ROLE_PATH = "/api/v3/get-role"

MEMBERSHIP = IdType(
    "membership",
    re.compile(r"(?:group:|role:[^:]+):[^:]+:[^:]+"),
    "group::CODE:USER or role:NAMESPACE:CODE:USER",
)
"""The id of a membership. Its parts are percent-encoded: see `groups_and_roles.id_of`. It is never reused."""


class Membership(NamedTuple):
    """What the id of a membership names."""

    of: GroupOrRole
    user: str


def membership_of(id_: str) -> Membership:
    """Inverse of `groups_and_roles.id_of`. The preflight has compared the id with the shape."""
    kind, namespace, code, user = map(part_of, id_.split(SEPARATOR))
    return Membership(GroupOrRole("role" if kind == "role" else "group", code, namespace or None), user)


def in_common(record: Record) -> tuple[object, ...]:
    """What the memberships of one request have in common: the group or role, and the times."""
    return membership_of(record.id).of, *_times(record).items()


class PutBack:
    """The request that puts back the memberships of one chunk: `bulkdel.job.Action`."""

    def calls(self, records: Records) -> list[Request]:
        """Build the request, for records with one `in_common`. ValueError as in `checked_ids`."""
        of, users = membership_of(records[0].id).of, [membership_of(id_).user for id_ in records.ids]
        if len({in_common(record) for record in records}) > 1:
            raise ValueError("the memberships of one request have one group or role, and the same times")
        checked = checked_ids(ADD_PATH if of.kind == "group" else ASSIGN_PATH, Records(records.positions, tuple(users)))
        if of.kind == "group":
            return [post(ADD_PATH, {"code": of.code, "userIds": checked})]
        targets = [{"targetType": "USER", "targetIdentifier": user} for user in checked]
        role = {"code": of.code, "namespace": of.namespace}
        return [post(ASSIGN_PATH, {**role, "targets": targets, **_times(records[0])})]

    read = staticmethod(read_success)  # an unknown user, group or role: a look-up tells which


class MembershipLookUps(LookUpsOfNoUser, HasStates):
    """Look-ups of memberships: `bulkdel.job.LookUps`.

    One request asks for a group or a role. A membership of one that does not exist is absent. Then one request for each
    user asks for its groups or roles.
    """

    @property
    def splits_commas(self) -> bool:
        """See `bulkdel.job.LookUps`. Each parameter of these calls holds one value."""
        return False

    def marks(self, id_: str) -> frozenset[str]:  # noqa: ARG002 - a membership is asked for by its group or role
        """See `bulkdel.job.LookUps`. What is asked for is read in full from the response."""
        return frozenset()

    def texts(self, ids: Sequence[str]) -> Sequence[str]:
        """The user ids, and the ids of the memberships."""
        return [*ids, *(membership_of(id_).user for id_ in ids)]

    def calls(self, ids: Sequence[str]) -> list[tuple[Sequence[str], Request]]:
        """One request for each group and role."""
        by_group = sorted(ids, key=lambda id_: id_.rpartition(SEPARATOR)[0])
        groups = (list(group) for _, group in groupby(by_group, lambda id_: membership_of(id_).of))
        return [(group, _request_for(membership_of(group[0]).of)) for group in groups]

    def read(self, response: Response) -> Decision:
        """Read the record of a group or a role. The API answers statusCode 404 where there is none."""
        return read_one(response)

    def match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        """Match the record of a group or a role to its memberships. Whether a user is in it, another call says."""
        accounts: dict[str, Account] = {}
        for id_ in ids:
            of = membership_of(id_).of
            if any(is_of(of, record) for record in found):
                accounts[id_] = Account(raw={"id": id_}, ids=(id_,), reached=None)
        return accounts, 0 if accounts else len(found)

    def state_calls(self, account: Account) -> Sequence[Request]:
        """The request for the groups or the roles of the user."""
        return [list_of_user(*membership_of(account.raw["id"]))]

    def read_state(self, response: Response, account: Account) -> Decision:
        """Read whether the group or the role is in the list of the user. ABSENT: there is no such user."""
        decision = read_whether_listed([membership_of(account.raw["id"]).of], response)
        if decision.next_step is NextStep.LOOK_UP and dict(decision.detail.extra).get(API_CODE) == USER_NOT_FOUND:
            return decision._replace(next_step=NextStep.SETTLED, data=Verdict.ABSENT)
        return decision

    def control(self) -> Request:
        """List one page of groups."""
        return Request("GET", GROUPS_PATH, (("page", "1"), ("limit", "10")))

    def read_control(self, response: Response) -> Decision:
        """Read ids that a look-up finds: of some user in each group on the page."""

        def ids(codes: Sequence[str]) -> list[str]:
            return [id_of(GroupOrRole("group", code), "user") for code in codes]

        return with_data(read_listed_codes(response), ids)


def _request_for(of: GroupOrRole) -> Request:
    if of.kind == "group":
        return Request("GET", GROUP_PATH, (("code", of.code),))
    return Request("GET", ROLE_PATH, (("code", of.code), ("namespace", of.namespace or DEFAULT_NAMESPACE)))


def _times(record: Record) -> dict[str, Any]:
    """When a membership begins and ends, as the row says it."""
    row = {} if record.payload is None else json.loads(record.payload)
    return {name: row[name] for name in TIMES if row.get(name) is not None}


class RestoreMemberships(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "restore-memberships"
    summary = "put users of a GenAuth or Authing user pool back into groups and roles (add-group-members, assign-role)"
    words = outcome_words("put back", "already there", verb="put back", noun="membership")
    id_types: Mapping[str, IdType] = MappingProxyType({MEMBERSHIP.name: MEMBERSHIP})
    id_type_default = MEMBERSHIP.name
    target_state = TargetState("there", "missing", absence_reaches=False)
    fires = "the webhooks `group:member-added` and `role:assigned`, in which GenAuth lists the users"
    takes_records = True
    look_up_requests = 1 + IDS_MAX
    in_common = staticmethod(in_common)
    job_calls = JobCalls(lambda _id_type: PutBack(), lambda *_, **__: MembershipLookUps())

    def fill(self, pool: Pool, ids: Iterable[str], id_type: IdType, parameters: Any) -> None:  # noqa: ARG002
        """Put the users, and the groups and roles without them, into the sandbox."""
        for id_ in ids:
            of, user = membership_of(id_)
            pool.add_ids([user])
            if of.kind == "group":
                pool.access.add_group(of.code)
            else:
                pool.access.add_role(of.code, namespace=of.namespace or DEFAULT_NAMESPACE)
