"""`bulkdel sandbox` as a process: what it announces, what its switches do, how it stops."""

from __future__ import annotations

import dataclasses
import json
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from genauth import ManagementClient
from python_calamine import load_workbook

from bulkdel_jobs.sandbox import SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, SANDBOX_POOL_ID, Switches
from bulkdel_jobs.sandbox.people import ADMINISTRATORS, GROUPS
from tests.harness import KEYS, bulkdel, finish, names_in, start, user_ids, write_objects
from tests.waits import WAIT_MAX_S


@contextmanager
def served(*args: object, cwd: Path | None = None) -> Iterator[tuple[dict[str, Any], subprocess.Popen[bytes]]]:
    """A sandbox in its own process, and the line in which it says where it is."""
    process = start("sandbox", *args, env={}, cwd=cwd)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline()), process
    finally:
        if process.poll() is None:
            process.kill()
            finish(process)


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=WAIT_MAX_S) as answer:
        return json.loads(answer.read())


@pytest.mark.traced
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_announces_itself_and_stops_on_a_signal(signum: int) -> None:
    with served("--users", 70) as (where, process):
        assert where.pop("url").startswith("http://127.0.0.1:")
        assert where == {
            "pool": SANDBOX_POOL_ID,
            "key_id": SANDBOX_KEY_ID,
            "key_secret": SANDBOX_KEY_SECRET,
            "users": 70,
        }
        process.send_signal(signum)
        ran = finish(process)
    assert ran.code == 0
    assert ran.out == ""  # the one line has been read
    assert "Stopped after 0 requests; 0 users were deleted." in ran.err


def test_its_users_are_in_groups_and_have_roles() -> None:
    access = ("--group", "eng", "--group", "ops", "--role", "admin", "--namespace", "shop")
    with served("--users", 3, "--plain", *access) as (where, _):
        client = ManagementClient(SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, host=where["url"])
        assert [group["code"] for group in client.get_all_groups()["data"]] == ["eng", "ops"]
        ids = [user["userId"] for user in client.list_group_members("ops")["data"]["list"]]
        assert len(ids) == 3
        assert [user["userId"] for user in client.list_role_members("admin", namespace="shop")["data"]["list"]] == ids
        client.remove_group_members(ids[:2], "eng")
        client.revoke_role_batch(
            [{"targetType": "USER", "targetIdentifier": ids[2]}], [{"code": "admin", "namespace": "shop"}]
        )
        with urllib.request.urlopen(f"{where['url']}/sandbox/effects", timeout=WAIT_MAX_S) as answer:
            effects = [json.loads(line) for line in answer]
        assert effects == [
            {"kind": "group-removed", "id": f"eng/{ids[0]}", "count": 1, "again": 0},
            {"kind": "group-removed", "id": f"eng/{ids[1]}", "count": 1, "again": 0},
            {"kind": "role-revoked", "id": f"shop/admin/{ids[2]}", "count": 1, "again": 0},
        ]


@pytest.mark.traced
def test_what_it_tells_a_person_works_as_it_stands(tmp_path: Path) -> None:
    """Export of its own ids → the plan it names → the run that the plan names."""
    with served("--users", 120, "--write-ids", "practice.jsonl", "--unknown-ids", "refuse", cwd=tmp_path) as (
        where,
        up,
    ):
        assert up.stderr is not None
        lines = [up.stderr.readline().decode() for _ in range(3)]
        assert lines[1].split() == ["export", *(f"{name}={value}" for name, value in KEYS.items())]
        words = lines[2].split()
        assert words[0] == "bulkdel"
        plan = bulkdel(*words[1:], cwd=tmp_path)
        assert plan.code == 0
        run = bulkdel(*plan.out.splitlines()[-1].split()[1:], "--json", cwd=tmp_path)
        assert (run.code, run.counts()) == (0, {"deleted": 120})
        assert get(f"{where['url']}/sandbox/ledger")["deleted"] == 120


def test_writes_what_a_crm_and_a_manager_have(tmp_path: Path) -> None:
    """The files are there when it says so, and again when it starts again."""
    for _ in range(2):
        with served("--users", 600, "--write-csv", "crm.csv", "--write-vips", "vips.xlsx", cwd=tmp_path) as (_, up):
            assert names_in(tmp_path) == ["crm.csv", "vips.xlsx"]
            assert up.stderr is not None
            told = list(iter(up.stderr.readline, b"Ctrl-C stops it.\n"))
    assert b"crm.csv is written: most of the users, as a CRM exports them.\n" in told
    assert b"  bulkdel plan delete-users crm.csv --host " in b"".join(told)
    rows = (tmp_path / "crm.csv").read_bytes()
    assert rows.startswith("\ufeffName;E-Mail;Last order\r\nAnna Albrecht;Anna.Albrecht0@".encode())
    addresses = [row.split(";")[1] for row in rows.decode().splitlines()[1:]]
    users = [address.lower() for address in addresses if "@" in address]
    assert (len(addresses), len(users), len(set(users))) == (484, 482, 480)
    with (tmp_path / "vips.xlsx").open("rb") as file:
        (sheet,) = load_workbook(file).sheet_names
    assert sheet == "VIPs"


