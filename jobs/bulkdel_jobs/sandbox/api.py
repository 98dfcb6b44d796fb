"""The table of endpoints: which function answers a request, and what the server has to know of it beforehand.

An endpoint reads a Call and returns an Answer, or raises Refused. It knows no socket and no clock. The server decides
when an endpoint is called, and what becomes of its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bulkdel_jobs.sandbox import (
    codes,
    group_endpoints,
    namespace_endpoints,
    resource_endpoints,
    role_endpoints,
    user_endpoints,
)
from bulkdel_jobs.sandbox.answers import Answer
from bulkdel_jobs.sandbox.calls import Call, Named, user_ids, user_ids_in_query

TOKEN_PATH = "/api/v3/get-management-token"  # noqa: S105 - a path
DELETE_PATH = "/api/v3/delete-users-batch"
LOOKUP_PATH = "/api/v3/get-user-batch"
LIST_PATH = "/api/v3/list-users"
CREATE_PATH = "/api/v3/create-users-batch"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint that needs a sign-in.

    named: reads the ids that a request names, for the ledger; Refused where they are malformed. None: not counted.
    changes: whether it changes something. Then `Switches.forbidden` strikes it, and its ids count as sent, not as
    looked up. public: whether it is about the public accounts.
    """

    answer: Callable[[Call], Answer]
    named: Callable[[Call], Named] | None = None
    changes: bool = False
    public: bool = False


ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    ("POST", DELETE_PATH): Endpoint(user_endpoints.delete_batch, user_ids, changes=True),
    ("GET", LOOKUP_PATH): Endpoint(user_endpoints.get_batch, user_ids_in_query),
    ("POST", LIST_PATH): Endpoint(user_endpoints.list_all),
    ("GET", "/api/v3/list-archived-users"): Endpoint(user_endpoints.list_archived),
    ("POST", CREATE_PATH): Endpoint(user_endpoints.create_batch, changes=True),
    ("POST", "/api/v3/delete-public-accounts-batch"): Endpoint(
        user_endpoints.delete_batch, user_ids, changes=True, public=True
    ),
    ("GET", "/api/v3/get-public-account-batch"): Endpoint(user_endpoints.get_batch, user_ids_in_query, public=True),
    ("POST", "/api/v3/list-public-accounts"): Endpoint(user_endpoints.list_all, public=True),
    ("POST", "/api/v3/create-public-accounts-batch"): Endpoint(user_endpoints.create_batch, changes=True, public=True),
    ("POST", "/api/v3/create-group"): Endpoint(group_endpoints.create_group, changes=True),
    ("POST", "/api/v3/create-groups-batch"): Endpoint(group_endpoints.create_groups_batch, changes=True),
    ("POST", "/api/v3/add-group-members"): Endpoint(
        group_endpoints.add_group_members, group_endpoints.members, changes=True
    ),
    ("POST", "/api/v3/remove-group-members"): Endpoint(
        group_endpoints.remove_group_members, group_endpoints.members, changes=True
    ),
    ("POST", "/api/v3/delete-groups-batch"): Endpoint(
        group_endpoints.delete_groups_batch, codes.code_list, changes=True
    ),
    ("GET", "/api/v3/get-group"): Endpoint(group_endpoints.get_group),
    ("GET", "/api/v3/list-groups"): Endpoint(group_endpoints.list_groups),
    ("GET", "/api/v3/get-all-groups"): Endpoint(group_endpoints.get_all_groups),
    ("GET", "/api/v3/list-group-members"): Endpoint(group_endpoints.list_group_members),
    ("GET", "/api/v3/get-user-groups"): Endpoint(group_endpoints.get_user_groups),
    ("POST", "/api/v3/create-role"): Endpoint(role_endpoints.create_role, changes=True),
    ("POST", "/api/v3/create-roles-batch"): Endpoint(role_endpoints.create_roles_batch, changes=True),
    ("POST", "/api/v3/assign-role"): Endpoint(role_endpoints.assign_role, role_endpoints.targets, changes=True),
    ("POST", "/api/v3/assign-role-batch"): Endpoint(
        role_endpoints.assign_role_batch, role_endpoints.few_targets, changes=True
    ),
    ("POST", "/api/v3/revoke-role"): Endpoint(role_endpoints.revoke_role, role_endpoints.targets, changes=True),
    ("POST", "/api/v3/revoke-role-batch"): Endpoint(
        role_endpoints.revoke_role_batch, role_endpoints.targets, changes=True
    ),
    ("POST", "/api/v3/delete-roles-batch"): Endpoint(role_endpoints.delete_roles_batch, codes.code_list, changes=True),
    ("GET", "/api/v3/get-role"): Endpoint(role_endpoints.get_role),
    ("GET", "/api/v3/list-roles"): Endpoint(role_endpoints.list_roles),
    ("GET", "/api/v3/list-role-members"): Endpoint(role_endpoints.list_role_members),
    ("GET", "/api/v3/get-user-roles"): Endpoint(role_endpoints.get_user_roles),
    ("POST", "/api/v3/create-resources-batch"): Endpoint(resource_endpoints.create_resources_batch, changes=True),
    ("POST", "/api/v3/delete-resources-batch"): Endpoint(
        resource_endpoints.delete_resources_batch, codes.code_list, changes=True
    ),
    ("GET", "/api/v3/get-resources-batch"): Endpoint(resource_endpoints.get_resources_batch, codes.code_list_in_query),
    ("GET", "/api/v3/list-resources"): Endpoint(resource_endpoints.list_resources),
    ("POST", "/api/v3/create-namespace"): Endpoint(namespace_endpoints.create_namespace, changes=True),
    ("POST", "/api/v3/create-namespaces-batch"): Endpoint(namespace_endpoints.create_namespaces_batch, changes=True),
    ("POST", "/api/v3/delete-namespace"): Endpoint(
        namespace_endpoints.delete_namespace, namespace_endpoints.one_code, changes=True
    ),
    ("POST", "/api/v3/delete-namespaces-batch"): Endpoint(
        namespace_endpoints.delete_namespaces_batch, namespace_endpoints.few_codes, changes=True
    ),
    ("GET", "/api/v3/get-namespace"): Endpoint(namespace_endpoints.get_namespace),
    ("GET", "/api/v3/get-namespaces-batch"): Endpoint(
        namespace_endpoints.get_namespaces_batch, codes.code_list_in_query
    ),
    ("GET", "/api/v3/list-namespaces"): Endpoint(namespace_endpoints.list_namespaces),
}
"""By method and path."""

PUBLIC_PATHS = frozenset(path for (_, path), endpoint in ENDPOINTS.items() if endpoint.public)
"""The paths of the endpoints about public accounts."""
