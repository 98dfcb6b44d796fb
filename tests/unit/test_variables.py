"""Config tables from environment variables: their names, their types, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from bulkdel.cli.config import KUBERNETES, tables_with
from bulkdel.errors import UsageError
from bulkdel.variables import Variable
from bulkdel_jobs.http.description import describe
from tests.mutants import mutant
from tests.syntax import swap


@pytest.mark.parametrize(
    ("text", "kinds", "value"),
    [
        ("50", (int,), 50),
        ("-3", (int, float), -3),
        ("0.5", (int, float), 0.5),
        ("True", (bool,), True),
        ("false", (bool, int), False),
        ("50", (str,), "50"),
        ("200 2xx", (list,), ["200", "2xx"]),
        ("", (list,), []),
        (' ["a b", 5]', (list,), ["a b", 5]),
        ("{a = 1}", (dict,), {"a": 1}),
    ],
)
def test_the_type_is_that_which_the_table_expects(text: str, kinds: tuple[type, ...], value: Any) -> None:
    read = Variable(text, "BULKDEL_X__Y").read_as(*kinds)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "kind"), [("5.5", int), ("yes", bool), ("x", float), ("[1", list), ("[1]\nb = 2", list), ("5", dict)]
)
def test_a_value_of_another_type(text: str, kind: type) -> None:
    with pytest.raises(ValueError, match=r"."):
        Variable(text, "BULKDEL_X__Y").read_as(kind)


FILE = {"protect": {"pools": ["a"], "rate_max": 30}, "genauth": {"brand": "genauth", "lang": "de-DE"}}


@mutant(
    "protected pools of the environment replace those of the config",
    "stricter",
    swap("[*mine, *(each for each in theirs if each not in mine)]", "theirs"),
)
@pytest.mark.parametrize(
    ("environ", "tables"),
    [
        ({"BULKDEL_RATE": "5", "HOME": "/"}, FILE),
        ({"BULKDEL_GENAUTH__BRAND": "authing"}, {**FILE, "genauth": {"brand": "authing", "lang": "de-DE"}}),
        ({"BULKDEL_PROTECT__POOLS": "b c"}, {**FILE, "protect": {"pools": ["a", "b", "c"], "rate_max": 30}}),
        (
            {"BULKDEL_PROTECT__HOSTS": "h:8080"},
            {**FILE, "protect": {"pools": ["a"], "rate_max": 30, "hosts": ["h:8080"]}},
        ),
        ({"BULKDEL_PROTECT__RATE_MAX": "40"}, {**FILE, "protect": {"pools": ["a"], "rate_max": 30}}),
        ({"BULKDEL_PROTECT__RATE_MAX": "12.5"}, {**FILE, "protect": {"pools": ["a"], "rate_max": 12.5}}),
        ({"BULKDEL_HTTP__AUTH__KIND": "none"}, {**FILE, "http": {"auth": {"kind": "none"}}}),
    ],
)
def test_the_environment_stands_above_the_file(environ: dict[str, str], tables: dict[str, Any]) -> None:
    """Only of [protect] the guards of both hold: names add up, and the smaller rate counts."""
    assert tables_with(FILE, environ) == tables


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("BULKDEL_RATT", "BULKDEL_RATT, which is no option. Did you mean BULKDEL_RATE?"),
        ("BULKDEL_GENAUTH_BRAND", ". Did you mean BULKDEL_GENAUTH__BRAND?"),
        ("BULKDEL_GENAUHT__BRAND", ". Did you mean BULKDEL_GENAUTH__BRAND?"),
        ("BULKDEL_PROTECT__POOL", ". Did you mean BULKDEL_PROTECT__POOLS?"),
        ("BULKDEL_RUN__RATE", ". Did you mean BULKDEL_RATE?"),
        ("BULKDEL_PROTECT__RATE_MAX", "BULKDEL_PROTECT__RATE_MAX: write a number"),
        ("BULKDEL_RATE__X", "which is no option"),
        ("BULKDEL_HTTP__", "write BULKDEL_TABLE__KEY"),
    ],
)
def test_a_name_that_nothing_reads(name: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        tables_with({}, {name: "x"})
    assert said in str(caught.value)


def test_a_name_that_is_both_a_table_and_a_key() -> None:
    with pytest.raises(UsageError, match="BULKDEL_HTTP__AUTH and BULKDEL_HTTP__AUTH__KIND"):
        tables_with({}, {"BULKDEL_HTTP__AUTH": "{}", "BULKDEL_HTTP__AUTH__KIND": "none"})


HTTP = {
    "BULKDEL_HTTP__HOST": "https://api.example.com",
    "BULKDEL_HTTP__METHOD": "POST",
    "BULKDEL_HTTP__PATH": "/delete",
    "BULKDEL_HTTP__CHUNK_SIZE": "20",
    "BULKDEL_HTTP__PAUSE_S": "2.5",
    "BULKDEL_HTTP__QUERY__DRY": "0",
    "BULKDEL_HTTP__BODY": '{ users = ["{id}"], hard = true }',
    "BULKDEL_HTTP__AUTH__KIND": "bearer",
    "BULKDEL_HTTP__AUTH__TOKEN_ENV": "TOKEN",
    "BULKDEL_HTTP__STATUSES__SETTLED": "200 204",
    "BULKDEL_HTTP__STATUSES__REFUSED": "4xx",
    "BULKDEL_HTTP__ANSWERS": "[]",
    "BULKDEL_HTTP__LOOK_UP__PATH": "/users",
    "BULKDEL_HTTP__LOOK_UP__QUERY__ID": "{id}",
    "BULKDEL_HTTP__LOOK_UP__STATE": "state",
    "BULKDEL_HTTP__LOOK_UP__REACHED": "off 0",
    "BULKDEL_HTTP__LOOK_UP__CHUNK_SIZE": "10",
    "BULKDEL_HTTP__LOOK_UP__LIST": "/users",
    "BULKDEL_HTTP__LOOK_UP__NEXT__PAGE": "page",
    "BULKDEL_HTTP__LOOK_UP__NEXT__FIRST": "1",
}
SAME = {
    "host": "https://api.example.com",
    "method": "POST",
    "path": "/delete",
    "chunk_size": 20,
    "pause_s": 2.5,
    "query": {"dry": "0"},
    "body": {"users": ["{id}"], "hard": True},
    "auth": {"kind": "bearer", "token_env": "TOKEN"},
    "statuses": {"settled": [200, 204], "refused": ["4xx"]},
    "answers": [],
    "look_up": {
        "path": "/users",
        "query": {"id": "{id}"},
        "state": "state",
        "reached": ["off", 0],
        "chunk_size": 10,
        "list": "/users",
        "next": {"page": "page", "first": 1},
    },
}


def test_a_table_of_the_job_http_by_variables_is_that_of_a_file() -> None:
    """Also what the header of a log pins: a run that began with a file goes on with variables."""
    given = describe(tables_with({}, HTTP)["http"])
    by_file = describe(SAME)
    assert (given.chunk_size, given.pause_s, given.pinned) == (20, 2.5, by_file.pinned)
    assert (given.action, given.look_ups) == (by_file.action, by_file.look_ups)
    numbers = given.pinned["[http] look_up"]
    assert [type(value) for value in (numbers["chunk_size"], numbers["path"])] == [int, str]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BULKDEL_HTTP__CHUNK_SIZE", "many", "BULKDEL_HTTP__CHUNK_SIZE: is not a whole number"),
        ("BULKDEL_HTTP__STATUSES", "200", "BULKDEL_HTTP__STATUSES: is not a table; write it as in TOML"),
        ("BULKDEL_HTTP__CHUNKS", "5", r"\[http\] chunks: is not known here"),
    ],
)
def test_a_value_that_does_not_fit_is_named(name: str, value: str, said: str) -> None:
    environ = {other: text for other, text in HTTP.items() if not other.startswith(f"{name}__")}
    with pytest.raises(UsageError, match=said):
        describe(tables_with({}, {**environ, name: value})["http"])


SERVICE = ("PORT", "PORT_9400_TCP", "PORT_9400_TCP_PROTO", "PORT_9400_TCP_PORT", "PORT_9400_TCP_ADDR")
SERVICES = [
    f"{service}_{end}"
    for service in ("BULKDEL", "BULKDEL_METRICS", "BULKDEL_DE_SHOP")
    for end in (*SERVICE, "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "SERVICE_PORT_METRICS_TLS")
]


def test_a_service_harms_nothing() -> None:
    """Kubernetes sets these for a Service `bulkdel`, and for others that are named after it."""
    assert [name for name in SERVICES if not KUBERNETES.fullmatch(name)] == []
    ours = ("BULKDEL_RATE", "BULKDEL_JOB", "BULKDEL_GENAUTH__BRAND", "BULKDEL_PROTECT__HOSTS", "BULKDEL_HTTP__HOST")
    assert [name for name in ours if KUBERNETES.fullmatch(name)] == []
