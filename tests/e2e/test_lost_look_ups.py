"""What a look-up proves: after a key has lost its permission, and for ids in a path that a proxy may misread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.forum import TOKEN, Forum
from tests.harness import bulkdel
from tests.httppage import Example, block
from tests.mutants import mutant
from tests.restserver import Answer, Asked, served
from tests.syntax import swap


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
    "ChunkInHand._find",
    swap("accounts or parts.lookup.lost", "accounts"),
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
    "SendingSession.run",
    swap("() if plan.arguments.job.target_state.created else plan.server.found", "()"),
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
        verified = it.verify()
        assert (verified.code, verified.summary["gone"]) == (0, 7), verified


@dataclass
class BehindAProxy(Forum):
    """A proxy before the forum answers 404 to a path that has `misread`, as it was sent; none when that is empty."""

    misread: str = ""

    def answer(self, asked: Asked) -> Answer:
        if self.misread and self.misread in asked.target:
            return 404, {"message": "no such page"}
        return super().answer(asked)


ODD = {"a slash": ("%2F", "team/"), "a plus": ("%2B", "a+"), "not ASCII": ("%C3", "é"), "a semicolon": ("%3B", "a;")}


@mutant(
    "an id that a proxy may misread in a path counts as absent",
    "ChunkState._unproven",
    swap("sub_chunk.records.ids[0] in self._misread", "not sub_chunk.records.ids"),
    case="a slash",
)
@mutant(
    "a character in a path is never misread",
    "OneByOneLookUps.marks",
    swap("marks_in_path(id_)", "marks_in_path(id_[:0])"),
    case="not ASCII",
)
@pytest.mark.parametrize("case", ODD)
def test_an_account_that_a_proxy_hides_is_not_called_absent(case: str, tmp_path: Path) -> None:
    """The deletion and the look-up of some ids are answered 404 by the proxy alone. Every other id is as usual."""
    misread, head = ODD[case]
    hidden, plain = [f"{head}{n}" for n in range(3)], [f"m{n}" for n in range(20)]
    ids = [*plain[:10], *hidden, *plain[10:]]
    with served(BehindAProxy(members={*ids, "kept"}, misread=misread)) as forum:
        it = Example(tmp_path, block("forum"), forum.url, {"FORUM_TOKEN": TOKEN})
        ran = it.run("run", *ids)
        assert (ran.code, ran.summary["done"], ran.summary["absent"], ran.summary["remaining"]) == (4, 20, 0, 3), ran
        assert "3 rows remain. Their ids have a character such as / or +" in ran.err, ran
        assert "Send them again without a look-up" not in ran.err, ran
        forum.misread = ""
        ran = it.run("run", *ids)
        assert (ran.code, ran.summary["done"], ran.summary["remaining"], forum.members) == (0, 23, 0, {"kept"}), ran
        assert set(forum.effects.values()) == {1}
        verified = it.verify()
        assert (verified.code, verified.summary["gone"], verified.summary["could_not_tell"]) == (4, 20, 3), verified
        forum.members.add(f"{head}control")
        verified = it.verify()
        assert (verified.code, verified.summary["gone"]) == (0, 23), verified


@mutant(
    "no listed account shows that a path is read as it was sent",
    "AccountLookup._seek_marks",
    swap("mark not in self._marks", "not self._marks.issuperset(marks) and not wanted"),
)
@pytest.mark.parametrize("case", ODD)
def test_a_listed_account_with_the_same_characters_proves_the_path(case: str, tmp_path: Path) -> None:
    """A deletion had its effect before this run, and an account with the same character is there to be found."""
    _, head = ODD[case]
    gone, plain = [f"{head}gone{n}" for n in range(3)], [f"m{n}" for n in range(20)]
    with served(Forum(members={*plain, f"{head}0"}, shown=100)) as forum:
        it = Example(tmp_path, block("forum"), forum.url, {"FORUM_TOKEN": TOKEN})
        ran = it.run("run", *plain, *gone)
        assert (ran.code, ran.summary["done"], ran.summary["absent"]) == (0, 20, 3), ran
        assert '"unproven"' not in bulkdel("results", tmp_path / "ids.jsonl", "--only", "absent", env={}).out
