"""The job `restore-memberships`: puts users back into groups, and gives them their roles again.

Its export is made from the copy that `--backup-memberships` keeps. GenAuth's calls add-group-members and assign-role.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.core.target_state import TargetState
from bulkdel.job import LookUps
from bulkdel_jobs.genauth.codes import DEFAULT_NAMESPACE
from bulkdel_jobs.genauth.endpoints import IDS_MAX
from bulkdel_jobs.genauth.job import GenAuthJob
from bulkdel_jobs.genauth.putting_back import MEMBERSHIP, MembershipLookUps, PutBack, in_common, membership_of
from bulkdel_jobs.genauth.target import COLUMNS, Calls

if TYPE_CHECKING:
    from bulkdel_jobs.sandbox.pool import Pool


class RestoreMemberships(GenAuthJob):
    """`bulkdel.job.Job`."""

    name = "restore-memberships"
    summary = "put users of a GenAuth or Authing user pool back into groups and roles (add-group-members, assign-role)"
    words = OutcomeWords(
        names={"done": "put back", "already": "already there", "absent": "absent"},
        verb="put back",
        noun="membership",
        columns=COLUMNS,
    )
    id_types: Mapping[str, IdType] = MappingProxyType({MEMBERSHIP.name: MEMBERSHIP})
    id_type_default = MEMBERSHIP.name
    target_state = TargetState("there", "missing", absence_reaches=False)
    fires = "the webhooks `group:member-added` and `role:assigned`, in which GenAuth lists the users"
    takes_records = True
    look_up_requests = 1 + IDS_MAX
    in_common = staticmethod(in_common)

    def calls(self, parameters: Any) -> Calls:  # noqa: ARG002 - it has none
        """See `GenAuthJob`."""
        return Calls(lambda _id_type: PutBack(), _look_ups)

    def fill(self, pool: Pool, ids: Iterable[str], id_type: IdType, parameters: Any) -> None:  # noqa: ARG002
        """Put the users, and the groups and roles without them, into the sandbox."""
        for id_ in ids:
            of, user = membership_of(id_)
            pool.add_ids([user])
            if of.kind == "group":
                pool.access.add_group(of.code)
            else:
                pool.access.add_role(of.code, namespace=of.namespace or DEFAULT_NAMESPACE)


def _look_ups(id_type: IdType, *, full: bool = False) -> LookUps:  # noqa: ARG001 - of one kind
    return MembershipLookUps()
