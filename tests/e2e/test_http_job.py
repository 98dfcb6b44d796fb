"""The job `http` as the real command: the examples of docs/http-job.md, wrong paths, hostile ids, a changed table."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from email.utils import formatdate
from itertools import product
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from bulkdel_jobs.sandbox import SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, TOKEN_PATH
from bulkdel_jobs.sandbox.people import give_access
from tests import harness
from tests.examples import one_in
from tests.forum import TOKEN, Forum
from tests.harness import bulkdel
from tests.httppage import Example, block, misspelt
from tests.installed import outcomes
from tests.mutants import mutant
from tests.restserver import Answer, Api, Asked, served
from tests.syntax import negate, swap
from tests.vendors import SECRET, VENDORS, Keycloak

IDS = [f"{n:08d}-0000-4000-8000-000000000000" for n in range(24)]
HOSTILE = ["a/b", "a%2fb", "%2e%2ea", "a,b", 'a"b', "a b", "a?b", "a#b", "{id}", "{ids}", '"},{"id":"m1']
BARRED = ["../groups/1", "..", ".", "a//b", "", "a\nb"]

LOOK_UP = """
[http.look_up]
path = "/members/{id}"
list = "/members"
list_at = "members"
"""


@pytest.fixture
def forum() -> Iterator[Forum]:
    with served(Forum()) as api:
        yield api


@pytest.fixture
def example(forum: Forum, tmp_path: Path) -> Callable[[str], Example]:
    return lambda name: Example(tmp_path, block(name), forum.url, {"FORUM_TOKEN": TOKEN})


def test_the_first_example(forum: Forum, example: Callable[[str], Example]) -> None:
    forum.members = {*IDS[:20], "kept"}
    it = example("forum")
    plan = it.run("plan", *IDS)
    assert (plan.code, forum.count("DELETE")) == (0, 0), plan
    assert "20 of 24 looked up exist" in plan.out
    ran = it.run("run", *IDS)
    assert (ran.code, outcomes(ran)) == (0, {"done": 20, "absent": 4}), ran
    assert forum.effects == {("members", id_): 1 for id_ in IDS[:20]}
    verified = it.verify()
    assert (verified.code, verified.summary["gone"]) == (0, 24), verified
    assert TOKEN not in plan.out + plan.err + ran.out + ran.err + it.log.read_text()


def test_an_administrator_of_the_sandbox_is_kept(tmp_path: Path) -> None:
    """The first one by its id stays, and the second one goes."""
    with harness.sandbox([f"5a9db0c5a9db0c5a{n:08x}" for n in range(30)]) as served:
        give_access(served.pool)
        key = {"accessKeyId": SANDBOX_KEY_ID, "accessKeySecret": SANDBOX_KEY_SECRET}
        headers = {"content-type": "application/json"}
        with urlopen(Request(f"{served.url}{TOKEN_PATH}", json.dumps(key).encode(), headers)) as answer:
            token = json.load(answer)["data"]["access_token"]
        it = Example(tmp_path, block("sandbox"), served.url, {"SANDBOX_TOKEN": token})
        ids = [served.pool.user_ids()[n] for n in (0, 1, 20)]
        assert "protected  one administrator, the first by its id" in it.run("plan", *ids).out
        ran = it.run("run", *ids)
        assert (ran.code, outcomes(ran)) == (0, {"done": 2, "excluded": 1}), ran
        assert [served.pool.is_alive(n) for n in (0, 1, 20)] == [True, False, False]


@mutant(
    "the job http looks only at the first page",
    "ListLookUps.next_page",
    swap("request == self.administrator_list and found", "found"),
)
def test_look_ups_by_a_list_call_in_pages(forum: Forum, example: Callable[[str], Example]) -> None:
    """Every id on a page behind the first one is found: without them, `verify` would call them gone."""
    forum.members, forum.shown = {*IDS[:20], "kept"}, 7
    it = example("pages")
    plan = it.run("plan", *IDS)
    assert (plan.code, forum.count("DELETE")) == (0, 0), plan
    assert "20 of 24 looked up exist" in plan.out
    ran = it.run("run", *IDS, options=("--look-first",))
    assert (ran.code, outcomes(ran)) == (0, {"done": 20, "absent": 4}), ran
    assert forum.effects == {("members", id_): 1 for id_ in IDS[:20]}
    assert forum.count("DELETE") == 20, "nothing is sent to the ids that do not exist"
    forum.members |= {*IDS[:20]}
    verified = it.verify()
    assert (verified.code, verified.summary["still_there"]) == (1, 20), verified


@mutant(
    "unpack does not say which variable is missing",
    "_credentials",
    swap(
        'f"A secret that has to be here: the credentials for {host}: {target.key_hint}"',
        'f"A secret that has to be here: the credentials for {host}"',
    ),
)
def test_an_unpacked_run_says_which_variable_goes_to_which_host(
    forum: Forum, example: Callable[[str], Example]
) -> None:
    """The table of the archive names it: it could name any variable of this machine, whether it is set or not."""
    forum.members = {*IDS[:20], "kept"}
    it = example("forum")
    assert it.run("run", *IDS, options=("--limit", 5)).code == 0
    archive = it.folder / "run.tar.gz"
    assert bulkdel("pack", it.folder / "ids.jsonl", "--out", archive).code == 0
    unset = bulkdel("unpack", archive, "--to", it.folder / "one", env={})
    assert (unset.code, f"the credentials for {forum.url}: set FORUM_TOKEN\n" in unset.err) == (0, True), unset
    set_ = bulkdel("unpack", archive, "--to", it.folder / "two", env=it.env)
    told = f"The command sends these credentials to {forum.url}: FORUM_TOKEN\n"
    assert (set_.code, told in set_.err) == (0, True), set_
    assert f" --host {forum.url} " in f"{set_.err.splitlines()[-1]} "
    assert "host" not in (it.folder / "two" / "config.toml").read_text()


@pytest.mark.parametrize(
    ("right", "wrong", "code", "says"),
    [
        ('at = "next"', 'at = "nxt"', 0, "20 of 24 looked up exist"),  # what a full page lacks is looked up again
        ('cursor = "after"', 'cursor = "aftr"', 4, "the same page twice"),
        ('query = { id = "{id}" }', 'query = { ids = "{id}" }', 4, "another account"),
    ],
)
def test_a_list_call_with_a_mistake_makes_no_id_seem_absent(
    forum: Forum, example: Callable[[str], Example], *, right: str, wrong: str, code: int, says: str
) -> None:
    forum.members = {*IDS[:20], "kept"}
    it = example("pages")
    assert right in it.text
    it.text = it.text.replace(right, wrong)
    plan = it.run("plan", *IDS)
    assert plan.code == code, plan
    assert says in plan.out + plan.err


def test_an_answer_per_id_costs_no_request_for_the_others(forum: Forum, example: Callable[[str], Example]) -> None:
    ids = [f"m{n}" for n in range(200)]
    forum.members = {*ids[:-1], "kept"}
    forum.locked, forum.odd = {"m3"}, {"m7": "busy", "m150": None}
    ran = example("batch").run("run", *ids)
    assert forum.effects == {("members", id_): 1 for id_ in ids if id_ not in {"m3", "m199"}}
    assert (ran.code, outcomes(ran)) == (1, {"done": 198, "absent": 1, "refused": 1}), ran
    assert sorted(forum.sent, key=lambda each: (len(each), each)) == [["m150"], ["m7"], ids[:100], ids[100:]], (
        "the others are sent once"
    )


@pytest.mark.parametrize("careless", [False, True])
@pytest.mark.parametrize("name", ["forum", "batch"])
def test_a_hostile_id_stays_one_value(
    forum: Forum, example: Callable[[str], Example], name: str, careless: bool
) -> None:
    ids = [*IDS, *HOSTILE]
    forum.members = {*ids, "a", "b", "m1", "groups", "kept"}
    forum.careless = careless
    it = example(name)
    ran = it.run("run", *ids, options=("--allow-absent",))
    meant = {("members", id_): 1 for id_ in ids}
    if careless and name == "forum":
        del meant["members", "a/b"]
    assert forum.effects == meant, ran
    assert forum.members >= {"a", "b", "m1", "groups", "kept"}
    assert forum.groups == {"1"}


@mutant(
    "an id that is no segment of a path in the body of a job with look-ups by path",
    "HttpJob.__init__",
    swap("LOOKED_UP_BY_PATH if PLACEHOLDER in looks_up else IN_BODY", "IN_BODY"),
    case="batch-pattern2",
    crashes=True,
)
@pytest.mark.parametrize(("name", "pattern"), one_in(3, product(["forum", "batch"], [(), ("--id-pattern", "(?s).*")])))
def test_an_id_that_is_no_segment_is_refused_by_the_preflight(
    forum: Forum, example: Callable[[str], Example], name: str, pattern: tuple[str, ...]
) -> None:
    """Also where the request has the ids in its body, and only a look-up has one in its path."""
    it = example(name)
    it.text += LOOK_UP if name == "batch" else ""
    for id_ in BARRED:
        ran = it.run("run", "m1", id_, options=pattern)
        assert ran.code == 3, (id_, ran)
    assert not forum.asked


@mutant(
    "a protected address is compared as a whole",
    "_is_protected",
    swap("all(one == other for one, other in zip(pool, protected, strict=False))", "pool == protected"),
)
@pytest.mark.parametrize("below", ["/api/v1/members", "/%61pi//v1/", ""])
def test_a_protected_address_is_not_avoided_by_the_path(
    forum: Forum, example: Callable[[str], Example], below: str
) -> None:
    """The base is moved into the path of the request, so that the pool is the host alone."""
    forum.members = {*IDS}
    it = example("forum")
    it.text = it.text.replace('base = "/api/v1"\n', "").replace('"/members', '"/api/v1/members')
    it.text += f'[protect]\npools = ["{forum.url}{below}"]\n'
    ran = it.run("run", *IDS)
    assert (ran.code, forum.count("DELETE"), "the config protects it" in ran.err) == (3, 0, True), ran


@mutant(
    "another session keeps another administrator",
    "administrator_of",
    swap("sorted(set(told))", "list(dict.fromkeys(told))"),
)
@mutant(
    "the last administrator is deleted",
    "with_sample_check",
    swap("plan.protected.plus(own_ids)", "plan.protected.plus(owner)"),
)
def test_guards_and_the_administrator_that_is_kept(forum: Forum, example: Callable[[str], Example]) -> None:
    """Null is no visit; a record without the field halts. The first administrator by its id that exists stays."""
    visited: dict[str, Any] = {"state": "idle", "joined": "2020-01-01T00:00:00Z", "activity": {"last_visit": None}}
    active = {**visited, "activity": {"last_visit": "2025-06-01T00:00:00Z"}}
    forum.members = {*IDS[:20], "kept"}
    forum.facts = dict.fromkeys(forum.members, visited) | {IDS[1]: active, IDS[12]: {**visited, "state": "busy"}}
    forum.facts[IDS[13]] = {**visited, "joined": "2025-06-01T00:00:00Z"}
    forum.staff = [IDS[23], IDS[5], IDS[6]]
    it = example("guards")
    since, after, idle = (
        ("--spare", "active-since=2025-06-01"),
        ("--spare", "created-after=2025-01-01"),
        ("--only-status", "idle"),
    )
    plan = it.run("plan", *IDS, options=(*since, *after))
    assert plan.code == 0, plan
    assert "one administrator, the first by its id" in plan.out
    forum.facts[IDS[9]] = {"state": "idle", "joined": "2020-01-01T00:00:00Z", "activity": {}}
    ran = it.run("run", *IDS, options=since)
    assert (ran.code, forum.count("DELETE")) == (4, 0), ran
    assert "(activity.last_visit), and --spare active-since needs it" in ran.err
    forum.facts[IDS[9]] = visited
    first = it.run("run", *IDS, options=(*since, "--limit", 4))
    assert (first.code, sum(forum.effects.values())) == (0, 4), first
    # Now the list has another order. Its first one may be gone by this run, and shown by a list that lags.
    forum.staff = [IDS[6], IDS[5]]
    ran = it.run("run", *IDS, options=(*since, *after, *idle))
    assert ran.code == 0, ran
    assert ran.summary["spared"] == {"active since": 1, "administrator": 1, "created after": 1, "status": 1}
    assert forum.members == {"kept", *(IDS[n] for n in (1, 5, 12, 13))}
    assert forum.effects == {("members", id_): 1 for id_ in set(IDS[:20]) - forum.members}


@mutant(
    "an empty page of administrators ends their list",
    "OneByOneLookUps._listed",
    swap("has_next(response)", "not has_next(response)"),
)
@mutant(
    "a list of administrators without their ids is an empty one",
    "untold",
    swap("not missing", "missing < 2"),
)
def test_a_failing_list_of_administrators_halts_the_run(forum: Forum, example: Callable[[str], Example]) -> None:
    """So does one of which look-ups find none, or with an administrator whose id does not stand where it is read."""
    forum.members, it = set(IDS), example("guards")
    for staff in (None, ["root"], [{"member": {"id": id_}} for id_ in IDS], [IDS[3], {"name": "x"}], [{"id": ""}]):
        forum.staff = staff
        for command in ("plan", "run"):
            ran = it.run(command, *IDS)
            assert (ran.code, forum.count("DELETE")) == (4, 0), ran
            assert "the look-up of an administrator failed" in ran.err
    forum.staff, forum.more_staff = [], True
    for command in ("plan", "run"):
        ran = it.run(command, *IDS)
        assert (ran.code, forum.count("DELETE"), "an empty page, and one behind it" in ran.err) == (4, 0, True), ran
    forum.more_staff = False
    assert "the API lists no administrator, so none is kept" in it.run("plan", *IDS).out
    assert it.run("run", *IDS).code == 0, "the API says that there is none"
    assert not forum.members


def test_a_guard_whose_field_the_table_does_not_name_is_refused(
    forum: Forum, example: Callable[[str], Example]
) -> None:
    forum.members, it = set(IDS), example("forum")
    for guard, words in (
        (("--spare", "active-since=2025-06-01"), "time of the last sign-in"),
        (("--spare", "created-after=2025-06-01"), "time of creation"),
        (("--only-status", "idle"), "status"),
    ):
        ran = it.run("run", *IDS, options=guard)
        assert (ran.code, f": the look-ups of http return no {words}" in ran.err) == (2, True), ran
    assert not forum.asked


@mutant(
    "a resume with another path is not refused",
    "refuse_differences",
    swap('pinned.get("table", {})', 'pinned.get("tables", {})'),
)
def test_a_changed_path_does_not_resume(forum: Forum, example: Callable[[str], Example]) -> None:
    forum.members, it = set(IDS), example("forum")
    assert it.run("run", *IDS, options=("--limit", 5)).code == 0
    text = it.text
    it.text = text.replace('path = "/members/{id}"', 'path = "/groups/{id}"', 1)
    ran = it.run("run", *IDS)
    assert ran.code == 3
    assert "[http] path: the log has '/api/v1/members/{id}', this run '/api/v1/groups/{id}'" in ran.err
    assert it.verify().code == 3
    it.text = text
    assert it.run("run", *IDS).code == 0
    assert forum.effects == {("members", id_): 1 for id_ in IDS}


@mutant(
    "a state where no record has one is not told",
    "OneByOneLookUps.lacks_state",
    swap(
        "self.state is not None and value_at(record, self.state) is None", "self.state is not None and record is None"
    ),
)
def test_a_path_at_which_no_record_has_a_state_is_told_by_the_plan(
    forum: Forum, example: Callable[[str], Example]
) -> None:
    forum.members, it = set(IDS), example("forum")
    forum.facts = {id_: {"profile": {"state": "on"}} for id_ in IDS}
    for path, told in (("profile.state", False), ("state", True)):
        it.text = f'{block("forum")}state = "{path}"\nreached = ["off"]\n'
        plan = it.run("plan", *IDS)
        assert (plan.code, "no sampled record has a state where the job reads it" in " ".join(plan.out.split())) == (
            0,
            told,
        ), plan


@mutant("a value of another type is the same value", "_json_of", swap("value", "value == 1"))
def test_a_body_with_another_type_of_value_does_not_resume(forum: Forum, example: Callable[[str], Example]) -> None:
    """For Python `true` and 1 are one value."""
    forum.members, it = set(IDS), example("batch")
    text = it.text
    it.text = text.replace("body = {", "body = { hard = true,", 1)
    assert it.run("run", *IDS, options=("--limit", 5)).code == 0
    it.text = text.replace("body = {", "body = { hard = 1,", 1)
    ran = it.run("run", *IDS)
    assert (ran.code, "[http] body" in ran.err, len(forum.members)) == (3, True, len(IDS) - 5), ran


@mutant(
    "the digest of a plan ignores what a response means",
    "FACTS",
    swap("lambda plan: dict(plan.arguments.job.verdicts)", "lambda plan: dict(plan.arguments.job.verdicts) and {}"),
)
def test_what_a_response_means_is_confirmed_anew(forum: Forum, example: Callable[[str], Example]) -> None:
    """A plan has it, and so has its digest, by which a batch begins its runs."""
    forum.members, it = set(IDS), example("batch")
    other = it.text.replace("settled = [204]\nabsent = [404]", "settled = [404]\nabsent = [204]")
    assert other != it.text
    texts = [other, it.text.replace("settled = [200]", "settled = [200, 202]"), it.text]
    digests = set[str]()
    for it.text in texts:
        digests.add(it.run("plan", *IDS, options=("--json",)).summary["digest"])
    assert len(digests) == len(texts)
    approved = it.folder / "approved.json"
    assert it.run("plan", *IDS, options=("--out", approved)).code == 0
    it.text = other
    words = it.words("plan", *IDS)[3:]  # config and host
    ran = bulkdel("run", "--plan", approved, *words, "--json", env=it.env)
    assert ran.code == 2, ran
    assert "table [http] answers 1 settled 1: the plan has 204, now 404" in ran.err
    it.text = texts[-1]
    assert it.run("run", *IDS, options=("--limit", 5, "--chunk-size", 5)).code == 0
    it.text = other
    words = it.words("plan", *IDS)[1:]
    ran = bulkdel("run", *words, "--json", "--limit", 5, env=it.env)
    assert ran.code == 2, ran
    assert "says something else of the responses than in the last session: [http] answers" in ran.err
    assert sum(forum.effects.values()) == 5, "nothing was sent by any of these"


class Wrapped(Api):
    """One record comes as `{"user": {…}}`, and a list of them as `{"users": [{…}]}`."""

    def __init__(self, members: Iterable[str]) -> None:
        super().__init__()
        self.members = set(members)

    def answer(self, asked: Asked) -> Answer:
        match asked.method, asked.path:
            case "GET", ("users",):
                return 200, {"users": [{"id": one} for one in sorted(self.members)[:10]]}
            case "GET", ("users", id_) if id_ in self.members:
                return 200, {"user": {"id": id_}}
            case "DELETE", ("users", id_) if id_ in self.members:
                self.members.remove(id_)
                self.effects["users", id_] += 1
                return 204, None
        return 404, None


WRAPPED = """
[http]
host = "https://api.example.com"
method = "DELETE"
path = "/users/{id}"
statuses = { settled = [204] }
[http.look_up]
path = "/users/{id}"
id = "user.id"
list = "/users"
list_at = "users"
"""


@mutant(
    "the plan does not read the control",
    "_sampled",
    negate("sample and not await lookup.control.list_and_prove(WorkerStatus())"),
)
def test_a_control_that_cannot_be_read_is_refused_by_the_plan(tmp_path: Path) -> None:
    """What it would hide: that look-ups prove nothing, which only `verify` would notice, when every account is gone."""
    ids = [f"u{n}" for n in range(6)]
    with served(Wrapped([*ids, "kept"])) as api:
        it = Example(tmp_path, WRAPPED, api.url, {})
        for command in ("plan", "run"):
            ran = it.run(command, *ids)
            assert (ran.code, api.effects.total()) == (4, 0), ran
            assert "the list call returned a record without an id at 'user.id'" in ran.err
        right = WRAPPED + 'list_id = "id"\n'
        it.text = right.replace('list = "/users"', 'list = "/persons"')  # there is nothing
        assert it.run("run", *ids).code == 0
        assert api.effects == {("users", id_): 1 for id_ in ids}
        assert (it.verify().code, it.verify().summary["gone"]) == (4, 0), "nothing proves it"
        (tmp_path / "config.toml").write_text(right)
        verified = it.verify()
        assert (verified.code, verified.summary["gone"]) == (0, 6), "what only looks may be corrected"


class Doubles(Api):
    """Reads every number of a body as a double, as JavaScript does."""

    def answer(self, asked: Asked) -> Answer:
        self.effects["members", str(int(json.loads(asked.body, parse_int=float)["id"]))] += 1
        return 200, {}


DOUBLES = """
[http]
method = "POST"
path = "/members/remove"
body = { id = "{id}" }
statuses = { settled = [200] }
"""


@mutant(
    "a number that a server may round to the id of its neighbour is sent",
    "NUMBER_MAX",
    swap("2**53", "10**18"),
)
@pytest.mark.parametrize(
    "id_", one_in(2, ["9007199254740993", "-9007199254740993", "9007199254740992", "100000000000000001"])
)
def test_a_number_that_a_server_may_round_is_refused_by_the_preflight(tmp_path: Path, id_: str) -> None:
    """The server would delete the account beside it."""
    with served(Doubles()) as api:
        it = Example(tmp_path, DOUBLES, api.url, {})
        ran = it.run("run", "9007199254740991", id_, options=("--id-type", "body_number"))
        assert (ran.code, dict(api.effects)) == (3, {}), ran
        assert "line 2" in ran.err
        assert "a whole number from -9007199254740991 to 9007199254740991" in ran.err
        ran = it.run("run", "9007199254740991", "-9007199254740991", options=("--id-type", "body_number"))
        assert ran.code == 0, ran
        assert api.effects == {("members", "9007199254740991"): 1, ("members", "-9007199254740991"): 1}


class Stubborn(Api):
    """Deletes the ids of a request in order, and stops at the first one that it does not know.

    sparing: it deletes those that it knows, all but this one, and refuses the request all the same.
    """

    def __init__(self, members: Iterable[str], sparing: str | None = None) -> None:
        super().__init__()
        self.members, self.sparing = set(members), sparing

    def answer(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            (_, *id_) = asked.path
            if not id_:
                return 200, [{"id": one} for one in sorted(self.members)[:10]]
            return (200, {"id": id_[0]}) if id_[0] in self.members else (404, None)
        unknown = False
        for one in asked.json["ids"]:
            unknown |= one not in self.members
            if unknown and self.sparing is None:
                break
            if one in self.members and (one != self.sparing or len(asked.json["ids"]) == 1):
                self.members.remove(one)
                self.effects["users", one] += 1
        return (404, {"message": "an id is unknown"}) if unknown else (200, None)


STUBBORN = """
[http]
host = "https://api.example.com"
method = "POST"
path = "/users"
body = { ids = "{ids}" }
chunk_size = 14
answers = []
statuses = { settled = [200] }
[http.look_up]
path = "/users/{id}"
list = "/users"
"""


def test_what_a_refused_request_may_have_deleted_is_not_called_absent_before(tmp_path: Path) -> None:
    """Of 14 ids the tenth is unknown: nine are gone by this run, four are still there."""
    ids = [f"u{n:02}" for n in range(14)]
    with served(Stubborn({*ids, "kept"} - {"u09"})) as api:
        it = Example(tmp_path, STUBBORN, api.url, {})
        ran = it.run("run", *ids)
        assert api.effects == {("users", id_): 1 for id_ in ids if id_ != "u09"}, ran
        rows = [json.loads(line) for line in bulkdel("results", it.log).out.splitlines()]
        assert [(row["outcome"], row.get("reason")) for row in rows] == [
            *[("absent", "unproven")] * 10,
            *[("done", None)] * 4,
        ]


@mutant(
    "an id that a refused request has deleted was absent before when another is still there",
    "IdRules.looked_up",
    swap(
        "self._gone(state, sub_chunk, Records.of(gone))",
        "self._gone(state, sub_chunk._replace(shared=sub_chunk.shared and not there), Records.of(gone))",
    ),
)
def test_what_a_refused_request_has_deleted_but_one_is_not_called_absent_before(tmp_path: Path) -> None:
    """Of 14 ids three are unknown: ten are gone by this run, and one is still there."""
    ids = [f"u{n:02}" for n in range(14)]
    there = {*ids} - {"u03", "u07", "u11"}
    with served(Stubborn({*there, "kept"}, sparing="u05")) as api:
        it = Example(tmp_path, STUBBORN, api.url, {})
        ran = it.run("run", *ids)
        assert api.effects == {("users", id_): 1 for id_ in there}, ran
        assert (ran.code, outcomes(ran)) == (0, {"absent": 13, "done": 1}), ran
        rows = [json.loads(line) for line in bulkdel("results", it.log).out.splitlines()]
        assert {(row["id"], row["outcome"], row.get("reason")) for row in rows} == {
            *((id_, "absent", "unproven") for id_ in ids if id_ != "u05"),
            ("u05", "done", None),
        }


class Locked(Stubborn):
    """As `Stubborn`, but one member is locked: a request with it is refused when those before it are deleted.

    unknown: the status for an id that does not exist, or is gone.
    """

    def __init__(self, members: Iterable[str], unknown: int) -> None:
        super().__init__(members)
        self.unknown = unknown

    def answer(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            return super().answer(asked)
        for one in asked.json["ids"]:
            if one == "locked":
                return 423, {"message": "it is locked"}
            if one not in self.members:
                return self.unknown, {"message": "no such user"}
            self.members.remove(one)
            self.effects["users", one] += 1
        return 200, None


@mutant(
    "an id that its own run has deleted is refused for good",
    "IdRules.id_refused",
    swap("sub_chunk.may_have_had_effect", "sub_chunk.maybe_applied"),
    case="True-400",
)
@pytest.mark.parametrize("unknown", [404, 400])
@pytest.mark.parametrize("look_up", [True, False])
def test_what_a_request_has_deleted_that_is_refused_for_another_reason(
    tmp_path: Path, *, unknown: int, look_up: bool
) -> None:
    """The server deletes u00, and refuses the request because of the id that is locked: no outcome says otherwise."""
    ids = ["u01", "u02", "u00", "locked", *(f"v{n:02}" for n in range(8))]
    text = STUBBORN.replace("chunk_size = 14", "chunk_size = 2")
    with served(Locked({*ids, "kept"}, unknown)) as api:
        it = Example(tmp_path, text if look_up else text.partition("[http.look_up]")[0], api.url, {})
        ran = it.run("run", *ids)
        assert api.effects == {("users", id_): 1 for id_ in ids if id_ != "locked"}, ran
        rows = bulkdel("results", it.log).out.splitlines()
        told = {row["id"]: (row["outcome"], row.get("reason")) for row in map(json.loads, rows)}
        assert told.pop("u00") == ("absent" if look_up or unknown == 404 else "refused", "unproven")
        assert told.pop("locked") == ("refused", None if look_up else "unproven")
        assert set(told.values()) == {("done", None)}


class Renamed(Locked):
    """Before u00 is sent alone, the server asks to wait. Meanwhile another person takes that name."""

    def __init__(self, members: Iterable[str]) -> None:
        super().__init__(members, 404)
        self.born = dict.fromkeys(members, "2020-01-01T00:00:01Z")

    def answer(self, asked: Asked) -> Answer:
        dated = {"date": formatdate(time.time(), usegmt=True)}
        if asked.method == "POST" and asked.json["ids"] == ["u00"] and self.born["u00"] < "2021":
            self.members.add("u00")
            self.born["u00"] = datetime.now(UTC).isoformat()
            return 429, None, {**dated, "retry-after": "4"}
        status, body, *_ = super().answer(asked) or (500, None)
        for record in body if isinstance(body, list) else [body] if status == 200 and body else []:
            record["born"] = self.born[record["id"]]
        return status, body, dated


@mutant(
    "a name that a refused request has freed is sent again for ever",
    "ChunkInHand._id_may_be_reused",
    swap("self.state.due.may_have_had_effect", "self.state.due.maybe_applied"),
)
def test_a_name_that_a_refused_request_has_freed_is_not_sent_again_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of five minutes is set to two seconds."""
    limit = "import sys, bulkdel.engine.chunk_steps as e; e.RETRY_MAX_S = 2.0"
    monkeypatch.setattr(
        harness, "COMMAND", [sys.executable, "-c", f"{limit}; from bulkdel.cli.main import main; sys.exit(main())"]
    )
    ids = ["u00", "locked", *(f"v{n:02}" for n in range(8))]
    text = STUBBORN.replace("chunk_size = 14", "chunk_size = 2") + 'created_at = "born"\n'
    with served(Renamed({*ids, "kept"})) as api:
        it = Example(tmp_path, text, api.url, {})
        ran = it.run("run", *ids, options=("--concurrency", 1, "--id-type", "body_name"))
        assert api.effects == {("users", id_): 1 for id_ in ids if id_ != "locked"}, ran
        assert (ran.code, api.members) == (1, {"u00", "locked", "kept"}), ran
        assert (outcomes(ran)["done"], outcomes(ran)["refused"]) == (8, 1), ran


