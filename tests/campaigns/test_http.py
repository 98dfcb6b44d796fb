"""The job `http` under faults, killed and continued, with one id a request and with an answer per id.

The oracle is the server's own count of effects per id.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.examples import one_in
from tests.forum import TOKEN, Forum
from tests.harness import bulkdel, kill, start, wait_until
from tests.httppage import Example, block
from tests.installed import outcomes
from tests.mutants import mutant
from tests.restserver import Answer, Asked, served
from tests.syntax import swap

LOOK_UP = '[http.look_up]\npath = "/members/{id}"\nlist = "/members"\nlist_at = "members"\n'
BEFORE = ("503", "429", "close", "page")
AFTER = ("503", "close", "page", "strangers")
KILLS = 2


@dataclass
class Faulty(Forum):
    """Answers a share of the requests with a fault, before or after their effect."""

    chance: random.Random = field(default_factory=random.Random)
    share: float = 0.05

    def answer(self, asked: Asked) -> Answer:
        struck = self.chance.random()
        if struck < self.share / 2:
            return self.fault(self.chance.choice(BEFORE), {})
        answer = super().answer(asked)
        if struck < self.share and asked.method != "GET":
            return self.fault(self.chance.choice(AFTER), answer)
        return answer

    def fault(self, name: str, answer: object) -> Answer:
        match name:
            case "503":
                return 503, b"busy"
            case "429":
                return 429, {}
            case "page":
                return 200, b"<html>Sign in</html>"
            case "strangers" if isinstance(answer, tuple) and isinstance(answer[1], dict):
                return 200, {"results": [{"id": "stranger", "code": 204}]}
        return None


@mutant(
    "a refusal of the job http is a success",
    "DEFAULTS",
    swap('"refused"', '"settled"'),
    case="forum-0",
)
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in range(1, 50))])
@pytest.mark.parametrize("name", one_in(3, ["forum", "batch", "batch-without"]))
def test_faults_and_kills_lose_nothing(name: str, seed: int, tmp_path: Path) -> None:
    chance = random.Random(f"http {seed}")
    ids = [f"member-{n:04d}" for n in range(120)]
    locked, absent = set(ids[10:13]), set(ids[60:70])
    there = set(ids) - absent
    with served(Faulty(chance=chance, members={*there, "kept"}, locked=locked)) as forum:
        text = block(name.partition("-")[0]).replace("[http]\n", "[http]\npause_s = 0.05\n", 1)
        text = text.replace("chunk_size = 100", "chunk_size = 20")
        it = Example(tmp_path, text + LOOK_UP * (name == "batch"), forum.url, {"FORUM_TOKEN": TOKEN})
        words = (*it.words("run", *ids), "--rate", 500, "--concurrency", 8)
        for number in range(1, KILLS + 1):
            with start(*words, env=it.env) as process:
                wait_until(lambda: forum.effects.total() >= number * 30 or process.poll() is not None)  # noqa: B023
                kill(process)
        for _ in range(5):  # rows that met too many faults are left to the next session
            ran = bulkdel(*words, env=it.env)
            if ran.code == 1:
                break
        assert ran.code == 1, ran
        assert forum.effects == {("members", id_): 1 for id_ in there - locked}
        assert forum.members == {"kept", *locked}
        assert forum.groups == {"1"}
        counts = outcomes(ran)
        # Refused after a lost answer: without a look-up nothing can tell whether the lost request was applied.
        unknown = counts.get("unknown", 0)
        assert unknown == 0 or name == "batch-without"
        assert counts.get("refused", 0) + unknown == len(locked)
        assert counts["done"] + counts.get("absent", 0) == len(ids) - len(locked), ran
        rows = [json.loads(line) for line in bulkdel("results", it.folder / "ids.jsonl", env={}).out.splitlines()]
        assert {row["id"] for row in rows if row["outcome"] in {"refused", "unknown"}} == locked
        assert {row["id"] for row in rows if row["outcome"] == "absent"} <= absent
        assert len(rows) == len(ids)
