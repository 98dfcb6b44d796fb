"""Asking which accounts have a key of records that are to be created, against a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from bulkdel.core.record import Record, Records
from bulkdel.core.retry import ATTEMPTS_MAX
from bulkdel.http.client import WorkerStatus
from bulkdel.http.connecting import connect
from bulkdel.http.lookup import AccountLookup
from bulkdel.settings import Settings
from bulkdel_jobs.genauth.access_key import GENAUTH, Credentials
from bulkdel_jobs.genauth.create_users import CreatedUserLookUps
from bulkdel_jobs.genauth.endpoints import LIST_PATH
from bulkdel_jobs.genauth.genauth_job import GenAuth
from bulkdel_jobs.restore_users import RestoreUsers, Restoring
from bulkdel_jobs.sandbox import (
    CREATE_PATH,
    LOOKUP_PATH,
    SANDBOX_KEY_ID,
    SANDBOX_KEY_SECRET,
    TOKEN_PATH,
    Pool,
    Sandbox,
    Switches,
    serve,
    serve_in_thread,
)
from bulkdel_jobs.sandbox.users import created as created_user
from tests.examples import one_in
from tests.full_users import full_users
from tests.gateway import Gateway, blank, gbk, latin, of_china, small, unchanged
from tests.harness import POOL, Ran, bulkdel, entries
from tests.jobs import AT
from tests.mutants import mutant
from tests.places import log_of
from tests.rawserver import Peer, RawServer, answer
from tests.recorded import let_pass
from tests.restserver import served
from tests.syntax import drop, swap

TOKEN = "e30.eyJzY29wZWRfdXNlcnBvb2xfaWQiOiJwIn0.x"
CALLS = RestoreUsers().calls(Restoring("none"))


def rows(users: Sequence[Mapping[str, Any]]) -> Records:
    return Records.of(
        Record(number, f"{number:024x}", json.dumps({**user, "userId": f"{number:024x}"}).encode())
        for number, user in enumerate(users)
    )


def usernames(*names: str) -> list[dict[str, str]]:
    return [{"username": name} for name in names]


@contextlib.asynccontextmanager
async def looking_up(url: str) -> AsyncIterator[AccountLookup]:
    """A look-up of a run that creates users. Its backoff is always 0."""
    target = GenAuth(url, url, GENAUTH, Credentials(SANDBOX_KEY_ID, SANDBOX_KEY_SECRET), CALLS)
    async with connect(target, Settings(rate=0), pool=None) as client:
        yield AccountLookup(client, CreatedUserLookUps(), lambda: 0.0, creates=True)


@contextlib.asynccontextmanager
async def in_sandbox(pool: Pool, **switches: Any) -> AsyncIterator[tuple[AccountLookup, Sandbox]]:
    async with serve(pool, Switches(**switches)) as sandbox, looking_up(sandbox.url) as lookup:
        yield lookup, sandbox


async def found_by_keys(lookup: AccountLookup, users: Sequence[Mapping[str, Any]]) -> list[Any] | None:
    """The id of the account that was found for each user, None without one; None when the look-up failed."""
    records = rows(users)
    look_ups = CreatedUserLookUps().for_records(records)
    found = await lookup.find_keys(look_ups, records.ids, WorkerStatus())
    if found is None:
        return None
    assert bool(found.empty) is not bool(found.accounts)
    return [found.accounts[id_].made if id_ in found.accounts else None for id_ in records.ids]


@pytest.mark.parametrize("most", [None, 10, 3])
async def test_every_account_is_found_by_its_keys_however_few_a_response_holds(most: int | None) -> None:
    pool = full_users(50)
    async with in_sandbox(pool, look_up_max=most) as (lookup, sandbox):
        users = [pool.user(number) for number in range(50)]
        assert await found_by_keys(lookup, users) == [user["userId"] for user in users]
        assert lookup.control.proven
        for number in range(0, 50, 2):
            pool.delete(number)
        gone = [None if number % 2 == 0 else user["userId"] for number, user in enumerate(users)]
        assert await found_by_keys(lookup, users) == gone
    assert LIST_PATH not in sandbox.ledger.by_path  # a look-up that has found an account needs no control


async def test_keys_that_are_free_cost_one_request_for_each_kind() -> None:
    async with in_sandbox(Pool()) as (lookup, sandbox):
        users = [full_users(40).user(number) for number in range(40)]
        assert await found_by_keys(lookup, users) == [None] * 40
    # And one by the ids of the users whose keys a server may misread: they may have never been gone.
    assert sandbox.ledger.by_path[LOOKUP_PATH] == 5
    assert not lookup.control.proven


@pytest.mark.parametrize("fault", ["403", "400", "404"])
@pytest.mark.parametrize("at", range(4))
async def test_a_kind_of_key_that_cannot_be_asked_for_makes_the_whole_fail(fault: str, at: int) -> None:
    pool = full_users(4)
    async with in_sandbox(pool) as (lookup, sandbox):
        sandbox.script(*[None] * at, fault, path=LOOKUP_PATH)
        assert await found_by_keys(lookup, [pool.user(number) for number in range(4)]) is None
        assert lookup.failed


async def test_a_lost_answer_is_asked_for_again() -> None:
    async with in_sandbox(Pool.from_ids("ab", "username")) as (lookup, sandbox):
        sandbox.script(*["drop_after"] * (ATTEMPTS_MAX - 1), path=LOOKUP_PATH)
        assert (await found_by_keys(lookup, usernames("a", "c")) or [])[1:] == [None]
        sandbox.script(*["drop_after"] * ATTEMPTS_MAX, path=LOOKUP_PATH)
        assert await found_by_keys(lookup, usernames("a", "c")) is None


async def test_an_empty_pool_is_asked_for_a_control_until_it_has_an_account() -> None:
    async with in_sandbox(Pool()) as (lookup, sandbox):
        for _ in range(5):
            assert not await lookup.control.prove_once(WorkerStatus())
            assert (lookup.control.none_listed, lookup.control.lost) == (True, False)
        sandbox.pool.add_ids(["a"], "username")
        assert await lookup.control.prove_once(WorkerStatus())
        assert not lookup.control.none_listed
    assert sandbox.ledger.by_path[LIST_PATH] == 6


@contextlib.asynccontextmanager
async def in_odd_server(users: Mapping[str, Mapping[str, Any]]) -> AsyncIterator[tuple[AccountLookup, list[list[str]]]]:
    """A server that finds `users` by any key without its dots; and a growing list of what each request asks for."""
    asked: list[list[str]] = []

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            told: dict[str, Any] = {"statusCode": 200, "data": {"access_token": TOKEN}}
            if request.target.startswith(LOOKUP_PATH):
                pairs = request.target.partition("?")[2].split("&")
                asked.append([pair.removeprefix("userIds=") for pair in pairs if "userIds" in pair])
                told = {
                    "statusCode": 200,
                    "data": [users[id_.replace(".", "")] for id_ in asked[-1] if id_.replace(".", "") in users],
                }
            await peer.send(answer(json.dumps(told).encode()))

    async with RawServer(script).running() as server, looking_up(server.url) as lookup:
        yield lookup, asked


async def test_an_account_that_is_found_by_a_rule_of_the_server_is_found_alone() -> None:
    async with in_odd_server({"ann": {"userId": "1", "username": "ann"}, "bo": {"userId": "2", "username": "bo"}}) as (
        lookup,
        asked,
    ):
        assert await found_by_keys(lookup, usernames("bo", "a.nn", "carl")) == ["2", "1", None]
        assert await found_by_keys(lookup, usernames("carl", "dora")) == [None, None]
    assert asked == [["bo", "a.nn", "carl"], ["a.nn"], ["carl"], ["carl"], ["carl", "dora"]]


# --- keys that a server may read otherwise ----------------------------------------------------------------------------


HIDDEN = [{"username": "a,b"}, {"username": "a,b", "externalId": "1,2"}, {"name": "no key"}]
FOUND = [{"username": "c"}, {"username": "a,c", "externalId": "1"}]
ODD = [{"email": "ann+1@x.example"}, {"phone": "13800000000", "phoneCountryCode": "+86", "username": "d,e"}]


@mutant(
    "a key that a comma may split proves that a user is not there",
    "hidden_records",
    swap("id_ in hidden and not own.may_split(key)", "id_ in hidden"),
    case="plus-hidden0",
)
@mutant(
    "a look-up of listed accounts without a response counts as one",
    "_read_marks",
    swap("if found is None:\n    return None", "if found is None:\n    break"),
    case="fails-None",
)
@pytest.mark.parametrize(
    ("there", "hidden"),
    [("plus", HIDDEN), ("another", [*HIDDEN, *ODD]), (None, [*HIDDEN, *ODD]), ("fails", None)],
)
async def test_which_users_a_look_up_may_not_find(there: str | None, hidden: Any) -> None:
    """there: a listed user whose keys have a plus, or none; or the look-up of that one gets no response."""
    pool = Pool()
    if there is not None:
        plus = {"email": "eve+1@x.example", "phone": "13900000000", "phoneCountryCode": "+86"}
        pool.put(created_user(0, {"username": "eve"} if there == "another" else plus, AT))
    async with in_sandbox(pool) as (lookup, sandbox):
        users = [*HIDDEN, *FOUND, *ODD]
        records = rows(users)
        if there == "fails":
            sandbox.script(*[None] * 5, *["500"] * ATTEMPTS_MAX, path=LOOKUP_PATH)
        look_ups = CreatedUserLookUps().for_records(records)
        found = await lookup.find_keys(look_ups, records.ids, WorkerStatus(), prove=True)
        if hidden is None:
            assert found is None
        else:
            assert found is not None
            wanted = frozenset(id_ for id_, user in zip(records.ids, users, strict=True) if user in hidden)
            assert (found.unproven, len(found.accounts)) == (wanted, 0)


class Behind(NamedTuple):
    """Users that are restored behind a gateway.

    reads: how it reads ids in a query. fault: what happens to the first request. kind: of their key. there: the key of
    a user that the server lists. keys: theirs. first, second: their outcomes in the first run, and after the wait.
    """

    reads: Callable[[str], str]
    fault: str
    kind: str
    there: str
    keys: Sequence[str]
    first: str
    second: str

    @property
    def name(self) -> str:
        return f"{self.reads.__name__}-{self.fault}-{self.there}-{self.keys[0]}"


PLUSES = ["ann+1@x.example", "ann+2@x.example"]
BEHIND = (
    Behind(blank, "drop_after", "email", "there+1@x.example", PLUSES, "remaining", "unknown"),
    Behind(unchanged, "drop_after", "email", "there+1@x.example", PLUSES, "done", "done"),
    Behind(unchanged, "drop_before", "email", "there+1@x.example", PLUSES, "remaining", "done"),
    Behind(latin, "drop_after", "username", "jos\u00e9", ["\u0436\u0430\u043d"], "remaining", "unknown"),
    Behind(gbk, "drop_after", "username", "\u738b\u4f1f", ["\ud55c\uad6d"], "remaining", "unknown"),
    Behind(small, "drop_after", "username", "Zoe", ["Alice", "EMP-1"], "remaining", "unknown"),
    Behind(small, "drop_after", "username", "zoe", ["Bob"], "remaining", "unknown"),  # only Bob has a capital letter
    Behind(small, "drop_after", "username", "zoe", ["bob"], "done", "done"),
    Behind(of_china, "drop_after", "phone", "+8613800000001", ["+14155550100"], "remaining", "unknown"),
)


@mutant(
    "a user is created twice behind a gateway that decodes a plus",
    "AccountLookup._find_keys",
    swap("prove and missing", "prove and not missing"),
    case="blank-drop_after-there+1@x.example-ann+1@x.example",
)
@mutant(
    "no key with a plus is ever found",
    "_read_marks",
    swap("account.certain", "not account.certain"),
    case="unchanged-drop_before-there+1@x.example-ann+1@x.example",
)
@pytest.mark.untraced
@pytest.mark.parametrize("behind", [pytest.param(each, id=each.name) for each in BEHIND])
def test_a_user_that_a_look_up_may_not_find_is_not_created_again(behind: Behind, tmp_path: Path) -> None:
    """The server has a user whose key has such characters too, or others: a look-up of it tells how these are read."""
    with serve_in_thread(Pool.from_ids([behind.there], behind.kind), Switches(clashes="accept")) as sandbox:
        sandbox.script(behind.fault, path=CREATE_PATH)
        with served(Gateway(to=sandbox.url, reads=behind.reads)) as gateway:
            users = [{behind.kind: key} for key in behind.keys]
            ran = run_at(gateway.url, tmp_path, users)
            assert ran.counts() == {behind.first: len(users)}, ran
            let_pass(log_of(tmp_path / "export.jsonl", "restore-users"), 11)
            again = run_at(gateway.url, tmp_path, users)
        assert again.counts() == {behind.second: len(users)}, again
        assert sandbox.pool.effects_of("created", behind.kind) == dict.fromkeys(behind.keys, 1)


@mutant(
    "a user whose keys a server misreads is not asked for by its id",
    "KeyLookUps.__init__",
    swap("all(any(self._read_alike(key)) for key in keys.items())", "not keys"),
)
async def test_a_user_that_was_never_gone_is_found_by_its_id() -> None:
    """Whatever a gateway makes of its keys, and whatever they are now. It is not created a second time."""
    pool, user = Pool(), {"email": "ann+1@x.example"}
    pool.put({**created_user(0, user, AT), "userId": f"{0:024x}"})
    pool.put({**created_user(1, {"email": "other+1@x.example"}, AT), "userId": f"{2:024x}"})
    async with serve(pool) as sandbox:
        with served(Gateway(to=sandbox.url, reads=blank)) as gateway:
            async with looking_up(gateway.url) as lookup:
                users = [user, {"email": "bob+1@x.example"}, {"email": "eve+1@x.example"}]
                assert await found_by_keys(lookup, users) == [f"{0:024x}", None, f"{2:024x}"]


@mutant(
    "a refusal by an empty pool counts as a request without a response",
    "CreationRules.unanswered",
    swap("state.in_doubt or state.had_no_clear_response or self._unclear", "state.in_doubt or state.requests > 0"),
)
def test_into_an_empty_pool_users_are_created_although_one_is_refused(tmp_path: Path) -> None:
    """The first request is refused because of one of them."""
    with serve_in_thread(Pool(), Switches(poisonous={"bad": (400, None)})) as sandbox:
        ran = run_in(sandbox, tmp_path, usernames("ann", "bad", "bob"))
        assert (ran.code, ran.counts()) == (1, {"done": 2, "refused": 1}), ran


@mutant(
    "a pool that lists no user is empty although users may have been created",
    "CreationStrategy._proven",
    swap("self._context.tally.succeeded or self._rules.unanswered(self.state)", "self._context.tally.succeeded"),
    case="accept",
)
@pytest.mark.parametrize("clashes", ["accept", "refuse"])
def test_a_key_that_sees_no_user_creates_none_again(clashes: Literal["accept", "refuse"], tmp_path: Path) -> None:
    """Its lists are empty as those of an empty pool are. The response to the first request was lost."""
    users = usernames("ann", "bob")
    with serve_in_thread(Pool(), Switches(clashes=clashes)) as sandbox:
        sandbox.script("drop_after", path=CREATE_PATH)
        with served(Gateway(to=sandbox.url, blind=True)) as gateway:
            for _ in range(2):
                ran = run_at(gateway.url, tmp_path, users)
                assert (ran.code, ran.counts()) == (4, {"remaining": 2}), ran
                let_pass(log_of(tmp_path / "export.jsonl", "restore-users"), 11)
            assert sandbox.ledger.by_path[CREATE_PATH] == 1
            gateway.blind = False
            ran = run_at(gateway.url, tmp_path, users)
        assert (ran.code, ran.counts()) == (0, {"done": 2}), ran
        assert sandbox.pool.effects_of("created", "username") == {"ann": 1, "bob": 1}


@pytest.mark.untraced
def test_a_user_for_whom_look_ups_return_another_ends_as_refused(tmp_path: Path) -> None:
    """Each time they do, so the API takes the keys for those of the other user. All others come back."""
    with serve_in_thread(Pool.from_ids(["a b"], "username")) as sandbox:
        with served(Gateway(to=sandbox.url, reads=blank)) as gateway:
            ran = run_at(gateway.url, tmp_path, usernames("a+b", "carl"))
        assert (ran.code, ran.counts()) == (1, {"done": 1, "refused": 1}), ran
        assert sandbox.pool.effects_of("created", "username") == {"carl": 1}


# --- a key that cannot see users --------------------------------------------------------------------------------------


def run_in(sandbox: Sandbox, folder: Path, users: Sequence[Mapping[str, Any]], *more: object) -> Ran:
    return run_at(sandbox.url, folder, users, *more)


def run_at(url: str, folder: Path, users: Sequence[Mapping[str, Any]], *more: object, pool: str = POOL) -> Ran:
    export = folder / "export.jsonl"
    export.write_bytes(b"".join((record.payload or b"") + b"\n" for record in rows(users)))
    return run_export(url, export, len(users), *more, pool=pool)


def run_export(url: str, export: Path, count: int, *more: object, pool: str = POOL) -> Ran:
    confirmed = ("--confirm", count, "--pool", pool, "--json")
    where = ("--host", url, "--rate", 0)
    return bulkdel("run", "restore-users", export, "--passwords", "none", *where, *confirmed, *more)


@mutant(
    "users are created with a key that finds no user",
    "CreationRules._unused",
    swap("evidence.blind", "evidence.blind and rest.maybe_applied"),
)
def test_a_key_that_lists_users_and_finds_none_creates_nothing(tmp_path: Path) -> None:
    with serve_in_thread(Pool.from_ids(["there"], "username"), Switches(blind=True)) as sandbox:
        ran = run_in(sandbox, tmp_path, usernames(*(f"user {number}" for number in range(120))))
        assert sandbox.ledger.by_path[CREATE_PATH] == 0
        assert (ran.code, ran.counts()) == (4, {"remaining": 120})
        assert "look-ups find no user at all, so an empty response proves nothing" in ran.err


# --- records that have the same keys, or half of a surrogate pair -----------------------------------------------------


@mutant(
    "two records with the same keys are restored as one account",
    "_apart",
    swap("met.isdisjoint(keys)", "met is not keys"),
    case="2-refuse",
)
@mutant(
    "two chunks create accounts with one key at the same time",
    "ReservedKeys.reserve",
    drop("while not self._keys.isdisjoint(keys):\n    await self._released.wait()"),
    case="1-accept",
)
@pytest.mark.parametrize(("size", "clashes"), one_in(2, [(1, "accept"), (1, "refuse"), (2, "refuse"), (50, "accept")]))
def test_two_records_with_the_same_keys_are_not_one_account(size: int, clashes: Any, tmp_path: Path) -> None:
    """In one chunk, or in two at the same time. One of the two is created, whether or not the API minds the second."""
    twins = [{"email": f"U{n // 2}@x.example", "name": "the same"} for n in range(8)]
    slow = Switches(clashes=clashes, latency_s=0.02)
    with serve_in_thread(Pool.from_ids(["there"], "username"), slow) as sandbox:
        ran = run_in(sandbox, tmp_path, twins, "--chunk-size", size, "--concurrency", 4)
        assert sandbox.pool.effects_of("created", "email") == {f"u{n}@x.example": 1 for n in range(4)}
        told = bulkdel("results", log_of(tmp_path / "export.jsonl", "restore-users"))
        rows = [json.loads(line) for line in told.out.splitlines()]
        assert sorted(row["outcome"] for row in rows) == ["done"] * 4 + ["refused"] * 4, (ran, rows)
        made = [row["newUserId"] for row in rows if row["outcome"] == "done"]
        assert {*made} == {user["userId"] for user in map(sandbox.pool.user, range(1, 5))}


def test_an_export_of_one_record_with_half_of_a_surrogate_pair_is_read(tmp_path: Path) -> None:
    """JavaScript leaves it where it cuts an emoji in two."""
    with serve_in_thread(Pool(), Switches()) as sandbox:
        ran = run_in(sandbox, tmp_path, [{"username": "ann\ud83d", "email": "ann@x.example", "nickname": "\ud83d"}])
        assert (ran.code, ran.counts()) == (0, {"done": 1})
        assert sandbox.pool.user(0)["nickname"] == "\ud83d"


@mutant(
    "a pool whose users may not be listed counts as empty",
    "PositiveControl._passes",
    swap("self.answered and not ids and not refused", "self.answered and not ids"),
)
def test_a_key_that_may_not_list_users_and_finds_none_creates_nothing(tmp_path: Path) -> None:
    with serve_in_thread(Pool.from_ids(["there"], "username"), Switches(blind=True)) as sandbox:
        sandbox.script(*["403"] * 1_000, path=LIST_PATH)
        ran = run_in(sandbox, tmp_path, usernames(*(f"user {number}" for number in range(120))))
        assert sandbox.ledger.by_path[CREATE_PATH] == 0
        assert (ran.code, ran.counts()) == (4, {"remaining": 120})


@mutant(
    "a pool that lists none of the created users counts as empty",
    "CreationStrategy._proven",
    swap("self._context.tally.succeeded or self._rules.unanswered(self.state)", "self._rules.unanswered(self.state)"),
)
async def test_what_was_created_has_to_be_found_before_more_is_created(tmp_path: Path) -> None:
    """A server that lists no user may be empty. When it still lists none after a creation, the key cannot see users."""
    created: list[int] = []

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            told: dict[str, Any] = {"statusCode": 200, "data": []}
            if request.target == CREATE_PATH:
                users = json.loads(request.body)["list"]
                created.append(len(users))
                told["data"] = [{**user, "userId": f"{sum(created):x}-{at}"} for at, user in enumerate(users)]
            elif request.target == LIST_PATH:
                told["data"] = {"totalCount": 0, "list": []}
            elif request.target == TOKEN_PATH:
                told["data"] = {"access_token": TOKEN}
            await peer.send(answer(json.dumps(told).encode()))

    users = usernames(*(f"user {number}" for number in range(120)))
    async with RawServer(script).running() as server:
        ran = await asyncio.to_thread(run_at, server.url, tmp_path, users, "--concurrency", 1, pool="p")
    assert created == [50]
    assert (ran.code, ran.counts()) == (4, {"done": 50, "remaining": 70})
    assert "look-ups find no user at all, so an empty response proves nothing" in ran.err


@mutant(
    "what was just created has to be found at once",
    "PositiveControl._passes_in_time",
    swap("self._client.draining", "again"),
)
def test_into_an_empty_pool_users_are_created_although_look_ups_lag(tmp_path: Path) -> None:
    """The first users are listed before they are found."""
    with serve_in_thread(Pool(), Switches(lag_s=1.2)) as sandbox:
        ran = run_in(sandbox, tmp_path, usernames(*(f"user {number}" for number in range(300))), "--chunk-size", 20)
        assert (ran.code, ran.counts()) == (0, {"done": 300}), ran.err
        assert set(sandbox.pool.effects_of("created", "username").values()) == {1}


@mutant(
    "the new ids are those of the response in its order",
    "CreationStrategy.accepted",
    swap(
        "for id_, account in created.items():\n    self._note(id_, account)",
        "for id_, (_, account) in zip(step.records.ids, claims, strict=False):\n    self._note(id_, account)",
    ),
    case="True",
)
@pytest.mark.parametrize("reverse", [False, True])
def test_each_row_has_the_new_id_of_its_own_user(reverse: bool, tmp_path: Path) -> None:
    """Also where the response of a creation lists the users in another order, or only some of them."""
    with serve_in_thread(Pool(), Switches(created_reversed=reverse, created_max=40)) as sandbox:
        ran = run_in(sandbox, tmp_path, usernames(*(f"user {number}" for number in range(60))))
        assert (ran.code, ran.counts()) == (0, {"done": 60})
        rows = bulkdel("results", log_of(tmp_path / "export.jsonl", "restore-users")).out.splitlines()
        pool = sandbox.pool
        for at, row in enumerate(map(json.loads, rows)):
            number = pool.find_alive("user_id", row["newUserId"])
            assert number is not None
            assert pool.user(number)["username"] == f"user {at}"


@mutant(
    "an account is created again without a look-up after a lost answer",
    "CreationRules.retry",
    swap("sub_chunk.maybe_applied", "sub_chunk.maybe_applied and free"),
    case="drop_after",
)
@pytest.mark.parametrize("fault", ["drop_after", "truncated_after", "500_after", "malformed_after"])
def test_after_a_lost_answer_no_user_is_created_twice(fault: str, tmp_path: Path) -> None:
    """The server would create them again: it does not mind two users with one name."""
    names = [f"user {number}" for number in range(120)]
    with serve_in_thread(Pool.from_ids(["there"], "username"), Switches(clashes="accept")) as sandbox:
        sandbox.script(None, fault, fault, path=CREATE_PATH)
        ran = run_in(sandbox, tmp_path, usernames(*names))
        assert (ran.code, ran.counts()) == (0, {"done": 120})
        assert sandbox.pool.effects_of("created", "username") == dict.fromkeys(names, 1)
        assert sandbox.pool.kinds() == ["created"], "no mail was sent"


@mutant(
    "records of a chunk that are sent later have no intent",
    "ChunkInHand.write_intent",
    swap("self._intended.issuperset(step.records.positions)", "self._intended"),
)
def test_each_record_of_a_chunk_has_its_intent_before_it_is_sent(tmp_path: Path) -> None:
    """Two records share a key, so the second is sent after the first, here because that one is refused."""
    users = [{"email": "u@x.example", "username": "one"}, {"email": "u@x.example", "username": "two"}]
    with serve_in_thread(Pool.from_ids(["there"], "username"), Switches(poisonous={"one": (422, None)})) as sandbox:
        ran = run_in(sandbox, tmp_path, users)
        assert (ran.code, ran.counts()) == (1, {"done": 1, "refused": 1})
        assert sandbox.pool.effects_of("created", "username") == {"two": 1}
        log = entries(log_of(tmp_path / "export.jsonl", "restore-users"))
        intents = [each["ranges"] for each in log if each["type"] == "intent"]
        assert intents == [[[0, 1]], [[1, 2]]]


async def test_what_identifies_a_user_is_in_no_message(tmp_path: Path) -> None:
    """The API quotes what it refuses. Neither the log, nor the output, nor the results repeat it."""
    user = {"email": "Ann.Noether@x.example", "phone": "13812345678", "phoneCountryCode": "+86", "username": "noether"}
    secrets = ("ann.noether", "13812345678", "noether")

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            told: dict[str, Any] = {"statusCode": 200, "data": []}
            if request.target == CREATE_PATH:
                quoted = json.dumps(json.loads(request.body)["list"])
                told = {"statusCode": 422, "message": f"refused: {user['email'].upper()}, +86{user['phone']}, {quoted}"}
            elif request.target == LIST_PATH:
                told["data"] = {"totalCount": 0, "list": []}
            elif request.target == TOKEN_PATH:
                told["data"] = {"access_token": TOKEN}
            await peer.send(answer(json.dumps(told).encode()))

    async with RawServer(script).running() as server:
        ran = await asyncio.to_thread(run_at, server.url, tmp_path, [user], pool="p")
    assert (ran.code, ran.counts()) == (1, {"refused": 1})
    log = log_of(tmp_path / "export.jsonl", "restore-users")
    results = bulkdel("results", log).out
    for text in (ran.out, ran.err, log.read_text(), results, bulkdel("status", log).out):
        assert not [secret for secret in secrets if secret in text.lower()]
    assert "refused: [id], +[id], " in json.loads(results)["message"]
