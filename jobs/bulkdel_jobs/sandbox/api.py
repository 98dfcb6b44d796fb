"""The table of endpoints: which function answers a request, and what the server has to know of it beforehand.

An endpoint reads a Call and returns the data of a success, or raises Rejected. It knows no socket and no clock. The
server decides when an endpoint is called, and what becomes of its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bulkdel_jobs.sandbox import calls, members, things, user_changes, user_creation, user_endpoints
from bulkdel_jobs.sandbox.calls import Call, Named
from bulkdel_jobs.sandbox.members import ROLES_MAX
from bulkdel_jobs.sandbox.replies import Reply
from bulkdel_jobs.sandbox.things import GROUP, NAMESPACE, NAMESPACES_MAX, RESOURCE, ROLE

BASE = "/api/v3/"
"""What the path of every call begins with."""

TOKEN_PATH = "/api/v3/get-management-token"  # noqa: S105 - a path
DELETE_PATH = "/api/v3/delete-users-batch"
LOOKUP_PATH = "/api/v3/get-user-batch"
LIST_PATH = "/api/v3/list-users"
CREATE_PATH = "/api/v3/create-users-batch"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint that needs a sign-in.

    act: has the effect and returns `data` of the answer. It takes the call, and the ids where `named` reads them.
    named: reads the ids that a request names, for the ledger; Rejected where they are malformed. None: not counted.
    changes: whether it changes something. Then `Switches.forbidden` strikes it, and its ids count as sent, not as
    looked up. refuses_unknown: whether it refuses a request with an unknown id. creates: whether it names users that
    do not exist yet. public: whether it is about the public accounts. authing_only: whether each of GenAuth's SDKs
    lacks it.
    """

    act: Callable[..., Any]
    named: Callable[[Call], Named] | None = None
    changes: bool = False
    refuses_unknown: bool = False
    creates: bool = False
    public: bool = False
    authing_only: bool = False

    def answer(self, call: Call) -> Reply:
        """Answer a request of a caller that is signed in. Raises Rejected."""
        call = replace(call, refuses_unknown=self.refuses_unknown)
        return Reply(200, self.act(call) if self.named is None else self.act(call, self.named(call)))


_reads = Endpoint
_changes = partial(Endpoint, changes=True)
_refuses = partial(_changes, refuses_unknown=True)

