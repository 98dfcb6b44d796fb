"""What the API says about ids, through the real command: poisonous, unknown, forbidden, wrong pool, type or column."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from bulkdel_jobs.genauth.endpoints import DELETE_PATH, LIST_PATH
from bulkdel_jobs.genauth.signing_in import PATH as TOKEN_PATH
from tests.harness import POOL, Case, Ran, bulkdel, case, entries, sandbox, user_ids, write_objects
from tests.mutants import mutant
from tests.rawserver import Peer, RawServer, answer
from tests.syntax import swap

N = 10_000
IDS = user_ids(N)
FIND_NONE = "look-ups find none of"
TOKEN = "e30.eyJzY29wZWRfdXNlcnBvb2xfaWQiOiJwIn0.x"


def test_three_poisonous_ids_stand_alone(tmp_path: Path) -> None:
    """9,997 deleted, 3 refused with everything the server said, in at most 60 requests beyond the plain ones."""
    bad = random.Random(7).sample(IDS, 3)
    with case(tmp_path, IDS, poisonous=dict.fromkeys(bad, (409, 1234))) as it:
        ran = it.run()
        assert ran.code == 1, ran.err
        assert ran.counts() == {"deleted": N - 3, "refused": 3}
        assert it.served.pool.deleted == N - 3
        assert all(it.served.ledger.effects(id_) == (id_ not in bad) for id_ in IDS)
        sign_ins_control_and_sample = 3 + 200 // 50
        assert ran.summary["requests"] <= N // 50 + sign_ins_control_and_sample + 60
        assert ran.summary["requests"] == it.served.ledger.requests
        named = [e for entry in entries(it.log) for e in entry.get("exceptions", ())]
    assert {e["id"] for e in named} == set(bad)
    assert {IDS[e["position"]] for e in named} == set(bad)
    assert all(e["code"] == 409 and e["detail"] == {"apiCode": 1234} for e in named)
    assert all(e["message"] and e["request_id"] for e in named)


def _with_unknown(policy: str, folder: Path) -> tuple[Ran, dict[int, int], int, int]:
    rng = random.Random(3)
    unknown = set(rng.sample(IDS, 1_000))
    # Where refused requests empty the pool, only an account that is left shows that look-ups still find any.
    kept = ["f" * 24] if policy == "partial" else []
    with case(folder, IDS, users=[*(id_ for id_ in IDS if id_ not in unknown), *kept], unknown_ids=policy) as it:
        ran = it.run()
        assert ran.code == 0, ran.err
        assert it.served.pool.deleted == N - 1_000
        assert len(it.served.pool) == len(kept)
        assert all(it.served.ledger.effects(id_) == (id_ not in unknown) for id_ in IDS)
        sent_known = it.served.ledger.sent_times()
        return ran, sent_known, it.served.ledger.requests, len(it.served.ledger.chunk_sizes)


def test_unknown_ids_refused_whole(tmp_path: Path) -> None:
    """The API refuses a chunk with an unknown id: one look-up and one more deletion a chunk, no more."""
    ran, _, requests, _ = _with_unknown("refuse", tmp_path)
    assert ran.counts() == {"deleted": N - 1_000, "absent": 1_000}
    # Two sign-ins, the control and the sample in four. A look-up with as many accounts as any before is completed: the
    # missing ids are asked for again, and when none is found, a control of two requests follows. That is one chunk in
    # ten at most.
    assert requests <= 3 * (N // 50) + 7 + 3 * (N // 50 // 10)


def test_unknown_ids_deleted_partially(tmp_path: Path) -> None:
    """The API deletes the known ids and returns the error: gone or never there, none refused, none sent twice."""
    ran, sent, _, _ = _with_unknown("partial", tmp_path)
    assert ran.counts().keys() <= {"deleted", "absent"}
    assert sum(ran.counts().values()) == N
    assert sent == {1: N}


def test_unknown_ids_accepted(tmp_path: Path) -> None:
    """The API accepts a chunk with unknown ids silently: it says success, and that is what is recorded."""
    ran, sent, requests, _ = _with_unknown("accept", tmp_path)
    assert ran.counts() == {"deleted": N}
    assert sent == {1: N}
    # Two sign-ins, the control, the sample in four, and once more for what was missing in the fullest of the four.
    assert requests - N // 50 in range(7, 12)


@mutant(
    "a plan that a run would refuse prints its command",
    "_show",
    swap(
        "not found.ids or found.arguments.settings.sandbox or sample_trouble(found) is not None",
        "not found.ids or found.arguments.settings.sandbox",
    ),
)
def test_wrong_pool(tmp_path: Path) -> None:
    """None of the sampled ids exist: exit 4, and no deletion was even tried. No command is printed that goes on."""
    with case(tmp_path, IDS, users=user_ids(500, seed=99)) as it:
        confirmed = it.run()
        planned = bulkdel(
            "plan", *(arg for arg in it.args[1:] if arg not in {"--json", "--confirm", it.ids, "--pool", POOL})
        )
        for ran in (confirmed, planned):
            assert ran.code == 4
            assert "0 of 200 sampled ids exist" in ran.err
            assert "Check first: the export, its column (--id-field)" in ran.err
            assert "add --allow-absent" in ran.err
            assert "--confirm" not in ran.out + ran.err
            assert "bulkdel run" not in ran.out + ran.err
        assert it.served.ledger.by_path["/api/v3/delete-users-batch"] == 0
        assert not it.log.exists()


def test_allow_absent_goes_on(tmp_path: Path) -> None:
    """The user of the command knows that the ids are gone."""
    with case(tmp_path, IDS[:500], users=IDS[500:510], unknown_ids="refuse") as it:
        ran = it.run("--allow-absent")
        assert ran.code == 0, ran.err
        assert ran.counts() == {"absent": 500}
        assert it.served.pool.deleted == 0


@mutant(
    "a control that has no answer goes unsaid before a run",
    "PositiveControl.list_and_prove",
    swap("False", "True"),
)
def test_the_plan_reads_the_control(tmp_path: Path) -> None:
    """Else the first row in doubt would be the first to tell that the list of users cannot be read."""
    with case(tmp_path, IDS[:60], fault_paths=frozenset([LIST_PATH]), share_html=1.0) as it:
        for ran in (planned(it), it.run()):
            assert ran.code == 4, ran
            assert "the list of users that shows what look-ups can see could not be read" in ran.err
        assert (it.served.pool.deleted, it.log.exists()) == (0, False)
        it.switch(share_html=0.0)
        before = it.served.ledger.by_path[LIST_PATH]
        told = planned(it)
        assert (told.code, it.served.ledger.by_path[LIST_PATH]) == (0, before + 1), told
        assert FIND_NONE not in told.out
        assert (it.run().code, it.served.pool.deleted) == (0, 60)


@mutant(
    "an empty list of users is a control whatever its totalCount",
    "read_listed",
    swap('not _is_number(decision.data.get("totalCount"), 0)', '_is_number(decision.data.get("totalCount"), -2)'),
)
@pytest.mark.parametrize("total", [{"totalCount": 60}, {}, {"totalCount": "0"}])
async def test_an_empty_list_of_users_with_another_total_is_no_control(total: Any, tmp_path: Path) -> None:
    """The server deletes nothing, and its look-ups go blind. Only the control tells that from users that are gone."""
    ids, there = IDS[:60], True
    deletions = []

    async def script(peer: Peer) -> None:
        nonlocal there
        while True:
            request = await peer.request()
            told: dict[str, Any] = {"statusCode": 200, "data": []}
            if request.target == TOKEN_PATH:
                told["data"] = {"access_token": TOKEN}
            elif request.target == DELETE_PATH:
                there, told = False, {"statusCode": 500}
                deletions.append(request)
            elif request.target == LIST_PATH:
                told["data"] = {"list": [], **total}
            elif there:
                asked = parse_qs(request.target.partition("?")[2])["userIds"]
                told["data"] = [{"userId": id_} for id_ in asked]
            await peer.send(answer(json.dumps(told).encode()))

    export = write_objects(tmp_path / "users.jsonl", ids)
    async with RawServer(script).running() as server:
        words = ("--host", server.url, "--rate", 0, "--confirm", 60, "--pool", "p", "--patience", "8s", "--json")
        ran = await asyncio.to_thread(bulkdel, "run", "delete-users", export, *words)
    assert (ran.code, len(deletions)) == (4, 0), ran
    assert "the list of users that shows what look-ups can see could not be read" in ran.err


def test_the_plan_of_a_blind_key_says_so(tmp_path: Path) -> None:
    """A key that finds none of the users that the pool lists."""
    with case(tmp_path, IDS[:60], users=IDS[60:80], blind=True) as it:
        told = planned(it, "--allow-absent")
        assert told.code == 0, told
        assert f"{FIND_NONE} 20 users that the API lists" in told.out
        it.switch(blind=False)
        assert FIND_NONE not in planned(it, "--allow-absent").out


def planned(it: Case, *more: object) -> Ran:
    return bulkdel("plan", "delete-users", it.export, "--host", it.served.url, *it.options, *more)


def test_wrong_id_type(tmp_path: Path) -> None:
    """A pool known by email, asked by another type: misshapen ids are refused at once, well-formed by the sample."""
    emails = [f"u{i}@example.com" for i in range(1_000)]
    export = write_objects(tmp_path / "emails.jsonl", emails)
    with sandbox(emails, "email") as served:
        args = ("run", "delete-users", export, "--host", served.url, "--confirm", 1_000, "--pool", POOL)
        ran = bulkdel(*args)
        assert ran.code == 3
        assert "emails.jsonl" in ran.err
        assert "line 1" in ran.err
        assert "looks like email" in ran.err
        assert served.ledger.requests == 0
        ran = bulkdel(*args, "--id-type", "username")
        assert ran.code == 4
        assert served.pool.deleted == 0


def test_wrong_column(tmp_path: Path) -> None:
    """A column of well-formed ids that are not users'."""
    groups = user_ids(N, seed=5)
    export = tmp_path / "export.csv"
    export.write_text("group,id\n" + "".join(f"{g},{i}\n" for g, i in zip(groups, IDS, strict=True)))
    with sandbox(IDS) as served:
        args = ("run", "delete-users", export, "--host", served.url, "--id-field", "group")
        ran = bulkdel(*args, "--confirm", N, "--pool", POOL)
        assert ran.code == 4
        assert served.pool.deleted == 0
        assert served.ledger.by_path["/api/v3/delete-users-batch"] == 0


