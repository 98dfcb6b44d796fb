"""A run that is cut off from its store while it still reaches the API: two machines, by a network namespace.

The oracle is what comes to the API from the other machine: nothing may, after the fence of the successor and 1.1
leases.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness import assert_in_time, case, finish, steady, user_ids, wait_until
from tests.netns import another_machine, relayed
from tests.objectserver import ObjectServer, object_server
from tests.store_child import started

IDS = user_ids(600, seed=51)
LEASE_S = 2.0


def fence(store: ObjectServer, pid: int) -> int | None:
    """The number of the first line that the process with this pid has written."""
    for number, line in enumerate(store.lines("/bucket/run"), 1):
        if any(entry.get("event") == "start" and entry["pid"] == pid for entry in json.loads(line)["entries"]):
            return number
    return None


@pytest.mark.soak
@pytest.mark.parametrize("take_over", [False, True])
def test_a_run_without_its_store_sends_nothing_after_it_was_taken_over(take_over: bool, tmp_path: Path) -> None:
    """When the link is mended, the old process ends with exit code 5, and names its successor."""

    def scenario(folder: Path) -> None:
        options: dict[str, Any] = {"rate": 100.0, "chunk_size": 1, "lease_s": LEASE_S, "patience": 60.0}
        url = "s3://bucket/run"
        with case(folder, IDS, latency_s=0.05) as it, object_server() as store, another_machine() as machine:
            with relayed(machine, it.served.url) as api, relayed(machine, store.url) as far:
                call = (url, it.export, it.served.url, 600)
                with started(*call, environ=store.environ, prefix=machine.prefix, **options) as old:
                    wait_until(lambda: it.served.pool.deleted >= 60, old)
                    far.link.cut()
                    options |= {"take_over": take_over, "rate": 0.0}
                    with started(*call, environ=store.environ, **options) as new:
                        wait_until(lambda: fence(store, new.pid) is not None, new)
                        fenced_at = time.monotonic()
                        ended = finish(new)
                    assert ended.code == 0, ended
                    assert_in_time(max(api.heard) <= fenced_at + 1.1 * LEASE_S)
                    far.link.mend()
                    thawed = finish(old)
                    assert thawed.code == 5, thawed
            assert it.effects(IDS) == [1] * 600

    steady(scenario, tmp_path)