_BY_NAME: Mapping[tuple[str, str], Endpoint] = {
    ("GET", "get-user"): _reads(user_endpoints.get_one, calls.user_id_in_query),
    ("GET", "get-user-batch"): _reads(user_endpoints.get_batch, calls.user_ids_in_query),
    ("POST", "is-user-exists"): _reads(user_endpoints.is_there),
    ("POST", "list-users"): _reads(user_endpoints.list_all),
    ("GET", "list-archived-users"): _reads(user_endpoints.list_archived),
    ("POST", "create-user"): _changes(user_creation.create, calls.new_user, creates=True),
    ("POST", "create-users-batch"): _changes(user_creation.create_batch, calls.new_users, creates=True),
    ("POST", "update-user"): _refuses(user_changes.update, calls.user_id),
    ("POST", "update-user-batch"): _refuses(user_changes.update_batch, calls.users_in_list),
    ("POST", "delete-users-batch"): _changes(user_endpoints.delete_batch, calls.user_ids),
    ("POST", "set-user-departments"): _refuses(user_changes.set_user_departments, calls.user_id, authing_only=True),
    ("GET", "get-user-identities"): _reads(user_changes.get_user_identities, calls.user_id_in_query),
    ("GET", "get-user-departments"): _reads(user_changes.get_user_departments, authing_only=True),
    ("POST", "link-identity"): _refuses(user_changes.link_identity, calls.plain_user_id),
    ("POST", "resign-user"): _refuses(user_changes.resign, calls.user_id_beside_type),
    ("POST", "resign-user-batch"): _changes(user_changes.resign, calls.user_ids_beside_type),
    ("POST", "batch-get-user-encrypt-password"): _reads(user_endpoints.encrypted_passwords, calls.plain_user_ids),
    ("POST", "set-custom-fields"): _changes(user_endpoints.set_custom_fields),
    ("POST", "kick-users"): _refuses(user_changes.kick, calls.user_id),
    ("POST", "check-session-status"): _reads(user_changes.check_status, calls.plain_user_id),
    ("GET", "get-public-account-batch"): _reads(user_endpoints.get_batch, calls.user_ids_in_query, public=True),
    ("POST", "list-public-accounts"): _reads(user_endpoints.list_all, public=True),
    ("POST", "create-public-accounts-batch"): _changes(
        user_creation.create_batch, calls.new_users, creates=True, public=True
    ),
    ("POST", "delete-public-accounts-batch"): _changes(user_endpoints.delete_batch, calls.user_ids, public=True),
    ("POST", "create-group"): _changes(GROUP.create),
    ("POST", "create-groups-batch"): _changes(GROUP.create_batch),
    ("POST", "add-group-members"): _changes(members.add_group_members, calls.plain_user_ids),
    ("POST", "remove-group-members"): _changes(members.remove_group_members, calls.plain_user_ids),
    ("POST", "delete-groups-batch"): _changes(GROUP.delete, things.code_list),
    ("GET", "get-group"): _reads(GROUP.get),
    ("GET", "list-groups"): _reads(GROUP.list_all),
    ("GET", "get-all-groups"): _reads(things.get_all_groups),
    ("GET", "list-group-members"): _reads(GROUP.list_members),
    ("GET", "get-user-groups"): _reads(GROUP.list_of_user),
    ("POST", "create-role"): _changes(ROLE.create),
    ("POST", "create-roles-batch"): _changes(ROLE.create_batch),
    ("POST", "assign-role"): _refuses(members.assign_role, members.targets),
    ("POST", "assign-role-batch"): _refuses(members.assign_role_batch, partial(members.targets, most=ROLES_MAX)),
    ("POST", "revoke-role"): _refuses(members.revoke_role, members.targets),
    ("POST", "revoke-role-batch"): _refuses(partial(members.revoke_role, several=True), members.targets),
    ("POST", "delete-roles-batch"): _refuses(ROLE.delete, things.code_list),
    ("GET", "get-role"): _reads(ROLE.get),
    ("GET", "list-roles"): _reads(ROLE.list_all),
    ("GET", "list-role-members"): _reads(ROLE.list_members),
    ("GET", "list-role-assignments"): _reads(members.list_role_assignments),
    ("GET", "get-user-roles"): _reads(ROLE.list_of_user),
    ("POST", "create-resources-batch"): _changes(RESOURCE.create_batch),
    ("POST", "delete-resource"): _changes(RESOURCE.delete, partial(things.one_code, least=0)),
    ("POST", "delete-resources-batch"): _changes(RESOURCE.delete, things.codes_of_resources),
    ("GET", "get-resources-batch"): _reads(RESOURCE.get_batch, things.code_list_in_query),
    ("GET", "list-resources"): _reads(RESOURCE.list_all),
    ("POST", "create-namespace"): _changes(NAMESPACE.create),
    ("POST", "create-namespaces-batch"): _changes(NAMESPACE.create_batch),
    ("POST", "delete-namespace"): _refuses(NAMESPACE.delete, things.one_code),
    ("POST", "delete-namespaces-batch"): _changes(NAMESPACE.delete, partial(things.code_list, most=NAMESPACES_MAX)),
    ("GET", "get-namespace"): _reads(NAMESPACE.get),
    ("GET", "get-namespaces-batch"): _reads(NAMESPACE.get_batch, things.code_list_in_query),
    ("GET", "list-namespaces"): _reads(NAMESPACE.list_all),
}

ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    (method, f"{BASE}{name}"): endpoint for (method, name), endpoint in _BY_NAME.items()
}
"""Every endpoint that needs a sign-in, by method and path."""

PUBLIC_PATHS = frozenset(path for (_, path), endpoint in ENDPOINTS.items() if endpoint.public)
"""The paths of the endpoints about public accounts."""

CREATING_PATHS = frozenset(path for (_, path), endpoint in ENDPOINTS.items() if endpoint.creates)
"""The paths of the endpoints that create users."""

_PATHS = {TOKEN_PATH, *(path for _, path in ENDPOINTS)}


def is_not_played(path: str) -> bool:
    """Whether a path may be that of a call which the API has and the sandbox does not play."""
    return path.startswith(BASE) and path not in _PATHS
