"""What the table [http] describes, checked: the request, the meaning of its responses, the look-ups. Pure.

The body of a request is a template, with the ids as values in it. `"{id}"` is one id, `"{ids}"` the list of all ids of
the request. A list with one element that has `"{id}"` in it becomes a list with that element for each id. An id is
always a JSON value of its own, never a part of a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from bulkdel.core.decision import Decision, Request, Response, Verdict
from bulkdel.core.outcome import COUNTED, REMAINING
from bulkdel.core.record import Records
from bulkdel.http.transport import check_host
from bulkdel_jobs.http.config_table import ConfigTable
from bulkdel_jobs.http.credentials import HttpAuth, read_auth
from bulkdel_jobs.http.look_up import control_keys, read_headers, read_look_ups
from bulkdel_jobs.parts.answers import AnswerList, read_answers
from bulkdel_jobs.parts.json_values import is_one_of
from bulkdel_jobs.parts.look_ups import OneByOneLookUps
from bulkdel_jobs.parts.paths import PLACEHOLDER, check_path, filled
from bulkdel_jobs.parts.statuses import MEANINGS, Statuses
from bulkdel_jobs.parts.tokens import PAUSE_S

ID, IDS = "{id}", "{ids}"


class Places(NamedTuple):
    """How many places a template has. one: for a single id. many: for all ids of a request."""

    one: int = 0
    many: int = 0


def places_of(template: Any) -> Places:
    """Check a template, and count its places for ids. Raises ValueError, with the reason for the user."""
    places = _places(template, repeated=False)
    json.dumps(template, allow_nan=False)
    return places


def _places(value: Any, *, repeated: bool) -> Places:
    """repeated: the value is in a list that is repeated for each id."""
    if isinstance(value, str):
        if value not in {ID, IDS} and (ID in value or IDS in value):
            raise ValueError(f'an id is a value of its own, "{ID}" or "{IDS}", and no part of a text')
        if value == IDS and repeated:
            raise ValueError(f'"{IDS}" is a list already')
        return Places(value == ID, value == IDS)
    if isinstance(value, dict):
        if any(ID in name or IDS in name for name in value):
            raise ValueError("an id is a value, and no name of a member")
        return _sum(_places(each, repeated=repeated) for each in value.values())
    if isinstance(value, list):
        if len(value) != 1:
            return _sum(_places(each, repeated=repeated) for each in value)
        inner = _places(value[0], repeated=True)
        if repeated and inner.one:
            raise ValueError("the ids cannot stand in a list in a list")
        return Places(0, inner.one + inner.many)
    if value is None or isinstance(value, bool | int | float):
        return Places()
    raise ValueError(f"{type(value).__name__} is no JSON value")


def _sum(places: Iterator[Places]) -> Places:
    found = list(places)
    return Places(sum(each.one for each in found), sum(each.many for each in found))


def filled_body(template: Any, ids: Sequence[str | int]) -> bytes:
    """The encoded body for these ids."""
    return json.dumps(_filled(template, ids), ensure_ascii=False, separators=(",", ":")).encode()


def _filled(value: Any, ids: Sequence[str | int]) -> Any:
    if value == IDS:
        return list(ids)
    if value == ID:
        return ids[0]
    if isinstance(value, dict):
        return {name: _filled(each, ids) for name, each in value.items()}
    if isinstance(value, list):
        if len(value) == 1 and _has_id(value[0]):
            return [_filled(value[0], [id_]) for id_ in ids]
        return [_filled(each, ids) for each in value]
    return value


def _has_id(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_id, value.values() if isinstance(value, dict) else value))
    return bool(value == ID)


IDS_MAX = 1_000
"""Ids in one request, at most: the largest batch call that is known (S3 DeleteObjects)."""

METHODS = {name: name for name in ("DELETE", "POST", "PUT", "PATCH")}

VERDICTS = {verdict.value.replace(" ", "_"): verdict for verdict in Verdict}

DELETE = "delete"

KEYS = (
    "host, base, method, path, query, headers, body, chunk_size, verb, done, pause_s, and the tables auth, statuses, "
    "look_up, administrators and answers"
)


@dataclass(frozen=True, slots=True)
class TableAction:
    """The action of a table: `bulkdel.job.Action`. request: without the id. body: its template; None without one.

    numbers: whether an id in the body is a JSON number.
    """

    request: Request
    body: Any
    statuses: Statuses
    answers: tuple[AnswerList, ...] = ()
    numbers: bool = False

    def calls(self, records: Records) -> list[Request]:
        """See `bulkdel.job.Action`."""
        request = self.request
        if PLACEHOLDER in request.path:
            (id_,) = records.ids
            request = filled(request, id_)
        if self.body is None:
            return [request]
        values = [int(id_) for id_ in records.ids] if self.numbers else records.ids
        return [request._replace(body=filled_body(self.body, values))]

    def read(self, response: Response) -> Decision:
        """See `bulkdel.job.Action`."""
        return read_answers(response, self.statuses, self.answers) if self.answers else self.statuses.decide(response)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A checked table.

    host: None when only --host names it. base: the path below it that all requests share, and a part of the pool.
    in_path: whether the id stands in the path. chunk_size: ids in one request, at most. verb, done: the job's words.
    pinned: what is sent and what is looked up, by the names of the table. verdicts: what the responses mean.
    """

    host: str | None
    base: str
    in_path: bool
    chunk_size: int
    verb: str
    done: str
    pause_s: float
    credentials: HttpAuth
    action: TableAction
    look_ups: OneByOneLookUps | None
    pinned: Mapping[str, Any]
    verdicts: Mapping[str, Any]


