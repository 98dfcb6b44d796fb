"""The API of the first examples of docs/http-job.md and docs/adding-a-job.md: members and groups of a forum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.restserver import Answer, Api, Asked

TOKEN = "forum-token-canary-0123456789"


@dataclass
class Forum(Api):
    """Deletes one member a request, or several with an answer for each.

    odd: what the batch call answers for some ids the first time; None leaves the id out. locked: ids that are refused.
    facts: more members of the records of some ids. staff: the administrators, by their ids or as whole records; None
    when that call fails. more_staff: the list of them has a next page.
    page: every deletion is answered with a web page. sent: the ids of each batch call. shown: members on one page.
    """

    members: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=lambda: {"1"})
    locked: set[str] = field(default_factory=set)
    odd: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    staff: list[Any] | None = field(default_factory=list)
    more_staff: bool = False
    page: bool = False
    sent: list[list[str]] = field(default_factory=list)
    shown: int = 10

    def answer(self, asked: Asked) -> Answer:
        given = asked.headers.get("x-api-key"), asked.headers.get("authorization", "").removeprefix("Bearer ")
        if TOKEN not in given:
            return 401, {"message": f"no key {given}"}
        match asked.method, asked.path:
            case "GET", ("api", "v1", "members"):
                after = asked.query.get("after", [""])[0]
                found = sorted(
                    id_ for id_ in asked.query.get("id", self.members) if id_ in self.members and id_ > after
                )
                following = found[self.shown - 1] if len(found) > self.shown else None
                return 200, {"members": [self.record(id_) for id_ in found[: self.shown]], "next": following}
            case "GET", ("api", "v1", "members", id_) if id_ in self.members:
                return 200, self.record(id_)
            case "GET", ("api", "v1", "groups", "staff", "members") if self.staff is not None:
                listed = {"staff": [{"id": one} if isinstance(one, str) else one for one in self.staff]}
                return 200, listed, {"link": '<?page=2>; rel="next"'} if self.more_staff else {}
            case "DELETE", _ if self.page:
                return 200, b"<!doctype html><title>Sign in</title>"
            case "DELETE", ("api", "v1", "members", id_) if id_ in self.locked:
                return 423, {"message": f"{id_} is locked"}
            case "DELETE", ("api", "v1", ("members" | "groups") as kind, id_):
                if id_ in (self.members if kind == "members" else self.groups):
                    self.remove(kind, id_)
                    return 204, None
            case "POST", ("api", "v1", "members", "remove"):
                return 200, {"results": self.removed([each["id"] for each in asked.json["members"]])}
        return 404, {"message": f"nothing at {asked.target}"}

    def record(self, id_: str) -> dict[str, Any]:
        return {"id": id_, **self.facts.get(id_, {})}

    def removed(self, ids: list[str]) -> list[dict[str, Any]]:
        self.sent.append(ids)
        results: list[dict[str, Any]] = []
        for id_ in ids:
            code: Any = 404
            if id_ in self.members:
                code = "locked" if id_ in self.locked else self.odd.pop(id_, 204)
            if code in {204, None}:
                self.remove("members", id_)
            if code is not None:
                results.append({"id": id_, "code": code, "why": f"it is {code}"})
        return results

    def remove(self, kind: str, id_: str) -> None:
        (self.members if kind == "members" else self.groups).remove(id_)
        self.effects[kind, id_] += 1
