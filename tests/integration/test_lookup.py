"""Asking which ids exist, against a real server: matching, retries, and when an empty answer may be trusted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from string import ascii_letters
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pytest

from bulkdel.core.decision import Decision, NextStep, Request, Response
from bulkdel.core.id_type import IdSet
from bulkdel.core.retry import ATTEMPTS_MAX
from bulkdel.errors import Halted
from bulkdel.http.account_reader import LookupResult
from bulkdel.http.client import Client, WorkerStatus
from bulkdel.http.connecting import connect
from bulkdel.http.lookup import AccountLookup
from bulkdel.http.own_accounts import owner_of
from bulkdel.http.page_reader import PAGES_MAX
from bulkdel.http.positive_control import CONTROL_TRIES, CONTROLS_MAX, SeenBefore
from bulkdel.job import Account, Paged
from bulkdel.safety.exclude_look_up import look_up_excluded
from bulkdel.settings import Settings
from bulkdel_jobs.delete_users import DeleteUsers
from bulkdel_jobs.genauth.access_key import GENAUTH, Credentials
from bulkdel_jobs.genauth.endpoints import LIST_PATH, UserLookUps
from bulkdel_jobs.genauth.genauth_job import GenAuth
from bulkdel_jobs.genauth.id_types import ID_TYPES
from bulkdel_jobs.sandbox import LOOKUP_PATH, SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, Pool, Sandbox, Switches, serve
from tests.mutants import mutant
from tests.rawserver import Peer, RawServer, ReceivedRequest, answer
from tests.syntax import before, negate, swap

CALLS = DeleteUsers().calls(None)

ABSENT = [f"{i:024x}" for i in range(3)]


@contextlib.asynccontextmanager
async def looking_up(url: str, id_type: str = "user_id") -> AsyncIterator[tuple[AccountLookup, Client]]:
    """A look-up whose backoff is always 0, and its client."""
    target = GenAuth(url, url, GENAUTH, Credentials(SANDBOX_KEY_ID, SANDBOX_KEY_SECRET), CALLS)
    async with connect(target, Settings(rate=0), pool=None) as client:
        yield AccountLookup(client, target.look_ups(ID_TYPES[id_type]), lambda: 0.0), client


@contextlib.asynccontextmanager
async def in_sandbox(
    pool: Pool | None = None, id_type: str = "user_id"
) -> AsyncIterator[tuple[AccountLookup, Client, Sandbox]]:
    """A look-up in a sandbox with `pool`, or with 120 users."""
    async with (
        serve(Pool.generated(120) if pool is None else pool) as sandbox,
        looking_up(sandbox.url, id_type) as (lookup, client),
    ):
        yield lookup, client, sandbox


async def test_an_existing_account_is_found_and_proves_the_look_up() -> None:
    async with in_sandbox() as (lookup, _, sandbox):
        ids = list(sandbox.pool.user_ids())
        found = await lookup.find([*ABSENT, *ids[:60]], WorkerStatus())
        assert found is not None
        assert set(found.accounts) == set(ids[:60])
        assert found.empty == {*ABSENT}  # the response of the 3
        assert all(account.created_at is not None for account in found.accounts.values())
        assert lookup.control.proven
        assert await lookup.control.prove_once(WorkerStatus())
    assert sandbox.ledger.lookup_sizes == {50: 1, 3: 1, 13: 1}, "the first answer might have been cut short"
    assert LIST_PATH not in sandbox.ledger.by_path  # a look-up that has found an account needs no control


@pytest.mark.parametrize("page", [10, 30, 49])
async def test_an_answer_that_was_cut_short_is_completed(page: int) -> None:
    async with in_sandbox() as (lookup, _, sandbox):
        sandbox.switches = sandbox.switches.changed({"look_up_max": page})
        ids = list(sandbox.pool.user_ids())
        for some in (ids[:60], ids[20:60], [*ABSENT, *ids[:47]]):
            found = await lookup.find(some, WorkerStatus())
            assert found is not None
            assert found.accounts.keys() == {*some} - {*ABSENT}


async def test_an_empty_answer_proves_nothing_until_the_control_is_found() -> None:
    async with in_sandbox() as (lookup, _, sandbox):
        assert await lookup.find(ABSENT, WorkerStatus()) == LookupResult({}, empty=frozenset(ABSENT))
        before = lookup.control.proven
        assert await lookup.control.prove_once(WorkerStatus())
        assert (before, lookup.control.proven) == (False, True)
    assert sandbox.ledger.by_path[LIST_PATH] == 1
    assert sandbox.ledger.lookup_sizes == {3: 1, CONTROLS_MAX: 1}


@pytest.mark.parametrize(
    ("id_type", "id_"),
    [
        ("email", "a@x.example"),
        ("phone", "+8613800000000"),
        ("username", "Ann"),
        ("external_id", "10086"),
        ("identity", "62f20932716fbcc10d966ee5:ou_8"),
        ("sync_relation", "lark:ou_8"),
    ],
)
async def test_the_control_works_for_every_id_type(id_type: str, id_: str) -> None:
    async with in_sandbox(Pool.from_ids([id_], id_type), id_type) as (lookup, _, _sandbox):
        assert await lookup.control.prove_once(WorkerStatus())
        found = await lookup.find([id_], WorkerStatus())
        assert found is not None
        assert set(found.accounts) == {id_}


async def test_the_control_is_tried_a_few_times_in_all() -> None:
    async with in_sandbox(Pool()) as (lookup, _, sandbox):
        assert await asyncio.gather(*(lookup.control.prove_once(WorkerStatus()) for _ in range(5))) == [False] * 5
        assert not await lookup.control.prove_once(WorkerStatus())
    assert sandbox.ledger.by_path[LIST_PATH] == CONTROL_TRIES
    assert LOOKUP_PATH not in sandbox.ledger.by_path  # an empty pool has no account to look up


@pytest.mark.parametrize("refusal", ["403", "400", "404"])
async def test_a_refusal_is_no_answer_and_is_not_repeated(refusal: str) -> None:
    async with in_sandbox() as (lookup, client, sandbox):
        sandbox.script(refusal, path=LOOKUP_PATH)
        assert await lookup.find(list(sandbox.pool.user_ids())[:60], WorkerStatus()) is None
        assert not lookup.control.proven
        assert lookup.failed
        assert client.figures["retries"] == 0
    assert sandbox.ledger.by_path[LOOKUP_PATH] == 1


@pytest.mark.parametrize("refusal", ["402", "501", "http:404", "http:302"])
async def test_what_halts_a_deletion_halts_a_look_up(refusal: str) -> None:
    async with in_sandbox() as (lookup, _, sandbox):
        sandbox.script(refusal, path=LOOKUP_PATH)
        with pytest.raises(Halted):
            await lookup.find(list(sandbox.pool.user_ids())[:60], WorkerStatus())
    assert sandbox.ledger.by_path[LOOKUP_PATH] == 1


async def test_a_second_group_that_fails_makes_the_whole_fail() -> None:
    async with in_sandbox() as (lookup, _, sandbox):
        sandbox.script(None, "403", path=LOOKUP_PATH)
        assert await lookup.find(list(sandbox.pool.user_ids())[:60], WorkerStatus()) is None


@pytest.mark.parametrize("fault", ["500", "http:503", "drop_before", "drop_after", "truncated_after", "html"])
async def test_a_lost_answer_is_asked_for_again(fault: str) -> None:
    async with in_sandbox() as (lookup, client, sandbox):
        sandbox.script(*[fault] * (ATTEMPTS_MAX - 1), path=LOOKUP_PATH)
        found = await lookup.find(list(sandbox.pool.user_ids())[:3], WorkerStatus())
        assert found is not None
        assert len(found.accounts) == 3
        assert client.figures["retries"] == ATTEMPTS_MAX - 1
        sandbox.script(*[fault] * ATTEMPTS_MAX, path=LOOKUP_PATH)
        assert await lookup.find(ABSENT, WorkerStatus()) is None
        assert lookup.failed
    assert sandbox.ledger.by_path[LOOKUP_PATH] == 2 * ATTEMPTS_MAX


async def test_429_and_401_use_up_no_attempt() -> None:
    async with in_sandbox() as (lookup, client, sandbox):
        sandbox.switches = Switches(retry_after="seconds", retry_after_s=0)
        sandbox.script(*["429"] * (ATTEMPTS_MAX + 1), "401", path=LOOKUP_PATH)
        assert await lookup.find(ABSENT, WorkerStatus()) == LookupResult({}, empty=frozenset(ABSENT))
        assert (client.figures["throttled"], client.figures["retries"]) == (ATTEMPTS_MAX + 1, 0)


async def test_a_run_that_drains_looks_nothing_up() -> None:
    async with in_sandbox() as (lookup, client, sandbox):
        client.drain()
        assert await lookup.find(ABSENT, WorkerStatus()) is None
        assert not await lookup.control.prove_once(WorkerStatus())
        assert sandbox.ledger.requests == 0


# ── a server that matches by rules of its own ─────────────────────────────────────────────────────────────────────────


def users_of(request: ReceivedRequest, users: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What is asked for, found by the lower case of the id."""
    pairs = [pair.partition("=") for pair in request.target.replace("%2C", ",").partition("?")[2].split("&")]
    asked = [value for name, _, value in pairs if name == "userIds"]
    return [users[id_.lower()] for id_ in asked if id_.lower() in users]


