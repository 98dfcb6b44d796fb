"""What a process asks for of a shared rate."""

from __future__ import annotations

import math

import pytest

from bulkdel.core.rate_use import SPARE_LEAST, SURE, Use, with_spare


@pytest.mark.parametrize(
    ("use", "wanted"),
    [
        (Use(), with_spare(0)),
        (Use(10, 0.0, 4.0), with_spare(5)),  # nothing has waited: what it has used
        (Use(1, 1.8, 0.2), SURE * 5),  # one request in flight, a response in 0.2 s: five a second
        (Use(2, 6.0, 2.0), SURE * 4),  # four in flight, a response in a second
        (Use(40, 8.0, 32.0), with_spare(20)),  # near to what it can use: it rises by little
        (Use(0, 2.0, 0.0), math.inf),  # all have waited all the time
        (Use(40, 0.0, 0.0), with_spare(20)),
    ],
)
def test_a_process_asks_for_most_of_what_it_could_use_or_a_little_more_than_it_used(use: Use, wanted: float) -> None:
    assert use.wanted(2.0) == pytest.approx(wanted)


def test_the_spare_is_never_nothing_and_at_most_a_tenth_of_much() -> None:
    assert with_spare(0) == SPARE_LEAST
    assert all(used < with_spare(used) <= used * 1.1 + SPARE_LEAST for used in (0.01, 0.5, 2, 7, 100, 1000))


def test_a_use_since_another_is_the_difference() -> None:
    assert Use(5, 4.0, 3.0).since(Use(2, 1.0, 0.5)) == (3, 3.0, 2.5)
