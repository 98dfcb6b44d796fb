"""The walk of `make test-sdks` with the SDK that the tests install: it gets through, and it notices what is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.sdks.walk import Sdk, counted, offboard, sandbox

CALL = Path(__file__).parents[1] / "sdks" / "call.py"
BULKDEL = str(Path(sys.executable).with_name("bulkdel"))


@contextmanager
def genauth(*switches: str) -> Iterator[tuple[Sdk, str]]:
    with sandbox(BULKDEL, *switches) as where:
        words = [sys.executable, str(CALL), "genauth", where["url"], where["key_id"], where["key_secret"]]
        sdk = Sdk(words, dict(os.environ))
        try:
            yield sdk, where["url"]
        finally:
            sdk.close()


def test_the_walk_has_exactly_the_effects_that_it_expects() -> None:
    with genauth() as (sdk, url):
        users, public = offboard(sdk)
        assert sdk.missing == set()
        assert (counted(url), counted(url, public=True)) == (users, public)
        stays = next(user["userId"] for user in sdk.ask("listUsers")["list"])
        for _ in range(2):
            sdk.ask("deleteUsersBatch", userIds=[stays])
        assert counted(url) - users == {("deleted", stays): 1, ("deleted again", stays): 1}


def test_the_walk_stops_at_a_call_that_is_answered_with_a_lie() -> None:
    with genauth("--liar", "5a9db0c5a9db0c5a00000003") as (sdk, _), pytest.raises(AssertionError):
        offboard(sdk)
    assert sdk.asked == "updateUserBatch"
