"""What a look-up proves: after a key has lost its permission, and for ids with a comma in a path."""

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
    """After `sees` deletions every member is answered 404. The list still shows them, unless it is refused then."""

    sees: int = 1_000_000
    lists: bool = True

    def answer(self, asked: Asked) -> Answer:
        if self.effects.total() >= self.sees:
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
