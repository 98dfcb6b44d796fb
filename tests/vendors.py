"""Look-alikes of vendors' APIs on `restserver`, each only as far as an example of docs/http-job.md asks.

Answers and codes follow the vendors' published descriptions: Keycloak's OpenAPI description (version 23,
github.com/ccouzens/keycloak-openapi), the examples of Auth0's Management API v2 (auth0.com/docs/api/management/v2), and
Okta's reference of its Users API with its list of errors (developer.okta.com). None was tried on the live service.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.restserver import Answer, Api, Asked

SECRET = "vendor-secret-canary-0123456789"


@dataclass
class Vendor(Api):
    """users: their records by id. tokens: how many were given out. uses_max: requests that one token is good for."""

    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: int = 0
    uses_max: int = 1_000_000
    _uses: int = 0

    def fill(self, ids: list[str]) -> None:
        self.users = {id_: self.record(id_) for id_ in ids}

    def record(self, id_: str) -> dict[str, Any]:
        return {"id": id_}

    def delete(self, id_: str) -> None:
        del self.users[id_]
        self.effects["deleted", id_] += 1

    def token(self) -> dict[str, Any]:
        self.tokens += 1
        self._uses = 0
        return {"access_token": f"token-{self.tokens}", "expires_in": 60, "token_type": "Bearer"}

    def signed_in(self, asked: Asked) -> bool:
        self._uses += 1
        return 0 < self._uses <= self.uses_max and asked.headers.get("authorization") == f"Bearer token-{self.tokens}"


class Keycloak(Vendor):
    """Realm acme. The client sends its secret in a basic header."""

    def answer(self, asked: Asked) -> Answer:
        if asked.path == ("realms", "acme", "protocol", "openid-connect", "token"):
            client = base64.b64encode(f"bulkdel:{SECRET}".encode()).decode()
            if asked.headers.get("authorization") != f"Basic {client}":
                return 401, {
                    "error": "unauthorized_client",
                    "error_description": "Invalid client or Invalid client credentials",
                }
            return 200, self.token() | {"scope": "profile email", "refresh_expires_in": 0}
        if asked.path[:3] == ("admin", "realms", "acme") and not self.signed_in(asked):
            return 401, {"error": "HTTP 401 Unauthorized"}
        match asked.method, asked.path[3:]:
            case "GET", ("users",):
                return 200, list(self.users.values())[: int(asked.query["max"][0])]
            case (("GET" | "DELETE"), ("users", id_)) if id_ not in self.users:
                return 404, {"error": "User not found"}
            case "GET", ("users", id_):
                return 200, self.users[id_]
            case "DELETE", ("users", id_):
                self.delete(id_)
                return 204, None
        return 404, {"error": "HTTP 404 Not Found"}

    def record(self, id_: str) -> dict[str, Any]:
        return {
            "id": id_,
            "createdTimestamp": 1588880747548,
            "username": f"u-{id_}",
            "enabled": True,
            "emailVerified": False,
        }


class Auth0(Vendor):
    """The client sends its secret in the body. A deletion of a user that does not exist is a 204, too."""

    def answer(self, asked: Asked) -> Answer:
        if asked.path == ("oauth", "token"):
            form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
            if form.get("client_secret") != SECRET or form.get("audience") != "https://acme.eu.auth0.com/api/v2/":
                return 401, {"error": "access_denied", "error_description": "Unauthorized"}
            return 200, self.token() | {"scope": "delete:users read:users"}
        if asked.path[:2] == ("api", "v2") and not self.signed_in(asked):
            return 401, {"statusCode": 401, "error": "Unauthorized", "message": "Invalid token"}
        match asked.method, asked.path[2:]:
            case "GET", ("users",):
                return 200, list(self.users.values())[: int(asked.query["per_page"][0])]
            case "GET", ("users", id_) if id_ in self.users:
                return 200, self.users[id_]
            case "GET", ("users", _):
                missing = {"statusCode": 404, "error": "Not Found", "message": "The user does not exist."}
                return 404, missing | {"errorCode": "inexistent_user"}
            case "DELETE", ("users", id_):
                if id_ in self.users:
                    self.delete(id_)
                return 204, None
        return 404, {"statusCode": 404, "error": "Not Found", "message": "Not Found"}

    def record(self, id_: str) -> dict[str, Any]:
        return {
            "user_id": id_,
            "email": "john.doe@gmail.com",
            "created_at": "2024-01-15T10:30:00.000Z",
            "blocked": False,
        }


class Okta(Vendor):
    """Deleting a user that is not deactivated only deactivates it."""

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"SSWS {SECRET}":
            return 401, self.error("E0000011", "Invalid token provided")
        if asked.path[:2] != ("api", "v1"):
            return 404, self.error("E0000022", "The endpoint does not support the provided HTTP method")
        match asked.method, asked.path[2:]:
            case "GET", ("users",):
                return 200, list(self.users.values())[: int(asked.query["limit"][0])]
            case _, ("users", id_, *_) if id_ not in self.users:
                return 404, self.error("E0000007", f"Not found: Resource not found: {id_} (User)")
            case "GET", ("users", id_):
                return 200, self.users[id_]
            case "POST", ("users", id_, "lifecycle", "deactivate"):
                self.deactivate(id_)
                return 200, {}
            case "DELETE", ("users", id_):
                if self.users[id_]["status"] == "DEPROVISIONED":
                    self.delete(id_)
                else:
                    self.deactivate(id_)
                return 204, None
        return 404, self.error("E0000008", "The requested path was not found")

    def deactivate(self, id_: str) -> None:
        self.users[id_]["status"] = "DEPROVISIONED"
        self.effects["deactivated", id_] += 1

    def record(self, id_: str) -> dict[str, Any]:
        return {
            "id": id_,
            "status": "ACTIVE",
            "created": "2013-06-24T16:39:18.000Z",
            "profile": {"login": f"{id_}@x.y"},
        }

    def error(self, code: str, summary: str) -> dict[str, Any]:
        return {
            "errorCode": code,
            "errorSummary": summary,
            "errorLink": code,
            "errorId": "oaehhZVvfglR-GnSbcOQDCm6g",
            "errorCauses": [],
        }


VENDORS: Mapping[str, tuple[type[Vendor], str]] = {
    "keycloak": (Keycloak, "KEYCLOAK_SECRET"),
    "auth0": (Auth0, "AUTH0_SECRET"),
    "okta-deactivate": (Okta, "OKTA_TOKEN"),
    "okta-delete": (Okta, "OKTA_TOKEN"),
}
"""The look-alike of each example of the page, and the variable with its secret."""
