"""Servers, and proxies before them, that read some ids in a URL as others: no account is lost, or taken for another."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, unquote_plus, urlsplit

import pytest

from tests.forum import TOKEN, Forum
from tests.harness import bulkdel
from tests.httppage import Example, block
from tests.mutants import mutant
from tests.restserver import Answer, Asked, served
from tests.syntax import swap

PLAIN = [f"m{n}" for n in range(20)]


def example(folder: Path, forum: Forum, name: str = "forum") -> Example:
    return Example(folder, block(name), forum.url, {"FORUM_TOKEN": TOKEN})


def absent_of(folder: Path) -> str:
    return bulkdel("results", folder / "ids.jsonl", "--only", "absent", env={}).out


@dataclass
class BehindAProxy(Forum):
    """A proxy answers 404 to a path that has `hides`, as it was sent, after so many deletions."""

    hides: str = "never"
    after: int = 0

    def answer(self, asked: Asked) -> Answer:
        if self.hides in asked.target and self.effects.total() >= self.after:
            return 404, {"message": "no such page"}
        return super().answer(asked)


@dataclass
class OutOfOrder(Forum):
    """From the first deletion until accounts are listed, look-ups find none."""

    mended: bool = False

    def answer(self, asked: Asked) -> Answer:
        broken = self.effects.total() > 0 and not self.mended
        match asked.method, asked.path:
            case "GET", ("api", "v1", "members"):
                self.mended = self.effects.total() > 0
            case "GET", ("api", "v1", "members", _) if broken:
                return 404, {"message": "no such member"}
        return super().answer(asked)


@mutant(
    "one look-up of an id is proof when a control after it finds an account",
    "_without_control",
    swap("looked.empty | looked.unread", "looked.unproven"),
)
@pytest.mark.parametrize("head", ["m", "M"], ids=["plain", "capital"])
def test_an_account_that_look_ups_do_not_find_for_some_time_is_not_called_absent(head: str, tmp_path: Path) -> None:
    """The API takes one id in a look-up. It finds accounts again before the control."""
    ids = [f"{head}{n}" for n in range(60)]
    with served(OutOfOrder(members={*ids, f"{head}kept"}, shown=300)) as forum:
        ran = example(tmp_path, forum).run("run", *ids, options=("--look-first", "--concurrency", 1))
        assert (ran.code, ran.summary["done"], ran.summary["absent"]) == (0, 60, 0), ran
        assert (forum.mended, forum.members) == (True, {f"{head}kept"})


ODD = {
    "a slash": ("%2F", "team/"),
    "a plus": ("%2B", "a+"),
    "not ASCII": ("%C3", "é"),
    "a dot": (".", "a."),
    "a colon": ("%3A", "team:"),
    "an at": ("%40", "a@"),
}


@mutant(
    "a character in a path is never misread",
    "OneByOneLookUps.marks",
    swap("marks_in_path(id_)", "marks_in_path(id_[:0])"),
    case="not ASCII",
)
@pytest.mark.parametrize("case", ODD)
def test_an_account_that_a_proxy_hides_is_not_called_absent(case: str, tmp_path: Path) -> None:
    """The look-up of some ids is answered 404 by the proxy alone. Every other id is as usual."""
    hides, head = ODD[case]
    hidden = [f"{head}{n}" for n in range(3)]
    ids = [*PLAIN[:10], *hidden, *PLAIN[10:]]
    with served(BehindAProxy(members={*ids, "kept"}, hides=hides)) as forum:
        it = example(tmp_path, forum)
        ran = it.run("run", *ids)
        assert (ran.code, ran.summary["done"], ran.summary["absent"], ran.summary["remaining"]) == (4, 20, 0, 3), ran
        assert "3 rows remain. Their ids have a capital letter, a dot, or a character other than" in ran.err, ran
        assert "Send them again without a look-up" not in ran.err, ran
        assert not [each for each in forum.asked if each.method == "DELETE" and hides in each.target]
        forum.hides = "never"
        ran = it.run("run", *ids)
        assert (ran.code, ran.summary["done"], ran.summary["remaining"], forum.members) == (0, 23, 0, {"kept"}), ran
        assert set(forum.effects.values()) == {1}
        verified = it.verify()  # no account is left that has the character
        assert (verified.code, verified.summary["gone"], verified.summary["could_not_tell"]) == (4, 20, 3), verified
        forum.members.add(f"{head}control")
        verified = it.verify()
        assert (verified.code, verified.summary["gone"]) == (0, 23), verified


@mutant(
    "no listed account shows that an id is read as it was sent",
    "MarkControl._look_up",
    swap("mark in self._marks(id_)", "mark in self._marks(id_[:0])"),
    case="a slash",
)
@pytest.mark.parametrize("case", ODD)
def test_a_listed_account_with_the_same_characters_proves_the_path(case: str, tmp_path: Path) -> None:
    """Accounts were gone before this run, and one with the same character is there to be found."""
    _, head = ODD[case]
    gone = [f"{head}gone{n}" for n in range(3)]
    with served(Forum(members={*PLAIN, f"{head}0", "0kept"}, shown=100)) as forum:
        ran = example(tmp_path, forum).run("run", *PLAIN, *gone)
        assert (ran.code, ran.summary["done"], ran.summary["absent"]) == (0, 20, 3), ran
        assert '"unproven"' not in absent_of(tmp_path)


@mutant(
    "where no account is left ids that may be misread remain",
    "MarkControl._look_up",
    swap("dict.fromkeys(marks, began)", "dict.fromkeys((), began)"),
)
def test_where_the_list_is_empty_no_account_can_be_misread(tmp_path: Path) -> None:
    """Every account is deleted before the last id, which never existed, and which alone has a slash."""
    with served(Forum(members={*PLAIN})) as forum:
        ran = example(tmp_path, forum).run("run", *PLAIN, "team/1", options=("--concurrency", 1))
        assert (ran.code, ran.summary["done"], ran.summary["absent"], forum.members) == (0, 20, 1, set()), ran


@mutant(
    "an empty list shows that no account can be misread although accounts are known to be there",
    "MarkControl._look_up",
    swap(
        "not listed and self._control.lists_some and not (self._control.known or self._control.needs_account)",
        "not listed",
    ),
)
def test_a_list_that_is_always_empty_proves_nothing(tmp_path: Path) -> None:
    """A proxy hides the accounts with a slash, and the list never has an account."""
    hidden = [f"team/{n}" for n in range(5)]
    with served(BehindAProxy(members={*PLAIN, *hidden}, hides="%2F", shown=0)) as forum:
        ran = example(tmp_path, forum).run("run", *PLAIN, *hidden)
        assert (ran.code, ran.summary["absent"], {*hidden} <= forum.members) == (4, 0, True), ran


@mutant(
    "what a log says of look-ups shows how a server reads ids now",
    "MarkControl.__init__",
    swap("self._read_at: dict[str, float] = {}", 'self._read_at: dict[str, float] = {".": float("-inf")}'),
)
def test_a_verification_does_not_believe_what_look_ups_have_read_before(tmp_path: Path) -> None:
    """All ids with a dot are gone, and those that stay have none. A proxy may have come in between meanwhile."""
    ids = [f"ann.{n}" for n in range(30)]
    with served(Forum(members={*ids, "keeper"}, shown=100)) as forum:
        it = example(tmp_path, forum)
        ran = it.run("run", *ids, "bob.1")
        assert (ran.code, ran.summary["done"], ran.summary["absent"]) == (0, 30, 1), ran
        verified = it.verify()
        assert (verified.code, verified.summary["gone"], verified.summary["could_not_tell"]) == (4, 0, 31), verified
        forum.members.add("zoe.1")
        verified = it.verify()
        assert (verified.code, verified.summary["gone"]) == (0, 31), verified


@mutant(
    "an id in a path is sent though no look-up shows how the path is read",
    "HttpJob.__init__",
    swap("IN_PATH if shows else NOT_LOOKED_UP_BY_PATH", "IN_PATH"),
    case="none",
)
@mutant(
    "a look-up with the id in the middle of its path shows how the end of a path is read",
    "HttpJob.__init__",
    swap("_is_last(looks_up) == _is_last(description.action.request.path)", "True"),
    case="within",
)
@pytest.mark.parametrize("looks_up", ["by query", "none", "within"])
def test_without_a_look_up_by_path_no_id_that_may_be_misread_is_sent(looks_up: str, tmp_path: Path) -> None:
    """The server would delete `john` for `john.doe`, which another look-up finds as it should."""
    head, name, look_up = block("forum" if looks_up == "within" else "pages").partition("[http.look_up]")
    table = head if looks_up == "none" else head + name + look_up.replace("/{id}", "/{id}/profile")
    with served(ReadsOtherwise(members={*PLAIN, "john.doe", "john"}, how="formats", shown=100)) as forum:
        it = Example(tmp_path, table, forum.url, {"FORUM_TOKEN": TOKEN})
        ran = it.run("run", *PLAIN, "john.doe")
        assert (ran.code, "look-up by path" in ran.err, forum.effects.total()) == (3, True, 0), ran


@mutant(
    "the word for the own account of the key is an id",
    "_NEVER",
    swap('f"{UNUSABLE.pattern}|{OTHER_WORDS}"', "UNUSABLE.pattern"),
)
def test_a_word_that_an_api_may_read_as_the_key_s_own_account_is_no_id(tmp_path: Path) -> None:
    with served(Forum(members={*PLAIN, "me", "All"}, shown=100)) as forum:
        for word in ("me", "All"):
            ran = example(tmp_path, forum).run("run", *PLAIN, word)
            assert (ran.code, "an API may read otherwise" in ran.err, forum.effects.total()) == (3, True, 0), ran


@mutant(
    "that a path was read once proves it for ever",
    "MarkControl._read",
    swap("self._read_at.pop(mark, None)", "self._read_at.setdefault(mark, since)"),
)
def test_a_proxy_that_begins_to_hide_accounts_in_the_middle_of_a_run(tmp_path: Path) -> None:
    ids = [f"team/{n:02d}" for n in range(40)]
    with served(BehindAProxy(members={*ids, *PLAIN}, hides="%2F", after=10, shown=100)) as forum:
        it = example(tmp_path, forum)
        ran = it.run("run", *ids, options=("--concurrency", 2))
        assert (ran.code, ran.summary["absent"], ran.summary["done"]) == (4, 0, forum.effects.total()), ran
        forum.hides = "never"
        ran = it.run("run", *ids)
        assert (ran.code, ran.summary["done"], forum.members) == (0, 40, {*PLAIN}), ran


@dataclass
class HidesInBetween(Forum):
    """The first look-up of an id with a slash is answered last: after the first deletion of one, a proxy hides them."""

    held: str = ""
    hidden: threading.Event = field(default_factory=threading.Event)

    def answered(self, asked: Asked) -> Answer:
        with self.turn:
            held = "%2F" in asked.target and len(self.effects) > 0 and not self.held
            self.held = asked.path[-1] if held else self.held
        if held:
            assert self.hidden.wait(20)
        return super().answered(asked)

    def answer(self, asked: Asked) -> Answer:
        if "%2F" in asked.target and self.hidden.is_set():
            return 404, {"message": "no such page"}
        answer = super().answer(asked)
        if "%2F" in asked.target and asked.method == "DELETE":
            self.hidden.set()
        return answer


@mutant(
    "a look-up that is on the way meanwhile shows how an id is read",
    "MarkControl.misread",
    swap("self._read(unread, answered, worker)", "self._read(unread, answered - 30, worker)"),
    case="with others",
)
@mutant(
    "an id that the list has is absent where no other one has its marks",
    "MarkControl._look_up",
    swap("controls[mark] or mark in listed_too", "controls[mark]"),
    case="alone",
)
@pytest.mark.parametrize("others", [{"team/kept"}, set()], ids=["with others", "alone"])
def test_a_look_up_that_is_answered_before_another_says_nothing_of_that(others: set[str], tmp_path: Path) -> None:
    ids = ["team/1", "team/2"]
    with served(HidesInBetween(members={*PLAIN, *ids, "kept", *others}, shown=100)) as forum:
        ran = example(tmp_path, forum).run("run", *PLAIN, *ids, options=("--concurrency", 2))
        assert (ran.code, ran.summary["absent"], ran.summary["done"]) == (4, 0, forum.effects.total()), ran
        assert forum.members == {forum.held, "kept", *others}


@dataclass
class ReadsOtherwise(Forum):
    """Reads a URL in another way than it was meant. how: `blanks`, `formats`, `twice`, `decoded` or `latin`; none when
    empty."""

    how: str = ""

    def answer(self, asked: Asked) -> Answer:
        url = urlsplit(asked.target)
        head, last = asked.path[:-1], asked.path[-1]
        path, query = asked.path, asked.query
        match self.how:
            case "blanks":
                path = (*head, last.replace("+", " "))
            case "formats":
                path = (*head, last.partition(".")[0])
            case "twice":
                path = tuple(map(unquote_plus, path))
                query = {name: [unquote_plus(each) for each in values] for name, values in query.items()}
            case "decoded":
                query = parse_qs(unquote(url.query).partition("#")[0])
            case "latin":
                path = tuple(unquote(part, encoding="latin-1") for part in url.path.split("/")[1:])
                query = parse_qs(url.query, encoding="latin-1")
        return super().answer(dataclasses.replace(asked, path=path, query=query))


@pytest.mark.parametrize(
    ("how", "meant", "other"),
    [("blanks", "ann+lee", "ann lee"), ("formats", "john.doe", "john"), ("twice", "a%2Bb", "a b")],
    ids=["ann+lee", "john.doe", "a%2Bb"],
)
def test_no_other_account_is_deleted_for_one_that_is_misread(how: str, meant: str, other: str, tmp_path: Path) -> None:
    """The server would do to `other`, which is to be kept, what the request says of `meant`.

    A sample that finds another account for an id refuses the run.
    """
    keep = tmp_path / "keep.txt"
    keep.write_text(f"{other}\n")
    with served(ReadsOtherwise(members={*PLAIN, meant, other}, how=how)) as forum:
        ran = example(tmp_path, forum).run("run", *PLAIN, meant, options=("--exclude", keep))
        assert (ran.code, {meant, other} <= forum.members) == (4, True), ran


BODY = """[http]
base = "/api/v1"
method = "POST"
path = "/members/drop"
body = { ids = "{ids}" }
chunk_size = 50
answers = []