class Raced(Forum):
    """Another client deletes this member just before the request for it arrives."""

    stolen = IDS[3]

    def answer(self, asked: Asked) -> Answer:
        if asked.method == "DELETE" and asked.path[-1] == self.stolen:
            self.members.discard(self.stolen)
        return super().answer(asked)


def test_what_another_client_has_deleted_since_the_look_up_is_absent(tmp_path: Path) -> None:
    with served(Raced(members={*IDS, "kept"})) as api:
        it = Example(tmp_path, block("forum"), api.url, {"FORUM_TOKEN": TOKEN})
        ran = it.run("run", *IDS, options=("--look-first",))
        assert (ran.code, outcomes(ran)) == (0, {"done": 23, "absent": 1}), ran
        assert api.effects == {("members", id_): 1 for id_ in IDS if id_ != Raced.stolen}


class Short(Api):
    """Shows at most so many of the members that a look-up asks for, and cannot delete `fails`."""

    def __init__(self, members: Iterable[str], shows: int, fails: str = "") -> None:
        super().__init__()
        self.members, self.shows, self.fails = set(members), shows, fails

    def answer(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            ids = asked.query.get("id", sorted(self.members))
            return 200, [{"id": one} for one in ids if one in self.members][: self.shows]
        if self.fails in asked.json["ids"]:
            return 503, None
        for one in self.members & {*asked.json["ids"]}:
            self.members.remove(one)
            self.effects["users", one] += 1
        return 200, None


@mutant(
    "a response of few accounts counts as complete",
    "AccountLookup.shows_few",
    swap("more is None or bool(more.accounts)", "more is None"),
    case="True-5-8",
)
@pytest.mark.parametrize(("shows", "count"), [(5, 8), (9, 16), (1, 2)])
@pytest.mark.parametrize("look_first", [True, False])
def test_look_ups_that_show_few_accounts_make_none_seem_gone(
    tmp_path: Path, *, shows: int, count: int, look_first: bool
) -> None:
    ids = [f"m{n:03}" for n in range(count)]
    look_up = '[http.look_up]\npath = "/users"\nquery = { id = "{id}" }\nchunk_size = 50\nlist = "/users"\n'
    text = STUBBORN.partition("[http.look_up]")[0].replace("chunk_size = 14", "chunk_size = 50") + look_up
    with served(Short({*ids, "kept"}, shows, "" if look_first else ids[0])) as api:
        it = Example(tmp_path, text, api.url, {})
        ran = it.run("run", *ids, options=("--look-first",) if look_first else ())
        assert (ran.code, api.effects.total(), "it may show too few accounts" in ran.err) == (4, 0, True), ran
        it.text = text.replace("chunk_size = 50\nlist", f"chunk_size = {shows}\nlist")
        ran = it.run("run", *ids, options=("--look-first",) if look_first else ())
        assert outcomes(ran).get("absent", 0) == 0, ran
        assert outcomes(ran).get("done", 0) == api.effects.total() == (count if look_first else 0), ran


@mutant(
    "a plan does not say that the status alone decides",
    "HttpJob.plan_lines",
    negate("description.action.answers"),
)
def test_the_plan_says_that_the_status_alone_decides(forum: Forum, example: Callable[[str], Example]) -> None:
    """Where the table says something of the answers of single ids, or of their codes, it does not."""
    said = "the HTTP status alone decides: 204 counts as deleted, whatever the body says"
    forum.members = {*IDS}
    assert said in " ".join(example("forum").run("plan", *IDS).out.split())
    assert "the HTTP status alone" not in example("batch").run("plan", *IDS).out
    assert forum.effects.total() == 0


@mutant(
    "an id in a header is accepted",
    "read_headers",
    swap(
        "if PLACEHOLDER in name or PLACEHOLDER in value:\n"
        '    raise table.fault(f"headers.{name}", "an id stands in the path or in the body")',
        "if PLACEHOLDER in name or value == name:\n"
        '    raise table.fault(f"headers.{name}", "an id stands in the path or in the body")',
    ),
)
def test_a_wrong_table_is_refused_before_anything_is_opened(forum: Forum, example: Callable[[str], Example]) -> None:
    it = example("forum")
    for right, wrong, key in [
        ('path = "/members/{id}"', 'path = "/members"', "[http] path"),
        ('method = "DELETE"', 'methud = "DELETE"', "[http] method"),
        ("[204]", '"204"', "[http.statuses] settled"),
        (
            "[http.statuses]",
            '[http.headers]\nx-user = "{id}"\n[http.statuses]',
            "[http] headers.x-user: an id stands in the",
        ),
        ('token_env = "FORUM_TOKEN"', 'token = "swordfish"', "[http.auth] token"),
    ]:
        it.text = block("forum").replace(right, wrong, 1)
        it.folder.joinpath("ids.jsonl").unlink(missing_ok=True)
        ran = it.run("run", "m1", options=("--exclude", it.folder / "not-there.csv"))
        assert ran.code == 2, ran
        assert key in ran.err
        assert "swordfish" not in ran.err + ran.out
    ran = it.run("run", "m1", options=("--sandbox",))
    assert ran.code == 2
    assert not forum.asked


@pytest.mark.parametrize("name", one_in(6, VENDORS))
def test_the_example_of_a_vendor(name: str, tmp_path: Path) -> None:
    made, variable = VENDORS[name]
    with served(made()) as vendor:
        vendor.fill([*IDS[:-2], "kept"])
        if name == "okta-delete":
            for id_ in IDS[:-2]:
                vendor.users[id_]["status"] = "DEPROVISIONED"
        if name == "okta-deactivate":
            vendor.users[IDS[0]]["status"] = "DEPROVISIONED"
        it = Example(tmp_path, block(name), vendor.url, {variable: SECRET})
        ran = it.run("run", *IDS, options=("--look-first",))
        assert ran.code == 0, ran
        kind = "deactivated" if name == "okta-deactivate" else "deleted"
        skipped = 1 if name == "okta-deactivate" else 0
        assert vendor.effects == {(kind, id_): 1 for id_ in IDS[skipped:-2]}
        assert outcomes(ran) == {"done": 22 - skipped, **({"already": 1} if skipped else {}), "absent": 2}, ran
        assert it.verify().code == 0
        assert SECRET not in ran.out + ran.err + it.log.read_text()


@pytest.mark.parametrize(("name", "look_up"), one_in(3, product(VENDORS, ["with", "without"])))
def test_the_example_of_a_vendor_with_a_misspelt_path(name: str, look_up: str, tmp_path: Path) -> None:
    made, variable = VENDORS[name]
    with served(made()) as vendor:
        vendor.fill([*IDS, "kept"])
        it = Example(tmp_path, misspelt(block(name)), vendor.url, {variable: SECRET})
        if look_up == "without":
            it.text = it.text.partition("[http.look_up]")[0].replace("look_first = true", "")
        ran = it.run("run", *IDS)
        assert (ran.code, vendor.effects.total()) == (4, 0), ran
        assert "done" not in outcomes(ran)
        assert "code 404" in ran.err, ran


@mutant(
    "a run with outcomes may be begun anew",
    "_anew",
    negate("log.outcomes"),
)
@mutant(
    "a halt after refusals does not name the request",
    "RunPlan.to_check",
    swap(
        "f\"Check the request first{f': {self.arguments.job.request}' if self.arguments.job.request else ''}\"",
        "f\"Check the request first{f': {self.arguments.job.name}' if self.arguments.job.request else ''}\"",
    ),
)
def test_a_misspelt_path_is_named_and_the_run_begins_anew_with_the_right_one(
    forum: Forum, example: Callable[[str], Example]
) -> None:
    """Look-ups find every id, so the halt names the request. With the corrected table the printed command runs."""
    forum.members = {*IDS, "kept"}
    it = example("forum")
    right, it.text = it.text, misspelt(it.text)
    halted = it.run("run", *IDS)
    assert (halted.code, forum.effects.total()) == (4, 0), halted
    assert (
        "Look-ups have found 24 of 24 sampled ids. Check the request first: DELETE /api/v1/member/{id} (" in halted.err
    )
    assert "base and path of [http] in the config file)" in halted.err
    it.text = right
    refused = it.run("run", *IDS)
    assert (refused.code, forum.effects.total()) == (3, 0), refused
    assert "are in doubt there" in refused.err
    assert "Only where its request was wrong, it may be begun anew" in refused.err
    command = refused.err.split("may be begun anew, in a place of its own:\n")[1].strip().splitlines()[0]
    ran = bulkdel(*shlex.split(command)[1:], env=it.env)
    assert (ran.code, outcomes(ran)) == (0, {"done": 24}), ran
    assert forum.effects == {("members", id_): 1 for id_ in IDS}


def test_a_token_that_ends_is_fetched_again(tmp_path: Path) -> None:
    with served(Keycloak(uses_max=10)) as vendor:
        vendor.fill(IDS)
        it = Example(tmp_path, block("keycloak"), vendor.url, {"KEYCLOAK_SECRET": SECRET})
        # Fewer in flight than a token has uses: otherwise the first answer to a fresh token may be a 401.
        ran = it.run("run", *IDS, options=("--concurrency", 4))
        assert ran.code == 0, ran
        assert vendor.effects == {("deleted", id_): 1 for id_ in IDS}
        assert vendor.tokens >= 4


def test_a_client_that_is_refused_halts(tmp_path: Path) -> None:
    with served(Keycloak()) as vendor:
        it = Example(tmp_path, block("keycloak"), vendor.url, {"KEYCLOAK_SECRET": "another"})
        ran = it.run("run", *IDS)
        assert ran.code == 4
        assert "Invalid client" in ran.err
        assert "KEYCLOAK_SECRET" in ran.err
        assert vendor.count("POST") == len(vendor.asked) == 1


@pytest.mark.parametrize("name", ["forum", "batch", "pages"])
def test_the_fault_catalogue_finds_nothing_wrong_with_an_example(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.toml").write_text(block(name))
    ran = bulkdel("job", "check", "http", "--config", tmp_path / "config.toml", env={"FORUM_TOKEN": TOKEN})
    assert ran.code == 0, ran
    without = bulkdel("job", "check", "http", "--config", tmp_path / "config.toml", env={})
    assert without.code == 0, without
    assert "no credentials: set FORUM_TOKEN" in without.out
