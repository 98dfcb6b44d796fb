"""The table of endpoints: which function answers a request, and what the server has to know of it beforehand.

An endpoint reads a Call and returns an Answer, or raises Refused. It knows no socket and no clock. The server decides
when an endpoint is called, and what becomes of its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bulkdel_jobs.sandbox import user_endpoints
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
}
"""By method and path."""

PUBLIC_PATHS = frozenset(path for (_, path), endpoint in ENDPOINTS.items() if endpoint.public)
"""The paths of the endpoints about public accounts."""
