"""What the event loop has to tell."""

from __future__ import annotations

import asyncio

import pytest

from runner.loops import OnSignal, run_loop_draining
from runner.shutdown import Signals


@pytest.mark.parametrize("error", [ValueError("canary"), None])
def test_a_failure_that_nobody_waited_for_is_told_without_its_text(
    error: Exception | None, capfd: pytest.CaptureFixture[str]
) -> None:
    async def main(_: OnSignal) -> None:
        context = {"message": "it failed", **({} if error is None else {"exception": error})}
        asyncio.get_running_loop().call_exception_handler(context)

    run_loop_draining(main, Signals())
    told = capfd.readouterr().err
    assert told.startswith("bulkdel: it failed\n")
    assert ("ValueError" in told) is (error is not None)
    assert "canary" not in told
