"""Examples of docs/http-job.md against independent servers, as processes: SCIM by scim2-server, S3 by moto.

The servers' own lists are the oracle. `make test-http` installs them.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest

from tests.harness import Ran, bulkdel
from tests.httppage import Example, block, misspelt
from tests.installed import installed, outcomes
from tests.places import log_of
from tests.waits import WAIT_MAX_S

TOKEN = "scim-token-canary-0123456789"
AWS = {"AWS_ACCESS_KEY_ID": "AKIACANARY0000000000", "AWS_SECRET_ACCESS_KEY": "aws-secret-canary-0123456789"}
HOSTILE = ["../other/1", "a/b", "a//b", "%2e%2e", "a,b", 'a"b', "a&b", "a<b>]]>", "a?b", "a#b", "..", "é 😀", "'"]


@contextmanager
def server(program: str, *options: str, target: str = "test-http") -> Iterator[str]:
    """Run a server that lies beside this Python; yields its URL."""
    path = shutil.which(program, path=str(Path(sys.executable).parent))
    if path is None:
        pytest.skip(f"nothing was sent to {program}, because it is not installed: make {target}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [path, *options, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            until = time.monotonic() + WAIT_MAX_S
            while True:
                with socket.socket() as trial:
                    if trial.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def ask(method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    request = urllib.request.Request(url, body, dict(headers or {}), method=method)
    with urllib.request.urlopen(request, timeout=WAIT_MAX_S) as answer:
        found: bytes = answer.read()
    return found


# SCIM 2.0


class Scim:
    """Users and groups of the server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/scim+json"}

    def make(self, kind: str, **members: Any) -> str:
        schema = f"urn:ietf:params:scim:schemas:core:2.0:{kind.removesuffix('s')}"
        body = json.dumps({"schemas": [schema], **members}).encode()
        return str(json.loads(ask("POST", f"{self.url}/v2/{kind}", body, self.headers))["id"])

    def ids(self, kind: str) -> set[str]:
        listed = json.loads(ask("GET", f"{self.url}/v2/{kind}?count=1000", None, self.headers))
        return {each["id"] for each in listed.get("Resources", [])}


@pytest.fixture
def scim() -> Iterator[Scim]:
    with server("scim2-server", "--bearer-token", TOKEN) as url:
        yield Scim(url)


def test_scim_users_are_deleted_and_nothing_else(scim: Scim, tmp_path: Path) -> None:
    ids = [scim.make("Users", userName=f"user{n}") for n in range(40)]
    group = scim.make("Groups", displayName="staff")
    *gone, kept = ids
    hostile = [f"x?filter={kept}", f"{kept},{gone[0]}"]
    it = Example(tmp_path, block("scim"), scim.url, {"SCIM_TOKEN": TOKEN})
    plan = it.run("plan", *gone)
    assert (plan.code, "39 of 39 looked up exist" in plan.out) == (0, True), plan
    for id_ in (
        f"../Groups/{group}",
        f"%2e%2e%2fGroups%2f{group}",
        f"..%2FGroups%2F{group}",
        "..",
        f"{kept}/",
        f"{kept} ",
    ):
        assert it.run("run", *gone, id_).code == 3
    assert scim.ids("Users") == set(ids)
    ran = it.run("run", *gone, *hostile, options=("--look-first",))
    assert (ran.code, outcomes(ran)) == (4, {"done": 39, "remaining": 2}), ran
    assert "Their ids have a capital letter, a dot, or a character other than" in ran.err, ran
    assert (scim.ids("Users"), scim.ids("Groups")) == ({kept}, {group})
    verified = it.verify()
    assert (verified.code, verified.summary["gone"]) == (0, 39), verified


@pytest.mark.parametrize("look_up", [True, False])
def test_scim_with_a_misspelt_path_deletes_nothing(scim: Scim, tmp_path: Path, look_up: bool) -> None:
    ids = [scim.make("Users", userName=f"user{n}") for n in range(30)]
    text = misspelt(block("scim"))
    it = Example(tmp_path, text if look_up else text.partition("[http.look_up]")[0], scim.url, {"SCIM_TOKEN": TOKEN})
    ran = it.run("run", *ids)
    assert ran.code == 4, ran
    assert "code 404" in ran.err
    assert "done" not in outcomes(ran)
    assert scim.ids("Users") == set(ids)


# Amazon S3


class S3:
    """Two buckets of the server."""

    def __init__(self, url: str) -> None:
        self.url = url
        for bucket in ("exports", "other"):
            ask("PUT", f"{url}/{bucket}", b"")

    def put(self, bucket: str, *keys: str) -> None:
        for key in keys:
            ask("PUT", f"{self.url}/{bucket}/{quote(key, safe='')}", b"x")

    def keys(self, bucket: str) -> set[str]:
        listed = ET.fromstring(ask("GET", f"{self.url}/{bucket}?list-type=2&max-keys=1000"))
        return {str(one.text) for one in listed.iterfind("{*}Contents/{*}Key")}


@pytest.fixture
def s3() -> Iterator[S3]:
    if importlib.util.find_spec("botocore") is None:
        pytest.skip("nothing was sent to S3, because botocore is not installed: make test-http")
    with server("moto_server") as url:
        yield S3(url)


def delete(s3: S3, folder: Path, *keys: str, source: str, bucket: str = "exports") -> Ran:
    export = folder / "keys.jsonl"
    export.write_text("".join(json.dumps(key) + "\n" for key in keys))
    env = {**installed(folder / "site", source, "delete-s3-objects", "DeleteS3Objects"), **AWS}
    pool = f"{s3.url.removeprefix('http://')}/{bucket}"
    words = ("run", "delete-s3-objects", export, "--bucket", bucket, "--host", s3.url, "--rate", 0, "--json")
    return bulkdel(*words, "--confirm", len(set(keys)), "--pool", pool, env=env)


def test_s3_objects_are_deleted_and_nothing_else(s3: S3, tmp_path: Path) -> None:
    keys = [*HOSTILE, *(f"users/{n:04d}.json" for n in range(1_200))]
    s3.put("exports", *HOSTILE, *keys[-30:], "kept", "a", "b")
    s3.put("other", "1", "a/b")
    ran = delete(s3, tmp_path, *keys, source=block("s3"))
    assert (ran.code, outcomes(ran)) == (0, {"done": len(keys)}), ran
    assert s3.keys("exports") == {"kept", "a", "b"}
    assert s3.keys("other") == {"1", "a/b"}
    log = log_of(tmp_path / "keys.jsonl", "delete-s3-objects")
    assert AWS["AWS_SECRET_ACCESS_KEY"] not in ran.err + log.read_text()


@pytest.mark.parametrize(
    ("right", "wrong"), [('f"/{segment(bucket)}"', 'f"/{segment(bucket)}s"'), ('("delete", "")', '("remove", "")')]
)
def test_s3_with_a_misspelt_path_deletes_nothing(s3: S3, tmp_path: Path, right: str, wrong: str) -> None:
    keys = [f"users/{n}.json" for n in range(30)]
    s3.put("exports", *keys)
    source = block("s3").replace(right, wrong)
    assert source != block("s3")
    ran = delete(s3, tmp_path, *keys, source=source)
    assert (ran.code, "done" in outcomes(ran)) == (4, False), ran
    assert s3.keys("exports") == set(keys)