[http.auth]
kind = "bearer"
token_env = "FORUM_TOKEN"

[http.statuses]
settled = [204]

[http.look_up]
path = "/members/{id}"
list = "/members"
list_at = "members"
"""


BY_QUERY = BODY.partition("[http.look_up]")[0] + block("pages")[block("pages").index("[http.look_up]") :]


@dataclass
class ByBody(ReadsOtherwise):
    """Removes several members, or refuses all because one is unknown."""

    def answer(self, asked: Asked) -> Answer:
        if asked.method == "POST":
            ids = asked.json["ids"]
            if not self.members.issuperset(ids):
                return 404, {"message": "an unknown member"}
            for id_ in ids:
                self.remove("members", id_)
            return 204, None
        return super().answer(asked)


@mutant(
    "a query is always read as it was sent",
    "OneByOneLookUps.marks",
    swap("marks_in_query(id_)", "marks_in_query(id_[:0])"),
    case="latin",
)
@pytest.mark.parametrize(
    ("how", "ids"),
    [("latin", ["josé", "müller"]), ("twice", ["ann+lee", "bob+lee"]), ("decoded", ["r&d", "r#1"])],
    ids=["latin", "twice", "ampersand"],
)
def test_an_account_that_a_look_up_by_query_misreads_is_not_called_absent(
    how: str, ids: list[str], tmp_path: Path
) -> None:
    with served(ByBody(members={*PLAIN, *ids, "kept"}, how=how, shown=100)) as forum:
        it = Example(tmp_path, BY_QUERY, forum.url, {"FORUM_TOKEN": TOKEN})
        ran = it.run("run", *PLAIN, *ids, options=("--look-first",))
        assert (ran.code, ran.summary["done"], ran.summary["absent"], ran.summary["remaining"]) == (4, 20, 0, 2), ran
        forum.how = ""
        ran = it.run("run", *PLAIN, *ids, options=("--look-first",))
        assert (ran.code, ran.summary["done"], forum.members) == (0, 22, {"kept"}), ran


def test_an_id_in_a_body_is_not_misread_by_the_request(tmp_path: Path) -> None:
    """That the API calls one of them unknown is the proof, although its look-up by path proves nothing."""
    absent = [f"ü{n}" for n in range(30)]
    with served(ByBody(members={*PLAIN, "kept"})) as forum:
        it = Example(tmp_path, BODY, forum.url, {"FORUM_TOKEN": TOKEN})
        ran = it.run("run", *PLAIN, *absent, options=("--allow-absent",))
        assert (ran.code, ran.summary["done"], ran.summary["absent"]) == (0, 20, 30), ran
        assert forum.effects.total() == 20
        assert len(forum.asked) < 20 * len(absent)
