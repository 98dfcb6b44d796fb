"""One whole offboarding through an SDK, in the order of the vendor's documentation, and what the sandbox must count.

Disable → end sessions → revoke roles → leave groups → resign → delete → create again, with role, group and an identity;
then public accounts, groups, roles, resources.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

GROUP, ROLE, APP = "leavers", "staff", "5a9db0c5a9db0c5a9db0ca00"
SOURCE = "62f20932716fbcc10d966ee5"
USERS, LEAVERS = 51, 50

Effects = Counter[tuple[str, str]]
"""How many requests had an effect, by kind and id."""


class Sdk:
    """One SDK in a process of its own.

    asked: the last method that it was asked for. missing: those that it does not have.
    """

    def __init__(self, words: Sequence[str], env: dict[str, str]) -> None:
        self._process = subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.asked = ""
        self.missing: set[str] = set()

    def ask(self, method: str, **parameters: Any) -> Any:
        """Call a method; return the data of its answer, or None where the SDK has no such method."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.asked = method
        self._process.stdin.write(json.dumps([method, parameters]).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if answer is None:
            self.missing.add(method)
            return None
        assert answer["statusCode"] == 200, (method, answer)
        return answer["data"]

    def does(self, method: str, **parameters: Any) -> bool:
        """Call a method that answers with nothing but success; return whether the SDK has it."""
        data = self.ask(method, **parameters)
        assert data in (None, {"success": True}), (method, data)
        return data is not None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def sandbox(bulkdel: str, *switches: str) -> Iterator[dict[str, str]]:
    """`bulkdel sandbox` as a process, whose users are in one group and have one role; yields what it announces.

    Being suspended does not end a session there, so the walk has sessions to end.
    """
    words = [
        bulkdel,
        "sandbox",
        "--users",
        str(USERS),
        "--plain",
        "--group",
        GROUP,
        "--role",
        ROLE,
        "--sessions-outlive",
        *switches,
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def counted(url: str, *, public: bool = False) -> Effects:
    """What the sandbox has counted. What was asked for again counts under a kind of its own; no walk expects that."""
    with urllib.request.urlopen(f"{url}/sandbox/effects?public={str(public).lower()}", timeout=10) as answer:
        effects = [json.loads(line) for line in answer]
    once = Counter({(each["kind"], each["id"]): each["count"] for each in effects})
    return once + Counter({(f"{each['kind']} again", each["id"]): each["again"] for each in effects})


def offboard(sdk: Sdk) -> tuple[Effects, Effects]:
    """Walk the whole offboarding; return the effects that it must have had on the users and on the public accounts."""
    page = {"pagination": {"page": 1, "limit": LEAVERS}}
    leavers = [user["userId"] for user in sdk.ask("listUsers", options=page)["list"]]
    assert len(leavers) == LEAVERS
    records = sdk.ask("getUserBatch", userIds=leavers, withCustomData=True, withIdentities=True)
    expected = [
        *disable(sdk, leavers),
        *end_sessions(sdk, leavers),
        *revoke_role(sdk, leavers),
        *leave_group(sdk, leavers),
        *resign(sdk, leavers),
        *delete(sdk, leavers),
        *bring_back(sdk, records),
        *clean_up(sdk),
    ]
    members = sdk.ask("listGroupMembers", code=GROUP, limit=50)
    assert members["totalCount"] == USERS - 1
    assert not {user["userId"] for user in members["list"]} & set(leavers)
    return Counter(expected), Counter(public_accounts(sdk))


def status(sdk: Sdk, ids: list[str]) -> set[str]:
    """The statuses that these users have; each of them must exist."""
    users = sdk.ask("getUserBatch", userIds=ids)
    assert {user["userId"] for user in users} == set(ids)
    return {user["status"] for user in users}


def disable(sdk: Sdk, ids: list[str]) -> Iterator[tuple[str, str]]:
    users = sdk.ask("updateUserBatch", list=[{"userId": id_, "status": "Suspended"} for id_ in ids])
    assert {user["userId"]: user["status"] for user in users} == dict.fromkeys(ids, "Suspended")
    assert status(sdk, ids) == {"Suspended"}
    yield from (("suspended", id_) for id_ in ids)


def end_sessions(sdk: Sdk, ids: list[str]) -> Iterator[tuple[str, str]]:
    for id_ in ids:
        assert sdk.ask("checkSessionStatus", userId=id_, appId=APP) == {"active": True}
        assert sdk.does("kickUsers", userId=id_, appIds=[APP])
        assert sdk.ask("checkSessionStatus", userId=id_, appId=APP) == {"active": False}
        yield "kicked", f"{APP}/{id_}"


def revoke_role(sdk: Sdk, ids: list[str]) -> Iterator[tuple[str, str]]:
    assert [role["code"] for role in sdk.ask("getUserRoles", userId=ids[0])["list"]] == [ROLE]
    targets = [{"targetType": "USER", "targetIdentifier": id_} for id_ in ids]
    assert sdk.does("revokeRoleBatch", roles=[{"code": ROLE}], targets=targets)
    assert sdk.ask("getUserRoles", userId=ids[0]) == {"totalCount": 0, "list": []}
    yield from (("role-revoked", f"default/{ROLE}/{id_}") for id_ in ids)


def leave_group(sdk: Sdk, ids: list[str]) -> Iterator[tuple[str, str]]:
    assert [group["code"] for group in sdk.ask("getUserGroups", userId=ids[0])["list"]] == [GROUP]
    assert sdk.does("removeGroupMembers", code=GROUP, userIds=ids)
    assert sdk.ask("getUserGroups", userId=ids[0]) == {"totalCount": 0, "list": []}
    yield from (("group-removed", f"{GROUP}/{id_}") for id_ in ids)


def resign(sdk: Sdk, ids: list[str]) -> Iterator[tuple[str, str]]:
    if sdk.does("resignUserBatch", userIds=ids):
        assert status(sdk, ids) == {"Resigned"}
        yield from (("resigned", id_) for id_ in ids)


def delete(sdk: Sdk, ids: list[str]) -> Iterator[tuple[str, str]]:
    assert sdk.does("deleteUsersBatch", userIds=ids)
    assert sdk.ask("getUserBatch", userIds=ids) == []
    yield from (("deleted", id_) for id_ in ids)


def bring_back(sdk: Sdk, records: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Create all users again but one, and put each back where it was."""
    wanted = {user["username"]: user for user in records[1:]}
    quiet = {"sendEmailNotification": False, "sendPhoneNotification": False}
    options = {"resetPasswordOnFirstLogin": True, "sendNotification": quiet}
    made = sdk.ask("createUsersBatch", list=[*wanted.values()], options=options)
    assert {user["username"]: user["customData"] for user in made} == {
        name: user["customData"] for name, user in wanted.items()
    }
    ids = [user["userId"] for user in made]
    assert not {*ids} & {user["userId"] for user in records}
    assert sdk.does("addGroupMembers", code=GROUP, userIds=ids)
    targets = [{"targetType": "USER", "targetIdentifier": id_} for id_ in ids]
    assert sdk.does("assignRole", code=ROLE, targets=targets, endTime=1_900_000_000_000)
    ends = sdk.ask("listRoleAssignments", roleCode=ROLE, limit=50)
    assert (ends["totalCount"], ends["data"][-1]["endTime"]) == (USERS - 1, 1_900_000_000_000)
    assert sdk.does("linkIdentity", userId=ids[0], extIdpId=SOURCE, userIdInIdp="ou_again")
    yield "identity-linked", f"{SOURCE}:ou_again/{ids[0]}"
    for id_ in ids:
        yield from (("created", id_), ("group-added", f"{GROUP}/{id_}"), ("role-assigned", f"default/{ROLE}/{id_}"))


def public_accounts(sdk: Sdk) -> Iterator[tuple[str, str]]:
    made = sdk.ask("createPublicAccountsBatch", list=[{"username": "desk"}, {"username": "door"}])
    ids = [account["userId"] for account in made]
    assert {account["userId"] for account in sdk.ask("getPublicAccountBatch", userIds=ids)} == set(ids)
    assert sdk.does("deletePublicAccountsBatch", userIds=ids)
    assert sdk.ask("getPublicAccountBatch", userIds=ids) == []
    yield from ((kind, id_) for id_ in ids for kind in ("created", "deleted"))


def clean_up(sdk: Sdk) -> Iterator[tuple[str, str]]:
    """Groups, roles and resources are made, and deleted with each other but one."""
    codes = ["a", "b", "stays"]
    gone = codes[:2]
    sdk.ask(
        "createGroupsBatch", list=[{"code": code, "name": code, "description": "", "type": "static"} for code in codes]
    )
    assert sdk.does("createRolesBatch", list=[{"code": code} for code in codes])
    assert sdk.does(
        "createResourcesBatch", list=[{"code": code, "type": "DATA"} for code in codes], namespace="default"
    )
    assert sdk.does("deleteGroupsBatch", codeList=gone)
    assert sdk.does("deleteRolesBatch", codeList=gone, namespace="default")
    assert sdk.does("deleteResourcesBatch", codeList=gone, namespace="default")
    assert {group["code"] for group in sdk.ask("listGroups", page=1, limit=50)["list"]} == {GROUP, "stays"}
    assert {role["code"] for role in sdk.ask("listRoles", page=1, limit=50)["list"]} == {ROLE, "stays"}
    assert [one["code"] for one in sdk.ask("getResourcesBatch", codeList=codes, namespace="default")] == ["stays"]
    yield from ((kind, code) for kind in ("group-deleted",) for code in gone)
    yield from ((kind, f"default/{code}") for kind in ("role-deleted", "resource-deleted") for code in gone)