def test_forbidden_from_the_start(tmp_path: Path) -> None:
    """A key that may read but not delete: halts with the permission named, everything remains."""
    with case(tmp_path, IDS[:1_000], forbidden=True) as it:
        ran = it.run()
        assert ran.code == 4
        assert "permission" in ran.err
        assert ran.summary["status"] == "halted"
        assert ran.summary["remaining"] == 1_000
        assert it.served.pool.deleted == 0
        again = "run delete-users"
        assert again in ran.err


def test_every_id_refused_with_one_code_halts(tmp_path: Path) -> None:
    """It is not the ids: nothing is recorded as refused, and once the cause is gone the same command deletes them."""
    with case(tmp_path, IDS[:500], poisonous=dict.fromkeys(IDS[:500], (422, None))) as it:
        ran = it.run("--concurrency", 1)
        assert ran.code == 4
        assert "10 ids in a row were refused with one code" in ran.err
        assert ran.counts() == {"remaining": 500}
        assert it.served.ledger.by_path["/api/v3/delete-users-batch"] <= 25
        it.switch(poisonous={})
        ran = it.run()
        assert ran.code == 0, ran.err
        assert ran.counts() == {"deleted": 500}
        assert it.served.pool.deleted == 500


@pytest.mark.parametrize(
    "switches",
    [
        {"share_429": 0.03, "retry_after": "seconds", "retry_after_s": 1},
        pytest.param({"share_500": 0.1}, marks=pytest.mark.soak),
        pytest.param({"share_503": 0.1, "fault_style": "http"}, marks=pytest.mark.soak),
        pytest.param({"share_html": 0.1}, marks=pytest.mark.soak),
        pytest.param({"share_drop_before": 0.1}, marks=pytest.mark.soak),
        {"share_drop_after": 0.1},
        {"share_500_after": 0.1},
        {"token_lifetime_s": 1.0, "latency_s": 0.2},
    ],
    ids=lambda switches: next(iter(switches)),
)
@pytest.mark.parametrize("unknown", ["accept", pytest.param("refuse", marks=pytest.mark.soak)])
def test_faults(switches: dict[str, Any], unknown: str, tmp_path: Path) -> None:
    """Some requests fail in one way; every id is deleted once and counted once."""
    with case(tmp_path, IDS[:4_000], unknown_ids=unknown, **switches) as it:
        ran = it.run()
        for _ in range(3):
            if ran.code != 4:
                break
            ran = it.run()
        assert ran.code == 0, (ran.err, ran.out)
        assert ran.counts() == {"deleted": 4_000}
        assert it.served.pool.deleted == 4_000
        assert len(it.served.pool) == 0


@pytest.mark.parametrize("unknown", ["accept", pytest.param("refuse", marks=pytest.mark.soak)])
def test_some_requests_do_half_of_their_work(unknown: str, tmp_path: Path) -> None:
    """An id is refused only after a request for it alone that did nothing; all others are deleted."""
    ids = IDS[:4_000]
    with case(tmp_path, ids, unknown_ids=unknown, share_unsuccessful=0.1, unsuccessful_effect="half") as it:
        ran = it.run()
        refused = [e["id"] for entry in entries(it.log) for e in entry.get("exceptions", ())]
        assert len(refused) <= it.served.ledger.chunk_sizes[1]
        assert ran.code == (1 if refused else 0), ran.err
        assert ran.counts() == Counter({"deleted": 4_000 - len(refused), "refused": len(refused)}) + Counter()
        assert {id_ for id_ in ids if it.served.ledger.effects(id_) == 0} == set(refused)
        assert it.served.pool.deleted == 4_000 - len(refused)
