"""`bulkdel job check`: a right job passes every check, and exactly one check finds each wrong one."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote
from uuid import uuid4
from xml.sax.saxutils import escape

import pytest

from bulkdel.core.decision import Decision, IdAnswer, NextStep, Request, Response, Verdict
from bulkdel.core.id_type import IdType
from bulkdel.core.outcome import OutcomeWords
from bulkdel.core.record import Records
from bulkdel.errors import Halted, UsageError
from bulkdel.http.transport import is_loopback
from bulkdel.job import GROUP, NEVER, Account, HasStates, NoLookUps
from bulkdel_jobs.commands import CheckOptions
from bulkdel_jobs.genauth.id_types import ID_TYPES
from bulkdel_jobs.kit import check_sign_in, lab
from bulkdel_jobs.kit.check import NAMES, run_check
from bulkdel_jobs.kit.faults import RESPONSES
from tests import checked_jobs
from tests.checked_jobs import Delete, LookAlike, Right, ThingLookUps, Token, look_alike, read_member
from tests.mutants import mutant
from tests.syntax import swap
from tests.waits import WAIT_MAX_S

SETTLED = Decision(NextStep.SETTLED, data=[{"id": "anything"}])


def met(fault: str, response: Response) -> bool:
    """Whether a response is the one that this fault gives."""
    status, body, after = response.status, response.body, response.retry_after
    by_body: dict[str, bool] = {
        "429": status == 429 and after is None,
        "429-seconds": status == 429 and after is not None and after.isdecimal(),
        "429-date": status == 429 and after is not None and not after.isdecimal(),
        "empty-200": status == 200 and not body,
        "page-200": status == 200 and b"<h1>" in body,
        "cut-body": status == 200 and body.startswith((b'{"results"', b'{"things"')) and not body.endswith(b"}"),
        "other-json": b"unexpected" in body,
        "null": body == b"null",
        "number": body == b"42",
    }
    return by_body.get(fault, fault.partition("-")[0] == str(status))


READS = ("read", "read_control", "read_owner", "read_state", "read_state_control")


def misreads(right: type, fault: str, decision: Decision = SETTLED) -> type:
    """The class, but it decides wrongly on this fault, and on no other response."""

    def reading(name: str) -> Callable[..., Decision]:
        def read(self: Any, response: Response, **more: Any) -> Decision:
            found: Decision = decision if met(fault, response) else getattr(super(wrong, self), name)(response, **more)
            return found

        return read

    names = [name for name in READS if name in vars(right)]
    wrong = type("Misreading", (right,), {name: reading(name) for name in names})
    return wrong


# --- the wrong jobs ---------------------------------------------------------------------------------------------------


class FailsToLoad(Right):
    def __init__(self) -> None:
        raise LookupError


class OldEdition(Right):
    contract = 1


class NoChunk(Right):
    chunk_max = 0


class Nonce(Delete):
    def calls(self, records: Records) -> list[Request]:
        return [super().calls(records)[0]._replace(headers=(("x-nonce", str(uuid4())),))]


class Forgets(Delete):
    """The second id of two."""

    def calls(self, records: Records) -> list[Request]:
        return super().calls(records if len(records) > 2 else records[:1])


class Repeats(Delete):
    def calls(self, records: Records) -> list[Request]:
        body = {"ids": records.ids, "count": len(records), "last": records.ids[-1]}
        return [Request("POST", "/things/delete", body=json.dumps(body).encode())]


class Remembers(Delete):
    def __init__(self) -> None:
        self.ids: tuple[str, ...] = ()

    def calls(self, records: Records) -> list[Request]:
        self.ids = self.ids if set(records.ids) <= set(self.ids) else records.ids
        return [Request("POST", "/things/delete", body=json.dumps({"ids": self.ids}).encode())]


class PastesText(Delete):
    def calls(self, records: Records) -> list[Request]:
        ids = ", ".join(f'"{id_}"' for id_ in records.ids)
        return [Request("POST", "/things/delete", body=f'{{"ids": [{ids}]}}'.encode())]


class Joins(Delete):
    def calls(self, records: Records) -> list[Request]:
        return [Request("POST", "/things/delete", body=json.dumps({"ids": ",".join(records.ids)}).encode())]


class DropsStrangers(Delete):
    """Reads only those ids of an answer that it has asked for."""

    def calls(self, records: Records) -> list[Request]:
        self.asked = records.ids
        return super().calls(records)

    def read(self, response: Response) -> Decision:
        decision = super().read(response)
        if decision.next_step is not NextStep.PER_ID:
            return decision
        return decision._replace(data=[answer for answer in decision.data if answer.id in self.asked])


class MergesDoubles(Delete):
    def read(self, response: Response) -> Decision:
        decision = super().read(response)
        if decision.next_step is not NextStep.PER_ID:
            return decision
        return decision._replace(data=list({answer.id: answer for answer in decision.data}.values()))


class TakesMissingForDone(DropsStrangers):
    def read(self, response: Response) -> Decision:
        decision = Delete.read(self, response)
        named = {answer.id for answer in decision.data or ()}
        if decision.next_step is not NextStep.PER_ID or not named < set(self.asked) or len(named) < len(decision.data):
            return decision
        missing = [IdAnswer(id_, Verdict.SETTLED) for id_ in self.asked if id_ not in named]
        return decision._replace(data=[*decision.data, *missing])


class NeverDone(Delete):
    def read(self, response: Response) -> Decision:
        decision = super().read(response)
        return checked_jobs.LOST if decision.next_step is NextStep.PER_ID else decision


class Rehearses(Delete):
    def calls(self, records: Records) -> list[Request]:
        body = {"ids": records.ids, "rehearsal": True}
        return [Request("POST", "/things/delete", body=json.dumps(body).encode())]


class AsksTwice(ThingLookUps):
    def calls(self, ids: Sequence[str]) -> list[tuple[Sequence[str], Request]]:
        return [*super().calls(ids), *super().calls(ids[:1])]


class PastesPath(ThingLookUps):
    def calls(self, ids: Sequence[str]) -> list[tuple[Sequence[str], Request]]:
        return [([id_], Request("GET", f"/things/{id_}")) for id_ in ids]


class FindsFirst(ThingLookUps):
    def match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        accounts, strays = super().match(ids, found)
        return ({ids[0]: accounts[ids[0]]} if len(accounts) == 2 else accounts), strays


class MatchesByPlace(ThingLookUps):
    def match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        return {id_: Account(raw=thing) for id_, thing in zip(ids, found, strict=False)}, 0


class ListsNames(ThingLookUps):
    def read_control(self, response: Response) -> Decision:
        decision = super().read(response)
        if decision.next_step is not NextStep.SETTLED:
            return decision
        return decision._replace(data=[thing["name"] for thing in decision.data])

    read_owner = ThingLookUps.read


class SaysReached(ThingLookUps):
    def match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        accounts, strays = super().match(ids, found)
        return {id_: Account(raw=account.raw, reached=True) for id_, account in accounts.items()}, strays


class AsksForStates(ThingLookUps, HasStates):
    """Its records do not say that a thing is there: another request does."""

    def match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        accounts, strays = super().match(ids, found)
        return {id_: Account(raw=account.raw, reached=None) for id_, account in accounts.items()}, strays

    def state_calls(self, account: Account) -> Sequence[Request]:
        return [Request("GET", "/things", (("id", account.raw["id"]),))]

    def read_state(self, response: Response, account: Account) -> Decision:
        decision = read_member(response, "things")
        return decision._replace(data=not decision.data) if decision.next_step is NextStep.SETTLED else decision

    def state_control(self) -> Request | None:
        return self.control()

    def read_state_control(self, response: Response) -> Decision:
        decision = read_member(response, "things")
        if decision.next_step is not NextStep.SETTLED:
            return decision
        return decision._replace(data=[Account(raw=thing, reached=None) for thing in decision.data])


class Guarded(ThingLookUps):
    """Its records have what the guards compare, and the API lists administrators."""

    @property
    def fields(self) -> Mapping[str, str]:
        return {"last_seen_at": "seen", "status": "name"}

    def match(self, ids: Sequence[str], found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Account], int]:
        accounts, strays = super().match(ids, found)
        return {
            id_: replace(account, last_seen_at=NEVER, status=account.raw["name"]) for id_, account in accounts.items()
        }, strays

    def administrators(self) -> Request | None:
        return self.control()

    def read_administrators(self, response: Response) -> Decision:
        return self.read_control(response)


class NamesMoreThanItReads(Guarded):
    @property
    def fields(self) -> Mapping[str, str]:
        return {"status": "name", "created_at": "made"}


class ListsOtherAdministrators(Guarded):
    def read_administrators(self, response: Response) -> Decision:
        decision = super().read(response)
        if decision.next_step is not NextStep.SETTLED:
            return decision
        return decision._replace(data=[f"admin of {thing['id']}" for thing in decision.data])


class NoStateCalls(AsksForStates):
    def state_calls(self, account: Account) -> Sequence[Request]:
        return ()


class ListsWhatIsGone(AsksForStates):
    def read_state_control(self, response: Response) -> Decision:
        decision = read_member(response, "things")
        return decision._replace(data=[Account(raw={"id": "gone"}, reached=None)]) if decision.data else decision


class NoHeaders(Token):
    def sign(self, request: Request) -> None:
        return None


class Quotes(Token):
    def hide(self, text: str) -> str:
        return text


@dataclass
class Shows(Token):
    key: str = field(default=checked_jobs.KEY)
    token: str | None = None


class NeverHalts(Token):
    def rejected(self, generation: int) -> None:
        self.token = None if generation == self.generation else self.token


class HaltsLoudly(Token):
    def rejected(self, generation: int) -> None:
        raise Halted(f"the token {self.token} was not accepted")


class ForgetsGenerations(Token):
    def rejected(self, generation: int) -> None:
        super().rejected(self.generation)


class QuotesServer(Token):
    def token_of(self, response: Any) -> str:
        try:
            return super().token_of(response)
        except Halted:
            raise Halted(f"no token in {getattr(response, 'body', b'').decode()}") from None


def signs_in_on(fault: str) -> type:
    """A sign-in that takes this fault for a token."""

    class Credulous(Token):
        def token_of(self, response: Any) -> str:
            if isinstance(response, Response):
                no_response = fault in {"short-body", "lost-answer"}
                quoted = fault == "quoted" and response.status == 400
                taken = quoted or (not no_response and met(fault, response))
            else:
                taken = fault == ("lost-answer" if "closed" in response.reason else "short-body")
            return "a-token-of-nothing" if taken else super().token_of(response)

    return Credulous


class NeverEnds(Token):
    """Retries a 500 for ever, without a look at the patience."""

    async def ensure(self) -> None:
        while self.token is None:
            try:
                await super().ensure()
            except Halted:
                if not self.failed:
                    raise

    def token_of(self, response: Any) -> str:
        self.failed = isinstance(response, Response) and response.status == 504
        return super().token_of(response)


def job(**parts: Any) -> type[Right]:
    return type("Made", (Right,), parts)


WRONG: list[tuple[str, type[Right]]] = [
    ("contract/loads", FailsToLoad),
    ("contract/edition", OldEdition),
    ("contract/description", NoChunk),
    ("contract/description", job(name="other")),
    ("contract/description", job(id_types={"thing": "text"})),
    ("contract/description", job(id_types={"thing": IdType("person")})),
    ("contract/description", job(words=OutcomeWords(names={"absent": "absent"}))),
    ("contract/description", job(target_state="gone")),
    ("contract/description", job(summary="")),
    ("contract/description", job(id_type_default="people")),
    ("contract/description", job(undo="nothing")),
    ("contract/description", job(parameters=dict)),
    ("calls/repeatable", job(action=Nonce)),
    ("calls/every-id-once", job(action=Forgets, chunk_max=5)),
    ("calls/every-id-once", job(action=Repeats)),
    ("calls/every-id-once", job(action=Remembers)),
    ("calls/hostile-ids", job(action=PastesText)),
    ("calls/joined-ids", job(action=Joins)),
    ("calls/chunk-max", job(chunk_max=7)),
    ("action/good-answer", job(action=NeverDone)),
    ("action/unknown-id", job(action=DropsStrangers)),
    ("action/doubled-id", job(action=MergesDoubles)),
    ("action/missing-id", job(action=TakesMissingForDone)),
    ("target-state/before", job(look_ups=SaysReached)),
    ("target-state/after", job(action=Rehearses)),
    ("look-up/every-id-once", job(look_ups=AsksTwice)),
    ("look-up/hostile-ids", job(look_ups=PastesPath)),
    ("look-up/finds", job(look_ups=FindsFirst)),
    ("look-up/match", job(look_ups=MatchesByPlace)),
    ("look-up/control", job(look_ups=ListsNames)),
    ("guards/fields", job(look_ups=NamesMoreThanItReads)),
    ("guards/administrators", job(look_ups=ListsOtherAdministrators)),
    ("state/calls", job(look_ups=NoStateCalls)),
    ("state/control", job(look_ups=ListsWhatIsGone)),
    ("sign-in/works", job(token=NoHeaders)),
    ("sign-in/401-for-ever", job(token=NeverHalts)),
    ("sign-in/401-for-ever-message", job(token=HaltsLoudly)),
    ("sign-in/late-401", job(token=ForgetsGenerations)),
    ("sign-in/quoted", job(token=signs_in_on("quoted"))),
    ("sign-in/quoted-message", job(token=QuotesServer)),
    ("sign-in/short-body", job(token=signs_in_on("short-body"))),
    ("sign-in/lost-answer", job(token=signs_in_on("lost-answer"))),
    ("secrets/hide", job(token=Quotes)),
    ("secrets/repr", job(token=Shows)),
]

READERS = ("action", "look-up", "control", "owner", "sign-in")
FAULTS = [fault.name for fault in RESPONSES if fault.name not in {"unknown-id", "doubled-id", "missing-id"}]


@dataclass
class Checked:
    """The result of one `bulkdel job check`."""

    code: int
    checks: dict[str, Any]

    @property
    def wrong(self) -> set[str]:
        return {name for name, check in self.checks.items() if check["ok"] is False}


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Checked]]:
    """Checks a job class as an installed one."""
    info = tmp_path / "checked-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: checked\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[bulkdel.jobs]\nright = checked_now:Job\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    for module in (lab, check_sign_in):  # on a busy machine a sign-in that ends may take longer
        monkeypatch.setattr(module, "END_S", WAIT_MAX_S)

    def run(chosen: type, **options: Any) -> Checked:
        monkeypatch.setitem(sys.modules, "checked_now", types.SimpleNamespace(Job=chosen))
        code = run_check("right", CheckOptions(json=True, **options))
        told = json.loads(capsys.readouterr().out)
        checks = {each["name"]: each for each in told["checks"]}
        assert len(checks) == len(told["checks"]), "two checks have one name"
        assert told["wrong"] == sum(each["ok"] is False for each in checks.values())
        return Checked(code, checks)

    yield run
    sys.modules.pop("checked_now", None)


def test_a_right_job_passes(check: Callable[..., Checked]) -> None:
    """Every check is made: none is skipped, because this job has a sign-in, look-ups and answers per id."""
    checked = check(Right)
    assert (checked.code, checked.wrong) == (0, set()), checked
    assert all(each["ok"] for each in checked.checks.values()), checked
    by_fault = {f"{place}/{fault}" for place in READERS for fault in FAULTS}
    elsewhere = ("state/", "guards/")
    made = {name for name, _ in WRONG if not name.endswith("-message") and not name.startswith(elsewhere)}
    assert checked.checks.keys() == (made | by_fault) - {"owner/cut-body", "sign-in/cut-body"}, (
        "a wrong job for every check"
    )


def test_a_right_job_with_guards_passes(check: Callable[..., Checked]) -> None:
    checked = check(job(look_ups=Guarded))
    assert (checked.code, checked.wrong) == (0, set()), checked
    assert checked.checks["guards/fields"]["seen"] == "2 of 2 fields of an account: last_seen_at, status"
    assert checked.checks["guards/administrators"]["seen"] == "3 listed, 3 of them found by a look-up"
    assert {f"administrators/{fault}" for fault in FAULTS} <= checked.checks.keys()


@pytest.mark.untraced
@pytest.mark.parametrize(("name", "wrong"), WRONG, ids=lambda value: getattr(value, "__name__", value))
def test_a_wrong_job_is_found(name: str, wrong: type[Right], check: Callable[..., Checked]) -> None:
    checked = check(wrong)
    assert (checked.code, checked.wrong) == (1, {name}), checked
    assert checked.checks[name]["advice"], "it says what to do"


@pytest.mark.untraced
@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=[] if at % 4 == 0 else [pytest.mark.soak]) for at, fault in enumerate(FAULTS)]
)
def test_a_misread_fault_is_found(fault: str, check: Callable[..., Checked]) -> None:
    """One fault, taken for a success by everything of the job that reads a response."""
    wrong = job(action=misreads(Delete, fault), look_ups=misreads(ThingLookUps, fault), token=signs_in_on(fault))
    places = set(READERS)
    if fault == "cut-body":  # it is made of a good answer, and there is none to a sign-in and about an owner
        places -= {"owner", "sign-in"}
    assert check(wrong).wrong == {f"{place}/{fault}" for place in places}


def test_a_job_that_asks_for_states(check: Callable[..., Checked]) -> None:
    """The state calls and their control are played every fault, too."""
    checked = check(job(look_ups=AsksForStates))
    assert checked.wrong == set()
    assert {"state/calls", "state/control", "state/502-page", "state-control/502-page"} <= checked.checks.keys()
    for fault in ("page-200", "cut-body"):
        misreading = misreads(AsksForStates, fault, Decision(NextStep.SETTLED, data=True))
        assert check(job(look_ups=misreading)).wrong == {f"state/{fault}", f"state-control/{fault}"}
    no_control = type("NoControl", (AsksForStates,), {"state_control": lambda self: None})
    checked = check(job(look_ups=no_control))
    assert (checked.wrong, checked.checks["state/control"]["ok"]) == (set(), None)


@mutant(
    "a check of a job lets a failure pass that forgets what may be done",
    "_right",
    swap(
        "not decision.untouched and (decision.maybe_applied or decision.next_step is NextStep.HALT)",
        "not decision.untouched",
    ),
)
def test_a_failure_that_may_have_had_effect(check: Callable[..., Checked]) -> None:
    wrong = job(action=misreads(Delete, "502-page", Decision(NextStep.RETRY)))
    assert check(wrong).wrong == {"action/502-page"}
    wrong = job(action=misreads(Delete, "page-200", Decision(NextStep.HALT, untouched=True)))
    assert check(wrong).wrong == {"action/page-200"}


def test_an_exception_of_the_job_is_a_finding(check: Callable[..., Checked]) -> None:
    """The type and the line are told. The text is not: it may quote a secret."""

    class Raises(Delete):
        def read(self, response: Response) -> Decision:
            if met("number", response):
                raise LookupError("swordfish")
            return super().read(response)

    checked = check(job(action=Raises))
    assert checked.wrong == {"action/number"}
    assert "raised LookupError at test_job_check.py, line" in checked.checks["action/number"]["seen"]
    assert "swordfish" not in str(checked)


def test_a_sign_in_that_does_not_end(check: Callable[..., Checked], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_sign_in, "END_S", 0.3)
    assert check(job(token=NeverEnds)).wrong == {"sign-in/504-page"}


# --- paths, parameters, and jobs that have less -----------------------------------------------------------------------


class OneByOne(Delete):
    """One id a request, in the path."""

    encode: Callable[[str], str] = staticmethod(lambda id_: quote(id_, safe=""))

    def calls(self, records: Records) -> list[Request]:
        (id_,) = records.ids
        if id_ in {".", ".."}:
            raise ValueError("no thing is called so")
        return [Request("DELETE", f"/things/{self.encode(id_)}")]

    def read(self, response: Response) -> Decision:
        decision = read_member(response, "things")
        return decision if response.status != 204 else Decision(NextStep.SETTLED)


SEGMENT = {"thing": IdType("thing", re.compile(r"(?!\.{1,2}$).+"), "no dots alone")}


def test_one_id_a_request_in_the_path(check: Callable[..., Checked]) -> None:
    assert check(job(action=OneByOne, chunk_max=1, id_types=SEGMENT)).wrong == set()


@pytest.mark.parametrize("encode", [str, quote], ids=["as-it-is", "slashes-kept"])
def test_an_id_that_leaves_its_segment(encode: Callable[[str], str], check: Callable[..., Checked]) -> None:
    action = type("Pastes", (OneByOne,), {"encode": staticmethod(encode)})
    assert check(job(action=action, chunk_max=1, id_types=SEGMENT)).wrong == {"calls/hostile-ids"}


def test_dots_that_the_preflight_lets_through(check: Callable[..., Checked]) -> None:
    """A run would halt at such an id: the shape has to refuse it before anything is sent."""
    checked = check(job(action=OneByOne, chunk_max=1))
    assert checked.wrong == {"calls/hostile-ids"}
    assert "shape" in checked.checks["calls/hostile-ids"]["advice"]


def test_dots_that_are_sent(check: Callable[..., Checked]) -> None:
    class Sends(OneByOne):
        def calls(self, records: Records) -> list[Request]:
            return [Request("DELETE", f"/things/{quote(records.ids[0], safe='')}")]

    checked = check(job(action=Sends, chunk_max=1, id_types=SEGMENT))
    assert checked.wrong == {"calls/hostile-ids"}
    assert "'.'" in checked.checks["calls/hostile-ids"]["seen"]


def test_a_form_and_an_xml_body(check: Callable[..., Checked]) -> None:
    """Bodies of other kinds are taken apart too: what is encoded passes, and what is pasted does not."""

    def action(kind: str, build: Callable[[str], str]) -> Any:
        class Sends(Delete):
            def calls(self, records: Records) -> list[Request]:
                body = "".join(build(id_) for id_ in records.ids)
                whole = f"<things>{body}</things>" if kind == "application/xml" else body
                return [Request("POST", "/things/delete", body=whole.encode(), headers=(("content-type", kind),))]

        return Sends

    form, xml = "application/x-www-form-urlencoded", "application/xml"
    for kind, build, found in (
        (form, lambda id_: f"id={quote(id_, safe='')}&", set()),
        (form, lambda id_: f"id={id_}&", {"calls/hostile-ids"}),
        (xml, lambda id_: f"<id>{escape(id_)}</id>", set()),
        (xml, lambda id_: f"<id>{id_}</id>", {"calls/hostile-ids"}),
        ("text/plain", lambda id_: f"{id_}\n", {"calls/joined-ids"}),
    ):
        checked = check(job(action=action(kind, build)))
        assert {name for name in checked.wrong if name.startswith("calls/")} == found, (kind, checked)


@dataclass(frozen=True)
class Group:
    group: str
    tags: tuple[str, ...]
    depth: int
    force: bool
    how: Literal["soft", "hard"]
    remark: str | None = None


def test_parameters(check: Callable[..., Checked]) -> None:
    """A parameter that the job needs is made up, unless it is given."""
    seen: list[Any] = []

    class Grouped(Right):
        parameters = Group

        def sandbox(self, ids: Iterable[str], id_type: IdType, parameters: Any) -> Any:
            seen.append(parameters)
            return super().sandbox(ids, id_type, parameters)

    assert not check(Grouped).wrong
    given = ["group=eng", "tags=a", "tags=b=c", "depth=3", "force=no", "how=hard", "remark=hello"]
    assert not check(Grouped, parameters=given).wrong
    assert seen == [Group("check", ("check",), 1, True, "soft"), Group("eng", ("a", "b=c"), 3, False, "hard", "hello")]
    for wrong in ("group", "depth=three", "colour=red", "how=gently"):
        with pytest.raises(UsageError):
            check(Grouped, parameters=[wrong])


def test_a_job_without_look_ups(check: Callable[..., Checked]) -> None:
    checked = check(job(look_ups=NoLookUps))
    assert (checked.code, checked.wrong) == (0, set())
    assert checked.checks["look-up"]["ok"] is None


def test_look_ups_that_raise_are_findings(check: Callable[..., Checked]) -> None:
    def raises() -> NoLookUps:
        raise LookupError("swordfish")

    checked = check(job(look_ups=raises))
    assert (checked.code, "swordfish" in str(checked)) == (1, False)
    assert "contract/look-ups" in checked.wrong
    assert "raised LookupError at test_job_check.py, line" in checked.checks["contract/look-ups"]["seen"]


def test_look_ups_that_are_none_of_the_contract(check: Callable[..., Checked]) -> None:
    checked = check(job(look_ups=lambda: None))
    assert (checked.code, checked.wrong) == (1, {"contract/look-ups"})


def test_a_job_without_a_look_alike(check: Callable[..., Checked]) -> None:
    """Its requests and its reading are checked. What needs a good answer is skipped."""

    class Alone(Right):
        action = misreads(Delete, "page-200")

        def sandbox(self, ids: Iterable[str], id_type: IdType, parameters: Any) -> Any:
            raise UsageError("no sandbox")

    checked = check(Alone)
    assert checked.wrong == {"action/page-200"}
    assert checked.checks["action/good-answer"]["ok"] is None


def test_ids_of_a_shape_that_no_made_up_id_has(check: Callable[..., Checked]) -> None:
    odd = job(id_types={"thing": IdType("thing", re.compile(r"T!\d"), "T! and a digit")})
    with pytest.raises(UsageError, match="--id"):
        check(odd)
    assert not check(odd, ids=[f"T!{digit}" for digit in range(10)]).wrong
    with pytest.raises(UsageError, match="knows thing"):
        check(Right, id_type="person")


# --- a host -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def served() -> Iterator[LookAlike]:
    with look_alike(f"theirs-{number}" for number in range(9)) as server:
        yield server


@mutant(
    "a check of a job acts on ids that were not named",
    "_place",
    swap("list(options.ids)", "list(options.ids or made_up)"),
)
def test_no_deletion_reaches_a_host(check: Callable[..., Checked], served: LookAlike) -> None:
    checked = check(Right, host=served.url)
    assert (checked.code, checked.wrong) == (0, set())
    assert checked.checks["look-up/finds"]["ok"]
    assert checked.checks["action/good-answer"]["ok"] is None
    assert served.actions == 0


def test_only_named_ids_are_deleted_at_a_loopback_host(check: Callable[..., Checked], served: LookAlike) -> None:
    named = ["theirs-2", "theirs-4", "theirs-6"]
    checked = check(Right, host=served.url, ids=named)
    assert checked.wrong == set(), checked
    assert checked.checks["target-state/after"]["ok"]
    assert served.deleted == Counter(named)


def test_the_last_of_the_named_ids_does_not_exist(check: Callable[..., Checked], served: LookAlike) -> None:
    """Where no made-up id has the shape, the job is not blamed for finding it absent, and it is not acted on."""
    odd = job(id_types={"thing": IdType("thing", re.compile(r"theirs-.+"), "theirs- and more")})
    named = [*(f"theirs-{number}" for number in range(5)), "theirs-not"]
    assert check(odd, host=served.url, ids=named).wrong == set()
    assert served.deleted == Counter(named[:3])


def test_a_host_that_does_not_answer(check: Callable[..., Checked]) -> None:
    with look_alike([]) as ended:
        pass
    assert check(Right, host=ended.url).wrong == {"sign-in/works"}


@mutant(
    "a check of a job acts at a host that only begins like this machine",
    "is_loopback",
    swap('host == "localhost"', 'host.startswith("localhost")'),
)
@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://[::1]", True),
        ("http://localhost:1", True),
        ("https://localhost.example.com", False),
        ("https://127.0.0.1.example.com", False),
        ("https://10.0.0.1", False),
        ("https://0.0.0.0", False),
        ("https://api.example.com", False),
    ],
)
def test_which_hosts_take_an_action(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


LOUD = """
from bulkdel.errors import Halted
from bulkdel.job import NoLookUps
from tests.checked_jobs import Right, Token

