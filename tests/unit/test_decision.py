"""What a lost reply means."""

from __future__ import annotations

import pytest

from bulkdel.core.decision import NextStep, NoResponse, Setup, decision_on_no_response


@pytest.mark.parametrize("sent", [True, False])
def test_a_lost_response_means_maybe_applied_unless_the_request_never_left(sent: bool) -> None:
    decision = decision_on_no_response(NoResponse("connection reset", sent))
    assert (decision.next_step, decision.reason) == (NextStep.RETRY, "connection reset")
    assert decision.maybe_applied is sent
    assert decision.untouched is not sent


@pytest.mark.parametrize("setup", Setup)
def test_a_wrong_setup_halts_and_says_what_to_do(setup: Setup) -> None:
    decision = decision_on_no_response(NoResponse("no connection", sent=False, setup=setup))
    assert (decision.next_step, decision.untouched) == (NextStep.HALT, True)
    assert decision.reason == f"no connection; {setup.value}"
