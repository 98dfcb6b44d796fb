"""A gateway that reads ids in a query otherwise than they were sent: no guard goes by the account of another id."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkdel_jobs.sandbox import LIST_PATH, LOOKUP_PATH, Pool, Sandbox, serve_in_thread
from bulkdel_jobs.sandbox.users import created
from tests.gateway import AS_JSON, Gateway, blank, latin, of_china, small, without_dots
from tests.harness import POOL, Ran, bulkdel
from tests.jobs import AT
from tests.mutants import mutant
from tests.restserver import Answer, Asked, served
from tests.syntax import drop, swap

User = Mapping[str, Any]


@contextmanager
def behind(reads: Callable[[str], str], users: Iterable[User], **more: Any) -> Iterator[tuple[str, Sandbox]]:
    """A server with these users, and the URL of the gateway before it."""
    pool = Pool()
    for user in users:
        pool.put({**created(pool.users_ever, {}, AT), **user})
    with serve_in_thread(pool) as sandbox, served(Gateway(to=sandbox.url, reads=reads, **more)) as gateway:
        yield gateway.url, sandbox


@dataclass
class Emptied(Gateway):
    """Lists no account any more after so many lists and look-ups. left: how many remain; None for no end."""

    left: int | None = None

    def answer(self, asked: Asked) -> Answer:
        path = asked.target.partition("?")[0]
        if self.left is not None and path in {LIST_PATH, LOOKUP_PATH}:
            self.left -= 1
            if path == LIST_PATH and self.left < 0:
                return 200, b'{"statusCode":200,"message":"","data":{"totalCount":0,"list":[]}}', AS_JSON
        return super().answer(asked)


@mutant(
    "verify takes an empty list for a pool that this process has emptied",
    "MarkControl._look_up",
    swap("self._control.known or self._control.needs_account", "self._control.known"),
)
def test_verify_does_not_believe_a_list_that_has_become_empty(tmp_path: Path) -> None:
    """Behind a gateway that reads a plus as a blank, look-ups find none of the accounts that are there again."""
    odd, others = [f"ann+{number}@x.example" for number in range(5)], [f"bob{number}@x.example" for number in range(50)]
    pool = Pool.from_ids([*odd, *others, "keep@x.example", "kept@x.example"], "email")
    with serve_in_thread(pool) as sandbox, served(Emptied(to=sandbox.url)) as gateway:
        rows = [{"email": email} for email in (*odd, *others)]
        assert delete(gateway.url, tmp_path, rows, 55, "--id-type", "email", "--id-field", "email").code == 0
        assert pool.add_ids(odd, "email", created_at=AT) == len(odd)
        gateway.reads, gateway.left = blank, 2
        ran = bulkdel("verify", tmp_path / "export.jsonl.runs/delete-users", "--host", gateway.url, "--json")
        assert (ran.code, ran.summary["could_not_tell"] >= len(odd)) == (4, True), ran


def delete(url: str, folder: Path, rows: Iterable[User], count: int, *more: object) -> Ran:
    export = folder / "export.jsonl"
    export.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    where = ("--host", url, "--rate", 0, "--json", "--confirm", count, "--pool", POOL)
    return bulkdel("run", "delete-users", export, *where, *more)


@mutant(
    "an account that is not named by an id to keep counts as protected",
    "look_up_excluded",
    drop("raise _halted(id_type, other)"),
    case="listed-another-account",
)
@mutant(
    "capital letters are always read as they were sent",
    "_capital",
    swap("_CAPITALS.search(id_)", "_CAPITALS.search(id_[:0])"),
    case="listed-capitals",
)
@mutant(
    "a number of one country proves the plus of all countries",
    "UserLookUps.marks",
    swap("self._id_type.name != _PHONE", "self._id_type.name == _PHONE"),
    case="listed-countries",
)
@mutant(
    "all letters that are not ASCII are one character",
    "_mark",
    swap(
        'piece if script is None else f"{script} of {len(piece.encode())} bytes"',
        'f"{script} of {len(piece.encode())} bytes"',
    ),
    case="listed-latin",
)
@pytest.mark.parametrize(
    ("reads", "kept", "others"),
    [
        pytest.param(latin, {"username": "жан"}, [{"username": "zoé"}], id="latin"),
        pytest.param(small, {"username": "Alice"}, [{"username": "Zoe"}], id="capitals"),
        pytest.param(small, {"username": "Alice"}, [], id="the-only-capital"),
        pytest.param(without_dots, {"username": "j.doe"}, [{"username": "jdoe"}], id="another-account"),
        pytest.param(
            of_china,
            {"phone": "4155550100", "phoneCountryCode": "+1"},
            [{"phone": "13800000001", "phoneCountryCode": "+86"}],
            id="countries",
        ),
    ],
)
@pytest.mark.parametrize("lists", [True, False], ids=["listed", "unlisted"])
def test_an_exclude_file_whose_account_may_be_hidden_refuses_the_run(
    reads: Callable[[str], str], kept: User, others: list[User], lists: bool, tmp_path: Path
) -> None:
    """Look-ups of its id find nothing, or the account of another id. The key may or may not list users."""
    with behind(reads, [kept, *others, {"username": "bob"}], lists=lists) as (url, sandbox):
        (kind,) = kept.keys() & {"username", "phone"}
        keep = tmp_path / "keep.txt"
        also_kept = [] if kind == "phone" else ["bob"]  # which look-ups find; it is no phone number
        keep.write_text("\n".join([f"{kept.get('phoneCountryCode', '')}{kept[kind]}", *also_kept]))
        rows = [{"userId": sandbox.pool.user(0)["userId"]}]
        ran = delete(url, tmp_path, rows, 1, "--exclude", f"{keep}:1:{kind}")
        assert (ran.code, "Nothing was sent" in ran.err, sandbox.pool.deleted) == (4, True, 0), ran
        assert "So it is not known which accounts the exclude files protect" in ran.err, ran


@mutant(
    "a guard goes by the account of another id",
    "IdStrategy.look_up",
    swap("context.guards or context.backup is not None", "context.backup is not None"),
)
def test_a_guard_does_not_go_by_the_account_of_another_id(tmp_path: Path) -> None:
    """j.doe has signed in since; jdoe never has."""
    active, idle = {"username": "j.doe", "lastLogin": "2024-06-01T00:00:00.000Z"}, {"username": "jdoe"}
    others = [{"username": f"user {number}"} for number in range(250)]
    with behind(without_dots, [active, idle, *others]) as (url, sandbox):
        rows = [{"username": user["username"]} for user in (*others, active)]
        options = ("--id-field", "username", "--id-type", "username", "--spare", "active-since=2023-01-01")
        ran = delete(url, tmp_path, rows, 251, *options)
        assert (ran.code, ran.counts()) == (4, {"deleted": 250, "remaining": 1}), ran
        assert "row 250 (counted from 0): a look-up returned an account that the id does not name" in ran.err, ran
        assert {*sandbox.pool.effects_of("deleted", "username")} == {user["username"] for user in others}
