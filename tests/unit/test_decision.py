"""What a lost reply means."""

from __future__ import annotations

import pytest

from bulkdel.core.decision import Act, Lost, Setup, lost


@pytest.mark.parametrize("sent", [True, False])
def test_a_lost_reply_taints_unless_the_request_never_left(sent: bool) -> None:
    verdict = lost(Lost("connection reset", sent))
    assert (verdict.act, verdict.reason) == (Act.RETRY, "connection reset")
    assert verdict.tainting is sent
    assert verdict.untouched is not sent


@pytest.mark.parametrize("setup", Setup)
def test_a_wrong_setup_halts_and_says_what_to_do(setup: Setup) -> None:
    verdict = lost(Lost("no connection", sent=False, setup=setup))
    assert (verdict.act, verdict.untouched) == (Act.HALT, True)
    assert verdict.reason == f"no connection; {setup.value}"
