"""What users of one pool have or refer to: groups, namespaces with roles and resources, departments, identity sources.

Knows no request. A user is its number in the pool. What was removed can be seen for a while, by a look-up that lags.
A department or an identity source that is not known here does not exist.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, NamedTuple, TypeVar

from bulkdel_jobs.sandbox.users import Record

LONG_AGO = "2020-01-01T00:00:00.000Z"
"""When everything here was created, as far as a record says it."""

DEFAULT_NAMESPACE = "default"
"""The namespace of a call that names none. It is there from the start."""

Key = TypeVar("Key")
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """Values by key, in the order in which they were added. The time of a removal is kept, and what was removed."""

    def __init__(self) -> None:
        self._values: dict[Key, Value] = {}
        self._removed: dict[Key, tuple[Value, float]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def add(self, key: Key, value: Value) -> Value:
        """Add one value, unless there is one; return the one that is there."""
        return self._values.setdefault(key, value)

    def put(self, key: Key, value: Value) -> None:
        """Add one value, in the place of the one that is there."""
        self._values[key] = value

    def get(self, key: Key, *, lag_s: float = 0.0) -> Value | None:
        """Return the value that is there now or was there `lag_s` seconds ago, or None."""
        if key in self._values or key not in self._removed:
            return self._values.get(key)
        value, removed_at = self._removed[key]
        return value if removed_at > time.monotonic() - lag_s else None

    def is_removed(self, key: Key) -> bool:
        """Whether a value was there and was removed."""
        return key in self._removed and key not in self._values

    def remove(self, key: Key) -> bool:
        """Remove one value; return whether it was there."""
        if key not in self._values:
            return False
        self._removed[key] = self._values.pop(key), time.monotonic()
        return True

    def values(self, *, lag_s: float = 0.0) -> list[Value]:
        """Return the values that are there now or were there `lag_s` seconds ago, those that are there now first."""
        since = time.monotonic() - lag_s
        gone = (self._removed[key] for key in self._removed.keys() - self._values.keys()) if lag_s else ()
        return [*self._values.values(), *(value for value, removed_at in gone if removed_at > since)]


class Times(NamedTuple):
    """From when until when a user has a role, milliseconds since the epoch. None: from the start, without end."""

    enable: int | None = None
    end: int | None = None


ALWAYS = Times()


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """A group, a role, a resource or a namespace. users: the numbers of the users of a group or a role.

    A user that was deleted has left it.
    """

    record: Record
    users: Kept[int, Times] = field(default_factory=Kept)

    @property
    def code(self) -> str:
        """The code of the thing."""
        return str(self.record["code"])

    def add(self, user: int, times: Times = ALWAYS) -> bool:
        """Add one user, or change the times of one that is in it; return whether anything was changed."""
        before = self.users.get(user)
        self.users.put(user, times)
        return before != times

    def has(self, user: int, *, lag_s: float = 0.0) -> bool:
        """Whether a user is in it now, or was `lag_s` seconds ago."""
        return self.users.get(user, lag_s=lag_s) is not None


@dataclass(frozen=True, slots=True, eq=False)
class Namespace(Thing):
    """A namespace, and its roles and resources by code."""

    roles: Kept[str, Thing] = field(default_factory=Kept)
    resources: Kept[str, Thing] = field(default_factory=Kept)


class Access:
    """The groups and namespaces of one pool. One thread at a time may change it, any number may read it."""

    def __init__(self) -> None:
        self.groups: Kept[str, Thing] = Kept()
        self.namespaces: Kept[str, Namespace] = Kept()
        self._with_users: list[Thing] = []  # groups and roles, also those that were removed
        self._numbers = count()
        self.add_namespace(DEFAULT_NAMESPACE)

    def add_group(self, code: str, users: Iterable[int] = (), fields: Mapping[str, Any] | None = None) -> Thing:
        """Add a group, or more users to the group of that code. fields: of the record, such as `name`."""
        record = _record(code, fields, type="static", metadataSource=[], customData={})
        return self._with(users, self.groups, record)

    def add_namespace(self, code: str, fields: Mapping[str, Any] | None = None) -> Namespace:
        """Add a namespace, unless there is one of that code."""
        return self.namespaces.add(code, Namespace(_record(code, fields)))

    def add_role(
        self,
        code: str,
        users: Iterable[int] = (),
        namespace: str = DEFAULT_NAMESPACE,
        fields: Mapping[str, Any] | None = None,
    ) -> Thing:
        """Add a role to a namespace, which is added where it is missing; or give the role of that code more users."""
        space = self.add_namespace(namespace)
        of_space = {"namespace": namespace, "namespaceName": space.record["name"]}
        return self._with(users, space.roles, _record(code, fields, status="ENABLE", **of_space))

    def add_resource(
        self, code: str, namespace: str = DEFAULT_NAMESPACE, fields: Mapping[str, Any] | None = None
    ) -> Thing:
        """Add a resource to a namespace, which is added where it is missing."""
        record = _record(code, fields, type="DATA", actions=[], namespace=namespace)
        return self.add_namespace(namespace).resources.add(code, Thing(record))

    def _with(self, users: Iterable[int], things: Kept[str, Thing], record: Record) -> Thing:
        """Add a group or a role, unless there is one of its code; then add the users."""
        found = things.get(record["code"])
        if found is None:
            id_ = f"5a9db0c6a9db0c6b{next(self._numbers):08x}"
            found = things.add(record["code"], Thing({"id": id_, **record}))
            self._with_users.append(found)
        for user in users:
            found.add(user)
        return found

    def forget(self, user: int) -> None:
        """Take a user out of every group and every role, as a deletion does."""
        for each in self._with_users:
            each.users.remove(user)


def _record(code: str, fields: Mapping[str, Any] | None, **defaults: Any) -> Record:
    """The record of a new thing. fields: in the place of the defaults."""
    return {"code": code, "name": code, "description": "", **defaults, **(fields or {})}


# --- departments and identity sources ---------------------------------------------------------------------------------

DEPARTMENT_FIELDS = {"department_id": "departmentId", "code": "code", "open_department_id": "openDepartmentId"}
"""The kinds of ids of a department that the sandbox knows, each with its field in the record."""


class References:
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
