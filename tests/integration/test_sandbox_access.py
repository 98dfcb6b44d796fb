"""Groups, roles, resources and namespaces of the sandbox: what the vendor's tests expect of them, and every effect."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
import pytest

from bulkdel_jobs.sandbox import Pool, Switches
from tests.integration.test_sandbox import IDS, Client, signed_in

LONG = "x" * 65
CODES = ["a", "b", "c", "d"]
GROUP = {"code": "new", "name": "n"}
TAKEN = "分组标识符已存在"
NO_GROUP, NO_ROLE, NO_NAMESPACE, NO_USER = "分组不存在", "角色不存在", "权限组不存在", "用户不存在"


def filled(count: int = 3) -> Pool:
    """Users that are all in group eng, in roles admin and audit, and two resources."""
    pool = Pool.from_ids(IDS[:count])
    pool.access.add_group("eng", pool.alive())
    for role in ("admin", "audit"):
        pool.access.add_role(role, pool.alive())
    for code in ("doc", "form"):
        pool.access.add_resource(code)
    pool.access.add_namespace("shop")
    return pool


async def ask(client: Client, call: str, asked: dict[str, Any]) -> Any:
    """Call an endpoint; a GET takes a list as a repeated key."""
    path = f"/api/v3/{call}"
    if not call.startswith(("get-", "list-")):
        return await client.post(path, asked)
    lists = {name: value if isinstance(value, list) else [value] for name, value in asked.items()}
    return await client.get(path, [(name, str(value)) for name, values in lists.items() for value in values])


def malformed(name: str) -> str:
    return f"参数 {name} 格式错误"


def targets(*ids: str) -> list[dict[str, str]]:
    return [{"targetType": "USER", "targetIdentifier": id_} for id_ in ids]


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    # groups
    ("create-group", {"code": "eng", "name": "n"}, 409, TAKEN),
    ("create-group", {"code": LONG, "name": "n"}, 400, malformed("code")),
    ("create-group", {"code": "new"}, 400, malformed("name")),
    ("create-groups-batch", {"list": [GROUP | {"code": "eng"}, GROUP]}, 409, TAKEN),
    ("create-groups-batch", {"list": [GROUP] * 2}, 409, TAKEN),
    ("create-groups-batch", {"list": [{"code": LONG, "name": "n"}]}, 400, malformed("list")),
    ("create-groups-batch", {"list": ["eng"]}, 400, malformed("list")),
    ("create-groups-batch", {"list": []}, 400, malformed("list")),
    ("add-group-members", {"code": "", "userIds": IDS[:1]}, 400, malformed("code")),
    ("add-group-members", {"code": "eng", "userIds": []}, 400, malformed("userIds")),
    ("add-group-members", {"code": "none", "userIds": IDS[:1]}, 404, NO_GROUP),
    ("remove-group-members", {"code": "", "userIds": IDS[:1]}, 400, malformed("code")),
    ("remove-group-members", {"code": "eng", "userIds": []}, 400, malformed("userIds")),
    ("remove-group-members", {"code": "eng", "userIds": IDS[:51]}, 400, malformed("userIds")),
    ("remove-group-members", {"code": "none", "userIds": IDS[:1]}, 404, NO_GROUP),
    ("delete-groups-batch", {"codeList": []}, 400, malformed("codeList")),
    ("delete-groups-batch", {"codeList": [1]}, 400, malformed("codeList")),
    ("delete-groups-batch", {"codeList": ["x"] * 51}, 400, malformed("codeList")),
    ("get-group", {"code": "none"}, 404, NO_GROUP),
    ("list-groups", {"limit": 100000}, 400, malformed("limit")),
    ("list-groups", {"page": -1, "limit": 1}, 400, malformed("page")),
    ("list-group-members", {"code": "none"}, 404, NO_GROUP),
    ("list-group-members", {"code": "eng", "limit": 10000}, 400, malformed("limit")),
    ("list-group-members", {"code": "eng", "page": -1}, 400, malformed("page")),
    ("get-user-groups", {"userId": ""}, 400, malformed("userId")),
    ("get-user-groups", {"userId": "none"}, 404, NO_USER),
    # roles
    ("create-role", {"code": "额! "}, 400, "invalid role code: 额! "),
    ("create-role", {"code": " "}, 400, "invalid role code:  "),
    ("create-role", {"code": ""}, 400, malformed("code")),
    ("create-role", {"code": LONG}, 400, malformed("code")),
    ("create-role", {"code": "admin"}, 409, "角色标识符已存在"),
    ("create-role", {"code": "new", "namespace": "none"}, 404, NO_NAMESPACE),
    ("create-role", {"code": "new", "namespace": 1}, 400, malformed("namespace")),
    ("create-roles-batch", {"list": [{"code": "额! "}]}, 400, "invalid role code: 额! "),
    ("create-roles-batch", {"list": [{"code": ""}]}, 400, "role code must not empty"),
    ("create-roles-batch", {"list": [{"code": " "}]}, 400, "invalid role code:  "),
    ("create-roles-batch", {"list": []}, 400, malformed("list")),
    ("assign-role", {"code": "none", "targets": targets(IDS[0])}, 404, NO_ROLE),
    ("assign-role", {"code": "admin", "namespace": "none", "targets": targets(IDS[0])}, 404, NO_NAMESPACE),
    ("assign-role", {"code": "admin", "targets": targets("none")}, 404, NO_USER),
    ("assign-role", {"code": "admin", "targets": []}, 400, malformed("targets")),
    ("assign-role-batch", {"roles": [{"code": "admin"}], "targets": targets(*IDS[:11])}, 400, malformed("targets")),
    ("revoke-role", {"code": "none", "targets": targets(IDS[0])}, 404, NO_ROLE),
    ("revoke-role", {"code": "admin", "namespace": "none", "targets": targets(IDS[0])}, 404, NO_NAMESPACE),
    ("revoke-role", {"code": "admin", "targets": targets("none")}, 404, NO_USER),
    ("revoke-role", {"code": "admin", "targets": targets(IDS[0], "none")}, 404, NO_USER),
    ("revoke-role", {"code": "admin", "targets": []}, 400, malformed("targets")),
    ("revoke-role", {"code": "admin", "targets": ["x"]}, 400, malformed("targets")),
    ("revoke-role", {"code": "admin", "targets": [{"targetType": "USER"}]}, 400, malformed("targets")),
    ("revoke-role", {"code": "admin", "targets": [targets("g")[0] | {"targetType": "GROUP"}]}, 501, "不支持的操作"),
    ("revoke-role-batch", {"roles": [], "targets": targets(IDS[0])}, 400, malformed("roles")),
    ("revoke-role-batch", {"roles": ["admin"], "targets": targets(IDS[0])}, 400, malformed("roles")),
    ("revoke-role-batch", {"roles": [{"code": "admin"}] * 11, "targets": targets(IDS[0])}, 400, malformed("roles")),
    ("revoke-role-batch", {"roles": [{"code": "admin"}, {"code": "none"}], "targets": targets(IDS[0])}, 404, NO_ROLE),
    ("delete-roles-batch", {"codeList": ["none"]}, 404, NO_ROLE),
    ("delete-roles-batch", {"codeList": ["admin", "none"]}, 404, NO_ROLE),
    ("delete-roles-batch", {"codeList": ["admin"], "namespace": "none"}, 404, NO_NAMESPACE),
    ("delete-roles-batch", {"codeList": []}, 400, malformed("codeList")),
    ("get-role", {"code": "none"}, 404, NO_ROLE),
    ("get-role", {"code": "admin", "namespace": "none"}, 404, NO_NAMESPACE),
    ("list-roles", {"namespace": "none"}, 404, NO_NAMESPACE),
    ("list-roles", {"page": -1}, 400, malformed("page")),
    ("list-roles", {"limit": -1}, 400, malformed("limit")),
    ("list-roles", {"limit": 10000}, 400, malformed("limit")),
    ("list-role-members", {"code": "none"}, 404, NO_ROLE),
    ("list-role-members", {"code": "admin", "namespace": "none"}, 404, NO_NAMESPACE),
    ("get-user-roles", {"userId": ""}, 400, malformed("userId")),
    ("get-user-roles", {"userId": IDS[0], "namespace": "none"}, 404, NO_NAMESPACE),
    # resources
    ("create-resources-batch", {"list": [{"code": "额!", "type": "DATA"}]}, 400, "invalid resource code: 额!"),
    ("create-resources-batch", {"list": [{"type": "DATA"}]}, 500, "未知错误"),
    ("create-resources-batch", {"list": [{"code": " ", "type": "DATA"}]}, 400, "invalid resource code:  "),
    ("create-resources-batch", {"list": [{"code": LONG, "type": "DATA"}]}, 400, f"invalid resource code: {LONG}"),
    ("create-resources-batch", {"list": [{"code": "new", "type": "DAT"}]}, 400, malformed("list")),
    ("create-resources-batch", {"list": [{"code": "doc", "type": "DATA"}]}, 409, "资源标识符已存在"),
    ("get-resources-batch", {"codeList": []}, 400, malformed("codeList")),
    ("get-resources-batch", {"codeList": ["doc"], "namespace": "none"}, 404, NO_NAMESPACE),
    ("delete-resource", {}, 400, malformed("code")),
    ("delete-resource", {"code": LONG}, 400, malformed("code")),
    ("delete-resource", {"code": "doc", "namespace": "none"}, 404, NO_NAMESPACE),
    ("delete-resources-batch", {}, 400, malformed("codeList")),
    ("delete-resources-batch", {"ids": ["x"]}, 501, "不支持的操作"),
    ("list-resources", {"type": "DAT"}, 400, malformed("type")),
    # namespaces
    ("create-namespace", {"code": "额!"}, 400, "invalid namespace code: 额!"),
    ("create-namespace", {"code": ""}, 400, malformed("code")),
    ("create-namespace", {"code": " "}, 400, "invalid namespace code:  "),
    ("create-namespace", {"code": LONG}, 400, malformed("code")),
    ("create-namespace", {"code": "default"}, 409, "权限组标识符已存在"),
    ("create-namespaces-batch", {"list": [{"code": "额!"}]}, 400, "invalid namespace code: 额!"),
    ("create-namespaces-batch", {"list": [{"code": ""}]}, 400, "namespace name must not be empty"),
    ("create-namespaces-batch", {"list": [{"code": LONG}]}, 400, f"invalid namespace code: {LONG}"),
    ("delete-namespace", {"code": "额!"}, 404, NO_NAMESPACE),
    ("delete-namespace", {"code": ""}, 400, malformed("code")),
    ("delete-namespace", {"code": LONG}, 400, malformed("code")),
    ("delete-namespaces-batch", {"codeList": ["x"] * 11}, 400, malformed("codeList")),
    ("get-namespace", {"code": "额!"}, 404, "namespace not exists"),
    ("get-namespace", {"code": ""}, 400, malformed("code")),
    ("get-namespace", {"code": LONG}, 400, malformed("code")),
]


async def test_what_the_api_refuses_it_refuses_whole() -> None:
    pool = filled(51)
    async with signed_in(pool) as client:
        for call, asked, status, message in REFUSED:
            answer = await ask(client, call, asked)
            assert (answer["statusCode"], answer["message"]) == (status, message), (call, asked)
    assert pool.kinds() == []
    assert [list(group.users) for group in pool.access.groups.values()] == [list(range(51))]
    spaces = pool.access.namespaces.values()
    assert {space.code: list(space.roles) for space in spaces} == {"default": ["admin", "audit"], "shop": []}


NO_ERROR: list[tuple[str, dict[str, Any]]] = [
    ("delete-groups-batch", {"codeList": ["none", LONG]}),
    *(("delete-resource", {"code": code}) for code in ("none", "", " ", "额!")),
    ("delete-resources-batch", {"codeList": ["none", "", " ", LONG]}),
    ("delete-namespaces-batch", {"codeList": ["none", "", " ", LONG]}),
    ("remove-group-members", {"code": "eng", "userIds": ["none"]}),
]


async def test_unknown_codes_that_are_no_error() -> None:
    pool = filled()
    async with signed_in(pool) as client:
        for call, asked in NO_ERROR:
            answer = await ask(client, call, asked)
            assert (answer["statusCode"], answer["data"]) == (200, {"success": True}), (call, asked)
        answer = await ask(client, "get-resources-batch", {"codeList": ["none", "doc", "额! ", "doc"]})
        assert [resource["code"] for resource in answer["data"]] == ["doc"]
        answer = await ask(client, "get-namespaces-batch", {"codeList": ["none", "shop", "", LONG]})
        assert [namespace["code"] for namespace in answer["data"]] == ["shop"]
    assert pool.kinds() == []


async def test_members_of_a_group_come_and_go() -> None:
    pool = Pool.from_ids(IDS[:4])
    async with signed_in(pool) as client:
        fields = {"code": "eng", "name": "Engineers", "description": "", "type": "static", "customData": {"a": 1}}
        made = (await ask(client, "create-group", fields))["data"]
        assert {name: made[name] for name in fields} == fields
        more = [{"code": code, "name": code} for code in ("ops", "hr")]
        made = (await ask(client, "create-groups-batch", {"list": more}))["data"]
        assert [group["code"] for group in made] == ["ops", "hr"]
        listed = (await ask(client, "list-groups", {"page": 1, "limit": 2}))["data"]
        assert (listed["totalCount"], [group["code"] for group in listed["list"]]) == (3, ["hr", "ops"])

        for code in ("eng", "ops"):
            await ask(client, "add-group-members", {"code": code, "userIds": IDS[:3]})
        assert (await ask(client, "remove-group-members", {"code": "eng", "userIds": IDS[1:2]}))["data"]["success"]
        members = (await ask(client, "list-group-members", {"code": "eng"}))["data"]
        assert (members["totalCount"], [user["userId"] for user in members["list"]]) == (2, [IDS[0], IDS[2]])
        groups = (await ask(client, "get-user-groups", {"userId": IDS[1]}))["data"]
        assert (groups["totalCount"], [group["code"] for group in groups["list"]]) == (1, ["ops"])

        await client.delete(IDS[:1])
        everything = (await ask(client, "get-all-groups", {"fetchMembers": "true"}))["data"]
        assert {group["code"]: [user["userId"] for user in group["members"]] for group in everything} == {
            "eng": [IDS[2]],
            "ops": IDS[1:3],
            "hr": [],
        }
        await ask(client, "delete-groups-batch", {"codeList": ["ops", "none"]})
        assert (await ask(client, "get-user-groups", {"userId": IDS[1]}))["data"] == {"totalCount": 0, "list": []}
        shown = (await ask(client, "get-group", {"code": "eng"}))["data"]
        assert (shown["code"], shown["members"], "customData" in shown) == ("eng", [], False)
    assert pool.effects_of("group-removed") == {f"eng/{IDS[1]}": 1}
    assert pool.effects_of("group-deleted") == {"ops": 1}


async def test_roles_are_given_and_taken() -> None:
    pool = Pool.from_ids(IDS[:3])
    async with signed_in(pool) as client:
        assert (await ask(client, "create-namespace", {"code": "shop", "name": "Shop"}))["data"]["name"] == "Shop"
        made = (await ask(client, "create-role", {"code": "admin", "description": "d"}))["data"]
        assert (made["code"], made["namespace"], made["description"]) == ("admin", "default", "d")
        roles = [{"code": "admin", "namespace": "shop"}, {"code": "audit"}]
        assert (await ask(client, "create-roles-batch", {"list": roles}))["data"] == {"success": True}
        await ask(client, "assign-role", {"code": "admin", "targets": targets(*IDS[:3])})
        await ask(client, "assign-role-batch", {"roles": roles, "targets": targets(*IDS[:2])})

        async def roles_of(id_: str, namespace: str | None = None) -> list[str]:
            asked = {"userId": id_} | ({} if namespace is None else {"namespace": namespace})
            found = (await ask(client, "get-user-roles", asked))["data"]
            assert found["totalCount"] == len(found["list"])
            return [role["code"] for role in found["list"]]

        assert await roles_of(IDS[0]) == ["admin", "audit"]
        assert await roles_of(IDS[0], "shop") == ["admin"]
        asked: dict[str, Any] = {
            "roles": [{"code": "admin"}, {"code": "audit"}, {"code": "admin"}],
            "targets": targets(*IDS[1:3]),
        }
        for _ in range(2):  # a second time is no error
            assert (await ask(client, "revoke-role-batch", asked))["data"] == {"success": True}
        assert await roles_of(IDS[1]) == []
        assert await roles_of(IDS[1], "shop") == ["admin"]
        members = (await ask(client, "list-role-members", {"code": "admin"}))["data"]
        assert [user["userId"] for user in members["list"]] == [IDS[0]]

        asked = {"codeList": ["admin"], "namespace": "shop"}
        assert (await ask(client, "delete-roles-batch", asked))["data"] == {"success": True}
        assert await roles_of(IDS[0], "shop") == []
        assert (await ask(client, "get-role", {"code": "admin"}))["data"]["code"] == "admin"
        assert (await ask(client, "list-roles", {"namespace": "shop"}))["data"] == {"totalCount": 0, "list": []}
    first = {f"default/{role}/{id_}" for role, id_ in [("admin", IDS[1]), ("admin", IDS[2]), ("audit", IDS[1])]}
    assert pool.effects_of("role-revoked") == Counter(first)
    assert pool.repeats_of("role-revoked") == Counter([*first, *[f"default/audit/{IDS[2]}"] * 2])
    assert pool.effects_of("role-deleted") == {"shop/admin": 1}


async def test_resources_lie_in_their_namespace() -> None:
    pool = Pool()
    async with signed_in(pool) as client:
        assert (await ask(client, "create-namespaces-batch", {"list": [{"code": "shop"}]}))["data"] == {"success": True}
        wanted = [{"code": "doc", "type": "DATA", "description": "d"}, {"code": "form", "type": "UI"}]
        for namespace in ("shop", "default"):
            answer = await ask(client, "create-resources-batch", {"list": wanted, "namespace": namespace})
            assert answer["data"] == {"success": True}
        answer = await ask(client, "delete-resources-batch", {"codeList": ["doc", "none"], "namespace": "shop"})
        assert answer["data"] == {"success": True}
        found = (await ask(client, "get-resources-batch", {"codeList": ["doc"], "namespace": "shop"}))["data"]
        assert found == []
        found = (await ask(client, "get-resources-batch", {"codeList": ["doc"]}))["data"]
        assert [(one["code"], one["type"], one["description"], one["namespace"]) for one in found] == [
            ("doc", "DATA", "d", "default")
        ]
        listed = (await ask(client, "list-resources", {"type": "UI"}))["data"]
        assert (listed["totalCount"], [one["code"] for one in listed["list"]]) == (1, ["form"])
        listed = (await ask(client, "list-namespaces", {}))["data"]
        assert [one["code"] for one in listed["list"]] == ["default", "shop"]
        assert (await ask(client, "delete-namespace", {"code": "shop"}))["data"] == {"success": True}
        assert (await ask(client, "delete-namespaces-batch", {"codeList": ["shop"]}))["data"] == {"success": True}
        assert (await ask(client, "delete-resource", {"code": "form"}))["data"] == {"success": True}
        assert (await ask(client, "get-resources-batch", {"codeList": ["form"]}))["data"] == []
        asked: dict[str, Any] = {"codeList": ["form"], "namespace": "shop"}
        assert (await ask(client, "get-resources-batch", asked))["statusCode"] == 404
        assert (await ask(client, "get-namespace", {"code": "default"}))["data"]["code"] == "default"
    assert pool.effects_of("resource-deleted") == {"shop/doc": 1, "default/form": 1}
    assert pool.effects_of("namespace-deleted") == {"shop": 1}
    assert pool.repeats_of("namespace-deleted") == {"shop": 1}


# --- the switches -----------------------------------------------------------------------------------------------------


class Destroying(NamedTuple):
    """A call that takes something away: how it names four things, and the effect of each."""

    call: str
    asked: Callable[[list[str]], dict[str, Any]]
    things: list[str]
    kind: str
    key: str
    """What stands before the thing in the key of its effect."""


DESTROYING = [
    Destroying("remove-group-members", lambda ids: {"code": "eng", "userIds": ids}, IDS[:4], "group-removed", "eng/"),
    Destroying(
        "revoke-role",
        lambda ids: {"code": "admin", "targets": targets(*ids)},
        IDS[:4],
        "role-revoked",
        "default/admin/",
    ),
    Destroying(
        "revoke-role-batch",
        lambda ids: {"roles": [{"code": "admin"}], "targets": targets(*ids)},
        IDS[:4],
        "role-revoked",
        "default/admin/",
    ),
    Destroying("delete-groups-batch", lambda ids: {"codeList": ids}, CODES, "group-deleted", ""),
    Destroying("delete-roles-batch", lambda ids: {"codeList": ids}, CODES, "role-deleted", "default/"),
    Destroying("delete-resources-batch", lambda ids: {"codeList": ids}, CODES, "resource-deleted", "default/"),
    Destroying("delete-namespaces-batch", lambda ids: {"codeList": ids}, CODES, "namespace-deleted", ""),
]

FAULTS: list[tuple[dict[str, Any], str, list[int]]] = [
    ({"forbidden": True}, "403", []),
    ({"poisonous": {"POISON": (422, 7)}}, "422", []),
    ({"unknown_ids": "refuse"}, "404", []),
    ({"unknown_ids": "partial"}, "404", [0, 1, 2, 3]),
    ({"unknown_ids": "accept"}, "200", [0, 1, 2, 3]),
    ({"unknown_ids": "accept", "liars": frozenset({"LIAR"})}, "200", [0, 2, 3]),
    ({"share_drop_before": 1.0}, "drop_before", []),
    ({"share_500": 1.0}, "500", []),
    ({"share_500_after": 1.0, "unknown_ids": "accept"}, "500_after", [0, 1, 2, 3]),
    ({"share_drop_after": 1.0, "unknown_ids": "accept"}, "drop_after", [0, 1, 2, 3]),
    ({"share_unsuccessful": 1.0}, "unsuccessful", []),
    ({"share_unsuccessful": 1.0, "unsuccessful_effect": "half"}, "unsuccessful", [0, 1]),
]
"""Switches; what the ledger counts as the answer to four known things and an unknown one; which of them go."""


@pytest.mark.parametrize("each", DESTROYING, ids=lambda each: each.call)
@pytest.mark.parametrize(("switches", "answer", "gone"), FAULTS)
async def test_each_fault_strikes_each_call(
    each: Destroying, switches: dict[str, Any], answer: str, gone: list[int]
) -> None:
    pool = filled(4)
    for code in CODES:
        pool.access.add_group(code)
        pool.access.add_role(code)
        pool.access.add_resource(code)
        pool.access.add_namespace(code)
    if "poisonous" in switches:
        switches = {"poisonous": {each.things[1]: (422, 7)}}
    if "liars" in switches:
        switches |= {"liars": frozenset({each.things[1]})}
    async with signed_in(pool) as client:
        client.sandbox.switches = Switches(**switches)
        with contextlib.suppress(aiohttp.ClientError):
            await ask(client, each.call, each.asked([*each.things, "none"]))
        ledger = client.sandbox.ledger
        assert ledger.answers - Counter({"200": 1}) == {answer: 1}  # signing in was the other
        assert pool.effects_of(each.kind) == Counter(each.key + each.things[index] for index in gone)
        assert pool.kinds() == ([each.kind] if gone else [])
        assert ledger.by_path[f"/api/v3/{each.call}"] == 1
        assert ledger.chunk_sizes == {5: 1}


async def test_look_ups_lag_and_are_blind_and_lists_are_not() -> None:
    async with signed_in(filled()) as client:
        client.sandbox.switches = Switches(lag_s=3600)

        async def codes(call: str, **asked: Any) -> list[str]:
            data = (await ask(client, call, asked))["data"]
            found = data["list"] if isinstance(data, dict) else data
            return [one.get("code", one.get("userId")) for one in found]

        await ask(client, "remove-group-members", {"code": "eng", "userIds": IDS[:1]})
        await ask(client, "revoke-role", {"code": "admin", "targets": targets(IDS[0])})
        assert await codes("get-user-groups", userId=IDS[0]) == ["eng"]
        assert await codes("get-user-roles", userId=IDS[0]) == ["admin", "audit"]
        assert await codes("list-group-members", code="eng") == IDS[1:3]
        assert await codes("list-role-members", code="admin") == IDS[1:3]

        await ask(client, "delete-groups-batch", {"codeList": ["eng"]})
        await ask(client, "delete-roles-batch", {"codeList": ["admin"]})
        await ask(client, "delete-resources-batch", {"codeList": ["doc"]})
        await ask(client, "delete-namespaces-batch", {"codeList": ["shop"]})
        assert await codes("get-user-groups", userId=IDS[1]) == ["eng"]
        assert (await ask(client, "get-group", {"code": "eng"}))["statusCode"] == 200
        assert (await ask(client, "get-role", {"code": "admin"}))["statusCode"] == 200
        assert (await ask(client, "get-namespace", {"code": "shop"}))["statusCode"] == 200
        assert await codes("get-resources-batch", codeList=["doc", "form"]) == ["doc", "form"]
        assert await codes("list-groups") == []
        assert await codes("list-roles") == ["audit"]
        assert await codes("list-resources") == ["form"]
        assert await codes("list-namespaces") == ["default"]

        client.sandbox.switches = Switches(blind=True)
        assert (await ask(client, "get-user-groups", {"userId": IDS[0]}))["message"] == NO_USER
        assert (await ask(client, "get-role", {"code": "audit"}))["message"] == NO_ROLE
        assert await codes("get-resources-batch", codeList=["form"]) == []
        assert await codes("list-role-members", code="audit") == IDS[:3]


async def test_a_user_that_is_not_in_the_group_is_refused_on_a_switch() -> None:
    pool = filled()
    async with signed_in(pool) as client:
        for _ in range(2):
            answer = await ask(client, "remove-group-members", {"code": "eng", "userIds": IDS[:1]})
            assert answer["statusCode"] == 200
        client.sandbox.switches = Switches(refuse_non_members=True)
        answer = await ask(client, "remove-group-members", {"code": "eng", "userIds": IDS[:2]})
        assert answer["statusCode"] == 404
    assert pool.effects_of("group-removed") == {f"eng/{IDS[0]}": 1}
    assert pool.repeats_of("group-removed") == {f"eng/{IDS[0]}": 1}


def test_what_is_added_again_is_there_and_lags_no_more() -> None:
    pool = filled(1)
    group = pool.access.add_group("eng")
    assert group.users.remove(0)
    assert not group.users.remove(0)
    group.add(0)
    assert group.has(0)
    assert not group.users.is_removed(0)
    assert pool.access.groups.remove("eng")
    assert pool.access.groups.is_removed("eng")
    again = pool.access.add_group("eng")
    assert pool.access.groups.values(lag_s=3600) == [again]
    assert again.users.values() == []
