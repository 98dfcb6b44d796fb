"""Exports in S3 as moto imitates it, with the credentials of a profile. `make test-store` installs both."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_far_exports import IDS, rows
from tests.e2e.test_http_servers import server
from tests.harness import KEYS, POOL, Ran, bulkdel, sandbox
from tests.objectserver import Fault, object_server
from tests.places import log_of

SECRET = "profile-secret-canary-0123456789"
ADDRESS = "s3://exports/night/users.jsonl"


def variables(url: str, folder: Path) -> dict[str, str]:
    """A profile in the files that the AWS tools read, and no key in the environment."""
    if importlib.util.find_spec("botocore") is None:
        pytest.skip("no profile was read, because botocore is not installed: make test-store")
    home = folder / "aws"
    home.mkdir()
    (home / "credentials").write_text(f"[night]\naws_access_key_id = AKIANIGHT\naws_secret_access_key = {SECRET}\n")
    (home / "config").write_text("[profile night]\nregion = eu-west-1\n")
    aws = {"AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"), "AWS_CONFIG_FILE": str(home / "config")}
    return {**KEYS, **aws, "AWS_PROFILE": "night", "AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true"}


def client(url: str) -> Any:
    """The bucket's owner."""
    from botocore.session import Session

    keys = {"aws_access_key_id": "owner", "aws_secret_access_key": "owner", "region_name": "us-east-1"}
    return Session().create_client("s3", endpoint_url=url, **keys)


def does(command: str, host: str, folder: Path, env: Mapping[str, str], *more: object) -> Ran:
    confirmed: tuple[Any, ...] = ("--confirm", len(IDS), "--pool", POOL, "--json") if command == "run" else ()
    words = (command, "delete-users", ADDRESS, "--host", host, "--rate", 0, *confirmed, *more)
    ran = bulkdel(*words, cwd=folder, env=env)
    assert SECRET not in ran.out + ran.err
    return ran


def test_an_export_in_s3(tmp_path: Path) -> None:
    """The bucket has versions, and the log has the one that was read."""
    with server("moto_server", target="test-store") as url, sandbox(IDS) as served:
        env = variables(url, tmp_path)
        owner, where = client(url), {"Bucket": "exports", "Key": "night/users.jsonl"}
        owner.create_bucket(Bucket="exports")
        owner.put_bucket_versioning(Bucket="exports", VersioningConfiguration={"Status": "Enabled"})
        owner.put_object(**where, Body=rows(IDS))
        planned = does("plan", served.url, tmp_path, env)
        assert planned.code == 0, planned.err
        latest = owner.put_object(**where, Body=rows(IDS[::-1]))["VersionId"]
        log = log_of(tmp_path / "users.jsonl")
        ran = does("run", served.url, tmp_path, env)
        assert (ran.code, served.pool.deleted) == (0, len(IDS)), ran.err
        header = json.loads(log.read_text().splitlines()[0])["entries"][0]
        assert header["export_object"]["version"] == latest
        assert SECRET.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_the_key_of_a_profile_signs(tmp_path: Path) -> None:
    with object_server() as bucket, sandbox(IDS) as served:
        bucket.put("/exports/night/users.jsonl", rows(IDS))
        bucket.meets(Fault(after=500))
        ran = does("run", served.url, tmp_path, variables(bucket.url, tmp_path))
        assert (ran.code, served.pool.deleted) == (0, len(IDS)), ran.err
        signed = [asked.headers["authorization"] for asked in bucket.asked]
        assert len(signed) == 2
        assert all("Credential=AKIANIGHT/" in each and "/eu-west-1/s3/" in each for each in signed)
