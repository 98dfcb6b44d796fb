"""The log of a run in S3 as moto imitates it. `make test-store` installs moto."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_http_servers import ask, server
from tests.e2e.test_store import summary
from tests.harness import KEYS, bulkdel, case, finish, kill, user_ids, wait_for_arrivals
from tests.store_child import ran, started

IDS = user_ids(600, seed=17)
URL = "s3://runs/night/leavers"


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    with server("moto_server", target="test-store") as url:
        ask("PUT", f"{url}/runs", b"")
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "AKIAMOTO",
            "AWS_SECRET_ACCESS_KEY": "moto-secret",
            "AWS_REGION": "us-east-1",
        }


def test_killed_taken_over_and_verified(environ: dict[str, str], tmp_path: Path) -> None:
    options: dict[str, Any] = {"environ": environ, "rate": 150.0, "chunk_size": 5}
    with case(tmp_path, IDS, users=[*IDS, "f" * 24], latency_s=0.02) as it:
        with started(URL, it.export, it.served.url, 600, **options) as first:
            it.wait_until_deleted(100)
            kill(first)
        ended = ran(URL, it.export, it.served.url, 600, **options)
        assert ended.code == 0, ended
        assert it.effects(IDS) == [1] * 600
        env = {**KEYS, **environ}
        audited = bulkdel("status", URL, "--audit", "--json", env=env)
        assert audited.code == 0, audited.err
        status = bulkdel("status", URL, "--json", env=env)
        assert status.summary["log_sha256"] == summary(ended)["log_sha256"]
        verified = bulkdel("verify", URL, "--host", it.served.url, "--rate", 0, "--json", env=env)
        assert (verified.code, verified.found()) == (0, (600, 0, 0)), verified.err
        results = bulkdel("results", URL, env=env)
        assert results.out.count('"deleted"') == 600


def test_a_stopped_process_is_fenced(environ: dict[str, str], tmp_path: Path) -> None:
    options: dict[str, Any] = {"environ": environ, "rate": 100.0, "chunk_size": 1}
    with (
        case(tmp_path, IDS, latency_s=0.05) as it,
        started(URL, it.export, it.served.url, 600, **options) as old,
    ):
        it.wait_until_deleted(60)
        old.send_signal(signal.SIGSTOP)
        wait_for_arrivals(it.served)
        ended = ran(URL, it.export, it.served.url, 600, **options | {"rate": 0.0})
        assert ended.code == 0, ended
        wait_for_arrivals(it.served)
        at = it.served.ledger.requests
        old.send_signal(signal.SIGCONT)
        assert finish(old).code == 5
        wait_for_arrivals(it.served)
        assert it.served.ledger.requests == at
        assert it.effects(IDS) == [1] * 600
