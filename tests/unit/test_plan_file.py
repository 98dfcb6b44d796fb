"""A plan as a file: its seal, its age, its user, and the differences from a plan made anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkdel.core.option import option_of
from bulkdel.core.plan_file import (
    AHEAD_S,
    LINES,
    SHA256,
    VALID_S,
    Edited,
    NoPlanFile,
    age_fault,
    differences,
    is_same_user,
    leaves,
    sample_difference,
    sealed,
    text_of,
    valid_until,
    values_of,
)
from bulkdel.errors import UsageError
from bulkdel.options import COMPARED, FROM_PLAN, OF_THE_COMMAND, OF_THE_MACHINE
from bulkdel.safety.plan_from_file import PlanFile
from tests.mutants import mutant
from tests.syntax import negate, swap

AT = "2026-01-31T12:00:00.000Z"
AT_S = datetime.fromisoformat(AT).timestamp()

KEEP: dict[str, Any] = {
    "path": "keep.csv",
    "sha256": "bb",
    "ids": 300,
    "column": None,
    "sheet": None,
    "id_type": "email",
    "looked_up": False,
}

VALUES: dict[str, Any] = {
    "plan_format": 1,
    "tool": "bulkdel 1",
    "planned_at": AT,
    "planned_by": {"user": "anna", "machine": "m1", "as": None},
    "require_other_user": False,
    "job": "delete-users",
    "id_type": "email",
    "guards": {"only_status": ["Suspended"]},
    "options": {"limit": 100, "trim": False, "max_refused": "1%"},
    "backup": False,
    "parameters": {"group": "eng"},
    "table": {},
    "host": "https://api.example.com",
    "confirm_host": None,
    "pool": "p1",
    "export": {
        "name": "users.csv",
        "sha256": "aa",
        "bytes": 1000,
        "format": "csv",
        "compression": "none",
        "delimiter": ";",
        "header": True,
        "id_field": "E-Mail",
        "id_column": 2,
        "trim": False,
        "skip_invalid": False,
        "id_pattern": None,
    },
    "numbers": {"rows": 200_120, "ids": 199_787, "duplicate": 0, "excluded": 300, "invalid": 33},
    "exclude": [KEEP],
    "not_after": None,
    "digest": "dd",
    "sample": {"asked": 200, "found": 190},
    "shown": [["rows", "200,120 (300 excluded, 33 invalid)"]],
    "config": None,
    "command": {"names": ["delete-users", "users.csv"], "options": {"--limit": ["100"], "--trim": []}},
}


def changed(change: Callable[[dict[str, Any]], object], values: dict[str, Any] = VALUES) -> dict[str, Any]:
    """A copy with a change."""
    copy = deepcopy(values)
    change(copy)
    return copy


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """The change that sets a member."""

    def change(values: dict[str, Any]) -> None:
        *before, last = path.split(".")
        for name in before:
            values = values[name]
        values[last] = value

    return change


# ── the seal ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_written_is_read() -> None:
    text = text_of(sealed(VALUES))
    read = values_of(text)
    assert {name: value for name, value in read.items() if name not in {LINES, SHA256}} == VALUES
    assert text.startswith('{\n  "plan_format": 1,\n')
    assert values_of(json.dumps(read, indent=7)) == read, "another layout changes no value"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("numbers.ids", 199_000), "numbers.ids: 199,000 is not what was written"),
        (put("export.sha256", "ab"), "export.sha256: ab is not what was written"),
        (put("exclude", []), "exclude: was added\n  exclude.1.path: was removed"),
        (put("options.allow_absent", True), "options.allow_absent: was added"),
        (lambda values: values["options"].pop("limit"), "options.limit: was removed"),
        (lambda values: values["guards"]["only_status"].append("Active"), "guards.only_status.2: was added"),
        (put("planned_at", "2026-02-20T12:00:00.000Z"), "planned_at: 2026-02-20T12:00:00.000Z is not what"),
        (put("planned_by.user", "ben"), "planned_by.user: ben is not what was written"),
        (put("require_other_user", True), "require_other_user: yes is not what was written"),
        (put("export.header", False), "export.header: no is not what was written"),
        (put("numbers.ids", 10**30), f"numbers.ids: {10**30:,} is not what was written"),
        (put("confirm_host", ["a"]), "confirm_host.1: was added"),
        (put(SHA256, "0" * 64), "no line differs, but the digest over them is another"),
        (put(f"{LINES}.pool", "00000000"), None),  # the digest decides
        (lambda values: values.pop(LINES), "members 'lines' and 'sha256' are missing"),
        (lambda values: values.pop(SHA256), "members 'lines' and 'sha256' are missing"),
    ],
)
def test_an_edited_line_is_named(change: Callable[[dict[str, Any]], object], said: str | None) -> None:
    text = json.dumps(changed(change, sealed(VALUES)))
    if said is None:
        assert values_of(text)["pool"] == "p1"
        return
    with pytest.raises(Edited) as raised:
        values_of(text)
    assert said in str(raised.value)


@given(st.sampled_from([name for name, _ in leaves(VALUES) if name != "plan_format"]), st.integers(0, 10**6))
def test_any_other_value_is_named(name: str, value: int) -> None:
    """Every value of the file is sealed."""
    copy = sealed(VALUES)

    def change(at: Any, path: list[str]) -> None:
        key: Any = int(path[0]) - 1 if isinstance(at, list) else path[0]
        if len(path) > 1:
            change(at[key], path[1:])
        elif at[key] == value:
            at[key] = value + 1
        else:
            at[key] = value

    copy = deepcopy(copy)
    change(copy, name.split("."))
    with pytest.raises(Edited, match=f"(?m)^  {name}"):
        values_of(json.dumps(copy))


@mutant(
    "a plan is nested as deeply as its writer likes",
    "is_deep",
    swap("bool(level)", "level == [value]"),
)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"plan_format": NaN}', "NaN is no number"),
        ('{"plan_format": 1, "a": 1e999}', "1e999 is no number"),
        ('{"plan_format": 1, "a": ' + "[" * 50 + "]" * 50 + "}", "nested too deeply"),
        ("[1]", "no plan"),
        ('{"ids": 5}', "no plan"),
        (
            '{"plan_format": 2}',
            "this version reads 1. Make the plan anew with the version that runs it",
        ),
        ('{"plan_format": 1, "ids": 10, "ids": 5000}', "ids: is there twice"),
        ('{"plan_format": 1, "a": "\\ud800", "lines": {"plan_format": "83dcefb7"}, "sha256": "x"}', "a: was added"),
        ('{"plan_format": 1, "a": "\\ud800", "lines": {"a": "00"}, "sha256": "x"}', "is not what was written"),
    ],
)
def test_no_plan(text: str, said: str) -> None:
    with pytest.raises(NoPlanFile) as raised:
        values_of(text)
    assert said in str(raised.value)


@mutant(
    "a plan is used whose time is of several lines",
    "_seconds",
    swap("at.tzinfo is None or not text.isprintable()", "at.tzinfo is None"),
)
@mutant(
    "a plan is used that found more ids than it looked up",
    "_check_shape",
    swap('0 <= sample["found"] <= sample["asked"]', 'sample["found"] <= sample["asked"]'),
)
@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("planned_by"),
        put("planned_by", "anna"),
        put("numbers.ids", "5"),
        put("export.id_column", "2"),
        lambda values: values["export"].pop("format"),
        put("numbers.ids", True),
        lambda values: values["sample"].pop("found"),
        put("sample.asked", "200"),
        put("sample", {"asked": -5, "found": -5}),
        put("sample", {"asked": 1, "found": 2}),
        put("sample", {"asked": 1, "found": -1}),
        put("exclude", ["keep.csv"]),
        *(put("exclude", [{**KEEP, name: ["x"]}]) for name in KEEP),
        put("exclude", [{"sha256": "x"}]),
        put("shown", None),
        put("command.names", ["delete-users"]),
        put("command.names", ["delete-users", 5]),
        put("command.options", {"--trim": "yes"}),
        put("planned_at", "yesterday"),
        put("planned_at", "2026-01-31T12:00:00"),
        put("not_after", "18:00"),
        put("planned_at", AT.replace("T", "\n")),
        put("not_after", AT.replace("T", "\u2028")),
        put("host", "https://api.genauth.\u0430i"),
    ],
)
def test_a_forged_seal_hides_no_wrong_type(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(NoPlanFile, match=r"its (member|times)"):
        values_of(text_of(sealed(changed(change))))


@pytest.mark.parametrize("found", [0, 199, 200])
def test_a_sample_may_find_none_or_all(found: int) -> None:
    sample = {**VALUES["sample"], "asked": 200, "found": found}
    assert values_of(text_of(sealed({**VALUES, "sample": sample})))["sample"] == sample


def test_a_plan_may_be_nested_as_the_table_of_a_job() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    assert values_of(text_of(sealed({**VALUES, "table": {"a": deep}})))["table"] == {"a": deep}


# ── the age and the user ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("age_s", "until", "fault"),
    [
        (0, None, None),
        (VALID_S, None, None),
        (VALID_S + 1, None, "was valid until 2026-02-01T12:00:00.000Z"),
        (-AHEAD_S, None, None),
        (-AHEAD_S - 1, None, "one of the clocks is wrong"),
        (60, "2026-01-31T12:02:00+00:00", None),
        (120, "2026-01-31T12:02:00+00:00", "has passed"),
    ],
)
def test_the_age(age_s: float, until: str | None, fault: str | None) -> None:
    found = age_fault({**VALUES, "not_after": until}, AT_S + age_s)
    assert found is None if fault is None else (found is not None and fault in found)
    assert valid_until(VALUES) == "2026-02-01T12:00:00.000Z"


@pytest.mark.parametrize(
    ("planner", "runner", "same"),
    [
        (("anna", "m1", None), ("anna", "m1", None), True),
        (("anna", "m1", None), ("ben", "m1", None), False),
        (("anna", "m1", None), ("anna", "m2", None), False),
        (("ci", "m1", "anna"), ("ci", "m1", "ben"), False),
        (("ci", "m1", "anna"), ("ci", "m2", " Anna"), True),
        (("ci", "m1", "anna"), ("ci", "m1", None), True),
        (("anna", "m1", None), ("anna", "m1", "ben"), True),
        (("ci", "m1", "anna"), ("ben", "m1", None), False),
    ],
)
def test_the_same_user(planner: tuple[Any, ...], runner: tuple[Any, ...], same: bool) -> None:
    one, other = (dict(zip(("user", "machine", "as"), each, strict=True)) for each in (planner, runner))
    assert is_same_user(one, other) is same


# ── the differences ───────────────────────────────────────────────────────────────────────────────────────────────────

MADE_ANEW = {
    name: VALUES[name]
    for name in (
        *("job", "id_type", "guards", "options", "backup", "parameters", "table", "host", "confirm_host", "pool"),
        *("export", "numbers", "exclude", "not_after", "digest"),
    )
}


@mutant(
    "an exclude file of the plan may be left out",
    "_other_files",
    swap("identity not in new", "identity not in new and name in new.values()"),
)
@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("numbers.rows", 200_123, "rows: the plan has 200,120, now 200,123"),
        ("export.sha256", "ab", "sha256: the plan has aa, now ab"),
        ("export.id_field", "Mail", "id_field: the plan has E-Mail, now Mail"),
        (
            "host",
            "https://other.example.com",
            "host: the plan has https://api.example.com, now https://other.example.com",
        ),
        ("pool", "p2", "pool: the plan has p1, now p2"),
        ("job", "kick-users", "job: the plan has delete-users, now kick-users"),
        ("parameters.group", "ops", "--group: the plan has eng, now ops"),
        ("guards.only_status", ["Suspended", "Active"], "--only-status: the plan has Suspended, now Suspended, Active"),
        ("guards", {}, "--only-status: the plan has Suspended, now none"),
        ("guards.spare", ["active-since=2026-01-01"], "--spare: the plan has none, now active-since=2026-01-01"),
        ("options.limit", 10, "--limit: the plan has 100, now 10"),
        ("options", {"trim": False, "max_refused": "1%"}, "--limit: the plan has 100, now none"),
        ("options.allow_absent", True, "--allow-absent: the plan has none, now yes"),
        ("options.trim", True, "--trim: the plan has none, now yes"),
        ("backup", True, "backup: the plan has none, now yes"),
        ("table", {"path": "/x"}, "table path: the plan has none, now /x"),
        ("confirm_host", "api.example.com", "confirm_host: the plan has none, now api.example.com"),
        ("exclude", [], "exclude keep.csv: the plan has it with SHA-256 bb; it is not given now"),
        (
            "exclude",
            [{**KEEP, "sha256": "bc", "ids": 299}],
            "exclude keep.csv: the plan has it with SHA-256 bb; it was changed since",
        ),
        (
            "exclude",
            [{**KEEP, "id_type": "phone"}],
            "exclude keep.csv: the plan has it with SHA-256 bb; it has another column, sheet or id type now",
        ),
        (
            "exclude",
            [*VALUES["exclude"], {**KEEP, "path": "more.csv", "sha256": "cc"}],
            "exclude more.csv: the plan does not have it",
        ),
        ("digest", "de", "digest: the plan has dd, now de"),
        ("options.encoding", False, None),  # an option of a newer version that is not given
        ("export.name", "/mnt/users.csv", None),
        ("exclude", [{**KEEP, "path": "/mnt/keep.csv"}], None),
        ("not_after", "2026-01-31T18:00:00+00:00", None),
    ],
)
def test_each_difference_has_a_line(path: str, value: Any, said: str | None) -> None:
    found = differences(VALUES, changed(put(path, value), MADE_ANEW))
    assert found == ([] if said is None else [said])


def test_every_difference_at_once() -> None:
    now = changed(lambda values: (put("numbers.rows", 1)(values), put("pool", "p2")(values)), MADE_ANEW)
    assert len(differences(VALUES, now)) == 2
    assert differences(VALUES, {"pool": "p1"}) == [], "what is not known yet is not compared"
    objects = [changed(put("export.object", {"url": url, "version": {"etag": url}})) for url in ("a", "b")]
    assert differences(*objects) == [], "where an export lies is not compared"


@pytest.mark.parametrize(
    ("planned", "now", "said"),
    [
        (None, None, None),
        ("2026-01-31T18:00:00+00:00", "2026-01-31T18:00:00+00:00", None),
        ("2026-01-31T18:00:00+00:00", "2026-01-31T18:00:00+01:00", None),  # sooner
        ("2026-01-31T18:00:00+00:00", "2026-01-31T18:00:01+00:00", "now 2026-01-31T18:00:01+00:00"),
        ("2026-01-31T18:00:00+00:00", None, "now none"),
    ],
)
def test_a_run_may_stop_sooner_and_not_later(planned: str | None, now: str | None, said: str | None) -> None:
    found = differences({**VALUES, "not_after": planned}, {"not_after": now})
    assert found == [] if said is None else (len(found) == 1 and found[0].endswith(said))


@pytest.mark.parametrize(
    ("planned", "now", "differs"),
    [
        ((200, 200), (200, 160), False),
        ((200, 200), (200, 159), True),
        ((200, 100), (200, 141), True),
        ((5, 5), (5, 4), False),
        ((5, 5), (5, 3), True),
        ((0, 0), (0, 0), False),
        (None, (200, 10), False),
        ((200, 200), None, False),
    ],
)
def test_the_sample_may_differ_by_a_fifth(
    planned: tuple[int, int] | None,
    now: tuple[int, int] | None,
    differs: bool,
) -> None:
    one, other = (None if each is None else {"asked": each[0], "found": each[1]} for each in (planned, now))
    assert (sample_difference(one, other, begun=True) is not None) is differs


@mutant("a new run goes by a plan without a sample", "sample_difference", negate("not begun"))
def test_a_new_run_is_compared_with_a_sample() -> None:
    """The plan of a resume has none; it is no plan of a new run."""
    now = {"asked": 200, "found": 190}
    said = "sample: the plan has none, now 190 of 200 ids that were looked up exist"
    assert sample_difference(None, now, begun=False) == said
    assert sample_difference(None, now, begun=True) is None
    assert sample_difference(None, None, begun=False) is None
    assert sample_difference(now, now, begun=False) is None


@pytest.mark.parametrize("name", sorted(COMPARED | OF_THE_MACHINE | OF_THE_COMMAND | {"unheard_of", "\x1b[2J"}))
def test_a_plan_with_an_option_of_no_list_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "plan.json"
    options = {**VALUES["command"]["options"], option_of(name): ["x"]}
    file.write_text(text_of(sealed(changed(put("command.options", options)))))
    with pytest.raises(UsageError, match="No plan may") as raised:
        PlanFile.read(file)
    assert "\x1b" not in str(raised.value)


@mutant(
    "a plan that has no value for an option gives it the value of a flag",
    "PlanFile.read",
    swap("not values and option not in flags", "not values and option not in plan.options"),
)
def test_an_option_of_a_plan_that_is_no_flag_needs_a_value(tmp_path: Path) -> None:
    """Without one, `--exclude` would read a file of the name `true`."""
    file = tmp_path / "plan.json"
    for option, said in (("--exclude", "no value for --exclude"), ("--look-first", "")):
        file.write_text(text_of(sealed(changed(put("command.options", {option: []})))))
        if not said:
            assert PlanFile.read(file).options == {option: ()}
            continue
        with pytest.raises(UsageError, match=said):
            PlanFile.read(file)


def test_a_plan_sets_the_options_of_its_list_and_of_its_job(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    options = {**{option_of(name): ["x"] for name in FROM_PLAN}, "--app": ["a1"]}
    values = changed(put("command", {"names": ["kick-users", "users.csv"], "options": options}))
    file.write_text(text_of(sealed(values)))
    assert PlanFile.read(file).options.keys() == options.keys()
    for elsewhere in ({"--exclude": ["keep.csv", "https://a.example/k:Mail"]}, {"--shards": ["8@ray"]}):
        file.write_text(text_of(sealed(changed(put("command.options", elsewhere)))))
        with pytest.raises(UsageError, match=f"gives {next(iter(elsewhere))} an address or an engine. No plan may"):
            PlanFile.read(file)
    file.write_text(text_of(sealed(changed(put("command.options", {"--app": ["a1"]})))))
    with pytest.raises(UsageError, match="sets --app"):
        PlanFile.read(file)
