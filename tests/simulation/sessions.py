"""One session of a simulated run: how it ends, how the server and the network are, and what a person changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, get_args

from tests.simulation.api import FAIR, Weather
from tests.simulation.network import CLEAR, Roads

End = Literal[
    "whole",
    "kill",
    "power",
    "kill at the disk",
    "power at the disk",
    "no space",
    "bad sync",
    "drain",
    "limit",
    "not after",
]
What = Literal["pause", "resume", "rate", "concurrency"]
ENDS: Sequence[End] = (*get_args(End), "power at the disk")

LAG_MAX_S, LONG = 6.0, 80
"""Most look-ups lag no longer: the program repeats them for 7 seconds. In some sessions the lag is so many times as
long: eight minutes, for which the program waits."""


@dataclass(frozen=True)
class Steer:
    """A change of the session, so many seconds after it began. value: the rate or the concurrency."""

    after_s: float
    what: What
    value: float = 0.0


@dataclass(frozen=True)
class Session:
    """One session. at: the turn of the loop, the call of the disk, the id or the tenth of a second of its end.

    Before it, gap_s pass. Meanwhile a share `again` of the deleted accounts is created again, `others` accounts are
    deleted by another program, and the machine's clock is set by clock_s. changes: while it sends.
    """

    end: End = "whole"
    at: int = 0
    weather: Weather = FAIR
    roads: Roads = CLEAR
    gap_s: float = 900.0
    again: float = 0.0
    others: int = 0
    clock_s: float = 0.0
    changes: Sequence[Steer] = ()

    @property
    def calm(self) -> bool:
        """Whether nothing goes wrong but look-ups that lag. Such a session settles every row."""
        lag_s = self.weather.lag_s
        return (self.end, self.roads, self.others) == ("whole", CLEAR, 0) and self.weather == Weather(lag_s=lag_s)

    @property
    def may_hide_effects(self) -> bool:
        """Whether a request may have an effect that no response tells of."""
        weather = self.weather
        shares = (weather.failing_after, weather.failing, weather.garbled, weather.unsuccessful)
        return self.end != "whole" or self.roads != CLEAR or any(shares)


def drawn_changes(rng: Random) -> Sequence[Steer]:
    """Up to four changes. A pause ends, some time later; it may outlast --patience."""
    found: list[Steer] = []
    for _ in range(rng.randrange(5)):
        after_s = 10 ** rng.uniform(-2, 1.5)
        what = rng.choice(["pause", "rate", "concurrency"])
        if what == "pause":
            found += [Steer(after_s, "pause"), Steer(after_s + 10 ** rng.uniform(-1, 2), "resume")]
        elif what == "rate":
            found.append(Steer(after_s, "rate", rng.choice([0.0, 2.0, 5.0, 20.0, 100.0])))
        else:
            found.append(Steer(after_s, "concurrency", rng.randrange(1, 13)))
    return found


def _long_at_times(lag_s: float) -> float:
    """A third of the lags are long. Nothing more is drawn for that: a seed plays all else as before."""
    return lag_s * LONG if Random(f"lag {lag_s}").random() < 1 / 3 else lag_s


def _blind_for_s(blind_s: float) -> float:
    """How long look-ups find nothing. It ends within some sessions. Drawn as `_long_at_times`."""
    return Random(f"blind {blind_s}").choice([0.1, 0.5, float("inf")]) if 0 < blind_s < float("inf") else float("inf")


def drawn_session(rng: Random) -> Session:
    """Draw a session."""

    def share(most: float, how_often: float = 0.3) -> float:
        return rng.random() * most if rng.random() < how_often else 0.0

    gap_s = rng.choice([1.0, 60.0, 900.0, 7200.0, 20 * 3600.0, 20 * 3600.0, 2 * 86_400.0])
    if rng.random() < 0.1:
        return Session(weather=Weather(lag_s=rng.uniform(0.0, LAG_MAX_S)), gap_s=gap_s)
    end = rng.choice(ENDS)
    calls_of_the_disk = "disk" in end or end in ("no space", "bad sync")
    token_s = rng.choice([7200.0, 7200.0, 7200.0, 5.0, 1.0])
    weather = Weather(
        throttled=share(0.2, 0.4),
        bursts=rng.random() < 0.8,
        retry_after=rng.choice(["none", "seconds", "date"]),
        failing=share(0.3),
        failing_after=share(0.2),
        garbled=share(0.1),
        unsuccessful=share(0.2, 0.15),
        lag_s=_long_at_times(share(LAG_MAX_S, 0.15)),
        blind_s=rng.choice([0.0, rng.uniform(0.0, 3.0)]) if rng.random() < 0.14 else float("inf"),
        token_s=token_s,
        announced_s=7200 if rng.random() < 0.5 else int(token_s),
    )
    roads = Roads(
        unconnected=share(0.2),
        lost=share(0.2),
        lost_after=share(0.2),
        late=share(0.1),
        delay_s=rng.choice([0.01, 0.3, 1.0]),
    )
    weather = replace(weather, blind_for_s=_blind_for_s(weather.blind_s))
    return Session(
        end=end,
        at=rng.randrange(1, 40) if calls_of_the_disk else int(10 ** rng.uniform(0, 3.2)),
        weather=weather,
        roads=roads,
        gap_s=gap_s,
        again=rng.choice([0.0, 0.3, 1.0]),
        others=rng.choice([0, 0, 2]),
        clock_s=rng.choice([-3600.0, 7200.0]) if rng.random() < 0.05 else 0.0,
    )
