"""The state that a job brings accounts into: gone, resigned, suspended, not a member, created. Pure words and rules."""

from __future__ import annotations

from typing import NamedTuple


class TargetState(NamedTuple):
    """The target state of a job.

    reached, not_reached: what people call an account that is in the state, and one that is not.
    absence_reaches: whether an account that does not exist is in the target state. It is for a deletion. For any other
        job an id that a look-up does not find is `absent`, even after a request for it.
    created: whether the job creates accounts. Then the accounts to send do not exist yet, and sending one twice may do
        harm.
    """

    reached: str = "gone"
    not_reached: str = "still there"
    absence_reaches: bool = True
    created: bool = False

    @property
    def claimed(self) -> str:
        """What people call the ids that need no request any more: in the target state, or without an account."""
        return self.reached if self.absence_reaches or self.created else f"{self.reached} or absent"


GONE = TargetState()
"""The target state of a deletion."""

CREATED = TargetState("there", "not there", absence_reaches=False, created=True)
"""The target state of a job that creates accounts."""