@contextlib.asynccontextmanager
async def in_odd_server(
    users: dict[str, dict[str, Any]],
    *,
    listed: Sequence[Any] = (),
    fail_from: int | None = None,
    stranger: dict[str, Any] | None = None,
    also: dict[str, dict[str, Any]] | None = None,
    id_type: str = "username",
    most: int | None = None,
    splits_alone: bool = False,
) -> AsyncIterator[tuple[AccountLookup, list[list[str]]]]:
    """A look-up in a server with `users`, by id, and a growing list of the ids that each request asks for.

    listed: what list-users returns. fail_from: look-ups after this many are refused. stranger: always returned.
    also: a second user that is found by the same id. most: users in one response. splits_alone: an id with a comma is
    split when it is the only one of a request, so it is not found.
    """
    token = "e30.eyJzY29wZWRfdXNlcnBvb2xfaWQiOiJwIn0.x"
    asked: list[list[str]] = []

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            told: dict[str, Any] = {"statusCode": 200, "data": {"access_token": token}}
            if request.target.startswith(LOOKUP_PATH):
                pairs = request.target.replace("%2C", ",").partition("?")[2].split("&")
                asked.append([pair.removeprefix("userIds=") for pair in pairs if "userIds" in pair])
                found = users_of(request, users) + users_of(request, also or {}) + ([stranger] if stranger else [])
                if splits_alone and len(asked[-1]) == 1 and "," in asked[-1][0]:
                    found = []
                found = found[:most]
                refused = fail_from is not None and len(asked) > fail_from
                told = {"statusCode": 403} if refused else {"statusCode": 200, "data": found}
            elif request.target == LIST_PATH:
                named = [{"userId": "one", **user} for user in listed]
                told = {"statusCode": 200, "data": {"totalCount": len(listed), "list": named}}
            await peer.send(answer(json.dumps(told).encode()))

    async with RawServer(script).running() as server, looking_up(server.url, id_type) as (lookup, _):
        yield lookup, asked


