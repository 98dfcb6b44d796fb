"""The endpoints of resources. A resource is known by its namespace and its code."""

from __future__ import annotations

from bulkdel_jobs.sandbox import codes
from bulkdel_jobs.sandbox.answers import Answer, Refused, malformed
from bulkdel_jobs.sandbox.calls import Call, Named
from bulkdel_jobs.sandbox.changing import succeeded

TYPES = ("DATA", "API", "MENU", "BUTTON", "UI")
WHAT = ("资源", "Resource")
NO_RESOURCE = Answer(404, message=("资源不存在", "Resource does not exist"))
NO_CODE = Answer(500, message=("未知错误", "Unknown error"))
"""What the vendor's tests expect for a resource without a code."""


def create_resources_batch(call: Call) -> Answer:
    """Create resources of one namespace, all or none."""
    resources = codes.objects(call, "list")
    if not all(fields.get("code") for fields in resources):
        raise Refused(NO_CODE)
    new = [codes.new_code("resource", fields) for fields in resources]
    if not all(fields.get("type") in TYPES for fields in resources):
        raise malformed("list")
    space = codes.namespace(call)
    codes.check_free(new, space.resources, WHAT)
    for code, fields in zip(new, resources, strict=True):
        kept = codes.kept(fields, "name", "description", "type", "actions", "apiIdentifier")
        call.pool.access.add_resource(code, space.code, kept)
    return succeeded(call)


def one_code(call: Call) -> Named:
    """`code` in the body. The API takes one that no resource can have, such as an empty one."""
    found = call.body.get("code")
    if not isinstance(found, str) or len(found) > codes.CODE_MAX:
        raise malformed("code")
    return Named("code", [found], "code")


def delete_resource(call: Call) -> Answer:
    """Delete one resource. A code that no resource has is no error."""
    return _deleted(call, one_code(call))


def delete_resources_batch(call: Call) -> Answer:
    """Delete resources of one namespace. A code that no resource has is no error."""
    if call.body.get("codeList") is None and call.body.get("ids") is not None:
        raise Refused(Answer(501))  # no answer of the API shows the id of a resource
    return _deleted(call, codes.code_list(call))


def _deleted(call: Call, named: Named) -> Answer:
    space = codes.namespace(call)
    within = f"{space.code}/"
    return codes.delete_each(call, named, space.resources, "resource-deleted", within=within, absent=NO_RESOURCE)


def get_resources_batch(call: Call) -> Answer:
    """List the named resources that exist."""
    return Answer(200, codes.look_up_each(call, codes.namespace(call).resources))


def list_resources(call: Call) -> Answer:
    """List the resources of one namespace, or those of one type, page by page."""
    wanted = call.parameter("type")
    if wanted is not None and wanted not in TYPES:
        raise malformed("type")
    resources = codes.namespace(call).resources.values()
    return codes.listed(call, [each for each in resources if wanted in {None, each["type"]}], dict)