def describe(value: Any) -> Description:
    """Read and check a table [http]. Raises UsageError with the name of the key that is wrong."""
    table = ConfigTable("http", value)
    host, base = table.text("host"), _base(table)
    if host is not None:
        host = check_host(host)
    request = _request(table, base)
    body = table.take("body", dict, "a table")
    if body is not None:
        _refuse_secrets(table, "body", body)
    in_path = PLACEHOLDER in request.path
    chunk_size = _chunk_size(table, body, in_path=in_path)
    verb, done = _words(table)
    pause_s = _pause_s(table)
    credentials = read_auth(table.table("auth"))
    statuses = _statuses(table)
    answer_tables, answers = _answer_lists(table, chunk_size, in_path=in_path, deletes=verb == DELETE)
    look_up, administrators = table.table("look_up"), table.table("administrators")
    if administrators is not None and look_up is None:
        raise administrators.fault("path", "needs [http.look_up], which says where the id stands in a record")
    look_ups, of_look_up, of_control = None, dict[str, Any](), dict[str, Any]()
    if look_up is not None:
        deletes = verb == DELETE
        look_ups = read_look_ups(look_up, base, IDS_MAX, deletes=deletes, administrators=administrators)
        for name, each in look_up.taken.items():
            (of_control if name in control_keys(look_ups) else of_look_up)[name] = each
    table.end(KEYS)
    named = {
        "method": request.method,
        "path": request.path,
        "query": dict(request.query),
        "headers": dict(request.headers),
        "body": body,
        "verb": verb,
        # What a look-up shows decides which accounts are spared (guards) and what became of rows in doubt.
        **({} if look_up is None else {"look_up": of_look_up}),
        **({} if administrators is None else {"administrators": administrators.taken}),
    }
    # What counts as done, absent or refused, and as a proof. Pace (pause_s) and credentials (auth) may always change.
    verdicts = {
        "statuses": table.taken["statuses"],
        "answers": [each.taken for each in answer_tables],
        "chunk_size": chunk_size,
        "done": done,
        **({} if look_up is None else {"control": of_control}),
    }
    return Description(
        host=host,
        base=base,
        in_path=in_path,
        chunk_size=chunk_size,
        verb=verb,
        done=done,
        pause_s=pause_s,
        credentials=credentials,
        action=TableAction(request, body, statuses, answers),
        look_ups=look_ups,
        pinned={f"[http] {name}": each for name, each in named.items()},
        verdicts={f"[http] {name}": each for name, each in verdicts.items()},
    )


def _base(table: ConfigTable) -> str:
    base = table.text("base", "") or ""
    if base:
        table.checked("base", check_path, base)
        if PLACEHOLDER in base or base.endswith("/"):
            raise table.fault("base", "has no id in it, and ends without a slash")
    return base


def _words(table: ConfigTable) -> tuple[str, str]:
    """The verb of the job, and what it calls `done`."""
    verb = table.text("verb", DELETE) or DELETE
    done = table.needed("done") if verb != DELETE else table.text("done", "deleted") or "deleted"
    if done in {*COUNTED, REMAINING} - {"done"}:
        raise table.fault("done", "is the word of another outcome")
    return verb, done


