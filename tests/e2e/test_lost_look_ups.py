"""What a look-up proves: after a key has lost its permission, after an outage, and for ids with a comma in a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.forum import TOKEN, Forum
from tests.harness import bulkdel
from tests.httppage import Example, block
from tests.mutants import mutant
from tests.restserver import Answer, Asked, served
from tests.syntax import negate, swap


@dataclass
class Blinding(Forum):
    """After `sees` deletions every member is answered 404. The list still shows them, unless it is refused then.

    empty: it shows none then. never: the key may never list.
    """

    sees: int = 1_000_000
    lists: bool = True
    empty: bool = False
    never: bool = False

    def answer(self, asked: Asked) -> Answer:
        if self.never and len(asked.path) == 3:
            return 403, {"message": "no right to list"}
        if self.effects.total() >= self.sees:
            if self.empty and len(asked.path) == 3:
                return 200, {"members": []}
            if len(asked.path) > 3:
                return 404, {"message": "nothing there"}
            if not self.lists:
                return 403, {"message": "no right to list"}
        return super().answer(asked)


@mutant(
    "look-ups that have ceased to find accounts are believed",
    "AccountLookup._controlled",
    swap("looked.accounts or self.control.lost", "looked.accounts"),
)
@pytest.mark.parametrize(
    ("lists", "words"),
    [
        (True, "look-ups find none of the accounts that the API lists"),
        (False, "the control failed: HTTP 403: forbidden"),
    ],
)
def test_a_key_that_loses_its_permission_proves_nothing_absent(lists: bool, words: str, tmp_path: Path) -> None:
    """Both the deletion and the look-up answer 404 then. With the permission back, the same command goes on."""
    ids = [f"m{n:03d}" for n in range(60)]
    with served(Blinding(members={*ids, "kept"}, sees=10, lists=lists)) as forum:
        it = Example(tmp_path, block("forum"), forum.url, {"FORUM_TOKEN": TOKEN})
        for _ in range(1 + lists):
            ran = it.run("run", *ids, options=("--concurrency", 1))
            assert (ran.code, ran.summary["done"], ran.summary["absent"], ran.summary["remaining"]) == (4, 10, 0, 50), (
                ran
            )
            assert words in ran.err
        forum.sees = 1_000_000
        ran = it.run("run", *ids)
        assert (ran.code, ran.summary["remaining"], forum.members) == (0, 0, {"kept"}), ran
        assert set(forum.effects.values()) == {1}


@mutant(
    "accounts of the sample are no control",
    "SendingSession._lookup",
    swap("() if creates else server.found", "()"),
)
@pytest.mark.parametrize("look_first", [False, True])
@pytest.mark.parametrize("never", [False, True])
def test_a_key_that_is_shown_nothing_any_more_proves_nothing(never: bool, look_first: bool, tmp_path: Path) -> None:
    """Look-ups and deletions answer 404, and the list is empty, or was always refused."""
    ids, options = [f"m{n:03d}" for n in range(60)], ["--look-first"] * look_first
    with served(Blinding(members={*ids, "kept"}, sees=10, empty=True, never=never)) as forum:
        it = Example(tmp_path, block("forum"), forum.url, {"FORUM_TOKEN": TOKEN})
        plan = it.run("plan", *ids)
        assert (plan.code, "the key may not list" in plan.out + plan.err) == (0, never), plan
        ran = it.run("run", *ids, options=("--concurrency", 2, *options))
        assert ran.summary["done"] == forum.effects.total(), ran
        assert (ran.code, ran.summary["absent"], ran.summary["remaining"]) == (4, 0, 60 - ran.summary["done"]), ran
        assert "so an empty response proves nothing" in ran.err
        forum.sees = 1_000_000
        ran = it.run("run", *ids)
        assert (ran.code, ran.summary["remaining"], forum.members) == (0, 0, {"kept"}), ran
        assert set(forum.effects.values()) == {1}


@dataclass
class Emptying(Forum):
    """After `sees` look-ups, if it is set, every list is empty, and every member is answered 404."""

    sees: int | None = None

    def answer(self, asked: Asked) -> Answer:
        if asked.method == "GET" and self.sees is not None:
            if len(asked.path) > 3:
                self.sees -= 1
            if self.sees < 0:
                return (404, {"message": "nothing there"}) if len(asked.path) > 3 else (200, {"members": []})
        return super().answer(asked)


@mutant(
    "verify takes a control without an account for a proof",
    "PositiveControl._known_pass",
    swap("not known and not self.needs_account", "not known"),
)
@mutant(
    "look-ups that have ceased to find accounts leave rows without a reason",
    "VerifySession.run",
    negate("live.lookup.control.lost"),
)
def test_verify_counts_no_control_that_has_no_account(tmp_path: Path) -> None:
    """All members are back. After the fifth look-up the key is shown none of them."""
    ids = [f"m{n:03d}" for n in range(60)]
    with served(Emptying(members={*ids, "kept"})) as forum:
        it = Example(tmp_path, block("forum"), forum.url, {"FORUM_TOKEN": TOKEN})
        assert it.run("run", *ids).code == 0
        forum.members, forum.sees = {*ids, "kept"}, 5
        ran = it.verify()
        assert (ran.code, ran.summary["status"], ran.summary["gone"]) == (4, "halted", 0), ran
        assert "the pool lists no account that could be looked up" in ran.err
        forum.sees = None
        ran = it.verify()
        assert (ran.code, ran.summary["still_there"], ran.summary["gone"]) == (1, 60, 0), ran


def test_without_a_control_what_is_called_unknown_is_unproven(tmp_path: Path) -> None:
    """The key may not list, and no account of the sample is left that could show what look-ups find."""
    there, missing = [f"m{n:03d}" for n in range(30)], [f"x{n:03d}" for n in range(25)]
    with served(Blinding(members={*there, "kept"}, never=True)) as forum:
        it = Example(tmp_path, block("forum"), forum.url, {"FORUM_TOKEN": TOKEN})
        ran = it.run("run", *there, *missing, options=("--concurrency", 1))
        assert (ran.code, ran.summary["done"], ran.summary["absent"]) == (0, 30, 25), ran
        assert bulkdel("results", tmp_path / "ids.jsonl", "--only", "absent", env={}).out.count('"unproven"') == 25


def test_an_id_with_a_comma_in_a_path_is_proven_absent(tmp_path: Path) -> None:
    """A path holds one id, so no server takes it for two."""
    ids = ["a,b", "c,d", *(f"m{n}" for n in range(5))]
    with served(Forum(members={*ids[1:], "kept"})) as forum:
        it = Example(tmp_path, block("forum"), forum.url, {"FORUM_TOKEN": TOKEN})
        ran = it.run("run", *ids)
        assert (ran.code, ran.summary["done"], ran.summary["absent"]) == (0, 6, 1), ran
        assert '"reason"' not in bulkdel("results", tmp_path / "ids.jsonl", "--only", "absent", env={}).out
        forum.members.add("e,f")  # it shows that the path of another comma is read as it is sent
        verified = it.verify()
        assert (verified.code, verified.summary["gone"]) == (0, 7), verified


@dataclass
class Away(Forum):
    """Once the deletion of an id that begins with `x` was asked for, look-ups of such ids fail `fails` times."""

    fails: int = 0
    down: bool = False

    def answer(self, asked: Asked) -> Answer:
        if asked.path[-1].startswith("x"):
            self.down = self.down or asked.method == "DELETE"
            if self.down and self.fails and asked.method == "GET":
                self.fails -= 1
                return 500, None
        return super().answer(asked)


@mutant(
    "an id that the API called unknown is called deleted after an outage of look-ups",
    "without_look_up",
    swap("sub_chunk.may_have_had_effect", "sub_chunk.touched"),
)
def test_what_never_existed_is_not_called_deleted_after_an_outage_of_look_ups(tmp_path: Path) -> None:
    """The deletion is answered 404, and its look-up fails. In the next pass, and in the next run, it is sent again."""
    there, never = [f"m{n:03d}" for n in range(20)], [f"x{n}" for n in range(5)]
    with served(Away(members={*there, "kept"}, fails=5)) as forum:
        it = Example(tmp_path, block("forum"), forum.url, {"FORUM_TOKEN": TOKEN})
        ran = it.run("run", *there, *never, options=("--concurrency", 1, "--allow-absent"))
        ran = it.run("run", *there, *never) if ran.code == 4 else ran
        assert (ran.code, ran.summary["done"], ran.summary["absent"]) == (0, 20, 5), ran
        assert (forum.effects.total(), forum.members) == (20, {"kept"})
