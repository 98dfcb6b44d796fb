"""Items between an actor and what placed it: each arrives once and in its order, whatever is lost or sent twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bulkdel.fleet.on_ray.relay import ANSWER_BYTES, Incoming, Kind, Outgoing
from tests.mutants import mutant
from tests.syntax import swap


@mutant(
    "an item that arrives twice counts twice",
    "Incoming.fresh",
    swap("(number := item[0]) > self.number", "(number := item[0]) >= self.number"),
)
@given(st.lists(st.sampled_from(["add", "call", "call twice", "answer lost", "call lost"]), max_size=60))
def test_every_item_arrives_once_and_in_its_order(steps: list[str]) -> None:
    outgoing, incoming, added, got = Outgoing(), Incoming(), 0, list[int]()
    for step in [*steps, "call"]:
        if step == "add":
            added += 1
            outgoing.add(Kind.CHANNEL, b"%d" % added)
        elif step != "call lost":
            for _ in range(2 if step == "call twice" else 1):
                items = outgoing.after(incoming.number)
                if step != "answer lost":
                    got += [int(line) for *_, line in incoming.fresh(items)]
                    got += [int(line) for *_, line in incoming.fresh(items)]
    assert got == [*range(1, added + 1)]


def test_an_answer_has_an_end() -> None:
    outgoing = Outgoing()
    for _ in range(5):
        outgoing.add(Kind.STDERR, b"x" * (ANSWER_BYTES // 2))
    assert [item[0] for item in outgoing.after(0)] == [1, 2]
    assert [item[0] for item in outgoing.after(2)] == [3, 4]
    assert [item[0] for item in outgoing.after(4)] == [5]