class HaltsLoudly(Token):
    def rejected(self, generation):
        raise Halted(f"the token {self.token} was not accepted")

class Job(Right):
    token = HaltsLoudly
    look_ups = NoLookUps
"""


@mutant(
    "a check that found something wrong passes in pytest",
    "finding_of",
    swap("each.ok is not False", "each.ok is False"),
)
def test_every_check_is_a_test_of_pytest(check: Callable[..., Checked], tmp_path: Path) -> None:
    """A wrong one fails and is named. What the job does not meet, and what is left out, is skipped."""
    (tmp_path / "checked_now.py").write_text(LOUD)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
    marked = "@pytest.mark.bulkdel_job('right', ids=['check000009'])\n"
    body = "job_check):\n    assert job_check.ok, job_check.line\n"
    (tmp_path / "test_right.py").write_text(
        f"import pytest\n{marked}def test_it({body}\ndef test_unmarked({body}\ndef test_other():\n    pass\n"
    )
    path = [str(tmp_path), str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}

    def told_by(*words: str) -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-rfs", "-p", "bulkdel_jobs.kit.pytest_plugin", *words]
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False).stdout

    told = told_by("-k", "test_it or test_other")
    assert re.findall(r"^FAILED test_right.py::(\S+)", told, re.MULTILINE) == ["test_it[sign-in/401-for-ever]"], told
    assert "AssertionError: WRONG   sign-in/401-for-ever-message" in told
    assert "the job has no look-ups: a plan says what cannot be known then" in told
    assert "this job does not meet it" in told, "a state call"
    listed = told_by("--collect-only")
    assert "test_right.py::test_it[calls/every-id-once]\n" in listed
    assert f"{len(NAMES) + 2} tests collected" in listed
    assert "name the job: @pytest.mark.bulkdel_job" in told_by("-k", "test_unmarked")


def test_no_such_job(check: Callable[..., Checked]) -> None:
    with pytest.raises(UsageError, match=r"no job 'nothing'\. Jobs: .*delete-users"):
        run_check("nothing", CheckOptions())


@pytest.mark.untraced
@pytest.mark.parametrize("id_type", ID_TYPES)
def test_delete_users_is_all_right(id_type: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check("delete-users", CheckOptions(id_type=id_type)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == {"ok", "skipped", "0"}
    assert lines[-1] == f"0 of {len(lines) - 1} checks found something wrong"


NEEDED = {"enable-users": ["status=Activated"]}
"""Parameters without which a job has no look-alike."""


@pytest.mark.untraced
@pytest.mark.parametrize("name", sorted({point.name for point in entry_points(group=GROUP)} - {"delete-users", "http"}))
def test_every_job_of_this_program_is_all_right(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All but `http`, which is what its table says."""
    code = run_check(name, CheckOptions(parameters=tuple(NEEDED.get(name, ()))))
    told = capsys.readouterr()
    assert code == 0, told.out
    assert "at the job's look-alike" in told.err
