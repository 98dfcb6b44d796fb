"""The shortest job of docs/adding-a-job.md (`parts/simple.py`), run as the real command against a small API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.forum import TOKEN, Forum
from tests.harness import Ran, bulkdel
from tests.installed import installed, outcomes
from tests.mutants import mutant
from tests.restserver import served
from tests.syntax import swap

LINES_MAX = 40

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-job.md"
SOURCE = PAGE.read_text().partition("```python\n")[2].partition("```")[0]

HOSTILE = ["a/b", "a%2fb", "%2e%2ea", "a,b", 'a"b', "a b", "a?b", "a#b", "a&b", "a;b", "a+b", "...", "é"]


@dataclass
class Bench:
    folder: Path
    forum: Forum
    source: str = SOURCE

    def run(self, command: str, *ids: str, options: tuple[object, ...] = (), key: str | None = TOKEN) -> Ran:
        package = self.folder / "site"
        if not package.exists():
            self.env = installed(package, self.source, "delete-members", "DeleteMembers")
        export = self.folder / "members.csv"
        quoted = ['"' + id_.replace('"', '""') + '"' for id_ in ids]
        export.write_text("\n".join(["id", *quoted, ""]))
        host = f"{self.forum.url}/api/v1"
        confirmed = ("--json", "--confirm", len(ids), "--pool", host.removeprefix("http://"))
        words = (command, "delete-members", export, "--host", host, "--rate", 0, *options)
        env = {**self.env, **({} if key is None else {"FORUM_KEY": key})}
        return bulkdel(*words, *(confirmed if command == "run" else ()), env=env)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with served(Forum()) as forum:
        yield Bench(tmp_path, forum)


def test_the_job_is_short() -> None:
    assert len(SOURCE.splitlines()) <= LINES_MAX
    assert re.search(r"^class \w+\(OneByOne\):$", SOURCE, re.MULTILINE)


def test_it_deletes_what_is_there_and_nothing_else(bench: Bench) -> None:
    ids = [f"m{n}" for n in range(30)]
    bench.forum.members = {*ids[:25], "kept"}
    plan = bench.run("plan", *ids)
    assert (plan.code, bench.forum.effects.total()) == (0, 0), plan
    assert "25 of 30 looked up exist" in plan.out
    ran = bench.run("run", *ids)
    assert (ran.code, outcomes(ran)) == (0, {"done": 25, "absent": 5}), ran
    assert bench.forum.effects == {("members", id_): 1 for id_ in ids[:25]}
    where = ("--host", f"{bench.forum.url}/api/v1")
    verified = bulkdel("verify", bench.folder / "members.csv", *where, "--json", env={**bench.env, "FORUM_KEY": TOKEN})
    assert (verified.code, verified.summary["gone"]) == (0, 30), verified


@pytest.mark.parametrize("careless", [False, True])
def test_a_hostile_id_is_one_segment(bench: Bench, careless: bool) -> None:
    """Also where a proxy decodes the whole path first: then some are not found, and nothing else is touched."""
    bench.forum.careless = careless
    bench.forum.members = {*HOSTILE, "a", "b", "2", "groups", "kept", *(f"m{n}" for n in range(40))}
    ran = bench.run("run", *HOSTILE, *(f"m{n}" for n in range(40)), options=("--id-type", "path_name"))
    meant = {("members", id_): 1 for id_ in [*HOSTILE, *(f"m{n}" for n in range(40))]}
    if careless:  # it reads a/b as two segments
        del meant["members", "a/b"]
    assert bench.forum.effects == meant, ran
    assert {"a", "b", "2", "groups", "kept"} <= bench.forum.members
    assert bench.forum.groups == {"1"}
    assert outcomes(ran)["done"] == len(meant)


@mutant(
    "an encoded slash passes the preflight",
    "_SLASH",
    swap('r"(?:[/\\\\]|%(?:25)*(?:2f|5c))"', 'r"(?:[/\\\\]|%(?:25)*(?:5c))"'),
)
def test_an_id_that_changes_in_a_path_is_refused_before_anything_is_sent(bench: Bench) -> None:
    for id_ in ("../groups/1", "..%2fgroups%2f1"):
        ran = bench.run("run", "m1", id_, options=("--id-pattern", ".*"))
        assert ran.code == 3, ran
        assert "one segment of a path" in ran.err
        assert not bench.forum.asked


@pytest.mark.parametrize(
    ("name", "value"),
    [("path", "/member/{id}"), ("look_up_path", "/member/{id}"), ("list_path", "/member"), ("list_at", "member")],
)
def test_a_misspelt_path_deletes_nothing_and_halts(bench: Bench, name: str, value: str) -> None:
    """The list call is only a control. Where it is refused, only `verify` tells; a list that is not there halts."""
    bench.source, count = re.subn(rf'(?m)^    {name} = "[^"]*"', f'    {name} = "{value}"', SOURCE)
    assert count == 1
    ids = [f"m{n}" for n in range(30)]
    bench.forum.members = set(ids)
    ran = bench.run("run", *ids)
    if name == "list_path":
        assert (ran.code, outcomes(ran)) == (0, {"done": 30}), ran
        where = ("--host", f"{bench.forum.url}/api/v1")
        verified = bulkdel(
            "verify", bench.folder / "members.csv", *where, "--json", env={**bench.env, "FORUM_KEY": TOKEN}
        )
        assert verified.code == 4, verified
    else:
        assert (ran.code, bench.forum.effects.total()) == (4, 0), ran


def test_without_look_ups_a_misspelt_path_halts_too(bench: Bench) -> None:
    bench.source = SOURCE.replace('"/members/{id}"', '"/member/{id}"', 1).replace("look_up_path", "unused")
    ids = [f"m{n}" for n in range(30)]
    bench.forum.members = set(ids)
    ran = bench.run("run", *ids)
    assert (ran.code, bench.forum.effects.total()) == (4, 0), ran
    assert "code 404" in ran.err


def test_a_web_page_is_no_success(bench: Bench) -> None:
    bench.forum.members, bench.forum.page = {f"m{n}" for n in range(3)}, True
    ran = bench.run("run", *sorted(bench.forum.members), options=("--patience", 2))
    assert ran.code == 4, ran
    assert "done" not in outcomes(ran)


def test_a_wrong_key_is_neither_used_twice_nor_shown(bench: Bench) -> None:
    ran = bench.run("run", "m1", key="wrong-key-canary-9876543210")
    assert ran.code == 4
    assert "check FORUM_KEY" in ran.err
    assert len(bench.forum.asked) == 1
    assert "canary" not in ran.out + ran.err
    plan = bench.run("plan", "m1", key=None)
    assert (plan.code, "not signed in" in plan.out) == (0, True)
    assert bench.run("plan", "m1", options=("--sandbox",)).code == 2


NO_POOL = """
    def target(self, options):
        from dataclasses import replace
        from bulkdel_jobs.parts.target import always
        found = super().target(options)
        auth = found.make_auth(None, None, patience_s=1.0, clock=None)
        return replace(found, make_auth=always(replace(auth, pool=None)))
"""


@mutant(
    "a sign-in that names no pool passes",
    "check_pool",
    swap("plan.pool is None and protects_pools(config)", "plan.pool is None and not protects_pools(config)"),
)
def test_a_sign_in_that_names_no_pool_is_compared_with_none(bench: Bench) -> None:
    """The config protects a pool, and nothing tells whether it is that of the key."""
    bench.source, bench.forum.members = SOURCE.rstrip() + "\n" + NO_POOL, {"m1", "kept"}
    config = bench.folder / "config.toml"
    config.write_text('[protect]\npools = ["another"]\n')
    for command in ("plan", "run"):
        ran = bench.run(command, "m1", options=("--config", config))
        assert (ran.code, bench.forum.effects.total()) == (3, 0), ran
        assert "names no pool" in ran.err