async def test_a_record_that_matches_no_id_is_explained_by_asking_one_by_one() -> None:
    users, listed = {"ann": {"username": "ann"}, "bob": {"username": "bob"}}, [{"userId": "7", "username": "bob"}]
    async with in_odd_server(users, listed=listed) as (lookup, asked):
        found = await lookup.find(["bob", "Ann", "carl"], WorkerStatus())
        assert found is not None
        assert {id_: account.raw["username"] for id_, account in found.accounts.items()} == {"bob": "bob", "Ann": "ann"}
        assert lookup.control.proven
    assert asked == [["bob", "Ann", "carl"], ["bob"], ["Ann"], ["carl"]]


@mutant(
    "the records of an id are taken for those of others in the same look-up",
    "AccountReader.find",
    swap("await self._one_by_one(group, worker)", "await self._one_by_one(list(open_ids), worker)"),
)
@pytest.mark.parametrize(("id_type", "field"), [("username", "username"), ("external_id", "externalId")])
@pytest.mark.parametrize("more", ["bob", "Doe, Jane"])
async def test_a_second_record_of_an_id_that_has_one_is_found(id_type: str, field: str, more: str) -> None:
    """The server folds case: `Ann` means two users. Both are in a backup, and the guards compare both."""
    users = {"ann": {field: "Ann"}, "bob": {field: "bob"}}
    also = {"ann": {field: "ann"}}
    async with in_odd_server(users, also=also, id_type=id_type) as (lookup, asked):
        found = await lookup.find(["Ann", more], WorkerStatus())
        assert found is not None
        there = {"Ann": 2, "bob": 1} if more == "bob" else {"Ann": 2}
        assert {id_: len(account.records) for id_, account in found.accounts.items()} == there
    assert asked[1] == ["Ann"]


async def test_one_record_that_two_ids_may_mean() -> None:
    """A number without country code, and two ids that differ in theirs: each is asked for alone, and each finds it."""
    ids = ["+8613800000000", "+113800000000"]
    user = {"phone": "13800000000"}
    expected = [[id_.replace("+", "%2B") for id_ in some] for some in (ids, ids[:1], ids[1:])]
    async with in_odd_server({id_.replace("+", "%2b"): user for id_ in ids}, id_type="phone") as (lookup, asked):
        found = await lookup.find(ids, WorkerStatus())
        assert found is not None
        assert set(found.accounts) == set(ids)
    assert asked == expected


async def test_without_a_stray_no_id_is_looked_up_twice() -> None:
    async with in_odd_server({"bob": {"username": "bob"}}) as (lookup, asked):
        found = await lookup.find(["bob", "ann", "carl"], WorkerStatus())
        assert found is not None
        assert set(found.accounts) == {"bob"}
    assert asked == [["bob", "ann", "carl"]]


async def test_asking_one_by_one_may_fail_too() -> None:
    async with in_odd_server({"ann": {"username": "ann"}}, fail_from=1) as (lookup, asked):
        assert await lookup.find(["Ann", "bob"], WorkerStatus()) is None
    assert asked == [["Ann", "bob"], ["Ann"]]


@pytest.mark.parametrize(
    ("listed", "expected"),
    [([], []), ([{"email": "a@x.example"}], []), ([{"username": "x"}, {"username": "y"}], [["x", "y"]])],
)
async def test_a_control_that_cannot_be_found_proves_nothing(listed: list[Any], expected: list[list[str]]) -> None:
    async with in_odd_server({}, listed=listed) as (lookup, asked):
        assert not await lookup.control.prove_once(WorkerStatus())
    assert asked == expected


async def test_one_of_several_controls_suffices() -> None:
    listed = [{"username": "x"}, {"username": "y"}]  # x is deleted between the two calls
    async with in_odd_server({"y": {"username": "y"}}, listed=listed) as (lookup, asked):
        assert await lookup.control.prove_once(WorkerStatus())
    assert asked == [["x", "y"]]


@pytest.mark.parametrize("id_type", ["user_id", "username"])
async def test_a_server_that_returns_strangers_proves_nothing(id_type: str) -> None:
    """It ignores the ids and always returns the same one: not one of the asked ids is there."""
    ids = [f"{i:024x}" for i in range(4)]
    stranger = {"userId": "f" * 24, "username": "stranger"}
    async with in_odd_server({}, stranger=stranger, id_type=id_type) as (lookup, _):
        assert await lookup.find(ids, WorkerStatus()) is None
        assert not await lookup.control.prove_once(WorkerStatus())
        assert "another account" in lookup.failed


# ── ids with a comma ──────────────────────────────────────────────────────────────────────────────────────────────────

CONTROLS = ["keep,me", "keep,too"]
GONE = [f"doe,j{n}" for n in range(3)]


async def test_a_comma_is_proven_by_a_control_in_the_same_request() -> None:
    async with in_sandbox(Pool.from_ids([*CONTROLS, "other"], "username"), "username") as (lookup, _, sandbox):
        for _again in range(2):
            found = await lookup.find([*GONE, "plain"], WorkerStatus())
            assert found == LookupResult({}, empty=frozenset([*GONE, "plain"]))
        assert lookup.control.proven
        assert (await lookup.find(["plain"], WorkerStatus())) == LookupResult({}, empty=frozenset({"plain"}))
    # Twice the four ids, and the three with a comma beside the controls, which are listed once; then `plain`.
    assert sandbox.ledger.lookup_sizes == {4: 2, 5: 2, 1: 1}
    assert sandbox.ledger.by_path[LIST_PATH] == 1


async def test_an_id_with_a_comma_that_is_found_is_control_enough() -> None:
    async with in_sandbox(Pool.from_ids(CONTROLS, "username"), "username") as (lookup, _, _sandbox):
        found = await lookup.find_all([*GONE, CONTROLS[0]], WorkerStatus())
        assert found is not None
        assert (set(found.accounts), found.unproven) == ({CONTROLS[0]}, frozenset())


