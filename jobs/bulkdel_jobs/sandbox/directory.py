"""What users of one pool refer to: departments and identity sources, and the places of users in departments.

A department or source that is not known here does not exist. A user is its number in the pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bulkdel_jobs.sandbox.access import LONG_AGO, Kept
from bulkdel_jobs.sandbox.users import Record

DEPARTMENT_FIELDS = {"department_id": "departmentId", "code": "code", "open_department_id": "openDepartmentId"}
"""The kinds of ids of a department that the sandbox knows, each with its field in the record."""


class Directory:
    """The departments and identity sources of one pool. One thread at a time may change it, any number may read it."""

    def __init__(self) -> None:
        self.departments: Kept[str, Record] = Kept()
        self.sources: Kept[str, str] = Kept()  # by extIdpId: the provider
        self._places: dict[tuple[int, str], Record] = {}  # by user and department: what is known of the two

    def add_department(self, id_: str, fields: Mapping[str, Any] | None = None) -> Record:
        """Add a department, unless there is one of this id. fields: of its record, such as `code`."""
        record = {"organizationCode": "sandbox", "departmentId": id_, "isRoot": False, "createdAt": LONG_AGO}
        record |= {"name": id_, "description": "", "code": id_, "isVirtualNode": False}
        return self.departments.add(id_, record | dict(fields or {}))

    def add_source(self, id_: str, provider: str = "oidc") -> None:
        """Add an identity source, unless there is one of this id (`extIdpId`)."""
        self.sources.add(id_, provider)

    def learn(self, user: Record) -> None:
        """Add every department and identity source that a user refers to."""
        for id_ in user["departmentIds"]:
            self.add_department(id_)
        for identity in user["identities"]:
            self.add_source(identity["extIdpId"], identity["provider"])

    def find_department(self, kind: str, id_: str) -> str | None:
        """Return the department id of the department that has this id; None for none. kind: of the id."""
        if kind == "department_id":
            return id_ if id_ in self.departments else None
        field = DEPARTMENT_FIELDS[kind]
        found = (record["departmentId"] for record in self.departments.values() if record.get(field) == id_)
        return next(found, None)

    def place(self, user: int, department: str, place: Mapping[str, Any]) -> None:
        """Say how a user stands in a department: `isLeader`, `isMainDepartment`, `joinedAt`."""
        self._places[user, department] = self.place_of(user, department) | dict(place)

    def place_of(self, user: int, department: str) -> Record:
        """Return how a user stands in a department."""
        return self._places.get((user, department), {"isLeader": False, "isMainDepartment": False})
