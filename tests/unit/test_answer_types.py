"""The types of an answer over the control socket: another program may have given it."""

from __future__ import annotations

from typing import Any

import pytest

from bulkdel.core.answer_types import check_answer
from bulkdel.core.json_types import Mismatch
from bulkdel.core.latency import BOUNDS_S
from tests.mutants import mutant
from tests.syntax import swap

BATCH: dict[str, Any] = {"run_id": "batch-1"}
STARTING = BATCH | {"job": "delete-users", "host": "h", "pool": None, "pid": 7, "state": "starting"}
STARTING |= {"doing": "reading", "names": {"done": "deleted"}}
SENDING = STARTING | dict.fromkeys(("rows", "settled", "remaining", "left_out", "requests", "retries", "throttled"), 3)
SENDING |= {
    "in_flight": 1,
    "concurrency": 16,
    "counts": {"deleted": 3},
    "refused": {},
    "left_out_by": {"duplicate": 3},
    "confirm": None,
    "waiting": None,
}
SENDING |= {"rate": {"allowed": 50, "used": 4.5, "binding": None}, "until": None, "breaker": "closed", "per_s": 0.5}
SENDING |= {"left_s": None, "latency": {"bounds_s": [0.1], "counts": [0] * (len(BOUNDS_S) + 1), "sum_s": 0.0}}


def answer(status: Any, text: Any = "", ok: Any = True) -> dict[str, Any]:
    return {"ok": ok, "text": text, "status": status}


@pytest.mark.parametrize("status", [BATCH, STARTING, SENDING, None])
def test_an_answer(status: dict[str, Any] | None) -> None:
    check_answer(answer(status, "stops"))
    if status is not None and "state" in status:
        check_answer(answer(status))


@mutant(
    "the members of an answer have any types",
    "check_answer",
    swap("_CHECKS[kind](answer)", '_CHECKS["none"]({**answer, "status": None})'),
)
@pytest.mark.parametrize(
    "wrong",
    [
        *(
            None,
            5,
            [],
            {},
            {"ok": True},
            answer(STARTING, 5),
            answer(STARTING, ok=1),
            answer(5, "x"),
            answer([], "x"),
            answer(["state"]),
        ),
        *(answer(None), answer(BATCH), answer({"run_id": 5}, "x"), answer({**STARTING, "doing": ["x"]})),
        *(
            answer({**SENDING, name: "x"})
            for name in SENDING
            if name not in {*STARTING, "breaker", "confirm", "waiting"}
        ),
        *(answer({name: each for name, each in SENDING.items() if name != missing}) for missing in ("rows", "rate")),
        answer({**STARTING, "rows": 5}),
        answer({**SENDING, "latency": {**SENDING["latency"], "counts": [0]}}),
        answer({**SENDING, "latency": {**SENDING["latency"], "counts": [0.5] * (len(BOUNDS_S) + 1)}}),
    ],
)
def test_what_is_no_answer(wrong: Any) -> None:
    with pytest.raises((TypeError, LookupError, Mismatch)):
        check_answer(wrong)