@pytest.mark.parametrize(
    ("users", "switches", "lists"),
    [
        (["other"], Switches(), CONTROL_TRIES),  # no id with a comma is listed
        (CONTROLS, Switches(split_commas=True), CONTROL_TRIES),  # listed, and never found
    ],
)
async def test_without_a_control_nothing_is_proven_and_it_is_not_sought_for_ever(
    users: list[str], switches: Switches, lists: int
) -> None:
    async with in_sandbox(Pool.from_ids(users, "username"), "username") as (lookup, _, sandbox):
        sandbox.switches = switches
        for _again in range(6):
            found = await lookup.find_all(GONE, WorkerStatus())
            assert found == LookupResult({}, frozenset(GONE))
    assert sandbox.ledger.by_path[LIST_PATH] == lists


@mutant(
    "beside a control with a comma an id is read as in the response before",
    "CommaControl.settle",
    swap("unread.difference(missing) | again.unread.intersection(missing)", "unread.difference(missing)"),
)
async def test_beside_a_control_with_a_comma_the_other_characters_need_a_control_too() -> None:
    """The server splits an id that is asked for alone, ten of whose parts exist, and reads a plus as a blank."""
    id_ = "a,b,c,d,e,f,g,h,i,j+k"

    async def script(peer: Peer) -> None:
        while True:
            path, _, query = (await peer.request()).target.partition("?")
            values = [value.replace("+", " ") for value in parse_qs(query).get("userIds", [])]
            there = [value for value in values if value == "x,y"]
            there = values[0].split(",") if len(values) == 1 and values != there else there
            users = [{"userId": f"{number:024x}", "username": name} for number, name in enumerate(there)]
            listed = [{"userId": "f" * 24, "username": "x,y"}]
            told: Any = {"access_token": "e30.eyJzY29wZWRfdXNlcnBvb2xfaWQiOiJwIn0.x"}
            told = users if path == LOOKUP_PATH else {"totalCount": 1, "list": listed} if path == LIST_PATH else told
            await peer.send(answer(json.dumps({"statusCode": 200, "data": told}).encode()))

    async with RawServer(script).running() as server, looking_up(server.url, "username") as (lookup, _):
        assert await lookup.find([id_], WorkerStatus()) == LookupResult({}, frozenset({id_}), frozenset({id_}))


async def test_more_than_fit_into_the_request_with_the_control() -> None:
    ids = [f"a,{n}" for n in range(50)]

    async with in_sandbox(Pool.from_ids(CONTROLS, "username"), "username") as (lookup, _, sandbox):
        assert await lookup.find(ids, WorkerStatus()) == LookupResult({}, empty=frozenset(ids))
    assert sandbox.ledger.lookup_sizes == {50: 2, 2: 1, 4: 1}


@mutant(
    "a control in a response that was cut short proves what the next one lacks",
    "AccountReader._complete",
    swap(
        "more._replace(accounts={**accounts, **more.accounts})",
        "more._replace(accounts={**accounts, **more.accounts}, unproven=result.unproven & more.unproven)",
    ),
)
async def test_what_a_cut_response_lacks_is_not_proven_by_its_control() -> None:
    """Seed 3000095 of the simulation: the eleventh of eleven ids, in a server that returns ten and splits a lone id.

    The first response has an account with a comma, and is cut off before the last id. The second asks for that id
    alone, where the server splits it. Only beside a control is it found.
    """
    ids = ["a,1", *(f"user{n}" for n in range(9)), "z,last"]
    users = {id_: {"username": id_} for id_ in [*ids, "keep,me"]}
    listed = [{"username": "keep,me"}]
    async with in_odd_server(users, most=10, splits_alone=True, listed=listed) as (lookup, asked):
        found = await lookup.find(ids, WorkerStatus())
        assert found is not None
        assert (set(found.accounts), found.unproven) == (set(ids), frozenset())
    assert [len(each) for each in asked] == [11, 1, 2]


async def test_ids_too_long_to_stand_beside_a_control_stay_unproven() -> None:
    ids = ["," + "x" * 5_890]

    async with in_sandbox(Pool.from_ids(CONTROLS, "username"), "username") as (lookup, _, _sandbox):
        assert await lookup.find(ids, WorkerStatus()) == LookupResult({}, frozenset(ids), empty=frozenset(ids))


async def test_a_control_that_fails_leaves_it_unproven() -> None:
    async with in_sandbox(Pool.from_ids(CONTROLS, "username"), "username") as (lookup, _, sandbox):
        sandbox.script(None, "403", path=LOOKUP_PATH)
        assert await lookup.find(GONE, WorkerStatus()) == LookupResult({}, frozenset(GONE), empty=frozenset(GONE))


async def test_parts_of_an_id_explain_what_came_back() -> None:
    async with in_sandbox(Pool.from_ids(["doe", "j1", "plain"], "username"), "username") as (lookup, _, sandbox):
        sandbox.switches = Switches(split_commas=True)
        found = await lookup.find([*GONE, "plain"], WorkerStatus())
        assert found is not None
        assert (set(found.accounts), found.unproven) == ({"plain"}, frozenset(GONE))
    # Together, then one by one; nothing with a comma is listed.
    assert LOOKUP_PATH in sandbox.ledger.by_path
    assert sandbox.ledger.by_path[LOOKUP_PATH] == 1 + len([*GONE, "plain"])


# ── a state that the record does not have ─────────────────────────────────────────────────────────────────────────────


