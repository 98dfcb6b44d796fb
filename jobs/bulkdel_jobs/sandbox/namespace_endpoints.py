"""The endpoints of namespaces, which hold roles and resources."""

from __future__ import annotations

from typing import Any

from bulkdel_jobs.sandbox import codes
from bulkdel_jobs.sandbox.answers import Answer, Refused, invalid
from bulkdel_jobs.sandbox.calls import Call, Named
from bulkdel_jobs.sandbox.changing import succeeded
from bulkdel_jobs.sandbox.users import Record

NAMESPACES_MAX = 10
"""Namespaces in one request that deletes them (the vendor's OpenAPI)."""

WHAT = ("权限组", "Namespace")
NOT_THERE = Answer(404, message=("namespace not exists", "namespace not exists"))
"""How get-namespace refuses a code; the other calls have `codes.NO_NAMESPACE`. So the vendor's tests have it."""

DELETED = "namespace-deleted"


def create_namespace(call: Call) -> Answer:
    """Create one namespace."""
    codes.code(call)
    return Answer(200, _created(call, [dict(call.body)])[0])


def create_namespaces_batch(call: Call) -> Answer:
    """Create namespaces, all or none."""
    namespaces = codes.objects(call, "list")
    if not all(fields.get("code") for fields in namespaces):
        raise invalid("namespace name must not be empty")  # it means the code
    _created(call, namespaces)
    return succeeded(call)


def _created(call: Call, namespaces: list[dict[str, Any]]) -> list[Record]:
    """Create namespaces, all or none."""
    access = call.pool.access
    new = [codes.new_code("namespace", fields) for fields in namespaces]
    codes.check_free(new, access.namespaces, WHAT)
    fields = [codes.kept(each, "name", "description") for each in namespaces]
    return [access.add_namespace(code, each).record for code, each in zip(new, fields, strict=True)]


def one_code(call: Call) -> Named:
    """`code` in the body."""
    return Named("code", [codes.code(call)], "code")


def few_codes(call: Call) -> Named:
    """`codeList` in the body, of 1 to 10 codes."""
    return codes.code_list(call, most=NAMESPACES_MAX)


def delete_namespace(call: Call) -> Answer:
    """Delete one namespace, and so its roles and resources. A code that no namespace has is an error."""
    namespaces = call.pool.access.namespaces
    return codes.delete_each(call, one_code(call), namespaces, DELETED, unknown="refuse", absent=codes.NO_NAMESPACE)


def delete_namespaces_batch(call: Call) -> Answer:
    """Delete namespaces. A code that no namespace has is no error."""
    return codes.delete_each(call, few_codes(call), call.pool.access.namespaces, DELETED, absent=codes.NO_NAMESPACE)


def get_namespace(call: Call) -> Answer:
    """Return one namespace."""
    found = codes.look_up(call, call.pool.access.namespaces, codes.code(call))
    if found is None:
        raise Refused(NOT_THERE)
    return Answer(200, found.record)


def get_namespaces_batch(call: Call) -> Answer:
    """List the named namespaces that exist."""
    return Answer(200, [found.record for found in codes.look_up_each(call, call.pool.access.namespaces)])


def list_namespaces(call: Call) -> Answer:
    """List the namespaces page by page."""
    return codes.listed(call, call.pool.access.namespaces.values(), lambda namespace: namespace.record)
