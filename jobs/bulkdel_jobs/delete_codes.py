"""The jobs `delete-groups`, `delete-roles` and `delete-resources`: GenAuth's (Authing's) batch calls by code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bulkdel.core.decision import Decision, Request, Response
from bulkdel.core.id_type import IdType
from bulkdel.job import Account
from bulkdel_jobs.genauth.endpoints import DEFAULT_NAMESPACE, IDS_MAX, LIST_MAX, BatchCall, LookUpsOfNoUser
from bulkdel_jobs.genauth.genauth_job import GenAuthJob, JobCalls, outcome_words
from bulkdel_jobs.genauth.responses import read_list, read_listed_codes, read_one
from bulkdel_jobs.parts.json_values import epoch_s
from bulkdel_jobs.parts.look_ups import URL_MAX, grouped

if TYPE_CHECKING:
    from bulkdel_jobs.sandbox.access import Access
    from bulkdel_jobs.sandbox.pool import Pool

CODE = IdType("code", re.compile(r"[^\x00-\x1f\x7f]{1,64}"), "1 to 64 characters")
"""GenAuth takes no longer code. Which characters one may have is not documented.

A group, a role or a resource has no other id than its code, and its record has no time. So one that exists is the one
that was meant.
"""


@dataclass(frozen=True, slots=True)
class Coded:
    """The paths of the calls about one kind of thing, and the namespace of the things.

    add: puts one into the sandbox, by its code and its namespace.
    batch: whether `read` takes 50 codes, as `codeList`; otherwise it takes one, as `code`, and answers 404 where there
    is none. namespace: None for groups, which have none.
    """

    delete: str
    read: str
    list: str
    add: Callable[[Access, str, str], object]
    batch: bool = False
    namespace: str | None = None

    @property
    def within(self) -> tuple[tuple[str, str], ...]:
        """The part of a query or a body that names the namespace."""
        return () if self.namespace is None else (("namespace", self.namespace),)


class CodeLookUps(LookUpsOfNoUser):
    """Look-ups by code: `bulkdel.job.LookUps`."""

    def __init__(self, things: Coded) -> None:
        self._things = things

    def calls(self, ids: Sequence[str]) -> list[tuple[Sequence[str], Request]]:
        """Make the requests that look `ids` up: up to 50 codes in one, or one."""
        path, within = self._things.read, self._things.within
        if not self._things.batch:
            return [([id_], Request("GET", path, (("code", id_), *within))) for id_ in ids]
        return [
            (group, Request("GET", path, (*(("codeList", id_) for id_ in group), *within)))
            for group in grouped(ids, "codeList", IDS_MAX, URL_MAX - 200)
        ]

    @property
    def splits_commas(self) -> bool:
        """See `bulkdel.job.LookUps`. A call for one code reads one value."""
        return self._things.batch

    def read(self, response: Response) -> Decision:
        """Read the records that exist. The call for one code answers statusCode 404 where there is none."""
        return read_list(response) if self._things.batch else read_one(response)

    def match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        """Match records to codes exactly. A record of another namespace matches none."""
        records = {record.get("code"): record for record in found if self._is_within(record)}
        accounts = {
            id_: Account(created_at=epoch_s(records[id_].get("createdAt")), raw=records[id_], ids=(id_,))
            for id_ in ids
            if id_ in records
        }
        return accounts, len(found) - len(accounts)

    def _is_within(self, record: Mapping[str, Any]) -> bool:
        return bool(record.get("namespace", self._things.namespace) == self._things.namespace)

    def control(self) -> Request:
        """List one page of what exists."""
        page = (("page", "1"), ("limit", str(LIST_MAX)))
        return Request("GET", self._things.list, (*page, *self._things.within))

    def read_control(self, response: Response) -> Decision:
        """Read the codes on the page."""
        return read_listed_codes(response)


@dataclass(frozen=True)
class InNamespace:
    """Where the roles or resources are."""

    namespace: str = DEFAULT_NAMESPACE
    """The permission space that they belong to."""


class DeleteCoded(GenAuthJob):
    """`bulkdel.job.Job` for things of one kind. A subclass has `things`."""

    id_types: Mapping[str, IdType] = {CODE.name: CODE}
    id_type_default = CODE.name
    things: Coded

    def calls(self, parameters: InNamespace | None) -> JobCalls:
        """See `GenAuthJob`."""
        things = self.things if parameters is None else replace(self.things, namespace=parameters.namespace)
        action = BatchCall(things.delete, lambda codes: [{"codeList": codes, **dict(things.within)}])
        return JobCalls(lambda _id_type: action, lambda *_, **__: CodeLookUps(things))

    def fill(self, pool: Pool, ids: Iterable[str], id_type: IdType, parameters: InNamespace | None) -> None:  # noqa: ARG002
        """A thing for each of `ids`."""
        for code in ids:
            self.things.add(pool.access, code, DEFAULT_NAMESPACE if parameters is None else parameters.namespace)


class DeleteGroups(DeleteCoded):
    """`bulkdel.job.Job`."""

    name = "delete-groups"
    summary = "delete groups of a GenAuth or Authing user pool, and their memberships (delete-groups-batch)"
    words = outcome_words("deleted", noun="group")
    fires = "the webhook `group:deleted`, once for each group"
    things = Coded(
        "/api/v3/delete-groups-batch",
        "/api/v3/get-group",
        "/api/v3/list-groups",
        lambda access, code, _: access.add_group(code),
    )


class DeleteRoles(DeleteCoded):
    """`bulkdel.job.Job`."""

    name = "delete-roles"
    summary = "delete roles of a GenAuth or Authing user pool, and their assignments (delete-roles-batch)"
    words = outcome_words("deleted", noun="role")
    parameters = InNamespace
    fires = "the webhook `role:delete`, once for each role"
    things = Coded(
        "/api/v3/delete-roles-batch",
        "/api/v3/get-role",
        "/api/v3/list-roles",
        lambda access, code, namespace: access.add_role(code, namespace=namespace),
    )


class DeleteResources(DeleteCoded):
    """`bulkdel.job.Job`."""

    name = "delete-resources"
    summary = "delete resources of a GenAuth or Authing user pool, and their grants (delete-resources-batch)"
    words = outcome_words("deleted", noun="resource")
    parameters = InNamespace
    fires = "the webhook `resource:delete`, in which GenAuth lists the codes"
    things = Coded(
        "/api/v3/delete-resources-batch",
        "/api/v3/get-resources-batch",
        "/api/v3/list-resources",
        lambda access, code, namespace: access.add_resource(code, namespace),
        batch=True,
    )