class Members(UserLookUps):
    """Look-ups of a job that takes users out of a group; `/member?user=X` says of one whether it is out."""

    def match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        accounts, strays = super().match(ids, found)
        return {id_: replace(account, reached=None) for id_, account in accounts.items()}, strays

    def state_calls(self, account: Account) -> Sequence[Request]:
        return [Request("GET", "/member", (("user", str(account.raw["userId"])),))]

    def read_state(self, response: Response, account: Account) -> Decision:
        if response.status != 200:
            return Decision(NextStep.SPLIT, reason="refused")
        return Decision(NextStep.SETTLED, data=json.loads(response.body)["out"])

    def state_control(self) -> Request | None:
        return Request("GET", "/members")

    def read_state_control(self, response: Response) -> Decision:
        return Decision(NextStep.SETTLED, data=[Account(raw={"userId": one}) for one in json.loads(response.body)])


@contextlib.asynccontextmanager
async def in_group(
    members: Sequence[str], *, blind: bool = False, forbidden: bool = False
) -> AsyncIterator[tuple[AccountLookup, list[str]]]:
    """A look-up in a server with the users 0, 1 and 2, of which `members` are listed as members of the group.

    blind: each user seems to be out of it. forbidden: the state is refused. The list grows by each target.
    """
    asked: list[str] = []

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            path, _, query = request.target.partition("?")
            asked.append(request.target)
            told: Any = {"statusCode": 200, "data": {"access_token": "e30.eyJzY29wZWRfdXNlcnBvb2xfaWQiOiJwIn0.x"}}
            if path == "/member":
                told = {"out": blind or query.removeprefix("user=") not in members}
            elif path == "/members":
                told = list(members)
            elif path == LOOKUP_PATH:
                told = {"statusCode": 200, "data": [{"userId": id_} for id_ in ABSENT]}
            await peer.send(answer(json.dumps(told).encode(), status=403 if forbidden and path == "/member" else 200))

    target = GenAuth("", "", GENAUTH, Credentials(SANDBOX_KEY_ID, SANDBOX_KEY_SECRET), CALLS)
    async with RawServer(script).running() as server:
        target = replace(target, host=server.url, pinned_host=server.url)
        async with connect(target, Settings(rate=0), pool=None) as client:
            yield AccountLookup(client, Members(ID_TYPES["user_id"]), lambda: 0.0), asked


async def states(lookup: AccountLookup) -> list[bool | None] | None:
    found = await lookup.find_proven(ABSENT, WorkerStatus())
    return None if found is None else [found.accounts[id_].reached for id_ in ABSENT]


async def test_the_state_of_an_account_is_asked_for() -> None:
    """One listed member is seen to be one: so the answers about the others count. That is asked for once."""
    async with in_group([ABSENT[0], "another"]) as (lookup, asked):
        assert await states(lookup) == [False, True, True]
        assert await states(lookup) == [False, True, True]
    assert asked.count("/members") == 1


async def test_an_empty_group_is_proof() -> None:
    async with in_group([]) as (lookup, asked):
        assert await states(lookup) == [True, True, True]
    assert asked.count("/members") == 1


async def test_a_key_that_sees_no_state_proves_nothing() -> None:
    async with in_group([ABSENT[0]], blind=True) as (lookup, asked):
        assert await states(lookup) == [None, None, None]
        assert await states(lookup) == [None, None, None]
    assert asked.count("/members") == CONTROL_TRIES


async def test_a_state_that_is_refused_is_no_look_up() -> None:
    async with in_group([], forbidden=True) as (lookup, _):
        assert await states(lookup) is None
        assert lookup.failed == "refused"


# ── lists in pages ────────────────────────────────────────────────────────────────────────────────────────────────────


class InPages(UserLookUps, Paged):
    """Look-ups of an API that names the next page in each response."""

    def next_page(self, request: Request, response: Response, found: int) -> Request | None:
        following = json.loads(response.body).get("next")
        if following == "elsewhere":
            raise Halted("the next page is elsewhere")
        query = [pair for pair in request.query if pair[0] != "page"]
        return None if following is None else request._replace(query=(*query, ("page", following)))


class Page(NamedTuple):
    """What the server answers to one request."""

    ids: Sequence[str] = ()
    following: str | None = None
    status: int = 200


