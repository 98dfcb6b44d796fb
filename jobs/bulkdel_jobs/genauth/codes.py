"""GenAuth's calls about what has a code: groups, roles and resources. Pure: it makes requests and reads responses.

A code is free again after a deletion, so another group may have it later. None of these records has a time of creation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulkdel.core.decision import Decision, Request, Response
from bulkdel.core.id_type import IdType
from bulkdel.core.record import Records
from bulkdel.job import Account, LookUps
from bulkdel_jobs.genauth.endpoints import IDS_MAX, LIST_MAX, checked_ids, post
from bulkdel_jobs.genauth.responses import read_list, read_listed_codes, read_one, read_success
from bulkdel_jobs.parts.json_values import epoch_s
from bulkdel_jobs.parts.look_ups import URL_MAX, grouped

CODE = IdType("code", re.compile(r"[^\x00-\x1f\x7f]{1,64}"), "1 to 64 characters")
"""GenAuth takes no longer code. Which characters one may have is not documented.

A group, a role or a resource has no other id than its code, and its record has no time. So one that exists is the one
that was meant.
"""

DEFAULT_NAMESPACE = "default"
"""The permission space of a call that names none."""


@dataclass(frozen=True, slots=True)
class Coded:
    """The paths of the calls about one kind of thing, and the namespace of the things.

    batch: whether `read` takes 50 codes, as `codeList`; otherwise it takes one, as `code`, and answers 404 where there
    is none. namespace: None for groups, which have none.
    """

    delete: str
    read: str
    list: str
    batch: bool = False
    namespace: str | None = None

    @property
    def within(self) -> tuple[tuple[str, str], ...]:
        """The part of a query or a body that names the namespace."""
        return () if self.namespace is None else (("namespace", self.namespace),)


class DeleteByCode:
    """The request that deletes one chunk by codes: `bulkdel.job.Action`."""

    def __init__(self, things: Coded) -> None:
        self._things = things

    def calls(self, records: Records) -> list[Request]:
        """Build the request. ValueError as in `checked_ids`."""
        path = self._things.delete
        return [post(path, {"codeList": checked_ids(path, records), **dict(self._things.within)})]

    read = staticmethod(read_success)


class CodeLookUps(LookUps):
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
        """See `bulkdel.job.LookUps`. The calls for one code have a parameter that holds one."""
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

    def owner(self, user: str) -> Request:  # noqa: ARG002 - no user has a code
        """Ask what the control asks: a key belongs to a user, and no group, role or resource is one."""
        return self.control()

    def read_owner(self, response: Response) -> Decision:
        """No code means the user."""
        return self.read_control(response)._replace(data=[])