def _pause_s(table: ConfigTable) -> float:
    pause_s = cast("float", table.take("pause_s", cast("type[float]", int | float), "a number of seconds", PAUSE_S))
    if not 0 <= pause_s <= 3_600:  # noqa: PLR2004 - an hour
        raise table.fault("pause_s", "is between 0 and 3600")
    return pause_s


def _request(table: ConfigTable, base: str) -> Request:
    method = table.one_of("method", METHODS, "")
    path = table.checked("path", check_path, table.needed("path"))
    query, headers = table.texts("query"), read_headers(table)
    for name, value in query:
        if PLACEHOLDER in name or PLACEHOLDER in value:
            raise table.fault(f"query.{name}", "an id stands in the path or in the body")
    return Request(method, f"{base}{path}", query, None, headers)


def _chunk_size(table: ConfigTable, body: Any, *, in_path: bool) -> int:
    """How many ids one request takes. Checks that the ids stand in the request, and once."""
    places = Places() if body is None else table.checked("body", places_of, body) and places_of(body)
    if in_path:
        if places.many or places.one > 1:
            raise table.fault("body", f'{PLACEHOLDER} stands in the path, so a body has at most one "{ID}"')
    elif places.one + places.many == 0:
        raise table.fault("path", f"{PLACEHOLDER} is missing: it stands in the path or in the body")
    elif places.one + places.many > 1:
        raise table.fault("body", "the ids stand in it once")
    size = table.take("chunk_size", int, "a whole number")
    if not places.many:
        if size not in {None, 1}:
            raise table.fault("chunk_size", "is 1, because the request has one id")
        return 1
    if size is None:
        raise table.fault("chunk_size", "is missing: how many ids the API takes at once")
    if not 1 <= size <= IDS_MAX:
        raise table.fault("chunk_size", f"is between 1 and {IDS_MAX:,}")
    return size


def _statuses(table: ConfigTable) -> Statuses:
    given = table.table("statuses")
    if given is None or given.empty("settled"):
        raise table.fault("statuses.settled", "is missing: the HTTP statuses of a success, such as [200, 204]")
    named = {meaning: given.list_of(meaning, int, str) or [] for meaning in MEANINGS}
    given.end(", ".join(MEANINGS))
    try:
        return Statuses.of(named)
    except ValueError as error:
        raise table.fault("statuses", str(error)) from None


def _answer_lists(
    table: ConfigTable, chunk_size: int, *, in_path: bool, deletes: bool
) -> tuple[list[ConfigTable], tuple[AnswerList, ...]]:
    """The tables [[http.answers]], and what they describe."""
    if "answers" not in table and chunk_size > 1:
        why = "where the body says what happened to each id; [] when a success is one for all ids of the request"
        raise table.fault("answers", f"is missing: {why}")
    tables = table.tables("answers")
    answers = tuple(map(_answers, tables))
    if answers and in_path:
        raise table.fault("answers", "are for requests of several ids")
    if deletes and any(Verdict.ALREADY in {*one.verdicts, one.otherwise} for one in answers):
        raise table.fault("answers", "a deletion has no `already`: what does not exist is absent")
    return tables, answers


def _answers(table: ConfigTable) -> AnswerList:
    verdicts: dict[Verdict, list[Any]] = {}
    for word, verdict in VERDICTS.items():
        values = table.list_of(word, int, str, bool) or []
        if again := [each for each in values if any(is_one_of(each, others) for others in verdicts.values())]:
            raise table.fault(word, f"{again[0]!r} stands in another list too")
        if values:
            verdicts[verdict] = values
    value = table.text("value")
    otherwise = table.one_of("otherwise", VERDICTS, "maybe_applied")
    if value is None and verdicts:
        raise table.fault("value", "is missing: the path of the value that says what happened")
    if value is None and otherwise is Verdict.MAYBE_APPLIED:
        raise table.fault("otherwise", "is missing: what the answers of this list mean")
    found = AnswerList(
        at=table.text("list", "") or "",
        id=table.text("id", "id") or "",
        value=value,
        verdicts=verdicts,
        otherwise=otherwise,
        message=table.text("message"),
    )
    table.end(f"list, id, value, message, otherwise, and a list of values for each of {', '.join(VERDICTS)}")
    return found


def _refuse_secrets(table: ConfigTable, where: str, value: Any) -> None:
    """Refuse a body with a secret in it, at any depth."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in members:
        if isinstance(each, str) and each != ID:
            table.refuse_secret(f"{where}.{name}", str(name), each)
        _refuse_secrets(table, f"{where}.{name}", each)