@dataclass
class Held:
    """A response that waits until it may be sent. It is what the server knew when it was asked."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_go: asyncio.Event = field(default_factory=asyncio.Event)


THREE = {"": Page("ab", "2"), "2": Page("cd", "3"), "3": Page("e")}


@contextlib.asynccontextmanager
async def in_pages(
    page: Callable[[str], Page],
    *,
    listed: Callable[[str], Page] = lambda _: Page(),
    held: Mapping[str, Held] | None = None,
) -> AsyncIterator[tuple[AccountLookup, list[tuple[str, str]]]]:
    """A look-up in a server with pages, by their name ("" is the first), and a growing list of (ids, page) asked for.

    page: what it answers to a look-up, which shows those of the ids that are asked for. listed: to a list call.
    held: responses that wait, by the ids that are asked for, or `list`.
    """
    asked: list[tuple[str, str]] = []

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            path, _, query = request.target.partition("?")
            pairs = [tuple(pair.split("=")) for pair in query.split("&") if pair]
            name = "".join(value for key, value in pairs if key == "page")
            told: dict[str, Any] = {"data": {"access_token": "e30.eyJzY29wZWRfdXNlcnBvb2xfaWQiOiJwIn0.x"}}
            one = Page()
            if path in {LOOKUP_PATH, LIST_PATH}:
                ids = "".join(value for key, value in pairs if key == "userIds")
                asked.append((ids, name) if path == LOOKUP_PATH else ("list", name))
                one = page(name) if path == LOOKUP_PATH else listed(name)
                users = [{"userId": id_} for id_ in one.ids if id_ in ids or path == LIST_PATH]
                page_of = {"totalCount": len(users), "list": users}
                told = {"data": users if path == LOOKUP_PATH else page_of, "next": one.following}
                if held is not None and (waits := held.get(asked[-1][0])) is not None:
                    waits.asked.set()
                    await waits.may_go.wait()
            await peer.send(answer(json.dumps({"statusCode": one.status, **told}).encode()))

    async with RawServer(script).running() as server:
        target = GenAuth(
            server.url, server.url, GENAUTH, Credentials(SANDBOX_KEY_ID, SANDBOX_KEY_SECRET), DeleteUsers().calls(None)
        )
        async with connect(target, Settings(rate=0), pool=None) as client:
            yield AccountLookup(client, InPages(ID_TYPES["user_id"]), lambda: 0.0), asked


@mutant(
    "the second page of a look-up is left out",
    "PageReader.items",
    swap("some and items", "some or items"),
)
async def test_the_pages_of_a_look_up_are_joined() -> None:
    async with in_pages(THREE.__getitem__) as (lookup, asked):
        found = await lookup.find("abcde", WorkerStatus())
        assert found is not None
        assert (set(found.accounts), found.unproven, found.empty) == (set("abcde"), frozenset(), frozenset())
    assert asked == [("abcde", ""), ("abcde", "2"), ("abcde", "3")]


@mutant(
    "a look-up of several pages is taken for whole",
    "AccountReader._complete",
    swap("found.pages == 1", "found.pages"),
)
async def test_an_account_that_moves_up_between_two_pages_is_found() -> None:
    """Another program deletes `a` after the first page, so `c` moves from the second page to the first one."""
    after = {"2": Page("de"), "": Page("c")}
    async with in_pages(lambda name: Page("ab", "2") if asked == [("abcdex", "")] else after[name]) as (lookup, asked):
        found = await lookup.find("abcdex", WorkerStatus())
        assert found is not None
        assert (set(found.accounts), found.unproven) == (set("abcde"), frozenset())
    assert asked == [("abcdex", ""), ("abcdex", "2"), ("cx", "")]


async def test_pages_without_an_account_are_an_empty_answer() -> None:
    pages = {"": Page((), "2"), "2": Page()}
    async with in_pages(pages.__getitem__) as (lookup, _):
        assert await lookup.find("ab", WorkerStatus()) == LookupResult({}, empty=frozenset("ab"))


async def test_a_list_that_never_ends_halts() -> None:
    async with in_pages(lambda name: Page((), f"{name}x")) as (lookup, asked):
        with pytest.raises(Halted, match=f"not ended after {PAGES_MAX} pages"):
            await lookup.find("ab", WorkerStatus())
    assert len(asked) == PAGES_MAX


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param({"": Page("a", "2"), "2": Page("b", "3"), "3": Page((), "2")}, id="the same cursor"),
        pytest.param({"": Page("a", "2"), "2": Page("a", "3")}, id="the same accounts"),
    ],
)
async def test_a_page_that_repeats_halts(pages: dict[str, Page]) -> None:
    async with in_pages(pages.__getitem__) as (lookup, asked):
        with pytest.raises(Halted, match="the same page twice"):
            await lookup.find("ab", WorkerStatus())
        assert len(asked) <= len(pages) + 1


async def test_a_next_page_that_cannot_be_asked_for_halts() -> None:
    async with in_pages(lambda _: Page("a", "elsewhere")) as (lookup, asked):
        with pytest.raises(Halted, match="a look-up: the next page is elsewhere"):
            await lookup.find("ab", WorkerStatus())
    assert asked == [("ab", "")]


@pytest.mark.parametrize(("status", "tries"), [(403, 1), (500, ATTEMPTS_MAX)])
async def test_a_page_that_fails_leaves_no_shorter_list(status: int, tries: int) -> None:
    pages = {**THREE, "3": Page(status=status)}
    async with in_pages(pages.__getitem__) as (lookup, asked):
        assert await lookup.find("abcde", WorkerStatus()) is None
        assert lookup.failed
        assert not lookup.control.proven
    assert [name for _, name in asked] == ["", "2", *["3"] * tries]


async def test_a_page_is_asked_for_again() -> None:
    async with in_pages(lambda name: Page(status=500) if len(asked) == 2 else THREE[name]) as (lookup, asked):
        found = await lookup.find("abcde", WorkerStatus())
        assert found is not None
        assert set(found.accounts) == set("abcde")
    assert [name for _, name in asked] == ["", "2", "2", "3"]


async def test_a_control_needs_no_page_but_the_first_with_an_account() -> None:
    listed = {"": Page((), "2"), "2": Page("a", "3")}
    async with in_pages(lambda _: Page("a"), listed=listed.__getitem__) as (lookup, asked):
        assert await lookup.control.prove_once(WorkerStatus())
    assert asked == [("list", ""), ("list", "2"), ("a", "")]


@pytest.mark.parametrize(("last", "ids"), [(Page("a"), ["a", "a"]), (Page(status=404), None)])
async def test_the_ids_of_the_keys_own_account_are_those_of_all_pages(last: Page, ids: list[str] | None) -> None:
    pages = {"": Page("a", "2"), "2": Page((), "3"), "3": last}
    async with in_pages(pages.__getitem__) as (lookup, _):
        assert await owner_of(lookup, "a", WorkerStatus()) == ids


@mutant(
    "a key that may not look up its own account has none",
    "owner_of",
    swap("NextStep.FORBIDDEN", "NextStep.HALT"),
    case="403-True-None",
)
@mutant(
    "any refusal says that the own user of the key is no account",
    "PageReader.items",
    negate("unknown and may_be_absent"),
    case="400-False-None",
)
@pytest.mark.parametrize(("status", "halts", "ids"), [(403, True, None), (404, False, []), (400, False, None)])
async def test_a_key_that_may_not_look_up_its_own_account_halts(
    status: int, halts: bool, ids: list[str] | None
) -> None:
    """Only the code for an unknown user says that there is no such account. Any other refusal says nothing of it."""
    async with in_pages(lambda _: Page(status=status)) as (lookup, _):
        with pytest.raises(Halted) if halts else contextlib.nullcontext():
            assert await owner_of(lookup, "a", WorkerStatus()) == ids


@pytest.mark.parametrize(
    ("listed", "found", "read", "proven"),
    [
        (Page("a"), Page("a"), True, True),
        (Page("a"), Page(), True, False),
        (Page(), Page(), True, False),
        (Page(status=403), Page(), True, False),
        (Page(status=500), Page("a"), False, False),
    ],
)
async def test_the_control_is_read_before_anything_is_sent(listed: Page, found: Page, read: bool, proven: bool) -> None:
    async with in_pages(lambda _: found, listed=lambda _: listed) as (lookup, _):
        assert await lookup.control.list_and_prove(WorkerStatus()) is read
        assert lookup.control.proven is proven
        assert (lookup.control.listed > 0) is (bool(listed.ids) and read)


@mutant(
    "a key that may not list any more keeps the proof of its look-ups",
    "PositiveControl.list_accounts",
    swap("not self.may_list", "True"),
    case="True",
)
@pytest.mark.parametrize("lists", [True, False])
async def test_a_key_that_may_not_list_any_more_has_lost_its_proof(lists: bool) -> None:
    """A key that was never allowed to list keeps the proof of its look-ups."""
    lost: list[bool] = []
    async with in_pages(
        lambda _: Page("" if lost else "a"), listed=lambda _: Page(status=403) if lost or not lists else Page("a")
    ) as (lookup, _):
        assert await lookup.control.list_and_prove(WorkerStatus())
        assert await lookup.find("a", WorkerStatus())
        lost.append(True)
        assert await lookup.control.prove_again(WorkerStatus()) is not lists
        assert (lookup.control.may_list, lookup.control.lost) == (lists, lists)


@mutant(
    "a second control that fails makes the run forget that look-ups found accounts",
    "PositiveControl.prove_once",
    swap("self.lost or (not passes and self._proven_before)", "not passes and self._proven_before"),
)
async def test_a_slow_look_up_from_before_shows_nothing_of_later_ones() -> None:
    """The key goes blind while look-ups are on the way. Those that began before still find their accounts."""
    blind: list[bool] = []
    slow = Held()
    async with in_pages(lambda _: Page("" if blind else "abc"), listed=lambda _: Page("c"), held={"b": slow}) as (
        lookup,
        _,
    ):
        assert await lookup.find("a", WorkerStatus())
        on_the_way = asyncio.create_task(lookup.find("b", WorkerStatus()))
        await slow.asked.wait()
        blind.append(True)
        assert not await lookup.control.prove_again(WorkerStatus())
        assert not await lookup.control.prove_once(WorkerStatus())
        assert lookup.control.lost
        slow.may_go.set()
        assert await on_the_way
        assert not await lookup.control.prove_again(WorkerStatus())
        assert lookup.control.lost


@mutant(
    "what waits for a control believes any look-up that was answered meanwhile",
    "PositiveControl.prove_again",
    before("await self.prove_once(worker)", "if not self.proven:\n    return await self.prove_once(worker)"),
)
async def test_a_look_up_that_is_answered_during_a_control_counts_by_its_beginning() -> None:
    """Nothing was found before. An empty response waits for a control, and an older look-up finds its account."""
    blind: list[bool] = []
    slow, listing = Held(), Held()
    async with in_pages(
        lambda _: Page("" if blind else "bc"), listed=lambda _: Page("c"), held={"b": slow, "list": listing}
    ) as (lookup, _):
        on_the_way = asyncio.create_task(lookup.find("b", WorkerStatus()))
        await slow.asked.wait()
        blind.append(True)
        waiting = asyncio.create_task(lookup.control.prove_again(WorkerStatus()))
        await listing.asked.wait()
        slow.may_go.set()
        assert await on_the_way
        listing.may_go.set()
        assert not await waiting
        assert lookup.control.lost


@mutant(
    "an empty response is believed when a control after it finds an account",
    "_without_control",
    swap("looked.empty | looked.unread", "looked.unproven"),
)
@mutant(
    "a second empty response is believed when a control after it finds an account",
    "AccountLookup.find_proven",
    swap("again.empty and self.control.has_account and self._takes_several(again.empty)", "len(unsure) > len(ids)"),
    case="blind-sees-blind",
)
@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        # What look-ups find: the accounts that are there, or none. c is the first control, and d another one.
        (["", "abcd"], ["ab", "list", "cd", "cab"]),
        (["", "abcd", "", "abcd"], ["ab", "list", "cd", "cab", "list", "cd", "cab"]),
        (["", "abcd", "d", "d", "abd"], ["ab", "list", "cd", "cab", "list", "cd", "dab"]),
    ],
    ids=["blind", "blind-sees-blind", "control-gone"],
)
async def test_accounts_that_a_blind_look_up_does_not_find_are_found(answers: list[str], asked: list[str]) -> None:
    told = iter(answers)
    async with in_pages(lambda _: Page(next(told, answers[-1])), listed=lambda _: Page("cd")) as (lookup, requests):
        found = await lookup.find_proven("ab", WorkerStatus())
        assert found is not None
        assert (set(found.accounts), set(found.empty)) == ({"a", "b"}, set())
    assert [ids for ids, _ in requests] == asked


@mutant(
    "a control takes the only place of a response",
    "AccountLookup.find_proven",
    swap("self._accounts.fullest > 1", "True"),
)
async def test_an_api_that_returns_one_account_at_a_time_shows_all() -> None:
    users = {id_: {"username": id_} for id_ in ["keep", *"wxyz"]}
    async with in_odd_server(users, most=1, splits_alone=False, listed=[users["keep"]]) as (lookup, _):
        assert await lookup.find_all(["gone"], WorkerStatus()) == LookupResult({})  # a control is known from now on
        found = await lookup.find_all([*"wxyz", "gone"], WorkerStatus())
        assert found is not None
        assert set(found.accounts) == set("wxyz")


@mutant(
    "look-ups for an exclude file that go blind on the way are believed",
    "AccountLookup._controlled",
    swap(
        "await self.control.prove_again(worker)",
        "await self.control.prove_once(worker)",
    ),
)
async def test_an_exclude_file_is_not_looked_up_half() -> None:
    """The first 50 accounts are found. Then the key goes blind, and the other two would not be protected."""
    found = iter([ascii_letters])
    async with in_pages(lambda _: Page(next(found, "")), listed=lambda _: Page("a")) as (lookup, _):
        client, look_ups = lookup._client, lookup.look_ups  # noqa: SLF001
        with pytest.raises(Halted, match="find no account at all"):
            await look_up_excluded(
                client, lambda _: look_ups, {"user_id": ascii_letters}, IdSet(ID_TYPES["user_id"]), lambda: 0.0
            )


@mutant(
    "an empty list is believed while accounts of the sample are there",
    "PositiveControl._known_pass",
    swap("not known and not self.needs_account", "True"),
)
@pytest.mark.parametrize(
    ("listed", "known", "gone", "finds", "expected"),
    [
        # (proven, lost, uncontrolled), and below: an account of the sample that the run has not deleted decides.
        (Page(), "ab", "", "", (False, True, False)),
        (Page(), "ab", "", "a", (True, False, False)),
        (Page(), "ab", "b", "", (False, True, False)),
        (Page(), "ab", "ab", "", (True, False, False)),
        (Page(), "", "", "", (True, False, False)),
        (Page(status=403), "ab", "", "", (False, True, False)),
        (Page(status=403), "ab", "", "b", (True, False, False)),
        (Page(status=403), "ab", "abx", "", (True, False, True)),
        (Page(status=403), "", "", "", (True, False, True)),
        (Page("z"), "ab", "ab", "z", (True, False, False)),
    ],
)
async def test_an_empty_list_and_a_list_that_is_refused(
    listed: Page, known: str, gone: str, finds: str, expected: tuple[bool, bool, bool]
) -> None:
    async with in_pages(lambda _: Page(finds), listed=lambda _: listed) as (
        first,
        _,
    ):
        lookup = AccountLookup(first._client, first.look_ups, lambda: 0.0, seen=SeenBefore(proven=True, known=known))  # noqa: SLF001
        lookup.control.note_gone([*gone])
        await lookup.control.prove_again(WorkerStatus())
        assert (lookup.control.proven, lookup.control.lost, lookup.control.uncontrolled) == expected


@mutant(
    "a control without an answer counts as passed",
    "PositiveControl._is_found",
    swap("return None", "return True"),
)
async def test_a_known_account_whose_look_up_fails_is_no_control() -> None:
    async with in_pages(lambda _: Page(status=400), listed=lambda _: Page()) as (first, _):
        lookup = AccountLookup(first._client, first.look_ups, lambda: 0.0, seen=SeenBefore(proven=True, known="a"))  # noqa: SLF001
        assert not await lookup.control.prove_again(WorkerStatus())


@contextlib.asynccontextmanager
async def all_deleted_again_and_again(
    client: Client, sandbox: Sandbox, made: Callable[[int], str], id_type: str = "user_id"
) -> AsyncIterator[None]:
    """Whatever is listed is deleted before it can be looked up, and another account is there. made: its id."""
    sandbox.switches = sandbox.switches.changed({"latency_after_s": 0.1, "fault_paths": frozenset({LIST_PATH})})

    async def delete() -> None:
        for number in itertools.count(1):
            async with client.action_requests.sending():
                for each in list(sandbox.pool.alive()):
                    sandbox.pool.delete(each)
                sandbox.pool.add_ids([made(number)], id_type)
            await asyncio.sleep(0.001)

    run = asyncio.create_task(delete())
    try:
        yield
    finally:
        run.cancel()


@mutant(
    "a control of accounts that this run deletes meanwhile",
    "PositiveControl._passes_while_paused",
    swap("self._client.action_requests.paused", "asyncio.Lock"),
)
async def test_a_control_holds_the_deletions_back() -> None:
    """As in a fast run."""
    async with in_sandbox() as (lookup, client, sandbox):
        assert await lookup.control.prove_once(WorkerStatus())
        async with all_deleted_again_and_again(client, sandbox, lambda number: f"{number:x}".zfill(24)):
            assert await lookup.control.prove_again(WorkerStatus())
    assert sandbox.ledger.by_path[LIST_PATH] == 3, "at first, then one that found none, and one while none is deleted"


@mutant(
    "listed accounts that this run deletes meanwhile show that their character is misread",
    "MarkControl._read",
    swap("await self._look_up(hidden, missing, since, worker)", "hidden"),
)
@mutant(
    "a control of a character is looked up while this run deletes it",
    "MarkControl._read",
    swap("self._client.action_requests.paused", "asyncio.Lock"),
)
async def test_a_control_of_a_character_holds_the_deletions_back() -> None:
    """Each of the accounts has the character."""
    async with in_sandbox(Pool(), "username") as (lookup, client, sandbox):
        sandbox.pool.add_ids(["a&0"], "username")
        assert await lookup.find(["a&0"], WorkerStatus())
        async with all_deleted_again_and_again(client, sandbox, "a&{}".format, "username"):
            gone = frozenset({"a&gone"})
            assert await lookup.find(["a&gone"], WorkerStatus()) == LookupResult({}, unread=gone, empty=gone)