def test_its_users_are_people(tmp_path: Path) -> None:
    """Each guard spares some of them, here and in a run with --sandbox."""
    guards = ("--spare", "active-since=90d", "--spare", "created-after=30d", "--only-status", "Activated")
    with served("--users", 200, "--write-ids", "users.jsonl", cwd=tmp_path) as (where, _):
        client = ManagementClient(SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, host=where["url"])
        assert [group["code"] for group in client.get_all_groups()["data"]] == [*GROUPS]
        assert client.list_role_members("admin")["data"]["totalCount"] == ADMINISTRATORS
        for server in (("--host", where["url"], "--confirm", 200, "--pool", SANDBOX_POOL_ID), ("--sandbox",)):
            ran = bulkdel("run", "delete-users", "users.jsonl", *server, *guards, "--json", cwd=tmp_path)
            assert ran.code == 0, ran
            assert ran.summary["spared"] == {"active since": 40, "created after": 6, "status": 24}


def test_users_from_an_export_by_another_type_in_another_pool(tmp_path: Path) -> None:
    export = write_objects(tmp_path / "mail.jsonl", [f"u{n}@x.example" for n in range(60)], "mail")
    with served("--users", export, "--id-type", "email", "--id-field", "mail", "--pool-id", "p-2") as (where, process):
        assert (where["users"], where["pool"]) == (60, "p-2")
        options = ("--id-type", "email", "--id-field", "mail", "--host", where["url"])
        run = bulkdel("run", "delete-users", export, *options, "--confirm", 60, "--pool", "p-2", "--json")
        assert (run.code, run.counts()) == (0, {"deleted": 60})
        process.send_signal(signal.SIGINT)
        err = finish(process).err
    assert f"bulkdel plan delete-users {export} --host {where['url']} --id-type email --id-field mail" in err


def test_made_up_users_by_another_type(tmp_path: Path) -> None:
    with served("--users", 3, "--id-type", "email", "--write-ids", tmp_path / "ids"):
        ids = [json.loads(line)["id"] for line in (tmp_path / "ids").read_text().splitlines()]
    assert len(ids) == 3
    assert all("@" in id_ for id_ in ids)


def test_public_accounts_are_made_up_or_read(tmp_path: Path) -> None:
    ids = user_ids(2)
    for accounts, id_, left in ((write_objects(tmp_path / "accounts.jsonl", ids), ids[0], 1), (3, None, 2)):
        with served("--users", 3, "--write-ids", tmp_path / f"{left}.jsonl", "--public-accounts", accounts) as (
            where,
            _,
        ):
            made_up = json.loads((tmp_path / f"{left}.jsonl").read_text().splitlines()[0])["id"]
            client = ManagementClient(SANDBOX_KEY_ID, SANDBOX_KEY_SECRET, host=where["url"])
            client.delete_public_accounts_batch([id_ or made_up])
            assert client.list_public_accounts()["data"]["totalCount"] == left
            assert get(f"{where['url']}/sandbox/ledger")["users"] == 3
            effect = get(f"{where['url']}/sandbox/effects?public=true")
            assert effect == {"kind": "deleted", "id": id_ or made_up, "count": 1, "again": 0}


def test_ids_of_any_shape(tmp_path: Path) -> None:
    export = write_objects(tmp_path / "own.jsonl", ["one", "two"])
    assert bulkdel("sandbox", "--users", export, "--check-id-shape").code == 3
    with served("--users", export) as (where, _):
        assert where["users"] == 2


def test_switches_reach_the_server() -> None:
    bad = user_ids(1)[0]
    options: Sequence[object] = (
        *("--retry-after", "date", "--rate-per-s", 150, "--share-drop-after", 0.25),
        *("--poisonous", f"{bad}=409:2333", "--poisonous", "x", "--liar", "y", "--fault-path", "/api/v3/list-users"),
        *("--lockout-s", 1.5),
    )
    with served(*options) as (where, _):
        switches = get(f"{where['url']}/sandbox/switches")
    assert Switches().changed(switches) == Switches(
        retry_after="date",
        rate_per_s=150,
        share_drop_after=0.25,
        poisonous={bad: (409, 2333), "x": (422, None)},
        liars=frozenset({"y"}),
        fault_paths=frozenset({"/api/v3/list-users"}),
        lockout_s=1.5,
    )


def test_every_switch_is_an_option() -> None:
    help_ = bulkdel("sandbox", "--help", env={"COLUMNS": "200"}).out
    renamed = {"liars": "liar", "fault_paths": "fault-path"}
    names = {renamed.get(one.name, one.name.replace("_", "-")) for one in dataclasses.fields(Switches)}
    assert {name for name in names if f"--{name} " not in help_} == set()


@pytest.mark.traced
def test_refuses_to_start(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        cases: list[tuple[list[object], int, str]] = [
            (["--port", other.getsockname()[1]], 2, "in use"),
            (["--port", 70_000], 2, "--port"),
            (["--id-type", "colour"], 2, "known are user_id"),
            (["--share-429", 2], 2, "shares must be between 0 and 1"),
            (["--poisonous", ""], 2, "needs an id"),
            (["--users", tmp_path / "none"], 3, "none"),
            (["--write-ids", taken], 2, "is there already"),
            (["--write-ids", tmp_path / "no" / "folder"], 5, "No such file"),
        ]
        for options, code, message in cases:
            ran = bulkdel("sandbox", *options, env={})
            assert (ran.code, ran.out) == (code, ""), ran
            assert message in ran.err
            assert "Traceback" not in ran.err


def test_help_lists_the_commands_of_the_jobs() -> None:
    listed = bulkdel("--help").out
    assert "Serve a look-alike of the GenAuth API" in listed
    assert "Show a whole run on a sandbox" in listed
    assert "--unknown-ids" in bulkdel("sandbox", "--help").out
